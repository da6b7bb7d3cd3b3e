//! From noise to data, step by step.

use super::{Denoised, Diffusion, Reverse};
use crate::noise::draw_normal;
use burn::config::Config;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result, Seed};

/// How a sampler goes from x_t to x_{t−1}.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum Steps {
    /// A draw from the distribution of x_{t−1} (Ho et al. 2020, algorithm 2).
    Ddpm,
    /// Towards the predicted x₀ with `eta` times the noise of DDPM; without any, samples are a
    /// function of the noise that they start at (Song et al. 2021, eq. 12).
    Ddim(f64),
}

/// How samples are drawn.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct Sampler {
    /// What the network's output means.
    pub reverse: Reverse,
    /// The way back.
    pub steps: Steps,
}

impl Sampler {
    /// Draws every step.
    pub fn ddpm(reverse: Reverse) -> Self {
        Self::new(reverse, Steps::Ddpm)
    }

    /// Deterministic steps, η = 0.
    pub fn ddim(reverse: Reverse) -> Self {
        Self::new(reverse, Steps::Ddim(0.0))
    }

    /// x_{t−1} from x_t, the network's `output` on it at steps `t`, and standard normal `noise`, of
    /// which step 0 takes none. All but the output are in the shape of x_t.
    ///
    /// # Errors
    /// [`Error::Input`] for an η outside of 0..=1, and what [`Diffusion::denoise`] refuses.
    pub fn step<const D: usize>(
        &self,
        diffusion: &Diffusion,
        output: Tensor<D>,
        x_t: Tensor<D>,
        t: &[usize],
        noise: Option<Tensor<D>>,
    ) -> Result<Tensor<D>> {
        let denoised = diffusion.denoise(output, x_t.clone(), t, &self.reverse)?;
        if let Some(noise) = &noise {
            Diffusion::check_alike("the noise", noise, &x_t)?;
        }
        match self.steps {
            Steps::Ddpm => Ok(draw(denoised, t, noise)),
            Steps::Ddim(eta) => implicit(diffusion, denoised, x_t, t, eta, noise),
        }
    }

    /// Samples in the shape of the standard normal `noise` that they start at.
    ///
    /// `model(x_t, timesteps)` is the network, which is told the steps by the names that it knows
    /// ([`Diffusion::timesteps`]). The noise of the steps comes from `seed`.
    ///
    /// # Errors
    /// What [`step`](Self::step) and the network report.
    pub fn sample<const D: usize>(
        &self,
        diffusion: &Diffusion,
        noise: Tensor<D>,
        seed: Seed,
        mut model: impl FnMut(Tensor<D>, &[usize]) -> Result<Tensor<D>>,
    ) -> Result<Tensor<D>> {
        let (shape, device) = (noise.dims(), noise.device());
        let mut x = noise;
        for (step, name) in diffusion.timesteps().iter().enumerate().rev() {
            let output = model(x.clone(), &vec![*name; shape[0]])?;
            let noise = match self.steps {
                Steps::Ddim(0.0) => None,
                _ if step == 0 => None,
                _ => Some(draw_normal(shape, seed.at(step as u64), &device)),
            };
            x = self.step(diffusion, output, x, &vec![step; shape[0]], noise)?;
        }
        Ok(x)
    }
}

/// Whether each step takes noise, `[batch, 1, …]`: 0 at step 0, else 1.
fn noisy<const D: usize>(t: &[usize], x: &Tensor<D>) -> Tensor<D> {
    Diffusion::column(t, &x.device(), |step| f64::from(u8::from(step > 0)))
}

/// DDPM's step.
fn draw<const D: usize>(denoised: Denoised<D>, t: &[usize], noise: Option<Tensor<D>>) -> Tensor<D> {
    let Some(noise) = noise else {
        return denoised.mean;
    };
    let deviation = (denoised.log_variance / 2.0).exp() * noisy(t, &noise);
    denoised.mean + noise * deviation
}

