//! What a grid of sprites consists of.

use super::{Shape, Sprites};
use menagerie_core::{Error, Result};
use std::{collections::BTreeSet, f64::consts::TAU};

/// The longest side of a canvas, in pixels.
const MAX_CANVAS: usize = 4096;
const NAME: &str = "SpritesConfig";

/// A grid of images, one for every combination of the values of its factors.
///
/// The last factor varies fastest. A factor that is not listed keeps its neutral value: a square,
/// scale 1, orientation 0, the middle of the image, level 1.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpritesConfig {
    /// Rows and columns of an image, in pixels.
    pub side: usize,
    /// Pixels of the canvas that are averaged into a pixel of the image, per axis. The canvas is
    /// `side * pool` pixels wide.
    pub pool: usize,
    /// Whether a pixel of the canvas is lit or dark (by half of its area) rather than lit by the
    /// share of its area that the figure covers.
    pub binary: bool,
    /// The half-width of a figure at scale 1, in pixels of the canvas.
    pub radius: f64,
    /// The distance between the centres of figures at positions 0 and 1, in pixels of the canvas.
    pub travel: f64,
    /// The factors in order, each with its values.
    pub factors: Vec<Factor>,
}

/// A factor of variation with the values that it takes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Factor {
    /// The figure.
    Shape(Vec<Shape>),
    /// The half-width in units of [`SpritesConfig::radius`], above 0.
    Scale(Vec<f64>),
    /// Anticlockwise turns about the centroid, in radians.
    Orientation(Vec<f64>),
    /// The centroid's horizontal position, 0 (left) to 1.
    X(Vec<f64>),
    /// The centroid's vertical position, 0 (top) to 1.
    Y(Vec<f64>),
    /// The brightness, above 0 and at most 1, on a background of 0.
    Level(Vec<f64>),
}

impl Factor {
    /// The factor's name: `shape`, `scale`, `orientation`, `x`, `y` or `level`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Shape(_) => "shape",
            Self::Scale(_) => "scale",
            Self::Orientation(_) => "orientation",
            Self::X(_) => "x",
            Self::Y(_) => "y",
            Self::Level(_) => "level",
        }
    }

    /// The number of values.
    pub fn size(&self) -> usize {
        match self {
            Self::Shape(shapes) => shapes.len(),
            Self::Scale(values)
            | Self::Orientation(values)
            | Self::X(values)
            | Self::Y(values)
            | Self::Level(values) => values.len(),
        }
    }

    fn validate(&self) -> Result<()> {
        let fail = |value: &dyn std::fmt::Debug, rule: &str| {
            Err(Error::config(
                NAME,
                format!("factors.{}", self.name()),
                value,
                rule,
            ))
        };
        if self.size() == 0 {
            return fail(&0, "a factor must have at least one value");
        }
        let (values, rule, holds): (_, _, fn(f64) -> bool) = match self {
            Self::Shape(shapes) => {
                return if shapes.iter().collect::<BTreeSet<_>>().len() < shapes.len() {
                    fail(shapes, "values must differ from each other")
                } else {
                    Ok(())
                };
            }
            Self::Scale(values) => (values, "must be above 0", |value| value > 0.0),
            Self::Orientation(values) => (values, "must be finite", |_| true),
            Self::X(values) | Self::Y(values) => (values, "must lie in 0..=1", |value| {
                (0.0..=1.0).contains(&value)
            }),
            Self::Level(values) => (values, "must be above 0 and at most 1", |value| {
                value > 0.0 && value <= 1.0
            }),
        };
        if let Some(value) = values
            .iter()
            .find(|value| !value.is_finite() || !holds(**value))
        {
            return fail(value, rule);
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return fail(values, "values must differ from each other");
        }
        Ok(())
    }
}

impl SpritesConfig {
    /// The grid of dSprites (Matthey et al. 2017): binary 64x64 images, shape 3 x scale 6 x
    /// orientation 40 x x 32 x y 32 = 737 280.
    ///
    /// The factors and their values are the published ones, including the first and the last
    /// orientation, 0 and 2 π, which look alike; the outlines are this crate's own. A step in `x` or
    /// `y` is one pixel.
    pub fn dsprites() -> Self {
        Self {
            side: 64,
            pool: 1,
            binary: true,
            radius: 11.3,
            travel: 31.0,
            factors: vec![
                Factor::Shape(vec![Shape::Square, Shape::Ellipse, Shape::Heart]),
                Factor::Scale(evenly(0.5, 1.0, 6)),
                Factor::Orientation(evenly(0.0, TAU, 40)),
                Factor::X(evenly(0.0, 1.0, 32)),
                Factor::Y(evenly(0.0, 1.0, 32)),
            ],
        }
    }

