//! Probing with a ridge classifier: how well classes are linear in features, in closed form.

use super::heads::pooled;
use burn::config::Config;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_nn::regression::{LeastSquares, LeastSquaresConfig, LinearFit};

/// How features are probed.
#[derive(Config, Debug, PartialEq)]
pub struct RidgeProbeConfig {
    /// Number of classes.
    pub classes: usize,
    /// Side of the grid that maps are pooled to.
    #[config(default = 2)]
    pub pool: usize,
    /// The penalty λ on squared weights of standardised features.
    #[config(default = 30.0)]
    pub penalty: f64,
}

impl RidgeProbeConfig {
    const NAME: &str = "RidgeProbeConfig";

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.classes < 2 {
            let rule = "must be at least 2";
            return Err(Error::config(Self::NAME, "classes", self.classes, rule));
        }
        if self.pool == 0 {
            return Err(Error::config(Self::NAME, "pool", 0, "must be at least 1"));
        }
        if !self.penalty.is_finite() || self.penalty < 0.0 {
            let rule = "must be finite and at least 0";
            return Err(Error::config(Self::NAME, "penalty", self.penalty, rule));
        }
        Ok(())
    }

    /// What is probed of maps `[batch, channels, side, side]`: means over a grid of `pool` × `pool`,
    /// the channels one after the other, `[batch, channels · pool²]`.
    ///
    /// # Errors
    /// [`Error::Config`] for a grid without cells.
    pub fn pool(&self, maps: Tensor<4>) -> Result<Tensor<2>> {
        self.validate()?;
        Ok(pooled(maps, self.pool).flatten(1, 3))
    }

    /// Fits a probe on features `[examples, features]` and the class of each example.
    ///
    /// Features are standardised; the targets are 1 at the class and 0 elsewhere, and the weights W
    /// minimise `‖X W + b − Y‖² + λ ‖W‖²`.
    ///
    /// # Errors
    /// [`Error::Input`] if there are not as many labels as examples, a label is no class, a feature
    /// is not finite, or there are fewer examples than features.
    pub fn fit(&self, features: Tensor<2>, labels: &[usize]) -> Result<RidgeProbe> {
        self.validate()?;
        let [examples, width] = features.dims();
        check_labels(labels, examples, self.classes)?;
        let mut targets = vec![0.0_f32; examples * self.classes];
        for (row, label) in targets.chunks_exact_mut(self.classes).zip(labels) {
            row[*label] = 1.0;
        }
        let shape = [examples, self.classes];
        let targets = Tensor::from_data(TensorData::new(targets, shape), &features.device());
        // A standardised column has the squared length of the number of examples; the fit scales it
        // to 1 and the penalty with it.
        let config =
            LeastSquaresConfig::with_constant().with_ridge(self.penalty / examples.max(1) as f64);
        let mut sums = LeastSquares::new(width, self.classes, &config)?;
        sums.add(features, targets)?;
        Ok(RidgeProbe { fit: sums.solve()? })
    }
}

/// A fitted ridge classifier.
#[derive(Clone, Debug)]
pub struct RidgeProbe {
    fit: LinearFit,
}

impl RidgeProbe {
    /// The class of the largest score of each row of `features`, `[examples, features]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the features have another width than those of the fit.
    pub fn predict(&self, features: Tensor<2>) -> Result<Vec<usize>> {
        let classes = self.fit.predict(features)?.argmax(1);
        let read = |error| Error::other("reading classes", error);
        let classes = classes.into_data().try_cast_as::<i64>().map_err(read)?;
        Ok(classes.iter::<i64>().map(|class| class as usize).collect())
    }

    /// The share of rows of `features`, `[examples, features]`, whose predicted class is theirs, in
    /// percent.
    ///
    /// # Errors
    /// [`Error::Input`] if the features have another width than those of the fit, or there are not
    /// as many labels as rows.
    pub fn accuracy(&self, features: Tensor<2>, labels: &[usize]) -> Result<f64> {
        let [_, classes] = self.fit.widths();
        check_labels(labels, features.dims()[0], classes)?;
        let predicted = self.predict(features)?;
        let right = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
        Ok(100.0 * right as f64 / labels.len() as f64)
    }
}

