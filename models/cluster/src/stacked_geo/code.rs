//! Whether a code has collapsed.

use super::pca::Pca;
use menagerie_core::Result;
use menagerie_nn::clustering::Rows;

/// A direction whose variance is below this share of the largest is none: the codes differ along it by
/// less than a hundredth of what they differ by elsewhere.
const COLLAPSED: f64 = 1e-4;
/// Nor is one of a variance below this: a penalty that presses all units to 0 leaves differences of less
/// than a thousandth, where scaled bands range over 1.
const NOTHING: f64 = 1e-6;

/// How the codes of all pixels vary.
///
/// Codes of two units are prone to collapse: the penalty on activations and an unlucky start leave a
/// unit that says the same of every pixel, or two that say the same of each, and k-means then groups
/// pixels along a line.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeVariance {
    /// The eigenvalues of the covariance of the codes, `[code]`, the largest first.
    pub along: Vec<f64>,
}

impl CodeVariance {
    /// Of codes `[n, units]`.
    ///
    /// # Errors
    /// [`Error::Input`](menagerie_core::Error::Input) if there are fewer than two, they are not whole,
    /// or one is not finite.
    pub fn of(codes: &[f32], units: usize) -> Result<Self> {
        Ok(Self {
            along: Pca::fit(&Rows::new(codes, units)?)?.variance,
        })
    }

    /// The rank of the covariance: directions in which the codes vary. A variance below 10⁻⁴ of the
    /// largest counts as none, and so does one below 10⁻⁶.
    pub fn rank(&self) -> usize {
        let most = self.along.first().copied().unwrap_or_default();
        let least = NOTHING.max(COLLAPSED * most);
        let varies = |variance: &&f64| **variance >= least;
        self.along.iter().filter(varies).count()
    }

    /// Whether the codes vary in fewer directions than they have units.
    pub fn collapsed(&self) -> bool {
        self.rank() < self.along.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_and_equal_units_are_found() {
        let codes = |of: fn(f32) -> [f32; 2]| -> CodeVariance {
            let codes: Vec<f32> = (0..100).flat_map(|at| of(at as f32)).collect();
            CodeVariance::of(&codes, 2).unwrap()
        };
        let alive = codes(|at| [at, (at * 7.0) % 31.0]);
        assert_eq!((alive.rank(), alive.collapsed()), (2, false));
        // A unit in the flat part of SELU, which moves a little.
        let dead = codes(|at| [at, -1.758 + 1e-3 * (at % 2.0)]);
        assert_eq!((dead.rank(), dead.collapsed()), (1, true));
        let equal = codes(|at| [at, 1.0 - 2.0 * at]);
        assert_eq!((equal.rank(), equal.collapsed()), (1, true));
        let all_dead = codes(|at| [0.5 + 1e-4 * (at % 2.0), -1.0 + 1e-4 * (at % 3.0)]);
        assert_eq!((all_dead.rank(), all_dead.collapsed()), (0, true));
    }
}
