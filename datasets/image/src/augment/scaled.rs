//! Crops of one size from an image at a random size, as guided-diffusion makes them.

use super::{Filter, Image, Region, crop::check_size, resample};
use menagerie_core::{Error, Result};
use rand::{Rng, RngExt};

/// A square of an image whose shorter side was resized first, to a random length or a fixed one.
///
/// Resizing halves the image by means over 2×2 squares while its shorter side stays at least twice the
/// wanted length, then goes the rest of the way bicubically (guided-diffusion,
/// `random_crop_arr` and `center_crop_arr`).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaledCrop {
    /// Height and width of the result.
    pub side: usize,
    /// The least and the largest length of the shorter side.
    pub shorter: (usize, usize),
    /// Whether the square lies at random, rather than in the centre.
    pub random: bool,
}

/// What a [`ScaledCrop`] draws: the length of the shorter side, and where the square lies as shares of
/// what is left over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaledDraw {
    /// The length of the shorter side.
    pub shorter: usize,
    /// Of the rows and of the columns that are left over, from 0 up to but not including 1.
    pub place: [f64; 2],
}

impl ScaledCrop {
    const NAME: &str = "ScaledCrop";

    /// The augmentation of training: the shorter side between `side` and `side` / 0.8, 256 to 320
    /// for 256, and a square anywhere.
    pub fn training(side: usize) -> Self {
        Self {
            side,
            shorter: (side, (5 * side).div_ceil(4)),
            random: true,
        }
    }

    /// Evaluation: the shorter side at `side`, and the centre.
    pub fn evaluation(side: usize) -> Self {
        Self {
            side,
            shorter: (side, side),
            random: false,
        }
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        check_size(Self::NAME, "side", [self.side, self.side])?;
        let (low, high) = self.shorter;
        if low < self.side || high < low || high > Image::MAX_SIDE {
            let rule = format!(
                "must be (low, high) with {} <= low <= high <= 16384",
                self.side
            );
            return Err(Error::config(Self::NAME, "shorter", self.shorter, rule));
        }
        Ok(())
    }

    /// A length and a place.
    pub fn draw(&self, rng: &mut impl Rng) -> ScaledDraw {
        let (low, high) = self.shorter;
        ScaledDraw {
            shorter: rng.random_range(low..=high.max(low)),
            place: [rng.random(), rng.random()],
        }
    }

    /// The square of `image` that was drawn.
    ///
    /// # Errors
    /// [`Error::Input`] where a side would be 0 or above [`Image::MAX_SIDE`], or the drawn length is
    /// below the square's side.
    pub fn apply(&self, image: &Image, draw: &ScaledDraw) -> Result<Image> {
        let mut image = image.clone();
        while image.height().min(image.width()) >= 2 * draw.shorter {
            let half = image.size().map(|side| side / 2);
            image = resample::resize(&image, half, Filter::Box)?;
        }
        let scale = draw.shorter as f64 / image.height().min(image.width()) as f64;
        let size = image.size();
        let size = size.map(|side| (side as f64 * scale).round_ties_even() as usize);
        let image = resample::resize(&image, size, Filter::Bicubic)?;
        let first = |axis: usize| {
            let left = size[axis].saturating_sub(self.side);
            match self.random {
                true => (draw.place[axis] * (left + 1) as f64) as usize,
                false => left / 2,
            }
        };
        let region = Region {
            top: first(0),
            left: first(1),
            height: self.side,
            width: self.side,
        };
        region.crop(&image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_core::Seed;

    /// Brightness grows along a row.
    fn ramp(height: usize, width: usize) -> Image {
        let pixels = (0..height * width).map(|at| (at % width * 255 / width) as u8);
        Image::new(pixels.collect(), [height, width, 1]).unwrap()
    }

    #[test]
    fn large_images_are_halved_by_means() {
        // Halved to 4×8 exactly, then cut.
        let image = ramp(8, 16);
        let crop = ScaledCrop::evaluation(4);
        let draw = crop.draw(&mut Seed(0).rng());
        assert_eq!(draw.shorter, 4);
        let square = crop.apply(&image, &draw).unwrap();
        let mean = |x: usize| {
            let [a, b] = [2 * x, 2 * x + 1].map(|x| (x * 255 / 16) as f64);
            ((a + b) / 2.0).round() as i32
        };
        for (x, value) in square.pixels()[..4].iter().enumerate() {
            // The centre of eight columns.
            assert!((i32::from(*value) - mean(x + 2)).abs() <= 1, "{x}");
        }
    }

    #[test]
    fn draws_reach_both_ends_and_all_places() {
        let crop = ScaledCrop::training(256);
        assert_eq!(crop.shorter, (256, 320));
        let mut rng = Seed(1).rng();
        let draws: Vec<ScaledDraw> = (0..2_000).map(|_| crop.draw(&mut rng)).collect();
        let lengths = draws.iter().map(|draw| draw.shorter);
        assert_eq!(
            (lengths.clone().min(), lengths.max()),
            (Some(256), Some(320))
        );
        let small = ScaledCrop {
            side: 4,
            shorter: (6, 6),
            random: true,
        };
        let image = ramp(6, 6);
        let lefts: std::collections::BTreeSet<u8> = (0..50)
            .map(|_| small.apply(&image, &small.draw(&mut rng)).unwrap().pixels()[0])
            .collect();
        assert_eq!(lefts.len(), 3);
    }

    #[test]
    fn impossible_crops_are_refused() {
        let crop = ScaledCrop {
            shorter: (200, 320),
            ..ScaledCrop::training(256)
        };
        assert_eq!(
            crop.validate().unwrap_err().to_string(),
            "ScaledCrop.shorter = (200, 320): must be (low, high) with 256 <= low <= high <= 16384"
        );
        ScaledCrop::training(256).validate().unwrap();
    }
}
