//! Collecting the elements of a report, checking them and writing the files.
//!
//! `report.json` has these keys:
//!
//! | key | holds |
//! | --- | --- |
//! | `format` | 1; grows when the meaning of a key changes |
//! | `system` | the descriptor |
//! | `settings` | an object of name and value |
//! | `verdicts` | one object per claim: `claim`, `outcome`, `measured`, `rule`; the outcome is `met`, `not_met`, `reported` or `missing` |
//! | `not_met` | how many outcomes are `not_met` or `missing` |
//! | `items` | the elements in order, told apart by `kind`: `heading`, `text`, `table`, `plot`, `heat_map`, `images`, `audio` |
//! | `notes` | for every `null` that stands for a number which is not finite: a JSON pointer `at` it and the `value` as printed |
//!
//! Cells of tables and settings are numbers, text, `null` where nothing is known, or objects of
//! `mean`, `sd` and `n`. Series hold `x` and `y` as arrays, a spread also `sd` and `n`; a level
//! holds the number `y`.

use crate::{Cell, Grid, HeatMap, Outcome, Plot, Sound, Table, Verdict, render};
use menagerie_core::{Claim, Error, Result, System, fs};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What a run has to tell about a [`System`]: its settings, results and verdicts.
///
/// Elements appear in the order in which they were added; verdicts come first, in the order of the
/// descriptor's claims. A claim without a verdict is shown as *missing* and counts as not met.
#[derive(Clone, Debug)]
pub struct Report {
    system: System,
    settings: Vec<(String, Cell)>,
    verdicts: BTreeMap<&'static str, Verdict>,
    items: Vec<Item>,
}

/// One element between the verdicts and the settings.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Heading(String),
    Text(String),
    Table(Table),
    Plot {
        media: Media,
        plot: Plot,
    },
    HeatMap {
        media: Media,
        map: HeatMap,
    },
    Images {
        media: Media,
        caption: String,
        grid: Grid,
    },
    Audio {
        media: Media,
        caption: String,
        sound: Sound,
    },
}

/// A file of the folder `media`.
#[derive(Clone, Debug)]
pub(crate) struct Media {
    /// The file's name, e.g. `traversal.png`.
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
}

impl Media {
    /// Where the file lies from the report.
    pub(crate) fn path(&self) -> String {
        format!("media/{}", self.file)
    }
}

impl Item {
    pub(crate) fn media(&self) -> Option<&Media> {
        match self {
            Self::Plot { media, .. }
            | Self::HeatMap { media, .. }
            | Self::Images { media, .. }
            | Self::Audio { media, .. } => Some(media),
            Self::Heading(_) | Self::Text(_) | Self::Table(_) => None,
        }
    }
}

impl Report {
    /// An empty report about `system`.
    pub fn new(system: &System) -> Self {
        Self {
            system: *system,
            settings: Vec::new(),
            verdicts: BTreeMap::new(),
            items: Vec::new(),
        }
    }

