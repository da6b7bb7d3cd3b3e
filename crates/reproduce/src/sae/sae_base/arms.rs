//! One autoencoder of each variant and seed.

use super::data::{Data, Measured, Prepared};
use crate::{Context, jobs};
use anyhow::Context as _;
use burn::module::Module;
use menagerie_core::Seed;
use menagerie_sae::{
    activations::{ActivationBuffer, BufferConfig, geometric_median},
    sae::{
        Activation, AuxK, Convention, Initialization, ObjectiveConfig, Prefixes, SaeConfig, SaeRun,
        Sparsity, Threshold,
        metrics::Quality,
        training::{
            Constraint, DeadRule, RateSchedule, SaeTrainer, SaeTrainingConfig, ThresholdRule,
        },
    },
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use serde::Serialize;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Variant {
    L1,
    TopK,
    BatchTopK,
    JumpRelu,
    Gated,
    Matryoshka,
    /// TopK with many more latents than there are features, of which some die.
    WideTopK,
    /// The same without the loss that revives them.
    WideTopKWithoutAuxK,
}

impl Variant {
    pub const ALL: [Self; 8] = [
        Self::L1,
        Self::TopK,
        Self::BatchTopK,
        Self::JumpRelu,
        Self::Gated,
        Self::Matryoshka,
        Self::WideTopK,
        Self::WideTopKWithoutAuxK,
    ];

    /// As in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "ReLU + L1",
            Self::TopK => "TopK",
            Self::BatchTopK => "BatchTopK",
            Self::JumpRelu => "JumpReLU",
            Self::Gated => "Gated",
            Self::Matryoshka => "Matryoshka",
            Self::WideTopK => "TopK, wide",
            Self::WideTopKWithoutAuxK => "TopK, wide, without AuxK",
        }
    }

    /// As in the names of folders.
    fn label(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::TopK => "topk",
            Self::BatchTopK => "batchtopk",
            Self::JumpRelu => "jumprelu",
            Self::Gated => "gated",
            Self::Matryoshka => "matryoshka",
            Self::WideTopK => "topk-wide",
            Self::WideTopKWithoutAuxK => "topk-wide-without-auxk",
        }
    }

    /// Whether it has the wide dictionary.
    fn is_wide(self) -> bool {
        matches!(self, Self::WideTopK | Self::WideTopKWithoutAuxK)
    }

    /// The first coefficient that is tried, where the number of active latents follows from one.
    fn first_coefficient(self) -> Option<f64> {
        match self {
            Self::L1 => Some(1.6),
            Self::Gated => Some(0.4),
            _ => None,
        }
    }
}

/// The experiment.
pub struct Experiment {
    pub data: Data,
    pub latents: usize,
    /// Latents of the wide dictionaries.
    pub wide_latents: usize,
    /// The number of active latents at which variants are compared.
    pub l0: usize,
    pub steps: usize,
    pub batch: usize,
    pub learning_rate: f64,
    /// Steps without an activation after which a latent is dead.
    pub dead_after: u64,
    pub variants: Vec<Variant>,
    /// Other numbers of active latents of TopK, with the first seed.
    pub frontier: Vec<usize>,
    /// Coefficients that are tried at most until L0 is the wanted one.
    pub attempts: usize,
    /// The relative distance of L0 at which no further one is tried.
    pub tolerance: f64,
    pub seeds: usize,
    pub seed: Seed,
    pub workers: usize,
}

/// What is measured on held-out activations.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub variant: Variant,
    pub seed: usize,
    /// The number of active latents that was wanted.
    pub wanted: usize,
    /// The coefficient that gave it.
    pub coefficient: Option<f64>,
    /// The coefficients that were tried before, with L0 and FVU.
    pub tried: Vec<[f64; 3]>,
    pub measured: Measured,
}

impl Outcome {
    /// Of the held-out activations.
    pub fn quality(&self) -> &Quality {
        &self.measured.quality
    }
}

#[derive(Clone, Copy)]
struct Arm {
    variant: Variant,
    l0: usize,
    seed: usize,
}

#[derive(Serialize)]
struct Setup<'a> {
    data: &'a Data,
    batch: usize,
    sae: &'a SaeConfig,
    training: &'a SaeTrainingConfig,
    seed: Seed,
}

impl Experiment {
    /// The outcomes: variants, seeds innermost, then the other points of TopK.
    pub fn run(&self, context: &Context) -> anyhow::Result<Vec<Outcome>> {
        let prepared = self.data.prepare(context, self.seed)?;
        self.run_on(context, &prepared)
    }

