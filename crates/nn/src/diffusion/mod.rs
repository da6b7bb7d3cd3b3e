//! Gaussian diffusion: noise schedules, the forward process and its posterior, samplers and losses.
//!
//! Data x₀ become x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε, with ᾱ_t = Π (1 − β_s) over the steps s ≤ t and ε
//! standard normal (Ho et al. 2020, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239), eq. 4).
//! A network sees x_t and t and says what was added; samplers walk back from noise with its help.
//!
//! | part | holds |
//! | --- | --- |
//! | [`NoiseSchedule`] | the β of every step, linear or cosine |
//! | [`Diffusion`] | the tables of a process, and what follows from them in closed form |
//! | [`Reverse`], [`Denoised`] | what a network's output means for x₀ and for the step before |
//! | [`Sampler`] | DDPM and DDIM, over all steps or some |
//! | [`Objective`] | the mean squared error, and the variational bound for learned variances |
//! | [`timestep_embedding`] | a step as a vector |
//!
//! Steps are counted from 0, the step with the least noise, to T − 1. Everything works on tensors
//! `[batch, …]` of any rank from 2; with learned variances the second axis holds the channels.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_nn::diffusion::{NoiseSchedule, Reverse, Sampler};
//! use menagerie_nn::noise::draw_normal;
//!
//! let device = Device::default();
//! let diffusion = NoiseSchedule::Linear.diffusion(1_000)?;
//! let x = Tensor::<4>::ones([2, 1, 4, 4], &device);
//! let noise = draw_normal(x.dims(), Seed(0), &device);
//! let x_t = diffusion.q_sample(x, &[0, 999], noise.clone())?;
//!
//! // All data are ones: the best guess at the noise is what is left after x₀ is taken away.
//! let oracle = |x_t: Tensor<4>, t: &[usize]| {
//!     let ones = x_t.ones_like();
//!     diffusion.noise_from_start(x_t, t, ones)
//! };
//! let few = diffusion.spaced(&diffusion.even_steps(10)?)?;
//! let sampler = Sampler::ddim(Reverse::default());
//! let sampled = sampler.sample(&few, noise, Seed(1), oracle)?;
//! assert!((sampled - 1.0).abs().max().into_scalar::<f32>() < 1e-3);
//! assert!(diffusion.q_sample(x_t.clone(), &[0, 1_000], x_t).is_err());
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod embedding;
mod objective;
mod process;
mod reverse;
mod sampler;
mod schedule;

pub use embedding::timestep_embedding;
pub use objective::{Losses, Objective, draw_timesteps};
pub use process::{Diffusion, Posterior};
pub use reverse::{Denoised, Reverse, Target, Variance};
pub use sampler::{Sampler, Steps};
pub use schedule::NoiseSchedule;
