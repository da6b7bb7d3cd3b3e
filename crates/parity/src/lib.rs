//! Proves a Burn module equal to its reference implementation.
//!
//! A fixture is a `.safetensors` file made by running the reference: weights under
//! `param/<official key>`, inputs and every random draw under `in/<name>`, results under
//! `out/<name>`, gradients of the total loss under `grad/<official key>`, and metadata that says
//! which system and case it pins, every size needed to rebuild the module, and the tolerances.
//!
//! A family crate lists its [`Case`]s and hands them to [`main`] in a test target without a
//! harness:
//!
//! ```no_run
//! use burn::tensor::Device;
//! use menagerie_core::Result;
//! use menagerie_parity::{Case, Check, Fixture};
//!
//! const CASES: &[Case] = &[Case { slug: "doubling", case: "forward", run: doubling }];
//!
//! fn doubling(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
//!     let x = fixture.input::<2>("x", device)?;
//!     check.output("y", x * 2.0)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     menagerie_parity::main(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"), CASES)
//! }
//! ```
//!
//! A file passes when every `out/` and `grad/` tensor `b` was compared with ours, `a`, and
//!
//! - integers are equal, element by element,
//! - `max|a − b| ≤ tol · max(1, max|b|)` for results,
//! - `max|a − b| ≤ grad_tol · max|b|` for gradients.
//!
//! A tolerance of 0 means equal.

mod check;
mod compare;
mod fixture;
mod runner;

pub use check::{Check, Finding};
pub use fixture::Fixture;
pub use runner::{Case, Options, Summary, main, run};
