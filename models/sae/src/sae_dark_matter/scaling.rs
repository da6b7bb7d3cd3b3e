//! What changes with the width of the autoencoder, and what does not.

use super::{
    norms::regressed,
    rows::{Split, matching, row_norms},
};
use crate::draw::normal;
use burn::{config::Config, tensor::Tensor};
use menagerie_core::{Error, Result, Seed};

/// How well the error norms of a large autoencoder follow from those of a smaller one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossWidth {
    /// R² of `‖error of the large one‖` from `[‖error of the small one‖, 1]`.
    pub r2: f64,
    /// The same with `‖nonlinear error of the small one‖` added to the inputs.
    pub r2_with_nonlinear: f64,
}

impl CrossWidth {
    /// How much of what the first regression leaves open the second one explains, in percent.
    pub fn gained_percent(&self) -> f64 {
        100.0 * (self.r2_with_nonlinear - self.r2) / (1.0 - self.r2)
    }
}

/// Predicts the norm of `large_error` from the norms of `small_error` and its nonlinear part, all
/// `[rows, width]`, on the held-out rows of `split`. These regressions have a constant.
///
/// # Errors
/// [`Error::Input`] if row counts differ, there are too few training rows, or the norms of the
/// large error do not vary.
pub fn cross_width(
    small_error: &Tensor<2>,
    small_nonlinear: &Tensor<2>,
    large_error: &Tensor<2>,
    split: &Split,
) -> Result<CrossWidth> {
    matching("the large error", large_error, small_error)?;
    matching("the nonlinear error", small_nonlinear, small_error)?;
    let norms = |x: &Tensor<2>| row_norms(x.clone().without_autodiff());
    let (small, large) = (norms(small_error), norms(large_error));
    let both = Tensor::cat(vec![small.clone(), norms(small_nonlinear)], 1);
    Ok(CrossWidth {
        r2: regressed(small, &large, split)?,
        r2_with_nonlinear: regressed(both, &large, split)?,
    })
}

/// `FVU(W) = floor + factor · W^-exponent` at fixed L0, each of the three at least 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerLaw {
    /// What no width removes, |c|.
    pub floor: f64,
    /// |a|.
    pub factor: f64,
    /// |m|.
    pub exponent: f64,
    /// Mean squared error over the points it was fitted to.
    pub mean_squared_error: f64,
}

impl PowerLaw {
    /// The law at a width.
    pub fn at(&self, width: f64) -> f64 {
        self.floor + self.factor * width.powf(-self.exponent)
    }

    /// Least squares over the points `(width, FVU)`: for each exponent, factor and floor follow in
    /// closed form (a negative one is set to 0 and the other fitted again), and the exponent is
    /// found by a search over a grid and a golden section around its best value.
    ///
    /// # Errors
    /// If a width or an error is not a positive number, or there are too few.
    pub fn fit(points: &[(f64, f64)]) -> Result<Self> {
        /// Steeper laws reach their floor between two neighbouring widths.
        const STEEPEST: f64 = 8.0;
        const GRID: usize = 400;
        checked(points)?;
        // Widths relative to their geometric mean, so that factor and floor are of one size.
        let centre = points.iter().map(|(width, _)| width.ln()).sum::<f64>() / points.len() as f64;
        let at = |exponent: f64| best_line(points, centre, exponent);
        let step = STEEPEST / GRID as f64;
        let start = (1..=GRID)
            .map(|place| place as f64 * step)
            .min_by(|&a, &b| {
                at(a)
                    .mean_squared_error
                    .total_cmp(&at(b).mean_squared_error)
            })
            .unwrap_or(step);
        let (mut low, mut high) = ((start - step).max(step * 1e-3), start + step);
        let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
        for _ in 0..60 {
            let (a, b) = (high - golden * (high - low), low + golden * (high - low));
            if at(a).mean_squared_error <= at(b).mean_squared_error {
                high = b;
            } else {
                low = a;
            }
        }
        Ok(at(0.5 * (low + high)))
    }

