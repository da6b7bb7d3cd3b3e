//! Elastic deformation (Simard, Steinkraus and Platt 2003), with which the official code augments
//! every training batch.
//!
//! Two fields of noise per image are smoothed with a Gaussian and scaled to displacements in
//! pixels; the image is resampled at the displaced positions. Works on slices in host memory, the
//! images in parallel.

use burn::config::Config;
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;
use rayon::prelude::*;

/// How strong and how smooth a deformation is.
#[derive(Config, Debug, PartialEq)]
pub struct ElasticConfig {
    /// Standard deviation of the Gaussian in pixels.
    #[config(default = 4.0)]
    pub sigma: f64,
    /// What the smoothed noise is multiplied by, in pixels.
    #[config(default = 20.0)]
    pub alpha: f64,
    /// The Gaussian is cut off at this many standard deviations.
    #[config(default = 4.0)]
    pub truncate: f64,
}

impl ElasticConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value, positive) in [
            ("sigma", self.sigma, true),
            ("alpha", self.alpha, false),
            ("truncate", self.truncate, false),
        ] {
            let rule = if positive {
                "must be finite and above 0"
            } else {
                "must be finite and not negative"
            };
            if !value.is_finite() || value < 0.0 || (positive && value == 0.0) {
                return Err(Error::config("ElasticConfig", field, value, rule));
            }
        }
        // A radius that does not fit in memory is a slip of the keyboard.
        if self.sigma * self.truncate > 1e6 {
            return Err(Error::config(
                "ElasticConfig",
                "sigma",
                self.sigma,
                "sigma times truncate must be at most a million pixels",
            ));
        }
        Ok(())
    }

    /// The deformation.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self) -> Result<Elastic> {
        self.validate()?;
        let radius = (self.truncate * self.sigma + 0.5) as usize;
        let weight = |offset: usize| {
            let x = offset as f64 - radius as f64;
            (-0.5 * x * x / (self.sigma * self.sigma)).exp()
        };
        let kernel: Vec<f64> = (0..=2 * radius).map(weight).collect();
        let sum: f64 = kernel.iter().sum();
        Ok(Elastic {
            kernel: kernel.into_iter().map(|weight| weight / sum).collect(),
            alpha: self.alpha as f32,
        })
    }
}

/// Noise or displacements of a batch: one value per pixel for the rows and one for the columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    /// Along the rows (vertical), `[batch, height, width]`.
    pub rows: Vec<f32>,
    /// Along the columns (horizontal), `[batch, height, width]`.
    pub columns: Vec<f32>,
}

impl Fields {
    /// Noise for `batch` images of `height` by `width`, uniform in [-1, 1); each image draws from
    /// a stream of its own.
    pub fn draw(batch: usize, [height, width]: [usize; 2], seed: Seed) -> Self {
        let draw = |name: &str| {
            let stream = seed.stream(name);
            let mut noise = vec![0.0; batch * height * width];
            noise
                .par_chunks_mut((height * width).max(1))
                .enumerate()
                .for_each(|(image, values)| {
                    let mut rng = stream.at(image as u64).rng();
                    for value in values {
                        *value = rng.random_range(-1.0..1.0);
                    }
                });
            noise
        };
        Self {
            rows: draw("rows"),
            columns: draw("columns"),
        }
    }
}

/// An elastic deformation.
#[derive(Clone, Debug)]
pub struct Elastic {
    /// The Gaussian, of odd length, with sum 1.
    kernel: Vec<f64>,
    alpha: f32,
}

impl Elastic {
    /// The displacements in pixels that `noise` gives images of `height` by `width`.
    ///
    /// # Errors
    /// [`Error::Input`] if the noise is not a whole number of such fields.
    pub fn displacements(&self, noise: &Fields, size: [usize; 2]) -> Result<Fields> {
        let batch = count("noise.rows", noise.rows.len(), size)?;
        same("noise.columns", noise.columns.len(), batch, size)?;
        Ok(Fields {
            rows: self.smooth(&noise.rows, size),
            columns: self.smooth(&noise.columns, size),
        })
    }

