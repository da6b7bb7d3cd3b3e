//! What a network is trained on.

use super::{Diffusion, Reverse, Target};
use burn::config::Config;
use burn::tensor::{Bool, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// Half a step between two grey values out of 256, in −1..1.
const HALF_BIN: f64 = 1.0 / 255.0;

/// Steps for a batch, each of the `steps` with the same probability.
///
/// # Errors
/// [`Error::Input`] if there is no step to choose from.
pub fn draw_timesteps(batch: usize, steps: usize, seed: Seed) -> Result<Vec<usize>> {
    if steps == 0 {
        let rule = "must be at least 1";
        return Err(Error::input("the number of diffusion steps", 0, rule));
    }
    let mut rng = seed.rng();
    Ok((0..batch).map(|_| rng.random_range(0..steps)).collect())
}

/// The mean squared error of the target, and for a learned variance the variational bound.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct Objective {
    /// What the network's output means. The bound is that of predictions that are not clipped.
    #[config(default = "Reverse::new()")]
    pub reverse: Reverse,
    /// Whether the bound counts T / 1 000 times, which makes it an estimate of the whole sum.
    #[config(default = false)]
    pub rescale: bool,
}

impl Default for Objective {
    fn default() -> Self {
        Self::new()
    }
}

/// The losses of a batch, sample by sample, each `[batch]`.
#[derive(Clone, Debug)]
pub struct Losses {
    /// What is to be minimised: the sum of the others.
    pub total: Tensor<1>,
    /// The mean squared error.
    pub mse: Tensor<1>,
    /// The term of the variational bound in bits per dimension. Its mean is detached: it trains the
    /// variance alone (Nichol and Dhariwal 2021, section 3.1).
    pub bound: Option<Tensor<1>>,
}

impl Objective {
    /// The losses of the network's `output` on x_t = `q_sample(start, t, noise)`.
    ///
    /// # Errors
    /// [`Error::Input`] unless `t` holds an existing step for each sample and shapes fit.
    pub fn losses<const D: usize>(
        &self,
        diffusion: &Diffusion,
        output: Tensor<D>,
        start: Tensor<D>,
        x_t: Tensor<D>,
        noise: Tensor<D>,
        t: &[usize],
    ) -> Result<Losses> {
        diffusion.check_batch(&x_t, t)?;
        Diffusion::check_alike("x₀", &start, &x_t)?;
        Diffusion::check_alike("the noise", &noise, &x_t)?;
        let (predicted, share) = self.reverse.split(output, &x_t)?;
        let bound = match share {
            None => None,
            Some(share) => {
                let frozen = Tensor::cat(vec![predicted.clone().detach(), share], 1);
                let bound = self.bound(diffusion, frozen, start.clone(), x_t, t)?;
                let factor = match self.rescale {
                    true => diffusion.steps() as f64 / 1_000.0,
                    false => 1.0,
                };
                Some(bound * factor)
            }
        };
        let target = match self.reverse.target {
            Target::Noise => noise,
            Target::Start => start,
        };
        let mse = per_sample((target - predicted).square());
        let total = match &bound {
            Some(bound) => mse.clone() + bound.clone(),
            None => mse.clone(),
        };
        Ok(Losses { total, mse, bound })
    }

    /// The term of the variational bound that step `t` stands for, in bits per dimension, `[batch]`:
    /// the divergence of the posterior from the network's distribution of x_{t−1}, at step 0 the
    /// negative log-likelihood of x₀ in 256 grey values (Ho et al. 2020, eq. 5 and 13).
    ///
    /// # Errors
    /// As [`losses`](Self::losses).
    pub fn bound<const D: usize>(
        &self,
        diffusion: &Diffusion,
        output: Tensor<D>,
        start: Tensor<D>,
        x_t: Tensor<D>,
        t: &[usize],
    ) -> Result<Tensor<1>> {
        let reverse = self.reverse.with_clip(false);
        let device = x_t.device();
        let denoised = diffusion.denoise(output, x_t.clone(), t, &reverse)?;
        let log_variance = denoised.log_variance.expand(x_t.dims());
        let bits = |nats: Tensor<D>| per_sample(nats) / std::f64::consts::LN_2;
        let first: Vec<bool> = t.iter().map(|&step| step == 0).collect();
        let divergence = match first.contains(&false) {
            false => None,
            true => {
                let posterior = diffusion.posterior(start.clone(), x_t, t)?;
                let theirs = [posterior.mean, posterior.log_variance];
                Some(bits(normal_divergence(
                    theirs,
                    [denoised.mean.clone(), log_variance.clone()],
                )))
            }
        };
        let likelihood = first.contains(&true).then(|| {
            let log_scale = log_variance / 2.0;
            bits(discretised_log_likelihood(start, denoised.mean, log_scale).neg())
        });
        Ok(match (divergence, likelihood) {
            (Some(divergence), Some(likelihood)) => {
                let shape = [first.len()];
                let first = Tensor::<1, Bool>::from_data(TensorData::new(first, shape), &device);
                divergence.mask_where(first, likelihood)
            }
            (Some(only), None) | (None, Some(only)) => only,
            // `denoise` refuses an empty batch.
            (None, None) => Tensor::zeros([0], &device),
        })
    }
}

/// The mean over all axes but the first.
fn per_sample<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let shape = x.dims();
    let size = shape[1..].iter().product::<usize>();
    x.reshape([shape[0], size]).mean_dim(1).squeeze_dim(1)
}

