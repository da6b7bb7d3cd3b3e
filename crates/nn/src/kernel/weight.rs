//! The weight gradient of a convolution, and so of a transposed one.

use super::conv::{Gather, Geometry};
use super::layout::{lanes, panels, transpose};
use super::micro::{LANES, Level, NARROW, Product, product};
use super::with_scratch;
use rayon::prelude::*;
use std::ops::Range;

/// Output pixels per pass over the sums.
const STRIP: usize = 128;

/// Partial sums over the batch. Fixed, so that rounding does not depend on the machine.
const PARTS: usize = 8;

/// Tables of a weight gradient.
#[derive(Clone, Debug)]
pub(crate) struct WeightGradient {
    g: Geometry,
    gather: Gather,
    /// Where every tap's sums lie in a panel of 32, of 16 and of 8 lanes.
    dest: [Vec<u32>; 3],
}

impl WeightGradient {
    /// `None` where offsets would not fit 32 bits.
    pub(crate) fn new(g: &Geometry) -> Option<Self> {
        let dest = |lanes: usize| (0..g.depth()).map(|tap| (tap * lanes) as u32).collect();
        (g.depth().checked_mul(LANES)? <= u32::MAX as usize).then_some(())?;
        Some(Self {
            g: *g,
            gather: Gather::forward_in(g, STRIP)?,
            dest: [dest(LANES), dest(LANES / 2), dest(NARROW)],
        })
    }

    /// Samples of a full group.
    pub(crate) fn group(&self) -> usize {
        self.gather.group
    }

    /// Values of scratch for the padded input of a group and for a strip of gradients.
    pub(crate) fn scratch_len(&self) -> [usize; 2] {
        [self.gather.padded_len(), self.gather.strip_len()]
    }

    /// Values of [`Self::add`]'s sums.
    pub(crate) fn sums_len(&self) -> usize {
        self.g.depth() * lanes(self.g.outputs)
    }

    /// Adds a group's share to `sums`, or with `fresh` replaces what they hold: `x` is its input,
    /// `dy` the gradient of its output.
    pub(crate) fn add(
        &self,
        level: Level,
        x: &[f32],
        dy: &[f32],
        [padded, spread]: [&mut [f32]; 2],
        sums: &mut [f32],
        mut fresh: bool,
    ) {
        let (g, pixels) = (&self.g, self.g.output_pixels());
        let samples = dy.len() / (g.outputs * pixels);
        self.gather.pad(x, padded);
        for strip in &self.gather.strips {
            let rows = &strip.phases[0].rows;
            let rows = &rows[..rows.len() * samples / self.gather.group];
            for panel in panels(g.outputs) {
                if panel.channels < panel.lanes {
                    spread[..rows.len() * panel.lanes].fill(0.0);
                }
                let mut to = 0;
                for segment in strip.segments.iter().filter(|s| s.sample < samples) {
                    let plane = segment.sample * g.outputs + panel.first;
                    let from = &dy[plane * pixels + segment.start..];
                    let spread = &mut spread[to * panel.lanes..];
                    let size = [panel.channels, segment.len];
                    transpose(level, from, pixels, spread, panel.lanes, size);
                    to += segment.len;
                }
                let step = Product {
                    x: padded,
                    w: spread,
                    rows: &self.gather.taps[0],
                    taps: rows,
                    dest: &self.dest[match panel.lanes {
                        LANES => 0,
                        NARROW => 2,
                        _ => 1,
                    }],
                    accumulate: !fresh,
                };
                let sums = &mut sums[panel.first * g.depth()..];
                product(level, sums, &step, panel.lanes);
            }
            fresh = false;
        }
    }

    /// Brings the sum of all `parts` into the weight's order, `[out, in, kernel height, kernel
    /// width]`.
    pub(crate) fn finish(&self, level: Level, parts: &[Vec<f32>], out: &mut [f32]) {
        let (g, depth) = (&self.g, self.g.depth());
        let Some((first, rest)) = parts.split_first() else {
            return out.fill(0.0);
        };
        let mut sums = first.clone();
        for part in rest {
            for (sum, value) in sums.iter_mut().zip(part) {
                *sum += value;
            }
        }
        for panel in panels(g.outputs) {
            let from = &sums[panel.first * depth..];
            let to = &mut out[panel.first * depth..];
            transpose(level, from, panel.lanes, to, depth, [depth, panel.channels]);
        }
    }
}

/// Runs of the `rounds` rounds of work that a batch takes, each with partial sums of its own.
pub(crate) fn parts(rounds: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = rounds.min(PARTS);
    (0..parts).map(move |part| part * rounds / parts..(part + 1) * rounds / parts)
}

/// The gradient of `conv2d(x, weight)` with respect to the weight.
pub(crate) fn gradient(
    level: Level,
    tables: &WeightGradient,
    x: &[f32],
    dy: &[f32],
    out: &mut [f32],
) {
    let g = &tables.g;
    let sizes = [g.inputs * g.input_pixels(), g.outputs * g.output_pixels()];
    let work = |groups: Range<usize>| {
        let mut sums = vec![0.0; tables.sums_len()];
        let [padded_len, spread_len] = tables.scratch_len();
        with_scratch(padded_len + spread_len, |scratch| {
            let (padded, spread) = scratch.split_at_mut(padded_len);
            let first = groups.start;
            for group in groups {
                let samples = group * tables.group()..g.batch.min((group + 1) * tables.group());
                let x = &x[samples.start * sizes[0]..samples.end * sizes[0]];
                let dy = &dy[samples.start * sizes[1]..samples.end * sizes[1]];
                tables.add(level, x, dy, [padded, spread], &mut sums, group == first);
            }
        });
        sums
    };
    let groups: Vec<_> = parts(g.batch.div_ceil(tables.group())).collect();
    let parts: Vec<_> = groups.into_par_iter().map(work).collect();
    tables.finish(level, &parts, out);
}
