//! The whole method: autoencoder, initial clustering, warm-up, alternation.

use super::{
    config::{DepictConfig, LossWeights},
    data::{Division, Images, draw_division},
    model::Depict,
    schedule::{InitialClustering, TrainingConfig},
    targets::head_weight,
    training::{DepictTraining, assignments, embeddings},
};
use crate::fingerprint::Fingerprint;
use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_nn::clustering::{KMeansConfig, Rows};
use menagerie_train::{Progress, Run, initialise};
use serde::Serialize;
use std::path::Path;

/// What a clustering of a set of images needs besides the network's sizes.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The images; they are all clustered, and all train.
    pub images: &'a Images,
    /// The stages.
    pub training: &'a TrainingConfig,
    /// A label for each image, by which the images that judge the first two stages are stratified, as
    /// in the released code; `None` keeps labels out of training altogether.
    pub strata: Option<&'a [usize]>,
    /// From which everything random is drawn.
    pub seed: Seed,
    /// The run's folder; every stage has one of its own in it.
    pub folder: &'a Path,
    /// Whether stages that are there are continued.
    pub resume: bool,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

/// What comes of it.
#[derive(Clone, Debug)]
pub struct Clustering {
    /// The network after the first stage.
    pub autoencoder: Depict,
    /// The clusters of its embeddings.
    pub initial: Vec<usize>,
    /// The network after all stages, without autodiff.
    pub model: Depict,
    /// The cluster of each image.
    pub labels: Vec<usize>,
}

/// What identifies a stage: `config.json` of its folder.
#[derive(Serialize)]
struct Setup<'a> {
    stage: &'a str,
    model: &'a DepictConfig,
    weights: LossWeights,
    training: &'a TrainingConfig,
    data: &'a Data,
    seed: Seed,
}

/// Which data: another set of the same size is not this one.
#[derive(Clone, Debug, Serialize)]
struct Data {
    count: usize,
    images: Fingerprint,
    /// Of the stages whose images for validation are drawn by them.
    strata: Option<Fingerprint>,
    /// The initial clusters, of the stage that learns them.
    labels: Option<Fingerprint>,
}

