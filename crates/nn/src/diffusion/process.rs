//! The forward process: tables of every step, and what follows from them in closed form.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};

/// A diffusion process of T steps, all numbers in double precision.
///
/// A process that was thinned by [`spaced`](Self::spaced) counts its own steps from 0 too, and knows
/// in [`timesteps`](Self::timesteps) what its network calls them.
#[derive(Clone, Debug, PartialEq)]
pub struct Diffusion {
    betas: Vec<f64>,
    alpha_bars: Vec<f64>,
    /// ᾱ of the step before, 1 before the first.
    before: Vec<f64>,
    posterior_log_variance: Vec<f64>,
    timesteps: Vec<usize>,
}

/// The normal distribution of x_{t−1} given x_t and x₀ (Ho et al. 2020, eq. 7).
#[derive(Clone, Debug)]
pub struct Posterior<const D: usize> {
    /// In the shape of x.
    pub mean: Tensor<D>,
    /// The logarithm of the variance, `[batch, 1, …]`. At step 0, where the variance is 0, that of
    /// step 1.
    pub log_variance: Tensor<D>,
}

impl Diffusion {
    /// The process that adds noise of variance β_t at step t.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no step, or a β does not lie above 0 and at most at 1.
    pub fn new(betas: Vec<f64>) -> Result<Self> {
        let timesteps = (0..betas.len()).collect();
        Self::with_timesteps(betas, timesteps)
    }

    fn with_timesteps(betas: Vec<f64>, timesteps: Vec<usize>) -> Result<Self> {
        if betas.is_empty() {
            let rule = "must be at least 1";
            return Err(Error::input("the number of diffusion steps", 0, rule));
        }
        if let Some(step) = betas.iter().position(|beta| !(*beta > 0.0 && *beta <= 1.0)) {
            let rule = "must be above 0 and at most 1";
            return Err(Error::input(format!("beta {step}"), betas[step], rule));
        }
        let mut product = 1.0;
        let alpha_bars: Vec<f64> = betas
            .iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect();
        let before: Vec<f64> = std::iter::once(1.0)
            .chain(alpha_bars.iter().copied())
            .take(betas.len())
            .collect();
        let posterior_variance: Vec<f64> = (0..betas.len())
            .map(|t| betas[t] * (1.0 - before[t]) / (1.0 - alpha_bars[t]))
            .collect();
        let posterior_log_variance = (0..betas.len())
            // The first is 0; a process of one step has no second and takes β.
            .map(|t| match posterior_variance.get(t.max(1)) {
                Some(variance) => libm::log(*variance),
                None => libm::log(betas[t]),
            })
            .collect();
        Ok(Self {
            betas,
            alpha_bars,
            before,
            posterior_log_variance,
            timesteps,
        })
    }

    /// The number T of steps.
    pub fn steps(&self) -> usize {
        self.betas.len()
    }

    /// β of every step.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// ᾱ of every step.
    pub fn alpha_bars(&self) -> &[f64] {
        &self.alpha_bars
    }

    /// What the network calls each step: its number in the process that it was trained on.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// ᾱ of the step before each, 1 before the first.
    pub(super) fn alpha_bars_before(&self) -> &[f64] {
        &self.before
    }

    pub(super) fn posterior_log_variance(&self) -> &[f64] {
        &self.posterior_log_variance
    }

    /// The process that visits only `steps` of this one, with the same ᾱ at each (Nichol and
    /// Dhariwal 2021, section 4).
    ///
    /// # Errors
    /// [`Error::Input`] if `steps` is empty, not ascending, or names a step that does not exist.
    pub fn spaced(&self, steps: &[usize]) -> Result<Self> {
        if !steps.is_sorted_by(|a, b| a < b) {
            let rule = "must be ascending, each step once";
            return Err(Error::input("the visited steps", steps, rule));
        }
        self.check(steps)?;
        let mut last = 1.0;
        let betas = steps
            .iter()
            .map(|&step| {
                let beta = 1.0 - self.alpha_bars[step] / last;
                last = self.alpha_bars[step];
                beta
            })
            .collect();
        let timesteps = steps.iter().map(|&step| self.timesteps[step]).collect();
        Self::with_timesteps(betas, timesteps)
    }

