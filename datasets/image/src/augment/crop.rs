use super::{Filter, Image, probability, range, resample, uniform};
use menagerie_core::{Error, Result};
use rand::{Rng, RngExt};

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Region {
    /// The part of `image` in this rectangle.
    ///
    /// # Errors
    /// [`Error::Input`] where the rectangle is empty or not inside the image.
    pub fn crop(&self, image: &Image) -> Result<Image> {
        let fits = |first: usize, size: usize, side: usize| {
            size > 0 && first.checked_add(size).is_some_and(|end| end <= side)
        };
        let [height, width, channels] = image.shape();
        if !fits(self.top, self.height, height) || !fits(self.left, self.width, width) {
            let rule = format!("must be a part of an image of {height} x {width}");
            return Err(Error::input("a crop", self, rule));
        }
        let columns = self.left * channels..(self.left + self.width) * channels;
        let pixels = (self.top..self.top + self.height)
            .flat_map(|row| &image.row(row)[columns.clone()])
            .copied()
            .collect();
        Ok(Image::of(pixels, [self.height, self.width, channels]))
    }
}

/// What [`RandomResizedCrop`] does with a part that does not fit into the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Attempts {
    /// Draws again, up to ten times, and then takes the centre with the nearest allowed
    /// proportions, as torchvision.
    Ten,
    /// Cuts it to the image, as TensorFlow's preprocessing does: MAE's linear probe.
    One,
}

/// A part of the image of random area, proportions and place, resized.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// `[height, width]` of the result.
    pub size: [usize; 2],
    /// The smallest and the largest share of the image's area.
    pub scale: (f64, f64),
    /// The narrowest and the widest proportions, width over height; uniform on a logarithmic scale.
    pub ratio: (f64, f64),
    /// What becomes of a part that does not fit.
    pub attempts: Attempts,
    /// The resizing filter.
    pub filter: Filter,
}

impl RandomResizedCrop {
    const NAME: &str = "RandomResizedCrop";

    /// Squares of `side` pixels from 8 % to 100 % of the area, proportions 3:4 to 4:3, bicubic.
    pub fn new(side: usize) -> Self {
        Self {
            size: [side, side],
            scale: (0.08, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            attempts: Attempts::Ten,
            filter: Filter::Bicubic,
        }
    }

    /// The same with this range of the share of the area.
    pub fn with_scale(mut self, low: f64, high: f64) -> Self {
        self.scale = (low, high);
        self
    }

    /// The same with this answer to parts that do not fit.
    pub fn with_attempts(mut self, attempts: Attempts) -> Self {
        self.attempts = attempts;
        self
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        check_size(Self::NAME, "size", self.size)?;
        range(Self::NAME, "scale", self.scale)?;
        range(Self::NAME, "ratio", self.ratio)
    }

    /// The part of an image of `[height, width]`.
    pub fn draw(&self, [height, width]: [usize; 2], rng: &mut impl Rng) -> Region {
        let mut shape = || {
            let area = (height * width) as f64 * uniform(self.scale.0, self.scale.1, rng);
            let ratio = uniform(self.ratio.0.ln(), self.ratio.1.ln(), rng).exp();
            [(area / ratio).sqrt(), (area * ratio).sqrt()]
                .map(|side| side.round_ties_even() as usize)
        };
        let found = match self.attempts {
            Attempts::One => {
                let [rows, columns] = shape();
                Some([rows.clamp(1, height), columns.clamp(1, width)])
            }
            Attempts::Ten => (0..10).map(|_| shape()).find(|&[rows, columns]| {
                (1..=height).contains(&rows) && (1..=width).contains(&columns)
            }),
        };
        let Some([rows, columns]) = found else {
            return self.fallback([height, width]);
        };
        Region {
            top: rng.random_range(0..=height - rows),
            left: rng.random_range(0..=width - columns),
            height: rows,
            width: columns,
        }
    }

    /// The centre of the image with the nearest allowed proportions.
    fn fallback(&self, [height, width]: [usize; 2]) -> Region {
        let proportions = width as f64 / height as f64;
        let (low, high) = self.ratio;
        let rounded = |side: f64, limit: usize| (side.round_ties_even() as usize).clamp(1, limit);
        let [rows, columns] = if proportions < low {
            [rounded(width as f64 / low, height), width]
        } else if proportions > high {
            [height, rounded(height as f64 * high, width)]
        } else {
            [height, width]
        };
        Region {
            top: (height - rows) / 2,
            left: (width - columns) / 2,
            height: rows,
            width: columns,
        }
    }

    /// That part of `image`, resized.
    ///
    /// # Errors
    /// As [`Region::crop`]; for a size that is not valid.
    pub fn apply(&self, image: &Image, region: &Region) -> Result<Image> {
        resample::resize(&region.crop(image)?, self.size, self.filter)
    }
}

/// Resizes so that the shorter side has a given length.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// The length of the shorter side.
    pub side: usize,
    /// The resizing filter.
    pub filter: Filter,
}

