//! `report.html`: one file that fetches nothing, in the reader's light or dark scheme.

use super::{caption, figures, sound_caption};
use crate::{
    Report, Table, Verdict,
    escape::{clean, html, line},
    report::{Item, Media},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use menagerie_core::Claim;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// Forbids the page to load anything that is not part of it.
const POLICY: &str =
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'";

pub(crate) fn document(report: &Report) -> String {
    let system = report.system();
    let (slug, title) = (html(system.slug), html(system.title));
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{slug}: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    push_header(&mut out, report);
    let _ = writeln!(out, "<section aria-label=\"Verdicts\">");
    for (claim, verdict) in report.verdicts() {
        push_verdict(&mut out, claim, &verdict);
    }
    let _ = writeln!(out, "</section>");
    for item in report.items() {
        push_item(&mut out, item);
    }
    push_settings(&mut out, report);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn push_header(out: &mut String, report: &Report) {
    let system = report.system();
    let _ = write!(
        out,
        "<header>\n<p class=\"slug\">{}</p>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n<p>Paper: {}",
        html(system.slug),
        html(system.title),
        html(system.summary),
        link(system.paper, system.paper_url)
    );
    if let Some(url) = system.code_url {
        let _ = write!(out, " · official code: {}", link(url, url));
    }
    let class = if report.not_met() == 0 {
        "met"
    } else {
        "not_met"
    };
    let tally = report.tally();
    let _ = writeln!(
        out,
        "</p>\n<p class=\"tally {class}\">{tally}</p>\n</header>"
    );
}

fn push_verdict(out: &mut String, claim: &Claim, verdict: &Verdict) {
    let (class, word) = (verdict.outcome.key(), verdict.outcome.word());
    let _ = write!(
        out,
        "<article class=\"claim {class}\">\n<p><span class=\"badge\">{word}</span> {}</p>\n<dl>\n\
         <dt>Measured</dt><dd>{}</dd>\n<dt>Rule</dt><dd>{}</dd>\n",
        html(claim.text),
        html(&verdict.measured),
        html(&verdict.rule)
    );
    let figures = figures(claim);
    if !figures.is_empty() {
        let _ = writeln!(out, "<dt>Paper</dt><dd>{}</dd>", html(&figures));
    }
    out.push_str("</dl>\n</article>\n");
}

fn push_item(out: &mut String, item: &Item) {
    match item {
        Item::Heading(title) => {
            let _ = writeln!(out, "<h2>{}</h2>", html(title));
        }
        Item::Text(text) => {
            let text = clean(text);
            for paragraph in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
                let _ = writeln!(out, "<p>{}</p>", html(paragraph.trim()));
            }
        }
        Item::Table(table) => push_table(out, table),
        Item::Plot { media, plot } => push_svg(out, media, &plot.title, plot.remark()),
        Item::HeatMap { media, map } => push_svg(out, media, &map.title, map.remark()),
        Item::Images {
            media,
            caption: text,
            grid,
        } => {
            let alt = if text.is_empty() { &media.file } else { text };
            let image = format!(
                "<div class=\"scroll\"><img alt=\"{}\" src=\"{}\"></div>",
                html(&line(alt)),
                data_uri("image/png", &media.bytes)
            );
            push_figure(out, "images", &image, &caption(text, grid.remark()));
        }
        Item::Audio {
            media,
            caption,
            sound,
        } => {
            let player = format!(
                "<audio controls preload=\"metadata\" src=\"{}\"></audio>",
                data_uri("audio/wav", &media.bytes)
            );
            push_figure(out, "audio", &player, &sound_caption(caption, sound));
        }
    }
}

fn push_svg(out: &mut String, media: &Media, title: &str, remark: Option<String>) {
    let svg = String::from_utf8_lossy(&media.bytes);
    let label = format!("<svg role=\"img\" aria-label=\"{}\" ", html(&line(title)));
    // A page knows the namespace; without its address nothing here looks like an outside link.
    let svg =
        svg.replacen("<svg ", &label, 1)
            .replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
    let svg = format!("<div class=\"scroll\">{}</div>", svg.trim_end());
    push_figure(out, "plot", &svg, &caption("", remark));
}

fn push_figure(out: &mut String, class: &str, content: &str, caption: &str) {
    let _ = writeln!(out, "<figure class=\"{class}\">\n{content}");
    if !caption.is_empty() {
        let _ = writeln!(out, "<figcaption>{}</figcaption>", html(caption));
    }
    let _ = writeln!(out, "</figure>");
}

fn push_table(out: &mut String, table: &Table) {
    let class = |column: usize| {
        if table.is_numeric(column) {
            " class=\"number\""
        } else {
            ""
        }
    };
    let title = html(&table.title);
    let _ = writeln!(
        out,
        "<div class=\"scroll\" tabindex=\"0\"><table>\n<caption>{title}</caption>"
    );
    out.push_str("<thead><tr>");
    for (column, name) in table.columns.iter().enumerate() {
        let _ = write!(
            out,
            "<th scope=\"col\"{}>{}</th>",
            class(column),
            html(name)
        );
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (row, marks) in table.rows.iter().zip(table.emphasis()) {
        out.push_str("<tr>");
        for (column, (cell, mark)) in row.iter().zip(marks).enumerate() {
            let text = html(&cell.to_string());
            let text = if mark {
                format!("<strong>{text}</strong>")
            } else {
                text
            };
            let _ = write!(out, "<td{}>{text}</td>", class(column));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    let legend = table.legend().map(|legend| format!("Bold: {legend}."));
    for text in legend.iter().chain(&table.note) {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", html(text));
    }
}

fn push_settings(out: &mut String, report: &Report) {
    if report.settings().is_empty() {
        return;
    }
    out.push_str("<h2>Settings</h2>\n<dl class=\"settings\">\n");
    for (name, value) in report.settings() {
        let value = html(&value.to_string());
        let _ = writeln!(out, "<dt>{}</dt><dd>{value}</dd>", html(name));
    }
    out.push_str("</dl>\n");
}

fn data_uri(mime: &str, bytes: &[u8]) -> String {
    format!("data:{mime};base64,{}", STANDARD.encode(bytes))
}

/// A link to a web address, or the bare text for anything else.
fn link(text: &str, url: &str) -> String {
    if url.starts_with("https://") || url.starts_with("http://") {
        format!("<a href=\"{}\">{}</a>", html(url), html(text))
    } else {
        html(text)
    }
}
