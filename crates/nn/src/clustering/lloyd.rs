//! Lloyd's iterations.

use super::{
    kmeans::KMeans,
    nearest::Nearest,
    points::{Points, Summary, each_block},
};
use menagerie_core::{Error, Result};

/// When Lloyd's iterations end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// After this many, whatever they do.
    pub iterations: usize,
    /// When the squared shifts of all centres add up to at most this times the mean variance of the
    /// points' dimensions. Iterations end in any case when no point changes its cluster.
    pub tolerance: f64,
}

impl Default for Stop {
    /// scikit-learn's: 300 iterations, 1e-4.
    fn default() -> Self {
        Self {
            iterations: 300,
            tolerance: 1e-4,
        }
    }
}

/// What a pass over a block leaves.
struct Part {
    sums: Vec<f64>,
    counts: Vec<u64>,
    inertia: f64,
}

/// Lloyd's iterations from `centres`, `[clusters, dim]`: points go to the nearest centre, centres to
/// the mean of their points, until one of the rules of `stop` holds.
///
/// A centre without points is moved onto the point that is farthest from its own centre, which
/// leaves that centre's mean, as in scikit-learn.
///
/// # Errors
/// [`Error::Input`] if there are no points, fewer points than centres, no centres, or values that are
/// not finite; whatever the points report.
pub fn lloyd<P: Points + ?Sized>(points: &P, centres: Vec<f32>, stop: Stop) -> Result<KMeans> {
    run(points, &Summary::of(points)?, centres, stop)
}

pub(super) fn run<P: Points + ?Sized>(
    points: &P,
    summary: &Summary,
    mut centres: Vec<f32>,
    stop: Stop,
) -> Result<KMeans> {
    let dim = points.dim();
    let clusters = centres.len() / dim;
    if clusters == 0 || !centres.len().is_multiple_of(dim) {
        let rule = format!("must be a positive multiple of {dim}, the length of a point");
        let what = "the number of the centres' values";
        return Err(Error::input(what, centres.len(), rule));
    }
    check_clusters(clusters, summary.len)?;
    let limit = stop.tolerance * summary.variance;
    let mut iterations = 0;
    while iterations < stop.iterations {
        let mut total = pass(points, &centres, clusters)?;
        relocate(points, &centres, &mut total)?;
        let next = means(&total, &centres, dim);
        // The means are sums in a fixed order: they stay what they are, to the last bit, exactly
        // when every point stays where it is.
        if next == centres {
            break;
        }
        iterations += 1;
        let shift: f64 = centres
            .iter()
            .zip(&next)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        centres = next;
        if shift <= limit {
            break;
        }
    }
    let last = pass(points, &centres, clusters)?;
    Ok(KMeans {
        centres,
        dim,
        sizes: last.counts,
        inertia: last.inertia,
        iterations,
    })
}

/// Refuses more clusters than points, and none.
pub(super) fn check_clusters(clusters: usize, points: usize) -> Result<()> {
    let rule = match clusters {
        0 => "must be at least 1".to_string(),
        n if n > points => format!("must be at most the number of points, {points}"),
        _ => return Ok(()),
    };
    Err(Error::input("the number of clusters", clusters, rule))
}

/// Sums, counts and inertia of the points that are nearest to each centre.
fn pass<P: Points + ?Sized>(points: &P, centres: &[f32], clusters: usize) -> Result<Part> {
    let dim = points.dim();
    let parts = each_block(points, Nearest::default, |_, block, nearest| {
        nearest.find(block, centres, dim);
        let mut part = Part {
            sums: vec![0.0; clusters * dim],
            counts: vec![0; clusters],
            inertia: 0.0,
        };
        let found = nearest.labels.iter().zip(&nearest.distances);
        for (point, (&label, &distance)) in block.chunks_exact(dim).zip(found) {
            let label = label as usize;
            part.counts[label] += 1;
            part.inertia += f64::from(distance);
            for (sum, &value) in part.sums[label * dim..][..dim].iter_mut().zip(point) {
                *sum += f64::from(value);
            }
        }
        part
    })?;
    let mut total = Part {
        sums: vec![0.0; clusters * dim],
        counts: vec![0; clusters],
        inertia: 0.0,
    };
    for part in parts {
        for (total, sum) in total.sums.iter_mut().zip(part.sums) {
            *total += sum;
        }
        for (total, count) in total.counts.iter_mut().zip(part.counts) {
            *total += count;
        }
        total.inertia += part.inertia;
    }
    Ok(total)
}

/// Gives each empty cluster one of the points that are farthest from their centres.
fn relocate<P: Points + ?Sized>(points: &P, centres: &[f32], total: &mut Part) -> Result<()> {
    let empty: Vec<usize> = (0..total.counts.len())
        .filter(|&cluster| total.counts[cluster] == 0)
        .collect();
    if empty.is_empty() {
        return Ok(());
    }
    let dim = points.dim();
    let parts = each_block(points, Nearest::default, |_, block, nearest| {
        nearest.find(block, centres, dim);
        let mut order: Vec<usize> = (0..nearest.distances.len()).collect();
        let distance = |at: usize| nearest.distances[at];
        order.sort_by(|&a, &b| distance(b).total_cmp(&distance(a)));
        order.truncate(empty.len());
        let far = order.into_iter().map(|at| {
            let values = block[at * dim..][..dim].to_vec();
            (distance(at), nearest.labels[at] as usize, values)
        });
        far.collect::<Vec<_>>()
    })?;
    let mut far: Vec<_> = parts.into_iter().flatten().collect();
    far.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (cluster, (distance, from, values)) in empty.into_iter().zip(far) {
        // All points lie on their centres: there is nothing to split off.
        if distance <= 0.0 {
            break;
        }
        for axis in 0..dim {
            let value = f64::from(values[axis]);
            total.sums[from * dim + axis] -= value;
            total.sums[cluster * dim + axis] = value;
        }
        total.counts[from] -= 1;
        total.counts[cluster] = 1;
    }
    Ok(())
}

fn means(total: &Part, centres: &[f32], dim: usize) -> Vec<f32> {
    let mut means = centres.to_vec();
    for ((mean, sums), &count) in means
        .chunks_exact_mut(dim)
        .zip(total.sums.chunks_exact(dim))
        .zip(&total.counts)
    {
        // A centre that has no points even so stays where it is.
        if count > 0 {
            for (mean, sum) in mean.iter_mut().zip(sums) {
                *mean = (sum / count as f64) as f32;
            }
        }
    }
    means
}
