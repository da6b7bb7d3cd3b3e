//! The autoencoders and the stack of three.

use super::config::{AutoencoderConfig, PASSED_ON, StackConfig};
use burn::{
    module::{Initializer, Module},
    nn::{Linear, LinearConfig},
    tensor::{
        Device, Tensor, TensorData,
        activation::{relu, sigmoid},
    },
};
use menagerie_core::{Error, Result};

/// Of SELU (Klambauer et al. 2017).
pub(super) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
pub(super) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// Pixels that are computed at a time.
const ROWS: usize = 1 << 14;

/// λ x for x > 0, λ α (eˣ − 1) otherwise.
pub fn selu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    // The exponential never sees a large number: an infinite one would spoil the gradient.
    let below = relu(x.clone().neg()).neg().exp().sub_scalar(1.0);
    (relu(x) + below.mul_scalar(SELU_ALPHA)).mul_scalar(SELU_SCALE)
}

/// A fully connected autoencoder.
#[derive(Module, Debug)]
pub struct Autoencoder {
    /// The encoder's layers.
    pub enc: Vec<Linear>,
    /// The decoder's layers.
    pub dec: Vec<Linear>,
    #[module(skip)]
    config: AutoencoderConfig,
}

/// The outputs of all layers after their activations, `[batch, units]`.
#[derive(Clone, Debug)]
pub struct Activations {
    /// Of the encoder's layers; the last one is the code.
    pub encoder: Vec<Tensor<2>>,
    /// Of the decoder's layers; the last one is the reconstruction.
    pub decoder: Vec<Tensor<2>>,
}

impl Activations {
    /// The code, `[batch, code]`.
    pub fn code(&self) -> Tensor<2> {
        // A valid autoencoder has layers on either side.
        self.encoder[self.encoder.len() - 1].clone()
    }

    /// The reconstruction, `[batch, inputs]`, in 0..1.
    pub fn reconstruction(&self) -> Tensor<2> {
        self.decoder[self.decoder.len() - 1].clone()
    }
}

/// Layers between these widths, Glorot-uniform, biases 0.
fn layers(widths: &[usize], device: &Device) -> Vec<Linear> {
    let pairs = widths.windows(2);
    pairs
        .map(|pair| {
            let mut layer = LinearConfig::new(pair[0], pair[1])
                .with_initializer(Initializer::XavierUniform { gain: 1.0 })
                .with_bias(false)
                .init(device);
            layer.bias = Some(Initializer::Zeros.init([pair[1]], device));
            layer
        })
        .collect()
}

impl AutoencoderConfig {
    /// An autoencoder with freshly drawn weights: Glorot-uniform kernels, biases 0, as Keras draws
    /// them.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Autoencoder> {
        self.validate()?;
        let mut widths = vec![self.inputs];
        widths.extend(&self.widths);
        let enc = layers(&widths, device);
        widths.reverse();
        Ok(Autoencoder {
            enc,
            dec: layers(&widths, device),
            config: self.clone(),
        })
    }
}

impl Autoencoder {
    /// What the autoencoder was built from.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// All activations for inputs `[batch, inputs]`.
    ///
    /// # Panics
    /// If the inputs are not of the configured length; see [`encode`](Self::encode).
    pub fn activations(&self, x: Tensor<2>) -> Activations {
        let encoder = self.encoder(x);
        let mut h = encoder[encoder.len() - 1].clone();
        let mut decoder = Vec::with_capacity(self.dec.len());
        for (layer, linear) in self.dec.iter().enumerate() {
            h = linear.forward(h);
            h = if layer + 1 < self.dec.len() {
                selu(h)
            } else {
                sigmoid(h)
            };
            decoder.push(h.clone());
        }
        Activations { encoder, decoder }
    }

    /// The activations of the encoder's layers.
    fn encoder(&self, x: Tensor<2>) -> Vec<Tensor<2>> {
        let mut h = x;
        let mut outputs = Vec::with_capacity(self.enc.len());
        for linear in &self.enc {
            h = selu(linear.forward(h));
            outputs.push(h.clone());
        }
        outputs
    }

    /// The codes `[batch, code]` of inputs `[batch, inputs]` in 0..1.
    ///
    /// # Errors
    /// [`Error::Input`] if the inputs are not of the configured length.
    pub fn encode(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        self.check(&x)?;
        let mut outputs = self.encoder(x);
        Ok(outputs.swap_remove(self.enc.len() - 1))
    }

    /// The output of encoder layer `layer`, from 0, `[batch, units]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the inputs are not of the configured length or there is no such layer.
    pub fn encoder_layer(&self, x: Tensor<2>, layer: usize) -> Result<Tensor<2>> {
        self.check(&x)?;
        if layer >= self.enc.len() {
            let rule = format!("must be below {}", self.enc.len());
            return Err(Error::input("the encoder layer", layer, rule));
        }
        let mut outputs = self.encoder(x);
        Ok(outputs.swap_remove(layer))
    }

