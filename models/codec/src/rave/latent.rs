//! After training: the directions of the latent space in the order of what they explain.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};

/// The principal components of a trained encoder's means.
///
/// The posterior collapses in most dimensions of a large latent space. Rotated to its principal
/// axes, the few that are in use come first, and the fidelity of a reconstruction is traded for the
/// size of the latent after training, without training again.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentAnalysis {
    mean: Vec<f64>,
    /// Row-major; each row is a direction of length 1.
    components: Vec<f64>,
    variance: Vec<f64>,
}

impl LatentAnalysis {
    /// The components of `means`, `[batch, latent, frames]`, over batch and frames.
    ///
    /// # Errors
    /// [`Error::Input`] for fewer than two frames in all, or a number that is not finite.
    pub fn fit(means: Tensor<3>) -> Result<Self> {
        let [batch, size, frames] = means.dims();
        if batch * frames < 2 || size == 0 {
            let rule = "must hold at least two frames of at least one dimension";
            let shape = [batch, size, frames];
            return Err(Error::input("the shape of the latent means", shape, rule));
        }
        let values: Vec<f64> = means.into_data().convert::<f64>().iter().collect();
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::input("a latent mean", value, "must be finite"));
        }
        let count = (batch * frames) as f64;
        let signal = |item: usize, dim: usize| &values[(item * size + dim) * frames..][..frames];
        let mean: Vec<f64> = (0..size)
            .map(|dim| {
                (0..batch)
                    .map(|item| signal(item, dim).iter().sum::<f64>())
                    .sum::<f64>()
                    / count
            })
            .collect();
        let mut covariance = vec![0.0; size * size];
        for row in 0..size {
            for column in row..size {
                let products = (0..batch).map(|item| {
                    let pairs = signal(item, row).iter().zip(signal(item, column));
                    pairs
                        .map(|(a, b)| (a - mean[row]) * (b - mean[column]))
                        .sum::<f64>()
                });
                let value = products.sum::<f64>() / (count - 1.0);
                covariance[row * size + column] = value;
                covariance[column * size + row] = value;
            }
        }
        let (variance, components) = eigen(covariance, size);
        Ok(Self {
            mean,
            components,
            variance,
        })
    }

    /// An analysis from its parts, e.g. those of a checkpoint: the mean `[latent]`, the components
    /// `[latent, latent]` in rows, and the cumulative share of the variance `[latent]`.
    ///
    /// # Errors
    /// [`Error::Input`] for sizes that do not fit, or shares that fall.
    pub fn from_parts(mean: Vec<f64>, components: Vec<f64>, fidelity: &[f64]) -> Result<Self> {
        let size = mean.len();
        if size == 0 || components.len() != size * size || fidelity.len() != size {
            let sizes = [size, components.len(), fidelity.len()];
            let rule = "must be n, n² and n for a latent of n dimensions";
            return Err(Error::input("the sizes of a latent analysis", sizes, rule));
        }
        let mut last = 0.0;
        let mut variance = Vec::with_capacity(size);
        for &share in fidelity {
            // Shares are stored as single-precision numbers.
            if !(share >= last - 1e-6 && share <= 1.0 + 1e-5) {
                let rule = "must grow from 0 to 1";
                return Err(Error::input(
                    "the fidelity of a latent analysis",
                    share,
                    rule,
                ));
            }
            variance.push((share - last).max(0.0));
            last = share;
        }
        Ok(Self {
            mean,
            components,
            variance,
        })
    }

    /// Dimensions of the latent space.
    pub fn size(&self) -> usize {
        self.mean.len()
    }

    /// The mean latent frame.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The directions, row-major, each of length 1 and defined up to its sign.
    pub fn components(&self) -> &[f64] {
        &self.components
    }

    /// The variance along each direction, in falling order.
    pub fn variance(&self) -> &[f64] {
        &self.variance
    }

    /// The share of the variance along the first 1, 2, … directions.
    pub fn fidelity(&self) -> Vec<f64> {
        let total: f64 = self.variance.iter().sum();
        let mut sum = 0.0;
        self.variance
            .iter()
            .map(|variance| {
                sum += variance;
                if total > 0.0 { sum / total } else { 1.0 }
            })
            .collect()
    }

    /// The directions to keep for `fidelity`: the zero-based number of the first cumulative share
    /// above it, as the released code has it, which is one fewer than needed; at least 1.
    ///
    /// # Errors
    /// [`Error::Input`] for a fidelity outside of (0, 1).
    pub fn kept(&self, fidelity: f64) -> Result<usize> {
        Ok(self.index(fidelity)?.max(1))
    }

    /// [`kept`](Self::kept) rounded up to a power of two, as exported models have it.
    ///
    /// # Errors
    /// As [`kept`](Self::kept).
    pub fn exported(&self, fidelity: f64) -> Result<usize> {
        Ok(self.kept(fidelity)?.next_power_of_two().min(self.size()))
    }

    /// The directions whose cumulative share is above `fidelity`: what is strictly needed.
    ///
    /// # Errors
    /// As [`kept`](Self::kept).
    pub fn needed(&self, fidelity: f64) -> Result<usize> {
        Ok((self.index(fidelity)? + 1).min(self.size()))
    }

    fn index(&self, fidelity: f64) -> Result<usize> {
        if !(fidelity > 0.0 && fidelity < 1.0) {
            let rule = "must lie between 0 and 1, both excluded";
            return Err(Error::input("the fidelity", fidelity, rule));
        }
        let shares = self.fidelity();
        let found = shares.iter().position(|share| *share > fidelity);
        Ok(found.unwrap_or(self.size() - 1))
    }

    /// The first `kept` coordinates of `latent` `[batch, latent, frames]` along the directions,
    /// `[batch, kept, frames]`.
    ///
    /// # Errors
    /// [`Error::Input`] for another latent size, or if `kept` is 0 or above it.
    pub fn compact(&self, latent: Tensor<3>, kept: usize) -> Result<Tensor<3>> {
        self.check(latent.dims()[1], self.size(), kept)?;
        let device = latent.device();
        let centred = latent - self.mean_tensor(&device);
        Ok(self.rows(kept, &device).matmul(centred))
    }

    /// The latent signal `[batch, latent, frames]` with the coordinates `compact` `[batch, kept,
    /// frames]` along the first directions.
    ///
    /// Along the others it has the coordinates `rest` `[batch, latent − kept, frames]`: standard
    /// normal noise, as the released code has it, or zeros where it is absent.
    ///
    /// # Errors
    /// [`Error::Input`] for shapes that do not fit.
    pub fn expand(&self, compact: Tensor<3>, rest: Option<Tensor<3>>) -> Result<Tensor<3>> {
        let [batch, kept, frames] = compact.dims();
        self.check(self.size(), self.size(), kept)?;
        let device = compact.device();
        let coordinates = match rest {
            Some(rest) => {
                let needed = [batch, self.size() - kept, frames];
                if rest.dims() != needed {
                    let rule = format!("must be {needed:?}");
                    return Err(Error::input("the shape of the rest", rest.dims(), rule));
                }
                if needed[1] == 0 {
                    compact
                } else {
                    Tensor::cat(vec![compact, rest], 1)
                }
            }
            None => compact,
        };
        let rows = coordinates.dims()[1];
        let rows = self.rows(rows, &device).swap_dims(1, 2);
        Ok(rows.matmul(coordinates) + self.mean_tensor(&device))
    }

    /// The standard deviation along the first `kept` directions, `√(V² σ²)`, of a posterior with
    /// the standard deviation `std` `[batch, latent, frames]`.
    ///
    /// # Errors
    /// As [`compact`](Self::compact).
    pub fn compact_std(&self, std: Tensor<3>, kept: usize) -> Result<Tensor<3>> {
        self.check(std.dims()[1], self.size(), kept)?;
        let squares = self.rows(kept, &std.device()).square();
        Ok(squares.matmul(std.square()).sqrt())
    }

    /// The matrix `[latent, latent]` that leaves the first `kept` directions and takes away the
    /// others; unlike the directions it has no free signs.
    ///
    /// # Errors
    /// [`Error::Input`] if `kept` is 0 or above the latent size.
    pub fn projector(&self, kept: usize, device: &Device) -> Result<Tensor<2>> {
        self.check(self.size(), self.size(), kept)?;
        let rows: Tensor<2> = self.rows(kept, device).squeeze_dim(0);
        Ok(rows.clone().transpose().matmul(rows))
    }

    /// `latent` `[batch, latent, frames]` moved by `amount` standard deviations along direction
    /// `direction`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Input`] for another latent size, or a direction that does not exist.
    pub fn shift(&self, latent: Tensor<3>, direction: usize, amount: f64) -> Result<Tensor<3>> {
        self.check(latent.dims()[1], self.size(), direction + 1)?;
        let scale = amount * self.variance[direction].sqrt();
        let row = self.rows(direction + 1, &latent.device());
        let row = row.narrow(1, direction, 1).swap_dims(1, 2);
        Ok(latent + row * scale)
    }

    fn check(&self, found: usize, size: usize, kept: usize) -> Result<()> {
        if found != size {
            let rule = format!("must be that of the analysis, {size}");
            return Err(Error::input("the latent size", found, rule));
        }
        if !(1..=size).contains(&kept) {
            let rule = format!("must lie between 1 and the latent size, {size}");
            return Err(Error::input("the number of directions", kept, rule));
        }
        Ok(())
    }

    fn mean_tensor(&self, device: &Device) -> Tensor<3> {
        let mean: Vec<f32> = self.mean.iter().map(|value| *value as f32).collect();
        Tensor::from_data(TensorData::new(mean, [1, self.size(), 1]), device)
    }

    fn rows(&self, kept: usize, device: &Device) -> Tensor<3> {
        let size = self.size();
        let rows = self.components.iter().take(kept * size);
        let rows: Vec<f32> = rows.map(|value| *value as f32).collect();
        Tensor::from_data(TensorData::new(rows, [1, kept, size]), device)
    }
}

