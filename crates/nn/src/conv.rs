//! 2-D convolution and its adjoint, with separate padding on all four sides.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_nn::conv::{Padding, conv_transpose2d, conv2d};
//!
//! let device = Device::flex();
//! let images = Tensor::<4>::zeros([2, 1, 28, 28], &device);
//! let weight = Tensor::<4>::zeros([32, 1, 3, 3], &device);
//! // TensorFlow's "SAME" rule for a 3x3 kernel with stride 2 on 28x28: nothing before, one after.
//! let same = Padding::same([28, 28], [3, 3], [2, 2]);
//! let maps = conv2d(images, weight.clone(), None, [2, 2], same);
//! assert_eq!(maps.dims(), [2, 32, 14, 14]);
//! // The adjoint takes the same weight, stride and padding back to the input's size.
//! assert_eq!(conv_transpose2d(maps, weight, None, [2, 2], same).dims(), [2, 1, 28, 28]);
//! ```

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::activation::{leaky_relu, relu};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor, module};

/// Rows and columns that a convolution adds around its input, and that a transposed convolution
/// removes from its output; each axis is `[height, width]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above and columns to the left.
    pub before: [usize; 2],
    /// Rows below and columns to the right.
    pub after: [usize; 2],
}

impl Padding {
    /// No padding ("VALID").
    pub const NONE: Self = Self::symmetric(0);

    /// The same number of rows and columns on every side.
    pub const fn symmetric(size: usize) -> Self {
        Self {
            before: [size; 2],
            after: [size; 2],
        }
    }

    /// TensorFlow's "SAME" rule, for which the output has `ceil(input / stride)` rows and columns:
    /// `max((ceil(input / stride) - 1) * stride + kernel - input, 0)` in total, the smaller half
    /// of it before.
    ///
    /// # Panics
    /// If a stride is zero.
    pub fn same(input: [usize; 2], kernel: [usize; 2], stride: [usize; 2]) -> Self {
        let total: [usize; 2] = std::array::from_fn(|axis| {
            let last = input[axis].div_ceil(stride[axis]).saturating_sub(1) * stride[axis];
            (last + kernel[axis]).saturating_sub(input[axis])
        });
        Self {
            before: total.map(|t| t / 2),
            after: total.map(|t| t - t / 2),
        }
    }

    /// Rows and columns of a convolution's output, `None` where the kernel is larger than the
    /// padded input.
    pub fn convolved(
        self,
        input: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
    ) -> Option<[usize; 2]> {
        let size = |axis: usize| {
            let padded = input[axis] + self.before[axis] + self.after[axis];
            Some(padded.checked_sub(kernel[axis])? / stride[axis] + 1)
        };
        Some([size(0)?, size(1)?])
    }

    /// Rows and columns of a transposed convolution's output,
    /// `(input - 1) * stride + kernel - before - after`; `None` where nothing is left.
    pub fn transposed(
        self,
        input: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
    ) -> Option<[usize; 2]> {
        let size = |axis: usize| {
            let full = input[axis].checked_sub(1)? * stride[axis] + kernel[axis];
            full.checked_sub(self.before[axis] + self.after[axis])
                .filter(|&left| left > 0)
        };
        Some([size(0)?, size(1)?])
    }
}

/// 2-D convolution (cross-correlation, as every deep-learning library has it).
///
/// `x` is `[batch, in, height, width]`, `weight` `[out, in, kernel height, kernel width]`, `bias`
/// `[out]`; `stride` and each side of `padding` are `[vertical, horizontal]`. The result is
/// `[batch, out, height', width']` with the sizes of [`Padding::convolved`].
///
/// # Panics
/// If the shapes do not fit each other, a stride is zero, or the kernel is larger than the padded
/// input.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
) -> Tensor<4> {
    convolve(x, weight, bias, stride, padding, 1.0)
}