/// Refuses labels that are not one for each example, or no classes.
pub(super) fn check_labels(labels: &[usize], examples: usize, classes: usize) -> Result<()> {
    if labels.is_empty() || labels.len() != examples {
        let rule = format!("must be {examples}, one for each example, and at least 1");
        return Err(Error::input("the number of labels", labels.len(), rule));
    }
    match labels.iter().find(|label| **label >= classes) {
        Some(label) => {
            let rule = format!("must be below the number of classes, {classes}");
            Err(Error::input("a label", label, rule))
        }
        None => Ok(()),
    }
}

/// Labels as a tensor `[batch]`.
pub(super) fn label_tensor(labels: &[usize], device: &Device) -> Tensor<1, burn::tensor::Int> {
    let labels: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
    Tensor::from_ints(labels.as_slice(), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_core::Seed;
    use menagerie_nn::noise::draw_normal;

    #[test]
    fn it_is_ridge_regression_on_standardised_features() {
        let device = Device::default();
        let x: Tensor<2> = draw_normal([50, 2], Seed(1), &device);
        // Features on very different scales.
        let scale = Tensor::from_floats([[100.0, 0.01]], &device);
        let x = x * scale + 3.0;
        let values: Vec<f32> = x.clone().into_data().iter().collect();
        let labels: Vec<usize> = values.chunks(2).map(|x| usize::from(x[0] > 3.0)).collect();
        let config = RidgeProbeConfig::new(2).with_penalty(20.0);
        let probe = config.fit(x, &labels).unwrap();

        // By hand, in standard coordinates: (XᵀX + λ) W = Xᵀ y.
        let standard = |column: usize| -> (Vec<f64>, f64) {
            let values: Vec<f64> = values[column..]
                .iter()
                .step_by(2)
                .map(|&x| x.into())
                .collect();
            let mean = values.iter().sum::<f64>() / 50.0;
            let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 50.0;
            let deviation = variance.sqrt();
            let centred = values.iter().map(|x| (x - mean) / deviation).collect();
            (centred, deviation)
        };
        let (a, a_deviation) = standard(0);
        let (b, b_deviation) = standard(1);
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let y: Vec<f64> = labels.iter().map(|&label| label as f64).collect();
        let (aa, bb, ab) = (dot(&a, &a) + 20.0, dot(&b, &b) + 20.0, dot(&a, &b));
        let determinant = aa * bb - ab * ab;
        let expected = [
            (bb * dot(&a, &y) - ab * dot(&b, &y)) / determinant / a_deviation,
            (aa * dot(&b, &y) - ab * dot(&a, &y)) / determinant / b_deviation,
        ];
        let found = probe.fit.coefficients();
        assert!((found[1] / expected[0] - 1.0).abs() < 1e-4);
        assert!((found[3] / expected[1] - 1.0).abs() < 1e-4);
    }

    #[test]
    fn classes_that_are_linear_are_read() {
        let device = Device::default();
        let x: Tensor<2> = draw_normal([300, 4], Seed(1), &device);
        let values: Vec<f32> = x.clone().into_data().iter().collect();
        let labels: Vec<usize> = values.chunks(4).map(|x| usize::from(x[2] > 0.3)).collect();
        let probe = RidgeProbeConfig::new(2).fit(x.clone(), &labels).unwrap();
        assert!(probe.accuracy(x.clone(), &labels).unwrap() > 90.0);
        let maps = x.reshape([300, 1, 2, 2]);
        let features = RidgeProbeConfig::new(2).pool(maps).unwrap();
        assert!(probe.accuracy(features, &labels).unwrap() > 90.0);
    }

    #[test]
    fn impossible_probes_are_refused() {
        let x: Tensor<2> = draw_normal([5, 2], Seed(1), &Device::default());
        let error = |config: RidgeProbeConfig, labels: &[usize]| {
            config.fit(x.clone(), labels).unwrap_err().to_string()
        };
        let config = || RidgeProbeConfig::new(2);
        assert_eq!(
            error(config(), &[0, 1]),
            "the number of labels is 2: must be 5, one for each example, and at least 1"
        );
        assert_eq!(
            error(config(), &[0, 1, 2, 0, 1]),
            "a label is 2: must be below the number of classes, 2"
        );
        assert_eq!(
            error(config().with_penalty(-1.0), &[0; 5]),
            "RidgeProbeConfig.penalty = -1.0: must be finite and at least 0"
        );
        assert_eq!(
            error(config().with_pool(0), &[0; 5]),
            "RidgeProbeConfig.pool = 0: must be at least 1"
        );
    }
}
