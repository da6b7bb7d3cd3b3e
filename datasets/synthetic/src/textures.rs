//! Textured shapes: grey images whose every pixel has a class.
//!
//! Discs, squares and triangles of random size, place and turn lie on a striped ground, later ones
//! on top of earlier ones. Each is filled with a texture of its own (stripes, checks or dots of random
//! direction, period and levels), so that neither the brightness nor the texture of a pixel tells its
//! class: the outline does.
//!
//! ```
//! use menagerie_core::Seed;
//! use menagerie_data_synthetic::textures::{CLASSES, TexturesConfig};
//!
//! let image = TexturesConfig::small().draw(Seed(0).at(7))?;
//! assert_eq!((image.pixels.len(), image.classes.len()), (32 * 32, 32 * 32));
//! assert!(image.classes.iter().all(|class| usize::from(*class) < CLASSES.len()));
//! # Ok::<(), menagerie_core::Error>(())
//! ```

use libm::{cos, sin};
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};
use std::f64::consts::{PI, TAU};

/// What the class of a pixel stands for.
pub const CLASSES: [&str; 4] = ["ground", "disc", "square", "triangle"];

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TexturesConfig {
    /// Rows and columns.
    pub side: usize,
    /// The fewest and the most shapes of an image.
    pub shapes: (usize, usize),
    /// The least and the greatest radius of the circle around a shape, in pixels.
    pub radius: (f64, f64),
    /// The shortest and the longest period of a texture, in pixels.
    pub period: (f64, f64),
    /// The largest deviation of a pixel's noise, in grey levels.
    pub noise: f64,
}

/// An image with the class of each pixel, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TexturedImage {
    /// Grey levels, `[side · side]`.
    pub pixels: Vec<u8>,
    /// Indices into [`CLASSES`], `[side · side]`.
    pub classes: Vec<u8>,
}

impl TexturesConfig {
    const NAME: &str = "TexturesConfig";

    /// Images of 32×32 with one to three shapes of radius 6 to 11.
    pub fn small() -> Self {
        Self {
            side: 32,
            shapes: (1, 3),
            radius: (6.0, 11.0),
            period: (3.0, 8.0),
            noise: 8.0,
        }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !(1..=4096).contains(&self.side) {
            let rule = "must lie in 1..=4096";
            return Err(Error::config(Self::NAME, "side", self.side, rule));
        }
        if self.shapes.0 > self.shapes.1 || self.shapes.1 > 1024 {
            let rule = "must be ascending and at most 1024";
            return Err(Error::config(Self::NAME, "shapes", self.shapes, rule));
        }
        for (field, range) in [("radius", self.radius), ("period", self.period)] {
            if !(range.0 > 0.0 && range.0 <= range.1 && range.1.is_finite()) {
                let rule = "must be ascending, above 0 and finite";
                return Err(Error::config(Self::NAME, field, range, rule));
            }
        }
        if !(0.0..=255.0).contains(&self.noise) {
            let rule = "must lie in 0..=255";
            return Err(Error::config(Self::NAME, "noise", self.noise, rule));
        }
        Ok(())
    }

    /// The image of a seed, the same on every machine.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn draw(&self, seed: Seed) -> Result<TexturedImage> {
        self.validate()?;
        let mut rng = seed.rng();
        let ground = Texture::draw(self.period, Pattern::Stripes, &mut rng);
        let count = rng.random_range(self.shapes.0..=self.shapes.1);
        let shapes: Vec<Shape> = (0..count).map(|_| Shape::draw(self, &mut rng)).collect();
        let area = self.side * self.side;
        let mut image = TexturedImage {
            pixels: Vec::with_capacity(area),
            classes: Vec::with_capacity(area),
        };
        for at in 0..area {
            let [x, y] = [at % self.side, at / self.side].map(|place| place as f64 + 0.5);
            let top = shapes.iter().rev().find(|shape| shape.holds(x, y));
            let (class, texture) = top.map_or((0, &ground), |shape| (shape.class, &shape.texture));
            let noise = self.noise * rng.random_range(-1.0..=1.0);
            let level = texture.level(x, y) + noise;
            image.pixels.push(level.clamp(0.0, 255.0) as u8);
            image.classes.push(class);
        }
        Ok(image)
    }
}

/// How a texture repeats.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    Stripes,
    Checks,
    Dots,
}

/// Two grey levels in a pattern.
struct Texture {
    pattern: Pattern,
    /// Cosine and sine of the direction, divided by the period.
    wave: [f64; 2],
    phase: [f64; 2],
    levels: [f64; 2],
}

impl Texture {
    fn draw((short, long): (f64, f64), pattern: Pattern, rng: &mut impl Rng) -> Self {
        let turn = rng.random_range(0.0..PI);
        let period = rng.random_range(short..=long);
        let low = rng.random_range(20.0..160.0);
        // At least 60 levels apart, or there is no texture to see.
        let high = low + rng.random_range(60.0..90.0);
        let levels = if rng.random() {
            [low, high]
        } else {
            [high, low]
        };
        Self {
            pattern,
            wave: [cos(turn) / period, sin(turn) / period],
            phase: [(); 2].map(|()| rng.random::<f64>()),
            levels,
        }
    }

