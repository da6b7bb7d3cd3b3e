//! The registry's own consistency, and the real files where they are on this machine.

use menagerie_data::{DATA_SETS, Locator, dataset};
use std::collections::BTreeSet;

#[test]
fn the_registry_is_well_formed() {
    let names: BTreeSet<_> = DATA_SETS.iter().map(|set| set.name).collect();
    assert_eq!(names.len(), DATA_SETS.len());
    let digest = |text: &str| {
        text.len() == 64
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    for set in DATA_SETS {
        assert!(
            !set.files.is_empty() && !set.licence.is_empty(),
            "{}",
            set.name
        );
        for file in set.files {
            assert!(digest(file.sha256), "{}", file.path);
            assert!(!file.urls.is_empty(), "{}", file.path);
            for url in file.urls {
                assert!(url.starts_with("http") && url.ends_with(file.path), "{url}");
            }
            for part in file.alternatives.iter().copied().flatten() {
                assert!(
                    part.size > 0 && part.sha256.is_none_or(digest),
                    "{}",
                    part.path
                );
            }
        }
    }
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let error = dataset("minst").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("unknown data set `minst`; did you mean `mnist`"),
        "{error}"
    );
    assert_eq!(error.exit_code(), 2);
}

/// Runs where `MENAGERIE_DATA` holds copies; elsewhere there is nothing to compare.
#[test]
fn copies_on_this_machine_are_the_published_ones() {
    let locator = Locator::from_env();
    if locator.data_dir.is_none() {
        return;
    }
    for set in DATA_SETS {
        if locator.locate(set).is_some() {
            locator.verify(set).unwrap();
        }
    }
}
