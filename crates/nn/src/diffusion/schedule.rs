//! How much noise every step adds.

use super::Diffusion;
use burn::config::Config;
use menagerie_core::{Error, Result};

/// The most that the cosine schedule lets a step add.
const LARGEST_BETA: f64 = 0.999;

/// The β of every step, in a form that stays alike for every number of steps.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum NoiseSchedule {
    /// A straight line from 1e-4 to 0.02 over 1 000 steps, scaled by 1 000 / T for T steps (Ho et
    /// al. 2020, section 4).
    Linear,
    /// ᾱ follows cos²((t / T + 0.008) / 1.008 · π / 2), and β stays below 0.999 (Nichol and Dhariwal
    /// 2021, arXiv:2102.09672, eq. 17).
    Cosine,
}

impl NoiseSchedule {
    /// β of `steps` steps.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no step, or so few that a β of the straight line exceeds 1.
    pub fn betas(self, steps: usize) -> Result<Vec<f64>> {
        if steps == 0 {
            let rule = "must be at least 1";
            return Err(Error::input("the number of diffusion steps", 0, rule));
        }
        match self {
            Self::Linear => {
                let scale = 1_000.0 / steps as f64;
                let (first, last) = (scale * 1e-4, scale * 0.02);
                if last > 1.0 {
                    let rule = "must be at least 20 for the linear schedule";
                    return Err(Error::input("the number of diffusion steps", steps, rule));
                }
                let gap = (steps - 1).max(1) as f64;
                Ok((0..steps)
                    .map(|step| first + (last - first) * step as f64 / gap)
                    .collect())
            }
            Self::Cosine => {
                let at = |step: usize| {
                    let share = step as f64 / steps as f64;
                    let angle = (share + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
                    libm::cos(angle) * libm::cos(angle)
                };
                Ok((0..steps)
                    .map(|step| (1.0 - at(step + 1) / at(step)).min(LARGEST_BETA))
                    .collect())
            }
        }
    }

    /// The process with these β.
    ///
    /// # Errors
    /// As [`betas`](Self::betas).
    pub fn diffusion(self, steps: usize) -> Result<Diffusion> {
        Diffusion::new(self.betas(steps)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_straight_line_keeps_its_noise_for_other_numbers_of_steps() {
        let long = NoiseSchedule::Linear.diffusion(1_000).unwrap();
        let short = NoiseSchedule::Linear.diffusion(250).unwrap();
        assert_eq!(long.betas()[0], 1e-4);
        assert!((long.betas()[999] - 0.02).abs() < 1e-15);
        let (long, short) = (long.alpha_bars()[999], short.alpha_bars()[249]);
        assert!((long - 4.035_8e-5).abs() < 1e-8, "{long}");
        assert!((short.ln() / long.ln() - 1.0).abs() < 0.05);
    }

    #[test]
    fn the_cosine_is_that_of_the_paper() {
        let diffusion = NoiseSchedule::Cosine.diffusion(1_000).unwrap();
        let start = libm::cos(0.008 / 1.008 * std::f64::consts::FRAC_PI_2).powi(2);
        // Half-way, before β is capped.
        let angle = (0.5 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
        let expected = libm::cos(angle).powi(2) / start;
        assert!((diffusion.alpha_bars()[499] - expected).abs() < 1e-12);
        assert_eq!(diffusion.betas()[999], LARGEST_BETA);
    }

    #[test]
    fn impossible_numbers_of_steps_are_refused() {
        let error = NoiseSchedule::Cosine.betas(0).unwrap_err().to_string();
        assert_eq!(
            error,
            "the number of diffusion steps is 0: must be at least 1"
        );
        let error = NoiseSchedule::Linear.betas(19).unwrap_err().to_string();
        assert_eq!(
            error,
            "the number of diffusion steps is 19: must be at least 20 for the linear schedule"
        );
    }
}
