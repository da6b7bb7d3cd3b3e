//! Losses of samples, of covariances, and their gradients.

use super::config::Kind;
use super::dynamics::Chain;
use super::matrix::{Matrix, generalised, product};
use super::sources::{Direction, Feature};
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// Half of the squared length of `predicted - target`, both `[batch, size]`: the sum over
/// coordinates, the mean over the batch, shape `[1]`.
///
/// # Panics
/// If the shapes differ.
pub fn half_square(predicted: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let rows = predicted.dims()[0] as f64;
    (predicted - target).square().sum() / (2.0 * rows)
}

/// Second moments of pairs of observations of dₓ numbers, whose means are taken to be 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Covariances {
    /// E\[x xᵀ\].
    pub xx: Matrix,
    /// E\[y xᵀ\].
    pub yx: Matrix,
    /// E\[y yᵀ\].
    pub yy: Matrix,
}

/// Second moments of rows `x` and `y`, both `[n, dₓ]`, which nothing is subtracted from. Rows should
/// be 50 times as many as columns, for the theory to hold for samples.
///
/// # Errors
/// [`Error::Input`] if the shapes differ, there is no row, or a value is not finite.
pub fn fit_covariances(x: Tensor<2>, y: Tensor<2>) -> Result<Covariances> {
    if x.dims() != y.dims() || x.dims().contains(&0) {
        let rule = format!("must be those of x, {:?}, none of them 0", x.dims());
        return Err(Error::input("the sizes of y", y.dims(), rule));
    }
    Ok(Covariances::of_rows(&Matrix::read(x)?, &Matrix::read(y)?))
}

impl Covariances {
    /// Moments of rows.
    pub(crate) fn of_rows(x: &Matrix, y: &Matrix) -> Self {
        let share = 1.0 / x.shape()[0] as f64;
        Self {
            xx: product(x.t(), x.view()).scaled(share),
            yx: product(y.t(), x.view()).scaled(share),
            yy: product(y.t(), y.view()).scaled(share),
        }
    }

    /// The theory's setting: features that are uncorrelated with each other, with
    /// `σ = λ / ρ` the variance of each in `x` and in `y`.
    pub fn diagonal(features: &[Feature]) -> Self {
        let of = |of: fn(&Feature) -> f64| {
            Matrix::diagonal(&features.iter().map(of).collect::<Vec<_>>())
        };
        let variances = of(Feature::variance);
        Self {
            xx: variances.clone(),
            yx: of(Feature::lambda),
            yy: variances,
        }
    }

    /// Numbers in an observation, dₓ.
    ///
    /// # Errors
    /// [`Error::Input`] if the three are not square and of one size.
    pub fn size(&self) -> Result<usize> {
        let [size, _] = self.xx.shape();
        for (name, matrix) in [("xx", &self.xx), ("yx", &self.yx), ("yy", &self.yy)] {
            if matrix.shape() != [size, size] || size == 0 {
                let rule = "must be square, and all three of one size";
                return Err(Error::input(
                    format!("the shape of {name}"),
                    matrix.shape(),
                    rule,
                ));
            }
        }
        Ok(size)
    }

    /// The features: solutions of `Σyx u = ρ Σxx u` with `u` of length 1, `λ = uᵀ Σyx u`, the largest
    /// ρ first. Σyx is taken to be symmetric: of another one, the symmetric part is looked at.
    ///
    /// A feature with `λ ≤ 0` is in the list too; it is never learned, and [`Feature::new`] refuses
    /// it.
    ///
    /// # Errors
    /// [`Error::Input`] for sizes that differ, and if Σxx has a direction without variance.
    pub fn features(&self) -> Result<Vec<Direction>> {
        self.size()?;
        let mut symmetric = self.yx.transpose();
        symmetric.add(1.0, &self.yx);
        let symmetric = symmetric.scaled(0.5);
        let pairs = generalised(&symmetric, &self.xx).ok_or_else(|| {
            let rule = "must vary in every direction: drop dependent coordinates first";
            Error::input("the covariance of x", "singular", rule)
        })?;
        Ok(pairs
            .into_iter()
            .map(|(rho, direction)| {
                let column = Matrix::of(direction.len(), 1, direction.clone());
                let lambda = column.dot(&symmetric.times(&column));
                Direction {
                    lambda,
                    rho,
                    direction,
                }
            })
            .collect())
    }

    /// The loss from moments alone: `½ tr(V W̄ Σxx W̄ᵀ Vᵀ) − tr(V W̄ Σxy Tᵀ) + ½ tr(T Σyy Tᵀ)`, where
    /// `T` is `W̄` for JEPA and the identity for MAE.
    pub fn loss(&self, chain: &Chain) -> f64 {
        let encoder = chain.encoder();
        let predicted = chain.head.times(&encoder);
        let fit = predicted.dot(&predicted.times(&self.xx));
        let cross = predicted.dot(&self.targets(chain.kind, &encoder));
        let rest = match chain.kind {
            Kind::Jepa => encoder.dot(&encoder.times(&self.yy)),
            Kind::Mae => (0..self.yy.shape()[0]).map(|at| self.yy.at(at, at)).sum(),
        };
        0.5 * fit - cross + 0.5 * rest
    }

    /// `T Σyx`.
    fn targets(&self, kind: Kind, encoder: &Matrix) -> Matrix {
        match kind {
            Kind::Jepa => encoder.times(&self.yx),
            Kind::Mae => self.yx.clone(),
        }
    }

    /// The gradients of the loss for every layer and the head, in a [`Chain`] of the same shapes:
    /// with the error `E = V W̄ Σxx − T Σyx`, `∂/∂W̄ = Vᵀ E`, `∂/∂V = E W̄ᵀ`, and for layer `a`
    /// `(W^L ⋯ W^{a+1})ᵀ (∂/∂W̄) (W^{a−1} ⋯ W^1)ᵀ`. JEPA's target carries none, so Σyy is not in it.
    pub fn gradients(&self, chain: &Chain) -> Chain {
        let layers = &chain.layers;
        // Products of the layers up to each one.
        let mut below: Vec<Matrix> = Vec::with_capacity(layers.len());
        for layer in layers {
            let next = match below.last() {
                Some(last) => layer.times(last),
                None => layer.clone(),
            };
            below.push(next);
        }
        let encoder = chain.encoder_from(&below);
        let mut error = chain.head.times(&encoder).times(&self.xx);
        error.add(-1.0, &self.targets(chain.kind, &encoder));
        let head = product(error.view(), encoder.t());
        // What comes down to the output of each layer, from the last one on.
        let mut down = product(chain.head.t(), error.view());
        let mut gradients = Vec::with_capacity(layers.len());
        for at in (0..layers.len()).rev() {
            gradients.push(match at {
                0 => down.clone(),
                _ => product(down.view(), below[at - 1].t()),
            });
            if at > 0 {
                down = product(layers[at].t(), down.view());
            }
        }
        gradients.reverse();
        Chain {
            kind: chain.kind,
            layers: gradients,
            head,
        }
    }
}
