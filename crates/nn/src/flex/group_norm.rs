//! Group normalisation.

use super::norm::Gains;
use super::{Kernel, run, values};
use crate::kernel::group_norm::{self, Shape};
use crate::kernel::micro::Level;
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensor, TensorMetadata};
use burn::tensor::Tensor;
use std::sync::Arc;

/// Group normalisation and perhaps SiLU; inputs are the maps, gain and shift.
#[derive(Clone, Debug)]
struct GroupNorm {
    groups: usize,
    epsilon: f32,
    activated: bool,
    gains: Gains,
}

impl GroupNorm {
    fn shape(&self, [_, channels, h, w]: [usize; 4]) -> Shape {
        Shape {
            channels: channels / self.groups,
            pixels: h * w,
            groups: self.groups,
            epsilon: self.epsilon,
            activated: self.activated,
        }
    }
}

impl Kernel<3> for GroupNorm {
    /// Every group's mean and inverse standard deviation.
    type Saved = Arc<Vec<[f32; 2]>>;

    fn forward(&self, inputs: &[FlexTensor; 3], _keep: bool) -> (FlexTensor, Self::Saved) {
        let dims: [usize; 4] = inputs[0].shape().dims();
        let x = values(&inputs[0]);
        let mut y = Buffer::new(x.len());
        let mut statistics = vec![[0.0; 2]; dims[0] * self.groups];
        group_norm::forward(
            Level::detect(),
            &self.shape(dims),
            self.gains.of(&inputs[1..]),
            x,
            &mut y,
            &mut statistics,
        );
        (y.into_tensor(dims), Arc::new(statistics))
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 3],
        saved: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let dims @ [batch, channels, _, _]: [usize; 4] = inputs[0].shape().dims();
        let x = values(&inputs[0]);
        let mut dx = Buffer::new(x.len());
        let mut planes = vec![[0.0; 2]; batch * channels];
        group_norm::backward(
            Level::detect(),
            &self.shape(dims),
            self.gains.of(&inputs[1..]),
            &saved,
            [x, values(gradient)],
            &mut dx,
            &mut planes,
        );
        let gains = |which: usize| self.gains.gradient(which, &planes, channels);
        [
            wanted[0].then(|| dx.into_tensor(dims)),
            wanted[1].then(|| gains(0)),
            wanted[2].then(|| gains(1)),
        ]
    }
}

/// The normalisation of [`crate::group_norm`], or `None` where the kernel does not apply.
pub(crate) fn group_norm(
    x: Tensor<4>,
    groups: usize,
    epsilon: f64,
    activated: bool,
    gains: Gains,
    [gain, shift]: [DispatchTensor; 2],
) -> Option<Tensor<4>> {
    if x.dims().contains(&0) {
        return None;
    }
    let kernel = GroupNorm {
        groups,
        epsilon: epsilon as f32,
        activated,
        gains,
    };
    run(&kernel, [x.into_dispatch(), gain, shift])
}
