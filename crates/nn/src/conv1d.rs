//! 1-D convolution and its adjoint, with any stride, dilation, groups and padding, and with a leaky
//! ReLU on their input as part of them.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_nn::conv1d::{Conv1dOptions, conv_transpose1d, conv1d};
//!
//! let device = Device::flex();
//! let signal = Tensor::<3>::zeros([2, 16, 4096], &device);
//! let weight = Tensor::<3>::zeros([64, 16, 9], &device);
//! // Four samples to one, after a leaky ReLU.
//! let options = Conv1dOptions::new().with_stride(4).with_padding(4, 4).with_leaky_relu(0.2);
//! let features = conv1d(signal, weight.clone(), None, &options);
//! assert_eq!(features.dims(), [2, 64, 1024]);
//! // The adjoint takes the same weight the other way; what it crops decides between lengths that
//! // the convolution takes to the same one.
//! let options = options.with_padding(4, 1);
//! assert_eq!(conv_transpose1d(features, weight, None, &options).dims(), [2, 16, 4096]);
//! ```
//!
//! # Where the time goes
//! Burn's own 1-D convolution on `flex` is its 3-D one with two axes of length one. On one thread it
//! copies the signal into channels-last order and the weight into the order that goes with it, value
//! by value; then it writes out, for 512 output positions at a time, the matrix of shifted signals
//! (`kernel` times the signal), multiplies into a fresh buffer, copies that into the result value by
//! value, and adds the bias in a pass of its own. Short signals are one such tile, so that only the
//! product itself uses a second thread. The transposed convolution multiplies into `kernel` times the
//! result and adds that up value by value. None of these copies is needed: the kernels here read
//! shifted signals out of one padded copy that stays in the cache, and the weight where it lies.

use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Tensor, activation, module};

/// How [`conv1d`] and [`conv_transpose1d`] walk over the signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv1dOptions {
    /// Positions from one output value to the next; of the transposed form, from one input value to
    /// the next.
    pub stride: usize,
    /// Positions from one tap of the filter to the next.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Zeros before and after the input; of the transposed form, values that are cropped from the
    /// start and the end of the output.
    pub padding: (usize, usize),
    /// The slope, for negative values, of a leaky ReLU that the input goes through first.
    pub leaky_relu: Option<f64>,
}

impl Default for Conv1dOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Conv1dOptions {
    /// Stride and dilation 1, one group, no padding, no activation.
    pub const fn new() -> Self {
        Self {
            stride: 1,
            dilation: 1,
            groups: 1,
            padding: (0, 0),
            leaky_relu: None,
        }
    }

    /// With another stride.
    pub const fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With another dilation.
    pub const fn with_dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// With other groups.
    pub const fn with_groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// With padding (or cropping) of its own on each side.
    pub const fn with_padding(self, before: usize, after: usize) -> Self {
        Self {
            padding: (before, after),
            ..self
        }
    }

    /// With a leaky ReLU of this slope on the input.
    pub const fn with_leaky_relu(self, slope: f64) -> Self {
        Self {
            leaky_relu: Some(slope),
            ..self
        }
    }

    /// Positions that a filter of `kernel` taps covers.
    const fn span(&self, kernel: usize) -> usize {
        (kernel - 1) * self.dilation + 1
    }

    /// Length of a convolution's output, `(len + before + after - span) / stride + 1` with the span
    /// `(kernel - 1) · dilation + 1`; `None` where the filter is longer than the padded input.
    pub fn convolved(&self, len: usize, kernel: usize) -> Option<usize> {
        let padded = len + self.padding.0 + self.padding.1;
        Some(padded.checked_sub(self.span(kernel))? / self.stride + 1)
    }

    /// Length of a transposed convolution's output, `(len - 1) · stride + span - before - after`;
    /// `None` where nothing is left.
    pub fn transposed(&self, len: usize, kernel: usize) -> Option<usize> {
        let full = len.checked_sub(1)? * self.stride + self.span(kernel);
        full.checked_sub(self.padding.0 + self.padding.1)
            .filter(|&left| left > 0)
    }

    fn check(&self, name: &str, kernel: usize) {
        let Self {
            stride,
            dilation,
            groups,
            ..
        } = *self;
        assert!(kernel > 0, "{name}: the filter has no taps");
        assert!(stride > 0, "{name}: stride 0");
        assert!(dilation > 0, "{name}: dilation 0");
        assert!(groups > 0, "{name}: 0 groups");
    }
}

