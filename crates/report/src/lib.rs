//! The report that a run leaves behind: result tables, a verdict for each claim, curves, image
//! grids and sound.
//!
//! | module | holds |
//! | --- | --- |
//! | [`report`] | [`Report`]: collects the elements, checks them and writes the files |
//! | [`verdict`] | [`Verdict`] and [`Outcome`]: how a claim of the paper fared |
//! | [`table`] | [`Table`] and [`Cell`], with [`cells!`] for rows of mixed types |
//! | [`stat`] | [`Stat`]: mean, standard deviation and number of runs |
//! | [`plot`] | [`Plot`]: lines, points and mean curves with their spread, as SVG |
//! | [`heat_map`] | [`HeatMap`]: a table of numbers as coloured cells, as SVG |
//! | [`grid`] | [`Grid`]: labelled tiles of float images, as PNG |
//! | [`sound`] | [`Sound`]: float samples, as WAV |
//! | [`spectrogram`] | [`Spectrogram`]: which frequencies a sound has when, an image for a [`Grid`] |
//!
//! A report is three files and a folder: `report.md` for a repository's web page, `report.json`
//! for programs, `report.html` for people (one file, nothing fetched from elsewhere), and `media/`
//! with every picture and sound on its own.
//!
//! ```
//! use menagerie_core::{Claim, Figure, Gate, System};
//! use menagerie_report::{Best, Grid, Plot, Report, Stat, Table, Verdict, cells};
//!
//! const SYSTEM: System = System {
//!     slug: "line-fit",
//!     title: "On Fitting a Line",
//!     family: "theory",
//!     summary: "a line through points",
//!     paper: "arXiv:0000.00000",
//!     paper_url: "https://example.org/line-fit",
//!     code_url: None,
//!     claims: &[Claim {
//!         id: "error",
//!         text: "A fitted line errs less than the mean.",
//!         figures: &[Figure { name: "error", value: 0.1, verified: true }],
//!         gate: Gate::Decided,
//!     }],
//!     hub_ids: &[],
//! };
//!
//! let ours = Stat::of(&[0.11, 0.12, 0.10]);
//! let baseline = Stat::of(&[0.52, 0.48, 0.50]);
//!
//! let mut report = Report::new(&SYSTEM);
//! report.setting("seeds", 3).text("Lower is better.");
//! report.table(
//!     Table::new("Test error", ["arm", "ours", "paper"])
//!         .row(cells!["line", ours, 0.1])
//!         .row(cells!["mean", baseline, None::<f64>])
//!         .highlight_column("ours", Best::Lowest),
//! )?;
//! report.plot(
//!     "loss",
//!     Plot::new("Training", "step", "loss").line("line", [(0.0, 1.0), (1.0, 0.4), (2.0, 0.11)]),
//! )?;
//! let grid = Grid::new([1, 2, 2]).row("fitted", [[0.0, 0.5, 0.5, 1.0], [1.0, 0.5, 0.5, 0.0]]);
//! report.images("tiles", "Two tiles.", &grid)?;
//! report.verdict(
//!     "error",
//!     Verdict::decided(
//!         ours.mean < baseline.mean,
//!         format!("{ours} against {baseline}"),
//!         "mean error below that of the mean",
//!     ),
//! )?;
//!
//! let dir = std::env::temp_dir().join("menagerie-report-example");
//! let html = report.write(&dir)?;
//! assert!(html.ends_with("report.html"));
//! assert_eq!(report.not_met(), 0);
//! assert!(report.summary().contains("0.110 ± 0.010 (n=3)"));
//! # std::fs::remove_dir_all(&dir).ok();
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod escape;
mod font;
pub mod grid;
pub mod heat_map;
pub mod plot;
mod render;
pub mod report;
pub mod sound;
pub mod spectrogram;
pub mod stat;
pub mod table;
pub mod verdict;

pub use grid::Grid;
pub use heat_map::HeatMap;
pub use plot::Plot;
pub use report::Report;
pub use sound::Sound;
pub use spectrogram::Spectrogram;
pub use stat::Stat;
pub use table::{Best, Cell, Table};
pub use verdict::{Outcome, Verdict};
