//! Crops in space, the same for every frame of a clip.

use crate::Clip;
use image::{ImageBuffer, Luma, Pixel, Rgb, imageops};
use menagerie_core::{Error, Result, Seed};
use rand::seq::IndexedRandom;

/// The longest side that clips are brought to.
const MAX_SIDE: usize = 1 << 14;

/// A rectangle within a frame, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// Rows above it.
    pub top: usize,
    /// Columns to its left.
    pub left: usize,
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
}

/// The multi-scale fixed-corner crop of training (Wang et al. 2016; VideoMAE V2's only
/// augmentation): sides at one of several scales of the frame's short side, at one of 13 fixed
/// places, brought to one size.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiScaleCrop {
    size: [usize; 2],
    scales: Vec<f64>,
    distortion: usize,
}

impl MultiScaleCrop {
    /// A crop to `size` `[height, width]` with the scales 1, 0.875, 0.75 and 0.66, where height and
    /// width are at most one scale apart.
    ///
    /// # Errors
    /// [`Error::Config`] where a side is not in 1..=16384.
    pub fn new(size: [usize; 2]) -> Result<Self> {
        check_size("MultiScaleCrop", size)?;
        Ok(Self {
            size,
            scales: vec![1.0, 0.875, 0.75, 0.66],
            distortion: 1,
        })
    }

    /// Other scales, from the largest to the smallest.
    ///
    /// # Errors
    /// [`Error::Config`] where there is none or one does not lie above 0 and at most at 1.
    pub fn with_scales(mut self, scales: Vec<f64>) -> Result<Self> {
        let valid = |scale: &f64| *scale > 0.0 && *scale <= 1.0;
        if scales.is_empty() || !scales.iter().all(valid) {
            let rule = "needs at least one scale, each above 0 and at most 1";
            return Err(Error::config("MultiScaleCrop", "scales", scales, rule));
        }
        self.scales = scales;
        Ok(self)
    }

    /// How many scales height and width may be apart.
    #[must_use]
    pub fn with_distortion(mut self, distortion: usize) -> Self {
        self.distortion = distortion;
        self
    }

    /// A region for frames of `frame` `[height, width]`: sizes and place are drawn uniformly.
    pub fn draw(&self, frame: [usize; 2], seed: Seed) -> Region {
        let mut rng = seed.rng();
        let sizes = self.sizes(frame);
        let [height, width] = sizes.choose(&mut rng).copied().unwrap_or(frame);
        let [down, right] = PLACES.choose(&mut rng).copied().unwrap_or([2, 2]);
        Region {
            top: down * ((frame[0] - height) / 4),
            left: right * ((frame[1] - width) / 4),
            height,
            width,
        }
    }

    /// The region of every frame of `clip`, brought to the crop's size.
    ///
    /// # Errors
    /// [`Error::Input`] where the region does not lie within the frame.
    pub fn apply(&self, clip: &Clip, region: Region) -> Result<Clip> {
        crop_to(clip, region, self.size)
    }

    /// All pairs of height and width; a side that is within two pixels of the target's is made its.
    fn sizes(&self, frame: [usize; 2]) -> Vec<[usize; 2]> {
        let short = frame[0].min(frame[1]);
        let side = |scale: f64, target: usize| {
            let side = ((short as f64 * scale) as usize).max(1);
            if side.abs_diff(target) < 3 && target <= short {
                target
            } else {
                side
            }
        };
        let mut sizes = Vec::new();
        for (i, &tall) in self.scales.iter().enumerate() {
            for (j, &wide) in self.scales.iter().enumerate() {
                if i.abs_diff(j) <= self.distortion {
                    sizes.push([side(tall, self.size[0]), side(wide, self.size[1])]);
                }
            }
        }
        sizes
    }
}

/// Where a crop may lie, in quarters of the rows and columns to spare: the corners, the middle, the
/// middles of the sides, and half-way from the middle to the corners.
const PLACES: [[usize; 2]; 13] = [
    [0, 0],
    [0, 4],
    [4, 0],
    [4, 4],
    [2, 2],
    [2, 0],
    [2, 4],
    [4, 2],
    [0, 2],
    [1, 1],
    [1, 3],
    [3, 1],
    [3, 3],
];

