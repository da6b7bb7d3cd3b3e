//! Mutual information of one latent with every source, in nats.

use super::{InfomecConfig, Latents, Sources, variables::Classes, variables::plug_in_entropy};
use menagerie_core::Seed;
use rand::RngExt;

/// `I(s_i; z)` of the latent `z` for each source `s_i`, by the estimator that suits the latent.
pub(super) fn with_sources(
    latents: &Latents,
    latent: usize,
    sources: &Sources,
    config: &InfomecConfig,
) -> Vec<f64> {
    if latents.is_discrete() {
        let latent = latents.classes(latent);
        let estimate = |source| plug_in(source, &latent);
        return sources.classes().iter().map(estimate).collect();
    }
    let mut values = latents.standardised(latent);
    if values.iter().all(|&value| value == 0.0) {
        return vec![0.0; sources.columns()];
    }
    if let Some(seed) = config.jitter {
        jitter(&mut values, Seed(seed).stream("jitter").at(latent as u64));
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let sorted: Vec<f64> = order.iter().map(|&row| values[row]).collect();
    sources
        .classes()
        .iter()
        .map(|source| {
            let labels: Vec<usize> = order.iter().map(|&row| source.labels[row]).collect();
            nearest_neighbour(&sorted, &labels, &source.sizes, config.neighbors)
        })
        .collect()
}

/// The plug-in estimate `H(a) + H(b) − H(a, b)` from the contingency table.
fn plug_in(a: &Classes, b: &Classes) -> f64 {
    let width = b.sizes.len();
    let rows = a.labels.len();
    let mut pairs: Vec<usize> = a
        .labels
        .iter()
        .zip(&b.labels)
        .map(|(a, b)| a * width + b)
        .collect();
    // Runs of equal pairs instead of a table, which two near-unique variables would blow up.
    pairs.sort_unstable();
    let joint = plug_in_entropy(pairs.chunk_by(|x, y| x == y).map(<[usize]>::len), rows);
    (a.entropy() + b.entropy() - joint).max(0.0)
}

/// The estimator of Ross (2014) between a class and a real number: with `k` neighbours of the same
/// class within a distance, how many neighbours of any class does that distance hold?
///
/// `ψ(n) + ⟨ψ(k)⟩ − ⟨ψ(class size)⟩ − ⟨ψ(m)⟩`, negative estimates clipped to 0. A class of one row
/// is left out; a class of `k` or fewer uses all its other rows. `sorted` is ascending, `labels`
/// are in the same order. One dimension: the neighbours lie in a window around the value.
fn nearest_neighbour(sorted: &[f64], labels: &[usize], sizes: &[usize], neighbors: usize) -> f64 {
    let mut by_class: Vec<Vec<f64>> = sizes.iter().map(|&n| Vec::with_capacity(n)).collect();
    let mut pool = Vec::with_capacity(sorted.len());
    for (&value, &label) in sorted.iter().zip(labels) {
        if sizes[label] > 1 {
            by_class[label].push(value);
            pool.push(value);
        }
    }
    if pool.is_empty() {
        return 0.0;
    }
    let digamma = digamma_table(pool.len());
    let mut sum = 0.0;
    for class in by_class.iter().filter(|class| class.len() > 1) {
        let k = neighbors.min(class.len() - 1);
        for (at, &value) in class.iter().enumerate() {
            let radius = kth_distance(class, at, k).next_down().max(0.0);
            let low = pool.partition_point(|&other| value - other > radius);
            let high = pool.partition_point(|&other| other - value <= radius);
            sum += digamma[k] - digamma[class.len()] - digamma[high - low];
        }
    }
    (digamma[pool.len()] + sum / pool.len() as f64).max(0.0)
}

/// The distance of `sorted[at]` to its `k`-th nearest other value.
fn kth_distance(sorted: &[f64], at: usize, k: usize) -> f64 {
    // Every window of k + 1 neighbours that holds the value; the tightest reaches the k-th.
    let first = at.saturating_sub(k);
    let last = at.min(sorted.len() - 1 - k);
    (first..=last)
        .map(|low| f64::max(sorted[at] - sorted[low], sorted[low + k] - sorted[at]))
        .fold(f64::INFINITY, f64::min)
}

/// `ψ(0)` (unused) to `ψ(limit)`, by `ψ(n + 1) = ψ(n) + 1/n`.
fn digamma_table(limit: usize) -> Vec<f64> {
    const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
    let mut table = vec![f64::NEG_INFINITY, -EULER_GAMMA];
    for n in 1..limit {
        table.push(table[n] + 1.0 / n as f64);
    }
    table
}

/// Adds normal noise of 1e-10 of the values' mean size, or of 1 if that is larger.
fn jitter(values: &mut [f64], seed: Seed) {
    let size = values.iter().map(|x| x.abs()).sum::<f64>() / values.len() as f64;
    let scale = 1e-10 * size.max(1.0);
    let mut rng = seed.rng();
    for value in values {
        // Box–Muller; `1 − u` keeps the logarithm finite.
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        let radius = (-2.0 * (1.0 - u).ln()).sqrt();
        *value += scale * radius * (std::f64::consts::TAU * v).cos();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digamma_of_integers() {
        let table = digamma_table(10);
        assert!((table[10] - 2.251_752_589_066_721).abs() < 1e-12);
    }

    #[test]
    fn kth_distance_agrees_with_sorting_all_distances() {
        let values = [-3.0, -1.0, -0.5, 0.0, 0.1, 0.4, 2.0];
        for at in 0..values.len() {
            let mut distances: Vec<f64> = (0..values.len())
                .filter(|&other| other != at)
                .map(|other| f64::abs(values[other] - values[at]))
                .collect();
            distances.sort_by(f64::total_cmp);
            for k in 1..values.len() {
                assert_eq!(kth_distance(&values, at, k), distances[k - 1]);
            }
        }
    }

    #[test]
    fn separated_classes_reach_the_entropy() {
        // Two classes far apart: the k nearest of any class are the k nearest of one's own, so
        // that the estimate is ψ(n) − ψ(n / 2). Uneven spacing leaves no ties.
        let sorted: Vec<f64> = (0..100)
            .map(|i| f64::from(i).powf(1.3) + if i < 50 { 0.0 } else { 1e3 })
            .collect();
        let labels: Vec<usize> = (0..100).map(|i| i / 50).collect();
        let found = nearest_neighbour(&sorted, &labels, &[50, 50], 5);
        let expected = digamma_table(100)[100] - digamma_table(50)[50];
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
}
