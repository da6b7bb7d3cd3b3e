//! Moving data into the order that the inner loop wants and back.

use super::micro::{LANES, Level, NARROW};

/// Up to [`LANES`] neighbouring channels that are computed together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel {
    /// The first channel.
    pub first: usize,
    /// How many channels are real; the remaining lanes hold zeros.
    pub channels: usize,
    /// 8, 16 or 32.
    pub lanes: usize,
}

/// The panels of `channels` channels; all but the last have [`LANES`] lanes.
pub(crate) fn panels(channels: usize) -> impl Iterator<Item = Panel> + Clone {
    (0..channels).step_by(LANES).map(move |first| {
        let channels = LANES.min(channels - first);
        let lanes = match channels {
            0..=NARROW => NARROW,
            _ if channels <= LANES / 2 => LANES / 2,
            _ => LANES,
        };
        Panel {
            first,
            channels,
            lanes,
        }
    })
}

/// The lanes of all panels together.
pub(crate) fn lanes(channels: usize) -> usize {
    panels(channels).map(|panel| panel.lanes).sum()
}

/// Copies `[h, w]` planes into `[height, width]` planes at row and column `at`; what is not
/// covered becomes zero, what does not fit is left out.
pub(crate) fn pad(
    from: &[f32],
    [h, w]: [usize; 2],
    to: &mut [f32],
    [height, width]: [usize; 2],
    at: [usize; 2],
) {
    let columns = w.min(width.saturating_sub(at[1]));
    let rows = h.min(height.saturating_sub(at[0]));
    let planes = from.chunks_exact(h * w);
    for (from, to) in planes.zip(to.chunks_exact_mut(height * width)) {
        to[..(at[0] * width).min(height * width)].fill(0.0);
        to[((at[0] + rows) * width).min(height * width)..].fill(0.0);
        for row in 0..rows {
            let to = &mut to[(at[0] + row) * width..][..width];
            let (left, rest) = to.split_at_mut(at[1].min(width));
            left.fill(0.0);
            rest[..columns].copy_from_slice(&from[row * w..][..columns]);
            rest[columns..].fill(0.0);
        }
    }
}

