//! The paper's procedure: truncated steps, and shrinking after every epoch.

use super::config::MaestroConfig;
use super::network::Ranks;
use super::objective::{Trainable, draw_ranks, loss_of};
use burn::module::{Module, ParamGroup};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Device;
use menagerie_core::{Error, Result, Seed, config};
use menagerie_train::{
    Metrics, Procedure, Scalars, Schedule, load_module, load_optimiser, non_finite, parameters,
    save_module, save_optimiser,
};
use std::path::Path;

type Batch<'a, B> = Box<dyn FnMut(usize, &Device) -> Result<B> + 'a>;
type Evaluate<'a, N> = Box<dyn FnMut(&N, usize) -> Result<Metrics> + 'a>;

/// Trains a network: a step truncates what [`draw_ranks`] says, an epoch ends with
/// [`Factored::mask`](super::Factored::mask). A dense network, which has no ranks, is trained as
/// usual; after [`full_epochs`](MaestroConfig::full_epochs) of them, if there are any, its layers
/// become factors and descent starts anew.
///
/// A layer that loses all of its ranks goes on as its bias alone: see [`bare`](Self::bare), and the
/// metric `bare` of an evaluation, which counts these layers.
pub struct Training<'a, N: Trainable> {
    network: Option<N>,
    optimiser: ModuleOptimizer,
    config: MaestroConfig,
    schedule: Schedule,
    seed: Seed,
    epoch: usize,
    batch: Batch<'a, N::Batch>,
    evaluate: Option<Evaluate<'a, N>>,
    /// The ranks of the steps of the present epoch.
    drawn: Option<(usize, Vec<Ranks>)>,
    device: Device,
}

impl<'a, N: Trainable> Training<'a, N> {
    /// A network on a device with autodiff, its settings, the number of steps of an epoch, and the
    /// batch of each step.
    ///
    /// # Errors
    /// What [`MaestroConfig::validate`] reports; [`Error::Input`] for an epoch without steps.
    pub fn new(
        network: N,
        config: MaestroConfig,
        steps_per_epoch: usize,
        seed: Seed,
        batch: impl FnMut(usize, &Device) -> Result<N::Batch> + 'a,
    ) -> Result<Self> {
        config.validate()?;
        if steps_per_epoch == 0 {
            return Err(Error::input("steps of an epoch", 0, "must be at least 1"));
        }
        let device = network.devices().into_iter().next().unwrap_or_default();
        Ok(Self {
            optimiser: descent(&config, &network),
            network: Some(network),
            schedule: Schedule::constant(config.rate),
            config,
            seed,
            epoch: steps_per_epoch,
            batch: Box::new(batch),
            evaluate: None,
            drawn: None,
            device: device.autodiff(),
        })
    }

    /// Another learning rate for every step, e.g. [`MaestroConfig::falling`].
    ///
    /// # Errors
    /// What [`Schedule::validate`] reports.
    pub fn scheduled(mut self, schedule: Schedule) -> Result<Self> {
        schedule.validate()?;
        self.schedule = schedule;
        Ok(self)
    }

    /// Measures the network, without autodiff, during training.
    pub fn evaluating(mut self, evaluate: impl FnMut(&N, usize) -> Result<Metrics> + 'a) -> Self {
        self.evaluate = Some(Box::new(evaluate));
        self
    }

    /// The network in its present state, without autodiff.
    ///
    /// # Errors
    /// If a step failed half-way and left no network.
    pub fn trained(&self) -> Result<N> {
        Ok(self.network()?.valid())
    }

    /// The names of the factored layers without a rank, which are their bias alone.
    ///
    /// # Errors
    /// If a step failed half-way and left no network.
    pub fn bare(&self) -> Result<Vec<String>> {
        Ok(self.network()?.bare())
    }

    /// Whether step `step` belongs to the epochs before layers become factors.
    fn is_full(&self, step: usize) -> bool {
        step < self.config.full_epochs * self.epoch
    }

    /// Makes factors of the layers, with nothing left of the descent so far.
    fn factor(&mut self, network: N) -> Result<N> {
        let network = network.decompose_but(self.config.skip)?;
        self.optimiser = descent(&self.config, &network);
        self.drawn = None;
        Ok(network)
    }

    fn network(&self) -> Result<&N> {
        self.network.as_ref().ok_or_else(lost)
    }

    /// What step `step` truncates.
    fn ranks(&mut self, step: usize) -> Result<Ranks> {
        if self.is_full(step) {
            return Ok(Ranks::Full);
        }
        let epoch = step / self.epoch;
        if self.drawn.as_ref().is_none_or(|(drawn, _)| *drawn != epoch) {
            let seed = self.seed.stream("ranks").at(epoch as u64);
            let ranks = self.network()?.ranks();
            let drawn = draw_ranks(self.config.sampling, &ranks, self.epoch, seed);
            self.drawn = Some((epoch, drawn));
        }
        let drawn = self
            .drawn
            .as_ref()
            .and_then(|(_, ranks)| ranks.get(step % self.epoch));
        Ok(drawn.cloned().unwrap_or(Ranks::Full))
    }
}

