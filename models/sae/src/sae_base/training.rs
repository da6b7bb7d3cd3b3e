//! The training step: objective, decoder constraint, optimiser, dead latents, thresholds.

pub use super::{
    anneal::{PAnneal, PAnnealState},
    dead::{DeadLatents, ResampleBy, ThresholdRule, draw_inputs, error_norms},
    schedule::{RateSchedule, sparsity_warmup},
};
use super::{
    auxk::Convention,
    config::{Activation, SaeConfig},
    model::{SaeOutput, SparseAutoencoder},
    objective::{ObjectiveConfig, Reconstruction, SaeLoss, Situation, Sparsity, lp_sum},
};
use burn::{config::Config, optim::GradientsParams, tensor::Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::{Adam, AdamConfig, Scalars, Signum, SignumConfig, clip_global_norm};
use serde::{Deserialize, Serialize};

/// How an autoencoder is trained.
#[derive(Config, Debug, PartialEq)]
pub struct SaeTrainingConfig {
    /// The objective.
    pub objective: ObjectiveConfig,
    /// The learning rate.
    pub rate: RateSchedule,
    /// Adam's decays and epsilon.
    #[config(default = "AdamConfig::default()")]
    pub adam: AdamConfig,
    /// Schedule-free sign descent in place of Adam (sparsify).
    #[config(default = "None")]
    pub signum: Option<SignumConfig>,
    /// The largest common norm of all gradients; `None` does not clip.
    #[config(default = "Some(1.0)")]
    pub clip: Option<f64>,
    /// How the dictionary is kept at unit norm.
    #[config(default = "Constraint::None")]
    pub constraint: Constraint,
    /// Steps over which the sparsity coefficient grows from 0.
    #[config(default = 0)]
    pub sparsity_warmup: usize,
    /// When a latent counts as dead.
    #[config(default = "DeadRule::Tokens(10_000_000)")]
    pub dead: DeadRule,
    /// The threshold that replaces a selection at inference.
    #[config(default = "None")]
    pub threshold: Option<ThresholdRule>,
    /// Resampling of dead latents.
    #[config(default = "None")]
    pub resample: Option<Resample>,
    /// The falling exponent of the penalty, in place of the objective's.
    #[config(default = "None")]
    pub anneal: Option<PAnneal>,
}

/// How the dictionary is kept at unit norm, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Constraint {
    /// Not at all: the April update, SAELens, Matryoshka.
    None,
    /// Project the gradient, step, normalise: dictionary_learning.
    ProjectStepNormalize,
    /// Project the gradient, normalise, step: the attention-output autoencoders.
    ProjectNormalizeStep,
    /// Normalise, project the gradient, step: OpenAI.
    NormalizeProjectStep,
    /// Normalise before the forward pass, project the gradient, step: sparsify.
    NormalizeForwardProjectStep,
}

/// When a latent counts as dead: from this time without an activation on in dictionary_learning's
/// convention and where there is no auxiliary term, after more than it in the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadRule {
    /// In rows.
    Tokens(u64),
    /// In steps.
    Steps(u64),
}

/// Resampling of dead latents (Bricken et al. 2023, appendix).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resample {
    /// Steps between resamplings; latents without an activation in the second half of them are
    /// dead.
    pub every: usize,
    /// The last step at which one happens.
    pub until: usize,
    /// How inputs are drawn.
    pub by: ResampleBy,
    /// Norm of the new encoder rows, in mean norms of the living (0.2).
    pub scale: f64,
}

impl SaeTrainingConfig {
    const NAME: &str = "SaeTrainingConfig";

    /// dictionary_learning's TopK and BatchTopK: AuxK, unit-norm decoder, clipping at 1, rate
    /// 2e-4 / √(F / 2¹⁴) with 1,000 steps of warm-up and decay over the last fifth.
    pub fn topk(config: &SaeConfig, steps: usize) -> Self {
        let rate = 2e-4 / (config.d_sae as f64 / 16_384.0).sqrt();
        let auxiliary = super::AuxK::new(Convention::DictionaryLearning);
        Self::new(
            ObjectiveConfig::new().with_auxiliary(Some(auxiliary)),
            RateSchedule::DictionaryLearning {
                rate,
                warmup: 1_000.min(steps / 5),
                decay_start: Some(steps - steps / 5),
                total: steps,
            },
        )
        .with_constraint(Constraint::ProjectStepNormalize)
        .with_threshold(Some(match config.activation {
            Activation::BatchTopK { .. } => ThresholdRule::SetThenAverage {
                beta: 0.999,
                start: 1_000.min(steps / 5),
            },
            _ => ThresholdRule::RowsSetThenAverage {
                beta: 0.999,
                start: 1_000.min(steps / 5),
            },
        }))
    }

