//! Dependencies are declared once, lints are inherited everywhere.

use crate::{state::Finding, workspace::Package};

/// What the manifests declare on their own.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages {
        let file = format!("{}/Cargo.toml", package.dir);
        for dependency in package.manifest.dependencies() {
            if !dependency.inherited {
                found.push(Finding::new(
                    format!("{file}:{}", dependency.line),
                    format!("`{}` is declared outside of the workspace", dependency.name),
                    format!(
                        "declare it in [workspace.dependencies] and write `{}.workspace = true`",
                        dependency.name
                    ),
                ));
            }
        }
        if package.manifest.get("lints", "workspace") != Some("true") {
            let mend = "add `[lints]` with `workspace = true`";
            found.push(Finding::new(
                file,
                "the lints are not the workspace's",
                mend,
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn own_declarations_and_missing_lints_are_found() {
        let package = |text: &str| Package {
            name: "menagerie-core".into(),
            dir: "crates/core".into(),
            manifest: Manifest::parse(text),
        };
        let good = package("[dependencies]\nburn.workspace = true\n[lints]\nworkspace = true\n");
        assert!(check(&[good]).is_empty());
        let found = check(&[package("[dev-dependencies]\nserde = \"1\"\n")]);
        let found: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/core/Cargo.toml:2: `serde` is declared outside of the workspace: declare it \
                 in [workspace.dependencies] and write `serde.workspace = true`",
                "crates/core/Cargo.toml: the lints are not the workspace's: add `[lints]` with \
                 `workspace = true`",
            ]
        );
    }
}
