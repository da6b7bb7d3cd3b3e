//! What is measured on a trained network.

use super::{Study, runs::EVALUATION_BATCH};
use burn::tensor::{Device, Tensor};
use menagerie_cluster::prototype_net::{Explanation, PrototypeNet, measures};
use menagerie_core::{Error, Result};
use menagerie_train::Metrics;

/// Test images that are explained: the first ones, whatever they are.
const EXPLAINED: usize = 3;

/// What came of one run.
pub(super) struct Outcome {
    /// Metrics on the training images.
    pub train: Metrics,
    /// Metrics on the test images.
    pub test: Metrics,
    /// Test accuracy by epoch.
    pub accuracy: Vec<(f64, f64)>,
    /// R1 on the training batches by epoch; empty without prototypes.
    pub r1: Vec<(f64, f64)>,
    /// `None` for the network without prototypes.
    pub prototypes: Option<Prototypes>,
}

/// How the prototypes turned out.
pub(super) struct Prototypes {
    /// [`measures::realism_ratio`] on the training images.
    pub realism: f64,
    /// Share of prototypes whose most negative weight is at the class of the nearest training
    /// image.
    pub agreement: f64,
    /// Classes with such a prototype, and classes with several.
    pub cover: (usize, usize),
    pub gallery: Option<Gallery>,
}

/// What is shown of a network.
pub(super) struct Gallery {
    /// The decoded prototypes.
    pub decoded: Vec<Vec<f32>>,
    /// The training image nearest to each.
    pub nearest: Vec<usize>,
    /// The class of that image.
    pub depicted: Vec<usize>,
    /// The class that each prototype speaks for.
    pub claimed: Vec<usize>,
    /// The classifier's weights, a row per prototype.
    pub weights: Vec<Vec<f32>>,
    /// The first test images, why they were classified as they were, and their reconstructions.
    pub explained: Vec<(usize, Explanation, Vec<f32>)>,
}

/// Measures the prototypes of `model` against the training images.
pub(super) fn prototypes(
    model: &PrototypeNet,
    study: &Study,
    device: &Device,
    pictures: bool,
) -> Result<Prototypes> {
    let images = study.train.images(device);
    let nearest: Vec<usize> = model
        .nearest_training_images(images.clone())?
        .into_iter()
        .map(|image| image.index)
        .collect();
    let depicted: Vec<usize> = nearest
        .iter()
        .map(|&index| study.train.labels()[index])
        .collect();
    let weights = model.weight_matrix()?;
    let claimed = measures::claimed_classes(&weights);
    let features = model.encode_in_batches(images, EVALUATION_BATCH)?;
    let agreeing = measures::class_agreement(&claimed, &depicted);
    let cover = measures::class_cover(&claimed, &depicted);
    let realism = measures::realism_ratio(model.prototypes.val(), features)?;
    let gallery = pictures
        .then(|| {
            let indices: Vec<usize> = (0..EXPLAINED.min(study.test.len())).collect();
            let images = study.test.batch(&indices, device)?.images;
            let reconstructed = tiles(model.reconstruct(images.clone())?)?;
            let explained = indices.into_iter().zip(model.explain(images)?);
            let explained = explained.zip(reconstructed);
            Ok::<_, Error>(Gallery {
                decoded: tiles(model.decode_prototypes())?,
                explained: explained.map(|((i, why), tile)| (i, why, tile)).collect(),
                nearest,
                depicted: depicted.clone(),
                claimed: claimed.clone(),
                weights,
            })
        })
        .transpose()?;
    Ok(Prototypes {
        realism,
        agreement: agreeing as f64 / claimed.len() as f64,
        cover,
        gallery,
    })
}

/// The images of a batch one by one.
fn tiles(images: Tensor<4>) -> Result<Vec<Vec<f32>>> {
    let [_, channels, height, width] = images.dims();
    let values = images
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::other("reading images", error))?;
    let size = channels * height * width;
    Ok(values.chunks(size).map(<[f32]>::to_vec).collect())
}