    /// ReLU with an L1 penalty on latents and a unit-norm decoder (Bricken et al., as in
    /// dictionary_learning): no clipping, 5,000 steps of sparsity warm-up.
    pub fn l1(coefficient: f64, rate: f64, steps: usize) -> Self {
        let sparsity = Sparsity::Lp {
            coefficient,
            weighted: false,
            p: 1.0,
            power: false,
        };
        Self::new(
            ObjectiveConfig::new().with_sparsity(sparsity),
            RateSchedule::DictionaryLearning {
                rate,
                warmup: 1_000.min(steps / 5),
                decay_start: Some(steps - steps / 5),
                total: steps,
            },
        )
        .with_clip(None)
        .with_constraint(Constraint::ProjectStepNormalize)
        .with_sparsity_warmup(5_000.min(steps / 5))
    }

    /// sparsify's defaults: FVU, no auxiliary term, schedule-free sign descent at
    /// 5e-3 / √(F / 2¹⁴), a dictionary that is normalised before every forward pass.
    pub fn sparsify(config: &SaeConfig) -> Self {
        let rate = 5e-3 / (config.d_sae as f64 / 16_384.0).sqrt();
        Self::new(
            ObjectiveConfig::new().with_reconstruction(Reconstruction::Fvu),
            RateSchedule::Constant { rate },
        )
        .with_signum(Some(SignumConfig::default()))
        .with_clip(None)
        .with_constraint(Constraint::NormalizeForwardProjectStep)
    }

    /// Refuses impossible values and terms that the variant does not have.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self, sae: &SaeConfig) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: &str| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        self.objective.validate(sae)?;
        self.rate.validate()?;
        self.adam.validate()?;
        if let Some(signum) = &self.signum {
            signum.validate()?;
            if self.resample.is_some() {
                let rule = "needs Adam: sign descent keeps no moments to reset";
                return refuse("resample", &self.resample, rule);
            }
        }
        if let Some(clip) = self.clip
            && !(clip.is_finite() && clip > 0.0)
        {
            return refuse("clip", &clip, "must be finite and above 0");
        }
        if let DeadRule::Tokens(0) | DeadRule::Steps(0) = self.dead {
            return refuse("dead", &self.dead, "must be at least 1");
        }
        if self.threshold.is_some() && sae.activation.k().is_none() {
            return refuse("threshold", &self.threshold, "needs a selecting activation");
        }
        if let Some(Resample { every, scale, .. }) = self.resample {
            if every < 2 {
                return refuse("resample.every", &every, "must be at least 2");
            }
            if !(scale.is_finite() && scale > 0.0) {
                return refuse("resample.scale", &scale, "must be finite and above 0");
            }
            if sae.d_out.is_some() {
                return refuse("resample", &self.resample, "is for autoencoders only");
            }
            if matches!(
                sae.activation,
                Activation::Gated | Activation::JumpRelu { .. }
            ) {
                let rule = "is for latents without gates and thresholds of their own";
                return refuse("resample", &self.resample, rule);
            }
        }
        if let Some(anneal) = &self.anneal {
            anneal.validate()?;
            if !matches!(self.objective.sparsity, Sparsity::Lp { .. }) {
                return refuse("anneal", anneal, "needs an Lp penalty");
            }
        }
        Ok(())
    }
}

/// An autoencoder in training.
pub struct SaeTrainer {
    /// The autoencoder, on a device with autodiff.
    pub sae: SparseAutoencoder,
    /// The optimiser, unless the next field is one.
    pub adam: Adam,
    /// Schedule-free sign descent, where it was asked for.
    pub signum: Option<Signum>,
    /// How long latents have been silent.
    pub dead: DeadLatents,
    /// The falling exponent, where there is one.
    pub anneal: Option<PAnnealState>,
    /// The threshold that was estimated.
    pub threshold: Option<f32>,
    config: SaeTrainingConfig,
    seed: Seed,
}

/// What [`SaeTrainer`] keeps besides weights and moments.
#[derive(Serialize, Deserialize)]
pub(crate) struct TrainerState {
    pub dead: DeadLatents,
    pub anneal: Option<PAnnealState>,
    pub threshold: Option<f32>,
}

