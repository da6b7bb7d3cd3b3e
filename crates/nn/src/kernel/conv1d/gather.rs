//! Where the passes of a convolution read.

use super::super::micro::Level;
use super::Geometry;
use super::pack::{LINE, Packed, Source};
use super::tile::{Step, Steps, VECTOR, height};
use super::window::{Layout, Piece};

/// Values of a window at most: a quarter of the second cache.
const WINDOW: usize = 1 << 17;

/// Columns of a stripe at most, and what they are rounded up to.
const STRIPE: usize = 1024;
const ROUND: usize = 64;

/// Stripes and cuts of rows that the work is cut into at least, where there is enough of it.
pub(super) const TASKS: usize = 16;

/// Columns from which on packing the weight pays.
const PACK: usize = 96;

/// Channels of a block of a weight that is read across its rows: so many memory pages are followed
/// by the prefetcher.
const BLOCK: usize = 16;

/// A tap of the filter: which one, in which row of a channel's window it lies, at what offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    tap: usize,
    row: usize,
    offset: usize,
}

/// One direction of a convolution.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    pub(super) geometry: Geometry,
    pub(super) adjoint: bool,
    pub(super) layout: Layout,
    /// Columns of a sample's sums, and result positions between two of them: there are as many
    /// products (phases).
    pub(super) columns: usize,
    pub(super) stride: usize,
    /// Per phase.
    taps: Vec<Vec<Tap>>,
    pub(super) packs: bool,
    /// Rows of a panel.
    pub(super) height: usize,
}

impl Gather {
    /// From the input to the output. `None` where offsets would not fit 32 bits.
    pub(crate) fn forward(g: &Geometry) -> Option<Self> {
        let mut used = vec![false; g.stride];
        let place = |tap: usize| [tap * g.dilation % g.stride, tap * g.dilation / g.stride];
        (0..g.kernel).for_each(|tap| used[place(tap)[0]] = true);
        let layout = Layout::new(g.stride, &used, g.before, place(g.kernel - 1)[1]);
        let taps = (0..g.kernel).map(|tap| {
            let [phase, offset] = place(tap);
            let row = layout.row(phase);
            Tap { tap, row, offset }
        });
        Self::new(g, false, vec![taps.collect()], layout)
    }

    /// From the output back to the input. Position `v · stride + phase` of the input meets only taps
    /// with `v · stride + phase + before = t · stride + tap · dilation`.
    pub(crate) fn adjoint(g: &Geometry) -> Option<Self> {
        let stride = g.stride as isize;
        let shift = |phase: usize, tap: usize| {
            let difference = (phase + g.before) as isize - (tap * g.dilation) as isize;
            (difference % stride == 0).then_some(difference / stride)
        };
        let pairs = || (0..g.stride).flat_map(|phase| (0..g.kernel).map(move |tap| (phase, tap)));
        let shifts = || pairs().filter_map(|(phase, tap)| shift(phase, tap));
        let lead = (-shifts().min()?).max(0);
        let halo = (shifts().max()? + lead).max(0) as usize;
        let phase = |phase: usize| {
            let tap = |tap: usize| {
                let offset = (shift(phase, tap)? + lead) as usize;
                Some(Tap {
                    tap,
                    row: 0,
                    offset,
                })
            };
            (0..g.kernel).filter_map(tap).collect()
        };
        let taps = (0..g.stride).map(phase).collect();
        Self::new(g, true, taps, Layout::new(1, &[true], lead as usize, halo))
    }

    fn new(g: &Geometry, adjoint: bool, taps: Vec<Vec<Tap>>, layout: Layout) -> Option<Self> {
        let (columns, stride) = if adjoint {
            (g.input.div_ceil(g.stride), g.stride)
        } else {
            (g.output, 1)
        };
        let gather = Self {
            geometry: *g,
            adjoint,
            layout,
            columns,
            stride,
            taps,
            packs: g.batch * columns >= PACK,
            height: height(columns),
        };
        let [inputs, outputs] = gather.channels();
        let gather = Self {
            // All panels alike.
            height: outputs.div_ceil(outputs.div_ceil(gather.height)),
            ..gather
        };
        let largest = u32::MAX as usize;
        let window = gather.layout.pitch(STRIPE, STRIPE);
        let window = window.checked_mul(inputs.checked_mul(gather.layout.rows())?)?;
        let weight = inputs
            .checked_mul(g.kernel)?
            .checked_mul(outputs.max(LINE))?;
        (window <= largest && weight <= largest).then_some(gather)
    }

