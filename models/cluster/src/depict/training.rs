//! The three stages of training as one procedure: autoencoder, warm-up of the softmax layer, and the
//! alternation of targets and network.
//!
//! A step is the same in all three: a noisy pass, the clean maps of the same batch, Adam. In the third
//! stage the targets of a batch are those of the last E-step, and the batch's own assignments are
//! computed anew right after its step.

use super::{
    config::LossWeights,
    data::{Division, Images},
    masks::draw_masks,
    model::Depict,
    schedule::{Refresh, TrainingConfig},
    targets::{mean_squared_change, most_probable, targets},
};
use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData, activation::softmax},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_hub::StateDict;
use menagerie_nn::clustering::{Contingency, Normalisation};
use menagerie_train::{
    Adam, AdamConfig, EarlyStop, FitConfig, Metrics, Procedure, Sampler, Scalars, load_module,
    non_finite, save_module,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::Path};

/// What is optimised.
enum Stage<'a> {
    Autoencoder,
    /// With the initial cluster of each image.
    WarmUp(&'a [usize]),
    Joint(Alternation),
}

/// The state of the third stage.
#[derive(Clone, Debug, Default)]
struct Alternation {
    /// Assignments, `[n, K]`.
    p: Vec<f32>,
    /// Targets, `[n, K]`.
    q: Vec<f32>,
    /// What is kept besides.
    progress: Moving,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Moving {
    /// The mean squared change of the targets at the last E-step.
    change: f64,
    /// Passes after which it was not yet below the tolerance.
    epochs: usize,
}

/// One stage of training.
pub struct DepictTraining<'a> {
    model: Option<Depict>,
    /// The best network on the validation images so far, with its score.
    best: Option<(f64, Depict)>,
    adam: Adam,
    images: &'a Images,
    division: Division,
    stage: Stage<'a>,
    weights: LossWeights,
    config: TrainingConfig,
    sampler: Sampler,
    seed: Seed,
    device: Device,
}

impl<'a> DepictTraining<'a> {
    fn new(
        model: &Depict,
        images: &'a Images,
        division: Division,
        stage: Stage<'a>,
        config: &TrainingConfig,
        seed: Seed,
    ) -> Result<Self> {
        config.validate()?;
        if images.shape() != model.config().image {
            let rule = format!("must be {:?}, as the network's", model.config().image);
            return Err(Error::input("the shape of an image", images.shape(), rule));
        }
        let clusters = model.config().clusters;
        if clusters > images.len() {
            let rule = format!("must be at most the number of images, {}", images.len());
            return Err(Error::input("the number of clusters", clusters, rule));
        }
        let order = seed.stream("batches");
        let device = model.devices().into_iter().next().unwrap_or_default();
        Ok(Self {
            sampler: Sampler::shuffled(division.train.len(), config.batch, order)?,
            weights: model.config().weights,
            model: Some(model.valid().train()),
            best: None,
            adam: Adam::new(AdamConfig::default())?,
            images,
            division,
            stage,
            config: config.clone(),
            seed,
            device: device.autodiff(),
        })
    }

    /// The first stage: L_R alone, judged by L_R without noise.
    ///
    /// # Errors
    /// What [`TrainingConfig::validate`] reports; [`Error::Input`] if the images do not fit the
    /// network or are fewer than a batch or than the clusters.
    pub fn autoencoder(
        model: &Depict,
        images: &'a Images,
        division: &Division,
        config: &TrainingConfig,
        seed: Seed,
    ) -> Result<Self> {
        let seed = seed.stream("autoencoder");
        Self::new(
            model,
            images,
            division.clone(),
            Stage::Autoencoder,
            config,
            seed,
        )
    }

    /// The second stage: L_R and the cross-entropy of the noisy assignments with the initial clusters
    /// `labels`, judged by the NMI of clean assignments and labels.
    ///
    /// # Errors
    /// As [`autoencoder`](Self::autoencoder), and [`Error::Input`] if the labels do not fit.
    pub fn warm_up(
        model: &Depict,
        images: &'a Images,
        division: &Division,
        labels: &'a [usize],
        config: &TrainingConfig,
        seed: Seed,
    ) -> Result<Self> {
        let clusters = model.config().clusters;
        if labels.len() != images.len() {
            let rule = format!("must be one for each of the {} images", images.len());
            return Err(Error::input("the number of labels", labels.len(), rule));
        }
        if let Some(label) = labels.iter().find(|label| **label >= clusters) {
            let rule = format!("must be below the number of clusters, {clusters}");
            return Err(Error::input("a label", label, rule));
        }
        let seed = seed.stream("warm-up");
        let stage = Stage::WarmUp(labels);
        Self::new(model, images, division.clone(), stage, config, seed)
    }

