//! Autoencoders that are trained on a part of another autoencoder's error.

use super::{regression::LinearFit, rows::same_shape};
use crate::{
    activations::{ActivationSource, Rows},
    sae::{
        Activation, AuxK, Convention, Initialization, ObjectiveConfig, Reconstruction, SaeConfig,
        SparseAutoencoder,
        training::{Constraint, RateSchedule, SaeTrainingConfig},
    },
};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};

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
        .with_initialization(Initialization::OpenAi)
}

/// How sparsify trained at the time: FVU, Adam at 2e-4 / √(F / 2¹⁴) with 1,000 steps of warm-up and
/// linear decay to 0, clipping at 1, a dictionary that is normalised before every forward pass.
pub fn error_training(
    config: &SaeConfig,
    steps: usize,
    auxiliary: Option<f64>,
) -> SaeTrainingConfig {
    let warmup = 1_000.min(steps / 5);
    let rate = RateSchedule::SaeLens {
        rate: 2e-4 / (config.d_sae as f64 / 16_384.0).sqrt(),
        warmup,
        decay: steps - warmup,
        total: steps,
        cosine_to: None,
    };
    SaeTrainingConfig::new(error_objective(auxiliary), rate)
        .with_constraint(Constraint::NormalizeForwardProjectStep)
}

/// A stream of activations x as a stream of one part of an autoencoder's error on them.
pub struct ErrorSource<'a, S> {
    source: S,
    sae: &'a SparseAutoencoder,
    probe: LinearFit,
    component: ErrorComponent,
    device: Device,
}

impl<'a, S: ActivationSource> ErrorSource<'a, S> {
    /// The part `component` of the error of `sae`, with the probe b* of a
    /// [`Decomposition`](super::Decomposition).
    ///
    /// # Errors
    /// A source of another width than the autoencoder reads.
    pub fn new(
        source: S,
        sae: &'a SparseAutoencoder,
        probe: LinearFit,
        component: ErrorComponent,
    ) -> Result<Self> {
        let d_in = sae.config().d_in;
        if source.width() != d_in {
            return Err(Error::input(
                "width of the activations",
                source.width(),
                format!("must be d_in, {d_in}"),
            ));
        }
        Ok(Self {
            source,
            sae,
            probe,
            component,
            device: sae.decoder.device(),
        })
    }
}

impl<S: ActivationSource> ActivationSource for ErrorSource<'_, S> {
    fn width(&self) -> usize {
        self.source.width()
    }

    fn paired_width(&self) -> Option<usize> {
        None
    }

    fn next(&mut self) -> Result<Option<Rows>> {
        let Some(rows) = self.source.next()? else {
            return Ok(None);
        };
        if rows.is_empty() {
            return Ok(Some(Rows::empty(self.width(), 0)));
        }
        let x = rows.into_batch(&self.device).x;
        let reconstruction = self.sae.reconstruct(x.clone())?;
        let target = self.component.target(x, reconstruction, &self.probe)?;
        Ok(Some(Rows::from_tensor(target)?))
    }

    fn position(&self) -> u64 {
        self.source.position()
    }

    fn seek(&mut self, position: u64) -> Result<()> {
        self.source.seek(position)
    }
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
