//! Magnitudes of the short-time Fourier transform, and their gradient.

use super::layout::transpose;
use super::micro::Level;
use super::parts::Parts;
use rayon::prelude::*;
use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Frames that one thread takes at a time: a cache line of every frequency's row.
const FRAMES: usize = 16;

/// Frames whose gradients are added up before they meet their neighbours'.
const OVERLAP: usize = 128;

/// Plans are made once per length.
static PLANNER: LazyLock<Mutex<RealFftPlanner<f32>>> =
    LazyLock::new(|| Mutex::new(RealFftPlanner::new()));

/// The transform of `batch` signals of `len` values.
#[derive(Clone)]
pub(crate) struct Transform {
    pub batch: usize,
    pub len: usize,
    pub hop: usize,
    /// Values that reflection adds on either side.
    pub padding: usize,
    pub frames: usize,
    /// As many values as the transform is long.
    pub window: Arc<[f32]>,
    /// Factor of the magnitudes.
    pub scale: f32,
}

impl std::fmt::Debug for Transform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transform")
            .field("batch", &self.batch)
            .field("len", &self.len)
            .field("size", &self.window.len())
            .finish_non_exhaustive()
    }
}

impl Transform {
    fn size(&self) -> usize {
        self.window.len()
    }

    pub(crate) fn frequencies(&self) -> usize {
        self.size() / 2 + 1
    }

    /// Values of all spectra, `[batch][frames][frequencies]`.
    pub(crate) fn spectra(&self) -> usize {
        self.batch * self.frames * self.frequencies()
    }

    /// The sample and the first frame of every piece of work.
    fn pieces(&self, frames: usize) -> Vec<(usize, usize)> {
        let starts = |sample| (0..self.frames).step_by(frames).map(move |at| (sample, at));
        (0..self.batch).flat_map(starts).collect()
    }

    /// The signal's value at a place of the padded one.
    fn reflect(&self, place: usize) -> usize {
        match place.checked_sub(self.padding) {
            None => self.padding - place,
            Some(at) if at < self.len => at,
            Some(at) => 2 * (self.len - 1) - at,
        }
    }

    /// Windows the frame that starts at `first` of the padded signal.
    fn frame(&self, signal: &[f32], first: usize, to: &mut [f32]) {
        let inside = first
            .checked_sub(self.padding)
            .and_then(|first| signal.get(first..first + to.len()));
        match inside {
            Some(signal) => {
                for ((to, value), window) in to.iter_mut().zip(signal).zip(&*self.window) {
                    *to = value * window;
                }
            }
            None => {
                for (place, (to, window)) in (first..).zip(to.iter_mut().zip(&*self.window)) {
                    *to = signal[self.reflect(place)] * window;
                }
            }
        }
    }

    /// Magnitudes `[batch][frequencies][frames]` of the signals `x [batch][len]`, and their spectra
    /// where there is room for them.
    ///
    /// # Panics
    /// If a slice has another length.
    pub(crate) fn magnitudes(
        &self,
        level: Level,
        x: &[f32],
        spectra: Option<&mut [Complex32]>,
        out: &mut [f32],
    ) {
        let (size, bins, frames) = (self.size(), self.frequencies(), self.frames);
        assert_eq!(x.len(), self.batch * self.len);
        assert_eq!(out.len(), self.spectra());
        let out = Parts::new(out);
        let plan = plan(|planner| planner.plan_fft_forward(size));
        let work = |room: &mut Room,
                    (sample, first): (usize, usize),
                    kept: Option<&mut [Complex32]>| {
            let count = FRAMES.min(frames - first);
            let signal = &x[sample * self.len..][..self.len];
            let mut kept = kept.map(|kept| kept.chunks_exact_mut(bins));
            for (frame, magnitudes) in room.lines.chunks_exact_mut(bins).take(count).enumerate() {
                self.frame(signal, (first + frame) * self.hop, &mut room.frame);
                // The plan only fails for slices of another length than it asks for.
                let done = plan.process_with_scratch(
                    &mut room.frame,
                    &mut room.spectrum,
                    &mut room.scratch,
                );
                debug_assert!(done.is_ok());
                for (to, value) in magnitudes.iter_mut().zip(&room.spectrum) {
                    *to = self.scale * (value.re * value.re + value.im * value.im).sqrt();
                }
                if let Some(kept) = kept.as_mut().and_then(Iterator::next) {
                    kept.copy_from_slice(&room.spectrum);
                }
            }
            let mut block = [0.0; FRAMES * FRAMES];
            for bin in (0..bins).step_by(FRAMES) {
                let rows = FRAMES.min(bins - bin);
                transpose(
                    level,
                    &room.lines[bin..],
                    bins,
                    &mut block,
                    FRAMES,
                    [FRAMES, rows],
                );
                for (row, values) in block.chunks_exact(FRAMES).take(rows).enumerate() {
                    let at = (sample * bins + bin + row) * frames + first;
                    // SAFETY: these frames are this piece's alone.
                    unsafe { out.part(at, count) }.copy_from_slice(&values[..count]);
                }
            }
        };
        let room = || Room::new(&*plan, bins);
        let pieces = self.pieces(FRAMES);
        let Some(spectra) = spectra else {
            let each = pieces.into_par_iter();
            each.for_each_init(room, |room, piece| work(room, piece, None));
            return;
        };
        assert_eq!(spectra.len(), self.spectra());
        let mut rest = spectra;
        let mut kept = Vec::with_capacity(pieces.len());
        for &(_, first) in &pieces {
            let (part, left) = rest.split_at_mut(FRAMES.min(frames - first) * bins);
            kept.push(part);
            rest = left;
        }
        pieces
            .into_par_iter()
            .zip(kept)
            .for_each_init(room, |room, (piece, kept)| work(room, piece, Some(kept)));
    }