/// [`conv2d`], then a leaky ReLU with this slope, above 0, for negative values: one operation, whose
/// gradient keeps nothing but the result.
///
/// # Panics
/// As [`conv2d`] does, and if the slope is not above 0.
pub fn conv2d_leaky_relu(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
    slope: f64,
) -> Tensor<4> {
    assert!(slope > 0.0, "leaky ReLU: slope {slope}");
    convolve(x, weight, bias, stride, padding, slope)
}

/// [`conv2d`], then a ReLU: one operation, whose gradient keeps nothing but the result.
///
/// # Panics
/// As [`conv2d`] does.
pub fn conv2d_relu(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
) -> Tensor<4> {
    convolve(x, weight, bias, stride, padding, 0.0)
}

/// [`conv2d_relu`], then the sum of `blocks` blocks of consecutive channels, `[batch, out / blocks,
/// height', width']`: one operation in place of that many convolutions of one input that are added.
/// Without autodiff the maps before the sum are never all in memory.
///
/// # Panics
/// As [`conv2d`] does, and if the output channels are no multiple of `blocks`.
pub fn conv2d_relu_sum(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
    blocks: usize,
) -> Tensor<4> {
    let outputs = check_conv2d(x.dims(), weight.dims(), stride, padding);
    assert!(
        blocks > 0 && outputs.is_multiple_of(blocks),
        "conv2d_relu_sum: {outputs} channels in {blocks} blocks"
    );
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "conv2d: shape of the bias");
    }
    #[cfg(feature = "flex")]
    if let Some(y) = crate::flex::block_sum::convolution_relu_sum(
        [&x, &weight],
        bias.as_ref(),
        stride,
        padding,
        blocks,
    ) {
        return y;
    }
    block_sum(conv2d_relu(x, weight, bias, stride, padding), blocks)
}

/// The sum of `blocks` blocks of consecutive channels of `[batch, channels, height, width]`.
///
/// # Panics
/// If the channels are no multiple of `blocks`.
pub fn block_sum(x: Tensor<4>, blocks: usize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    assert!(
        blocks > 0 && channels.is_multiple_of(blocks),
        "block_sum: {channels} channels in {blocks} blocks"
    );
    let blocks = [batch, blocks, channels / blocks, height, width];
    x.reshape(blocks).sum_dim(1).squeeze_dim::<4>(1)
}

/// A slope of 1 is no activation, one of 0 a ReLU.
fn convolve(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
    slope: f64,
) -> Tensor<4> {
    let outputs = check_conv2d(x.dims(), weight.dims(), stride, padding);
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "conv2d: shape of the bias");
    }
    #[cfg(feature = "flex")]
    if let Some(y) =
        crate::flex::conv::convolution(false, [&x, &weight], bias.as_ref(), stride, padding, slope)
    {
        return y;
    }
    activate(plain::conv2d(x, weight, bias, stride, padding), slope)
}

fn activate(y: Tensor<4>, slope: f64) -> Tensor<4> {
    if slope == 1.0 {
        y
    } else if slope == 0.0 {
        relu(y)
    } else {
        leaky_relu(y, slope)
    }
}

/// 2-D transposed convolution: the adjoint of [`conv2d`] with the same weight, stride and padding,
/// so `padding` rows and columns are cropped from the full output.
///
/// `x` is `[batch, in, height, width]`, `weight` `[in, out, kernel height, kernel width]`, `bias`
/// `[out]`. The result is `[batch, out, height', width']` with the sizes of
/// [`Padding::transposed`]. PyTorch's `padding = p, output_padding = q` is `p` before and `p - q`
/// after; TensorFlow's "SAME" is [`Padding::same`] of the output's size.
///
/// # Panics
/// If the shapes do not fit each other, a stride is zero, or the crop leaves nothing.
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
) -> Tensor<4> {
    convolve_transpose(x, weight, bias, stride, padding, 1.0)
}

/// [`conv_transpose2d`], then a leaky ReLU with this slope, above 0, for negative values: one
/// operation, whose gradient keeps nothing but the result.
///
/// # Panics
/// As [`conv_transpose2d`] does, and if the slope is not above 0.
pub fn conv_transpose2d_leaky_relu(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
    slope: f64,
) -> Tensor<4> {
    assert!(slope > 0.0, "leaky ReLU: slope {slope}");
    convolve_transpose(x, weight, bias, stride, padding, slope)
}

