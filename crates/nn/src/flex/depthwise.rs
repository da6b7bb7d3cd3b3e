//! Depth-wise convolution of tokens.

use super::{Kernel, run, values};
use crate::kernel::depthwise::{self, Grid};
use crate::kernel::micro::Level;
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensor, TensorMetadata};
use burn::tensor::Tensor;

/// Inputs: `x [batch, rows · columns, heads · size]`, filters `[size, 1, k, k]`, bias `[size]`.
#[derive(Clone, Debug)]
struct TokenConv {
    grid: Grid,
}

impl Kernel<3> for TokenConv {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 3], _keep: bool) -> (FlexTensor, ()) {
        let [x, filters, bias] = inputs.each_ref().map(values);
        let w = depthwise::spread(filters, &self.grid, false);
        let bias = bias.repeat(self.grid.channels / bias.len());
        let mut y = Buffer::new(x.len());
        depthwise::forward(
            Level::detect(),
            x,
            &w,
            Some(&bias),
            &self.grid,
            &mut y,
            |_, _| (),
        );
        (y.into_tensor(inputs[0].shape()), ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 3],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [x, filters, bias] = inputs.each_ref().map(values);
        let (level, dy) = (Level::detect(), values(gradient));
        let dx = wanted[0].then(|| {
            let w = depthwise::spread(filters, &self.grid, true);
            let mut dx = Buffer::new(x.len());
            depthwise::forward(level, dy, &w, None, &self.grid, &mut dx, |_, _| ());
            dx.into_tensor(inputs[0].shape())
        });
        let sums = wanted[1..]
            .contains(&true)
            .then(|| depthwise::weight(level, x, dy, &self.grid, bias.len()));
        let tensor = |values: &[f32], like: &FlexTensor| {
            let mut buffer = Buffer::new(values.len());
            buffer.copy_from_slice(values);
            buffer.into_tensor(like.shape())
        };
        let [dw, db] = match &sums {
            None => [None, None],
            Some((dw, db)) => [
                wanted[1].then(|| tensor(dw, &inputs[1])),
                wanted[2].then(|| tensor(db, &inputs[2])),
            ],
        };
        [dx, dw, db]
    }
}

/// [`crate::depthwise::token_conv`], or `None` where the kernel does not apply.
pub(crate) fn token_conv(
    x: &Tensor<3>,
    parts: [DispatchTensor; 2],
    grid: Grid,
) -> Option<Tensor<3>> {
    if x.dims().contains(&0) || grid.kernel.is_multiple_of(2) {
        return None;
    }
    let [filters, bias] = parts;
    run(
        &TokenConv { grid },
        [x.clone().into_dispatch(), filters, bias],
    )
}