    /// The third stage, on all images, with these weights of the objective.
    ///
    /// # Errors
    /// As [`autoencoder`](Self::autoencoder).
    pub fn joint(
        model: &Depict,
        images: &'a Images,
        weights: LossWeights,
        config: &TrainingConfig,
        seed: Seed,
    ) -> Result<Self> {
        weights.validate()?;
        let division = Division {
            train: (0..images.len()).collect(),
            validation: Vec::new(),
        };
        let seed = seed.stream("joint");
        let stage = Stage::Joint(Alternation::default());
        let mut training = Self::new(model, images, division, stage, config, seed)?;
        training.weights = weights;
        let all = training.division.train.clone();
        let p = assignments(&model.valid(), images, &all)?;
        let q = targets(&p, model.config().clusters, config.joint.rule)?;
        training.stage = Stage::Joint(Alternation {
            p,
            q,
            progress: Moving::default(),
        });
        Ok(training)
    }

    /// Batches of a pass over the images.
    pub fn steps_per_epoch(&self) -> usize {
        self.sampler.steps_per_epoch()
    }

    /// How [`Run::fit`](menagerie_train::Run::fit) runs the whole stage: an evaluation after every
    /// pass, and the stage's own rule to stop early.
    pub fn fit_config(&self) -> FitConfig {
        let epoch = self.steps_per_epoch();
        let (epochs, stop) = match self.stage {
            Stage::Autoencoder => (
                self.config.autoencoder.epochs,
                self.early_stop("reconstruction", false, self.config.autoencoder.patience),
            ),
            Stage::WarmUp(_) => (
                self.config.warm_up.epochs,
                self.early_stop("nmi", true, self.config.warm_up.patience),
            ),
            // The count stands still after the first pass that moved the targets too little.
            Stage::Joint(_) => (
                self.config.joint.epochs,
                Some(EarlyStop {
                    metric: "moving epochs".into(),
                    maximise: true,
                    min_delta: 0.0,
                    patience: 1,
                }),
            ),
        };
        FitConfig {
            log_every: epoch,
            evaluate_every: epoch,
            checkpoint_every: epoch * (epochs / 10).clamp(1, 10),
            keep_checkpoints: 1,
            early_stop: stop,
            ..FitConfig::new(epochs * epoch)
        }
    }

    fn early_stop(&self, metric: &str, maximise: bool, patience: usize) -> Option<EarlyStop> {
        (!self.division.validation.is_empty()).then(|| EarlyStop {
            metric: metric.into(),
            maximise,
            min_delta: 0.0,
            patience,
        })
    }

    /// The network that the stage leaves, without autodiff: the best on the validation images where
    /// there are any, else the last.
    ///
    /// # Errors
    /// If a step failed half-way and left no network.
    pub fn trained(&self) -> Result<Depict> {
        match &self.best {
            Some((_, best)) => Ok(best.clone()),
            None => Ok(self.model()?.valid()),
        }
    }

    /// The targets of the third stage, `[n, K]`; none in the others.
    pub fn targets(&self) -> &[f32] {
        match &self.stage {
            Stage::Joint(state) => &state.q,
            Stage::Autoencoder | Stage::WarmUp(_) => &[],
        }
    }

    /// The assignments of the third stage that the next targets will follow from, `[n, K]`; none in the
    /// others.
    pub fn assignments(&self) -> &[f32] {
        match &self.stage {
            Stage::Joint(state) => &state.p,
            Stage::Autoencoder | Stage::WarmUp(_) => &[],
        }
    }

    fn model(&self) -> Result<&Depict> {
        self.model.as_ref().ok_or_else(lost)
    }

    fn clusters(&self) -> Result<usize> {
        Ok(self.model()?.config().clusters)
    }

    /// Images of the batch of a step.
    fn indices(&mut self, step: usize) -> Vec<usize> {
        let places = self.sampler.indices(step);
        places
            .into_iter()
            .map(|at| self.division.train[at])
            .collect()
    }

