//! What an error costs: the model's loss with the residual stream replaced by a reconstruction, or
//! by a reconstruction and part of its error.

use super::regression::LinearFit;
use crate::host::{HookPoint, LanguageModel, Site, cross_entropy};
use burn::tensor::{Int, Tensor};
use menagerie_core::{Error, Result};

/// What stands in the place of an activation x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Injection {
    /// x.
    Original,
    /// `Sae(x)`.
    Reconstruction,
    /// `Sae(x)` plus the linear part of the error.
    WithLinear,
    /// `Sae(x)` plus the nonlinear part of the error.
    WithNonlinear,
}

impl Injection {
    /// Every mode.
    pub const ALL: [Self; 4] = [
        Self::Original,
        Self::Reconstruction,
        Self::WithLinear,
        Self::WithNonlinear,
    ];

    /// The activations that the model goes on with: `x` and `reconstruction` are `[batch, tokens,
    /// width]`; positions before `skip` keep the original.
    ///
    /// The official code leaves the last position's reconstruction out, too, but not its linear
    /// term. Nothing is predicted from there that is scored, so the loss is the same.
    ///
    /// # Errors
    /// If shapes differ or `skip` is not below the number of tokens.
    pub fn apply(
        self,
        x: Tensor<3>,
        reconstruction: Tensor<3>,
        probe: &LinearFit,
        skip: usize,
    ) -> Result<Tensor<3>> {
        let [batch, tokens, width] = x.dims();
        if reconstruction.dims() != x.dims() {
            return Err(Error::input(
                "the reconstruction",
                format!("of shape {:?}", reconstruction.dims()),
                format!("the activations have shape {:?}", x.dims()),
            ));
        }
        check_skip(skip, tokens)?;
        let linear = |x: Tensor<3>| -> Result<Tensor<3>> {
            let rows = x.reshape([batch * tokens, width]);
            Ok(probe.predict(rows)?.reshape([batch, tokens, width]))
        };
        let replaced = match self {
            Self::Original => return Ok(x),
            Self::Reconstruction => reconstruction,
            Self::WithLinear => reconstruction + linear(x.clone())?,
            // x = Sae(x) + linear + nonlinear.
            Self::WithNonlinear => x.clone() - linear(x.clone())?,
        };
        if skip == 0 {
            return Ok(replaced);
        }
        let kept = x.narrow(1, 0, skip);
        Ok(Tensor::cat(
            vec![kept, replaced.narrow(1, skip, tokens - skip)],
            1,
        ))
    }
}

fn check_skip(skip: usize, tokens: usize) -> Result<()> {
    // The last position predicts nothing.
    if skip + 1 < tokens {
        return Ok(());
    }
    Err(Error::input(
        "the number of skipped positions",
        skip,
        format!("must leave a prediction of {tokens} tokens"),
    ))
}

/// Mean cross-entropy, in nats, of the predictions from position `skip` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InjectionLoss {
    /// Of the unchanged model.
    pub original: f64,
    /// With reconstructions.
    pub reconstruction: f64,
    /// With reconstructions and the linear part of their error.
    pub with_linear: f64,
    /// With reconstructions and the nonlinear part of their error.
    pub with_nonlinear: f64,
}

impl InjectionLoss {
    /// How much of the damage the linear part repairs, in percent:
    /// `(L_sae - L_mode) / (L_sae - L_original)`.
    pub fn recovered_by_linear(&self) -> f64 {
        self.recovered(self.with_linear)
    }

    /// The same for the nonlinear part.
    pub fn recovered_by_nonlinear(&self) -> f64 {
        self.recovered(self.with_nonlinear)
    }

    fn recovered(&self, loss: f64) -> f64 {
        100.0 * (self.reconstruction - loss) / (self.reconstruction - self.original)
    }

    /// The mean over equally large batches; `None` without any.
    pub fn mean(batches: &[Self]) -> Option<Self> {
        let count = batches.len() as f64;
        let mean = |value: fn(&Self) -> f64| batches.iter().map(value).sum::<f64>() / count;
        (!batches.is_empty()).then(|| Self {
            original: mean(|loss| loss.original),
            reconstruction: mean(|loss| loss.reconstruction),
            with_linear: mean(|loss| loss.with_linear),
            with_nonlinear: mean(|loss| loss.with_nonlinear),
        })
    }
}

/// Runs `model` on `tokens` `[batch, tokens]` up to `hook`, replaces what is there in each mode and
/// goes on. `reconstruct` is the autoencoder, `[batch, tokens, width]` to the same; `probe` is the
/// b* of a [`Decomposition`](super::Decomposition).
///
/// # Errors
/// What the model and `reconstruct` report, and what [`Injection::apply`] does.
pub fn inject(
    model: &LanguageModel,
    tokens: &Tensor<2, Int>,
    hook: &HookPoint,
    reconstruct: impl FnOnce(Tensor<3>) -> Result<Tensor<3>>,
    probe: &LinearFit,
    skip: usize,
) -> Result<InjectionLoss> {
    let [_, length] = tokens.dims();
    check_skip(skip, length)?;
    let x = model.activations(tokens.clone(), hook)?.without_autodiff();
    let reconstruction = reconstruct(x.clone())?.without_autodiff();
    let loss = |mode: Injection| -> Result<f64> {
        let x = mode.apply(x.clone(), reconstruction.clone(), probe, skip)?;
        let logits = match hook.site() {
            Site::ResidPre | Site::ResidPost => model.continue_from(hook, x)?,
            _ => model.forward_with(tokens.clone(), hook, |_| Ok(x))?,
        };
        let loss = cross_entropy(logits.without_autodiff(), tokens.clone());
        let scored = loss.narrow(1, skip, length - 1 - skip);
        let [batch, count] = scored.dims();
        let values = super::rows::host(scored, "a loss")?;
        Ok(values.into_iter().map(f64::from).sum::<f64>() / (batch * count) as f64)
    };
    Ok(InjectionLoss {
        original: loss(Injection::Original)?,
        reconstruction: loss(Injection::Reconstruction)?,
        with_linear: loss(Injection::WithLinear)?,
        with_nonlinear: loss(Injection::WithNonlinear)?,
    })
}
