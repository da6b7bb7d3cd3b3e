//! Noise schedules. Time runs from noise to signal: ᾱ grows.

use super::config::check_clip;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{
    Device, Tensor,
    activation::{log_sigmoid, sigmoid, softplus},
};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// Coefficients of a step from one ᾱ to a larger one (section 3): the posterior of the later z is
/// N(a u + b z, c I) for the class embedding u.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// Of the class embedding.
    pub a: f64,
    /// Of the z before.
    pub b: f64,
    /// The variance.
    pub c: f64,
}

impl Posterior {
    /// Of the step from `before` to `after`, both ᾱ in (0, 1).
    pub fn between(before: f64, after: f64) -> Self {
        let alpha = before / after;
        Self {
            a: after.sqrt() * (1.0 - alpha) / (1.0 - before),
            b: alpha.sqrt() * (1.0 - after) / (1.0 - before),
            // A trained schedule may stand still, but not turn the variance negative.
            c: ((1.0 - after) * (1.0 - alpha) / (1.0 - before)).max(0.0),
        }
    }
}

/// The fixed schedule of discrete time: a cosine (Nichol and Dhariwal, arXiv:2102.09672) read
/// backwards, kept away from 0 and from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct CosineSchedule {
    alpha_bar: Vec<f64>,
}

impl CosineSchedule {
    /// ᾱ of steps 0 to `steps`, each at least `clip` from 0 and from 1.
    ///
    /// # Errors
    /// [`Error::Config`] for no steps, or a clip outside of (0, 0.5).
    pub fn new(steps: usize, clip: f64) -> Result<Self> {
        const NAME: &str = "CosineSchedule";
        if steps == 0 {
            return Err(Error::config(NAME, "steps", 0, "must be at least 1"));
        }
        check_clip(NAME, clip)?;
        let wave = |step: usize| {
            let angle = (step as f64 / steps as f64 + 0.008) / 1.008;
            (angle * std::f64::consts::FRAC_PI_2).cos().powi(2)
        };
        let alpha_bar = (0..=steps)
            .map(|step| (wave(steps - step) / wave(0)).clamp(clip, 1.0 - clip))
            .collect();
        Ok(Self { alpha_bar })
    }

    /// The number of steps T.
    pub fn steps(&self) -> usize {
        self.alpha_bar.len() - 1
    }

    /// ᾱ of steps 0 to T.
    pub fn alpha_bar(&self) -> &[f64] {
        &self.alpha_bar
    }

    /// Signal-to-noise ratios of steps 0 to T.
    pub fn snr(&self) -> Vec<f64> {
        let ratios = self.alpha_bar.iter();
        ratios.map(|share| share / (1.0 - share)).collect()
    }

    /// By how much step t, from 1 to T, raises the signal-to-noise ratio, for all of them.
    pub fn snr_rise(&self) -> Vec<f64> {
        self.snr()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect()
    }

    /// Coefficients of the steps 1 to T.
    pub fn posteriors(&self) -> Vec<Posterior> {
        let pairs = self.alpha_bar.windows(2);
        pairs
            .map(|pair| Posterior::between(pair[0], pair[1]))
            .collect()
    }
}

/// The trained schedule of continuous time: γ(t) falls from γ₁ to γ₀, by a network of two layers with
/// positive weights, `g(t) = Σ softplus(w2) σ(softplus(w1) t + b1)`.
#[derive(Module, Debug)]
pub struct GammaSchedule {
    /// Before softplus, of the first layer `[hidden]`.
    pub w1: Param<Tensor<1>>,
    /// Offsets of the first layer `[hidden]`.
    pub b1: Param<Tensor<1>>,
    /// Before softplus, of the second layer `[hidden]`.
    pub w2: Param<Tensor<1>>,
    /// γ at time 1 `[1]`.
    pub gamma0: Param<Tensor<1>>,
    /// γ at time 0 `[1]`.
    pub gamma1: Param<Tensor<1>>,
}

/// The schedule at some times, each `[times]`.
#[derive(Clone, Debug)]
pub struct Level {
    /// γ, the negative logarithm of the signal-to-noise ratio.
    pub gamma: Tensor<1>,
    /// The derivative of the signal-to-noise ratio by time.
    pub snr_rate: Tensor<1>,
}

impl Level {
    /// ᾱ = σ(-γ).
    pub fn alpha_bar(&self) -> Tensor<1> {
        sigmoid(-self.gamma.clone())
    }

