//! The convolution and its adjoint: both gather from a padded image.

mod shared;

use super::layout::{Panel, lanes, pad, panels, transpose};
use super::micro::{LANES, Level, Product, product};
use super::with_scratch;
use crate::conv::Padding;
use crate::memory::Buffer;
use rayon::prelude::*;

/// Output pixels that are computed before they are written: their sums stay in the L1 cache.
const STRIP: usize = 64;

/// The same where the weights of a panel do not stay in the L2 cache: so many pixels share each
/// transfer.
const WIDE_STRIP: usize = 256;

/// Weights of a panel that do.
const CACHED: usize = 1 << 15;

/// Taps per round, so that their weights stay in the L1 cache while a strip passes over them.
const DEPTH: usize = 128;

/// The shape of a convolution from `inputs` to `outputs` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub batch: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// Height and width of the convolution's input.
    pub input: [usize; 2],
    /// Height and width of the convolution's output.
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: Padding,
}

impl Geometry {
    pub(crate) fn input_pixels(&self) -> usize {
        self.input[0] * self.input[1]
    }

    pub(crate) fn output_pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Whether this is a product at every pixel, and of a matrix that is worth packing.
    pub(crate) fn is_large_product(&self) -> bool {
        const LARGE: usize = 1 << 16;
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.padding == Padding::NONE
            && self.inputs * self.outputs >= LARGE
    }

    /// Taps of one output value: input channels times kernel positions.
    pub(crate) fn depth(&self) -> usize {
        self.inputs * self.kernel[0] * self.kernel[1]
    }
}

/// What happens to every value of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct After<'a> {
    /// Added, one number per channel.
    pub bias: Option<&'a [f32]>,
    /// Then negative values are multiplied with this; 1 leaves them.
    pub slope: f32,
}

impl After<'_> {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self {
        bias: None,
        slope: 1.0,
    };

    pub(crate) fn apply(&self, channel: usize, values: &mut [f32]) {
        if self.bias.is_none() && self.slope == 1.0 {
            return;
        }
        let bias = self.bias.map_or(0.0, |bias| bias[channel]);
        if self.slope == 1.0 {
            values.iter_mut().for_each(|value| *value += bias);
        } else {
            for value in values {
                let sum = *value + bias;
                *value = if sum > 0.0 { sum } else { sum * self.slope };
            }
        }
    }
}

/// Consecutive pixels of one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub sample: usize,
    pub start: usize,
    pub len: usize,
}

/// The pixels of a strip that share their taps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase {
    /// Where each pixel's window starts in the padded group.
    pub rows: Vec<u32>,
    /// Which pixel of the strip it is.
    pub pixels: Vec<u32>,
}

/// Output pixels that are computed together.
#[derive(Clone, Debug)]
pub(crate) struct Strip {
    pub segments: Vec<Segment>,
    pub phases: Vec<Phase>,
}

/// Where a gathering operation reads and what it writes.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    /// Samples of a full group.
    pub group: usize,
    pub strips: Vec<Strip>,
    /// Per phase: what each step of the sum adds to a window's start.
    pub taps: Vec<Vec<u32>>,
    /// Channels, height and width of one padded sample.
    channels: usize,
    padded: [usize; 2],
    /// Height and width of the image before padding, and where it lies in the padded one.
    source: [usize; 2],
    at: [usize; 2],
    target_pixels: usize,
}

impl Gather {
    /// The forward convolution. `None` where offsets would not fit 32 bits.
    pub(crate) fn forward(g: &Geometry) -> Option<Self> {
        Self::forward_in(g, strip(g.depth()))
    }

    /// [`Self::forward`] in strips of about `strip` output pixels.
    pub(crate) fn forward_in(g: &Geometry, strip: usize) -> Option<Self> {
        let [kh, kw] = g.kernel;
        let padded: [usize; 2] =
            std::array::from_fn(|axis| (g.output[axis] - 1) * g.stride[axis] + g.kernel[axis]);
        let plane = padded[0] * padded[1];
        let mut taps = Vec::with_capacity(g.depth());
        for channel in 0..g.inputs {
            for y in 0..kh {
                taps.extend((0..kw).map(|x| (channel * plane + y * padded[1] + x) as u32));
            }
        }
        let mut gather = Self {
            group: group(g.batch, g.output_pixels(), strip),
            strips: Vec::new(),
            taps: vec![taps],
            channels: g.inputs,
            padded,
            source: g.input,
            at: g.padding.before,
            target_pixels: g.output_pixels(),
        };
        gather.fits()?;
        gather.lay(g.output, strip, |y, x| {
            (0, y * g.stride[0] * padded[1] + x * g.stride[1])
        });
        Some(gather)
    }

