//! The parts of transformers.
//!
//! On `flex` they run kernels that need no intermediate tensors: attention keeps no scores, and a
//! linear layer with a small weight is a product that stays in the cache. Gradients are summed in an
//! order that does not depend on the number of threads.

#[cfg(feature = "flex")]
use crate::flex::transformer as kernel;
#[cfg(feature = "flex")]
use crate::kernel::gelu::Gelu;
use burn::tensor::{Bool, DType, Int, Tensor, activation, module};

/// `x weight + bias` on the last axis: `x [.., inputs]`, `weight [inputs, outputs]`, `bias
/// [outputs]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [inputs, outputs] = weight.dims();
    let dims = x.dims();
    assert_eq!(dims[D - 1], inputs, "linear: last axis of x");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "linear: shape of the bias");
    }
    #[cfg(feature = "flex")]
    if let Some(y) = linear_kernel(&x, &weight, bias.as_ref(), false) {
        return y;
    }
    module::linear(x, weight, bias)
}

/// [`linear`] with the transpose of its weight, `[outputs, inputs]`: as PyTorch keeps it, and where
/// the rows of the weight are vectors of their own.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn linear_transposed<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [outputs, inputs] = weight.dims();
    assert_eq!(x.dims()[D - 1], inputs, "linear: last axis of x");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "linear: shape of the bias");
    }
    #[cfg(feature = "flex")]
    if let Some(y) = linear_kernel(&x, &weight, bias.as_ref(), true) {
        return y;
    }
    module::linear(x, weight.transpose(), bias)
}

#[cfg(feature = "flex")]
fn linear_kernel<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    transposed: bool,
) -> Option<Tensor<D>> {
    let mut dims = x.dims();
    let rows = dims[..D - 1].iter().product::<usize>();
    let tracked = x.is_autodiff() || weight.is_autodiff();
    let y = kernel::linear(
        tracking(x.clone().reshape([rows, dims[D - 1]]), tracked),
        tracking(weight.clone(), tracked),
        bias.map(|bias| tracking(bias.clone(), tracked)),
        transposed,
    )?;
    dims[D - 1] = weight.dims()[usize::from(!transposed)];
    Some(y.reshape(dims))
}

/// `(x - mean) / sqrt(var + epsilon) * gain + bias` over the last axis: `x [.., size]`, gain and
/// bias `[size]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let dims = x.dims();
    let size = dims[D - 1];
    assert_eq!(gain.dims(), [size], "layer norm: shape of the gain");
    assert_eq!(bias.dims(), [size], "layer norm: shape of the bias");
    #[cfg(feature = "flex")]
    {
        let rows = dims[..D - 1].iter().product::<usize>();
        let tracked = x.is_autodiff() || gain.is_autodiff();
        let kernel = kernel::layer_norm(
            tracking(x.clone().reshape([rows, size]), tracked),
            tracking(gain.clone(), tracked),
            tracking(bias.clone(), tracked),
            epsilon,
        );
        if let Some(y) = kernel {
            return y.reshape(dims);
        }
    }
    module::layer_norm(x, gain, Some(bias), epsilon)
}

/// `x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(y) = kernel::gelu(x.clone(), Gelu::Tanh) {
        return y;
    }
    // 2 √(2/π)
    const SLOPE: f64 = 2.0 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    // 1 + tanh(u) = 2 σ(2u), without the general power that x³ would go through.
    let inner = (x.clone().square() * 0.044_715 + 1.0) * x.clone() * SLOPE;
    x * activation::sigmoid(inner)
}

/// `x Φ(x)`, `Φ` the distribution function of the standard normal.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(y) = kernel::gelu(x.clone(), Gelu::Exact) {
        return y;
    }
    activation::gelu(x)
}

/// Attention: every token's query is held against the keys of all tokens, and takes their values by
/// the softmax of `scale` times the products.
///
/// `qkv [batch, tokens, 3 · heads · size]` holds all queries, all keys, all values, the heads side
/// by side. The result is `[batch, tokens, heads · size]`.
///
/// # Panics
/// If three times the heads do not divide the width.
pub fn attention(qkv: Tensor<3>, heads: usize, scale: f64) -> Tensor<3> {
    let [batch, tokens, width] = qkv.dims();
    assert!(
        heads > 0 && width.is_multiple_of(3 * heads),
        "attention: {heads} heads in {width} numbers"
    );
    #[cfg(feature = "flex")]
    if let Some(z) = kernel::attention(qkv.clone(), heads, heads, scale, false) {
        return z;
    }
    let size = width / (3 * heads);
    let part = |at: usize| {
        let part = qkv.clone().narrow(2, at * heads * size, heads * size);
        part.reshape([batch, tokens, heads, size]).swap_dims(1, 2)
    };
    let values = part(2);
    activation::softmax(scores(part(0), part(1), scale), 3)
        .cast(values.dtype())
        .matmul(values)
        .swap_dims(1, 2)
        .reshape([batch, tokens, heads * size])
}

