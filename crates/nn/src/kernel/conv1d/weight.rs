//! The gradients of a convolution's weight and bias.
//!
//! `dw[o, i, tap] = sum over samples and positions of dy[o, t] x[i, t · stride + tap · dilation -
//! before]`: the columns of a tile are output channels, so that the output's gradient is transposed
//! once, and its rows are windows of the signal, one per input channel and tap.

use super::super::layout::transpose;
use super::super::micro::Level;
use super::super::norm::sums;
use super::super::with_scratch;
use super::gather::Gather;
use super::tile::{ROWS, Run, VECTOR};
use super::window::Piece;
use rayon::prelude::*;

/// Output channels of a panel.
const LANES: usize = 2 * VECTOR;

/// Values of a transposed piece of the output's gradient at most, and positions of a piece.
const TRANSPOSED: usize = 1 << 17;
const POSITIONS: [usize; 2] = [64, 1024];

/// Rows (input channels times taps) of a task at least, where there are so many.
const CHUNK: usize = 192;

/// Tasks that the work is cut into at least. Fixed, so that rounding does not depend on the machine.
const TASKS: usize = 8;

/// What a gradient is computed from.
pub(crate) struct Signals<'a> {
    /// The convolution's input and the slope of a leaky ReLU on it.
    pub x: &'a [f32],
    pub leaky: Option<f32>,
    /// The gradient of its output, and the slope of a leaky ReLU on that: of a transposed
    /// convolution it is the input.
    pub dy: &'a [f32],
    pub leaky_dy: Option<f32>,
}

/// How the work is cut.
struct Plan<'a> {
    gather: &'a Gather,
    pieces: Vec<Piece>,
    parts: usize,
    /// Input channels of a task, and tasks of a group.
    channels: usize,
    chunks: usize,
    /// Output channels of a group, rounded up to vectors.
    width: usize,
    pitch: usize,
    positions: usize,
}

impl<'a> Plan<'a> {
    fn new(gather: &'a Gather) -> Self {
        let g = &gather.geometry;
        let [inputs, outputs] = g.channels();
        let width = outputs.next_multiple_of(VECTOR);
        let [least, most] = POSITIONS;
        let positions = (TRANSPOSED / width).clamp(least, most).min(g.output);
        let pieces: Vec<Piece> = (0..g.batch)
            .flat_map(|sample| {
                let starts = (0..g.output).step_by(positions);
                starts.map(move |first| Piece {
                    sample,
                    first,
                    columns: positions.min(g.output - first),
                })
            })
            .collect();
        let chunks = (inputs * g.kernel).div_ceil(CHUNK).min(inputs);
        let channels = inputs.div_ceil(chunks);
        let chunks = inputs.div_ceil(channels);
        let parts = TASKS.div_ceil(chunks * g.groups).min(pieces.len());
        Self {
            gather,
            pieces,
            parts,
            channels,
            chunks,
            width,
            pitch: gather.layout.pitch(1, positions),
            positions,
        }
    }

    /// The first input channel of a chunk, and their number.
    fn chunk(&self, chunk: usize) -> [usize; 2] {
        let inputs = self.gather.geometry.channels()[0];
        let first = chunk * self.channels;
        [first, self.channels.min(inputs - first)]
    }

    /// First output channel, and lanes, of every panel of a group.
    fn panels(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        let starts = (0..self.width).step_by(LANES);
        starts.map(|first| [first, LANES.min(self.width - first)])
    }

    /// Where every row of a chunk starts in the window.
    fn rows(&self, channels: usize) -> Vec<u32> {
        let each = self.gather.layout.rows();
        let row = |channel: usize| {
            let places = self.gather.window_places();
            places.map(move |[row, offset]| ((channel * each + row) * self.pitch + offset) as u32)
        };
        (0..channels).flat_map(row).collect()
    }

