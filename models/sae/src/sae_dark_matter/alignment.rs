//! Does a norm predictor point along the directions of active latents?

use super::{regression::LinearFit, rows::host};
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// The predictor of a norm held against every dictionary vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// Cosine of the predictor and each dictionary vector.
    pub cosines: Vec<f64>,
    /// Inner product with each.
    pub products: Vec<f64>,
    /// Mean activation of each latent.
    pub mean_activations: Vec<f64>,
    /// Pearson correlation of the inner products with the mean activations: near 1 if the norm is
    /// the sum of what each active latent usually brings.
    pub correlation: f64,
}

/// Holds `predictor`, the a* of a squared norm (fitted on `Sae(x) - b_dec` in the paper), against
/// the rows of `dictionary` `[latents, width]`, beside the latents' `mean_activations` `[latents]`
/// over the tokens where they are active.
///
/// # Errors
/// [`Error::Input`] if sizes do not fit, or the correlation does not exist because the products or
/// the activations are all equal.
pub fn alignment(
    predictor: &LinearFit,
    dictionary: Tensor<2>,
    mean_activations: Tensor<1>,
) -> Result<Alignment> {
    let ([latents, width], [given]) = (dictionary.dims(), mean_activations.dims());
    let coefficients = predictor.coefficients();
    if coefficients.len() != width {
        return Err(Error::input(
            "the number of coefficients of the norm predictor",
            coefficients.len(),
            format!("must be {width}, the width of the dictionary, for one norm"),
        ));
    }
    if given != latents {
        return Err(Error::input(
            "the number of mean activations",
            given,
            format!("must be {latents}, one per dictionary vector"),
        ));
    }
    let vectors = host(dictionary, "a dictionary vector")?;
    let mean_activations = host(mean_activations, "a mean activation")?;
    let mean_activations: Vec<f64> = mean_activations.into_iter().map(f64::from).collect();
    let size = coefficients.iter().map(|a| a * a).sum::<f64>().sqrt();
    let (cosines, products): (Vec<f64>, Vec<f64>) = vectors
        .chunks_exact(width.max(1))
        .map(|vector| {
            let pairs = vector.iter().zip(coefficients);
            let product: f64 = pairs.map(|(&v, a)| f64::from(v) * a).sum();
            let length = vector.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            let cosine = product / (length.sqrt() * size).max(f64::MIN_POSITIVE);
            (cosine, product)
        })
        .unzip();
    let correlation = correlation(&products, &mean_activations).ok_or_else(|| {
        let rule = "inner products and mean activations must vary over the latents";
        Error::input("the correlation", "undefined", rule)
    })?;
    Ok(Alignment {
        cosines,
        products,
        mean_activations,
        correlation,
    })
}

/// Pearson's correlation; `None` if either side does not vary.
pub fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let count = a.len().min(b.len()) as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        ab += (a - mean_a) * (b - mean_b);
        aa += (a - mean_a).powi(2);
        bb += (b - mean_b).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}
