//! QLAE on sprites with known factors: quantised latents and weight decay, together and apart,
//! against the paper's baselines at equal budget.

mod arms;
mod measure;
mod present;

use crate::{Context, Recipe, Scale};
use arms::{Arm, Experiment, Method};
use menagerie_core::Seed;
use menagerie_data_synthetic::SpritesConfig;
use menagerie_report::Report;
use menagerie_representation::qlae::{self, BackboneConfig, QlaeConfig, TrainingConfig};

/// The recipe behind `cargo xtask reproduce qlae`.
pub const RECIPE: Recipe = Recipe {
    system: &qlae::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = match context.scale {
        Scale::Small => small(context)?,
        Scale::Paper => paper(context)?,
    };
    let outcomes = experiment.run(context)?;
    Ok(present::report(context, &experiment, &outcomes)?)
}

const QLAE_WD: &str = "qlae-wd";
const AE_WD: &str = "ae-wd";
const QLAE: &str = "qlae";
const GLOBAL_WD: &str = "global-wd";
const BETA_VAE: &str = "beta-vae";
const GAN: &str = "infowgan-gp";
const QUANTIZED_GAN: &str = "qlinfowgan-gp";

/// The methods of the comparison; the first three decide the verdicts. `seeds` are those of the
/// deciding, the further and the adversarial arms.
fn comparison(weight_decay: f64, adversarial_decay: f64, seeds: [usize; 3]) -> Vec<Arm> {
    use Method::{Autoencoder, BetaVae, GlobalCodebook, InfoGan, Qlae, QuantizedInfoGan, VqVae};
    let arm = |id, label, method, weight_decay, seeds| Arm {
        id,
        label,
        method,
        weight_decay,
        seeds,
    };
    let [deciding, further, adversarial] = seeds;
    vec![
        arm(QLAE_WD, "QLAE + wd", Qlae, weight_decay, deciding),
        arm(AE_WD, "AE + wd", Autoencoder, weight_decay, deciding),
        arm(QLAE, "QLAE without wd", Qlae, 0.0, deciding),
        arm("ae", "AE", Autoencoder, 0.0, further),
        arm(
            GLOBAL_WD,
            "one codebook + wd",
            GlobalCodebook,
            weight_decay,
            further,
        ),
        arm("vqvae-wd", "VQ-VAE + wd", VqVae, weight_decay, further),
        arm(BETA_VAE, "β-VAE", BetaVae, 0.0, further),
        arm(GAN, "InfoWGAN-GP", InfoGan, adversarial_decay, adversarial),
        arm(
            QUANTIZED_GAN,
            "QLInfoWGAN-GP",
            QuantizedInfoGan,
            adversarial_decay,
            adversarial,
        ),
    ]
}

/// 900 images of 16×16, perceptrons, 12,000 steps.
///
/// The paper decays for 20 time constants (`lr · wd · steps` = 1e-3 · 0.1 · 200,000); a weight
/// decay of 1 gives 12 in a run this short. Everything else is as published.
fn small(context: &Context) -> anyhow::Result<Experiment> {
    let training = TrainingConfig::small();
    // A step costs five times an autoencoder's, hence a third of the steps.
    let adversarial = TrainingConfig::published_gan()
        .with_steps(training.steps / 3)
        .with_evaluate_every(training.evaluate_every);
    let arms = comparison(training.weight_decay, adversarial.weight_decay, [5, 2, 1]);
    let sprites = SpritesConfig::qlae_small().init()?;
    let everything = (0..sprites.len()).collect();
    Ok(Experiment {
        model: QlaeConfig::small_mlp(),
        // Eight vectors for all latents: as many symbols per latent as QLAE has.
        vectors: [8, 4],
        kl: 0.3,
        arms,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        seed: Seed(context.seed),
        training,
        adversarial,
        ..Experiment::new(sprites, everything)?
    })
}

