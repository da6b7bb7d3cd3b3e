//! What RAVE does to its training data (`rave/core.py`, `train_rave.py`).

use menagerie_core::{Error, Result, Seed};
use rand::RngExt;
use std::f64::consts::TAU;

/// Bits of the samples that [`draw_dequantisation`] fills up.
const BITS: i32 = 16;

/// Noise that fills the gap between neighbouring 16-bit values, uniform in `0..2^-16`: a model of
/// densities should not see that they are discrete.
pub fn draw_dequantisation(len: usize, seed: Seed) -> Vec<f32> {
    let mut rng = seed.rng();
    let step = 2.0f32.powi(-BITS);
    (0..len).map(|_| rng.random::<f32>() * step).collect()
}

/// Adds `noise` to the samples.
pub fn dequantise(samples: &mut [f32], noise: &[f32]) {
    for (sample, noise) in samples.iter_mut().zip(noise) {
        *sample += noise;
    }
}

/// A second-order all-pass filter: it turns the phases around one frequency and leaves all
/// magnitudes, so that what is heard stays and the waveform changes.
///
/// With the pole `p = radius · e^{i angle}` it is `(|p|² - 2 Re(p) z⁻¹ + z⁻²) / (1 - 2 Re(p) z⁻¹ + |p|²
/// z⁻²)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AllPass {
    angle: f64,
    radius: f64,
}

impl AllPass {
    /// The filter whose pole lies at `frequency` Hz, for signals of `rate` samples per second.
    ///
    /// # Errors
    /// [`Error::Input`] for a frequency outside of `0..=rate / 2`, or a radius outside of `0..1`,
    /// where the filter is not stable.
    pub fn new(frequency: f64, radius: f64, rate: u32) -> Result<Self> {
        let most = f64::from(rate) / 2.0;
        if rate == 0 || !(0.0..=most).contains(&frequency) {
            let rule = format!("must lie between 0 and half the sample rate, {most}");
            return Err(Error::input("a filter's frequency", frequency, rule));
        }
        if !(0.0..1.0).contains(&radius) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::input("the radius of a pole", radius, rule));
        }
        Ok(Self {
            angle: TAU * frequency / f64::from(rate),
            radius,
        })
    }

    /// Filters the samples, from rest.
    pub fn apply(&self, samples: &mut [f32]) {
        let middle = -2.0 * self.radius * self.angle.cos();
        let last = self.radius * self.radius;
        // Transposed direct form: two values of memory.
        let mut memory = [0.0f64; 2];
        for sample in samples {
            let x = f64::from(*sample);
            let y = last * x + memory[0];
            memory = [middle * (x - y) + memory[1], x - last * y];
            *sample = y as f32;
        }
    }
}

/// How [`AllPass`] filters are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseMangle {
    /// How often there is one.
    pub probability: f64,
    /// The frequency of the pole in Hz, log-uniform between these.
    pub frequencies: [f64; 2],
    /// The radius of the pole.
    pub radius: f64,
}

impl Default for PhaseMangle {
    /// RAVE's: 20 Hz to 2 kHz, radius 0.99, four times in five.
    fn default() -> Self {
        Self {
            probability: 0.8,
            frequencies: [20.0, 2_000.0],
            radius: 0.99,
        }
    }
}

impl PhaseMangle {
    /// Draws a filter for signals of `rate` samples per second, or none.
    ///
    /// # Errors
    /// [`Error::Input`] for a probability outside of `0..=1`, frequencies that are not positive and
    /// ascending, and as [`AllPass::new`].
    pub fn draw(&self, rate: u32, seed: Seed) -> Result<Option<AllPass>> {
        if !(0.0..=1.0).contains(&self.probability) {
            let rule = "must lie between 0 and 1";
            return Err(Error::input("a probability", self.probability, rule));
        }
        let [low, high] = self.frequencies;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            let rule = "must be positive and ascending";
            return Err(Error::input("frequencies", self.frequencies, rule));
        }
        // The largest frequency decides whether the range fits the rate, whatever is drawn.
        AllPass::new(high, self.radius, rate)?;
        let mut rng = seed.rng();
        let [happens, place] = [rng.random::<f64>(), rng.random::<f64>()];
        if happens >= self.probability {
            return Ok(None);
        }
        let frequency = (low.ln() + place * (high.ln() - low.ln())).exp();
        AllPass::new(frequency.clamp(low, high), self.radius, rate).map(Some)
    }
}
