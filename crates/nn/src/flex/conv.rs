//! Convolutions and transposed convolutions.

use super::{Kernel, run, values};
use crate::conv::Padding;
use crate::kernel::conv::{After, Gather, Geometry, adjoint, forward};
use crate::kernel::micro::Level;
use crate::kernel::norm::channel_sums;
use crate::kernel::one_tap::product;
use crate::kernel::pointwise::leaky_gradient;
use crate::kernel::weight::{self, WeightGradient};
use crate::memory::Buffer;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use std::sync::Arc;

/// A convolution or, with `adjoint`, a transposed one, with a bias as the third input if any.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub geometry: Geometry,
    pub adjoint: bool,
    pub tables: Arc<Tables>,
    /// Of the leaky ReLU that follows; 1 for none, 0 for a ReLU.
    pub slope: f32,
}

/// The offset tables of all passes.
#[derive(Debug)]
pub(super) struct Tables {
    pub forward: Gather,
    pub adjoint: Gather,
    pub weight: WeightGradient,
}

impl Tables {
    fn new(geometry: &Geometry) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            forward: Gather::forward(geometry)?,
            adjoint: Gather::adjoint(geometry)?,
            weight: WeightGradient::new(geometry)?,
        }))
    }
}

impl Convolution {
    /// `None` for empty tensors and for sizes beyond the tables' 32 bits.
    pub(super) fn new(
        adjoint: bool,
        [x, weight]: [&Tensor<4>; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> Option<Self> {
        let [batch, _, h, w] = x.dims();
        let [outputs, inputs, kh, kw] = weight.dims();
        let kernel = [kh, kw];
        let (input, output) = match adjoint {
            false => ([h, w], padding.convolved([h, w], kernel, stride)?),
            true => (padding.transposed([h, w], kernel, stride)?, [h, w]),
        };
        let sizes = [batch, inputs, outputs, kh, kw];
        if sizes
            .iter()
            .chain(&input)
            .chain(&output)
            .any(|&size| size == 0)
        {
            return None;
        }
        let geometry = Geometry {
            batch,
            inputs,
            outputs,
            input,
            output,
            kernel,
            stride,
            padding,
        };
        Some(Self {
            geometry,
            adjoint,
            tables: Tables::new(&geometry)?,
            slope: 1.0,
        })
    }

    /// From the convolution's input to its output, or back.
    pub(super) fn pass(
        &self,
        back: bool,
        from: &FlexTensor,
        weight: &FlexTensor,
        after: After,
    ) -> FlexTensor {
        let (g, level) = (&self.geometry, Level::detect());
        let (from, weight) = (values(from), values(weight));
        let shape = match back {
            true => [g.batch, g.inputs, g.input[0], g.input[1]],
            false => [g.batch, g.outputs, g.output[0], g.output[1]],
        };
        let mut out = Buffer::new(shape.iter().product());
        if g.is_large_product() {
            product(level, g, back, from, weight, after, &mut out);
        } else if back {
            adjoint(
                level,
                &self.tables.adjoint,
                g,
                from,
                weight,
                after,
                &mut out,
            );
        } else {
            forward(
                level,
                &self.tables.forward,
                g,
                from,
                weight,
                after,
                &mut out,
            );
        }
        out.into_tensor(shape)
    }
}

impl<const N: usize> Kernel<N> for Convolution {
    /// The output where an activation follows: its signs decide the gradient.
    type Saved = Option<FlexTensor>;

    fn forward(&self, inputs: &[FlexTensor; N], keep: bool) -> (FlexTensor, Self::Saved) {
        let after = After {
            bias: inputs.get(2).map(values),
            slope: self.slope,
        };
        let output = self.pass(self.adjoint, &inputs[0], &inputs[1], after);
        let saved = (keep && self.slope != 1.0).then(|| output.clone());
        (output, saved)
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        saved: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let (g, level) = (&self.geometry, Level::detect());
        let before = saved.map(|output| {
            let mut before = Buffer::new(values(gradient).len());
            let (y, dy) = (values(&output), values(gradient));
            leaky_gradient(level, self.slope, y, dy, &mut before);
            before.into_tensor(gradient.shape())
        });
        let gradient = before.as_ref().unwrap_or(gradient);
        std::array::from_fn(|input| {
            if !wanted[input] {
                return None;
            }
            Some(match input {
                0 => self.pass(!self.adjoint, gradient, &inputs[1], After::NOTHING),
                1 => {
                    let [x, dy] = match self.adjoint {
                        false => [values(&inputs[0]), values(gradient)],
                        true => [values(gradient), values(&inputs[0])],
                    };
                    let mut out = Buffer::new(g.outputs * g.depth());
                    weight::gradient(level, &self.tables.weight, x, dy, &mut out);
                    out.into_tensor([g.outputs, g.inputs, g.kernel[0], g.kernel[1]])
                }
                _ => {
                    let [_, channels, h, w] = gradient.shape().dims();
                    let mut out = Buffer::new(channels);
                    channel_sums(channels, h * w, values(gradient), &mut out);
                    out.into_tensor([channels])
                }
            })
        })
    }
}

/// [`crate::conv::conv2d`] or, with `adjoint`, [`crate::conv::conv_transpose2d`], then a leaky ReLU
/// with this slope, which 1 leaves out; `None` where the kernels do not apply.
pub(crate) fn convolution(
    adjoint: bool,
    [x, weight]: [&Tensor<4>; 2],
    bias: Option<&Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
    slope: f64,
) -> Option<Tensor<4>> {
    let kernel = Convolution {
        slope: slope as f32,
        ..Convolution::new(adjoint, [x, weight], stride, padding)?
    };
    let [x, weight] = [x, weight].map(|tensor| tensor.clone().into_dispatch());
    match bias {
        Some(bias) => run(&kernel, [x, weight, bias.clone().into_dispatch()]),
        None => run(&kernel, [x, weight]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device};

    fn applies(device: &Device, dtype: DType) -> bool {
        let zeros = |dims| Tensor::<4>::zeros(dims, (device, dtype));
        let maps = [&zeros([2, 3, 4, 4]), &zeros([5, 3, 3, 3])];
        convolution(false, maps, None, [1, 1], Padding::NONE, 1.0).is_some()
    }

    #[test]
    fn single_precision_on_flex_takes_the_kernels() {
        let flex = Device::flex();
        assert!(applies(&flex, DType::F32));
        assert!(applies(&flex.clone().autodiff(), DType::F32));
        let balanced = flex.clone().autodiff().gradient_checkpointing();
        assert!(applies(&balanced, DType::F32));
        assert!(!applies(&flex, DType::F64));
    }
}
