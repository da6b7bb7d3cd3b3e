//! Linear attention with the convolution of its values.

use super::{Kernel, run, values};
use crate::kernel::depthwise::{self, Grid};
use crate::kernel::linear_attention::{self, Shape};
use crate::kernel::micro::Level;
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensor, TensorMetadata};
use burn::tensor::Tensor;

/// Inputs: `qkv [batch, tokens, 3 · heads · size]`, positions `[1, tokens, heads · size]`, filters
/// `[size, 1, k, k]`, bias `[size]`.
#[derive(Clone, Debug)]
struct LinearAttention {
    shape: Shape,
    /// Of the values.
    grid: Grid,
}

impl LinearAttention {
    /// Of a gradient: its channels lie side by side.
    fn dense(&self) -> Grid {
        Grid {
            stride: self.grid.channels,
            ..self.grid
        }
    }
}

impl Kernel<4> for LinearAttention {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 4], _keep: bool) -> (FlexTensor, ()) {
        let [qkv, positions, filters, bias] = inputs.each_ref().map(values);
        let (level, shape) = (Level::detect(), self.shape);
        let [batch, tokens, _]: [usize; 3] = inputs[0].shape().dims();
        let mut mixed = Buffer::new(qkv.len() / 3);
        linear_attention::forward(level, shape, qkv, positions, &mut mixed);
        let w = depthwise::spread(filters, &self.grid, false);
        let bias = bias.repeat(shape.heads);
        let mut y = Buffer::new(mixed.len());
        let sequence = tokens * shape.dim();
        depthwise::forward(
            level,
            &qkv[shape.values()..],
            &w,
            Some(&bias),
            &self.grid,
            &mut y,
            |[sample, row], y| {
                let mixed = &mixed[sample * sequence..(sample + 1) * sequence];
                linear_attention::gather(shape, mixed, row * self.grid.columns, y);
            },
        );
        (y.into_tensor([batch, tokens, shape.dim()]), ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 4],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let [qkv, positions, filters, bias] = inputs.each_ref().map(values);
        let (level, shape, dy) = (Level::detect(), self.shape, values(gradient));
        let of_qkv = wanted[..2].contains(&true).then(|| {
            let w = depthwise::spread(filters, &self.grid, true);
            let mut near = Buffer::new(dy.len());
            let grid = self.dense();
            depthwise::forward(level, dy, &w, None, &grid, &mut near, |_, _| ());
            let mut out = Buffer::new(qkv.len());
            linear_attention::backward(level, shape, qkv, positions, dy, &near, &mut out);
            out
        });
        let of_positions = of_qkv.as_ref().filter(|_| wanted[1]).map(|of_qkv| {
            let mut out = Buffer::new(positions.len());
            linear_attention::positions(shape, of_qkv, &mut out);
            out.into_tensor(inputs[1].shape())
        });
        let sums = wanted[2..].contains(&true).then(|| {
            let x = &qkv[shape.values()..];
            depthwise::weight(level, x, dy, &self.grid, bias.len())
        });
        let tensor = |values: &[f32], like: &FlexTensor| {
            let mut buffer = Buffer::new(values.len());
            buffer.copy_from_slice(values);
            buffer.into_tensor(like.shape())
        };
        let [dw, db] = match &sums {
            None => [None, None],
            Some((dw, db)) => [
                wanted[2].then(|| tensor(dw, &inputs[2])),
                wanted[3].then(|| tensor(db, &inputs[3])),
            ],
        };
        let of_qkv = of_qkv.filter(|_| wanted[0]);
        [
            of_qkv.map(|out| out.into_tensor(inputs[0].shape())),
            of_positions,
            dw,
            db,
        ]
    }
}

/// [`crate::linear_attention::self_attention`], or `None` where the kernel does not apply.
pub(crate) fn self_attention(
    inputs: [DispatchTensor; 4],
    shape: Shape,
    [rows, columns]: [usize; 2],
    kernel: usize,
) -> Option<Tensor<3>> {
    if inputs.iter().any(|input| input.shape().num_elements() == 0) {
        return None;
    }
    let grid = Grid {
        rows,
        columns,
        channels: shape.dim(),
        stride: 3 * shape.dim(),
        kernel,
    };
    run(&LinearAttention { shape, grid }, inputs)
}
