//! The runs of the comparison: every arm with every seed, several at a time.

use super::measure::{self, Outcome};
use crate::{Context, jobs};
use anyhow::Context as _;
use burn::{
    tensor::{Device, Tensor, TensorData},
    train::{LearnerModel, TrainStep},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_synthetic::Sprites;
use menagerie_representation::qlae::{
    LatentModel, QlaeConfig, TrainingConfig,
    baselines::{AutoencoderConfig, GanTraining, InfoGanConfig, VaeBatch, VaeConfig, VqVaeConfig},
    infomec::Sources,
};
use menagerie_train::{
    FitConfig, Metrics, Progress, Run, Sampler, Scalars, Schedule, Supervised, initialise,
};

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) enum Method {
    Autoencoder,
    Qlae,
    GlobalCodebook,
    VqVae,
    BetaVae,
    InfoGan,
    QuantizedInfoGan,
}

/// A method with its regularisation.
#[derive(Clone, Debug)]
pub(super) struct Arm {
    /// The name of its folders.
    pub id: &'static str,
    /// Its name in the report.
    pub label: &'static str,
    pub method: Method,
    pub weight_decay: f64,
    /// Runs, each with a seed of its own.
    pub seeds: usize,
}

/// The whole comparison.
pub(super) struct Experiment {
    pub sprites: Sprites,
    /// The images that are scored.
    pub sample: Vec<usize>,
    /// The factors of the scored images.
    pub sources: Sources,
    pub model: QlaeConfig,
    /// Number and length of the VQ-VAE's vectors.
    pub vectors: [usize; 2],
    /// β of the β-VAE.
    pub kl: f64,
    pub training: TrainingConfig,
    /// The schedule of the adversarial arms.
    pub adversarial: TrainingConfig,
    pub arms: Vec<Arm>,
    /// Runs at a time.
    pub workers: usize,
    pub seed: Seed,
}

/// What identifies a run: `config.json` of its folder.
#[derive(serde::Serialize)]
struct Setup<'a> {
    method: Method,
    seed: Seed,
    device: String,
    model: &'a QlaeConfig,
    vectors: [usize; 2],
    kl: f64,
    training: &'a TrainingConfig,
    sprites: &'a menagerie_data_synthetic::SpritesConfig,
}

impl Experiment {
    /// An experiment on `sprites`, scored on the images `sample`; the other fields are to be set.
    pub fn new(sprites: Sprites, sample: Vec<usize>) -> Result<Self> {
        let mut factors = Vec::with_capacity(sample.len() * sprites.factor_sizes().len());
        for &index in &sample {
            factors.extend(sprites.factors_of(index)?.into_iter().map(|f| f as i64));
        }
        let sources = Sources::new(sample.len(), sprites.factor_sizes().len(), &factors)?;
        Ok(Self {
            sprites,
            sample,
            sources,
            model: QlaeConfig::small_mlp(),
            vectors: [8, 4],
            kl: 1.0,
            training: TrainingConfig::small(),
            adversarial: TrainingConfig::published_gan(),
            arms: Vec::new(),
            workers: 1,
            seed: Seed(0),
        })
    }

    /// Trains every arm with every seed; `[arm][seed]`.
    pub fn run(&self, context: &Context) -> anyhow::Result<Vec<Vec<Outcome>>> {
        // Seed by seed, so that a run that is stopped early has the whole comparison of a few.
        let seeds = self.arms.iter().map(|arm| arm.seeds).max().unwrap_or(0);
        let jobs: Vec<(usize, usize)> = (0..seeds)
            .flat_map(|seed| (0..self.arms.len()).map(move |arm| (arm, seed)))
            .filter(|&(arm, seed)| seed < self.arms[arm].seeds)
            .collect();
        let progress = Progress::auto();
        let outcomes = jobs::run(&jobs, self.workers, |&(arm, seed)| {
            let arm = &self.arms[arm];
            self.run_one(context, arm, seed, &progress)
                .with_context(|| format!("{}, seed {seed}", arm.label))
        })?;
        let mut by_arm: Vec<Vec<Outcome>> = self.arms.iter().map(|_| Vec::new()).collect();
        for ((arm, _), outcome) in jobs.into_iter().zip(outcomes) {
            by_arm[arm].push(outcome);
        }
        Ok(by_arm)
    }

