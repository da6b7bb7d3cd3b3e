//! Animated GIF.

use crate::Clip;
use image::{
    AnimationDecoder, Delay, DynamicImage, Frame, ImageDecoder, Limits, RgbImage,
    codecs::gif::{GifDecoder, GifEncoder, Repeat},
};
use menagerie_core::{Error, Result};
use std::{fs::File, io::BufReader, path::Path, time::Duration};

/// The longest side of a picture.
const MAX_SIDE: u32 = 1 << 14;

/// Reads every picture of an animation in colour, composed as a viewer shows it; what stays
/// transparent is black.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be opened, [`Error::Format`] with the path for one that
/// cannot be decoded to its end.
pub fn read(path: &Path) -> Result<Clip> {
    let fault =
        |error: image::ImageError| Error::format(path, format!("cannot be decoded: {error}"));
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut decoder = GifDecoder::new(BufReader::new(file)).map_err(fault)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    decoder.set_limits(limits).map_err(fault)?;
    let frames = decoder.into_frames().map(|frame| {
        let picture = DynamicImage::ImageRgba8(frame.map_err(fault)?.into_buffer());
        let size = [picture.height() as usize, picture.width() as usize];
        Ok((picture.into_rgb8().into_raw(), size))
    });
    Clip::collect(frames, 3, |index, problem| {
        Error::format(path, format!("picture {} {problem}", index + 1))
    })?
    .ok_or_else(|| Error::format(path, "holds no picture"))
}

/// Writes `clip` as an animation that repeats for ever, `delay` between frames, whole or not at
/// all. Colours are reduced to 256 per frame.
///
/// # Errors
/// [`Error::Input`] for a clip with a side of more than 65 535 pixels, [`Error::Io`] where the file
/// cannot be written.
pub fn write(clip: &Clip, path: &Path, delay: Duration) -> Result<()> {
    let [frames, height, width, _] = clip.shape();
    let (Ok(rows), Ok(columns)) = (u16::try_from(height), u16::try_from(width)) else {
        let rule = "both sides must be at most 65535 pixels for a GIF";
        return Err(Error::input("the size of a clip", clip.size(), rule));
    };
    let context = || format!("writing {}", path.display());
    let fault = |error: image::ImageError| Error::other(context(), error);
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(Repeat::Infinite).map_err(fault)?;
    let colour = clip.clone().into_colour();
    for pixels in colour.pixels().chunks(colour.pixels().len() / frames) {
        let picture = RgbImage::from_raw(columns.into(), rows.into(), pixels.to_vec())
            .ok_or_else(|| Error::other(context(), "a frame is not of the clip's size"))?;
        let picture = DynamicImage::ImageRgb8(picture).into_rgba8();
        let delay = Delay::from_saturating_duration(delay);
        encoder
            .encode_frame(Frame::from_parts(picture, 0, 0, delay))
            .map_err(fault)?;
    }
    drop(encoder);
    menagerie_core::fs::write(path, bytes)
}
