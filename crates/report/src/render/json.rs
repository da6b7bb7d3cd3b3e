//! `report.json`: every number, setting and verdict for programs. The keys are listed in the docs of
//! [`report`](crate::report).

use crate::{
    Cell, HeatMap, Report, Stat, Table,
    plot::{Axis, Data, Plot, Series},
    report::Item,
    stat::number,
};
use menagerie_core::{Error, Result};
use serde_json::{Map, Value, json};

const FORMAT: u32 = 1;

pub(crate) fn document(report: &Report) -> Result<String> {
    let failed = |error| Error::other("writing report.json", error);
    let mut notes = Notes::default();
    let settings: Map<String, Value> = report
        .settings()
        .iter()
        .map(|(name, cell)| {
            let at = format!("/settings/{}", pointer(name));
            (name.clone(), notes.cell(cell, &at))
        })
        .collect();
    let verdicts: Vec<Value> = report
        .verdicts()
        .map(|(claim, verdict)| {
            json!({
                "claim": claim.id,
                "outcome": verdict.outcome.key(),
                "measured": verdict.measured,
                "rule": verdict.rule,
            })
        })
        .collect();
    let items: Vec<Value> = report
        .items()
        .iter()
        .enumerate()
        .map(|(index, item)| notes.item(item, &format!("/items/{index}")))
        .collect();
    let mut system = serde_json::to_value(report.system()).map_err(failed)?;
    notes.system(&mut system, report);
    let document = json!({
        "format": FORMAT,
        "system": system,
        "settings": settings,
        "verdicts": verdicts,
        "not_met": report.not_met(),
        "items": items,
        "notes": notes.0,
    });
    serde_json::to_string_pretty(&document)
        .map(|text| text + "\n")
        .map_err(failed)
}

/// A name as one token of a JSON pointer (RFC 6901).
fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Where a `null` stands for which value.
#[derive(Default)]
struct Notes(Vec<Value>);

impl Notes {
    fn number(&mut self, value: f64, at: &str) -> Value {
        if !value.is_finite() {
            self.0.push(json!({ "at": at, "value": number(value) }));
        }
        // `Value::from` turns what JSON cannot hold into null.
        Value::from(value)
    }

    fn stat(&mut self, stat: &Stat, at: &str) -> Value {
        json!({
            "mean": self.number(stat.mean, &format!("{at}/mean")),
            "sd": self.number(stat.sd, &format!("{at}/sd")),
            "n": stat.n,
        })
    }

