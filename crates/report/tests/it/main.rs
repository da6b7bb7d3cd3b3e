//! Writes reports with every element and reads the files back.

#![allow(clippy::unwrap_used)]

use menagerie_core::{Claim, Figure, Gate, System};
use menagerie_report::{
    Best, Cell, Grid, HeatMap, Plot, Report, Sound, Stat, Table, Verdict, cells,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

const SYSTEM: System = System {
    slug: "sample-net",
    title: "A <Sample> & Its \"Claims\" | *all* of them",
    family: "theory",
    summary: "a sample of everything",
    paper: "arXiv:0000.00000",
    paper_url: "https://example.org/paper",
    code_url: Some("https://example.org/code"),
    claims: &[
        Claim {
            id: "gap",
            text: "Interpretability costs < 1 point | on MNIST.",
            figures: &[
                Figure {
                    name: "accuracy, %",
                    value: 99.22,
                    verified: true,
                },
                Figure {
                    name: "plain, %",
                    value: 99.24,
                    verified: false,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "order",
            text: "Ours is above the baseline.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "transfer",
            text: "The recipe transfers.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "forgotten",
            text: "Nobody looked at this.",
            figures: &[],
            gate: Gate::Decided,
        },
    ],
    hub_ids: &[],
};

/// Markup that must arrive as text wherever it is put.
const HOSTILE: &str = "<script src=\"https://evil.example/x.js\">alert('1')</script> & | `x` *y*";

fn gradient(channels: usize) -> Vec<f32> {
    (0..channels * 64)
        .map(|index| (index % 64) as f32 / 63.0)
        .collect()
}

fn sample() -> Report {
    let ours = Stat::of(&[0.519, 0.531, 0.543]);
    let mut report = Report::new(&SYSTEM);
    report
        .setting("device", "flex")
        .setting("seed", u64::MAX)
        .setting("learning rate", 1e-3)
        .setting("diverged at", f64::NAN)
        .setting("a/b", HOSTILE)
        .heading(format!("Results {HOSTILE}"))
        .text(format!("First.\n\n{HOSTILE}\n\n# no heading"));
    let table = Table::new(format!("Accuracy {HOSTILE}"), ["arm", "ours", "paper"])
        .row(cells!["full", ours, 0.95])
        .row(cells![HOSTILE, f64::INFINITY, None::<f64>])
        .row(cells!["plain", Cell::fixed(0.4999, 2), 0.9])
        .highlight_column("ours", Best::Highest)
        .note(HOSTILE);
    report.table(table).unwrap();
    let details = Table::new("Weights", ["prototype", "0", "1"])
        .row(cells![0, -1.5, 0.25])
        .row(cells![1, 0.5, -0.75])
        .highlight_rows(Best::Lowest)
        .details();
    report.table(details).unwrap();
    let plot = Plot::new(format!("Loss {HOSTILE}"), "step", "loss")
        .line(
            "ours",
            (0..100).map(|step| (f64::from(step), (-f64::from(step) / 30.0).exp())),
        )
        .line(HOSTILE, [(0.0, 0.9), (50.0, f64::NAN), (99.0, 0.5)])
        .spread("seeds", [(0.0, ours), (99.0, Stat::of(&[0.1, 0.2]))])
        .scatter("checkpoints", [(25.0, 0.4), (75.0, 0.3)])
        .level("paper", 0.05)
        .log_y();
    report.plot("loss", plot).unwrap();
    let map = HeatMap::new(
        format!("Accuracy {HOSTILE}"),
        "timestep",
        HOSTILE,
        ["20", "90"],
    )
    .row("middle", [0.5, f64::NAN])
    .row(HOSTILE, [0.25, 0.75]);
    report.heat_map("map", map).unwrap();
    let grey = Grid::new([1, 8, 8])
        .columns(["input", "decoded"])
        .row("7", [gradient(1), gradient(1)])
        .captioned_row(
            "2",
            [(gradient(1), "p = 0.93"), (vec![f32::NAN; 64], HOSTILE)],
        );
    report.images("grey", HOSTILE, &grey).unwrap();
    let colour = Grid::tiled([3, 8, 8], &gradient(3).repeat(6), 3).scale(3);
    report.images("colour", "", &colour).unwrap();
    let tone: Vec<f32> = (0..800).map(|index| (index as f32 * 0.3).sin()).collect();
    report.audio("tone", "A tone.", &tone, 8000).unwrap();
    let stereo = Sound::channels([tone.clone(), tone], 8000);
    report.sound("stereo", "", stereo).unwrap();
    report
        .verdict(
            "gap",
            Verdict::met(format!("{ours} {HOSTILE}"), "at most 1 point"),
        )
        .unwrap()
        .verdict("order", Verdict::not_met("0.1 below", "above"))
        .unwrap()
        .verdict("transfer", Verdict::reported("0.3 ± 0.4", "two seeds"))
        .unwrap();
    report
}

fn read(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap()
}

#[test]
fn the_json_holds_all_numbers_settings_and_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    sample().write(dir.path()).unwrap();
    let json: Value = serde_json::from_str(&read(dir.path(), "report.json")).unwrap();
    assert_eq!(json["format"], 1);
    assert_eq!(json["system"]["slug"], "sample-net");
    assert_eq!(json["system"]["claims"][0]["figures"][0]["value"], 99.22);
    assert_eq!(json["system"]["claims"][2]["gate"], "reported");
    assert_eq!(json["settings"]["seed"], u64::MAX);
    assert_eq!(json["settings"]["a/b"], HOSTILE);
    assert_eq!(json["not_met"], 2);
    let outcomes: Vec<&Value> = (0..4)
        .map(|index| &json["verdicts"][index]["outcome"])
        .collect();
    assert_eq!(outcomes, ["met", "not_met", "reported", "missing"]);
    assert_eq!(json["verdicts"][1]["measured"], "0.1 below");
    let kinds: Vec<&str> = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "heading", "text", "table", "table", "plot", "heat_map", "images", "images", "audio",
            "audio"
        ]
    );
    let table = &json["items"][2];
    assert_eq!(table["rows"][0][1]["n"], 3);
    assert_eq!(table["rows"][2][1], 0.4999, "digits concern the print only");
    let series = &json["items"][4]["series"];
    assert_eq!(series[0]["x"].as_array().unwrap().len(), 100);
    assert_eq!(series[1]["y"], json!([0.9, null, 0.5]));
    assert_eq!(series[2]["n"], json!([3, 2]));
    assert_eq!(series[4]["y"], 0.05);
    let map = &json["items"][5];
    assert_eq!(map["columns"], json!(["20", "90"]));
    assert_eq!(map["rows"][0]["values"], json!([0.5, null]));
    assert_eq!(
        json["items"][6]["remark"],
        "NaN values, drawn in magenta: 64"
    );
    // Every note points to a null.
    let notes = json["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 4);
    for note in notes {
        let at = note["at"].as_str().unwrap();
        assert_eq!(json.pointer(at), Some(&Value::Null), "{at}");
    }
    assert_eq!(
        notes[0],
        json!({ "at": "/settings/diverged at", "value": "NaN" })
    );
}

#[test]
fn every_media_file_of_the_report_exists_and_decodes() {
    let dir = tempfile::tempdir().unwrap();
    sample().write(dir.path()).unwrap();
    let json: Value = serde_json::from_str(&read(dir.path(), "report.json")).unwrap();
    let markdown = read(dir.path(), "report.md");
    let items = json["items"].as_array().unwrap();
    let files: Vec<&str> = items
        .iter()
        .filter_map(|item| item["file"].as_str())
        .collect();
    assert_eq!(
        files,
        [
            "media/loss.svg",
            "media/map.svg",
            "media/grey.png",
            "media/colour.png",
            "media/tone.wav",
            "media/stereo.wav"
        ]
    );
    for file in files {
        assert!(markdown.contains(&format!("]({file})")), "{file}");
        let bytes = fs::read(dir.path().join(file)).unwrap();
        match file.rsplit_once('.').unwrap().1 {
            "svg" => assert!(
                String::from_utf8(bytes)
                    .unwrap()
                    .trim_end()
                    .ends_with("</svg>")
            ),
            "png" => {
                let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
                assert!(
                    picture
                        .pixels()
                        .any(|pixel| pixel.0 != picture.get_pixel(0, 0).0)
                );
            }
            _ => {
                let reader = hound::WavReader::new(bytes.as_slice()).unwrap();
                assert_eq!(reader.duration(), 800);
            }
        }
    }
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "temporary files remain: {left:?}");
}

