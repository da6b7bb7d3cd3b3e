//! A convolution and the normalisation of its maps, a group of samples at a time: what the one
//! writes, the other finds in the cache. Backward the normalisation's gradient feeds both
//! gradients of the convolution in the same way.

use super::conv::{After, Gather, Packed};
use super::micro::Level;
use super::norm::{Gain, Norm, backward_plane, forward_plane};
use super::weight::WeightGradient;
use super::with_scratch;
use rayon::prelude::*;

/// What both passes share.
pub(crate) struct Shape<'a> {
    pub level: Level,
    pub norm: &'a Norm,
    pub gain: Gain<'a>,
    /// Values of one sample before and after the convolution.
    pub sizes: [usize; 2],
    /// Channels after the convolution.
    pub channels: usize,
}

impl Shape<'_> {
    fn pixels(&self) -> usize {
        self.sizes[1] / self.channels
    }

    /// Convolves a group into `maps` and normalises them into `out`.
    fn group(
        &self,
        gather: &Gather,
        packed: &Packed,
        first_plane: usize,
        x: &[f32],
        [padded, sums, maps]: [&mut [f32]; 3],
        out: &mut [f32],
        statistics: &mut [[f32; 2]],
    ) {
        gather.pad(x, padded);
        let samples = x.len() / self.sizes[0];
        gather.run(
            self.level,
            samples,
            padded,
            packed,
            After::NOTHING,
            sums,
            maps,
        );
        let planes = maps
            .chunks_exact(self.pixels())
            .zip(out.chunks_exact_mut(self.pixels()));
        for (plane, ((maps, out), statistics)) in planes.zip(statistics).enumerate() {
            let gain = self.gain.at(first_plane + plane, self.channels);
            *statistics = forward_plane(self.level, self.norm, gain, maps, out);
        }
    }
}

/// The normalised maps; without `maps` to keep them in, the convolution's own stay in scratch.
pub(crate) fn forward(
    shape: &Shape,
    gather: &Gather,
    packed: &Packed,
    x: &[f32],
    maps: Option<&mut [f32]>,
    out: &mut [f32],
    statistics: &mut [[f32; 2]],
) {
    let group = gather.group;
    let group_maps = group * shape.sizes[1];
    let lens = [gather.padded_len(), gather.strip_len()];
    let groups = x
        .par_chunks(group * shape.sizes[0])
        .zip(out.par_chunks_mut(group_maps))
        .zip(statistics.par_chunks_mut(group * shape.channels))
        .enumerate();
    match maps {
        Some(maps) => groups.zip(maps.par_chunks_mut(group_maps)).for_each(
            |((index, ((x, out), statistics)), maps)| {
                with_scratch(lens[0] + lens[1], |scratch| {
                    let (padded, sums) = scratch.split_at_mut(lens[0]);
                    let first = index * group * shape.channels;
                    let scratch = [padded, sums, maps];
                    shape.group(gather, packed, first, x, scratch, out, statistics);
                });
            },
        ),
        None => groups.for_each(|(index, ((x, out), statistics))| {
            with_scratch(lens[0] + lens[1] + out.len(), |scratch| {
                let (padded, rest) = scratch.split_at_mut(lens[0]);
                let (sums, maps) = rest.split_at_mut(lens[1]);
                let first = index * group * shape.channels;
                shape.group(
                    gather,
                    packed,
                    first,
                    x,
                    [padded, sums, maps],
                    out,
                    statistics,
                );
            });
        }),
    }
}

/// The tensors of a backward pass.
pub(crate) struct Backward<'a> {
    pub x: &'a [f32],
    /// The convolution's own output and its statistics, from the forward pass.
    pub maps: &'a [f32],
    pub statistics: &'a [[f32; 2]],
    /// The gradient of the block's output.
    pub dy: &'a [f32],
    /// How the input's gradient is gathered from the maps', if it is wanted.
    pub input: Option<(&'a Gather, &'a Packed)>,
    /// How the weight's is summed, if it is wanted.
    pub weight: &'a WeightGradient,
    pub weight_wanted: bool,
    /// Whether the maps play the input's part in the weight gradient (a transposed convolution).
    pub adjoint: bool,
}

/// A run of samples with the parts of the results that belong to it.
struct Part<'a> {
    first: usize,
    dx: &'a mut [f32],
    gains: &'a mut [[f32; 2]],
}

