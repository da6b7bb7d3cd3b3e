//! How alike two representations are.

use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// Linear centred kernel alignment (Kornblith et al. 2019,
/// [arXiv:1905.00414](https://arxiv.org/abs/1905.00414), eq. 4) of two representations of the same
/// examples, `[examples, features]` each: `‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖)` in Frobenius norms, after the
/// mean of every column was taken off. 1 for representations that are equal up to a rotation and a
/// factor; shape `[1]`.
///
/// # Errors
/// [`Error::Input`] if the numbers of examples differ or are below 2, or if a representation is the
/// same for all examples.
pub fn linear_cka(x: Tensor<2>, y: Tensor<2>) -> Result<Tensor<1>> {
    let ([examples, _], [others, _]) = (x.dims(), y.dims());
    if examples < 2 || examples != others {
        let rule = "must be the same for both representations, and at least 2";
        let found = [examples, others];
        return Err(Error::input("the numbers of examples", found, rule));
    }
    let [x, y] = [centred(x)?, centred(y)?];
    let widest = x.dims()[1].max(y.dims()[1]);
    let (cross, own) = if widest <= examples {
        let product =
            |a: &Tensor<2>, b: &Tensor<2>| square(a.clone().transpose().matmul(b.clone()));
        (
            product(&y, &x),
            product(&x, &x).sqrt() * product(&y, &y).sqrt(),
        )
    } else {
        // The same from the similarities of examples, which are fewer than those of features.
        let [k, l] = [x, y].map(|x| x.clone().matmul(x.transpose()));
        let own = square(k.clone()).sqrt() * square(l.clone()).sqrt();
        ((k * l).sum(), own)
    };
    Ok(cross / own)
}

/// Columns without their means, and the whole at a length of 1.
fn centred(x: Tensor<2>) -> Result<Tensor<2>> {
    let x = x.clone() - x.mean_dim(0);
    let length = square(x.clone()).sqrt();
    let value = length
        .clone()
        .try_into_scalar::<f32>()
        .map_err(|error| Error::other("reading the length of a representation", error))?;
    if !(value.is_finite() && value > 0.0) {
        let rule = "must be finite and above 0: the representation has to vary";
        return Err(Error::input("the spread of a representation", value, rule));
    }
    Ok(x / length.unsqueeze())
}

fn square(x: Tensor<2>) -> Tensor<1> {
    x.square().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use menagerie_core::Seed;
    use menagerie_nn::noise::draw_normal;

    fn draw(shape: [usize; 2], seed: u64) -> Tensor<2> {
        draw_normal(shape, Seed(seed), &Device::default())
    }

    fn cka(x: Tensor<2>, y: Tensor<2>) -> f32 {
        linear_cka(x, y).unwrap().into_scalar()
    }

    #[test]
    fn it_does_not_see_rotations_factors_and_offsets() {
        let x = draw([40, 2], 1);
        let (sine, cosine) = 0.7_f32.sin_cos();
        let rotation = [[cosine, sine], [-sine, cosine]];
        let rotation = Tensor::from_floats(rotation, &x.device());
        let y = x.clone().matmul(rotation) * 3.0 + 5.0;
        assert!((cka(x.clone(), y) - 1.0).abs() < 1e-5);
        assert!(cka(x, draw([40, 2], 2)) < 0.2);
    }

    #[test]
    fn few_and_many_features_give_the_same() {
        let (x, y) = (draw([12, 5], 1), draw([12, 7], 2));
        // Zeros add features, but nothing to compare.
        let wide = |x: Tensor<2>| {
            let zeros = Tensor::zeros([12, 20], &x.device());
            Tensor::cat(vec![x, zeros], 1)
        };
        let (narrow, wide) = (cka(x.clone(), y.clone()), cka(wide(x), wide(y)));
        assert!((narrow - wide).abs() < 1e-5, "{narrow} {wide}");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let error = |x, y| linear_cka(x, y).unwrap_err().to_string();
        assert_eq!(
            error(draw([4, 2], 1), draw([5, 2], 1)),
            "the numbers of examples is [4, 5]: must be the same for both representations, and at \
             least 2"
        );
        assert_eq!(
            error(draw([4, 2], 1), Tensor::ones([4, 2], &Device::default())),
            "the spread of a representation is 0.0: must be finite and above 0: the representation \
             has to vary"
        );
    }
}