    /// [`run`](Self::run) on activations that are ready.
    pub fn run_on(&self, context: &Context, prepared: &Prepared) -> anyhow::Result<Vec<Outcome>> {
        let mut arms = Vec::new();
        for &variant in &self.variants {
            arms.extend((0..self.seeds).map(|seed| Arm {
                variant,
                l0: self.l0,
                seed,
            }));
        }
        arms.extend(self.frontier.iter().map(|&l0| Arm {
            variant: Variant::TopK,
            l0,
            seed: 0,
        }));
        jobs::run(&arms, self.workers, |arm| {
            self.outcome(context, prepared, arm)
        })
    }

    fn outcome(
        &self,
        context: &Context,
        prepared: &Prepared,
        arm: &Arm,
    ) -> anyhow::Result<Outcome> {
        let name = format!("{}-l0-{}-seed{}", arm.variant.label(), arm.l0, arm.seed);
        let run = |coefficient: Option<f64>, name: &str| {
            let measured = self.train(context, prepared, arm, coefficient, name)?;
            anyhow::Ok(Outcome {
                variant: arm.variant,
                seed: arm.seed,
                wanted: arm.l0,
                coefficient,
                tried: Vec::new(),
                measured,
            })
        };
        match arm.variant.first_coefficient() {
            None => run(None, &name).context(name),
            Some(first) => self
                .match_l0(arm.l0 as f64, first, |attempt, coefficient| {
                    run(Some(coefficient), &format!("{name}-{attempt}"))
                })
                .context(name),
        }
    }

