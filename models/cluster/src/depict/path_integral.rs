//! AC-PIC: agglomerative clustering by path integral (Zhang, Zhao and Wang, *Agglomerative clustering
//! via maximum incremental path integral*, Pattern Recognition 46(11), 2013), from which the paper
//! starts on its smaller data sets.
//!
//! Points form a directed graph of their nearest neighbours with transition probabilities P. The path
//! integral of a cluster a is `S_a = 1ᵀ (I − z P_a)⁻¹ 1 / |a|²`, P restricted to a. Two clusters attract
//! each other by how much the paths within each grow when they may lead through the other; the pair
//! with the largest affinity is merged until K clusters are left.
//!
//! The inverse is never formed: rows of P add up to 1, so `(I − z P)⁻¹ 1 = Σ zⁿ Pⁿ 1` gains a factor z
//! of precision with every term, and each term costs no more than the edges. Pairs that no edge joins
//! have an affinity of exactly 0 and are not kept.

use burn::config::Config;
use menagerie_core::{Error, Result};
use rayon::prelude::*;
use std::{
    cmp::Ordering,
    collections::{BTreeSet, BinaryHeap},
    ops::Range,
};

/// What is left out of the series when it ends.
const PRECISION: f64 = 1e-17;

/// AC-PIC; the defaults are those of the paper and of its code.
#[derive(Config, Debug, PartialEq)]
pub struct PathIntegralConfig {
    /// Nearest neighbours that a point has edges to.
    #[config(default = 20)]
    pub neighbours: usize,
    /// The variance of the weights is this times the mean squared distance to the neighbours.
    #[config(default = 1.0)]
    pub a: f64,
    /// The weight of a step, below 1: a path of n steps counts zⁿ.
    #[config(default = 0.01)]
    pub z: f64,
}

/// A sparse matrix with as many entries in every row.
#[derive(Clone, Debug)]
pub struct Transitions {
    /// For each point the columns of its entries: itself, then its neighbours from the nearest on,
    /// `[n, neighbours + 1]`.
    pub columns: Vec<u32>,
    /// Their probabilities, which add up to 1 in every row.
    pub values: Vec<f64>,
    /// Entries of a row.
    pub width: usize,
}

