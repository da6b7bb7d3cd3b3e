//! A small unconditional diffusion model of garments: how well classes are linear in its features, by
//! block and timestep, against the same network before training and against the pixels.

mod data;
mod full;
mod measure;
mod present;

use crate::{Context, Recipe, Scale};
use anyhow::Context as _;
use burn::tensor::Device;
use data::Images;
use menagerie_core::{Result, Seed};
use menagerie_data_image::{Split, fashion_mnist, mnist};
use menagerie_generative::diffusion_classifier::{
    self, Denoiser, HeadTrainingConfig, RidgeProbeConfig, UNet, UNetConfig,
};
use menagerie_nn::diffusion::{Diffusion, NoiseSchedule, Objective};
use menagerie_report::Report;
use menagerie_train::{
    AdamW, FitConfig, Progress, Run, Sampler as Order, Schedule, Split as Part, Supervised,
    initialise,
};

/// The recipe behind `cargo xtask reproduce diffusion-classifier`.
pub const RECIPE: Recipe = Recipe {
    system: &diffusion_classifier::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    match context.scale {
        Scale::Small => {
            let experiment = Experiment::small()?;
            let outcome = all(&experiment, context)?;
            Ok(present::report(context, &experiment, &outcome)?)
        }
        Scale::Paper => full::run(context),
    }
}

/// Images for a network with the labels that probes learn.
struct Data {
    /// Without labels, for the denoiser.
    unlabelled: Images,
    /// What probes are fitted on.
    labelled: Images,
    /// What they are scored on.
    test: Images,
    /// Other classes, to see whether features transfer: for fitting and for scoring.
    other: [Images; 2],
}

/// The whole comparison.
struct Experiment {
    data: Data,
    network: UNetConfig,
    /// Updates of the denoiser.
    steps: usize,
    batch: usize,
    /// The peak of AdamW's rate.
    rate: f64,
    /// Decay of the averaged weights, which are the ones that are used.
    average: f64,
    probe: RidgeProbeConfig,
    /// Steps at which the trained network is probed.
    timesteps: Vec<usize>,
    /// Steps at which the network before training is.
    before: Vec<usize>,
    /// The step with little noise, and the one with much, that the claims compare.
    compared: [usize; 2],
    /// Draws of the noise at the best block.
    noises: usize,
    /// Epochs of the heads.
    heads: HeadTrainingConfig,
    /// Samples, and the steps that they take.
    samples: [usize; 2],
}

impl Experiment {
    /// Garments at 14×14 in a frame, 20 000 of them without labels, 4 000 labels. More steps than these
    /// would take more than the ten minutes that a run may take.
    fn small() -> Result<Self> {
        let train = fashion_mnist(Split::Train)?.subset(0..20_000)?;
        let images = |set| Images::shrunk(&set);
        let few = |set: menagerie_data_image::ImageSet, count| set.stratified(count, Seed(0));
        Ok(Self {
            data: Data {
                labelled: images(few(train.clone(), 4_000)?)?,
                unlabelled: images(train)?,
                test: images(few(fashion_mnist(Split::Test)?, 2_000)?)?,
                other: [
                    images(few(mnist(Split::Train)?, 4_000)?)?,
                    images(few(mnist(Split::Test)?, 2_000)?)?,
                ],
            },
            network: UNetConfig::small(),
            steps: 1_400,
            batch: 64,
            rate: 1e-3,
            average: 0.995,
            probe: RidgeProbeConfig::new(10),
            timesteps: vec![0, 20, 50, 100, 200, 300, 500, 800],
            before: vec![0, 20],
            compared: [20, 300],
            noises: 3,
            heads: HeadTrainingConfig::new(1e-3)
                .with_epochs(10)
                .with_drop_every(7),
            samples: [64, 50],
        })
    }
}

/// What is reported.
struct Outcome {
    /// Loss by step.
    curve: Vec<(f64, f64)>,
    /// Of the trained network, at the experiment's timesteps.
    trained: measure::Map,
    /// Of the same network before training.
    random: measure::Map,
    /// Accuracy of a probe on pixels, in percent.
    pixels: f64,
    /// At the best block and the compared timestep with little noise, by draw of the noise.
    noises: Vec<f64>,
    heads: Vec<measure::HeadResult>,
    similarity: measure::Similarity,
    transfer: measure::Transfer,
    /// Samples in 0..1, one after the other.
    samples: Vec<Vec<f32>>,
}

fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Outcome> {
    let diffusion = NoiseSchedule::Linear.diffusion(1_000)?;
    let seed = Seed(context.seed).stream("diffusion-classifier");
    let tracked = context.device.clone().autodiff();
    let weights = seed.stream("weights");
    let unet = initialise(&tracked, weights, || experiment.network.init(&tracked))?;
    let fresh = unet.clone();
    let (denoiser, curve) =
        pre_train(experiment, context, unet, &diffusion, seed).context("pre-training")?;
    let bench = measure::Bench {
        experiment,
        diffusion: &diffusion,
        device: &context.device,
        seed: seed.stream("measures"),
    };
    let fresh = burn::module::Module::valid(&fresh);
    let trained = bench.map(&denoiser.unet, &experiment.timesteps)?;
    let random = bench.map(&fresh, &experiment.before)?;
    let best = trained.best_block(experiment.compared[0]);
    Ok(Outcome {
        curve,
        pixels: bench.pixels(&experiment.data.labelled, &experiment.data.test)?,
        noises: bench.noises(&denoiser.unet, best)?,
        heads: bench.heads(&denoiser.unet, best)?,
        similarity: bench.similarity(&denoiser.unet, &fresh, best)?,
        transfer: bench.transfer(&denoiser.unet, best)?,
        samples: bench.samples(&denoiser)?,
        trained,
        random,
    })
}

/// The averaged network, and its loss by step.
fn pre_train(
    experiment: &Experiment,
    context: &Context,
    unet: UNet,
    diffusion: &Diffusion,
    seed: Seed,
) -> Result<(Denoiser, Vec<(f64, f64)>)> {
    let images = &experiment.data.unlabelled;
    let denoiser = Denoiser::new(unet, diffusion.clone(), Objective::new())?;
    let drawing = burn::module::Module::valid(&denoiser);
    let order = seed.stream("batches");
    let mut order = Order::shuffled(images.len(), experiment.batch, order)?;
    let noise = seed.stream("noise");
    let batch = |step: usize, device: &Device| {
        let images = images.batch(&order.indices(step), device);
        drawing.draw(images, noise.at(step as u64))
    };
    let optimiser = AdamW::new().grouped(&denoiser, |_, rank| rank > 1)?;
    let steps = experiment.steps;
    let rates = Schedule::cosine(experiment.rate, steps / 20, steps);
    let mut procedure =
        Supervised::new(denoiser, optimiser, rates, batch).averaging(experiment.average)?;
    let setup = (
        seed,
        &experiment.network,
        (steps, experiment.batch, experiment.rate, experiment.average),
    );
    let run = Run::create(&context.out.join("denoiser"), &setup, context.resume)?;
    let fit = FitConfig {
        log_every: (steps / 100).max(1),
        evaluate_every: 0,
        checkpoint_every: (steps / 4).max(1),
        keep_checkpoints: 1,
        ..FitConfig::new(steps)
    };
    run.fit(&mut procedure, &fit, &Progress::auto().labelled("denoiser"))?;
    let history = run.history()?;
    let curve = history
        .iter()
        .filter(|record| record.split == Part::Train)
        .filter_map(|record| Some((record.step as f64, record.metrics.get("loss")?)));
    Ok((procedure.trained()?, curve.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_data_image::ImageSet;
    use rand::RngExt;

    /// Stripes across and down, in two classes, with a little noise.
    fn stripes(count: usize) -> Images {
        let mut rng = Seed(5).rng();
        let mut pixels: Vec<u8> = Vec::new();
        for index in 0..count {
            for at in 0..28 * 28 {
                let place = if index % 2 == 0 { at / 28 } else { at % 28 };
                let stripe = if (place + index) % 8 < 4 { 210 } else { 20 };
                pixels.push(stripe + rng.random_range(0..40));
            }
        }
        let labels = (0..count).map(|index| index % 2).collect();
        let names = vec!["across".into(), "down".into()];
        let set = ImageSet::new(pixels, [1, 28, 28], labels, names);
        Images::shrunk(&set.unwrap()).unwrap()
    }

    fn brief() -> Experiment {
        // A linear map of all 256 pixels wants more images than that.
        let images = || stripes(300);
        Experiment {
            data: Data {
                unlabelled: images(),
                labelled: images(),
                test: images(),
                other: [images(), images()],
            },
            network: UNetConfig {
                model_channels: 8,
                norm_groups: 4,
                heads: diffusion_classifier::Heads::Count(1),
                ..UNetConfig::small()
            },
            steps: 4,
            batch: 8,
            rate: 1e-3,
            average: 0.5,
            probe: RidgeProbeConfig::new(2),
            timesteps: vec![20, 300],
            before: vec![20],
            compared: [20, 300],
            noises: 2,
            heads: HeadTrainingConfig::new(1e-3).with_epochs(1).with_batch(40),
            samples: [4, 3],
        }
    }

    #[test]
    fn everything_is_measured_resumes_and_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 4,
            scale: Scale::Small,
            out: folder.path().into(),
            resume,
        };
        let first = all(&brief(), &context(false)).unwrap();
        let again = all(&brief(), &context(true)).unwrap();
        assert_eq!(first.trained.accuracy, again.trained.accuracy);
        assert_eq!(first.samples, again.samples);
        let report = present::report(&context(true), &brief(), &again).unwrap();
        report.write(folder.path()).unwrap();
        for file in [
            "accuracy.svg",
            "blocks.svg",
            "timesteps.svg",
            "similarity-blocks.svg",
            "similarity-timesteps.svg",
            "loss.svg",
            "samples.png",
        ] {
            let path = folder.path().join("media").join(file);
            assert!(path.is_file(), "{}", path.display());
        }
        assert!(report.summary().contains("Probe accuracy"));
    }
}