    /// Deforms images `[batch, channels, height, width]`, all channels of an image alike, by
    /// `noise` for `batch` images.
    ///
    /// # Errors
    /// [`Error::Input`] if images and noise are not of as many images of that size.
    pub fn deform(
        &self,
        images: &[f32],
        [channels, height, width]: [usize; 3],
        noise: &Fields,
    ) -> Result<Vec<f32>> {
        let batch = count("images", images.len(), [channels * height, width])?;
        same("noise.rows", noise.rows.len(), batch, [height, width])?;
        let fields = self.displacements(noise, [height, width])?;
        let area = height * width;
        let mut out = vec![0.0; images.len()];
        out.par_chunks_mut(area)
            .zip(images.par_chunks(area))
            .enumerate()
            .for_each(|(plane, (out, image))| {
                let field = plane / channels * area..(plane / channels + 1) * area;
                let rows = &fields.rows[field.clone()];
                resample(image, [height, width], rows, &fields.columns[field], out);
            });
        Ok(out)
    }

    /// Each field blurred along rows, then along columns, and scaled. Sums are taken in double
    /// precision, each pass is rounded to single.
    fn smooth(&self, fields: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
        let area = height * width;
        let mut out = vec![0.0; fields.len()];
        out.par_chunks_mut(area)
            .zip(fields.par_chunks(area))
            .for_each_init(
                || Scratch::new(&self.kernel, [height, width]),
                |scratch, (out, field)| {
                    scratch.blur(field, out);
                    out.iter_mut().for_each(|value| *value *= self.alpha);
                },
            );
        out
    }
}

/// What one thread needs for its blurs.
struct Scratch<'a> {
    /// The kernel from its centre outwards: it is symmetric, so that taps at the same distance
    /// share a multiplication.
    half: &'a [f64],
    size: [usize; 2],
    /// The field between `radius` zeros on either side of each row.
    padded: Vec<f64>,
    /// Sums of one row.
    sums: Vec<f64>,
}

impl<'a> Scratch<'a> {
    fn new(kernel: &'a [f64], size @ [height, width]: [usize; 2]) -> Self {
        let half = &kernel[kernel.len() / 2..];
        Self {
            half,
            size,
            padded: vec![0.0; height * (width + 2 * (half.len() - 1))],
            sums: vec![0.0; width],
        }
    }

    fn blur(&mut self, field: &[f32], out: &mut [f32]) {
        let [height, width] = self.size;
        let radius = self.half.len() - 1;
        let stride = width + 2 * radius;
        let start = |row: usize| row * stride + radius;
        let Self {
            half, padded, sums, ..
        } = self;
        for (row, values) in field.chunks_exact(width).enumerate() {
            widen(values, &mut padded[start(row)..][..width]);
        }
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let line = |row: usize| &padded[start(row)..][..width];
            scale(sums, line(row), half[0]);
            for (tap, &weight) in half.iter().enumerate().skip(1) {
                // Rows beyond the edge are zero.
                match (row.checked_sub(tap), row + tap < height) {
                    (Some(above), true) => add_pair(sums, line(above), line(row + tap), weight),
                    (Some(above), false) => add(sums, line(above), weight),
                    (None, true) => add(sums, line(row + tap), weight),
                    (None, false) => break,
                }
            }
            narrow(sums, out);
        }
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let at = start(row);
            widen(out, &mut padded[at..][..width]);
            scale(sums, &padded[at..][..width], half[0]);
            for (tap, &weight) in half.iter().enumerate().skip(1) {
                let (left, right) = (&padded[at - tap..][..width], &padded[at + tap..][..width]);
                add_pair(sums, left, right, weight);
            }
            narrow(sums, out);
        }
    }
}

fn widen(from: &[f32], to: &mut [f64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f64::from(*from);
    }
}

fn narrow(from: &[f64], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from as f32;
    }
}

fn scale(sums: &mut [f64], values: &[f64], weight: f64) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = weight * value;
    }
}

fn add(sums: &mut [f64], values: &[f64], weight: f64) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

fn add_pair(sums: &mut [f64], one: &[f64], other: &[f64], weight: f64) {
    for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
        *sum += weight * (one + other);
    }
}