impl Fit<'_> {
    /// All of it, for a network of `config` that is drawn from the seed.
    ///
    /// # Errors
    /// If the network, the images and the stages do not fit each other; what a stage reports. With
    /// `resume`, [`Error::Format`](menagerie_core::Error::Format) if the folder holds a run of other
    /// images, strata, labels, settings or seed.
    pub fn run(&self, config: &DepictConfig, device: &Device) -> Result<Clustering> {
        let autoencoder = self.autoencoder(config, device)?;
        let initial = self.initial_clusters(&autoencoder)?;
        let warm = self.warm_up(&autoencoder, &initial)?;
        let model = self.joint("joint", &warm, config.weights, self.training)?;
        let labels = self.assign(&model)?;
        Ok(Clustering {
            autoencoder,
            initial,
            model,
            labels,
        })
    }

    /// The first stage.
    ///
    /// # Errors
    /// What [`DepictTraining::autoencoder`] and [`Run::fit`] report.
    pub fn autoencoder(&self, config: &DepictConfig, device: &Device) -> Result<Depict> {
        let seed = self.seed.stream("weights");
        let model = initialise(device, seed, || config.init(device))?;
        let division = self.division()?;
        let training =
            DepictTraining::autoencoder(&model, self.images, &division, self.training, self.seed)?;
        let data = self.data(self.strata, None);
        let weights = config.weights;
        self.stage(
            "autoencoder",
            training,
            config,
            weights,
            self.training,
            &data,
        )
    }

    /// The initial clusters: of the embeddings of `model`, without noise.
    ///
    /// # Errors
    /// [`Error::Input`](menagerie_core::Error::Input) if there are more clusters than images, or fewer
    /// groups than clusters.
    pub fn initial_clusters(&self, model: &Depict) -> Result<Vec<usize>> {
        let clusters = model.config().clusters;
        let all: Vec<usize> = (0..self.images.len()).collect();
        let features = embeddings(model, self.images, &all)?;
        match &self.training.initial {
            InitialClustering::KMeans {
                restarts,
                iterations,
            } => {
                let points = Rows::new(&features, clusters)?;
                KMeansConfig::new(clusters)
                    .with_restarts(*restarts)
                    .with_iterations(*iterations)
                    .fit(&points, self.seed.stream("initial"))?
                    .assign(&points)
            }
            InitialClustering::PathIntegral(config) => config.fit(&features, clusters, clusters),
        }
    }

    /// `model` with the softmax layer that the initial clusters give it.
    ///
    /// # Errors
    /// [`Error::Input`](menagerie_core::Error::Input) if labels and images do not fit each other.
    pub fn with_head(&self, model: &Depict, labels: &[usize]) -> Result<Depict> {
        let clusters = model.config().clusters;
        let all: Vec<usize> = (0..self.images.len()).collect();
        let features = embeddings(model, self.images, &all)?;
        model.with_head(head_weight(&features, clusters, labels, clusters)?)
    }

    /// The second stage, from the autoencoder and its initial clusters.
    ///
    /// # Errors
    /// What [`with_head`](Self::with_head), [`DepictTraining::warm_up`] and [`Run::fit`] report.
    pub fn warm_up(&self, autoencoder: &Depict, labels: &[usize]) -> Result<Depict> {
        let model = self.with_head(autoencoder, labels)?;
        let division = self.division()?;
        let config = model.config().clone();
        let training = DepictTraining::warm_up(
            &model,
            self.images,
            &division,
            labels,
            self.training,
            self.seed,
        )?;
        let data = self.data(self.strata, Some(labels));
        let weights = config.weights;
        self.stage("warm-up", training, &config, weights, self.training, &data)
    }

    /// The third stage in the folder `name`, with these weights and settings; several can start from
    /// one warmed-up network.
    ///
    /// # Errors
    /// What [`DepictTraining::joint`] and [`Run::fit`] report.
    pub fn joint(
        &self,
        name: &str,
        model: &Depict,
        weights: LossWeights,
        config: &TrainingConfig,
    ) -> Result<Depict> {
        let training = DepictTraining::joint(model, self.images, weights, config, self.seed)?;
        let data = self.data(None, None);
        self.stage(name, training, model.config(), weights, config, &data)
    }

    /// The cluster of each image.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn assign(&self, model: &Depict) -> Result<Vec<usize>> {
        let all: Vec<usize> = (0..self.images.len()).collect();
        let p = assignments(model, self.images, &all)?;
        Ok(super::targets::most_probable(&p, model.config().clusters))
    }

    /// Which images judge the first two stages.
    fn division(&self) -> Result<Division> {
        let share = self.training.validation;
        draw_division(self.images.len(), share, self.strata, self.seed)
    }

    /// Who the images are, and the labels that a stage depends on.
    fn data(&self, strata: Option<&[usize]>, labels: Option<&[usize]>) -> Data {
        Data {
            count: self.images.len(),
            images: Fingerprint::of(self.images.values()),
            strata: strata.map(Fingerprint::of_labels),
            labels: labels.map(Fingerprint::of_labels),
        }
    }

    fn stage(
        &self,
        name: &str,
        mut training: DepictTraining,
        model: &DepictConfig,
        weights: LossWeights,
        config: &TrainingConfig,
        data: &Data,
    ) -> Result<Depict> {
        let setup = Setup {
            stage: name,
            model,
            weights,
            training: config,
            data,
            seed: self.seed,
        };
        let run = Run::create(&self.folder.join(name), &setup, self.resume)?;
        let fit = training.fit_config();
        run.fit(&mut training, &fit, &self.progress.labelled(name))?;
        training.trained()
    }
}
