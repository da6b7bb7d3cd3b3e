//! A step as a vector.

use burn::tensor::{Device, Tensor, TensorData};

/// `[steps, width]`: the cosines of `t · f_k`, then their sines, with `f_k = exp(−ln(10 000) k /
/// half)` for `k` below `half = width / 2`; a zero last where the width is odd.
///
/// Angles are rounded to single precision before their cosine is taken, as networks were trained
/// with.
pub fn timestep_embedding(timesteps: &[usize], width: usize, device: &Device) -> Tensor<2> {
    const LONGEST_PERIOD: f64 = 10_000.0;
    let half = width / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|k| {
            let exponent = -(LONGEST_PERIOD.ln()) as f32 * k as f32 / half as f32;
            libm::exp(f64::from(exponent)) as f32
        })
        .collect();
    let mut values = Vec::with_capacity(timesteps.len() * width);
    for &t in timesteps {
        let angle = |frequency: &f32| f64::from(t as f32 * frequency);
        values.extend(frequencies.iter().map(|f| libm::cos(angle(f)) as f32));
        values.extend(frequencies.iter().map(|f| libm::sin(angle(f)) as f32));
        values.resize(values.len() + width % 2, 0.0);
    }
    Tensor::from_data(TensorData::new(values, [timesteps.len(), width]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_come_before_sines() {
        let vectors = timestep_embedding(&[0, 3], 5, &Device::default());
        let values: Vec<f32> = vectors.into_data().iter().collect();
        assert_eq!(values[..5], [1.0, 1.0, 0.0, 0.0, 0.0]);
        let expected = [3f64.cos(), 0.03f64.cos(), 3f64.sin(), 0.03f64.sin(), 0.0];
        for (value, expected) in values[5..].iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-6);
        }
    }
}
