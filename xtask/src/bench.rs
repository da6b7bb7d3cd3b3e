//! `cargo xtask bench`: the families' benches beside the same shapes in PyTorch.

use crate::{
    args::Args,
    descriptor::{self, System},
    fault::{Fault, Result},
    manifest::Manifest,
    process,
    table::Table,
    tch_env,
    workspace::Workspace,
};
use serde_json::Value;
use std::{collections::BTreeMap, process::Command};

/// Both sides run on as many threads.
const THREADS: &str = "2";

/// A median time by name, in seconds.
type Times = BTreeMap<String, f64>;

/// Runs the benches and prints ours, PyTorch's and the ratio.
///
/// # Errors
/// [`Fault::Usage`] for a wrong slug; [`Fault::Failed`] if a bench or a peer fails.
pub fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let all = descriptor::systems(workspace)?;
    let mut chosen = Vec::new();
    for slug in args.positionals() {
        chosen.push(descriptor::find(&all, slug)?);
    }
    if chosen.is_empty() {
        chosen = all.iter().collect();
    }
    let profile = args.option("--profile").unwrap_or("bench");
    let python = torch_python(workspace);
    let mut table = Table::new(&["system", "bench", "ours", "PyTorch", "ratio"]);
    for system in chosen {
        let ours = ours(workspace, &all, system, profile)?;
        let theirs = match &python {
            Some(python) => theirs(workspace, python, system)?,
            None => None,
        };
        if ours.is_empty() {
            table.row([&system.slug, "no bench mentions it", "", "", ""]);
        }
        for (name, ours) in &ours {
            let (peer, ratio) = match &theirs {
                None if python.is_none() => ("needs torch".into(), "-".into()),
                None => ("no script".into(), "-".into()),
                Some(times) => match times.get(name) {
                    None => ("not timed".into(), "-".into()),
                    Some(theirs) => (duration(*theirs), format!("{:.2}", ours / theirs)),
                },
            };
            table.row([
                system.slug.clone(),
                name.clone(),
                duration(*ours),
                peer,
                ratio,
            ]);
        }
    }
    say!("\n{}", table.to_text());
    say!("medians on {THREADS} threads; a ratio below 1 means that ours is faster");
    Ok(0)
}

/// The medians of the benches of `system`, by normalised name.
fn ours(workspace: &Workspace, all: &[System], system: &System, profile: &str) -> Result<Times> {
    let mut command = process::cargo_at_root(workspace);
    command.args([
        "bench",
        "--package",
        &system.package(),
        "--profile",
        profile,
    ]);
    for bench in benches(workspace, system)? {
        command.args(["--bench", &bench]);
    }
    command.env("RAYON_NUM_THREADS", THREADS);
    let siblings = all
        .iter()
        .filter(|other| other.family == system.family)
        .count();
    if siblings > 1 {
        command.args(["--", &system.module()]);
    }
    let mut lines = Vec::new();
    match process::tee(&mut command, |line| lines.push(line.to_owned()))? {
        0 => {}
        code => {
            let package = system.package();
            return Err(Fault::failed(format!(
                "the benches of {package} ended with code {code}"
            )));
        }
    }
    let medians = medians(&lines);
    Ok(medians
        .into_iter()
        .filter(|(path, _)| siblings == 1 || path.contains(&system.module()))
        .map(|(path, seconds)| (normalise(&path, &system.module()), seconds))
        .collect())
}

fn benches(workspace: &Workspace, system: &System) -> Result<Vec<String>> {
    let manifest = workspace.read(&format!("models/{}/Cargo.toml", system.family))?;
    Ok(Manifest::parse(&manifest)
        .sections("[bench]")
        .filter_map(|bench| bench.get("name").map(String::from))
        .collect())
}

/// The medians of a `divan` tree by the path of each leaf, joined by `/`, without the binary.
fn medians(lines: &[String]) -> Vec<(String, f64)> {
    let mut path: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for line in lines {
        let Some((prefix, rest)) = line.split_once("├─ ").or_else(|| line.split_once("╰─ "))
        else {
            continue;
        };
        if !prefix.chars().all(|c| c == ' ' || c == '│') {
            continue;
        }
        let depth = prefix.chars().count() / 3;
        let mut cells = rest.split('│');
        let first = cells.next().unwrap_or_default();
        let name = first.split("  ").next().unwrap_or_default().trim();
        path.truncate(depth);
        path.push(name.to_owned());
        if let Some(seconds) = cells.nth(1).and_then(seconds) {
            found.push((path.join("/"), seconds));
        }
    }
    found
}

