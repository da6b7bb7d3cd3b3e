//! Procedural clips: the images of a set, moving in one of eight directions.
//!
//! As in Moving MNIST (Srivastava et al. 2015), but each clip has one figure that keeps its
//! direction, so that the direction is a label beside the figure's class. The frame is a torus: a
//! figure that leaves at one edge enters at the other. Every place is therefore as likely under
//! every direction, and no single frame tells the direction.

use crate::Clip;
use image::{GrayImage, imageops};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

const NAME: &str = "MovingImagesConfig";
/// The longest side of a frame.
const MAX_SIDE: usize = 4096;

/// Where a figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Direction {
    Right,
    UpRight,
    Up,
    UpLeft,
    Left,
    DownLeft,
    Down,
    DownRight,
}

impl Direction {
    /// All eight, anticlockwise from the right; the position is the label.
    pub const ALL: [Self; 8] = [
        Self::Right,
        Self::UpRight,
        Self::Up,
        Self::UpLeft,
        Self::Left,
        Self::DownLeft,
        Self::Down,
        Self::DownRight,
    ];

    /// The label, 0..8.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Rows and columns per step, each -1, 0 or 1; rows grow downwards.
    pub fn step(self) -> [isize; 2] {
        match self {
            Self::Right => [0, 1],
            Self::UpRight => [-1, 1],
            Self::Up => [-1, 0],
            Self::UpLeft => [-1, -1],
            Self::Left => [0, -1],
            Self::DownLeft => [1, -1],
            Self::Down => [1, 0],
            Self::DownRight => [1, 1],
        }
    }
}

/// How images become clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovingImagesConfig {
    /// Frames per clip.
    pub frames: usize,
    /// Rows and columns of a frame, in pixels.
    pub side: usize,
    /// Rows and columns that an image is scaled to, in pixels.
    pub figure: usize,
    /// Pixels per frame, along rows as along columns.
    pub speed: usize,
}

impl MovingImagesConfig {
    /// The small-scale experiment of VideoMAE V2: 8 frames of 32×32, figures of 20×20 that move 2
    /// pixels per frame.
    pub fn small() -> Self {
        Self {
            frames: 8,
            side: 32,
            figure: 20,
            speed: 2,
        }
    }

    /// Refuses sizes of 0, frames beyond 4096 pixels, and figures larger than a frame.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, the value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse =
            |field: &str, value: usize, rule: &str| Err(Error::config(NAME, field, value, rule));
        if self.frames == 0 {
            return refuse("frames", 0, "must be at least 1");
        }
        if !(1..=MAX_SIDE).contains(&self.side) {
            return refuse("side", self.side, "must lie in 1..=4096");
        }
        if !(1..=self.side).contains(&self.figure) {
            return refuse("figure", self.figure, "must lie in 1..=side");
        }
        if self.speed > self.side {
            return refuse("speed", self.speed, "must be at most the side");
        }
        Ok(())
    }
}

/// A clip with what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingClip {
    /// Grey, `[frames, side, side, 1]`.
    pub clip: Clip,
    /// The index of the image.
    pub image: usize,
    /// The image's class.
    pub class: usize,
    /// Where it moves.
    pub direction: Direction,
}

/// An endless set of clips, each a function of its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingImages {
    config: MovingImagesConfig,
    /// `[images, figure, figure]`.
    figures: Vec<u8>,
    labels: Vec<usize>,
    seed: Seed,
}

impl MovingImages {
    /// Clips of grey `images` `[n, height, width]` of the size `[height, width]` with a class each.
    ///
    /// # Errors
    /// [`Error::Config`] for an impossible configuration, [`Error::Input`] where there is no image
    /// or the numbers of pixels and labels do not fit.
    pub fn new(
        config: MovingImagesConfig,
        images: &[u8],
        size: [usize; 2],
        labels: &[usize],
        seed: Seed,
    ) -> Result<Self> {
        config.validate()?;
        let area = size[0].checked_mul(size[1]).filter(|area| *area > 0);
        let fits = area.and_then(|area| area.checked_mul(labels.len())) == Some(images.len());
        let (true, Some(area)) = (fits && !labels.is_empty(), area) else {
            let rule = format!(
                "must be one or more images of {}x{} for the {} labels",
                size[1],
                size[0],
                labels.len()
            );
            return Err(Error::input("the number of pixels", images.len(), rule));
        };
        let side = config.figure;
        let mut figures = Vec::with_capacity(labels.len() * side * side);
        for image in images.chunks(area) {
            if size == [side, side] {
                figures.extend_from_slice(image);
            } else {
                figures.extend(scaled(image, size, side)?);
            }
        }
        Ok(Self {
            config,
            figures,
            labels: labels.to_vec(),
            seed,
        })
    }

