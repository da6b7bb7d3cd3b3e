//! Rules for single files: length, silence of the libraries, no path of one machine.

use super::pages::PAGES;
use crate::{
    descriptor::walk,
    fault::Result,
    state::Finding,
    workspace::{Package, Workspace},
};
use proc_macro2::{TokenStream, TokenTree};

/// The most lines of a Rust file.
const LINE_LIMIT: usize = 600;

/// The packages whose libraries may not print, by folder.
const SILENT: &[&str] = &["crates/", "datasets/", "models/"];

/// The macros that print.
const PRINTING: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// The folders, at the root of a file system, that belong to one machine.
const PRIVATE: &[&str] = &["root", "home", "tmp", "Users", "mnt"];

/// The breaches in every file of the packages and in the pages at the top.
///
/// # Errors
/// A file that cannot be read.
pub fn check(workspace: &Workspace, packages: &[Package]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for package in packages {
        for file in workspace.files(&package.dir, "rs")? {
            let text = workspace.read(&file)?;
            found.extend(length(&file, &text));
            if SILENT.iter().any(|folder| file.starts_with(folder)) && is_library(&file) {
                found.extend(printing(&file, &text));
            }
            found.extend(private_paths(&file, &text, is_doc_comment));
        }
        for extension in ["md", "py", "toml"] {
            for file in workspace.files(&package.dir, extension)? {
                found.extend(private_paths(&file, &workspace.read(&file)?, |_| true));
            }
        }
    }
    for &file in PAGES.iter().chain(&["Cargo.toml"]) {
        found.extend(private_paths(file, &workspace.read_or_empty(file), |_| {
            true
        }));
    }
    for file in workspace.files("docs", "md")? {
        found.extend(private_paths(&file, &workspace.read(&file)?, |_| true));
    }
    Ok(found)
}

fn length(file: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let what = format!("{lines} lines are above {LINE_LIMIT}");
    (lines > LINE_LIMIT).then(|| Finding::new(file, what, "split it by idea"))
}

fn is_library(file: &str) -> bool {
    file.contains("/src/") && !file.ends_with("/src/main.rs") && !file.contains("/src/bin/")
}

fn printing(file: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    // What does not parse will not compile either.
    let tokens: TokenStream = text.parse().unwrap_or_default();
    walk(tokens, &mut |tree, next| {
        if let (TokenTree::Ident(name), Some(TokenTree::Punct(bang))) = (tree, next)
            && bang.as_char() == '!'
            && PRINTING.iter().any(|printing| name == printing)
        {
            found.push(Finding::new(
                format!("{file}:{}", name.span().start().line),
                format!("`{name}!` in a library"),
                "return what there is to say; programs print",
            ));
        }
    });
    found
}

fn is_doc_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("///") || line.starts_with("//!")
}

fn private_paths(file: &str, text: &str, relevant: fn(&str) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| relevant(line)) {
        let hit = PRIVATE.iter().map(|name| format!("/{name}/")).find(|path| {
            line.match_indices(path.as_str()).any(|(at, _)| {
                // A longer path may well have such a folder inside.
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~}>)".contains(c))
            })
        });
        if let Some(path) = hit {
            found.push(Finding::new(
                format!("{file}:{}", index + 1),
                format!("a path of one machine, `{path}…`"),
                "write it relative to the workspace or name a variable",
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(length("a.rs", &"x\n".repeat(600)), None);
        let finding = length("a.rs", &"x\n".repeat(601)).unwrap();
        assert_eq!(
            finding.to_string(),
            "a.rs: 601 lines are above 600: split it by idea"
        );
    }

    #[test]
    fn a_library_that_prints_is_found() {
        let text = "//! `println!(\"docs\")`\nfn a() {\n    if b { println!(\"x\") }\n}\n\
                    #[cfg(test)]\nmod tests { fn c() { println!() } }\n";
        let found: Vec<_> = printing("a.rs", text)
            .iter()
            .map(Finding::to_string)
            .collect();
        assert_eq!(
            found,
            ["a.rs:3: `println!` in a library: return what there is to say; programs print"]
        );
        assert!(printing("a.rs", "fn a() { writeln!(x, \"println!\") }").is_empty());
        assert!(is_library("models/mae/src/cae/mod.rs"));
        assert!(!is_library("crates/reproduce/src/main.rs"));
        assert!(!is_library("crates/nn/benches/kernels.rs"));
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let lines =
            |name: &str| format!("see /{name}/x\nfn\n`/{name}/y`, src/{name}/z, ~/{name}/w\n");
        for name in PRIVATE {
            let text = lines(name);
            let found = private_paths("a.md", &text, |_| true);
            let places: Vec<_> = found.iter().map(|finding| finding.path.as_str()).collect();
            assert_eq!(places, ["a.md:1", "a.md:3"], "{name}");
            assert!(private_paths("a.rs", &text, is_doc_comment).is_empty());
        }
    }
}
