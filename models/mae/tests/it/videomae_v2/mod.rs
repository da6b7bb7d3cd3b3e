//! videomae-v2: counts, masks, behaviour, training, weights and refusals.

mod configs;
mod finetuning;
mod masks;
mod model;
mod training;
mod weights;

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_mae::videomae_v2::{ClipConfig, TowerConfig, VideoMaeConfig};
use rand::RngExt;

/// 4 frames of 8×8 in cubes of 2×2×2: 2 × 4 × 4 cubes.
fn tiny() -> VideoMaeConfig {
    VideoMaeConfig::new(TowerConfig::new(12, 2, 3), TowerConfig::new(8, 1, 2))
        .with_clip(ClipConfig::new().with_frames(4).with_size(8).with_patch(2))
}

/// Values in -1..1.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Seed(seed).rng();
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn clips(batch: usize, clip: &ClipConfig, seed: u64, device: &Device) -> Tensor<5> {
    let shape = [batch, 3, clip.frames, clip.size, clip.size];
    let values = values(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

fn text<T>(result: menagerie_core::Result<T>) -> String {
    result.err().unwrap().to_string()
}

fn near(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "{at}: {a} against {b}");
    }
}