    /// The adjoint: from the output's gradient to the input's. A pixel of the input meets only
    /// every `stride`-th kernel position, which ones depends on its coordinates modulo the stride:
    /// its phase.
    pub(crate) fn adjoint(g: &Geometry) -> Option<Self> {
        let [kh, kw] = g.kernel;
        let strip = strip(g.outputs * kh * kw) * (g.stride[0] * g.stride[1]).min(4);
        let margin: [usize; 2] =
            std::array::from_fn(|axis| g.kernel[axis].saturating_sub(1) / g.stride[axis]);
        let before = g.padding.before;
        let padded: [usize; 2] = std::array::from_fn(|axis| {
            margin[axis] + (g.input[axis] - 1 + before[axis]) / g.stride[axis] + 1
        });
        let plane = padded[0] * padded[1];
        let mut taps = Vec::new();
        for (positions_y, positions_x) in phases(g) {
            let mut offsets = Vec::new();
            for channel in 0..g.outputs {
                for &ky in &positions_y {
                    let y = margin[0] - ky / g.stride[0];
                    offsets.extend(positions_x.iter().map(|kx| {
                        (channel * plane + y * padded[1] + margin[1] - kx / g.stride[1]) as u32
                    }));
                }
            }
            taps.push(offsets);
        }
        let mut gather = Self {
            group: group(g.batch, g.input_pixels(), strip),
            strips: Vec::new(),
            taps,
            channels: g.outputs,
            padded,
            source: g.output,
            at: margin,
            target_pixels: g.input_pixels(),
        };
        gather.fits()?;
        gather.lay(g.input, strip, |y, x| {
            let (y, x) = (y + before[0], x + before[1]);
            let phase = y % g.stride[0] * g.stride[1] + x % g.stride[1];
            (phase, y / g.stride[0] * padded[1] + x / g.stride[1])
        });
        Some(gather)
    }

    /// Values of one padded sample.
    fn padded_sample(&self) -> usize {
        self.channels * self.padded[0] * self.padded[1]
    }

    /// Values of a padded group.
    pub(crate) fn padded_len(&self) -> usize {
        self.group * self.padded_sample()
    }

    fn fits(&self) -> Option<()> {
        let largest = self.group.checked_mul(self.padded_sample())?;
        (largest <= u32::MAX as usize).then_some(())
    }

    /// Fills `strips`, given each pixel's phase and window.
    fn lay(
        &mut self,
        [height, width]: [usize; 2],
        strip: usize,
        place: impl Fn(usize, usize) -> (usize, usize),
    ) {
        let pixels = height * width;
        let cuts: Vec<Vec<Segment>> = if self.group == 1 {
            (0..pixels)
                .step_by(strip)
                .map(|start| {
                    let len = strip.min(pixels - start);
                    vec![Segment {
                        sample: 0,
                        start,
                        len,
                    }]
                })
                .collect()
        } else {
            let whole = |sample| Segment {
                sample,
                start: 0,
                len: pixels,
            };
            vec![(0..self.group).map(whole).collect()]
        };
        for segments in cuts {
            let mut phases = vec![Phase::default(); self.taps.len()];
            let mut count = 0;
            for segment in &segments {
                for pixel in segment.start..segment.start + segment.len {
                    let (phase, offset) = place(pixel / width, pixel % width);
                    let row = segment.sample * self.padded_sample() + offset;
                    phases[phase].rows.push(row as u32);
                    phases[phase].pixels.push(count);
                    count += 1;
                }
            }
            self.strips.push(Strip { segments, phases });
        }
    }

    /// Copies `samples` samples into `padded`.
    pub(crate) fn pad(&self, samples: &[f32], padded: &mut [f32]) {
        pad(samples, self.source, padded, self.padded, self.at);
    }

