use menagerie_core::{Error, Result};

/// An 8-bit image in memory, interleaved: `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pixels: Vec<u8>,
    height: usize,
    width: usize,
    channels: usize,
}

impl Image {
    /// The largest side of an image.
    pub const MAX_SIDE: usize = 1 << 14;

    /// An image from `pixels` `[height, width, channels]` of that `shape`.
    ///
    /// # Errors
    /// [`Error::Input`] where a side is 0 or above [`MAX_SIDE`](Self::MAX_SIDE), or the shape does
    /// not hold the pixels.
    pub fn new(pixels: Vec<u8>, shape: [usize; 3]) -> Result<Self> {
        check_shape(shape, pixels.len())?;
        let [height, width, channels] = shape;
        Ok(Self {
            pixels,
            height,
            width,
            channels,
        })
    }

    /// An image from planes `[channels, height, width]`, the layout of
    /// [`ImageSet::image`](crate::ImageSet::image).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_planes(planes: &[u8], shape: [usize; 3]) -> Result<Self> {
        let [channels, height, width] = shape;
        check_shape([height, width, channels], planes.len())?;
        let area = height * width;
        let mut pixels = vec![0; planes.len()];
        for (channel, plane) in planes.chunks_exact(area).enumerate() {
            for (pixel, &value) in pixels.chunks_exact_mut(channels).zip(plane) {
                pixel[channel] = value;
            }
        }
        Ok(Self::of(pixels, [height, width, channels]))
    }

    /// An image of a shape that is known to fit.
    pub(super) fn of(pixels: Vec<u8>, [height, width, channels]: [usize; 3]) -> Self {
        debug_assert_eq!(pixels.len(), height * width * channels);
        Self {
            pixels,
            height,
            width,
            channels,
        }
    }

    /// `[height, width, channels]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// `[height, width]`.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values per pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All values, `[height, width, channels]` in row-major order.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All values, `[channels, height, width]`: the layout of [`ImageSet`](crate::ImageSet).
    pub fn to_planes(&self) -> Vec<u8> {
        (0..self.channels)
            .flat_map(|channel| {
                self.pixels
                    .iter()
                    .skip(channel)
                    .step_by(self.channels)
                    .copied()
            })
            .collect()
    }

    /// The values of the row `row`.
    pub(super) fn row(&self, row: usize) -> &[u8] {
        let stride = self.width * self.channels;
        &self.pixels[row * stride..(row + 1) * stride]
    }

    /// The same image with `change` applied to every value of each channel.
    pub(super) fn map_channels(mut self, change: impl Fn(usize, u8) -> u8) -> Self {
        for pixel in self.pixels.chunks_exact_mut(self.channels) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = change(channel, *value);
            }
        }
        self
    }

    pub(super) fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

fn check_shape(shape: [usize; 3], len: usize) -> Result<()> {
    let [height, width, channels] = shape;
    let sides = 1..=Image::MAX_SIDE;
    if !sides.contains(&height) || !sides.contains(&width) || channels == 0 {
        let rule = "must be [height, width, channels] with sides in 1..=16384";
        return Err(Error::input("image shape", shape, rule));
    }
    if (height * width).checked_mul(channels) != Some(len) {
        let rule = format!("must be {height} x {width} x {channels}");
        return Err(Error::input("the number of values of an image", len, rule));
    }
    Ok(())
}
