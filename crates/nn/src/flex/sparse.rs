//! Products of sparse codes with the rows of a dictionary.

use super::{Kernel, downcast, run, values};
use crate::kernel::micro::Level;
use crate::kernel::sgemm::{self, Matrix};
use crate::kernel::sparse::{self, Rows};
use crate::memory::Buffer;
use crate::sparse::Pattern;
use burn::backend::flex::FlexTensor;
use burn::backend::{BackendTensor, DispatchKindConversion, DispatchTensor, Flex, TensorMetadata};
use burn::tensor::{DType, Tensor};

/// Hands the values of a single-precision tensor on `flex`, without autodiff, to `read`.
pub(crate) fn with_values<R>(x: &Tensor<2>, read: impl FnOnce(&[f32]) -> R) -> Option<R> {
    let x = x.clone().into_dispatch();
    if x.dtype() != DType::F32 {
        return None;
    }
    let [x] = downcast::<Flex, 1>(&[x])?;
    Some(read(values(&x.to_contiguous())))
}

/// [`crate::sparse::attributed`], or `None` where the kernel does not apply.
pub(crate) fn attributed(
    h: &Tensor<2>,
    x: &Tensor<2>,
    w: &Tensor<2>,
    beta: f32,
) -> Option<Tensor<2>> {
    let inputs = [h, x, w].map(|tensor| tensor.clone().into_dispatch());
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return None;
    }
    let [h, x, w] = downcast::<Flex, 3>(&inputs)?.map(|tensor| tensor.to_contiguous());
    let [rows, width]: [usize; 2] = h.shape().dims();
    let depth = dim(&x);
    let mut scores = Buffer::new(rows * width);
    let before = values(&h);
    let (x, w) = (
        Matrix::rows(values(&x), depth),
        Matrix::rows(values(&w), depth).transposed(),
    );
    let dims = [rows, width, depth];
    sgemm::multiply(
        Level::detect(),
        dims,
        x,
        w,
        &mut scores,
        &|row, column, part| {
            let before = &before[row * width + column..];
            for (score, h) in part.iter_mut().zip(before) {
                *score = h * (1.0 + beta * score.abs());
            }
        },
    );
    let scores = scores.into_tensor([rows, width]);
    let scores = DispatchTensor::from_backend(BackendTensor::<Flex>::Float(scores));
    Some(Tensor::from_dispatch(scores))
}

fn dim(tensor: &FlexTensor) -> usize {
    let [_, dim] = tensor.shape().dims();
    dim
}

fn rows(pattern: &Pattern) -> Rows<'_> {
    Rows {
        starts: pattern.starts(),
        columns: pattern.columns(),
    }
}

/// Inputs: `x [rows, dim]`, `w [width, dim]`.
#[derive(Clone, Debug)]
struct SampledDot(Pattern);

impl Kernel<2> for SampledDot {
    type Saved = ();

    fn forward(&self, [x, w]: &[FlexTensor; 2], _keep: bool) -> (FlexTensor, ()) {
        let out = sparse::sampled_dot(Level::detect(), values(x), values(w), dim(x), rows(&self.0));
        (out.into_tensor([self.0.len()]), ())
    }

    fn backward(
        &self,
        [x, w]: &[FlexTensor; 2],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (level, gradient, dim) = (Level::detect(), values(gradient), dim(x));
        let pattern = &self.0;
        let dx = wanted[0].then(|| {
            sparse::weighted_rows(level, gradient, values(w), dim, rows(pattern))
                .into_tensor([pattern.rows(), dim])
        });
        let dw = wanted[1].then(|| {
            sparse::outer(level, gradient, values(x), dim, pattern.by_column())
                .into_tensor([pattern.width(), dim])
        });
        [dx, dw]
    }
}

/// Inputs: `values [entries]`, `w [width, dim]`.
#[derive(Clone, Debug)]
struct WeightedRows(Pattern);

impl Kernel<2> for WeightedRows {
    type Saved = ();

    fn forward(&self, [v, w]: &[FlexTensor; 2], _keep: bool) -> (FlexTensor, ()) {
        let dim = dim(w);
        let out = sparse::weighted_rows(Level::detect(), values(v), values(w), dim, rows(&self.0));
        (out.into_tensor([self.0.rows(), dim]), ())
    }

    fn backward(
        &self,
        [v, w]: &[FlexTensor; 2],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (level, gradient, dim) = (Level::detect(), values(gradient), dim(w));
        let pattern = &self.0;
        let dv = wanted[0].then(|| {
            sparse::sampled_dot(level, gradient, values(w), dim, rows(pattern))
                .into_tensor([pattern.len()])
        });
        let dw = wanted[1].then(|| {
            sparse::outer(level, values(v), gradient, dim, pattern.by_column())
                .into_tensor([pattern.width(), dim])
        });
        [dv, dw]
    }
}

/// [`crate::sparse::sampled_dot`], or `None` where the kernels do not apply.
pub(crate) fn sampled_dot(x: &Tensor<2>, w: &Tensor<2>, pattern: &Pattern) -> Option<Tensor<1>> {
    let inputs = [x.clone().into_dispatch(), w.clone().into_dispatch()];
    run(&SampledDot(pattern.clone()), inputs)
}

/// [`crate::sparse::weighted_rows`], or `None` where the kernels do not apply.
pub(crate) fn weighted_rows(v: &Tensor<1>, w: &Tensor<2>, pattern: &Pattern) -> Option<Tensor<2>> {
    let inputs = [v.clone().into_dispatch(), w.clone().into_dispatch()];
    run(&WeightedRows(pattern.clone()), inputs)
}
