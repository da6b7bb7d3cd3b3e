//! Halves of digits: one half is seen, the other one predicted.

use super::KINDS;
use super::samples::{crossing, descend, logged, name};
use crate::Context;
use menagerie_core::Result;
use menagerie_data_image::{ImageSet, Split, mnist};
use menagerie_theory::jepa_linear::{
    Covariances, Descent, Direction, DynamicsConfig, Feature, JepaLinearConfig, Kind, Matrix,
    TrainingConfig, critical_time, fixed_point,
};
use menagerie_train::Progress;
use serde::Serialize;

/// Layers and start of the encoder.
const LAYERS: usize = 2;
const EPSILON: f64 = 0.01;
/// Rows and columns of a half whose pixels were averaged by fours.
const HALF: [usize; 2] = [14, 7];

/// A training on halves of digits.
pub(super) struct Halves {
    pub kind: Kind,
    /// The features of the pairs, the largest ρ first.
    pub features: Vec<Direction>,
    /// When each had half of the fixed point that a feature of its own would have, and when theory
    /// says so; none where that is never.
    pub half: Vec<(Option<f64>, Option<f64>)>,
}

/// Left halves and mirrored right halves, one image after the other: two rows of 98 values an image.
fn halves(set: &ImageSet, count: usize) -> Result<Vec<[Vec<f64>; 2]>> {
    let pixels = set.to_f32(0..count)?;
    let [rows, columns] = HALF;
    let side = 2 * rows;
    let of = |image: &[f32], mirrored: bool| -> Vec<f64> {
        let mean = |row: usize, column: usize| {
            let at = |r: usize, c: usize| {
                let c = if mirrored { side - 1 - c } else { c };
                f64::from(image[r * side + c])
            };
            let (r, c) = (2 * row, 2 * column);
            (at(r, c) + at(r, c + 1) + at(r + 1, c) + at(r + 1, c + 1)) / 4.0
        };
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        places.map(|(row, column)| mean(row, column)).collect()
    };
    let images = pixels.chunks_exact(side * side);
    Ok(images
        .map(|image| [of(image, false), of(image, true)])
        .collect())
}

/// Moments of the first principal components of both halves, each half seen and predicted once. The
/// largest variance is made 1.
fn moments(pairs: &[[Vec<f64>; 2]], components: usize) -> Result<Covariances> {
    let size = HALF[0] * HALF[1];
    let rows = 2 * pairs.len();
    let mut mean = vec![0.0; size];
    for half in pairs.iter().flatten() {
        mean.iter_mut()
            .zip(half)
            .for_each(|(sum, value)| *sum += value / rows as f64);
    }
    let stacked = |order: [usize; 2]| {
        let halves = pairs.iter().flat_map(|pair| order.map(|at| &pair[at]));
        let values = halves.flat_map(|half| half.iter().zip(&mean).map(|(v, mean)| v - mean));
        Matrix::new(rows, size, values.collect())
    };
    let (x, y) = (stacked([0, 1])?, stacked([1, 0])?);
    let share = 1.0 / rows as f64;
    let second = |a: &Matrix, b: &Matrix| -> Result<Matrix> {
        let sum = a.transpose().times(b);
        let [rows, columns] = sum.shape();
        Matrix::new(
            rows,
            columns,
            sum.values().iter().map(|v| v * share).collect(),
        )
    };
    // Principal components: features of the covariance beside the identity.
    let unit = Matrix::diagonal(&vec![1.0; size]);
    let all = Covariances {
        xx: unit.clone(),
        yx: second(&x, &x)?,
        yy: unit,
    };
    let principal = all.features()?;
    let kept = principal.len().min(components);
    let scale = principal
        .first()
        .map_or(1.0, |first| first.rho.sqrt().recip());
    let rows = principal[..kept]
        .iter()
        .flat_map(|feature| &feature.direction);
    let base = Matrix::new(kept, size, rows.map(|value| value * scale).collect())?;
    let within = |moment: Matrix| base.times(&moment).times(&base.transpose());
    Ok(Covariances {
        xx: within(second(&x, &x)?),
        yx: within(second(&y, &x)?),
        yy: within(second(&y, &y)?),
    })
}

#[derive(Serialize)]
struct Settings {
    training: TrainingConfig,
    images: usize,
    components: usize,
}

/// Trains both methods on the halves; nothing without images.
pub(super) fn learn(
    [images, components]: [usize; 2],
    steps: usize,
    context: &Context,
    progress: &Progress,
) -> anyhow::Result<Vec<Halves>> {
    if images == 0 {
        return Ok(Vec::new());
    }
    let set = mnist(Split::Train)?;
    let covariances = moments(&halves(&set, images.min(set.len()))?, components)?;
    let features = covariances.features()?;
    let mut learned = Vec::new();
    for kind in KINDS {
        let law = DynamicsConfig::new(kind, LAYERS, EPSILON);
        // Features of little covariance would take a hundred times as long.
        let expected = |found: &Direction| -> Option<(f64, f64)> {
            let feature = Feature::new(found.lambda, found.rho).ok()?;
            let time = critical_time(&law, feature, 0.5).ok()?;
            (found.lambda > 0.05).then_some((time, 0.5 * fixed_point(&law, feature)))
        };
        let expected: Vec<_> = features.iter().map(expected).collect();
        let last = expected.iter().flatten().map(|(time, _)| *time);
        let span = 1.5 * last.fold(1.0, f64::max);
        let training = TrainingConfig::new(span)
            .with_epsilon(EPSILON)
            .with_steps(steps.max((4.0 * span) as usize));
        let config = JepaLinearConfig::square(kind, features.len(), LAYERS);
        let descent = Descent::new(&config, &training, covariances.clone(), features.clone())?;
        let settings = Settings {
            training: training.clone(),
            images,
            components,
        };
        let folder = format!("digits-{}", name(kind));
        let log = descend(
            descent,
            training.steps,
            &settings,
            &folder,
            context,
            progress,
        )?;
        let (times, amplitudes) = logged(&log, features.len());
        let half = amplitudes.iter().zip(expected).map(|(values, expected)| {
            let target = expected.map(|(_, target)| target);
            let found = target.and_then(|target| crossing(&times, values, target));
            (found, expected.map(|(time, _)| time))
        });
        learned.push(Halves {
            kind,
            features: features.clone(),
            half: half.collect(),
        });
    }
    Ok(learned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_mirror_each_other_and_moments_are_symmetric() {
        // A left to right gradient, another one in the other direction.
        let image = |at: usize| -> Vec<u8> {
            (0..784)
                .map(|p| if at == 0 { p % 28 } else { 27 - p % 28 })
                .map(|v| v as u8)
                .collect()
        };
        let pixels = [image(0), image(1)].concat();
        let set = ImageSet::new(pixels, [1, 28, 28], Vec::new(), Vec::new()).unwrap();
        let pairs = halves(&set, 2).unwrap();
        assert_eq!(pairs[0][0], pairs[1][1]);
        assert_eq!(pairs[0][1], pairs[1][0]);
        assert!((pairs[0][0][0] - 0.5 / 255.0).abs() < 1e-9);
        let moments = moments(&pairs, 1).unwrap();
        assert!((moments.xx.at(0, 0) - 1.0).abs() < 1e-9);
        // One half is high where the other one is low.
        assert!((moments.yx.at(0, 0) + 1.0).abs() < 1e-9);
    }
}
