//! Heat maps, as SVG.

use crate::{
    escape::html,
    stat::{fixed, number},
};
use menagerie_core::{Error, Result, fs};
use std::{fmt::Write, path::Path};

/// Sizes in pixels.
const CELL: (usize, usize) = (52, 26);
const FONT: usize = 13;
const GAP: usize = 10;
const TITLE: usize = 34;
/// A rough width of one character, generous because the reader's font is not known.
const CHARACTER: usize = 8;
/// The most cells on a side.
const MOST: usize = 200;

/// Text and paper; a dark page replaces these two.
const INK: &str = "#222222";
const PAPER: &str = "#FFFFFF";
/// Text on a dark and on a light cell, which no page replaces.
const ON_CELL: [&str; 2] = ["#FFFFFE", "#000000"];
/// A cell without a number.
const NONE: [f64; 3] = [187.0, 187.0, 187.0];

/// Five colours of the scale that matplotlib calls viridis: light to dark for every eye.
const SCALE: [[f64; 3]; 5] = [
    [68.0, 1.0, 84.0],
    [59.0, 82.0, 139.0],
    [33.0, 145.0, 140.0],
    [94.0, 201.0, 98.0],
    [253.0, 231.0, 37.0],
];

/// A table of numbers as coloured cells, e.g. accuracy by block and timestep.
///
/// The least number is darkest, the largest lightest; each cell has its number written in it. A value
/// that is not finite is grey.
#[derive(Clone, Debug)]
pub struct HeatMap {
    pub(crate) title: String,
    pub(crate) x_title: String,
    pub(crate) y_title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<(String, Vec<f64>)>,
    digits: Option<usize>,
}

impl HeatMap {
    /// A map without rows. The axis titles say what columns and rows stand for; the title says what
    /// is measured, and in which unit.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        x_title: impl Into<String>,
        y_title: impl Into<String>,
        columns: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            title: title.into(),
            x_title: x_title.into(),
            y_title: y_title.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            digits: None,
        }
    }

    /// Adds a row of one value per column, below the others.
    #[must_use]
    pub fn row(mut self, label: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        self.rows.push((label.into(), values.into_iter().collect()));
        self
    }

    /// Writes numbers with this many decimals rather than four significant digits.
    #[must_use]
    pub fn digits(mut self, digits: usize) -> Self {
        self.digits = Some(digits);
        self
    }

    /// The map as an SVG document; it names no font file and fetches nothing.
    ///
    /// # Errors
    /// [`Error::Input`] for a map without columns or rows, a row of another length than the columns,
    /// or more than 200 cells on a side.
    pub fn svg(&self) -> Result<String> {
        self.check()?;
        let label = |texts: &mut dyn Iterator<Item = &str>| {
            let longest = texts.map(|text| text.chars().count()).max();
            longest.unwrap_or(0) * CHARACTER
        };
        let widest = label(&mut self.columns.iter().map(String::as_str));
        let cell = (CELL.0.max(widest + GAP), CELL.1);
        let labels = label(&mut self.rows.iter().map(|(label, _)| label.as_str()));
        let left = GAP + FONT + GAP + labels + GAP;
        let top = TITLE;
        let inner = (cell.0 * self.columns.len(), cell.1 * self.rows.len());
        let title = label(&mut std::iter::once(self.title.as_str()));
        let width = (left + inner.0 + GAP).max(title + 2 * GAP);
        let height = top + inner.1 + 2 * (FONT + GAP) + GAP;

        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" \
             font-size=\"{FONT}\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"{PAPER}\"/>"
        );
        let middle = (left + inner.0 / 2, top + inner.1 / 2);
        text(
            &mut out,
            (width / 2, TITLE - GAP),
            "middle",
            INK,
            &self.title,
        );
        let below = top + inner.1 + FONT + GAP / 2;
        for (index, column) in self.columns.iter().enumerate() {
            let x = left + index * cell.0 + cell.0 / 2;
            text(&mut out, (x, below), "middle", INK, column);
        }
        text(
            &mut out,
            (middle.0, below + FONT + GAP),
            "middle",
            INK,
            &self.x_title,
        );
        let _ = writeln!(
            out,
            "<g transform=\"rotate(-90 {x} {y})\">",
            x = GAP + FONT,
            y = middle.1
        );
        text(
            &mut out,
            (GAP + FONT, middle.1),
            "middle",
            INK,
            &self.y_title,
        );
        out.push_str("</g>\n");
        let range = self.range();
        for (index, (label, values)) in self.rows.iter().enumerate() {
            let y = top + index * cell.1;
            let baseline = y + cell.1 / 2 + FONT / 3;
            text(&mut out, (left - GAP, baseline), "end", INK, label);
            for (column, value) in values.iter().enumerate() {
                let x = left + column * cell.0;
                let colour = colour(*value, range);
                let _ = writeln!(
                    out,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
                    cell.0,
                    cell.1,
                    hexadecimal(colour)
                );
                let ink = ON_CELL[usize::from(is_light(colour))];
                let shown = self.shown(*value);
                text(&mut out, (x + cell.0 / 2, baseline), "middle", ink, &shown);
            }
        }
        out.push_str("</svg>\n");
        Ok(out)
    }

    /// Writes [`svg`](Self::svg) to `path`, whole or not at all.
    ///
    /// # Errors
    /// Those of [`svg`](Self::svg), and [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.svg()?)
    }

    /// What the viewer must know: cells without a number.
    pub(crate) fn remark(&self) -> Option<String> {
        let values = self.rows.iter().flat_map(|(_, values)| values);
        let count = values.filter(|value| !value.is_finite()).count();
        (count > 0).then(|| format!("Values that are not finite, drawn in grey: {count}"))
    }

    fn shown(&self, value: f64) -> String {
        match self.digits {
            Some(digits) => fixed(value, digits),
            None => number(value),
        }
    }

    /// The least and the largest finite value.
    fn range(&self) -> (f64, f64) {
        let values = self.rows.iter().flat_map(|(_, values)| values);
        let finite = values.copied().filter(|value| value.is_finite());
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    }

    fn check(&self) -> Result<()> {
        let title = &self.title;
        for (what, count) in [("columns", self.columns.len()), ("rows", self.rows.len())] {
            if count == 0 || count > MOST {
                let what = format!("number of {what} of heat map `{title}`");
                let rule = format!("must lie in 1..={MOST}");
                return Err(Error::input(what, count, rule));
            }
        }
        for (label, values) in &self.rows {
            if values.len() != self.columns.len() {
                let what = format!("number of values in row `{label}` of heat map `{title}`");
                let rule = format!("must be {}, one per column", self.columns.len());
                return Err(Error::input(what, values.len(), rule));
            }
        }
        Ok(())
    }
}