    fn run_one(
        &self,
        context: &Context,
        arm: &Arm,
        seed: usize,
        progress: &Progress,
    ) -> Result<Outcome> {
        let seed = Seed(self.seed.0.wrapping_add(seed as u64));
        let mut model = self.model.clone();
        let training = match arm.method {
            Method::InfoGan | Method::QuantizedInfoGan => self.adversarial.clone(),
            _ => self.training.clone(),
        };
        let training = training.with_weight_decay(arm.weight_decay);
        let folder = context.out.join(format!("{}-seed{}", arm.id, seed.0));
        let run = Run::create(
            &folder,
            &Setup {
                method: arm.method,
                seed,
                device: format!("{:?}", context.device),
                model: &model,
                vectors: self.vectors,
                kl: self.kl,
                training: &training,
                sprites: self.sprites.config(),
            },
            context.resume,
        )?;
        let train = Training {
            experiment: self,
            device: &context.device,
            run,
            training,
            seed,
            progress: progress.labelled(format!("{} seed {}", arm.id, seed.0)),
        };
        let device = context.device.clone().autodiff();
        let parameters = seed.stream("parameters");
        let images = |images: Tensor<4>, _: usize| images;
        match arm.method {
            Method::Autoencoder => {
                let config = AutoencoderConfig::matching(&model);
                let model = initialise(&device, parameters, || config.init(&device))?;
                train.fit(model, images, |_| Ok(None))
            }
            Method::Qlae | Method::GlobalCodebook => {
                if arm.method == Method::GlobalCodebook {
                    model = model.into_global();
                }
                let model = initialise(&device, parameters, || model.init(&device))?;
                train.fit(model, images, |model| {
                    measure::traversal(model, &train.prototype()?).map(Some)
                })
            }
            Method::VqVae => {
                let [embeddings, embedding] = self.vectors;
                let config = VqVaeConfig::matching(&model)
                    .with_embeddings(embeddings)
                    .with_embedding(embedding);
                let model = initialise(&device, parameters, || config.init(&device))?;
                train.fit(model, images, |_| Ok(None))
            }
            Method::BetaVae => {
                let config = VaeConfig::beta(&model, self.kl);
                let latents = model.latents;
                let model = initialise(&device, parameters, || config.init(&device))?;
                let noise = seed.stream("noise");
                let draw = |images, step| VaeBatch::draw(images, latents, noise, step);
                train.fit(model, draw, |_| Ok(None))
            }
            Method::InfoGan => train.fit_adversarial(&InfoGanConfig::matching(&model)),
            Method::QuantizedInfoGan => train.fit_adversarial(&InfoGanConfig::quantized(&model)),
        }
    }

    /// The images `indices`, `[indices, channels, height, width]`.
    pub fn images(&self, indices: &[usize], device: &Device) -> Result<Tensor<4>> {
        let [channels, height, width] = self.sprites.image_shape();
        let size = channels * height * width;
        // A small grid is drawn once and kept, a large one is drawn as it is needed.
        let values = match self.sprites.images() {
            Ok(all) => indices
                .iter()
                .flat_map(|&index| &all[index * size..][..size])
                .copied()
                .collect(),
            Err(_) => self.sprites.render_batch(indices)?,
        };
        let shape = [indices.len(), channels, height, width];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}

/// One run with all that it needs.
struct Training<'a> {
    experiment: &'a Experiment,
    device: &'a Device,
    run: Run,
    training: TrainingConfig,
    seed: Seed,
    progress: Progress,
}

