//! A convolution or its adjoint, computed.

use super::super::micro::Level;
use super::super::parts::Parts;
use super::super::with_scratch;
use super::gather::{Gather, TASKS};
use super::pack::Packed;
use super::tile::{ROWS, Steps, Tile, VECTOR, columns};
use super::window::Piece;
use super::{Extras, SMALL};
use crate::memory::Buffer;
use rayon::prelude::*;
use std::ops::Range;

/// Columns of the largest tile.
const COLUMNS: usize = 64;

/// Columns that are computed together.
#[derive(Clone, Copy)]
struct Spot {
    sample: usize,
    /// Where they start in the window's rows, and in the sample.
    at: usize,
    first: usize,
    columns: usize,
}

/// What the tasks of a pass share.
struct Pass<'a> {
    gather: &'a Gather,
    level: Level,
    from: &'a [f32],
    weight: &'a [f32],
    packed: Option<Packed>,
    extras: Extras<'a>,
    out: Parts<'a>,
    stripes: Vec<Vec<Piece>>,
    steps: Vec<Vec<Steps>>,
    pitch: usize,
    panels: usize,
}

impl Gather {
    /// `out` from `from` and the convolution's weight, `[outputs, inputs / groups, kernel]`.
    ///
    /// # Panics
    /// If a slice has another length than the geometry says.
    pub(crate) fn run(
        &self,
        level: Level,
        from: &[f32],
        weight: &[f32],
        extras: Extras,
        out: &mut [f32],
    ) {
        let g = &self.geometry;
        let [inputs, outputs] = self.channels();
        let [len, target] = self.lengths();
        assert_eq!(from.len(), g.batch * g.groups * inputs * len);
        assert_eq!(weight.len(), g.groups * g.group_weight());
        assert_eq!(out.len(), g.batch * g.groups * outputs * target);
        if let Some(bias) = extras.bias {
            assert_eq!(bias.len(), g.groups * outputs);
        }
        if let Some((signal, _)) = extras.derivative {
            assert_eq!(signal.len(), out.len());
        }
        let stripes = self.stripes();
        let pitch = |pieces: &Vec<Piece>| {
            let columns = pieces.iter().map(|piece| piece.columns).sum();
            self.layout.pitch(pieces.len(), columns)
        };
        let pitch = stripes.iter().map(pitch).max().unwrap_or(0);
        let pass = Pass {
            gather: self,
            level,
            from,
            weight,
            packed: self.pack(level, weight),
            extras,
            out: Parts::new(out),
            steps: self.steps(pitch),
            stripes,
            pitch,
            panels: outputs.div_ceil(self.height),
        };
        pass.run();
    }
}

