//! Key patterns such as `encoder_f{i}` or `blocks.{i-1}.{*rest}`.

use std::collections::BTreeMap;

/// What the placeholders of a pattern stand for in one key.
pub(crate) type Bindings = BTreeMap<String, String>;

/// A key with placeholders.
///
/// `{name}` stands for text without a dot, `{*name}` for text that may hold dots, `{name+k}` and
/// `{name-k}` for an integer that is `k` above or below the integer bound to `name`, and `*` for
/// any text, which is not bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// Text without a dot.
    Segment(String),
    /// Text that may hold dots.
    Segments(String),
    /// The integer bound to the name, plus the offset.
    Shifted(String, i64),
    /// Any text, also none.
    Any,
}

impl Pattern {
    /// Never fails: an unclosed `{` stands for itself.
    pub(crate) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let piece = match character {
                '*' => Some((Piece::Any, 1)),
                '{' => rest
                    .find('}')
                    .map(|end| (placeholder(&rest[1..end]), end + 1)),
                _ => None,
            };
            match piece {
                Some((piece, length)) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                    rest = &rest[length..];
                }
                None => {
                    literal.push(character);
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Self {
            text: text.to_owned(),
            pieces,
        }
    }

    /// The pattern as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The names that the pattern binds.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Segment(name) | Piece::Segments(name) | Piece::Shifted(name, _) => {
                Some(name.as_str())
            }
            Piece::Literal(_) | Piece::Any => None,
        })
    }

    /// The bindings under which the pattern is `key`; the shortest text for the leftmost
    /// placeholder where several fit.
    pub(crate) fn matches(&self, key: &str) -> Option<Bindings> {
        let mut bindings = Bindings::new();
        descend(&self.pieces, key, &mut bindings).then_some(bindings)
    }

    /// The key that the pattern stands for under `bindings`; placeholders without one stay.
    pub(crate) fn render(&self, bindings: &Bindings) -> String {
        let mut key = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => key.push_str(text),
                Piece::Any => key.push('*'),
                Piece::Segment(name) | Piece::Segments(name) => match bindings.get(name) {
                    Some(text) => key.push_str(text),
                    None => key.push_str(&format!("{{{name}}}")),
                },
                Piece::Shifted(name, offset) => {
                    let bound = bindings.get(name).and_then(|text| text.parse::<i64>().ok());
                    match bound.and_then(|value| value.checked_add(*offset)) {
                        Some(value) => key.push_str(&value.to_string()),
                        None => key.push_str(&format!("{{{name}{offset:+}}}")),
                    }
                }
            }
        }
        key
    }
}

fn placeholder(inside: &str) -> Piece {
    if let Some(name) = inside.strip_prefix('*') {
        return Piece::Segments(name.to_owned());
    }
    let shifted = inside.find(['+', '-']).and_then(|at| {
        let offset: i64 = inside[at..].parse().ok()?;
        Some(Piece::Shifted(inside[..at].to_owned(), offset))
    });
    shifted.unwrap_or_else(|| Piece::Segment(inside.to_owned()))
}

fn descend(pieces: &[Piece], key: &str, bindings: &mut Bindings) -> bool {
    let Some((piece, rest)) = pieces.split_first() else {
        return key.is_empty();
    };
    match piece {
        Piece::Literal(text) => key
            .strip_prefix(text.as_str())
            .is_some_and(|key| descend(rest, key, bindings)),
        Piece::Any => ends(key, true, true).any(|end| descend(rest, &key[end..], bindings)),
        Piece::Segment(name) => ends(key, false, false)
            .any(|end| bind(name, key[..end].to_owned(), rest, &key[end..], bindings)),
        Piece::Segments(name) => ends(key, false, true)
            .any(|end| bind(name, key[..end].to_owned(), rest, &key[end..], bindings)),
        Piece::Shifted(name, offset) => ends(key, false, false).any(|end| {
            let text = &key[..end];
            text.bytes().all(|byte| byte.is_ascii_digit())
                && text
                    .parse::<i64>()
                    .ok()
                    .and_then(|value| value.checked_sub(*offset))
                    .is_some_and(|value| {
                        value >= 0 && bind(name, value.to_string(), rest, &key[end..], bindings)
                    })
        }),
    }
}

/// Binds `name` (or checks its binding) and goes on; undone when the rest does not match.
fn bind(name: &str, text: String, rest: &[Piece], key: &str, bindings: &mut Bindings) -> bool {
    if let Some(bound) = bindings.get(name) {
        return *bound == text && descend(rest, key, bindings);
    }
    bindings.insert(name.to_owned(), text);
    let matched = descend(rest, key, bindings);
    if !matched {
        bindings.remove(name);
    }
    matched
}

/// Where a placeholder at the start of `key` can end, the shortest first.
fn ends(key: &str, empty: bool, dots: bool) -> impl Iterator<Item = usize> {
    let limit = match key.find('.') {
        Some(dot) if !dots => dot,
        _ => key.len(),
    };
    let start = usize::from(!empty);
    (start..=limit).filter(move |end| key.is_char_boundary(*end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and texts that a pattern binds.
    type Bound = Option<&'static [(&'static str, &'static str)]>;

    /// A pattern, a key, and what the one binds in the other.
    const MATCHES: &[(&str, &str, Bound)] = &[
        ("head.weight", "head.weight", Some(&[])),
        ("head.weight", "head.weights", None),
        ("encoder_f{i}", "encoder_f12", Some(&[("i", "12")])),
        ("encoder_f{i}", "encoder_f", None),
        ("encoder_f{i}", "encoder_f1.x", None),
        ("convs.{i-1}.weight", "convs.0.weight", Some(&[("i", "1")])),
        ("convs.{i+1}.weight", "convs.0.weight", None),
        ("convs.{i-1}.weight", "convs.a.weight", None),
        (
            "blocks.{i}.{kind}.{*rest}",
            "blocks.3.attn.proj.weight",
            Some(&[("i", "3"), ("kind", "attn"), ("rest", "proj.weight")]),
        ),
        ("{a}.{a}", "x.x", Some(&[("a", "x")])),
        ("{a}.{a}", "x.y", None),
        ("{kind}{i+0}", "f12", Some(&[("i", "12"), ("kind", "f")])),
        (
            "*.num_batches_tracked",
            "a.bn.num_batches_tracked",
            Some(&[]),
        ),
        ("*.num_batches_tracked", "num_batches_tracked", None),
        ("*", "", Some(&[])),
        ("odd{name", "odd{name", Some(&[])),
    ];

    #[test]
    fn patterns_match_and_bind() {
        for (pattern, key, expected) in MATCHES {
            let expected = expected.map(|pairs| {
                pairs
                    .iter()
                    .map(|(name, text)| (name.to_string(), text.to_string()))
                    .collect()
            });
            assert_eq!(
                Pattern::new(pattern).matches(key),
                expected,
                "{pattern} on {key}"
            );
        }
    }

    #[test]
    fn what_matched_renders_back() {
        for (pattern, key, expected) in MATCHES {
            if expected.is_some() && !pattern.contains('*') {
                let pattern = Pattern::new(pattern);
                assert_eq!(pattern.render(&pattern.matches(key).unwrap()), *key);
            }
        }
        let far = Pattern::new("{i-9223372036854775808}");
        assert_eq!(far.matches("1"), None);
        let near = Bindings::from([("i".into(), "-1".into())]);
        assert_eq!(far.render(&near), "{i-9223372036854775808}");
        assert_eq!(
            Pattern::new("a.{j}.{i-1}").render(&Bindings::new()),
            "a.{j}.{i-1}"
        );
    }
}
