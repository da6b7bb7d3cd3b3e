//! The two inner loops of one-dimensional convolutions.
//!
//! Both are `out[i][j] += sum over steps of left(i, step) * right(step, j)` for a tile of up to
//! twelve rows and 64 columns that stays in registers. Nothing is packed for them: the left factor
//! is read value by value, each broadcast to a vector; the right one in vectors that may start
//! anywhere.

use super::super::micro::Level;

/// Values of one vector of columns.
pub(crate) const VECTOR: usize = 16;

/// Rows of a tile at most.
pub(crate) const ROWS: usize = 12;

/// Rows of a tile with so many vectors of columns, less one, at most.
const ROWS_OF: [usize; 4] = [ROWS, ROWS, 8, 6];

/// Where one step of the sum reads.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Step {
    /// In the left factor, from a row's first value.
    pub left: u32,
    /// In the right factor, from a tile's first value.
    pub right: u32,
}

/// The steps of a sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    list: Vec<Step>,
    /// The largest offsets of both sides.
    reach: [usize; 2],
}

impl Steps {
    pub(crate) fn new(list: Vec<Step>) -> Self {
        let reach = list.iter().fold([0, 0], |[left, right], step| {
            [left.max(step.left as usize), right.max(step.right as usize)]
        });
        Self { list, reach }
    }
}

/// A tile whose rows lie at equal distances: element `(i, step)` of the left factor is
/// `left[i * row + step.left]`, `(step, j)` of the right one `right[step.right + j]`.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    pub left: &'a [f32],
    pub row: usize,
    pub right: &'a [f32],
    pub steps: &'a Steps,
    /// What every row's sums start from; zero without.
    pub start: Option<&'a [f32]>,
    pub out: *mut f32,
    /// From one row of `out` to the next.
    pub stride: usize,
    /// Rows and columns that exist; vectors of the right factor are read whole.
    pub rows: usize,
    pub columns: usize,
    /// Whether the sums start from what `out` holds.
    pub accumulate: bool,
}

/// Columns of the next tile of `rows` rows where `left` are left to do.
pub(crate) fn columns(rows: usize, left: usize) -> usize {
    let vectors = match rows {
        0..=6 => 4,
        // Rather two tiles of two vectors than one of three and one of one.
        7..=8 if left <= 3 * VECTOR => 3,
        _ => 2,
    };
    left.min(vectors * VECTOR)
}

/// Rows of a tile that suits pieces of `columns` columns.
pub(crate) fn height(columns: usize) -> usize {
    // One and a half pairs of vectors waste nothing as three vectors, at the price of fewer rows.
    if (2 * VECTOR + 1..=3 * VECTOR).contains(&columns) {
        ROWS_OF[2]
    } else {
        ROWS
    }
}

impl Tile<'_> {
    /// Computes the tile.
    ///
    /// # Panics
    /// If an offset points outside of a factor, or the tile is too large.
    ///
    /// # Safety
    /// `rows` rows of `columns` values at `out`, `stride` apart, may be written.
    pub(crate) unsafe fn run(&self, level: Level) {
        let vectors = self.columns.div_ceil(VECTOR);
        assert!((1..=4).contains(&vectors));
        assert!((1..=ROWS_OF[vectors - 1]).contains(&self.rows));
        assert!(self.start.is_none_or(|start| start.len() >= self.rows));
        if !self.steps.list.is_empty() {
            let [left, right] = self.steps.reach;
            assert!((self.rows - 1) * self.row + left < self.left.len());
            assert!(right + vectors * VECTOR <= self.right.len());
        }
        // SAFETY: the offsets lie inside of the factors, `out` is the caller's promise, and a level
        // other than `Portable` is only made where it exists.
        unsafe {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => x86::avx512(self, vectors),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => x86::avx2(self),
                Level::Portable => self.portable(),
            }
        }
    }

    /// # Safety
    /// As [`Self::run`]'s.
    unsafe fn portable(&self) {
        for i in 0..self.rows {
            for first in (0..self.columns).step_by(VECTOR) {
                let count = VECTOR.min(self.columns - first);
                // SAFETY: the caller's.
                let out = unsafe {
                    let to = self.out.add(i * self.stride + first);
                    std::slice::from_raw_parts_mut(to, count)
                };
                let mut sums = [self.start.map_or(0.0, |start| start[i]); VECTOR];
                if self.accumulate {
                    sums[..count].copy_from_slice(out);
                }
                for step in &self.steps.list {
                    let left = self.left[i * self.row + step.left as usize];
                    let right = &self.right[step.right as usize + first..][..VECTOR];
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum += left * right;
                    }
                }
                out.copy_from_slice(&sums[..count]);
            }
        }
    }
}

/// A tile whose rows start anywhere and whose steps follow each other: element `(i, step)` of the
/// left factor is `left[rows[i] + step]`, and the right one is `right [steps][vectors · VECTOR]`.
pub(crate) struct Run<'a> {
    pub left: &'a [f32],
    pub rows: &'a [u32],
    pub right: &'a [f32],
    pub steps: usize,
    /// One or two.
    pub vectors: usize,
}

