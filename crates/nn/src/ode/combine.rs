//! Sums of a state and slopes, and how large they are, in one pass over memory.
//!
//! Written on Burn operations a stage of a step is two passes for every slope; on `flex` it is one
//! for all of them, in single and double precision, with a gradient.

use super::Tolerance;
use burn::tensor::{DType, Tensor};

/// A number and what it scales.
pub type Term<'a, T> = (f64, &'a T);

/// `Σ c x` of tensors of one shape and precision, without those whose `c` is 0; differentiable.
///
/// # Panics
/// If there is no term, or shapes differ.
pub fn combine<const D: usize>(terms: &[Term<'_, Tensor<D>>]) -> Tensor<D> {
    let (scales, tensors) = apart(terms);
    #[cfg(feature = "flex")]
    if tensors[0].shape().num_elements() > 0
        && let Some(sum) = super::flex::sum(&scales, &tensors)
    {
        return sum;
    }
    plain(&scales, &tensors)
}

/// Scales and tensors of the terms that count, which must be of one shape; the first one if none
/// does.
fn apart<'a, const D: usize>(terms: &[Term<'a, Tensor<D>>]) -> (Vec<f64>, Vec<&'a Tensor<D>>) {
    let shape = terms[0].1.dims();
    assert!(
        terms.iter().all(|(_, x)| x.dims() == shape),
        "combine: shapes"
    );
    let counting: Vec<_> = terms.iter().filter(|(c, _)| *c != 0.0).copied().collect();
    if counting.is_empty() {
        return (vec![0.0], vec![terms[0].1]);
    }
    counting.into_iter().unzip()
}

/// [`combine`] in Burn operations, for every backend.
pub fn plain<const D: usize>(scales: &[f64], tensors: &[&Tensor<D>]) -> Tensor<D> {
    let mut terms = scales.iter().zip(tensors).map(|(scale, x)| {
        if *scale == 1.0 {
            (*x).clone()
        } else {
            (*x).clone() * *scale
        }
    });
    let first = terms.next().unwrap_or_else(|| tensors[0].clone());
    terms.fold(first, |sum, term| sum + term)
}

/// The root mean square over all elements of `Σ c x / (absolute + relative · max(|a|, |b|))`, in
/// double precision; no gradient flows.
///
/// # Panics
/// If there is no term, or shapes differ.
pub fn scaled_rms<const D: usize>(
    terms: &[Term<'_, Tensor<D>>],
    ends: [&Tensor<D>; 2],
    tolerance: Tolerance,
) -> f64 {
    let (scales, tensors) = apart(terms);
    let inner: Vec<Tensor<D>> = tensors.iter().map(|x| (*x).clone().inner()).collect();
    let tensors: Vec<&Tensor<D>> = inner.iter().collect();
    let ends = ends.map(|end| end.clone().inner());
    let count = tensors[0].shape().num_elements();
    if count == 0 {
        return 0.0;
    }
    let Tolerance { absolute, relative } = tolerance;
    #[cfg(feature = "flex")]
    if let Some(squares) = {
        let ends = [&ends[0], &ends[1]];
        super::flex::squares(&scales, &tensors, ends, [absolute, relative])
    } {
        return (squares / count as f64).sqrt();
    }
    let [a, b] = ends.map(Tensor::abs);
    let scaled = plain(&scales, &tensors) / (a.max_pair(b) * relative + absolute);
    (number(scaled.square().mean())).sqrt()
}

/// The root mean square over all elements of `Σ c x`, in double precision; no gradient flows.
///
/// # Panics
/// If there is no term, or shapes differ.
pub fn rms<const D: usize>(terms: &[Term<'_, Tensor<D>>]) -> f64 {
    let unit = Tolerance::new(1.0, 0.0);
    let end = terms[0].1;
    scaled_rms(terms, [end, end], unit)
}

/// The one value of a tensor.
pub(crate) fn number(tensor: Tensor<1>) -> f64 {
    let data = tensor.cast(DType::F64).into_data();
    data.iter::<f64>().next().unwrap_or(f64::NAN)
}

/// `tanh(Σ c x + row)` of tensors `[rows, width]` and a row `[1, width]`, with `extra` columns of one
/// value each: `[rows, width + extra]`. A layer of a field that is differentiated by hand: no gradient
/// flows on `flex`.
///
/// # Panics
/// If there is no term, or shapes do not fit.
pub fn tanh_sum(terms: &[Term<'_, Tensor<2>>], row: &Tensor<2>, extra: &[f64]) -> Tensor<2> {
    let (scales, tensors) = apart(terms);
    let [rows, width] = tensors[0].dims();
    assert_eq!(row.dims(), [1, width], "tanh_sum: shape of the row");
    #[cfg(feature = "flex")]
    if rows * width > 0
        && let Some(y) = super::flex::tanh(&scales, &tensors, row, extra)
    {
        return y;
    }
    let y = (plain(&scales, &tensors) + row.clone()).tanh();
    let options = (&y.device(), y.dtype());
    let columns = extra
        .iter()
        .map(|value| Tensor::full([rows, 1], *value, options));
    let columns: Vec<Tensor<2>> = columns.collect();
    if columns.is_empty() {
        return y;
    }
    Tensor::cat([vec![y], columns].concat(), 1)
}

/// `(1 - y²) Σ c x` of tensors `[rows, width]`: the gradient before a hyperbolic tangent, of its
/// result `y` (which may have further columns) and the gradient after it. No gradient flows on `flex`.
///
/// # Panics
/// If there is no term, or shapes do not fit.
pub fn tanh_slope(terms: &[Term<'_, Tensor<2>>], y: &Tensor<2>) -> Tensor<2> {
    let (scales, tensors) = apart(terms);
    let ([rows, width], [found, columns]) = (tensors[0].dims(), y.dims());
    assert!(rows == found && width <= columns, "tanh_slope: shapes");
    #[cfg(feature = "flex")]
    if rows * width > 0
        && let Some(slope) = super::flex::tanh_slope(&scales, &tensors, y)
    {
        return slope;
    }
    let y = y.clone().slice([0..rows, 0..width]);
    plain(&scales, &tensors) * (y.square() * -1.0 + 1.0)
}
