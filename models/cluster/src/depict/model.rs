//! The clustering autoencoder.

use super::{
    config::{DepictConfig, STRIDE},
    masks::Masks,
};
use burn::{
    module::{Initializer, Module},
    nn::{Linear, LinearConfig},
    tensor::{
        Device, Tensor, TensorData,
        activation::{leaky_relu, log_softmax, softmax},
    },
};
use menagerie_core::{Error, Result};
use menagerie_nn::{
    conv::{Conv2d, Conv2dConfig, ConvTranspose2d},
    pointwise::tanh,
};

/// Slope of the leaky ReLUs for negative values.
const SLOPE: f64 = 0.01;

/// Images that are computed at a time for a whole set.
const BATCH: usize = 500;

/// The network. Its layers have the names of the fixtures.
#[derive(Module, Debug)]
pub struct Depict {
    /// Image to maps.
    pub conv1: Conv2d,
    /// Maps to maps.
    pub conv2: Conv2d,
    /// Flattened maps to the embedding z, `[maps · height · width, K]`.
    pub fc_enc: Linear,
    /// Embedding to flattened maps, `[K, maps · height · width]`.
    pub fc_dec: Linear,
    /// The counterpart of `conv2`.
    pub deconv1: ConvTranspose2d,
    /// The counterpart of `conv1`.
    pub deconv0: ConvTranspose2d,
    /// Embedding to the scores of the clusters, Θ `[K, K]` and b `[K]`.
    pub cluster: Linear,
    #[module(skip)]
    config: DepictConfig,
}

/// What the encoder makes of images, after activations.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// e₁, `[batch, maps₁, height₁, width₁]`, before dropout.
    pub first: Tensor<4>,
    /// e₂, `[batch, maps₂, height₂, width₂]`, before dropout.
    pub second: Tensor<4>,
    /// z, `[batch, K]`, in -1..1.
    pub embedding: Tensor<2>,
}

/// What the decoder makes of embeddings, after activations.
#[derive(Clone, Debug)]
pub struct Decoding {
    /// r₂, in the shape of e₂.
    pub second: Tensor<4>,
    /// r₁, in the shape of e₁.
    pub first: Tensor<4>,
    /// x̂, `[batch, channels, height, width]`, in -1..1.
    pub image: Tensor<4>,
}

impl DepictConfig {
    /// A network with freshly drawn weights: Glorot-uniform, biases 0. The softmax layer is drawn
    /// likewise; training sets it from an initial clustering.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Depict> {
        self.validate()?;
        let [channels, ..] = self.image;
        let [first, second] = self.maps;
        let flat = self.latent().iter().product();
        Ok(Depict {
            conv1: self.conv(0, [channels, first], device),
            conv2: self.conv(1, [first, second], device),
            fc_enc: linear([flat, self.clusters], device),
            fc_dec: linear([self.clusters, flat], device),
            deconv1: self.deconv(1, [second, first], device),
            deconv0: self.deconv(0, [first, channels], device),
            cluster: linear([self.clusters; 2], device),
            config: self.clone(),
        })
    }

    fn layer(&self, layer: usize, channels: [usize; 2]) -> Conv2dConfig {
        Conv2dConfig::new(channels, [self.kernels[layer]; 2])
            .with_stride(STRIDE)
            .with_padding(self.padding[layer])
            .with_initializer(Initializer::XavierUniform { gain: 1.0 })
            .with_bias(false)
    }

    fn conv(&self, layer: usize, channels: [usize; 2], device: &Device) -> Conv2d {
        let mut conv = self.layer(layer, channels).init(device);
        conv.bias = Some(Initializer::Zeros.init([channels[1]], device));
        conv
    }

    fn deconv(&self, layer: usize, channels: [usize; 2], device: &Device) -> ConvTranspose2d {
        let mut conv = self.layer(layer, channels).init_transpose(device);
        conv.bias = Some(Initializer::Zeros.init([channels[1]], device));
        conv
    }
}

fn linear([inputs, outputs]: [usize; 2], device: &Device) -> Linear {
    let mut layer = LinearConfig::new(inputs, outputs)
        .with_initializer(Initializer::XavierUniform { gain: 1.0 })
        .with_bias(false)
        .init(device);
    layer.bias = Some(Initializer::Zeros.init([outputs], device));
    layer
}

impl Depict {
    /// What the network was built from.
    pub fn config(&self) -> &DepictConfig {
        &self.config
    }

    /// The maps e₁ and e₂ of images `[batch, channels, height, width]`; with masks those of the
    /// noisy path.
    ///
    /// # Panics
    /// If the images or the masks are not of the configured shape; see
    /// [`encode`](Self::encode).
    pub fn maps(&self, images: Tensor<4>, masks: Option<&Masks>) -> [Tensor<4>; 2] {
        let images = drop_out(images, masks.and_then(|masks| masks.input.as_ref()));
        let first = self.conv1.forward_leaky_relu(images, SLOPE);
        let passed = drop_out(first.clone(), masks.and_then(|masks| masks.first.as_ref()));
        let second = self.conv2.forward_leaky_relu(passed, SLOPE);
        [first, second]
    }