    /// Channels that a group reads and writes.
    pub(super) fn channels(&self) -> [usize; 2] {
        let [inputs, outputs] = self.geometry.channels();
        if self.adjoint {
            [outputs, inputs]
        } else {
            [inputs, outputs]
        }
    }

    /// Values of a channel that is read, and of one that is written.
    pub(super) fn lengths(&self) -> [usize; 2] {
        let g = &self.geometry;
        if self.adjoint {
            [g.output, g.input]
        } else {
            [g.input, g.output]
        }
    }

    /// Columns of a stripe.
    fn stripe(&self) -> usize {
        let rows = self.channels()[0] * self.layout.rows();
        let all = self.geometry.batch * self.columns;
        let share = (all * self.geometry.groups).div_ceil(TASKS);
        let most = (WINDOW / rows).min(share).next_multiple_of(ROUND);
        most.clamp(ROUND, STRIPE)
    }

    /// The pieces of every stripe.
    pub(super) fn stripes(&self) -> Vec<Vec<Piece>> {
        let (batch, stripe) = (self.geometry.batch, self.stripe());
        if self.columns >= stripe {
            let cuts = self.columns.div_ceil(stripe);
            let each = self.columns.div_ceil(cuts).next_multiple_of(2 * VECTOR);
            let starts = |sample| {
                let starts = (0..self.columns).step_by(each);
                starts.map(move |first| {
                    let columns = each.min(self.columns - first);
                    vec![Piece {
                        sample,
                        first,
                        columns,
                    }]
                })
            };
            return (0..batch).flat_map(starts).collect();
        }
        let samples: Vec<usize> = (0..batch).collect();
        let whole = |&sample: &usize| Piece {
            sample,
            first: 0,
            columns: self.columns,
        };
        let stripes = samples.chunks(stripe / self.columns);
        stripes
            .map(|group| group.iter().map(whole).collect())
            .collect()
    }

    /// From one row of the weight, and from one channel that is read, to the next.
    pub(super) fn weight_strides(&self) -> [usize; 2] {
        let g = &self.geometry;
        if self.adjoint {
            [g.kernel, g.depth()]
        } else {
            [g.depth(), g.kernel]
        }
    }

    /// The weight in panels, where that pays.
    pub(super) fn pack(&self, level: Level, weight: &[f32]) -> Option<Packed> {
        self.packs.then(|| {
            let source = Source {
                level,
                weight,
                groups: self.geometry.groups,
                channels: self.channels(),
                kernel: self.geometry.kernel,
                height: self.height,
            };
            if self.adjoint {
                Packed::adjoint(&source, &self.places())
            } else {
                Packed::forward(&source)
            }
        })
    }

    /// Of every tap of the forward direction: the row of a channel's window, and the offset in it.
    pub(super) fn window_places(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        self.taps[0].iter().map(|tap| [tap.row, tap.offset])
    }

    /// The line of every tap's first channel in a packed panel, and from one channel to the next.
    fn places(&self) -> Vec<[usize; 2]> {
        let mut places = vec![[0; 2]; self.geometry.kernel];
        let mut first = 0;
        for taps in &self.taps {
            for (at, tap) in taps.iter().enumerate() {
                places[tap.tap] = [first + at, taps.len()];
            }
            first += taps.len() * self.channels()[0];
        }
        places
    }

    /// The steps of every sum, by blocks of channels and phases, for windows with rows of `pitch`
    /// values.
    pub(super) fn steps(&self, pitch: usize) -> Vec<Vec<Steps>> {
        let inputs = self.channels()[0];
        let block = if self.adjoint && !self.packs {
            BLOCK
        } else {
            inputs
        };
        let next = self.weight_strides()[1];
        let places = self.places();
        let rows = self.layout.rows();
        let step = |channel: usize, tap: &Tap| {
            let left = if self.packs {
                let [first, step] = places[tap.tap];
                (first + channel * step) * LINE
            } else {
                channel * next + tap.tap
            };
            Step {
                left: left as u32,
                right: ((channel * rows + tap.row) * pitch + tap.offset) as u32,
            }
        };
        let starts = (0..inputs).step_by(block);
        let block = |first: usize| {
            let channels = first..inputs.min(first + block);
            let phase = |taps: &Vec<Tap>| {
                let steps = channels.clone().flat_map(|channel| {
                    let step = &step;
                    taps.iter().map(move |tap| step(channel, tap))
                });
                Steps::new(steps.collect())
            };
            self.taps.iter().map(phase).collect()
        };
        starts.map(block).collect()
    }
}
