//! Autoencoders inside a language model.

use crate::{Context, jobs, sae::host::Host};
use anyhow::Context as _;
use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use menagerie_core::{Result, Seed};
use menagerie_data_text::{Windows, split};
use menagerie_sae::{
    activations::{
        ActivationBuffer, ActivationSource, BufferConfig, HookedModel, HostSource,
        HostSourceConfig, RowSource, Rows, geometric_median,
    },
    gradient_sae::{GradientSae, GradientSaeConfig, GradientSaeTrainer, GradientSaeTrainingConfig},
    host::{HookPoint, LanguageModel, activation_gradient, cross_entropy},
    sae::{Codes, SparseAutoencoder, metrics::quality_of},
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use rand::seq::SliceRandom;
use serde::Serialize;

/// Rows that are kept in memory at most.
const IN_MEMORY: usize = 1 << 17;

/// The experiment.
pub struct Language {
    pub host: Host,
    pub hook: &'static str,
    /// Activations that are trained on.
    pub rows: usize,
    pub sparsities: Vec<usize>,
    pub betas: Vec<f64>,
    pub seeds: usize,
    /// Sizes; k and β are those of the arm.
    pub sae: GradientSaeConfig,
    pub training: GradientSaeTrainingConfig,
    pub evaluation_windows: usize,
    pub steered_latents: usize,
    pub steered_windows: usize,
    pub seed: Seed,
    pub workers: usize,
}

/// One autoencoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    pub k: usize,
    pub beta: f64,
    pub seed: usize,
}

/// What is measured of it on held-out text.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub arm: Arm,
    /// Growth of the cross-entropy in nats, latents selected as in training.
    pub increase: f64,
    /// The same with the k largest latents.
    pub plain_increase: f64,
    /// Fraction of variance unexplained, selected as in training.
    pub fvu: f64,
    /// The same with the k largest latents.
    pub plain_fvu: f64,
    /// Latents that no training activation activates.
    pub dead: f64,
    /// Mean norm of the change of the logits when a live latent is added.
    pub steering: f64,
}

/// A model, its text and what was read of it.
struct Prepared {
    model: LanguageModel,
    hook: HookPoint,
    /// Activations to train on, or a first part of them.
    rows: Rows,
    /// The tokens to read the activations from, where they are too many to keep.
    stream: Option<(Vec<u32>, HostSourceConfig)>,
    /// Held-out windows `[windows, tokens]`.
    tokens: Tensor<2, Int>,
    x: Tensor<3>,
    g: Tensor<3>,
    clean: Tensor<3>,
}

/// What a run's folder says of it.
#[derive(Serialize)]
struct Setup<'a> {
    host: Host,
    hook: &'a str,
    rows: usize,
    sae: &'a GradientSaeConfig,
    training: &'a GradientSaeTrainingConfig,
    seed: Seed,
}

impl Language {
    /// Cross-entropy of the unchanged host on the held-out text, and the outcomes in the order of
    /// [`arms`](Self::arms).
    pub fn run(&self, context: &Context) -> anyhow::Result<(f64, Vec<Outcome>)> {
        let prepared = self.prepare(context)?;
        let arms = self.arms();
        let outcomes = jobs::run(&arms, self.workers, |arm| {
            let name = format!("k{}-beta{}-seed{}", arm.k, arm.beta, arm.seed);
            self.train(context, &prepared, arm, &name).context(name)
        })?;
        let clean = mean(cross_entropy(
            prepared.clean.clone(),
            prepared.tokens.clone(),
        ));
        Ok((clean, outcomes))
    }

    /// Every sparsity with every strength and seed.
    pub fn arms(&self) -> Vec<Arm> {
        let mut arms = vec![];
        for &k in &self.sparsities {
            for &beta in &self.betas {
                arms.extend((0..self.seeds).map(|seed| Arm { k, beta, seed }));
            }
        }
        arms
    }