impl SaeTrainer {
    /// Before the first step. `seed` draws the inputs of resampled latents.
    ///
    /// # Errors
    /// What [`SaeTrainingConfig::validate`] reports; a model without autodiff.
    pub fn new(sae: SparseAutoencoder, config: SaeTrainingConfig, seed: Seed) -> Result<Self> {
        config.validate(sae.config())?;
        if !sae.decoder.val().is_autodiff() {
            return Err(Error::input(
                "device of the autoencoder",
                "without autodiff",
                "initialise it on `device.autodiff()` to train it",
            ));
        }
        let (DeadRule::Tokens(limit) | DeadRule::Steps(limit)) = config.dead;
        let convention = config
            .objective
            .auxiliary
            .map(|auxiliary| auxiliary.convention);
        let strict = convention.is_some_and(Convention::is_strict);
        let fired_above = convention.map_or(0.0, Convention::fired_above);
        let limit = limit.saturating_add(strict.into());
        Ok(Self {
            dead: DeadLatents::new(sae.config().d_sae, limit, fired_above),
            adam: Adam::new(config.adam)?,
            signum: config.signum.map(Signum::new).transpose()?,
            anneal: config.anneal.as_ref().map(PAnneal::begin),
            threshold: sae.inference_threshold(),
            sae,
            config,
            seed,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SaeTrainingConfig {
        &self.config
    }

    /// Step `step` on inputs `x` `[rows, d_in]` and, for a transcoder, targets `y` `[rows, d_out]`.
    ///
    /// # Errors
    /// As [`SparseAutoencoder::loss`].
    pub fn step(&mut self, step: usize, x: Tensor<2>, y: Option<Tensor<2>>) -> Result<Scalars> {
        self.step_with(step, x.clone(), |sae, objective, situation| {
            sae.loss(x, y, objective, situation)
        })
    }

    /// [`step`](Self::step) with another loss of inputs `x`, e.g. one that selects by a gradient.
    ///
    /// # Errors
    /// Those of `loss`.
    pub fn step_with(
        &mut self,
        step: usize,
        x: Tensor<2>,
        loss: impl FnOnce(
            &SparseAutoencoder,
            &ObjectiveConfig,
            Situation,
        ) -> Result<(SaeLoss, SaeOutput)>,
    ) -> Result<Scalars> {
        if self.config.constraint == Constraint::NormalizeForwardProjectStep {
            self.sae = self.sae.clone().normalize_decoder(f64::from(f32::EPSILON));
        }
        let objective = self.objective();
        let mask = self.dead.mask();
        let situation = Situation {
            dead: Some(&mask),
            silent: Some((&self.dead, self.amount(&x))),
            sparsity_scale: Some(sparsity_warmup(step, self.config.sparsity_warmup)),
        };
        let (loss, output) = loss(&self.sae, &objective, situation)?;
        let gradients = GradientsParams::from_grads(loss.total.backward(), &self.sae);
        self.update(step, gradients)?;
        self.after(step, &x, &output)?;
        Ok(self.scalars(&loss, &output))
    }

    /// The objective with the present exponent of an annealed penalty.
    fn objective(&self) -> ObjectiveConfig {
        let mut objective = self.config.objective.clone();
        if let (
            Some(state),
            Sparsity::Lp {
                weighted, power, ..
            },
        ) = (&self.anneal, objective.sparsity)
        {
            objective.sparsity = Sparsity::Lp {
                coefficient: state.coefficient,
                p: state.p,
                weighted,
                power,
            };
        }
        objective
    }

    /// Constraint, clipping and the optimiser's step.
    ///
    /// # Errors
    /// A limit that the clipping refuses.
    pub fn update(&mut self, step: usize, mut gradients: GradientsParams) -> Result<()> {
        let constraint = self.config.constraint;
        let normalized = |sae: SparseAutoencoder| sae.normalize_decoder(0.0);
        if constraint == Constraint::NormalizeProjectStep {
            self.sae = normalized(self.sae.clone());
        }
        if constraint != Constraint::None {
            gradients = self.sae.project_decoder_gradient(gradients, 0.0);
        }
        if constraint == Constraint::ProjectNormalizeStep {
            self.sae = normalized(self.sae.clone());
        }
        if let Some(clip) = self.config.clip {
            gradients = clip_global_norm(&self.sae, gradients, clip);
        }
        let rate = self.config.rate.at(step);
        let sae = self.sae.clone();
        let sae = match &mut self.signum {
            Some(signum) => signum.step(rate, sae, gradients),
            None => self.adam.step(rate, sae, gradients),
        };
        self.sae = match constraint {
            Constraint::ProjectStepNormalize => normalized(sae),
            _ => sae,
        };
        Ok(())
    }

    /// The autoencoder that is used after training: the present weights, or their average where
    /// sign descent keeps one.
    pub fn trained(&self) -> SparseAutoencoder {
        match &self.signum {
            Some(signum) => signum.averaged(self.sae.clone()),
            None => self.sae.clone(),
        }
    }

    /// What a batch of inputs `x` adds to the age of a silent latent.
    fn amount(&self, x: &Tensor<2>) -> u64 {
        match self.config.dead {
            DeadRule::Tokens(_) => x.dims()[0] as u64,
            DeadRule::Steps(_) => 1,
        }
    }

    /// Everything that follows the codes of a step.
    fn after(&mut self, step: usize, x: &Tensor<2>, output: &SaeOutput) -> Result<()> {
        let codes = &output.codes;
        self.dead.update(codes, self.amount(x));
        if let Some(rule) = self.config.threshold {
            let after = rule.update(self.threshold, codes, step);
            if after != self.threshold {
                self.threshold = after;
                if let (Some(value), true) = (after, self.sae.batch_threshold.is_some()) {
                    self.sae = self.sae.clone().set_inference_threshold(value)?;
                }
            }
        }
        if let (Some(state), Some(plan)) = (&mut self.anneal, &self.config.anneal) {
            let Sparsity::Lp { power, .. } = self.config.objective.sparsity else {
                return Ok(());
            };
            let z = codes.to_dense().without_autodiff();
            let penalty = |p: f64| {
                let sum = lp_sum(z.clone(), p);
                let mean = match power {
                    true => sum.mean(),
                    false => sum.powf_scalar(1.0 / p).mean(),
                };
                let mean = mean.into_data().convert::<f32>();
                mean.as_slice::<f32>()
                    .ok()
                    .and_then(|mean| mean.first().copied())
            };
            let now = penalty(state.p).unwrap_or_default();
            let next = state.next_p.and_then(penalty).unwrap_or_default();
            state.after_step(plan, step, now.into(), next.into());
        }
        self.resample(step, x)
    }

    fn resample(&mut self, step: usize, x: &Tensor<2>) -> Result<()> {
        let Some(plan) = self.config.resample else {
            return Ok(());
        };
        if step == 0 || !step.is_multiple_of(plan.every) || step > plan.until {
            return Ok(());
        }
        let half = match self.config.dead {
            DeadRule::Tokens(_) => (plan.every / 2 * x.dims()[0]) as u64,
            DeadRule::Steps(_) => (plan.every / 2) as u64,
        };
        let silent: Vec<bool> = self.dead.counters().iter().map(|&age| age > half).collect();
        let count = silent.iter().filter(|&&silent| silent).count();
        if count == 0 || count == silent.len() {
            return Ok(());
        }
        let norms = error_norms(&self.sae, x.clone())?
            .into_data()
            .convert::<f32>();
        let norms = norms.as_slice::<f32>().unwrap_or_default();
        let seed = self.seed.stream("resample").at(step as u64);
        let drawn = draw_inputs(norms, count, plan.by, seed)?;
        self.sae =
            self.sae
                .clone()
                .resample(&mut self.adam, x.clone(), &silent, &drawn, plan.scale)?;
        Ok(())
    }

    fn scalars(&self, loss: &SaeLoss, output: &SaeOutput) -> Scalars {
        let plain = |term: &Tensor<1>| term.clone().without_autodiff();
        let mut scalars = Scalars::new()
            .with("loss", plain(&loss.total))
            .with("reconstruction", plain(&loss.reconstruction))
            .with("l0", output.codes.l0())
            .with_value("dead", self.dead.count() as f64);
        let terms = [
            ("sparsity", &loss.sparsity),
            ("second", &loss.second),
            ("auxiliary", &loss.auxiliary),
            ("multi_topk", &loss.multi_topk),
        ];
        for (name, term) in terms {
            if let Some(term) = term {
                scalars = scalars.with(name, plain(term));
            }
        }
        scalars
    }

    pub(crate) fn state(&self) -> TrainerState {
        TrainerState {
            dead: self.dead.clone(),
            anneal: self.anneal.clone(),
            threshold: self.threshold,
        }
    }

    pub(crate) fn restore(&mut self, state: TrainerState) -> Result<()> {
        let width = self.sae.config().d_sae;
        if state.dead.counters().len() != width {
            return Err(Error::input(
                "latents of the saved trainer",
                state.dead.counters().len(),
                format!("must be d_sae, {width}"),
            ));
        }
        self.dead = state.dead;
        self.anneal = state.anneal;
        self.threshold = state.threshold;
        Ok(())
    }
}

/// The mean squared deviation of `x` `[rows, d]` from its mean over rows: the calibration of
/// [`Reconstruction::ScaledMean`].
pub fn sample_variance(x: Tensor<2>) -> f64 {
    let mean = x.clone().mean_dim(0);
    let variance = (x - mean).square().mean().into_data().convert::<f32>();
    let variance = variance
        .as_slice::<f32>()
        .ok()
        .and_then(|all| all.first().copied());
    f64::from(variance.unwrap_or(f32::NAN))
}
