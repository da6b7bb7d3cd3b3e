//! Magnitudes of the short-time Fourier transform.

use super::{Kernel, run, values};
use crate::kernel::micro::Level;
use crate::kernel::stft::Transform;
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use realfft::num_complex::Complex32;
use std::sync::Arc;

impl Kernel<1> for Transform {
    type Saved = Arc<[Complex32]>;

    fn forward(&self, inputs: &[FlexTensor; 1], keep: bool) -> (FlexTensor, Self::Saved) {
        let mut out = Buffer::new(self.spectra());
        let (level, x) = (Level::detect(), values(&inputs[0]));
        let mut spectra = vec![Complex32::ZERO; if keep { self.spectra() } else { 0 }];
        let kept = keep.then_some(&mut spectra[..]);
        self.magnitudes(level, x, kept, &mut out);
        let dims = [self.batch, self.frequencies(), self.frames];
        (out.into_tensor(dims), spectra.into())
    }

    fn backward(
        &self,
        _: &[FlexTensor; 1],
        spectra: Self::Saved,
        gradient: &FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let mut out = Buffer::new(self.batch * self.len);
        self.gradient(Level::detect(), &spectra, values(gradient), &mut out);
        [Some(out.into_tensor([self.batch, self.len]))]
    }
}

/// [`crate::stft::stft_magnitude`]; `None` where the kernel does not apply.
pub(crate) fn magnitude(x: &Tensor<2>, transform: &Transform) -> Option<Tensor<3>> {
    run(transform, [x.clone().into_dispatch()])
}