    /// Records a setting of the run, e.g. `("device", "flex")` or `("steps", 12_000)`; a setting
    /// of the same name is replaced.
    pub fn setting(&mut self, name: impl Into<String>, value: impl Into<Cell>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.settings.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.settings.push((name, value)),
        }
        self
    }

    /// Starts a section.
    pub fn heading(&mut self, title: impl Into<String>) -> &mut Self {
        self.items.push(Item::Heading(title.into()));
        self
    }

    /// Adds plain text; blank lines separate paragraphs.
    pub fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.items.push(Item::Text(text.into()));
        self
    }

    /// Adds a table.
    ///
    /// # Errors
    /// [`Error::Input`] for a table without columns, a row of another length than the headings,
    /// or the emphasis of a column that does not exist.
    pub fn table(&mut self, table: Table) -> Result<&mut Self> {
        table.check()?;
        self.items.push(Item::Table(table));
        Ok(self)
    }

    /// Adds a chart, also as `media/<name>.svg`.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is taken or not made of `a-z`, `0-9`, `-` and `_`, and
    /// whatever [`Plot::svg`] refuses.
    pub fn plot(&mut self, name: &str, plot: Plot) -> Result<&mut Self> {
        let media = self.media(name, "svg", plot.svg()?.into_bytes())?;
        self.items.push(Item::Plot { media, plot });
        Ok(self)
    }

    /// Adds a heat map, also as `media/<name>.svg`.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is taken or not made of `a-z`, `0-9`, `-` and `_`, and
    /// whatever [`HeatMap::svg`] refuses.
    pub fn heat_map(&mut self, name: &str, map: HeatMap) -> Result<&mut Self> {
        let media = self.media(name, "svg", map.svg()?.into_bytes())?;
        self.items.push(Item::HeatMap { media, map });
        Ok(self)
    }

    /// Adds a grid of images, also as `media/<name>.png`.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is taken or not made of `a-z`, `0-9`, `-` and `_`, and
    /// whatever [`Grid::png`] refuses.
    pub fn images(
        &mut self,
        name: &str,
        caption: impl Into<String>,
        grid: &Grid,
    ) -> Result<&mut Self> {
        let media = self.media(name, "png", grid.png()?)?;
        self.items.push(Item::Images {
            media,
            caption: caption.into(),
            grid: grid.clone(),
        });
        Ok(self)
    }

    /// Adds a player for one channel of samples in `-1..=1` at `rate` Hz, also as
    /// `media/<name>.wav`.
    ///
    /// # Errors
    /// Those of [`sound`](Self::sound).
    pub fn audio(
        &mut self,
        name: &str,
        caption: impl Into<String>,
        samples: &[f32],
        rate: u32,
    ) -> Result<&mut Self> {
        self.sound(name, caption, Sound::mono(samples, rate))
    }

    /// Adds a player for a sound of any number of channels, also as `media/<name>.wav`.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is taken or not made of `a-z`, `0-9`, `-` and `_`, and
    /// whatever [`Sound::wav`] refuses.
    pub fn sound(
        &mut self,
        name: &str,
        caption: impl Into<String>,
        sound: Sound,
    ) -> Result<&mut Self> {
        let media = self.media(name, "wav", sound.wav()?)?;
        self.items.push(Item::Audio {
            media,
            caption: caption.into(),
            sound,
        });
        Ok(self)
    }

    /// Gives the verdict on the claim `id` of the system.
    ///
    /// # Errors
    /// [`Error::Input`] for an id that the system does not have, a claim that has its verdict, or
    /// an outcome that the claim's gate does not allow: a decided claim is met or not met, a
    /// reported one is reported.
    pub fn verdict(&mut self, id: &str, verdict: Verdict) -> Result<&mut Self> {
        let claims = self.system.claims;
        let Some(claim) = claims.iter().find(|claim| claim.id == id) else {
            let known: Vec<&str> = claims.iter().map(|claim| claim.id).collect();
            return Err(Error::input(
                format!("claim of {}", self.system.slug),
                id,
                format!("must be one of {}", known.join(", ")),
            ));
        };
        verdict.check(claim)?;
        if self.verdicts.contains_key(claim.id) {
            return Err(Error::input(
                format!("verdict of claim `{}`", claim.id),
                verdict.outcome.word(),
                "the claim has a verdict already: must be given once",
            ));
        }
        self.verdicts.insert(claim.id, verdict);
        Ok(self)
    }

    /// How many claims were decided against or have no verdict: the run failed unless this is 0.
    pub fn not_met(&self) -> usize {
        let outcomes = self.verdicts().map(|(_, verdict)| verdict.outcome);
        outcomes.filter(|outcome| outcome.is_failure()).count()
    }

    /// The tables and verdicts in plain text, aligned for a terminal.
    pub fn summary(&self) -> String {
        render::text::summary(self)
    }

    /// Writes `report.json`, `report.md`, `report.html` and the files of `media/` into `dir`,
    /// which is created if need be, and gives the path of `report.html`.
    ///
    /// Every file is written whole or not at all, pages after what they point to; earlier files of
    /// the same names are replaced.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file or folder which cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        let json = render::json::document(self)?;
        let markdown = render::markdown::document(self);
        let html = render::html::document(self);
        fs::create_dir(dir)?;
        let mut media = self.items.iter().filter_map(Item::media).peekable();
        if media.peek().is_some() {
            fs::create_dir(&dir.join("media"))?;
        }
        for media in media {
            fs::write(&dir.join(media.path()), &media.bytes)?;
        }
        fs::write(&dir.join("report.json"), json)?;
        fs::write(&dir.join("report.md"), markdown)?;
        let path = dir.join("report.html");
        fs::write(&path, html)?;
        Ok(path)
    }

    /// Every claim of the system with its verdict or a missing one.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = (&'static Claim, Verdict)> {
        self.system.claims.iter().map(|claim| {
            let verdict = self.verdicts.get(claim.id).cloned();
            (claim, verdict.unwrap_or_else(Verdict::missing))
        })
    }

    /// How often each outcome occurs, e.g. `2 met, 1 reported`.
    pub(crate) fn tally(&self) -> String {
        use Outcome::{Met, Missing, NotMet, Reported};
        let count = |wanted| {
            let all = self.verdicts();
            all.filter(|(_, verdict)| verdict.outcome == wanted).count()
        };
        let parts: Vec<String> = [Met, NotMet, Missing, Reported]
            .into_iter()
            .filter(|outcome| count(*outcome) > 0)
            .map(|outcome| format!("{} {}", count(outcome), outcome.word()))
            .collect();
        if parts.is_empty() {
            "no claims".into()
        } else {
            parts.join(", ")
        }
    }

    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    pub(crate) fn settings(&self) -> &[(String, Cell)] {
        &self.settings
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// A media file of a valid name that no other file has.
    fn media(&self, name: &str, extension: &str, bytes: Vec<u8>) -> Result<Media> {
        let legal =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > 100 || !name.bytes().all(legal) {
            let rule = "must be 1 to 100 characters out of a-z, 0-9, - and _";
            return Err(Error::input("name of a media file", name, rule));
        }
        let stem = |media: &Media| media.file.rsplit_once('.').map(|(stem, _)| stem.to_owned());
        let mut taken = self.items.iter().filter_map(Item::media).filter_map(stem);
        if taken.any(|taken| taken == name) {
            let rule = "another picture or sound has this name: must be unique in the report";
            return Err(Error::input("name of a media file", name, rule));
        }
        Ok(Media {
            file: format!("{name}.{extension}"),
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_core::Gate;

    const SYSTEM: System = System {
        slug: "sample",
        title: "A Sample",
        family: "theory",
        summary: "a sample",
        paper: "arXiv:0000.00000",
        paper_url: "https://example.org",
        code_url: None,
        claims: &[
            Claim {
                id: "gap",
                text: "The gap is small.",
                figures: &[],
                gate: Gate::Decided,
            },
            Claim {
                id: "transfer",
                text: "It transfers.",
                figures: &[],
                gate: Gate::Reported,
            },
        ],
        hub_ids: &[],
    };

    #[test]
    fn a_claim_without_a_verdict_counts_as_not_met() {
        let mut report = Report::new(&SYSTEM);
        assert_eq!(report.not_met(), 2);
        assert_eq!(report.tally(), "2 missing");
        report
            .verdict("gap", Verdict::met("0.1", "at most 0.2"))
            .unwrap();
        assert_eq!(report.not_met(), 1);
        report
            .verdict("transfer", Verdict::reported("0.3", "one seed"))
            .unwrap();
        assert_eq!(report.not_met(), 0);
        assert_eq!(report.tally(), "1 met, 1 reported");
    }

    #[test]
    fn unknown_repeated_and_ungated_verdicts_are_refused() {
        let mut report = Report::new(&SYSTEM);
        let met = Verdict::met("0.1", "at most 0.2");
        let error = report.verdict("gpa", met.clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "claim of sample is \"gpa\": must be one of gap, transfer"
        );
        assert!(matches!(error, Error::Input { .. }));
        report.verdict("gap", met.clone()).unwrap();
        assert_eq!(
            report.verdict("gap", met.clone()).unwrap_err().to_string(),
            "verdict of claim `gap` is \"met\": the claim has a verdict already: must be given once"
        );
        assert!(report.verdict("transfer", met).is_err());
        assert_eq!(report.tally(), "1 met, 1 missing");
    }

    #[test]
    fn media_names_are_plain_and_unique() {
        let mut report = Report::new(&SYSTEM);
        let grid = Grid::new([1, 1, 1]).row("", [[0.0]]);
        report.images("same", "", &grid).unwrap();
        let error = report.audio("same", "", &[0.0], 8000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "name of a media file is \"same\": another picture or sound has this name: must be \
             unique in the report"
        );
        for name in ["", "../up", "a b", "Ä", "a/b", ".hidden"] {
            let error = report.images(name, "", &grid).unwrap_err().to_string();
            assert!(error.contains("must be 1 to 100 characters"), "{error}");
        }
    }

    #[test]
    fn a_setting_is_replaced_by_name() {
        let mut report = Report::new(&SYSTEM);
        report
            .setting("seed", 1)
            .setting("device", "flex")
            .setting("seed", 2);
        let names: Vec<&str> = report
            .settings()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["seed", "device"]);
        assert_eq!(report.settings()[0].1, Cell::from(2));
    }
}
