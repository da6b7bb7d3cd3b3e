//! k-means on points with known groups.

use menagerie_core::{Error, Result, Seed};
use menagerie_nn::clustering::{
    Contingency, KMeansConfig, Points, Rows, SeedingDraws, Stop, draw_seeding, k_means_plus_plus,
    lloyd,
};
use rand::RngExt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Points around the corners of a square, which corner each belongs to.
fn corners(count: usize) -> (Vec<f32>, Vec<usize>) {
    let mut rng = Seed(3).stream("corners").rng();
    let labels: Vec<usize> = (0..count).map(|index| index % 4).collect();
    let values = labels.iter().flat_map(|label| {
        let corner = [(label % 2) as f32, (label / 2) as f32];
        corner.map(|value| 10.0 * value + rng.random_range(-1.0..1.0))
    });
    (values.collect(), labels)
}

/// The same points in blocks of uneven length, some of them empty, which are read into the buffer.
struct Uneven<'a> {
    values: &'a [f32],
    ends: Vec<usize>,
    read: AtomicUsize,
}

impl<'a> Uneven<'a> {
    fn new(values: &'a [f32]) -> Self {
        let mut ends = vec![0, 2, 2, 8];
        while ends[ends.len() - 1] < values.len() {
            let last = ends[ends.len() - 1];
            ends.push((last + 26).min(values.len()));
        }
        ends.push(values.len());
        Self {
            values,
            ends,
            read: AtomicUsize::new(0),
        }
    }
}

impl Points for Uneven<'_> {
    fn dim(&self) -> usize {
        2
    }
    fn blocks(&self) -> usize {
        self.ends.len()
    }
    fn block<'a>(&'a self, index: usize, buffer: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        buffer.clear();
        buffer.extend_from_slice(&self.values[start..self.ends[index]]);
        Ok(buffer)
    }
}

#[test]
fn separate_groups_are_found() {
    let (values, labels) = corners(1_000);
    let points = Rows::new(&values, 2).unwrap();
    let found = KMeansConfig::new(4).fit(&points, Seed(1)).unwrap();
    assert_eq!(found.sizes, [250; 4]);
    let assigned = found.assign(&points).unwrap();
    let scores = Contingency::new(&labels, &assigned).unwrap();
    assert_eq!((scores.accuracy(), scores.ari()), (1.0, 1.0));
    let inertia: f64 = values
        .chunks(2)
        .zip(&assigned)
        .map(|(point, &label)| {
            let centre = &found.centres[2 * label..][..2];
            let pairs = point.iter().zip(centre);
            pairs
                .map(|(a, b)| f64::from((a - b) * (a - b)))
                .sum::<f64>()
        })
        .sum();
    assert!((found.inertia / inertia - 1.0).abs() < 1e-6);
}

#[test]
fn blocks_do_not_change_the_result() {
    let (values, _) = corners(501);
    let rows = Rows::new(&values, 2).unwrap();
    let uneven = Uneven::new(&values);
    let config = KMeansConfig::new(6).with_restarts(3);
    let a = config.fit(&rows, Seed(2)).unwrap();
    let b = config.fit(&uneven, Seed(2)).unwrap();
    assert_eq!(a.iterations, b.iterations);
    for (a, b) in a.centres.iter().zip(&b.centres) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
    assert_eq!(a.assign(&rows).unwrap(), a.assign(&uneven).unwrap());
    assert!(uneven.read.load(Ordering::Relaxed) > uneven.blocks());
    // And the threads do not either, to the last bit.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let alone = pool.unwrap().install(|| config.fit(&rows, Seed(2)));
    assert_eq!(alone.unwrap(), a);
}

#[test]
fn an_empty_cluster_gets_the_farthest_point() {
    let values = [0.0, 1.0, 2.0, 3.0, 50.0];
    let points = Rows::new(&values, 1).unwrap();
    // Nothing is near to 1 000.
    let found = lloyd(&points, vec![1.5, 1_000.0], Stop::default()).unwrap();
    assert_eq!(found.centres, [1.5, 50.0]);
    assert_eq!(found.sizes, [4, 1]);
    // Three centres, one of them twice: the second of the twins would be empty.
    let found = lloyd(&points, vec![1.5, 1.5, 50.0], Stop::default()).unwrap();
    assert!(
        found.sizes.iter().all(|size| *size > 0),
        "{:?}",
        found.sizes
    );
}

