use super::{normal, probability, range, uniform};
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};

/// What fills an erased rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ErasingMode {
    /// 0: the mean of a standardised image.
    Constant,
    /// One standard normal number per channel.
    Colour,
    /// A standard normal number for every value.
    Pixel,
}

/// Rectangles of a standardised image replaced by noise (Zhong et al. 2020), with timm's
/// parameters.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomErasing {
    /// The probability that anything is erased.
    pub probability: f64,
    /// The smallest and the largest share of the image's area; divided among the rectangles.
    pub area: (f64, f64),
    /// The narrowest and the widest proportions, height over width; uniform on a logarithmic scale.
    pub ratio: (f64, f64),
    /// The smallest and the largest number of rectangles.
    pub count: (usize, usize),
    /// What fills them.
    pub mode: ErasingMode,
}

/// An erased rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Where it lies.
    pub region: super::Region,
    /// The randomness of what fills it.
    pub noise: Seed,
}

impl RandomErasing {
    const NAME: &str = "RandomErasing";

    /// One rectangle of noise with that probability, 2 % to a third of the image, proportions 0.3
    /// to 1/0.3: the fine-tuning recipe of MAE has the probability 0.25.
    pub fn pixels(probability: f64) -> Self {
        Self {
            probability,
            area: (0.02, 1.0 / 3.0),
            ratio: (0.3, 1.0 / 0.3),
            count: (1, 1),
            mode: ErasingMode::Pixel,
        }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        probability(Self::NAME, "probability", self.probability)?;
        range(Self::NAME, "area", self.area)?;
        range(Self::NAME, "ratio", self.ratio)?;
        if self.count.0 == 0 || self.count.0 > self.count.1 || self.count.1 > 64 {
            let rule = "must be (fewest, most) with 1 <= fewest <= most <= 64";
            return Err(Error::config(Self::NAME, "count", self.count, rule));
        }
        Ok(())
    }

    /// The rectangles of an image of `[height, width]`. One that does not fit is drawn again, up to
    /// ten times, and then left out.
    pub fn draw(&self, [height, width]: [usize; 2], rng: &mut impl Rng) -> Vec<Erased> {
        if rng.random::<f64>() > self.probability {
            return Vec::new();
        }
        let (fewest, most) = self.count;
        let count = rng.random_range(fewest..=most.max(fewest));
        let mut erased = Vec::with_capacity(count);
        for _ in 0..count {
            let shape = (0..10).find_map(|_| {
                let share = uniform(self.area.0, self.area.1, rng);
                let area = share * (height * width) as f64 / count as f64;
                let ratio = uniform(self.ratio.0.ln(), self.ratio.1.ln(), rng).exp();
                let [rows, columns] = [(area * ratio).sqrt(), (area / ratio).sqrt()]
                    .map(|side| side.round_ties_even() as usize);
                (rows < height && columns < width).then_some([rows, columns])
            });
            if let Some([rows, columns]) = shape {
                let region = super::Region {
                    top: rng.random_range(0..=height - rows),
                    left: rng.random_range(0..=width - columns),
                    height: rows,
                    width: columns,
                };
                let noise = Seed(rng.random());
                erased.push(Erased { region, noise });
            }
        }
        erased
    }

    /// Erases the rectangles in `planes`, `[channels, height, width]` of that `size` `[height,
    /// width]`.
    ///
    /// # Errors
    /// [`Error::Input`] where the planes are not of that size or a rectangle lies outside of them.
    pub fn apply(&self, planes: &mut [f32], size: [usize; 2], erased: &[Erased]) -> Result<()> {
        let [height, width] = size;
        let area = height.checked_mul(width).filter(|area| *area > 0);
        let Some(area) = area.filter(|area| planes.len().is_multiple_of(*area)) else {
            let rule = format!("must be planes of {height} x {width}");
            return Err(Error::input("the number of values", planes.len(), rule));
        };
        for Erased { region, noise } in erased {
            let inside = |first: usize, size: usize, side: usize| {
                first.checked_add(size).is_some_and(|end| end <= side)
            };
            if !inside(region.top, region.height, height)
                || !inside(region.left, region.width, width)
            {
                let rule = format!("must lie inside {height} x {width}");
                return Err(Error::input("an erased rectangle", region, rule));
            }
            let mut rng = noise.rng();
            for plane in planes.chunks_exact_mut(area) {
                let colour = match self.mode {
                    ErasingMode::Constant | ErasingMode::Pixel => 0.0,
                    ErasingMode::Colour => normal(&mut rng) as f32,
                };
                for row in plane
                    .chunks_exact_mut(width)
                    .skip(region.top)
                    .take(region.height)
                {
                    for value in &mut row[region.left..region.left + region.width] {
                        *value = match self.mode {
                            ErasingMode::Pixel => normal(&mut rng) as f32,
                            ErasingMode::Constant | ErasingMode::Colour => colour,
                        };
                    }
                }
            }
        }
        Ok(())
    }
}
