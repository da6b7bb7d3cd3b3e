//! The `SYSTEM` constants of the families, read from source.

use crate::{
    fault::{Fault, Result},
    literal::Literal,
    workspace::Workspace,
};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use serde_json::{Value, json};

/// A paper's descriptor, the twin of `menagerie_core::System`.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// The name everywhere: folder, card, command line.
    pub slug: String,
    /// The paper's title.
    pub title: String,
    /// The crate under `models/`.
    pub family: String,
    /// What a user gets, in one line.
    pub summary: String,
    /// The paper's identifier.
    pub paper: String,
    /// Where to read the paper.
    pub paper_url: String,
    /// The official code.
    pub code_url: Option<String>,
    /// The paper's claims.
    pub claims: Vec<Claim>,
    /// Hub ids with official weights.
    pub hub_ids: Vec<String>,
    /// The file that holds the descriptor, relative to the workspace.
    pub source: String,
}

/// One claim of a paper.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Short name, unique within the system.
    pub id: String,
    /// The claim in one sentence.
    pub text: String,
    /// The paper's numbers: name, value, whether checked against the source.
    pub figures: Vec<(String, f64, bool)>,
    /// `Decided` or `Reported`.
    pub gate: String,
}

impl System {
    /// The slug as Rust spells it in file and module names.
    pub fn module(&self) -> String {
        self.slug.replace('-', "_")
    }

    /// The package of the family.
    pub fn package(&self) -> String {
        format!("menagerie-{}", self.family)
    }

    /// Everything but the place, with the field names of the descriptor.
    pub fn to_json(&self) -> Value {
        let claims: Vec<Value> = self.claims.iter().map(Claim::to_json).collect();
        json!({
            "slug": self.slug, "title": self.title, "family": self.family,
            "summary": self.summary, "paper": self.paper, "paper_url": self.paper_url,
            "code_url": self.code_url, "claims": claims, "hub_ids": self.hub_ids,
        })
    }
}

impl Claim {
    fn to_json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|(name, value, verified)| {
                json!({ "name": name, "value": value, "verified": verified })
            })
            .collect();
        json!({
            "id": self.id, "text": self.text, "figures": figures,
            "gate": self.gate.to_lowercase(),
        })
    }
}

/// Every system of the house, by family and slug.
///
/// # Errors
/// [`Fault::Failed`] that names file and field of a descriptor that is not a plain literal.
pub fn systems(workspace: &Workspace) -> Result<Vec<System>> {
    let mut systems = Vec::new();
    for family in workspace.families()? {
        for file in workspace.files(&format!("models/{family}/src"), "rs")? {
            let text = workspace.read(&file)?;
            if text.contains("const SYSTEM") {
                systems.extend(read(&file, &text)?);
            }
        }
    }
    systems.sort_by(|a, b| (&a.family, &a.slug).cmp(&(&b.family, &b.slug)));
    match systems.windows(2).find(|pair| pair[0].slug == pair[1].slug) {
        Some(pair) => Err(Fault::failed(format!(
            "{}: slug `{}` is also that of {}",
            pair[1].source, pair[1].slug, pair[0].source
        ))),
        None => Ok(systems),
    }
}

/// The system called `slug`.
///
/// # Errors
/// [`Fault::Usage`] with the nearest slugs if there is none.
pub fn find<'a>(systems: &'a [System], slug: &str) -> Result<&'a System> {
    systems
        .iter()
        .find(|system| system.slug == slug)
        .ok_or_else(|| {
            let known: Vec<_> = systems.iter().map(|system| system.slug.as_str()).collect();
            Fault::unknown("system", slug, &known)
        })
}

/// The descriptor in the source `text` of `file`, if it holds one.
///
/// # Errors
/// [`Fault::Failed`] that names the file and the field.
pub fn read(file: &str, text: &str) -> Result<Option<System>> {
    let tokens: TokenStream = text
        .parse()
        .map_err(|error| Fault::failed(format!("{file}: not Rust: {error}")))?;
    let Some(tokens) = constant(tokens) else {
        return Ok(None);
    };
    let value = Literal::evaluate(tokens).map_err(|error| {
        let line = error.span().start().line;
        Fault::failed(format!("{file}:{line}: SYSTEM: {error}"))
    })?;
    system(file, value).map_err(Fault::failed).map(Some)
}

/// The tokens between `const SYSTEM: System =` and `;` at the top level of a file.
fn constant(tokens: TokenStream) -> Option<TokenStream> {
    let mut tokens = tokens.into_iter();
    let is = |tree: &TokenTree, word: &str| match tree {
        TokenTree::Ident(ident) => ident == word,
        TokenTree::Punct(punct) => word.starts_with(punct.as_char()),
        _ => false,
    };
    while let Some(tree) = tokens.next() {
        if is(&tree, "const") && tokens.next().is_some_and(|next| is(&next, "SYSTEM")) {
            return Some(
                tokens
                    .skip_while(|tree| !is(tree, "="))
                    .skip(1)
                    .take_while(|tree| !is(tree, ";"))
                    .collect(),
            );
        }
    }
    None
}