    /// The targets of images, `[indices, K]`; `None` in the first stage.
    fn batch_targets(&self, indices: &[usize]) -> Result<Option<Tensor<2>>> {
        let clusters = self.clusters()?;
        let mut values = Vec::with_capacity(indices.len() * clusters);
        match &self.stage {
            Stage::Autoencoder => return Ok(None),
            Stage::WarmUp(labels) => {
                for &index in indices {
                    let label = labels[index];
                    values.extend((0..clusters).map(|at| f32::from(u8::from(at == label))));
                }
            }
            Stage::Joint(state) => {
                for &index in indices {
                    values.extend_from_slice(&state.q[index * clusters..][..clusters]);
                }
            }
        }
        let data = TensorData::new(values, [indices.len(), clusters]);
        Ok(Some(Tensor::from_data(data, &self.device)))
    }

    /// Computes the assignments of `indices` anew.
    fn reassign(&mut self, indices: &[usize]) -> Result<()> {
        let clusters = self.clusters()?;
        let fresh = assignments(&self.model()?.valid(), self.images, indices)?;
        if let Stage::Joint(state) = &mut self.stage {
            for (&index, row) in indices.iter().zip(fresh.chunks_exact(clusters)) {
                state.p[index * clusters..][..clusters].copy_from_slice(row);
            }
        }
        Ok(())
    }

    /// What follows a step of the third stage: the batch's own assignments, and after the last batch
    /// of a pass the E-step.
    fn alternate(&mut self, step: usize, indices: &[usize]) -> Result<()> {
        let epoch = self.steps_per_epoch();
        let last = (step + 1).is_multiple_of(epoch);
        match self.config.joint.refresh {
            Refresh::EachStep => {
                self.reassign(indices)?;
                if last {
                    // An incomplete last batch is no step, but its assignments are not left behind.
                    let seen: BTreeSet<usize> = (step + 1 - epoch..=step)
                        .flat_map(|step| self.indices(step))
                        .collect();
                    let rest = (0..self.images.len()).filter(|index| !seen.contains(index));
                    let rest: Vec<usize> = rest.collect();
                    self.reassign(&rest)?;
                }
            }
            Refresh::EachEpoch if last => {
                let all: Vec<usize> = (0..self.images.len()).collect();
                self.reassign(&all)?;
            }
            Refresh::EachEpoch => {}
        }
        let (clusters, joint) = (self.clusters()?, self.config.joint);
        if let Stage::Joint(state) = &mut self.stage
            && last
        {
            let q = targets(&state.p, clusters, joint.rule)?;
            state.progress.change = mean_squared_change(&state.q, &q);
            state.progress.epochs += usize::from(state.progress.change >= joint.tolerance);
            state.q = q;
        }
        Ok(())
    }

    /// The score of the present network on the validation images, and whether more of it is better.
    fn judge(&self, model: &Depict) -> Result<Option<(&'static str, f64, bool)>> {
        let indices = &self.division.validation;
        if indices.is_empty() {
            return Ok(None);
        }
        match &self.stage {
            Stage::Autoencoder => {
                let mut sum = 0.0;
                for part in indices.chunks(PART) {
                    let images = self.images.batch(part, &plain(&self.device))?;
                    let loss = model.clean_reconstruction_loss(images).total;
                    let loss = loss.try_into_scalar::<f64>();
                    let loss = loss.map_err(|error| Error::other("reading a loss", error))?;
                    sum += loss * part.len() as f64;
                }
                Ok(Some(("reconstruction", sum / indices.len() as f64, false)))
            }
            Stage::WarmUp(labels) => {
                let p = assignments(model, self.images, indices)?;
                let found = most_probable(&p, model.config().clusters);
                let labels: Vec<usize> = indices.iter().map(|&index| labels[index]).collect();
                let nmi = Contingency::new(&labels, &found)?.nmi(Normalisation::Arithmetic);
                Ok(Some(("nmi", nmi, true)))
            }
            Stage::Joint(_) => Ok(None),
        }
    }
}

/// Images that are computed at a time.
const PART: usize = 500;

fn plain(device: &Device) -> Device {
    device.clone().without_autodiff()
}

/// The probabilities, `[indices, K]`, that a network without autodiff gives these images.
///
/// # Errors
/// [`Error::Input`] for an index that does not exist or images that do not fit the network; whatever
/// the device reports.
pub fn assignments(model: &Depict, images: &Images, indices: &[usize]) -> Result<Vec<f32>> {
    each_part(model, images, indices, |model, batch| {
        Ok(softmax(model.scores(model.encode(batch)?), 1))
    })
}

/// The embeddings, `[indices, K]`, that a network without autodiff gives these images.
///
/// # Errors
/// As [`assignments`].
pub fn embeddings(model: &Depict, images: &Images, indices: &[usize]) -> Result<Vec<f32>> {
    each_part(model, images, indices, Depict::encode)
}

