use super::{
    Attempts, CenterCrop, Filter, Flip, Image, Normalise, RandAugment, RandomErasing,
    RandomResizedCrop, Resize, ScaledCrop, crop::check_size,
};
use crate::ImageSet;
use menagerie_core::{Error, Result, Seed};
use rayon::prelude::*;

/// How an image comes to the size of the network.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Framing {
    /// A random part, resized.
    Random(RandomResizedCrop),
    /// Resized and cut to the centre.
    Centre(Resize, CenterCrop),
    /// A square of the image at a random size.
    Scaled(ScaledCrop),
    /// As it is: all images must have this `[height, width]`.
    Whole([usize; 2]),
}

impl Framing {
    /// `[height, width]` of the result.
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::Random(crop) => crop.size,
            Self::Centre(_, crop) => crop.size,
            Self::Scaled(crop) => [crop.side; 2],
            Self::Whole(size) => *size,
        }
    }
}

/// Everything between a stored image and the network, in the order framing, mirroring,
/// RandAugment, standardisation, erasing.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// How the image comes to its size.
    pub framing: Framing,
    /// Random mirroring.
    pub flip: Flip,
    /// Random operations on the 8-bit image.
    pub rand_augment: Option<RandAugment>,
    /// Standardisation.
    pub normalise: Normalise,
    /// Random erasing after standardisation.
    pub erasing: Option<RandomErasing>,
}

impl Augmentation {
    /// MAE's pre-training: a part of 20 % to 100 % of the area at `side`×`side`, bicubic, mirrored
    /// half of the time, standardised by ImageNet's statistics.
    pub fn pre_training(side: usize) -> Self {
        let crop = RandomResizedCrop::new(side).with_scale(0.2, 1.0);
        Self {
            framing: Framing::Random(crop),
            flip: Flip::horizontal(),
            rand_augment: None,
            normalise: Normalise::imagenet(),
            erasing: None,
        }
    }

    /// MAE's fine-tuning: a part of 8 % to 100 % of the area, mirrored half of the time,
    /// `rand-m9-mstd0.5-inc1`, erasing with probability 0.25.
    pub fn fine_tuning(side: usize) -> Self {
        Self {
            framing: Framing::Random(RandomResizedCrop::new(side)),
            rand_augment: Some(RandAugment::fine_tuning()),
            erasing: Some(RandomErasing::pixels(0.25)),
            ..Self::pre_training(side)
        }
    }

    /// MAE's linear probe: a part of 8 % to 100 % of the area without the retry loop, mirrored half
    /// of the time.
    pub fn linear_probe(side: usize) -> Self {
        let crop = RandomResizedCrop::new(side).with_attempts(Attempts::One);
        Self {
            framing: Framing::Random(crop),
            ..Self::pre_training(side)
        }
    }

    /// MAE's evaluation: the shorter side resized to `side` · 256 / 224 (`side` itself above 224),
    /// bicubic, then the centre.
    pub fn evaluation(side: usize) -> Self {
        let shorter = match side {
            0..=224 => side * 256 / 224,
            _ => side,
        };
        let resize = Resize {
            side: shorter,
            filter: Filter::Bicubic,
        };
        Self {
            framing: Framing::Centre(resize, CenterCrop { size: [side, side] }),
            flip: Flip {
                horizontal: 0.0,
                vertical: 0.0,
            },
            ..Self::pre_training(side)
        }
    }

    /// The same with this standardisation; its means are also what lies outside of images in
    /// [`RandAugment`].
    pub fn with_normalise(mut self, normalise: Normalise) -> Self {
        if let Some(rand_augment) = &mut self.rand_augment {
            rand_augment.fill = normalise
                .mean
                .iter()
                .map(|mean| (mean * 255.0).round_ties_even() as u8)
                .collect();
        }
        self.normalise = normalise;
        self
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the type, the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        match &self.framing {
            Framing::Random(crop) => crop.validate()?,
            Framing::Centre(resize, crop) => {
                check_size("CenterCrop", "size", crop.size)?;
                let largest = crop.size[0].max(crop.size[1]);
                if !(largest..=Image::MAX_SIDE).contains(&resize.side) {
                    let rule = format!("must lie in {largest}..=16384, the crop and the limit");
                    return Err(Error::config("Resize", "side", resize.side, rule));
                }
            }
            Framing::Scaled(crop) => crop.validate()?,
            Framing::Whole(size) => check_size("Framing", "Whole", *size)?,
        }
        self.flip.validate()?;
        if let Some(rand_augment) = &self.rand_augment {
            rand_augment.validate()?;
        }
        if let Some(erasing) = &self.erasing {
            erasing.validate()?;
        }
        self.normalise.validate()
    }

    /// One image, `[channels, height, width]`; the same for the same seed.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports; [`Error::Input`] where the image has another
    /// number of channels than the standardisation, or does not have the size of
    /// [`Framing::Whole`].
    pub fn image(&self, image: &Image, seed: Seed) -> Result<Vec<f32>> {
        self.validate()?;
        let [height, width] = self.framing.size();
        let mut planes = vec![0.0; height * width * image.channels()];
        self.write(image, seed, &mut planes)?;
        Ok(planes)
    }

    /// The images `indices` of `set`, `[indices, channels, height, width]`, in parallel. The draws
    /// of an image depend on the seed and its place in the batch, not on threads.
    ///
    /// # Errors
    /// As [`image`](Self::image); [`Error::Input`] for an index that is not below the set's length.
    pub fn batch(&self, set: &ImageSet, indices: &[usize], seed: Seed) -> Result<Vec<f32>> {
        self.validate()?;
        let [height, width] = self.framing.size();
        let size = height * width * set.channels();
        let mut batch = vec![0.0; indices.len() * size];
        batch
            .par_chunks_exact_mut(size)
            .zip(indices)
            .enumerate()
            .try_for_each(|(place, (planes, &index))| {
                let pixels = set.image(index).ok_or_else(|| {
                    let rule = format!("must be below {}", set.len());
                    Error::input("image index", index, rule)
                })?;
                let image = Image::from_planes(pixels, set.image_shape())?;
                self.write(&image, seed.at(place as u64), planes)
            })?;
        Ok(batch)
    }

    fn write(&self, image: &Image, seed: Seed, planes: &mut [f32]) -> Result<()> {
        // A stream for each step: what one draws does not shift the others.
        let framed = match &self.framing {
            Framing::Random(crop) => {
                let region = crop.draw(image.size(), &mut seed.stream("crop").rng());
                crop.apply(image, &region)?
            }
            Framing::Centre(resize, crop) => crop.apply(&resize.apply(image)?)?,
            Framing::Scaled(crop) => {
                let draw = crop.draw(&mut seed.stream("crop").rng());
                crop.apply(image, &draw)?
            }
            Framing::Whole(size) if *size == image.size() => image.clone(),
            Framing::Whole(size) => {
                let rule = format!("must be {} x {}", size[0], size[1]);
                return Err(Error::input("the size of an image", image.size(), rule));
            }
        };
        let flips = self.flip.draw(&mut seed.stream("flip").rng());
        let mut framed = Flip::apply(framed, flips);
        if let Some(rand_augment) = &self.rand_augment {
            let operations = rand_augment.draw(&mut seed.stream("operations").rng());
            framed = rand_augment.apply(&framed, &operations)?;
        }
        self.normalise.write(&framed, planes)?;
        if let Some(erasing) = &self.erasing {
            let size = self.framing.size();
            let erased = erasing.draw(size, &mut seed.stream("erasing").rng());
            erasing.apply(planes, size, &erased)?;
        }
        Ok(())
    }
}
