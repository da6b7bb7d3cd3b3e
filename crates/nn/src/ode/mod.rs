//! Adaptive solvers of ordinary and stochastic differential equations, with gradients.
//!
//! [`Tsit5`] solves `du/dt = f(u, t)` for a batch of states with steps of its own choice, saves
//! states at any time by dense output, and says what it cost. Gradients are taken back through the
//! steps one at a time ([`discrete`]), or by a second equation ([`continuous`]). [`Estimate`] makes
//! numbers of a step's own estimates of error and stiffness, with gradients. [`Sosri`] solves
//! stochastic equations with diagonal noise.
//!
//! States are `f32` or `f64` tensors; errors and step sizes are `f64`. Below a tolerance of about
//! 1e-6 single precision only measures its own rounding.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_nn::ode::{Function, Request, Tsit5};
//!
//! // du/dt = -u t, whose solution is exp(-t²/2).
//! let field = Function(|u: Tensor<2>, t: f64| u * -t);
//! let u = Tensor::ones([3, 2], &Device::default());
//! let request = Request { save_at: &[0.5], ..Request::default() };
//! let solution = Tsit5::with_both(1e-5).solve(&field, u, [0.0, 2.0], request)?;
//! let end: Vec<f32> = solution.end.into_data().iter().collect();
//! assert!((end[0] - (-2f32).exp()).abs() < 1e-4);
//! let half: Vec<f32> = solution.saved[0].clone().into_data().iter().collect();
//! assert!((half[0] - (-0.125f32).exp()).abs() < 1e-4);
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod adjoint;
mod combine;
mod control;
mod estimate;
mod field;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod kernel;
mod noise;
mod solve;
mod sosri;
pub mod tableau;

pub use adjoint::{Extra, Outputs, continuous, discrete};
pub use combine::{Term, combine, plain, rms, scaled_rms, tanh_slope, tanh_sum};
pub use control::{Controller, Tolerance};
pub use estimate::{Estimate, Probe};
pub use field::{Adjoint, Cotangent, Field, Function, ModuleField, Stages};
pub use noise::{Brownian, Increment};
pub use solve::{Attempt, Keep, Request, Solution, Step, Taken, Tsit5};
pub use sosri::{SdeSolution, SdeStep, SdeTaken, Sosri};
