//! One operation on the `flex` backend, whose gradient keeps a byte for each pooled number, or the
//! result.

#![allow(
    clippy::result_large_err,
    reason = "a tensor moves once, next to megabytes that it stands for"
)]

use super::Rectify;
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
use burn::tensor::{Bytes, DType, Tensor};
use rayon::prelude::*;

/// Maps that a thread takes at least.
const MAPS: usize = 16;

/// In place of a number of a square: the gradient goes to none.
const NOWHERE: u8 = 4;

/// What a backward pass needs.
#[derive(Clone, Debug)]
enum Saved {
    /// Which number of its square each result is, or [`NOWHERE`].
    Sources(Vec<u8>),
    /// The result, not 0 where the gradient passes.
    Output(FlexTensor),
}

/// The result; or the tensor, where it is not of single precision on `flex`, with autodiff or without.
pub(super) fn run(rectify: Rectify, x: Tensor<4>) -> Result<Tensor<4>, Tensor<4>> {
    type Balanced = Autodiff<Flex, BalancedCheckpointing>;
    if x.dtype() != DType::F32 || x.shape().num_elements() == 0 {
        return Err(x);
    }
    let output = primitive::<Flex>(x.into_dispatch()).map(|x| {
        let (output, _) = rectify.forward(x, false);
        DispatchTensor::from_backend(BackendTensor::<Flex>::Float(output))
    });
    let output = output.or_else(|x| {
        let output = record::<NoCheckpointing>(rectify, primitive::<Autodiff<Flex>>(x)?);
        let output = BackendTensor::<Autodiff<Flex>>::Float(output);
        Ok(DispatchTensor::from_backend(output))
    });
    let output = output.or_else(|x| {
        let output = record::<BalancedCheckpointing>(rectify, primitive::<Balanced>(x)?);
        let output = BackendTensor::<Balanced>::Float(output);
        Ok(DispatchTensor::from_backend(output))
    });
    output
        .map(Tensor::from_dispatch)
        .map_err(Tensor::from_dispatch)
}

/// What is inside, if it is of that backend.
fn primitive<B: Backend>(x: DispatchTensor) -> Result<B::FloatTensorPrimitive, DispatchTensor>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    // The copy is gone on success: it would keep the tensor from being written over.
    let copy = x.clone();
    match <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(x) {
        Ok(BackendTensor::Float(x)) => Ok(x),
        _ => Err(copy),
    }
}

type AutodiffTensor = <Autodiff<Flex> as BackendTypes>::FloatTensorPrimitive;

fn record<C: CheckpointStrategy>(rectify: Rectify, x: AutodiffTensor) -> AutodiffTensor {
    match Recorded.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let x = x.into_primitive();
            let shape = x.shape().dims();
            let (output, saved) = rectify.forward(x, true);
            prepared.finish((rectify, saved, shape), output)
        }
        OpsKind::UnTracked(prepared) => {
            prepared.finish(rectify.forward(x.into_primitive(), false).0)
        }
    }
}

/// The backward step.
#[derive(Debug)]
struct Recorded;

impl Backward<Flex, 1> for Recorded {
    type State = (Rectify, Option<Saved>, [usize; 4]);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (rectify, saved, shape) = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node);
        let [parent] = ops.parents;
        if let (Some(parent), Some(saved)) = (parent, saved) {
            let gradient = rectify.backward(&saved, gradient, shape);
            gradients.register::<Flex>(parent.id, gradient);
        }
    }
}

fn values(tensor: &FlexTensor) -> &[f32] {
    &tensor.storage::<f32>()[..tensor.layout().num_elements()]
}

fn tensor(values: Vec<f32>, shape: [usize; 4]) -> FlexTensor {
    let layout = Layout::contiguous(shape.into());
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}

/// The tensor `shape` after `change` of its values: in place where nobody else holds them.
fn changed(x: FlexTensor, shape: [usize; 4], change: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut x = if x.is_contiguous() {
        x
    } else {
        x.to_contiguous()
    };
    let len = x.layout().num_elements();
    if x.layout().start_offset() == 0
        && let Some(values) = x.try_storage_mut::<f32>()
        && values.len() == len
    {
        change(values);
        return x;
    }
    let mut copy = values(&x.to_contiguous()).to_vec();
    change(&mut copy);
    tensor(copy, shape)
}

