//! Bands brought to 0..1 over a whole scene.

use menagerie_core::{Error, Result};
use menagerie_nn::clustering::Points;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The least value and the span of each band.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinMax {
    /// The least value of each band.
    pub low: Vec<f32>,
    /// The greatest value of each band.
    pub high: Vec<f32>,
}

impl MinMax {
    /// The range of every band over all points, read once.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no point, as in a scene without data, or a value is not finite; what
    /// the points report.
    pub fn fit<P: Points + ?Sized>(points: &P) -> Result<Self> {
        let dim = points.dim();
        let parts: Result<Vec<[Vec<f32>; 2]>> = (0..points.blocks())
            .into_par_iter()
            .map_init(Vec::new, |buffer, index| {
                let block = points.block(index, buffer)?;
                check_finite(block)?;
                let mut range = [vec![f32::INFINITY; dim], vec![f32::NEG_INFINITY; dim]];
                let [low, high] = &mut range;
                for point in block.chunks_exact(dim) {
                    for ((low, high), &value) in low.iter_mut().zip(high.iter_mut()).zip(point) {
                        *low = low.min(value);
                        *high = high.max(value);
                    }
                }
                Ok(range)
            })
            .collect();
        let (mut low, mut high) = (vec![f32::INFINITY; dim], vec![f32::NEG_INFINITY; dim]);
        for [least, most] in parts? {
            for axis in 0..dim {
                low[axis] = low[axis].min(least[axis]);
                high[axis] = high[axis].max(most[axis]);
            }
        }
        if low.iter().any(|low| !low.is_finite()) {
            let rule = "a scene must have a pixel with data in every band";
            return Err(Error::input("the number of pixels with data", 0, rule));
        }
        Ok(Self { low, high })
    }

    /// Values of a pixel.
    pub fn bands(&self) -> usize {
        self.low.len()
    }

    /// The bands that have one value throughout; scaled, they are 0.
    pub fn constant_bands(&self) -> Vec<usize> {
        let bands = self.low.iter().zip(&self.high).enumerate();
        bands
            .filter(|(_, (low, high))| low == high)
            .map(|(band, _)| band)
            .collect()
    }

    /// Brings pixels, `[n, bands]`, to 0..1, in place: `(x − low) / (high − low)`, and 0 in bands that
    /// have one value throughout.
    pub fn apply(&self, pixels: &mut [f32]) {
        let scales: Vec<(f32, f32)> = self
            .low
            .iter()
            .zip(&self.high)
            .map(|(&low, &high)| {
                let span = high - low;
                (low, if span > 0.0 { 1.0 / span } else { 0.0 })
            })
            .collect();
        for pixel in pixels.chunks_exact_mut(scales.len().max(1)) {
            for (value, (low, scale)) in pixel.iter_mut().zip(&scales) {
                *value = (*value - low) * scale;
            }
        }
    }
}

/// Refuses values that are not finite: a minimum would pass over them in silence.
pub(super) fn check_finite(values: &[f32]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => {
            let rule = "must be finite: leave pixels without data out, as ScenePixels does";
            Err(Error::input("a value", value, rule))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_nn::clustering::Rows;

    #[test]
    fn bands_are_scaled_each_by_its_own_range() {
        let mut values = [1.0, 10.0, 5.0, 3.0, 30.0, 5.0, 2.0, 20.0, 5.0];
        let scaling = MinMax::fit(&Rows::new(&values, 3).unwrap()).unwrap();
        scaling.apply(&mut values);
        assert_eq!(values, [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.5, 0.5, 0.0]);
        assert_eq!(scaling.constant_bands(), [2]);
        let error = MinMax::fit(&Rows::new(&[], 3).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of pixels with data is 0: a scene must have a pixel with data in every band"
        );
    }
    #[test]
    fn values_that_are_not_finite_are_refused() {
        for (wrong, shown) in [
            (f32::NAN, "NaN"),
            (f32::INFINITY, "inf"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            // In the middle of other values, which a minimum would take instead.
            let mut values = [0.5; 30];
            values[17] = wrong;
            let error = MinMax::fit(&Rows::new(&values, 3).unwrap()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "a value is {shown}: must be finite: leave pixels without data out, as \
                     ScenePixels does"
                )
            );
        }
    }
}
