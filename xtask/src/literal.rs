//! Constant expressions read from source and evaluated without compiling it.

use proc_macro2::TokenStream;
use syn::{
    Ident, Lit, LitBool, LitFloat, LitInt, LitStr, Result, Token, braced, bracketed,
    ext::IdentExt as _,
    parenthesized,
    parse::{Parse, ParseStream},
    token,
};

/// What a descriptor is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `"text"`, with its escapes and line continuations resolved.
    Text(String),
    /// `1`, `-0.5`, `1_000.0`.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
    /// `None`, or the value inside of `Some(…)`.
    Option(Option<Box<Literal>>),
    /// `&[…]`.
    List(Vec<Literal>),
    /// `Name { field: value, … }`, the name without its path.
    Struct(String, Vec<(String, Literal)>),
    /// `Enum::Variant`, the last two segments of its path.
    Variant(String, String),
}

impl Literal {
    /// Evaluates `tokens`.
    ///
    /// # Errors
    /// A `syn` error with its place for anything that is not one of the variants.
    pub fn evaluate(tokens: TokenStream) -> Result<Self> {
        syn::parse2(tokens)
    }

    /// What a reader would call this kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "a truth value",
            Self::Option(_) => "an option",
            Self::List(_) => "a list",
            Self::Struct(..) => "a struct",
            Self::Variant(..) => "a variant",
        }
    }
}

impl Parse for Literal {
    fn parse(input: ParseStream) -> Result<Self> {
        if input.peek(LitStr) {
            Ok(Self::Text(input.parse::<LitStr>()?.value()))
        } else if input.peek(LitBool) {
            Ok(Self::Bool(input.parse::<LitBool>()?.value))
        } else if input.peek(LitInt) || input.peek(LitFloat) || input.peek(Token![-]) {
            number(input).map(Self::Number)
        } else if input.peek(Token![&]) {
            input.parse::<Token![&]>()?;
            let content;
            bracketed!(content in input);
            let items = content.parse_terminated(Self::parse, Token![,])?;
            Ok(Self::List(items.into_iter().collect()))
        } else if input.peek(Ident::peek_any) {
            named(input)
        } else {
            Err(input.error(
                "a descriptor is written with plain literals: strings, numbers, `&[…]`, \
                 `Some(…)`, `None`, structs and enum variants",
            ))
        }
    }
}

fn number(input: ParseStream) -> Result<f64> {
    let sign = match input.parse::<Option<Token![-]>>()? {
        Some(_) => -1.0,
        None => 1.0,
    };
    let value: f64 = match input.parse()? {
        Lit::Int(value) => value.base10_parse()?,
        Lit::Float(value) => value.base10_parse()?,
        other => return Err(syn::Error::new(other.span(), "expected a number")),
    };
    Ok(sign * value)
}

/// What starts with a path: a struct, a variant, or an option.
fn named(input: ParseStream) -> Result<Literal> {
    let mut path = vec![input.call(Ident::parse_any)?];
    while input.parse::<Option<Token![::]>>()?.is_some() {
        path.push(input.call(Ident::parse_any)?);
    }
    let mut last = path.iter().rev().map(Ident::to_string);
    let name = last.next().unwrap_or_default();
    if input.peek(token::Brace) {
        let content;
        braced!(content in input);
        let fields = content.parse_terminated(field, Token![,])?;
        return Ok(Literal::Struct(name, fields.into_iter().collect()));
    }
    if name == "Some" && input.peek(token::Paren) {
        let content;
        parenthesized!(content in input);
        return Ok(Literal::Option(Some(Box::new(content.parse()?))));
    }
    match (name.as_str(), last.next()) {
        ("None", _) => Ok(Literal::Option(None)),
        (_, Some(parent)) => Ok(Literal::Variant(parent, name)),
        _ => Err(syn::Error::new(
            path[0].span(),
            format!("`{name}` is not a plain literal; write its value here"),
        )),
    }
}

fn field(input: ParseStream) -> Result<(String, Literal)> {
    let name: Ident = input.call(Ident::parse_any)?;
    input.parse::<Token![:]>()?;
    let value = input
        .parse()
        .map_err(|error: syn::Error| syn::Error::new(error.span(), format!("{name}: {error}")))?;
    Ok((name.to_string(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(text: &str) -> std::result::Result<Literal, String> {
        let tokens = text.parse::<TokenStream>().map_err(|e| e.to_string())?;
        Literal::evaluate(tokens).map_err(|error| error.to_string())
    }

    #[test]
    fn plain_literals_are_evaluated() {
        let text = |text: &str| Literal::Text(text.into());
        for (source, value) in [
            (r#""a \"b\" é""#, text("a \"b\" é")),
            ("\"one \\\n     two\"", text("one two")),
            (r##"r#"raw"#"##, text("raw")),
            ("-0.5", Literal::Number(-0.5)),
            ("1_000", Literal::Number(1000.0)),
            ("2.5e-3f64", Literal::Number(0.0025)),
            ("true", Literal::Bool(true)),
            ("None", Literal::Option(None)),
            ("Some(\"x\")", Literal::Option(Some(Box::new(text("x"))))),
            ("&[]", Literal::List(vec![])),
            (
                "&[1, 2,]",
                Literal::List(vec![Literal::Number(1.0), Literal::Number(2.0)]),
            ),
            (
                "menagerie_core::Gate::Decided",
                Literal::Variant("Gate".into(), "Decided".into()),
            ),
            (
                "core::Figure { name: \"n\", value: -1.0 }",
                Literal::Struct(
                    "Figure".into(),
                    vec![
                        ("name".into(), text("n")),
                        ("value".into(), Literal::Number(-1.0)),
                    ],
                ),
            ),
        ] {
            assert_eq!(evaluate(source).as_ref(), Ok(&value), "{source}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_field() {
        for (source, text) in [
            (
                "TITLE",
                "`TITLE` is not a plain literal; write its value here",
            ),
            (
                "System { claims: &[Claim { text: TEXT }] }",
                "claims: text: `TEXT` is not a plain literal; write its value here",
            ),
            ("1 + 1", "unexpected token"),
            ("-\"x\"", "expected a number"),
            ("(1)", "a descriptor is written with plain literals"),
            (
                "S { a: concat!(\"x\") }",
                "a: `concat` is not a plain literal",
            ),
        ] {
            let error = evaluate(source).unwrap_err();
            assert!(error.contains(text), "{source}: {error}");
        }
    }
}
