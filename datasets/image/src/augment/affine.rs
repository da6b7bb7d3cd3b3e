//! Affine maps as Pillow's `Image.transform`: interpolated without antialiasing.

use super::Image;
use menagerie_core::{Error, Result};

/// How a value between pixels is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// Linear over 2×2 pixels.
    Bilinear,
    /// Cubic over 4×4 pixels. Pillow's transforms use a = −1, its resizing a = −1/2.
    #[default]
    Bicubic,
}

/// The map from an output position to an input position: column
/// `m[0]·x + m[1]·y + m[2]`, row `m[3]·x + m[4]·y + m[5]`, where pixel centres lie at halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [f64; 6]);

impl Affine {
    /// A shear along rows by `factor` columns per row.
    pub fn shear_x(factor: f64) -> Self {
        Self([1.0, factor, 0.0, 0.0, 1.0, 0.0])
    }

    /// A shear along columns by `factor` rows per column.
    pub fn shear_y(factor: f64) -> Self {
        Self([1.0, 0.0, 0.0, factor, 1.0, 0.0])
    }

    /// What lies `columns` to the right and `rows` below is brought to the origin.
    pub fn translate(rows: f64, columns: f64) -> Self {
        Self([1.0, 0.0, columns, 0.0, 1.0, rows])
    }

    /// A counter-clockwise turn about the centre of an image of that `[height, width]`.
    pub fn rotate(degrees: f64, [height, width]: [usize; 2]) -> Self {
        let (sin, cos) = (-degrees.to_radians()).sin_cos();
        let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
        Self([
            cos,
            sin,
            x - cos * x - sin * y,
            -sin,
            cos,
            y + sin * x - cos * y,
        ])
    }

    /// `image` under this map, of the same size. Positions outside of it become `fill`, one value
    /// per channel.
    ///
    /// # Errors
    /// [`Error::Input`] where the map is not finite or `fill` does not match the channels.
    pub fn apply(&self, image: &Image, interpolation: Interpolation, fill: &[u8]) -> Result<Image> {
        let Self(map) = self;
        if !map.iter().all(|value| value.is_finite()) {
            return Err(Error::input("an affine map", map, "must be finite"));
        }
        let shape @ [height, width, channels] = image.shape();
        if fill.len() != channels {
            let rule = format!("must be one value for each of {channels} channels");
            return Err(Error::input("fill", fill, rule));
        }
        let mut pixels = Vec::with_capacity(height * width * channels);
        for row in 0..height {
            let y = row as f64 + 0.5;
            for column in 0..width {
                let x = column as f64 + 0.5;
                let from_x = map[0] * x + map[1] * y + map[2];
                let from_y = map[3] * x + map[4] * y + map[5];
                let inside =
                    (0.0..width as f64).contains(&from_x) && (0.0..height as f64).contains(&from_y);
                if !inside {
                    pixels.extend_from_slice(fill);
                    continue;
                }
                match interpolation {
                    Interpolation::Nearest => {
                        let at = from_x as usize * channels;
                        let row = image.row(from_y as usize);
                        pixels.extend_from_slice(&row[at..at + channels]);
                    }
                    Interpolation::Bilinear => gather::<2>(image, from_x, from_y, &mut pixels),
                    Interpolation::Bicubic => gather::<4>(image, from_x, from_y, &mut pixels),
                }
            }
        }
        Ok(Image::of(pixels, shape))
    }
}

/// The interpolated value of each channel over `N`×`N` pixels, cut to 8 bits (not rounded).
fn gather<const N: usize>(image: &Image, x: f64, y: f64, pixels: &mut Vec<u8>) {
    let [height, width, channels] = image.shape();
    let near = |position: f64, size: usize| {
        let first = (position - 0.5).floor();
        let at: [usize; N] = std::array::from_fn(|tap| {
            let at = first as i64 + tap as i64 - (N as i64 / 2 - 1);
            at.clamp(0, size as i64 - 1) as usize
        });
        (at, position - 0.5 - first)
    };
    let (columns, dx) = near(x, width);
    let (rows, dy) = near(y, height);
    let rows = rows.map(|row| image.row(row));
    for channel in 0..channels {
        let along = rows.map(|row| {
            let values = columns.map(|column| f64::from(row[column * channels + channel]));
            interpolate(values, dx)
        });
        pixels.push(interpolate(along, dy) as u8);
    }
}

/// Between the middle two of `values`, at `d` in 0..1 from the first of them.
fn interpolate<const N: usize>(values: [f64; N], d: f64) -> f64 {
    if let [a, b, c, e] = values[..] {
        // Horner's form of the cubic with a = -1.
        return b + d * ((c - a) + d * ((2.0 * (a - b) + c - e) + d * (b - a - c + e)));
    }
    values[0] + (values[N - 1] - values[0]) * d
}