/// `to[c * to_stride + r] = from[r * from_stride + c]` for `r < rows`, `c < columns`.
///
/// # Panics
/// If an index points outside of its slice.
pub(crate) fn transpose(
    level: Level,
    from: &[f32],
    from_stride: usize,
    to: &mut [f32],
    to_stride: usize,
    [rows, columns]: [usize; 2],
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * from_stride + columns <= from.len());
    assert!((columns - 1) * to_stride + rows <= to.len());
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx2 {
        let (whole_rows, whole_columns) = (rows / 8 * 8, columns / 8 * 8);
        for r in (0..whole_rows).step_by(8) {
            for c in (0..whole_columns).step_by(8) {
                // SAFETY: AVX2 was detected; every index of a tile lies inside of what is asserted
                // above.
                unsafe {
                    x86::transpose8(
                        from.as_ptr().add(r * from_stride + c),
                        from_stride,
                        to.as_mut_ptr().add(c * to_stride + r),
                        to_stride,
                    );
                }
            }
        }
        for r in 0..rows {
            let done = if r < whole_rows { whole_columns } else { 0 };
            for c in done..columns {
                to[c * to_stride + r] = from[r * from_stride + c];
            }
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx512 {
        for r in (0..rows).step_by(16) {
            for c in (0..columns).step_by(16) {
                let tile = [16.min(rows - r), 16.min(columns - c)];
                // SAFETY: AVX-512F was detected; every index of a tile lies inside of what is
                // asserted above.
                unsafe {
                    x86::transpose16(
                        from.as_ptr().add(r * from_stride + c),
                        from_stride,
                        to.as_mut_ptr().add(c * to_stride + r),
                        to_stride,
                        tile,
                    );
                }
            }
        }
        return;
    }
    let _ = level;
    for r in 0..rows {
        for c in 0..columns {
            to[c * to_stride + r] = from[r * from_stride + c];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Transposes a tile of 8x8.
    ///
    /// # Safety
    /// AVX; both tiles must lie inside of their allocations.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn transpose8(
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        // SAFETY: as this function's.
        unsafe {
            let mut r = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                r[i] = _mm256_loadu_ps(from.add(i * from_stride));
            }
            let mut t = r;
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..2 {
                let [a, b, c, d] = [t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3]];
                r[4 * i] = _mm256_shuffle_ps::<0b01_00_01_00>(a, c);
                r[4 * i + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, c);
                r[4 * i + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(b, d);
                r[4 * i + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(b, d);
            }
            // `r[4 i + j]` now holds rows `4 i..4 i + 4` of columns `j` and `j + 4`.
            for j in 0..4 {
                t[j] = _mm256_permute2f128_ps::<0x20>(r[j], r[4 + j]);
                t[j + 4] = _mm256_permute2f128_ps::<0x31>(r[j], r[4 + j]);
            }
            for i in 0..8 {
                _mm256_storeu_ps(to.add(i * to_stride), t[i]);
            }
        }
    }

    /// Transposes a tile of up to 16x16: four rounds of shuffles on ever larger pieces. Nothing but
    /// its `rows` and `columns` is read or written.
    ///
    /// # Safety
    /// AVX-512F; both tiles must lie inside of their allocations, and have at most 16 rows and columns.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn transpose16(
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
        [rows, columns]: [usize; 2],
    ) {
        let lanes = |count: usize| ((1u32 << count) - 1) as __mmask16;
        // SAFETY: as this function's.
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                if i < rows {
                    r[i] = _mm512_maskz_loadu_ps(lanes(columns), from.add(i * from_stride));
                }
            }
            let mut t = r;
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..4 {
                let [a, b, c, d] = [t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3]];
                r[4 * i] = _mm512_shuffle_ps::<0b01_00_01_00>(a, c);
                r[4 * i + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(a, c);
                r[4 * i + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(b, d);
                r[4 * i + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(b, d);
            }
            // `r[4 i + j]` now holds rows `4 i..4 i + 4` of columns `j`, `j + 4`, `j + 8`, `j + 12`.
            for j in 0..4 {
                let [a, b, c, d] = [r[j], r[4 + j], r[8 + j], r[12 + j]];
                let ab = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                let cd = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
                let ab_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
                let cd_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
                t[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
                t[j + 8] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd);
                t[j + 4] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_odd, cd_odd);
                t[j + 12] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_odd, cd_odd);
            }
            for i in 0..16 {
                if i < columns {
                    _mm512_mask_storeu_ps(to.add(i * to_stride), lanes(rows), t[i]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposition_moves_every_element() {
        for [rows, columns] in [
            [16, 16],
            [33, 18],
            [1, 40],
            [40, 1],
            [15, 17],
            [12, 20],
            [64, 32],
        ] {
            let from: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            for level in Level::available() {
                let mut to = vec![-1.0; rows * columns];
                transpose(level, &from, columns, &mut to, rows, [rows, columns]);
                for r in 0..rows {
                    for c in 0..columns {
                        assert_eq!(to[c * rows + r], from[r * columns + c]);
                    }
                }
            }
        }
    }

    #[test]
    fn padding_fills_the_rim_with_zeros_and_crops() {
        let from = [1.0, 2.0, 3.0, 4.0];
        let mut to = [9.0; 12];
        pad(&from, [2, 2], &mut to, [3, 4], [1, 1]);
        assert_eq!(to, [0., 0., 0., 0., 0., 1., 2., 0., 0., 3., 4., 0.]);
        let mut to = [9.0; 4];
        pad(&from, [2, 2], &mut to, [2, 2], [1, 1]);
        assert_eq!(to, [0., 0., 0., 1.]);
        let mut to = [9.0; 4];
        pad(&from, [2, 2], &mut to, [2, 2], [0, 3]);
        assert_eq!(to, [0.0; 4]);
    }
}
