//! Prototype networks on MNIST and Fashion-MNIST: what the prototypes cost in accuracy, and what
//! R1 and R2 do for them.
//!
//! Three arms with the same encoder, data, order and number of steps: the full network, the
//! network without R1 and R2, and the encoder with a linear head.

mod measure;
mod present;
mod runs;

use crate::{Context, Recipe, Scale};
use menagerie_cluster::prototype_net::{
    self, Examples, Initialisation, LossWeights, PrototypeNetConfig, TrainingConfig,
};
use menagerie_core::Result;
use menagerie_data_image::{ImageSet, Split, fashion_mnist, mnist, mnist::validation_split};
use menagerie_report::Report;

/// The recipe behind `cargo xtask reproduce prototype-net`.
pub const RECIPE: Recipe = Recipe {
    system: &prototype_net::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let outcomes = runs::all(&experiment, context)?;
    Ok(present::report(context, &experiment, &outcomes)?)
}

/// One of the compared networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
enum Arm {
    Full,
    WithoutTerms,
    Plain,
}

impl Arm {
    const ALL: [Self; 3] = [Self::Full, Self::WithoutTerms, Self::Plain];

    /// The name of its folders.
    fn id(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::WithoutTerms => "without-r1-r2",
            Self::Plain => "plain",
        }
    }

    /// Its name in the report.
    fn label(self) -> &'static str {
        match self {
            Self::Full => "prototype network",
            Self::WithoutTerms => "without R1 and R2",
            Self::Plain => "encoder and linear head",
        }
    }
}

/// A data set with the network for it.
struct Study {
    /// The name of its folders.
    id: &'static str,
    /// Its name in the report.
    label: &'static str,
    class_names: Vec<String>,
    train: Examples,
    test: Examples,
    config: PrototypeNetConfig,
    training: TrainingConfig,
}

impl Study {
    fn new(
        id: &'static str,
        label: &'static str,
        train: &ImageSet,
        test: &ImageSet,
        config: PrototypeNetConfig,
        training: TrainingConfig,
    ) -> Result<Self> {
        let examples = |set: &ImageSet| {
            let images = set.to_f32(0..set.len())?;
            let labels = set.labels().to_vec();
            Examples::new(images, labels, set.image_shape(), config.classes)
        };
        Ok(Self {
            id,
            label,
            class_names: train.class_names().to_vec(),
            train: examples(train)?,
            test: examples(test)?,
            config,
            training,
        })
    }

    /// The configuration of a prototype arm.
    fn config(&self, arm: Arm) -> PrototypeNetConfig {
        match arm {
            Arm::WithoutTerms => self
                .config
                .clone()
                .with_weights(LossWeights::without_prototype_terms()),
            Arm::Full | Arm::Plain => self.config.clone(),
        }
    }
}

/// The whole comparison.
struct Experiment {
    studies: Vec<Study>,
    seeds: usize,
    /// Runs at a time.
    workers: usize,
    /// Accuracy in % that the full network must reach on the first data set, if any.
    target: Option<f64>,
}

impl Experiment {
    fn of(scale: Scale) -> Result<Self> {
        match scale {
            Scale::Small => Self::small(),
            Scale::Paper => Self::paper(),
        }
    }

    /// The first 8 000 training and 2 000 test images. With the published filters, N(0, 0.01²), a
    /// run this short would end on its first plateau: He initialisation instead. The prototypes
    /// settle more slowly on garments, whose classes overlap, than on digits.
    fn small() -> Result<Self> {
        let first = |set: ImageSet, count: usize| set.subset(0..count);
        let he = |config: PrototypeNetConfig| config.with_initialisation(Initialisation::He);
        Ok(Self {
            studies: vec![
                Study::new(
                    "mnist",
                    "MNIST",
                    &first(mnist(Split::Train)?, 8_000)?,
                    &first(mnist(Split::Test)?, 2_000)?,
                    he(PrototypeNetConfig::mnist()),
                    TrainingConfig::short(30),
                )?,
                Study::new(
                    "fashion-mnist",
                    "Fashion-MNIST",
                    &first(fashion_mnist(Split::Train)?, 8_000)?,
                    &first(fashion_mnist(Split::Test)?, 2_000)?,
                    he(PrototypeNetConfig::fashion_mnist()),
                    TrainingConfig::short(60),
                )?,
            ],
            seeds: 3,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            target: None,
        })
    }

