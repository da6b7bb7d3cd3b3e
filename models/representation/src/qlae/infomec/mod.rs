//! InfoMEC: modularity, explicitness and compactness of a representation (section 4).
//!
//! With `NMI_ij = I(s_i; z_j) / H(s_i)` for sources `s` and latents `z`, over the *active* latents:
//!
//! - **InfoM**, modularity: does a latent inform about one source only?
//!   `mean_j max_i NMI_ij / Σ_i NMI_ij`, rescaled so that `1 / sources` becomes 0;
//! - **InfoC**, compactness: is a source held by one latent only?
//!   `mean_i max_j NMI_ij / Σ_j NMI_ij`, rescaled so that `1 / active latents` becomes 0;
//! - **InfoE**, explicitness: how much of a source does a linear probe read off all latents?
//!   `mean_i (H_i − CE_i) / H_i` with the cross-entropy `CE_i` of a logistic regression.
//!
//! The estimators are those of the authors' code. Everything is in nats and in `f64`, on plain
//! slices. Plug-in estimates are biased upward for few rows: compare scores that were taken over
//! the same, sizeable sample.
//!
//! Three quotients of the published definition can be `0 / 0`. Here each counts as the chance
//! level, a contribution of 0: an active latent without information about any source (InfoM), a
//! source that no active latent informs about (InfoC), and a single active latent (InfoC).
//!
//! ```
//! use menagerie_representation::qlae::infomec::{InfomecConfig, Latents, Sources, infomec};
//!
//! // Two sources; the latents hold them in the other order and under other names.
//! let sources = Sources::new(4, 2, &[0, 0, 0, 1, 1, 0, 1, 1])?;
//! let latents = Latents::discrete(4, 2, &[0.5, -0.5, 0.1, -0.5, 0.5, 0.2, 0.1, 0.2])?;
//! let scores = infomec(&sources, &latents, &InfomecConfig::default())?;
//! assert_eq!((scores.infom, scores.infoc), (1.0, 1.0));
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod lbfgs;
mod mutual_information;
mod probe;
mod variables;

pub use probe::{Explicitness, Probe, explicitness};
pub use variables::{Latents, Sources, quantile_bins};

use menagerie_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How the scores are estimated; the default is the authors' metric file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InfomecConfig {
    /// A latent is active when its range exceeds this share of the largest range. `None` is the
    /// published rule: 0 for discrete latents, 1/20 for continuous ones.
    pub active_share: Option<f64>,
    /// Neighbours of the estimator for continuous latents (Ross 2014).
    pub neighbors: usize,
    /// Seed of the noise, 1e-10 of the latents' size, that parts equal continuous values. `None`
    /// adds none, and the estimate of a latent with repeated values is then meaningless.
    pub jitter: Option<u64>,
    /// How far the logistic probes of InfoE are fitted.
    pub probe: Probe,
}

impl Default for InfomecConfig {
    fn default() -> Self {
        Self {
            active_share: None,
            neighbors: 10,
            jitter: Some(0),
            probe: Probe::Iterations(100),
        }
    }
}

impl InfomecConfig {
    /// What the authors' training loop logs: active above 1/8 of the largest range, 3 neighbours.
    pub fn training_loop() -> Self {
        Self {
            active_share: Some(1.0 / 8.0),
            neighbors: 3,
            ..Self::default()
        }
    }

    /// The same without InfoE, whose probes take nearly all of the time.
    pub fn without_probe(self) -> Self {
        Self {
            probe: Probe::Skip,
            ..self
        }
    }

    /// Refuses a configuration that no score can be computed with.
    ///
    /// # Errors
    /// [`Error::Config`] if `active_share` lies outside of `[0, 1)`, `neighbors` is 0 or the
    /// probes have no iteration.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "InfomecConfig";
        if let Some(share) = self.active_share
            && !(0.0..1.0).contains(&share)
        {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(NAME, "active_share", share, rule));
        }
        if self.neighbors == 0 {
            return Err(Error::config(NAME, "neighbors", 0, "must be at least 1"));
        }
        if self.probe == Probe::Iterations(0) {
            let rule = "must be at least 1 iteration, or Skip";
            return Err(Error::config(NAME, "probe", self.probe, rule));
        }
        Ok(())
    }
}

/// The scores and what they were computed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Infomec {
    /// Modularity, 0 (chance) to 1.
    pub infom: f64,
    /// Compactness, 0 (chance) to 1.
    pub infoc: f64,
    /// Explicitness; `None` with [`Probe::Skip`].
    pub explicitness: Option<Explicitness>,
    /// Best minus second-best source per active latent, averaged.
    pub infom_gap: f64,
    /// Best minus second-best active latent per source, averaged (as in the mutual information
    /// gap).
    pub infoc_gap: f64,
    /// `[source][latent]`: mutual information divided by the source's entropy.
    pub nmi: Vec<Vec<f64>>,
    /// Which latents are active.
    pub active: Vec<bool>,
    /// Entropy of each source in nats.
    pub source_entropy: Vec<f64>,
}

