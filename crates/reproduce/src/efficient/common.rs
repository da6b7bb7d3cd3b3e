//! What the recipes of efficient transformers share: shifted and mirrored images, accuracy, medians
//! of times.

use anyhow::Context as _;
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::{ImageSet, augment::Augmentation, folder::FolderFiles};
use menagerie_train::{FitConfig, Sampler, Schedule};
use rand::RngExt;
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Images per batch of an evaluation.
const EVALUATION_BATCH: usize = 250;
/// By how many pixels an image is shifted at most.
const SHIFT: i64 = 2;

/// Images as a network takes them.
#[derive(Clone, Debug)]
pub(crate) enum Images {
    /// Grey images in memory, standardised by mean and deviation of pixels in 0..1.
    Grey {
        set: Arc<ImageSet>,
        mean: f32,
        deviation: f32,
        /// Whether they are shifted and mirrored.
        moved: bool,
    },
    /// Colour images of any size, decoded and augmented whenever they are used.
    Files {
        files: Arc<FolderFiles>,
        augmentation: Arc<Augmentation>,
    },
}

impl Images {
    /// Garments of Fashion-MNIST, as they are.
    pub(crate) fn garments(set: ImageSet) -> Result<Self> {
        let [channels, ..] = set.image_shape();
        if channels != 1 {
            return Err(Error::input("images", set.image_shape(), "must be grey"));
        }
        Ok(Self::Grey {
            set: Arc::new(set),
            mean: 0.286,
            deviation: 0.353,
            moved: false,
        })
    }

    /// Files, augmented by a draw of their own whenever they are used.
    pub(crate) fn files(files: FolderFiles, augmentation: Augmentation) -> Result<Self> {
        augmentation.validate()?;
        Ok(Self::Files {
            files: Arc::new(files),
            augmentation: Arc::new(augmentation),
        })
    }

    /// The training and the validation images of ImageNet for a network of images of `side`², from
    /// the folder `imagenet` below `MENAGERIE_DATA`. Files are read when they are used.
    pub(crate) fn imagenet(side: usize) -> anyhow::Result<[Self; 2]> {
        let root = std::env::var_os("MENAGERIE_DATA").context(
            "ImageNet is not fetched: set MENAGERIE_DATA to a folder that holds imagenet/train and \
             imagenet/val",
        )?;
        let root = std::path::PathBuf::from(root).join("imagenet");
        let read = |part: &str, augmentation| {
            Self::files(FolderFiles::list(&root.join(part), 3)?, augmentation)
        };
        Ok([
            read("train", Augmentation::fine_tuning(side))?,
            read("val", Augmentation::evaluation(side))?,
        ])
    }

    /// Grey images moved by up to two pixels each way and mirrored half of the time.
    pub(crate) fn moving(mut self) -> Self {
        if let Self::Grey { moved, .. } = &mut self {
            *moved = true;
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Grey { set, .. } => set.len(),
            Self::Files { files, .. } => files.len(),
        }
    }

    pub(crate) fn labels(&self) -> &[usize] {
        match self {
            Self::Grey { set, .. } => set.labels(),
            Self::Files { files, .. } => files.labels(),
        }
    }

    /// A random subset with every class at its share; of files before any is read.
    pub(crate) fn stratified(&self, count: usize, seed: Seed) -> Result<Self> {
        let mut few = self.clone();
        if count == self.len() {
            return Ok(few);
        }
        match &mut few {
            Self::Grey { set, .. } => *set = Arc::new(set.stratified(count, seed)?),
            Self::Files { files, .. } => *files = Arc::new(files.stratified(count, seed)?),
        }
        Ok(few)
    }

