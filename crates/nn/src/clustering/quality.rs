//! How compact and how far apart clusters are, without true classes.

use super::points::{Points, each_block};
use menagerie_core::{Error, Result};

/// Scores of a clustering by the points alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Calinski and Harabasz (1974): `[Σ n_k ‖c_k − c‖² / (k − 1)] / [Σ_k Σ ‖x − c_k‖² / (n − k)]`;
    /// higher is better.
    pub calinski_harabasz: f64,
    /// Davies and Bouldin (1979): the mean over clusters of the largest `(s_k + s_l) / ‖c_k − c_l‖`,
    /// `s` the mean distance to the cluster's mean; lower is better.
    pub davies_bouldin: f64,
    /// Clusters that have points.
    pub clusters: usize,
}

/// Labels are below this, so that sums can be kept by label.
const LABELS: usize = 1 << 16;

/// Sums over the points of a label.
#[derive(Clone, Default)]
struct Sums {
    count: u64,
    values: Vec<f64>,
    /// Of the squared distances to the mean, and of the distances.
    spread: [f64; 2],
}

impl Quality {
    /// The scores of `points` with `labels`, one per point in their order.
    ///
    /// # Errors
    /// [`Error::Input`] if the numbers of points and labels differ, a label is not below 65 536, or
    /// there are fewer than two clusters or as many as points; whatever the points report.
    pub fn of<P, L>(points: &P, labels: &[L]) -> Result<Self>
    where
        P: Points + ?Sized,
        L: Copy + Into<usize> + Sync,
    {
        let dim = points.dim();
        let lens = each_block(points, || (), |_, block, ()| block.len() / dim)?;
        let mut starts = Vec::with_capacity(lens.len());
        let mut count = 0;
        for len in lens {
            starts.push(count);
            count += len;
        }
        if count != labels.len() {
            let rule = format!("must be that of the points, {count}");
            return Err(Error::input("the number of labels", labels.len(), rule));
        }
        let most = labels.iter().map(|&label| label.into()).max().unwrap_or(0);
        if most >= LABELS {
            let rule = format!("must be below {LABELS}");
            return Err(Error::input("a label", most, rule));
        }
        let mut sums = means(points, labels, &starts, most + 1)?;
        spreads(points, labels, &starts, &mut sums)?;
        sums.retain(|sums| sums.count > 0);
        let clusters = sums.len();
        if clusters < 2 || clusters >= count {
            let rule = format!("must be at least 2 and below the number of points, {count}");
            return Err(Error::input("the number of clusters", clusters, rule));
        }
        let mut overall = vec![0.0; dim];
        for sums in &sums {
            for (overall, mean) in overall.iter_mut().zip(&sums.values) {
                *overall += mean * sums.count as f64 / count as f64;
            }
        }
        let between: f64 = sums
            .iter()
            .map(|sums| sums.count as f64 * squared(&sums.values, &overall))
            .sum();
        let inside: f64 = sums.iter().map(|sums| sums.spread[0]).sum();
        let calinski_harabasz =
            (between / (clusters - 1) as f64) / (inside / (count - clusters) as f64);
        let spreads: Vec<(f64, &[f64])> = sums
            .iter()
            .map(|sums| (sums.spread[1] / sums.count as f64, &sums.values[..]))
            .collect();
        let worst = spreads.iter().enumerate().map(|(at, (spread, mean))| {
            let others = spreads.iter().enumerate().filter(|(other, _)| *other != at);
            others
                .map(|(_, (other, place))| (spread + other) / squared(mean, place).sqrt())
                .fold(0.0, f64::max)
        });
        Ok(Self {
            calinski_harabasz,
            davies_bouldin: worst.sum::<f64>() / clusters as f64,
            clusters,
        })
    }
}

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The mean and the number of the points of each label below `count`.
fn means<P, L>(points: &P, labels: &[L], starts: &[usize], count: usize) -> Result<Vec<Sums>>
where
    P: Points + ?Sized,
    L: Copy + Into<usize> + Sync,
{
    let dim = points.dim();
    let none = || {
        let sums = Sums {
            values: vec![0.0; dim],
            ..Sums::default()
        };
        vec![sums; count]
    };
    let parts = each_block(
        points,
        || (),
        |index, block, ()| {
            let mut part = none();
            let labels = &labels[starts[index]..];
            for (point, &label) in block.chunks_exact(dim).zip(labels) {
                let sums = &mut part[label.into()];
                sums.count += 1;
                for (sum, &value) in sums.values.iter_mut().zip(point) {
                    *sum += f64::from(value);
                }
            }
            part
        },
    )?;
    let mut total = none();
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            total.count += part.count;
            for (total, value) in total.values.iter_mut().zip(part.values) {
                *total += value;
            }
        }
    }
    for sums in &mut total {
        let count = sums.count.max(1) as f64;
        sums.values.iter_mut().for_each(|value| *value /= count);
    }
    Ok(total)
}

/// Fills in how far the points lie from the mean of their label.
fn spreads<P, L>(points: &P, labels: &[L], starts: &[usize], sums: &mut [Sums]) -> Result<()>
where
    P: Points + ?Sized,
    L: Copy + Into<usize> + Sync,
{
    let dim = points.dim();
    let means = &*sums;
    let parts = each_block(
        points,
        || (),
        |index, block, ()| {
            let mut part = vec![[0.0; 2]; means.len()];
            let labels = &labels[starts[index]..];
            for (point, &label) in block.chunks_exact(dim).zip(labels) {
                let label = label.into();
                let pairs = point.iter().zip(&means[label].values);
                let square: f64 = pairs.map(|(&x, mean)| (f64::from(x) - mean).powi(2)).sum();
                part[label][0] += square;
                part[label][1] += square.sqrt();
            }
            part
        },
    )?;
    for part in parts {
        for (sums, part) in sums.iter_mut().zip(part) {
            sums.spread[0] += part[0];
            sums.spread[1] += part[1];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;

    #[test]
    fn two_pairs_on_a_line_have_known_scores() {
        let values = [0.0, 2.0, 10.0, 12.0];
        let points = Rows::new(&values, 1).unwrap();
        let quality = Quality::of(&points, &[3_u8, 3, 5, 5]).unwrap();
        // Means 1 and 11 around 6: 2 · 25 · 2 / 1 over 4 / 2; spreads of 1, 10 apart.
        assert!((quality.calinski_harabasz - 50.0).abs() < 1e-9);
        assert!((quality.davies_bouldin - 0.2).abs() < 1e-12);
        assert_eq!(quality.clusters, 2);
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let points = Rows::new(&[0.0, 1.0, 2.0], 1).unwrap();
        let refusal = |labels: &[usize]| Quality::of(&points, labels).unwrap_err().to_string();
        assert_eq!(
            refusal(&[0, 1]),
            "the number of labels is 2: must be that of the points, 3"
        );
        let rule = "must be at least 2 and below the number of points, 3";
        assert_eq!(
            refusal(&[1, 1, 1]),
            format!("the number of clusters is 1: {rule}")
        );
        assert_eq!(
            refusal(&[0, 1, 2]),
            format!("the number of clusters is 3: {rule}")
        );
    }
}
