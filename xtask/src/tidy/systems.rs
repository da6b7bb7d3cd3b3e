//! Every system has every part, and the pages made from the descriptors are fresh.

use crate::{
    descriptor::System,
    docs,
    fault::Result,
    gallery,
    state::{self, Finding},
    verdicts,
    workspace::Workspace,
};

/// What the systems lack, where their names disagree, and which pages are stale.
///
/// # Errors
/// A file that cannot be read.
pub fn check(workspace: &Workspace, systems: &[System]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for system in systems {
        found.extend(place(system));
        found.extend(claims(system));
        let parts = state::findings(workspace, system)?;
        found.extend(parts.into_iter().map(|(_, finding)| finding));
        if let Err(fault) = verdicts::of(workspace, system) {
            found.push(Finding::new(
                verdicts::file(system),
                "does not fit",
                fault.to_string(),
            ));
        }
    }
    // A record that does not fit is already among the findings.
    if found.iter().all(|finding| finding.what != "does not fit") {
        match docs::renewed(workspace, systems) {
            Ok((old, new)) if old == new => {}
            Ok(_) => {
                let mend = "run `cargo xtask docs`";
                found.push(Finding::new(
                    "README.md",
                    "the table of systems is stale",
                    mend,
                ));
            }
            Err(fault) => {
                found.push(Finding::new(
                    "README.md",
                    "no table of systems",
                    fault.to_string(),
                ));
            }
        }
    }
    if let Some(what) = gallery::fault(workspace, systems)? {
        let mend = "run `cargo xtask gallery`";
        found.push(Finding::new(gallery::GALLERY, what, mend));
    }
    Ok(found)
}

/// The descriptor stands in the crate and the module that it names.
fn place(system: &System) -> Option<Finding> {
    let stem = format!("models/{}/src/{}", system.family, system.module());
    let expected = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
    if expected.contains(&system.source) {
        return None;
    }
    let what = format!(
        "family `{}` and slug `{}` name another place",
        system.family, system.slug
    );
    Some(Finding::new(
        &system.source,
        what,
        format!("move it to {}", expected.join(" or ")),
    ))
}

/// There are claims, and no two of the same name.
fn claims(system: &System) -> Option<Finding> {
    if system.claims.is_empty() {
        let mend = "add what the paper says about its numbers";
        return Some(Finding::new(&system.source, "no claims", mend));
    }
    let twice = system.claims.iter().enumerate().find(|(index, claim)| {
        let earlier = &system.claims[..*index];
        earlier.iter().any(|other| other.id == claim.id)
    });
    twice.map(|(_, claim)| {
        let what = format!("two claims are called `{}`", claim.id);
        Finding::new(&system.source, what, "rename one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{read, tests::SOURCE};

    fn system(source: &str) -> System {
        read(source, SOURCE).unwrap().unwrap()
    }

    #[test]
    fn a_descriptor_stands_where_its_names_say() {
        assert_eq!(place(&system("models/theory/src/line_fit/mod.rs")), None);
        assert_eq!(place(&system("models/theory/src/line_fit.rs")), None);
        let finding = place(&system("models/codec/src/line_fit.rs")).unwrap();
        assert_eq!(
            finding.to_string(),
            "models/codec/src/line_fit.rs: family `theory` and slug `line-fit` name another place: \
             move it to models/theory/src/line_fit.rs or models/theory/src/line_fit/mod.rs"
        );
    }

    #[test]
    fn claims_have_names_of_their_own() {
        let mut system = system("a.rs");
        assert_eq!(claims(&system), None);
        system.claims.push(system.claims[0].clone());
        assert_eq!(claims(&system).unwrap().what, "two claims are called `gap`");
        system.claims.clear();
        assert_eq!(claims(&system).unwrap().what, "no claims");
    }

    #[test]
    fn a_stale_table_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        let stale = |workspace: &Workspace| {
            let found = check(workspace, &[]).unwrap();
            found
                .into_iter()
                .map(|finding| finding.what)
                .collect::<Vec<_>>()
        };
        assert_eq!(stale(&workspace), ["the table of systems is stale"]);
        let (_, text) = docs::renewed(&workspace, &[]).unwrap();
        workspace.write("README.md", &text).unwrap();
        assert!(stale(&workspace).is_empty());
        workspace.write("README.md", "no markers").unwrap();
        assert_eq!(stale(&workspace), ["no table of systems"]);
    }
}