    /// The paper's own fit: Adam on the mean squared error of `|c| + |a| W^-|m|` from three
    /// standard normal numbers, 1e-4 a step for 50,000 steps in the default configuration.
    ///
    /// # Errors
    /// As [`PowerLaw::fit`], and what [`PowerLawConfig::validate`] refuses.
    pub fn fit_adam(
        points: &[(f64, f64)],
        start: [f64; 3],
        config: &PowerLawConfig,
    ) -> Result<Self> {
        const BETAS: (f64, f64) = (0.9, 0.999);
        const EPSILON: f64 = 1e-8;
        config.validate()?;
        checked(points)?;
        let count = points.len() as f64;
        let mut values = start;
        let (mut first, mut second) = ([0.0; 3], [0.0; 3]);
        for step in 1..=config.steps {
            let [a, m, c] = values;
            let mut gradient = [0.0; 3];
            for (width, fvu) in points {
                let decay = width.powf(-m.abs());
                let residual = 2.0 * (c.abs() + a.abs() * decay - fvu) / count;
                gradient[0] += residual * decay * a.signum();
                gradient[1] -= residual * a.abs() * decay * width.ln() * m.signum();
                gradient[2] += residual * c.signum();
            }
            let step = i32::try_from(step).unwrap_or(i32::MAX);
            for place in 0..3 {
                let g = gradient[place];
                first[place] = BETAS.0 * first[place] + (1.0 - BETAS.0) * g;
                second[place] = BETAS.1 * second[place] + (1.0 - BETAS.1) * g * g;
                let mean = first[place] / (1.0 - BETAS.0.powi(step));
                let size = (second[place] / (1.0 - BETAS.1.powi(step))).sqrt();
                values[place] -= config.learning_rate * mean / (size + EPSILON);
            }
        }
        let [factor, exponent, floor] = values.map(f64::abs);
        let law = Self {
            floor,
            factor,
            exponent,
            mean_squared_error: 0.0,
        };
        Ok(law.measured(points))
    }

    fn measured(mut self, points: &[(f64, f64)]) -> Self {
        let errors = points
            .iter()
            .map(|(width, fvu)| (self.at(*width) - fvu).powi(2));
        self.mean_squared_error = errors.sum::<f64>() / points.len() as f64;
        self
    }
}

/// The start of [`PowerLaw::fit_adam`]: factor, exponent and floor, standard normal.
pub fn draw_power_law_start(seed: Seed) -> [f64; 3] {
    let draws = normal(3, &mut seed.rng());
    std::array::from_fn(|place| draws[place])
}

/// The published optimisation of the power law.
#[derive(Config, Debug, PartialEq)]
pub struct PowerLawConfig {
    /// Adam's learning rate.
    #[config(default = 1e-4)]
    pub learning_rate: f64,
    /// Adam steps.
    #[config(default = 50_000)]
    pub steps: usize,
}

impl PowerLawConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "PowerLawConfig";
        if !self.learning_rate.is_finite() || self.learning_rate <= 0.0 {
            let rule = "must be finite and above 0";
            return Err(Error::config(
                NAME,
                "learning_rate",
                self.learning_rate,
                rule,
            ));
        }
        if self.steps == 0 {
            return Err(Error::config(NAME, "steps", 0, "must be at least 1"));
        }
        Ok(())
    }
}

/// Refuses points that fix no power law.
///
/// # Errors
/// [`Error::Input`] for fewer than three different widths (three numbers are fitted), and for a
/// width that is not above 0 or an FVU that is not finite.
pub fn checked(points: &[(f64, f64)]) -> Result<()> {
    let mut widths: Vec<f64> = Vec::new();
    for &(width, fvu) in points {
        if !width.is_finite() || width <= 0.0 || !fvu.is_finite() {
            let rule = "a power law needs finite widths above 0 and finite values";
            return Err(Error::input("a point (width, FVU)", (width, fvu), rule));
        }
        if !widths.contains(&width) {
            widths.push(width);
        }
    }
    if widths.len() < 3 {
        return Err(Error::input(
            "the number of different widths",
            widths.len(),
            "a power law with a floor needs at least 3",
        ));
    }
    Ok(())
}

/// The best floor and factor at an exponent.
fn best_line(points: &[(f64, f64)], centre: f64, exponent: f64) -> PowerLaw {
    let count = points.len() as f64;
    let (mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0);
    for (width, y) in points {
        let x = (-exponent * (width.ln() - centre)).exp();
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    let spread = sxx - sx * sx / count;
    let mut factor = (sxy - sx * sy / count) / spread;
    let mut floor = (sy - factor * sx) / count;
    if !factor.is_finite() || factor < 0.0 {
        (factor, floor) = (0.0, sy / count);
    } else if floor < 0.0 {
        (factor, floor) = (sxy / sxx, 0.0);
    }
    let law = PowerLaw {
        floor: floor.max(0.0),
        factor: factor * (exponent * centre).exp(),
        exponent,
        mean_squared_error: 0.0,
    };
    law.measured(points)
}