    fn prepare(&self, context: &Context) -> anyhow::Result<Prepared> {
        let device = &context.device;
        let (model, tokens, length) = self.host.load(context, self.seed.stream("host"))?;
        let hook = HookPoint::parse(self.hook, model.config())?;
        let (train, held_out) = split(&tokens, 0.1)?;

        // The first position has an activation of its own kind, the last no later loss.
        let windows = HostSourceConfig::new(length, 32)
            .with_epochs(usize::MAX >> 32)
            .with_drop_first(1)
            .with_drop_last(1);
        let source = || -> Result<HostSource<HookedModel>> {
            let name = format!("{:?}", self.host);
            let probe = HookedModel::new(&model, name, hook)?.with_gradients();
            HostSource::new(probe, train.clone(), &windows, self.seed.stream("windows"))
        };
        let mut source = source()?;
        let (mut x, mut g) = (vec![], vec![]);
        let width = self.sae.d_in;
        let kept = self.rows.min(IN_MEMORY);
        while x.len() < kept * width {
            let Some(block) = source.next()? else { break };
            x.extend_from_slice(block.x());
            g.extend_from_slice(block.paired());
        }
        x.truncate(kept * width);
        g.truncate(kept * width);
        let rows = Rows::new(width, x)?.with_paired(width, g)?;

        // More rows than fit in memory are read again as the training goes.
        let stream = self.rows > IN_MEMORY;
        let held_out = Windows::new(held_out, length)?;
        let batch = held_out.random(self.evaluation_windows, self.seed.stream("evaluation"));
        let shape = [batch.rows, batch.length];
        let tokens = Tensor::from_data(TensorData::new(batch.inputs, shape), device);
        let (x, g) = activation_gradient(&model, tokens.clone(), &hook)?;
        let clean = model.forward(tokens.clone())?;
        Ok(Prepared {
            model,
            hook,
            rows,
            stream: stream.then_some((train, windows)),
            tokens,
            x,
            g,
            clean,
        })
    }

    fn train(
        &self,
        context: &Context,
        prepared: &Prepared,
        arm: &Arm,
        name: &str,
    ) -> anyhow::Result<Outcome> {
        let config = GradientSaeConfig {
            k: arm.k,
            beta: arm.beta,
            ..self.sae.clone()
        };
        // Arms that differ in k or β alone share weights and batches.
        let seed = self.seed.stream("sae").at(arm.seed as u64);
        let run = Run::create(
            &context.out.join(name),
            &Setup {
                host: self.host,
                hook: self.hook,
                rows: self.rows,
                sae: &config,
                training: &self.training,
                seed,
            },
            context.resume,
        )?;
        let device = context.device.clone().autodiff();
        let sae = initialise(&device, seed.stream("weights"), || config.init(&device))?;
        let first = chunks(&prepared.rows, 4_096, &context.device).next();
        let (first, _) = first.context("no activation")?;
        let sae = sae.with_bias(geometric_median(first)?)?;
        let trainer = GradientSaeTrainer::new(sae, &self.training, seed)?;
        let sae = match &prepared.stream {
            None => {
                let batch = self.training.batch;
                let rows = &prepared.rows;
                let passes = (self.training.steps * batch).div_ceil(rows.len()) + 1;
                let source = RowSource::new(rows.clone(), batch, passes)?;
                self.fit(&run, trainer, source, rows.len(), seed, name)?
            }
            Some((tokens, windows)) => {
                let model = format!("{:?}", self.host);
                let probe = HookedModel::new(&prepared.model, model, prepared.hook)?;
                let probe = probe.with_gradients();
                let source =
                    HostSource::new(probe, tokens.clone(), windows, seed.stream("windows"))?;
                self.fit(&run, trainer, source, IN_MEMORY, seed, name)?
            }
        };
        let sae = GradientSae::from_sae(sae.valid(), config)?;
        Ok(self.measure(context, prepared, arm, &sae)?)
    }

    fn fit(
        &self,
        run: &Run,
        trainer: GradientSaeTrainer,
        source: impl ActivationSource,
        capacity: usize,
        seed: Seed,
        name: &str,
    ) -> Result<SparseAutoencoder> {
        let batch = self.training.batch;
        let mixing = BufferConfig::new(capacity.max(batch), batch);
        let batches = ActivationBuffer::new(source, &mixing, seed.stream("batches"))?;
        let mut procedure = trainer.run(batches)?;
        let fit = FitConfig {
            log_every: (self.training.steps / 20).max(1),
            checkpoint_every: (self.training.steps / 2).max(1),
            keep_checkpoints: 1,
            ..FitConfig::new(self.training.steps)
        };
        run.fit(&mut procedure, &fit, &Progress::auto().labelled(name))?;
        Ok(procedure.into_trainer().sae)
    }