    /// The official run: 55 000 images, a fresh deformation of every batch, 1 500 epochs.
    fn paper() -> Result<Self> {
        let (digits, _) = validation_split(&mnist(Split::Train)?)?;
        let (garments, _) = validation_split(&fashion_mnist(Split::Train)?)?;
        Ok(Self {
            studies: vec![
                Study::new(
                    "mnist",
                    "MNIST",
                    &digits,
                    &mnist(Split::Test)?,
                    PrototypeNetConfig::mnist(),
                    TrainingConfig::published(),
                )?,
                Study::new(
                    "fashion-mnist",
                    "Fashion-MNIST",
                    &garments,
                    &fashion_mnist(Split::Test)?,
                    PrototypeNetConfig::fashion_mnist(),
                    TrainingConfig::published(),
                )?,
            ],
            seeds: 1,
            workers: 1,
            target: Some(99.1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use std::collections::BTreeMap;

    /// Noise in ten classes: the verdicts mean nothing, the rest is all there.
    fn noise() -> ImageSet {
        use rand::RngExt;
        let mut rng = menagerie_core::Seed(1).rng();
        let pixels = (0..60 * 784).map(|_| rng.random()).collect();
        let names = ('a'..='j').map(String::from).collect();
        let labels = (0..60).map(|index| index % 10).collect();
        ImageSet::new(pixels, [1, 28, 28], labels, names).unwrap()
    }

    fn brief(seeds: usize) -> Experiment {
        let set = noise();
        let study = |id, label| {
            let training = TrainingConfig::short(2).with_batch(20);
            Study::new(id, label, &set, &set, PrototypeNetConfig::mnist(), training).unwrap()
        };
        Experiment {
            studies: vec![
                study("mnist", "MNIST"),
                study("fashion-mnist", "Fashion-MNIST"),
            ],
            seeds,
            workers: 2,
            target: Some(99.1),
        }
    }

    #[test]
    fn every_arm_trains_resumes_and_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 4,
            scale: Scale::Small,
            out: folder.path().into(),
            resume,
        };
        let run = |seeds, resume| {
            let groups = runs::all(&brief(seeds), &context(resume)).unwrap();
            let measured = |outcome: &measure::Outcome| {
                let realism = outcome.prototypes.as_ref().map(|found| found.realism);
                // By name: a resumed run reads them in another order.
                let test = outcome.test.iter();
                let test: BTreeMap<_, _> =
                    test.map(|(name, value)| (name.to_owned(), value)).collect();
                (test, outcome.r1.clone(), realism)
            };
            let measured: Vec<Vec<_>> = groups
                .iter()
                .map(|group| group.outcomes.iter().map(measured).collect())
                .collect();
            (groups, measured)
        };
        let (_, first) = run(1, false);
        assert!(first.iter().all(|outcomes| outcomes.len() == 1));
        // What is complete is taken as it is, and the new seed is added.
        let (groups, both) = run(2, true);
        for (both, first) in both.iter().zip(&first) {
            assert_eq!(both[0], first[0]);
        }
        assert!(both.iter().all(|outcomes| outcomes.len() == 2));

        let report = present::report(&context(true), &brief(2), &groups).unwrap();
        report.write(folder.path()).unwrap();
        for study in ["mnist", "fashion-mnist"] {
            for name in [
                "full.png",
                "without-r1-r2.png",
                "explained.png",
                "accuracy.svg",
                "r1.svg",
            ] {
                let file = folder.path().join(format!("media/{study}-{name}"));
                assert!(file.is_file(), "{}", file.display());
            }
        }
        let summary = report.summary();
        assert!(summary.contains("99.22") && summary.contains("weights of the last layer"));
        // Nobody reads noise: the target is missed, and the program would say so.
        assert!(report.not_met() > 0);

        let error = runs::all(&brief(1), &context(false)).err().unwrap();
        let text = format!("{error:#}");
        assert!(text.contains("mnist full seed 4: "), "{text}");
        assert!(text.contains("already holds a run"), "{text}");
    }
}
