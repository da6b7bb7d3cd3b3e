//! The objective, and how far heads look.

use burn::tensor::Tensor;

pub use menagerie_nn::classification::{accuracy, smooth_targets, soft_cross_entropy};

/// The non-locality of each head: the mean over queries and images of `Σ_j A_ij ‖Δ_ij‖`, in patches;
/// `map [batch, heads, tokens, tokens]`, `distances [tokens, tokens]`, the result `[heads]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn non_locality(map: Tensor<4>, distances: Tensor<2>) -> Tensor<1> {
    let [batch, heads, tokens, _] = map.dims();
    let far = (map * distances.unsqueeze::<4>()).sum_dim(3);
    let far = far.reshape([batch, heads, tokens]).mean_dim(2);
    far.mean_dim(0).reshape([heads])
}
