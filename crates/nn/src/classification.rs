//! Classification with target distributions.

use burn::tensor::{Tensor, activation::log_softmax};
use menagerie_core::{Error, Result};

/// Targets `[labels, classes]`, row-major: `smoothing / classes` everywhere, and `1 − smoothing` more
/// at the label.
///
/// # Errors
/// [`Error::Input`] for a label that is no class, or a smoothing outside of [0, 1).
pub fn smooth_targets(labels: &[usize], classes: usize, smoothing: f64) -> Result<Vec<f32>> {
    if !(0.0..1.0).contains(&smoothing) {
        let rule = "must be at least 0 and below 1";
        return Err(Error::input("label smoothing", smoothing, rule));
    }
    let off = (smoothing / classes as f64) as f32;
    let on = (1.0 - smoothing + smoothing / classes as f64) as f32;
    let mut targets = vec![off; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        if *label >= classes {
            let rule = format!("must be below the number of classes, {classes}");
            return Err(Error::input("a label", label, rule));
        }
        targets[row * classes + label] = on;
    }
    Ok(targets)
}

/// The mean cross-entropy, in nats, of scores with target distributions, both `[batch, classes]`;
/// shape `[1]`.
pub fn soft_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let batch = logits.dims()[0] as f64;
    (log_softmax(logits, 1) * targets).sum() / -batch
}

/// The share of rows of `[batch, classes]` whose largest score is where the largest target is; shape
/// `[1]`.
pub fn accuracy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    logits.argmax(1).equal(targets.argmax(1)).float().mean()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothed_targets_add_up_to_one() {
        let targets = smooth_targets(&[2, 0], 4, 0.1).unwrap();
        assert_eq!(targets[..4], [0.025, 0.025, 0.925, 0.025]);
        assert!((targets[4..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let error = smooth_targets(&[4], 4, 0.1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a label is 4: must be below the number of classes, 4"
        );
        let error = smooth_targets(&[0], 4, 1.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "label smoothing is 1.0: must be at least 0 and below 1"
        );
    }
}