    /// Tries coefficients until L0 is the wanted one, and returns the nearest.
    ///
    /// L0 falls with the coefficient. As long as the wanted one is not between two tried ones, the
    /// coefficient is doubled or halved; then it is interpolated in logarithms.
    fn match_l0(
        &self,
        wanted: f64,
        first: f64,
        mut run: impl FnMut(usize, f64) -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<Outcome> {
        let mut tried: Vec<Outcome> = Vec::new();
        let mut coefficient = first;
        for attempt in 0..self.attempts {
            let outcome = run(attempt, coefficient)?;
            let close = (outcome.quality().l0 / wanted - 1.0).abs() <= self.tolerance;
            tried.push(outcome);
            if close {
                break;
            }
            coefficient = next_coefficient(&points(&tried), wanted);
        }
        let history = points(&tried);
        tried
            .into_iter()
            .min_by(|a, b| {
                let distance = |outcome: &Outcome| (outcome.quality().l0 / wanted).ln().abs();
                distance(a).total_cmp(&distance(b))
            })
            .map(|outcome| Outcome {
                tried: history,
                ..outcome
            })
            .context("no coefficient was tried")
    }

    fn train(
        &self,
        context: &Context,
        prepared: &Prepared,
        arm: &Arm,
        coefficient: Option<f64>,
        name: &str,
    ) -> anyhow::Result<Measured> {
        let seed = self.seed.at(arm.seed as u64);
        let supply = prepared.supply(seed)?;
        let (config, training) = self.configs(prepared.width()?, arm, coefficient);
        let run = Run::create(
            &context.out.join(name),
            &Setup {
                data: &self.data,
                batch: self.batch,
                sae: &config,
                training: &training,
                seed,
            },
            context.resume,
        )?;
        let device = context.device.clone().autodiff();
        let sae = initialise(&device, seed.stream("weights"), || config.init(&device))?;
        let centre = geometric_median(supply.first(CENTRE, &context.device)?)?;
        let trainer = SaeTrainer::new(sae.with_decoder_bias(centre)?, training, seed)?;
        let (source, mixed) = supply.source(self.batch, self.steps * self.batch)?;
        let mixing = BufferConfig::new(mixed.max(self.batch), self.batch);
        let batches = ActivationBuffer::new(source, &mixing, seed.stream("batches"))?;
        let mut procedure = SaeRun::new(trainer, batches)?;
        let fit = FitConfig {
            log_every: (self.steps / 20).max(1),
            checkpoint_every: (self.steps / 2).clamp(1, 10_000),
            keep_checkpoints: 1,
            ..FitConfig::new(self.steps)
        };
        run.fit(&mut procedure, &fit, &Progress::auto().labelled(name))?;
        Ok(supply.measure(&procedure.into_trainer().sae.valid())?)
    }

    /// The variant and its training: all start from the same unit dictionary.
    fn configs(
        &self,
        width: usize,
        arm: &Arm,
        coefficient: Option<f64>,
    ) -> (SaeConfig, SaeTrainingConfig) {
        let k = arm.l0;
        let coefficient = coefficient.unwrap_or_default();
        let auxk = AuxK::new(Convention::DictionaryLearning);
        let selecting = ObjectiveConfig::new().with_auxiliary(Some(auxk));
        let penalised = |sparsity| ObjectiveConfig::new().with_sparsity(sparsity);
        let (activation, objective) = match arm.variant {
            Variant::L1 => (
                Activation::Relu,
                penalised(Sparsity::Lp {
                    coefficient,
                    weighted: false,
                    p: 1.0,
                    power: false,
                }),
            ),
            Variant::TopK | Variant::WideTopK => (Activation::topk(k), selecting),
            Variant::WideTopKWithoutAuxK => (Activation::topk(k), ObjectiveConfig::new()),
            Variant::BatchTopK => (Activation::BatchTopK { k }, selecting),
            Variant::JumpRelu => (
                Activation::JumpRelu {
                    threshold: Threshold::Plain,
                    bandwidth: 0.05,
                    initial: 0.05,
                },
                penalised(Sparsity::TargetL0 {
                    coefficient: 1.0,
                    target: k as f64,
                }),
            ),
            Variant::Gated => (
                Activation::Gated,
                penalised(Sparsity::Gate {
                    coefficient,
                    weighted: false,
                    detached: true,
                }),
            ),
            Variant::Matryoshka => (
                Activation::BatchTopK { k },
                selecting.with_prefixes(Some(Prefixes::averaged(
                    &groups(self.latents),
                    &[1.0; GROUPS],
                ))),
            ),
        };
        let latents = match arm.variant.is_wide() {
            true => self.wide_latents,
            false => self.latents,
        };
        let sae = SaeConfig::new(width, latents, activation)
            .with_initialization(Initialization::FixedNorm(1.0));
        let rate = RateSchedule::DictionaryLearning {
            rate: self.learning_rate,
            warmup: 0,
            decay_start: Some(self.steps - self.steps / 5),
            total: self.steps,
        };
        let threshold = matches!(activation, Activation::BatchTopK { .. })
            .then_some(ThresholdRule::Average { rate: 0.01 });
        let clip = objective.sparsity == Sparsity::None;
        let training = SaeTrainingConfig::new(objective, rate)
            .with_clip(clip.then_some(1.0))
            .with_constraint(Constraint::ProjectStepNormalize)
            .with_dead(DeadRule::Steps(self.dead_after))
            .with_threshold(threshold);
        (sae, training)
    }
}

/// Rows whose geometric median is the first b_dec.
const CENTRE: usize = 4_096;

/// Nested dictionaries of the Matryoshka.
const GROUPS: usize = 4;

/// Groups of an eighth, an eighth, a quarter and a half of the latents.
fn groups(latents: usize) -> [usize; GROUPS] {
    let eighth = latents / 8;
    [eighth, eighth, 2 * eighth, latents - 4 * eighth]
}

fn points(outcomes: &[Outcome]) -> Vec<[f64; 3]> {
    let point = |outcome: &Outcome| {
        let coefficient = outcome.coefficient.unwrap_or_default();
        [coefficient, outcome.quality().l0, outcome.quality().fvu]
    };
    outcomes.iter().map(point).collect()
}

/// The coefficient to try next, after `[coefficient, L0, …]` were.
pub fn next_coefficient(tried: &[[f64; 3]], wanted: f64) -> f64 {
    let dense = tried
        .iter()
        .filter(|point| point[1] >= wanted)
        .max_by(|a, b| a[0].total_cmp(&b[0]));
    let sparse = tried
        .iter()
        .filter(|point| point[1] < wanted)
        .min_by(|a, b| a[0].total_cmp(&b[0]));
    match (dense, sparse) {
        (Some(low), Some(high)) if low[0] < high[0] => {
            // L0 of 0 has no logarithm.
            let [above, below] = [low[1], high[1].max(0.05)].map(f64::ln);
            let share = ((above - wanted.ln()) / (above - below)).clamp(0.1, 0.9);
            (low[0].ln() + share * (high[0] / low[0]).ln()).exp()
        }
        (Some(low), _) => 2.0 * low[0],
        (None, Some(high)) => high[0] / 2.0,
        (None, None) => 1.0,
    }
}
