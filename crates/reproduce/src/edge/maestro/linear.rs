//! Linear maps whose best truncations are known in closed form.

use crate::Context;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_edge::maestro::{
    Factored, MaestroConfig, Mlp, MlpConfig, Ranks, Sampling, Svd, draw_ranks, group_lasso,
    optimizer, svd,
};
use menagerie_train::initialise;
use rand::{Rng, RngExt};
use serde::Serialize;

/// Which map, and which data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Form {
    /// A map of rank 3 from nine numbers to six, a product of normal matrices, on the rows of the
    /// identity: the truncations are those of its singular value decomposition.
    Uniform,
    /// Three rows of ten numbers to themselves: the truncations are projections to the principal
    /// components.
    Autoencoder,
    /// A map of those sizes with the authors' singular values, on data that make the smallest one
    /// count most and the largest least.
    Reordered,
}

impl Form {
    pub(super) const ALL: [Self; 3] = [Self::Uniform, Self::Autoencoder, Self::Reordered];
}

/// The singular values of the map of [`Form::Reordered`], those of the authors' example, whose
/// importances are printed beside ours.
const SPECTRUM: [f64; 3] = [9.547, 6.924, 3.665];
/// What its three directions count for in [`Form::Reordered`].
const WEIGHTS: [f64; 3] = [1.0, 2.0, 3.0];
/// Between two looks at the importances.
const EVERY: usize = 50;

/// A linear map that was trained, beside what is known of it.
pub(super) struct Closed {
    pub form: Form,
    /// The seed's place in the list, from 0.
    pub seed: usize,
    /// The importances of all ranks, by step.
    pub importances: Vec<(f64, Vec<f64>)>,
    /// What they should become, as far as there is something to find.
    pub expected: Vec<f64>,
    /// The squared error of every truncation, from rank 1 on: to the best one for
    /// [`Form::Uniform`], on the data otherwise.
    pub errors: Vec<f64>,
    /// The least that these can be.
    pub least: Vec<f64>,
    /// The errors that truncations of the singular value decomposition of the map itself have.
    pub of_weights: Vec<f64>,
    /// What the errors are a share of: the squares of the map, or of the targets.
    pub whole: f64,
}

impl Closed {
    /// The squared distance of the importances at the end from what they should become, of which there
    /// is nothing after the first few, as a share of everything.
    pub(super) fn off(&self) -> f64 {
        let expected = self.expected.iter().copied().chain(std::iter::repeat(0.0));
        let pairs = self.last().iter().zip(expected);
        pairs
            .map(|(found, value)| (found - value).powi(2))
            .sum::<f64>()
            / self.whole
    }

    /// By how much truncations are worse than the best ones, at most, as a share of everything.
    pub(super) fn excess(&self) -> f64 {
        let pairs = self.errors.iter().zip(&self.least);
        pairs
            .map(|(error, least)| (error - least) / self.whole)
            .fold(0.0, f64::max)
    }

    /// The importances at the end.
    pub(super) fn last(&self) -> &[f64] {
        self.importances.last().map_or(&[], |(_, values)| values)
    }
}

/// A matrix on the host, row by row.
#[derive(Clone)]
struct Matrix {
    values: Vec<f64>,
    columns: usize,
}

impl Matrix {
    fn new(values: Vec<f64>, columns: usize) -> Self {
        Self { values, columns }
    }

    /// Normal numbers.
    fn drawn([rows, columns]: [usize; 2], rng: &mut impl Rng) -> Self {
        // Box and Muller.
        let values = (0..rows * columns).map(|_| {
            let [radius, angle]: [f64; 2] = [(); 2].map(|()| rng.random());
            let radius = (-2.0 * (1.0 - radius).ln()).sqrt();
            radius * (std::f64::consts::TAU * angle).cos()
        });
        Self::new(values.collect(), columns)
    }

    fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    fn svd(&self) -> Svd {
        svd(&self.values, self.rows(), self.columns)
    }

    fn times(&self, other: &Self) -> Self {
        let mut product = vec![0.0; self.rows() * other.columns];
        let lines = product.chunks_mut(other.columns.max(1));
        for (line, row) in lines.zip(self.values.chunks(self.columns.max(1))) {
            for (factor, values) in row.iter().zip(other.values.chunks(other.columns.max(1))) {
                for (target, value) in line.iter_mut().zip(values) {
                    *target += factor * value;
                }
            }
        }
        Self::new(product, other.columns)
    }

    /// The sum of squares of the difference.
    fn distance(&self, other: &Self) -> f64 {
        let pairs = self.values.iter().zip(&other.values);
        pairs.map(|(a, b)| (a - b).powi(2)).sum()
    }

    fn squares(&self) -> f64 {
        self.values.iter().map(|value| value * value).sum()
    }

