//! How many clusters: inertia by their number.

use menagerie_core::{Error, Result, Seed};
use menagerie_nn::clustering::{KMeansConfig, Points};
use std::ops::RangeInclusive;

/// The inertia of k-means for every number of clusters in `range`, in order; where the curve bends is
/// for the eye to judge (the paper reads k off k = 2..20). Each is the best of `restarts` seedings, from
/// the same seed, as [`KMeansConfig::fit`] has it.
///
/// The points are read many times: codes are best [collected](super::collect) before.
///
/// # Errors
/// [`Error::Input`] if the range has no number or one below 2; what [`KMeansConfig::fit`] reports, as
/// for more clusters than points.
pub fn elbow<P: Points + ?Sized>(
    points: &P,
    range: RangeInclusive<usize>,
    restarts: usize,
    seed: Seed,
) -> Result<Vec<(usize, f64)>> {
    if range.is_empty() {
        let rule = "must hold at least one";
        return Err(Error::input(
            "the range of numbers of clusters",
            range,
            rule,
        ));
    }
    check_clusters(*range.start())?;
    range
        .map(|clusters| {
            let config = KMeansConfig::new(clusters).with_restarts(restarts);
            Ok((clusters, config.fit(points, seed)?.inertia))
        })
        .collect()
}

/// Refuses what is no map.
pub(super) fn check_clusters(clusters: usize) -> Result<()> {
    if clusters < 2 {
        let rule = "must be at least 2: a map of one class says nothing";
        return Err(Error::input("the number of clusters", clusters, rule));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_nn::clustering::Rows;

    #[test]
    fn the_curve_bends_where_the_groups_are() {
        // Three groups on a line.
        let values: Vec<f32> = (0..90)
            .map(|at| (at % 3) as f32 * 10.0 + at as f32 * 0.01)
            .collect();
        let points = Rows::new(&values, 1).unwrap();
        let curve = elbow(&points, 2..=5, 3, Seed(0)).unwrap();
        let numbers: Vec<usize> = curve.iter().map(|(clusters, _)| *clusters).collect();
        assert_eq!(numbers, [2, 3, 4, 5]);
        assert!(curve.is_sorted_by(|(_, a), (_, b)| a > b), "{curve:?}");
        assert!(curve[0].1 > 100.0 * curve[1].1 && curve[1].1 < 5.0 * curve[2].1);
        let best = KMeansConfig::new(3).with_restarts(3);
        assert_eq!(curve[1].1, best.fit(&points, Seed(0)).unwrap().inertia);

        let refusal = |range| elbow(&points, range, 1, Seed(0)).unwrap_err().to_string();
        assert_eq!(
            refusal(1..=4),
            "the number of clusters is 1: must be at least 2: a map of one class says nothing"
        );
        #[allow(clippy::reversed_empty_ranges)]
        let empty = refusal(5..=4);
        assert_eq!(
            empty,
            "the range of numbers of clusters is 5..=4: must hold at least one"
        );
        assert!(refusal(91..=91).contains("must be at most the number of points, 90"));
    }
}
