//! Images as the networks take them.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_data_image::ImageSet;

/// Side of an image as it is stored, after pooling, and in its frame.
const STORED: usize = 28;
const POOLED: usize = 14;
pub(super) const SIDE: usize = 16;

/// Grey images of 16×16 in −1..1 with their classes.
#[derive(Clone, Debug)]
pub(super) struct Images {
    pixels: Vec<f32>,
    labels: Vec<usize>,
}

impl Images {
    /// Images of 28×28: means over 2×2 squares, in a black frame one pixel wide.
    pub(super) fn shrunk(set: &ImageSet) -> Result<Self> {
        if set.image_shape() != [1, STORED, STORED] {
            let rule = format!("must be [1, {STORED}, {STORED}]");
            return Err(Error::input(
                "the shape of the images",
                set.image_shape(),
                rule,
            ));
        }
        let stored = set.pixels();
        let mut pixels = vec![-1.0; set.len() * SIDE * SIDE];
        let images = stored.chunks_exact(STORED * STORED);
        for (from, to) in images.zip(pixels.chunks_exact_mut(SIDE * SIDE)) {
            for y in 0..POOLED {
                for x in 0..POOLED {
                    let at = |row: usize, column: usize| {
                        f32::from(from[(2 * y + row) * STORED + 2 * x + column])
                    };
                    let sum = at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1);
                    to[(y + 1) * SIDE + x + 1] = sum / 4.0 / 127.5 - 1.0;
                }
            }
        }
        Ok(Self {
            pixels,
            labels: set.labels().to_vec(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The images `indices`, `[indices, 1, 16, 16]`; those that do not exist are left out.
    pub(super) fn batch(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        let size = SIDE * SIDE;
        let pixels: Vec<f32> = indices
            .iter()
            .filter_map(|index| self.pixels.chunks_exact(size).nth(*index))
            .flatten()
            .copied()
            .collect();
        let shape = [pixels.len() / size, 1, SIDE, SIDE];
        Tensor::from_data(TensorData::new(pixels, shape), device)
    }

    /// The first `count` images, or all if there are fewer.
    pub(super) fn first(&self, count: usize) -> Self {
        let count = count.min(self.len());
        Self {
            pixels: self.pixels[..count * SIDE * SIDE].to_vec(),
            labels: self.labels[..count].to_vec(),
        }
    }

    /// One image in 0..1.
    pub(super) fn tile(&self, index: usize) -> Vec<f32> {
        let image = self.pixels.chunks_exact(SIDE * SIDE).nth(index);
        let image = image.unwrap_or_default();
        image.iter().map(|pixel| (pixel + 1.0) / 2.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pooled_and_framed() {
        let mut pixels = vec![0; STORED * STORED];
        // The last square of the first two rows.
        for at in [26, 27, 28 + 26, 28 + 27] {
            pixels[at] = if at == 27 { 51 } else { 255 };
        }
        let set = ImageSet::new(pixels, [1, STORED, STORED], vec![0], vec!["a".into()]).unwrap();
        let images = Images::shrunk(&set).unwrap();
        let tile = images.tile(0);
        assert!((tile[SIDE + POOLED] - 0.8).abs() < 1e-6);
        assert_eq!(tile.iter().filter(|pixel| **pixel > 0.0).count(), 1);
        let batch = images.batch(&[0, 0], &Device::default());
        assert_eq!(batch.dims(), [2, 1, SIDE, SIDE]);
        assert_eq!(images.first(7).len(), 1);
        assert_eq!(images.first(0).len(), 0);
        let small = ImageSet::new(vec![0; 4], [1, 2, 2], vec![0], vec!["a".into()]).unwrap();
        assert!(Images::shrunk(&small).is_err());
    }
}