/// DDIM's step (Song et al. 2021, eq. 12 and 16).
fn implicit<const D: usize>(
    diffusion: &Diffusion,
    denoised: Denoised<D>,
    x_t: Tensor<D>,
    t: &[usize],
    eta: f64,
    noise: Option<Tensor<D>>,
) -> Result<Tensor<D>> {
    if !(0.0..=1.0).contains(&eta) {
        let rule = "must lie in 0..=1";
        return Err(Error::input("the eta of DDIM", eta, rule));
    }
    let device = x_t.device();
    let (now, before) = (diffusion.alpha_bars(), diffusion.alpha_bars_before());
    let deviation = |step: usize| {
        let ratio = (1.0 - before[step]) / (1.0 - now[step]);
        eta * (ratio * (1.0 - now[step] / before[step])).sqrt()
    };
    let predicted = diffusion.noise_from_start(x_t, t, denoised.start.clone())?;
    let of_start = Diffusion::column(t, &device, |step| before[step].sqrt());
    let of_noise = Diffusion::column(t, &device, |step| {
        (1.0 - before[step] - deviation(step).powi(2))
            .max(0.0)
            .sqrt()
    });
    let mean = denoised.start * of_start + predicted * of_noise;
    Ok(match noise {
        Some(noise) if eta > 0.0 => {
            let deviation = Diffusion::column(t, &device, deviation) * noisy(t, &noise);
            mean + noise * deviation
        }
        _ => mean,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::NoiseSchedule;
    use burn::tensor::Device;

    /// The best denoiser of data from N(μ, σ²): its noise in closed form.
    fn normal_oracle(
        diffusion: &Diffusion,
        mean: f64,
        deviation: f64,
    ) -> impl Fn(Tensor<2>, &[usize]) -> Result<Tensor<2>> {
        move |x_t: Tensor<2>, t: &[usize]| {
            let alpha_bar = diffusion.alpha_bars()[t[0]];
            let variance = alpha_bar * deviation * deviation + 1.0 - alpha_bar;
            let centred = x_t - alpha_bar.sqrt() * mean;
            Ok(centred * ((1.0 - alpha_bar).sqrt() / variance))
        }
    }

    fn moments(samples: Tensor<2>) -> (f32, f32) {
        let (variance, mean) = samples.var_mean(0);
        (
            mean.into_scalar::<f32>(),
            variance.sqrt().into_scalar::<f32>(),
        )
    }

    #[test]
    fn samples_of_a_normal_distribution_have_its_moments() {
        let device = Device::default();
        let whole = NoiseSchedule::Linear.diffusion(1_000).unwrap();
        let few = whole.spaced(&whole.even_steps(100).unwrap()).unwrap();
        let reverse = Reverse::new().with_clip(false);
        let noise = draw_normal([4_000, 1], Seed(1), &device);
        for (sampler, diffusion) in [
            (Sampler::ddpm(reverse), &whole),
            (Sampler::ddim(reverse), &few),
            (Sampler::new(reverse, Steps::Ddim(1.0)), &few),
        ] {
            let oracle = normal_oracle(&whole, 0.7, 0.4);
            let samples = sampler.sample(diffusion, noise.clone(), Seed(2), oracle);
            let (mean, deviation) = moments(samples.unwrap());
            assert!((mean - 0.7).abs() < 0.03, "{sampler:?} {mean}");
            assert!((deviation - 0.4).abs() < 0.03, "{sampler:?} {deviation}");
        }
    }

    #[test]
    fn ddim_with_all_noise_is_ddpm_with_the_small_variance() {
        let device = Device::default();
        let diffusion = NoiseSchedule::Cosine.diffusion(50).unwrap();
        let draw = |seed| draw_normal([3, 2, 4], Seed(seed), &device);
        let reverse = Reverse::new()
            .with_variance(super::super::Variance::Small)
            .with_clip(false);
        let step = |sampler: Sampler| {
            let t = [0, 7, 40];
            let step = sampler.step(&diffusion, draw(1), draw(2), &t, Some(draw(3)));
            step.unwrap()
        };
        let difference =
            step(Sampler::ddpm(reverse)) - step(Sampler::new(reverse, Steps::Ddim(1.0)));
        assert!(difference.abs().max().into_scalar::<f32>() < 1e-4);
    }

    #[test]
    fn an_impossible_eta_is_refused() {
        let device = Device::default();
        let diffusion = NoiseSchedule::Cosine.diffusion(50).unwrap();
        let x = Tensor::<2>::zeros([1, 2], &device);
        let sampler = Sampler::new(Reverse::new(), Steps::Ddim(1.5));
        let error = sampler.step(&diffusion, x.clone(), x, &[3], None);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the eta of DDIM is 1.5: must lie in 0..=1"
        );
    }
}
