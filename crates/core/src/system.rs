//! The descriptor that stands beside each paper's code.
//!
//! `cargo xtask` reads these constants from the source (it does not compile them), so a
//! descriptor is written with plain literals: strings, numbers, `&[…]` and `None`/`Some(…)`.

/// What Menagerie knows of a paper that it implements.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct System {
    /// The name of the system everywhere: folder, card, command line.
    pub slug: &'static str,
    /// The paper's title.
    pub title: &'static str,
    /// The crate under `models/`, e.g. `cluster` for `menagerie-cluster`.
    pub family: &'static str,
    /// What a user gets, in one line.
    pub summary: &'static str,
    /// The paper's identifier, e.g. `arXiv:1710.04806`.
    pub paper: &'static str,
    /// Where to read the paper.
    pub paper_url: &'static str,
    /// The official code, if there is any.
    pub code_url: Option<&'static str>,
    /// The paper's claims with its own numbers.
    pub claims: &'static [Claim],
    /// Hub ids with official weights; empty if none were published.
    pub hub_ids: &'static [&'static str],
}

/// One claim of a paper and how this project decides it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Claim {
    /// Short name, unique within the system, e.g. `accuracy-gap`.
    pub id: &'static str,
    /// The claim in one sentence.
    pub text: &'static str,
    /// The paper's own numbers for it.
    pub figures: &'static [Figure],
    /// How the small-scale reproduction decides it.
    pub gate: Gate,
}

/// A published number.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Figure {
    /// What it measures, e.g. `MNIST test accuracy, %`.
    pub name: &'static str,
    /// The value as the paper prints it.
    pub value: f64,
    /// Whether it was checked against the source, or recalled from secondary sources.
    pub verified: bool,
}

/// Whether a claim can fail a reproduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// The small-scale run decides it: *met* or *not met*.
    Decided,
    /// Cannot be decided at small scale: measured and shown with its spread, never gated.
    Reported,
}
