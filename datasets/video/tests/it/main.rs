//! Readers on files that the tests write, whole and broken; sampling, cropping, moving images.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clip;
mod crop;
mod files;
mod moving;
mod sample;
mod y4m;

use menagerie_data_video::Clip;

/// A clip without a pattern.
fn noise(shape: [usize; 4]) -> Clip {
    let len = shape.iter().product::<usize>() as u32;
    let pixels = (0..len)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    Clip::new(pixels, shape).unwrap()
}
