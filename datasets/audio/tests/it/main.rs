//! WAV files that the tests write, whole and broken; rates, crops, filters, folders, digits.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod augment;
mod folders;
mod rates;
mod wav;

/// Values without pattern in -1..1.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A tone of amplitude 1.
fn tone(frequency: f64, rate: u32, len: usize) -> Vec<f32> {
    let step = std::f64::consts::TAU * frequency / f64::from(rate);
    (0..len).map(|at| (step * at as f64).sin() as f32).collect()
}
