//! Norms folded into their neighbours: exact, as long as they work by running statistics.

use super::model::check_trained;
use super::norm::Norm;
use burn::module::Param;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};
use menagerie_nn::conv::Conv2d;
use menagerie_nn::vit::{Linear, PatchEmbed};

/// What a norm multiplies with and adds, `[size]` each.
pub(crate) type Affine = (Tensor<1>, Tensor<1>);

/// Takes what `norm` does in evaluation, `a x + b`, and leaves nothing in its place.
///
/// # Errors
/// [`Error::Input`] for a norm that looks at each token, or whose blend is not over: its network was
/// not trained to do without layer normalisation yet.
pub(crate) fn take(norm: &mut Norm, name: &str) -> Result<Affine> {
    if let Some((left, total, warm)) = norm.counters()?
        && left + warm > 0.0
    {
        let found = format!("{left} of {total} steps before the end of its blend");
        let found = match warm > 0.0 {
            true => "still in its warm-up".to_owned(),
            false => found,
        };
        let rule = "must be trained to the end of its blend before it is folded";
        return Err(Error::input(format!("the norm `{name}`"), found, rule));
    }
    let Some(affine) = norm.affine() else {
        let found = match norm.is_folded() {
            true => "folded",
            false => "computed from each token",
        };
        let rule = "must be a batch normalisation: nothing else can be folded";
        return Err(Error::input(format!("the norm `{name}`"), found, rule));
    };
    *norm = Norm {
        layer: None,
        rms: None,
        bn: None,
        alpha: None,
        blend: None,
    };
    Ok(affine)
}

impl Norm {
    /// Folds the norm into the linear layer that it comes before, `W' = diag(a) W`, `c' = c + b W`
    /// with the `(a, b)` of [`affine`](Self::affine), and leaves nothing in its place: the layer then
    /// computes what norm and layer did in evaluation. A missing bias is created. `name` is the
    /// norm's, for errors.
    ///
    /// # Errors
    /// [`Error::Input`] for a norm that looks at each token, that is folded already, or whose blend is
    /// not over; for one or a layer on a device that records gradients; and for a layer of another
    /// width. Both are as they were then.
    pub fn merge_into(&mut self, linear: &mut Linear, name: &str) -> Result<()> {
        check_trained(self)?;
        check_trained(linear)?;
        let [inputs, _] = linear.weight.dims();
        let size = self.bn.as_ref().map(|bn| bn.weight.dims()[0]);
        if let Some(size) = size.filter(|size| *size != inputs) {
            let rule = format!("must be {size}, the width of the norm `{name}`");
            return Err(Error::input("the inputs of the layer", inputs, rule));
        }
        into_linear(linear, &take(self, name)?);
        Ok(())
    }
}

/// A norm before a linear layer: `W' = diag(a) W`, `c' = c + b W`; a missing bias is created.
pub(crate) fn into_linear(linear: &mut Linear, (scale, offset): &Affine) {
    let weight = linear.weight.val();
    let [_, outputs] = weight.dims();
    let moved = offset
        .clone()
        .unsqueeze_dim::<2>(0)
        .matmul(weight.clone())
        .reshape([outputs]);
    linear.bias = Some(Param::from_tensor(match &linear.bias {
        None => moved,
        Some(bias) => bias.val() + moved,
    }));
    linear.weight = Param::from_tensor(weight * scale.clone().unsqueeze_dim::<2>(1));
}

/// A norm after a patch embedding: `W' = a W`, `c' = a c + b`.
pub(crate) fn after_patches(patches: &mut PatchEmbed, (scale, offset): &Affine) {
    let [dim, ..] = patches.weight.dims();
    let weight = patches.weight.val() * scale.clone().reshape([dim, 1, 1, 1]);
    patches.bias = Param::from_tensor(patches.bias.val() * scale.clone() + offset.clone());
    patches.weight = Param::from_tensor(weight);
}

/// A norm after a convolution: `W' = a W`, `c' = a c + b`; a missing bias is created.
pub(crate) fn after_convolution(conv: &mut Conv2d, (scale, offset): &Affine) {
    let [dim, ..] = conv.weight.dims();
    let weight = conv.weight.val() * scale.clone().reshape([dim, 1, 1, 1]);
    conv.bias = Some(Param::from_tensor(match &conv.bias {
        None => offset.clone(),
        Some(bias) => bias.val() * scale.clone() + offset.clone(),
    }));
    conv.weight = Param::from_tensor(weight);
}

/// A norm before a patch embedding, which has no border: `W' = W diag(a)`, `c' = c + Σ W b`.
pub(crate) fn before_patches(patches: &mut PatchEmbed, (scale, offset): &Affine) {
    let weight = patches.weight.val();
    let [dim, channels, height, width] = weight.dims();
    let moved = (weight.clone() * offset.clone().reshape([1, channels, 1, 1]))
        .reshape([dim, channels * height * width])
        .sum_dim(1)
        .reshape([dim]);
    patches.bias = Param::from_tensor(patches.bias.val() + moved);
    patches.weight = Param::from_tensor(weight * scale.clone().reshape([1, channels, 1, 1]));
}
