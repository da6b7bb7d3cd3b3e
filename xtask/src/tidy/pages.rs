//! The links and pictures of the pages at the top lead to files that are there.

use crate::{state::Finding, workspace::Workspace};

/// The pages at the top of the workspace.
pub const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "GALLERY.md",
];

/// The relative targets that do not exist; a page that is not there has none.
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut found = Vec::new();
    for page in PAGES {
        for (line, target) in targets(&workspace.read_or_empty(page)) {
            // Without what a browser makes of it: the place in the page and the query.
            let path = target.split(['#', '?']).next().unwrap_or_default();
            if !path.is_empty() && !is_elsewhere(&target) && !workspace.exists(path) {
                found.push(Finding::new(
                    format!("{page}:{line}"),
                    format!("a link to `{path}`, which is not there"),
                    "add the file or mend the link",
                ));
            }
        }
    }
    found
}

/// Whether a target begins with a scheme such as `https:`.
fn is_elsewhere(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// What the links and pictures of a page point to, each with its line, counted from 1. Code is
/// left out.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let targets = targets_of_line(&without_code(line));
            found.extend(targets.into_iter().map(|target| (index + 1, target)));
        }
    }
    found
}

/// A line without what stands between backquotes.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

fn targets_of_line(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    // `[text](target "title")`, and `![text](target)` alike.
    for (_, rest) in line
        .match_indices("](")
        .map(|(at, _)| line.split_at(at + 2))
    {
        found.extend(rest.split([')', ' ']).next().map(String::from));
    }
    // `[label]: target` on a line of its own.
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        found.extend(target.split_whitespace().next().map(String::from));
    }
    for attribute in ["src=\"", "href=\""] {
        for (at, _) in line.match_indices(attribute) {
            let rest = &line[at + attribute.len()..];
            found.extend(rest.split('"').next().map(String::from));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_link_is_seen() {
        let text = "see [a](x.md \"title\") and ![b](docs/b.png)[c](y.md#part)\n\
                    ```sh\n[d](fenced.md)\n```\n\
                    `[e](code.md)` [`f`](z.md)\n\
                    [label]: w.md\n\
                    <a href=\"v.md\"><img src=\"u.png\"></a>\n";
        let found = targets(text);
        let found: Vec<_> = found.iter().map(|(line, t)| (*line, t.as_str())).collect();
        assert_eq!(
            found,
            [
                (1, "x.md"),
                (1, "docs/b.png"),
                (1, "y.md#part"),
                (5, "z.md"),
                (6, "w.md"),
                (7, "u.png"),
                (7, "v.md"),
            ]
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        assert!(check(&workspace).is_empty());
        let text = "[a](https://example.org) [b](#part) [c](mailto:a@example.org)\n\
                    [d](docs) [e](docs/there.md#part)\n\n![f](docs/gone.png)\n";
        workspace.write("CONTRIBUTING.md", text).unwrap();
        workspace.write("docs/there.md", "").unwrap();
        let found = check(&workspace);
        let found: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert_eq!(
            found,
            [
                "CONTRIBUTING.md:4: a link to `docs/gone.png`, which is not there: \
                 add the file or mend the link"
            ]
        );
    }
}
