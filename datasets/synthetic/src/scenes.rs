//! Multispectral scenes whose every pixel has a known unit of ground.
//!
//! Units lie where one of several smooth random fields is the largest. Each has a spectrum, a sloping
//! base with absorption features; at borders the spectra mix a little. The terrain shades all bands of a
//! pixel alike, and each band answers to light by a power of its own, so that the pixels of a unit lie
//! on a curve rather than around a point. Noise is added last.
//!
//! ```
//! use menagerie_core::Seed;
//! use menagerie_data_synthetic::scenes::ScenesConfig;
//!
//! let scene = ScenesConfig::small().draw(Seed(0))?;
//! assert_eq!(scene.values.len(), 96 * 96 * 7);
//! assert!(scene.units.iter().all(|unit| *unit < 7));
//! # Ok::<(), menagerie_core::Error>(())
//! ```

use libm::{cos, exp, log, pow, sqrt};
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};
use rayon::prelude::*;
use std::f64::consts::TAU;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenesConfig {
    /// Rows and columns.
    pub size: [usize; 2],
    /// Units of ground, at most 255.
    pub units: usize,
    /// Values of a pixel.
    pub bands: usize,
    /// About how far the units reach, in pixels.
    pub reach: f64,
    /// The share of a pixel's light that comes from its eight neighbours.
    pub mixing: f64,
    /// By how much the terrain brightens or darkens a pixel at most, as a share of its light.
    pub shading: f64,
    /// The least and the greatest power by which a band answers to light.
    pub response: (f64, f64),
    /// The standard deviation of the noise.
    pub noise: f64,
}

/// A scene with the unit of each pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct MultispectralScene {
    /// Rows and columns.
    pub size: [usize; 2],
    /// Values of a pixel.
    pub bands: usize,
    /// About 0 to 1, `[rows · columns, bands]`.
    pub values: Vec<f32>,
    /// The unit of each pixel, `[rows · columns]`.
    pub units: Vec<u8>,
}

impl ScenesConfig {
    const NAME: &str = "ScenesConfig";

    /// 96×96 pixels of seven bands and seven units.
    pub fn small() -> Self {
        Self {
            size: [96, 96],
            units: 7,
            bands: 7,
            reach: 22.0,
            mixing: 0.3,
            shading: 0.35,
            response: (0.6, 1.6),
            noise: 0.02,
        }
    }

    /// The same of another size.
    pub fn with_size(self, size: [usize; 2]) -> Self {
        Self { size, ..self }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.size.iter().any(|side| !(1..=1 << 16).contains(side)) {
            let rule = "both sides must lie in 1..=65536";
            return Err(Error::config(Self::NAME, "size", self.size, rule));
        }
        for (field, value) in [("units", self.units), ("bands", self.bands)] {
            if !(1..=255).contains(&value) {
                return Err(Error::config(
                    Self::NAME,
                    field,
                    value,
                    "must lie in 1..=255",
                ));
            }
        }
        if !(self.reach >= 1.0 && self.reach.is_finite()) {
            let rule = "must be finite and at least 1";
            return Err(Error::config(Self::NAME, "reach", self.reach, rule));
        }
        for (field, share) in [("mixing", self.mixing), ("shading", self.shading)] {
            if !(0.0..1.0).contains(&share) {
                let rule = "must be at least 0 and below 1";
                return Err(Error::config(Self::NAME, field, share, rule));
            }
        }
        let (least, most) = self.response;
        if !(least > 0.0 && least <= most && most.is_finite()) {
            let rule = "must be ascending, above 0 and finite";
            return Err(Error::config(Self::NAME, "response", self.response, rule));
        }
        if !(self.noise.is_finite() && self.noise >= 0.0) {
            let rule = "must be finite and not negative";
            return Err(Error::config(Self::NAME, "noise", self.noise, rule));
        }
        Ok(())
    }

    /// The scene of a seed, the same on every machine and with any number of threads.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn draw(&self, seed: Seed) -> Result<MultispectralScene> {
        self.validate()?;
        let [height, width] = self.size;
        let fields: Vec<Field> = (0..self.units)
            .map(|unit| Field::draw(self.size, self.reach, seed.stream("units").at(unit as u64)))
            .collect();
        let terrain = Field::draw(self.size, self.reach / 2.0, seed.stream("terrain"));
        let spectra: Vec<Vec<f64>> = (0..self.units)
            .map(|unit| {
                spectrum(
                    self.bands,
                    &mut seed.stream("spectra").at(unit as u64).rng(),
                )
            })
            .collect();
        let mut rng = seed.stream("response").rng();
        let powers: Vec<f64> = (0..self.bands)
            .map(|_| rng.random_range(self.response.0..=self.response.1))
            .collect();

