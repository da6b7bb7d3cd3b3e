//! Autoencoders on the procedural task, of whose features the head reads a few.

use crate::{Context, jobs};
use anyhow::Context as _;
use burn::module::Module;
use menagerie_core::Seed;
use menagerie_sae::{
    activations::{ActivationBuffer, BufferConfig, RowSource, Rows, geometric_median},
    gradient_sae::{
        GradientSae, GradientSaeConfig, GradientSaeTrainer, GradientSaeTrainingConfig,
        procedural::TaskConfig,
    },
    sae::{Codes, metrics::quality_of},
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use serde::Serialize;

/// The experiment.
pub struct Procedural {
    pub task: TaskConfig,
    pub rows: usize,
    pub held_out: usize,
    pub sae: GradientSaeConfig,
    pub betas: Vec<f64>,
    pub seeds: usize,
    pub training: GradientSaeTrainingConfig,
    pub seed: Seed,
    pub workers: usize,
}

/// What is measured on held-out rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub beta: f64,
    /// Growth of the task's loss in nats, latents selected as in training.
    pub increase: f64,
    /// The same with the k largest latents.
    pub plain_increase: f64,
    pub fvu: f64,
    pub plain_fvu: f64,
    /// Mean over the features that the head reads, and over the others, of the largest cosine with
    /// a dictionary vector.
    pub recovered: [f64; 2],
}

#[derive(Serialize)]
struct Setup<'a> {
    task: String,
    rows: usize,
    sae: &'a GradientSaeConfig,
    training: &'a GradientSaeTrainingConfig,
    seed: Seed,
}

impl Procedural {
    /// The outcomes, seeds innermost.
    pub fn run(&self, context: &Context) -> anyhow::Result<Vec<Outcome>> {
        let arms: Vec<(f64, usize)> = self
            .betas
            .iter()
            .flat_map(|&beta| (0..self.seeds).map(move |seed| (beta, seed)))
            .collect();
        jobs::run(&arms, self.workers, |&(beta, seed)| {
            let name = format!("task-beta{beta}-seed{seed}");
            self.train(context, beta, seed, &name).context(name)
        })
    }

    fn train(
        &self,
        context: &Context,
        beta: f64,
        seed: usize,
        name: &str,
    ) -> anyhow::Result<Outcome> {
        let seed = self.seed.stream("task").at(seed as u64);
        let task = self.task.init(seed, &context.device)?;
        let data = task.sample(self.rows, seed.stream("train"));
        let first = data.x.clone().narrow(0, 0, self.rows.min(4_096));
        let rows = Rows::from_tensor(data.x)?;
        let gradients = Rows::from_tensor(data.g)?;
        let rows = rows.with_paired(self.task.d, gradients.x().to_vec())?;
        let config = self.sae.clone().with_beta(beta);
        let run = Run::create(
            &context.out.join(name),
            &Setup {
                task: format!("{:?}", self.task),
                rows: self.rows,
                sae: &config,
                training: &self.training,
                seed,
            },
            context.resume,
        )?;
        let device = context.device.clone().autodiff();
        let sae = initialise(&device, seed.stream("weights"), || config.init(&device))?;
        let sae = sae.with_bias(geometric_median(first)?)?;
        let trainer = GradientSaeTrainer::new(sae, &self.training, seed)?;
        let batch = self.training.batch;
        let passes = (self.training.steps * batch).div_ceil(self.rows) + 1;
        let mixing = BufferConfig::new(self.rows.max(batch), batch);
        let source = RowSource::new(rows, batch, passes)?;
        let batches = ActivationBuffer::new(source, &mixing, seed.stream("batches"))?;
        let mut procedure = trainer.run(batches)?;
        let fit = FitConfig {
            log_every: (self.training.steps / 20).max(1),
            checkpoint_every: (self.training.steps / 2).max(1),
            keep_checkpoints: 1,
            ..FitConfig::new(self.training.steps)
        };
        run.fit(&mut procedure, &fit, &Progress::auto().labelled(name))?;
        let sae = GradientSae::from_sae(procedure.into_trainer().sae.valid(), config)?;

        let data = task.sample(self.held_out, seed.stream("held out"));
        let clean = task.loss(data.x.clone(), data.labels.clone());
        let measure = |codes: Codes| -> menagerie_core::Result<(f64, f64)> {
            let reconstruction = sae.decode(&codes)?;
            let fvu = quality_of(data.x.clone(), &codes, reconstruction.clone())?.fvu;
            Ok((task.loss(reconstruction, data.labels.clone()) - clean, fvu))
        };
        let (increase, fvu) = measure(sae.encode(data.x.clone(), data.g.clone())?)?;
        let (plain_increase, plain_fvu) = measure(sae.encode_plain(data.x.clone())?)?;
        Ok(Outcome {
            beta,
            increase,
            plain_increase,
            fvu,
            plain_fvu,
            recovered: task.recovered(sae.sae.decoder.val()),
        })
    }
}
