//! The dropout masks of the noisy path.

use super::config::{DepictConfig, Dropout};
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use rand::Rng;
use rayon::prelude::*;

/// What the noisy path multiplies its values with: 0, or `1 / (1 − share)`. Layers that drop nothing
/// have none.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    /// Of the image, `[batch, channels, height, width]`.
    pub input: Option<Tensor<4>>,
    /// Of the maps after the first convolution, `[batch, maps₁, height₁, width₁]`.
    pub first: Option<Tensor<4>>,
    /// Of the maps after the second, `[batch, maps₂, height₂, width₂]`.
    pub second: Option<Tensor<4>>,
}

/// Masks for `batch` images of a network of `config`, which must be valid.
pub fn draw_masks(config: &DepictConfig, batch: usize, seed: Seed, device: &Device) -> Masks {
    let [channels, height, width] = config.image;
    let [_, first, second] = config.sizes().unwrap_or_default();
    let Dropout {
        input: on_input,
        first: on_first,
        second: on_second,
    } = config.dropout;
    let draw = |share: f64, dims: [usize; 4], name: &str| {
        let values = (share > 0.0).then(|| mask(share, dims, seed.stream(name)))?;
        Some(Tensor::from_data(TensorData::new(values, dims), device))
    };
    let maps = |layer: usize, [h, w]: [usize; 2]| [batch, config.maps[layer], h, w];
    Masks {
        input: draw(on_input, [batch, channels, height, width], "input"),
        first: draw(on_first, maps(0, first), "first"),
        second: draw(on_second, maps(1, second), "second"),
    }
}

/// A value is dropped where 16 random bits fall below the share of 2¹⁶. Samples draw from streams of
/// their own.
fn mask(share: f64, [batch, channels, height, width]: [usize; 4], seed: Seed) -> Vec<f32> {
    let sample = channels * height * width;
    let below = (share * 65_536.0).round() as u64;
    let kept = (1.0 / (1.0 - share)) as f32;
    let mut values = vec![0.0; batch * sample];
    values
        .par_chunks_mut(sample.max(1))
        .enumerate()
        .for_each(|(index, values)| {
            let mut rng = seed.at(index as u64).rng();
            for values in values.chunks_mut(4) {
                let mut bits = rng.next_u64();
                for value in values {
                    *value = if bits & 0xffff < below { 0.0 } else { kept };
                    bits >>= 16;
                }
            }
        });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_drop_their_share_and_keep_the_mean() {
        let device = Device::default();
        let config = DepictConfig::mnist();
        let masks = draw_masks(&config, 20, Seed(4), &device);
        assert!(masks.second.is_none());
        let first = masks.first.unwrap();
        assert_eq!(first.dims(), [20, 50, 13, 13]);
        let values: Vec<f32> = first.into_data().iter().collect();
        let dropped = values.iter().filter(|value| **value == 0.0).count();
        let share = dropped as f64 / values.len() as f64;
        assert!((share - 0.1).abs() < 0.005, "{share}");
        assert!(values.iter().all(|value| [0.0, 1.0 / 0.9].contains(value)));
        let again = draw_masks(&config, 20, Seed(4), &device).first.unwrap();
        assert_eq!(again.into_data().iter::<f32>().collect::<Vec<_>>(), values);
        let other = draw_masks(&config, 20, Seed(5), &device).first.unwrap();
        assert_ne!(other.into_data().iter::<f32>().collect::<Vec<_>>(), values);
        let small = draw_masks(&config, 7, Seed(4), &device).first.unwrap();
        let small: Vec<f32> = small.into_data().iter().collect();
        assert_eq!(small[..], values[..small.len()]);
    }
}
