//! What a network's output means for x₀ and for the step before.

use super::Diffusion;
use burn::config::Config;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// What the network says of x_t.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum Target {
    /// The noise ε that was added.
    Noise,
    /// The data x₀.
    Start,
}

/// The variance of the step from x_t to x_{t−1}.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum Variance {
    /// That of the posterior given x₀, which is right for data that are a single point.
    Small,
    /// β_t, which is right for data that are noise themselves; at step 0 the posterior's of step 1.
    Large,
    /// Between both, element by element: the second half of the network's channels, v, stands for
    /// exp((v + 1) / 2 · ln β_t + (1 − v) / 2 · ln β̃_t) (Nichol and Dhariwal 2021, eq. 15).
    Learned,
}

/// How to read a network's output.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct Reverse {
    /// What its (first half of) channels say.
    #[config(default = "Target::Noise")]
    pub target: Target,
    /// Where the variance comes from.
    #[config(default = "Variance::Large")]
    pub variance: Variance,
    /// Whether x₀ is clipped to −1..1.
    #[config(default = true)]
    pub clip: bool,
}

impl Default for Reverse {
    fn default() -> Self {
        Self::new()
    }
}

/// What a network's output says: the distribution of x_{t−1} given x_t, and x₀.
#[derive(Clone, Debug)]
pub struct Denoised<const D: usize> {
    /// The predicted x₀, in the shape of x_t.
    pub start: Tensor<D>,
    /// The mean of x_{t−1}, in the shape of x_t.
    pub mean: Tensor<D>,
    /// The logarithm of its variance: in the shape of x_t if it is learned, else `[batch, 1, …]`.
    pub log_variance: Tensor<D>,
}

impl Reverse {
    /// The network's prediction of the target and, if it is learned, of the variance; each in the
    /// shape of x_t.
    ///
    /// # Errors
    /// [`Error::Input`] if the output has another shape than that of x_t, with twice the channels
    /// where the variance is learned.
    pub fn split<const D: usize>(
        &self,
        output: Tensor<D>,
        x_t: &Tensor<D>,
    ) -> Result<(Tensor<D>, Option<Tensor<D>>)> {
        let mut expected = x_t.dims();
        let channels = expected.get(1).copied().unwrap_or_default();
        let learned = self.variance == Variance::Learned;
        if let (Some(size), true) = (expected.get_mut(1), learned) {
            *size = 2 * channels;
        }
        if output.dims() != expected || D < 2 {
            let rule = format!("must be {expected:?} for this x_t and variance");
            return Err(Error::input(
                "the shape of the network's output",
                output.dims(),
                rule,
            ));
        }
        if !learned {
            return Ok((output, None));
        }
        let half = |first: usize| output.clone().narrow(1, first, channels);
        Ok((half(0), Some(half(channels))))
    }
}

impl Diffusion {
    /// What `output`, the network's on x_t at steps `t`, says.
    ///
    /// # Errors
    /// [`Error::Input`] unless `t` holds an existing step for each sample and the output has the
    /// shape that [`Reverse::split`] asks for.
    pub fn denoise<const D: usize>(
        &self,
        output: Tensor<D>,
        x_t: Tensor<D>,
        t: &[usize],
        reverse: &Reverse,
    ) -> Result<Denoised<D>> {
        self.check_batch(&x_t, t)?;
        let (predicted, share) = reverse.split(output, &x_t)?;
        let start = match reverse.target {
            Target::Noise => self.start_from_noise(x_t.clone(), t, predicted)?,
            Target::Start => predicted,
        };
        let start = match reverse.clip {
            true => start.clamp(-1.0, 1.0),
            false => start,
        };
        let device = x_t.device();
        let posterior = self.posterior(start.clone(), x_t, t)?;
        let largest = || Self::column(t, &device, |step| libm::log(self.betas()[step]));
        let log_variance = match (share, reverse.variance) {
            (Some(share), _) => {
                let share = (share + 1.0) / 2.0;
                let least = posterior.log_variance;
                share.clone() * largest() + share.neg().add_scalar(1.0) * least
            }
            (None, Variance::Large) => Self::column(t, &device, |step| match step {
                0 => self.posterior_log_variance()[0],
                _ => libm::log(self.betas()[step]),
            }),
            (None, _) => posterior.log_variance,
        };
        Ok(Denoised {
            start,
            mean: posterior.mean,
            log_variance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::NoiseSchedule;
    use burn::tensor::Device;

    #[test]
    fn a_learned_variance_lies_between_the_two_fixed_ones() {
        let device = Device::default();
        let diffusion = NoiseSchedule::Linear.diffusion(100).unwrap();
        let x_t = Tensor::<4>::full([2, 3, 2, 2], 0.3, &device);
        let noise = Tensor::<4>::full([2, 3, 2, 2], 0.1, &device);
        let t = [0, 60];
        let values = |variance, output| -> Vec<f32> {
            let reverse = Reverse::new().with_variance(variance);
            let denoised = diffusion.denoise(output, x_t.clone(), &t, &reverse);
            let log_variance = denoised.unwrap().log_variance.expand([2, 3, 2, 2]);
            log_variance.into_data().iter().collect()
        };
        let small = values(Variance::Small, noise.clone());
        let large = values(Variance::Large, noise.clone());
        let learned = |v: f64| {
            let output = Tensor::cat(vec![noise.clone(), noise.full_like(v)], 1);
            values(Variance::Learned, output)
        };
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&learned(-1.0), &small));
        // At step 0 the fixed variance is not β.
        assert!(close(&learned(1.0)[12..], &large[12..]));
        assert!((learned(1.0)[0] - (diffusion.betas()[0] as f32).ln()).abs() < 1e-5);
        assert!(small[12] < learned(0.0)[12] && learned(0.0)[12] < large[12]);
    }

    #[test]
    fn outputs_of_another_shape_are_refused() {
        let device = Device::default();
        let diffusion = NoiseSchedule::Linear.diffusion(100).unwrap();
        let x_t = Tensor::<4>::zeros([1, 3, 2, 2], &device);
        let learned = Reverse::new().with_variance(Variance::Learned);
        let error = diffusion.denoise(x_t.clone(), x_t, &[1], &learned);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the shape of the network's output is [1, 3, 2, 2]: must be [1, 6, 2, 2] for this x_t \
             and variance"
        );
    }
}
