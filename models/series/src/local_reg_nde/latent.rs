//! The latent ODE of irregular series with missing values.

use super::config::LatentOdeConfig;
use super::layers::Dense;
use super::objective::{self, Learning};
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use menagerie_core::{Error, Result};
use menagerie_nn::ode::{Field, ModuleField, Request};

/// Series `[batch, times, variables]` at common times.
#[derive(Clone, Debug)]
pub struct Series {
    /// Values; those that were not observed do not count.
    pub data: Tensor<3>,
    /// 1 where there was an observation, else 0.
    pub mask: Tensor<3>,
    /// What the encoder is told of the time since the last observation, `[batch, times, 1]`.
    pub gaps: Tensor<3>,
    /// The times, ascending, two or more.
    pub times: Vec<f64>,
}

/// Two layers, the first with a tangent: a gate before its own activation.
#[derive(Module, Debug)]
pub struct LatentGate {
    /// To hidden units.
    pub hidden: Dense,
    /// To the gate's values.
    pub output: Dense,
}

impl LatentGate {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.output
            .forward(activation::tanh(self.hidden.forward(x)))
    }
}

/// A recurrent unit with a mean and a standard deviation for state (Rubanova et al.,
/// arXiv:1907.03907), as the authors' code has it: where both should take their own half of the new
/// state, both take that of the deviation.
#[derive(Module, Debug)]
pub struct LatentGru {
    /// Of how much of the old state stays.
    pub update: LatentGate,
    /// Of how much of it the new one sees.
    pub reset: LatentGate,
    /// Of the new state: mean and deviation.
    pub fresh: LatentGate,
}

impl LatentGru {
    /// Mean and deviation `[batch, 2 latent]` after every one of inputs `[batch, times, features]`; of
    /// which the second half, rounded up, is 0 where nothing was observed: the state then stays.
    fn forward(&self, x: Tensor<3>, latent: usize) -> Vec<Tensor<2>> {
        let [batch, times, features] = x.dims();
        let options = (&x.device(), x.dtype());
        let mut mean = Tensor::<2>::zeros([batch, latent], options);
        let mut deviation = Tensor::<2>::ones([batch, latent], options);
        let mut states = Vec::with_capacity(times);
        for at in 0..times {
            let x = x.clone().slice([0..batch, at..at + 1, 0..features]);
            let x = x.reshape([batch, features]);
            let joined = |a: Tensor<2>, b: Tensor<2>| Tensor::cat(vec![a, b, x.clone()], 1);
            let state = joined(mean.clone(), deviation.clone());
            let keep = activation::sigmoid(self.update.forward(state.clone()));
            let seen = activation::sigmoid(self.reset.forward(state));
            let state = joined(mean.clone() * seen.clone(), deviation.clone() * seen);
            let fresh = activation::tanh(self.fresh.forward(state));
            // Both from the second half, as published.
            let fresh = fresh.slice([0..batch, latent..2 * latent]);
            let moved = |old: Tensor<2>| {
                let new = fresh.clone() - keep.clone() * fresh.clone();
                new + keep.clone() * old
            };
            let half = x.clone().slice([0..batch, features / 2..features]);
            let unseen = half.sum_dim(1).equal_elem(0.0).expand([batch, latent]);
            mean = moved(mean.clone()).mask_where(unseen.clone(), mean);
            deviation = moved(deviation.clone()).mask_where(unseen, deviation);
            states.push(Tensor::cat(vec![mean.clone(), deviation.clone()], 1));
        }
        states
    }
}

/// Autonomous dynamics: a tangent, then dense layers with tangents.
#[derive(Module, Debug)]
pub struct LatentDynamics {
    /// From the state to hidden units and back, again and again.
    pub layers: Vec<Dense>,
}

impl LatentDynamics {
    /// Slopes of states `[batch, node]`.
    ///
    /// # Panics
    /// If u has other columns.
    pub fn forward(&self, u: Tensor<2>) -> Tensor<2> {
        let layers = self.layers.iter();
        layers.fold(activation::tanh(u), |x, layer| {
            activation::tanh(layer.forward(x))
        })
    }
}

