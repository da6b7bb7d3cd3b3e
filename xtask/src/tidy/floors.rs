//! A crate depends on the floors below its own only.

use crate::{manifest::Kind, state::Finding, workspace::Package};

/// The crate that is for tests only, whatever the floor.
const DEV_ONLY: &str = "menagerie-parity";

/// The floor of a package: the first number is the floor of `ARCHITECTURE.md`; the second orders
/// the loaders above the base that they share.
fn floor(dir: &str) -> Option<(u8, u8)> {
    let (folder, name) = dir.split_once('/').unwrap_or((dir, ""));
    Some(match (folder, name) {
        ("crates", "core") => (0, 0),
        ("crates", "nn") => (1, 0),
        ("crates", "train" | "hub" | "report") => (2, 0),
        ("datasets", "base") => (2, 0),
        ("datasets", _) => (2, 1),
        // Built on the hub; nothing but tests stands on it.
        ("crates", "parity") => (2, 1),
        ("models", _) => (3, 0),
        ("crates", "reproduce") => (4, 0),
        ("examples" | "xtask", _) => (5, 0),
        _ => return None,
    })
}

/// Dependencies inside of the house that do not point down.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages {
        let file = format!("{}/Cargo.toml", package.dir);
        let Some(own) = floor(&package.dir) else {
            let mend = "give the folder a floor in ARCHITECTURE.md and xtask/src/tidy/floors.rs";
            found.push(Finding::new(&package.dir, "a crate on no floor", mend));
            continue;
        };
        for dependency in package.manifest.dependencies() {
            let Some(other) = packages.iter().find(|other| other.name == dependency.name) else {
                continue;
            };
            let at = format!("{file}:{}", dependency.line);
            let name = &dependency.name;
            if name == DEV_ONLY {
                if dependency.kind != Kind::Dev {
                    let mend = "move it to [dev-dependencies]";
                    found.push(Finding::new(
                        at,
                        format!("`{name}` is for tests only"),
                        mend,
                    ));
                }
            } else if floor(&other.dir).is_some_and(|other| other >= own) {
                let what = format!("`{name}` is not on a floor below");
                found.push(Finding::new(at, what, "move the shared code down a floor"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn package(dir: &str, name: &str, manifest: &str) -> Package {
        Package {
            name: name.into(),
            dir: dir.into(),
            manifest: Manifest::parse(manifest),
        }
    }

    fn found(dir: &str, manifest: &str) -> Vec<String> {
        let packages = [
            package("crates/core", "menagerie-core", ""),
            package("crates/nn", "menagerie-nn", ""),
            package("crates/hub", "menagerie-hub", ""),
            package("datasets/base", "menagerie-data", ""),
            package("datasets/image", "menagerie-data-image", ""),
            package("models/codec", "menagerie-codec", ""),
            package("crates/parity", "menagerie-parity", ""),
            package("crates/reproduce", "menagerie-reproduce", ""),
            package(dir, "the-crate", manifest),
        ];
        check(&packages).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn every_crate_may_look_down() {
        for (dir, names) in [
            ("crates/nn", "core"),
            ("datasets/video", "core data"),
            ("models/mae", "core nn hub data-image"),
            ("crates/reproduce", "core codec data-image"),
            ("examples", "codec reproduce"),
        ] {
            let lines = names
                .split(' ')
                .map(|name| format!("menagerie-{name}.workspace = true\n"));
            let manifest = format!("[dependencies]\n{}", lines.collect::<String>());
            assert_eq!(found(dir, &manifest), [""; 0], "{dir}");
        }
        let parity = "[dev-dependencies]\nmenagerie-parity.workspace = true\n";
        assert_eq!(found("models/mae", parity), [""; 0]);
    }

    #[test]
    fn looking_up_or_sideways_is_found() {
        for (dir, name) in [
            ("crates/core", "nn"),
            ("crates/nn", "hub"),
            ("crates/train", "hub"),
            ("datasets/video", "data-image"),
            ("models/mae", "codec"),
            ("models/mae", "reproduce"),
        ] {
            let manifest = format!("[dev-dependencies]\nmenagerie-{name}.workspace = true\n");
            assert_eq!(
                found(dir, &manifest),
                [format!(
                    "{dir}/Cargo.toml:2: `menagerie-{name}` is not on a floor below: move the \
                     shared code down a floor"
                )]
            );
        }
        let parity = "[dependencies]\nmenagerie-parity.workspace = true\n";
        assert!(found("models/mae", parity)[0].contains("is for tests only"));
        assert!(found("crates/zoo", "")[0].contains("a crate on no floor"));
    }
}