    /// One chunk's sums over one part of the pieces, `[panel][row][lane]`.
    fn sums(
        &self,
        level: Level,
        signals: &Signals,
        part: usize,
        group: usize,
        chunk: usize,
    ) -> Vec<f32> {
        let g = &self.gather.geometry;
        let [inputs, outputs] = g.channels();
        let [first, channels] = self.chunk(chunk);
        let rows = self.rows(channels);
        let mut out = vec![0.0; rows.len() * self.width];
        let window = channels * self.gather.layout.rows() * self.pitch;
        let count = self.pieces.len();
        let pieces = part * count / self.parts..(part + 1) * count / self.parts;
        with_scratch(window + self.positions * self.width, |scratch| {
            let (window, lanes) = scratch.split_at_mut(window);
            for piece in &self.pieces[pieces] {
                let x = |sample: usize| {
                    let plane = sample * g.inputs + group * inputs + first;
                    &signals.x[plane * g.input..]
                };
                let layout = &self.gather.layout;
                let one = std::slice::from_ref(piece);
                layout.fill(channels, g.input, x, one, self.pitch, signals.leaky, window);
                let plane = piece.sample * g.outputs + group * outputs;
                let dy = &signals.dy[plane * g.output + piece.first..];
                let steps = piece.columns;
                for [first, width] in self.panels() {
                    let lanes = &mut lanes[..steps * width];
                    let real = width.min(outputs - first);
                    if real < width {
                        lanes.fill(0.0);
                    }
                    let from = &dy[first * g.output..];
                    transpose(level, from, g.output, lanes, width, [real, steps]);
                    if let Some(slope) = signals.leaky_dy {
                        super::window::leaky_relu(lanes, slope);
                    }
                    let out = &mut out[first * rows.len()..][..width * rows.len()];
                    for (rows, out) in rows.chunks(ROWS).zip(out.chunks_mut(ROWS * width)) {
                        let run = Run {
                            left: window,
                            rows,
                            right: lanes,
                            steps,
                            vectors: width / VECTOR,
                        };
                        run.add(level, out);
                    }
                }
            }
        });
        out
    }
}

/// The gradient of the weight, `[outputs, inputs / groups, kernel]`, of the convolution that
/// `gather` computes forward.
///
/// # Panics
/// If a slice has another length than the geometry says.
pub(crate) fn gradient(level: Level, gather: &Gather, signals: &Signals, out: &mut [f32]) {
    let g = &gather.geometry;
    assert_eq!(signals.x.len(), g.batch * g.inputs * g.input);
    assert_eq!(signals.dy.len(), g.batch * g.outputs * g.output);
    assert_eq!(out.len(), g.outputs * g.depth());
    let plan = Plan::new(gather);
    let tasks = g.groups * plan.chunks * plan.parts;
    let sums = |task: usize| {
        let (rest, part) = (task / plan.parts, task % plan.parts);
        let (group, chunk) = (rest / plan.chunks, rest % plan.chunks);
        plan.sums(level, signals, part, group, chunk)
    };
    let sums: Vec<Vec<f32>> = if g.work() < super::SMALL {
        (0..tasks).map(sums).collect()
    } else {
        (0..tasks)
            .into_par_iter()
            .with_max_len(1)
            .map(sums)
            .collect()
    };

    let outputs = g.channels()[1];
    let slices = out.chunks_exact_mut(outputs * g.depth()).enumerate();
    let slices = slices.flat_map(|(group, out)| {
        let slices = plan.panels().zip(out.chunks_mut(LANES * g.depth()));
        slices.map(move |([first, lanes], out)| (group, first, lanes, out))
    });
    let finish = |(group, first, lanes, out): (usize, usize, usize, &mut [f32])| {
        let mut row = 0;
        for chunk in 0..plan.chunks {
            let rows = plan.chunk(chunk)[1] * g.kernel;
            let task = (group * plan.chunks + chunk) * plan.parts;
            let panel = |part: usize| &sums[task + part][first * rows..][..lanes * rows];
            let mut total = panel(0).to_vec();
            for part in 1..plan.parts {
                for (total, value) in total.iter_mut().zip(panel(part)) {
                    *total += value;
                }
            }
            let size = [rows, lanes.min(outputs - first)];
            transpose(level, &total, lanes, &mut out[row..], g.depth(), size);
            row += rows;
        }
    };
    if g.outputs * g.depth() < super::SMALL {
        slices.for_each(finish);
    } else {
        slices.collect::<Vec<_>>().into_par_iter().for_each(finish);
    }
}

/// The sum of every channel of `x [batch, channels, len]` over samples and positions: the gradient
/// of a bias.
pub(crate) fn bias_gradient(channels: usize, len: usize, x: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), channels);
    let work = |(channel, out): (usize, &mut f32)| {
        let planes = x.chunks_exact(len).skip(channel).step_by(channels);
        *out = planes.map(|x| sums(len, |i| [x[i]])[0]).sum();
    };
    let each = out.par_iter_mut().enumerate();
    each.with_min_len(channels.div_ceil(TASKS)).for_each(work);
}
