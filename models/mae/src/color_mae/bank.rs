//! Noise that is made or read once, and the windows that are cut out of it.

use super::{
    config::{NoiseConfig, Sampling},
    noise::{draw_white, extent, filter, unit},
};
use burn::tensor::TensorData;
use menagerie_core::{Error, Result, Seed};
use menagerie_hub::StateDict;
use rand::RngExt;
use rayon::prelude::*;
use std::{path::Path, sync::Arc};

/// Tiles of noise, `[slices, size, size]`, none below 0.
///
/// The tiles stay in host memory, where masks are sorted out of them; what a step sends to the
/// device are the indices of its patches. A copy shares the tiles.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseBank {
    values: Arc<Vec<f32>>,
    slices: usize,
    size: usize,
}

/// The part of a bank that becomes the mask of an image: a square of a slice, then mirrored left to
/// right, then top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The slice.
    pub slice: usize,
    /// Where the square lies in it.
    pub crop: Crop,
}

/// A square of a slice and its mirroring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// Whether left and right are swapped.
    pub horizontal: bool,
    /// Whether top and bottom are swapped.
    pub vertical: bool,
}

impl NoiseConfig {
    /// Noise of this configuration, every slice scaled to 0..=1.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports; [`Error::Input`] for a slice without any contrast,
    /// such as a single patch.
    pub fn init(&self, seed: Seed) -> Result<NoiseBank> {
        self.validate()?;
        let colored = filter(&draw_white(self, seed), self)?;
        NoiseBank::new(unit(&colored, self.size)?, [self.slices, self.size])
    }
}

impl NoiseBank {
    /// Noise `values` `[slices, size, size]`. Slices with a value below 0 are scaled to 0..=1, which
    /// leaves the order of their values as it is; the official code divides by the largest value and
    /// would turn that order round where it is negative.
    ///
    /// # Errors
    /// [`Error::Input`] where the values are not of that shape, not finite, or constant in a slice.
    pub fn new(values: Vec<f32>, [slices, size]: [usize; 2]) -> Result<Self> {
        let area = size.checked_mul(size).filter(|area| *area > 0);
        let fits = area.and_then(|area| area.checked_mul(slices)) == Some(values.len());
        let Some(area) = area.filter(|_| fits && slices > 0) else {
            let rule = format!("must be {slices} x {size} x {size}, and not 0");
            return Err(Error::input(
                "the number of noise values",
                values.len(),
                rule,
            ));
        };
        let mut values = values;
        for (slice, tile) in values.chunks_exact_mut(area).enumerate() {
            let (low, high) = extent(tile);
            if !low.is_finite() || !high.is_finite() || low >= high {
                let rule = "must be finite and not constant";
                return Err(Error::input(format!("slice {slice}"), (low, high), rule));
            }
            if low < 0.0 {
                for value in tile {
                    *value = (*value - low) / (high - low);
                }
            }
        }
        Ok(Self {
            values: Arc::new(values),
            slices,
            size,
        })
    }

    /// Reads a noise file of the official release: the first array of an `.npz` archive, by name,
    /// `[slices, size, size]`. Any file that [`StateDict::open`] reads will do.
    ///
    /// # Errors
    /// Those of [`StateDict::open`]; [`Error::Format`] where the array is not of numbers, not of
    /// that shape, not finite, or constant in a slice.
    pub fn open(path: &Path) -> Result<Self> {
        let mut arrays = StateDict::open(path)?;
        let name = arrays.keys().next().map(str::to_owned);
        let problem = |problem: String| Error::format(path, problem);
        let (name, data) = name
            .and_then(|name| arrays.remove(&name).map(|data| (name, data)))
            .ok_or_else(|| problem("holds no array".into()))?;
        let shape = data.shape().to_vec();
        let [slices, size, width] = shape[..] else {
            let text = format!("array `{name}` is {shape:?}, expected [slices, size, size]");
            return Err(problem(text));
        };
        if size != width
            || !(data.dtype().is_float() || data.dtype().is_int() || data.dtype().is_uint())
        {
            let text = format!(
                "array `{name}` is {shape:?} of {:?}, expected numbers [slices, size, size]",
                data.dtype()
            );
            return Err(problem(text));
        }
        let values = data
            .try_cast_as::<f32>()
            .and_then(TensorData::try_into_vec::<f32>)
            .map_err(|error| problem(format!("array `{name}`: {error}")))?;
        Self::new(values, [slices, size])
            .map_err(|error| problem(format!("array `{name}`: {error}")))
    }

