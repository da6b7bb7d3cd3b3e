//! Batch normalisation, ReLU and dropout.

use super::{Kernel, run, values};
use crate::batch_norm::Moments;
use crate::dropout::{Draw, Dropout};
use crate::kernel::batch_norm::{self, Columns};
use crate::kernel::micro::Level;
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::backend::{BackendTensor, DispatchKindConversion, DispatchTensor, Flex, TensorMetadata};
use burn::tensor::{DType, Tensor};
use std::sync::Arc;

/// A vector as a tensor.
fn vector(values: &[f32]) -> FlexTensor {
    let mut buffer = Buffer::new(values.len());
    buffer.copy_from_slice(values);
    buffer.into_tensor([values.len()])
}

fn tensor(values: &[f32]) -> Tensor<1> {
    let tensor = BackendTensor::<Flex>::Float(vector(values));
    Tensor::from_dispatch(DispatchTensor::from_backend(tensor))
}

/// [`Moments::of`], or `None` where the kernel does not apply.
pub(crate) fn moments(x: &Tensor<2>) -> Option<Moments> {
    let [_, columns] = x.dims();
    let input = [x.clone().into_dispatch()];
    if x.dims().contains(&0) || input[0].dtype() != DType::F32 {
        return None;
    }
    let [x] = super::downcast::<Flex, 1>(&input)?.map(|input| input.to_contiguous());
    let [mean, variance] = batch_norm::moments(Level::detect(), values(&x), columns);
    Some(Moments {
        mean: tensor(&mean),
        variance: tensor(&variance),
    })
}

/// Inputs: x, gain, shift.
#[derive(Clone, Debug)]
struct NormReluDropout {
    /// Mean and inverse standard deviation of every column.
    statistics: Arc<[Vec<f32>; 2]>,
    draw: Draw,
}

impl NormReluDropout {
    fn columns<'a>(&'a self, inputs: &'a [FlexTensor; 3]) -> Columns<'a> {
        let [mean, inverse] = &*self.statistics;
        Columns {
            mean,
            inverse,
            gain: values(&inputs[1]),
            shift: values(&inputs[2]),
        }
    }
}

impl Kernel<3> for NormReluDropout {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 3], _keep: bool) -> (FlexTensor, ()) {
        let x = values(&inputs[0]);
        let mut y = Buffer::new(x.len());
        batch_norm::forward(
            Level::detect(),
            &self.columns(inputs),
            &self.draw,
            x,
            &mut y,
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
        let x = values(&inputs[0]);
        let mut dx = Buffer::new(x.len());
        let [gain, shift] = batch_norm::backward(
            Level::detect(),
            &self.columns(inputs),
            &self.draw,
            [x, values(gradient)],
            &mut dx,
        );
        let [x_wanted, gain_wanted, shift_wanted] = wanted;
        [
            x_wanted.then(|| dx.into_tensor(inputs[0].shape())),
            gain_wanted.then(|| vector(&gain)),
            shift_wanted.then(|| vector(&shift)),
        ]
    }
}

#[derive(Clone, Debug)]
struct ReluDropout(Draw);

impl Kernel<1> for ReluDropout {
    type Saved = ();

    fn forward(&self, [x]: &[FlexTensor; 1], _keep: bool) -> (FlexTensor, ()) {
        let mut y = Buffer::new(values(x).len());
        batch_norm::relu(Level::detect(), &self.0, values(x), values(x), &mut y);
        (y.into_tensor(x.shape()), ())
    }

    fn backward(
        &self,
        [x]: &[FlexTensor; 1],
        (): (),
        gradient: &FlexTensor,
        [wanted]: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        [wanted.then(|| {
            let mut dx = Buffer::new(values(x).len());
            batch_norm::relu(
                Level::detect(),
                &self.0,
                values(x),
                values(gradient),
                &mut dx,
            );
            dx.into_tensor(x.shape())
        })]
    }
}

/// [`crate::batch_norm::norm_relu_dropout`], or `None` where the kernel does not apply.
pub(crate) fn norm_relu_dropout(
    x: &Tensor<2>,
    [gain, shift]: [Tensor<1>; 2],
    moments: &Moments,
    epsilon: f64,
    dropout: Option<Dropout>,
) -> Option<Tensor<2>> {
    let inputs = [
        x.clone().into_dispatch(),
        gain.into_dispatch(),
        shift.into_dispatch(),
    ];
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return None;
    }
    let read = |tensor: &Tensor<1>| -> Vec<f32> { tensor.clone().into_data().iter().collect() };
    let inverse = read(&moments.variance)
        .into_iter()
        .map(|variance| (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32);
    let kernel = NormReluDropout {
        statistics: Arc::new([read(&moments.mean), inverse.collect()]),
        draw: Draw::of(dropout.as_ref()),
    };
    run(&kernel, inputs)
}

/// [`crate::batch_norm::relu_dropout`], or `None` where the kernel does not apply.
pub(crate) fn relu_dropout(x: &Tensor<2>, dropout: Option<Dropout>) -> Option<Tensor<2>> {
    if x.dims().contains(&0) {
        return None;
    }
    run(
        &ReluDropout(Draw::of(dropout.as_ref())),
        [x.clone().into_dispatch()],
    )
}
