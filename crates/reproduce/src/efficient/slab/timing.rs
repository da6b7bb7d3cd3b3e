//! What folding and linear attention save.

use super::{Experiment, LAYER, LINEAR, Outcome, PROGRESSIVE};
use crate::{Context, efficient::common::medians};
use burn::tensor::{Device, Distribution, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_efficient::slab::{AttentionKind, Classifier, DeitConfig, NormKind, SlabDeit};
use menagerie_train::initialise;

/// Passes of which the median counts.
const PASSES: usize = 15;
/// Images of a pass.
const IMAGES: usize = 32;

/// Seconds of a pass over a batch.
pub(super) struct Times {
    /// The network with layer normalisation, the folded one, and the folded one with linear
    /// attention.
    pub trained: [f64; 3],
    /// The same three of a patch for each pixel, 784 tokens, with new weights.
    pub many: [f64; 3],
    /// Images of a pass.
    pub images: [usize; 2],
}

/// Times trained networks, and new ones with many tokens.
pub(super) fn measure(
    experiment: &Experiment,
    outcomes: &[Outcome],
    context: &Context,
) -> Result<Times> {
    let device = &context.device;
    let trained = |name: &str| -> Result<&SlabDeit> {
        let found = outcomes.iter().find(|outcome| outcome.arm.name == name);
        found
            .and_then(|outcome| outcome.model.as_ref())
            .ok_or_else(|| Error::other("timing networks", format!("there is no {name}")))
    };
    let networks = [
        trained(LAYER)?.clone(),
        trained(PROGRESSIVE)?.fold()?,
        trained(LINEAR)?.fold()?,
    ];
    let few = time(&networks, IMAGES, &experiment.linear, device)?;

    // A patch of a pixel: as many tokens as pixels.
    let side = experiment.linear.image.min(28);
    let mut config = experiment.linear.clone();
    (config.image, config.patch) = (side, 1);
    let fine = |kind: NormKind, attention: AttentionKind| -> Result<SlabDeit> {
        let mut config = config.clone().with_attention(attention);
        config.norm.kind = kind;
        initialise(device, Seed(0), || config.init(device))
    };
    let networks = [
        fine(NormKind::Layer, AttentionKind::Softmax)?,
        fine(NormKind::RepBatch, AttentionKind::Softmax)?.fold()?,
        fine(NormKind::RepBatch, AttentionKind::Linear)?.fold()?,
    ];
    let many = time(&networks, 2, &config, device)?;
    Ok(Times {
        trained: few,
        many,
        images: [IMAGES, 2],
    })
}

/// The median of every network.
fn time<const N: usize>(
    networks: &[SlabDeit; N],
    images: usize,
    config: &DeitConfig,
    device: &Device,
) -> Result<[f64; N]> {
    let shape = [images, config.channels, config.image, config.image];
    let images = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), device);
    let passes: Vec<Box<dyn Fn() -> Result<()> + '_>> = networks
        .iter()
        .map(|network| {
            let images = images.clone();
            let pass = move || {
                drop(network.forward(images.clone())?.into_data());
                Ok(())
            };
            Box::new(pass) as Box<dyn Fn() -> Result<()>>
        })
        .collect();
    let passes: Vec<&dyn Fn() -> Result<()>> = passes.iter().map(AsRef::as_ref).collect();
    let medians = medians(PASSES, &passes)?;
    medians
        .try_into()
        .map_err(|_| Error::other("timing networks", "some are missing"))
}
