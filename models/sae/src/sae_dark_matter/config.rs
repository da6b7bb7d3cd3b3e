//! The published analysis: which positions of which texts, and how they are split.

use super::rows::Split;
use burn::config::Config;
use menagerie_core::{Error, Result, Seed};

/// Where the analysed activations come from.
#[derive(Config, Debug, PartialEq)]
pub struct AnalysisConfig {
    /// Texts.
    pub contexts: usize,
    /// Tokens of each.
    pub context_length: usize,
    /// First positions of each text that are dropped.
    pub skip_first: usize,
    /// Last positions of each text that are dropped.
    pub skip_last: usize,
    /// Rows that maps are fitted on, after a random permutation.
    pub training_rows: usize,
    /// Rows that they are scored on; fewer if there are not as many left.
    pub held_out_rows: usize,
}

impl AnalysisConfig {
    const NAME: &str = "AnalysisConfig";

    /// 300 texts of 1,024 tokens of the Pile, without the first 200 positions and the last one:
    /// 246,900 tokens, of which 150,000 are fitted.
    pub fn published() -> Self {
        Self::new(300, 1_024, 200, 1, 150_000, 150_000)
    }

    /// The same for the power law over widths, which drops the first position only: 306,600
    /// tokens.
    pub fn published_power_law() -> Self {
        Self {
            skip_first: 1,
            ..Self::published()
        }
    }

    /// Rows that are left.
    pub fn rows(&self) -> usize {
        let dropped = self.skip_first.saturating_add(self.skip_last);
        self.contexts * self.context_length.saturating_sub(dropped)
    }

    /// A random split of the rows.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn split(&self, seed: Seed) -> Result<Split> {
        self.validate()?;
        let rows = self.rows();
        let held_out = self.held_out_rows.min(rows - self.training_rows);
        Split::draw(rows, self.training_rows, held_out, seed)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: usize, rule: String| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        for (field, value) in [
            ("contexts", self.contexts),
            ("context_length", self.context_length),
            ("training_rows", self.training_rows),
            ("held_out_rows", self.held_out_rows),
        ] {
            if value == 0 {
                return refuse(field, value, "must be at least 1".into());
            }
        }
        let length = self.context_length;
        if self.skip_first.saturating_add(self.skip_last) >= length {
            let rule = format!("leaves no position of a context of {length} tokens");
            return refuse("skip_first", self.skip_first, rule);
        }
        let rows = self.rows();
        if self.training_rows >= rows {
            let rule = format!("must leave rows to score on: there are {rows} rows");
            return refuse("training_rows", self.training_rows, rule);
        }
        Ok(())
    }
}
