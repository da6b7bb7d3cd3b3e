//! What a host is trained on, and how its loss answers to an activation.

use super::{hook::HookPoint, model::LanguageModel};
use burn::{
    module::Module,
    tensor::{Int, Tensor},
};
use menagerie_core::{Error, Result};
use menagerie_nn::transformer;

/// Cross-entropy in nats of every predicted token `[batch, tokens - 1]`, from logits `[batch,
/// tokens, vocabulary]` and the tokens `[batch, tokens]` that they were computed from: the logits at
/// one token are held against the next.
///
/// # Panics
/// If the shapes do not fit each other or there are fewer than two tokens.
pub fn cross_entropy(logits: Tensor<3>, tokens: Tensor<2, Int>) -> Tensor<2> {
    let [_, length, _] = logits.dims();
    assert!(length > 1, "cross-entropy: needs two tokens, got {length}");
    next_token_loss(
        logits.narrow(1, 0, length - 1),
        tokens.narrow(1, 1, length - 1),
    )
}

/// Cross-entropy in nats `[batch, tokens]` of logits `[batch, tokens, vocabulary]` and the tokens
/// that should follow `[batch, tokens]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn next_token_loss(logits: Tensor<3>, targets: Tensor<2, Int>) -> Tensor<2> {
    let [batch, length, classes] = logits.dims();
    assert_eq!(
        targets.dims(),
        [batch, length],
        "cross-entropy: shape of the tokens"
    );
    let rows = batch * length;
    transformer::cross_entropy(logits.reshape([rows, classes]), targets.reshape([rows]))
        .reshape([batch, length])
}

/// The activation at `hook` `[batch, tokens, width]` and the gradient with respect to it of the sum
/// of next-token cross-entropies over batch and tokens, both without autodiff.
///
/// Weights get no gradient, and nothing before the hook is recorded. The gradient at the last token
/// is 0: no prediction that counts depends on it.
///
/// # Errors
/// Those of [`LanguageModel::run`]; [`Error::Input`] for fewer than two tokens, or a hook that the
/// loss does not depend on.
pub fn activation_gradient(
    model: &LanguageModel,
    tokens: Tensor<2, Int>,
    hook: &HookPoint,
) -> Result<(Tensor<3>, Tensor<3>)> {
    let [_, length] = tokens.dims();
    if length < 2 {
        return Err(Error::input(
            "the number of tokens",
            length,
            "must be at least 2 for a next token to predict",
        ));
    }
    let mut leaf = None;
    let logits = model
        .valid()
        .forward_with(tokens.clone(), hook, |activation| {
            let activation = activation.detach().autodiff().require_grad();
            leaf = Some(activation.clone());
            Ok(activation)
        })?;
    let missing = || Error::input("the hook", hook.to_string(), "does not act on the loss");
    let gradients = cross_entropy(logits, tokens).sum().backward();
    let leaf = leaf.ok_or_else(missing)?;
    let gradient = leaf.grad(&gradients).ok_or_else(missing)?;
    Ok((leaf.without_autodiff(), gradient.without_autodiff()))
}