fn each_part(
    model: &Depict,
    images: &Images,
    indices: &[usize],
    compute: impl Fn(&Depict, Tensor<4>) -> Result<Tensor<2>>,
) -> Result<Vec<f32>> {
    let device = model.devices().into_iter().next().unwrap_or_default();
    let mut values = Vec::with_capacity(indices.len() * model.config().clusters);
    for part in indices.chunks(PART) {
        let rows = compute(model, images.batch(part, &plain(&device))?)?;
        let read = rows.try_into_vec_as::<f32>();
        values.extend(read.map_err(|error| Error::other("reading a batch", error))?);
    }
    Ok(values)
}

impl Procedure for DepictTraining<'_> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let indices = self.indices(step);
        let images = self.images.batch(&indices, &self.device)?;
        let targets = self.batch_targets(&indices)?;
        let seed = self.seed.stream("dropout").at(step as u64);
        let config = self.model()?.config();
        let masks = draw_masks(config, indices.len(), seed, &self.device);
        let model = self.model.take().ok_or_else(lost)?;
        let loss = model.loss(images, &masks, targets, &self.weights);
        let mut scalars = Scalars::new()
            .with("loss", loss.total.clone())
            .with("reconstruction", loss.reconstruction.total)
            .with("image", loss.reconstruction.image);
        if let Some(clustering) = loss.clustering {
            scalars = scalars.with("clustering", clustering);
        }
        let gradients = GradientsParams::from_grads(loss.total.backward(), &model);
        let rate = self.config.learning_rate;
        self.model = Some(self.adam.step(rate, model, gradients));
        if matches!(self.stage, Stage::Joint(_)) {
            self.alternate(step, &indices)?;
        }
        Ok(scalars)
    }

    fn evaluate(&mut self, _step: usize) -> Result<Metrics> {
        if let Stage::Joint(state) = &self.stage {
            return Ok(Metrics::new()
                .with("target change", state.progress.change)
                .with("moving epochs", state.progress.epochs as f64));
        }
        let model = self.model()?.valid();
        let Some((name, score, more)) = self.judge(&model)? else {
            return Ok(Metrics::new());
        };
        let better = |best: f64| if more { score > best } else { score < best };
        if self.best.as_ref().is_none_or(|(best, _)| better(*best)) {
            self.best = Some((score, model));
        }
        Ok(Metrics::new().with(name, score))
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        non_finite(self.model()?)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        save_module(self.model()?, &folder.join("model.bpk"))?;
        self.adam.save(&folder.join("adam.safetensors"))?;
        if let Some((score, best)) = &self.best {
            save_module(best, &folder.join("best.bpk"))?;
            menagerie_core::config::save(score, &folder.join("best.json"))?;
        }
        if let Stage::Joint(state) = &self.stage {
            let shape = [self.images.len(), self.clusters()?];
            let tensors = [("p", &state.p), ("q", &state.q)]
                .map(|(name, values)| (name.to_string(), TensorData::new(values.clone(), shape)));
            StateDict::from_tensors("assignments", tensors)
                .save_safetensors(folder.join("assignments.safetensors"))?;
            menagerie_core::config::save(&state.progress, &folder.join("moving.json"))?;
        }
        Ok(())
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let model = self.model.take().ok_or_else(lost)?;
        let spare = model.valid();
        self.model = Some(load_module(model, &folder.join("model.bpk"))?);
        self.adam
            .load(&folder.join("adam.safetensors"), &self.device)?;
        self.best = None;
        let best = folder.join("best.json");
        if best.is_file() {
            let score = menagerie_core::config::load(&best)?;
            self.best = Some((score, load_module(spare, &folder.join("best.bpk"))?));
        }
        let len = self.images.len() * self.clusters()?;
        if let Stage::Joint(state) = &mut self.stage {
            let path = folder.join("assignments.safetensors");
            let stored = StateDict::open(&path)?;
            let read = |name: &str| {
                let values = stored
                    .get(name)
                    .map(|data| data.iter::<f32>().collect::<Vec<_>>());
                values.filter(|values| values.len() == len).ok_or_else(|| {
                    let problem = format!("expected `{name}` with {len} values");
                    Error::format(&path, problem)
                })
            };
            (state.p, state.q) = (read("p")?, read("q")?);
            state.progress = menagerie_core::config::load(&folder.join("moving.json"))?;
        }
        Ok(())
    }
}

fn lost() -> Error {
    Error::other(
        "training",
        "an earlier step failed half-way: start again from the last checkpoint",
    )
}