    /// The grid of the small-scale experiment on latent quantisation (`qlae`): 16x16 grey images,
    /// shape 3 x column 5 x row 5 x size 3 x grey level 4 = 900, drawn at 32x32.
    ///
    /// A step in `x` or `y` is two pixels of the image.
    pub fn qlae_small() -> Self {
        Self {
            side: 16,
            pool: 2,
            binary: false,
            radius: 7.0,
            travel: 16.0,
            factors: vec![
                Factor::Shape(vec![Shape::Square, Shape::Disc, Shape::Plus]),
                Factor::X(evenly(0.0, 1.0, 5)),
                Factor::Y(evenly(0.0, 1.0, 5)),
                Factor::Scale(vec![0.5, 0.75, 1.0]),
                Factor::Level(vec![0.25, 0.5, 0.75, 1.0]),
            ],
        }
    }

    /// The generator of this grid.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self) -> Result<Sprites> {
        Sprites::new(self.clone())
    }

    /// The number of images.
    ///
    /// # Errors
    /// [`Error::Config`] where it does not fit into 32 bits.
    pub fn images(&self) -> Result<usize> {
        self.factors
            .iter()
            .try_fold(1_u32, |total, factor| {
                total.checked_mul(u32::try_from(factor.size()).ok()?)
            })
            .map(|total| total as usize)
            .ok_or_else(|| {
                let sizes: Vec<usize> = self.factors.iter().map(Factor::size).collect();
                Error::config(
                    NAME,
                    "factors",
                    sizes,
                    "the grid must have fewer than 2^32 images",
                )
            })
    }

    /// Refuses a grid that cannot be drawn: no size may be 0, no value may lie outside of its range
    /// or occur twice, and no figure may be cut by the border or smaller than a pixel.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, the value and the rule.
    pub fn validate(&self) -> Result<()> {
        let fail = |field: &str, value: &dyn std::fmt::Debug, rule: &str| -> Result<()> {
            Err(Error::config(NAME, field, value, rule))
        };
        if self.side == 0 {
            return fail("side", &self.side, "must be at least 1");
        }
        if self.pool == 0 {
            return fail("pool", &self.pool, "must be at least 1");
        }
        let canvas = self.side.saturating_mul(self.pool);
        if canvas > MAX_CANVAS {
            return fail(
                "side",
                &self.side,
                "side * pool must be at most 4096 pixels",
            );
        }
        if !(self.radius.is_finite() && self.radius > 0.0) {
            return fail("radius", &self.radius, "must be above 0");
        }
        if !(self.travel.is_finite() && self.travel >= 0.0) {
            return fail("travel", &self.travel, "must be at least 0");
        }
        if self.factors.is_empty() {
            return fail("factors", &self.factors, "must have at least one factor");
        }
        let mut names = BTreeSet::new();
        for factor in &self.factors {
            factor.validate()?;
            if !names.insert(factor.name()) {
                return fail("factors", &factor.name(), "must not occur twice");
            }
        }
        self.images()?;
        self.validate_sizes(canvas as f64)
    }

    fn validate_sizes(&self, canvas: f64) -> Result<()> {
        let mut turned = false;
        let mut scales = (1.0_f64, 1.0_f64);
        let mut shapes: &[Shape] = &[Shape::Square];
        // The farthest that a centre lies from the middle, in units of `travel`.
        let mut off_centre = 0.0_f64;
        for factor in &self.factors {
            match factor {
                Factor::Shape(values) => shapes = values,
                Factor::Scale(values) => {
                    scales = (
                        values.iter().copied().fold(f64::INFINITY, f64::min),
                        values.iter().copied().fold(0.0, f64::max),
                    );
                }
                Factor::Orientation(values) => turned = values.iter().any(|&angle| angle != 0.0),
                Factor::X(values) | Factor::Y(values) => {
                    off_centre = values
                        .iter()
                        .map(|value| (value - 0.5).abs())
                        .fold(off_centre, f64::max);
                }
                Factor::Level(_) => {}
            }
        }
        if self.radius * scales.0 < 1.0 {
            let rule = format!(
                "the smallest figure must have a half-width of at least one pixel of the canvas, \
                 not {}",
                self.radius * scales.0
            );
            return Err(Error::config(NAME, "radius", self.radius, rule));
        }
        let reach = shapes
            .iter()
            .map(|shape| {
                if turned {
                    shape.reach()
                } else {
                    shape.extent()
                }
            })
            .fold(0.0, f64::max);
        let needed = 2.0 * (reach * self.radius * scales.1 + off_centre * self.travel);
        // The slack is for the rounding of figures that touch the border exactly.
        if needed > canvas + 1e-9 {
            let rule = format!(
                "side * pool must be at least {} pixels, or the border cuts the largest figure",
                needed.ceil()
            );
            return Err(Error::config(NAME, "side", self.side, rule));
        }
        Ok(())
    }
}

/// `count` values from `first` to `last`, both included.
fn evenly(first: f64, last: f64, count: usize) -> Vec<f64> {
    let steps = (count.max(2) - 1) as f64;
    (0..count)
        .map(|step| first + (last - first) * (step as f64 / steps))
        .collect()
}
