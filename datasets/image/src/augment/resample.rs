//! Resizing as Pillow's `Image.resize`: separable, antialiased, in fixed point.
//!
//! Columns come first, then rows. Pillow's latest versions (13.0 among them) take rows first where
//! that is cheaper, which differs in the last bit of some values.

use super::Image;
use menagerie_core::{Error, Result};

/// A resizing filter. Where an image shrinks, the filter is stretched over the pixels that it
/// gathers (antialiasing).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Filter {
    /// The mean.
    Box,
    /// The triangle.
    Bilinear,
    /// Keys' cubic with a = −1/2.
    #[default]
    Bicubic,
}

impl Filter {
    /// The half-width of the filter at scale 1.
    fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The filter's value at the distance `x`.
    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let signed = x;
        let x = x.abs();
        match self {
            // The edge belongs to the upper of two neighbours.
            Self::Box => f64::from(u8::from(signed > -0.5 && signed <= 0.5)),
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// Bits after the point of a weight: 8-bit values times weights sum up in 32 bits.
const PRECISION: u32 = 32 - 8 - 2;

/// What one output position gathers: the first input position and the weights from there on.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of each of `output` positions over `input` ones.
fn taps(input: usize, output: usize, filter: Filter) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    (0..output)
        .map(|position| {
            let centre = (position as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            let weights: Vec<f64> = (first..last)
                .map(|at| filter.at((at as f64 - centre + 0.5) / stretch))
                .collect();
            let sum: f64 = weights.iter().sum();
            Taps {
                first,
                weights: weights
                    .iter()
                    .map(|weight| (weight / sum * f64::from(1 << PRECISION)).round() as i32)
                    .collect(),
            }
        })
        .collect()
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// `image` at the size `[height, width]`: columns first, rounded to 8 bits, then rows.
///
/// # Errors
/// [`Error::Input`] for a side of 0 or above [`Image::MAX_SIDE`].
pub(super) fn resize(image: &Image, size: [usize; 2], filter: Filter) -> Result<Image> {
    if size
        .iter()
        .any(|side| !(1..=Image::MAX_SIDE).contains(side))
    {
        let rule = "both sides must lie in 1..=16384";
        return Err(Error::input("the size of an image", size, rule));
    }
    let [height, width] = size;
    let wide = if width == image.width() {
        image.clone()
    } else {
        columns(image, width, filter)
    };
    Ok(if height == image.height() {
        wide
    } else {
        rows(&wide, height, filter)
    })
}

fn columns(image: &Image, width: usize, filter: Filter) -> Image {
    let [height, _, channels] = image.shape();
    let taps = taps(image.width(), width, filter);
    let mut pixels = vec![0; height * width * channels];
    for (row, output) in pixels.chunks_exact_mut(width * channels).enumerate() {
        let input = image.row(row);
        for (taps, pixel) in taps.iter().zip(output.chunks_exact_mut(channels)) {
            let from = &input[taps.first * channels..];
            for (channel, value) in pixel.iter_mut().enumerate() {
                let values = from[channel..].iter().step_by(channels);
                let sum = values
                    .zip(&taps.weights)
                    .map(|(&value, weight)| i32::from(value) * weight)
                    .sum::<i32>();
                *value = clip(sum + (1 << (PRECISION - 1)));
            }
        }
    }
    Image::of(pixels, [height, width, channels])
}

fn rows(image: &Image, height: usize, filter: Filter) -> Image {
    let [_, width, channels] = image.shape();
    let stride = width * channels;
    let mut pixels = vec![0; height * stride];
    let mut sums = vec![0_i32; stride];
    let taps = taps(image.height(), height, filter);
    for (taps, output) in taps.iter().zip(pixels.chunks_exact_mut(stride)) {
        sums.fill(1 << (PRECISION - 1));
        for (at, &weight) in taps.weights.iter().enumerate() {
            for (sum, &value) in sums.iter_mut().zip(image.row(taps.first + at)) {
                *sum += i32::from(value) * weight;
            }
        }
        for (value, &sum) in output.iter_mut().zip(&sums) {
            *value = clip(sum);
        }
    }
    Image::of(pixels, [height, width, channels])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[u8]) -> Image {
        Image::new(values.to_vec(), [1, values.len(), 1]).unwrap()
    }

    fn column(values: &[u8]) -> Image {
        Image::new(values.to_vec(), [values.len(), 1, 1]).unwrap()
    }

    #[test]
    fn keys_cubic_has_its_values() {
        // By hand: w(1/2) = 9/16, w(3/2) = -1/16, w(1/4) = 111/128, w(5/4) = -9/128.
        for (x, weight) in [
            (0.0, 1.0),
            (0.5, 0.5625),
            (1.0, 0.0),
            (-1.5, -0.0625),
            (0.25, 111.0 / 128.0),
            (1.25, -9.0 / 128.0),
            (2.0, 0.0),
        ] {
            assert!((Filter::Bicubic.at(x) - weight).abs() < 1e-12, "{x}");
        }
    }

    #[test]
    fn halving_by_hand() {
        // Output 1 of 4 to 2 is centred between inputs 0 and 1; the triangle of half-width 2 has
        // the weights 3/8, 3/8, 1/8 of inputs 0, 1, 2 (at distances 1/2, 1/2, 3/2), normalised by
        // 7/8: (3 · 0 + 3 · 70 + 140) / 7 = 50.
        let small = resize(&line(&[0, 70, 140, 210]), [1, 2], Filter::Bilinear).unwrap();
        assert_eq!(small.pixels(), [50, 160]);
        let small = resize(&column(&[0, 70, 140, 210]), [2, 1], Filter::Bilinear).unwrap();
        assert_eq!(small.pixels(), [50, 160]);
    }

    #[test]
    fn doubling_by_hand() {
        // Output 2 is centred at 1.25: cubic weights of inputs 0, 1, 2, 3 at distances 3/4, 1/4,
        // 5/4 and so on. w(3/4) = 29/128, w(7/4) = -3/128, w(1/4) = 111/128, w(5/4) = -9/128.
        let values = [0.0, 128.0, 0.0, 128.0];
        let expected = (29.0 * values[0] + 111.0 * values[1] - 9.0 * values[2] - 3.0 * values[3])
            / (29.0 + 111.0 - 9.0 - 3.0);
        let large = resize(&line(&[0, 128, 0, 128]), [1, 8], Filter::Bicubic).unwrap();
        assert_eq!(f64::from(large.pixels()[2]), f64::round(expected));
    }

    #[test]
    fn a_constant_stays_and_overshoot_is_clipped() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for size in [[3, 17], [40, 2], [7, 5]] {
                let grey = Image::new(vec![93; 7 * 5 * 3], [7, 5, 3]).unwrap();
                let [height, width] = size;
                let same = resize(&grey, size, filter).unwrap();
                assert_eq!(same.pixels(), vec![93; height * width * 3]);
            }
        }
        let edge = resize(&line(&[0, 0, 255, 255]), [1, 8], Filter::Bicubic).unwrap();
        assert_eq!((edge.pixels()[2], edge.pixels()[5]), (0, 255));
    }
}
