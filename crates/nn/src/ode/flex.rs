//! The loops over slopes as operations on the `flex` backend, in single and double precision.

use super::kernel::{self, Real};
use crate::level::Level;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{
    Autodiff, Backend, BackendTensor, BackendTypes, DispatchKindConversion, DispatchTensor, Flex,
    TensorMetadata,
};
use burn::tensor::{Bytes, DType, Shape, Tensor};

/// The most terms of a sum that is recorded for a backward pass: state and seven slopes.
const MOST: usize = 8;

fn downcast<B: Backend>(inputs: &[DispatchTensor]) -> Option<Vec<B::FloatTensorPrimitive>>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let primitives = inputs.iter().map(|input| {
        let tensor = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(input.clone());
        match tensor {
            Ok(BackendTensor::Float(primitive)) => Some(primitive),
            _ => None,
        }
    });
    primitives.collect()
}

/// Tensors of one precision on `flex` without autodiff, contiguous.
fn flex<const D: usize>(inputs: &[&Tensor<D>]) -> Option<(DType, Vec<FlexTensor>)> {
    let inputs: Vec<DispatchTensor> = inputs
        .iter()
        .map(|input| (*input).clone().into_dispatch())
        .collect();
    let dtype = precision(&inputs)?;
    let primitives = downcast::<Flex>(&inputs)?;
    let contiguous = primitives.into_iter().map(|x| x.to_contiguous());
    Some((dtype, contiguous.collect()))
}

/// The precision that all share, if it is one that the loops know.
fn precision(inputs: &[DispatchTensor]) -> Option<DType> {
    let dtype = inputs.first()?.dtype();
    let known = matches!(dtype, DType::F32 | DType::F64);
    (known && inputs.iter().all(|input| input.dtype() == dtype)).then_some(dtype)
}

fn wrap<const D: usize>(tensor: FlexTensor) -> Tensor<D> {
    let tensor = BackendTensor::<Flex>::Float(tensor);
    Tensor::from_dispatch(DispatchTensor::from_backend(tensor))
}

/// A precision of tensors and of Rust's numbers.
trait Precision: Real {
    /// The values of a contiguous tensor.
    fn values(tensor: &FlexTensor) -> &[Self];

    /// A tensor of these values.
    fn tensor(values: Vec<Self>, shape: Shape) -> FlexTensor;
}

macro_rules! precision {
    ($number:ty, $dtype:expr) => {
        impl Precision for $number {
            fn values(tensor: &FlexTensor) -> &[Self] {
                &tensor.storage::<$number>()[..tensor.layout().num_elements()]
            }

            fn tensor(values: Vec<Self>, shape: Shape) -> FlexTensor {
                FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), $dtype)
            }
        }
    };
}

precision!(f32, DType::F32);
precision!(f64, DType::F64);

fn factors<T: Precision>(factors: &[f64]) -> Vec<T> {
    factors.iter().map(|factor| T::of(*factor)).collect()
}

fn slices<T: Precision>(terms: &[FlexTensor]) -> Vec<&[T]> {
    terms.iter().map(T::values).collect()
}

/// Calls a function for the precision at hand.
macro_rules! with_precision {
    ($dtype:expr, $function:ident($($argument:expr),*)) => {
        match $dtype {
            DType::F64 => $function::<f64>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}

fn sum_of<T: Precision>(scales: &[f64], terms: &[FlexTensor]) -> FlexTensor {
    let sum = kernel::sum(Level::detect(), &factors::<T>(scales), &slices(terms));
    T::tensor(sum, terms[0].shape())
}

/// The sum that [`super::combine`] makes, or `None` where the kernel does not apply.
pub(super) fn sum<const D: usize>(scales: &[f64], terms: &[&Tensor<D>]) -> Option<Tensor<D>> {
    if let Some((dtype, terms)) = flex(terms) {
        return Some(wrap(with_precision!(dtype, sum_of(scales, &terms))));
    }
    let inputs: Vec<DispatchTensor> = terms
        .iter()
        .map(|term| (*term).clone().autodiff().into_dispatch())
        .collect();
    precision(&inputs)?;
    if let Some(inputs) = downcast::<Autodiff<Flex>>(&inputs) {
        let output = recorded::<NoCheckpointing>(scales, inputs)?;
        let output = BackendTensor::<Autodiff<Flex>>::Float(output);
        return Some(Tensor::from_dispatch(DispatchTensor::from_backend(output)));
    }
    let inputs = downcast::<Autodiff<Flex, BalancedCheckpointing>>(&inputs)?;
    let output = recorded::<BalancedCheckpointing>(scales, inputs)?;
    let output = BackendTensor::<Autodiff<Flex, BalancedCheckpointing>>::Float(output);
    Some(Tensor::from_dispatch(DispatchTensor::from_backend(output)))
}

type Tracked = <Autodiff<Flex> as BackendTypes>::FloatTensorPrimitive;

fn recorded<C: CheckpointStrategy>(scales: &[f64], inputs: Vec<Tracked>) -> Option<Tracked> {
    macro_rules! arities {
        ($($count:literal)*) => {
            match inputs.len() {
                $($count => Some(record::<C, $count>(scales, inputs.try_into().ok()?)),)*
                _ => None,
            }
        };
    }
    const { assert!(MOST == 8) };
    arities!(1 2 3 4 5 6 7 8)
}

fn record<C: CheckpointStrategy, const N: usize>(scales: &[f64], inputs: [Tracked; N]) -> Tracked {
    let nodes = inputs.each_ref().map(|input| input.node());
    let forward = |inputs: [Tracked; N]| {
        let inputs = inputs.map(|input| input.into_primitive().to_contiguous());
        with_precision!(inputs[0].dtype(), sum_of(scales, &inputs))
    };
    match Scaled.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(scales.to_vec(), forward(inputs)),
        OpsKind::UnTracked(prep) => prep.finish(forward(inputs)),
    }
}

/// The gradient of a sum: every term's is the sum's, scaled.
#[derive(Debug)]
struct Scaled;

impl<const N: usize> Backward<Flex, N> for Scaled {
    type State = Vec<f64>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        for (parent, scale) in ops.parents.into_iter().zip(ops.state) {
            let Some(parent) = parent else {
                continue;
            };
            let scaled = if scale == 1.0 {
                gradient.clone()
            } else {
                let terms = [gradient.clone()];
                with_precision!(gradient.dtype(), sum_of(&[scale], &terms))
            };
            gradients.register::<Flex>(parent.id, scaled);
        }
    }
}

