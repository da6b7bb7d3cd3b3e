//! Clips to pre-train on and to test with.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::{
    ImageSet, Split,
    augment::{Flip, Flips, Image, RandAugment, RandomErasing, RandomResizedCrop},
    fashion_mnist,
};
use menagerie_data_video::{
    Clip, ClipFolder, MovingClip, MovingImages, MovingImagesConfig,
    crop::{self, MultiScaleCrop},
    sample,
};
use menagerie_mae::mae_base::objective::IMAGENET;
use menagerie_mae::videomae_v2::{ClipConfig, Draw};
use std::path::Path;

/// A clip as a network takes it, `[3, frames, height, width]`.
fn standardised(clip: Clip) -> Vec<f32> {
    clip.into_colour()
        .standardised(IMAGENET.mean, IMAGENET.deviation)
}

/// Clips `[clips, 3, frames, size, size]`, standardised.
pub(super) fn tensor(clips: Vec<Clip>, clip: &ClipConfig, device: &Device) -> Tensor<5> {
    let shape = [clips.len(), 3, clip.frames, clip.size, clip.size];
    let values: Vec<f32> = clips.into_iter().flat_map(standardised).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Images that move in one of eight directions.
pub(super) struct Moving {
    pub train: MovingImages,
    pub test: MovingImages,
}

impl Moving {
    /// Garments of Fashion-MNIST.
    pub fn garments() -> Result<Self> {
        let moving = |split| Self::of(&fashion_mnist(split)?);
        Ok(Self {
            train: moving(Split::Train)?,
            test: moving(Split::Test)?,
        })
    }

    pub fn of(set: &ImageSet) -> Result<MovingImages> {
        let size = [set.height(), set.width()];
        let config = MovingImagesConfig::small();
        MovingImages::new(config, set.pixels(), size, set.labels(), Seed(0))
    }

    /// The training clip of an image: where it moves is the draw's.
    pub fn view(&self, image: usize, draw: Draw) -> Result<Vec<f32>> {
        let (direction, start) = self.train.draw_motion(draw.view);
        let moving = self.train.render(image, direction, start)?;
        Ok(standardised(moving.clip))
    }

    /// The first `count` clips of a set with their directions and classes; the same for all arms.
    pub fn labelled(set: &MovingImages, count: usize) -> Vec<MovingClip> {
        (0..count as u64).map(|index| set.draw(index)).collect()
    }
}

/// The frames of a film, cut into training clips at random.
pub(super) struct Film {
    pub frames: Clip,
    pub clip: ClipConfig,
    pub stride: usize,
    crop: MultiScaleCrop,
}

impl Film {
    pub fn new(frames: Clip, clip: ClipConfig, stride: usize) -> Result<Self> {
        // The smallest crop is about a clip's size: larger frames would be shrunk at every step.
        let [height, width] = frames.size();
        let tall = clip.size * 3 / 2;
        let frames = crop::resize(&frames, [tall, width * tall / height])?;
        Ok(Self {
            crop: MultiScaleCrop::new([clip.size; 2])?,
            frames,
            clip,
            stride,
        })
    }

    /// A stretch by the draw of the load, cropped by that of the view.
    pub fn view(&self, draw: Draw) -> Result<Vec<f32>> {
        let ClipConfig { frames, .. } = self.clip;
        let indices = sample::draw_dense(self.frames.frames(), frames, self.stride, draw.load)?;
        let region = self.crop.draw(self.frames.size(), draw.view);
        let clip = self.crop.apply(&self.frames.select(&indices)?, region)?;
        Ok(standardised(clip))
    }

    /// The middle of the film, its central square.
    pub fn middle(&self) -> Result<Clip> {
        let ClipConfig { frames, size, .. } = self.clip;
        let views = sample::dense_views(self.frames.frames(), frames, self.stride, 1)?;
        let view = views.concat();
        let mut crops = crop::test_crops(&self.frames.select(&view)?, size, 1)?;
        let none = || Error::other("the middle of a film", "there is no crop");
        crops.pop().ok_or_else(none)
    }
}

/// Labelled films in folders, for the published recipe.
pub(super) struct Films {
    pub train: ClipFolder,
    pub test: ClipFolder,
    clip: ClipConfig,
    stride: usize,
    crop: MultiScaleCrop,
}

impl Films {
    /// The folders `train` and `val` in `dir`, each with a folder per class.
    pub fn open(dir: &Path, clip: ClipConfig, stride: usize) -> Result<Self> {
        Ok(Self {
            train: ClipFolder::open(&dir.join("train"))?,
            test: ClipFolder::open(&dir.join("val"))?,
            crop: MultiScaleCrop::new([clip.size; 2])?,
            clip,
            stride,
        })
    }

    /// A stretch of a training film by the draw of the load, cropped by that of the view.
    pub fn view(&self, film: usize, draw: Draw) -> Result<Vec<f32>> {
        let frames = self.train.read(film)?;
        let indices =
            sample::draw_dense(frames.frames(), self.clip.frames, self.stride, draw.load)?;
        let region = self.crop.draw(frames.size(), draw.view);
        let clip = self.crop.apply(&frames.select(&indices)?, region)?;
        Ok(standardised(clip))
    }

    /// The same for fine-tuning: `rand-m7-n4-mstd0.5-inc1`, a part of 8 % to 100 % of the area,
    /// mirrored half of the time, and noise over a rectangle of a quarter of the clips; the same in
    /// all frames of a clip. What moves left may not be mirrored (Something-Something): `mirrored`
    /// says whether it is.
    pub fn tuning_view(&self, film: usize, draw: Draw, mirrored: bool) -> Result<Vec<f32>> {
        let ClipConfig {
            frames: count,
            size,
            ..
        } = self.clip;
        let frames = self.train.read(film)?;
        let indices = sample::draw_dense(frames.frames(), count, self.stride, draw.load)?;
        let stretch = frames.select(&indices)?.into_colour();
        let rng = |name: &str| draw.view.stream(name).rng();
        let (operations, crop) = (RandAugment::video(), RandomResizedCrop::new(size));
        let drawn = operations.draw(&mut rng("operations"));
        let region = crop.draw(stretch.size(), &mut rng("crop"));
        let flips = match mirrored {
            true => Flip::horizontal().draw(&mut rng("flip")),
            false => Flips::default(),
        };
        let [height, width] = stretch.size();
        let mut pixels = Vec::with_capacity(3 * count * size * size);
        for frame in stretch.pixels().chunks_exact(3 * height * width) {
            let image = Image::new(frame.to_vec(), [height, width, 3])?;
            let image = crop.apply(&operations.apply(&image, &drawn)?, &region)?;
            pixels.extend_from_slice(Flip::apply(image, flips).pixels());
        }
        let mut values = standardised(Clip::new(pixels, [count, size, size, 3])?);
        let erasing = RandomErasing::pixels(0.25);
        let erased = erasing.draw([size, size], &mut rng("erasing"));
        erasing.apply(&mut values, [size, size], &erased)?;
        Ok(values)
    }

    /// The views of a test film: five stretches, each with three crops; `[15, 3, frames, size,
    /// size]`.
    pub fn views(&self, film: usize, device: &Device) -> Result<Tensor<5>> {
        const STRETCHES: usize = 5;
        const CROPS: usize = 3;
        let frames = self.test.read(film)?;
        let ClipConfig {
            frames: count,
            size,
            ..
        } = self.clip;
        let stretches = sample::dense_views(frames.frames(), count, self.stride, STRETCHES)?;
        let mut views = Vec::with_capacity(STRETCHES * CROPS);
        for stretch in stretches {
            views.extend(crop::test_crops(&frames.select(&stretch)?, size, CROPS)?);
        }
        Ok(tensor(views, &self.clip, device))
    }
}
