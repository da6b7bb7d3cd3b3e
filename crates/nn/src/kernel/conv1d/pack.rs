//! Weights in the order in which the inner loop reads them.
//!
//! The loop reads a weight where it lies. That is a loss where many columns follow, or where rows are
//! columns of the weight: a step then takes a few lines from every memory page, which no prefetcher
//! foresees. There the rows of a tile are laid next to each other, step by step.

use super::super::layout::transpose;
use super::super::micro::Level;
use super::super::parts::Parts;
use crate::memory::Buffer;
use rayon::prelude::*;

/// Places for rows of one step; a tile has at most so many.
pub(crate) const LINE: usize = 16;

/// Channels of a weight whose rows are read together.
const CHANNELS: usize = 16;

/// Values that are worth a task of their own.
const TASK: usize = 1 << 14;

/// Panels of rows, `[group][panel][step][LINE]`.
pub(crate) struct Packed {
    values: Buffer,
    panels: usize,
    /// Values of one panel.
    panel: usize,
}

/// What is packed.
pub(crate) struct Source<'a> {
    pub level: Level,
    pub weight: &'a [f32],
    pub groups: usize,
    /// Channels that a group reads and writes.
    pub channels: [usize; 2],
    pub kernel: usize,
    /// Rows of a panel.
    pub height: usize,
}

impl Packed {
    /// Rows are rows of the weight `[rows][channels · kernel]`, in its own order of steps.
    pub(crate) fn forward(source: &Source) -> Self {
        let [inputs, outputs] = source.channels;
        let depth = inputs * source.kernel;
        let mut packed = Self::empty(source);
        let panels = packed.panels;
        let work = |(at, to): (usize, &mut [f32])| {
            let (group, first) = (at / panels, at % panels * source.height);
            let rows = LINE.min(outputs - first);
            let weight = &source.weight[(group * outputs + first) * depth..];
            transpose(source.level, weight, depth, to, LINE, [rows, depth]);
        };
        let each = packed.values.par_chunks_exact_mut(packed.panel);
        each.with_min_len(TASK.div_ceil(packed.panel))
            .enumerate()
            .for_each(work);
        packed
    }

    /// Rows are columns of the weight `[channels][rows · kernel]`; tap `tap` of channel `channel` is
    /// line `place[tap][0] + channel · place[tap][1]`.
    pub(crate) fn adjoint(source: &Source, place: &[[usize; 2]]) -> Self {
        let ([inputs, outputs], kernel) = (source.channels, source.kernel);
        let mut packed = Self::empty(source);
        let (panels, panel) = (packed.panels, packed.panel);
        let parts = Parts::new(&mut packed.values);
        // A few rows of the weight at a time, from end to end: a prefetcher follows them.
        let blocks = inputs.div_ceil(CHANNELS);
        let work = |task: usize| {
            let (group, block) = (task / blocks, task % blocks);
            let channels = block * CHANNELS..inputs.min((block + 1) * CHANNELS);
            for at in 0..panels {
                let first = at * source.height;
                let rows = LINE.min(outputs - first);
                for channel in channels.clone() {
                    let from = ((group * inputs + channel) * outputs + first) * kernel;
                    let from = &source.weight[from..][..rows * kernel];
                    for (tap, [start, step]) in place.iter().enumerate() {
                        let line = (group * panels + at) * panel + (start + channel * step) * LINE;
                        // SAFETY: every channel has lines of its own.
                        let to = unsafe { parts.part(line, rows) };
                        spread(&from[tap..], kernel, to);
                    }
                }
            }
        };
        let share = CHANNELS.min(inputs) * outputs * kernel;
        (0..source.groups * blocks)
            .into_par_iter()
            .with_min_len(TASK.div_ceil(share))
            .for_each(work);
        packed
    }

    fn empty(source: &Source) -> Self {
        let [inputs, outputs] = source.channels;
        let panels = outputs.div_ceil(source.height);
        let panel = inputs * source.kernel * LINE;
        Self {
            values: Buffer::new(source.groups * panels * panel),
            panels,
            panel,
        }
    }

    /// The panel `panel` of a group.
    pub(crate) fn panel(&self, group: usize, panel: usize) -> &[f32] {
        &self.values[(group * self.panels + panel) * self.panel..][..self.panel]
    }
}

/// `to[i] = from[i * stride]`.
fn spread(from: &[f32], stride: usize, to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from.iter().step_by(stride)) {
        *to = *from;
    }
}
