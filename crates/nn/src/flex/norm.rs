//! Instance normalisation.

use super::{Kernel, run, values};
use crate::kernel::micro::Level;
use crate::kernel::norm::{self, Gain, Norm};
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensor, TensorMetadata};
use burn::tensor::Tensor;
use std::sync::Arc;

/// Which tensors follow the maps as the second and third input of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gains {
    None,
    Channel,
    Sample,
}

impl Gains {
    pub(super) fn of<'a>(self, inputs: &'a [FlexTensor]) -> Gain<'a> {
        match (self, inputs) {
            (Self::Channel, [gain, shift]) => Gain::Channel(values(gain), values(shift)),
            (Self::Sample, [gain, shift]) => Gain::Sample(values(gain), values(shift)),
            _ => Gain::None,
        }
    }

    /// From every plane's gradients of gain and shift to the tensors'.
    pub(super) fn gradient(self, which: usize, planes: &[[f32; 2]], channels: usize) -> FlexTensor {
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
pub(super) type Statistics = Arc<Vec<[f32; 2]>>;

impl<const N: usize> Kernel<N> for InstanceNorm {
    type Saved = Statistics;

    fn forward(&self, inputs: &[FlexTensor; N], _keep: bool) -> (FlexTensor, Statistics) {
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