impl PathIntegralConfig {
    const NAME: &str = "PathIntegralConfig";

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.neighbours == 0 {
            let rule = "must be at least 1";
            return Err(Error::config(Self::NAME, "neighbours", 0, rule));
        }
        if !self.a.is_finite() || self.a <= 0.0 {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "a", self.a, rule));
        }
        // Close to 1 the series takes forever, and paths of any length count alike.
        if !(self.z > 0.0 && self.z <= 0.9) {
            let rule = "must be above 0 and at most 0.9";
            return Err(Error::config(Self::NAME, "z", self.z, rule));
        }
        Ok(())
    }

    /// The transition probabilities of `points`, `[n, dim]`: weights `exp(−d² / σ²)` to the nearest
    /// neighbours and 1 to the point itself, rows scaled to add up to 1.
    ///
    /// σ² is [`a`](Self::a) times the mean d² to the neighbours, doubled while some point's nearest
    /// neighbour has a weight below 1e-5.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports; [`Error::Input`] if the points do not fit `dim`, are
    /// not more than the neighbours, or hold a value that is not finite.
    pub fn transitions(&self, points: &[f32], dim: usize) -> Result<Transitions> {
        self.validate()?;
        if dim == 0 || !points.len().is_multiple_of(dim) {
            let rule = format!("must be a multiple of {dim}, the length of a point");
            return Err(Error::input("the number of values", points.len(), rule));
        }
        if let Some(value) = points.iter().find(|value| !value.is_finite()) {
            return Err(Error::input(
                "a value of the points",
                value,
                "must be finite",
            ));
        }
        let count = points.len() / dim;
        if count <= self.neighbours || count > u32::MAX as usize {
            let rule = format!(
                "must be above the number of neighbours, {}",
                self.neighbours
            );
            return Err(Error::input("the number of points", count, rule));
        }
        let nearest = nearest_neighbours(points, dim, self.neighbours);
        let sum: f64 = nearest.iter().flatten().map(|(distance, _)| distance).sum();
        let mut variance = self.a * sum / (count * self.neighbours) as f64;
        let farthest = nearest.iter().map(|found| found[0].0).fold(0.0, f64::max);
        // Points that all coincide have no scale, and any will do.
        if variance <= 0.0 {
            variance = 1.0;
        }
        while (-farthest / variance).exp() < 1e-5 {
            variance *= 2.0;
        }
        let width = self.neighbours + 1;
        let mut columns = Vec::with_capacity(count * width);
        let mut values = Vec::with_capacity(count * width);
        for (point, found) in nearest.iter().enumerate() {
            let weights: Vec<f64> = std::iter::once(1.0)
                .chain(
                    found
                        .iter()
                        .map(|(distance, _)| (-distance / variance).exp()),
                )
                .collect();
            let sum: f64 = weights.iter().sum();
            values.extend(weights.into_iter().map(|weight| weight / sum));
            columns.push(point as u32);
            columns.extend(found.iter().map(|(_, column)| *column));
        }
        Ok(Transitions {
            columns,
            values,
            width,
        })
    }

    /// The cluster of each of `points`, `[n, dim]`, numbered from 0 in the order of their first
    /// points.
    ///
    /// # Errors
    /// Those of [`transitions`](Self::transitions); [`Error::Input`] if fewer clusters than `clusters`
    /// are there to begin with (see [`Transitions::initial_clusters`]) or `clusters` is 0.
    pub fn fit(&self, points: &[f32], dim: usize, clusters: usize) -> Result<Vec<usize>> {
        let transitions = self.transitions(points, dim)?;
        let initial = transitions.initial_clusters();
        let count = initial.iter().max().map_or(0, |most| most + 1);
        if clusters == 0 || clusters > count {
            let rule = format!(
                "must be at least 1 and at most {count}, the groups that joining each point with its \
                 nearest neighbour leaves"
            );
            return Err(Error::input("the number of clusters", clusters, rule));
        }
        Ok(merge(&transitions, &initial, clusters, self.z))
    }
}

/// For each point its nearest neighbours with their squared distances, the nearest first.
fn nearest_neighbours(points: &[f32], dim: usize, count: usize) -> Vec<Vec<(f64, u32)>> {
    points
        .par_chunks(dim)
        .enumerate()
        .map(|(at, point)| {
            let mut all: Vec<(f64, u32)> = points
                .chunks_exact(dim)
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(other, values)| {
                    let pairs = point.iter().zip(values);
                    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
                    (pairs.map(square).sum::<f64>(), other as u32)
                })
                .collect();
            let order = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            if count < all.len() {
                all.select_nth_unstable_by(count - 1, order);
                all.truncate(count);
            }
            all.sort_by(order);
            all
        })
        .collect()
}

impl Transitions {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.columns.len() / self.width
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    fn row(&self, point: usize) -> impl Iterator<Item = (usize, f64)> {
        let entries = point * self.width..(point + 1) * self.width;
        let columns = self.columns[entries.clone()].iter();
        columns
            .map(|column| *column as usize)
            .zip(self.values[entries].iter().copied())
    }

    /// The groups that arise when every point is joined with its nearest neighbour, numbered from 0 in
    /// the order of their first points.
    pub fn initial_clusters(&self) -> Vec<usize> {
        let mut parents: Vec<usize> = (0..self.len()).collect();
        fn root(parents: &mut [usize], mut at: usize) -> usize {
            while parents[at] != at {
                parents[at] = parents[parents[at]];
                at = parents[at];
            }
            at
        }
        for point in 0..self.len() {
            let neighbour = self.columns[point * self.width + 1] as usize;
            let (a, b) = (root(&mut parents, point), root(&mut parents, neighbour));
            let (low, high) = (a.min(b), a.max(b));
            parents[high] = low;
        }
        let roots: Vec<usize> = (0..self.len()).map(|at| root(&mut parents, at)).collect();
        numbered(&roots)
    }
}