    /// `count` steps from the first to the last, as evenly as whole numbers allow.
    ///
    /// # Errors
    /// [`Error::Input`] if `count` is 0 or above the number of steps.
    pub fn even_steps(&self, count: usize) -> Result<Vec<usize>> {
        self.check_count(count)?;
        let stride = match count {
            1 => 1.0,
            _ => (self.steps() - 1) as f64 / (count - 1) as f64,
        };
        // Halves go to the even neighbour, as in the reference.
        Ok((0..count)
            .map(|index| (index as f64 * stride).round_ties_even() as usize)
            .collect())
    }

    /// Every k-th step from the first, with the least k that gives at most `count` steps (Song et
    /// al. 2021, arXiv:2010.02502, appendix D.2).
    ///
    /// # Errors
    /// [`Error::Input`] if `count` is 0 or above the number of steps.
    pub fn strided_steps(&self, count: usize) -> Result<Vec<usize>> {
        self.check_count(count)?;
        let stride = self.steps().div_ceil(count);
        Ok((0..self.steps()).step_by(stride).collect())
    }

    fn check_count(&self, count: usize) -> Result<()> {
        if count == 0 || count > self.steps() {
            let rule = format!("must be at least 1 and at most {}", self.steps());
            return Err(Error::input("the number of visited steps", count, rule));
        }
        Ok(())
    }

    /// Refuses an empty list and steps that do not exist.
    ///
    /// # Errors
    /// [`Error::Input`] with the step and the rule.
    pub fn check(&self, t: &[usize]) -> Result<()> {
        if t.is_empty() {
            let rule = "must name at least one step";
            return Err(Error::input("the diffusion steps", t, rule));
        }
        match t.iter().find(|step| **step >= self.steps()) {
            Some(step) => {
                let rule = format!("must be below the number of steps, {}", self.steps());
                Err(Error::input("a diffusion step", step, rule))
            }
            None => Ok(()),
        }
    }

    /// Refuses steps that are not one for each sample of `x`.
    pub(super) fn check_batch<const D: usize>(&self, x: &Tensor<D>, t: &[usize]) -> Result<()> {
        self.check(t)?;
        let batch = x.dims()[0];
        if t.len() != batch {
            let rule = format!("must be {batch}, one for each sample");
            return Err(Error::input("the number of diffusion steps", t.len(), rule));
        }
        Ok(())
    }

    /// Refuses tensors of unlike shapes.
    pub(super) fn check_alike<const D: usize>(
        what: &str,
        tensor: &Tensor<D>,
        x: &Tensor<D>,
    ) -> Result<()> {
        if tensor.dims() == x.dims() {
            return Ok(());
        }
        let rule = format!("must be {:?}, as the other tensor", x.dims());
        Err(Error::input(
            format!("the shape of {what}"),
            tensor.dims(),
            rule,
        ))
    }

