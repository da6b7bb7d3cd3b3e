//! Dropout whose draws come from a seed, so that a resumed run equals an uninterrupted one.

use burn::tensor::{Tensor, TensorData};
use menagerie_core::Seed;
use rand::RngExt;

/// Sets numbers to 0, each use by a draw of its own, and scales the others so that the mean stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    rate: f64,
    seed: Seed,
    used: u64,
}

impl Dropout {
    /// Of numbers at the share `rate`.
    pub(crate) fn new(rate: f64, seed: Seed) -> Self {
        Self {
            rate,
            seed,
            used: 0,
        }
    }

    /// Nothing is taken out.
    pub(crate) fn none() -> Self {
        Self::new(0.0, Seed(0))
    }

    /// `x` with numbers taken out.
    pub(crate) fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        if self.rate == 0.0 {
            return x;
        }
        let mut rng = self.seed.at(self.used).rng();
        self.used += 1;
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let dims = x.dims();
        let count = dims.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| match rng.random::<f64>() < self.rate {
                true => 0.0,
                false => kept,
            })
            .collect();
        let mask = Tensor::<1>::from_data(TensorData::new(values, [count]), &x.device());
        x * mask.reshape(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn draws_follow_the_seed_and_keep_the_mean() {
        let device = Device::default();
        let x = Tensor::<2>::ones([100, 100], &device);
        let mut drop = Dropout::new(0.25, Seed(3));
        let [first, second] = [(); 2].map(|()| drop.apply(x.clone()));
        assert_ne!(first.to_data(), second.to_data());
        let again = Dropout::new(0.25, Seed(3)).apply(x.clone());
        assert_eq!(first.to_data(), again.into_data());
        let mean = first.mean().into_scalar::<f32>();
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(Dropout::none().apply(x.clone()).into_data(), x.into_data());
    }
}
