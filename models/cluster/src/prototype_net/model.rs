//! Encoder, decoder, prototype layer and classifier.

use super::config::PrototypeNetConfig;
use burn::{
    module::{Initializer, Module, Param},
    tensor::{
        Device, Tensor,
        activation::{relu, sigmoid, softmax},
    },
};
use menagerie_core::{Error, Result};
use menagerie_nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, Padding};

const KERNEL: [usize; 2] = [3, 3];
const STRIDE: [usize; 2] = [2, 2];

/// The encoder f: 3×3 convolutions with stride 2 and TensorFlow's "SAME" padding, each with a
/// bias and a ReLU, the last one included.
#[derive(Module, Debug)]
pub struct Encoder {
    convs: Vec<Conv2d>,
}

impl Encoder {
    pub(super) fn new(config: &PrototypeNetConfig, device: &Device) -> Self {
        let sizes = config.sizes();
        let convs = layers(config)
            .enumerate()
            .map(|(layer, channels)| {
                let same = Padding::same(sizes[layer], KERNEL, STRIDE);
                let mut conv = layer_config(config, channels, same).init(device);
                conv.bias = Some(Initializer::Zeros.init([channels[1]], device));
                conv
            })
            .collect();
        Self { convs }
    }

    /// Images `[batch, channels, height, width]` to maps `[batch, maps, height', width']`, all of
    /// them at least 0.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        self.convs
            .iter()
            .fold(images, |x, conv| relu(conv.forward(x)))
    }
}

/// The decoder g: the adjoints of the encoder's convolutions in reverse order (with filters of
/// their own), each with a bias; ReLUs in between and a sigmoid at the end.
#[derive(Module, Debug)]
pub struct Decoder {
    /// The first makes the image, as the encoder's first takes it.
    convs: Vec<ConvTranspose2d>,
}

impl Decoder {
    fn new(config: &PrototypeNetConfig, device: &Device) -> Self {
        let sizes = config.sizes();
        let convs = layers(config)
            .enumerate()
            .map(|(layer, [image_side, latent_side])| {
                // The crop restores the size that the encoder's layer was given.
                let same = Padding::same(sizes[layer], KERNEL, STRIDE);
                let channels = [latent_side, image_side];
                let mut conv = layer_config(config, channels, same).init_transpose(device);
                conv.bias = Some(Initializer::Zeros.init([image_side], device));
                conv
            })
            .collect();
        Self { convs }
    }

    /// Maps `[batch, maps, height', width']` to images `[batch, channels, height, width]` in
    /// 0..1.
    pub fn forward(&self, maps: Tensor<4>) -> Tensor<4> {
        let mut x = maps;
        for (layer, conv) in self.convs.iter().enumerate().rev() {
            x = conv.forward(x);
            x = if layer > 0 { relu(x) } else { sigmoid(x) };
        }
        x
    }
}

/// Channels of the encoder's layers, `[in, out]`.
fn layers(config: &PrototypeNetConfig) -> impl Iterator<Item = [usize; 2]> + '_ {
    let inputs = std::iter::once(config.image[0]).chain(config.maps.iter().copied());
    inputs
        .zip(&config.maps)
        .map(|(input, &output)| [input, output])
}

fn layer_config(config: &PrototypeNetConfig, channels: [usize; 2], same: Padding) -> Conv2dConfig {
    Conv2dConfig::new(channels, KERNEL)
        .with_stride(STRIDE)
        .with_before(same.before)
        .with_after(same.after)
        .with_bias(false)
        .with_initializer(config.initialisation.filters())
}

/// The whole network (paper, figure 1).
#[derive(Module, Debug)]
pub struct PrototypeNet {
    /// The encoder f.
    pub encoder: Encoder,
    /// The decoder g.
    pub decoder: Decoder,
    /// The prototypes p, `[m, q]`.
    pub prototypes: Param<Tensor<2>>,
    /// The classifier W, `[m, K]`; it has no bias.
    pub classifier: Param<Tensor<2>>,
    #[module(skip)]
    config: PrototypeNetConfig,
}

/// All that the objective needs of a batch.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Latents z, `[batch, q]`, flattened channels first.
    pub features: Tensor<2>,
    /// Squared distances to the prototypes, `[batch, m]`.
    pub distances: Tensor<2>,
    /// Class scores, `[batch, K]`.
    pub logits: Tensor<2>,
    /// Decoded latents, `[batch, channels, height, width]`.
    pub reconstruction: Tensor<4>,
}