impl Run<'_> {
    /// Values of a row of `right` and of the result.
    fn width(&self) -> usize {
        self.vectors * VECTOR
    }

    /// Adds the tile to `out [rows][vectors · VECTOR]`.
    ///
    /// # Panics
    /// If an offset points outside of a slice, or the tile is too large.
    pub(crate) fn add(&self, level: Level, out: &mut [f32]) {
        assert!((1..=ROWS).contains(&self.rows.len()) && (1..=2).contains(&self.vectors));
        assert_eq!(out.len(), self.rows.len() * self.width());
        if self.steps == 0 {
            return;
        }
        let first = self.rows.iter().max().map_or(0, |&row| row as usize);
        assert!(first + self.steps <= self.left.len());
        assert_eq!(self.right.len(), self.steps * self.width());
        // SAFETY: every offset lies inside of its slice; the level exists.
        unsafe {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => x86::run512(self, out.as_mut_ptr()),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => x86::run256(self, out.as_mut_ptr()),
                Level::Portable => self.portable(out),
            }
        }
    }

    fn portable(&self, out: &mut [f32]) {
        for (i, &row) in self.rows.iter().enumerate() {
            for first in (0..self.width()).step_by(VECTOR) {
                let out = &mut out[i * self.width() + first..][..VECTOR];
                let mut sums = [0.0; VECTOR];
                for step in 0..self.steps {
                    let left = self.left[row as usize + step];
                    let right = &self.right[step * self.width() + first..][..VECTOR];
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum += left * right;
                    }
                }
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out += sum;
                }
            }
        }
    }
}

