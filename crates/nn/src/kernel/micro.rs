//! The one inner loop under every convolution, its adjoint and its weight gradient.
//!
//! All three are `out[j][..] += sum over k of x[rows[j] + taps[k]] * w[k][..]`: a matrix product
//! whose left factor is gathered from a padded image through two offset tables. Going forward,
//! `j` runs over pixels, `k` over (input channel, kernel position) and the vector over output
//! channels; for the weight gradient `j` and `k` change places and `w` is the output's gradient
//! with its channels last.

pub(crate) use crate::level::Level;

/// Output lanes of one panel: two AVX-512 registers.
pub(crate) const LANES: usize = 32;

/// Lanes of the narrowest panel, for few channels: one AVX register.
pub(crate) const NARROW: usize = 8;

/// Rows of the output held in registers at a time.
const ROWS: usize = 8;

/// One call's operands. Offsets count `f32`s.
pub(crate) struct Product<'a> {
    /// The padded image that is gathered from.
    pub x: &'a [f32],
    /// `[taps.len()][lanes]`.
    pub w: &'a [f32],
    /// Where in `x` every output row starts.
    pub rows: &'a [u32],
    /// What every step of the sum adds to that.
    pub taps: &'a [u32],
    /// Where in `out` every output row lies.
    pub dest: &'a [u32],
    /// Whether to add to `out` rather than to replace what it holds.
    pub accumulate: bool,
}

/// Runs `p` with `lanes` (8, 16 or 32) output lanes.
///
/// # Panics
/// If an offset or a length points outside of its slice.
pub(crate) fn product(level: Level, out: &mut [f32], p: &Product, lanes: usize) {
    assert!([LANES, LANES / 2, NARROW].contains(&lanes));
    assert_eq!(p.rows.len(), p.dest.len());
    assert!(p.w.len() >= p.taps.len() * lanes);
    let top = |offsets: &[u32]| offsets.iter().max().map_or(0, |&o| o as usize);
    assert!(p.rows.is_empty() || top(p.dest) + lanes <= out.len());
    assert!(p.rows.is_empty() || p.taps.is_empty() || top(p.rows) + top(p.taps) < p.x.len());
    // SAFETY: the assertions above bound every offset that the loops form; a level other than
    // `Portable` is only made by `Level::detect` (or by a test that has asked for the feature).
    unsafe {
        match (level, lanes) {
            // Every processor with AVX-512 has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512 | Level::Avx2, NARROW) => x86::narrow(out.as_mut_ptr(), p),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, LANES) => x86::avx512::<2>(out.as_mut_ptr(), p),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, _) => x86::avx512::<1>(out.as_mut_ptr(), p),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, _) => x86::avx2(out.as_mut_ptr(), p, lanes),
            (Level::Portable, _) => portable(out, p, lanes),
        }
    }
}

fn portable(out: &mut [f32], p: &Product, lanes: usize) {
    match lanes {
        NARROW => portable_in::<NARROW>(out, p, lanes),
        _ => portable_in::<{ LANES / 2 }>(out, p, lanes),
    }
}

