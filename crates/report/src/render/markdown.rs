//! `report.md`: for a repository's web page, with links to the media files.

use super::{caption, figures, sound_caption};
use crate::{
    Report, Table,
    escape::{clean, line, markdown},
    report::Item,
};
use std::fmt::Write;

pub(crate) fn document(report: &Report) -> String {
    let system = report.system();
    let mut out = format!("# {}\n\n", markdown(system.title));
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "`{}`: {}.",
        system.slug,
        markdown(system.summary.trim_end_matches('.'))
    );
    let _ = write!(out, "Paper: {}", link(system.paper, system.paper_url));
    if let Some(url) = system.code_url {
        let _ = write!(out, ", official code: {}", link(url, url));
    }
    let _ = writeln!(out, ".\n\n## Verdict: {}\n", report.tally());
    push_verdicts(&mut out, report);
    for item in report.items() {
        push_item(&mut out, item);
    }
    if !report.settings().is_empty() {
        out.push_str("## Settings\n\n| setting | value |\n| --- | --- |\n");
        for (name, value) in report.settings() {
            let _ = writeln!(
                out,
                "| {} | {} |",
                markdown(name),
                markdown(&value.to_string())
            );
        }
    }
    out.trim_end().to_owned() + "\n"
}

fn push_verdicts(out: &mut String, report: &Report) {
    if report.system().claims.is_empty() {
        return;
    }
    out.push_str("| verdict | claim | measured | rule | the paper's numbers |\n");
    out.push_str("| --- | --- | --- | --- | --- |\n");
    for (claim, verdict) in report.verdicts() {
        let word = if verdict.outcome.is_failure() {
            format!("**{}**", verdict.outcome.word())
        } else {
            verdict.outcome.word().into()
        };
        let cells = [
            claim.text,
            &verdict.measured,
            &verdict.rule,
            &figures(claim),
        ]
        .map(markdown);
        let _ = writeln!(out, "| {word} | {} |", cells.join(" | "));
    }
    out.push('\n');
}

fn push_item(out: &mut String, item: &Item) {
    match item {
        Item::Heading(title) => {
            let _ = writeln!(out, "## {}\n", markdown(title));
        }
        Item::Text(text) => {
            let text = clean(text);
            for paragraph in text.split("\n\n").map(markdown).filter(|p| !p.is_empty()) {
                let _ = writeln!(out, "{paragraph}\n");
            }
        }
        Item::Table(table) => push_table(out, table),
        Item::Plot { media, plot } => {
            let _ = writeln!(out, "![{}]({})\n", markdown(&plot.title), media.path());
            push_caption(out, &caption("", plot.remark()));
        }
        Item::HeatMap { media, map } => {
            let _ = writeln!(out, "![{}]({})\n", markdown(&map.title), media.path());
            push_caption(out, &caption("", map.remark()));
        }
        Item::Images {
            media,
            caption: text,
            grid,
        } => {
            let _ = writeln!(out, "![{}]({})\n", markdown(text), media.path());
            push_caption(out, &caption(text, grid.remark()));
        }
        Item::Audio {
            media,
            caption,
            sound,
        } => {
            let text = markdown(&sound_caption(caption, sound));
            let _ = writeln!(out, "[{text}]({})\n", media.path());
        }
    }
}

fn push_caption(out: &mut String, caption: &str) {
    if !caption.is_empty() {
        let _ = writeln!(out, "*{}*\n", markdown(caption));
    }
}

fn push_table(out: &mut String, table: &Table) {
    let _ = writeln!(out, "**{}**\n", markdown(&table.title));
    let head: Vec<String> = table.columns.iter().map(|name| markdown(name)).collect();
    let rules: Vec<&str> = (0..head.len())
        .map(|column| {
            if table.is_numeric(column) {
                "---:"
            } else {
                "---"
            }
        })
        .collect();
    let _ = writeln!(out, "| {} |\n| {} |", head.join(" | "), rules.join(" | "));
    for (row, marks) in table.rows.iter().zip(table.emphasis()) {
        let cells = row.iter().zip(marks).map(|(cell, mark)| {
            let text = markdown(&cell.to_string());
            if mark { format!("**{text}**") } else { text }
        });
        let _ = writeln!(out, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    out.push('\n');
    let legend = table.legend().map(|legend| format!("Bold: {legend}."));
    for text in legend.iter().chain(&table.note) {
        push_caption(out, text);
    }
}

/// A link to a web address, or the bare text for anything else.
fn link(text: &str, url: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !r#"<>()\"`"#.contains(c);
    let web = url.starts_with("https://") || url.starts_with("http://");
    if web && url.chars().all(plain) {
        format!("[{}]({url})", markdown(text))
    } else {
        markdown(&line(text))
    }
}