/// Encoder, dynamics and decoder.
#[derive(Module, Debug)]
pub struct LatentOde {
    /// Reads the series in the order of time.
    pub encoder: LatentGru,
    /// From its last state to the distribution of the first state: hidden layer,
    pub posterior_in: Dense,
    /// and mean and logarithm of the variance.
    pub posterior_out: Dense,
    /// f of `dz/dt = f(z)`.
    pub dynamics: LatentDynamics,
    /// From states to variables.
    pub decoder: Dense,
    #[module(skip)]
    config: LatentOdeConfig,
}

/// What the encoder makes of series.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// Mean and deviation of the recurrent unit after every time, each `[batch, 2 latent]`.
    pub states: Vec<Tensor<2>>,
    /// Mean of the first state, `[batch, node]`.
    pub mu: Tensor<2>,
    /// Logarithm of its variance, `[batch, node]`.
    pub logvar: Tensor<2>,
}

/// The parts of a loss.
#[derive(Clone, Debug)]
pub struct Elbo {
    /// `-mean(log p - w KL)`, shape `[1]`.
    pub loss: Tensor<1>,
    /// log p of every series, `[batch]`.
    pub likelihood: Tensor<1>,
    /// The divergence of every series, `[batch]`.
    pub divergence: Tensor<1>,
}

/// Predicted variables, and what they cost.
#[derive(Clone, Debug)]
pub struct Imputed {
    /// `[batch, times, variables]`.
    pub predicted: Tensor<3>,
    /// States, `[batch, times, node]`.
    pub latents: Tensor<3>,
    /// Evaluations of the dynamics.
    pub evaluations: usize,
}

impl LatentOdeConfig {
    /// A model with drawn weights.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<LatentOde> {
        self.validate()?;
        let Self {
            variables,
            latent,
            hidden,
            node,
            ..
        } = *self;
        let dense = |inputs, outputs| Dense::new([inputs, outputs], self.precision, device);
        let gate = |outputs| LatentGate {
            hidden: dense(2 * latent + 2 * variables + 1, hidden),
            output: dense(hidden, outputs),
        };
        let layers = (0..self.layers).map(|at| match at % 2 {
            0 => dense(node, hidden),
            _ => dense(hidden, node),
        });
        Ok(LatentOde {
            encoder: LatentGru {
                update: gate(latent),
                reset: gate(latent),
                fresh: gate(2 * latent),
            },
            posterior_in: dense(2 * latent, self.posterior()),
            posterior_out: dense(self.posterior(), 2 * node),
            dynamics: LatentDynamics {
                layers: layers.collect(),
            },
            decoder: dense(node, variables),
            config: self.clone(),
        })
    }

    /// Hidden units between the encoder and the distribution of the first state.
    fn posterior(&self) -> usize {
        self.latent
    }
}

impl Series {
    /// Refuses shapes that do not fit each other or the model, and fewer than two times.
    fn check(&self, config: &LatentOdeConfig) -> Result<()> {
        let [batch, times, variables] = self.data.dims();
        if batch == 0 || times < 2 || variables != config.variables {
            let rule = format!(
                "must be [batch, times, {}] with at least one series and two times",
                config.variables
            );
            return Err(Error::input("data", self.data.dims(), rule));
        }
        let of = |name: &str, found: [usize; 3], wanted: [usize; 3]| {
            if found == wanted {
                return Ok(());
            }
            Err(Error::input(name, found, format!("must be {wanted:?}")))
        };
        of("mask", self.mask.dims(), [batch, times, variables])?;
        of("gaps", self.gaps.dims(), [batch, times, 1])?;
        if self.times.len() != times {
            let rule = format!("must be one for each of {times} columns");
            return Err(Error::input("the number of times", self.times.len(), rule));
        }
        Ok(())
    }

    fn span(&self) -> [f64; 2] {
        // Two times at least were checked for.
        let ends = [self.times.first(), self.times.last()];
        ends.map(|end| end.copied().unwrap_or(f64::NAN))
    }
}

impl LatentOde {
    /// The configuration.
    pub fn config(&self) -> &LatentOdeConfig {
        &self.config
    }

    fn cast(&self, x: &Tensor<3>) -> Tensor<3> {
        x.clone().cast(self.config.precision.dtype())
    }