/// A slope of 1 is no activation.
fn convolve_transpose(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
    slope: f64,
) -> Tensor<4> {
    let outputs = check_conv_transpose2d(x.dims(), weight.dims(), stride, padding);
    if let Some(bias) = &bias {
        assert_eq!(
            bias.dims(),
            [outputs],
            "conv_transpose2d: shape of the bias"
        );
    }
    #[cfg(feature = "flex")]
    if let Some(y) =
        crate::flex::conv::convolution(true, [&x, &weight], bias.as_ref(), stride, padding, slope)
    {
        return y;
    }
    activate(
        plain::conv_transpose2d(x, weight, bias, stride, padding),
        slope,
    )
}

/// Checks what [`conv2d`] is handed and returns its output channels.
pub(crate) fn check_conv2d(
    [_, channels, h, w]: [usize; 4],
    [outputs, inputs, kh, kw]: [usize; 4],
    stride: [usize; 2],
    padding: Padding,
) -> usize {
    assert_eq!(channels, inputs, "conv2d: channels of x and of the weight");
    assert!(stride[0] > 0 && stride[1] > 0, "conv2d: stride {stride:?}");
    assert!(
        padding.convolved([h, w], [kh, kw], stride).is_some(),
        "conv2d: kernel {kh}x{kw} is larger than input {h}x{w} with {padding:?}"
    );
    outputs
}

/// Checks what [`conv_transpose2d`] is handed and returns its output channels.
pub(crate) fn check_conv_transpose2d(
    [_, channels, h, w]: [usize; 4],
    [inputs, outputs, kh, kw]: [usize; 4],
    stride: [usize; 2],
    padding: Padding,
) -> usize {
    assert_eq!(
        channels, inputs,
        "conv_transpose2d: channels of x and of the weight"
    );
    assert!(
        stride[0] > 0 && stride[1] > 0,
        "conv_transpose2d: stride {stride:?}"
    );
    assert!(
        padding.transposed([h, w], [kh, kw], stride).is_some(),
        "conv_transpose2d: {padding:?} leaves nothing of input {h}x{w} with kernel {kh}x{kw}"
    );
    outputs
}

/// The operations on Burn's own, for every backend.
pub(crate) mod plain {
    use super::*;

    pub(crate) fn conv2d(
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        stride: [usize; 2],
        padding: Padding,
    ) -> Tensor<4> {
        let sides = std::array::from_fn(|axis| (padding.before[axis], padding.after[axis]));
        let options = ConvOptions::new_with_padding(stride, sides, [1, 1], 1);
        module::conv2d(x, weight, bias, options)
    }

    pub(crate) fn conv_transpose2d(
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        stride: [usize; 2],
        padding: Padding,
    ) -> Tensor<4> {
        // Burn crops both ends alike; what is left to crop on one side is a slice.
        let common: [usize; 2] =
            std::array::from_fn(|axis| padding.before[axis].min(padding.after[axis]));
        let options = ConvTransposeOptions::new(stride, common, [0, 0], [1, 1], 1);
        let full = module::conv_transpose2d(x, weight, bias, options);
        if padding.before == padding.after {
            return full;
        }
        let [batch, outputs, h, w] = full.dims();
        let keep = |axis: usize, size: usize| {
            padding.before[axis] - common[axis]..size - (padding.after[axis] - common[axis])
        };
        full.slice([0..batch, 0..outputs, keep(0, h), keep(1, w)])
    }
}

/// How a [`Conv2d`] or [`ConvTranspose2d`] is built.
#[derive(Config, Debug)]
pub struct Conv2dConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    #[config(default = "[1, 1]")]
    pub stride: [usize; 2],
    /// Padding above and to the left (of the transposed form: the crop there).
    #[config(default = "[0, 0]")]
    pub before: [usize; 2],
    /// Padding below and to the right (of the transposed form: the crop there).
    #[config(default = "[0, 0]")]
    pub after: [usize; 2],
    /// Whether there is a bias.
    #[config(default = true)]
    pub bias: bool,
    /// How weight and bias are drawn; the default is PyTorch's and Burn's.
    #[config(
        default = "Initializer::KaimingUniform { gain: 1.0 / 3.0f64.sqrt(), fan_out_only: false }"
    )]
    pub initializer: Initializer,
}