    /// Writes the noise as `.safetensors`, whole or not at all, for [`open`](Self::open).
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let data = TensorData::new(self.values.to_vec(), self.shape());
        let arrays = [("noise".to_owned(), data)];
        StateDict::from_tensors(path.display().to_string(), arrays).save_safetensors(path)
    }

    /// `[slices, size, size]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.slices, self.size, self.size]
    }

    /// All values, `[slices, size, size]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Windows of `grid` × `grid` patches for a batch.
    ///
    /// # Errors
    /// [`Error::Input`] where the grid is larger than the tiles or 0.
    pub fn draw_windows(
        &self,
        sampling: Sampling,
        batch: usize,
        grid: usize,
        seed: Seed,
    ) -> Result<Vec<Window>> {
        self.check_grid(grid)?;
        let last = self.size - grid;
        let mut rng = seed.rng();
        let mut crop = || Crop {
            top: rng.random_range(0..=last),
            left: rng.random_range(0..=last),
            horizontal: rng.random(),
            vertical: rng.random(),
        };
        Ok(match sampling {
            Sampling::Grouped => {
                let crops: Vec<Crop> = (0..batch.div_ceil(self.slices)).map(|_| crop()).collect();
                self.grouped(&crops, batch)
            }
            Sampling::PerImage => {
                let crops: Vec<Crop> = (0..batch).map(|_| crop()).collect();
                let slice = |_: &Crop| rng.random_range(0..self.slices);
                let slices: Vec<usize> = crops.iter().map(slice).collect();
                let windows = slices.into_iter().zip(crops);
                windows
                    .map(|(slice, crop)| Window { slice, crop })
                    .collect()
            }
        })
    }

    /// The official rule: image b takes slice b modulo the slices, with one crop for each group of
    /// as many images as there are slices. Images beyond the last crop's group have none.
    pub fn grouped(&self, crops: &[Crop], batch: usize) -> Vec<Window> {
        let groups = crops
            .iter()
            .flat_map(|&crop| (0..self.slices).map(move |slice| Window { slice, crop }));
        groups.take(batch).collect()
    }

    /// The noise of `windows`, `[windows, grid, grid]`, each divided by its greatest value.
    ///
    /// # Errors
    /// [`Error::Input`] where a window lies outside of the bank or has no value above 0.
    pub fn cut(&self, windows: &[Window], grid: usize) -> Result<Vec<f32>> {
        self.check_grid(grid)?;
        let mut cut = vec![0.0; windows.len() * grid * grid];
        cut.par_chunks_exact_mut(grid * grid)
            .zip(windows)
            .with_min_len(32)
            .try_for_each(|(values, window)| self.cut_one(window, grid, values))?;
        Ok(cut)
    }

    fn cut_one(&self, window: &Window, grid: usize, values: &mut [f32]) -> Result<()> {
        let &Window { slice, crop } = window;
        let last = self.size - grid;
        if slice >= self.slices || crop.top > last || crop.left > last {
            let [slices, size, _] = self.shape();
            let rule = format!("must be a square of {grid} in {slices} slices of {size} x {size}");
            return Err(Error::input("a window", window, rule));
        }
        let tile = &self.values[slice * self.size * self.size..];
        for (row, output) in values.chunks_exact_mut(grid).enumerate() {
            let row = if crop.vertical { grid - 1 - row } else { row };
            let first = (crop.top + row) * self.size + crop.left;
            output.copy_from_slice(&tile[first..first + grid]);
            if crop.horizontal {
                output.reverse();
            }
        }
        let greatest = values.iter().copied().fold(0.0, f32::max);
        if greatest <= 0.0 {
            let rule = "must have a value above 0, to be divided by";
            return Err(Error::input("the noise of a window", window, rule));
        }
        for value in values {
            *value /= greatest;
        }
        Ok(())
    }

    pub(super) fn check_grid(&self, grid: usize) -> Result<()> {
        if (1..=self.size).contains(&grid) {
            return Ok(());
        }
        let rule = format!(
            "must be at least 1 and at most {}, the side of a tile",
            self.size
        );
        Err(Error::input("the grid of patches", grid, rule))
    }
}
