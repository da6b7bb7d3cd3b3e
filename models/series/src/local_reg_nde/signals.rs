//! Procedural series for the latent ODE: sums of damped sinusoids, sampled at common but irregular
//! times, with values missing at random.

use super::latent::Series;
use burn::config::Config;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};

/// Series of variables that mix a few damped sinusoids.
#[derive(Config, Debug, PartialEq)]
pub struct SignalsConfig {
    /// Variables of a series.
    #[config(default = 4)]
    pub variables: usize,
    /// Times, of 0 to 1, the first and the last among them.
    #[config(default = 24)]
    pub times: usize,
    /// Sinusoids of a series; their frequencies and decays are common to all series, amplitudes and
    /// phases its own.
    #[config(default = 2)]
    pub sinusoids: usize,
    /// The share of values that are observed.
    #[config(default = 0.6)]
    pub observed: f64,
}

/// What all series have in common: times, frequencies, decays, and how variables mix the sinusoids.
#[derive(Clone, Debug, PartialEq)]
pub struct Signals {
    config: SignalsConfig,
    times: Vec<f64>,
    /// Angular frequency and decay of every sinusoid.
    modes: Vec<[f64; 2]>,
    /// Of every variable and sinusoid: amplitude and shift of the phase.
    mixing: Vec<Vec<[f64; 2]>>,
}

impl SignalsConfig {
    const NAME: &str = "SignalsConfig";

    /// Refuses sizes of 0, fewer than two times, and a share outside of (0, 1].
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, size, least) in [
            ("variables", self.variables, 1),
            ("times", self.times, 2),
            ("sinusoids", self.sinusoids, 1),
        ] {
            if size < least {
                let rule = format!("must be at least {least}");
                return Err(Error::config(Self::NAME, field, size, rule));
            }
        }
        if !(self.observed > 0.0 && self.observed <= 1.0) {
            let rule = "must be above 0 and at most 1";
            return Err(Error::config(Self::NAME, "observed", self.observed, rule));
        }
        Ok(())
    }

    /// Draws what all series have in common.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn draw(&self, seed: Seed) -> Result<Signals> {
        self.validate()?;
        let mut rng = seed.stream("signals").rng();
        let mut times: Vec<f64> = (2..self.times).map(|_| rng.random()).collect();
        times.extend([0.0, 1.0]);
        times.sort_by(f64::total_cmp);
        let between = |low: f64, high: f64, rng: &mut dyn Rng| low + (high - low) * uniform(rng);
        let modes = (0..self.sinusoids)
            .map(|_| [between(4.0, 16.0, &mut rng), between(0.5, 2.0, &mut rng)])
            .collect();
        let row = |rng: &mut dyn Rng| -> Vec<[f64; 2]> {
            let entries = (0..self.sinusoids).map(|_| {
                let phase = between(0.0, std::f64::consts::TAU, rng);
                [between(0.3, 1.0, rng), phase]
            });
            entries.collect()
        };
        Ok(Signals {
            config: self.clone(),
            times,
            modes,
            mixing: (0..self.variables).map(|_| row(&mut rng)).collect(),
        })
    }
}

fn uniform(rng: &mut dyn Rng) -> f64 {
    // 53 bits, as a draw from 0..1.
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

impl Signals {
    /// The times, ascending from 0 to 1.
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// The series of these numbers on a device, in single precision: values, which of them are
    /// observed, and the time since the last look.
    pub fn series(&self, numbers: &[usize], seed: Seed, device: &Device) -> Series {
        let SignalsConfig {
            variables,
            times,
            observed,
            ..
        } = self.config;
        let (mut data, mut mask, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
        for number in numbers {
            let mut rng = seed.stream("series").at(*number as u64).rng();
            let own: Vec<[f64; 2]> = (0..self.config.sinusoids)
                .map(|_| {
                    [
                        0.5 + uniform(&mut rng),
                        std::f64::consts::PI * uniform(&mut rng),
                    ]
                })
                .collect();
            for (at, t) in self.times.iter().enumerate() {
                for row in &self.mixing {
                    let terms = row.iter().zip(&own).zip(&self.modes);
                    let value: f64 = terms
                        .map(|(([weight, shift], [amplitude, phase]), [omega, decay])| {
                            let wave = (omega * t + phase + shift).sin();
                            weight * amplitude * (-decay * t).exp() * wave
                        })
                        .sum();
                    data.push(value as f32);
                    mask.push(if uniform(&mut rng) < observed {
                        1.0
                    } else {
                        0.0
                    });
                }
                let before = self.times[at.saturating_sub(1)];
                gaps.push((t - before) as f32);
            }
            // A series without any observation has no likelihood.
            let last = mask.len() - 1;
            mask[last] = 1.0;
        }
        let count = numbers.len();
        let tensor = |values: Vec<f32>, width: usize| {
            Tensor::from_data(TensorData::new(values, [count, times, width]), device)
        };
        Series {
            data: tensor(data, variables),
            mask: tensor(mask, variables),
            gaps: tensor(gaps, 1),
            times: self.times.clone(),
        }
    }
}
