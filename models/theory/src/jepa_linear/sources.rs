//! Features, and the static and dynamic linear models that make observations of them.

use super::matrix::{Matrix, product};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::noise::normal_pair;
use rand::Rng;

/// A feature of pairs of observations: its covariance λ and its regression coefficient ρ, of `y` on
/// `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feature {
    lambda: f64,
    rho: f64,
}

impl Feature {
    /// A feature that can be learned.
    ///
    /// # Errors
    /// [`Error::Input`] if λ or ρ is not finite and above 0: such a feature never grows.
    pub fn new(lambda: f64, rho: f64) -> Result<Self> {
        for (name, value) in [("lambda", lambda), ("rho", rho)] {
            if !(value.is_finite() && value > 0.0) {
                let rule = "must be finite and above 0: such a feature is never learned";
                return Err(Error::input(name, value, rule));
            }
        }
        Ok(Self { lambda, rho })
    }

    /// The covariance λ.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// The regression coefficient ρ.
    pub fn rho(&self) -> f64 {
        self.rho
    }

    /// The variance σ = λ / ρ.
    pub fn variance(&self) -> f64 {
        self.lambda / self.rho
    }
}

/// A feature of covariances, with where it points to.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    /// The covariance λ along the direction; may be 0 or less.
    pub lambda: f64,
    /// The regression coefficient ρ.
    pub rho: f64,
    /// Of length 1, dₓ numbers.
    pub direction: Vec<f64>,
}

impl Direction {
    /// The directions of the axes, for observations of `size` numbers and these features.
    pub fn axes(features: &[Feature]) -> Vec<Self> {
        let axis = |at: usize| (0..features.len()).map(move |k| f64::from(u8::from(k == at)));
        features
            .iter()
            .enumerate()
            .map(|(at, feature)| Self {
                lambda: feature.lambda,
                rho: feature.rho,
                direction: axis(at).collect(),
            })
            .collect()
    }
}

/// One number that two observations have in common, and the noise that they do not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// `x = z + ξ`, `y = z + ξ'`: two noisy looks at one thing.
    Static {
        /// Variance of `z`.
        signal: f64,
        /// Variance of the noise.
        noise: f64,
    },
    /// `x` and `y` are neighbours in time of a noisy sequence: `z' = γ z + η`.
    Dynamic {
        /// Variance of `z`.
        signal: f64,
        /// What is left of `z` after a step in time, γ.
        persistence: f64,
        /// Variance of the noise.
        noise: f64,
    },
}

impl Source {
    /// The static source whose feature is this one; ρ must not be above 1.
    ///
    /// # Errors
    /// [`Error::Config`] for ρ above 1: an observation without noise has 1.
    pub fn of(feature: Feature) -> Result<Self> {
        let source = Self::Static {
            signal: feature.lambda,
            noise: feature.variance() - feature.lambda,
        };
        source.validate()?;
        Ok(source)
    }

    /// λ = s² and ρ = s² / (s² + n), or λ = γ s² and ρ = γ s² / (s² + n).
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and for a source without signal.
    pub fn feature(&self) -> Result<Feature> {
        self.validate()?;
        let (signal, persistence, noise) = self.parts();
        let lambda = persistence * signal;
        Feature::new(lambda, lambda / (signal + noise))
    }

    /// Signal, persistence, noise; a static source persists for good.
    fn parts(&self) -> (f64, f64, f64) {
        match *self {
            Self::Static { signal, noise } => (signal, 1.0, noise),
            Self::Dynamic {
                signal,
                persistence,
                noise,
            } => (signal, persistence, noise),
        }
    }

    /// Refuses negative variances, and a persistence outside of -1 to 1.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let (signal, persistence, noise) = self.parts();
        for (field, value) in [("signal", signal), ("noise", noise)] {
            if !(value.is_finite() && value >= 0.0) {
                let rule = "must be a variance: finite and not negative";
                return Err(Error::config("Source", field, value, rule));
            }
        }
        if !(-1.0..=1.0).contains(&persistence) {
            let rule = "must lie between -1 and 1";
            return Err(Error::config("Source", "persistence", persistence, rule));
        }
        Ok(())
    }
}

fn normal(rng: &mut impl Rng, variance: f64) -> f64 {
    f64::from(normal_pair(rng)[0]) * variance.sqrt()
}

/// `count` pairs of observations, as rows of `x` and of `y`, each `[count, sources]`: rotated by
/// `rotation [sources, sources]` if there is one, `x ← R x`.
///
/// The sequence of a dynamic source starts from its stationary distribution; its pairs overlap.
///
/// # Errors
/// As [`Source::validate`], and [`Error::Input`] for no pairs, no sources, or a rotation of another
/// size.
pub fn draw_pairs(
    sources: &[Source],
    count: usize,
    rotation: Option<&Matrix>,
    seed: Seed,
) -> Result<[Matrix; 2]> {
    let size = sources.len();
    if count == 0 || size == 0 {
        let rule = "must both be at least 1";
        return Err(Error::input("pairs and sources", [count, size], rule));
    }
    if let Some(shape) = rotation
        .map(Matrix::shape)
        .filter(|shape| *shape != [size, size])
    {
        let rule = format!("must be {size} · {size}");
        return Err(Error::input("the shape of the rotation", shape, rule));
    }
    let mut pair = [Matrix::zeros(count, size), Matrix::zeros(count, size)];
    for (column, source) in sources.iter().enumerate() {
        source.validate()?;
        let mut rng = seed.stream("source").at(column as u64).rng();
        let (signal, persistence, noise) = source.parts();
        let mut z = normal(&mut rng, signal);
        let mut x = z + normal(&mut rng, noise);
        for row in 0..count {
            match source {
                Source::Static { .. } => {
                    z = normal(&mut rng, signal);
                    x = z + normal(&mut rng, noise);
                }
                Source::Dynamic { .. } => {
                    let fresh = signal * (1.0 - persistence * persistence);
                    z = persistence * z + normal(&mut rng, fresh);
                }
            }
            let y = z + normal(&mut rng, noise);
            pair[0].set(row, column, x);
            pair[1].set(row, column, y);
            x = y;
        }
    }
    Ok(match rotation {
        Some(rotation) => pair.map(|rows| product(rows.view(), rotation.t())),
        None => pair,
    })
}

/// A random orthogonal matrix `[size, size]`.
pub fn draw_rotation(size: usize, seed: Seed) -> Matrix {
    let mut rng = seed.stream("rotation").rng();
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(size);
    while rows.len() < size {
        let mut row: Vec<f64> = (0..size).map(|_| normal(&mut rng, 1.0)).collect();
        // Twice, against rounding.
        for _ in 0..2 {
            for other in &rows {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        // A row that the others nearly make up is drawn again.
        if length > 1e-3 {
            rows.push(row.iter().map(|v| v / length).collect());
        }
    }
    Matrix::of(size, size, rows.concat())
}
