//! The readers on generated files, on damaged ones, and on the real ones where they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod augment;
mod cifar;
mod crops;
mod folder;
mod geotiff;
mod idx;
mod mnist;
mod operations;
mod optdigits;
mod set;

use flate2::{Compression, write::GzEncoder};
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file of unsigned bytes.
fn idx_bytes(dims: &[usize], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    for dim in dims {
        bytes.extend((*dim as u32).to_be_bytes());
    }
    bytes.extend(data);
    bytes
}

/// Bytes without a pattern.
fn noise(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect()
}
