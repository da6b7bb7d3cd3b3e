//! A whole training: batches from a stream, into a run folder that can be resumed.

use super::{
    metrics::Quality,
    training::{SaeTrainer, TrainerState},
};
use crate::activations::{Batch, Batches};
use menagerie_core::{Error, Result, config};
use menagerie_train::{Metrics, Procedure, Scalars, load_module, non_finite, save_module};
use std::path::Path;

/// What measures an autoencoder on held-out activations.
type Evaluate<'a> = Box<dyn FnMut(&SaeTrainer) -> Result<Metrics> + 'a>;

/// What a step makes of its batch.
type Step<'a> = Box<dyn FnMut(&mut SaeTrainer, usize, Batch) -> Result<Scalars> + 'a>;

/// An autoencoder that is trained on a stream of batches, one per step.
///
/// Weights, moments, dead latents, thresholds and the stream's place are saved, so a run that was
/// killed goes on as if it had not been. The batch's paired rows are a transcoder's targets.
pub struct SaeRun<'a, B> {
    trainer: SaeTrainer,
    batches: B,
    step: Step<'a>,
    evaluate: Option<Evaluate<'a>>,
}

impl<'a, B: Batches> SaeRun<'a, B> {
    /// Before the first step.
    ///
    /// # Errors
    /// A stream of activations of another width than the autoencoder reads.
    pub fn new(trainer: SaeTrainer, batches: B) -> Result<Self> {
        let d_in = trainer.sae.config().d_in;
        if batches.width() != d_in {
            return Err(Error::input(
                "width of the activations",
                batches.width(),
                format!("must be d_in, {d_in}"),
            ));
        }
        Ok(Self {
            trainer,
            batches,
            step: Box::new(|trainer, step, batch| {
                let targets = match trainer.sae.config().d_out {
                    Some(_) => batch.paired,
                    None => None,
                };
                trainer.step(step, batch.x, targets)
            }),
            evaluate: None,
        })
    }

    /// Makes of every batch what `step` does instead of the trainer's own step.
    pub fn stepping(
        mut self,
        step: impl FnMut(&mut SaeTrainer, usize, Batch) -> Result<Scalars> + 'a,
    ) -> Self {
        self.step = Box::new(step);
        self
    }

    /// Measures with `evaluate` whenever the run evaluates.
    pub fn evaluating(mut self, evaluate: impl FnMut(&SaeTrainer) -> Result<Metrics> + 'a) -> Self {
        self.evaluate = Some(Box::new(evaluate));
        self
    }

    /// The trainer with the present weights.
    pub fn trainer(&self) -> &SaeTrainer {
        &self.trainer
    }

    /// The trainer with the final weights.
    pub fn into_trainer(self) -> SaeTrainer {
        self.trainer
    }
}

/// The numbers of [`Quality`] that are worth a line in a log.
pub fn quality_metrics(quality: &Quality) -> Metrics {
    Metrics::new()
        .with("l0", quality.l0)
        .with("fvu", quality.fvu)
        .with("explained_variance", quality.explained_variance)
        .with("cosine", quality.cosine)
        .with("dead", quality.dead() as f64)
}

impl<B: Batches> Procedure for SaeRun<'_, B> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let device = self.trainer.sae.decoder.device();
        let batch = self.batches.next_batch(&device)?.ok_or_else(|| {
            Error::input(
                "the stream of activations",
                format!("{step} batches"),
                "ended before the last step: give it more tokens or epochs",
            )
        })?;
        (self.step)(&mut self.trainer, step, batch)
    }

    fn evaluate(&mut self, _step: usize) -> Result<Metrics> {
        match &mut self.evaluate {
            Some(evaluate) => evaluate(&self.trainer),
            None => Ok(Metrics::new()),
        }
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        non_finite(&self.trainer.sae)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        save_module(&self.trainer.sae, &folder.join("sae.bpk"))?;
        match &self.trainer.signum {
            Some(signum) => signum.save(&folder.join("signum.safetensors"))?,
            None => self.trainer.adam.save(&folder.join("adam.safetensors"))?,
        }
        config::save(&self.trainer.state(), &folder.join("trainer.json"))?;
        self.batches.save(folder)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let device = self.trainer.sae.decoder.device();
        self.trainer.sae = load_module(self.trainer.sae.clone(), &folder.join("sae.bpk"))?;
        match &mut self.trainer.signum {
            Some(signum) => signum.load(&folder.join("signum.safetensors"), &device)?,
            None => {
                let moments = folder.join("adam.safetensors");
                self.trainer.adam.load(&moments, &device)?;
            }
        }
        let state: TrainerState = config::load(&folder.join("trainer.json"))?;
        self.trainer.restore(state)?;
        self.batches.load(folder)
    }
}
