//! Depth-wise convolution of tokens that lie on a grid.
//!
//! Tokens keep their channels together, which is how transformers have them. On `flex` the
//! convolution runs on them as they are; elsewhere they become pictures and go back.

#[cfg(feature = "flex")]
use crate::flex::depthwise as kernel;
#[cfg(feature = "flex")]
use crate::kernel::depthwise::Grid;
use burn::tensor::{Tensor, module, ops::ConvOptions};

/// Each channel of tokens convolved with a filter of its own, zeros around the grid: `x [batch, rows ·
/// columns, heads · size]`, filters `[size, 1, k, k]` with odd `k`, bias `[size]`, both shared by the
/// heads; the result has the shape of `x`.
///
/// # Panics
/// If the shapes do not fit each other, or `k` is even.
pub fn token_conv(
    x: Tensor<3>,
    [rows, columns]: [usize; 2],
    filters: Tensor<4>,
    bias: Tensor<1>,
) -> Tensor<3> {
    let [batch, tokens, channels] = x.dims();
    let [size, one, kernel, other] = filters.dims();
    assert_eq!(tokens, rows * columns, "token convolution: tokens");
    assert_eq!(bias.dims(), [size], "token convolution: bias");
    assert!(
        size > 0 && channels.is_multiple_of(size) && one == 1,
        "token convolution: filters {:?} for {channels} channels",
        filters.dims()
    );
    assert!(
        kernel == other && kernel % 2 == 1,
        "token convolution: a kernel of {kernel}×{other}"
    );
    #[cfg(feature = "flex")]
    {
        let tracked = x.is_autodiff() || filters.is_autodiff() || bias.is_autodiff();
        let grid = Grid {
            rows,
            columns,
            channels,
            stride: channels,
            kernel,
        };
        let parts = match tracked {
            true => [
                filters.clone().autodiff().into_dispatch(),
                bias.clone().autodiff().into_dispatch(),
            ],
            false => [
                filters.clone().into_dispatch(),
                bias.clone().into_dispatch(),
            ],
        };
        let x = if tracked {
            x.clone().autodiff()
        } else {
            x.clone()
        };
        if let Some(y) = kernel::token_conv(&x, parts, grid) {
            return y;
        }
    }
    let heads = channels / size;
    let pictures = x
        .reshape([batch, rows, columns, heads, size])
        .permute([0, 3, 4, 1, 2])
        .reshape([batch * heads, size, rows, columns]);
    let half = kernel / 2;
    let options = ConvOptions::new_with_padding([1, 1], [(half, half); 2], [1, 1], size);
    module::conv2d(pictures, filters, Some(bias), options)
        .reshape([batch, heads, size, rows, columns])
        .permute([0, 3, 4, 1, 2])
        .reshape([batch, tokens, channels])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn some(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|at| ((at * 7919 + seed * 104_729) % 2_003) as f32 / 1_000.0 - 1.0)
            .collect()
    }

    /// By the definition, one number at a time.
    fn expected(
        x: &[f32],
        [batch, rows, columns, heads, size]: [usize; 5],
        w: &[f32],
        kernel: usize,
        bias: &[f32],
    ) -> Vec<f32> {
        let (channels, half) = (heads * size, kernel as i64 / 2);
        let mut y = Vec::new();
        for at in 0..batch * rows * columns * channels {
            let (channel, token) = (at % channels, at / channels);
            let (column, row) = (token % columns, token / columns % rows);
            let sample = token / columns / rows;
            let mut sum = f64::from(bias[channel % size]);
            for tap in 0..kernel * kernel {
                let down = row as i64 + (tap / kernel) as i64 - half;
                let right = column as i64 + (tap % kernel) as i64 - half;
                let inside = (0..rows as i64).contains(&down);
                if inside && (0..columns as i64).contains(&right) {
                    let from = (sample * rows + down as usize) * columns + right as usize;
                    let value = f64::from(x[from * channels + channel]);
                    sum += value * f64::from(w[channel % size * kernel * kernel + tap]);
                }
            }
            y.push(sum as f32);
        }
        y
    }

    #[test]
    fn the_kernel_follows_the_definition() {
        let device = Device::default();
        // Larger and smaller than the kernel, whole and broken registers.
        for dims in [
            [2, 4, 5, 3, 4],
            [1, 2, 3, 2, 40],
            [2, 1, 1, 1, 3],
            [1, 7, 7, 1, 64],
        ] {
            let [batch, rows, columns, heads, size] = dims;
            for kernel in [1, 3, 5] {
                let shape = [batch, rows * columns, heads * size];
                let x = some(shape.iter().product(), 1);
                let (w, bias) = (some(size * kernel * kernel, 2), some(size, 3));
                let expected = expected(&x, dims, &w, kernel, &bias);
                let w = TensorData::new(w, [size, 1, kernel, kernel]);
                let y = token_conv(
                    Tensor::from_data(TensorData::new(x, shape), &device),
                    [rows, columns],
                    Tensor::from_data(w, &device),
                    Tensor::from_data(TensorData::new(bias, [size]), &device),
                );
                let found: Vec<f32> = y.into_data().iter().collect();
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-4, "{dims:?}, kernel {kernel}");
                }
            }
        }
    }

    #[test]
    fn gradients_are_the_adjoint() {
        let device = Device::default().autodiff();
        let tensor = |shape: [usize; 3], seed: usize| {
            let data = TensorData::new(some(shape.iter().product(), seed), shape);
            Tensor::<3>::from_data(data, &device)
        };
        let (shape, grid) = ([2, 12, 6], [3, 4]);
        let x = tensor(shape, 1).require_grad();
        let w = tensor([3, 5, 5], 2).reshape([3, 1, 5, 5]).require_grad();
        let b = tensor([1, 1, 3], 3).reshape([3]).require_grad();
        let g = tensor(shape, 4);
        let loss = |x: Tensor<3>, w: Tensor<4>, b: Tensor<1>| {
            (token_conv(x, grid, w, b) * g.clone()).sum()
        };
        let number = |value: Tensor<1>| value.without_autodiff().into_scalar::<f32>();
        let grads = loss(x.clone(), w.clone(), b.clone()).backward();
        // The loss is linear in each argument alone, up to the constant of the bias.
        let zero = number(loss(x.zeros_like(), w.clone(), b.clone()));
        let along_x = (x.grad(&grads).unwrap() * x.clone().without_autodiff()).sum();
        let along_w = (w.grad(&grads).unwrap() * w.clone().without_autodiff()).sum();
        let along_b = (b.grad(&grads).unwrap() * b.clone().without_autodiff()).sum();
        let whole = number(loss(x, w, b));
        for along in [along_x, along_w] {
            let along: f32 = along.into_scalar();
            assert!(
                (along - (whole - zero)).abs() < 1e-3,
                "{along} {whole} {zero}"
            );
        }
        assert!((along_b.into_scalar::<f32>() - zero).abs() < 1e-3);
    }
}
