//! The E-step: auxiliary targets from soft assignments, and the softmax layer to start from.

use menagerie_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows of a part of the work.
const ROWS: usize = 4096;

/// How targets follow from assignments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetRule {
    /// `q ∝ p² / f`, as the released code has it (and DEC before it); the published numbers come from
    /// it.
    #[default]
    Squared,
    /// `q ∝ p / √f`, the paper's: the closed form of KL(Q‖P) and a uniform prior on the clusters'
    /// sizes.
    SquareRoot,
}

/// `f_k = Σᵢ p_ik`, how much of the set each cluster has, for assignments `p`, `[n, K]`.
///
/// # Panics
/// If `clusters` is 0.
pub fn frequencies(p: &[f32], clusters: usize) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = p
        .par_chunks(ROWS * clusters)
        .map(|rows| {
            let mut sums = vec![0.0; clusters];
            for row in rows.chunks_exact(clusters) {
                for (sum, &p) in sums.iter_mut().zip(row) {
                    *sum += f64::from(p);
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0; clusters];
    for part in parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sums
}

/// Targets q, `[n, K]`, for assignments `p`, `[n, K]`, whose rows add up to 1. A cluster without any
/// share gets no target.
///
/// # Errors
/// [`Error::Input`] if there are fewer than two clusters or `p` is not a whole number of rows.
pub fn targets(p: &[f32], clusters: usize, rule: TargetRule) -> Result<Vec<f32>> {
    if clusters < 2 || !p.len().is_multiple_of(clusters) {
        let rule =
            format!("must be a multiple of the number of clusters, {clusters}, of 2 or more");
        return Err(Error::input("the number of assignments", p.len(), rule));
    }
    let factors: Vec<f64> = frequencies(p, clusters)
        .into_iter()
        .map(|f| match rule {
            // An empty cluster's share is 0 whatever it is multiplied with.
            _ if f <= 0.0 => 0.0,
            TargetRule::Squared => 1.0 / f,
            TargetRule::SquareRoot => 1.0 / f.sqrt(),
        })
        .collect();
    let mut q = vec![0.0; p.len()];
    q.par_chunks_mut(ROWS * clusters)
        .zip(p.par_chunks(ROWS * clusters))
        .for_each(|(q, p)| {
            let mut shares = vec![0.0; clusters];
            for (q, p) in q.chunks_exact_mut(clusters).zip(p.chunks_exact(clusters)) {
                for ((share, &p), factor) in shares.iter_mut().zip(p).zip(&factors) {
                    let p = f64::from(p);
                    let power = if rule == TargetRule::Squared {
                        p * p
                    } else {
                        p
                    };
                    *share = power * factor;
                }
                let sum: f64 = shares.iter().sum();
                for (q, share) in q.iter_mut().zip(&shares) {
                    // A row without any share (every p underflows) has no target.
                    *q = if sum > 0.0 { (share / sum) as f32 } else { 0.0 };
                }
            }
        });
    Ok(q)
}

/// The mean squared change of targets, by which training is judged to have settled.
///
/// # Panics
/// If the two are not of one length.
pub fn mean_squared_change(before: &[f32], after: &[f32]) -> f64 {
    assert_eq!(before.len(), after.len(), "targets of one set");
    let parts: Vec<f64> = before
        .par_chunks(ROWS * 8)
        .zip(after.par_chunks(ROWS * 8))
        .map(|(a, b)| {
            let pairs = a.iter().zip(b);
            pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        })
        .collect();
    parts.iter().sum::<f64>() / before.len().max(1) as f64
}

/// KL(Q‖P), the mean over rows of `Σₖ q log(q / p)` in nats.
///
/// # Panics
/// If the two are not of one length, or `clusters` is 0.
pub fn relative_entropy(q: &[f32], p: &[f32], clusters: usize) -> f64 {
    assert_eq!(q.len(), p.len(), "targets and assignments of one set");
    let terms = q.iter().zip(p).filter(|(q, _)| **q > 0.0);
    let sum: f64 = terms
        .map(|(&q, &p)| {
            let (q, p) = (f64::from(q), f64::from(p));
            q * (q / p).ln()
        })
        .sum();
    sum / (q.len() / clusters).max(1) as f64
}

/// The most probable cluster of each row of `[n, K]`; of equals the first.
///
/// # Panics
/// If `clusters` is 0.
pub fn most_probable(p: &[f32], clusters: usize) -> Vec<usize> {
    p.chunks_exact(clusters)
        .map(|row| {
            let mut best = 0;
            for (cluster, value) in row.iter().enumerate() {
                if *value > row[best] {
                    best = cluster;
                }
            }
            best
        })
        .collect()
}

/// The weights Θ of a softmax layer, `[dim, K]` row by row: each column is the mean of a cluster's
/// `features` (`[n, dim]`, with one of the `labels` each), scaled to unit norm.
///
/// # Errors
/// [`Error::Input`] if features and labels do not fit each other, a label is not below `clusters`, or
/// a cluster is empty.
pub fn head_weight(
    features: &[f32],
    dim: usize,
    labels: &[usize],
    clusters: usize,
) -> Result<Vec<f32>> {
    if dim == 0 || labels.len().checked_mul(dim) != Some(features.len()) {
        let rule = format!("must be {dim} for each of the {} labels", labels.len());
        return Err(Error::input("the number of features", features.len(), rule));
    }
    let mut sums = vec![0.0; clusters * dim];
    let mut counts = vec![0_usize; clusters];
    for (row, &label) in features.chunks_exact(dim).zip(labels) {
        let count = counts.get_mut(label).ok_or_else(|| {
            let rule = format!("must be below the number of clusters, {clusters}");
            Error::input("a label", label, rule)
        })?;
        *count += 1;
        for (sum, &value) in sums[label * dim..][..dim].iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    if let Some(empty) = counts.iter().position(|count| *count == 0) {
        let rule = "the softmax layer needs at least one image of each cluster";
        return Err(Error::input(
            format!("the size of cluster {empty}"),
            0,
            rule,
        ));
    }
    let mut weight = vec![0.0; dim * clusters];
    for (cluster, mean) in sums.chunks_exact(dim).enumerate() {
        let norm = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
        for (axis, value) in mean.iter().enumerate() {
            // A mean of 0 points nowhere.
            let value = if norm > 0.0 { value / norm } else { 0.0 };
            weight[axis * clusters + cluster] = value as f32;
        }
    }
    Ok(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squared_targets_sharpen_and_both_favour_small_clusters() {
        // Ten times as much for the first cluster.
        let p: Vec<f32> = (0..11)
            .flat_map(|row| if row < 10 { [0.9, 0.1] } else { [0.1, 0.9] })
            .collect();
        let squared = targets(&p, 2, TargetRule::Squared).unwrap();
        let root = targets(&p, 2, TargetRule::SquareRoot).unwrap();
        let f = frequencies(&p, 2);
        assert!((f[0] - 9.1).abs() < 1e-6 && (f[1] - 1.9).abs() < 1e-6);
        for q in [&squared, &root] {
            for row in q.chunks(2) {
                assert!((row[0] + row[1] - 1.0).abs() < 1e-6);
            }
        }
        // The odd one out moves towards its small cluster under either rule.
        assert!(
            squared[21] > root[21] && root[21] > 0.9,
            "{} {}",
            squared[21],
            root[21]
        );
        // The paper's form does not sharpen the others.
        assert!(
            squared[0] > 0.9 && root[0] < 0.9,
            "{} {}",
            squared[0],
            root[0]
        );
    }

    #[test]
    fn a_cluster_without_any_share_is_no_division_by_zero() {
        let p = [1.0, 0.0, 1.0, 0.0];
        for rule in [TargetRule::Squared, TargetRule::SquareRoot] {
            assert_eq!(targets(&p, 2, rule).unwrap(), p);
        }
        assert_eq!(relative_entropy(&p, &p, 2), 0.0);
        let error = targets(&p, 3, TargetRule::Squared).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of assignments is 4: must be a multiple of the number of clusters, 3, of 2 \
             or more"
        );
    }

    #[test]
    fn a_head_needs_every_cluster() {
        let features = [3.0, 0.0, 0.0, 2.0, 0.0, 4.0];
        let weight = head_weight(&features, 2, &[0, 1, 1], 2).unwrap();
        assert_eq!(weight, [1.0, 0.0, 0.0, 1.0]);
        let refusal = |labels: &[usize], clusters| {
            let error = head_weight(&features, 2, labels, clusters).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            refusal(&[0, 1, 1], 3),
            "the size of cluster 2 is 0: the softmax layer needs at least one image of each cluster"
        );
        assert_eq!(
            refusal(&[0, 1, 2], 2),
            "a label is 2: must be below the number of clusters, 2"
        );
        assert_eq!(
            refusal(&[0, 1], 2),
            "the number of features is 6: must be 2 for each of the 2 labels"
        );
    }
}