/// `image` at the position of each pixel plus its displacement, bilinear; 0 outside.
fn resample(
    image: &[f32],
    [height, width]: [usize; 2],
    rows: &[f32],
    columns: &[f32],
    out: &mut [f32],
) {
    let (last_row, last_column) = ((height - 1) as f64, (width - 1) as f64);
    let pixels = out.iter_mut().zip(rows.iter().zip(columns));
    for (index, (out, (dy, dx))) in pixels.enumerate() {
        let y = (index / width) as f64 + f64::from(*dy);
        let x = (index % width) as f64 + f64::from(*dx);
        // Written so that a displacement that is not a number lands outside as well.
        let inside = (0.0..=last_row).contains(&y) && (0.0..=last_column).contains(&x);
        if !inside {
            *out = 0.0;
            continue;
        }
        let (top, left) = (y as usize, x as usize);
        let (bottom, right) = ((top + 1).min(height - 1), (left + 1).min(width - 1));
        let (below, after) = (y - top as f64, x - left as f64);
        let pixel = |row: usize, column: usize| f64::from(image[row * width + column]);
        let upper = pixel(top, left) * (1.0 - after) + pixel(top, right) * after;
        let lower = pixel(bottom, left) * (1.0 - after) + pixel(bottom, right) * after;
        *out = (upper * (1.0 - below) + lower * below) as f32;
    }
}

/// How many fields of `size` there are in `length` values.
fn count(what: &str, length: usize, [height, width]: [usize; 2]) -> Result<usize> {
    let area = height * width;
    if area == 0 || length == 0 || !length.is_multiple_of(area) {
        let rule = format!("must be a positive multiple of {height} x {width} values");
        return Err(Error::input(what, length, rule));
    }
    Ok(length / area)
}

fn same(what: &str, length: usize, batch: usize, [height, width]: [usize; 2]) -> Result<()> {
    if length == batch * height * width {
        return Ok(());
    }
    let rule = format!("must be {batch} x {height} x {width} values, as many as there are images");
    Err(Error::input(what, length, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_kernel_has_33_taps_and_sum_1() {
        let elastic = ElasticConfig::new().init().unwrap();
        assert_eq!(elastic.kernel.len(), 33);
        assert!((elastic.kernel.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn no_noise_changes_nothing_and_a_shift_moves_the_image() {
        let shape = [2, 5, 7];
        let images: Vec<f32> = (0..140).map(|i| i as f32).collect();
        let elastic = ElasticConfig::new().init().unwrap();
        let still = Fields {
            rows: vec![0.0; 70],
            columns: vec![0.0; 70],
        };
        assert_eq!(elastic.deform(&images, shape, &still).unwrap(), images);
        // A whole row down and half a column to the right, without smoothing.
        let mut out = vec![f32::NAN; 35];
        resample(&images[..35], [5, 7], &[1.0; 35], &[0.5; 35], &mut out);
        assert_eq!(out[0], 7.5);
        assert_eq!(out[5], 12.5);
        assert_eq!((out[6], out[28]), (0.0, 0.0));
    }

    #[test]
    fn noise_is_a_function_of_seed_and_image() {
        let seed = Seed(3);
        let (two, three) = (Fields::draw(2, [4, 4], seed), Fields::draw(3, [4, 4], seed));
        assert_eq!(two.rows[..], three.rows[..32]);
        assert_ne!(two.rows, two.columns);
        assert!(three.rows.iter().all(|value| (-1.0..1.0).contains(value)));
    }

    #[test]
    fn impossible_deformations_are_refused() {
        let error = ElasticConfig::new().with_sigma(0.0).init().unwrap_err();
        assert_eq!(
            error.to_string(),
            "ElasticConfig.sigma = 0.0: must be finite and above 0"
        );
        let error = ElasticConfig::new().with_alpha(-1.0).init().unwrap_err();
        assert_eq!(
            error.to_string(),
            "ElasticConfig.alpha = -1.0: must be finite and not negative"
        );
        let elastic = ElasticConfig::new().init().unwrap();
        let noise = Fields::draw(2, [4, 4], Seed(0));
        let error = elastic.deform(&[0.0; 16], [1, 4, 4], &noise).unwrap_err();
        assert_eq!(
            error.to_string(),
            "noise.rows is 32: must be 1 x 4 x 4 values, as many as there are images"
        );
        let error = elastic.deform(&[0.0; 15], [1, 4, 4], &noise).unwrap_err();
        assert_eq!(
            error.to_string(),
            "images is 15: must be a positive multiple of 4 x 4 values"
        );
    }
}
