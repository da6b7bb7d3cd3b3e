//! `cargo xtask tidy`: the house rules, one line per breach.

mod floors;
mod manifests;
mod pages;
mod sources;
mod systems;

use crate::{args::Args, descriptor, fault::Result, workspace::Workspace};

/// Prints every breach as `path: what: how to mend it`; exit code 1 if there is one.
///
/// # Errors
/// A file that cannot be read.
pub fn run(workspace: &Workspace, _: &Args) -> Result<u8> {
    let systems = descriptor::systems(workspace)?;
    let packages = workspace.packages()?;
    let mut findings = systems::check(workspace, &systems)?;
    findings.extend(manifests::check(&packages));
    findings.extend(floors::check(&packages));
    findings.extend(sources::check(workspace, &packages)?);
    findings.extend(pages::check(workspace));
    for finding in &findings {
        say!("{finding}");
    }
    match findings.len() {
        0 => say!("tidy: nothing to mend; systems: {}", systems.len()),
        count => say!("tidy: {count} to mend"),
    }
    Ok(u8::from(!findings.is_empty()))
}