/// Stochastic gradient descent with momentum and weight decay of all parameters, as PyTorch computes
/// it.
pub fn optimizer(config: &MaestroConfig) -> ModuleOptimizer {
    sgd(config, config.weight_decay).init()
}

/// [`optimizer`] of a network, whose vectors decay or do not as
/// [`decay_vectors`](MaestroConfig::decay_vectors) says.
pub fn descent(config: &MaestroConfig, network: &impl Module) -> ModuleOptimizer {
    let all = optimizer(config);
    if config.decay_vectors || config.weight_decay == 0.0 {
        return all;
    }
    let parameters = parameters(network).into_iter();
    let vectors = parameters.filter(|(_, rank)| *rank < 2);
    let vectors: Vec<String> = vectors.map(|(path, _)| path).collect();
    match vectors.is_empty() {
        true => all,
        false => all.with_group(
            ParamGroup::from_paths(vectors),
            sgd(config, 0.0).build(),
            None,
        ),
    }
}

fn sgd(config: &MaestroConfig, weight_decay: f64) -> SgdConfig {
    let momentum = MomentumConfig::new()
        .with_momentum(config.momentum)
        .with_dampening(0.0);
    let mut sgd = SgdConfig::new();
    if config.momentum > 0.0 {
        sgd = sgd.with_momentum(Some(momentum));
    }
    if weight_decay > 0.0 {
        sgd = sgd.with_weight_decay(Some(WeightDecayConfig::new(weight_decay as f32)));
    }
    sgd
}

impl<N: Trainable> Procedure for Training<'_, N> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let ranks = self.ranks(step)?;
        let batch = (self.batch)(step, &self.device)?;
        let mut network = self.network.take().ok_or_else(lost)?;
        let full = self.is_full(step);
        if self.config.full_epochs > 0 && step == self.config.full_epochs * self.epoch {
            network = self.factor(network)?;
        }
        let plain = MaestroConfig {
            lambda: 0.0,
            full_pass: false,
            ..self.config.clone()
        };
        let config = if full { &plain } else { &self.config };
        let seed = self.seed.stream("passes").at(step as u64);
        let loss = loss_of(&network, config, &batch, &ranks, seed)?;
        let scalars = Scalars::new()
            .with("loss", loss.partial)
            .with("lasso", loss.lasso);
        let gradients = GradientsParams::from_grads(loss.total.backward(), &network);
        let rate = self.schedule.at(step);
        let mut network = self.optimiser.step(rate, network, gradients);
        if (step + 1).is_multiple_of(self.epoch) && !full {
            network.mask(self.config.threshold, self.config.hierarchical)?;
        }
        self.network = Some(network);
        Ok(scalars)
    }

    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        let network = self.trained()?;
        let mut metrics = match &mut self.evaluate {
            Some(evaluate) => evaluate(&network, step)?,
            None => Metrics::new(),
        };
        let bare = network.bare();
        if !bare.is_empty() {
            metrics.insert("bare", bare.len() as f64);
        }
        Ok(metrics)
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        non_finite(self.network()?)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let network = self.network()?;
        let layers = network.layers();
        let survivors: Vec<&[usize]> = layers.iter().map(|(_, layer)| layer.survivors()).collect();
        let factored: Vec<bool> = layers
            .iter()
            .map(|(_, layer)| layer.is_factored())
            .collect();
        config::save(&survivors_of(&survivors), &folder.join("ranks.json"))?;
        config::save(&factored, &folder.join("factored.json"))?;
        save_module(network, &folder.join("network.bpk"))?;
        save_optimiser(&self.optimiser, &folder.join("optimiser.bpk"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let mut network = self.network.take().ok_or_else(lost)?;
        let factored: Vec<bool> = config::load(&folder.join("factored.json"))?;
        for (layer, factored) in network.layers_mut().into_iter().zip(factored) {
            // What they are comes from the file.
            if factored {
                layer.redraw();
            }
        }
        self.optimiser = descent(&self.config, &network);
        let mut network = load_module(network, &folder.join("network.bpk"))?;
        let path = folder.join("ranks.json");
        let survivors: Vec<Vec<usize>> = config::load(&path)?;
        let layers = network.layers_mut();
        if survivors.len() != layers.len() {
            let problem = format!(
                "{} layers, the network has {}",
                survivors.len(),
                layers.len()
            );
            return Err(Error::format(&path, problem));
        }
        for (layer, survivors) in layers.into_iter().zip(survivors) {
            layer.set_survivors(survivors)?;
        }
        self.network = Some(network);
        self.drawn = None;
        self.optimiser = load_optimiser(self.optimiser.clone(), &folder.join("optimiser.bpk"))?;
        Ok(())
    }
}

fn survivors_of(survivors: &[&[usize]]) -> Vec<Vec<usize>> {
    survivors.iter().map(|ranks| ranks.to_vec()).collect()
}

fn lost() -> Error {
    Error::other(
        "training",
        "an earlier step failed half-way: start again from the last checkpoint",
    )
}
