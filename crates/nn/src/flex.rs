//! Kernels as differentiable operations on the `flex` backend.

use crate::conv::Padding;
use crate::kernel::conv::{Gather, Geometry, adjoint, forward};
use crate::kernel::micro::Level;
use crate::kernel::norm::{self, Gain, Norm, channel_sums};
use crate::kernel::weight::{self, WeightGradient};
use crate::memory::Buffer;
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
use std::sync::Arc;

/// An operation of `N` float tensors with its gradient.
pub(crate) trait Kernel<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs besides the inputs.
    type Saved: Clone + Debug + Send + 'static;

    fn forward(&self, inputs: &[FlexTensor; N]) -> (FlexTensor, Self::Saved);

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
pub(crate) fn run<K: Kernel<N>, const N: usize>(
    kernel: &K,
    inputs: [DispatchTensor; N],
) -> Option<Tensor<4>> {
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return None;
    }
    let output = if let Some(inputs) = downcast::<Flex, N>(&inputs) {
        let (output, _) = kernel.forward(&inputs.map(|input| input.to_contiguous()));
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
            let (output, saved) = kernel.forward(&inputs);
            prep.finish((kernel.clone(), saved, ids), output)
        }
        OpsKind::UnTracked(prep) => {
            let inputs = inputs.map(|input| input.into_primitive().to_contiguous());
            prep.finish(kernel.forward(&inputs).0)
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

/// A convolution or, with `adjoint`, a transposed one, with a bias as the third input if any.
#[derive(Clone, Debug)]
struct Convolution {
    geometry: Geometry,
    adjoint: bool,
    tables: Arc<Tables>,
}

/// The offset tables of all passes.
#[derive(Debug)]
struct Tables {
    forward: Gather,
    adjoint: Gather,
    weight: WeightGradient,
}

impl Tables {
    fn new(geometry: &Geometry) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            forward: Gather::forward(geometry, crate::kernel::conv::STRIP)?,
            adjoint: Gather::adjoint(geometry)?,
            weight: WeightGradient::new(geometry)?,
        }))
    }
}

impl Convolution {
    /// From the convolution's input to its output, or back.
    fn pass(
        &self,
        back: bool,
        from: &FlexTensor,
        weight: &FlexTensor,
        bias: Option<&FlexTensor>,
    ) -> FlexTensor {
        let (g, level, bias) = (&self.geometry, Level::detect(), bias.map(values));
        let (from, weight) = (values(from), values(weight));
        if back {
            let mut out = Buffer::new(g.batch * g.inputs * g.input_pixels());
            adjoint(level, &self.tables.adjoint, g, from, weight, bias, &mut out);
            out.into_tensor([g.batch, g.inputs, g.input[0], g.input[1]])
        } else {
            let mut out = Buffer::new(g.batch * g.outputs * g.output_pixels());
            forward(level, &self.tables.forward, g, from, weight, bias, &mut out);
            out.into_tensor([g.batch, g.outputs, g.output[0], g.output[1]])
        }
    }
}

impl<const N: usize> Kernel<N> for Convolution {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; N]) -> (FlexTensor, ()) {
        let output = self.pass(self.adjoint, &inputs[0], &inputs[1], inputs.get(2));
        (output, ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let (g, level) = (&self.geometry, Level::detect());
        std::array::from_fn(|input| {
            if !wanted[input] {
                return None;
            }
            Some(match input {
                0 => self.pass(!self.adjoint, gradient, &inputs[1], None),
                1 => {
                    let [x, dy] = match self.adjoint {
                        false => [values(&inputs[0]), values(gradient)],
                        true => [values(gradient), values(&inputs[0])],
                    };
                    let mut out = Buffer::new(g.outputs * g.depth());
                    weight::gradient(level, &self.tables.weight, x, dy, &mut out);
                    out.into_tensor([g.outputs, g.inputs, g.kernel[0], g.kernel[1]])
                }
                _ => {
                    let [_, channels, h, w] = gradient.shape().dims();
                    let mut out = Buffer::new(channels);
                    channel_sums(channels, h * w, values(gradient), &mut out);
                    out.into_tensor([channels])
                }
            })
        })
    }
}

/// [`crate::conv::conv2d`], or `None` where the kernels do not apply.
pub(crate) fn conv2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
) -> Option<Tensor<4>> {
    let ([batch, inputs, h, w], [outputs, _, kh, kw]) = (x.dims(), weight.dims());
    convolution(
        Geometry {
            batch,
            inputs,
            outputs,
            input: [h, w],
            output: padding.convolved([h, w], [kh, kw], stride)?,
            kernel: [kh, kw],
            stride,
            padding,
        },
        false,
        [x, weight],
        bias,
    )
}

