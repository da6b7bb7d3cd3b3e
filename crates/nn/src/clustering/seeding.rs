//! k-means++ (Arthur and Vassilvitskii 2007), greedy as scikit-learn has it.

use super::{
    nearest::Nearest,
    points::{Points, Summary, each_block},
};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// The random numbers of one seeding.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedingDraws {
    /// The point that becomes the first centre.
    pub first: usize,
    /// Uniform numbers in 0..1, `[clusters - 1, trials]`: the candidates for each further centre.
    pub uniform: Vec<f64>,
    /// Candidates for each further centre.
    pub trials: usize,
}

/// Draws for `clusters` of `len` points with `trials` candidates for each centre after the first.
///
/// # Panics
/// If `len` is 0.
pub fn draw_seeding(len: usize, clusters: usize, trials: usize, seed: Seed) -> SeedingDraws {
    let mut rng = seed.stream("k-means++").rng();
    let first = rng.random_range(0..len);
    let uniform = (0..clusters.saturating_sub(1) * trials)
        .map(|_| rng.random())
        .collect();
    SeedingDraws {
        first,
        uniform,
        trials,
    }
}

/// The centres to start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Seeding {
    /// The points that were chosen, in the order of their choice.
    pub indices: Vec<usize>,
    /// The candidates for each centre after the first, `[clusters - 1, trials]`.
    pub candidates: Vec<usize>,
    /// The chosen points, `[clusters, dim]`.
    pub centres: Vec<f32>,
}

/// k-means++: each further centre is the best of several candidates, which are drawn with a
/// probability in proportion to their squared distance D² from the nearest centre so far. A uniform
/// number u stands for the first point whose cumulative D² reaches u times the sum of all; the
/// candidate that leaves the smallest sum is kept.
///
/// The points are read twice for each centre, and nothing is stored for them.
///
/// # Errors
/// [`Error::Input`] if there are fewer distinct points than centres, if the draws are not for these
/// points, or if a value is not finite; whatever the points report.
pub fn k_means_plus_plus<P: Points + ?Sized>(points: &P, draws: &SeedingDraws) -> Result<Seeding> {
    seed(points, &Summary::of(points)?, draws)
}

pub(super) fn seed<P: Points + ?Sized>(
    points: &P,
    summary: &Summary,
    draws: &SeedingDraws,
) -> Result<Seeding> {
    let (dim, trials) = (points.dim(), draws.trials);
    let (first, mut centres) = fetch(points, summary, draws.first)?;
    let mut seeding = Seeding {
        indices: vec![first],
        candidates: Vec::new(),
        centres: Vec::new(),
    };
    if trials == 0 || !draws.uniform.len().is_multiple_of(trials) {
        let rule = format!("must be a multiple of {trials}, the candidates for a centre");
        let what = "the number of draws";
        return Err(Error::input(what, draws.uniform.len(), rule));
    }
    // The sums of D² of each block, for the centres so far.
    let mut potentials = potentials(points, &centres, &[])?.swap_remove(0);
    for uniform in draws.uniform.chunks(trials) {
        let total: f64 = potentials.iter().sum();
        if total <= 0.0 {
            let rule = format!(
                "must be at most the number of distinct points, {}",
                seeding.indices.len()
            );
            let clusters = draws.uniform.len() / trials + 1;
            return Err(Error::input("the number of clusters", clusters, rule));
        }
        let mut rows = Vec::with_capacity(trials * dim);
        let start = seeding.candidates.len();
        for &u in uniform {
            let index = draw(points, summary, &centres, &potentials, u * total)?;
            seeding.candidates.push(index);
            rows.extend(fetch(points, summary, index)?.1);
        }
        let mut left = self::potentials(points, &centres, &rows)?;
        let sums: Vec<f64> = left.iter().map(|blocks| blocks.iter().sum()).collect();
        let best = (0..trials)
            .min_by(|&a, &b| sums[a].total_cmp(&sums[b]))
            .unwrap_or_default();
        potentials = left.swap_remove(best);
        seeding.indices.push(seeding.candidates[start + best]);
        centres.extend_from_slice(&rows[best * dim..][..dim]);
    }
    seeding.centres = centres;
    Ok(seeding)
}

/// Point `index` with its values.
fn fetch<P: Points + ?Sized>(
    points: &P,
    summary: &Summary,
    index: usize,
) -> Result<(usize, Vec<f32>)> {
    let (block, place) = summary.locate(index).ok_or_else(|| {
        let rule = format!("must be below the number of points, {}", summary.len);
        Error::input("a point", index, rule)
    })?;
    let dim = points.dim();
    let mut buffer = Vec::new();
    let block = points.block(block, &mut buffer)?;
    Ok((index, block[place * dim..][..dim].to_vec()))
}

/// For each of the `candidates`, `[n, dim]`, and each block: the sum of the squared distances to the
/// nearest of the centres and this candidate. Without candidates, to the nearest of the centres.
fn potentials<P: Points + ?Sized>(
    points: &P,
    centres: &[f32],
    candidates: &[f32],
) -> Result<Vec<Vec<f64>>> {
    let dim = points.dim();
    let count = (candidates.len() / dim).max(1);
    let scratch = || [Nearest::default(), Nearest::default()];
    let blocks = each_block(points, scratch, |_, block, [so_far, candidate]| {
        so_far.find(block, centres, dim);
        if candidates.is_empty() {
            return vec![sum(so_far.distances.iter().copied())];
        }
        let each = candidates.chunks_exact(dim).map(|centre| {
            candidate.find(block, centre, dim);
            let pairs = so_far.distances.iter().zip(&candidate.distances);
            sum(pairs.map(|(&a, &b)| a.min(b)))
        });
        each.collect()
    })?;
    Ok((0..count)
        .map(|at| blocks.iter().map(|sums| sums[at]).collect())
        .collect())
}

fn sum(values: impl Iterator<Item = f32>) -> f64 {
    values.map(f64::from).sum()
}

/// The first point whose cumulative D² reaches `target`, given the sums of the blocks.
fn draw<P: Points + ?Sized>(
    points: &P,
    summary: &Summary,
    centres: &[f32],
    potentials: &[f64],
    target: f64,
) -> Result<usize> {
    let (mut before, mut first) = (0.0, 0);
    let mut last = 0;
    for (block, (&potential, &len)) in potentials.iter().zip(&summary.lens).enumerate() {
        if len > 0 && before + potential >= target {
            let mut buffer = Vec::new();
            let mut nearest = Nearest::default();
            let values = points.block(block, &mut buffer)?;
            nearest.find(values, centres, points.dim());
            let mut sum = 0.0;
            let reaches = nearest.distances.iter().position(|&distance| {
                sum += f64::from(distance);
                before + sum >= target
            });
            return Ok(first + reaches.unwrap_or(len - 1));
        }
        before += potential;
        first += len;
        last = first - usize::from(first > 0);
    }
    // Rounding may leave the target a little above the sum.
    Ok(last)
}
