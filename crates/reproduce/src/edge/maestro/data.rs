//! Images as the networks take them.

use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::ImageSet;
use rand::RngExt;
use std::sync::Arc;

/// Images, standardised channel by channel.
#[derive(Clone)]
pub(super) struct Pictures {
    set: Arc<ImageSet>,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    /// Black pixels around an image of which it is cut out anew, mirrored half of the time.
    border: Option<usize>,
}

impl Pictures {
    /// A mean and a deviation of pixels in 0..1 for each channel.
    pub(super) fn new(set: ImageSet, mean: &[f32], deviation: &[f32]) -> Result<Self> {
        let channels = set.channels();
        if mean.len() != channels || deviation.len() != channels {
            let rule = format!("must be one for each of {channels} channels");
            return Err(Error::input("the number of means", mean.len(), rule));
        }
        Ok(Self {
            set: Arc::new(set),
            mean: mean.to_vec(),
            deviation: deviation.to_vec(),
            border: None,
        })
    }

    /// Cut out of a border of `border` pixels and mirrored by a draw.
    pub(super) fn moving(mut self, border: usize) -> Self {
        self.border = Some(border);
        self
    }

    /// As they are.
    pub(super) fn still(&self) -> Self {
        Self {
            border: None,
            ..self.clone()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    /// The images `indices`, `[indices, channels, height, width]`.
    pub(super) fn images(
        &self,
        indices: &[usize],
        seed: Seed,
        device: &Device,
    ) -> Result<Tensor<4>> {
        let [channels, height, width] = self.set.image_shape();
        let mut pixels = self.set.to_f32(indices.iter().copied())?;
        if let Some(border) = self.border {
            let mut rng = seed.rng();
            for image in pixels.chunks_mut(channels * height * width) {
                let offsets = [(); 2].map(|()| rng.random_range(0..=2 * border));
                let mirrored = rng.random();
                for plane in image.chunks_mut(height * width) {
                    cut(plane, width, border, offsets, mirrored);
                }
            }
        }
        for image in pixels.chunks_mut(channels * height * width) {
            let planes = image.chunks_mut(height * width);
            for ((plane, mean), deviation) in planes.zip(&self.mean).zip(&self.deviation) {
                for pixel in plane {
                    *pixel = (*pixel - mean) / deviation;
                }
            }
        }
        let shape = [indices.len(), channels, height, width];
        Ok(Tensor::from_data(TensorData::new(pixels, shape), device))
    }

    /// Their classes, `[indices]`.
    pub(super) fn labels(&self, indices: &[usize], device: &Device) -> Tensor<1, Int> {
        let labels = self.set.labels();
        let found = indices.iter().filter_map(|index| labels.get(*index));
        let found: Vec<i64> = found.map(|label| *label as i64).collect();
        let count = found.len();
        Tensor::from_data(TensorData::new(found, [count]), device)
    }
}

/// A plane of an image in a black border, cut to its size at `[row, column]` of the border.
fn cut(plane: &mut [f32], width: usize, border: usize, offsets: [usize; 2], mirrored: bool) {
    let old = plane.to_vec();
    let height = old.len() / width.max(1);
    // Where a pixel comes from, if not from the border.
    let from = |at: usize, offset: usize, size: usize| {
        (at + offset).checked_sub(border).filter(|at| *at < size)
    };
    for (row, line) in plane.chunks_mut(width).enumerate() {
        for (at, pixel) in line.iter_mut().enumerate() {
            let column = if mirrored { width - 1 - at } else { at };
            let y = from(row, offsets[0], height);
            let x = from(column, offsets[1], width);
            *pixel = match (y, x) {
                (Some(y), Some(x)) => old[y * width + x],
                _ => 0.0,
            };
        }
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn planes_are_cut_out_of_a_border() {
        let plane = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let cut = |border, offsets, mirrored| {
            let mut plane = plane;
            super::cut(&mut plane, 3, border, offsets, mirrored);
            plane
        };
        assert_eq!(cut(1, [1, 1], false), plane);
        assert_eq!(cut(1, [1, 1], true), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
        assert_eq!(cut(1, [0, 1], false), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(cut(1, [1, 2], false), [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
    }
}
