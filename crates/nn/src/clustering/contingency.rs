//! Two labellings of the same points against each other.

use super::assignment;
use menagerie_core::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// How the mutual information is brought into 0..1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalisation {
    /// By the mean of the two entropies, today's custom.
    Arithmetic,
    /// By the root of their product, the custom up to about 2018.
    Geometric,
}

/// How many points have each pair of labels: rows are the true classes, columns the clusters, both in
/// ascending order of the labels that occur.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contingency {
    counts: Vec<u64>,
    classes: Vec<usize>,
    clusters: Vec<usize>,
}

impl Contingency {
    /// The table of true `classes` and found `clusters`, one of each per point. Labels need not be
    /// contiguous.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no points or the numbers of labels differ.
    pub fn new(classes: &[usize], clusters: &[usize]) -> Result<Self> {
        if classes.is_empty() || classes.len() != clusters.len() {
            let rule = format!(
                "must be that of the classes, {}, and at least 1",
                classes.len()
            );
            let what = "the number of cluster labels";
            return Err(Error::input(what, clusters.len(), rule));
        }
        let distinct = |labels: &[usize]| -> Vec<usize> {
            let distinct: BTreeSet<usize> = labels.iter().copied().collect();
            distinct.into_iter().collect()
        };
        let places = |labels: &[usize]| -> BTreeMap<usize, usize> {
            let pairs = labels.iter().enumerate();
            pairs.map(|(place, &label)| (label, place)).collect()
        };
        let (row_labels, column_labels) = (distinct(classes), distinct(clusters));
        let (rows, columns) = (places(&row_labels), places(&column_labels));
        let mut counts = vec![0; row_labels.len() * column_labels.len()];
        for (class, cluster) in classes.iter().zip(clusters) {
            if let (Some(row), Some(column)) = (rows.get(class), columns.get(cluster)) {
                counts[row * column_labels.len() + column] += 1;
            }
        }
        Ok(Self {
            counts,
            classes: row_labels,
            clusters: column_labels,
        })
    }

    /// The counts, `[classes, clusters]` row by row.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The class labels that occur, ascending.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// The cluster labels that occur, ascending.
    pub fn clusters(&self) -> &[usize] {
        &self.clusters
    }

