//! Matrices beside the closed form.

use super::features;
use menagerie_core::{Result, Seed};
use menagerie_theory::jepa_linear::{
    self, Chain, Covariances, Direction, DynamicsConfig, JepaLinearConfig, Method, critical_time,
    fixed_point, integrate, trajectory,
};

/// Looks at a simulation.
const LOOKS: usize = 400;

/// A simulated flow of the four features.
pub(super) struct Flow {
    pub law: DynamicsConfig,
    pub times: Vec<f64>,
    /// Amplitudes of each feature in the simulated encoder.
    pub amplitudes: Vec<Vec<f64>>,
    /// The same in closed form.
    pub closed: Vec<Vec<f64>>,
    /// The largest difference of the simulation from the closed form, of each feature.
    pub errors: Vec<f64>,
    /// The same of the paper's equation, integrated.
    pub equation_errors: Vec<f64>,
    /// When each feature is at half of its fixed point: simulated, and in closed form.
    pub half: Vec<(Option<f64>, f64)>,
}

impl Flow {
    /// The simulated half time of a feature relative to that of another one.
    pub(super) fn ratio(&self, feature: usize, other: usize) -> Option<f64> {
        let time = |at: usize| self.half.get(at)?.0;
        Some(time(feature)? / time(other)?)
    }

    /// The features that have half of their fixed point at a time.
    pub(super) fn learned(&self, time: f64) -> Vec<usize> {
        let learned = |at: &usize| self.half[*at].0.is_some_and(|half| half <= time);
        (0..self.half.len()).filter(learned).collect()
    }
}

fn largest(a: &[f64], b: &[f64]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Simulates the matrices until the last feature has 95 % of its fixed point.
pub(super) fn simulate(law: &DynamicsConfig, steps: usize) -> Result<Flow> {
    let features = features()?;
    let mut span: f64 = 0.0;
    for feature in &features {
        span = span.max(critical_time(law, *feature, 0.95)?);
    }
    let times: Vec<f64> = (0..=LOOKS)
        .map(|at| span * at as f64 / LOOKS as f64)
        .collect();
    let config = JepaLinearConfig::square(law.kind, features.len(), law.layers);
    let chain = Chain::balanced(&config, law.epsilon, Seed(0))?;
    let covariances = Covariances::diagonal(&features);
    let step = span / steps as f64;
    let history = jepa_linear::simulate(&chain, &covariances, &times, Method::RungeKutta, step)?;
    let axes = Direction::axes(&features);
    let amplitudes = history.amplitudes(&axes)?;
    let targets: Vec<f64> = features
        .iter()
        .map(|f| 0.5 * fixed_point(law, *f))
        .collect();
    let crossings = history.crossings(&axes, &targets)?;
    let (mut closed, mut errors, mut equation_errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut half = Vec::new();
    for ((feature, found), crossing) in features.iter().zip(&amplitudes).zip(crossings) {
        let path = trajectory(law, *feature, &times)?;
        errors.push(largest(found, &path));
        equation_errors.push(largest(&integrate(law, *feature, &times, step)?, &path));
        half.push((crossing, critical_time(law, *feature, 0.5)?));
        closed.push(path);
    }
    Ok(Flow {
        law: law.clone(),
        times,
        amplitudes,
        closed,
        errors,
        equation_errors,
        half,
    })
}
