//! Text made safe for each output format.

/// `text` without control characters other than line breaks and tabs, which no format can carry.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// [`clean`] text on one line.
pub(crate) fn line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` as HTML content or as a quoted attribute.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// `text` as one line of Markdown that renders as itself, in a paragraph or a table cell.
pub(crate) fn markdown(text: &str) -> String {
    let text = line(text);
    let mut out = String::with_capacity(text.len());
    let marker = list_marker(&text);
    for (index, c) in text.char_indices() {
        if marker == Some(index) || r"\`*_[]<>|~$&".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Where the sign stands that would turn a line into a list item, a heading or a rule.
fn list_marker(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = *text.as_bytes().get(digits)?;
    let known = match digits {
        0 => b"#+-=".contains(&sign),
        _ => b".)".contains(&sign),
    };
    let follows = text.as_bytes().get(digits + 1);
    let breaks = follows.is_none_or(|next| *next == b' ' || *next == sign);
    (known && breaks).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_inert() {
        assert_eq!(
            html("<img src='x' onerror=\"a()\"> & \u{1b}[1m"),
            "&lt;img src=&#39;x&#39; onerror=&quot;a()&quot;&gt; &amp; \u{fffd}[1m"
        );
    }

    #[test]
    fn markdown_renders_as_itself() {
        assert_eq!(
            markdown("a|b *c* x_1 <b> [d](e)"),
            r"a\|b \*c\* x\_1 \<b\> \[d\](e)"
        );
        assert_eq!(markdown("# no heading"), r"\# no heading");
        assert_eq!(markdown("- no item\n+ two"), r"\- no item + two");
        assert_eq!(markdown("12. of 3"), r"12\. of 3");
        assert_eq!(markdown("12.5 or -3"), "12.5 or -3");
        assert_eq!(markdown("-3.5"), "-3.5");
        assert_eq!(markdown("---"), r"\---");
        assert_eq!(markdown("$x$ and `code` \\"), r"\$x\$ and \`code\` \\");
    }
}