    fn level(&self, x: f64, y: f64) -> f64 {
        let [c, s] = self.wave;
        let u = (c * x + s * y + self.phase[0]).rem_euclid(1.0);
        let v = (c * y - s * x + self.phase[1]).rem_euclid(1.0);
        let first = match self.pattern {
            Pattern::Stripes => u < 0.5,
            Pattern::Checks => (u < 0.5) == (v < 0.5),
            Pattern::Dots => (u - 0.5).powi(2) + (v - 0.5).powi(2) < 0.12,
        };
        self.levels[usize::from(!first)]
    }
}

/// A shape with its texture.
struct Shape {
    /// An index into [`CLASSES`].
    class: u8,
    centre: [f64; 2],
    radius: f64,
    turn: f64,
    texture: Texture,
}

impl Shape {
    fn draw(config: &TexturesConfig, rng: &mut impl Rng) -> Self {
        let class = rng.random_range(1..CLASSES.len()) as u8;
        let side = config.side as f64;
        let centre = [(); 2].map(|()| side * rng.random_range(0.2..0.8));
        let radius = rng.random_range(config.radius.0..=config.radius.1);
        let turn = rng.random_range(0.0..TAU);
        let patterns = [Pattern::Stripes, Pattern::Checks, Pattern::Dots];
        let pattern = patterns[rng.random_range(0..patterns.len())];
        Self {
            class,
            centre,
            radius,
            turn,
            texture: Texture::draw(config.period, pattern, rng),
        }
    }

    /// Whether a point lies in it. Squares and triangles are regular polygons in the circle.
    fn holds(&self, x: f64, y: f64) -> bool {
        let [x, y] = [x - self.centre[0], y - self.centre[1]];
        let sides = match self.class {
            1 => return x * x + y * y <= self.radius * self.radius,
            2 => 4,
            _ => 3,
        };
        let inner = self.radius * cos(PI / f64::from(sides));
        (0..sides).all(|side| {
            let angle = self.turn + TAU * f64::from(side) / f64::from(sides);
            x * cos(angle) + y * sin(angle) <= inner
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_function_of_its_seed() {
        let config = TexturesConfig::small();
        let image = config.draw(Seed(3)).unwrap();
        assert_eq!(image, config.draw(Seed(3)).unwrap());
        assert_ne!(image, config.draw(Seed(4)).unwrap());
    }

    #[test]
    fn areas_are_those_of_regular_shapes() {
        let texture = || Texture::draw((3.0, 3.0), Pattern::Dots, &mut Seed(0).rng());
        for (class, area) in [(1, PI), (2, 2.0), (3, 0.75 * 3.0_f64.sqrt())] {
            let shape = Shape {
                class,
                centre: [50.0, 50.0],
                radius: 40.0,
                turn: 0.3,
                texture: texture(),
            };
            let points = (0..10_000)
                .filter(|at| shape.holds(f64::from(at % 100) + 0.5, f64::from(at / 100) + 0.5));
            let share = points.count() as f64 / (area * 1600.0);
            assert!((share - 1.0).abs() < 0.01, "{class}: {share}");
        }
    }

    #[test]
    fn every_class_occurs_and_brightness_does_not_tell_it() {
        let config = TexturesConfig::small();
        let (mut counts, mut sums) = ([0.0; 4], [0.0; 4]);
        for index in 0..600 {
            let image = config.draw(Seed(1).at(index)).unwrap();
            for (pixel, class) in image.pixels.iter().zip(&image.classes) {
                counts[usize::from(*class)] += 1.0;
                sums[usize::from(*class)] += f64::from(*pixel);
            }
        }
        let all: f64 = counts.iter().sum();
        let mean = sums.iter().sum::<f64>() / all;
        for (count, sum) in counts.iter().zip(sums) {
            assert!(count / all > 0.05, "{counts:?}");
            assert!((sum / count - mean).abs() < 12.0, "{sums:?} {counts:?}");
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        let refusal = |config: TexturesConfig| config.draw(Seed(0)).unwrap_err().to_string();
        let small = TexturesConfig::small;
        assert_eq!(
            refusal(TexturesConfig { side: 0, ..small() }),
            "TexturesConfig.side = 0: must lie in 1..=4096"
        );
        let shapes = (3, 1);
        assert_eq!(
            refusal(TexturesConfig { shapes, ..small() }),
            "TexturesConfig.shapes = (3, 1): must be ascending and at most 1024"
        );
        let period = (0.0, 4.0);
        assert_eq!(
            refusal(TexturesConfig { period, ..small() }),
            "TexturesConfig.period = (0.0, 4.0): must be ascending, above 0 and finite"
        );
        let noise = f64::NAN;
        assert_eq!(
            refusal(TexturesConfig { noise, ..small() }),
            "TexturesConfig.noise = NaN: must lie in 0..=255"
        );
    }
}
