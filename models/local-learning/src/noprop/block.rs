//! The networks of a block (figure 6).

use super::config::{Embedding, NetworkConfig};
use super::layers::{ImagePath, Mode, RowNorm};
use super::schedule::time_embedding;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation::relu};

fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs).init(device)
}

/// Linear layers on a noised label, the last two beside a shortcut.
#[derive(Module, Debug)]
pub struct DenseLabel {
    /// Before the shortcut.
    pub fc1: Linear,
    /// After `fc1`.
    pub bn1: RowNorm,
    /// Beside the shortcut.
    pub fc2: Linear,
    /// After `fc2`.
    pub bn2: RowNorm,
    /// Beside the shortcut.
    pub fc3: Linear,
    /// After `fc3`.
    pub bn3: RowNorm,
}

impl DenseLabel {
    fn new(config: &NetworkConfig, device: &Device) -> Self {
        let (norm, fc) = (|| RowNorm::new(config.fc, device), config.fc);
        Self {
            fc1: linear(config.dim, fc, device),
            bn1: norm(),
            fc2: linear(fc, fc, device),
            bn2: norm(),
            fc3: linear(fc, fc, device),
            bn3: norm(),
        }
    }

    /// `[batch, dim]` to `[batch, fc]`.
    fn forward(&self, z: Tensor<2>, mode: Mode) -> Tensor<2> {
        let h = relu(self.bn1.forward(self.fc1.forward(z), mode));
        let inner = relu(self.bn2.forward(self.fc2.forward(h.clone()), mode));
        h + self.bn3.forward(self.fc3.forward(inner), mode)
    }
}

/// The path of a noised label in discrete time.
#[derive(Module, Debug)]
pub enum DtLabel {
    /// Of an embedding.
    Dense(DenseLabel),
    /// Of an embedding that is an image.
    Image(ImagePath),
}

/// The path of a noised label in continuous time.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one in a model, next to megabytes of weights"
)]
pub enum ContinuousLabel {
    /// Of an embedding.
    Dense(Linear),
    /// Of an embedding that is an image.
    Image(ImagePath),
}

/// `z [batch, dim]` as images.
fn pictures(z: Tensor<2>, [channels, height, width]: [usize; 3]) -> Tensor<4> {
    let [batch, _] = z.dims();
    z.reshape([batch, channels, height, width])
}

/// A block in discrete time (figure 6, left): from an image and a noised label to class scores.
#[derive(Module, Debug)]
pub struct DtBlock {
    /// On the image.
    pub image: ImagePath,
    /// On the noised label.
    pub label: DtLabel,
    /// On both.
    pub fuse1: Linear,
    /// After `fuse1`.
    pub bn1: RowNorm,
    /// Narrower.
    pub fuse2: Linear,
    /// After `fuse2`.
    pub bn2: RowNorm,
    /// To class scores.
    pub out: Linear,
    size: [usize; 3],
}

impl DtBlock {
    pub(super) fn new(config: &NetworkConfig, device: &Device) -> Self {
        Self {
            image: ImagePath::new(config, true, device),
            label: match config.embedding {
                Embedding::Prototype => DtLabel::Image(ImagePath::new(config, true, device)),
                _ => DtLabel::Dense(DenseLabel::new(config, device)),
            },
            fuse1: linear(2 * config.fc, config.fc, device),
            bn1: RowNorm::new(config.fc, device),
            fuse2: linear(config.fc, config.fc2, device),
            bn2: RowNorm::new(config.fc2, device),
            out: linear(config.fc2, config.classes, device),
            size: config.image,
        }
    }

    /// Images `[batch, channels, height, width]` and noised labels `[batch, dim]` to class scores
    /// `[batch, classes]`.
    ///
    /// # Panics
    /// If the shapes do not fit the network.
    pub fn forward(&self, images: Tensor<4>, z: Tensor<2>, mode: Mode) -> Tensor<2> {
        let image = self.image.forward(images, mode.stream("image"));
        let mode = mode.stream("label");
        let label = match &self.label {
            DtLabel::Dense(path) => path.forward(z, mode),
            DtLabel::Image(path) => path.forward(pictures(z, self.size), mode),
        };
        let x = Tensor::cat(vec![image, label], 1);
        let x = relu(self.bn1.forward(self.fuse1.forward(x), mode));
        let x = relu(self.bn2.forward(self.fuse2.forward(x), mode));
        self.out.forward(x)
    }
}

/// The block in continuous time and for flow matching (figure 6, right), without normalisation: from
/// an image, a noised label and a time to class scores.
#[derive(Module, Debug)]
pub struct ContinuousBlock {
    /// On the image.
    pub image: ImagePath,
    /// On the noised label.
    pub label: ContinuousLabel,
    /// On the embedding of time.
    pub time: Linear,
    /// On the three.
    pub fuse1: Linear,
    /// Narrower.
    pub fuse2: Linear,
    /// To class scores.
    pub out: Linear,
    size: [usize; 3],
}

impl ContinuousBlock {
    pub(super) fn new(config: &NetworkConfig, time_dim: usize, device: &Device) -> Self {
        let fc = config.fc;
        Self {
            image: ImagePath::new(config, false, device),
            label: match config.embedding {
                Embedding::Prototype => {
                    ContinuousLabel::Image(ImagePath::new(config, false, device))
                }
                _ => ContinuousLabel::Dense(linear(config.dim, fc, device)),
            },
            time: linear(time_dim, fc, device),
            fuse1: linear(3 * fc, fc, device),
            fuse2: linear(fc, config.fc2, device),
            out: linear(config.fc2, config.classes, device),
            size: config.image,
        }
    }

    /// What the image path makes of images `[batch, channels, height, width]`: `[batch, fc]`. It is
    /// the same at all times.
    pub fn features(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.image.forward(images, mode.stream("image"))
    }

    /// The image's features `[batch, fc]`, noised labels `[batch, dim]` and times `[batch]` to class
    /// scores `[batch, classes]`.
    ///
    /// # Panics
    /// If the shapes do not fit the network.
    pub fn scores(
        &self,
        features: Tensor<2>,
        z: Tensor<2>,
        times: Tensor<1>,
        mode: Mode,
    ) -> Tensor<2> {
        let label = match &self.label {
            ContinuousLabel::Dense(path) => relu(path.forward(z)),
            ContinuousLabel::Image(path) => {
                path.forward(pictures(z, self.size), mode.stream("label"))
            }
        };
        let [width, _] = self.time.weight.dims();
        let time = relu(self.time.forward(time_embedding(times, width)));
        let x = Tensor::cat(vec![features, label, time], 1);
        let x = relu(self.fuse1.forward(x));
        self.out.forward(relu(self.fuse2.forward(x)))
    }

    /// [`features`](Self::features), then [`scores`](Self::scores).
    ///
    /// # Panics
    /// If the shapes do not fit the network.
    pub fn forward(
        &self,
        images: Tensor<4>,
        z: Tensor<2>,
        times: Tensor<1>,
        mode: Mode,
    ) -> Tensor<2> {
        let features = self.features(images, mode);
        self.scores(features, z, times, mode)
    }
}
