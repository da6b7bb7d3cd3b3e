//! A convolution, a ReLU and the sum of blocks of channels.

use super::conv::Convolution;
use super::{Kernel, run, values};
use crate::conv::Padding;
use crate::kernel::block_sum::{gradient, sum};
use crate::kernel::conv::{After, Gather, Geometry, Packed, drive};
use crate::kernel::micro::Level;
use crate::memory::Buffer;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

/// Values before the sum that are computed at a time where no gradient follows: they stay in the
/// cache.
const CACHED: usize = 1 << 18;

#[derive(Clone, Debug)]
struct BlockSum {
    /// Without activation.
    convolution: Convolution,
    blocks: usize,
}

impl BlockSum {
    /// Values of a block of one sample.
    fn len(&self) -> usize {
        let g = &self.convolution.geometry;
        g.outputs / self.blocks * g.output_pixels()
    }

    fn shape(&self) -> [usize; 4] {
        let g = &self.convolution.geometry;
        let [height, width] = g.output;
        [g.batch, g.outputs / self.blocks, height, width]
    }

    /// The result, a few samples at a time.
    fn in_parts(&self, x: &[f32], weight: &[f32], after: After) -> FlexTensor {
        let (g, level, len) = (&self.convolution.geometry, Level::detect(), self.len());
        let sizes = [g.inputs * g.input_pixels(), g.outputs * g.output_pixels()];
        // At least two samples for each thread, so that none waits.
        let least = 2 * rayon::current_num_threads();
        let samples = (CACHED / sizes[1]).max(least).min(g.batch);
        let part = Geometry {
            batch: samples,
            ..*g
        };
        let mut out = Buffer::new(g.batch * len);
        let mut wide = Buffer::new(samples * sizes[1]);
        // Offsets of a part fit where those of the whole do.
        if let Some(gather) = Gather::forward(&part) {
            let packed = Packed::forward(level, g, weight);
            let parts = x.chunks(samples * sizes[0]);
            for (x, out) in parts.zip(out.chunks_mut(samples * len)) {
                let wide = &mut wide[..out.len() * self.blocks];
                drive(level, &gather, &packed, x, after, wide, sizes);
                sum(level, self.blocks, len, wide, out);
            }
        }
        out.into_tensor(self.shape())
    }
}

impl<const N: usize> Kernel<N> for BlockSum {
    /// The maps before the sum: their signs decide the gradient.
    type Saved = Option<FlexTensor>;

    fn forward(&self, inputs: &[FlexTensor; N], keep: bool) -> (FlexTensor, Self::Saved) {
        let after = After {
            bias: inputs.get(2).map(values),
            slope: 0.0,
        };
        if !keep {
            let result = self.in_parts(values(&inputs[0]), values(&inputs[1]), after);
            return (result, None);
        }
        let wide = self.convolution.pass(false, &inputs[0], &inputs[1], after);
        let mut out = Buffer::new(values(&wide).len() / self.blocks);
        sum(
            Level::detect(),
            self.blocks,
            self.len(),
            values(&wide),
            &mut out,
        );
        (out.into_tensor(self.shape()), Some(wide))
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        saved: Self::Saved,
        dy: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let Some(wide) = saved else {
            return std::array::from_fn(|_| None);
        };
        let mut before = Buffer::new(values(&wide).len());
        gradient(
            Level::detect(),
            self.blocks,
            self.len(),
            values(&wide),
            values(dy),
            &mut before,
        );
        let before = before.into_tensor(wide.shape());
        drop(wide);
        Kernel::<N>::backward(&self.convolution, inputs, None, &before, wanted)
    }
}

/// [`crate::conv::conv2d_relu_sum`]; `None` where the kernels do not apply.
pub(crate) fn convolution_relu_sum(
    [x, weight]: [&Tensor<4>; 2],
    bias: Option<&Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
    blocks: usize,
) -> Option<Tensor<4>> {
    let kernel = BlockSum {
        convolution: Convolution::new(false, [x, weight], stride, padding)?,
        blocks,
    };
    let [x, weight] = [x, weight].map(|tensor| tensor.clone().into_dispatch());
    match bias {
        Some(bias) => run(&kernel, [x, weight, bias.clone().into_dispatch()]),
        None => run(&kernel, [x, weight]),
    }
}
