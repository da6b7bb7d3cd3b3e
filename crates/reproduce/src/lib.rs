//! One recipe per paper: data, configuration, run and verdict.
//!
//! ```text
//! cargo xtask reproduce qlae
//! ```
//!
//! runs the [`Recipe`] of the slug on a small scale: the paper's method against the baseline it
//! compares with, at equal budget. The report (Markdown, JSON, one HTML file) lands in the run
//! folder; a decided claim that is *not met* ends the program with exit code 1.

pub mod cluster;
pub mod codec;
pub mod edge;
pub mod efficient;
pub mod generative;
mod jobs;
pub mod local_learning;
pub mod mae;
pub mod representation;
pub mod sae;
pub mod series;
pub mod theory;

use burn::tensor::Device;
use menagerie_core::{Error, Result, System};
use menagerie_report::Report;
use std::path::{Path, PathBuf};

/// Every recipe, by family and slug.
pub const RECIPES: &[Recipe] = &[
    cluster::depict::RECIPE,
    cluster::prototype_net::RECIPE,
    cluster::stacked_geo::RECIPE,
    codec::rave::RECIPE,
    edge::maestro::RECIPE,
    efficient::convit::RECIPE,
    efficient::slab::RECIPE,
    generative::diffusion_classifier::RECIPE,
    local_learning::noprop::RECIPE,
    mae::color_mae::RECIPE,
    mae::dmae::RECIPE,
    mae::mae_base::RECIPE,
    mae::videomae_v2::RECIPE,
    representation::qlae::RECIPE,
    sae::gradient_sae::RECIPE,
    sae::sae_base::RECIPE,
    sae::sae_dark_matter::RECIPE,
    series::final_mlp::RECIPE,
    series::local_reg_nde::RECIPE,
    theory::jepa_linear::RECIPE,
    theory::shallow::RECIPE,
];

/// How a paper is reproduced.
#[derive(Clone, Copy)]
pub struct Recipe {
    /// The system's descriptor.
    pub system: &'static System,
    /// Runs the experiment and reports it.
    pub run: fn(&Context) -> anyhow::Result<Report>,
}

/// How large the experiment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scale {
    /// The card's small-scale experiment: within 10 minutes on two cores.
    #[default]
    Small,
    /// The paper's full recipe.
    Paper,
}

/// What a recipe is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where tensors live, without autodiff.
    pub device: Device,
    /// The first seed; recipes with several seeds count up from it.
    pub seed: u64,
    /// How large the experiment is.
    pub scale: Scale,
    /// The run folder; it exists.
    pub out: PathBuf,
    /// Whether arms that are there are continued.
    pub resume: bool,
}

/// The recipe of `slug`.
///
/// # Errors
/// [`Error::Unknown`], which suggests the nearest slugs.
pub fn find(slug: &str) -> Result<&'static Recipe> {
    RECIPES
        .iter()
        .find(|recipe| recipe.system.slug == slug)
        .ok_or_else(|| {
            Error::unknown(
                "system",
                slug,
                RECIPES.iter().map(|recipe| recipe.system.slug),
            )
        })
}

/// Makes `out` ready for a run: a folder with an earlier run is kept under a numbered name unless
/// it is to be resumed. A folder that holds anything else is left alone.
///
/// # Errors
/// [`Error::Argument`] if the folder holds something other than a run; [`Error::Io`] if it cannot
/// be made, written or renamed.
pub fn prepare(out: &Path, resume: bool) -> Result<Option<PathBuf>> {
    let entries: Vec<PathBuf> = out
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let occupied = !entries.is_empty();
    let is_run = entries
        .iter()
        .any(|path| path.ends_with("report.json") || path.join("config.json").is_file());
    if occupied && (!is_run || out.file_name().is_none()) {
        return Err(Error::argument(
            "--out",
            out.display().to_string(),
            "holds something other than a run: name a new or an empty folder",
        ));
    }
    let mut kept = None;
    if occupied && !resume {
        let name = out
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let old = (1..)
            .map(|n| out.with_file_name(format!("{name}.{n}")))
            .find(|path| !path.exists());
        if let Some(old) = old {
            std::fs::rename(out, &old).map_err(Error::io("move the earlier run", out))?;
            kept = Some(old);
        }
    }
    menagerie_core::fs::create_dir(out)?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_slug_suggests_the_nearest() {
        let error = find("prototypenet").err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("unknown system `prototypenet`; did you mean `prototype-net`?")
        );
        assert!(find("qlae").is_ok());
    }

    #[test]
    fn an_earlier_run_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("qlae");
        assert_eq!(prepare(&out, false).unwrap(), None);
        std::fs::write(out.join("report.json"), "first").unwrap();
        assert_eq!(prepare(&out, true).unwrap(), None);
        assert_eq!(
            prepare(&out, false).unwrap(),
            Some(dir.path().join("qlae.1"))
        );
        assert!(dir.path().join("qlae.1/report.json").is_file());
        assert_eq!(out.read_dir().unwrap().count(), 0);
        std::fs::create_dir(out.join("arm")).unwrap();
        std::fs::write(out.join("arm/config.json"), "1").unwrap();
        assert_eq!(
            prepare(&out, false).unwrap(),
            Some(dir.path().join("qlae.2"))
        );
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("documents");
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("letter.txt"), "dear").unwrap();
        let error = prepare(&out, false).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().ends_with(
                "documents`: holds something other than a run: name a new or an empty folder"
            ),
            "{error}"
        );
        assert!(out.join("letter.txt").is_file());
    }

    #[test]
    fn recipes_and_descriptors_agree() {
        for recipe in RECIPES {
            assert!(!recipe.system.claims.is_empty(), "{}", recipe.system.slug);
            assert_eq!(find(recipe.system.slug).unwrap().system, recipe.system);
        }
    }
}
