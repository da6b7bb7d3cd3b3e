//! Drawing a [`Plot`] with `plotters`.
//!
//! The backend has whole-number coordinates, so everything is drawn at twice the size and the
//! document's `viewBox` brings it back.

use super::{Data, Plot, axis::Scale};
use crate::{Stat, escape};
use menagerie_core::{Error, Result};
use plotters::{
    coord::{
        Shift,
        ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter},
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

const SIZE: (u32, u32) = (1520, 880);
const FONT: i32 = 34;
/// Pixels from the left edge to the axis: room for labels and the title.
const LEFT: u32 = 148;
const BOTTOM: u32 = 104;
const RIGHT: u32 = 40;
/// Room for the title above the legend.
const TITLE: i32 = 64;
const LEGEND_LINE: i32 = 44;
/// A rough width of one character, generous because the reader's font is not known.
const CHARACTER: i32 = 17;

/// Text and axes; `style.css` replaces these three colours in a dark page.
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const LINES: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);

/// Okabe and Ito's palette for colour-blind readers, without the black and the yellow that vanish
/// on dark and on white paper.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// Lines with more points are thinned to the extremes of as many stretches.
const STRETCHES: usize = 600;
/// Lines with at most this many points show each of them.
const FEW: usize = 25;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>;

/// The places of a [`Scale`] are those of its axis, so the way to pixels is linear.
impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, limit: (i32, i32)) -> i32 {
        let share = (place - self.low) / (self.high - self.low);
        let (from, to) = (f64::from(limit.0), f64::from(limit.1));
        (from + share * (to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, place: &f64) -> String {
        self.label(*place)
    }
}

/// How a series is told from the others.
#[derive(Clone, Copy)]
struct Look {
    colour: RGBColor,
    shape: usize,
    dashed: bool,
}

impl Look {
    fn of(index: usize, data: &Data) -> Self {
        let round = index / PALETTE.len();
        Self {
            colour: PALETTE[index % PALETTE.len()],
            shape: index % 4,
            dashed: round % 2 == 1 || matches!(data, Data::Level(_)),
        }
    }

    fn line(self) -> ShapeStyle {
        self.colour.stroke_width(4)
    }
}

pub(super) fn svg(plot: &Plot) -> Result<String> {
    let mut document = String::new();
    draw(plot, &mut document)
        .map_err(|error| Error::other(format!("drawing plot `{}`", plot.title), error))?;
    let (width, height) = SIZE;
    let drawn = format!("width=\"{width}\" height=\"{height}\"");
    let shown = format!("width=\"{}\" height=\"{}\"", width / 2, height / 2);
    Ok(document.replacen(&drawn, &shown, 1))
}

type Drawn<T = ()> = std::result::Result<T, DrawingAreaErrorKind<std::io::Error>>;

fn draw(plot: &Plot, document: &mut String) -> Drawn {
    let root = SVGBackend::with_string(document, SIZE).into_drawing_area();
    root.fill(&PAPER)?;
    let looks: Vec<Look> = (0..)
        .zip(&plot.series)
        .map(|(i, s)| Look::of(i, &s.data))
        .collect();
    let title = anchored(FONT + 6, HPos::Left, VPos::Center).transform(FontTransform::None);
    root.draw_text(
        &escape::line(&plot.title),
        &title,
        (LEFT as i32, TITLE / 2 + 4),
    )?;
    let top = legend(plot, &looks, &root)?;
    let (x_scale, y_scale) = scales(plot);
    let mut chart = ChartBuilder::on(&root)
        .margin_top(top)
        .margin_left(12)
        .margin_right(RIGHT)
        .x_label_area_size(BOTTOM)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(x_scale.clone(), y_scale)?;
    let style = |size| TextStyle::from(("sans-serif", size)).color(&INK);
    chart
        .configure_mesh()
        .x_desc(escape::line(&plot.x.title))
        .y_desc(escape::line(&plot.y.title))
        .bold_line_style(LINES.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.stroke_width(2))
        .label_style(style(FONT - 2))
        .axis_desc_style(style(FONT))
        .draw()?;
    for (series, look) in plot.series.iter().zip(&looks) {
        draw_series(plot, &series.data, *look, &mut chart, &x_scale)?;
    }
    drop(chart);
    root.present()
}

fn scales(plot: &Plot) -> (Scale, Scale) {
    let mut places = (Vec::new(), Vec::new());
    for series in &plot.series {
        match &series.data {
            Data::Level(y) => places.1.extend(plot.y.place(*y)),
            Data::Spread(points) => {
                for (x, stat) in points {
                    let (Some(x), Some(_)) = (plot.x.place(*x), plot.y.place(stat.mean)) else {
                        continue;
                    };
                    places.0.push(x);
                    let edges = [stat.mean, stat.mean - stat.sd, stat.mean + stat.sd];
                    places
                        .1
                        .extend(edges.iter().filter_map(|y| plot.y.place(*y)));
                }
            }
            data => {
                let both = data.points();
                for (x, y) in both.iter().filter_map(|point| place(plot, *point)) {
                    places.0.push(x);
                    places.1.push(y);
                }
            }
        }
    }
    (
        plot.x.scale(places.0.into_iter()),
        plot.y.scale(places.1.into_iter()),
    )
}

fn place(plot: &Plot, (x, y): (f64, f64)) -> Option<(f64, f64)> {
    Some((plot.x.place(x)?, plot.y.place(y)?))
}

fn draw_series(
    plot: &Plot,
    data: &Data,
    look: Look,
    chart: &mut Chart<'_, '_>,
    x_scale: &Scale,
) -> Drawn {
    let points: Vec<Option<(f64, f64)>> = data
        .points()
        .into_iter()
        .map(|point| place(plot, point))
        .collect();
    match data {
        Data::Level(y) => {
            if let Some(y) = plot.y.place(*y) {
                draw_line(chart, &[(x_scale.low, y), (x_scale.high, y)], look)?;
            }
            return Ok(());
        }
        Data::Points(_) => {
            let points: Vec<_> = points.into_iter().flatten().collect();
            return draw_points(chart, &points, look);
        }
        Data::Spread(spread) => draw_band(plot, spread, look, chart)?,
        Data::Line(_) => {}
    }
    let few = points.len() <= FEW;
    for run in points.split(Option::is_none) {
        let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
        if run.len() > 1 {
            draw_line(chart, &thin(&run), look)?;
        }
        // A single point between two gaps has no line to be seen by.
        if few || run.len() == 1 {
            draw_points(chart, &run, look)?;
        }
    }
    Ok(())
}

fn draw_band(plot: &Plot, spread: &[(f64, Stat)], look: Look, chart: &mut Chart<'_, '_>) -> Drawn {
    let edge = |stat: &Stat, sign: f64| {
        // The lower edge of a band that reaches zero lies below every logarithmic axis.
        plot.y
            .place(stat.mean + sign * stat.sd)
            .or_else(|| plot.y.place(stat.mean))
    };
    let edges = spread.iter().map(|(x, stat)| {
        let x = plot.x.place(*x)?;
        plot.y.place(stat.sd.abs().max(f64::MIN_POSITIVE))?;
        Some(((x, edge(stat, 1.0)?), (x, edge(stat, -1.0)?)))
    });
    let edges: Vec<_> = edges.collect();
    for run in edges.split(Option::is_none) {
        let (upper, lower): (Vec<_>, Vec<_>) = run.iter().flatten().copied().unzip();
        if upper.len() > 1 {
            let outline: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).collect();
            chart.draw_series([Polygon::new(outline, look.colour.mix(0.2).filled())])?;
        }
    }
    Ok(())
}