impl Resize {
    /// `image` with its shorter side at the length; the longer one is rounded down.
    ///
    /// # Errors
    /// [`Error::Input`] where a side would be 0 or above [`Image::MAX_SIDE`].
    pub fn apply(&self, image: &Image) -> Result<Image> {
        let [height, width] = image.size();
        let long = |side: usize, other: usize| side.saturating_mul(self.side) / other;
        let size = if height <= width {
            [self.side, long(width, height)]
        } else {
            [long(height, width), self.side]
        };
        resample::resize(image, size, self.filter)
    }

    /// `image` at exactly `[height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] where a side is 0 or above [`Image::MAX_SIDE`].
    pub fn exact(image: &Image, size: [usize; 2], filter: Filter) -> Result<Image> {
        resample::resize(image, size, filter)
    }
}

/// The centre of an image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CenterCrop {
    /// `[height, width]` of the result.
    pub size: [usize; 2],
}

impl CenterCrop {
    /// The centre of `image`; where it cannot be the exact centre, rounded to the even position.
    ///
    /// # Errors
    /// [`Error::Input`] where the image is smaller than the crop.
    pub fn apply(&self, image: &Image) -> Result<Image> {
        let ([height, width], [rows, columns]) = (image.size(), self.size);
        let first = |side: usize, part: usize| {
            (side.saturating_sub(part) as f64 / 2.0).round_ties_even() as usize
        };
        let region = Region {
            top: first(height, rows),
            left: first(width, columns),
            height: rows,
            width: columns,
        };
        region.crop(image)
    }
}

/// Random mirroring.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// The probability that left and right are swapped.
    pub horizontal: f64,
    /// The probability that top and bottom are swapped.
    pub vertical: f64,
}

/// Which mirrorings were drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flips {
    /// Left and right are swapped.
    pub horizontal: bool,
    /// Top and bottom are swapped.
    pub vertical: bool,
}

impl Flip {
    /// Left and right swapped with probability 1/2.
    pub fn horizontal() -> Self {
        Self {
            horizontal: 0.5,
            vertical: 0.0,
        }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        probability("Flip", "horizontal", self.horizontal)?;
        probability("Flip", "vertical", self.vertical)
    }

    /// Whether to swap.
    pub fn draw(&self, rng: &mut impl Rng) -> Flips {
        Flips {
            horizontal: rng.random::<f64>() < self.horizontal,
            vertical: rng.random::<f64>() < self.vertical,
        }
    }

    /// `image`, mirrored.
    pub fn apply(image: Image, flips: Flips) -> Image {
        if flips == Flips::default() {
            return image;
        }
        let shape @ [_, width, channels] = image.shape();
        let mut pixels = image.into_pixels();
        if flips.vertical {
            let rows: Vec<&[u8]> = pixels.chunks_exact(width * channels).rev().collect();
            pixels = rows.concat();
        }
        if flips.horizontal {
            for row in pixels.chunks_exact_mut(width * channels) {
                // Reversed as a whole and then pixel by pixel, so that channels keep their order.
                row.reverse();
                row.chunks_exact_mut(channels).for_each(<[u8]>::reverse);
            }
        }
        Image::of(pixels, shape)
    }
}

pub(super) fn check_size(config: &'static str, field: &str, size: [usize; 2]) -> Result<()> {
    if size.iter().all(|side| (1..=Image::MAX_SIDE).contains(side)) {
        return Ok(());
    }
    let rule = "both sides must lie in 1..=16384";
    Err(Error::config(config, field, size, rule))
}