impl Conv2dConfig {
    /// The same padding (or crop) on every side.
    pub fn with_padding(self, size: usize) -> Self {
        self.with_before([size; 2]).with_after([size; 2])
    }

    /// A convolution, its weight `[out, in, kernel height, kernel width]`.
    pub fn init(&self, device: &Device) -> Conv2d {
        let [inputs, outputs] = self.channels;
        let (weight, bias) = self.parameters([outputs, inputs], device);
        Conv2d {
            weight,
            bias,
            stride: self.stride,
            before: self.before,
            after: self.after,
        }
    }

    /// A transposed convolution, its weight `[in, out, kernel height, kernel width]`.
    pub fn init_transpose(&self, device: &Device) -> ConvTranspose2d {
        let (weight, bias) = self.parameters(self.channels, device);
        ConvTranspose2d {
            weight,
            bias,
            stride: self.stride,
            before: self.before,
            after: self.after,
        }
    }

    fn parameters(
        &self,
        leading: [usize; 2],
        device: &Device,
    ) -> (Param<Tensor<4>>, Option<Param<Tensor<1>>>) {
        let [inputs, outputs] = self.channels;
        let [kh, kw] = self.kernel;
        let fan_in = Some(inputs * kh * kw);
        let fan_out = Some(outputs * kh * kw);
        let shape = [leading[0], leading[1], kh, kw];
        let weight = self.initializer.init_with(shape, fan_in, fan_out, device);
        let bias = self.bias.then(|| {
            self.initializer
                .init_with([outputs], fan_in, fan_out, device)
        });
        (weight, bias)
    }
}

/// [`conv2d`] with its parameters.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, kernel height, kernel width]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    stride: [usize; 2],
    before: [usize; 2],
    after: [usize; 2],
}

impl Conv2d {
    /// [`conv2d`] of `x`, `[batch, in, height, width]`.
    ///
    /// # Panics
    /// As [`conv2d`] does.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        conv2d(x, self.weight.val(), bias, self.stride, self.padding())
    }

    /// [`conv2d_leaky_relu`] of `x`, `[batch, in, height, width]`.
    ///
    /// # Panics
    /// As [`conv2d_leaky_relu`] does.
    pub fn forward_leaky_relu(&self, x: Tensor<4>, slope: f64) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        let padding = self.padding();
        conv2d_leaky_relu(x, self.weight.val(), bias, self.stride, padding, slope)
    }

    fn padding(&self) -> Padding {
        Padding {
            before: self.before,
            after: self.after,
        }
    }
}

/// [`conv_transpose2d`] with its parameters.
#[derive(Module, Debug)]
pub struct ConvTranspose2d {
    /// `[in, out, kernel height, kernel width]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    stride: [usize; 2],
    before: [usize; 2],
    after: [usize; 2],
}

impl ConvTranspose2d {
    /// [`conv_transpose2d`] of `x`, `[batch, in, height, width]`.
    ///
    /// # Panics
    /// As [`conv_transpose2d`] does.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        conv_transpose2d(x, self.weight.val(), bias, self.stride, self.padding())
    }

    /// [`conv_transpose2d_leaky_relu`] of `x`, `[batch, in, height, width]`.
    ///
    /// # Panics
    /// As [`conv_transpose2d_leaky_relu`] does.
    pub fn forward_leaky_relu(&self, x: Tensor<4>, slope: f64) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        let padding = self.padding();
        conv_transpose2d_leaky_relu(x, self.weight.val(), bias, self.stride, padding, slope)
    }

    fn padding(&self) -> Padding {
        Padding {
            before: self.before,
            after: self.after,
        }
    }
}