fn text(out: &mut String, (x, y): (usize, usize), anchor: &str, fill: &str, content: &str) {
    let content = html(content);
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{content}</text>"
    );
}

fn colour(value: f64, (low, high): (f64, f64)) -> [f64; 3] {
    if !value.is_finite() {
        return NONE;
    }
    let share = match high > low {
        true => (value - low) / (high - low),
        false => 0.5,
    };
    let place = share * (SCALE.len() - 1) as f64;
    let from = (place.floor() as usize).min(SCALE.len() - 2);
    let rest = place - from as f64;
    std::array::from_fn(|channel| {
        SCALE[from][channel] * (1.0 - rest) + SCALE[from + 1][channel] * rest
    })
}

/// Whether black text reads better than white, by the luminance of ITU-R BT.709.
fn is_light([red, green, blue]: [f64; 3]) -> bool {
    0.2126 * red + 0.7152 * green + 0.0722 * blue > 128.0
}

fn hexadecimal(colour: [f64; 3]) -> String {
    let [red, green, blue] = colour.map(|channel| channel.round() as u8);
    format!("#{red:02X}{green:02X}{blue:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> HeatMap {
        HeatMap::new("Accuracy <%>", "timestep", "block", ["20", "300"])
            .row("1", [50.0, 10.0])
            .row("2", [f64::NAN, 30.0])
            .digits(1)
    }

    #[test]
    fn every_cell_has_its_colour_and_number() {
        let svg = map().svg().unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        // The least, the largest, and the one in the middle of the scale.
        for fill in ["#440154", "#FDE725", "#21918C", "#BBBBBB"] {
            let cells = svg.matches(&format!("fill=\"{fill}\"/>")).count();
            assert_eq!(cells, 1, "{fill}");
        }
        for text in [
            "50.0",
            "10.0",
            "30.0",
            "NaN",
            "Accuracy &lt;%&gt;",
            "timestep",
            "block",
        ] {
            assert!(svg.contains(&format!(">{text}</text>")), "{text}");
        }
        assert_eq!(
            map().remark().unwrap(),
            "Values that are not finite, drawn in grey: 1"
        );
    }

    #[test]
    fn equal_values_are_drawn_in_the_middle() {
        let svg = HeatMap::new("t", "x", "y", ["a"]).row("1", [3.0]).svg();
        assert!(svg.unwrap().contains("#21918C"));
    }

    #[test]
    fn malformed_maps_are_refused() {
        let error = |map: HeatMap| map.svg().unwrap_err().to_string();
        assert_eq!(
            error(HeatMap::new("t", "x", "y", ["a"])),
            "number of rows of heat map `t` is 0: must lie in 1..=200"
        );
        assert_eq!(
            error(map().row("3", [1.0])),
            "number of values in row `3` of heat map `Accuracy <%>` is 1: must be 2, one per column"
        );
    }
}
