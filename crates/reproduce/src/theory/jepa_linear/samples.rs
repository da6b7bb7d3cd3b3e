//! The four features in samples of linear models, in a rotated basis.

use super::{Experiment, FEATURES, features};
use crate::Context;
use menagerie_core::{Result, Seed};
use menagerie_theory::jepa_linear::{
    Descent, Direction, DynamicsConfig, Feature, JepaLinearConfig, Kind, Source, TrainingConfig,
    critical_time, draw_pairs, draw_rotation, fit_covariances, fixed_point,
};
use menagerie_train::{FitConfig, Progress, Record, Run, Split};
use serde::Serialize;

/// Which model makes the pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Drawn {
    /// Two noisy looks at one thing: B and D have the most noise.
    Static,
    /// Neighbours in a sequence: B and D change fast.
    Dynamic,
}

impl Drawn {
    pub(super) const ALL: [Self; 2] = [Self::Static, Self::Dynamic];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dynamic => "dynamic",
        }
    }

    /// The source of each feature. A and C of the dynamic model keep 95 % of themselves in a step, B
    /// and D 60 and 65 %; noise makes up the rest of the variance.
    fn sources(self) -> Result<Vec<Source>> {
        let persistences = [0.95, 0.6, 0.95, 0.65];
        features()?
            .into_iter()
            .zip(persistences)
            .map(|(feature, persistence)| match self {
                Self::Static => Source::of(feature),
                Self::Dynamic => {
                    let signal = feature.lambda() / persistence;
                    Ok(Source::Dynamic {
                        signal,
                        persistence,
                        noise: feature.variance() - signal,
                    })
                }
            })
            .collect()
    }
}

/// One training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub kind: Kind,
    pub drawn: Drawn,
    /// The seed's place in the list, from 0.
    pub seed: usize,
}

/// What a folder of a run says of itself.
#[derive(Serialize)]
struct Settings {
    training: TrainingConfig,
    pairs: usize,
    drawn: Drawn,
    features: [(f64, f64); 4],
}

pub(super) fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Jepa => "jepa",
        Kind::Mae => "mae",
    }
}

/// The times and amplitudes that a run's evaluations have logged, one list per feature.
pub(super) fn logged(records: &[Record], features: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let looks: Vec<&Record> = records
        .iter()
        .filter(|record| record.split == Split::Evaluation)
        .collect();
    let values = |name: &str| -> Vec<f64> {
        let values = looks.iter().filter_map(|look| look.metrics.get(name));
        values.collect()
    };
    let amplitudes = (0..features).map(|at| values(&format!("feature {at}")));
    (values("time"), amplitudes.collect())
}

/// When values first reach a target, between looks by a straight line.
pub(super) fn crossing(times: &[f64], values: &[f64], target: f64) -> Option<f64> {
    let at = values.iter().position(|value| *value >= target)?;
    let before = at.checked_sub(1)?;
    let share = (target - values[before]) / (values[at] - values[before]);
    Some(times[before] + share * (times[at] - times[before]))
}

/// A descent in a folder of its own, which is continued if it is there; its log.
pub(super) fn descend(
    mut descent: Descent,
    steps: usize,
    settings: &impl Serialize,
    folder: &str,
    context: &Context,
    progress: &Progress,
) -> Result<Vec<Record>> {
    let run = Run::create(&context.out.join(folder), settings, context.resume)?;
    let fit = FitConfig {
        evaluate_every: (steps / 300).max(1),
        checkpoint_every: (steps / 4).max(1),
        ..FitConfig::new(steps)
    };
    run.fit(&mut descent, &fit, &progress.labelled(folder))?;
    run.history()
}

/// Trains from samples; the half times of A to D along their true directions.
pub(super) fn train(
    sample: &Sample,
    experiment: &Experiment,
    context: &Context,
    progress: &Progress,
) -> anyhow::Result<Vec<Option<f64>>> {
    let law = DynamicsConfig::deep(sample.kind);
    let seed = Seed(context.seed + sample.seed as u64).stream("jepa-linear");
    let pairs = match sample.drawn {
        Drawn::Static => experiment.pairs,
        Drawn::Dynamic => 20 * experiment.pairs,
    };
    let sources = sample.drawn.sources()?;
    let rotation = draw_rotation(sources.len(), seed);
    let drawn = draw_pairs(&sources, pairs, Some(&rotation), seed)?;
    let [x, y] = drawn.map(|rows| rows.tensor(&context.device));
    let known: Vec<Feature> = features()?;
    let directions: Vec<Direction> = known
        .iter()
        .enumerate()
        .map(|(at, feature)| Direction {
            lambda: feature.lambda(),
            rho: feature.rho(),
            direction: (0..known.len()).map(|row| rotation.at(row, at)).collect(),
        })
        .collect();
    let mut span: f64 = 0.0;
    for feature in &known {
        span = span.max(1.3 * critical_time(&law, *feature, 0.5)?);
    }
    let training = TrainingConfig::new(span)
        .with_epsilon(law.epsilon)
        .with_steps(experiment.steps)
        .with_seed(context.seed + sample.seed as u64);
    let config = JepaLinearConfig::square(sample.kind, known.len(), law.layers);
    let descent = Descent::new(&config, &training, fit_covariances(x, y)?, directions)?;
    let settings = Settings {
        training,
        pairs,
        drawn: sample.drawn,
        features: FEATURES,
    };
    let (kind, drawn) = (name(sample.kind), sample.drawn.name());
    let folder = format!("{drawn}-{kind}-{}", sample.seed);
    let log = descend(
        descent,
        experiment.steps,
        &settings,
        &folder,
        context,
        progress,
    )?;
    let (times, amplitudes) = logged(&log, known.len());
    let half = amplitudes
        .iter()
        .zip(&known)
        .map(|(values, feature)| crossing(&times, values, 0.5 * fixed_point(&law, *feature)));
    Ok(half.collect())
}
