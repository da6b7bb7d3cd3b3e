//! Neural ODEs on small digits without, with local and with global regularisation, several seeds each;
//! a neural SDE on digits and a latent ODE on damped sinusoids with and without.

mod others;
mod present;
mod train;
mod verdicts;

use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use menagerie_core::Result;
use menagerie_data_image::{ImageSet, Split, mnist, optdigits};
use menagerie_report::Report;
use menagerie_series::local_reg_nde::{
    self, Adjoint, Kind, LabelledRows, LatentOdeConfig, NodeConfig, NsdeConfig, RegularizerConfig,
    Sampling, SignalsConfig, SolverConfig, TrainingConfig,
};
use menagerie_train::Progress;
use others::{Other, Which};
use train::{Arm, Outcome};

/// The recipe behind `cargo xtask reproduce local-reg-nde`.
pub const RECIPE: Recipe = Recipe {
    system: &local_reg_nde::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let results = experiment.run(context)?;
    Ok(present::report(context, &experiment, &results)?)
}

/// How a neural ODE is trained.
#[derive(Clone, Debug, PartialEq)]
struct Method {
    /// Short name, of folders.
    id: &'static str,
    /// Name for readers.
    label: &'static str,
    regularizer: RegularizerConfig,
    adjoint: Adjoint,
}

impl Method {
    fn new(id: &'static str, label: &'static str, regularizer: RegularizerConfig) -> Self {
        Self {
            id,
            label,
            regularizer,
            adjoint: Adjoint::Discrete,
        }
    }
}

const VANILLA: &str = "vanilla";
/// The arm that decides.
const LOCAL: &str = "local-error";
const BIASED: &str = "local-error-biased";
const CONTINUOUS: &str = "local-error-continuous";
const FROZEN: &str = "local-error-frozen";
const GLOBAL: &str = "global-error";

/// The card's methods for digits of 8², weights chosen beforehand.
fn small_methods() -> Vec<Method> {
    let local = RegularizerConfig::new().with_weight([3e4, 3e4]);
    let stiff = RegularizerConfig::new()
        .with_kind(Kind::Stiffness)
        .with_weight([0.1, 0.1]);
    let frozen = RegularizerConfig::new().with_differentiate_first_stage(false);
    let global = RegularizerConfig::global_error()
        .with_mean(false)
        .with_weight([1e3, 1e3]);
    vec![
        Method::new(VANILLA, "none", RegularizerConfig::vanilla()),
        Method::new(LOCAL, "local error, unbiased", local),
        Method::new(
            BIASED,
            "local error, biased",
            local.with_sampling(Sampling::Biased),
        ),
        Method {
            adjoint: Adjoint::Continuous,
            ..Method::new(CONTINUOUS, "local error, continuous adjoint", local)
        },
        Method::new("local-stiffness", "local stiffness, unbiased", stiff),
        Method::new(FROZEN, "local error, first stage constant", frozen),
        Method::new(GLOBAL, "global error", global),
        Method::new(
            "global-stiffness",
            "global stiffness",
            RegularizerConfig::global_stiffness(),
        ),
    ]
}

/// The paper's, with the gradient of the authors' code, and the true one.
fn paper_methods() -> Vec<Method> {
    let error = RegularizerConfig::mnist_error();
    let true_error = error
        .with_differentiate_first_stage(true)
        .with_weight([3e4, 3e4]);
    let methods = vec![
        Method::new(VANILLA, "none", RegularizerConfig::vanilla()),
        Method::new(LOCAL, "local error, unbiased", true_error),
        Method::new(
            BIASED,
            "local error, biased",
            true_error.with_sampling(Sampling::Biased),
        ),
        Method::new(FROZEN, "local error, first stage constant", error),
        Method::new(
            "local-stiffness",
            "local stiffness, first stage constant",
            RegularizerConfig::mnist_stiffness(),
        ),
    ];
    let by_equation = methods.into_iter().map(|method| Method {
        adjoint: Adjoint::Continuous,
        ..method
    });
    let globals = [
        Method::new(GLOBAL, "global error", RegularizerConfig::global_error()),
        Method::new(
            "global-stiffness",
            "global stiffness",
            RegularizerConfig::global_stiffness(),
        ),
    ];
    by_equation.chain(globals).collect()
}

struct Experiment {
    train: LabelledRows,
    test: LabelledRows,
    config: NodeConfig,
    /// How every method trains, the regulariser and the adjoint being its own.
    training: TrainingConfig,
    methods: Vec<Method>,
    seeds: usize,
    /// The other models, regularised or not.
    sde: (NsdeConfig, TrainingConfig),
    latent: Option<(LatentOdeConfig, TrainingConfig, SignalsConfig)>,
    other_seeds: usize,
    workers: usize,
}

/// Flat images, of a range of places.
fn rows(set: &ImageSet, places: std::ops::Range<usize>) -> Result<LabelledRows> {
    let labels = set
        .labels()
        .get(places.clone())
        .unwrap_or_default()
        .to_vec();
    let width = set.image_shape().iter().product();
    LabelledRows::new(set.to_f32(places)?, width, labels)
}