#[test]
fn the_page_is_one_file_that_fetches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample().write(dir.path()).unwrap();
    assert_eq!(path, dir.path().join("report.html"));
    let html = read(dir.path(), "report.html");
    for (attribute, count) in [("src=\"", 4), ("href=\"", 2)] {
        let values = html
            .split(attribute)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap());
        let values: Vec<&str> = values.collect();
        assert_eq!(values.len(), count, "{attribute}{values:?}");
        for value in values {
            // A link to the paper is followed only when clicked.
            let allowed = if attribute == "src=\"" {
                "data:"
            } else {
                "https://example.org/"
            };
            assert!(value.starts_with(allowed), "{attribute}{value}");
        }
    }
    for fetched in [
        "<script", "<link", "<iframe", "@import", "url(", "xlink", "xmlns",
    ] {
        assert!(!html.contains(fetched), "{fetched}");
    }
    assert!(html.contains("default-src 'none'"));
    assert!(html.contains("prefers-color-scheme: dark"));
    assert_eq!(html.matches("<svg ").count(), 2);
    assert_eq!(html.matches("data:image/png;base64,").count(), 2);
    assert_eq!(html.matches("data:audio/wav;base64,").count(), 2);
    // Elements are closed as often as they are opened.
    for tag in [
        "table", "tr", "td", "th", "figure", "div", "dl", "dd", "p", "article", "svg",
    ] {
        let opened =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn verdicts_tables_and_numbers_are_shown_as_measured() {
    let dir = tempfile::tempdir().unwrap();
    let report = sample();
    report.write(dir.path()).unwrap();
    let html = read(dir.path(), "report.html");
    let markdown = read(dir.path(), "report.md");
    let summary = report.summary();
    for text in [&html, &markdown, &summary] {
        for shown in ["0.531 ± 0.012 (n=3)", "inf", "0.50", "0.95", "0.1 below"] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
        assert!(text.contains("1 met, 1 not met, 1 missing, 1 reported"));
    }
    assert!(html.contains("<strong>0.531 ± 0.012 (n=3)</strong>"));
    assert!(html.contains("accuracy, %: 99.22; plain, %: 99.24 (recalled)"));
    assert!(html.contains("<article class=\"claim missing\">"));
    assert!(html.contains("<dt>diverged at</dt><dd>NaN</dd>"));
    assert!(markdown.contains("| **missing** | Nobody looked at this. |"));
    assert!(markdown.contains("\n\\# no heading\n"));
    assert!(
        summary.contains("NOT MET   order: 0.1 below (above)\n"),
        "{summary}"
    );
    assert!(summary.contains("MISSING   forgotten: "), "{summary}");
    assert!(summary.contains("met       gap: "), "{summary}");
    assert!(
        !summary.contains("Weights"),
        "details stay out of the summary"
    );
}

#[test]
fn markdown_tables_keep_their_columns() {
    let dir = tempfile::tempdir().unwrap();
    sample().write(dir.path()).unwrap();
    let markdown = read(dir.path(), "report.md");
    let mut columns = None;
    let mut tables = 0;
    for line in markdown.lines() {
        if !line.starts_with('|') {
            columns = None;
            continue;
        }
        let bars = line.replace("\\|", "").matches('|').count();
        if columns.is_none() {
            tables += 1;
        }
        assert_eq!(*columns.get_or_insert(bars), bars, "{line}");
    }
    assert_eq!(tables, 4, "verdicts, two tables, settings");
    assert!(
        !markdown.replace("\\<", "").contains('<'),
        "no markup of its own"
    );
}

#[test]
fn writing_again_replaces_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("runs/one");
    sample().write(&run).unwrap();
    fs::write(run.join("metrics.jsonl"), "{}").unwrap();
    let mut report = sample();
    report.setting("seed", 7);
    report.write(&run).unwrap();
    assert!(read(&run, "report.html").contains("<dt>seed</dt><dd>7</dd>"));
    assert_eq!(
        read(&run, "metrics.jsonl"),
        "{}",
        "other files are left alone"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = sample().write(&file.join("run")).unwrap_err().to_string();
    assert!(error.starts_with("cannot create the folder "), "{error}");
    assert!(error.contains("file/run"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn malformed_elements_are_refused_and_leave_the_report_as_it_was() {
    let mut report = sample();
    let before = report.summary();
    let short = Table::new("t", ["a", "b"]).row(["x"]);
    let error = report.table(short).unwrap_err();
    assert!(
        matches!(error, menagerie_core::Error::Input { .. }),
        "{error}"
    );
    let again = Grid::new([1, 1, 1]).row("", [[0.5]]);
    assert!(
        report.images("loss", "", &again).is_err(),
        "the name of the plot"
    );
    let wrong = Grid::new([1, 2, 2]).row("", [[0.5; 3]]);
    assert!(report.images("new", "", &wrong).is_err());
    assert!(report.plot("empty", Plot::new("t", "x", "y")).is_err());
    assert!(report.audio("silence", "", &[], 8000).is_err());
    assert!(
        report.verdict("gap", Verdict::met("", "")).is_err(),
        "given twice"
    );
    assert!(
        report.verdict("gpa", Verdict::met("", "")).is_err(),
        "unknown"
    );
    assert!(
        report
            .verdict("forgotten", Verdict::reported("", ""))
            .is_err()
    );
    assert_eq!(report.summary(), before);
    let dir = tempfile::tempdir().unwrap();
    report.write(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("media")).unwrap().count(), 6);
}