/// `WIDTH` lanes at a time.
fn portable_in<const WIDTH: usize>(out: &mut [f32], p: &Product, lanes: usize) {
    for (&row, &dest) in p.rows.iter().zip(p.dest) {
        for lane in (0..lanes).step_by(WIDTH) {
            let out = &mut out[dest as usize + lane..][..WIDTH];
            let mut sum = [0.0; WIDTH];
            if p.accumulate {
                sum.copy_from_slice(out);
            }
            for (k, &tap) in p.taps.iter().enumerate() {
                let x = p.x[(row + tap) as usize];
                let w = &p.w[k * lanes + lane..][..WIDTH];
                for (sum, &w) in sum.iter_mut().zip(w) {
                    *sum += x * w;
                }
            }
            out.copy_from_slice(&sum);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{NARROW, Product, ROWS};
    use std::arch::x86_64::*;

    /// # Safety
    /// AVX-512F, and the bounds that [`super::product`] asserts for `16 * V` lanes.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512<const V: usize>(out: *mut f32, p: &Product) {
        let mut j = 0;
        // SAFETY: as this function's.
        unsafe {
            while j + ROWS <= p.rows.len() {
                tile512::<ROWS, V>(out, p, j);
                j += ROWS;
            }
            match p.rows.len() - j {
                1 => tile512::<1, V>(out, p, j),
                2 => tile512::<2, V>(out, p, j),
                3 => tile512::<3, V>(out, p, j),
                4 => tile512::<4, V>(out, p, j),
                5 => tile512::<5, V>(out, p, j),
                6 => tile512::<6, V>(out, p, j),
                7 => tile512::<7, V>(out, p, j),
                _ => (),
            }
        }
    }

    /// Output rows `j..j + P` over all taps, in `P * V` registers.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn tile512<const P: usize, const V: usize>(out: *mut f32, p: &Product, j: usize) {
        // SAFETY: `j + P <= rows.len()`, and the caller's bounds.
        unsafe {
            let mut sum = [[_mm512_setzero_ps(); V]; P];
            let mut x = [p.x.as_ptr(); P];
            for i in 0..P {
                x[i] = x[i].add(*p.rows.get_unchecked(j + i) as usize);
                if p.accumulate {
                    let from = out.add(*p.dest.get_unchecked(j + i) as usize);
                    for v in 0..V {
                        sum[i][v] = _mm512_loadu_ps(from.add(16 * v));
                    }
                }
            }
            let mut w = p.w.as_ptr();
            for &tap in p.taps {
                let mut vectors = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    vectors[v] = _mm512_loadu_ps(w.add(16 * v));
                }
                w = w.add(16 * V);
                for i in 0..P {
                    let value = _mm512_set1_ps(*x[i].add(tap as usize));
                    for v in 0..V {
                        sum[i][v] = _mm512_fmadd_ps(value, vectors[v], sum[i][v]);
                    }
                }
            }
            for i in 0..P {
                let to = out.add(*p.dest.get_unchecked(j + i) as usize);
                for v in 0..V {
                    _mm512_storeu_ps(to.add(16 * v), sum[i][v]);
                }
            }
        }
    }

    /// # Safety
    /// AVX2 and FMA, and the bounds that [`super::product`] asserts for `lanes` lanes.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(out: *mut f32, p: &Product, lanes: usize) {
        // SAFETY: as this function's; `lane + 16 <= lanes`.
        unsafe {
            // All lanes of a few rows before the next ones: their `x` is in the cache then.
            let mut j = 0;
            while j + 6 <= p.rows.len() {
                for lane in (0..lanes).step_by(16) {
                    tile256::<6, 2>(out, p, j, lane, lanes);
                }
                j += 6;
            }
            for lane in (0..lanes).step_by(16) {
                match p.rows.len() - j {
                    1 => tile256::<1, 2>(out, p, j, lane, lanes),
                    2 => tile256::<2, 2>(out, p, j, lane, lanes),
                    3 => tile256::<3, 2>(out, p, j, lane, lanes),
                    4 => tile256::<4, 2>(out, p, j, lane, lanes),
                    5 => tile256::<5, 2>(out, p, j, lane, lanes),
                    _ => (),
                }
            }
        }
    }

    /// # Safety
    /// AVX2 and FMA, and the bounds that [`super::product`] asserts for [`NARROW`] lanes.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn narrow(out: *mut f32, p: &Product) {
        let mut j = 0;
        // SAFETY: as this function's.
        unsafe {
            while j + ROWS <= p.rows.len() {
                tile256::<ROWS, 1>(out, p, j, 0, NARROW);
                j += ROWS;
            }
            match p.rows.len() - j {
                1 => tile256::<1, 1>(out, p, j, 0, NARROW),
                2 => tile256::<2, 1>(out, p, j, 0, NARROW),
                3 => tile256::<3, 1>(out, p, j, 0, NARROW),
                4 => tile256::<4, 1>(out, p, j, 0, NARROW),
                5 => tile256::<5, 1>(out, p, j, 0, NARROW),
                6 => tile256::<6, 1>(out, p, j, 0, NARROW),
                7 => tile256::<7, 1>(out, p, j, 0, NARROW),
                _ => (),
            }
        }
    }

    /// `8 * V` lanes of output rows `j..j + P` over all taps, in `V * P` registers.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile256<const P: usize, const V: usize>(
        out: *mut f32,
        p: &Product,
        j: usize,
        lane: usize,
        lanes: usize,
    ) {
        // SAFETY: `j + P <= rows.len()`, and the caller's bounds.
        unsafe {
            let mut sum = [[_mm256_setzero_ps(); V]; P];
            let mut x = [p.x.as_ptr(); P];
            for i in 0..P {
                x[i] = x[i].add(*p.rows.get_unchecked(j + i) as usize);
                if p.accumulate {
                    let from = out.add(*p.dest.get_unchecked(j + i) as usize + lane);
                    for v in 0..V {
                        sum[i][v] = _mm256_loadu_ps(from.add(8 * v));
                    }
                }
            }
            let mut w = p.w.as_ptr().add(lane);
            for &tap in p.taps {
                let mut vectors = [_mm256_setzero_ps(); V];
                for v in 0..V {
                    vectors[v] = _mm256_loadu_ps(w.add(8 * v));
                }
                // The last step may form a pointer past the slice, which it does not read.
                w = w.wrapping_add(lanes);
                for i in 0..P {
                    let value = _mm256_set1_ps(*x[i].add(tap as usize));
                    for v in 0..V {
                        sum[i][v] = _mm256_fmadd_ps(value, vectors[v], sum[i][v]);
                    }
                }
            }
            for i in 0..P {
                let to = out.add(*p.dest.get_unchecked(j + i) as usize + lane);
                for v in 0..V {
                    _mm256_storeu_ps(to.add(8 * v), sum[i][v]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_computes_the_same_product() {
        let x: Vec<f32> = (0..400)
            .map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0)
            .collect();
        let w: Vec<f32> = (0..40 * LANES)
            .map(|i| (i * 53 % 97) as f32 / 48.0 - 1.0)
            .collect();
        for lanes in [LANES, LANES / 2, NARROW] {
            for (rows, taps) in [(1, 0), (3, 1), (6, 7), (8, 40), (13, 19), (23, 3)] {
                let starts: Vec<u32> = (0..rows).map(|j| j * 11 % 200).collect();
                let offsets: Vec<u32> = (0..taps).map(|k| k * 17 % 199).collect();
                // Rows of the result in reverse order, so that `dest` matters.
                let dest: Vec<u32> = (0..rows).rev().map(|j| j * lanes as u32).collect();
                let before: Vec<f32> = (0..rows as usize * lanes).map(|i| i as f32).collect();
                for accumulate in [false, true] {
                    let p = Product {
                        x: &x,
                        w: &w,
                        rows: &starts,
                        taps: &offsets,
                        dest: &dest,
                        accumulate,
                    };
                    let mut expected = before.clone();
                    for (&start, &to) in starts.iter().zip(&dest) {
                        for lane in 0..lanes {
                            let value = &mut expected[to as usize + lane];
                            let mut sum = if accumulate { f64::from(*value) } else { 0.0 };
                            for (k, &offset) in offsets.iter().enumerate() {
                                let factor = f64::from(x[(start + offset) as usize]);
                                sum += factor * f64::from(w[k * lanes + lane]);
                            }
                            *value = sum as f32;
                        }
                    }
                    for level in Level::available() {
                        let mut out = before.clone();
                        product(level, &mut out, &p, lanes);
                        for (out, expected) in out.iter().zip(&expected) {
                            let error = (out - expected).abs();
                            assert!(error <= 1e-5 * expected.abs().max(1.0), "{level:?} {error}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn an_offset_outside_of_the_image_is_refused() {
        let p = Product {
            x: &[0.0; 8],
            w: &[0.0; LANES],
            rows: &[4],
            taps: &[4],
            dest: &[0],
            accumulate: false,
        };
        product(Level::detect(), &mut [0.0; LANES], &p, LANES);
    }
}