impl Infomec {
    /// InfoE, if it was asked for.
    pub fn infoe(&self) -> Option<f64> {
        self.explicitness.as_ref().map(|found| found.infoe)
    }

    /// InfoM if the inactive latents were kept, as metrics before InfoMEC did: latents that carry
    /// only noise then count as much as those that carry the code.
    pub fn infom_unpruned(&self) -> f64 {
        concentration(&transpose(&self.nmi))
    }

    /// Number of active latents.
    pub fn active_latents(&self) -> usize {
        self.active.iter().filter(|&&active| active).count()
    }
}

/// Scores `latents` `[rows, latents]` against the ground-truth `sources` `[rows, sources]`.
///
/// # Errors
/// [`Error::Input`] if the row counts differ or no latent is active, and whatever
/// [`InfomecConfig::validate`] refuses. ([`Sources::new`] and the constructors of [`Latents`] have
/// refused constant sources and non-finite latents before.)
pub fn infomec(sources: &Sources, latents: &Latents, config: &InfomecConfig) -> Result<Infomec> {
    config.validate()?;
    same_rows(sources, latents)?;
    let active = latents.active(config.active_share);
    if !active.contains(&true) {
        return Err(Error::input(
            "active latents",
            0,
            "at least one latent must vary over the rows",
        ));
    }
    let nmi = normalised_mutual_information(sources, latents, config);
    let source_entropy = sources.entropies();

    let by_source: Vec<Vec<f64>> = nmi.iter().map(|row| keep(row, &active)).collect();
    let by_latent = transpose(&by_source);
    let explicitness = match config.probe {
        Probe::Skip => None,
        probe => Some(explicitness(sources, latents, probe)?),
    };
    Ok(Infomec {
        infom: concentration(&by_latent),
        infoc: concentration(&by_source),
        explicitness,
        infom_gap: gap(&by_latent),
        infoc_gap: gap(&by_source),
        nmi,
        active,
        source_entropy,
    })
}

/// The `[source][latent]` matrix of `I(s; z) / H(s)`.
fn normalised_mutual_information(
    sources: &Sources,
    latents: &Latents,
    config: &InfomecConfig,
) -> Vec<Vec<f64>> {
    // Latent by latent, because sorting or recoding a latent is shared by all sources.
    let columns: Vec<Vec<f64>> = (0..latents.columns())
        .into_par_iter()
        .map(|latent| {
            let informs = mutual_information::with_sources(latents, latent, sources, config);
            let entropies = sources.entropies();
            informs
                .iter()
                .zip(entropies)
                .map(|(information, entropy)| information / entropy)
                .collect()
        })
        .collect();
    transpose(&columns)
}

/// Mean share of the largest entry of each row, rescaled so that equal entries give 0.
fn concentration(rows: &[Vec<f64>]) -> f64 {
    let scores = rows.iter().map(|row| {
        let (total, chance) = (row.iter().sum::<f64>(), 1.0 / row.len() as f64);
        if total <= 0.0 || row.len() == 1 {
            0.0
        } else {
            (largest_two(row).0 / total - chance) / (1.0 - chance)
        }
    });
    scores.sum::<f64>() / rows.len() as f64
}

fn gap(rows: &[Vec<f64>]) -> f64 {
    let gaps = rows.iter().map(|row| {
        let (first, second) = largest_two(row);
        first - second
    });
    gaps.sum::<f64>() / rows.len() as f64
}

/// The largest and second-largest of non-negative numbers; a missing one is 0.
fn largest_two(row: &[f64]) -> (f64, f64) {
    row.iter().fold((0.0, 0.0), |(first, second), &value| {
        if value > first {
            (value, first)
        } else {
            (first, f64::max(second, value))
        }
    })
}

fn keep(row: &[f64], mask: &[bool]) -> Vec<f64> {
    row.iter()
        .zip(mask)
        .filter(|(_, keep)| **keep)
        .map(|(value, _)| *value)
        .collect()
}

fn transpose(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| rows.iter().map(|row| row[column]).collect())
        .collect()
}

fn same_rows(sources: &Sources, latents: &Latents) -> Result<()> {
    if sources.rows() == latents.rows() {
        return Ok(());
    }
    Err(Error::input(
        "latents",
        format!("{} rows", latents.rows()),
        format!("the sources have {} rows", sources.rows()),
    ))
}

#[cfg(test)]
mod tests;
