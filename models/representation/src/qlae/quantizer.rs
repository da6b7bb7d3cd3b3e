//! Latent quantisation (section 3.1): one learnable scalar codebook per latent.

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData},
};

/// The result of a quantisation.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// Position of the nearest value in each latent's codebook `[batch, latents]`.
    pub indices: Tensor<2, Int>,
    /// The nearest values q `[batch, latents]`; gradients reach the codebooks.
    pub values: Tensor<2>,
    /// z + sg(q - z) `[batch, latents]`: q up to rounding, with the gradient of z.
    pub straight_through: Tensor<2>,
}

/// One codebook of scalars per latent, or one for all.
///
/// Nothing but the quantisation loss moves the values: there is no moving average and unused
/// values are not replaced.
#[derive(Module, Debug)]
pub struct ScalarQuantizer {
    /// The codebooks one after the other `[Σ n_v]`.
    pub values: Param<Tensor<1>>,
    sizes: Vec<usize>,
    latents: usize,
    trainable: bool,
}

impl ScalarQuantizer {
    /// Codebooks on the grid `linspace(-0.5, 0.5, n_v)`: one per entry of `values`, which holds a
    /// size for each of the `latents` or a single one for a global codebook.
    pub(crate) fn init(latents: usize, values: &[usize], trainable: bool, device: &Device) -> Self {
        let grid: Vec<f32> = values.iter().flat_map(|&size| grid(size)).collect();
        Self {
            values: Param::from_data(TensorData::from(grid.as_slice()), device),
            sizes: match values {
                &[size] => vec![size; latents],
                values => values.to_vec(),
            },
            latents,
            trainable,
        }
    }

    /// Number of latents.
    pub fn latents(&self) -> usize {
        self.latents
    }

    /// Number of values of each latent.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Where each latent's codebook starts in [`values`](Self::values).
    fn offsets(&self) -> Vec<i64> {
        let shared = self.shared();
        let mut start = 0;
        self.sizes
            .iter()
            .map(|&size| {
                let offset = start;
                start += if shared { 0 } else { size as i64 };
                offset
            })
            .collect()
    }

    fn shared(&self) -> bool {
        self.values.dims()[0] != self.sizes.iter().sum::<usize>()
    }

    /// The codebooks; without a gradient if they are not trained.
    fn codebooks(&self) -> Tensor<1> {
        match self.trainable {
            true => self.values.val(),
            false => self.values.val().detach(),
        }
    }

    /// The codebooks side by side `[latents, max n_v]`, short ones filled up with infinity, which
    /// is nearest to nothing; `[1, n_v]` for a global codebook.
    fn table(&self) -> Tensor<2> {
        let values = self.values.val().without_autodiff();
        let longest = self.sizes.iter().copied().max().unwrap_or(0);
        if self.shared() {
            return values.unsqueeze();
        }
        if self.sizes.iter().all(|&size| size == longest) {
            return values.reshape([self.latents, longest]);
        }
        let device = values.device();
        let rows = self.sizes.iter().zip(self.offsets());
        let (mut positions, mut padding) = (Vec::new(), Vec::new());
        for (&size, offset) in rows {
            for index in 0..longest {
                positions.push(offset + index.min(size - 1) as i64);
                padding.push(index >= size);
            }
        }
        let positions = Tensor::<1, Int>::from_data(positions.as_slice(), &device);
        let padding = Tensor::<1, burn::tensor::Bool>::from_data(padding.as_slice(), &device);
        values
            .select(0, positions)
            .mask_fill(padding, f32::INFINITY)
            .reshape([self.latents, longest])
    }

    /// Quantises `[batch, latents]` to the nearest value, the lowest index on a tie:
    /// q_j = V_j\[argmin_k |z_j - V_jk|\].
    pub fn forward(&self, latents: Tensor<2>) -> Quantized {
        let inner = latents.clone().without_autodiff();
        let distances = (inner.clone().unsqueeze_dim::<3>(2) - self.table().unsqueeze_dim(0)).abs();
        let indices = distances.argmin(2).squeeze_dim::<2>(2);
        let values = self.lookup(indices.clone());
        let step = values.clone().without_autodiff() - inner;
        Quantized {
            indices,
            straight_through: latents + step,
            values,
        }
    }

    /// The values at `indices` `[batch, latents]`, which must lie below each latent's size.
    pub fn lookup(&self, indices: Tensor<2, Int>) -> Tensor<2> {
        let indices = indices.without_autodiff();
        let [batch, latents] = indices.dims();
        let offsets = Tensor::<1, Int>::from_data(self.offsets().as_slice(), &indices.device());
        let positions = (indices + offsets.unsqueeze()).reshape([batch * latents]);
        self.codebooks()
            .select(0, positions)
            .reshape([batch, latents])
    }

    /// The codebook values of latent `latent` `[n_v]`.
    pub(crate) fn codebook(&self, latent: usize) -> Tensor<1> {
        let start = self.offsets()[latent] as usize;
        self.codebooks().narrow(0, start, self.sizes[latent])
    }
}

/// `linspace(-0.5, 0.5, size)`; a single value sits at -0.5.
pub(crate) fn grid(size: usize) -> impl Iterator<Item = f32> {
    let last = size.max(2) - 1;
    (0..size).map(move |index| (index as f64 / last as f64 - 0.5) as f32)
}
