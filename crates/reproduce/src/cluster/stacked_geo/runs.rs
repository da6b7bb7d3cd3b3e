//! The procedural scenes: every method on every scene, against the units.

use super::{Experiment, Method, WINDOW, reference};
use crate::{Context, jobs};
use anyhow::Context as _;
use burn::tensor::Device;
use menagerie_cluster::stacked_geo::{
    Autoencoder, AutoencoderConfig, ClassMap, Features, Fit, MinMax, Pca, Stack, StackConfig,
    StageConfig, Trained, in_parts,
};
use menagerie_core::{Result, Seed};
use menagerie_data_synthetic::{MultispectralScene, ScenesConfig};
use menagerie_nn::clustering::{Contingency, KMeansConfig, Rows};
use menagerie_train::Progress;
use std::path::Path;

/// What came of one scene.
pub(super) struct Outcome {
    /// By method, in the order of [`Method::ALL`].
    pub arms: Vec<Arm>,
    /// The mean variance of the scaled bands.
    pub variance: f64,
    /// Mean squared errors of the ordinary autoencoder and of the three of the stack.
    pub errors: Vec<f64>,
    /// The part of the last error that is beyond the reach of a sigmoid.
    pub beyond: f64,
    /// How many of their codes have collapsed.
    pub collapsed: usize,
    /// How many components hold 90 % of the variance.
    pub components: usize,
    /// Of the values of the scene.
    pub hash: String,
    /// The scene itself, of the first seed.
    pub scene: Option<MultispectralScene>,
}

/// A method on a scene.
pub(super) struct Arm {
    /// Before the majority filter.
    pub plain: Scores,
    /// After it.
    pub cleaned: Scores,
    /// The filtered map with its clusters named after the units that they are matched with.
    pub map: ClassMap,
}

/// A map against the units.
#[derive(Clone, Copy)]
pub(super) struct Scores {
    pub accuracy: f64,
    pub ari: f64,
}

impl Scores {
    fn of(units: &[usize], clusters: &[usize]) -> Result<Self> {
        let table = Contingency::new(units, clusters)?;
        Ok(Self {
            accuracy: table.accuracy(),
            ari: table.ari(),
        })
    }
}

/// Both trained networks of a scene.
pub(super) struct Networks {
    pub single: Trained<Autoencoder>,
    pub stack: Trained<Stack>,
}

/// How the networks of a scene are trained.
pub(super) fn fit<'a>(
    folder: &'a Path,
    seed: Seed,
    context: &'a Context,
    progress: &'a Progress,
) -> Fit<'a> {
    Fit {
        seed,
        folder,
        resume: context.resume,
        progress,
        device: &context.device,
    }
}

impl Networks {
    /// Trains them on scaled pixels `[n, bands]`, as published.
    pub fn train(fit: &Fit, bands: usize, pixels: &[f32]) -> Result<Self> {
        let canonical = AutoencoderConfig::canonical(bands);
        let stack = StackConfig::new(bands);
        Ok(Self {
            single: fit.autoencoder("canonical", &canonical, &StageConfig::first(), pixels)?,
            stack: fit.stack(&stack, &StageConfig::stack(), pixels)?,
        })
    }

    /// The errors of the ordinary autoencoder and of the three of the stack.
    pub fn errors(&self) -> Vec<f64> {
        [self.single.errors.as_slice(), &self.stack.errors].concat()
    }

    /// The mean squared distance from the inputs of the third autoencoder to 0..1, for pixels
    /// `[n, bands]`: what its sigmoid leaves whatever it learns.
    fn beyond(&self, pixels: &[f32], device: &Device) -> Result<f64> {
        let stack = &self.stack.model;
        let bands = stack.ae1.config().inputs;
        let inputs = in_parts(pixels, bands, device, |x| {
            stack.third_input(stack.second_input(x)?)
        })?;
        let squares = inputs
            .iter()
            .map(|&x| f64::from(x - x.clamp(0.0, 1.0)).powi(2));
        Ok(squares.sum::<f64>() / inputs.len() as f64)
    }

    /// How many codes have collapsed.
    pub fn collapsed(&self) -> usize {
        let codes = self.single.codes.iter().chain(&self.stack.codes);
        codes.filter(|code| code.collapsed()).count()
    }

    /// What a method clusters.
    pub fn features(&self, method: Method, pca: &Pca, device: &Device) -> Features {
        match method {
            Method::Bands => Features::Bands(pca.mean.len()),
            Method::Pca => Features::principal(pca.clone(), 0.9),
            Method::Autoencoder => Features::Autoencoder(self.single.model.clone(), device.clone()),
            Method::Stack => Features::Stack(self.stack.model.clone(), device.clone()),
        }
    }
}

/// Values of the largest scene that is written out for other programs.
const EXPORTED: usize = 1 << 20;

/// The outcomes of all scenes, in the order of their seeds.
pub(super) fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Vec<Outcome>> {
    let progress = Progress::auto();
    let seeds: Vec<u64> = (0..experiment.seeds as u64).collect();
    jobs::run(&seeds, experiment.workers, |&offset| {
        let seed = context.seed + offset;
        let label = format!("scene {seed}");
        let progress = progress.labelled(&label);
        let outcome = scene(
            &experiment.scenes,
            Seed(seed),
            experiment.restarts,
            context,
            &progress,
        );
        let mut outcome = outcome.context(label)?;
        if offset > 0 {
            outcome.scene = None;
        }
        Ok(outcome)
    })
}

fn scene(
    config: &ScenesConfig,
    seed: Seed,
    restarts: usize,
    context: &Context,
    progress: &Progress,
) -> Result<Outcome> {
    let scene = config.draw(seed)?;
    let bands = scene.bands;
    let mut pixels = scene.values.clone();
    MinMax::fit(&Rows::new(&pixels, bands)?)?.apply(&mut pixels);
    let pca = Pca::fit(&Rows::new(&pixels, bands)?)?;
    let folder = context.out.join(format!("scene-{}", seed.0));
    let fit = fit(&folder, seed, context, progress);
    let networks = Networks::train(&fit, bands, &pixels)?;
    if pixels.len() <= EXPORTED {
        reference::export(&scene, &fit, &folder.join("scene.safetensors"))?;
    }
    let units: Vec<usize> = scene.units.iter().copied().map(usize::from).collect();
    let arms: Result<Vec<Arm>> = Method::ALL
        .into_iter()
        .map(|method| {
            let features = networks.features(method, &pca, &context.device);
            let values = features.of(&pixels)?;
            let points = Rows::new(&values, features.dim())?;
            let labels = KMeansConfig::new(config.units)
                .with_restarts(restarts)
                .fit(&points, seed.stream("k-means"))?
                .assign(&points)?;
            let classes = labels.iter().map(|&label| label as u8).collect();
            let map = ClassMap::new(classes, scene.size)?.majority(WINDOW)?;
            let cleaned: Vec<usize> = map.classes().iter().copied().map(usize::from).collect();
            Ok(Arm {
                plain: Scores::of(&units, &labels)?,
                cleaned: Scores::of(&units, &cleaned)?,
                map: map.renamed(
                    &Contingency::new(&units, &cleaned)?.matching(),
                    config.units,
                )?,
            })
        })
        .collect();
    let variance = pca.variance.iter().sum::<f64>() / bands as f64;
    Ok(Outcome {
        arms: arms?,
        variance,
        errors: networks.errors(),
        beyond: networks.beyond(&pixels, &context.device)?,
        collapsed: networks.collapsed(),
        components: pca.select(0.9),
        hash: reference::hash(&scene.values),
        scene: Some(scene),
    })
}