fn draw_line(chart: &mut Chart<'_, '_>, points: &[(f64, f64)], look: Look) -> Drawn {
    let points = points.iter().copied();
    if look.dashed {
        chart.draw_series(DashedLineSeries::new(points, 16, 10, look.line()))?;
    } else {
        chart.draw_series(LineSeries::new(points, look.line()))?;
    }
    Ok(())
}

fn draw_points(chart: &mut Chart<'_, '_>, points: &[(f64, f64)], look: Look) -> Drawn {
    let area = chart.plotting_area();
    points
        .iter()
        .try_for_each(|point| draw_marker(area, *point, look))
}

/// Draws a small circle, square, triangle or cross around `at`.
fn draw_marker<C: CoordTranslate>(
    area: &DrawingArea<SVGBackend<'_>, C>,
    at: C::From,
    look: Look,
) -> Drawn
where
    C::From: Clone,
{
    let filled = look.colour.filled();
    let base = || EmptyElement::at(at.clone());
    match look.shape {
        0 => area.draw(&(base() + Circle::new((0, 0), 8, filled))),
        1 => area.draw(&(base() + Rectangle::new([(-7, -7), (7, 7)], filled))),
        2 => area.draw(&(base() + Polygon::new(vec![(0, -10), (-9, 7), (9, 7)], filled))),
        _ => [8, -8].into_iter().try_for_each(|to| {
            let stroke = PathElement::new(vec![(-8, -to), (8, to)], look.line());
            area.draw(&(base() + stroke))
        }),
    }
}