/// P restricted to some points.
struct Local {
    starts: Vec<usize>,
    entries: Vec<(u32, f64)>,
}

impl Local {
    /// P restricted to the points that have a place, which are `members` in the order of their places.
    fn new<'a>(
        transitions: &Transitions,
        members: impl Iterator<Item = &'a usize>,
        place: impl Fn(usize) -> Option<usize>,
    ) -> Self {
        let mut local = Self {
            starts: vec![0],
            entries: Vec::new(),
        };
        for &point in members {
            let row = transitions.row(point);
            let inside = row.filter_map(|(column, value)| Some((place(column)? as u32, value)));
            local.entries.extend(inside);
            local.starts.push(local.entries.len());
        }
        local
    }

    /// The sum over the points of `part` of `(I − z P)⁻¹ 1_part`: what all paths that begin and end in
    /// it count.
    fn path_integral(&self, part: Range<usize>, z: f64) -> f64 {
        let size = self.starts.len() - 1;
        let mut term = vec![0.0; size];
        term[part.clone()].fill(1.0);
        let mut total = part.len() as f64;
        let mut next = vec![0.0; size];
        loop {
            let mut most = 0.0_f64;
            for (next, ends) in next.iter_mut().zip(self.starts.windows(2)) {
                let pairs = self.entries[ends[0]..ends[1]].iter();
                let sum: f64 = pairs
                    .map(|&(column, value)| value * term[column as usize])
                    .sum();
                *next = z * sum;
                most = most.max(*next);
            }
            std::mem::swap(&mut term, &mut next);
            total += term[part.clone()].iter().sum::<f64>();
            if most < PRECISION {
                return total;
            }
        }
    }
}

/// A pair of clusters that some edge joins, at the time at which it was looked at.
struct Pair {
    affinity: f64,
    clusters: [usize; 2],
    /// How often each of them had been merged by then.
    versions: [usize; 2],
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Pair {}
impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Pair {
    /// The largest affinity first; of equals the first clusters.
    fn cmp(&self, other: &Self) -> Ordering {
        self.affinity
            .total_cmp(&other.affinity)
            .then_with(|| other.clusters.cmp(&self.clusters))
    }
}

/// The clusters as they are merged.
struct Merging<'a> {
    transitions: &'a Transitions,
    z: f64,
    /// The points of each cluster; none once it was merged into another.
    members: Vec<Vec<usize>>,
    /// The cluster of each point, and which of its points it is.
    places: Vec<[usize; 2]>,
    /// S of each.
    integrals: Vec<f64>,
    /// The clusters that an edge joins each with.
    linked: Vec<BTreeSet<usize>>,
    versions: Vec<usize>,
}