/// Calls `$f` with its first constant parameter equal to `$rows`, one of those listed.
#[cfg(target_arch = "x86_64")]
macro_rules! with_rows {
    ($rows:expr, $f:ident<$v:literal> $arguments:tt, $($r:literal)*) => {
        match $rows {
            $($r => $f::<$r, $v> $arguments,)*
            _ => (),
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ROWS, Run, Tile, VECTOR};
    use std::arch::x86_64::*;

    /// # Safety
    /// AVX-512F, and what [`Tile::run`] asserts and asks for.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512(tile: &Tile, vectors: usize) {
        // SAFETY: the caller's.
        unsafe {
            match vectors {
                1 => with_rows!(tile.rows, tile512<1>(tile), 1 2 3 4 5 6 7 8 9 10 11 12),
                2 => with_rows!(tile.rows, tile512<2>(tile), 1 2 3 4 5 6 7 8 9 10 11 12),
                3 => with_rows!(tile.rows, tile512<3>(tile), 1 2 3 4 5 6 7 8),
                _ => with_rows!(tile.rows, tile512<4>(tile), 1 2 3 4 5 6),
            }
        }
    }

    /// `R` rows and `V` vectors of columns, in `R * V` registers.
    ///
    /// # Safety
    /// As [`avx512`]'s.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn tile512<const R: usize, const V: usize>(tile: &Tile) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; R];
            let place = |i: usize, v: usize| {
                let count = tile.columns.saturating_sub(VECTOR * v).min(VECTOR);
                let to = tile.out.wrapping_add(i * tile.stride + VECTOR * v);
                (((1u32 << count) - 1) as __mmask16, to)
            };
            if tile.accumulate {
                for i in 0..R {
                    for v in 0..V {
                        let (mask, from) = place(i, v);
                        sums[i][v] = _mm512_maskz_loadu_ps(mask, from);
                    }
                }
            } else if let Some(start) = tile.start {
                for (i, sums) in sums.iter_mut().enumerate() {
                    *sums = [_mm512_set1_ps(*start.get_unchecked(i)); V];
                }
            }
            let (left, right) = (tile.left.as_ptr(), tile.right.as_ptr());
            let (row, three) = (tile.row, 3 * tile.row);
            for step in &tile.steps.list {
                let right = right.add(step.right as usize);
                let mut vectors = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    vectors[v] = _mm512_loadu_ps(right.add(VECTOR * v));
                }
                // Three rows to a pointer: twelve would not fit the registers.
                let mut from = left.add(step.left as usize);
                for i in 0..R {
                    let value = _mm512_set1_ps(*from.wrapping_add(i % 3 * row));
                    for v in 0..V {
                        sums[i][v] = _mm512_fmadd_ps(value, vectors[v], sums[i][v]);
                    }
                    if i % 3 == 2 {
                        from = from.wrapping_add(three);
                    }
                }
            }
            for i in 0..R {
                for v in 0..V {
                    let (mask, to) = place(i, v);
                    _mm512_mask_storeu_ps(to, mask, sums[i][v]);
                }
            }
        }
    }

    /// # Safety
    /// AVX2 and FMA, and what [`Tile::run`] asserts and asks for.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(tile: &Tile) {
        // SAFETY: the caller's.
        unsafe {
            for first in (0..tile.columns).step_by(VECTOR) {
                let mut i = 0;
                while i < tile.rows {
                    let rows = (tile.rows - i).min(6);
                    with_rows!(rows, tile256<0>(tile, i, first), 1 2 3 4 5 6);
                    i += rows;
                }
            }
        }
    }

    /// Sixteen columns of `R` rows, in `2 * R` registers.
    ///
    /// # Safety
    /// As [`avx2`]'s.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile256<const R: usize, const NONE: usize>(tile: &Tile, top: usize, first: usize) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            if let (Some(start), false) = (tile.start, tile.accumulate) {
                for (i, sums) in sums.iter_mut().enumerate() {
                    *sums = [_mm256_set1_ps(*start.get_unchecked(top + i)); 2];
                }
            }
            let left = tile.left.as_ptr().add(top * tile.row);
            let right = tile.right.as_ptr().add(first);
            for step in &tile.steps.list {
                let right = right.add(step.right as usize);
                let vectors = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
                let from = left.add(step.left as usize);
                for i in 0..R {
                    let value = _mm256_set1_ps(*from.add(i * tile.row));
                    for v in 0..2 {
                        sums[i][v] = _mm256_fmadd_ps(value, vectors[v], sums[i][v]);
                    }
                }
            }
            let count = VECTOR.min(tile.columns - first);
            for (i, sums) in sums.iter().enumerate() {
                let mut values = [0.0f32; VECTOR];
                _mm256_storeu_ps(values.as_mut_ptr(), sums[0]);
                _mm256_storeu_ps(values.as_mut_ptr().add(8), sums[1]);
                let to = tile.out.add((top + i) * tile.stride + first);
                let out = std::slice::from_raw_parts_mut(to, count);
                for (out, value) in out.iter_mut().zip(values) {
                    *out = if tile.accumulate { *out + value } else { value };
                }
            }
        }
    }

    /// # Safety
    /// AVX-512F, and what [`Run::add`] asserts for `out`.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn run512(run: &Run, out: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            let rows = run.rows.len();
            match run.vectors {
                1 => with_rows!(rows, rows512<1>(run, out), 1 2 3 4 5 6 7 8 9 10 11 12),
                _ => with_rows!(rows, rows512<2>(run, out), 1 2 3 4 5 6 7 8 9 10 11 12),
            }
        }
    }

    /// # Safety
    /// As [`run512`]'s.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn rows512<const R: usize, const V: usize>(run: &Run, out: *mut f32) {
        /// Steps for which a row's address is read once: with more, the registers would not do.
        const UNROLL: usize = 2;
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; R];
            let mut rows = [run.left.as_ptr(); ROWS];
            for i in 0..R {
                rows[i] = rows[i].add(*run.rows.get_unchecked(i) as usize);
            }
            let right = run.right.as_ptr();
            let mut step = 0;
            while step + UNROLL <= run.steps {
                let mut vectors = [[_mm512_setzero_ps(); V]; UNROLL];
                for u in 0..UNROLL {
                    for v in 0..V {
                        let from = right.add(((step + u) * V + v) * VECTOR);
                        vectors[u][v] = _mm512_loadu_ps(from);
                    }
                }
                for i in 0..R {
                    let left = rows[i].add(step);
                    for u in 0..UNROLL {
                        let value = _mm512_set1_ps(*left.add(u));
                        for v in 0..V {
                            sums[i][v] = _mm512_fmadd_ps(value, vectors[u][v], sums[i][v]);
                        }
                    }
                }
                step += UNROLL;
            }
            while step < run.steps {
                for v in 0..V {
                    let vector = _mm512_loadu_ps(right.add((step * V + v) * VECTOR));
                    for i in 0..R {
                        let value = _mm512_set1_ps(*rows[i].add(step));
                        sums[i][v] = _mm512_fmadd_ps(value, vector, sums[i][v]);
                    }
                }
                step += 1;
            }
            for i in 0..R {
                for v in 0..V {
                    let to = out.add((i * V + v) * VECTOR);
                    _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sums[i][v]));
                }
            }
        }
    }

    /// # Safety
    /// AVX2 and FMA, and what [`Run::add`] asserts for `out`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn run256(run: &Run, out: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            for first in (0..run.width()).step_by(VECTOR) {
                let mut i = 0;
                while i < run.rows.len() {
                    let rows = (run.rows.len() - i).min(6);
                    with_rows!(rows, rows256<0>(run, i, first, out), 1 2 3 4 5 6);
                    i += rows;
                }
            }
        }
    }

    /// # Safety
    /// As [`run256`]'s.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn rows256<const R: usize, const NONE: usize>(
        run: &Run,
        top: usize,
        first: usize,
        out: *mut f32,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            let mut rows = [run.left.as_ptr(); R];
            for i in 0..R {
                rows[i] = rows[i].add(*run.rows.get_unchecked(top + i) as usize);
            }
            let right = run.right.as_ptr().add(first);
            for step in 0..run.steps {
                let right = right.add(step * run.width());
                let vectors = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
                for i in 0..R {
                    let value = _mm256_set1_ps(*rows[i].add(step));
                    for v in 0..2 {
                        sums[i][v] = _mm256_fmadd_ps(value, vectors[v], sums[i][v]);
                    }
                }
            }
            for i in 0..R {
                for v in 0..2 {
                    let to = out.add((top + i) * run.width() + first + 8 * v);
                    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), sums[i][v]));
                }
            }
        }
    }
}