    /// The images `indices`, standardised, `[indices, channels, height, width]`.
    pub(crate) fn batch(
        &self,
        indices: &[usize],
        seed: Seed,
        device: &Device,
    ) -> Result<Tensor<4>> {
        let (values, shape) = match self {
            Self::Grey {
                set,
                mean,
                deviation,
                moved,
            } => {
                let [_, height, width] = set.image_shape();
                let mut pixels = set.to_f32(indices.iter().copied())?;
                if *moved {
                    let mut rng = seed.rng();
                    for image in pixels.chunks_mut(height * width) {
                        let [down, right] = [(); 2].map(|()| rng.random_range(-SHIFT..=SHIFT));
                        shift(image, [height, width], [down, right], rng.random());
                    }
                }
                for pixel in &mut pixels {
                    *pixel = (*pixel - mean) / deviation;
                }
                (pixels, [indices.len(), 1, height, width])
            }
            Self::Files {
                files,
                augmentation,
            } => {
                let [height, width] = augmentation.framing.size();
                let values = files.batch(augmentation, indices, seed)?;
                (values, [indices.len(), 3, height, width])
            }
        };
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}

/// Moves an image in place, black coming in from the border, and mirrors it.
fn shift(image: &mut [f32], [height, width]: [usize; 2], [down, right]: [i64; 2], mirrored: bool) {
    let old = image.to_vec();
    for row in 0..height {
        for column in 0..width {
            let from = match mirrored {
                true => width - 1 - column,
                false => column,
            };
            let (y, x) = (row as i64 - down, from as i64 - right);
            let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
            image[row * width + column] = match inside {
                true => old[y as usize * width + x as usize],
                false => 0.0,
            };
        }
    }
}

/// The batches of a run.
pub(crate) struct Batches {
    images: Images,
    sampler: Sampler,
    seed: Seed,
}

impl Batches {
    /// Every image `repeats` times in a row.
    pub(crate) fn new(images: Images, batch: usize, repeats: usize, seed: Seed) -> Result<Self> {
        let order = seed.stream("batches");
        Ok(Self {
            sampler: Sampler::repeated(images.len(), batch, repeats, order)?,
            images,
            seed,
        })
    }

    /// Images and labels of step `step`, and a seed for its other draws.
    pub(crate) fn at(
        &mut self,
        step: usize,
        device: &Device,
    ) -> Result<(Tensor<4>, Vec<usize>, Seed)> {
        let indices = self.sampler.indices(step);
        let seed = self.seed.stream("step").at(step as u64);
        let images = self
            .images
            .batch(&indices, seed.stream("augmentation"), device)?;
        let labels = self.images.labels();
        let labels = indices
            .iter()
            .filter_map(|index| labels.get(*index).copied());
        Ok((images, labels.collect(), seed))
    }
}

/// How long and how fast a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Length {
    /// Updates.
    pub steps: usize,
    /// Images per update.
    pub batch: usize,
    /// The learning rate.
    pub schedule: Schedule,
}

impl Length {
    /// Up to `rate` over 5 % of the steps, then half a cosine to 0.
    pub(crate) fn new(steps: usize, batch: usize, rate: f64) -> Self {
        Self {
            steps,
            batch,
            schedule: Schedule::cosine(rate, steps / 20, steps).starting_at(0.0),
        }
    }

    /// Logs about 100 lines, writes few checkpoints.
    pub(crate) fn fit(&self) -> FitConfig {
        FitConfig {
            log_every: (self.steps / 100).max(1),
            evaluate_every: 0,
            checkpoint_every: (self.steps / 3).max(1),
            keep_checkpoints: 1,
            ..FitConfig::new(self.steps)
        }
    }
}

/// The share, in percent, of `test` whose largest score is at the label.
pub(crate) fn accuracy(
    test: &Images,
    device: &Device,
    scores: impl Fn(Tensor<4>) -> Result<Tensor<2>>,
) -> Result<f64> {
    let indices: Vec<usize> = (0..test.len()).collect();
    let mut right = 0;
    for chunk in indices.chunks(EVALUATION_BATCH) {
        let scores = scores(test.batch(chunk, Seed(0), device)?)?;
        let predicted: Tensor<1, Int> = scores.argmax(1).squeeze_dim(1);
        let predicted = predicted
            .try_into_vec_as::<i64>()
            .map_err(|error| Error::other("reading predictions", error))?;
        let labels = chunk.iter().filter_map(|index| test.labels().get(*index));
        right += predicted
            .iter()
            .zip(labels)
            .filter(|(predicted, label)| **predicted == **label as i64)
            .count();
    }
    Ok(100.0 * right as f64 / test.len().max(1) as f64)
}