#[test]
fn candidates_are_drawn_by_squared_distance() {
    // Squared distances from the first point: 0, 1, 4, 9; cumulative 0, 1, 5, 14.
    let values = [0.0, 1.0, 2.0, 3.0];
    let points = Rows::new(&values, 1).unwrap();
    for (u, index) in [(0.0, 0), (0.06, 1), (0.3, 2), (0.36, 3), (0.999, 3)] {
        let draws = SeedingDraws {
            first: 0,
            uniform: vec![u],
            trials: 1,
        };
        let seeding = k_means_plus_plus(&points, &draws).unwrap();
        assert_eq!(seeding.indices, [0, index], "{u}");
        assert_eq!(seeding.centres, [0.0, values[index]]);
    }
    // Of two candidates the one that leaves less: 2 leaves 0 + 1 + 0 + 1, 3 leaves 0 + 1 + 1 + 0.
    let draws = SeedingDraws {
        first: 0,
        uniform: vec![0.36, 0.06],
        trials: 2,
    };
    let seeding = k_means_plus_plus(&points, &draws).unwrap();
    assert_eq!(
        (seeding.candidates, seeding.indices),
        (vec![3, 1], vec![0, 3])
    );
}

#[test]
fn draws_repeat_by_seed() {
    assert_eq!(
        draw_seeding(50, 4, 3, Seed(1)),
        draw_seeding(50, 4, 3, Seed(1))
    );
    assert_ne!(
        draw_seeding(50, 4, 3, Seed(1)),
        draw_seeding(50, 4, 3, Seed(2))
    );
    assert_eq!(draw_seeding(50, 4, 3, Seed(1)).uniform.len(), 9);
    assert_eq!(
        [2, 3, 7, 8].map(|k| KMeansConfig::new(k).candidates()),
        [2, 3, 3, 4]
    );
}

fn refusal(config: &KMeansConfig, values: &[f32], dim: usize) -> Error {
    let points = Rows::new(values, dim).unwrap();
    config.fit(&points, Seed(0)).unwrap_err()
}

#[test]
fn impossible_clusterings_are_refused() {
    let values = [0.0, 0.0, 1.0, 1.0, 1.0, 2.0];
    let text = |config: KMeansConfig| refusal(&config, &values, 1).to_string();
    assert_eq!(
        text(KMeansConfig::new(7)),
        "the number of clusters is 7: must be at most the number of points, 6"
    );
    assert_eq!(
        text(KMeansConfig::new(4)),
        "the number of clusters is 4: must be at most the number of distinct points, 3"
    );
    assert_eq!(
        text(KMeansConfig::new(0)),
        "KMeansConfig.clusters = 0: must be at least 1"
    );
    assert_eq!(
        text(KMeansConfig::new(2).with_tolerance(-1.0)),
        "KMeansConfig.tolerance = -1.0: must be finite and not negative"
    );
    let error = refusal(&KMeansConfig::new(1), &[0.0, f32::NAN], 1);
    assert_eq!(
        error.to_string(),
        "a value of the points is NaN: must be finite and of a size that can be squared"
    );
    let error = refusal(&KMeansConfig::new(1), &[], 1);
    assert_eq!(
        error.to_string(),
        "the number of points is 0: must be at least 1"
    );
    let error = Rows::new(&values, 4).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of values is 6: must be a multiple of 4, the length of a point"
    );
    let points = Rows::new(&values, 1).unwrap();
    let found = KMeansConfig::new(2).fit(&points, Seed(0)).unwrap();
    let error = found.assign(&Rows::new(&values, 2).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the length of a point is 2: must be 1, as that of the centres"
    );
    let error = lloyd(&points, Vec::new(), Stop::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of the centres' values is 0: must be a positive multiple of 1, the length of a \
         point"
    );
}