impl Pass<'_> {
    fn run(&self) {
        let g = &self.gather.geometry;
        let tasks = self.stripes.len() * g.groups;
        let inputs = self.gather.channels()[0];
        let window = inputs * self.gather.layout.rows() * self.pitch;
        let small = g.work() < SMALL;
        if small || tasks >= TASKS || self.panels == 1 {
            let sums = self.sums(self.panels);
            let work = |task| {
                with_scratch(window + sums, |scratch| {
                    let (window, sums) = scratch.split_at_mut(window);
                    self.fill(task, 0..inputs, window);
                    self.compute(task, 0..self.panels, window, sums);
                });
            };
            if small {
                (0..tasks).for_each(work);
            } else {
                (0..tasks).into_par_iter().with_max_len(1).for_each(work);
            }
            return;
        }
        // Few stripes: the windows are filled first, then the rows are dealt out as well.
        let mut windows = Buffer::new(tasks * window);
        let channel = window / inputs;
        let some = inputs.div_ceil(8);
        let chunks = windows.chunks_exact_mut(window).enumerate();
        let chunks = chunks.flat_map(|(task, window)| {
            let chunks = window.chunks_mut(some * channel).enumerate();
            chunks.map(move |(chunk, to)| (task, chunk * some, to))
        });
        let fill = |(task, first, to): (usize, usize, &mut [f32])| {
            self.fill(task, first..first + to.len() / channel, to);
        };
        if tasks * window < SMALL {
            chunks.for_each(fill);
        } else {
            chunks.collect::<Vec<_>>().into_par_iter().for_each(fill);
        }
        // Blocks of a weight are read across its rows: the longer, the better.
        let wanted = if self.steps.len() > 1 { 4 } else { TASKS };
        let cuts = wanted.div_ceil(tasks).min(self.panels);
        let sums = self.sums(self.panels.div_ceil(cuts));
        let windows = &windows;
        let work = |at: usize| {
            let (task, cut) = (at / cuts, at % cuts);
            let panels = cut * self.panels / cuts..(cut + 1) * self.panels / cuts;
            with_scratch(sums, |sums| {
                let window = &windows[task * window..][..window];
                self.compute(task, panels, window, sums);
            });
        };
        (0..tasks * cuts)
            .into_par_iter()
            .with_max_len(1)
            .for_each(work);
    }

    /// The pieces and the group of a task.
    fn task(&self, task: usize) -> (&[Piece], usize) {
        let groups = self.gather.geometry.groups;
        (&self.stripes[task / groups], task % groups)
    }

    fn fill(&self, task: usize, channels: Range<usize>, to: &mut [f32]) {
        let (gather, (pieces, group)) = (self.gather, self.task(task));
        let (inputs, len) = (gather.channels()[0], gather.lengths()[0]);
        let all = gather.geometry.groups * inputs;
        let first = group * inputs + channels.start;
        let sample = |at: usize| &self.from[(at * all + first) * len..];
        let layout = &gather.layout;
        let leaky = self.extras.leaky;
        layout.fill(channels.len(), len, sample, pieces, self.pitch, leaky, to);
    }

    /// Values of one tile's sums over all phases.
    fn slot(&self) -> usize {
        self.gather.stride * ROWS * COLUMNS
    }

    /// Values of scratch for a task with so many panels.
    fn sums(&self, panels: usize) -> usize {
        let stride = self.gather.stride;
        if stride == 1 {
            return 0;
        }
        let spots = |pieces: &Vec<Piece>| {
            let spots = |piece: &Piece| piece.columns.div_ceil(VECTOR);
            pieces.iter().map(spots).sum::<usize>()
        };
        let slots = match self.steps.len() {
            1 => 1,
            _ => panels * self.stripes.iter().map(spots).max().unwrap_or(0),
        };
        slots * self.slot() + stride * COLUMNS
    }

    /// The tiles of a stripe for panels of `rows` rows.
    fn spots(&self, pieces: &[Piece], rows: usize) -> Vec<Spot> {
        let mut spots = Vec::new();
        let mut start = 0;
        for piece in pieces {
            let mut done = 0;
            while done < piece.columns {
                let columns = columns(rows, piece.columns - done);
                spots.push(Spot {
                    sample: piece.sample,
                    at: start + done,
                    first: piece.first + done,
                    columns,
                });
                done += columns;
            }
            start += piece.columns + self.gather.layout.halo;
        }
        spots
    }

    /// Some panels of a task, of which `window` is filled.
    fn compute(&self, task: usize, panels: Range<usize>, window: &[f32], sums: &mut [f32]) {
        let (gather, (pieces, group)) = (self.gather, self.task(task));
        let outputs = gather.channels()[1];
        let spots = self.spots(pieces, gather.height);
        let weight = &self.weight[group * gather.geometry.group_weight()..];
        let row = gather.weight_strides()[0];
        let last = self.steps.len() - 1;
        for (block, steps) in self.steps.iter().enumerate() {
            for panel in panels.clone() {
                let top = panel * gather.height;
                let rows = gather.height.min(outputs - top);
                let first = group * outputs + top;
                let (left, row) = match &self.packed {
                    Some(packed) => (packed.panel(group, panel), 1),
                    None => (&weight[top * row..], row),
                };
                for (at, spot) in spots.iter().enumerate() {
                    let tile = Tile {
                        left,
                        row,
                        right: &window[spot.at..],
                        steps: &steps[0],
                        start: self.extras.bias.map(|bias| &bias[first..first + rows]),
                        out: std::ptr::null_mut(),
                        stride: 0,
                        rows,
                        columns: spot.columns,
                        accumulate: block > 0,
                    };
                    let plane = spot.sample * gather.geometry.groups * outputs + first;
                    if gather.stride == 1 {
                        self.direct(tile, plane, spot, block == last);
                        continue;
                    }
                    let slot = match last {
                        0 => 0,
                        _ => (panel - panels.start) * spots.len() + at,
                    };
                    let (slots, line) = sums.split_at_mut(sums.len() - gather.stride * COLUMNS);
                    let slot = &mut slots[slot * self.slot()..][..self.slot()];
                    self.phases(tile, steps, slot);
                    if block == last {
                        let line = &mut line[..gather.stride * spot.columns];
                        self.interleaved(rows, plane, spot, slot, line);
                    }
                }
            }
        }
    }

    /// A tile whose columns are neighbours in the result.
    fn direct(&self, mut tile: Tile, plane: usize, spot: &Spot, last: bool) {
        let target = self.gather.lengths()[1];
        assert!(spot.first + spot.columns <= target);
        assert!((plane + tile.rows) * target <= self.out.len());
        tile.out = self.out.at(plane * target + spot.first);
        tile.stride = target;
        // SAFETY: the rows lie inside of the result; the columns are this task's alone.
        unsafe { tile.run(self.level) };
        if last && self.extras.derivative.is_some() {
            for row in plane..plane + tile.rows {
                let first = row * target + spot.first;
                // SAFETY: as above; no other reference to these values is alive.
                let out = unsafe { self.out.part(first, spot.columns) };
                self.extras.derive(first, out);
            }
        }
    }

    /// The tiles of all phases.
    fn phases(&self, tile: Tile, steps: &[Steps], slot: &mut [f32]) {
        for (steps, sums) in steps.iter().zip(slot.chunks_exact_mut(ROWS * COLUMNS)) {
            let tile = Tile {
                steps,
                out: sums.as_mut_ptr(),
                stride: COLUMNS,
                ..tile
            };
            // SAFETY: at most `ROWS` rows of `COLUMNS` values.
            unsafe { tile.run(self.level) };
        }
    }

    /// Writes the sums of all phases.
    fn interleaved(&self, rows: usize, plane: usize, spot: &Spot, slot: &[f32], line: &mut [f32]) {
        let (stride, target) = (self.gather.stride, self.gather.lengths()[1]);
        let start = spot.first * stride;
        let count = line.len().min(target - start);
        for row in 0..rows {
            interleave(&slot[row * COLUMNS..], ROWS * COLUMNS, stride, line);
            let first = (plane + row) * target + start;
            // SAFETY: the columns are this task's alone; no other reference to them is alive.
            let out = unsafe { self.out.part(first, count) };
            out.copy_from_slice(&line[..count]);
            self.extras.derive(first, out);
        }
    }
}

/// `line[i * phases + phase] = sums[phase * next + i]`.
fn interleave(sums: &[f32], next: usize, phases: usize, line: &mut [f32]) {
    match phases {
        2 => interleave_by::<2>(sums, next, line),
        4 => interleave_by::<4>(sums, next, line),
        _ => {
            for (i, values) in line.chunks_exact_mut(phases).enumerate() {
                for (phase, value) in values.iter_mut().enumerate() {
                    *value = sums[phase * next + i];
                }
            }
        }
    }
}

/// [`interleave`] with a number of phases that the compiler knows.
fn interleave_by<const N: usize>(sums: &[f32], next: usize, line: &mut [f32]) {
    let (chunks, _) = line.as_chunks_mut::<N>();
    let rows: [&[f32]; N] = std::array::from_fn(|phase| &sums[phase * next..][..chunks.len()]);
    for (i, values) in chunks.iter_mut().enumerate() {
        for (value, row) in values.iter_mut().zip(&rows) {
            *value = row[i];
        }
    }
}
