//! Kernels as differentiable operations on the `flex` backend.

pub(crate) mod adam;
pub(crate) mod batch_norm;
pub(crate) mod bilinear;
pub(crate) mod block;
pub(crate) mod block_sum;
pub(crate) mod conv;
pub(crate) mod conv1d;
pub(crate) mod depthwise;
pub(crate) mod embedding;
pub(crate) mod group_norm;
pub(crate) mod linear_attention;
pub(crate) mod norm;
pub(crate) mod pointwise;
pub(crate) mod resample;
pub(crate) mod sparse;
pub(crate) mod stft;
pub(crate) mod transformer;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{
    Autodiff, Backend, BackendTensor, DispatchKindConversion, DispatchTensor, Flex, TensorMetadata,
};
use burn::tensor::{DType, Tensor};
use std::fmt::Debug;
use std::marker::PhantomData;

/// An operation of `N` float tensors with its gradient.
pub(crate) trait Kernel<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs besides the inputs.
    type Saved: Clone + Debug + Send + 'static;

    /// The result; with `keep`, a backward pass follows.
    fn forward(&self, inputs: &[FlexTensor; N], keep: bool) -> (FlexTensor, Self::Saved);

    /// The gradients of the inputs that are `wanted`.
    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        saved: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Runs `kernel` if every input is a single-precision tensor on `flex`, with or without autodiff.
pub(crate) fn run<K: Kernel<N>, const N: usize, const D: usize>(
    kernel: &K,
    inputs: [DispatchTensor; N],
) -> Option<Tensor<D>> {
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return None;
    }
    let output = if let Some(inputs) = downcast::<Flex, N>(&inputs) {
        let (output, _) = kernel.forward(&inputs.map(|input| input.to_contiguous()), false);
        DispatchTensor::from_backend(BackendTensor::<Flex>::Float(output))
    } else if let Some(inputs) = downcast::<Autodiff<Flex>, N>(&inputs) {
        let output = record::<K, NoCheckpointing, N>(kernel, inputs);
        DispatchTensor::from_backend(BackendTensor::<Autodiff<Flex>>::Float(output))
    } else {
        let inputs = downcast::<Autodiff<Flex, BalancedCheckpointing>, N>(&inputs)?;
        let output = record::<K, BalancedCheckpointing, N>(kernel, inputs);
        DispatchTensor::from_backend(
            BackendTensor::<Autodiff<Flex, BalancedCheckpointing>>::Float(output),
        )
    };
    Some(Tensor::from_dispatch(output))
}

fn downcast<B: Backend, const N: usize>(
    inputs: &[DispatchTensor; N],
) -> Option<[B::FloatTensorPrimitive; N]>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let mut primitives = Vec::with_capacity(N);
    for input in inputs {
        let tensor = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(input.clone());
        let Ok(BackendTensor::Float(primitive)) = tensor else {
            return None;
        };
        primitives.push(primitive);
    }
    primitives.try_into().ok()
}

type AutodiffTensor = <Autodiff<Flex> as burn::backend::BackendTypes>::FloatTensorPrimitive;

fn record<K: Kernel<N>, C: CheckpointStrategy, const N: usize>(
    kernel: &K,
    inputs: [AutodiffTensor; N],
) -> AutodiffTensor {
    let nodes = inputs.each_ref().map(|input| input.node());
    let step = Recorded::<K, N>(PhantomData);
    match step.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = inputs.each_ref().map(|input| prep.checkpoint(input));
            let inputs = inputs.map(|input| input.into_primitive().to_contiguous());
            let (output, saved) = kernel.forward(&inputs, true);
            prep.finish((kernel.clone(), saved, ids), output)
        }
        OpsKind::UnTracked(prep) => {
            let inputs = inputs.map(|input| input.into_primitive().to_contiguous());
            prep.finish(kernel.forward(&inputs, false).0)
        }
    }
}

/// The backward step of a kernel.
#[derive(Debug)]
struct Recorded<K, const N: usize>(PhantomData<K>);

impl<K: Kernel<N>, const N: usize> Backward<Flex, N> for Recorded<K, N> {
    type State = (K, K::Saved, [NodeId; N]);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (kernel, saved, ids) = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let inputs = ids.map(|id| {
            let input: FlexTensor = checkpointer.retrieve_node_output(id);
            input.to_contiguous()
        });
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let results = kernel.backward(&inputs, saved, &gradient, wanted);
        drop((inputs, gradient));
        for (parent, result) in ops.parents.into_iter().zip(results) {
            if let (Some(parent), Some(result)) = (parent, result) {
                gradients.register::<Flex>(parent.id, result);
            }
        }
    }
}

/// The values of a contiguous tensor.
fn values(tensor: &FlexTensor) -> &[f32] {
    &tensor.storage::<f32>()[..tensor.layout().num_elements()]
}