    /// Points in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.clusters.len())
    }

    fn row_sums(&self) -> Vec<u64> {
        self.rows().map(|row| row.iter().sum()).collect()
    }

    fn column_sums(&self) -> Vec<u64> {
        let mut sums = vec![0; self.clusters.len()];
        for row in self.rows() {
            for (sum, count) in sums.iter_mut().zip(row) {
                *sum += count;
            }
        }
        sums
    }

    /// For each cluster label the class label that it is matched with, one to one such that most
    /// points agree; clusters beyond the number of classes have none.
    pub fn matching(&self) -> BTreeMap<usize, usize> {
        let (rows, columns) = (self.classes.len(), self.clusters.len());
        let size = rows.max(columns);
        let mut costs = vec![0; size * size];
        for (row, counts) in self.rows().enumerate() {
            for (column, &count) in counts.iter().enumerate() {
                costs[row * size + column] = -(count as i64);
            }
        }
        // The table is square.
        let chosen = assignment(&costs, size).unwrap_or_default();
        let pairs = chosen.into_iter().take(rows).enumerate();
        pairs
            .filter(|(_, column)| *column < columns)
            .map(|(row, column)| (self.clusters[column], self.classes[row]))
            .collect()
    }

    /// ACC: the share of points whose cluster is matched with their class
    /// ([`matching`](Self::matching)).
    pub fn accuracy(&self) -> f64 {
        let matching = self.matching();
        let mut agreeing = 0;
        for (class, row) in self.classes.iter().zip(self.rows()) {
            for (cluster, count) in self.clusters.iter().zip(row) {
                if matching.get(cluster) == Some(class) {
                    agreeing += count;
                }
            }
        }
        agreeing as f64 / self.total() as f64
    }

    /// The share of points that are of the most frequent class of their cluster.
    pub fn purity(&self) -> f64 {
        let most = (0..self.clusters.len()).map(|column| {
            let counts = self.rows().map(|row| row[column]);
            counts.max().unwrap_or_default()
        });
        most.sum::<u64>() as f64 / self.total() as f64
    }

    /// NMI: the mutual information of classes and clusters, normalised; 1 if there is one class and
    /// one cluster.
    pub fn nmi(&self, normalisation: Normalisation) -> f64 {
        let total = self.total() as f64;
        let (rows, columns) = (self.row_sums(), self.column_sums());
        if rows.len() == 1 && columns.len() == 1 {
            return 1.0;
        }
        let entropy = |sums: &[u64]| -> f64 {
            let shares = sums.iter().map(|&sum| sum as f64 / total);
            -shares.map(|share| share * share.ln()).sum::<f64>()
        };
        let mut information = 0.0;
        for (row, counts) in rows.iter().zip(self.rows()) {
            for (column, &count) in columns.iter().zip(counts) {
                if count > 0 {
                    let expected = *row as f64 * *column as f64 / total;
                    information += count as f64 / total * (count as f64 / expected).ln();
                }
            }
        }
        let (a, b) = (entropy(&rows), entropy(&columns));
        let scale = match normalisation {
            Normalisation::Arithmetic => (a + b) / 2.0,
            Normalisation::Geometric => (a * b).sqrt(),
        };
        // One side is of one kind, or the two share nothing.
        if information <= f64::EPSILON || scale <= 0.0 {
            return 0.0;
        }
        information / scale
    }

    /// ARI (Hubert and Arabie 1985): agreement over pairs of points, 0 for chance, 1 for equal
    /// partitions.
    pub fn ari(&self) -> f64 {
        let pairs = |n: u64| u128::from(n) * u128::from(n.saturating_sub(1)) / 2;
        let sum = |counts: &[u64]| counts.iter().map(|&n| pairs(n)).sum::<u128>() as f64;
        let both = sum(&self.counts);
        let (rows, columns) = (sum(&self.row_sums()), sum(&self.column_sums()));
        let all = pairs(self.total()) as f64;
        if rows == both && columns == both {
            return 1.0;
        }
        let expected = rows * columns / all;
        (both - expected) / ((rows + columns) / 2.0 - expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_partitions_have_known_scores() {
        // scikit-learn: NMI 0.5158…, ARI 0.2424….
        let scores = Contingency::new(&[0, 0, 0, 1, 1, 1], &[7, 7, 9, 9, 3, 3]).unwrap();
        assert_eq!(scores.counts(), [0, 2, 1, 2, 0, 1]);
        assert_eq!(scores.clusters(), [3, 7, 9]);
        assert!((scores.nmi(Normalisation::Arithmetic) - 0.515_803_742_979_389_2).abs() < 1e-12);
        assert!((scores.ari() - 0.242_424_242_424_242_43).abs() < 1e-12);
        assert_eq!(scores.accuracy(), 4.0 / 6.0);
        assert_eq!(scores.purity(), 5.0 / 6.0);
    }

    #[test]
    fn degenerate_partitions_are_defined() {
        let one = Contingency::new(&[4, 4], &[0, 0]).unwrap();
        let both = [Normalisation::Arithmetic, Normalisation::Geometric];
        assert_eq!(both.map(|by| one.nmi(by)), [1.0, 1.0]);
        assert_eq!((one.ari(), one.accuracy()), (1.0, 1.0));
        let lumped = Contingency::new(&[0, 1, 2], &[5, 5, 5]).unwrap();
        assert_eq!(both.map(|by| lumped.nmi(by)), [0.0, 0.0]);
        assert_eq!(lumped.ari(), 0.0);
        assert_eq!(lumped.matching().len(), 1);
        let error = Contingency::new(&[0, 1], &[0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of cluster labels is 1: must be that of the classes, 2, and at least 1"
        );
    }
}
