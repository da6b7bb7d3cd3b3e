//! A task with a known mechanism: activations are sums of sparse features, and a head reads only a
//! few of them.
//!
//! With fewer kept latents than active features something must be given up. Selection by size gives
//! up features at random; selection by gradient should keep those that the head reads, so that the
//! task loss grows less while the reconstruction is worse.

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};

/// Sizes of the task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskConfig {
    /// Width of the activations.
    pub d: usize,
    /// Number of features.
    pub features: usize,
    /// How many of them the head reads, the first.
    pub read: usize,
    /// Mean number of active features in a row.
    pub active: f64,
    /// How strongly the head answers to a feature: the larger, the surer its classes.
    pub sharpness: f64,
}

impl Default for TaskConfig {
    /// 64 features in 32 dimensions, 16 of them read, 8 active on average.
    fn default() -> Self {
        Self {
            d: 32,
            features: 64,
            read: 16,
            active: 8.0,
            sharpness: 2.0,
        }
    }
}

/// Features and head.
#[derive(Clone, Debug)]
pub struct Task {
    config: TaskConfig,
    /// Unit feature vectors `[features, d]`.
    pub features: Tensor<2>,
    /// The head `[d, classes]`: one class per read feature.
    pub head: Tensor<2>,
}

/// Activations, labels and gradients of the task's loss.
#[derive(Clone, Debug)]
pub struct TaskData {
    /// `[rows, d]`.
    pub x: Tensor<2>,
    /// `[rows]`.
    pub labels: Tensor<1, Int>,
    /// Gradient of each row's cross-entropy at x `[rows, d]`.
    pub g: Tensor<2>,
}

impl TaskConfig {
    /// Draws the features and the head that reads the first ones.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that do not fit.
    pub fn init(&self, seed: Seed, device: &Device) -> Result<Task> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: &str| {
            Err(Error::config("TaskConfig", field, value, rule))
        };
        if self.d == 0 || self.features == 0 {
            return refuse("d", &self.d, "needs a dimension and a feature");
        }
        if self.read < 2 || self.read > self.features {
            return refuse(
                "read",
                &self.read,
                "must be at least 2 and at most the features",
            );
        }
        if !(self.active > 0.0 && self.active <= self.features as f64) {
            return refuse(
                "active",
                &self.active,
                "must be above 0 and at most the features",
            );
        }
        if !(self.sharpness.is_finite() && self.sharpness > 0.0) {
            return refuse("sharpness", &self.sharpness, "must be finite and above 0");
        }
        let mut rng = seed.stream("features").rng();
        let mut values = Vec::with_capacity(self.features * self.d);
        for _ in 0..self.features {
            let row: Vec<f64> = (0..self.d).map(|_| normal(&mut rng)).collect();
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            values.extend(row.iter().map(|value| (value / norm) as f32));
        }
        let shape = [self.features, self.d];
        let features = Tensor::from_data(TensorData::new(values, shape), device);
        let head = features.clone().slice_dim(0, 0..self.read).transpose() * self.sharpness;
        Ok(Task {
            config: *self,
            features,
            head,
        })
    }
}

impl Task {
    /// Draws `rows` activations, labels from the head's own distribution, and the gradients.
    pub fn sample(&self, rows: usize, seed: Seed) -> TaskData {
        let mut rng = seed.stream("rows").rng();
        let TaskConfig {
            features, active, ..
        } = self.config;
        let chance = active / features as f64;
        let strengths: Vec<f32> = (0..rows * features)
            .map(|_| match rng.random::<f64>() < chance {
                true => 0.5 + rng.random::<f32>(),
                false => 0.0,
            })
            .collect();
        let device = self.features.device();
        let strengths =
            Tensor::<2>::from_data(TensorData::new(strengths, [rows, features]), &device);
        let x = strengths.matmul(self.features.clone());
        let p = log_softmax(x.clone().matmul(self.head.clone()), 1).exp();
        let classes = self.config.read;
        let table = p.clone().into_data().convert::<f32>();
        let table = table.as_slice::<f32>().unwrap_or_default();
        let labels: Vec<i64> = table
            .chunks_exact(classes)
            .map(|row| {
                let mut left = rng.random::<f32>();
                let hit = row.iter().position(|&chance| {
                    left -= chance;
                    left <= 0.0
                });
                hit.unwrap_or(classes - 1) as i64
            })
            .collect();
        let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
        let target: Tensor<2> = labels.clone().one_hot::<2>(classes).float();
        let g = (p - target).matmul(self.head.clone().transpose());
        TaskData { x, labels, g }
    }

    /// Mean cross-entropy of the labels `[rows]` from activations `[rows, d]`, in nats.
    pub fn loss(&self, x: Tensor<2>, labels: Tensor<1, Int>) -> f64 {
        let log_p = log_softmax(x.matmul(self.head.clone()), 1);
        let picked: Tensor<2> = log_p.gather(1, labels.unsqueeze_dim(1));
        let mean = picked.mean().neg().into_data().convert::<f64>();
        mean.as_slice::<f64>()
            .ok()
            .and_then(|mean| mean.first().copied())
            .unwrap_or(f64::NAN)
    }

    /// For the read and the other features, the mean over features of the largest cosine with a
    /// dictionary vector `[latents, d]`.
    pub fn recovered(&self, decoder: Tensor<2>) -> [f64; 2] {
        let norms = decoder.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        let cosines = self.features.clone().matmul((decoder / norms).transpose());
        let best = cosines.max_dim(1).into_data().convert::<f64>();
        let best = best.as_slice::<f64>().unwrap_or_default();
        let (read, other) = best.split_at(self.config.read.min(best.len()));
        [read, other].map(|part| part.iter().sum::<f64>() / part.len().max(1) as f64)
    }
}

/// A standard normal draw (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
