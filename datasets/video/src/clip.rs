use menagerie_core::{Error, Result};

/// The most bytes of a clip, 2 GiB: larger ones are streamed, not held.
pub(crate) const MAX_BYTES: usize = 1 << 31;

/// Frames of one size in memory, 8 bits per channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    pixels: Vec<u8>,
    shape: [usize; 4],
}

impl Clip {
    /// A clip of `pixels` `[frames, height, width, channels]`, where `shape` is just that.
    ///
    /// # Errors
    /// [`Error::Input`] where a side is 0, the channels are neither 1 (grey) nor 3 (red, green,
    /// blue), or the number of pixels is not the shape's.
    pub fn new(pixels: Vec<u8>, shape: [usize; 4]) -> Result<Self> {
        let size = shape
            .iter()
            .try_fold(1_usize, |size, side| size.checked_mul(*side))
            .filter(|size| *size > 0 && matches!(shape[3], 1 | 3))
            .ok_or_else(|| {
                let rule = "must be [frames, height, width, channels] without a 0, with 1 channel \
                            (grey) or 3 (colour)";
                Error::input("the shape of a clip", shape, rule)
            })?;
        if pixels.len() != size {
            let rule = format!("must be {size} for a clip of shape {shape:?}");
            return Err(Error::input("the number of pixels", pixels.len(), rule));
        }
        Ok(Self { pixels, shape })
    }

    /// [`new`](Self::new) for pixels that were made to fit.
    pub(crate) fn of_known_size(pixels: Vec<u8>, shape: [usize; 4]) -> Self {
        debug_assert_eq!(pixels.len(), shape.iter().product::<usize>());
        Self { pixels, shape }
    }

    /// A clip of frames of one size `(pixels, [height, width])`; `error` puts what is wrong with
    /// the frame of an index into words. `None` where there is no frame.
    pub(crate) fn collect(
        frames: impl Iterator<Item = Result<(Vec<u8>, [usize; 2])>>,
        channels: usize,
        error: impl Fn(usize, String) -> Error,
    ) -> Result<Option<Self>> {
        let mut pixels: Vec<u8> = Vec::new();
        let mut size = None;
        let mut count = 0;
        for frame in frames {
            let (values, found) = frame?;
            let expected = *size.get_or_insert(found);
            if found != expected {
                let problem = format!(
                    "is {}x{} pixels, but the frames before it are {}x{}",
                    found[1], found[0], expected[1], expected[0]
                );
                return Err(error(count, problem));
            }
            if pixels.len().saturating_add(values.len()) > MAX_BYTES {
                return Err(error(count, "takes the clip beyond 2 GiB".into()));
            }
            pixels.extend_from_slice(&values);
            count += 1;
        }
        size.map(|[height, width]| Self::new(pixels, [count, height, width, channels]))
            .transpose()
    }

    /// `[frames, height, width, channels]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The number of frames.
    pub fn frames(&self) -> usize {
        self.shape[0]
    }

    /// `[height, width]` in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.shape[1], self.shape[2]]
    }

    /// 1 for grey, 3 for red, green and blue.
    pub fn channels(&self) -> usize {
        self.shape[3]
    }

    /// All pixels, `[frames, height, width, channels]` in row-major order.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels of a frame, `[height, width, channels]`, or `None` past the end.
    pub fn frame(&self, index: usize) -> Option<&[u8]> {
        let size = self.frame_len();
        self.pixels.get(index.checked_mul(size)?..)?.get(..size)
    }

    /// The frames `indices` in that order; an index may occur twice.
    ///
    /// # Errors
    /// [`Error::Input`] for no index, or one that is not below the number of frames.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let mut pixels = Vec::with_capacity(indices.len() * self.frame_len());
        for &index in indices {
            let frame = self.frame(index).ok_or_else(|| {
                let rule = format!("must be below the clip's {} frames", self.frames());
                Error::input("a frame index", index, rule)
            })?;
            pixels.extend_from_slice(frame);
        }
        let [_, height, width, channels] = self.shape;
        Self::new(pixels, [indices.len(), height, width, channels])
    }

    /// Values in 0..=1 in the order that models take, `[channels, frames, height, width]`.
    pub fn channels_first(&self) -> Vec<f32> {
        self.channels_first_with(|_, value| f32::from(value) / 255.0)
    }

    /// [`channels_first`](Self::channels_first), standardised per channel: `(value - mean) / std`
    /// of values in 0..=1. A clip of one channel takes the first of each.
    pub fn standardised(&self, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
        self.channels_first_with(|channel, value| {
            (f32::from(value) / 255.0 - mean[channel]) / std[channel]
        })
    }

    fn channels_first_with(&self, value: impl Fn(usize, u8) -> f32) -> Vec<f32> {
        let channels = self.channels();
        let mut values = Vec::with_capacity(self.pixels.len());
        for channel in 0..channels {
            let plane = self.pixels[channel..].iter().step_by(channels);
            values.extend(plane.map(|&pixel| value(channel, pixel)));
        }
        values
    }

    /// A grey clip with its channel three times; a clip of colours as it is.
    #[must_use]
    pub fn into_colour(self) -> Self {
        let [frames, height, width, channels] = self.shape;
        if channels == 3 {
            return self;
        }
        Self {
            pixels: self.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            shape: [frames, height, width, 3],
        }
    }

    fn frame_len(&self) -> usize {
        self.shape[1..].iter().product()
    }
}