        let mut units = vec![0_u8; height * width];
        units
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(row, units)| {
                for (column, unit) in units.iter_mut().enumerate() {
                    let mut most = f64::NEG_INFINITY;
                    for (number, field) in fields.iter().enumerate() {
                        let value = field.at(row, column);
                        if value > most {
                            most = value;
                            *unit = number as u8;
                        }
                    }
                }
            });

        let noise = seed.stream("noise");
        let mut values = vec![0.0_f32; height * width * self.bands];
        values
            .par_chunks_mut(width * self.bands)
            .enumerate()
            .for_each(|(row, values)| {
                let mut rng = noise.at(row as u64).rng();
                let mut light = vec![0.0; self.bands];
                for (column, pixel) in values.chunks_exact_mut(self.bands).enumerate() {
                    self.mix(&units, &spectra, [row, column], &mut light);
                    let shade = 1.0 + self.shading * terrain.at(row, column);
                    let bands = pixel.iter_mut().zip(light.iter().zip(&powers));
                    for (value, (light, power)) in bands {
                        *value =
                            (pow(light * shade, *power) + self.noise * normal(&mut rng)) as f32;
                    }
                }
            });
        Ok(MultispectralScene {
            size: self.size,
            bands: self.bands,
            values,
            units,
        })
    }

    /// The light of a pixel: of its own unit, and a little of its neighbours'.
    fn mix(
        &self,
        units: &[u8],
        spectra: &[Vec<f64>],
        [row, column]: [usize; 2],
        light: &mut [f64],
    ) {
        let [height, width] = self.size;
        light.fill(0.0);
        for down in 0..3 {
            for right in 0..3 {
                // Beyond the border the nearest pixel stands in.
                let y = (row + down).saturating_sub(1).min(height - 1);
                let x = (column + right).saturating_sub(1).min(width - 1);
                let weight = if (down, right) == (1, 1) {
                    1.0 - self.mixing
                } else {
                    self.mixing / 8.0
                };
                let spectrum = &spectra[usize::from(units[y * width + x])];
                for (light, value) in light.iter_mut().zip(spectrum) {
                    *light += weight * value;
                }
            }
        }
    }
}

/// The light that a unit sends back in each band, 0.05 to 1.
fn spectrum(bands: usize, rng: &mut impl Rng) -> Vec<f64> {
    let level = rng.random_range(0.25..0.65);
    let slope = rng.random_range(-0.25..0.25);
    let features: Vec<[f64; 3]> = (0..2)
        .map(|_| {
            let centre = rng.random_range(0.0..1.0);
            [
                centre,
                rng.random_range(0.08..0.25),
                rng.random_range(0.05..0.3),
            ]
        })
        .collect();
    (0..bands)
        .map(|band| {
            let place = (band as f64 + 0.5) / bands as f64;
            let absorbed: f64 = features
                .iter()
                .map(|[centre, width, depth]| {
                    let away = (place - centre) / width;
                    depth * exp(-0.5 * away * away)
                })
                .sum();
            (level + slope * (place - 0.5) - absorbed).clamp(0.05, 1.0)
        })
        .collect()
}

/// A number of the standard normal distribution (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = sqrt(-2.0 * log(1.0 - rng.random::<f64>()));
    radius * cos(TAU * rng.random::<f64>())
}

/// A smooth random field: numbers on two lattices, the second half as wide, interpolated.
struct Field {
    octaves: [Lattice; 2],
}

struct Lattice {
    step: f64,
    columns: usize,
    values: Vec<f64>,
}

impl Field {
    fn draw(size: [usize; 2], reach: f64, seed: Seed) -> Self {
        let octave = |number: u64| {
            let step = (reach / (number + 1) as f64).max(1.0);
            let [rows, columns] = size.map(|side| (side as f64 / step) as usize + 2);
            let mut rng = seed.at(number).rng();
            Lattice {
                step,
                columns,
                values: (0..rows * columns)
                    .map(|_| rng.random_range(-1.0..1.0))
                    .collect(),
            }
        };
        Self {
            octaves: [octave(0), octave(1)],
        }
    }

    /// The value at a pixel, -1 to 1.
    fn at(&self, row: usize, column: usize) -> f64 {
        let [coarse, fine] = &self.octaves;
        (2.0 * coarse.at(row, column) + fine.at(row, column)) / 3.0
    }
}

