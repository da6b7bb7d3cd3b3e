//! ReLU between convolutions with what stands next to it: pooling before, dropout after.

#[cfg(feature = "flex")]
mod flex;

use super::layers::Mode;
use burn::tensor::{
    Tensor, TensorData, activation::relu, module as functional, ops::MaxPoolOptions,
};
use menagerie_core::Seed;

/// What happens to the maps of a convolution.
#[derive(Clone, Copy, Debug)]
struct Rectify {
    /// Whether every 2×2 numbers become their largest.
    pooled: bool,
    dropout: Option<Dropout>,
}

/// Which numbers are dropped.
#[derive(Clone, Copy, Debug)]
struct Dropout {
    /// In units of 1/65 536.
    below: u64,
    /// What the others are multiplied with, so that the mean stays.
    kept: f32,
    seed: Seed,
}

impl Dropout {
    /// None in a mode without, or where nothing is to be dropped.
    fn new(share: f64, mode: Mode) -> Option<Self> {
        match mode {
            Mode::Train(seed) if share > 0.0 => Some(Self {
                below: (share * 65_536.0).round() as u64,
                kept: (1.0 / (1.0 - share)) as f32,
                seed,
            }),
            _ => None,
        }
    }

    /// The factor, 0 or [`kept`](Self::kept), of each number of a map.
    ///
    /// Every map has draws of its own, so that they can be made in any order. Sixteen bits are plenty
    /// for a share: a number of 64 is good for four.
    fn factors(&self, map: usize, factors: &mut [f32]) {
        let Seed(start) = self.seed.at(map as u64);
        let mut state = start;
        for four in factors.chunks_mut(4) {
            // The next number of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^= bits >> 31;
            for factor in four {
                let dropped = bits & 0xffff < self.below;
                *factor = if dropped { 0.0 } else { self.kept };
                bits >>= 16;
            }
        }
    }
}

/// ReLU of maps `[batch, channels, height, width]`, of the largest of every 2×2 numbers if `pooled`;
/// in training a share of the results is set to 0, drawn from the mode's seed, and the others are
/// scaled so that the mean stays.
///
/// Where 2×2 numbers have their largest more than once, the gradient goes to the first.
///
/// # Panics
/// If a side is odd and `pooled`.
pub(super) fn rectify(x: Tensor<4>, pooled: bool, dropout: f64, mode: Mode) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    assert!(
        !pooled || (height.is_multiple_of(2) && width.is_multiple_of(2)),
        "pooling: {height}x{width} is not made of 2x2 squares"
    );
    let rectify = Rectify {
        pooled,
        dropout: Dropout::new(dropout, mode),
    };
    #[cfg(feature = "flex")]
    let x = match flex::run(rectify, x) {
        Ok(y) => return y,
        Err(x) => x,
    };
    plain(rectify, x)
}

/// On Burn operations, for every backend.
fn plain(rectify: Rectify, x: Tensor<4>) -> Tensor<4> {
    // The largest is rectified, which is the same as the largest of what is rectified.
    let x = match rectify.pooled {
        true => functional::max_pool2d(x, MaxPoolOptions::new([2, 2]).with_stride([2, 2])),
        false => x,
    };
    let x = relu(x);
    let Some(dropout) = rectify.dropout else {
        return x;
    };
    let dims @ [_, _, height, width] = x.dims();
    let mut factors = vec![0.0f32; dims.iter().product()];
    for (map, factors) in factors.chunks_mut(height * width).enumerate() {
        dropout.factors(map, factors);
    }
    x.clone() * Tensor::from_data(TensorData::new(factors, dims), &x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use menagerie_nn::noise::draw_normal;

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().iter().collect()
    }

    #[test]
    fn dropout_follows_the_seed_and_keeps_the_mean() {
        let device = Device::default();
        let x = Tensor::<4>::ones([10, 10, 10, 11], &device);
        let drop = |seed| rectify(x.clone(), false, 0.25, Mode::Train(Seed(seed)));
        assert_eq!(drop(1).into_data(), drop(1).into_data());
        assert_ne!(drop(1).into_data(), drop(2).into_data());
        let values: Vec<f32> = drop(3).into_data().iter().collect();
        let dropped = values.iter().filter(|value| **value == 0.0).count();
        assert!((2_500..3_000).contains(&dropped), "{dropped} of 11 000");
        // No map is dropped like the one before it.
        let maps: Vec<&[f32]> = values.chunks(110).collect();
        assert!(maps.windows(2).all(|pair| pair[0] != pair[1]));
        let mean = drop(3).mean().into_scalar::<f32>();
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        let kept = rectify(x.clone(), false, 0.25, Mode::Evaluate);
        assert_eq!(kept.into_data(), x.into_data());
    }

    #[test]
    fn the_kernel_is_the_operations() {
        let device = Device::default().autodiff();
        for (shape, pooled) in [
            ([2, 3, 4, 6], true),
            ([3, 2, 14, 14], true),
            ([2, 3, 7, 5], false),
        ] {
            for mode in [Mode::Train(Seed(5)), Mode::Evaluate] {
                let x = draw_normal(shape, Seed(1), &device).require_grad();
                let rectify = Rectify {
                    pooled,
                    dropout: Dropout::new(0.3, mode),
                };
                let both = [
                    super::rectify(x.clone(), pooled, 0.3, mode),
                    plain(rectify, x.clone()),
                ];
                let weights = draw_normal(both[0].dims(), Seed(2), &device);
                let [ours, theirs] = both.map(|y| {
                    let gradients = (y.clone() * weights.clone()).sum().backward();
                    (values(y.without_autodiff()), x.grad(&gradients).map(values))
                });
                assert!(ours.1.is_some());
                assert_eq!(ours, theirs, "{shape:?} {mode:?}");
                let without = super::rectify(x.without_autodiff(), pooled, 0.3, mode);
                assert_eq!(values(without), theirs.0);
            }
        }
    }

    #[test]
    fn a_gradient_goes_to_the_first_of_several_that_are_largest() {
        let device = Device::default().autodiff();
        let x =
            Tensor::<4>::from_floats([[[[1.0, 1.0, -1.0, 0.0], [1.0, 0.5, 0.0, -2.0]]]], &device)
                .require_grad();
        let y = rectify(x.clone(), true, 0.0, Mode::Evaluate);
        let gradients = y.clone().sum().backward();
        assert_eq!(values(y.without_autodiff()), [1.0, 0.0]);
        let gradient = x.grad(&gradients).map(values);
        assert_eq!(gradient, Some(vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    }

    #[test]
    fn what_is_no_number_is_seen_afterwards() {
        let device = Device::default();
        for at in 0..4 {
            let mut square = [1.0f32, 2.0, 3.0, 4.0];
            square[at] = f32::NAN;
            let x = Tensor::<1>::from_floats(square, &device).reshape([1, 1, 2, 2]);
            let y = rectify(x, true, 0.0, Mode::Evaluate);
            assert!(y.into_scalar::<f32>().is_nan());
        }
    }
}
