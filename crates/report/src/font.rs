//! A 5×7 dot-matrix font for labels inside pictures, so that a PNG makes sense alone.

/// Dots across a glyph, without the space between two.
const WIDTH: usize = 5;
/// Dots down a glyph, descender included.
const HEIGHT: usize = 8;
/// Glyphs in one band of the drawing.
const BAND: usize = 16;
/// Pixels per dot.
const DOT: usize = 2;

/// Pixels from one character to the next.
pub(crate) const ADVANCE: usize = (WIDTH + 1) * DOT;
/// Pixels from one line to the next.
pub(crate) const LINE: usize = (HEIGHT + 2) * DOT;

/// The printable ASCII characters in order and a box for all others, `#` for a dot: six bands of
/// sixteen glyphs, a blank line between bands and a blank column between glyphs.
const GLYPHS: &str = include_str!("glyphs.txt");

/// The lines of `text` in characters that the font has.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(fold).collect()
}

/// The size of `text` in pixels, `(width, height)`; empty text takes none.
pub(crate) fn size(text: &str) -> (usize, usize) {
    let lines = lines(text);
    let longest = lines.iter().map(String::len).max().unwrap_or(0);
    (longest * ADVANCE, lines.len() * LINE)
}

/// Calls `dot(x, y)` for every pixel of one folded line, relative to its upper left corner.
pub(crate) fn draw(line: &str, mut dot: impl FnMut(usize, usize)) {
    for (position, character) in line.bytes().enumerate() {
        let glyph = match character {
            b' '..=b'~' => usize::from(character - b' '),
            _ => 95,
        };
        for (y, row) in rows(glyph).enumerate() {
            let set = row.bytes().enumerate().filter(|(_, cell)| *cell == b'#');
            for (x, _) in set {
                for offset in 0..DOT * DOT {
                    let (dx, dy) = (offset % DOT, offset / DOT);
                    dot(position * ADVANCE + x * DOT + dx, (y + 1) * DOT + dy);
                }
            }
        }
    }
}

/// The rows of dots of a glyph, from the top.
fn rows(glyph: usize) -> impl Iterator<Item = &'static str> {
    let column = glyph % BAND * (WIDTH + 1);
    GLYPHS
        .lines()
        .skip(glyph / BAND * (HEIGHT + 1))
        .take(HEIGHT)
        .map(move |line| line.get(column..column + WIDTH).unwrap_or_default())
}

/// Spells characters beyond ASCII that labels commonly hold; others become a box.
fn fold(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for character in line.chars() {
        match character {
            ' '..='~' => out.push(character),
            '\t' => out.push(' '),
            '−' | '–' | '—' => out.push('-'),
            '±' => out.push_str("+-"),
            '×' => out.push('x'),
            '·' => out.push('.'),
            '…' => out.push_str("..."),
            '→' => out.push_str("->"),
            '≤' => out.push_str("<="),
            '≥' => out.push_str(">="),
            '²' => out.push_str("^2"),
            '“' | '”' => out.push('"'),
            '‘' | '’' => out.push('\''),
            'α' => out.push_str("alpha"),
            'β' => out.push_str("beta"),
            'γ' => out.push_str("gamma"),
            'λ' => out.push_str("lambda"),
            'μ' => out.push_str("mu"),
            'σ' => out.push_str("sigma"),
            'τ' => out.push_str("tau"),
            _ => out.push('\u{7f}'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn dots(text: &str) -> BTreeSet<(usize, usize)> {
        let mut dots = BTreeSet::new();
        for line in lines(text) {
            draw(&line, |x, y| {
                dots.insert((x, y));
            });
        }
        dots
    }

    #[test]
    fn the_drawing_holds_every_glyph() {
        let lines: Vec<&str> = GLYPHS.lines().collect();
        assert_eq!(lines.len(), 6 * (HEIGHT + 1) - 1);
        for line in lines.iter().filter(|line| !line.is_empty()) {
            assert_eq!(line.len(), BAND * (WIDTH + 1) - 1);
        }
        let mut shapes = BTreeSet::new();
        for character in ' '..='~' {
            let shape = dots(&character.to_string());
            assert_eq!(shape.is_empty(), character == ' ');
            assert!(
                shapes.insert(shape),
                "{character} looks like another character"
            );
        }
    }

    #[test]
    fn text_stays_within_its_size() {
        let text = "β = 4, |x| ≤ gyj";
        let (width, height) = size(text);
        assert_eq!(lines(text), ["beta = 4, |x| <= gyj"]);
        assert_eq!((width, height), (20 * ADVANCE, LINE));
        assert!(dots(text).iter().all(|(x, y)| *x < width && *y < height));
        assert_eq!(size("a\nbcd"), (3 * ADVANCE, 2 * LINE));
        assert_eq!(size(""), (0, 0));
        assert_eq!(dots("漢"), dots("\u{7f}"));
    }
}
