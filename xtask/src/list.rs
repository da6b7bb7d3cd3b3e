//! `cargo xtask list`: the systems, how complete they are, and their recorded verdicts.

use crate::{
    args::Args, descriptor, fault::Result, state, table::Table, verdicts, workspace::Workspace,
};
use serde_json::{Value, json};

/// Prints the systems as a table, or as JSON with `--json`.
///
/// # Errors
/// A descriptor or a record that cannot be read.
pub fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let mut table = Table::new(&["system", "family", "state", "verdicts", "paper"]);
    let mut values = Vec::new();
    for system in descriptor::systems(workspace)? {
        let findings = state::findings(workspace, &system)?;
        let state = state::summary(&findings);
        let recorded = verdicts::of(workspace, &system)?;
        let summary = recorded.as_ref().map_or("-".into(), verdicts::summary);
        let mut value = system.to_json();
        let (present, missing) = state::parts(&findings);
        value["state"] = json!({ "present": present, "missing": missing });
        value["record"] = recorded.unwrap_or(Value::Null);
        values.push(value);
        table.row([system.slug, system.family, state, summary, system.title]);
    }
    if args.flag("--json") {
        say!("{:#}", Value::from(values));
    } else {
        say!("{}", table.to_text().trim_end());
    }
    Ok(0)
}
