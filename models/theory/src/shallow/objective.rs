//! The two losses that the paper may mean, and accuracy.

use burn::tensor::{Int, Tensor, activation};

/// The cross-entropy of scores `[batch, classes]` and labels `[batch]` in nats, the mean, shape `[1]`.
///
/// # Panics
/// If there are not as many labels as rows.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let logarithms = activation::log_softmax(logits, 1);
    let chosen = logarithms.gather(1, labels.unsqueeze_dim::<2>(1));
    -chosen.mean()
}

/// The mean over all entries of (softmax − one-hot)², shape `[1]`, of scores `[batch, classes]` and
/// labels `[batch]`.
///
/// # Panics
/// If there are not as many labels as rows.
pub fn squared_error(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let [_, classes] = logits.dims();
    let wanted: Tensor<2, Int> = labels.one_hot(classes);
    let error = activation::softmax(logits, 1) - wanted.float();
    error.square().mean()
}

/// The share of rows whose largest score is that of the label, shape `[1]`.
///
/// # Panics
/// If there are not as many labels as rows.
pub fn accuracy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let found = logits.argmax(1).squeeze_dim::<1>(1);
    found.equal(labels).float().mean()
}
