//! Sprites: one flat figure per image on a full grid of independent factors.
//!
//! [`SpritesConfig::dsprites`] is the grid of dSprites (Matthey, Higgins, Hassabis and Lerchner:
//! *dSprites: Disentanglement testing Sprites dataset*, 2017), drawn image by image on demand;
//! [`SpritesConfig::qlae_small`] is a grid of 900 small grey images. Both are drawn by an exact
//! area-coverage rasteriser, so that an image is a function of its factors to the last bit.
//!
//! ```
//! use menagerie_data_synthetic::SpritesConfig;
//!
//! let sprites = SpritesConfig::dsprites().init()?;
//! assert_eq!(sprites.len(), 737_280);
//! assert_eq!(sprites.factor_names(), ["shape", "scale", "orientation", "x", "y"]);
//!
//! // A heart (2) of the largest scale (5), upright, in the middle column and the top row.
//! let index = sprites.index_of(&[2, 5, 0, 16, 0])?;
//! assert_eq!(sprites.factors_of(index)?, [2, 5, 0, 16, 0]);
//! assert_eq!(sprites.render(index)?.len(), 64 * 64);
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod config;
mod shape;

pub use config::{Factor, SpritesConfig};
pub use shape::Shape;

use crate::geometry::{Point, Polygon};
use menagerie_core::{Error, Result};
use rayon::prelude::*;
use shape::Piece;
use std::{f64::consts::FRAC_1_SQRT_2, sync::OnceLock};

/// The most pixels that [`Sprites::images`] keeps in memory (1 GiB).
const MAX_PIXELS: usize = 1 << 28;

/// A grid of images with known factors.
///
/// Images are numbered in row-major order of their factors: the last factor varies fastest.
#[derive(Debug)]
pub struct Sprites {
    config: SpritesConfig,
    len: usize,
    /// The pieces of each of the shape factor's values, or of the neutral shape.
    figures: Vec<Vec<Piece>>,
    images: OnceLock<Vec<f32>>,
}

/// An image's factors as numbers to draw from.
struct Sprite<'a> {
    pieces: &'a [Piece],
    /// In pixels of the canvas.
    centre: Point,
    /// In pixels of the canvas.
    radius: f64,
    /// How far the figure reaches from its centre, in pixels of the canvas.
    reach: f64,
    /// Cosine and sine of the orientation.
    turn: [f64; 2],
    level: f64,
}

impl Sprites {
    /// The generator of the grid `config`.
    ///
    /// # Errors
    /// As [`SpritesConfig::validate`].
    pub fn new(config: SpritesConfig) -> Result<Self> {
        config.validate()?;
        let figures = config
            .factors
            .iter()
            .find_map(|factor| match factor {
                Factor::Shape(shapes) => Some(shapes.iter().map(|shape| shape.pieces()).collect()),
                _ => None,
            })
            .unwrap_or_else(|| vec![Shape::Square.pieces()]);
        Ok(Self {
            len: config.images()?,
            figures,
            config,
            images: OnceLock::new(),
        })
    }

    /// The grid.
    pub fn config(&self) -> &SpritesConfig {
        &self.config
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no images; a valid grid has at least one.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        [1, self.config.side, self.config.side]
    }

