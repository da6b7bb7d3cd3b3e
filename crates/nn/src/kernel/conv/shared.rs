//! A group of samples by all threads together: where there are fewer groups than threads.

use super::{After, Gather, Packed, Strip};
use crate::kernel::layout::{Panel, pad, panels, transpose};
use crate::kernel::micro::Level;
use crate::kernel::parts::Parts;
use crate::kernel::rows::CHUNK;
use crate::kernel::with_scratch;
use crate::memory::Buffer;
use rayon::prelude::*;

/// Pieces that the work on one group is cut into at least.
const TASKS: usize = 16;

impl Gather {
    /// [`Self::run`] with the padding before it, by all threads together.
    pub(super) fn run_shared(
        &self,
        level: Level,
        samples: usize,
        from: &[f32],
        weights: &Packed,
        after: After,
        out: &mut [f32],
    ) {
        let mut padded = Buffer::new(self.padded_len());
        self.pad_shared(from, &mut padded);
        let padded = &*padded;
        let all: Vec<(usize, Panel)> = panels(weights.channels).enumerate().collect();
        // Few strips: deal out their channels too.
        let cuts = TASKS.div_ceil(self.strips.len()).min(all.len());
        let share = all.len().div_ceil(cuts);
        let out = Parts::new(out);
        let task = |(strip, panels): (&Strip, &[(usize, Panel)])| {
            let len = self.strip_len();
            with_scratch(2 * len, |scratch| {
                let (sums, lines) = scratch.split_at_mut(len);
                let mut dest = Vec::new();
                for &panel in panels {
                    self.sum(
                        level, samples, padded, weights, strip, panel, &mut dest, sums,
                    );
                    self.write(
                        level, samples, strip, panel.1, weights, after, sums, lines, out,
                    );
                }
            });
        };
        let tasks = self.strips.par_iter().flat_map(|strip| {
            let shares = all.par_chunks(share);
            shares.map(move |panels| (strip, panels))
        });
        tasks.for_each(task);
    }

    /// Brings the sums of one strip and one panel into the planes of `out`.
    fn write(
        &self,
        level: Level,
        samples: usize,
        strip: &Strip,
        panel: Panel,
        weights: &Packed,
        after: After,
        sums: &[f32],
        lines: &mut [f32],
        out: Parts,
    ) {
        let mut from = 0;
        for segment in strip.segments.iter().filter(|s| s.sample < samples) {
            let size = [segment.len, panel.channels];
            let sums = &sums[from * panel.lanes..];
            transpose(level, sums, panel.lanes, lines, segment.len, size);
            let lines = lines.chunks_exact(segment.len).take(panel.channels);
            for (channel, line) in lines.enumerate() {
                let channel = panel.first + channel;
                let plane = segment.sample * weights.channels + channel;
                let start = plane * self.target_pixels + segment.start;
                // SAFETY: strips have no pixel and panels no channel in common.
                let to = unsafe { out.part(start, segment.len) };
                to.copy_from_slice(line);
                after.apply(channel, to);
            }
            from += segment.len;
        }
    }

    /// [`Self::pad`] by all threads together.
    fn pad_shared(&self, samples: &[f32], padded: &mut [f32]) {
        let [before, after] = [self.source, self.padded].map(|[h, w]| h * w);
        let planes = (CHUNK / after).max(1);
        samples
            .par_chunks(planes * before)
            .zip(padded.par_chunks_mut(planes * after))
            .for_each(|(from, to)| pad(from, self.source, to, self.padded, self.at));
    }
}