/// [`crate::conv::conv_transpose2d`], or `None` where the kernels do not apply.
pub(crate) fn conv_transpose2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: [usize; 2],
    padding: Padding,
) -> Option<Tensor<4>> {
    let ([batch, outputs, h, w], [_, inputs, kh, kw]) = (x.dims(), weight.dims());
    convolution(
        Geometry {
            batch,
            inputs,
            outputs,
            input: padding.transposed([h, w], [kh, kw], stride)?,
            output: [h, w],
            kernel: [kh, kw],
            stride,
            padding,
        },
        true,
        [x, weight],
        bias,
    )
}

fn convolution(
    geometry: Geometry,
    adjoint: bool,
    [x, weight]: [&Tensor<4>; 2],
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<4>> {
    let g = &geometry;
    let sizes = [g.batch, g.inputs, g.outputs, g.kernel[0], g.kernel[1]];
    if sizes.contains(&0) || g.input_pixels() == 0 || g.output_pixels() == 0 {
        return None;
    }
    let kernel = Convolution {
        geometry,
        adjoint,
        tables: Tables::new(g)?,
    };
    let [x, weight] = [x, weight].map(|tensor| tensor.clone().into_dispatch());
    match bias {
        Some(bias) => run(&kernel, [x, weight, bias.clone().into_dispatch()]),
        None => run(&kernel, [x, weight]),
    }
}

/// Which tensors follow the maps as the second and third input of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gains {
    None,
    Channel,
    Sample,
}

impl Gains {
    fn of<'a>(self, inputs: &'a [FlexTensor]) -> Gain<'a> {
        match (self, inputs) {
            (Self::Channel, [gain, shift]) => Gain::Channel(values(gain), values(shift)),
            (Self::Sample, [gain, shift]) => Gain::Sample(values(gain), values(shift)),
            _ => Gain::None,
        }
    }

    /// From every plane's gradients of gain and shift to the tensors'.
    fn gradient(self, which: usize, planes: &[[f32; 2]], channels: usize) -> FlexTensor {
        match self {
            Self::Sample => {
                let mut out = Buffer::new(planes.len());
                for (out, plane) in out.iter_mut().zip(planes) {
                    *out = plane[which];
                }
                out.into_tensor([planes.len() / channels, channels])
            }
            Self::None | Self::Channel => {
                let mut out = Buffer::new(channels);
                out.fill(0.0);
                for sample in planes.chunks_exact(channels) {
                    for (out, plane) in out.iter_mut().zip(sample) {
                        *out += plane[which];
                    }
                }
                out.into_tensor([channels])
            }
        }
    }
}

/// Instance normalisation between two leaky ReLUs.
#[derive(Clone, Debug)]
struct InstanceNorm {
    norm: Norm,
    gains: Gains,
}

/// Every plane's mean and inverse standard deviation.
type Statistics = Arc<Vec<[f32; 2]>>;

impl<const N: usize> Kernel<N> for InstanceNorm {
    type Saved = Statistics;

    fn forward(&self, inputs: &[FlexTensor; N]) -> (FlexTensor, Statistics) {
        let dims: [usize; 4] = inputs[0].shape().dims();
        let [batch, channels, h, w] = dims;
        let x = values(&inputs[0]);
        let mut y = Buffer::new(x.len());
        let mut statistics = vec![[0.0; 2]; batch * channels];
        norm::forward(
            Level::detect(),
            &self.norm,
            self.gains.of(&inputs[1..]),
            [channels, h * w],
            x,
            &mut y,
            &mut statistics,
        );
        (y.into_tensor(dims), Arc::new(statistics))
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        saved: Statistics,
        gradient: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let dims: [usize; 4] = inputs[0].shape().dims();
        let [batch, channels, h, w] = dims;
        let x = values(&inputs[0]);
        let mut dx = Buffer::new(x.len());
        let mut planes = vec![[0.0; 2]; batch * channels];
        norm::backward(
            Level::detect(),
            &self.norm,
            self.gains.of(&inputs[1..]),
            [channels, h * w],
            &saved,
            [x, values(gradient)],
            &mut dx,
            &mut planes,
        );
        let mut dx = Some(dx);
        std::array::from_fn(|input| {
            if !wanted[input] {
                return None;
            }
            match input {
                0 => dx.take().map(|dx| dx.into_tensor(dims)),
                _ => Some(self.gains.gradient(input - 1, &planes, channels)),
            }
        })
    }
}

/// The normalisations of [`crate::norm`], or `None` where the kernels do not apply.
pub(crate) fn instance_norm(
    x: &Tensor<4>,
    norm: Norm,
    gains: Gains,
    gain_and_shift: Option<[DispatchTensor; 2]>,
) -> Option<Tensor<4>> {
    if x.dims().contains(&0) {
        return None;
    }
    let kernel = InstanceNorm { norm, gains };
    let x = x.clone().into_dispatch();
    match gain_and_shift {
        Some([gain, shift]) => run(&kernel, [x, gain, shift]),
        None => run(&kernel, [x]),
    }
}
