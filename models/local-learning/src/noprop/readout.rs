//! The embedding of labels and the way back from z to classes, which all methods share.

use super::config::{Embedding, Head, NetworkConfig};
use burn::module::{Initializer, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::softmax};
use menagerie_core::{Error, Result};

/// `W_embed` and the head `f_out`.
#[derive(Module, Debug)]
pub struct Readout {
    /// Embeddings of the classes `[classes, dim]`; without gradient where they are fixed.
    pub embed: Param<Tensor<2>>,
    /// The last z to class scores.
    pub head: Linear,
    #[module(skip)]
    config: NetworkConfig,
}

impl Readout {
    /// New embeddings and a new head. Prototypes are random until
    /// [`set_embeddings`](Self::set_embeddings).
    pub(super) fn new(config: &NetworkConfig, device: &Device) -> Self {
        let (classes, dim) = (config.classes, config.dim);
        let embed = match config.embedding {
            Embedding::OneHot => {
                Param::from_tensor(Tensor::eye(classes, device)).set_require_grad(false)
            }
            // More rows than columns cannot be orthogonal to each other.
            _ if classes <= dim => {
                Initializer::Orthogonal { gain: 1.0 }.init([classes, dim], device)
            }
            _ => {
                let std = (dim as f64).sqrt().recip();
                Initializer::Normal { mean: 0.0, std }.init([classes, dim], device)
            }
        };
        Self {
            embed,
            head: LinearConfig::new(dim, classes).init(device),
            config: config.clone(),
        }
    }

    /// What it was built from.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Whether the embeddings are trained.
    pub fn is_trained(&self) -> bool {
        self.config.embedding != Embedding::OneHot
    }

    /// The embeddings of all classes `[classes, dim]`; no gradient reaches fixed ones.
    pub fn embeddings(&self) -> Tensor<2> {
        match self.is_trained() {
            true => self.embed.val(),
            false => self.embed.val().detach(),
        }
    }

    /// Starts from other embeddings `[classes, dim]`, e.g. from [`prototypes`](super::prototypes).
    ///
    /// # Errors
    /// [`Error::Input`] if they are of another shape, or if the embeddings are one-hot.
    pub fn set_embeddings(&mut self, embeddings: Tensor<2>) -> Result<()> {
        let wanted = [self.config.classes, self.config.dim];
        if !self.is_trained() {
            let rule = "cannot replace one-hot embeddings, which are fixed";
            return Err(Error::input("embeddings", embeddings.dims(), rule));
        }
        if embeddings.dims() != wanted {
            let rule = format!("must be {wanted:?}, one row for each class");
            return Err(Error::input("embeddings", embeddings.dims(), rule));
        }
        let old = self.embed.val();
        let embeddings = embeddings
            .without_autodiff()
            .to_device(&old.device().without_autodiff());
        let embeddings = match old.is_autodiff() {
            true => Tensor::from_inner(embeddings),
            false => embeddings,
        };
        self.embed = self
            .embed
            .clone()
            .map(|_| embeddings)
            .set_require_grad(true);
        Ok(())
    }

    /// The embeddings `[batch, dim]` of classes `[batch]`.
    ///
    /// # Panics
    /// If a class does not exist.
    pub fn rows(&self, labels: Tensor<1, Int>) -> Tensor<2> {
        self.embeddings().select(0, labels)
    }

    /// The expected embedding `softmax(logits) W_embed` of class scores `[batch, classes]`:
    /// `[batch, dim]`.
    pub fn expected(&self, logits: Tensor<2>) -> Tensor<2> {
        softmax(logits, 1).matmul(self.embeddings())
    }

    /// The combination `logits W_embed` of embeddings, of any weights: `[batch, dim]`.
    pub fn combined(&self, logits: Tensor<2>) -> Tensor<2> {
        logits.matmul(self.embeddings())
    }

    /// Class scores `f_out(z)` of the linear layer, `[batch, dim]` to `[batch, classes]`.
    pub fn logits(&self, z: Tensor<2>) -> Tensor<2> {
        self.head.forward(z)
    }

    /// Scores whose softmax is the probability of each class, `[batch, dim]` to `[batch, classes]`:
    /// those of the linear layer, or for a radial head `-‖y~ - u_y‖² / 2σ²` with the expected
    /// embedding `y~ = softmax(f_out(z)) W_embed`.
    pub fn scores(&self, z: Tensor<2>) -> Tensor<2> {
        let logits = self.logits(z);
        match self.config.head {
            Head::Softmax => logits,
            Head::Radial => {
                let variance = self.config.sigma.powi(2);
                self.distances(self.expected(logits)) * (-0.5 / variance)
            }
        }
    }

    /// Squared distances of `z [batch, dim]` to each class's embedding: `[batch, classes]`.
    pub fn distances(&self, z: Tensor<2>) -> Tensor<2> {
        let embeddings = self.embeddings();
        let squares = embeddings.clone().square().sum_dim(1).transpose();
        let products = z.clone().matmul(embeddings.transpose());
        z.square().sum_dim(1) - products * 2.0 + squares
    }

    /// The class `[batch]` whose embedding is nearest to each `z [batch, dim]`.
    pub fn nearest(&self, z: Tensor<2>) -> Tensor<1, Int> {
        self.distances(z).argmin(1).squeeze_dim(1)
    }

    /// Classes as a tensor `[batch]` on `device`.
    ///
    /// # Errors
    /// [`Error::Input`] for a label that is no class.
    pub(super) fn labels(&self, labels: &[usize], device: &Device) -> Result<Tensor<1, Int>> {
        let classes = self.config.classes;
        if let Some(label) = labels.iter().find(|label| **label >= classes) {
            let rule = format!("must be below the number of classes, {classes}");
            return Err(Error::input("a label", label, rule));
        }
        let labels: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
        let count = labels.len();
        Ok(Tensor::from_data(TensorData::new(labels, [count]), device))
    }

    /// Refuses images that are not `[batch, channels, height, width]` of the configured size.
    ///
    /// # Errors
    /// [`Error::Input`] with both shapes.
    pub fn check_images(&self, images: &Tensor<4>) -> Result<()> {
        let [batch, shape @ ..] = images.dims();
        if batch == 0 || shape != self.config.image {
            let [channels, height, width] = self.config.image;
            let rule = format!("must be [batch, {channels}, {height}, {width}], of at least one");
            return Err(Error::input("the shape of images", images.dims(), rule));
        }
        Ok(())
    }

    /// Refuses a batch whose images and labels do not fit each other or the network.
    pub(super) fn check(&self, batch: &Labelled, least: usize) -> Result<()> {
        self.check_images(&batch.images)?;
        let [images, ..] = batch.images.dims();
        if images < least {
            let rule = format!("must be at least {least}, for batch normalisation");
            return Err(Error::input("the number of images", images, rule));
        }
        if batch.labels.len() != images {
            let rule = format!("must be that of the images, {images}");
            return Err(Error::input(
                "the number of labels",
                batch.labels.len(),
                rule,
            ));
        }
        Ok(())
    }
}

/// Images `[batch, channels, height, width]` with their classes, one each.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// `[batch, channels, height, width]`.
    pub images: Tensor<4>,
    /// As many.
    pub labels: Vec<usize>,
}
