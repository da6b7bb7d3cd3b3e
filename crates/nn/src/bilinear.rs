//! Bilinear forms of aligned slices of two vectors.
//!
//! On `flex` the products of all rows and heads are matrix products on the slices where they lie, and the
//! sums over rows follow in one pass; on Burn operations slices are copied head by head first.

use burn::tensor::Tensor;

/// `Σ_h x_hᵀ W_h y_h + ⟨u, x⟩ + ⟨v, y⟩` for every row: `[rows]`.
///
/// `x [rows, heads · a]` and `y [rows, heads · b]` hold their slices side by side; `w [heads · a, b]` the
/// matrices `W_h [a, b]` one below the other; `u [heads · a]`, `v [heads · b]`.
///
/// # Panics
/// If the shapes do not fit each other, or the heads do not divide the widths.
pub fn bilinear(
    x: Tensor<2>,
    y: Tensor<2>,
    w: Tensor<2>,
    [u, v]: [Tensor<1>; 2],
    heads: usize,
) -> Tensor<1> {
    let ([rows, left], [other, right]) = (x.dims(), y.dims());
    assert_eq!(rows, other, "bilinear: rows of x and y");
    assert!(
        heads > 0 && left.is_multiple_of(heads) && right.is_multiple_of(heads),
        "bilinear: {heads} heads in {left} and {right} numbers"
    );
    assert_eq!(w.dims(), [left, right / heads], "bilinear: shape of w");
    assert_eq!(
        [u.dims()[0], v.dims()[0]],
        [left, right],
        "bilinear: u and v"
    );
    #[cfg(feature = "flex")]
    if rows * left * right > 0 {
        // A kernel wants all of its tensors with autodiff or none.
        let tracked = [&x, &y, &w].iter().any(|tensor| tensor.is_autodiff());
        let two = |tensor: &Tensor<2>| match tracked {
            true => tensor.clone().autodiff(),
            false => tensor.clone(),
        };
        let one = |tensor: &Tensor<1>| match tracked {
            true => tensor.clone().autodiff(),
            false => tensor.clone(),
        };
        let inputs = [two(&x), two(&y), two(&w)].map(Tensor::into_dispatch);
        let [x, y, w] = inputs;
        let inputs = [x, y, w, one(&u).into_dispatch(), one(&v).into_dispatch()];
        if let Some(sums) = crate::flex::bilinear::bilinear(inputs, heads) {
            return sums;
        }
    }
    plain::bilinear(x, y, w, [u, v], heads)
}

/// The same in Burn operations, for every backend.
pub mod plain {
    use super::Tensor;

    /// [`bilinear`](super::bilinear).
    pub fn bilinear(
        x: Tensor<2>,
        y: Tensor<2>,
        w: Tensor<2>,
        [u, v]: [Tensor<1>; 2],
        heads: usize,
    ) -> Tensor<1> {
        let ([rows, left], [_, right]) = (x.dims(), y.dims());
        let linear =
            x.clone().matmul(u.unsqueeze_dim::<2>(1)) + y.clone().matmul(v.unsqueeze_dim(1));
        let slices = |tensor: Tensor<2>, width: usize| -> Tensor<3> {
            tensor.reshape([rows, heads, width / heads]).swap_dims(0, 1)
        };
        let w = w.reshape([heads, left / heads, right / heads]);
        let product = slices(x, left).matmul(w) * slices(y, right);
        let product = product.sum_dim(2).sum_dim(0).reshape([rows, 1]);
        (linear + product).squeeze_dim::<1>(1)
    }
}
