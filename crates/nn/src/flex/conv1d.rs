//! One-dimensional convolutions and transposed convolutions.

use super::{Kernel, run, values};
use crate::conv1d::Conv1dOptions;
use crate::kernel::conv1d::gather::Gather;
use crate::kernel::conv1d::weight::{Signals, bias_gradient, gradient};
use crate::kernel::conv1d::{Extras, Geometry, short};
use crate::kernel::micro::Level;
use crate::memory::Buffer;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use std::sync::Arc;

/// A convolution or, with `adjoint`, a transposed one, with a bias as the third input if any.
#[derive(Clone, Debug)]
struct Convolution {
    geometry: Geometry,
    adjoint: bool,
    leaky: Option<f32>,
    /// Forward and back.
    gathers: Arc<[Gather; 2]>,
}

impl Convolution {
    /// `None` for empty tensors and for sizes beyond 32 bits.
    fn new(
        adjoint: bool,
        x: &Tensor<3>,
        weight: &Tensor<3>,
        options: &Conv1dOptions,
    ) -> Option<Self> {
        let [batch, _, len] = x.dims();
        let [outer, inner, kernel] = weight.dims();
        let (input, output) = match adjoint {
            false => (len, options.convolved(len, kernel)?),
            true => (options.transposed(len, kernel)?, len),
        };
        let geometry = Geometry {
            batch,
            inputs: inner * options.groups,
            outputs: outer,
            input,
            output,
            kernel,
            stride: options.stride,
            dilation: options.dilation,
            groups: options.groups,
            before: options.padding.0,
        };
        if [batch, outer, inner, input, output].contains(&0) {
            return None;
        }
        let gathers = [Gather::forward(&geometry)?, Gather::adjoint(&geometry)?];
        Some(Self {
            geometry,
            adjoint,
            leaky: options.leaky_relu.map(|slope| slope as f32),
            gathers: Arc::new(gathers),
        })
    }

    /// From the convolution's input to its output, or back.
    fn pass(
        &self,
        back: bool,
        from: &FlexTensor,
        weight: &FlexTensor,
        extras: Extras,
    ) -> FlexTensor {
        let (g, level) = (&self.geometry, Level::detect());
        let (from, weight) = (values(from), values(weight));
        let dims = match back {
            false => [g.batch, g.outputs, g.output],
            true => [g.batch, g.inputs, g.input],
        };
        let mut out = Buffer::new(dims.iter().product());
        let gather = &self.gathers[usize::from(back)];
        match (short::applies(g, back), back) {
            (false, _) => gather.run(level, from, weight, extras, &mut out),
            (true, false) => short::forward(level, gather, from, weight, extras, &mut out),
            (true, true) => short::adjoint(level, gather, from, weight, extras, &mut out),
        }
        out.into_tensor(dims)
    }
}

impl<const N: usize> Kernel<N> for Convolution {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; N], _keep: bool) -> (FlexTensor, ()) {
        let extras = Extras {
            bias: inputs.get(2).map(values),
            leaky: self.leaky,
            derivative: None,
        };
        (self.pass(self.adjoint, &inputs[0], &inputs[1], extras), ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        (): (),
        gradient_of_output: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let (g, level) = (&self.geometry, Level::detect());
        let (x, dy) = (values(&inputs[0]), values(gradient_of_output));
        std::array::from_fn(|input| {
            if !wanted[input] {
                return None;
            }
            Some(match input {
                0 => {
                    let extras = Extras {
                        derivative: self.leaky.map(|slope| (x, slope)),
                        ..Extras::default()
                    };
                    self.pass(!self.adjoint, gradient_of_output, &inputs[1], extras)
                }
                1 => {
                    // A transposed convolution's input is the gradient of its adjoint's output.
                    let signals = match self.adjoint {
                        false => Signals {
                            x,
                            leaky: self.leaky,
                            dy,
                            leaky_dy: None,
                        },
                        true => Signals {
                            x: dy,
                            leaky: None,
                            dy: x,
                            leaky_dy: self.leaky,
                        },
                    };
                    let mut out = Buffer::new(g.outputs * g.depth());
                    gradient(level, &self.gathers[0], &signals, &mut out);
                    out.into_tensor([g.outputs, g.inputs / g.groups, g.kernel])
                }
                _ => {
                    let [_, channels, len] = gradient_of_output.shape().dims();
                    let mut out = Buffer::new(channels);
                    bias_gradient(channels, len, dy, &mut out);
                    out.into_tensor([channels])
                }
            })
        })
    }
}

/// [`crate::conv1d::conv1d`] or, with `adjoint`, [`crate::conv1d::conv_transpose1d`]; `None` where
/// the kernels do not apply.
pub(crate) fn convolution(
    adjoint: bool,
    x: &Tensor<3>,
    weight: &Tensor<3>,
    bias: Option<&Tensor<1>>,
    options: &Conv1dOptions,
) -> Option<Tensor<3>> {
    let kernel = Convolution::new(adjoint, x, weight, options)?;
    let tracked =
        x.is_autodiff() || weight.is_autodiff() || bias.is_some_and(|bias| bias.is_autodiff());
    let [x, weight] = [x, weight].map(|tensor| tracking(tensor, tracked).into_dispatch());
    match bias {
        Some(bias) => run(
            &kernel,
            [x, weight, tracking(bias, tracked).into_dispatch()],
        ),
        None => run(&kernel, [x, weight]),
    }
}

/// A kernel wants all of its tensors with autodiff or none.
fn tracking<const D: usize>(tensor: &Tensor<D>, tracked: bool) -> Tensor<D> {
    if tracked {
        tensor.clone().autodiff()
    } else {
        tensor.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device};

    fn applies(device: &Device, dtype: DType) -> bool {
        let zeros = |dims| Tensor::<3>::zeros(dims, (device, dtype));
        let (x, weight) = (zeros([2, 3, 9]), zeros([5, 3, 3]));
        convolution(false, &x, &weight, None, &Conv1dOptions::new()).is_some()
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