    fn cell(&mut self, cell: &Cell, at: &str) -> Value {
        match cell {
            Cell::Empty => Value::Null,
            Cell::Text(text) => Value::from(text.as_str()),
            Cell::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => Value::from(value),
                (_, Ok(value)) => Value::from(value),
                _ => Value::from(value.to_string()),
            },
            Cell::Number { value, .. } => self.number(*value, at),
            Cell::Stat { stat, .. } => self.stat(stat, at),
        }
    }

    fn item(&mut self, item: &Item, at: &str) -> Value {
        match item {
            Item::Heading(title) => json!({ "kind": "heading", "title": title }),
            Item::Text(text) => json!({ "kind": "text", "text": text }),
            Item::Table(table) => self.table(table, at),
            Item::Plot { media, plot } => {
                let mut value = self.plot(plot, at);
                value["file"] = Value::from(media.path());
                value
            }
            Item::HeatMap { media, map } => {
                let mut value = self.heat_map(map, at);
                value["file"] = Value::from(media.path());
                value
            }
            Item::Images {
                media,
                caption,
                grid,
            } => {
                let rows = grid.row_labels().map(|(label, tiles, captions)| {
                    json!({ "label": label, "tiles": tiles, "captions": captions })
                });
                json!({
                    "kind": "images",
                    "file": media.path(),
                    "caption": caption,
                    "shape": grid.shape(),
                    "columns": grid.column_labels(),
                    "rows": rows.collect::<Vec<_>>(),
                    "remark": grid.remark(),
                })
            }
            Item::Audio {
                media,
                caption,
                sound,
            } => json!({
                "kind": "audio",
                "file": media.path(),
                "caption": caption,
                "rate": sound.rate(),
                "channels": sound.width(),
                "seconds": sound.seconds(),
                "remark": sound.remark(),
            }),
        }
    }

    fn table(&mut self, table: &Table, at: &str) -> Value {
        let rows = table.rows.iter().enumerate().map(|(row, cells)| {
            let cells = cells.iter().enumerate();
            cells
                .map(|(column, cell)| self.cell(cell, &format!("{at}/rows/{row}/{column}")))
                .collect::<Vec<_>>()
        });
        let rows: Vec<Vec<Value>> = rows.collect();
        json!({
            "kind": "table",
            "title": table.title,
            "columns": table.columns,
            "rows": rows,
            "note": table.note,
        })
    }

    fn heat_map(&mut self, map: &HeatMap, at: &str) -> Value {
        let rows = map.rows.iter().enumerate().map(|(row, (label, values))| {
            let values = self.numbers(values, &format!("{at}/rows/{row}/values"));
            json!({ "label": label, "values": values })
        });
        let rows: Vec<Value> = rows.collect();
        json!({
            "kind": "heat_map",
            "title": map.title,
            "x": map.x_title,
            "y": map.y_title,
            "columns": map.columns,
            "rows": rows,
        })
    }

    fn plot(&mut self, plot: &Plot, at: &str) -> Value {
        let axis = |axis: &Axis| json!({ "title": axis.title, "log": axis.log });
        let series = plot.series.iter().enumerate().map(|(index, series)| {
            let at = format!("{at}/series/{index}");
            self.series(series, &at)
        });
        let series: Vec<Value> = series.collect();
        json!({
            "kind": "plot",
            "title": plot.title,
            "x": axis(&plot.x),
            "y": axis(&plot.y),
            "series": series,
        })
    }

    /// `x` and `y` as arrays; a spread also has `sd` and `n`, a level only the number `y`.
    fn series(&mut self, series: &Series, at: &str) -> Value {
        let mut value = json!({ "name": series.name });
        value["kind"] = Value::from(match &series.data {
            Data::Line(_) => "line",
            Data::Points(_) => "scatter",
            Data::Spread(_) => "spread",
            Data::Level(_) => "level",
        });
        if let Data::Level(y) = series.data {
            value["y"] = self.number(y, &format!("{at}/y"));
            return value;
        }
        let (x, y): (Vec<f64>, Vec<f64>) = series.data.points().into_iter().unzip();
        value["x"] = self.numbers(&x, &format!("{at}/x"));
        value["y"] = self.numbers(&y, &format!("{at}/y"));
        if let Data::Spread(points) = &series.data {
            let sd: Vec<f64> = points.iter().map(|(_, stat)| stat.sd).collect();
            value["sd"] = self.numbers(&sd, &format!("{at}/sd"));
            value["n"] = points.iter().map(|(_, stat)| stat.n).collect();
        }
        value
    }

    fn numbers(&mut self, values: &[f64], at: &str) -> Value {
        let values = values.iter().enumerate();
        values
            .map(|(index, value)| self.number(*value, &format!("{at}/{index}")))
            .collect()
    }

    /// Published numbers are constants, but a slip there must not go unnoticed either.
    fn system(&mut self, system: &mut Value, report: &Report) {
        for (claim, known) in report.system().claims.iter().enumerate() {
            for (figure, known) in known.figures.iter().enumerate() {
                let at = format!("/claims/{claim}/figures/{figure}/value");
                if let Some(value) = system.pointer_mut(&at) {
                    *value = self.number(known.value, &format!("/system{at}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells;

    #[test]
    fn numbers_that_json_cannot_hold_are_null_with_a_note() {
        let mut notes = Notes::default();
        let table = Table::new("t", ["a", "b", "c"])
            .row(cells![f64::NAN, f64::NEG_INFINITY, Stat::of(&[1.0])])
            .row(cells![1, "x", None::<f64>]);
        let value = notes.table(&table, "/items/4");
        assert_eq!(
            value["rows"],
            json!([
                [null, null, { "mean": 1.0, "sd": null, "n": 1 }],
                [1, "x", null]
            ])
        );
        assert_eq!(
            notes.0,
            [
                json!({ "at": "/items/4/rows/0/0", "value": "NaN" }),
                json!({ "at": "/items/4/rows/0/1", "value": "-inf" }),
                json!({ "at": "/items/4/rows/0/2/sd", "value": "NaN" }),
            ]
        );
    }

    #[test]
    fn integers_and_floats_keep_every_digit() {
        let mut notes = Notes::default();
        assert_eq!(
            notes.cell(&Cell::from(u64::MAX), "").to_string(),
            "18446744073709551615"
        );
        assert_eq!(
            notes.cell(&Cell::from(i64::MIN), "").to_string(),
            "-9223372036854775808"
        );
        assert_eq!(notes.cell(&Cell::fixed(0.1 + 0.2, 1), ""), json!(0.1 + 0.2));
        assert_eq!(pointer("a/b~c"), "a~1b~0c");
    }
}
