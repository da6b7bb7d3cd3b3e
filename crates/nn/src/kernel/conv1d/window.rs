//! Copies of pieces of a signal, laid out for the inner loops.
//!
//! A window holds, for every channel and every position modulo the stride (phase), one row of
//! values: padding, the de-interleaving of a strided convolution and the activation all happen in
//! this one copy, after which every tap of a filter is a row at some offset. Pieces of several
//! samples lie side by side in a row.

/// Values past the end of a row that vectors may read.
pub(crate) const MARGIN: usize = 64;

/// A piece of one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub sample: usize,
    /// The first column that is computed from it, and their number.
    pub first: usize,
    pub columns: usize,
}

/// The layout of a window's rows.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Positions between two values of a row.
    pub stride: usize,
    /// The phases that have a row, and for every phase which row it is.
    phases: Vec<usize>,
    row_of: Vec<usize>,
    /// Positions before the one that a column's number times the stride gives.
    pub lead: usize,
    /// Columns that a piece needs beyond its own.
    pub halo: usize,
}

impl Layout {
    pub(crate) fn new(stride: usize, used: &[bool], lead: usize, halo: usize) -> Self {
        let phases: Vec<usize> = (0..stride).filter(|&phase| used[phase]).collect();
        let mut row_of = vec![0; stride];
        for (row, &phase) in phases.iter().enumerate() {
            row_of[phase] = row;
        }
        Self {
            stride,
            phases,
            row_of,
            lead,
            halo,
        }
    }

    /// Rows of one channel.
    pub(crate) fn rows(&self) -> usize {
        self.phases.len()
    }

    /// The row of `phase` among a channel's.
    pub(crate) fn row(&self, phase: usize) -> usize {
        self.row_of[phase]
    }

    /// Values from one row to the next for pieces with `columns` columns in all. Never a multiple
    /// of a large power of two, so that the rows of many channels do not share a cache set.
    pub(crate) fn pitch(&self, pieces: usize, columns: usize) -> usize {
        let lines = (columns + pieces * self.halo + MARGIN).div_ceil(16);
        16 * (lines | 1)
    }

    /// Fills `to [channels][rows][pitch]` from `channels` channels of the `samples`, of `len` values
    /// each: `from(sample)` is a sample's first channel. With `leaky`, negative values are scaled
    /// by it.
    pub(crate) fn fill<'a>(
        &self,
        channels: usize,
        len: usize,
        from: impl Fn(usize) -> &'a [f32],
        pieces: &[Piece],
        pitch: usize,
        leaky: Option<f32>,
        to: &mut [f32],
    ) {
        let mut at = 0;
        for piece in pieces {
            let width = piece.columns + self.halo;
            let sample = from(piece.sample);
            for channel in 0..channels {
                let signal = &sample[channel * len..][..len];
                for (row, &phase) in self.phases.iter().enumerate() {
                    let to = &mut to[(channel * self.rows() + row) * pitch + at..][..width];
                    // Position of the row's first value, shifted by the lead.
                    let start = piece.first * self.stride + phase;
                    let before = self.lead.saturating_sub(start).div_ceil(self.stride);
                    let before = before.min(width);
                    let first = (start + before * self.stride).saturating_sub(self.lead);
                    let inside = len.saturating_sub(first).div_ceil(self.stride);
                    let inside = inside.min(width - before);
                    let (left, rest) = to.split_at_mut(before);
                    let (middle, right) = rest.split_at_mut(inside);
                    left.fill(0.0);
                    right.fill(0.0);
                    if inside > 0 {
                        copy(&signal[first..], self.stride, middle);
                    }
                    if let Some(slope) = leaky {
                        leaky_relu(middle, slope);
                    }
                }
            }
            at += width;
        }
        for row in to.chunks_exact_mut(pitch).take(channels * self.rows()) {
            row[at..].fill(0.0);
        }
    }
}

/// `to[i] = from[i * stride]`.
fn copy(from: &[f32], stride: usize, to: &mut [f32]) {
    match stride {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => every::<2>(from, to),
        4 => every::<4>(from, to),
        _ => {
            for (to, from) in to.iter_mut().zip(from.iter().step_by(stride)) {
                *to = *from;
            }
        }
    }
}

/// [`copy`] with a stride that the compiler knows.
fn every<const N: usize>(from: &[f32], to: &mut [f32]) {
    let (chunks, rest) = from.as_chunks::<N>();
    for (to, chunk) in to.iter_mut().zip(chunks) {
        *to = chunk[0];
    }
    if let (Some(to), Some(&last)) = (to.get_mut(chunks.len()), rest.first()) {
        *to = last;
    }
}

/// `x` where it is positive, `slope x` elsewhere.
pub(crate) fn leaky_relu(values: &mut [f32], slope: f32) {
    for value in values {
        *value = if *value > 0.0 { *value } else { slope * *value };
    }
}