impl Merging<'_> {
    fn integral(&self, cluster: usize) -> f64 {
        let members = &self.members[cluster];
        let graph = Local::new(self.transitions, members.iter(), |point| {
            let [owner, place] = self.places[point];
            (owner == cluster).then_some(place)
        });
        graph.path_integral(0..members.len(), self.z) / (members.len() as f64).powi(2)
    }

    /// By how much the path integrals of two clusters grow when their paths may lead through each
    /// other.
    fn affinity(&self, a: usize, b: usize) -> f64 {
        let [first, second] = [a, b].map(|cluster| &self.members[cluster]);
        let graph = Local::new(self.transitions, first.iter().chain(second), |point| {
            let [owner, place] = self.places[point];
            let start = if owner == b { first.len() } else { 0 };
            (owner == a || owner == b).then_some(start + place)
        });
        let both = first.len() + second.len();
        let conditional = |part: Range<usize>| {
            let size = part.len() as f64;
            graph.path_integral(part, self.z) / (size * size)
        };
        conditional(0..first.len()) + conditional(first.len()..both)
            - self.integrals[a]
            - self.integrals[b]
    }

    fn pairs(&self, of: &[[usize; 2]]) -> Vec<Pair> {
        of.par_iter()
            .map(|&[a, b]| Pair {
                affinity: self.affinity(a, b),
                clusters: [a, b],
                versions: [self.versions[a], self.versions[b]],
            })
            .collect()
    }

    /// The pair with the largest affinity; where no edge joins any two, the first two clusters.
    fn best(&self, heap: &mut BinaryHeap<Pair>) -> Option<[usize; 2]> {
        while let Some(pair) = heap.pop() {
            let fresh = |side: usize| self.versions[pair.clusters[side]] == pair.versions[side];
            if fresh(0) && fresh(1) {
                return Some(pair.clusters);
            }
        }
        let mut alive = (0..self.members.len()).filter(|&at| !self.members[at].is_empty());
        Some([alive.next()?, alive.next()?])
    }

    /// Merges `b` into `a`, and looks at the pairs of `a` anew.
    fn join(&mut self, [a, b]: [usize; 2], heap: &mut BinaryHeap<Pair>) {
        let moved = std::mem::take(&mut self.members[b]);
        for point in moved {
            self.places[point] = [a, self.members[a].len()];
            self.members[a].push(point);
        }
        self.versions[a] += 1;
        self.versions[b] += 1;
        self.integrals[a] = self.integral(a);
        let links = std::mem::take(&mut self.linked[b]);
        for &other in &links {
            self.linked[other].remove(&b);
            if other != a {
                self.linked[other].insert(a);
                self.linked[a].insert(other);
            }
        }
        self.linked[a].remove(&b);
        let pairs: Vec<[usize; 2]> = self.linked[a]
            .iter()
            .map(|&other| [a.min(other), a.max(other)])
            .collect();
        heap.extend(self.pairs(&pairs));
    }
}

/// Merges the clusters `initial`, numbered without gaps, down to `clusters`.
fn merge(transitions: &Transitions, initial: &[usize], clusters: usize, z: f64) -> Vec<usize> {
    let count = initial.iter().max().map_or(0, |most| most + 1);
    let mut merging = Merging {
        transitions,
        z,
        members: vec![Vec::new(); count],
        places: Vec::with_capacity(initial.len()),
        integrals: Vec::new(),
        linked: vec![BTreeSet::new(); count],
        versions: vec![0; count],
    };
    for (point, &cluster) in initial.iter().enumerate() {
        merging
            .places
            .push([cluster, merging.members[cluster].len()]);
        merging.members[cluster].push(point);
        for (other, _) in transitions.row(point) {
            let other = initial[other];
            if other != cluster {
                merging.linked[cluster].insert(other);
                merging.linked[other].insert(cluster);
            }
        }
    }
    merging.integrals = (0..count)
        .into_par_iter()
        .map(|cluster| merging.integral(cluster))
        .collect();
    let pairs: Vec<[usize; 2]> = merging
        .linked
        .iter()
        .enumerate()
        .flat_map(|(a, others)| others.range(a + 1..).map(move |&b| [a, b]))
        .collect();
    let mut heap = BinaryHeap::from(merging.pairs(&pairs));
    for _ in clusters..count {
        match merging.best(&mut heap) {
            Some(pair) => merging.join(pair, &mut heap),
            None => break,
        }
    }
    let mut labels = vec![0; initial.len()];
    for (cluster, members) in merging.members.iter().enumerate() {
        for &point in members {
            labels[point] = cluster;
        }
    }
    numbered(&labels)
}