    /// Values of scratch that [`Self::run`] needs.
    pub(crate) fn strip_len(&self) -> usize {
        let pixels = |strip: &Strip| strip.segments.iter().map(|s| s.len).sum::<usize>();
        LANES * self.strips.iter().map(pixels).max().unwrap_or(0)
    }

    /// Computes all channels of `samples` samples from their `padded` images.
    pub(crate) fn run(
        &self,
        level: Level,
        samples: usize,
        padded: &[f32],
        weights: &Packed,
        after: After,
        sums: &mut [f32],
        out: &mut [f32],
    ) {
        let mut dest = Vec::new();
        for strip in &self.strips {
            for (index, panel) in panels(weights.channels).enumerate() {
                self.sum(
                    level,
                    samples,
                    padded,
                    weights,
                    strip,
                    (index, panel),
                    &mut dest,
                    sums,
                );
                let mut from = 0;
                for segment in strip.segments.iter().filter(|s| s.sample < samples) {
                    let plane = segment.sample * weights.channels + panel.first;
                    let to = &mut out[plane * self.target_pixels + segment.start..];
                    let size = [segment.len, panel.channels];
                    let sums = &sums[from * panel.lanes..];
                    transpose(level, sums, panel.lanes, to, self.target_pixels, size);
                    let planes = to.chunks_mut(self.target_pixels);
                    for (channel, to) in planes.take(panel.channels).enumerate() {
                        after.apply(panel.first + channel, &mut to[..segment.len]);
                    }
                    from += segment.len;
                }
            }
        }
    }

    /// The sums of one strip and one panel of channels, pixels first.
    fn sum(
        &self,
        level: Level,
        samples: usize,
        padded: &[f32],
        weights: &Packed,
        strip: &Strip,
        (index, panel): (usize, Panel),
        dest: &mut Vec<u32>,
        sums: &mut [f32],
    ) {
        for (phase, (places, taps)) in strip.phases.iter().zip(&self.taps).enumerate() {
            // A partial group holds a prefix of every phase.
            let count = places.rows.len() * samples / self.group;
            dest.clear();
            dest.extend(
                places.pixels[..count]
                    .iter()
                    .map(|p| p * panel.lanes as u32),
            );
            let w = weights.panel(phase, index, taps.len());
            let mut first = 0;
            loop {
                let last = taps.len().min(first + DEPTH);
                let step = Product {
                    x: padded,
                    w: &w[first * panel.lanes..],
                    rows: &places.rows[..count],
                    taps: &taps[first..last],
                    dest,
                    accumulate: first > 0,
                };
                product(level, sums, &step, panel.lanes);
                first = last;
                if first == taps.len() {
                    break;
                }
            }
        }
    }
}

/// The kernel positions of every phase of the adjoint, vertical and horizontal.
fn phases(g: &Geometry) -> impl Iterator<Item = (Vec<usize>, Vec<usize>)> {
    let [kh, kw] = g.kernel;
    let [sy, sx] = g.stride;
    (0..sy).flat_map(move |y| {
        (0..sx).map(move |x| {
            let positions = |from, to, by| (from..to).step_by(by).collect();
            (positions(y, kh, sy), positions(x, kw, sx))
        })
    })
}

/// Pixels of a strip whose values are sums over `depth` taps.
fn strip(depth: usize) -> usize {
    if depth * LANES > CACHED {
        WIDE_STRIP
    } else {
        STRIP
    }
}

/// How many samples make a group: one, or as many small ones as fill a strip.
fn group(batch: usize, pixels: usize, strip: usize) -> usize {
    strip.div_ceil(pixels).min(batch).max(1)
}

/// Weights in panels of output lanes, `[phase][panel][tap][lane]`.
pub(crate) struct Packed {
    channels: usize,
    phases: Vec<Buffer>,
}

impl Packed {
    /// For [`Gather::forward`]: `weight` is `[out, in, kernel height, kernel width]`.
    pub(crate) fn forward(level: Level, g: &Geometry, weight: &[f32]) -> Self {
        let depth = g.depth();
        let mut packed = Buffer::new(depth * lanes(g.outputs));
        pack_panels(g.outputs, depth, &mut packed, |panel, to| {
            let from = &weight[panel.first * depth..];
            transpose(level, from, depth, to, panel.lanes, [panel.channels, depth]);
        });
        Self {
            channels: g.outputs,
            phases: vec![packed],
        }
    }