    /// Entries `t` of a table as `[batch, 1, …]`.
    pub(super) fn column<const D: usize>(
        t: &[usize],
        device: &Device,
        entry: impl Fn(usize) -> f64,
    ) -> Tensor<D> {
        let values: Vec<f32> = t.iter().map(|&step| entry(step) as f32).collect();
        let mut shape = [1; D];
        shape[0] = t.len();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// Mean (in the shape of x₀) and variance (`[batch, 1, …]`) of x_t given x₀: √ᾱ_t x₀ and 1 − ᾱ_t.
    ///
    /// # Errors
    /// [`Error::Input`] unless `t` holds an existing step for each sample.
    pub fn q_mean_variance<const D: usize>(
        &self,
        start: Tensor<D>,
        t: &[usize],
    ) -> Result<(Tensor<D>, Tensor<D>)> {
        self.check_batch(&start, t)?;
        let device = start.device();
        let mean = start * Self::column(t, &device, |step| self.alpha_bars[step].sqrt());
        let variance = Self::column(t, &device, |step| 1.0 - self.alpha_bars[step]);
        Ok((mean, variance))
    }

    /// x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε (Ho et al. 2020, eq. 4).
    ///
    /// # Errors
    /// [`Error::Input`] unless `t` holds an existing step for each sample, and the noise has the
    /// shape of x₀.
    pub fn q_sample<const D: usize>(
        &self,
        start: Tensor<D>,
        t: &[usize],
        noise: Tensor<D>,
    ) -> Result<Tensor<D>> {
        self.check_batch(&start, t)?;
        Self::check_alike("the noise", &noise, &start)?;
        let device = start.device();
        let signal = Self::column(t, &device, |step| self.alpha_bars[step].sqrt());
        let spread = Self::column(t, &device, |step| (1.0 - self.alpha_bars[step]).sqrt());
        Ok(start * signal + noise * spread)
    }

    /// The distribution of x_{t−1} given x_t and x₀ (Ho et al. 2020, eq. 7).
    ///
    /// # Errors
    /// [`Error::Input`] unless `t` holds an existing step for each sample and shapes are alike.
    pub fn posterior<const D: usize>(
        &self,
        start: Tensor<D>,
        x_t: Tensor<D>,
        t: &[usize],
    ) -> Result<Posterior<D>> {
        self.check_batch(&start, t)?;
        Self::check_alike("x_t", &x_t, &start)?;
        let device = start.device();
        let of_start = Self::column(t, &device, |step| {
            self.betas[step] * self.before[step].sqrt() / (1.0 - self.alpha_bars[step])
        });
        let of_x_t = Self::column(t, &device, |step| {
            let alpha = 1.0 - self.betas[step];
            (1.0 - self.before[step]) * alpha.sqrt() / (1.0 - self.alpha_bars[step])
        });
        Ok(Posterior {
            mean: start * of_start + x_t * of_x_t,
            log_variance: Self::column(t, &device, |step| self.posterior_log_variance[step]),
        })
    }

    /// x₀ = x_t / √ᾱ_t − √(1 / ᾱ_t − 1) ε.
    ///
    /// # Errors
    /// [`Error::Input`] unless `t` holds an existing step for each sample and shapes are alike.
    pub fn start_from_noise<const D: usize>(
        &self,
        x_t: Tensor<D>,
        t: &[usize],
        noise: Tensor<D>,
    ) -> Result<Tensor<D>> {
        self.check_batch(&x_t, t)?;
        Self::check_alike("the noise", &noise, &x_t)?;
        let [of_x_t, of_noise] = self.inverse(t, &x_t.device());
        Ok(x_t * of_x_t - noise * of_noise)
    }

    /// ε = (x_t / √ᾱ_t − x₀) / √(1 / ᾱ_t − 1).
    ///
    /// # Errors
    /// [`Error::Input`] unless `t` holds an existing step for each sample and shapes are alike.
    pub fn noise_from_start<const D: usize>(
        &self,
        x_t: Tensor<D>,
        t: &[usize],
        start: Tensor<D>,
    ) -> Result<Tensor<D>> {
        self.check_batch(&x_t, t)?;
        Self::check_alike("x₀", &start, &x_t)?;
        let [of_x_t, of_noise] = self.inverse(t, &x_t.device());
        Ok((x_t * of_x_t - start) / of_noise)
    }

    /// 1 / √ᾱ_t and √(1 / ᾱ_t − 1).
    fn inverse<const D: usize>(&self, t: &[usize], device: &Device) -> [Tensor<D>; 2] {
        [
            Self::column(t, device, |step| self.alpha_bars[step].sqrt().recip()),
            Self::column(t, device, |step| (1.0 / self.alpha_bars[step] - 1.0).sqrt()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::NoiseSchedule;

    #[test]
    fn a_thinned_process_has_the_noise_of_the_whole_one() {
        let whole = NoiseSchedule::Linear.diffusion(1_000).unwrap();
        for steps in [
            whole.even_steps(7).unwrap(),
            whole.strided_steps(50).unwrap(),
        ] {
            let few = whole.spaced(&steps).unwrap();
            assert_eq!(few.timesteps(), steps);
            for (step, alpha_bar) in steps.iter().zip(few.alpha_bars()) {
                let expected = whole.alpha_bars()[*step];
                assert!((alpha_bar / expected - 1.0).abs() < 1e-12);
            }
            // Thinned again, it still knows the names of the first.
            let fewer = few.spaced(&[1, 4]).unwrap();
            assert_eq!(fewer.timesteps(), [steps[1], steps[4]]);
        }
        assert_eq!(
            whole.even_steps(7).unwrap(),
            [0, 166, 333, 500, 666, 832, 999]
        );
        assert_eq!(whole.even_steps(1).unwrap(), [0]);
        let strided = whole.strided_steps(50).unwrap();
        assert_eq!((strided.len(), strided[1], strided[49]), (50, 20, 980));
    }

    #[test]
    fn noise_and_start_follow_from_each_other() {
        let device = Device::default();
        let diffusion = NoiseSchedule::Cosine.diffusion(100).unwrap();
        let start = Tensor::<2>::from_floats([[0.5, -1.0], [0.25, 0.75]], &device);
        let noise = Tensor::<2>::from_floats([[1.0, -2.0], [0.5, 0.1]], &device);
        let t = [3, 80];
        let x_t = diffusion
            .q_sample(start.clone(), &t, noise.clone())
            .unwrap();
        let largest = |x: Tensor<2>| x.abs().max().into_scalar::<f32>();
        let back = diffusion
            .start_from_noise(x_t.clone(), &t, noise.clone())
            .unwrap();
        assert!(largest(back - start.clone()) < 1e-5);
        let back = diffusion.noise_from_start(x_t, &t, start).unwrap();
        assert!(largest(back - noise) < 1e-5);
    }

    #[test]
    fn steps_that_do_not_exist_are_refused() {
        let device = Device::default();
        let diffusion = NoiseSchedule::Linear.diffusion(50).unwrap();
        let x = Tensor::<3>::zeros([2, 1, 3], &device);
        let error = |t: &[usize]| {
            let result = diffusion.q_sample(x.clone(), t, x.clone());
            result.unwrap_err().to_string()
        };
        assert_eq!(
            error(&[3, 50]),
            "a diffusion step is 50: must be below the number of steps, 50"
        );
        assert_eq!(
            error(&[3]),
            "the number of diffusion steps is 1: must be 2, one for each sample"
        );
        assert_eq!(
            error(&[]),
            "the diffusion steps is []: must name at least one step"
        );
        let wrong = diffusion.q_sample(x.clone(), &[1, 2], Tensor::zeros([2, 1, 4], &device));
        assert_eq!(
            wrong.unwrap_err().to_string(),
            "the shape of the noise is [2, 1, 4]: must be [2, 1, 3], as the other tensor"
        );
        let error = diffusion.spaced(&[4, 4]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the visited steps is [4, 4]: must be ascending, each step once"
        );
        let error = diffusion.even_steps(51).unwrap_err().to_string();
        assert_eq!(
            error,
            "the number of visited steps is 51: must be at least 1 and at most 50"
        );
        let error = Diffusion::new(vec![0.1, 0.0]).unwrap_err().to_string();
        assert_eq!(error, "beta 1 is 0.0: must be above 0 and at most 1");
    }
}
