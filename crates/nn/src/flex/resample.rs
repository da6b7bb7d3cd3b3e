//! Maps at twice and at half their size.

use super::{Kernel, run, values};
use crate::kernel::resample::{down, up};
use crate::memory::Buffer;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

/// Nearest-neighbour upsampling or average pooling: each the other's adjoint up to a factor.
#[derive(Clone, Debug)]
struct Resample {
    up: bool,
}

fn doubled(x: &FlexTensor, factor: f32) -> FlexTensor {
    let [batch, channels, h, w]: [usize; 4] = x.shape().dims();
    let mut y = Buffer::new(4 * batch * channels * h * w);
    up(values(x), [h, w], factor, &mut y);
    y.into_tensor([batch, channels, 2 * h, 2 * w])
}

fn halved(x: &FlexTensor, factor: f32) -> FlexTensor {
    let [batch, channels, h, w]: [usize; 4] = x.shape().dims();
    let mut y = Buffer::new(batch * channels * (h / 2) * (w / 2));
    down(values(x), [h / 2, w / 2], factor, &mut y);
    y.into_tensor([batch, channels, h / 2, w / 2])
}

impl Kernel<1> for Resample {
    type Saved = ();

    fn forward(&self, [x]: &[FlexTensor; 1], _keep: bool) -> (FlexTensor, ()) {
        match self.up {
            true => (doubled(x, 1.0), ()),
            false => (halved(x, 0.25), ()),
        }
    }

    fn backward(
        &self,
        _inputs: &[FlexTensor; 1],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        [wanted[0].then(|| match self.up {
            true => halved(gradient, 1.0),
            false => doubled(gradient, 0.25),
        })]
    }
}

/// The operations of [`crate::resample`], or `None` where the kernels do not apply.
pub(crate) fn resample(x: &Tensor<4>, up: bool) -> Option<Tensor<4>> {
    if x.dims().contains(&0) {
        return None;
    }
    run(&Resample { up }, [x.clone().into_dispatch()])
}