    /// For [`Gather::adjoint`], from the same weight.
    pub(crate) fn adjoint(g: &Geometry, weight: &[f32]) -> Self {
        let [kh, kw] = g.kernel;
        let pack = |(positions_y, positions_x): (Vec<usize>, Vec<usize>)| {
            let depth = g.outputs * positions_y.len() * positions_x.len();
            let mut packed = Buffer::new(depth * lanes(g.inputs));
            pack_panels(g.inputs, depth, &mut packed, |panel, to| {
                let mut rows = to.chunks_exact_mut(panel.lanes);
                for output in 0..g.outputs {
                    let from = &weight[(output * g.inputs + panel.first) * kh * kw..];
                    for y in &positions_y {
                        for (x, row) in positions_x.iter().zip(&mut rows) {
                            let from = from[y * kw + x..].iter().step_by(kh * kw);
                            for (to, from) in row[..panel.channels].iter_mut().zip(from) {
                                *to = *from;
                            }
                        }
                    }
                }
            });
            packed
        };
        Self {
            channels: g.inputs,
            phases: phases(g).map(pack).collect(),
        }
    }

    fn panel(&self, phase: usize, index: usize, depth: usize) -> &[f32] {
        &self.phases[phase][index * depth * LANES..]
    }
}

/// Fills the panels of `channels` channels, `[depth][lanes]` each, by `fill`; lanes without a channel
/// become zero.
fn pack_panels(
    channels: usize,
    depth: usize,
    packed: &mut [f32],
    fill: impl Fn(Panel, &mut [f32]) + Sync,
) {
    if depth == 0 {
        return;
    }
    let all: Vec<Panel> = panels(channels).collect();
    let each = packed.par_chunks_mut(LANES * depth).zip(all);
    each.with_min_len(super::rows::CHUNK.div_ceil(LANES * depth))
        .for_each(|(to, panel)| {
            if panel.channels < panel.lanes {
                to.fill(0.0);
            }
            fill(panel, to);
        });
}

/// `out = after(conv2d(x, weight))`.
pub(crate) fn forward(
    level: Level,
    gather: &Gather,
    g: &Geometry,
    x: &[f32],
    weight: &[f32],
    after: After,
    out: &mut [f32],
) {
    let packed = Packed::forward(level, g, weight);
    let sizes = [g.inputs * g.input_pixels(), g.outputs * g.output_pixels()];
    drive(level, gather, &packed, x, after, out, sizes);
}

/// `out = after(conv_transpose2d(y, weight))`, for the geometry of the convolution that this is the
/// adjoint of.
pub(crate) fn adjoint(
    level: Level,
    gather: &Gather,
    g: &Geometry,
    y: &[f32],
    weight: &[f32],
    after: After,
    out: &mut [f32],
) {
    let packed = Packed::adjoint(g, weight);
    let sizes = [g.outputs * g.output_pixels(), g.inputs * g.input_pixels()];
    drive(level, gather, &packed, y, after, out, sizes);
}

/// Runs `gather` over all groups, where a sample has `sizes` values before and after.
pub(crate) fn drive(
    level: Level,
    gather: &Gather,
    packed: &Packed,
    from: &[f32],
    after: After,
    to: &mut [f32],
    sizes: [usize; 2],
) {
    let groups = from.len().div_ceil(gather.group * sizes[0]);
    let threads = rayon::current_num_threads();
    if threads > 1 && groups < 2 * threads {
        let from = from.chunks(gather.group * sizes[0]);
        for (from, to) in from.zip(to.chunks_mut(gather.group * sizes[1])) {
            let samples = from.len() / sizes[0];
            gather.run_shared(level, samples, from, packed, after, to);
        }
        return;
    }
    let from = from.par_chunks(gather.group * sizes[0]);
    let to = to.par_chunks_mut(gather.group * sizes[1]);
    from.zip(to).for_each(|(from, to)| {
        with_scratch(gather.padded_len() + gather.strip_len(), |scratch| {
            let (padded, sums) = scratch.split_at_mut(gather.padded_len());
            gather.pad(from, padded);
            let samples = from.len() / sizes[0];
            gather.run(level, samples, padded, packed, after, sums, to);
        });
    });
}
