//! `cargo xtask docs`: the README's table of systems, and the record of verdicts behind it.

use crate::{
    args::Args,
    descriptor::{self, System},
    fault::{Fault, Result},
    state,
    table::Table,
    verdicts,
    workspace::Workspace,
};

const README: &str = "README.md";
const START: &str = "<!-- systems:start -->";
const END: &str = "<!-- systems:end -->";

/// Rewrites the table; with `--check` compares it, with `--record` keeps a run's verdicts first.
///
/// # Errors
/// [`Fault::Failed`] if the README has no markers, a record does not fit, or the check fails.
pub fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let systems = descriptor::systems(workspace)?;
    if let Some(folder) = args.path("--record") {
        let file = verdicts::record(workspace, &systems, &folder)?;
        say!("wrote {file}");
    }
    let (old, new) = renewed(workspace, &systems)?;
    if old == new {
        say!("{README}: up to date");
    } else if args.flag("--check") {
        return Err(Fault::failed(format!("{README}: {STALE}")));
    } else {
        workspace.write(README, &new)?;
        say!("wrote {README}");
    }
    Ok(0)
}

/// What is wrong with a README that [`run`] would change, and how to mend it.
pub const STALE: &str = "the table of systems is stale: run `cargo xtask docs`";

/// The README as it is and as it should be.
///
/// # Errors
/// [`Fault::Failed`] if there are no markers or a descriptor cannot be read.
pub fn renewed(workspace: &Workspace, systems: &[System]) -> Result<(String, String)> {
    let old = if workspace.exists(README) {
        workspace.read(README)?
    } else {
        format!("# Menagerie\n\n{START}\n{END}\n")
    };
    let new = replace(&old, &table(workspace, systems)?)?;
    let old = if workspace.exists(README) {
        old
    } else {
        String::new()
    };
    Ok((old, new))
}

fn replace(text: &str, table: &str) -> Result<String> {
    let inside = |text: &str| {
        let start = text.find(START)? + START.len();
        let end = start + text[start..].find(END)?;
        Some((start, end))
    };
    let (start, end) = inside(text).ok_or_else(|| {
        Fault::failed(format!(
            "{README}: no table of systems: add the lines {START} and {END}"
        ))
    })?;
    Ok(format!("{}\n{table}{}", &text[..start], &text[end..]))
}

fn table(workspace: &Workspace, systems: &[System]) -> Result<String> {
    let mut table = Table::new(&[
        "system",
        "paper",
        "what you get",
        "crate",
        "parts done",
        "verdicts",
    ]);
    for system in systems {
        let state = state::summary(&state::findings(workspace, system)?);
        let recorded = verdicts::of(workspace, system)?;
        let verdicts = match recorded {
            Some(recorded) => {
                format!(
                    "[{}]({})",
                    verdicts::summary(&recorded),
                    verdicts::file(system)
                )
            }
            None => "none recorded".into(),
        };
        let folder = system.source.trim_end_matches("/mod.rs");
        table.row([
            format!("[`{}`]({folder})", system.slug),
            format!("[{}]({})", system.title, system.paper_url),
            system.summary.clone(),
            format!("`{}`", system.package()),
            state,
            verdicts,
        ]);
    }
    Ok(table.to_markdown())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{read, tests::SOURCE};

    #[test]
    fn only_the_text_between_the_markers_changes() {
        let text = format!("# Title\n\n{START}\nold\n{END}\nafter\n");
        let new = replace(&text, "| a |\n").unwrap();
        assert_eq!(new, format!("# Title\n\n{START}\n| a |\n{END}\nafter\n"));
        assert_eq!(replace(&new, "| a |\n").unwrap(), new);
        let error = replace(&format!("{END} {START}"), "").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("README.md: no table of systems")
        );
    }

    #[test]
    fn a_missing_readme_is_created_with_the_table() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        let system = read("models/theory/src/line_fit/mod.rs", SOURCE)
            .unwrap()
            .unwrap();
        let (old, new) = renewed(&workspace, &[system]).unwrap();
        assert!(old.is_empty());
        let row = "| [`line-fit`](models/theory/src/line_fit) | \
                   [On Fitting a Line](https://example.org/a) | a line | `menagerie-theory` | ";
        assert!(new.contains(row), "{new}");
        assert!(
            new.contains("| none recorded |\n<!-- systems:end -->"),
            "{new}"
        );
    }
}