impl Lattice {
    fn at(&self, row: usize, column: usize) -> f64 {
        let place = |at: usize| {
            let at = at as f64 / self.step;
            let whole = at as usize;
            let rest = at - whole as f64;
            // Smooth at the lattice's points.
            (whole, rest * rest * (3.0 - 2.0 * rest))
        };
        let ((y, v), (x, u)) = (place(row), place(column));
        let value = |y: usize, x: usize| self.values[y * self.columns + x];
        let across = |y: usize| value(y, x) * (1.0 - u) + value(y, x + 1) * u;
        across(y) * (1.0 - v) + across(y + 1) * v
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_a_function_of_its_seed() {
        let config = ScenesConfig::small().with_size([40, 70]);
        let scene = config.draw(Seed(3)).unwrap();
        assert_eq!(scene, config.draw(Seed(3)).unwrap());
        assert_ne!(scene, config.draw(Seed(4)).unwrap());
        assert_eq!(
            (scene.values.len(), scene.units.len()),
            (40 * 70 * 7, 40 * 70)
        );
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(pool.install(|| config.draw(Seed(3))).unwrap(), scene);
    }

    #[test]
    fn units_lie_in_patches_and_have_spectra_of_their_own() {
        let plain = ScenesConfig {
            mixing: 0.0,
            shading: 0.0,
            noise: 0.0,
            ..ScenesConfig::small()
        };
        let scene = plain.draw(Seed(1)).unwrap();
        // Without shading, mixing and noise all pixels of a unit are alike.
        let mut first: Vec<Option<&[f32]>> = vec![None; 7];
        for (pixel, unit) in scene.values.chunks(7).zip(&scene.units) {
            assert_eq!(*first[usize::from(*unit)].get_or_insert(pixel), pixel);
        }
        let spectra: Vec<&[f32]> = first.into_iter().flatten().collect();
        assert!(spectra.len() >= 6, "{}", spectra.len());
        for (at, a) in spectra.iter().enumerate() {
            for b in &spectra[at + 1..] {
                let apart: f32 = a.iter().zip(*b).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(apart.sqrt() > 0.02, "{a:?} {b:?}");
            }
        }
        // Neighbours are mostly of one unit.
        let pairs = scene.units.chunks(96).flat_map(|row| row.windows(2));
        let same = pairs.filter(|pair| pair[0] == pair[1]).count();
        assert!(same as f64 > 0.85 * (96.0 * 95.0), "{same}");
    }

    #[test]
    fn noise_and_shading_have_their_strength() {
        let shaded = ScenesConfig {
            noise: 0.0,
            ..ScenesConfig::small()
        };
        let (with, without) = (
            ScenesConfig::small().draw(Seed(2)).unwrap(),
            shaded.draw(Seed(2)).unwrap(),
        );
        let pairs = with.values.iter().zip(&without.values);
        let squares: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let deviation = (squares / with.values.len() as f64).sqrt();
        assert!((deviation - 0.02).abs() < 0.0005, "{deviation}");
        assert!(without.values.iter().all(|value| *value > 0.0));
    }

    #[test]
    fn impossible_scenes_are_refused() {
        let refusal = |config: ScenesConfig| config.draw(Seed(0)).unwrap_err().to_string();
        let small = ScenesConfig::small;
        assert_eq!(
            refusal(small().with_size([0, 5])),
            "ScenesConfig.size = [0, 5]: both sides must lie in 1..=65536"
        );
        assert_eq!(
            refusal(ScenesConfig {
                units: 256,
                ..small()
            }),
            "ScenesConfig.units = 256: must lie in 1..=255"
        );
        assert_eq!(
            refusal(ScenesConfig {
                shading: 1.0,
                ..small()
            }),
            "ScenesConfig.shading = 1.0: must be at least 0 and below 1"
        );
        assert_eq!(
            refusal(ScenesConfig {
                response: (1.0, 0.5),
                ..small()
            }),
            "ScenesConfig.response = (1.0, 0.5): must be ascending, above 0 and finite"
        );
        assert_eq!(
            refusal(ScenesConfig {
                noise: f64::NAN,
                ..small()
            }),
            "ScenesConfig.noise = NaN: must be finite and not negative"
        );
        assert_eq!(
            refusal(ScenesConfig {
                reach: 0.5,
                ..small()
            }),
            "ScenesConfig.reach = 0.5: must be finite and at least 1"
        );
    }
}
