//! Convolution, normalisation and activation as one operation.

use super::conv::Convolution;
use super::norm::{Gains, Statistics};
use super::{Kernel, run, values};
use crate::conv::Padding;
use crate::kernel::block::{self, Shape};
use crate::kernel::conv::Packed;
use crate::kernel::micro::Level;
use crate::kernel::norm::Norm;
use crate::memory::Buffer;
use burn::backend::DispatchTensor;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use std::sync::Arc;

/// A convolution without bias and the normalisation of its output; the inputs are the maps, the
/// weight and, where there are any, gain and shift.
#[derive(Clone, Debug)]
struct Block {
    convolution: Convolution,
    norm: Norm,
    gains: Gains,
}

impl Block {
    fn shape<'a>(&'a self, gains: &'a [FlexTensor]) -> Shape<'a> {
        let g = &self.convolution.geometry;
        let ends = [
            (g.inputs, g.inputs * g.input_pixels()),
            (g.outputs, g.outputs * g.output_pixels()),
        ];
        let [(_, before), (channels, after)] = match self.convolution.adjoint {
            false => ends,
            true => [ends[1], ends[0]],
        };
        Shape {
            level: Level::detect(),
            norm: &self.norm,
            gain: self.gains.of(gains),
            sizes: [before, after],
            channels,
        }
    }

    /// Shapes of the tensors before and after.
    fn dims(&self) -> [[usize; 4]; 2] {
        let g = &self.convolution.geometry;
        let input = [g.batch, g.inputs, g.input[0], g.input[1]];
        let output = [g.batch, g.outputs, g.output[0], g.output[1]];
        match self.convolution.adjoint {
            false => [input, output],
            true => [output, input],
        }
    }
}

impl<const N: usize> Kernel<N> for Block {
    type Saved = Option<(FlexTensor, Statistics)>;

    fn forward(&self, inputs: &[FlexTensor; N], keep: bool) -> (FlexTensor, Self::Saved) {
        let Convolution {
            geometry: g,
            adjoint,
            tables,
            ..
        } = &self.convolution;
        let shape = self.shape(&inputs[2..]);
        let weight = values(&inputs[1]);
        let (gather, packed) = match adjoint {
            false => (&tables.forward, Packed::forward(shape.level, g, weight)),
            true => (&tables.adjoint, Packed::adjoint(g, weight)),
        };
        let len = g.batch * shape.sizes[1];
        let mut out = Buffer::new(len);
        let mut maps = keep.then(|| Buffer::new(len));
        let mut statistics = vec![[0.0; 2]; g.batch * shape.channels];
        let kept = maps.as_deref_mut();
        let x = values(&inputs[0]);
        block::forward(&shape, gather, &packed, x, kept, &mut out, &mut statistics);
        let [_, dims] = self.dims();
        let saved = maps.map(|maps| (maps.into_tensor(dims), Arc::new(statistics)));
        (out.into_tensor(dims), saved)
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        saved: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let Some((maps, statistics)) = saved else {
            return std::array::from_fn(|_| None);
        };
        let Convolution {
            geometry: g,
            adjoint,
            tables,
            ..
        } = &self.convolution;
        let shape = self.shape(&inputs[2..]);
        let weight = values(&inputs[1]);
        let input = wanted[0].then(|| match adjoint {
            false => (&tables.adjoint, Packed::adjoint(g, weight)),
            true => (&tables.forward, Packed::forward(shape.level, g, weight)),
        });
        let b = block::Backward {
            x: values(&inputs[0]),
            maps: values(&maps),
            statistics: &statistics,
            dy: values(gradient),
            input: input.as_ref().map(|(gather, packed)| (*gather, packed)),
            weight: &tables.weight,
            weight_wanted: wanted[1],
            adjoint: *adjoint,
        };
        let mut dx = wanted[0].then(|| Buffer::new(b.x.len()));
        let mut planes = vec![[0.0; 2]; g.batch * shape.channels];
        let parts = block::backward(
            &shape,
            &b,
            dx.as_deref_mut().unwrap_or_default(),
            &mut planes,
        );
        let [dims, _] = self.dims();
        std::array::from_fn(|index| match index {
            0 => dx.take().map(|dx| dx.into_tensor(dims)),
            _ if !wanted[index] => None,
            1 => {
                let mut out = Buffer::new(g.outputs * g.depth());
                tables.weight.finish(shape.level, &parts, &mut out);
                Some(out.into_tensor([g.outputs, g.inputs, g.kernel[0], g.kernel[1]]))
            }
            _ => Some(self.gains.gradient(index - 2, &planes, shape.channels)),
        })
    }
}

/// A block of [`crate::block`], or `None` where the kernels do not apply.
pub(crate) fn block(
    adjoint: bool,
    [x, weight]: [&Tensor<4>; 2],
    stride: [usize; 2],
    padding: Padding,
    norm: Norm,
    gains: Gains,
    gain_and_shift: Option<[DispatchTensor; 2]>,
) -> Option<Tensor<4>> {
    let kernel = Block {
        convolution: Convolution::new(adjoint, [x, weight], stride, padding)?,
        norm,
        gains,
    };
    let [x, weight] = [x, weight].map(|tensor| tensor.clone().into_dispatch());
    match gain_and_shift {
        Some([gain, shift]) => run(&kernel, [x, weight, gain, shift]),
        None => run(&kernel, [x, weight]),
    }
}
