//! Curves, as SVG.

mod axis;
mod draw;

use crate::Stat;
use menagerie_core::{Error, Result, fs};
use std::path::Path;

/// A chart of series over two titled axes.
///
/// Series are told apart by a palette that colour-blind readers can distinguish, and by the shape
/// of their points or, beyond six, the dashes of their lines. A point that is not finite (or not
/// positive on a logarithmic axis) interrupts its line and is counted below the chart.
#[derive(Clone, Debug)]
pub struct Plot {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) log: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Line(Vec<(f64, f64)>),
    Points(Vec<(f64, f64)>),
    Spread(Vec<(f64, Stat)>),
    Level(f64),
}

impl Data {
    /// The points of the series, the means of a spread, none of a level.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        match self {
            Self::Line(points) | Self::Points(points) => points.clone(),
            Self::Spread(points) => points.iter().map(|(x, stat)| (*x, stat.mean)).collect(),
            Self::Level(_) => Vec::new(),
        }
    }
}

impl Plot {
    /// A chart without series; the axis titles say what is measured and in which unit.
    pub fn new(
        title: impl Into<String>,
        x_title: impl Into<String>,
        y_title: impl Into<String>,
    ) -> Self {
        let axis = |title| Axis { title, log: false };
        Self {
            title: title.into(),
            x: axis(x_title.into()),
            y: axis(y_title.into()),
            series: Vec::new(),
        }
    }

    /// Adds a line through `(x, y)` points, in the order given.
    #[must_use]
    pub fn line(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.with(name, Data::Line(points.into_iter().collect()))
    }

    /// Adds unconnected `(x, y)` points.
    #[must_use]
    pub fn scatter(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.with(name, Data::Points(points.into_iter().collect()))
    }

    /// Adds a line through means over several runs, in a band of one standard deviation either
    /// side.
    #[must_use]
    pub fn spread(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, Stat)>,
    ) -> Self {
        self.with(name, Data::Spread(points.into_iter().collect()))
    }

    /// Adds a dashed horizontal line, e.g. at the paper's number.
    #[must_use]
    pub fn level(self, name: impl Into<String>, y: f64) -> Self {
        self.with(name, Data::Level(y))
    }

    /// Makes the horizontal axis logarithmic.
    #[must_use]
    pub fn log_x(mut self) -> Self {
        self.x.log = true;
        self
    }

    /// Makes the vertical axis logarithmic.
    #[must_use]
    pub fn log_y(mut self) -> Self {
        self.y.log = true;
        self
    }

    fn with(mut self, name: impl Into<String>, data: Data) -> Self {
        let name = name.into();
        self.series.push(Series { name, data });
        self
    }

    /// The chart as an SVG document; it names no font file and fetches nothing.
    ///
    /// # Errors
    /// [`Error::Input`] for a chart without series or a series without points.
    pub fn svg(&self) -> Result<String> {
        if self.series.is_empty() {
            return Err(Error::input(
                format!("number of series of plot `{}`", self.title),
                0,
                "must be at least 1",
            ));
        }
        for series in &self.series {
            if !matches!(series.data, Data::Level(_)) && series.data.points().is_empty() {
                return Err(Error::input(
                    format!(
                        "number of points of `{}` in plot `{}`",
                        series.name, self.title
                    ),
                    0,
                    "must be at least 1",
                ));
            }
        }
        draw::svg(self)
    }

    /// Writes [`svg`](Self::svg) to `path`, whole or not at all.
    ///
    /// # Errors
    /// Those of [`svg`](Self::svg), and [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.svg()?)
    }

    /// What the viewer must know: points that could not be drawn.
    pub(crate) fn remark(&self) -> Option<String> {
        let counts = self.series.iter().map(|series| {
            let points = match series.data {
                Data::Level(y) => vec![(1.0, y)],
                _ => series.data.points(),
            };
            let lost = points
                .into_iter()
                .filter(|(x, y)| self.x.place(*x).is_none() || self.y.place(*y).is_none());
            (series.name.as_str(), lost.count())
        });
        let parts: Vec<String> = counts
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name}: {count}"))
            .collect();
        let what = if self.x.log || self.y.log {
            "not finite or not positive"
        } else {
            "not finite"
        };
        let all = parts.join(", ");
        (!parts.is_empty()).then(|| format!("Points not drawn because they are {what}: {all}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_series_is_drawn_and_named() {
        let svg = Plot::new("Loss <of> \"it\" & more", "step", "loss & co")
            .line("a", [(0.0, 1.0), (1.0, 0.5)])
            .scatter("b", [(0.5, 0.7)])
            .spread(
                "c",
                [(0.0, Stat::of(&[0.4, 0.6])), (1.0, Stat::of(&[0.1, 0.3]))],
            )
            .level("paper", 0.2)
            .svg()
            .unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "Loss &lt;of&gt; &quot;it&quot; &amp; more",
            "loss &amp; co",
            "paper",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.contains("<polygon"), "the band of the spread");
    }

    #[test]
    fn a_gap_interrupts_a_line_and_is_counted() {
        let points = [
            (0.0, 1.0),
            (1.0, 2.0),
            (2.0, f64::NAN),
            (3.0, 2.0),
            (4.0, 1.0),
        ];
        let colour = "stroke=\"#0072B2\"";
        let lines = |plot: &Plot| {
            let svg = plot.svg().unwrap();
            let lines = svg
                .lines()
                .filter(|l| l.starts_with("<polyline") && l.contains(colour));
            lines.count()
        };
        let whole = Plot::new("t", "x", "y").line("a", [(0.0, 1.0), (4.0, 1.0)]);
        let broken = Plot::new("t", "x", "y").line("a", points);
        assert_eq!(lines(&broken), lines(&whole) + 1);
        assert_eq!(whole.remark(), None);
        assert_eq!(
            broken.remark().unwrap(),
            "Points not drawn because they are not finite: a: 1"
        );
        let log = Plot::new("t", "x", "y")
            .line("a", [(0.0, 1.0), (1.0, 1.0)])
            .log_x();
        assert_eq!(
            log.remark().unwrap(),
            "Points not drawn because they are not finite or not positive: a: 1"
        );
    }

    #[test]
    fn a_chart_without_a_finite_point_is_still_drawn() {
        let plot = Plot::new("t", "x", "y")
            .line("diverged", [(0.0, f64::NAN)])
            .log_y();
        assert!(plot.svg().unwrap().contains("diverged"));
    }

    #[test]
    fn empty_charts_are_refused() {
        let error = |plot: Plot| plot.svg().unwrap_err().to_string();
        assert_eq!(
            error(Plot::new("t", "x", "y")),
            "number of series of plot `t` is 0: must be at least 1"
        );
        assert_eq!(
            error(Plot::new("t", "x", "y").line("a", [])),
            "number of points of `a` in plot `t` is 0: must be at least 1"
        );
    }
}