impl Experiment {
    fn of(scale: Scale) -> Result<Self> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let vanilla = RegularizerConfig::vanilla();
        match scale {
            Scale::Small => {
                let digits = optdigits(Split::Test)?;
                let solver = SolverConfig::new(0.14);
                let node = SolverConfig::new(1e-5);
                Ok(Self {
                    train: rows(&digits, 0..1_400)?,
                    test: rows(&digits, 1_400..digits.len())?,
                    config: NodeConfig::digits(),
                    training: TrainingConfig::digits(vanilla),
                    methods: small_methods(),
                    seeds: 4,
                    sde: (
                        NsdeConfig::new(64, 16, 32, solver),
                        TrainingConfig::mnist_sde(vanilla).with_steps_and_batch(300, 128),
                    ),
                    latent: Some((
                        LatentOdeConfig::new(4, 10, 20, 8, node)
                            .with_layers(4)
                            .with_sigma(0.1)
                            .with_precision(local_reg_nde::Precision::Double),
                        TrainingConfig::physionet(vanilla)
                            .with_adjoint(Adjoint::Discrete)
                            .with_steps_and_batch(200, 64),
                        SignalsConfig::new(),
                    )),
                    other_seeds: 3,
                    workers,
                })
            }
            Scale::Paper => {
                let (train, test) = (mnist(Split::Train)?, mnist(Split::Test)?);
                Ok(Self {
                    train: rows(&train, 0..train.len())?,
                    test: rows(&test, 0..test.len())?,
                    config: NodeConfig::mnist(),
                    training: TrainingConfig::mnist(vanilla),
                    methods: paper_methods(),
                    seeds: 3,
                    sde: (NsdeConfig::mnist(), TrainingConfig::mnist_sde(vanilla)),
                    latent: None,
                    other_seeds: 3,
                    workers,
                })
            }
        }
    }

    fn run(&self, context: &Context) -> anyhow::Result<Results> {
        let progress = Progress::auto();
        let mut arms: Vec<Arm> = Vec::new();
        for method in &self.methods {
            // Seed 0 is the one by which the card chose the weights.
            arms.extend((1..=self.seeds).map(|seed| Arm {
                method: method.clone(),
                seed,
            }));
        }
        // The longest first.
        arms.sort_by_key(|arm| arm.method.adjoint == Adjoint::Discrete);
        let mut outcomes = jobs::run(&arms, self.workers, |arm| {
            train::train(self, arm, context, &progress).with_context(|| arm.label())
        })?;
        // One after the other, with nothing beside them.
        train::time(self, &mut outcomes, context)?;
        let mut others: Vec<Other> = Vec::new();
        for which in [Which::Sde, Which::Latent] {
            for regularised in [false, true] {
                others.extend((1..=self.other_seeds).map(|seed| Other {
                    which,
                    regularised,
                    seed,
                }));
            }
        }
        if self.latent.is_none() {
            others.retain(|other| other.which == Which::Sde);
        }
        let found = jobs::run(&others, self.workers, |other| {
            others::train(self, other, context, &progress).with_context(|| other.label())
        })?;
        Ok(Results {
            nodes: outcomes,
            others: others.into_iter().zip(found).collect(),
        })
    }
}

/// What came of everything.
struct Results {
    nodes: Vec<Outcome>,
    others: Vec<(Other, others::Found)>,
}

#[cfg(test)]
mod tests {
    use super::super::super::efficient::common::tests::stripes;
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn every_arm_trains_resumes_and_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 3,
            scale: Scale::Small,
            out: dir.path().into(),
            resume,
        };
        let set = stripes(24);
        let vanilla = RegularizerConfig::vanilla();
        let node = SolverConfig::new(1e-3);
        let experiment = Experiment {
            train: rows(&set, 0..16).unwrap(),
            test: rows(&set, 16..24).unwrap(),
            config: NodeConfig::new(784, 3, node).with_classes(2),
            training: TrainingConfig::new(2, 8, 1e-2, vanilla),
            methods: small_methods(),
            seeds: 1,
            sde: (
                NsdeConfig::new(784, 3, 4, SolverConfig::new(0.1)).with_classes(2),
                TrainingConfig::new(2, 8, 1e-2, vanilla),
            ),
            latent: Some((
                LatentOdeConfig::new(4, 3, 4, 2, node).with_layers(2),
                TrainingConfig::new(2, 4, 1e-2, vanilla),
                SignalsConfig::new().with_times(4),
            )),
            other_seeds: 1,
            workers: 2,
        };
        let results = experiment.run(&context(false)).unwrap();
        let again = experiment.run(&context(true)).unwrap();
        assert_eq!(results.nodes.len(), 8);
        for (one, two) in results.nodes.iter().zip(&again.nodes) {
            assert_eq!(
                (one.accuracy, one.evaluations),
                (two.accuracy, two.evaluations)
            );
        }
        assert_eq!(results.others.len(), 4);
        assert_eq!(results.others, again.others);
        let report = present::report(&context(true), &experiment, &results).unwrap();
        report.write(dir.path()).unwrap();
        assert!(dir.path().join("media/evaluations.svg").is_file());
        assert!(report.summary().contains("local-reg-nde"));
    }
}
