//! Latent quantisation (section 3.1): one learnable scalar codebook per latent.

use burn::{
    module::{Module, Param},
    tensor::{Bool, Device, Int, Tensor, TensorData},
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

    /// The codebooks; without a gradient if they are not trained.
    fn codebooks(&self) -> Tensor<1> {
        match self.trainable {
            true => self.values.val(),
            false => self.values.val().detach(),
        }
    }

    /// [`quantize`] with this module's codebooks.
    pub fn forward(&self, latents: Tensor<2>) -> Quantized {
        quantize(latents, self.codebooks(), &self.sizes)
    }

    /// The values at `indices` `[batch, latents]`, which must lie below each latent's size.
    pub fn lookup(&self, indices: Tensor<2, Int>) -> Tensor<2> {
        lookup(indices, self.codebooks(), &self.sizes)
    }

    /// The codebook of latent `latent` `[n_v]`.
    pub(crate) fn codebook(&self, latent: usize) -> Tensor<1> {
        let codebooks = self.codebooks();
        let start = starts(&codebooks, &self.sizes)[latent] as usize;
        codebooks.narrow(0, start, self.sizes[latent])
    }
}

/// Quantises `latents` `[batch, latents]` to the nearest value of each one's codebook, the lowest
/// index on a tie: q_j = V_j\[argmin_k |z_j - V_jk|\].
///
/// `codebooks` holds the codebooks one after the other, latent j's of `sizes[j]` values, or a
/// single one that all latents share.
///
/// # Panics
/// If there is not one size per latent, or if the number of values is neither the sum of the sizes
/// nor the size that all latents have in common.
pub fn quantize(latents: Tensor<2>, codebooks: Tensor<1>, sizes: &[usize]) -> Quantized {
    let values = codebooks.dims()[0];
    assert_eq!(
        latents.dims()[1],
        sizes.len(),
        "one codebook size per latent"
    );
    assert!(
        values == sizes.iter().sum::<usize>() || sizes.iter().all(|&size| size == values),
        "{values} values for codebooks of {sizes:?}"
    );
    let inner = latents.clone().without_autodiff();
    let table = table(codebooks.clone().without_autodiff(), sizes);
    let distances = (inner.clone().unsqueeze_dim::<3>(2) - table.unsqueeze_dim(0)).abs();
    let indices = distances.argmin(2).squeeze_dim::<2>(2);
    let values = lookup(indices.clone(), codebooks, sizes);
    let step = values.clone().without_autodiff() - inner;
    Quantized {
        indices,
        straight_through: latents + step,
        values,
    }
}

fn lookup(indices: Tensor<2, Int>, codebooks: Tensor<1>, sizes: &[usize]) -> Tensor<2> {
    let [batch, latents] = indices.dims();
    let starts = starts(&codebooks, sizes);
    let starts = Tensor::<1, Int>::from_data(starts.as_slice(), &indices.device());
    let positions = (indices + starts.unsqueeze()).reshape([batch * latents]);
    codebooks.select(0, positions).reshape([batch, latents])
}

/// Whether all latents share one codebook.
fn shared(codebooks: &Tensor<1>, sizes: &[usize]) -> bool {
    codebooks.dims()[0] != sizes.iter().sum::<usize>()
}

/// Where each latent's codebook starts.
fn starts(codebooks: &Tensor<1>, sizes: &[usize]) -> Vec<i64> {
    let shared = shared(codebooks, sizes);
    let mut next = 0;
    sizes
        .iter()
        .map(|&size| {
            let start = next;
            next += if shared { 0 } else { size as i64 };
            start
        })
        .collect()
}

/// The codebooks side by side `[latents, max n_v]`, short ones filled up with infinity, which is
/// nearest to nothing; `[1, n_v]` for a shared codebook.
fn table(codebooks: Tensor<1>, sizes: &[usize]) -> Tensor<2> {
    let (latents, longest) = (sizes.len(), sizes.iter().copied().max().unwrap_or(0));
    if shared(&codebooks, sizes) {
        return codebooks.unsqueeze();
    }
    if sizes.iter().all(|&size| size == longest) {
        return codebooks.reshape([latents, longest]);
    }
    let device = codebooks.device();
    let (mut positions, mut padding) = (Vec::new(), Vec::new());
    for (&size, start) in sizes.iter().zip(starts(&codebooks, sizes)) {
        for index in 0..longest {
            positions.push(start + index.min(size - 1) as i64);
            padding.push(index >= size);
        }
    }
    let positions = Tensor::<1, Int>::from_data(positions.as_slice(), &device);
    let padding = Tensor::<1, Bool>::from_data(padding.as_slice(), &device);
    codebooks
        .select(0, positions)
        .mask_fill(padding, f32::INFINITY)
        .reshape([latents, longest])
}

/// `linspace(-0.5, 0.5, size)`; a single value sits at -0.5.
pub(crate) fn grid(size: usize) -> impl Iterator<Item = f32> {
    let last = size.max(2) - 1;
    (0..size).map(move |index| (index as f64 / last as f64 - 0.5) as f32)
}
