//! Autoencoders that are trained on a part of another autoencoder's error.

use super::{regression::LinearFit, rows::same_shape};
use crate::sae::{Activation, AuxK, Convention, ObjectiveConfig, Reconstruction, SaeConfig};
use burn::tensor::Tensor;
use menagerie_core::Result;

/// Which part of the error is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorComponent {
    /// `x - Sae(x)`.
    Full,
    /// Its prediction from x, `x · b*`.
    Linear,
    /// The rest.
    Nonlinear,
}

impl ErrorComponent {
    /// Every component.
    pub const ALL: [Self; 3] = [Self::Full, Self::Linear, Self::Nonlinear];

    /// A short name, e.g. for a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "error",
            Self::Linear => "linear error",
            Self::Nonlinear => "nonlinear error",
        }
    }

    /// The rows to train on: `x` and `reconstruction` are `[rows, width]`, `probe` is the b* of a
    /// [`Decomposition`](super::Decomposition).
    ///
    /// The official probe regresses `Sae(x) - x`, hence its opposite signs; the targets agree. The
    /// official run fits it on all tokens that it collected, without held-out rows.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn target(
        self,
        x: Tensor<2>,
        reconstruction: Tensor<2>,
        probe: &LinearFit,
    ) -> Result<Tensor<2>> {
        same_shape("the reconstruction", &reconstruction, &x)?;
        Ok(match self {
            Self::Full => x - reconstruction,
            Self::Linear => probe.predict(x)?,
            Self::Nonlinear => x.clone() - reconstruction - probe.predict(x)?,
        })
    }
}

/// The published autoencoder on an error component of Gemma-2 2B, layer 12: 36,864 latents (16
/// times the width), the 32 largest of a row kept.
pub fn published_error_sae() -> SaeConfig {
    SaeConfig::new(2_304, 16 * 2_304, Activation::topk(32))
}

/// The published objective: fraction of variance unexplained, with AuxK in its intended form at a
/// weight of `auxiliary` (the published default is none).
pub fn error_objective(auxiliary: Option<f64>) -> ObjectiveConfig {
    objective(Convention::Sparsify, auxiliary)
}

/// The objective as the trainer vendored in the official code computes it: there the dead latents
/// are pushed towards `reconstruction - x`, the wrong sign, and that target is not held constant.
/// The weight defaults to none, so that published runs need not be affected; for comparisons only.
pub fn vendored_objective(auxiliary: Option<f64>) -> ObjectiveConfig {
    objective(Convention::OldSparsify, auxiliary)
}

fn objective(convention: Convention, auxiliary: Option<f64>) -> ObjectiveConfig {
    ObjectiveConfig::new()
        .with_reconstruction(Reconstruction::Fvu)
        .with_auxiliary(auxiliary.map(|weight| AuxK::new(convention).with_coefficient(weight)))
}