/// Takes the fields of a struct literal one by one; errors carry the path to the field.
struct Fields<'a> {
    path: String,
    file: &'a str,
    fields: Vec<(String, Literal)>,
}

type Outcome<T> = std::result::Result<T, String>;

impl<'a> Fields<'a> {
    fn of(file: &'a str, path: String, name: &str, value: Literal) -> Outcome<Self> {
        match value {
            Literal::Struct(found, fields) if found == name => Ok(Self { path, file, fields }),
            Literal::Struct(found, _) => Err(format!(
                "{file}: {path}: expected `{name} {{ … }}`, found `{found} {{ … }}`"
            )),
            other => Err(format!(
                "{file}: {path}: expected `{name} {{ … }}`, found {}",
                other.kind()
            )),
        }
    }

    fn wrong(&self, name: &str, expected: &str, found: &Literal) -> String {
        let (file, path) = (self.file, &self.path);
        format!(
            "{file}: {path}.{name}: expected {expected}, found {}",
            found.kind()
        )
    }

    fn take(&mut self, name: &str) -> Outcome<Literal> {
        match self.fields.iter().position(|(field, _)| field == name) {
            Some(index) => Ok(self.fields.remove(index).1),
            None => Err(format!(
                "{}: {}.{name}: the field is missing",
                self.file, self.path
            )),
        }
    }

    fn text(&mut self, name: &str) -> Outcome<String> {
        match self.take(name)? {
            Literal::Text(text) => Ok(text),
            other => Err(self.wrong(name, "a string", &other)),
        }
    }

    fn optional_text(&mut self, name: &str) -> Outcome<Option<String>> {
        match self.take(name)? {
            Literal::Option(None) => Ok(None),
            Literal::Option(Some(inner)) => match *inner {
                Literal::Text(text) => Ok(Some(text)),
                other => Err(self.wrong(name, "`Some(\"…\")`", &other)),
            },
            other => Err(self.wrong(name, "`Some(\"…\")` or `None`", &other)),
        }
    }

    fn list(&mut self, name: &str) -> Outcome<Vec<Literal>> {
        match self.take(name)? {
            Literal::List(items) => Ok(items),
            other => Err(self.wrong(name, "`&[…]`", &other)),
        }
    }

    fn number(&mut self, name: &str) -> Outcome<f64> {
        match self.take(name)? {
            Literal::Number(number) => Ok(number),
            other => Err(self.wrong(name, "a number", &other)),
        }
    }

    fn truth(&mut self, name: &str) -> Outcome<bool> {
        match self.take(name)? {
            Literal::Bool(truth) => Ok(truth),
            other => Err(self.wrong(name, "`true` or `false`", &other)),
        }
    }

    fn end(self) -> Outcome<()> {
        match self.fields.first() {
            Some((name, _)) => Err(format!(
                "{}: {}.{name}: no such field",
                self.file, self.path
            )),
            None => Ok(()),
        }
    }
}

fn system(file: &str, value: Literal) -> Outcome<System> {
    let mut fields = Fields::of(file, "SYSTEM".into(), "System", value)?;
    let claims = fields.list("claims")?;
    let claims = claims
        .into_iter()
        .enumerate()
        .map(|(index, value)| claim(file, format!("SYSTEM.claims[{index}]"), value))
        .collect::<Outcome<_>>()?;
    let hub_ids = fields.list("hub_ids")?;
    let hub_ids = hub_ids
        .into_iter()
        .map(|value| match value {
            Literal::Text(text) => Ok(text),
            other => Err(fields.wrong("hub_ids", "strings", &other)),
        })
        .collect::<Outcome<_>>()?;
    let system = System {
        slug: fields.text("slug")?,
        title: fields.text("title")?,
        family: fields.text("family")?,
        summary: fields.text("summary")?,
        paper: fields.text("paper")?,
        paper_url: fields.text("paper_url")?,
        code_url: fields.optional_text("code_url")?,
        claims,
        hub_ids,
        source: file.to_owned(),
    };
    fields.end()?;
    Ok(system)
}

fn claim(file: &str, path: String, value: Literal) -> Outcome<Claim> {
    let mut fields = Fields::of(file, path.clone(), "Claim", value)?;
    let gate = match fields.take("gate")? {
        Literal::Variant(parent, name)
            if parent == "Gate" && ["Decided", "Reported"].contains(&name.as_str()) =>
        {
            name
        }
        other => return Err(fields.wrong("gate", "`Gate::Decided` or `Gate::Reported`", &other)),
    };
    let figures = fields.list("figures")?;
    let claim = Claim {
        id: fields.text("id")?,
        text: fields.text("text")?,
        figures: figures
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                let path = format!("{path}.figures[{index}]");
                let mut fields = Fields::of(file, path, "Figure", value)?;
                let figure = (
                    fields.text("name")?,
                    fields.number("value")?,
                    fields.truth("verified")?,
                );
                fields.end()?;
                Ok(figure)
            })
            .collect::<Outcome<_>>()?,
        gate,
    };
    fields.end()?;
    Ok(claim)
}