/// Why an image was classified as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Squared distance to each of the m prototypes.
    pub distances: Vec<f32>,
    /// The prototypes from the nearest to the farthest.
    pub nearest: Vec<usize>,
    /// `contributions[j][k]`, the part `d_j W_jk` of prototype j in the score of class k.
    pub contributions: Vec<Vec<f32>>,
    /// Score of each class: the sum of its contributions.
    pub logits: Vec<f32>,
    /// Softmax of the scores.
    pub probabilities: Vec<f32>,
    /// The class with the largest score.
    pub class: usize,
}

/// The image of a set that lies nearest to a prototype.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NearestImage {
    /// Its position in the set.
    pub index: usize,
    /// Squared distance of its latent to the prototype, not negative.
    pub distance: f32,
}

impl PrototypeNetConfig {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<PrototypeNet> {
        self.validate()?;
        let uniform = Initializer::Uniform { min: 0.0, max: 1.0 };
        Ok(PrototypeNet {
            encoder: Encoder::new(self, device),
            decoder: Decoder::new(self, device),
            prototypes: uniform.init([self.prototypes, self.features()], device),
            classifier: uniform.init([self.prototypes, self.classes], device),
            config: self.clone(),
        })
    }
}

impl PrototypeNet {
    /// What the network was built from.
    pub fn config(&self) -> &PrototypeNetConfig {
        &self.config
    }

