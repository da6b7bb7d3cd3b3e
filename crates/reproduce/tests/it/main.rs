//! The program behind `cargo xtask reproduce`: what it refuses and how it ends.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    path::Path,
    process::{Command, Output},
};

fn reproduce(out: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_menagerie-reproduce"))
        .args(arguments)
        .arg("--out")
        .arg(out)
        .env("MENAGERIE_DATA", out.join("no-data"))
        .env("MENAGERIE_CACHE", out.join("no-cache"))
        .env("MENAGERIE_OFFLINE", "1")
        .output()
        .unwrap()
}

/// Exit code and standard error, which must be one line.
fn refused(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    (output.status.code(), text)
}

#[test]
fn a_wrong_slug_is_a_usage_error_that_suggests_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (code, text) = refused(&reproduce(&out, &["qlea"]));
    assert_eq!(code, Some(2));
    assert_eq!(text, "error: unknown system `qlea`; did you mean `qlae`?\n");
    assert!(!out.exists());
}

#[test]
fn unknown_and_missing_devices_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (code, text) = refused(&reproduce(&out, &["qlae", "--device", "quantum"]));
    assert_eq!(code, Some(2));
    assert!(
        text.starts_with("error: unknown device `quantum`; known: flex, "),
        "{text}"
    );
    if !cfg!(feature = "cuda") {
        let (code, text) = refused(&reproduce(&out, &["qlae", "--device", "cuda:0"]));
        assert_eq!(code, Some(2));
        assert!(text.contains("rebuild with `--features cuda`"), "{text}");
    }
    let (code, text) = refused(&reproduce(&out, &["qlae", "--device", "flex:1"]));
    assert_eq!(
        (code, text.as_str()),
        (Some(2), "error: device `flex:1`: write flex\n")
    );
    assert!(!out.exists());
}

#[test]
fn an_out_folder_that_cannot_be_written_is_a_failure_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (code, text) = refused(&reproduce(&file.join("run"), &["qlae"]));
    assert_eq!(code, Some(1));
    assert!(
        text.starts_with("error: cannot create the folder "),
        "{text}"
    );
    assert_eq!(text.matches("os error").count(), 1, "{text}");
}

#[test]
fn missing_data_says_what_to_fetch_and_where_to_put_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (code, text) = refused(&reproduce(&out, &["prototype-net"]));
    assert_eq!(code, Some(1));
    assert!(text.contains("mnist"), "{text}");
    assert!(
        text.contains("no-data") || text.contains("no-cache"),
        "{text}"
    );
    assert!(!out.join("report.html").exists());
}