/// `scale` times the products of queries and keys, `[batch, heads, tokens, size]` each. Of half
/// precision in single, and half of the scale on either side of the product, which would overflow
/// otherwise.
fn scores(queries: Tensor<4>, keys: Tensor<4>, scale: f64) -> Tensor<4> {
    match queries.dtype() {
        DType::F16 | DType::BF16 => {
            let half = scale.sqrt();
            single((queries * half).matmul((keys * half).transpose()))
        }
        _ => queries.matmul(keys.transpose()) * scale,
    }
}

/// A tensor of half precision in single, any other as it is.
pub(crate) fn single<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(DType::F32),
        _ => x,
    }
}

/// Causal attention: every token's query is held against the keys of itself and the tokens before
/// it, and takes their values by the softmax of `scale` times the products.
///
/// `qkv [batch, tokens, (heads + 2 · kv_heads) · size]` holds all queries, all keys, all values, the
/// heads side by side; `heads / kv_heads` queries share a key. The result is `[batch, tokens, heads ·
/// size]`.
///
/// # Panics
/// If the heads do not divide the width, or the key heads the query heads.
pub fn causal_attention(qkv: Tensor<3>, heads: usize, kv_heads: usize, scale: f64) -> Tensor<3> {
    let [batch, tokens, width] = qkv.dims();
    let parts = heads + 2 * kv_heads;
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads) && width.is_multiple_of(parts),
        "causal attention: {heads} and {kv_heads} heads in {width} numbers"
    );
    #[cfg(feature = "flex")]
    if let Some(z) = kernel::attention(qkv.clone(), heads, kv_heads, scale, true) {
        return z;
    }
    let size = width / parts;
    let part = |first: usize, count: usize| {
        let part = qkv.clone().narrow(2, first * size, count * size);
        let part = part.reshape([batch, tokens, count, size]).swap_dims(1, 2);
        let group = heads / count;
        if group == 1 {
            return part;
        }
        part.reshape([batch, count, 1, tokens, size])
            .expand([batch, count, group, tokens, size])
            .reshape([batch, heads, tokens, size])
    };
    let (query, key) = (part(0, heads), part(heads, kv_heads));
    let value = part(heads + kv_heads, kv_heads);
    let device = qkv.device().without_autodiff();
    let positions = Tensor::<1, Int>::arange(0..tokens as i64, &device);
    let later: Tensor<2, Bool> = positions
        .clone()
        .unsqueeze_dim::<2>(1)
        .expand([tokens, tokens])
        .lower(positions.unsqueeze_dim::<2>(0).expand([tokens, tokens]));
    let later = later
        .unsqueeze::<4>()
        .expand([batch, heads, tokens, tokens]);
    let scores = scores(query, key, scale).mask_fill(later, f32::NEG_INFINITY);
    activation::softmax(scores, 3)
        .cast(value.dtype())
        .matmul(value)
        .swap_dims(1, 2)
        .reshape([batch, tokens, heads * size])
}

/// Cross-entropy in nats of `logits [rows, classes]` with the class that each row should have,
/// `[rows]`.
///
/// # Panics
/// If the shapes do not fit each other, or a class does not exist.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    assert_eq!(
        targets.dims(),
        [rows],
        "cross-entropy: shape of the targets"
    );
    #[cfg(feature = "flex")]
    if is_flex(&logits) {
        let data = targets.clone().into_data();
        let read: Vec<usize> = data.iter::<i64>().map(|class| class as usize).collect();
        assert!(
            read.iter().all(|class| *class < classes),
            "cross-entropy: classes must be below {classes}"
        );
        if let Some(losses) = kernel::cross_entropy(logits.clone(), &read) {
            return losses;
        }
    }
    activation::log_softmax(logits, 1)
        .gather(1, targets.unsqueeze_dim(1))
        .squeeze_dim::<1>(1)
        .neg()
}

/// A kernel wants all of its tensors with autodiff or none.
#[cfg(feature = "flex")]
fn tracking<const D: usize>(tensor: Tensor<D>, tracked: bool) -> Tensor<D> {
    if tracked { tensor.autodiff() } else { tensor }
}

/// Whether reading integers costs nothing.
#[cfg(feature = "flex")]
fn is_flex(tensor: &Tensor<2>) -> bool {
    let flex = burn::tensor::Device::flex();
    tensor.device().without_autodiff() == flex
}
