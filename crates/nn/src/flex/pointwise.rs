//! Operations on every value alone.

use super::{Kernel, run, values};
use crate::kernel::{micro::Level, pointwise};
use crate::memory::Buffer;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

#[derive(Clone, Debug)]
struct Tanh;

impl Kernel<1> for Tanh {
    type Saved = ();

    fn forward(&self, [x]: &[FlexTensor; 1], _keep: bool) -> (FlexTensor, ()) {
        let mut y = Buffer::new(values(x).len());
        pointwise::tanh(Level::detect(), values(x), &mut y);
        (y.into_tensor(x.shape()), ())
    }

    fn backward(
        &self,
        [x]: &[FlexTensor; 1],
        (): (),
        gradient: &FlexTensor,
        [wanted]: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let dx = wanted.then(|| {
            let mut dx = Buffer::new(values(gradient).len());
            pointwise::tanh_gradient(Level::detect(), values(x), values(gradient), &mut dx);
            dx.into_tensor(gradient.shape())
        });
        [dx]
    }
}

#[derive(Clone, Debug)]
struct MeanSquaredError;

impl Kernel<2> for MeanSquaredError {
    type Saved = ();

    fn forward(&self, [a, b]: &[FlexTensor; 2], _keep: bool) -> (FlexTensor, ()) {
        let mut out = Buffer::new(1);
        out[0] = pointwise::mean_squared_error(Level::detect(), values(a), values(b));
        (out.into_tensor([1]), ())
    }

    fn backward(
        &self,
        [a, b]: &[FlexTensor; 2],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let scale = 2.0 * values(gradient)[0] / values(a).len() as f32;
        let of = |wanted: bool, scale: f32| {
            wanted.then(|| {
                let mut out = Buffer::new(values(a).len());
                let (a, b, level) = (values(a), values(b), Level::detect());
                pointwise::scaled_difference(level, scale, a, b, &mut out);
                out
            })
        };
        [of(wanted[0], scale), of(wanted[1], -scale)]
            .map(|out| out.map(|out| out.into_tensor(a.shape())))
    }
}

/// [`crate::pointwise::tanh`], or `None` where the kernel does not apply.
pub(crate) fn tanh<const D: usize>(x: &Tensor<D>) -> Option<Tensor<D>> {
    run(&Tanh, [x.clone().into_dispatch()])
}

/// [`crate::pointwise::mean_squared_error`], or `None` where the kernel does not apply.
pub(crate) fn mean_squared_error<const D: usize>(
    a: &Tensor<D>,
    b: &Tensor<D>,
) -> Option<Tensor<1>> {
    let inputs = [a, b].map(|tensor| tensor.clone().into_dispatch());
    run(&MeanSquaredError, inputs)
}