    /// The gradient of the signals from that of the magnitudes; zero where a magnitude is zero.
    ///
    /// # Panics
    /// If a slice has another length.
    pub(crate) fn gradient(
        &self,
        level: Level,
        spectra: &[Complex32],
        gradient: &[f32],
        out: &mut [f32],
    ) {
        let (size, bins, frames) = (self.size(), self.frequencies(), self.frames);
        assert_eq!(spectra.len(), self.spectra());
        assert_eq!(gradient.len(), self.spectra());
        assert_eq!(out.len(), self.batch * self.len);
        let plan = plan(|planner| planner.plan_fft_inverse(size));
        let work = |room: &mut Room, (sample, first): (usize, usize)| {
            let count = OVERLAP.min(frames - first);
            let mut sums = vec![0.0; (count - 1) * self.hop + size];
            for start in (0..count).step_by(FRAMES) {
                let some = FRAMES.min(count - start);
                let from = &gradient[sample * bins * frames + first + start..];
                transpose(level, from, frames, &mut room.lines, bins, [bins, some]);
                for frame in start..start + some {
                    let line = &room.lines[(frame - start) * bins..][..bins];
                    let kept = &spectra[(sample * frames + first + frame) * bins..][..bins];
                    for ((to, value), gradient) in room.spectrum.iter_mut().zip(kept).zip(line) {
                        let magnitude = (value.re * value.re + value.im * value.im).sqrt();
                        // The inverse transform counts all but the ends twice.
                        let factor = if magnitude > 0.0 {
                            0.5 * gradient / magnitude
                        } else {
                            0.0
                        };
                        *to = value * factor;
                    }
                    // The ends are real: frequency zero and, for an even length, half the rate.
                    let end = if size.is_multiple_of(2) { bins - 1 } else { 0 };
                    for at in [0, end] {
                        let (value, kept) = (&mut room.spectrum[at], kept[at]);
                        *value = Complex32::new(line[at] * kept.re.signum(), 0.0);
                        if kept.re == 0.0 {
                            value.re = 0.0;
                        }
                    }
                    let done = plan.process_with_scratch(
                        &mut room.spectrum,
                        &mut room.frame,
                        &mut room.scratch,
                    );
                    debug_assert!(done.is_ok());
                    let to = &mut sums[frame * self.hop..][..size];
                    for ((to, value), window) in to.iter_mut().zip(&room.frame).zip(&*self.window) {
                        *to += value * window;
                    }
                }
            }
            sums
        };
        let room = || Room::inverse(&*plan, bins);
        let pieces = self.pieces(OVERLAP);
        let sums: Vec<Vec<f32>> = pieces
            .par_iter()
            .map_init(room, |room, &piece| work(room, piece))
            .collect();
        let each = frames.div_ceil(OVERLAP);
        out.par_chunks_exact_mut(self.len)
            .zip(sums.par_chunks_exact(each))
            .for_each(|(out, sums)| {
                out.fill(0.0);
                for (piece, sums) in sums.iter().enumerate() {
                    let first = piece * OVERLAP * self.hop;
                    self.fold(first, sums, out);
                }
                out.iter_mut().for_each(|value| *value *= self.scale);
            });
    }

    /// Adds values of the padded signal from `first` on to the places that they came from.
    fn fold(&self, first: usize, values: &[f32], out: &mut [f32]) {
        let inside = self.padding.saturating_sub(first).min(values.len());
        let (before, rest) = values.split_at(inside);
        let start = (first + inside).saturating_sub(self.padding);
        let (middle, after) = rest.split_at(rest.len().min(self.len.saturating_sub(start)));
        for (place, value) in (first..).zip(before) {
            out[self.reflect(place)] += value;
        }
        for (out, value) in out[start.min(self.len)..].iter_mut().zip(middle) {
            *out += value;
        }
        for (place, value) in (first + inside + middle.len()..).zip(after) {
            out[self.reflect(place)] += value;
        }
    }
}

fn plan<T>(make: impl FnOnce(&mut RealFftPlanner<f32>) -> T) -> T {
    make(&mut PLANNER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What a thread works in.
struct Room {
    frame: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
    /// `[FRAMES][frequencies]`.
    lines: Vec<f32>,
}

impl Room {
    fn new(plan: &dyn RealToComplex<f32>, bins: usize) -> Self {
        Self {
            frame: plan.make_input_vec(),
            spectrum: plan.make_output_vec(),
            scratch: plan.make_scratch_vec(),
            lines: vec![0.0; FRAMES * bins],
        }
    }

    fn inverse(plan: &dyn ComplexToReal<f32>, bins: usize) -> Self {
        Self {
            frame: plan.make_output_vec(),
            spectrum: plan.make_input_vec(),
            scratch: plan.make_scratch_vec(),
            lines: vec![0.0; FRAMES * bins],
        }
    }
}