    fn measure(
        &self,
        context: &Context,
        prepared: &Prepared,
        arm: &Arm,
        sae: &GradientSae,
    ) -> Result<Outcome> {
        let Prepared {
            model,
            hook,
            tokens,
            ..
        } = prepared;
        let [windows, length, width] = prepared.x.dims();
        // The first position is excluded, as in training: the host keeps its own activation there.
        let flat = |t: &Tensor<3>| -> Tensor<2> {
            let rest = t.clone().narrow(1, 1, length - 1);
            rest.reshape([windows * (length - 1), width])
        };
        let (x, g) = (flat(&prepared.x), flat(&prepared.g));
        let clean = mean(cross_entropy(prepared.clean.clone(), tokens.clone()));
        let spliced = |codes: &Codes| -> Result<(f64, f64)> {
            let reconstruction = sae.decode(codes)?;
            let quality = quality_of(x.clone(), codes, reconstruction.clone())?;
            let rest = reconstruction.reshape([windows, length - 1, width]);
            let first = prepared.x.clone().narrow(1, 0, 1);
            let logits = model.continue_from(hook, Tensor::cat(vec![first, rest], 1))?;
            let loss = mean(cross_entropy(logits, tokens.clone()));
            Ok((loss - clean, quality.fvu))
        };
        let (increase, fvu) = spliced(&sae.encode(x.clone(), g)?)?;
        let (plain_increase, plain_fvu) = spliced(&sae.encode_plain(x.clone())?)?;

        let mut fired = vec![false; self.sae.d_sae];
        for (x, g) in chunks(&prepared.rows, 4_096, &context.device) {
            for (fired, count) in fired.iter_mut().zip(sae.encode(x, g)?.firing_counts()) {
                *fired |= count > 0;
            }
        }
        let dead = fired.iter().filter(|&&fired| !fired).count() as f64;
        let steering = self.steering(prepared, sae, &fired, arm)?;
        Ok(Outcome {
            arm: *arm,
            increase,
            plain_increase,
            fvu,
            plain_fvu,
            dead,
            steering,
        })
    }

    /// Adds each of some live latents, at the mean norm of an activation, to every position.
    fn steering(
        &self,
        prepared: &Prepared,
        sae: &GradientSae,
        fired: &[bool],
        arm: &Arm,
    ) -> Result<f64> {
        let places = fired.iter().enumerate();
        let mut live: Vec<usize> = places
            .filter(|(_, fired)| **fired)
            .map(|(i, _)| i)
            .collect();
        let seed = self.seed.stream("steering").at(arm.seed as u64);
        live.shuffle(&mut seed.rng());
        live.truncate(self.steered_latents);
        if live.is_empty() {
            return Ok(0.0);
        }
        let windows = self.steered_windows.min(prepared.x.dims()[0]);
        let x = prepared.x.clone().narrow(0, 0, windows);
        let clean = prepared.clean.clone().narrow(0, 0, windows);
        let norm = mean(x.clone().square().sum_dim(2).sqrt().squeeze_dim::<2>(2));
        let mut sum = 0.0;
        for &latent in &live {
            // The same norm for every latent, whatever the norm of its vector.
            let direction = sae.sae.direction(latent)?;
            let unit = direction.clone() / direction.square().sum().sqrt();
            let steered = x.clone() + (unit * norm).unsqueeze();
            let logits = prepared.model.continue_from(&prepared.hook, steered)?;
            let change: Tensor<3> = (logits - clean.clone()).square().sum_dim(2).sqrt();
            sum += mean(change.squeeze_dim::<2>(2));
        }
        Ok(sum / live.len() as f64)
    }
}

/// The mean over all entries.
pub fn mean(values: Tensor<2>) -> f64 {
    let data = values.mean().into_data().convert::<f64>();
    let mean = data
        .as_slice::<f64>()
        .ok()
        .and_then(|mean| mean.first().copied());
    mean.unwrap_or(f64::NAN)
}

/// Activations and gradients, so many rows at a time.
pub fn chunks<'a>(
    rows: &'a Rows,
    size: usize,
    device: &'a Device,
) -> impl Iterator<Item = (Tensor<2>, Tensor<2>)> + 'a {
    let width = rows.width();
    let tensor = move |values: &[f32]| {
        let shape = [values.len() / width, width];
        Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
    };
    let pairs = rows
        .x()
        .chunks(size * width)
        .zip(rows.paired().chunks(size * width));
    pairs.map(move |(x, g)| (tensor(x), tensor(g)))
}