/// KL(N(μ₁, e^{l₁}) ‖ N(μ₂, e^{l₂})) in nats, element by element.
fn normal_divergence<const D: usize>(
    [mean_1, log_1]: [Tensor<D>; 2],
    [mean_2, log_2]: [Tensor<D>; 2],
) -> Tensor<D> {
    let gap = log_1 - log_2.clone();
    let distance = (mean_1 - mean_2).square() * log_2.neg().exp();
    (gap.clone().exp() - gap + distance - 1.0) / 2.0
}

/// The logarithm of a normal distribution's share in the bin of width 2 / 255 around each value of
/// `x`, which is open at the ends of −1..1.
fn discretised_log_likelihood<const D: usize>(
    x: Tensor<D>,
    mean: Tensor<D>,
    log_scale: Tensor<D>,
) -> Tensor<D> {
    const LEAST: f64 = 1e-12;
    let centred = x.clone() - mean;
    let inverse = log_scale.neg().exp();
    let upper = normal_share((centred.clone() + HALF_BIN) * inverse.clone());
    let lower = normal_share((centred - HALF_BIN) * inverse);
    let log = |share: Tensor<D>| share.clamp_min(LEAST).log();
    let inner = log(upper.clone() - lower.clone());
    let top = log(lower.neg() + 1.0);
    let inner = inner.mask_where(x.clone().greater_elem(0.999), top);
    inner.mask_where(x.lower_elem(-0.999), log(upper))
}

/// The standard normal distribution function, by its approximation with a hyperbolic tangent.
fn normal_share<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let slope = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    let cubed = x.clone().square() * x.clone();
    (((x + cubed * 0.044_715) * slope).tanh() + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{NoiseSchedule, Variance};
    use crate::noise::draw_normal;
    use burn::tensor::Device;

    #[test]
    fn steps_are_drawn_from_all() {
        let drawn = draw_timesteps(4_000, 10, Seed(1)).unwrap();
        for step in 0..10 {
            let count = drawn.iter().filter(|drawn| **drawn == step).count();
            assert!((300..500).contains(&count), "{step}: {count}");
        }
        assert!(draw_timesteps(1, 0, Seed(1)).is_err());
    }

    #[test]
    fn bins_add_up_to_one() {
        let device = Device::default();
        let grey: Vec<f32> = (0..256).map(|value| value as f32 / 127.5 - 1.0).collect();
        let x = Tensor::<1>::from_floats(grey.as_slice(), &device);
        let (mean, scale) = (x.full_like(0.9), x.full_like(0.2_f64.ln()));
        let shares = discretised_log_likelihood(x, mean, scale).exp();
        let sum: f32 = shares.sum().into_scalar();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    }

    #[test]
    fn a_perfect_mean_with_the_posterior_variance_costs_nothing() {
        let device = Device::default();
        let diffusion = NoiseSchedule::Linear.diffusion(100).unwrap();
        let start: Tensor<4> = draw_normal([2, 3, 4, 4], Seed(1), &device);
        let noise: Tensor<4> = draw_normal([2, 3, 4, 4], Seed(2), &device);
        let t = [5, 90];
        let x_t = diffusion
            .q_sample(start.clone(), &t, noise.clone())
            .unwrap();
        let reverse = Reverse::new().with_variance(Variance::Learned);
        let objective = Objective::new().with_reverse(reverse);
        let losses = |share: f64, wrong: f64| {
            let output = Tensor::cat(vec![noise.clone() + wrong, noise.full_like(share)], 1);
            let (start, x_t, noise) = (start.clone(), x_t.clone(), noise.clone());
            let losses = objective.losses(&diffusion, output, start, x_t, noise, &t);
            let losses = losses.unwrap();
            let largest = |x: Tensor<1>| x.abs().max().into_scalar::<f32>();
            (largest(losses.mse), largest(losses.bound.unwrap()))
        };
        let (mse, bound) = losses(-1.0, 0.0);
        assert!(mse < 1e-6 && bound < 1e-4, "{mse} {bound}");
        assert!(losses(1.0, 0.0).1 > 1e-3);
        assert!((losses(-1.0, 0.5).0 - 0.25).abs() < 1e-4);
    }

    #[test]
    fn the_bound_trains_the_variance_alone() {
        let device = Device::default().autodiff();
        let diffusion = NoiseSchedule::Linear.diffusion(100).unwrap();
        let draw = |seed| -> Tensor<4> { draw_normal([2, 1, 2, 2], Seed(seed), &device) };
        let output: Tensor<4> = draw_normal([2, 2, 2, 2], Seed(4), &device);
        let output = output.require_grad();
        let (start, noise, t) = (draw(1), draw(2), [0, 50]);
        let x_t = diffusion
            .q_sample(start.clone(), &t, noise.clone())
            .unwrap();
        let reverse = Reverse::new().with_variance(Variance::Learned);
        let losses = Objective::new()
            .with_reverse(reverse)
            .losses(&diffusion, output.clone(), start, x_t, noise, &t)
            .unwrap();
        let gradients = losses.bound.unwrap().sum().backward();
        let gradient = output.grad(&gradients).unwrap();
        let part = |first| gradient.clone().narrow(1, first, 1).abs();
        assert_eq!(part(0).max().into_scalar::<f32>(), 0.0);
        assert!(part(1).min().into_scalar::<f32>() > 0.0);
    }
}
