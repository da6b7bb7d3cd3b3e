//! The re-estimation of statistics after training.

use super::model::Classifier;
use super::norm::Mode;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// Passes over the training images after training, in which statistics alone are re-estimated.
pub const ESTIMATION_PASSES: usize = 10;

/// Lets the running statistics of a model take in a batch, everything else as in evaluation: part of
/// the re-estimation after training.
///
/// # Errors
/// [`Error::Input`] if the images are not of the configured size.
pub fn estimate(model: &impl Classifier, images: Tensor<4>) -> Result<()> {
    model.run(images, Mode::Estimate, &[])?;
    Ok(())
}

/// What came of [`reestimate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Estimation {
    /// What every pass was worth.
    pub values: Vec<f64>,
    /// The pass, counted from 0, whose statistics the model has now.
    pub best: usize,
}

/// The statistics of all norms that have any.
fn statistics(model: &impl Classifier) -> Vec<[Tensor<1>; 3]> {
    let norms = model.norms().into_iter();
    norms
        .filter_map(|norm| Some(norm.bn.as_ref()?.statistics()))
        .collect()
}

/// The procedure after training: `passes` times over the batches of a pass, each followed by an
/// evaluation; the statistics of the pass that was worth most are kept, the first of equals.
///
/// The official procedure has [`ESTIMATION_PASSES`] passes over the training images and chooses by
/// the accuracy on the validation images.
///
/// # Errors
/// [`Error::Input`] for no passes; what [`estimate`], the batches and the evaluation report.
pub fn reestimate<M: Classifier, B: IntoIterator<Item = Result<Tensor<4>>>>(
    model: &M,
    passes: usize,
    mut batches: impl FnMut(usize) -> Result<B>,
    mut evaluate: impl FnMut(&M) -> Result<f64>,
) -> Result<Estimation> {
    if passes == 0 {
        return Err(Error::input("passes", 0, "must be at least 1"));
    }
    let mut values: Vec<f64> = Vec::with_capacity(passes);
    let mut best = (0, statistics(model));
    for pass in 0..passes {
        for images in batches(pass)? {
            estimate(model, images?)?;
        }
        let value = evaluate(model)?;
        let before = values.get(best.0).copied();
        // What is not a number is worth nothing.
        if before.is_none_or(|before| value > before || before.is_nan()) {
            best = (pass, statistics(model));
        }
        values.push(value);
    }
    let norms = model.norms().into_iter();
    let norms = norms.filter_map(|norm| norm.bn.as_ref());
    for (norm, found) in norms.zip(best.1) {
        norm.restore(found);
    }
    Ok(Estimation {
        values,
        best: best.0,
    })
}