/// Latent signals `a` and `b` of the same shape blended frame by frame: `(1 − weight) · a + weight · b`.
///
/// # Errors
/// [`Error::Input`] for shapes that differ, or a weight that is not finite.
pub fn blend(a: Tensor<3>, b: Tensor<3>, weight: f64) -> Result<Tensor<3>> {
    if a.dims() != b.dims() {
        let rule = format!("must be that of the first, {:?}", a.dims());
        return Err(Error::input(
            "the shape of the second signal",
            b.dims(),
            rule,
        ));
    }
    if !weight.is_finite() {
        return Err(Error::input("the weight", weight, "must be finite"));
    }
    Ok(a * (1.0 - weight) + b * weight)
}

/// Eigenvalues in falling order and their vectors, in rows, of a symmetric matrix: Jacobi's
/// rotations.
fn eigen(mut matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; size * size];
    for index in 0..size {
        vectors[index * size + index] = 1.0;
    }
    let scale: f64 = matrix.iter().map(|value| value * value).sum();
    for _ in 0..60 {
        let off: f64 = (0..size)
            .flat_map(|p| (p + 1..size).map(move |q| (p, q)))
            .map(|(p, q)| matrix[p * size + q] * matrix[p * size + q])
            .sum();
        if off <= scale * 1e-30 {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                let apq = matrix[p * size + q];
                if apq == 0.0 {
                    continue;
                }
                let theta = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..size {
                    let (a, b) = (matrix[k * size + p], matrix[k * size + q]);
                    matrix[k * size + p] = c * a - s * b;
                    matrix[k * size + q] = s * a + c * b;
                }
                for k in 0..size {
                    let (a, b) = (matrix[p * size + k], matrix[q * size + k]);
                    matrix[p * size + k] = c * a - s * b;
                    matrix[q * size + k] = s * a + c * b;
                    let (a, b) = (vectors[p * size + k], vectors[q * size + k]);
                    vectors[p * size + k] = c * a - s * b;
                    vectors[q * size + k] = s * a + c * b;
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| matrix[b * size + b].total_cmp(&matrix[a * size + a]));
    // Rounding may leave a direction without variance slightly below zero.
    let values = order
        .iter()
        .map(|&index| matrix[index * size + index].max(0.0));
    let rows = order
        .iter()
        .flat_map(|&index| vectors[index * size..][..size].to_vec());
    (values.collect(), rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_matrix_is_taken_apart() {
        let (values, vectors) = eigen(vec![2.0, 1.0, 1.0, 2.0], 2);
        assert!((values[0] - 3.0).abs() < 1e-12 && (values[1] - 1.0).abs() < 1e-12);
        let half = 0.5f64.sqrt();
        assert!((vectors[0].abs() - half).abs() < 1e-12);
        assert!((vectors[0] - vectors[1]).abs() < 1e-12);
        assert!((vectors[2] + vectors[3]).abs() < 1e-12);
    }
}