    /// The factors' names in order.
    pub fn factor_names(&self) -> Vec<&'static str> {
        self.config.factors.iter().map(Factor::name).collect()
    }

    /// The number of values of each factor, in order.
    pub fn factor_sizes(&self) -> Vec<usize> {
        self.config.factors.iter().map(Factor::size).collect()
    }

    /// The factors of the image `index`, each as the number of its value.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below [`len`](Self::len).
    pub fn factors_of(&self, index: usize) -> Result<Vec<usize>> {
        self.check(index)?;
        Ok(self.digits(index))
    }

    /// The image with the given `factors`, each as the number of its value.
    ///
    /// # Errors
    /// [`Error::Input`] where the number of factors or one of the values is not the grid's.
    pub fn index_of(&self, factors: &[usize]) -> Result<usize> {
        let sizes = self.factor_sizes();
        if factors.len() != sizes.len() || factors.iter().zip(&sizes).any(|(f, size)| f >= size) {
            let rule = format!(
                "must be one value of each of {:?}, below {sizes:?}",
                self.factor_names()
            );
            return Err(Error::input("factors", factors, rule));
        }
        Ok(factors
            .iter()
            .zip(&sizes)
            .fold(0, |index, (factor, size)| index * size + factor))
    }

    /// The factors of all images in order, `[len, factors]` in row-major order.
    pub fn factors(&self) -> Vec<usize> {
        (0..self.len).flat_map(|index| self.digits(index)).collect()
    }

    /// The image `index`, `[1, side, side]` in row-major order with values in 0..=1.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below [`len`](Self::len).
    pub fn render(&self, index: usize) -> Result<Vec<f32>> {
        self.check(index)?;
        let mut image = vec![0.0; self.pixels()];
        self.draw(index, &mut image);
        Ok(image)
    }

    /// The images of a mini-batch, `[indices, 1, side, side]`, drawn in parallel.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below [`len`](Self::len).
    pub fn render_batch(&self, indices: &[usize]) -> Result<Vec<f32>> {
        indices.iter().try_for_each(|&index| self.check(index))?;
        let mut images = vec![0.0; indices.len() * self.pixels()];
        images
            .par_chunks_mut(self.pixels())
            .zip(indices)
            .for_each(|(image, &index)| self.draw(index, image));
        Ok(images)
    }

    /// All images in order, `[len, 1, side, side]`; drawn in parallel at the first call and kept.
    ///
    /// # Errors
    /// [`Error::Input`] for a grid of more than 1 GiB, such as dSprites: draw those by
    /// [`render_batch`](Self::render_batch).
    pub fn images(&self) -> Result<&[f32]> {
        if self.len.saturating_mul(self.pixels()) > MAX_PIXELS {
            let rule = "a grid of more than 1 GiB must be drawn in batches";
            return Err(Error::input("the number of sprites", self.len, rule));
        }
        Ok(self.images.get_or_init(|| {
            let mut images = vec![0.0; self.len * self.pixels()];
            images
                .par_chunks_mut(self.pixels())
                .enumerate()
                .for_each(|(index, image)| self.draw(index, image));
            images
        }))
    }

    fn pixels(&self) -> usize {
        self.config.side * self.config.side
    }

    fn check(&self, index: usize) -> Result<()> {
        if index < self.len {
            return Ok(());
        }
        Err(Error::input(
            "sprite index",
            index,
            format!("must be below {}", self.len),
        ))
    }

    /// The mixed-radix digits of `index`.
    fn digits(&self, mut index: usize) -> Vec<usize> {
        let mut factors = self.factor_sizes();
        for factor in factors.iter_mut().rev() {
            let size = *factor;
            *factor = index % size;
            index /= size;
        }
        factors
    }

    fn sprite(&self, index: usize) -> Sprite<'_> {
        let (mut figure, mut shape) = (0, Shape::Square);
        let (mut scale, mut angle, mut level) = (1.0, 0.0, 1.0);
        let mut position = [0.5, 0.5];
        for (factor, value) in self.config.factors.iter().zip(self.digits(index)) {
            match factor {
                Factor::Shape(shapes) => (figure, shape) = (value, shapes[value]),
                Factor::Scale(values) => scale = values[value],
                Factor::Orientation(values) => angle = values[value],
                Factor::X(values) => position[0] = values[value],
                Factor::Y(values) => position[1] = values[value],
                Factor::Level(values) => level = values[value],
            }
        }
        let middle = (self.config.side * self.config.pool) as f64 / 2.0;
        let radius = self.config.radius * scale;
        Sprite {
            pieces: &self.figures[figure],
            centre: position.map(|at| middle + (at - 0.5) * self.config.travel),
            radius,
            reach: radius * shape.reach(),
            turn: [libm::cos(angle), libm::sin(angle)],
            level,
        }
    }

    /// Draws the image `index` over an image of zeros.
    fn draw(&self, index: usize, image: &mut [f32]) {
        let SpritesConfig {
            side, pool, binary, ..
        } = self.config;
        let sprite = self.sprite(index);
        let canvas = side * pool;
        let [columns, rows] = sprite.centre.map(|at| {
            let first = (at - sprite.reach).floor().max(0.0) as usize;
            let end = (at + sprite.reach).ceil().max(0.0) as usize;
            first.min(canvas)..end.min(canvas)
        });
        let mut light = vec![0.0_f64; image.len()];
        for row in rows {
            for column in columns.clone() {
                let share = sprite.coverage(column as f64, row as f64);
                let share = if binary {
                    f64::from(u8::from(share >= 0.5))
                } else {
                    share
                };
                light[(row / pool) * side + column / pool] += share;
            }
        }
        let unit = sprite.level / (pool * pool) as f64;
        for (pixel, light) in image.iter_mut().zip(light) {
            *pixel = (light * unit).clamp(0.0, 1.0) as f32;
        }
    }
}

impl Sprite<'_> {
    /// The share of the canvas pixel with its corner at `(left, top)` that the figure covers.
    fn coverage(&self, left: f64, top: f64) -> f64 {
        let [cos, sin] = self.turn;
        // From the canvas into the figure's upright frame of half-width 1.
        let inward = |x: f64, y: f64| {
            let (x, y) = (
                (x - self.centre[0]) / self.radius,
                (y - self.centre[1]) / self.radius,
            );
            [x * cos - y * sin, x * sin + y * cos]
        };
        // Most pixels lie wholly within or beside the figure; only the outline needs its area.
        let middle = inward(left + 0.5, top + 0.5);
        let around = FRAC_1_SQRT_2 / self.radius;
        let mut overlap = 0.0;
        for piece in self.pieces {
            match piece.holds(middle, around) {
                Some(true) => return 1.0,
                Some(false) => {}
                None => {
                    let pixel = Polygon::quadrilateral([
                        inward(left, top),
                        inward(left + 1.0, top),
                        inward(left + 1.0, top + 1.0),
                        inward(left, top + 1.0),
                    ]);
                    overlap += piece.overlap(&pixel);
                }
            }
        }
        overlap * self.radius * self.radius
    }
}
