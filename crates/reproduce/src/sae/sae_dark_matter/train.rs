//! The autoencoders of the comparison, trained on rows in memory or on a stream of them.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_sae::{
    activations::{
        ActivationBuffer, ActivationSource, BufferConfig, RowSource, Rows, geometric_median,
    },
    sae::{
        SaeConfig, SaeRun, SparseAutoencoder,
        training::{SaeTrainer, SaeTrainingConfig},
    },
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use std::path::Path;

/// Rows whose geometric median is the first b_dec.
const CENTRE: usize = 4_096;

/// Makes a stream of rows anew.
type Stream<'a> = Box<dyn Fn() -> Result<Box<dyn ActivationSource + 'a>> + Sync + 'a>;

/// What an autoencoder learns.
pub(super) enum Supply<'a> {
    /// Rows in memory `[rows, width]`, as often as it takes.
    Rows(&'a Tensor<2>),
    /// A stream that is long enough.
    Stream(Stream<'a>),
}

/// One autoencoder to train.
pub(super) struct Job<'a> {
    /// The name of its folder.
    pub id: String,
    /// The rows that it learns.
    pub supply: Supply<'a>,
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
        let mut first = self.source()?.0;
        let first = first.next()?.ok_or_else(|| {
            Error::input("the rows to learn", "none", "must be at least one block")
        })?;
        let centre = first.into_batch(device).x;
        let count = centre.dims()[0].min(CENTRE);
        sae = sae.with_decoder_bias(geometric_median(centre.slice_dim(0, 0..count))?)?;

        let trainer = SaeTrainer::new(sae, self.training.clone(), self.seed)?;
        let (source, mixed) = self.source()?;
        let buffer = BufferConfig::new(mixed.max(self.batch), self.batch);
        let batches = ActivationBuffer::new(source, &buffer, self.seed.stream("batches"))?;
        let mut procedure = SaeRun::new(trainer, batches)?;
        let fit = FitConfig {
            log_every: (self.steps / 20).max(1),
            checkpoint_every: self.steps.min(5_000),
            keep_checkpoints: 1,
            ..FitConfig::new(self.steps)
        };
        run.fit(&mut procedure, &fit, &progress.labelled(&self.id))?;
        Ok(procedure.into_trainer().sae.valid())
    }

    /// The rows, and how many of them a buffer should mix.
    fn source(&self) -> Result<(Box<dyn ActivationSource + '_>, usize)> {
        Ok(match &self.supply {
            Supply::Rows(rows) => {
                let [count, _] = rows.dims();
                // The buffer serves half of what it holds before it takes more, hence one epoch in
                // reserve.
                let epochs = (self.steps * self.batch).div_ceil(count) + 1;
                let rows = Rows::from_tensor((*rows).clone())?;
                let block = CENTRE.max(self.batch);
                (Box::new(RowSource::new(rows, block, epochs)?), count)
            }
            Supply::Stream(stream) => (stream()?, 2 * self.batch),
        })
    }
}