    /// Everything that the encoder computes for images `[batch, channels, height, width]`: the clean
    /// path, or with masks the noisy one.
    ///
    /// # Panics
    /// If the images or the masks are not of the configured shape; see
    /// [`encode`](Self::encode).
    pub fn encoding(&self, images: Tensor<4>, masks: Option<&Masks>) -> Encoding {
        let [first, second] = self.maps(images, masks);
        let passed = drop_out(
            second.clone(),
            masks.and_then(|masks| masks.second.as_ref()),
        );
        let embedding = tanh(self.fc_enc.forward(passed.flatten::<2>(1, 3)));
        Encoding {
            first,
            second,
            embedding,
        }
    }

    /// Everything that the decoder computes for embeddings `[batch, K]`.
    ///
    /// # Panics
    /// If the embeddings are not of length K; see [`decode`](Self::decode).
    pub fn decoding(&self, embedding: Tensor<2>) -> Decoding {
        let [batch, _] = embedding.dims();
        let [maps, height, width] = self.config.latent();
        let second = leaky_relu(self.fc_dec.forward(embedding), SLOPE);
        let second = second.reshape([batch, maps, height, width]);
        let first = self.deconv1.forward_leaky_relu(second.clone(), SLOPE);
        let image = tanh(self.deconv0.forward(first.clone()));
        Decoding {
            second,
            first,
            image,
        }
    }

    /// The scores `[batch, K]` that the softmax layer gives embeddings `[batch, K]`.
    pub fn scores(&self, embedding: Tensor<2>) -> Tensor<2> {
        self.cluster.forward(embedding)
    }

    /// Embeddings z `[batch, K]` of images `[batch, channels, height, width]` in -1..1, without
    /// noise.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn encode(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        self.check(&images)?;
        Ok(self.encoding(images, None).embedding)
    }

    /// The images `[batch, channels, height, width]` that embeddings `[batch, K]` decode to.
    ///
    /// # Errors
    /// [`Error::Input`] if the embeddings are not of length K.
    pub fn decode(&self, embedding: Tensor<2>) -> Result<Tensor<4>> {
        let [_, length] = embedding.dims();
        if length != self.config.clusters {
            let rule = format!("must be [batch, {}]", self.config.clusters);
            return Err(Error::input("embeddings", embedding.dims(), rule));
        }
        Ok(self.decoding(embedding).image)
    }

    /// What is left of images after encoding and decoding, in their shape.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn reconstruct(&self, images: Tensor<4>) -> Result<Tensor<4>> {
        Ok(self.decoding(self.encode(images)?).image)
    }

    /// The probability of each cluster, `[batch, K]`, for images `[batch, channels, height, width]`
    /// in -1..1.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn probabilities(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(softmax(self.scores(self.encode(images)?), 1))
    }

    /// The logarithms of [`probabilities`](Self::probabilities).
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn log_probabilities(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(log_softmax(self.scores(self.encode(images)?), 1))
    }

    /// The cluster of each image of `[n, channels, height, width]`: the most probable one. Computes
    /// 500 images at a time.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape; whatever the device reports.
    pub fn assign(&self, images: Tensor<4>) -> Result<Vec<usize>> {
        self.check(&images)?;
        let mut labels = Vec::with_capacity(images.dims()[0]);
        for part in images.split(BATCH, 0) {
            let scores = self.scores(self.encode(part)?);
            let read = scores.argmax(1).try_into_vec_as::<i64>();
            let read = read.map_err(|error| Error::other("reading clusters", error))?;
            labels.extend(read.into_iter().map(|label| label as usize));
        }
        Ok(labels)
    }

    /// The network, without autodiff, with this softmax layer: `weight` is `[K, K]`, a column for each
    /// cluster, row by row; b becomes 0.
    ///
    /// # Errors
    /// [`Error::Input`] if the weight is not of K × K values.
    pub fn with_head(&self, weight: Vec<f32>) -> Result<Self> {
        let clusters = self.config.clusters;
        if weight.len() != clusters * clusters {
            let rule = format!("must be {clusters} x {clusters}");
            let what = "the number of weights of the softmax layer";
            return Err(Error::input(what, weight.len(), rule));
        }
        let mut model = self.valid();
        let data = TensorData::new(weight, [clusters; 2]);
        let head = model.cluster;
        model.cluster = Linear {
            weight: head
                .weight
                .map(|old| Tensor::from_data(data, &old.device())),
            bias: head.bias.map(|bias| bias.map(|old| old.zeros_like())),
        };
        Ok(model)
    }

    /// Refuses an empty batch and images of another shape.
    pub(super) fn check(&self, images: &Tensor<4>) -> Result<()> {
        let [batch, channels, height, width] = images.dims();
        let image = self.config.image;
        if batch > 0 && [channels, height, width] == image {
            return Ok(());
        }
        let [channels, height, width] = image;
        let rule =
            format!("must be [batch, {channels}, {height}, {width}] with at least one image");
        Err(Error::input("images", images.dims(), rule))
    }
}

fn drop_out(x: Tensor<4>, mask: Option<&Tensor<4>>) -> Tensor<4> {
    match mask {
        Some(mask) => x * mask.clone(),
        None => x,
    }
}