/// Fills `dx` (empty if it is not wanted) and every plane's gradients of gain and shift; returns
/// partial sums of the weight's gradient.
pub(crate) fn backward(
    shape: &Shape,
    b: &Backward,
    mut dx: &mut [f32],
    mut gains: &mut [[f32; 2]],
) -> Vec<Vec<f32>> {
    let [before, after] = shape.sizes;
    let batch = b.x.len() / before;
    // Samples per round: enough for whole groups of the kernels.
    let unit = b
        .weight
        .group()
        .max(b.input.map_or(1, |(gather, _)| gather.group));
    let mut parts = Vec::new();
    for samples in super::weight::parts(batch.div_ceil(unit)) {
        let [start, end] = [samples.start, samples.end].map(|round| (round * unit).min(batch));
        let len = if b.input.is_some() {
            (end - start) * before
        } else {
            0
        };
        let (part_dx, rest_dx) = std::mem::take(&mut dx).split_at_mut(len);
        let planes = (end - start) * shape.channels;
        let (part_gains, rest_gains) = std::mem::take(&mut gains).split_at_mut(planes);
        (dx, gains) = (rest_dx, rest_gains);
        parts.push(Part {
            first: start,
            dx: part_dx,
            gains: part_gains,
        });
    }
    let [weight_padded, spread] = b.weight.scratch_len();
    let [padded, strip] = b.input.map_or([0, 0], |(gather, _)| {
        [gather.padded_len(), gather.strip_len()]
    });
    let (padded, strip) = (padded.max(weight_padded), strip.max(spread));
    let work = |part: Part| {
        let mut sums = vec![
            0.0;
            if b.weight_wanted {
                b.weight.sums_len()
            } else {
                0
            }
        ];
        with_scratch(unit * after + padded + strip, |scratch| {
            let (dmaps, rest) = scratch.split_at_mut(unit * after);
            let (padded, strip) = rest.split_at_mut(padded);
            let mut dx = part.dx.chunks_mut(unit * before);
            for (round, gains) in part.gains.chunks_mut(unit * shape.channels).enumerate() {
                let first = part.first + round * unit;
                let samples = gains.len() / shape.channels;
                let dmaps = &mut dmaps[..samples * after];
                maps_gradient(shape, b, first, dmaps, gains);
                if b.weight_wanted {
                    let x = &b.x[first * before..][..samples * before];
                    let [(x, x_len), (dy, dy_len)] = match b.adjoint {
                        false => [(x, before), (&*dmaps, after)],
                        true => [(&*dmaps, after), (x, before)],
                    };
                    let group = b.weight.group();
                    let groups = x.chunks(group * x_len).zip(dy.chunks(group * dy_len));
                    for (index, (x, dy)) in groups.enumerate() {
                        let fresh = round == 0 && index == 0;
                        b.weight
                            .add(shape.level, x, dy, [padded, strip], &mut sums, fresh);
                    }
                }
                let (Some((gather, packed)), Some(dx)) = (b.input, dx.next()) else {
                    continue;
                };
                let groups = dmaps.chunks(gather.group * after);
                for (dmaps, dx) in groups.zip(dx.chunks_mut(gather.group * before)) {
                    gather.pad(dmaps, padded);
                    let samples = dmaps.len() / after;
                    gather.run(
                        shape.level,
                        samples,
                        padded,
                        packed,
                        After::NOTHING,
                        strip,
                        dx,
                    );
                }
            }
        });
        sums
    };
    parts.into_par_iter().map(work).collect()
}

/// The gradient of the convolution's maps for the samples from `first` on.
fn maps_gradient(
    shape: &Shape,
    b: &Backward,
    first: usize,
    dmaps: &mut [f32],
    gains: &mut [[f32; 2]],
) {
    let pixels = shape.pixels();
    let first_plane = first * shape.channels;
    for (plane, (dmaps, gains)) in dmaps.chunks_exact_mut(pixels).zip(gains).enumerate() {
        let plane = first_plane + plane;
        let at = plane * pixels..(plane + 1) * pixels;
        let gain = shape.gain.at(plane, shape.channels);
        let (maps, dy) = (&b.maps[at.clone()], &b.dy[at]);
        let statistics = b.statistics[plane];
        *gains = backward_plane(shape.level, shape.norm, statistics, gain, maps, dy, dmaps);
    }
}
