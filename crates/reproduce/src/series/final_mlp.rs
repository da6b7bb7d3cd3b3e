//! FinalMLP, DualMLP and other models of clicks on impressions of a known law, on film ratings and on a
//! census; at full scale on Frappe and MovieLens-tag with the published settings.

mod data;
mod present;
mod train;
mod verdicts;

use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::tensor::{Distribution, Tensor};
use data::Part;
use menagerie_core::Result;
use menagerie_report::Report;
use menagerie_series::final_mlp::{
    self, BaselineConfig, BaselineKind, DualMlpConfig, Field, FinalMlpConfig, Impressions,
    Regulariser, StreamConfig, TrainingConfig,
};
use menagerie_train::Progress;
use serde::Serialize;
use std::time::Instant;
use train::{Arm, Outcome};

/// The recipe behind `cargo xtask reproduce final-mlp`.
pub const RECIPE: Recipe = Recipe {
    system: &final_mlp::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context)?;
    let results = experiment.run(context)?;
    Ok(present::report(context, &experiment, &results)?)
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Kind {
    Mlp,
    DeepFm,
    DcnV2,
    Dual,
    /// FinalMLP without gates.
    Ungated,
    Final,
}

const KINDS: [Kind; 6] = [
    Kind::Mlp,
    Kind::DeepFm,
    Kind::DcnV2,
    Kind::Dual,
    Kind::Ungated,
    Kind::Final,
];

impl Kind {
    fn id(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::DeepFm => "deep-fm",
            Self::DcnV2 => "dcn-v2",
            Self::Dual => "dual-mlp",
            Self::Ungated => "ungated",
            Self::Final => "final-mlp",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Mlp => "MLP",
            Self::DeepFm => "DeepFM",
            Self::DcnV2 => "DCNv2",
            Self::Dual => "DualMLP",
            Self::Ungated => "FinalMLP without gates",
            Self::Final => "FinalMLP",
        }
    }
}

/// A model's configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
enum Model {
    Baseline(BaselineConfig),
    Dual(DualMlpConfig),
    Final(FinalMlpConfig),
}

