//! A training step of an autoencoder without tensors.
//!
//! The networks have a few hundred to two thousand parameters and the batches 16 to 64 pixels: on any
//! device a step that is made of tensor operations is nearly all overhead. Here it is a handful of short
//! loops, which take a twentieth of the time and less. A test holds the gradients to those of
//! [`autoencoder_loss`](super::autoencoder_loss) by autodiff.

use super::model::{Autoencoder, SELU_ALPHA, SELU_SCALE};
use burn::tensor::TensorData;
use menagerie_core::{Error, Result};
use menagerie_hub::{KeyMap, StateDict};
use std::{ops::Range, path::Path};

/// Decay of Adam's first and second moment.
const BETAS: [f32; 2] = [0.9, 0.999];
/// Added to the root of the second moment (Keras' default).
const EPSILON: f32 = 1e-7;

/// Parameters, moments and gradients of an autoencoder, one layer after the other: the weight, `[in,
/// out]` row by row, then the bias.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    /// Units of the inputs and of every layer, the reconstruction last.
    widths: Vec<usize>,
    /// Layers of the encoder.
    encoder: usize,
    parameters: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    /// Updates that were made.
    time: i32,
    gradient: Vec<f32>,
    /// Inputs and outputs of all layers, `[units, batch]`.
    outputs: Vec<Vec<f32>>,
}

/// The objective of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Terms {
    /// Mean squared error.
    pub error: f64,
    /// The weighted penalty.
    pub activity: f64,
}

impl Direct {
    /// The parameters of `model`, without any update yet.
    pub(super) fn new(model: &Autoencoder) -> Result<Self> {
        let config = model.config();
        let mut widths = vec![config.inputs];
        widths.extend(&config.widths);
        widths.extend(config.widths.iter().rev().skip(1));
        widths.push(config.inputs);
        let mut direct = Self {
            encoder: config.widths.len(),
            outputs: vec![Vec::new(); widths.len()],
            parameters: Vec::new(),
            first: Vec::new(),
            second: Vec::new(),
            gradient: Vec::new(),
            time: 0,
            widths,
        };
        let values = menagerie_hub::values(model);
        for layer in 0..direct.layers() {
            for part in ["weight", "bias"] {
                let path = direct.path(layer, part);
                let data = values.get(&path).ok_or_else(|| {
                    Error::other("reading an autoencoder", format!("no parameter `{path}`"))
                })?;
                direct.parameters.extend(data.iter::<f32>());
            }
        }
        let len = direct.parameters.len();
        direct.first = vec![0.0; len];
        direct.second = vec![0.0; len];
        direct.gradient = vec![0.0; len];
        Ok(direct)
    }

    /// `model` with these parameters.
    pub(super) fn write(&self, model: Autoencoder) -> Result<Autoencoder> {
        let mut tensors = Vec::new();
        for layer in 0..self.layers() {
            let [weight, bias] = self.places(layer);
            let [inputs, outputs] = [self.widths[layer], self.widths[layer + 1]];
            let weight = TensorData::new(self.parameters[weight].to_vec(), [inputs, outputs]);
            let bias = TensorData::new(self.parameters[bias].to_vec(), [outputs]);
            tensors.push((self.path(layer, "weight"), weight));
            tensors.push((self.path(layer, "bias"), bias));
        }
        let state = StateDict::from_tensors("training", tensors);
        menagerie_hub::load(model, &state, &KeyMap::identity())
    }

    /// Values of an input.
    pub(super) fn inputs(&self) -> usize {
        self.widths[0]
    }

    /// Layers of the encoder.
    pub(super) fn encoder(&self) -> usize {
        self.encoder
    }

    /// Layers of encoder and decoder.
    pub(super) fn layers(&self) -> usize {
        self.widths.len() - 1
    }

    /// The path of a parameter in the module.
    fn path(&self, layer: usize, part: &str) -> String {
        match layer.checked_sub(self.encoder) {
            None => format!("enc.{layer}.{part}"),
            Some(layer) => format!("dec.{layer}.{part}"),
        }
    }

    /// Where weight and bias of a layer lie.
    fn places(&self, layer: usize) -> [Range<usize>; 2] {
        let size = |layer: usize| (self.widths[layer] + 1) * self.widths[layer + 1];
        let start: usize = (0..layer).map(size).sum();
        let middle = start + self.widths[layer] * self.widths[layer + 1];
        [start..middle, middle..start + size(layer)]
    }

