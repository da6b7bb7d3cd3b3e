//! The inputs of an autoencoder of a stack, computed for a batch at a time.
//!
//! The inputs of the second and third autoencoder are two to three times as many numbers as the bands
//! themselves. They are not kept: computing them for every batch takes less time than its step.

use super::{config::PASSED_ON, direct::Direct};
use rayon::prelude::*;

/// Pixels that are computed together.
const BLOCK: usize = 1 << 10;

/// The finished autoencoders before the one that is trained; none for the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    first: Option<Direct>,
    second: Option<Direct>,
}

/// What an autoencoder makes of all pixels.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// The mean squared error over all its inputs.
    pub error: f64,
    /// The codes, `[n, code]`, if they were asked for.
    pub codes: Vec<f32>,
}

impl Before {
    /// Before the second autoencoder.
    pub(super) fn second(first: Direct) -> Self {
        Self {
            first: Some(first),
            second: None,
        }
    }

    /// Before the third.
    pub(super) fn third(self, second: Direct) -> Self {
        Self {
            second: Some(second),
            ..self
        }
    }

    /// Values of a pixel, where `inputs` are those of the autoencoder that is trained.
    pub(super) fn bands(&self, inputs: usize) -> usize {
        self.first.as_ref().map_or(inputs, Direct::inputs)
    }

    /// Hands `to` its inputs for `count` pixels, which `pixel` gives by their place.
    pub(super) fn feed<'a>(
        &mut self,
        count: usize,
        pixel: impl Fn(usize) -> &'a [f32],
        to: &mut Direct,
    ) {
        let Some(first) = &mut self.first else {
            return to.take(count, pixel);
        };
        first.take(count, pixel);
        first.forward(count, first.layers());
        let (rebuilt, bands) = (first.outputs(first.layers()), first.outputs(0));
        let Some(second) = &mut self.second else {
            return to.join(rebuilt, bands);
        };
        second.join(rebuilt, bands);
        // Layers are counted from the inputs here.
        let passed = PASSED_ON + 1;
        second.forward(count, passed);
        to.join(second.outputs(passed), second.outputs(0));
    }

    /// What `model` makes of pixels `[n, bands]`; blocks in parallel, sums in the order of the pixels.
    pub(super) fn survey(&self, model: &Direct, pixels: &[f32], codes: bool) -> Survey {
        let bands = self.bands(model.inputs());
        let scratch = || (self.clone(), model.clone());
        let blocks = pixels.par_chunks(BLOCK * bands);
        let blocks: Vec<(f64, Vec<f32>)> = blocks
            .map_init(scratch, |(before, model), block| {
                let count = block.len() / bands;
                before.feed(count, |place| &block[place * bands..][..bands], model);
                model.forward(count, model.layers());
                let pairs = model.outputs(0).iter().zip(model.outputs(model.layers()));
                let squares = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
                let code = model.outputs(model.encoder());
                let found = match codes {
                    true => (0..count)
                        .flat_map(|place| code[place..].iter().step_by(count).copied())
                        .collect(),
                    false => Vec::new(),
                };
                (squares, found)
            })
            .collect();
        let squares: f64 = blocks.iter().map(|(squares, _)| squares).sum();
        let count = pixels.len() / bands * model.inputs();
        Survey {
            error: squares / count as f64,
            codes: blocks.into_iter().flat_map(|(_, codes)| codes).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::StackConfig;
    use super::*;
    use burn::tensor::{Device, Distribution, Tensor};
    use menagerie_core::Seed;

    #[test]
    fn inputs_codes_and_errors_are_those_of_the_stack() {
        let device = Device::default();
        let config = StackConfig::new(4);
        let stack = menagerie_train::initialise(&device, Seed(5), || config.init(&device)).unwrap();
        // More than one block, and a rest.
        let count = BLOCK + 37;
        let x = Tensor::<2>::random([count, 4], Distribution::Uniform(0.0, 1.0), &device);
        let pixels: Vec<f32> = x.clone().into_data().iter().collect();
        let pass = stack.forward(x.clone()).unwrap();
        let before = Before::second(Direct::new(&stack.ae1).unwrap());
        let last = before.clone().third(Direct::new(&stack.ae2).unwrap());
        let stages = [
            (Before::default(), &stack.ae1, x, pass.first),
            (before, &stack.ae2, pass.second_input, pass.second),
            (last, &stack.ae3, pass.third_input, pass.third),
        ];
        for (before, model, inputs, expected) in stages {
            let direct = Direct::new(model).unwrap();
            let found = before.survey(&direct, &pixels, true);
            let error = (expected.reconstruction() - inputs).square().mean();
            let error = f64::from(error.into_scalar::<f32>());
            assert!((found.error / error - 1.0).abs() < 1e-4, "{}", found.error);
            let codes: Vec<f32> = expected.code().into_data().iter().collect();
            assert_eq!(found.codes.len(), codes.len());
            for (a, b) in found.codes.iter().zip(&codes) {
                assert!((a - b).abs() < 1e-5, "{a} is not {b}");
            }
            assert!(before.survey(&direct, &pixels, false).codes.is_empty());
        }
    }
}