/// The same partition, numbered from 0 in the order of the first points.
fn numbered(labels: &[usize]) -> Vec<usize> {
    let most = labels.iter().max().map_or(0, |most| most + 1);
    let mut numbers = vec![None; most];
    let mut count = 0;
    labels
        .iter()
        .map(|&label| {
            *numbers[label].get_or_insert_with(|| {
                count += 1;
                count - 1
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rings of points, one inside of the other: no centre separates them.
    fn rings() -> (Vec<f32>, Vec<usize>) {
        let mut points = Vec::new();
        let mut labels = Vec::new();
        for (ring, (radius, count)) in [(1.0_f32, 40), (4.0, 120)].into_iter().enumerate() {
            for at in 0..count {
                let angle = std::f32::consts::TAU * at as f32 / count as f32;
                points.extend([radius * angle.cos(), radius * angle.sin()]);
                labels.push(ring);
            }
        }
        (points, labels)
    }

    #[test]
    fn rings_are_told_apart() {
        let (points, labels) = rings();
        let config = PathIntegralConfig::new().with_neighbours(6);
        assert_eq!(config.fit(&points, 2, 2).unwrap(), labels);
    }

    #[test]
    fn the_series_is_the_inverse() {
        let (points, _) = rings();
        let config = PathIntegralConfig::new().with_neighbours(5).with_z(0.3);
        let transitions = config.transitions(&points, 2).unwrap();
        let members: Vec<usize> = (0..30).collect();
        let inside = |point| (point < 30).then_some(point);
        let graph = Local::new(&transitions, members.iter(), inside);
        // (I − zP) x = 1 by Gauss and Jordan.
        let size = members.len();
        let mut matrix = vec![vec![0.0; size + 1]; size];
        for (row, line) in matrix.iter_mut().enumerate() {
            line[row] = 1.0;
            line[size] = 1.0;
            for (column, value) in transitions.row(row) {
                if column < size {
                    line[column] -= 0.3 * value;
                }
            }
        }
        for pivot in 0..size {
            let scale = matrix[pivot][pivot];
            matrix[pivot].iter_mut().for_each(|value| *value /= scale);
            let line = matrix[pivot].clone();
            for (row, other) in matrix.iter_mut().enumerate() {
                if row != pivot {
                    let factor = other[pivot];
                    for (value, pivot) in other.iter_mut().zip(&line) {
                        *value -= factor * pivot;
                    }
                }
            }
        }
        let exact: f64 = matrix.iter().map(|line| line[size]).sum();
        let series = graph.path_integral(0..30, 0.3);
        assert!((series / exact - 1.0).abs() < 1e-13, "{series} and {exact}");
    }

    #[test]
    fn groups_that_no_edge_joins_are_merged_all_the_same() {
        // Three far pairs, one neighbour each.
        let points = [0.0, 0.1, 100.0, 100.1, 500.0, 500.1];
        let config = PathIntegralConfig::new().with_neighbours(1);
        assert_eq!(config.fit(&points, 1, 3).unwrap(), [0, 0, 1, 1, 2, 2]);
        let two = config.fit(&points, 1, 2).unwrap();
        assert_eq!(two.iter().max(), Some(&1));
        assert_eq!(config.fit(&[7.0; 6], 1, 1).unwrap(), [0; 6]);
    }

    #[test]
    fn impossible_inputs_are_refused() {
        let points = [0.0, 0.1, 100.0, 100.1];
        let config = PathIntegralConfig::new();
        let text = |config: &PathIntegralConfig, clusters| {
            config.fit(&points, 1, clusters).unwrap_err().to_string()
        };
        assert_eq!(
            text(&config, 2),
            "the number of points is 4: must be above the number of neighbours, 20"
        );
        let config = config.with_neighbours(1);
        assert_eq!(
            text(&config, 3),
            "the number of clusters is 3: must be at least 1 and at most 2, the groups that joining \
             each point with its nearest neighbour leaves"
        );
        assert_eq!(
            text(&config.clone().with_z(1.0), 2),
            "PathIntegralConfig.z = 1.0: must be above 0 and at most 0.9"
        );
        assert_eq!(
            text(&config.clone().with_neighbours(0), 2),
            "PathIntegralConfig.neighbours = 0: must be at least 1"
        );
        let error = config.fit(&[0.0, f32::NAN], 1, 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a value of the points is NaN: must be finite"
        );
    }
}
