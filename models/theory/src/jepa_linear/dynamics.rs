//! The gradient flow of the matrices, and the order in which features are learned.

use super::config::{JepaLinearConfig, Kind, Method};
use super::matrix::Matrix;
use super::objective::Covariances;
use super::sources::{Direction, draw_rotation};
use super::theory::ascending;
use menagerie_core::{Error, Result, Seed};

/// The matrices of a network on the host, in the paper's orientation `[outputs, inputs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// What is predicted.
    pub kind: Kind,
    /// `W^1` to `W^L`: the first `[d_z, dₓ]`, the others `[d_z, d_z]`.
    pub layers: Vec<Matrix>,
    /// `V`: `[d_z, d_z]` for JEPA, `[dₓ, d_z]` for MAE.
    pub head: Matrix,
}

impl Chain {
    /// Matrices that fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes of 0; [`Error::Input`] for a matrix of another shape, by name.
    pub fn new(config: &JepaLinearConfig, layers: Vec<Matrix>, head: Matrix) -> Result<Self> {
        config.validate()?;
        if layers.len() != config.layers {
            let rule = format!("must be {}", config.layers);
            return Err(Error::input("the number of layers", layers.len(), rule));
        }
        let matrices = layers.iter().chain([&head]).enumerate();
        for ((at, matrix), shape) in matrices.zip(config.shapes()) {
            if matrix.shape() != shape {
                let name = match at < config.layers {
                    true => format!("the shape of layer {at}"),
                    false => "the shape of the head".into(),
                };
                let rule = format!("must be {shape:?}");
                return Err(Error::input(name, matrix.shape(), rule));
            }
        }
        Ok(Self {
            kind: config.kind,
            layers,
            head,
        })
    }

    /// The theory's start: `W^a = ε^{1/L} U^a` with orthogonal `U` that were drawn, whose product is
    /// the identity, and `V = ε^{1/L} I`: `W̄ = ε I`, all layers balanced.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes of 0, latents of another size than observations, and an ε that is
    /// not between 0 and 1.
    pub fn balanced(config: &JepaLinearConfig, epsilon: f64, seed: Seed) -> Result<Self> {
        config.validate()?;
        if config.inputs != config.width {
            let rule = format!("must be inputs, {}, for W̄ = ε I", config.inputs);
            return Err(Error::config(
                "JepaLinearConfig",
                "width",
                config.width,
                rule,
            ));
        }
        super::DynamicsConfig::new(config.kind, config.layers, epsilon).validate()?;
        let size = config.width;
        let scale = epsilon.powf(1.0 / config.layers as f64);
        let identity = Matrix::diagonal(&vec![1.0; size]);
        let mut product = identity.clone();
        let mut layers = Vec::with_capacity(config.layers);
        for at in 0..config.layers {
            let next = match at + 1 == config.layers {
                true => product.transpose(),
                false => draw_rotation(size, seed.at(at as u64)),
            };
            product = next.times(&product);
            layers.push(next.scaled(scale));
        }
        Self::new(config, layers, identity.scaled(scale))
    }

    /// `W̄ = W^L ⋯ W^1`, `[d_z, dₓ]`.
    pub fn encoder(&self) -> Matrix {
        let mut layers = self.layers.iter();
        let first = layers.next().cloned();
        let first = first.unwrap_or_else(|| Matrix::diagonal(&vec![1.0; self.head.shape()[1]]));
        layers.fold(first, |product, layer| layer.times(&product))
    }

    /// The last of the products of layers, where they are there already.
    pub(crate) fn encoder_from(&self, products: &[Matrix]) -> Matrix {
        products.last().cloned().unwrap_or_else(|| self.encoder())
    }

    /// `self += factor · other`.
    fn add(&mut self, factor: f64, other: &Self) {
        for (layer, other) in self.layers.iter_mut().zip(&other.layers) {
            layer.add(factor, other);
        }
        self.head.add(factor, &other.head);
    }

    /// The weights a time `h` later on the way down the loss of these covariances.
    #[must_use]
    pub fn stepped(mut self, covariances: &Covariances, method: Method, h: f64) -> Self {
        let first = covariances.gradients(&self);
        if method == Method::Descent {
            self.add(-h, &first);
            return self;
        }
        let slope = |slope: &Self, h: f64| {
            let mut there = self.clone();
            there.add(-h, slope);
            covariances.gradients(&there)
        };
        let second = slope(&first, 0.5 * h);
        let third = slope(&second, 0.5 * h);
        let fourth = slope(&third, h);
        for (factor, slope) in [(1.0, first), (2.0, second), (2.0, third), (1.0, fourth)] {
            self.add(-h / 6.0 * factor, &slope);
        }
        self
    }

