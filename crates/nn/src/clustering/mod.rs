//! k-means over points in memory or in a file, and scores of a clustering.
//!
//! | item | is |
//! | --- | --- |
//! | [`Points`] | points that come in blocks: a slice ([`Rows`]), or whatever can give one block at a time |
//! | [`KMeansConfig`], [`KMeans`] | greedy k-means++ and Lloyd's iterations, the best of several restarts |
//! | [`Contingency`] | two labellings of the same points against each other: accuracy by optimal matching, normalised mutual information, adjusted Rand index, purity |
//! | [`Quality`] | how compact and how far apart clusters are: Calinski–Harabasz, Davies–Bouldin |
//! | [`assignment`] | the cheapest one-to-one assignment (Hungarian method) |
//!
//! Everything works on host memory, blocks in parallel, and holds no more than a block per thread
//! besides the centres. Sums are taken in double precision and in the order of the blocks, so that a
//! result does not depend on the number of threads.
//!
//! ```
//! use menagerie_core::Seed;
//! use menagerie_nn::clustering::{Contingency, KMeansConfig, Rows};
//!
//! // Two groups on a line.
//! let values = [0.0, 0.1, 0.2, 5.0, 5.1, 5.2];
//! let points = Rows::new(&values, 1)?;
//! let found = KMeansConfig::new(2).fit(&points, Seed(0))?;
//! let labels = found.assign(&points)?;
//! let scores = Contingency::new(&[0, 0, 0, 1, 1, 1], &labels)?;
//! assert_eq!(scores.accuracy(), 1.0);
//!
//! let error = KMeansConfig::new(7).fit(&points, Seed(0)).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "the number of clusters is 7: must be at most the number of points, 6"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod assignment;
mod contingency;
mod kmeans;
mod lloyd;
mod nearest;
mod points;
mod quality;
mod seeding;

pub use assignment::assignment;
pub use contingency::{Contingency, Normalisation};
pub use kmeans::{KMeans, KMeansConfig};
pub use lloyd::{Stop, lloyd};
pub use points::{Points, Rows};
pub use quality::Quality;
pub use seeding::{Seeding, SeedingDraws, draw_seeding, k_means_plus_plus};