/// The region of every frame of `clip`, brought to `size` `[height, width]` (triangle filter, which
/// averages where it shrinks).
///
/// # Errors
/// [`Error::Input`] where the region is empty or does not lie within the frame, or a side of `size`
/// is not in 1..=16384.
pub fn crop_to(clip: &Clip, region: Region, size: [usize; 2]) -> Result<Clip> {
    if size.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
        let rule = "both sides must lie in 1..=16384";
        return Err(Error::input("the size of a crop", size, rule));
    }
    let [rows, columns] = clip.size();
    let within = |start: usize, length: usize, all: usize| {
        length > 0 && start.checked_add(length).is_some_and(|end| end <= all)
    };
    if !within(region.top, region.height, rows) || !within(region.left, region.width, columns) {
        let rule = format!("must be a part of frames of {columns}x{rows} pixels");
        return Err(Error::input("the region of a crop", region, rule));
    }
    let cut = cut(clip, region);
    let [frames, _, _, channels] = clip.shape();
    let pixels = if size == [region.height, region.width] {
        cut
    } else {
        let from = [region.height, region.width];
        let frame = from[0] * from[1] * channels;
        let mut pixels = Vec::with_capacity(frames * size[0] * size[1] * channels);
        for frame in cut.chunks(frame) {
            let scaled = match channels {
                1 => scale::<Luma<u8>>(frame, from, size),
                _ => scale::<Rgb<u8>>(frame, from, size),
            };
            pixels.extend(scaled);
        }
        pixels
    };
    Clip::new(pixels, [frames, size[0], size[1], channels])
}

/// The whole frames of `clip`, brought to `size` `[height, width]`.
///
/// # Errors
/// [`Error::Input`] where a side of `size` is not in 1..=16384.
pub fn resize(clip: &Clip, size: [usize; 2]) -> Result<Clip> {
    let [height, width] = clip.size();
    let whole = Region {
        top: 0,
        left: 0,
        height,
        width,
    };
    crop_to(clip, whole, size)
}

/// The square crops of a test: the short side brought to `side`, then `count` squares spread evenly
/// along the long side from end to end; one square lies in the middle.
///
/// # Errors
/// [`Error::Input`] where `count` or `side` is 0, or the scaled frames would have a side beyond
/// 16 384 pixels.
pub fn test_crops(clip: &Clip, side: usize, count: usize) -> Result<Vec<Clip>> {
    if count == 0 {
        return Err(Error::input("the number of crops", 0, "must be at least 1"));
    }
    let [height, width] = clip.size();
    let short = height.min(width);
    let scaled = [height, width].map(|length| length.saturating_mul(side) / short);
    let clip = resize(clip, scaled)?;
    (0..count)
        .map(|at| {
            let place = |all: usize| match count {
                1 => (all - side) / 2,
                _ => at * (all - side) / (count - 1),
            };
            let region = Region {
                top: place(scaled[0]),
                left: place(scaled[1]),
                height: side,
                width: side,
            };
            crop_to(&clip, region, [side, side])
        })
        .collect()
}

/// The region's pixels, `[frames, height, width, channels]`.
fn cut(clip: &Clip, region: Region) -> Vec<u8> {
    let [_, rows, columns, channels] = clip.shape();
    let row = columns * channels;
    let mut pixels = Vec::with_capacity(clip.frames() * region.height * region.width * channels);
    for frame in clip.pixels().chunks(rows * row) {
        for line in frame.chunks(row).skip(region.top).take(region.height) {
            pixels.extend_from_slice(&line[region.left * channels..][..region.width * channels]);
        }
    }
    pixels
}

/// One frame `[height, width, channels]` brought to another size.
fn scale<P>(pixels: &[u8], from: [usize; 2], to: [usize; 2]) -> Vec<u8>
where
    P: Pixel<Subpixel = u8> + 'static,
{
    let [height, width] = from.map(|side| side as u32);
    let Some(frame) = ImageBuffer::<P, &[u8]>::from_raw(width, height, pixels) else {
        return Vec::new();
    };
    let [height, width] = to.map(|side| side as u32);
    imageops::resize(&frame, width, height, imageops::FilterType::Triangle).into_raw()
}

fn check_size(config: &'static str, size: [usize; 2]) -> Result<()> {
    if size.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
        let rule = "both sides must lie in 1..=16384";
        return Err(Error::config(config, "size", size, rule));
    }
    Ok(())
}