    fn tensor(&self, device: &Device) -> Tensor<2> {
        let values: Vec<f32> = self.values.iter().map(|value| *value as f32).collect();
        let shape = [self.rows(), self.columns];
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// What is to be learned.
struct Task {
    rows: Matrix,
    targets: Matrix,
    /// The map that makes them, `[inputs, outputs]`.
    map: Matrix,
    rate: f64,
    steps: usize,
    /// The weight of a lasso of every rank alone, and a full pass beside the truncated one.
    lasso: Option<f64>,
}

/// `U diag(s) Vᵀ` of orthogonal bases that were drawn: `U [9, 9]`, row by row, and the map `[9, 6]`.
fn map(rng: &mut impl Rng) -> (Matrix, Matrix) {
    let left = Matrix::drawn([9, 9], rng).svd();
    let right = Matrix::drawn([6, 6], rng).svd();
    let mut map = vec![0.0; 9 * 6];
    for (at, value) in SPECTRUM.iter().enumerate() {
        for row in 0..9 {
            for column in 0..6 {
                map[row * 6 + column] += left.u[row * 9 + at] * value * right.vt[at * 6 + column];
            }
        }
    }
    (Matrix::new(left.u, 9), Matrix::new(map, 6))
}

/// The importance of every rank after some steps.
type Importances = Vec<(f64, Vec<f64>)>;

impl Task {
    fn new(form: Form, seed: Seed) -> Self {
        let mut rng = seed.rng();
        match form {
            Form::Uniform => {
                let left = Matrix::drawn([9, 3], &mut rng);
                let map = left.times(&Matrix::drawn([3, 6], &mut rng));
                let eye = (0..81).map(|at| f64::from(u8::from(at / 9 == at % 9)));
                Self {
                    rows: Matrix::new(eye.collect(), 9),
                    targets: map.clone(),
                    map,
                    rate: 0.5,
                    steps: 2_000,
                    lasso: None,
                }
            }
            Form::Autoencoder => {
                let rows = Matrix::drawn([3, 10], &mut rng);
                let eye = (0..100).map(|at| f64::from(u8::from(at / 10 == at % 10)));
                Self {
                    targets: rows.clone(),
                    rows,
                    map: Matrix::new(eye.collect(), 10),
                    rate: 0.1,
                    steps: 2_500,
                    lasso: Some(1e-2),
                }
            }
            Form::Reordered => {
                let (left, map) = map(&mut rng);
                let scale = |row: usize| match SPECTRUM.get(row).zip(WEIGHTS.get(row)) {
                    Some((value, weight)) => weight / value,
                    None => 1.0,
                };
                let rows = (0..81).map(|at| scale(at / 9) * left.values[at % 9 * 9 + at / 9]);
                let rows = Matrix::new(rows.collect(), 9);
                Self {
                    targets: rows.times(&map),
                    rows,
                    map,
                    rate: 10.0,
                    steps: 10_000,
                    lasso: None,
                }
            }
        }
    }

    /// Trains a product of factors by plain descent, and looks at the importances on the way.
    fn descend(&self, seed: Seed, device: &Device) -> Result<(Mlp, Importances)> {
        let tracked = device.clone().autodiff();
        let config = MlpConfig::new(vec![self.rows.columns, self.targets.columns]).with_bias(false);
        let network = initialise(&tracked, seed.stream("weights"), || config.init(&tracked))?;
        let mut network = network.redraw();
        let (rows, targets) = (self.rows.tensor(&tracked), self.targets.tensor(&tracked));
        let plain = MaestroConfig::new()
            .with_momentum(0.0)
            .with_weight_decay(0.0);
        let mut optimiser = optimizer(&plain);
        let seed = seed.stream("ranks");
        let drawn = draw_ranks(Sampling::PerLayer, &network.ranks(), self.steps, seed);
        let mut importances = Vec::new();
        for (step, ranks) in drawn.iter().enumerate() {
            let error = |ranks: &Ranks| -> Result<Tensor<1>> {
                let error = network.forward_rows(rows.clone(), ranks)? - targets.clone();
                Ok(error.square().mean())
            };
            let mut loss = error(ranks)?;
            if let Some(lambda) = self.lasso {
                loss = loss + error(&Ranks::Full)?;
                if let Some(lasso) = group_lasso(&network, false) {
                    loss = loss + lasso * lambda;
                }
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimiser.step(self.rate, network, gradients);
            if step % EVERY == 0 || step + 1 == self.steps {
                let found = network.importances(false)?.into_iter().next();
                importances.push((step as f64 + 1.0, found.unwrap_or_default()));
            }
        }
        Ok((network, importances))
    }
}

/// The map of the first `rank` ranks, `[inputs, outputs]`.
fn truncation(network: &Mlp, rank: usize) -> Result<Matrix> {
    let layers = network.layers();
    let (_, layer) = layers
        .first()
        .ok_or_else(|| Error::other("reading a map", "there is no layer"))?;
    let [outputs, _] = layer.dims();
    let values = layer.product(rank).without_autodiff().transpose();
    let values = values
        .try_into_vec_as::<f64>()
        .map_err(|error| Error::other("reading a map", error))?;
    Ok(Matrix::new(values, outputs))
}

/// Trains a map and compares it with what is known.
pub(super) fn recover(form: Form, index: usize, context: &Context) -> anyhow::Result<Closed> {
    let seed = Seed(context.seed + index as u64)
        .stream("maestro")
        .stream("linear");
    let task = Task::new(form, seed.stream("map"));
    let (network, importances) = task.descend(seed, &context.device)?;
    let (of_map, of_targets) = (task.map.svd(), task.targets.svd());
    let found = SPECTRUM.len();
    let columns = task.map.columns;
    let (mut errors, mut least, mut of_weights) = (Vec::new(), Vec::new(), Vec::new());
    for rank in 1..=found {
        let ours = truncation(&network, rank)?;
        let best = Matrix::new(of_map.truncated(rank), columns);
        match form {
            Form::Uniform => {
                errors.push(ours.distance(&best));
                least.push(0.0);
                of_weights.push(0.0);
            }
            Form::Autoencoder | Form::Reordered => {
                let error = |map: &Matrix| task.rows.times(map).distance(&task.targets);
                errors.push(error(&ours));
                of_weights.push(error(&best));
                // Eckart and Young: the least is what the other singular values of the targets hold.
                let rest = of_targets.s.iter().skip(rank);
                least.push(rest.map(|value| value * value).sum());
            }
        }
    }
    Ok(Closed {
        form,
        seed: index,
        importances,
        expected: match form {
            Form::Uniform => of_map.s.iter().copied().take(found).collect(),
            Form::Autoencoder => vec![1.0; found],
            Form::Reordered => SPECTRUM.iter().rev().copied().collect(),
        },
        errors,
        least,
        of_weights,
        whole: match form {
            Form::Uniform => task.map.squares(),
            Form::Autoencoder | Form::Reordered => task.targets.squares(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scale;

    fn recovered(form: Form, index: usize) -> Closed {
        let context = Context {
            device: Device::default(),
            seed: 0,
            scale: Scale::Small,
            out: std::path::PathBuf::new(),
            resume: false,
        };
        recover(form, index, &context).unwrap()
    }

    #[test]
    fn uniform_data_lead_to_the_singular_values() {
        for index in 0..3 {
            let closed = recovered(Form::Uniform, index);
            let (excess, off) = (closed.excess(), closed.off());
            assert!(
                excess < 0.01 && off < 0.01,
                "{index}: {excess}, {off}, {:?}",
                closed.expected
            );
        }
    }

    #[test]
    fn an_autoencoder_leads_to_the_principal_components() {
        let closed = recovered(Form::Autoencoder, 0);
        assert!(closed.excess() < 0.01, "{}", closed.excess());
        let counted = closed.last().iter().filter(|value| **value > 0.5).count();
        assert_eq!(counted, 3, "{:?}", closed.last());
    }

    #[test]
    fn data_that_weigh_small_values_most_reverse_the_order() {
        let closed = recovered(Form::Reordered, 0);
        for (found, expected) in closed.last().iter().zip(&closed.expected) {
            assert!((found / expected - 1.0).abs() < 0.01, "{:?}", closed.last());
        }
        // The third leaves nothing of the targets.
        for (error, least) in closed.errors.iter().zip(&closed.least).take(2) {
            assert!((error / least - 1.0).abs() < 0.01, "{error} for {least}");
        }
        assert!(closed.of_weights[0] > 2.5 * closed.least[0]);
    }

    #[test]
    fn the_reordered_data_weigh_the_smallest_value_most() {
        let task = Task::new(Form::Reordered, Seed(5));
        let values = task.targets.svd().s;
        for (value, expected) in values.iter().zip([3.0, 2.0, 1.0, 0.0]) {
            assert!((value - expected).abs() < 1e-9, "{values:?}");
        }
        let values = task.map.svd().s;
        for (value, expected) in values.iter().zip(SPECTRUM) {
            assert!((value - expected).abs() < 1e-9, "{values:?}");
        }
        // The best map of rank 1 for these data errs by 5, that of the weights by 13.
        let best = Matrix::new(task.map.svd().truncated(1), 6);
        let error = task.rows.times(&best).distance(&task.targets);
        assert!((error - 13.0).abs() < 1e-9, "{error}");
    }
}
