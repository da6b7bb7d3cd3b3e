//! Dropout whose draw is a function of a number.

use burn::tensor::{Device, Tensor, TensorData};

/// Which values of a tensor are dropped: value `i`, in row order, with probability `rate`, decided by a
/// mix of `i` and `seed`. The same on every device; nothing is stored between forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability, in [0, 1).
    pub rate: f64,
    /// What tells one draw from another.
    pub seed: u64,
}

impl Dropout {
    /// What a value is multiplied by: 0 or 1 / (1 - rate), for `len` values.
    pub fn factors(&self, len: usize) -> Vec<f32> {
        let draw = Draw::of(Some(self));
        (0..len).map(|at| draw.factor(at as u32)).collect()
    }

    /// `x` with its dropped values 0 and all others divided by 1 - rate.
    pub fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let device: Device = x.device().without_autodiff();
        let shape = x.dims();
        let factors = TensorData::new(self.factors(shape.iter().product()), shape);
        let factors = Tensor::<D>::from_data(factors, &device).cast(x.dtype());
        match x.is_autodiff() {
            true => x * factors.autodiff(),
            false => x * factors,
        }
    }
}

/// [`Dropout`] in the numbers of an inner loop; none drops nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    seeds: [u32; 2],
    /// Mixed numbers below are dropped.
    threshold: u32,
    scale: f32,
}

impl Draw {
    pub(crate) fn of(dropout: Option<&Dropout>) -> Self {
        let (rate, seed) = dropout.map_or((0.0, 0), |dropout| (dropout.rate, dropout.seed));
        Self {
            seeds: [seed as u32, (seed >> 32) as u32],
            threshold: (rate * 4_294_967_296.0) as u32,
            scale: (1.0 / (1.0 - rate)) as f32,
        }
    }

    /// 0 or the scale. The mix is a bijection of 32 bits for each seed in which every bit of the place
    /// reaches every bit of the result (two rounds of shift, exclusive or and multiply).
    #[inline(always)]
    pub(crate) fn factor(&self, at: u32) -> f32 {
        let mut x = at ^ self.seeds[0];
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x = (x ^ (x >> 15))
            .wrapping_add(self.seeds[1])
            .wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        if x < self.threshold { 0.0 } else { self.scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_the_rate_and_draws_are_independent() {
        let len = 200_000;
        let draw = |seed| Dropout { rate: 0.4, seed }.factors(len);
        let dropped = |factors: &[f32]| factors.iter().filter(|f| **f == 0.0).count() as f64;
        let (one, two) = (draw(1), draw(1 << 32));
        for factors in [&one, &two] {
            assert!((dropped(factors) / len as f64 - 0.4).abs() < 0.005);
            assert!(
                factors
                    .iter()
                    .all(|f| *f == 0.0 || (*f - 1.0 / 0.6).abs() < 1e-6)
            );
        }
        // Neighbours, neighbours in a column of 400, and the same place under two seeds.
        let together = |a: &[f32], b: &[f32]| {
            let both = a.iter().zip(b).filter(|(a, b)| **a == 0.0 && **b == 0.0);
            both.count() as f64 / a.len().min(b.len()) as f64
        };
        for share in [
            together(&one, &one[1..]),
            together(&one, &one[400..]),
            together(&one, &two),
        ] {
            assert!((share - 0.16).abs() < 0.005, "{share}");
        }
        assert!(
            Dropout { rate: 0.0, seed: 3 }
                .factors(100)
                .iter()
                .all(|f| *f == 1.0)
        );
    }
}