    /// Takes up the inputs of a batch of `count` pixels, which `pixel` gives by their place.
    pub(super) fn take<'a>(&mut self, count: usize, pixel: impl Fn(usize) -> &'a [f32]) {
        let x = &mut self.outputs[0];
        x.resize(self.widths[0] * count, 0.0);
        for place in 0..count {
            for (unit, &value) in pixel(place).iter().enumerate() {
                x[unit * count + place] = value;
            }
        }
    }

    /// Takes up inputs that are outputs of another network, `[units, batch]` each, one behind the
    /// other.
    pub(super) fn join(&mut self, new: &[f32], old: &[f32]) {
        let x = &mut self.outputs[0];
        x.clear();
        x.extend_from_slice(new);
        x.extend_from_slice(old);
    }

    /// The inputs (0) or the outputs of a layer (from 1), `[units, batch]`.
    pub(super) fn outputs(&self, layer: usize) -> &[f32] {
        &self.outputs[layer]
    }

    /// The objective of the batch of `count` pixels that was taken up, and its gradient.
    pub(super) fn backward(&mut self, count: usize, penalty: f32) -> Terms {
        let inputs = self.widths[0];
        self.forward(count, self.layers());
        let scale = penalty / count as f32;
        let (mut error, mut activity) = (0.0, 0.0);
        for layer in &self.outputs[1..] {
            activity += layer
                .iter()
                .map(|value| f64::from(value.abs()))
                .sum::<f64>();
        }
        // The derivative with respect to the outputs of the layer at hand.
        let last = self.layers();
        let factor = 2.0 / (inputs * count) as f32;
        let mut slope: Vec<f32> = self.outputs[last]
            .iter()
            .zip(&self.outputs[0])
            .map(|(&y, &x)| {
                error += f64::from(y - x).powi(2);
                factor * (y - x) + scale * sign(y)
            })
            .collect();
        for layer in (0..last).rev() {
            let y = &self.outputs[layer + 1];
            for (slope, &y) in slope.iter_mut().zip(y) {
                *slope *= if layer + 1 == last {
                    y * (1.0 - y)
                } else if y > 0.0 {
                    SELU_SCALE as f32
                } else {
                    y + (SELU_SCALE * SELU_ALPHA) as f32
                };
            }
            slope = self.backward_layer(layer, count, &slope, scale);
        }
        Terms {
            error: error / (inputs * count) as f64,
            activity: activity * f64::from(penalty) / count as f64,
        }
    }

    /// Fills the outputs of the first `layers` layers for the batch of `count` pixels that was taken
    /// up.
    pub(super) fn forward(&mut self, count: usize, layers: usize) {
        for layer in 0..layers {
            let [weight, bias] = self.places(layer);
            let (weight, bias) = (&self.parameters[weight], &self.parameters[bias]);
            let (before, after) = self.outputs.split_at_mut(layer + 1);
            let (x, y) = (&before[layer], &mut after[0]);
            let units = bias.len();
            y.resize(units * count, 0.0);
            for (unit, (y, &bias)) in y.chunks_exact_mut(count).zip(bias).enumerate() {
                y.fill(bias);
                for (x, weight) in x.chunks_exact(count).zip(weight.chunks_exact(units)) {
                    let weight = weight[unit];
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y += weight * x;
                    }
                }
            }
            if layer + 1 == self.widths.len() - 1 {
                y.iter_mut().for_each(|y| *y = 1.0 / (1.0 + (-*y).exp()));
            } else {
                for y in y.iter_mut() {
                    *y = SELU_SCALE as f32
                        * if *y > 0.0 {
                            *y
                        } else {
                            SELU_ALPHA as f32 * (y.exp() - 1.0)
                        };
                }
            }
        }
    }

    /// The gradients of a layer's parameters from the derivative before its activation; gives the
    /// derivative with respect to the outputs of the layer before, its penalty included.
    fn backward_layer(
        &mut self,
        layer: usize,
        count: usize,
        slope: &[f32],
        scale: f32,
    ) -> Vec<f32> {
        let [weight_place, bias_place] = self.places(layer);
        let x = &self.outputs[layer];
        let units = self.widths[layer + 1];
        let gradient = &mut self.gradient[bias_place];
        for (gradient, slope) in gradient.iter_mut().zip(slope.chunks_exact(count)) {
            *gradient = slope.iter().sum();
        }
        let gradient = &mut self.gradient[weight_place.clone()];
        for (gradient, x) in gradient.chunks_exact_mut(units).zip(x.chunks_exact(count)) {
            for (gradient, slope) in gradient.iter_mut().zip(slope.chunks_exact(count)) {
                *gradient = slope.iter().zip(x).map(|(slope, x)| slope * x).sum();
            }
        }
        if layer == 0 {
            return Vec::new();
        }
        let weight = &self.parameters[weight_place];
        let mut before: Vec<f32> = x.iter().map(|&x| scale * sign(x)).collect();
        let rows = before
            .chunks_exact_mut(count)
            .zip(weight.chunks_exact(units));
        for (before, weight) in rows {
            for (&weight, slope) in weight.iter().zip(slope.chunks_exact(count)) {
                for (before, &slope) in before.iter_mut().zip(slope) {
                    *before += weight * slope;
                }
            }
        }
        before
    }

    /// One update by Adam as Keras computes it:
    /// `p −= rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)`.
    pub(super) fn update(&mut self, rate: f64) {
        self.time += 1;
        let [first, second] = BETAS.map(|beta| 1.0 - f64::from(beta).powi(self.time));
        let rate = (rate * second.sqrt() / first) as f32;
        let moments = self.first.iter_mut().zip(&mut self.second);
        let all = self.parameters.iter_mut().zip(&self.gradient).zip(moments);
        for ((parameter, &gradient), (first, second)) in all {
            *first += (1.0 - BETAS[0]) * (gradient - *first);
            *second += (1.0 - BETAS[1]) * (gradient * gradient - *second);
            *parameter -= rate * *first / (second.sqrt() + EPSILON);
        }
    }

    /// The first parameter that is not finite.
    pub(super) fn non_finite(&self) -> Option<f64> {
        let found = self.parameters.iter().find(|value| !value.is_finite());
        found.map(|value| f64::from(*value))
    }

    /// Writes the state as `.safetensors`.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let tensor = |name: &str, values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [values.len()]);
            (name.to_string(), data)
        };
        let tensors = [
            tensor("parameters", &self.parameters),
            tensor("first", &self.first),
            tensor("second", &self.second),
            ("time".to_string(), TensorData::new(vec![self.time], [1])),
        ];
        StateDict::from_tensors(path.display().to_string(), tensors).save_safetensors(path)
    }

    /// Takes up the state that [`save`](Self::save) wrote.
    pub(super) fn load(&mut self, path: &Path) -> Result<()> {
        let stored = StateDict::open(path)?;
        let len = self.parameters.len();
        let read = |name: &str| {
            let values: Option<Vec<f32>> = stored.get(name).map(|data| data.iter().collect());
            values
                .filter(|values| values.len() == len)
                .ok_or_else(|| Error::format(path, format!("expected `{name}` with {len} values")))
        };
        let time = stored
            .get("time")
            .and_then(|data| data.iter::<i32>().next());
        let state = [read("parameters")?, read("first")?, read("second")?];
        [self.parameters, self.first, self.second] = state;
        self.time = time.ok_or_else(|| Error::format(path, "expected `time`"))?;
        Ok(())
    }
}

