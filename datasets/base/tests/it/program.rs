//! The program `menagerie-data`: exit codes and what it prints.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn run(cache: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_menagerie-data"))
        .args(arguments)
        .env("MENAGERIE_CACHE", cache)
        .env("MENAGERIE_OFFLINE", "1")
        .env_remove("MENAGERIE_DATA")
        .env_remove("MENAGERIE_MIRROR")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn usage_errors_exit_with_2() {
    let cache = tempfile::tempdir().unwrap();
    let unknown = run(cache.path(), &["fetch", "fashionmnist"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert_eq!(
        stderr(&unknown),
        "error: unknown data set `fashionmnist`; did you mean `fashion-mnist`?\n"
    );
    for arguments in [
        &["fetch"] as &[&str],
        &["fetsh", "mnist"],
        &["list", "--jsn"],
        &[],
    ] {
        assert_eq!(
            run(cache.path(), arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

#[test]
fn failures_exit_with_1_and_one_line() {
    let cache = tempfile::tempdir().unwrap();
    for arguments in [["fetch", "cifar-10"], ["verify", "cifar-10"]] {
        let output = run(cache.path(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = stderr(&output);
        assert_eq!(text.lines().count(), 1, "{text}");
        let advice = format!(
            "fetch cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/ and put the files \
             into $MENAGERIE_DATA/cifar-10 or {}/data/cifar-10",
            cache.path().display()
        );
        assert!(text.contains(&advice), "{text}");
    }
}

#[test]
fn verify_without_names_looks_at_what_is_there() {
    let cache = tempfile::tempdir().unwrap();
    let empty = run(cache.path(), &["verify"]);
    assert_eq!(empty.status.code(), Some(0), "{}", stderr(&empty));

    let dir = cache.path().join("data/cifar-10");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("cifar-10-binary.tar.gz"), "not it").unwrap();
    let wrong = run(cache.path(), &["verify"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        stderr(&wrong).contains("has 6 bytes, expected 170052171"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn list_is_readable_by_people_and_programs() {
    let cache = tempfile::tempdir().unwrap();
    let text = String::from_utf8(run(cache.path(), &["list"]).stdout).unwrap();
    assert!(
        text.contains("fashion-mnist") && text.contains("MIT (Zalando SE)"),
        "{text}"
    );
    let json = run(cache.path(), &["list", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let sets = json.as_array().unwrap();
    assert_eq!(sets[0]["set"]["name"], "mnist");
    assert_eq!(sets[0]["set"]["files"].as_array().unwrap().len(), 4);
    assert_eq!(sets[0]["path"], serde_json::Value::Null);
}