impl Rectify {
    /// The result; with `keep` what a backward pass needs.
    fn forward(self, x: FlexTensor, keep: bool) -> (FlexTensor, Option<Saved>) {
        let shape @ [batch, channels, height, width] = x.shape().dims();
        let draw = |map: usize, factors: &mut [f32]| {
            if let Some(dropout) = &self.dropout {
                dropout.factors(map, factors);
            }
        };
        if !self.pooled {
            let area = height * width;
            let output = changed(x, shape, |values| {
                values
                    .par_chunks_exact_mut(area)
                    .enumerate()
                    .with_min_len(MAPS)
                    .for_each_init(
                        || vec![1.0f32; area],
                        |factors, (map, y)| {
                            draw(map, factors);
                            pass(y, factors);
                        },
                    );
            });
            let saved = keep.then(|| Saved::Output(output.clone()));
            return (output, saved);
        }
        let shape = [batch, channels, height / 2, width / 2];
        let area = shape[2] * shape[3];
        let x = x.to_contiguous();
        let mut output = vec![0.0f32; shape.iter().product()];
        let mut sources = vec![NOWHERE; output.len()];
        values(&x)
            .par_chunks_exact(height * width)
            .zip(output.par_chunks_exact_mut(area))
            .zip(sources.par_chunks_exact_mut(area))
            .enumerate()
            .with_min_len(MAPS)
            .for_each_init(
                || vec![1.0f32; area],
                |factors, (map, ((x, y), sources))| {
                    draw(map, factors);
                    pool(x, width, factors, y, sources);
                },
            );
        let saved = keep.then_some(Saved::Sources(sources));
        (tensor(output, shape), saved)
    }

    /// The gradient of what was `shape`.
    fn backward(self, saved: &Saved, gradient: FlexTensor, shape: [usize; 4]) -> FlexTensor {
        let kept = self.dropout.map_or(1.0, |dropout| dropout.kept);
        let [_, _, height, width] = shape;
        let area = height * width;
        match saved {
            Saved::Sources(sources) => {
                let gradient = gradient.to_contiguous();
                let mut back = vec![0.0f32; shape.iter().product()];
                back.par_chunks_exact_mut(area)
                    .zip(values(&gradient).par_chunks_exact(area / 4))
                    .zip(sources.par_chunks_exact(area / 4))
                    .with_min_len(MAPS)
                    .for_each(|((back, gradient), sources)| {
                        spread(gradient, sources, kept, width, back);
                    });
                tensor(back, shape)
            }
            Saved::Output(output) => changed(gradient, shape, |gradient| {
                gradient
                    .par_chunks_exact_mut(area)
                    .zip(values(output).par_chunks_exact(area))
                    .with_min_len(MAPS)
                    .for_each(|(gradient, output)| {
                        for (gradient, output) in gradient.iter_mut().zip(output) {
                            *gradient = if *output == 0.0 {
                                0.0
                            } else {
                                *gradient * kept
                            };
                        }
                    });
            }),
        }
    }
}

/// What is no number stays none.
fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

/// ReLU of a map, times `factors`.
fn pass(map: &mut [f32], factors: &[f32]) {
    for (value, factor) in map.iter_mut().zip(factors) {
        *value = relu(*value) * factor;
    }
}

/// ReLU of the largest of each 2×2 numbers of a map with rows of `width`, times `factors`; and for each
/// of them which of the square it is, or [`NOWHERE`] if it became 0.
///
/// Without branches, so that several are computed at a time.
fn pool(x: &[f32], width: usize, factors: &[f32], y: &mut [f32], sources: &mut [u8]) {
    let half = width / 2;
    let results = y.chunks_exact_mut(half).zip(sources.chunks_exact_mut(half));
    let rows = x.chunks_exact(2 * width).zip(factors.chunks_exact(half));
    for ((x, factors), (y, sources)) in rows.zip(results) {
        let (top, bottom) = x.split_at(width);
        let (top, bottom) = (top.as_chunks::<2>().0, bottom.as_chunks::<2>().0);
        let squares = top.iter().zip(bottom).zip(factors);
        for ((([a, b], [c, d]), factor), (y, source)) in
            squares.zip(y.iter_mut().zip(sources.iter_mut()))
        {
            let upper = if b > a { *b } else { *a };
            let lower = if d > c { *d } else { *c };
            let largest = if lower > upper { lower } else { upper };
            let (first, second) = (u32::from(b > a), 2 + u32::from(d > c));
            let at = if lower > upper { second } else { first };
            let none = a.is_nan() | b.is_nan() | c.is_nan() | d.is_nan();
            let largest = if none { f32::NAN } else { largest };
            let result = relu(largest) * factor;
            *y = result;
            *source = if result == 0.0 { NOWHERE } else { at as u8 };
        }
    }
}

/// The gradient of [`pool`]: every number to where its largest came from.
fn spread(gradient: &[f32], sources: &[u8], kept: f32, width: usize, back: &mut [f32]) {
    let half = width / 2;
    let rows = gradient.chunks_exact(half).zip(sources.chunks_exact(half));
    for ((gradient, sources), back) in rows.zip(back.chunks_exact_mut(2 * width)) {
        let (top, bottom) = back.split_at_mut(width);
        for (back, first) in [(top, 0), (bottom, 2)] {
            let pairs = back.as_chunks_mut::<2>().0.iter_mut();
            for ([left, right], (gradient, source)) in pairs.zip(gradient.iter().zip(sources)) {
                let gradient = gradient * kept;
                let source = u32::from(*source);
                *left = if source == first { gradient } else { 0.0 };
                *right = if source == first + 1 { gradient } else { 0.0 };
            }
        }
    }
}
