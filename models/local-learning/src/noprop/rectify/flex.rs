//! One operation on the `flex` backend, whose gradient keeps a byte for each pooled number, or the
//! result.

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

/// `None` where the tensor is not of single precision on `flex`, with autodiff or without.
pub(super) fn run(rectify: Rectify, x: &Tensor<4>) -> Option<Tensor<4>> {
    let x = x.clone().into_dispatch();
    if x.dtype() != DType::F32 || x.shape().num_elements() == 0 {
        return None;
    }
    let output = if let Some(x) = primitive::<Flex>(&x) {
        let (output, _) = rectify.forward(&x.to_contiguous(), false);
        DispatchTensor::from_backend(BackendTensor::<Flex>::Float(output))
    } else if let Some(x) = primitive::<Autodiff<Flex>>(&x) {
        let output = record::<NoCheckpointing>(rectify, x);
        DispatchTensor::from_backend(BackendTensor::<Autodiff<Flex>>::Float(output))
    } else {
        type Balanced = Autodiff<Flex, BalancedCheckpointing>;
        let x = primitive::<Balanced>(&x)?;
        let output = record::<BalancedCheckpointing>(rectify, x);
        DispatchTensor::from_backend(BackendTensor::<Balanced>::Float(output))
    };
    Some(Tensor::from_dispatch(output))
}

fn primitive<B: Backend>(x: &DispatchTensor) -> Option<B::FloatTensorPrimitive>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let x = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(x.clone());
    match x {
        Ok(BackendTensor::Float(x)) => Some(x),
        _ => None,
    }
}

type AutodiffTensor = <Autodiff<Flex> as BackendTypes>::FloatTensorPrimitive;

