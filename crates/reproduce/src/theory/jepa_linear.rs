//! Deep linear JEPA and MAE: simulated matrices on the closed form, the order of four features by
//! depth, samples of static and dynamic models, and halves of digits.

mod digits;
mod flows;
mod present;
mod samples;
mod verdicts;

use crate::{Context, Recipe, Scale, jobs};
use digits::Halves;
use flows::Flow;
use menagerie_core::Result;
use menagerie_report::Report;
use menagerie_theory::jepa_linear::{self, DynamicsConfig, Feature, Kind};
use menagerie_train::Progress;
use samples::{Drawn, Sample};

/// The recipe behind `cargo xtask reproduce jepa-linear`.
pub const RECIPE: Recipe = Recipe {
    system: &jepa_linear::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale);
    let results = experiment.run(context)?;
    Ok(present::report(context, &experiment, &results)?)
}

const KINDS: [Kind; 2] = [Kind::Jepa, Kind::Mae];
/// λ and ρ of the features A, B, C and D.
const FEATURES: [(f64, f64); 4] = [(1.0, 0.9), (1.0, 0.5), (0.6, 0.9), (1.2, 0.6)];
const NAMES: [&str; 4] = ["A", "B", "C", "D"];
const A: usize = 0;
const B: usize = 1;
const D: usize = 3;

fn features() -> Result<Vec<Feature>> {
    let features = FEATURES.iter();
    features
        .map(|(lambda, rho)| Feature::new(*lambda, *rho))
        .collect()
}

/// What is simulated and trained.
struct Experiment {
    /// Flows that the verdicts look at, then those of other depths.
    laws: Vec<DynamicsConfig>,
    /// Steps of Runge and Kutta in a span.
    steps: usize,
    /// Pairs of the static model; the dynamic one's sequence is 20 times as long, for its frames
    /// resemble each other.
    pairs: usize,
    seeds: usize,
    /// Images of digits, and principal components of their halves.
    digits: [usize; 2],
    workers: usize,
}

impl Experiment {
    fn of(scale: Scale) -> Self {
        let both = |layers, epsilon| KINDS.map(|kind| DynamicsConfig::new(kind, layers, epsilon));
        // At one start, for the effect of depth alone.
        let depths = [1, 2, 5].map(|layers| both(layers, 0.01));
        let small = Self {
            laws: [both(1, 0.1), both(3, 0.01)]
                .into_iter()
                .chain(depths)
                .flatten()
                .collect(),
            steps: 6_000,
            pairs: 20_000,
            seeds: 3,
            digits: [10_000, 8],
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        };
        match scale {
            Scale::Small => small,
            Scale::Paper => Self {
                laws: [both(1, 0.1), both(3, 0.01)]
                    .into_iter()
                    .chain([1, 2, 4, 5, 6].map(|layers| both(layers, 0.01)))
                    .chain([1, 2, 3].map(|layers| both(layers, 0.001)))
                    .flatten()
                    .collect(),
                steps: 40_000,
                pairs: 200_000,
                seeds: 10,
                digits: [60_000, 16],
                ..small
            },
        }
    }

    fn run(&self, context: &Context) -> anyhow::Result<Results> {
        let progress = Progress::auto();
        let flows = jobs::run(&self.laws, self.workers, |law| {
            Ok(flows::simulate(law, self.steps)?)
        })?;
        let samples: Vec<Sample> = (0..self.seeds)
            .flat_map(|seed| Drawn::ALL.map(|drawn| (seed, drawn)))
            .flat_map(|(seed, drawn)| KINDS.map(|kind| Sample { kind, drawn, seed }))
            .collect();
        let outcomes = jobs::run(&samples, self.workers, |sample| {
            samples::train(sample, self, context, &progress)
        })?;
        Ok(Results {
            flows,
            samples: samples.into_iter().zip(outcomes).collect(),
            halves: digits::learn(self.digits, self.steps, context, &progress)?,
        })
    }
}

/// What came of everything.
struct Results {
    flows: Vec<Flow>,
    /// Half times of A to D.
    samples: Vec<(Sample, Vec<Option<f64>>)>,
    halves: Vec<Halves>,
}

impl Results {
    /// The flow of these settings.
    fn flow(&self, kind: Kind, layers: usize, epsilon: f64) -> Option<&Flow> {
        let law = DynamicsConfig::new(kind, layers, epsilon);
        self.flows.iter().find(|flow| flow.law == law)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn every_part_runs_resumes_and_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 3,
            scale: Scale::Small,
            out: dir.path().into(),
            resume,
        };
        let experiment = Experiment {
            steps: 4_000,
            pairs: 2_000,
            seeds: 1,
            digits: [0, 4],
            ..Experiment::of(Scale::Small)
        };
        let results = experiment.run(&context(false)).unwrap();
        let again = experiment.run(&context(true)).unwrap();
        assert_eq!(results.samples.len(), 4);
        for ((_, one), (_, two)) in results.samples.iter().zip(&again.samples) {
            assert_eq!(one, two);
        }
        let report = present::report(&context(true), &experiment, &results).unwrap();
        report.write(dir.path()).unwrap();
        assert!(dir.path().join("media/deep-jepa.svg").is_file());
        assert!(dir.path().join("media/phase-jepa-3.svg").is_file());
        // Everything but what needs samples is decided by mathematics alone.
        let summary = report.summary();
        assert!(summary.contains("t_B / t_A"), "{summary}");
    }
}