    /// The distribution of first states, with autodiff if the model has it.
    ///
    /// # Errors
    /// [`Error::Input`] for series that do not fit.
    pub fn encode(&self, series: &Series) -> Result<Encoding> {
        series.check(&self.config)?;
        let parts = [&series.data, &series.mask, &series.gaps].map(|part| self.cast(part));
        let x = Tensor::cat(parts.to_vec(), 2);
        let states = self.encoder.forward(x, self.config.latent);
        let Some(last) = states.last() else {
            return Err(Error::input("the number of times", 0, "must be at least 2"));
        };
        let hidden = activation::tanh(self.posterior_in.forward(last.clone()));
        let both = self.posterior_out.forward(hidden);
        let [batch, node] = [both.dims()[0], self.config.node];
        Ok(Encoding {
            states,
            mu: both.clone().slice([0..batch, 0..node]),
            logvar: both.slice([0..batch, node..2 * node]),
        })
    }

    /// The dynamics as a field.
    #[expect(clippy::type_complexity, reason = "a module and a function")]
    pub fn field(
        &self,
    ) -> ModuleField<'_, LatentDynamics, fn(&LatentDynamics, Tensor<2>, f64) -> Tensor<2>> {
        ModuleField::new(&self.dynamics, |dynamics, u, _| dynamics.forward(u))
    }

    /// Variables `[batch, times, variables]` of states `[batch, times, node]`.
    ///
    /// # Panics
    /// If states have another size.
    pub fn decode(&self, latents: Tensor<3>) -> Tensor<3> {
        let [batch, times, node] = latents.dims();
        let flat = self.decoder.forward(latents.reshape([batch * times, node]));
        flat.reshape([batch, times, self.config.variables])
    }

    /// Variables at all times from first states `[batch, node]`, without autodiff.
    ///
    /// # Errors
    /// If the solve fails.
    pub fn predict(&self, first: Tensor<2>, times: &[f64]) -> Result<Imputed> {
        let ends = [times.first(), times.last()].map(|end| end.copied().unwrap_or(f64::NAN));
        let field = self.field();
        let request = Request {
            save_at: times,
            ..Request::default()
        };
        let solver = self.config.solver.tsit5();
        let solution = solver.solve(&field, first.inner(), ends, request)?;
        let latents = solution
            .saved
            .iter()
            .map(|place| field.state(place).clone());
        let latents = Tensor::stack::<3>(latents.collect(), 1);
        Ok(Imputed {
            predicted: self.decode(latents.clone()),
            latents,
            evaluations: solution.evaluations(),
        })
    }

    /// Variables at all times, from the mean of the first state.
    ///
    /// # Errors
    /// [`Error::Input`] for series that do not fit, and if the solve fails.
    pub fn impute(&self, series: &Series) -> Result<Imputed> {
        let encoding = self.encode(series)?;
        self.predict(encoding.mu, &series.times)
    }

    /// The loss of predicted variables, from the encoding that they came from.
    pub fn elbo(
        &self,
        series: &Series,
        encoding: &Encoding,
        predicted: Tensor<3>,
        weight: f64,
    ) -> Elbo {
        let (data, mask) = (self.cast(&series.data), self.cast(&series.mask));
        let likelihood = objective::log_likelihood(predicted, data, mask, self.config.sigma);
        let divergence = objective::divergence(encoding.mu.clone(), encoding.logvar.clone());
        Elbo {
            loss: -(likelihood.clone() - divergence.clone() * weight).mean(),
            likelihood,
            divergence,
        }
    }

    /// First states of standard normal draws `[batch, node]`: `μ + e^(logvar / 2) ε`.
    ///
    /// # Panics
    /// If the draws have another shape.
    pub fn sample(encoding: &Encoding, draws: Tensor<2>) -> Tensor<2> {
        let deviation = (encoding.logvar.clone() * 0.5).exp();
        encoding.mu.clone() + deviation * draws.cast(encoding.mu.dtype())
    }

    /// The solve as it is trained, from first states: with the regulariser's value.
    ///
    /// # Errors
    /// If the solve fails.
    pub fn forward_train(
        &self,
        first: Tensor<2>,
        series: &Series,
        learning: &Learning,
    ) -> Result<objective::Regularized<Tensor<2>, Tensor<2>>> {
        let solver = self.config.solver.tsit5();
        let (field, span) = (self.field(), series.span());
        objective::solve(
            &solver,
            &field,
            first.inner(),
            span,
            &series.times,
            learning,
        )
    }
}
