//! Quiet ends of a recording.

use menagerie_core::{Error, Result};
use std::ops::Range;

/// The part of the samples between the first and the last block that is loud enough: blocks are
/// `block` samples, and loud means a root mean square of `decibels` relative to full scale or more.
/// Empty where no block is.
///
/// # Errors
/// [`Error::Input`] for blocks without samples, or a level that is not finite.
pub fn trimmed(samples: &[f32], decibels: f64, block: usize) -> Result<Range<usize>> {
    if block == 0 {
        let rule = "must be at least 1 sample";
        return Err(Error::input("the length of a block", block, rule));
    }
    if !decibels.is_finite() {
        let rule = "must be finite";
        return Err(Error::input("the level of silence", decibels, rule));
    }
    let least = 10.0f64.powf(decibels / 10.0);
    let loud = |samples: &[f32]| {
        let power: f64 = samples.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        power / samples.len() as f64 >= least
    };
    let first = samples.chunks(block).position(loud);
    let last = samples.chunks(block).rposition(loud);
    Ok(match first.zip(last) {
        Some((first, last)) => first * block..((last + 1) * block).min(samples.len()),
        None => 0..0,
    })
}
