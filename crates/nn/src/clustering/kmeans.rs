//! k-means with restarts.

use super::{
    lloyd::{self, Stop, check_clusters},
    nearest::Nearest,
    points::{Points, Summary, each_block},
    seeding::{draw_seeding, seed},
};
use burn::config::Config;
use menagerie_core::{Error, Result, Seed};

/// k-means as scikit-learn runs it: greedy k-means++, Lloyd's iterations, the best of several
/// restarts by inertia.
#[derive(Config, Debug, PartialEq)]
pub struct KMeansConfig {
    /// Number of clusters k.
    pub clusters: usize,
    /// Seedings that are tried; the result with the smallest inertia is kept.
    #[config(default = 10)]
    pub restarts: usize,
    /// Lloyd's iterations of a restart at most.
    #[config(default = 300)]
    pub iterations: usize,
    /// [`Stop::tolerance`].
    #[config(default = 1e-4)]
    pub tolerance: f64,
    /// Candidates for each centre; `None` is 2 + ⌊ln k⌋.
    #[config(default = "None")]
    pub trials: Option<usize>,
}

/// Centres and what became of the points.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeans {
    /// The centres, `[clusters, dim]`.
    pub centres: Vec<f32>,
    /// Values of a point.
    pub dim: usize,
    /// Points of each cluster.
    pub sizes: Vec<u64>,
    /// The sum of the squared distances from each point to its centre.
    pub inertia: f64,
    /// Lloyd's iterations that moved a centre.
    pub iterations: usize,
}

impl KMeansConfig {
    const NAME: &str = "KMeansConfig";

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("clusters", self.clusters),
            ("restarts", self.restarts),
            ("iterations", self.iterations),
            ("trials", self.trials.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        if !self.tolerance.is_finite() || self.tolerance < 0.0 {
            let rule = "must be finite and not negative";
            return Err(Error::config(Self::NAME, "tolerance", self.tolerance, rule));
        }
        Ok(())
    }

    /// Candidates for each centre after the first.
    pub fn candidates(&self) -> usize {
        self.trials
            .unwrap_or(2 + (self.clusters.max(1) as f64).ln() as usize)
    }

    /// Clusters `points`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports; [`Error::Input`] if there are more clusters than
    /// distinct points or a value is not finite; whatever the points report.
    pub fn fit<P: Points + ?Sized>(&self, points: &P, seed: Seed) -> Result<KMeans> {
        self.validate()?;
        let summary = Summary::of(points)?;
        check_clusters(self.clusters, summary.len)?;
        let stop = Stop {
            iterations: self.iterations,
            tolerance: self.tolerance,
        };
        let mut best: Option<KMeans> = None;
        for restart in 0..self.restarts {
            let draws = draw_seeding(
                summary.len,
                self.clusters,
                self.candidates(),
                seed.at(restart as u64),
            );
            let start = self::seed(points, &summary, &draws)?;
            let found = lloyd::run(points, &summary, start.centres, stop)?;
            if best
                .as_ref()
                .is_none_or(|best| found.inertia < best.inertia)
            {
                best = Some(found);
            }
        }
        best.ok_or_else(|| Error::config(Self::NAME, "restarts", 0, "must be at least 1"))
    }
}

impl KMeans {
    /// Number of clusters.
    pub fn clusters(&self) -> usize {
        self.sizes.len()
    }

    /// The nearest centre of every point.
    ///
    /// # Errors
    /// [`Error::Input`] if the points are of another length; whatever they report.
    pub fn assign<P: Points + ?Sized>(&self, points: &P) -> Result<Vec<usize>> {
        let blocks = self.assign_blocks(points, |_, labels| labels.to_vec())?;
        let labels = blocks.into_iter().flatten();
        Ok(labels.map(|label| label as usize).collect())
    }

    /// What `work` makes of each block's number and the labels of its points, in order; for points
    /// whose labels are not to be held in memory at once.
    ///
    /// # Errors
    /// As [`assign`](Self::assign).
    pub fn assign_blocks<P: Points + ?Sized, R: Send>(
        &self,
        points: &P,
        work: impl Fn(usize, &[u32]) -> R + Sync + Send,
    ) -> Result<Vec<R>> {
        if points.dim() != self.dim {
            let rule = format!("must be {}, as that of the centres", self.dim);
            return Err(Error::input("the length of a point", points.dim(), rule));
        }
        each_block(points, Nearest::default, |index, block, nearest| {
            nearest.find(block, &self.centres, self.dim);
            work(index, &nearest.labels)
        })
    }
}
