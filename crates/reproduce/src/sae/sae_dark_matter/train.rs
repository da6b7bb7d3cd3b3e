//! The autoencoders of the comparison, trained on rows that are in memory.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use menagerie_core::{Result, Seed};
use menagerie_sae::{
    activations::{ActivationBuffer, BufferConfig, RowSource, Rows, geometric_median},
    sae::{
        SaeConfig, SaeRun, SparseAutoencoder,
        training::{SaeTrainer, SaeTrainingConfig},
    },
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use std::path::Path;

/// Rows whose geometric median is the first b_dec.
const CENTRE: usize = 4_096;

/// One autoencoder to train.
pub(super) struct Job<'a> {
    /// The name of its folder.
    pub id: String,
    /// The rows that it learns `[rows, width]`.
    pub rows: &'a Tensor<2>,
    /// What the rows are, for the record.
    pub content: String,
    pub config: SaeConfig,
    pub training: SaeTrainingConfig,
    /// Steps and rows per step.
    pub steps: usize,
    pub batch: usize,
    pub seed: Seed,
}

/// `config.json` of a run.
#[derive(serde::Serialize)]
struct Setup<'a> {
    content: &'a str,
    config: &'a SaeConfig,
    training: &'a SaeTrainingConfig,
    steps: usize,
    batch: usize,
    seed: Seed,
    device: String,
}

impl Job<'_> {
    /// Trains it in a folder below `out`, or takes up the run that is there.
    pub fn run(
        &self,
        out: &Path,
        device: &Device,
        resume: bool,
        progress: &Progress,
    ) -> Result<SparseAutoencoder> {
        let run = Run::create(
            &out.join(&self.id),
            &Setup {
                content: &self.content,
                config: &self.config,
                training: &self.training,
                steps: self.steps,
                batch: self.batch,
                seed: self.seed,
                device: format!("{device:?}"),
            },
            resume,
        )?;
        let autodiff = device.clone().autodiff();
        let weights = self.seed.stream("weights");
        let mut sae = initialise(&autodiff, weights, || self.config.init(&autodiff))?;
        let [rows, _] = self.rows.dims();
        let first = self.rows.clone().slice_dim(0, 0..rows.min(CENTRE));
        sae.b_dec = Param::from_tensor(Tensor::from_inner(geometric_median(first)?));

        let trainer = SaeTrainer::new(sae, self.training.clone(), self.seed)?;
        // The buffer serves half of what it holds before it takes more, hence one epoch in reserve.
        let epochs = (self.steps * self.batch).div_ceil(rows) + 1;
        let source = RowSource::new(Rows::from_tensor(self.rows.clone())?, self.batch, epochs)?;
        let buffer = BufferConfig::new(rows.max(self.batch), self.batch);
        let batches = ActivationBuffer::new(source, &buffer, self.seed.stream("batches"))?;
        let mut procedure = SaeRun::new(trainer, batches)?;
        let fit = FitConfig {
            log_every: (self.steps / 20).max(1),
            checkpoint_every: self.steps,
            keep_checkpoints: 1,
            ..FitConfig::new(self.steps)
        };
        run.fit(&mut procedure, &fit, &progress.labelled(&self.id))?;
        Ok(procedure.into_trainer().sae.valid())
    }
}
