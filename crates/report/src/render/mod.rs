//! The report in each of its forms.

pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod text;

use crate::Sound;
use menagerie_core::Claim;

/// The published numbers of a claim in words, with those marked that were not checked.
pub(crate) fn figures(claim: &Claim) -> String {
    let figures = claim.figures.iter().map(|figure| {
        let recalled = if figure.verified { "" } else { " (recalled)" };
        // All digits: the number stands as it was published.
        format!("{}: {}{recalled}", figure.name, figure.value)
    });
    figures.collect::<Vec<_>>().join("; ")
}

/// `base` and a remark as sentences of one caption.
pub(crate) fn caption(base: &str, remark: Option<String>) -> String {
    let remark = remark.map(|remark| format!("{remark}."));
    let parts = [Some(base.to_owned()), remark];
    let parts: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(" ")
}

/// The caption of a sound with its length.
pub(crate) fn sound_caption(base: &str, sound: &Sound) -> String {
    let length = format!("{:.1} s, {} Hz", sound.seconds(), sound.rate());
    let base = if base.is_empty() {
        length
    } else {
        format!("{base} ({length})")
    };
    caption(&base, sound.remark())
}
