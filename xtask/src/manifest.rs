//! A `Cargo.toml` as far as the house rules need it: sections, keys and values with line numbers.
//!
//! A full TOML reader would be the slowest part of building this program.

/// One `key = value` of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Everything in front of the first `=`, e.g. `burn.workspace`.
    pub key: String,
    /// Everything behind it, on one line.
    pub value: String,
    /// The line of the key, counted from 1.
    pub line: usize,
}

/// A `[section]` with its entries.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// The name between the brackets, e.g. `dev-dependencies` or `[example]` for `[[example]]`.
    pub name: String,
    /// The entries in order.
    pub entries: Vec<Entry>,
    /// The line of the header, counted from 1.
    pub line: usize,
}

/// How a dependency is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By the crate itself or its build script.
    Normal,
    /// By tests, examples and benches only.
    Dev,
}

/// A dependency as a manifest declares it.
#[derive(Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name of the crate.
    pub name: String,
    /// How it is used.
    pub kind: Kind,
    /// Whether version and source come from the workspace's table.
    pub inherited: bool,
    /// Where it is declared, counted from 1.
    pub line: usize,
}

/// The sections of a manifest in order.
#[derive(Debug, Default)]
pub struct Manifest {
    sections: Vec<Section>,
}

impl Manifest {
    /// Splits `text` into sections; a value that spans lines is joined into one.
    pub fn parse(text: &str) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let line = without_comment(line);
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                sections.push(Section {
                    name: name.trim().to_owned(),
                    entries: Vec::new(),
                    line: index + 1,
                });
            } else if let (Some((key, value)), Some(section)) =
                (line.split_once('='), sections.last_mut())
            {
                let mut value = value.trim().to_owned();
                while depth(&value) > 0 {
                    match lines.next() {
                        Some((_, next)) => value.push_str(without_comment(next)),
                        None => break,
                    }
                }
                section.entries.push(Entry {
                    key: key.trim().to_owned(),
                    value,
                    line: index + 1,
                });
            }
        }
        Self { sections }
    }

    /// Every section of that name (`[[…]]` can occur several times).
    pub fn sections<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |s| s.name == name)
    }

    /// The unquoted value of `key` in `section`.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        let mut named = self.sections.iter().filter(|s| s.name == section);
        named.find_map(|s| s.get(key))
    }

    /// The declared dependencies of every kind and target.
    pub fn dependencies(&self) -> Vec<Dependency> {
        let mut found = Vec::new();
        for section in &self.sections {
            let Some((kind, single)) = dependency_section(&section.name) else {
                continue;
            };
            if let Some(name) = single {
                found.push(Dependency {
                    name: name.to_owned(),
                    kind,
                    inherited: section.get("workspace") == Some("true"),
                    line: section.line,
                });
                continue;
            }
            for entry in &section.entries {
                let (name, rest) = match entry.key.split_once('.') {
                    Some((name, rest)) => (name, rest),
                    None => (entry.key.as_str(), ""),
                };
                let compact: String = entry.value.split_whitespace().collect();
                found.push(Dependency {
                    name: name.trim_matches('"').to_owned(),
                    kind,
                    inherited: rest == "workspace" && compact == "true"
                        || compact.starts_with("{workspace=true")
                        || compact.contains(",workspace=true"),
                    line: entry.line,
                });
            }
        }
        found
    }
}

impl Section {
    /// The unquoted value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(entry.value.trim_matches('"'))
    }
}

/// The kind of a dependency section, and the crate's name for `[dependencies.<name>]`.
fn dependency_section(name: &str) -> Option<(Kind, Option<&str>)> {
    [
        ("dev-dependencies", Kind::Dev),
        ("build-dependencies", Kind::Normal),
        ("dependencies", Kind::Normal),
    ]
    .into_iter()
    .find_map(|(word, kind)| {
        let at = name.rfind(word)?;
        let leads = at == 0 || name.starts_with("target.") && name[..at].ends_with('.');
        let rest = leads.then(|| &name[at + word.len()..])?;
        match rest.strip_prefix('.') {
            None if !rest.is_empty() => None,
            single => Some((kind, single)),
        }
    })
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (index, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return line[..index].trim(),
            _ => {}
        }
    }
    line.trim()
}

fn depth(value: &str) -> i32 {
    let mut quoted = false;
    value.chars().fold(0, |depth, character| match character {
        '"' => {
            quoted = !quoted;
            depth
        }
        '[' | '{' if !quoted => depth + 1,
        ']' | '}' if !quoted => depth - 1,
        _ => depth,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_values_and_comments_are_told_apart() {
        let manifest = Manifest::parse(
            "[package]\nname = \"a#b\" # a comment\n\n[[example]]\nname = \"one\"\n[[example]]\n\
             name = \"two\"\n[features]\nall = [\n  \"x\", # why\n  \"y\",\n]\nlast = []\n",
        );
        assert_eq!(manifest.get("package", "name"), Some("a#b"));
        let examples: Vec<_> = manifest
            .sections("[example]")
            .filter_map(|section| section.get("name"))
            .collect();
        assert_eq!(examples, ["one", "two"]);
        assert_eq!(manifest.get("features", "all"), Some("[\"x\",\"y\",]"));
        assert_eq!(manifest.get("features", "last"), Some("[]"));
    }

    #[test]
    fn every_way_to_declare_a_dependency_is_seen() {
        let manifest = Manifest::parse(
            "[dependencies]\nburn.workspace = true\ncore = { workspace = true, features = [\"t\"] }\n\
             serde = \"1\"\n[dev-dependencies]\ndivan = { version = \"0.1\" }\n\
             [dependencies.syn]\nworkspace = true\n[build-dependencies]\ncc = \"1\"\n\
             [target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n\
             [target.'cfg(unix)'.dev-dependencies.nix]\nversion = \"1\"\n[package.metadata]\nx = 1\n",
        );
        let found: Vec<_> = manifest
            .dependencies()
            .into_iter()
            .map(|d| (d.name, d.kind, d.inherited, d.line))
            .collect();
        let expected = [
            ("burn", Kind::Normal, true, 2),
            ("core", Kind::Normal, true, 3),
            ("serde", Kind::Normal, false, 4),
            ("divan", Kind::Dev, false, 6),
            ("syn", Kind::Normal, true, 7),
            ("cc", Kind::Normal, false, 10),
            ("libc", Kind::Normal, false, 12),
            ("nix", Kind::Dev, false, 13),
        ];
        assert_eq!(found.len(), expected.len());
        for (found, (name, kind, inherited, line)) in found.into_iter().zip(expected) {
            assert_eq!(found, (name.to_owned(), kind, inherited, line));
        }
    }
}