/// The settings of a study's models.
#[derive(Clone, Copy, Debug)]
enum Settings {
    /// The card's trial, with the fields that the gates look at.
    Small([&'static str; 2]),
    Frappe,
    MovieLens,
}

impl Settings {
    fn model(self, kind: Kind, fields: Vec<Field>) -> Model {
        let baseline = match kind {
            Kind::DeepFm => BaselineKind::DeepFm,
            Kind::DcnV2 => BaselineKind::DcnV2 { layers: 3 },
            _ => BaselineKind::Mlp,
        };
        let contexts = match self {
            Self::Small(contexts) => contexts,
            Self::Frappe => return published(FinalMlpConfig::frappe_with(fields), kind, baseline),
            Self::MovieLens => {
                return published(FinalMlpConfig::movielens_with(fields), kind, baseline);
            }
        };
        match kind {
            Kind::Mlp | Kind::DeepFm | Kind::DcnV2 => {
                Model::Baseline(BaselineConfig::small(baseline, fields))
            }
            Kind::Dual => Model::Dual(DualMlpConfig::small(fields)),
            Kind::Ungated => Model::Final(FinalMlpConfig::small(fields, None)),
            Kind::Final => Model::Final(FinalMlpConfig::small(fields, Some(contexts))),
        }
    }
}

/// The published FinalMLP, and the others with its streams: their own settings were not at hand.
fn published(config: FinalMlpConfig, kind: Kind, baseline: BaselineKind) -> Model {
    let FinalMlpConfig {
        fields,
        embedding,
        stream1,
        stream2,
        embedding_regulariser,
        ..
    } = config.clone();
    let penalty: Regulariser = embedding_regulariser;
    match kind {
        Kind::Mlp | Kind::DeepFm | Kind::DcnV2 => {
            let stream: StreamConfig = stream1;
            let model = BaselineConfig::new(baseline, fields, embedding, stream);
            Model::Baseline(model.with_embedding_regulariser(penalty))
        }
        Kind::Dual => {
            let model = DualMlpConfig::new(fields, embedding, stream1, stream2);
            Model::Dual(model.with_embedding_regulariser(penalty))
        }
        Kind::Ungated => Model::Final(config.with_gate1(None).with_gate2(None)),
        Kind::Final => Model::Final(config),
    }
}

/// Rows, and the models that are trained on them.
struct Study {
    id: &'static str,
    label: &'static str,
    /// Seeds take them in turn.
    parts: Vec<Part>,
    settings: Settings,
    kinds: Vec<Kind>,
    training: TrainingConfig,
    /// Whether the rate falls when validation stalls and the best model is kept; else all epochs are run at
    /// one rate, and the last model counts.
    plateau: bool,
    seeds: usize,
}

struct Experiment {
    scale: Scale,
    studies: Vec<Study>,
    workers: usize,
}

impl Experiment {
    fn of(context: &Context) -> Result<Self> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let studies = match context.scale {
            Scale::Small => Self::small(context.seed)?,
            Scale::Paper => Self::paper()?,
        };
        Ok(Self {
            scale: context.scale,
            studies,
            workers,
        })
    }

    /// The card's trial, films, and the census; five seeds each. Impressions have a law of their own for
    /// each seed.
    fn small(seed: u64) -> Result<Vec<Study>> {
        let seeds = 5;
        let laws = (0..seeds as u64).map(|at| data::impressions(seed + at, [60_000, 20_000]));
        let real = vec![
            Kind::Mlp,
            Kind::DeepFm,
            Kind::DcnV2,
            Kind::Dual,
            Kind::Final,
        ];
        Ok(vec![
            Study {
                id: "impressions",
                label: "Impressions of a known law",
                parts: laws.collect::<Result<_>>()?,
                settings: Settings::Small(["user", "item"]),
                kinds: KINDS.into(),
                training: TrainingConfig::small(),
                plateau: false,
                seeds,
            },
            Study {
                id: "films",
                label: "MovieLens latest small",
                parts: vec![data::films(seed)?],
                settings: Settings::Small(["user", "item"]),
                kinds: real.clone(),
                training: TrainingConfig::small().with_epochs(9).with_batch(2_000),
                plateau: false,
                seeds,
            },
            Study {
                id: "census",
                label: "Adult",
                parts: vec![data::census()?],
                settings: Settings::Small(["relationship", "occupation"]),
                kinds: real,
                training: TrainingConfig::small().with_epochs(10),
                plateau: false,
                seeds,
            },
        ])
    }

    /// Frappe, and MovieLens-tag where its files are there too, with the published settings.
    fn paper() -> Result<Vec<Study>> {
        use menagerie_data_tabular::libfm;
        let study = |id, label, part, settings| Study {
            id,
            label,
            parts: vec![part],
            settings,
            kinds: KINDS.into(),
            training: TrainingConfig::published(),
            plateau: true,
            seeds: 2,
        };
        let frappe = data::splits(&libfm::frappe()?)?;
        let mut studies = vec![study("frappe", "Frappe", frappe, Settings::Frappe)];
        if let Ok(splits) = libfm::movielens_tag() {
            let part = data::splits(&splits)?;
            let label = "MovieLens-tag";
            studies.push(study("movielens-tag", label, part, Settings::MovieLens));
        }
        Ok(studies)
    }

    fn run(&self, context: &Context) -> anyhow::Result<Results> {
        let progress = Progress::auto();
        let mut arms: Vec<(usize, Arm)> = Vec::new();
        for (at, study) in self.studies.iter().enumerate() {
            for kind in &study.kinds {
                arms.extend((0..study.seeds).map(|seed| (at, Arm { kind: *kind, seed })));
            }
        }
        let outcomes = jobs::run(&arms, self.workers, |(at, arm)| {
            let study = &self.studies[*at];
            train::train(study, arm, context, &progress).with_context(|| arm.label(study))
        })?;
        let mut studies: Vec<Vec<Outcome>> = self.studies.iter().map(|_| Vec::new()).collect();
        for ((at, _), outcome) in arms.iter().zip(outcomes) {
            studies[*at].push(outcome);
        }
        let costs = HEADS.iter().map(|heads| cost(*heads, context));
        Ok(Results {
            studies,
            costs: costs.collect::<Result<_>>()?,
        })
    }
}

/// Heads of the fusion whose cost is measured.
const HEADS: [usize; 5] = [1, 2, 5, 10, 20];
/// The fusion of the published MovieLens model.
const WIDTHS: [usize; 2] = [400, 800];

/// What a fusion costs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    heads: usize,
    parameters: usize,
    seconds: f64,
}

/// The median of five bilinear forms of 4096 rows.
fn cost(heads: usize, context: &Context) -> Result<Cost> {
    let device = &context.device;
    let [left, right] = WIDTHS;
    let random =
        |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device);
    let (x, y, w) = (
        random([4096, left]),
        random([4096, right]),
        random([left, right / heads]),
    );
    let linear = || {
        [
            Tensor::zeros([left], device),
            Tensor::zeros([right], device),
        ]
    };
    let mut times = Vec::new();
    for _ in 0..6 {
        let began = Instant::now();
        let (x, y, w) = (x.clone(), y.clone(), w.clone());
        let _ = menagerie_nn::bilinear::bilinear(x, y, w, linear(), heads).into_data();
        times.push(began.elapsed().as_secs_f64());
    }
    // The first one warms up.
    let mut times = times.split_off(1);
    times.sort_by(f64::total_cmp);
    let fields = vec![Field::category("a", 2)];
    let stream = |width| StreamConfig::new(vec![width]);
    let config = FinalMlpConfig::new(fields, 1, stream(left), stream(right)).with_heads(heads);
    let bilinear = config.init(device)?.fusion.bilinear;
    Ok(Cost {
        heads,
        parameters: bilinear.val().dims()[0],
        seconds: times.get(2).copied().unwrap_or(f64::NAN),
    })
}

/// What came of everything.
struct Results {
    /// Outcomes of each study.
    studies: Vec<Vec<Outcome>>,
    costs: Vec<Cost>,
}

/// Rows of a study, for its report.
fn sizes(part: &Part) -> [usize; 3] {
    [
        part.train.len(),
        part.valid.as_ref().map_or(0, Impressions::len),
        part.test.len(),
    ]
}

#[cfg(test)]
#[path = "final_mlp/tests.rs"]
mod tests;
