//! Bilinear forms of aligned slices.

use super::{Kernel, run, values};
use crate::kernel::bilinear::{self, Shape};
use crate::kernel::micro::Level;
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensor, TensorMetadata};
use burn::tensor::Tensor;

/// Inputs: x, y, w, u, v.
#[derive(Clone, Debug)]
struct Bilinear {
    heads: usize,
}

impl Bilinear {
    fn shape(&self, inputs: &[FlexTensor; 5]) -> Shape {
        let [rows, left]: [usize; 2] = inputs[0].shape().dims();
        let [_, right]: [usize; 2] = inputs[1].shape().dims();
        Shape {
            rows,
            heads: self.heads,
            sizes: [left / self.heads, right / self.heads],
        }
    }
}

impl Kernel<5> for Bilinear {
    /// The left products `x_h W_h`, head by head.
    type Saved = Option<FlexTensor>;

    fn forward(&self, inputs: &[FlexTensor; 5], keep: bool) -> (FlexTensor, Self::Saved) {
        let shape = self.shape(inputs);
        let level = Level::detect();
        let [x, y, w, u, v] = inputs.each_ref().map(values);
        let products = bilinear::products(level, &shape, x, w);
        let mut sums = Buffer::new(shape.rows);
        bilinear::sums(level, &shape, [x, y], [u, v], &products, &mut sums);
        let saved = keep.then(|| {
            let len = products.len();
            products.into_tensor([len])
        });
        (sums.into_tensor([shape.rows]), saved)
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 5],
        saved: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 5],
    ) -> [Option<FlexTensor>; 5] {
        let shape = self.shape(inputs);
        let level = Level::detect();
        let [x, y, w, u, v] = inputs.each_ref().map(values);
        let again;
        let products = match &saved {
            Some(saved) => values(saved),
            None => {
                again = bilinear::products(level, &shape, x, w);
                &again
            }
        };
        let gradients =
            bilinear::gradients(level, &shape, [x, y, w], [u, v], products, values(gradient));
        let mut gradients = gradients.map(Some);
        std::array::from_fn(|at| {
            let gradient = gradients[at].take().filter(|_| wanted[at])?;
            Some(gradient.into_tensor(inputs[at].shape()))
        })
    }
}

/// [`crate::bilinear::bilinear`], or `None` where the kernel does not apply.
pub(crate) fn bilinear(inputs: [DispatchTensor; 5], heads: usize) -> Option<Tensor<1>> {
    run(&Bilinear { heads }, inputs)
}