    /// The name of a matrix with a value that is not finite, and the value.
    pub fn non_finite(&self) -> Option<(String, f64)> {
        let bad = |matrix: &Matrix| matrix.values().iter().copied().find(|v| !v.is_finite());
        let layers = self.layers.iter().enumerate();
        let mut layers = layers.map(|(at, layer)| (format!("encoder.{at}.weight"), bad(layer)));
        layers
            .find_map(|(name, value)| Some((name, value?)))
            .or_else(|| Some(("head".into(), bad(&self.head)?)))
    }
}

/// Encoders on their way.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Gradient-flow times, ascending.
    pub times: Vec<f64>,
    /// W̄ at each of them.
    pub encoders: Vec<Matrix>,
}

impl History {
    /// How much of every feature the encoder has at every time, `‖W̄ u‖`: one list per feature.
    ///
    /// # Errors
    /// [`Error::Input`] for directions of another size than observations.
    pub fn amplitudes(&self, features: &[Direction]) -> Result<Vec<Vec<f64>>> {
        let inputs = self.encoders.first().map_or(0, |w| w.shape()[1]);
        for feature in features {
            if feature.direction.len() != inputs {
                let rule = format!("must be {inputs}");
                let size = feature.direction.len();
                return Err(Error::input("the size of a direction", size, rule));
            }
        }
        let of = |feature: &Direction| {
            let encoders = self.encoders.iter();
            encoders.map(|w| w.length_of(&feature.direction)).collect()
        };
        Ok(features.iter().map(of).collect())
    }

    /// When each feature first has its target amplitude, between the times by a straight line; none
    /// where it has not.
    ///
    /// # Errors
    /// [`Error::Input`] if there is not one target per feature, or as of
    /// [`amplitudes`](Self::amplitudes).
    pub fn crossings(&self, features: &[Direction], targets: &[f64]) -> Result<Vec<Option<f64>>> {
        if features.len() != targets.len() {
            let rule = format!("must be one for each of {} features", features.len());
            return Err(Error::input("the number of targets", targets.len(), rule));
        }
        let amplitudes = self.amplitudes(features)?;
        let crossing = |values: &Vec<f64>, target: f64| {
            let at = values.iter().position(|value| *value >= target)?;
            let Some(before) = at.checked_sub(1) else {
                return self.times.first().copied();
            };
            let share = (target - values[before]) / (values[at] - values[before]);
            Some(self.times[before] + share * (self.times[at] - self.times[before]))
        };
        let pairs = amplitudes.iter().zip(targets);
        Ok(pairs
            .map(|(values, target)| crossing(values, *target))
            .collect())
    }
}

/// The features in the order in which they first have their target amplitude, e.g. half of their
/// fixed points; those that never do are left out.
///
/// # Errors
/// As [`History::crossings`].
pub fn learning_order(
    history: &History,
    features: &[Direction],
    targets: &[f64],
) -> Result<Vec<usize>> {
    let times = history.crossings(features, targets)?;
    let mut learned: Vec<(f64, usize)> = times
        .into_iter()
        .enumerate()
        .filter_map(|(at, time)| Some((time?, at)))
        .collect();
    learned.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(learned.into_iter().map(|(_, at)| at).collect())
}

/// The encoders at ascending times from 0 on, by steps of at most `step`.
///
/// # Errors
/// [`Error::Input`] if times do not ascend from 0 or more, the step is not above 0, or covariances
/// are of another size; [`Error::Other`] where the steps are too long and the weights are no longer
/// finite.
pub fn simulate(
    chain: &Chain,
    covariances: &Covariances,
    times: &[f64],
    method: Method,
    step: f64,
) -> Result<History> {
    ascending(times, step)?;
    let size = covariances.size()?;
    let inputs = chain.encoder().shape()[1];
    if size != inputs {
        let rule = format!("must be that of observations, {inputs}");
        return Err(Error::input("the size of the covariances", size, rule));
    }
    let (mut chain, mut now) = (chain.clone(), 0.0);
    let mut encoders = Vec::with_capacity(times.len());
    for time in times {
        let steps = ((time - now) / step).ceil().max(0.0) as usize;
        let h = (time - now) / steps.max(1) as f64;
        for _ in 0..steps {
            chain = chain.stepped(covariances, method, h);
        }
        now = *time;
        if let Some((name, value)) = chain.non_finite() {
            let problem = format!("{name} holds {value} at time {now}: take shorter steps");
            return Err(Error::other("simulating", problem));
        }
        encoders.push(chain.encoder());
    }
    Ok(History {
        times: times.to_vec(),
        encoders,
    })
}