    /// What is left of inputs after encoding and decoding, `[batch, inputs]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the inputs are not of the configured length.
    pub fn reconstruct(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        self.check(&x)?;
        Ok(self.activations(x).reconstruction())
    }

    fn check(&self, x: &Tensor<2>) -> Result<()> {
        let [batch, length] = x.dims();
        if batch > 0 && length == self.config.inputs {
            return Ok(());
        }
        let rule = format!(
            "must be [batch, {}] with at least one pixel: the network was built for as many bands",
            self.config.inputs
        );
        Err(Error::input("pixels", x.dims(), rule))
    }
}

/// Three autoencoders, each on what the ones before it leave.
#[derive(Module, Debug)]
pub struct Stack {
    /// On the bands.
    pub ae1: Autoencoder,
    /// On the first's reconstruction and the bands.
    pub ae2: Autoencoder,
    /// On the second's second encoder layer and the second's inputs.
    pub ae3: Autoencoder,
}

/// Everything that a stack computes for a batch.
#[derive(Clone, Debug)]
pub struct StackForward {
    /// Of the first autoencoder.
    pub first: Activations,
    /// Inputs of the second: `[X̂₁, X]`, `[batch, 2 D]`.
    pub second_input: Tensor<2>,
    /// Of the second autoencoder.
    pub second: Activations,
    /// Inputs of the third: `[h, X̂₁, X]`, `[batch, 2 D + units]`.
    pub third_input: Tensor<2>,
    /// Of the third autoencoder; its code is what is clustered.
    pub third: Activations,
}

impl StackConfig {
    /// A stack with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Stack> {
        self.validate()?;
        let [first, second, third] = self.stages();
        Ok(Stack {
            ae1: first.init(device)?,
            ae2: second.init(device)?,
            ae3: third.init(device)?,
        })
    }
}

impl Stack {
    /// Everything for pixels `[batch, D]` in 0..1.
    ///
    /// # Errors
    /// [`Error::Input`] if the pixels are not of D bands.
    pub fn forward(&self, bands: Tensor<2>) -> Result<StackForward> {
        self.ae1.check(&bands)?;
        let first = self.ae1.activations(bands.clone());
        let second_input = Tensor::cat(vec![first.reconstruction(), bands], 1);
        let second = self.ae2.activations(second_input.clone());
        let passed = second.encoder[PASSED_ON].clone();
        let third_input = Tensor::cat(vec![passed, second_input.clone()], 1);
        let third = self.ae3.activations(third_input.clone());
        Ok(StackForward {
            first,
            second_input,
            second,
            third_input,
            third,
        })
    }

    /// The inputs of the second autoencoder for pixels `[batch, D]`: `[batch, 2 D]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the pixels are not of D bands.
    pub fn second_input(&self, bands: Tensor<2>) -> Result<Tensor<2>> {
        let reconstruction = self.ae1.reconstruct(bands.clone())?;
        Ok(Tensor::cat(vec![reconstruction, bands], 1))
    }

    /// The inputs of the third autoencoder for those of the second.
    ///
    /// # Errors
    /// [`Error::Input`] if the inputs are not of 2 D values.
    pub fn third_input(&self, second_input: Tensor<2>) -> Result<Tensor<2>> {
        let passed = self.ae2.encoder_layer(second_input.clone(), PASSED_ON)?;
        Ok(Tensor::cat(vec![passed, second_input], 1))
    }

    /// The features `[batch, code]` of pixels `[batch, D]`: the code of the third autoencoder.
    ///
    /// # Errors
    /// [`Error::Input`] if the pixels are not of D bands.
    pub fn encode(&self, bands: Tensor<2>) -> Result<Tensor<2>> {
        self.ae3
            .encode(self.third_input(self.second_input(bands)?)?)
    }
}

/// What `compute` makes of `rows`, `[n, columns]` in host memory, a part at a time.
///
/// # Errors
/// [`Error::Input`] if the values are not whole rows; what `compute` reports.
pub fn in_parts(
    rows: &[f32],
    columns: usize,
    device: &Device,
    compute: impl Fn(Tensor<2>) -> Result<Tensor<2>>,
) -> Result<Vec<f32>> {
    if columns == 0 || !rows.len().is_multiple_of(columns) {
        let rule = format!("must be a multiple of {columns}, the values of a pixel");
        return Err(Error::input("the number of values", rows.len(), rule));
    }
    let mut out = Vec::new();
    for part in rows.chunks(ROWS * columns) {
        let data = TensorData::new(part.to_vec(), [part.len() / columns, columns]);
        let computed = compute(Tensor::from_data(data, device))?;
        let read = computed.try_into_vec_as::<f32>();
        out.extend(read.map_err(|error| Error::other("reading features", error))?);
    }
    Ok(out)
}