/// Values of a tensor.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f64>> {
    tensor
        .try_into_vec_as::<f64>()
        .map_err(|error| Error::other("reading values", error))
}

/// The median time of a pass, in seconds, after one that does not count. Contenders take turns, so
/// that what else the machine does meets all of them.
pub(crate) fn medians(passes: usize, contenders: &[&dyn Fn() -> Result<()>]) -> Result<Vec<f64>> {
    let mut times = vec![Vec::with_capacity(passes); contenders.len()];
    for pass in 0..=passes {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let began = Instant::now();
            contender()?;
            if pass > 0 {
                times.push(began.elapsed().as_secs_f64());
            }
        }
    }
    Ok(times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
        })
        .collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Stripes of two kinds with noise, as grey images of 28×28.
    pub(crate) fn stripes(count: usize) -> ImageSet {
        let mut rng = Seed(1).rng();
        let labels: Vec<usize> = (0..count).map(|index| index % 2).collect();
        let mut pixels = Vec::new();
        for label in &labels {
            for at in 0..784usize {
                let line = [at / 28, at % 28][*label];
                let stripe = if line / 4 % 2 == 0 { 180 } else { 40 };
                pixels.push(stripe + rng.random_range(0..40u8));
            }
        }
        let names = vec!["rows".to_owned(), "columns".to_owned()];
        ImageSet::new(pixels, [1, 28, 28], labels, names).unwrap()
    }

    #[test]
    fn images_move_and_mirror() {
        let mut image = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        shift(&mut image, [2, 3], [1, 0], false);
        assert_eq!(image, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
        let mut image = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        shift(&mut image, [2, 3], [0, 1], true);
        assert_eq!(image, [2.0, 1.0, 0.0, 5.0, 4.0, 0.0]);
    }

    #[test]
    fn files_of_any_size_are_read_when_they_are_used() {
        let dir = tempfile::tempdir().unwrap();
        for (class, width) in [("a", 30), ("b", 50)] {
            std::fs::create_dir(dir.path().join(class)).unwrap();
            for at in 0..4 {
                let picture = menagerie_report::Grid::new([3, 20, width]);
                let picture = picture.row("", [vec![0.1 * at as f32; 3 * 20 * width]]);
                let path = dir.path().join(format!("{class}/{at}.png"));
                picture.write(&path).unwrap();
            }
        }
        let files = FolderFiles::list(dir.path(), 3).unwrap();
        let images = Images::files(files, Augmentation::fine_tuning(16)).unwrap();
        let few = images.stratified(4, Seed(1)).unwrap();
        assert_eq!((images.len(), few.labels()), (8, &[0, 0, 1, 1][..]));
        let device = Device::default();
        let batch = few.batch(&[0, 3, 1], Seed(2), &device).unwrap();
        assert_eq!(batch.dims(), [3, 3, 16, 16]);
    }

    #[test]
    fn the_same_seed_moves_alike() {
        let images = Images::garments(stripes(4)).unwrap().moving();
        let device = Device::default();
        let batch = |seed| {
            let batch = images.batch(&[0, 1, 2], Seed(seed), &device).unwrap();
            batch.into_data()
        };
        assert_eq!(batch(1), batch(1));
        assert_ne!(batch(1), batch(2));
    }

    #[test]
    fn accuracy_counts_hits() {
        let images = Images::garments(stripes(10)).unwrap();
        let device = Device::default();
        // Always the first class.
        let right = accuracy(&images, &device, |images| {
            let [batch, ..] = images.dims();
            let first = Tensor::<2>::from_floats([[1.0, 0.0]], &device);
            Ok(first.repeat_dim(0, batch))
        });
        assert_eq!(right.unwrap(), 50.0);
    }
}