fn squares_of<T: Precision>(
    scales: &[f64],
    terms: &[FlexTensor],
    ends: &[FlexTensor],
    tolerance: [f64; 2],
) -> f64 {
    let ends = [T::values(&ends[0]), T::values(&ends[1])];
    let scales = factors::<T>(scales);
    kernel::squares(Level::detect(), &scales, &slices(terms), ends, tolerance)
}

/// The sum of squares of [`super::scaled_rms`], or `None` where the kernel does not apply.
pub(super) fn squares<const D: usize>(
    scales: &[f64],
    terms: &[&Tensor<D>],
    ends: [&Tensor<D>; 2],
    tolerance: [f64; 2],
) -> Option<f64> {
    let inputs: Vec<&Tensor<D>> = terms.iter().copied().chain(ends).collect();
    let (dtype, inputs) = flex(&inputs)?;
    let (terms, ends) = inputs.split_at(terms.len());
    Some(with_precision!(
        dtype,
        squares_of(scales, terms, ends, tolerance)
    ))
}

fn tanh_of<T: Precision>(
    scales: &[f64],
    terms: &[FlexTensor],
    row: &FlexTensor,
    extra: &[f64],
) -> FlexTensor {
    let [rows, width]: [usize; 2] = terms[0].shape().dims();
    let (scales, extra) = (factors::<T>(scales), factors::<T>(extra));
    let (slices, row) = (slices::<T>(terms), [T::values(row), &extra]);
    let y = kernel::tanh(Level::detect(), &scales, &slices, row);
    T::tensor(y, Shape::from([rows, width + extra.len()]))
}

/// [`super::tanh_sum`], or `None` where the kernel does not apply.
pub(super) fn tanh(
    scales: &[f64],
    terms: &[&Tensor<2>],
    row: &Tensor<2>,
    extra: &[f64],
) -> Option<Tensor<2>> {
    let inputs: Vec<&Tensor<2>> = terms.iter().copied().chain([row]).collect();
    let (dtype, inputs) = flex(&inputs)?;
    let (terms, row) = inputs.split_at(terms.len());
    Some(wrap(with_precision!(
        dtype,
        tanh_of(scales, terms, &row[0], extra)
    )))
}

fn tanh_slope_of<T: Precision>(scales: &[f64], terms: &[FlexTensor], y: &FlexTensor) -> FlexTensor {
    let [_, width]: [usize; 2] = terms[0].shape().dims();
    let [_, stored]: [usize; 2] = y.shape().dims();
    let (scales, slices) = (factors::<T>(scales), slices::<T>(terms));
    let y = T::values(y);
    let found = kernel::tanh_slope(Level::detect(), &scales, &slices, y, [width, stored]);
    T::tensor(found, terms[0].shape())
}

/// [`super::tanh_slope`], or `None` where the kernel does not apply.
pub(super) fn tanh_slope(scales: &[f64], terms: &[&Tensor<2>], y: &Tensor<2>) -> Option<Tensor<2>> {
    let inputs: Vec<&Tensor<2>> = terms.iter().copied().chain([y]).collect();
    let (dtype, inputs) = flex(&inputs)?;
    let (terms, y) = inputs.split_at(terms.len());
    Some(wrap(with_precision!(
        dtype,
        tanh_slope_of(scales, terms, &y[0])
    )))
}