/// The first, lowest, highest and last point of each stretch of a long line.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 4 * STRETCHES {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(4 * STRETCHES);
    for stretch in points.chunks(points.len().div_ceil(STRETCHES)) {
        let order = |a: &usize, b: &usize| stretch[*a].1.total_cmp(&stretch[*b].1);
        let lowest = (0..stretch.len()).min_by(order).unwrap_or(0);
        let highest = (0..stretch.len()).max_by(order).unwrap_or(0);
        let mut indices = vec![
            0,
            lowest.min(highest),
            lowest.max(highest),
            stretch.len() - 1,
        ];
        indices.dedup();
        kept.extend(indices.into_iter().map(|index| stretch[index]));
    }
    kept
}

/// Draws the legend in as many lines as it needs and gives the height taken from the top.
fn legend(plot: &Plot, looks: &[Look], root: &Area<'_>) -> Drawn<i32> {
    const SAMPLE: i32 = 56;
    let style = anchored(FONT - 2, HPos::Left, VPos::Center);
    let (mut x, mut y) = (LEFT as i32, TITLE + LEGEND_LINE / 2);
    for (series, look) in plot.series.iter().zip(looks) {
        let name = escape::line(&series.name);
        let width = SAMPLE + 14 + name.chars().count() as i32 * CHARACTER + 30;
        if x > LEFT as i32 && x + width > (SIZE.0 - RIGHT) as i32 {
            (x, y) = (LEFT as i32, y + LEGEND_LINE);
        }
        let middle = (x + SAMPLE / 2, y);
        if !matches!(series.data, Data::Points(_)) {
            let strokes: &[(i32, i32)] = if look.dashed {
                &[(0, 16), (20, 36), (40, 56)]
            } else {
                &[(0, SAMPLE)]
            };
            for (from, to) in strokes {
                let ends = vec![(x + from, y), (x + to, y)];
                root.draw(&PathElement::new(ends, look.line()))?;
            }
        }
        let few = series.data.points().len() <= FEW && !matches!(series.data, Data::Level(_));
        if few || matches!(series.data, Data::Points(_)) {
            draw_marker(root, middle, *look)?;
        }
        root.draw_text(&name, &style, (x + SAMPLE + 14, y))?;
        x += width;
    }
    Ok(y + LEGEND_LINE)
}

fn anchored(size: i32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size))
        .color(&INK)
        .pos(Pos::new(horizontal, vertical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_ends_and_the_extremes() {
        let wave = |index: usize| (index as f64, (index as f64 * 0.01).sin());
        let mut points: Vec<(f64, f64)> = (0..100_000).map(wave).collect();
        points[51_234].1 = 9.0;
        points[51_236].1 = -9.0;
        let kept = thin(&points);
        assert!(kept.len() <= 4 * STRETCHES);
        assert_eq!(kept.first(), points.first());
        assert_eq!(kept.last(), points.last());
        assert!(kept.contains(&points[51_234]) && kept.contains(&points[51_236]));
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(thin(&points[..10]), points[..10]);
    }

    #[test]
    fn the_seventh_series_is_dashed_in_the_first_colour() {
        let line = Data::Line(Vec::new());
        let (first, seventh) = (Look::of(0, &line), Look::of(6, &line));
        assert_eq!(first.colour, seventh.colour);
        assert!(!first.dashed && seventh.dashed);
    }
}