/// Calls `visit` with every token of a file outside of `#[cfg(test)]` items, doc comments aside.
pub fn walk(tokens: TokenStream, visit: &mut impl FnMut(&TokenTree, Option<&TokenTree>)) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(tree) = tokens.next() {
        let attribute = matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == '#');
        if let (true, Some(TokenTree::Group(group))) = (attribute, tokens.peek())
            && group.delimiter() == Delimiter::Bracket
        {
            let text: String = group.stream().to_string().split_whitespace().collect();
            tokens.next();
            if text == "cfg(test)" {
                skip_item(&mut tokens);
            }
            continue;
        }
        visit(&tree, tokens.peek());
        if let TokenTree::Group(group) = tree {
            walk(group.stream(), visit);
        }
    }
}

fn skip_item(tokens: &mut impl Iterator<Item = TokenTree>) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(punct) if punct.as_char() == ';' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A descriptor with every kind of field.
    pub const SOURCE: &str = r#"
//! Docs with `pub const SYSTEM: System = nothing;` in them.
use menagerie_core::{Claim, Figure, Gate, System};

/// The descriptor.
pub const SYSTEM: System = System {
    slug: "line-fit",
    title: "On Fitting \
            a Line",
    family: "theory",
    summary: "a line",
    paper: "arXiv:0000.00000",
    paper_url: "https://example.org/a",
    code_url: Some("https://example.org/b"),
    claims: &[Claim {
        id: "gap",
        text: "The gap is small.",
        figures: &[Figure { name: "gap, %", value: -1.5, verified: true }],
        gate: Gate::Decided,
    }],
    hub_ids: &["org/name"],
};

fn after() {}
"#;

    #[test]
    fn a_descriptor_is_read_from_source() {
        let system = read("a.rs", SOURCE).unwrap().unwrap();
        assert_eq!(system.slug, "line-fit");
        assert_eq!(system.module(), "line_fit");
        assert_eq!(system.title, "On Fitting a Line");
        assert_eq!(system.code_url.as_deref(), Some("https://example.org/b"));
        assert_eq!(
            system.claims[0].figures,
            [("gap, %".to_owned(), -1.5, true)]
        );
        assert_eq!(system.claims[0].gate, "Decided");
        assert_eq!(system.hub_ids, ["org/name"]);
        assert_eq!(system.to_json()["claims"][0]["gate"], "decided");
        assert_eq!(read("a.rs", "fn main() {}").unwrap(), None);
    }

    #[test]
    fn every_deviation_names_file_and_field() {
        for (from, to, text) in [
            (
                "\"a line\"",
                "3",
                "a.rs: SYSTEM.summary: expected a string, found a number",
            ),
            (
                "Gate::Decided",
                "Gate::Maybe",
                "a.rs: SYSTEM.claims[0].gate: expected `Gate::",
            ),
            (
                "value: -1.5",
                "value: \"x\"",
                "claims[0].figures[0].value: expected a number",
            ),
            (
                "summary: \"a line\",",
                "",
                "a.rs: SYSTEM.summary: the field is missing",
            ),
            (
                "summary:",
                "more: 1, summary:",
                "a.rs: SYSTEM.more: no such field",
            ),
            ("Some(\"https", "Option::Some(\"https", ""),
            (
                "[Claim {",
                "[Clam {",
                "a.rs: SYSTEM.claims[0]: expected `Claim { … }`, found `Clam",
            ),
            (
                "\"gap\"",
                "GAP",
                "a.rs:16: SYSTEM: claims: id: `GAP` is not a plain literal",
            ),
        ] {
            let result = read("a.rs", &SOURCE.replace(from, to));
            if text.is_empty() {
                assert!(result.is_ok(), "{to}");
            } else {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(text), "{to}: {error}");
            }
        }
        let error = read("a.rs", "pub const SYSTEM: System = {").unwrap_err();
        assert!(error.to_string().starts_with("a.rs: not Rust: "));
    }

    #[test]
    fn tests_and_attributes_are_walked_around() {
        let source = "#[doc = \"x\"] fn a() { b!() } #[cfg(test)] mod t { fn c() {} } fn d() {}";
        let mut seen = Vec::new();
        walk(source.parse().unwrap(), &mut |tree, _| {
            if let TokenTree::Ident(ident) = tree {
                seen.push(ident.to_string());
            }
        });
        assert_eq!(seen, ["fn", "a", "b", "fn", "d"]);
    }
}
