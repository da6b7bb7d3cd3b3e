//! Points in blocks.

use menagerie_core::{Error, Result};
use rayon::prelude::*;

/// Values of a block of [`Rows`]: it stays in the second cache.
const BLOCK: usize = 1 << 15;

/// Points of one length that can be read in blocks, several at a time.
///
/// The points are numbered through the blocks in their order. A block may be empty.
pub trait Points: Sync {
    /// Values of a point, at least 1.
    fn dim(&self) -> usize;

    /// How many blocks there are.
    fn blocks(&self) -> usize;

    /// The points of block `index`, `[n, dim]`: from where they lie, or read into `buffer`.
    ///
    /// # Errors
    /// Whatever keeps a block from being read.
    fn block<'a>(&'a self, index: usize, buffer: &'a mut Vec<f32>) -> Result<&'a [f32]>;
}

/// Points in memory.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// The points `values`, `[n, dim]`.
    ///
    /// # Errors
    /// [`Error::Input`] if `dim` is 0 or the values are not a whole number of points.
    pub fn new(values: &'a [f32], dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            let rule = format!("must be a multiple of {dim}, the length of a point");
            return Err(Error::input("the number of values", values.len(), rule));
        }
        Ok(Self { values, dim })
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn block_len(&self) -> usize {
        (BLOCK / self.dim).clamp(32, 4096) * self.dim
    }
}

impl Points for Rows<'_> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn blocks(&self) -> usize {
        self.values.len().div_ceil(self.block_len())
    }

    fn block<'a>(&'a self, index: usize, _buffer: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        let start = (index * self.block_len()).min(self.values.len());
        let end = (start + self.block_len()).min(self.values.len());
        Ok(&self.values[start..end])
    }
}

/// What `work` makes of every block, in order; each thread has a scratch of its own.
pub(super) fn each_block<P, S, R>(
    points: &P,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(usize, &[f32], &mut S) -> R + Sync + Send,
) -> Result<Vec<R>>
where
    P: Points + ?Sized,
    S: Send,
    R: Send,
{
    let init = || (Vec::new(), scratch());
    (0..points.blocks())
        .into_par_iter()
        .map_init(init, |(buffer, scratch), index| {
            let block = points.block(index, buffer)?;
            Ok(work(index, block, scratch))
        })
        .collect()
}

/// What the points have in common.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    /// Points of each block.
    pub lens: Vec<usize>,
    /// Of all points.
    pub len: usize,
    /// The mean over the dimensions of the points' variance (divisor `len`).
    pub variance: f64,
}

impl Summary {
    /// # Errors
    /// [`Error::Input`] if there is no point or a value is not finite.
    pub(super) fn of<P: Points + ?Sized>(points: &P) -> Result<Self> {
        let dim = points.dim();
        let parts = each_block(
            points,
            || (),
            |_, block, ()| {
                let mut sums = vec![[0.0_f64; 2]; dim];
                for point in block.chunks_exact(dim) {
                    for (sums, &value) in sums.iter_mut().zip(point) {
                        let value = f64::from(value);
                        sums[0] += value;
                        sums[1] += value * value;
                    }
                }
                (block.len() / dim, sums)
            },
        )?;
        let lens: Vec<usize> = parts.iter().map(|(len, _)| *len).collect();
        let len = lens.iter().sum::<usize>();
        if len == 0 {
            return Err(Error::input(
                "the number of points",
                0,
                "must be at least 1",
            ));
        }
        let mut variance = 0.0;
        for axis in 0..dim {
            let total = |of: usize| parts.iter().map(|(_, sums)| sums[axis][of]).sum::<f64>();
            let mean = total(0) / len as f64;
            variance += (total(1) / len as f64 - mean * mean).max(0.0);
            if !total(1).is_finite() {
                let rule = "must be finite and of a size that can be squared";
                return Err(Error::input("a value of the points", total(1), rule));
            }
        }
        Ok(Self {
            lens,
            len,
            variance: variance / dim as f64,
        })
    }

    /// The block of point `index` and its place there.
    pub(super) fn locate(&self, mut index: usize) -> Option<(usize, usize)> {
        for (block, &len) in self.lens.iter().enumerate() {
            if index < len {
                return Some((block, index));
            }
            index -= len;
        }
        None
    }
}