    /// Everything about a batch of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn forward(&self, images: Tensor<4>) -> Result<Forward> {
        check_images(self.config.image, &images)?;
        Ok(self.pass(images))
    }

    /// [`forward`](Self::forward) of images that were checked.
    pub(super) fn pass(&self, images: Tensor<4>) -> Forward {
        let maps = self.encoder.forward(images);
        let features: Tensor<2> = maps.clone().flatten(1, 3);
        let distances = self.distances(features.clone());
        Forward {
            logits: self.classify(distances.clone()),
            reconstruction: self.decoder.forward(maps),
            distances,
            features,
        }
    }

    /// The latents `[batch, q]` of images `[batch, channels, height, width]`, channels first.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn encode(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        check_images(self.config.image, &images)?;
        Ok(self.encoder.forward(images).flatten(1, 3))
    }

    /// [`encode`](Self::encode) in batches of `batch` images, for large sets.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape or `batch` is 0.
    pub fn encode_in_batches(&self, images: Tensor<4>, batch: usize) -> Result<Tensor<2>> {
        if batch == 0 {
            return Err(Error::input("the batch size", batch, "must be at least 1"));
        }
        check_images(self.config.image, &images)?;
        let parts = images.split(batch, 0);
        let features: Result<Vec<_>> = parts.into_iter().map(|part| self.encode(part)).collect();
        Ok(Tensor::cat(features?, 0))
    }

    /// The images `[batch, channels, height, width]` that latents `[batch, q]` decode to.
    ///
    /// # Errors
    /// [`Error::Input`] if the latents are not of length q.
    pub fn decode(&self, features: Tensor<2>) -> Result<Tensor<4>> {
        let [batch, length] = features.dims();
        let [channels, height, width] = self.config.latent();
        if length != channels * height * width {
            let rule = format!("must be [batch, {}]", self.config.features());
            return Err(Error::input("features", features.dims(), rule));
        }
        Ok(self
            .decoder
            .forward(features.reshape([batch, channels, height, width])))
    }

    /// Squared Euclidean distances `[batch, m]` of latents `[batch, q]` to the prototypes.
    ///
    /// Computed as ‖z‖² + ‖p‖² − 2 z·p like the official code, so that a distance near 0 may come
    /// out slightly negative.
    pub fn distances(&self, features: Tensor<2>) -> Tensor<2> {
        squared_distances(features, self.prototypes.val())
    }

    /// The class scores `[batch, K]` of distances `[batch, m]`.
    pub fn classify(&self, distances: Tensor<2>) -> Tensor<2> {
        distances.matmul(self.classifier.val())
    }

    /// The class scores `[batch, K]` of images `[batch, channels, height, width]`, without
    /// decoding.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn logits(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(self.classify(self.distances(self.encode(images)?)))
    }

    /// Class probabilities `[batch, K]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn predict(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(softmax(self.logits(images)?, 1))
    }

    /// What is left of images after encoding and decoding, in their shape.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn reconstruct(&self, images: Tensor<4>) -> Result<Tensor<4>> {
        check_images(self.config.image, &images)?;
        Ok(self.decoder.forward(self.encoder.forward(images)))
    }

    /// The prototypes as images, `[m, channels, height, width]`.
    pub fn decode_prototypes(&self) -> Tensor<4> {
        let [channels, height, width] = self.config.latent();
        let maps = [self.config.prototypes, channels, height, width];
        self.decoder.forward(self.prototypes.val().reshape(maps))
    }

    /// Why each of the images `[batch, channels, height, width]` gets its class.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape.
    pub fn explain(&self, images: Tensor<4>) -> Result<Vec<Explanation>> {
        let distances = self.distances(self.encode(images)?);
        let logits = self.classify(distances.clone());
        let probabilities = rows(softmax(logits.clone(), 1))?;
        let weights = self.weight_matrix()?;
        let scored = rows(logits)?.into_iter().zip(probabilities);
        Ok(rows(distances)?
            .into_iter()
            .zip(scored)
            .map(|(distances, (logits, probabilities))| {
                let mut nearest: Vec<usize> = (0..distances.len()).collect();
                nearest.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
                let contributions = weights
                    .iter()
                    .zip(&distances)
                    .map(|(row, distance)| row.iter().map(|weight| weight * distance).collect())
                    .collect();
                let class = (0..logits.len())
                    .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
                    .unwrap_or_default();
                Explanation {
                    distances,
                    nearest,
                    contributions,
                    logits,
                    probabilities,
                    class,
                }
            })
            .collect())
    }

    /// For each prototype the nearest of the images `[n, channels, height, width]`, which are
    /// encoded in batches of 250.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured shape or there are none.
    pub fn nearest_training_images(&self, images: Tensor<4>) -> Result<Vec<NearestImage>> {
        const BATCH: usize = 250;
        check_images(self.config.image, &images)?;
        let distances = self.distances(self.encode_in_batches(images, BATCH)?);
        let (distances, indices) = distances.min_dim_with_indices(0);
        let unreadable = |error| Error::other("reading distances", error);
        let distances = distances.try_into_vec_as::<f32>().map_err(unreadable)?;
        let indices = indices.try_into_vec_as::<i64>().map_err(unreadable)?;
        Ok(indices
            .into_iter()
            .zip(distances)
            .map(|(index, distance)| NearestImage {
                index: index as usize,
                distance: distance.max(0.0),
            })
            .collect())
    }

    /// The classifier's weights, one row of K numbers per prototype. The most negative entry of a
    /// row is the class that the prototype speaks for.
    ///
    /// # Errors
    /// If the device fails.
    pub fn weight_matrix(&self) -> Result<Vec<Vec<f32>>> {
        rows(self.classifier.val())
    }
}

/// Squared Euclidean distances `[n, m]` between the rows of `a`, `[n, q]`, and `b`, `[m, q]`, as
/// ‖a‖² + ‖b‖² − 2 a·b; slightly negative where `a` and `b` all but coincide.
pub fn squared_distances(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let squares = a.clone().square().sum_dim(1) + b.clone().square().sum_dim(1).transpose();
    squares - a.matmul(b.transpose()).mul_scalar(2.0)
}

/// Refuses an empty batch and images of another shape than `image`.
pub(super) fn check_images(image: [usize; 3], images: &Tensor<4>) -> Result<()> {
    let [batch, channels, height, width] = images.dims();
    if batch > 0 && [channels, height, width] == image {
        return Ok(());
    }
    let [channels, height, width] = image;
    let rule = format!("must be [batch, {channels}, {height}, {width}] with at least one image");
    Err(Error::input("images", images.dims(), rule))
}

/// The rows of a matrix on the host.
fn rows(matrix: Tensor<2>) -> Result<Vec<Vec<f32>>> {
    let [_, columns] = matrix.dims();
    let values = matrix
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::other("reading a matrix", error))?;
    Ok(values.chunks(columns).map(<[f32]>::to_vec).collect())
}
