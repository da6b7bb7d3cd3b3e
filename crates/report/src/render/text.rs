//! `summary()`: plain text for a terminal.

use crate::{Outcome, Report, Table, escape::line, report::Item};
use std::fmt::Write;

/// The tables that are not mere details, then a line for each verdict and the tally.
pub(crate) fn summary(report: &Report) -> String {
    let system = report.system();
    let mut out = format!("{}: {}\n", system.slug, system.title);
    for item in report.items() {
        if let Item::Table(table) = item
            && !table.details
        {
            out.push('\n');
            push_table(&mut out, table);
        }
    }
    out.push('\n');
    let verdicts: Vec<_> = report.verdicts().collect();
    let width = verdicts
        .iter()
        .map(|(_, v)| word(v.outcome).len())
        .max()
        .unwrap_or(0);
    for (claim, verdict) in &verdicts {
        let word = word(verdict.outcome);
        let (measured, rule) = (line(&verdict.measured), line(&verdict.rule));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{word:width$}  {}: {measured} ({rule})", claim.id);
    }
    let _ = writeln!(out, "{}", report.tally());
    out
}

/// Failures in capitals, so that they are seen without colour.
fn word(outcome: Outcome) -> String {
    if outcome.is_failure() {
        outcome.word().to_uppercase()
    } else {
        outcome.word().into()
    }
}

fn push_table(out: &mut String, table: &Table) {
    let columns = table.columns.len();
    let emphasis = table.emphasis();
    let starred: Vec<bool> = (0..columns)
        .map(|column| emphasis.iter().any(|row| row[column]))
        .collect();
    let head = table
        .columns
        .iter()
        .map(|name| line(name))
        .collect::<Vec<_>>();
    let body = table.rows.iter().zip(&emphasis).map(|(row, marks)| {
        let cells = row.iter().zip(marks).zip(&starred);
        cells
            .map(|((cell, mark), starred)| {
                // A blank in place of the star keeps the decimals of a column aligned.
                let star = if *mark {
                    "*"
                } else if *starred {
                    " "
                } else {
                    ""
                };
                line(&cell.to_string()) + star
            })
            .collect()
    });
    let lines: Vec<Vec<String>> = [head].into_iter().chain(body).collect();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .map(|l| l[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let _ = writeln!(out, "{}", line(&table.title));
    for (index, cells) in lines.iter().enumerate() {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if table.is_numeric(column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let text = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "  {}", text.trim_end());
        if index == 0 {
            let total = widths.iter().sum::<usize>() + 2 * (columns - 1);
            let _ = writeln!(out, "  {}", "─".repeat(total));
        }
    }
    if let Some(legend) = table.legend() {
        let _ = writeln!(out, "  * {}", line(&legend));
    }
    if let Some(note) = &table.note {
        let _ = writeln!(out, "  {}", line(note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Best, Stat, cells};

    #[test]
    fn numbers_align_and_the_best_is_starred() {
        let table = Table::new("Results", ["arm", "InfoM", "paper"])
            .row(cells!["QLAE", Stat::of(&[0.5, 0.6]), 0.95])
            .row(cells!["AE", Stat::of(&[0.35, 0.36]), None::<f64>])
            .highlight_column("InfoM", Best::Highest)
            .note("Two seeds.");
        let mut out = String::new();
        push_table(&mut out, &table);
        assert_eq!(
            out,
            "Results\n\
             \x20 arm                    InfoM  paper\n\
             \x20 ───────────────────────────────────\n\
             \x20 QLAE    0.550 ± 0.071 (n=2)*   0.95\n\
             \x20 AE    0.3550 ± 0.0071 (n=2)       –\n\
             \x20 * highest InfoM\n\
             \x20 Two seeds.\n"
        );
    }
}