/// The published networks and schedule on the full grid of dSprites, with its 64×64 images in place
/// of the paper's data sets, which have no procedural twin.
fn paper(context: &Context) -> anyhow::Result<Experiment> {
    use rand::RngExt;
    let training = TrainingConfig::published();
    let adversarial = TrainingConfig::published_gan();
    let sprites = SpritesConfig::dsprites().init()?;
    let mut rng = Seed(context.seed).stream("evaluation").rng();
    let sample = (0..training.evaluation_images)
        .map(|_| rng.random_range(0..sprites.len()))
        .collect();
    let backbone = BackboneConfig {
        image: sprites.image_shape(),
        ..BackboneConfig::published()
    };
    let mut arms = comparison(training.weight_decay, adversarial.weight_decay, [3, 3, 3]);
    for arm in &mut arms {
        if arm.method == Method::VqVae {
            arm.weight_decay = TrainingConfig::published_vqvae().weight_decay;
        }
    }
    Ok(Experiment {
        // Twice as many latents as sources.
        model: QlaeConfig::uniform(backbone, 2 * sprites.factor_sizes().len(), 10),
        vectors: [512, 64],
        kl: 3.0,
        arms,
        workers: 1,
        seed: Seed(context.seed),
        training,
        adversarial,
        ..Experiment::new(sprites, sample)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use std::collections::BTreeMap;

    /// Every arm with a handful of steps: the verdicts mean nothing, the rest is all there.
    #[test]
    fn every_arm_trains_resumes_and_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 3,
            scale: Scale::Small,
            out: folder.path().into(),
            resume,
        };
        let brief = |training: TrainingConfig| training.with_steps(4).with_evaluate_every(2);
        let run = |resume| {
            let context = context(resume);
            let mut experiment = small(&context).unwrap();
            experiment.training = brief(experiment.training);
            experiment.adversarial = brief(experiment.adversarial);
            experiment.arms.iter_mut().for_each(|arm| arm.seeds = 1);
            let outcomes = experiment.run(&context).unwrap();
            let named = |o: &measure::Outcome| -> BTreeMap<String, f64> {
                o.metrics
                    .iter()
                    .map(|(name, value)| (name.into(), value))
                    .collect()
            };
            let metrics: Vec<_> = outcomes.iter().flatten().map(named).collect();
            let report = present::report(&context, &experiment, &outcomes).unwrap();
            (metrics, report)
        };
        let (metrics, report) = run(false);
        assert_eq!(metrics.len(), 9);
        assert!(metrics.iter().all(|metrics| metrics.contains_key("infoe")));
        report.write(folder.path()).unwrap();
        for name in ["traversal", "nmi-qlae", "nmi-ae", "reconstructions"] {
            assert!(folder.path().join(format!("media/{name}.png")).is_file());
        }
        assert!(folder.path().join("media/infom.svg").is_file());
        assert!(report.summary().contains("QLAE + wd"));
        // Runs that are complete are taken as they are.
        assert_eq!(run(true).0, metrics);
        // A folder that holds runs is not trained over.
        let error = small(&context(false))
            .unwrap()
            .run(&context(false))
            .err()
            .unwrap();
        assert!(
            format!("{error:#}").contains("already holds a run"),
            "{error:#}"
        );
    }

    #[test]
    fn the_full_recipe_is_the_published_one() {
        let context = Context {
            device: Device::default(),
            seed: 0,
            scale: Scale::Paper,
            out: "unused".into(),
            resume: false,
        };
        let experiment = paper(&context).unwrap();
        assert_eq!(experiment.training, TrainingConfig::published());
        assert_eq!(experiment.sample.len(), 10_000);
        assert_eq!(experiment.sprites.len(), 737_280);
        assert_eq!(
            (experiment.model.latents, &experiment.model.values),
            (10, &vec![10; 10])
        );
        assert_eq!(experiment.model.weights, qlae::LossWeights::new());
        experiment.model.validate().unwrap();
    }
}