/// 1-D convolution (cross-correlation, as every deep-learning library has it).
///
/// `x` is `[batch, in, len]`, `weight` `[out, in / groups, kernel]`, `bias` `[out]`. The result is
/// `[batch, out, len']` with [`Conv1dOptions::convolved`].
///
/// # Panics
/// If the shapes do not fit each other, a stride, a dilation or the groups are zero, or the filter is
/// longer than the padded input.
pub fn conv1d(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Option<Tensor<1>>,
    options: &Conv1dOptions,
) -> Tensor<3> {
    let [_, channels, len] = x.dims();
    let [outputs, inputs, kernel] = weight.dims();
    let groups = options.groups;
    options.check("conv1d", kernel);
    assert_eq!(
        channels,
        inputs * groups,
        "conv1d: channels of x and of the weight in {groups} groups"
    );
    assert!(
        outputs.is_multiple_of(groups),
        "conv1d: {outputs} output channels in {groups} groups"
    );
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "conv1d: shape of the bias");
    }
    assert!(
        options.convolved(len, kernel).is_some(),
        "conv1d: {kernel} taps are longer than an input of {len} with {options:?}"
    );
    #[cfg(feature = "flex")]
    if let Some(y) = crate::flex::conv1d::convolution(false, &x, &weight, bias.as_ref(), options) {
        return y;
    }
    plain::conv1d(x, weight, bias, options)
}

/// 1-D transposed convolution: the adjoint of [`conv1d`] with the same weight and options, so
/// `padding` crops the full output.
///
/// `x` is `[batch, in, len]`, `weight` `[in, out / groups, kernel]`, `bias` `[out]`. The result is
/// `[batch, out, len']` with [`Conv1dOptions::transposed`]. PyTorch's `padding = p, output_padding =
/// q` is `p` before and `p - q` after.
///
/// # Panics
/// If the shapes do not fit each other, a stride, a dilation or the groups are zero, or the crop
/// leaves nothing.
pub fn conv_transpose1d(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Option<Tensor<1>>,
    options: &Conv1dOptions,
) -> Tensor<3> {
    let [_, channels, len] = x.dims();
    let [inputs, outputs, kernel] = weight.dims();
    let groups = options.groups;
    options.check("conv_transpose1d", kernel);
    assert_eq!(
        channels, inputs,
        "conv_transpose1d: channels of x and of the weight"
    );
    assert!(
        inputs.is_multiple_of(groups),
        "conv_transpose1d: {inputs} input channels in {groups} groups"
    );
    if let Some(bias) = &bias {
        assert_eq!(
            bias.dims(),
            [outputs * groups],
            "conv_transpose1d: shape of the bias"
        );
    }
    assert!(
        options.transposed(len, kernel).is_some(),
        "conv_transpose1d: nothing is left of an input of {len} and {kernel} taps with {options:?}"
    );
    #[cfg(feature = "flex")]
    if let Some(y) = crate::flex::conv1d::convolution(true, &x, &weight, bias.as_ref(), options) {
        return y;
    }
    plain::conv_transpose1d(x, weight, bias, options)
}

/// The operations on Burn's own, for every backend.
mod plain {
    use super::*;

    fn activated(x: Tensor<3>, options: &Conv1dOptions) -> Tensor<3> {
        match options.leaky_relu {
            Some(slope) => activation::leaky_relu(x, slope),
            None => x,
        }
    }

    pub(super) fn conv1d(
        x: Tensor<3>,
        weight: Tensor<3>,
        bias: Option<Tensor<1>>,
        options: &Conv1dOptions,
    ) -> Tensor<3> {
        let mut x = activated(x, options);
        let (before, mut after) = options.padding;
        if options.groups > 1 {
            // Burn's gradient of a weight in groups takes the wrong taps where the stride leaves
            // values over at the end: they are cut off.
            let padded = x.dims()[2] + before + after;
            let over = (padded - options.span(weight.dims()[2])) % options.stride;
            let cut = over.saturating_sub(after);
            after -= over - cut;
            if cut > 0 {
                let len = x.dims()[2] - cut;
                x = x.narrow(2, 0, len);
            }
        }
        let options = ConvOptions::new_with_padding(
            [options.stride],
            [(before, after)],
            [options.dilation],
            options.groups,
        );
        module::conv1d(x, weight, bias, options)
    }

    pub(super) fn conv_transpose1d(
        x: Tensor<3>,
        weight: Tensor<3>,
        bias: Option<Tensor<1>>,
        options: &Conv1dOptions,
    ) -> Tensor<3> {
        let x = activated(x, options);
        // Burn crops both ends alike; what is left to crop on one side is a slice.
        let (before, after) = options.padding;
        let common = before.min(after);
        let sizes = ConvTransposeOptions::new(
            [options.stride],
            [common],
            [0],
            [options.dilation],
            options.groups,
        );
        let full = module::conv_transpose1d(x, weight, bias, sizes);
        if before == after {
            return full;
        }
        let [batch, outputs, len] = full.dims();
        full.slice([
            0..batch,
            0..outputs,
            before - common..len - (after - common),
        ])
    }
}