    /// What the clips look like.
    pub fn config(&self) -> &MovingImagesConfig {
        &self.config
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.labels.len()
    }

    /// The clip of number `index`: image, direction and start are drawn uniformly, the same for the
    /// same seed and number.
    pub fn draw(&self, index: u64) -> MovingClip {
        let draw = self.seed.at(index);
        let image = draw.rng().random_range(0..self.images());
        let (direction, start) = self.draw_motion(draw.stream("motion"));
        self.show(image, direction, start)
    }

    /// A direction, and a start as in [`render`](Self::render), both drawn uniformly.
    pub fn draw_motion(&self, seed: Seed) -> (Direction, [usize; 2]) {
        let mut rng = seed.rng();
        let direction = Direction::ALL[rng.random_range(0..Direction::ALL.len())];
        let start = [(); 2].map(|()| rng.random_range(0..self.config.side));
        (direction, start)
    }

    /// The clip of an image that starts with its corner at `start` `[row, column]`.
    ///
    /// # Errors
    /// [`Error::Input`] for an image or a start that does not exist.
    pub fn render(
        &self,
        image: usize,
        direction: Direction,
        start: [usize; 2],
    ) -> Result<MovingClip> {
        if image >= self.images() {
            let rule = format!("must be below {}", self.images());
            return Err(Error::input("image index", image, rule));
        }
        if start.iter().any(|at| *at >= self.config.side) {
            let rule = format!("must be below the side, {}, twice", self.config.side);
            return Err(Error::input("the start of a figure", start, rule));
        }
        Ok(self.show(image, direction, start))
    }

    fn show(&self, image: usize, direction: Direction, start: [usize; 2]) -> MovingClip {
        MovingClip {
            clip: self.paint(image, direction, start),
            image,
            class: self.labels[image],
            direction,
        }
    }

    fn paint(&self, image: usize, direction: Direction, start: [usize; 2]) -> Clip {
        let MovingImagesConfig {
            frames,
            side,
            figure,
            speed,
        } = self.config;
        let figures = &self.figures[image * figure * figure..][..figure * figure];
        let [down, right] = direction.step().map(|step| match step {
            -1 => side - speed,
            0 => 0,
            _ => speed,
        });
        let mut pixels = vec![0; frames * side * side];
        for (at, frame) in pixels.chunks_mut(side * side).enumerate() {
            let top = (start[0] + at * down) % side;
            let left = (start[1] + at * right) % side;
            // The part up to the right edge; the rest enters at the left one.
            let fits = figure.min(side - left);
            for (row, line) in figures.chunks(figure).enumerate() {
                let target = &mut frame[(top + row) % side * side..][..side];
                target[left..left + fits].copy_from_slice(&line[..fits]);
                target[..figure - fits].copy_from_slice(&line[fits..]);
            }
        }
        Clip::of_known_size(pixels, [frames, side, side, 1])
    }
}

/// An image at another size (triangle filter, which averages where it shrinks).
fn scaled(image: &[u8], [height, width]: [usize; 2], side: usize) -> Result<Vec<u8>> {
    let beyond = || Error::input("the size of an image", [height, width], "is beyond memory");
    let (Ok(rows), Ok(columns)) = (u32::try_from(height), u32::try_from(width)) else {
        return Err(beyond());
    };
    let image = GrayImage::from_raw(columns, rows, image.to_vec()).ok_or_else(beyond)?;
    let side = side as u32;
    Ok(imageops::resize(&image, side, side, imageops::FilterType::Triangle).into_raw())
}
