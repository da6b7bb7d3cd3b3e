//! The classifier whose features a neural ODE moves.

use super::chain::{Place, Slope};
use super::config::NodeConfig;
use super::layers::{Dense, TimeChain};
use super::objective::{self, Learning, Regularized};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::ode::{Attempt, Request, Solution};

/// The times of the solve.
pub(crate) const SPAN: [f64; 2] = [0.0, 1.0];

/// Images as states, a [`TimeChain`] that moves them from time 0 to 1, and a linear classifier.
#[derive(Module, Debug)]
pub struct NeuralOde {
    /// f of `du/dt = f(u, t)`.
    pub dynamics: TimeChain,
    /// From states to scores.
    pub classifier: Dense,
    #[module(skip)]
    config: NodeConfig,
}

/// Scores, and what they cost.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Scores of the classes, `[batch, classes]`.
    pub logits: Tensor<2>,
    /// Evaluations of the dynamics.
    pub evaluations: usize,
    /// Every step that was attempted.
    pub attempts: Vec<Attempt>,
}

/// Refuses rows of another length, and none.
pub(crate) fn check_rows(x: &Tensor<2>, width: usize) -> Result<()> {
    let [batch, found] = x.dims();
    if batch == 0 || found != width {
        let rule = format!("must be [batch, {width}] with at least one row");
        return Err(Error::input("x", x.dims(), rule));
    }
    Ok(())
}

impl NodeConfig {
    /// A model with drawn weights.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<NeuralOde> {
        self.validate()?;
        let (size, hidden, precision) = (self.inputs, self.hidden, self.precision);
        Ok(NeuralOde {
            dynamics: TimeChain::new(size, hidden, self.layers, precision, device),
            classifier: Dense::new([size, self.classes], precision, device),
            config: self.clone(),
        })
    }
}

impl NeuralOde {
    /// The configuration.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// First states of images `[batch, inputs]`: the images themselves, in the model's precision.
    ///
    /// # Errors
    /// [`Error::Input`] for rows of another length, or none.
    pub fn states(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        check_rows(&x, self.config.inputs)?;
        Ok(x.inner().cast(self.config.precision.dtype()))
    }

    /// Moves images `[batch, inputs]` over the span. The dynamics' field is
    /// [`TimeChain::field`](super::TimeChain::field), which tells the state of a place.
    ///
    /// # Errors
    /// [`Error::Input`] for rows of another length, or none, and if the solve fails.
    pub fn solve(&self, x: Tensor<2>, request: Request<'_>) -> Result<Solution<Place, Slope>> {
        let field = self.dynamics.field();
        let solver = self.config.solver.tsit5();
        solver.solve(&field, self.states(x)?, SPAN, request)
    }

    /// Scores of images `[batch, inputs]`.
    ///
    /// # Errors
    /// As [`solve`](Self::solve).
    pub fn forward(&self, x: Tensor<2>) -> Result<Prediction> {
        let solution = self.solve(x, Request::default())?;
        Ok(Prediction {
            evaluations: solution.evaluations(),
            logits: self.classify(solution.end.state().clone()),
            attempts: solution.attempts,
        })
    }

    /// Scores of states at the end, `[batch, classes]` of `[batch, inputs]`.
    ///
    /// # Panics
    /// If states have other columns.
    pub fn classify(&self, states: Tensor<2>) -> Tensor<2> {
        self.classifier.forward(states)
    }

    /// The solve as it is trained: with the regulariser's value.
    ///
    /// # Errors
    /// As [`solve`](Self::solve).
    pub fn forward_train(
        &self,
        x: Tensor<2>,
        learning: &Learning,
    ) -> Result<Regularized<Place, Slope>> {
        let field = self.dynamics.field();
        let solver = self.config.solver.tsit5();
        objective::solve(&solver, &field, self.states(x)?, SPAN, &[], learning)
    }
}