/// The derivative of the absolute value, 0 at 0.
fn sign(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

#[cfg(test)]
mod tests {
    use super::super::{AutoencoderConfig, autoencoder_loss};
    use super::*;
    use burn::tensor::{Device, Distribution, Tensor};
    use menagerie_core::Seed;

    #[test]
    fn gradients_are_those_of_autodiff() {
        let device = Device::default().autodiff();
        let config = AutoencoderConfig::new(19, vec![15, 10, 5, 2]);
        let init = || config.init(&device);
        let model = menagerie_train::initialise(&device, Seed(3), init).unwrap();
        let x = Tensor::<2>::random([13, 19], Distribution::Uniform(-0.5, 1.5), &device);
        let loss = autoencoder_loss(model.activations(x.clone()), x.clone(), 0.01);
        let grads = loss.total.backward();
        let expected = menagerie_hub::gradients(&model, &grads);
        let pixels: Vec<f32> = x.into_data().iter().collect();
        let mut direct = Direct::new(&model).unwrap();
        direct.take(13, |place| &pixels[19 * place..][..19]);
        let terms = direct.backward(13, 0.01);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-5 * b.abs().max(1e-2);
        assert!(close(terms.error, loss.error.into_scalar::<f32>().into()));
        assert!(close(
            terms.activity,
            loss.activity.into_scalar::<f32>().into()
        ));
        for layer in 0..direct.layers() {
            let places = direct.places(layer);
            for (part, place) in ["weight", "bias"].into_iter().zip(places) {
                let expected: Vec<f32> = expected[&direct.path(layer, part)].iter().collect();
                let found = &direct.gradient[place];
                assert_eq!(found.len(), expected.len());
                for (a, b) in found.iter().zip(&expected) {
                    assert!(
                        close((*a).into(), (*b).into()),
                        "{layer} {part}: {a} and {b}"
                    );
                }
            }
        }
        // Parameters go out and come back.
        let back = direct.write(model.clone()).unwrap();
        assert_eq!(menagerie_hub::values(&back), menagerie_hub::values(&model));
    }

    #[test]
    fn the_first_update_is_by_the_rate() {
        let device = Device::default();
        let model = AutoencoderConfig::canonical(4).init(&device).unwrap();
        let mut direct = Direct::new(&model).unwrap();
        let before = direct.parameters.clone();
        let pixels = [0.2, 0.9, 0.4, 0.7, 0.1, 0.3, 0.8, 0.5];
        direct.take(2, |place| &pixels[4 * place..][..4]);
        direct.backward(2, 1e-4);
        direct.update(0.01);
        let after = before.iter().zip(&direct.parameters).zip(&direct.gradient);
        for ((before, after), gradient) in after {
            // m / √v is ±1 but for ε, which Keras adds to a root that is 0.03 of its corrected size.
            let expected = 0.01 * gradient / (gradient.abs() + 1e-7 / 0.001_f32.sqrt());
            assert!((before - after - expected).abs() < 1e-5, "{gradient}");
        }
    }
}
