//! Random numbers that are the same on every device.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use rand::{Rng, RngExt};

/// Standard normal numbers in `shape`, decided by the seed alone.
pub fn draw_normal<const D: usize>(shape: [usize; D], seed: Seed, device: &Device) -> Tensor<D> {
    let mut rng = seed.rng();
    let count: usize = shape.iter().product();
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        values.extend(normal_pair(&mut rng));
    }
    values.truncate(count);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Two independent standard normal numbers (Box and Muller, 1958).
pub fn normal_pair(rng: &mut impl Rng) -> [f32; 2] {
    // 1 - u is never 0.
    let radius = (-2.0 * libm::log(1.0 - rng.random::<f64>())).sqrt();
    let angle = 2.0 * std::f64::consts::PI * rng.random::<f64>();
    [radius * libm::cos(angle), radius * libm::sin(angle)].map(|value| value as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_the_moments_of_the_normal_distribution() {
        let device = Device::default();
        let draw = |seed| -> Vec<f32> {
            let numbers = draw_normal([7, 3_001], Seed(seed), &device);
            numbers.into_data().iter().collect()
        };
        let numbers = draw(1);
        let count = numbers.len() as f64;
        let moment = |power: i32| {
            let powers = numbers.iter().map(|&x| f64::from(x).powi(power));
            powers.sum::<f64>() / count
        };
        assert!(moment(1).abs() < 0.03);
        assert!((moment(2) - 1.0).abs() < 0.05);
        assert!((moment(4) - 3.0).abs() < 0.3);
        assert_eq!(numbers, draw(1));
        assert_ne!(numbers, draw(2));
    }
}