impl Training<'_> {
    fn fit<M>(
        &self,
        model: M,
        mut input: impl FnMut(Tensor<4>, usize) -> <M as TrainStep>::Input,
        traverse: impl FnOnce(&M) -> Result<Option<measure::Traversal>>,
    ) -> Result<Outcome>
    where
        M: LearnerModel + TrainStep<Output = Scalars> + LatentModel,
    {
        let (training, experiment) = (&self.training, self.experiment);
        let order = self.seed.stream("batches");
        let mut sampler = Sampler::replacement(experiment.sprites.len(), training.batch, order)?;
        let batch = |step: usize, device: &Device| {
            let images = experiment.images(&sampler.indices(step), device)?;
            Ok(input(images, step))
        };
        let rate = Schedule::constant(training.learning_rate);
        let mut procedure = Supervised::new(model, training.optimizer()?, rate, batch).evaluating(
            |model: &M, step| {
                let last = step == training.steps;
                measure::evaluate(model, experiment, self.device, last).map(|found| found.metrics)
            },
        );
        let summary = self
            .run
            .fit(&mut procedure, &self.schedule(), &self.progress)?;
        let model = procedure.trained()?;
        let traversal = traverse(&model)?;
        self.outcome(&model, summary.evaluation, traversal)
    }

    fn fit_adversarial(&self, config: &InfoGanConfig) -> Result<Outcome> {
        let (training, experiment) = (&self.training, self.experiment);
        let order = self.seed.stream("batches");
        let mut sampler = Sampler::replacement(experiment.sprites.len(), training.batch, order)?;
        let images =
            |step: usize, device: &Device| experiment.images(&sampler.indices(step), device);
        let mut procedure = GanTraining::new(config, training, self.seed, self.device, images)?;
        self.run
            .fit(&mut procedure, &self.schedule(), &self.progress)?;
        let model = procedure.trained()?;
        let evaluation = measure::evaluate(&model, experiment, self.device, true)?;
        self.outcome(&model, evaluation.metrics, None)
    }

    fn schedule(&self) -> FitConfig {
        FitConfig {
            evaluate_every: self.training.evaluate_every,
            checkpoint_every: self.training.evaluate_every,
            keep_checkpoints: 1,
            ..FitConfig::new(self.training.steps)
        }
    }

    fn outcome<M: LatentModel>(
        &self,
        model: &M,
        metrics: Metrics,
        traversal: Option<measure::Traversal>,
    ) -> Result<Outcome> {
        let experiment = self.experiment;
        let found = measure::evaluate(model, experiment, self.device, false)?;
        let examples = experiment.images(&experiment.examples(), self.device)?;
        Ok(Outcome {
            metrics,
            curve: measure::curve(&self.run.history()?),
            scores: found.common,
            own: found.own,
            reconstructions: measure::floats(model.reconstruction(examples))?,
            traversal,
        })
    }

    /// The image that is traversed, `[channels, height, width]`.
    fn prototype(&self) -> Result<Tensor<3>> {
        let sizes = self.experiment.sprites.factor_sizes();
        let middle: Vec<usize> = sizes.iter().map(|size| size / 2).collect();
        let index = self.experiment.sprites.index_of(&middle)?;
        let images = self.experiment.images(&[index], self.device)?;
        Ok(images.squeeze_dim(0))
    }
}

impl Experiment {
    /// The images whose reconstructions are shown.
    pub fn examples(&self) -> Vec<usize> {
        const SHOWN: usize = 12;
        fn gcd(a: usize, b: usize) -> usize {
            if b == 0 { a } else { gcd(b, a % b) }
        }
        // A stride that shares no divisor with the grid visits all values of every factor.
        let total = self.sprites.len();
        let stride = (total / SHOWN + 1..)
            .find(|&stride| gcd(stride, total) == 1)
            .unwrap_or(1);
        (0..SHOWN).map(|shown| shown * stride % total).collect()
    }

    /// The arm with this id.
    pub fn position(&self, id: &str) -> Result<usize> {
        self.arms
            .iter()
            .position(|arm| arm.id == id)
            .ok_or_else(|| Error::unknown("arm", id, self.arms.iter().map(|arm| arm.id)))
    }
}
