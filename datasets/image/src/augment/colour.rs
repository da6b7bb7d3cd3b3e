//! Operations on values, as Pillow's `ImageOps` and `ImageEnhance`.

use super::Image;
use menagerie_core::{Error, Result};

/// A table of 256 output values for each channel.
fn tables(image: &Image, table: impl Fn(&[u64; 256]) -> Option<[u8; 256]>) -> Vec<[u8; 256]> {
    (0..image.channels())
        .map(|channel| {
            let mut counts = [0; 256];
            let values = image.pixels().iter().skip(channel);
            for &value in values.step_by(image.channels()) {
                counts[usize::from(value)] += 1;
            }
            table(&counts).unwrap_or_else(identity)
        })
        .collect()
}

fn identity() -> [u8; 256] {
    std::array::from_fn(|value| value as u8)
}

/// Each channel stretched over all 256 values.
pub(super) fn auto_contrast(image: &Image) -> Image {
    let tables = tables(image, |counts| {
        let low = counts.iter().position(|&count| count > 0)?;
        let high = counts.iter().rposition(|&count| count > 0)?;
        let scale = 255.0 / (high.checked_sub(low).filter(|&span| span > 0)? as f64);
        let offset = -(low as f64) * scale;
        Some(std::array::from_fn(|value| {
            (value as f64 * scale + offset) as u8
        }))
    });
    image
        .clone()
        .map_channels(|channel, value| tables[channel][usize::from(value)])
}

/// Each channel with as uniform a histogram as its values allow.
pub(super) fn equalize(image: &Image) -> Image {
    let tables = tables(image, |counts| {
        let last = *counts.iter().rev().find(|count| **count > 0)?;
        let step = (counts.iter().sum::<u64>() - last) / 255;
        if step == 0 {
            return None;
        }
        let mut sum = step / 2;
        Some(std::array::from_fn(|value| {
            let output = (sum / step).min(255) as u8;
            sum += counts[value];
            output
        }))
    });
    image
        .clone()
        .map_channels(|channel, value| tables[channel][usize::from(value)])
}

pub(super) fn invert(image: &Image) -> Image {
    image.clone().map_channels(|_, value| 255 - value)
}

/// Keeps the `bits` most significant bits.
pub(super) fn posterize(image: &Image, bits: u32) -> Image {
    let mask = 0xff_u32 << 8_u32.saturating_sub(bits);
    image.clone().map_channels(|_, value| value & mask as u8)
}

/// Inverts values from `threshold` on.
pub(super) fn solarize(image: &Image, threshold: u32) -> Image {
    image.clone().map_channels(|_, value| {
        if u32::from(value) < threshold {
            value
        } else {
            255 - value
        }
    })
}

/// Adds to values below 128.
pub(super) fn solarize_add(image: &Image, add: u8) -> Image {
    image.clone().map_channels(|_, value| {
        if value < 128 {
            value.saturating_add(add)
        } else {
            value
        }
    })
}

/// From `degenerate` (factor 0) to `image` (factor 1) and beyond, cut to 8 bits.
fn blend(degenerate: impl Iterator<Item = u8>, image: &Image, factor: f64) -> Image {
    let factor = factor as f32;
    let values = image.pixels().iter().zip(degenerate);
    let pixels = values
        .map(|(&value, degenerate)| {
            let span = i32::from(value) - i32::from(degenerate);
            (f32::from(degenerate) + factor * span as f32) as u8
        })
        .collect();
    Image::of(pixels, image.shape())
}

/// Towards black.
pub(super) fn brightness(image: &Image, factor: f64) -> Image {
    blend(std::iter::repeat(0), image, factor)
}

/// Towards the mean luma.
pub(super) fn contrast(image: &Image, factor: f64) -> Result<Image> {
    let luma = luma(image)?;
    let sum: u64 = luma.iter().map(|&value| u64::from(value)).sum();
    let mean = (sum as f64 / luma.len() as f64 + 0.5) as u8;
    Ok(blend(std::iter::repeat(mean), image, factor))
}

/// Towards grey.
pub(super) fn color(image: &Image, factor: f64) -> Result<Image> {
    let luma = luma(image)?;
    let grey = luma
        .into_iter()
        .flat_map(|value| std::iter::repeat_n(value, image.channels()));
    Ok(blend(grey, image, factor))
}

/// Towards the smoothed image.
pub(super) fn sharpness(image: &Image, factor: f64) -> Image {
    blend(smooth(image).into_iter(), image, factor)
}

/// ITU-R 601 luma in fixed point.
fn luma(image: &Image) -> Result<Vec<u8>> {
    match image.channels() {
        1 => Ok(image.pixels().to_vec()),
        3 => {
            let pixels = image.pixels().chunks_exact(3);
            Ok(pixels
                .map(|pixel| {
                    let [r, g, b] = [0, 1, 2].map(|channel| u32::from(pixel[channel]));
                    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
                })
                .collect())
        }
        channels => Err(Error::input(
            "channels",
            channels,
            "colour operations need 1 (grey) or 3 (colour)",
        )),
    }
}

/// The mean of 3×3 pixels in which the middle counts five times; the rim as it is.
fn smooth(image: &Image) -> Vec<u8> {
    let [height, width, channels] = image.shape();
    let stride = width * channels;
    let input = image.pixels();
    let mut output = input.to_vec();
    for row in 1..height.saturating_sub(1) {
        for at in row * stride + channels..(row + 1) * stride - channels.min(stride) {
            let line = |at: usize| {
                u32::from(input[at - channels])
                    + u32::from(input[at])
                    + u32::from(input[at + channels])
            };
            let sum = line(at - stride) + line(at) + line(at + stride) + 4 * u32::from(input[at]);
            output[at] = ((2 * sum + 13) / 26) as u8;
        }
    }
    output
}