/// A time as `divan` prints it, e.g. `1.234 ms`.
fn seconds(cell: &str) -> Option<f64> {
    let (number, unit) = cell.trim().split_once(' ')?;
    let scale = match unit {
        "ps" => 1e-12,
        "ns" => 1e-9,
        "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

/// The name that ours and the peer's have in common: without the system's own name, and with one
/// way to write separators.
fn normalise(name: &str, module: &str) -> String {
    let name = name.replace('-', "_").replace("::", "/");
    let parts: Vec<&str> = name
        .split('/')
        .filter(|part| *part != module)
        .map(|part| part.strip_prefix(&format!("{module}_")).unwrap_or(part))
        .collect();
    parts.join("/")
}

/// The first Python that has PyTorch: that of `cargo xtask tch-env`, else the one on the path.
fn torch_python(workspace: &Workspace) -> Option<String> {
    let own = tch_env::python(&workspace.path(tch_env::FOLDER));
    [own.to_string_lossy().into_owned(), "python3".into()]
        .into_iter()
        .find(|python| process::output(Command::new(python).args(["-c", "import torch"])).is_some())
}

/// What the system's script measures, by normalised name; `None` without a script.
fn theirs(workspace: &Workspace, python: &str, system: &System) -> Result<Option<Times>> {
    let script = format!("xtask/peers/{}.py", system.slug);
    if !workspace.exists(&script) {
        return Ok(None);
    }
    let mut command = Command::new(python);
    command.arg(workspace.path(&script));
    for variable in ["OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(variable, THREADS);
    }
    let mut lines = Vec::new();
    match process::tee(&mut command, |line| lines.push(line.to_owned()))? {
        0 => {}
        code => return Err(Fault::failed(format!("{script} ended with code {code}"))),
    }
    lines
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            match (value["name"].as_str(), value["seconds"].as_f64()) {
                (Some(name), Some(seconds)) => Ok((normalise(name, &system.module()), seconds)),
                _ => Err(Fault::failed(format!(
                    "{script}: a line without name and seconds: {line}"
                ))),
            }
        })
        .collect::<Result<Times>>()
        .map(Some)
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.1} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
     Running benches/representation.rs (target/release/deps/representation-0)
Timer precision: 15 ns
representation            fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ qlae                                 │               │               │               │         │
│  ├─ forward             1.5 ms        │ 3 ms          │ 2 ms          │ 2.1 ms        │ 100     │ 100
│  │                      1 Kitem/s     │ 1 Kitem/s     │ 1 Kitem/s     │ 1 Kitem/s     │         │
│  ╰─ step                              │               │               │               │         │
│     ├─ 32               10 ms         │ 30 ms         │ 20.5 ms       │ 21 ms         │ 100     │ 100
│     ╰─ 64               1 s           │ 1.2 s         │ 1.1 s         │ 1.1 s         │ 3       │ 3
╰─ qlae_infomec           90 µs         │ 110 µs        │ 100.5 µs      │ 101 µs        │ 100     │ 800

";

    #[test]
    fn medians_are_read_from_the_tree() {
        let lines: Vec<String> = OUTPUT.lines().map(String::from).collect();
        let found = medians(&lines);
        let expected = [
            ("qlae/forward", 2e-3),
            ("qlae/step/32", 20.5e-3),
            ("qlae/step/64", 1.1),
            ("qlae_infomec", 100.5e-6),
        ];
        assert_eq!(found.len(), expected.len());
        for ((name, seconds), (expected_name, expected)) in found.iter().zip(expected) {
            assert_eq!(name, expected_name);
            assert!(
                (seconds / expected - 1.0).abs() < 1e-12,
                "{name}: {seconds}"
            );
        }
    }

    #[test]
    fn both_sides_agree_on_names() {
        for name in [
            "qlae/step/32",
            "qlae::step::32",
            "step/32",
            "qlae_step/32",
            "qlae-step/32",
        ] {
            assert_eq!(normalise(name, "qlae"), "step/32", "{name}");
        }
        assert_eq!(
            normalise("prototype-net::forward", "prototype_net"),
            "forward"
        );
    }

    #[test]
    fn durations_choose_their_unit() {
        let texts = [2e-8, 1.5e-5, 0.0123, 2.0].map(duration);
        assert_eq!(texts, ["20.0 ns", "15.0 µs", "12.30 ms", "2.00 s"]);
        assert_eq!(seconds(" 2 weeks"), None);
    }
}