fn record<C: CheckpointStrategy>(rectify: Rectify, x: AutodiffTensor) -> AutodiffTensor {
    match Recorded.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let x = x.into_primitive().to_contiguous();
            let (output, saved) = rectify.forward(&x, true);
            let shape = x.shape().dims();
            prepared.finish((rectify, saved, shape), output)
        }
        OpsKind::UnTracked(prepared) => {
            let x = x.into_primitive().to_contiguous();
            prepared.finish(rectify.forward(&x, false).0)
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
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [parent] = ops.parents;
        if let (Some(parent), Some(saved)) = (parent, saved) {
            let gradient = rectify.backward(&saved, &gradient, shape);
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

impl Rectify {
    /// The result; with `keep` what a backward pass needs.
    fn forward(self, x: &FlexTensor, keep: bool) -> (FlexTensor, Option<Saved>) {
        let [batch, channels, height, width] = x.shape().dims();
        let side = if self.pooled { 2 } else { 1 };
        let shape = [batch, channels, height / side, width / side];
        let area = shape[2] * shape[3];
        let mut output = vec![0.0f32; shape.iter().product()];
        let mut sources = match keep && self.pooled {
            true => vec![NOWHERE; output.len()],
            false => Vec::new(),
        };
        let factors = || vec![1.0f32; area];
        let draw = |map: usize, factors: &mut [f32]| {
            if let Some(dropout) = &self.dropout {
                dropout.factors(map, factors);
            }
        };
        let maps = values(x)
            .par_chunks_exact(height * width)
            .zip(output.par_chunks_exact_mut(area));
        if sources.is_empty() {
            maps.enumerate()
                .with_min_len(MAPS)
                .for_each_init(factors, |factors, (map, (x, y))| {
                    draw(map, factors);
                    match self.pooled {
                        true => pool(x, width, factors, y, |_, _| ()),
                        false => pass(x, factors, y),
                    }
                });
        } else {
            maps.zip(sources.par_chunks_exact_mut(area))
                .enumerate()
                .with_min_len(MAPS)
                .for_each_init(factors, |factors, (map, ((x, y), sources))| {
                    draw(map, factors);
                    pool(x, width, factors, y, |at, source| sources[at] = source);
                });
        }
        let output = tensor(output, shape);
        let saved = keep.then(|| match self.pooled {
            true => Saved::Sources(sources),
            false => Saved::Output(output.clone()),
        });
        (output, saved)
    }

    /// The gradient of what was `shape`.
    fn backward(self, saved: &Saved, gradient: &FlexTensor, shape: [usize; 4]) -> FlexTensor {
        let kept = self.dropout.map_or(1.0, |dropout| dropout.kept);
        let gradient = values(gradient);
        let mut back = vec![0.0f32; shape.iter().product()];
        let [_, _, height, width] = shape;
        match saved {
            Saved::Sources(sources) => {
                let area = height * width / 4;
                back.par_chunks_exact_mut(height * width)
                    .zip(gradient.par_chunks_exact(area))
                    .zip(sources.par_chunks_exact(area))
                    .with_min_len(MAPS)
                    .for_each(|((back, gradient), sources)| {
                        spread(gradient, sources, kept, width, back);
                    });
            }
            Saved::Output(output) => {
                let area = height * width;
                back.par_chunks_exact_mut(area)
                    .zip(gradient.par_chunks_exact(area))
                    .zip(values(output).par_chunks_exact(area))
                    .with_min_len(MAPS)
                    .for_each(|((back, gradient), output)| {
                        for ((back, gradient), output) in back.iter_mut().zip(gradient).zip(output)
                        {
                            *back = if *output == 0.0 { 0.0 } else { gradient * kept };
                        }
                    });
            }
        }
        tensor(back, shape)
    }
}

/// What is no number stays none.
fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

/// ReLU of a map, times `factors`.
fn pass(x: &[f32], factors: &[f32], y: &mut [f32]) {
    for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
        *y = relu(*x) * factor;
    }
}

/// ReLU of the largest of each 2×2 numbers of a map with rows of `width`, times `factors`. Says for
/// each of them which of the square it is, or [`NOWHERE`] if it became 0.
fn pool(x: &[f32], width: usize, factors: &[f32], y: &mut [f32], mut say: impl FnMut(usize, u8)) {
    let rows = x.chunks_exact(2 * width);
    let results = y.chunks_exact_mut(width / 2);
    let factors = factors.chunks_exact(width / 2);
    for (row, ((x, y), factors)) in rows.zip(results).zip(factors).enumerate() {
        let (top, bottom) = x.split_at(width);
        let pairs = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
        for (column, (([a, b], [c, d]), (y, factor))) in
            pairs.zip(y.iter_mut().zip(factors)).enumerate()
        {
            let (mut largest, mut source) = (*a, 0);
            for (next, at) in [(*b, 1), (*c, 2), (*d, 3)] {
                let wins = next > largest || next.is_nan();
                largest = if wins { next } else { largest };
                source = if wins { at } else { source };
            }
            *y = relu(largest) * factor;
            let source = if *y == 0.0 { NOWHERE } else { source };
            say(row * (width / 2) + column, source);
        }
    }
}

/// The gradient of [`pool`]: every number to where its largest came from.
fn spread(gradient: &[f32], sources: &[u8], kept: f32, width: usize, back: &mut [f32]) {
    let half = width / 2;
    let rows = gradient.chunks_exact(half).zip(sources.chunks_exact(half));
    for ((gradient, sources), back) in rows.zip(back.chunks_exact_mut(2 * width)) {
        let (top, bottom) = back.split_at_mut(width);
        let pairs = top.as_chunks_mut::<2>().0.iter_mut();
        let pairs = pairs.zip(bottom.as_chunks_mut::<2>().0);
        for (([a, b], [c, d]), (gradient, source)) in pairs.zip(gradient.iter().zip(sources)) {
            let gradient = gradient * kept;
            let at = |wanted: u8| if *source == wanted { gradient } else { 0.0 };
            (*a, *b, *c, *d) = (at(0), at(1), at(2), at(3));
        }
    }
}