    /// 1 - ᾱ, exact also where ᾱ is nearly 1.
    pub fn noise(&self) -> Tensor<1> {
        sigmoid(self.gamma.clone())
    }

    /// ln(1 - ᾱ).
    pub fn log_noise(&self) -> Tensor<1> {
        log_sigmoid(self.gamma.clone())
    }
}

impl GammaSchedule {
    /// A new schedule of that hidden width from γ₀ to γ₁.
    pub(super) fn new(hidden: usize, gamma: [f64; 2], device: &Device) -> Self {
        let drawn = || {
            Initializer::Normal {
                mean: 0.0,
                std: 1.0,
            }
            .init([hidden], device)
        };
        let constant = |value: f64| Initializer::Constant { value }.init([1], device);
        Self {
            w1: drawn(),
            b1: drawn(),
            w2: drawn(),
            gamma0: constant(gamma[0]),
            gamma1: constant(gamma[1]),
        }
    }

    /// The network and its derivative at `times [n]`, each `[n]`.
    fn network(&self, times: Tensor<1>) -> [Tensor<1>; 2] {
        let slope = softplus(self.w1.val(), 1.0).unsqueeze_dim::<2>(0);
        let height = softplus(self.w2.val(), 1.0).unsqueeze_dim::<2>(0);
        let x = times.unsqueeze_dim::<2>(1) * slope.clone() + self.b1.val().unsqueeze_dim(0);
        let s = sigmoid(x);
        let rate = s.clone() * (-s.clone() + 1.0) * slope * height.clone();
        [s * height, rate].map(|each| each.sum_dim(1).squeeze_dim(1))
    }

    /// The schedule at `times [n]` in 0..1. Its derivative is written out, so that one pass backwards
    /// differentiates it.
    pub fn at(&self, times: Tensor<1>) -> Level {
        let ends = Tensor::from_floats([0.0, 1.0], &times.device());
        let [ends, _] = self.network(ends);
        let (first, last) = (ends.clone().narrow(0, 0, 1), ends.narrow(0, 1, 1));
        let span = last - first.clone();
        let [value, rate] = self.network(times);
        let (gamma0, gamma1) = (self.gamma0.val(), self.gamma1.val());
        let range = gamma1.clone() - gamma0;
        // γ = γ₀ + (γ₁ - γ₀)(1 - ḡ).
        let gamma = gamma1 - range.clone() * ((value - first) / span.clone());
        let snr = (-gamma.clone()).exp();
        Level {
            snr_rate: snr * range * (rate / span),
            gamma,
        }
    }

    /// ᾱ at the ends of `steps` steps of equal length, from time 0 to time 1.
    ///
    /// # Errors
    /// If the parameters cannot be read.
    pub fn grid(&self, steps: usize) -> Result<Vec<f64>> {
        let times: Vec<f32> = (0..=steps).map(|at| at as f32 / steps as f32).collect();
        let times = Tensor::from_floats(times.as_slice(), &self.w1.val().device());
        let gamma = self.at(times).gamma.without_autodiff();
        let gamma = gamma
            .try_into_vec_as::<f64>()
            .map_err(|error| Error::other("reading the schedule", error))?;
        Ok(gamma
            .iter()
            .map(|gamma| 1.0 / (1.0 + gamma.exp()))
            .collect())
    }
}

/// Times `[n]`, uniform in 0..1.
pub fn draw_times(count: usize, seed: Seed, device: &Device) -> Tensor<1> {
    let mut rng = seed.rng();
    let times: Vec<f32> = (0..count).map(|_| rng.random()).collect();
    Tensor::from_floats(times.as_slice(), device)
}

/// Sines, then cosines, of `times [n]` at frequencies from 1 down to nearly 1/10 000: `[n, width]`
/// (Vaswani et al., arXiv:1706.03762, section 3.5). The paper does not say how it scales time; here it
/// is not scaled.
pub fn time_embedding(times: Tensor<1>, width: usize) -> Tensor<2> {
    let half = width / 2;
    let rates: Vec<f32> = (0..half)
        .map(|at| 10_000f64.powf(-(at as f64) / half as f64) as f32)
        .collect();
    let rates = Tensor::<1>::from_floats(rates.as_slice(), &times.device());
    let angles = times.unsqueeze_dim::<2>(1) * rates.unsqueeze_dim(0);
    Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1)
}
