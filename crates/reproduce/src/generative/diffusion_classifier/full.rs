//! The paper's run: the released model of ImageNet at 256×256, linear heads over blocks and timesteps
//! on fifty classes, then the attention head on all.

use crate::Context;
use anyhow::Context as _;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::{
    augment::{Augmentation, Flip, Framing, Normalise, ScaledCrop},
    folder::FolderFiles,
};
use menagerie_generative::diffusion_classifier::{
    AttentionHeadConfig, FeatureExtractor, FeaturePoints, Features, Head, HeadTrainingConfig,
    LabelledFeatures, LinearHeadConfig, SYSTEM, UNet, UNetConfig, weights,
};
use menagerie_nn::diffusion::{Diffusion, NoiseSchedule};
use menagerie_report::{Cell, HeatMap, Report, Table, Verdict, cells};
use menagerie_train::{
    FitConfig, Progress, Run, Sampler as Order, Scalars, Supervised, initialise,
};
use std::path::{Path, PathBuf};

/// The released checkpoint.
const CHECKPOINT: &str = "256x256_diffusion_uncond.pt";
const TIMESTEPS: [usize; 8] = [0, 10, 30, 60, 90, 150, 250, 500];
const BLOCKS: std::ops::RangeInclusive<usize> = 19..=31;
/// Below the published accuracy of the attention head by at most so many points.
const SLACK: f64 = 1.0;
const PUBLISHED: f64 = 71.89;
/// Side of the pooled maps of linear heads.
const POOL: usize = 2;
/// Images per forward pass.
const BATCH: usize = 32;

/// Images with their classes: files that are decoded at their own size, a batch at a time, so that crops
/// are of the whole image and memory holds no more than a batch.
struct Data {
    train: FolderFiles,
    test: FolderFiles,
}

impl Data {
    /// The folders `train` and `val` below `root`, each with a folder for every class.
    fn open(root: &Path) -> Result<Self> {
        let data = Self {
            train: FolderFiles::list(&root.join("train"), 3)?,
            test: FolderFiles::list(&root.join("val"), 3)?,
        };
        for (name, files) in [("train", &data.train), ("val", &data.test)] {
            if files.class_names().is_empty() {
                let problem = "has no folder for each class";
                return Err(Error::format(root.join(name), problem));
            }
        }
        let [train, test] = [&data.train, &data.test].map(FolderFiles::class_names);
        if train != test {
            let problem = format!(
                "has {} classes that are not the {} of the folder train beside it",
                test.len(),
                train.len()
            );
            return Err(Error::format(root.join("val"), problem));
        }
        Ok(data)
    }
}

/// Everything that the two parts share.
struct Setting<'a> {
    context: &'a Context,
    unet: UNet,
    diffusion: Diffusion,
    seed: Seed,
}

pub(super) fn run(context: &Context) -> anyhow::Result<Report> {
    let root = std::env::var_os("MENAGERIE_DATA").map(PathBuf::from).context(
        "ImageNet is not fetched: set MENAGERIE_DATA to a folder that holds imagenet, imagenet-50 \
         (each with train and val) and 256x256_diffusion_uncond.pt",
    )?;
    let config = UNetConfig::adm_256();
    let unet = weights::load(&config, &root.join(CHECKPOINT), &context.device)?;
    let setting = Setting {
        context,
        unet,
        diffusion: NoiseSchedule::Linear.diffusion(1_000)?,
        seed: Seed(context.seed).stream("diffusion-classifier"),
    };
    let read = |name: &str| Data::open(&root.join(name));
    let few = read("imagenet-50")?;
    let sweep: Result<Vec<Vec<f64>>> = TIMESTEPS.iter().map(|&t| setting.sweep(&few, t)).collect();
    let attention = setting.attention(&read("imagenet")?)?;
    Ok(report(context, &sweep?, attention)?)
}

/// Linear heads of several blocks, which have no weights in common: one step on the sum of their
/// losses is a step of each.
#[derive(Module, Debug)]
struct Heads {
    heads: Vec<Head>,
}

impl Heads {
    fn loss(&self, batch: LabelledFeatures) -> Tensor<1> {
        let maps = batch.features.maps.into_iter().flatten();
        let losses = self.heads.iter().zip(maps).map(|(head, map)| {
            let labels = batch.labels.clone();
            let features = Features::one(map);
            match head.loss(LabelledFeatures { features, labels }) {
                Ok((loss, _)) => loss,
                Err(error) => panic!("{error}"),
            }
        });
        Tensor::cat(losses.collect(), 0).sum()
    }
}

impl TrainStep for Heads {
    type Input = LabelledFeatures;
    type Output = Scalars;

    fn step(&self, batch: LabelledFeatures) -> TrainOutput<Scalars> {
        let loss = self.loss(batch);
        let scalars = Scalars::new().with("loss", loss.clone());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for Heads {
    type Input = LabelledFeatures;
    type Output = Scalars;

    fn step(&self, batch: LabelledFeatures) -> Scalars {
        Scalars::new().with("loss", self.loss(batch))
    }
}

impl Setting<'_> {
    /// Test accuracy in percent of linear heads at a timestep, by block.
    fn sweep(&self, data: &Data, timestep: usize) -> Result<Vec<f64>> {
        let points = FeaturePoints::new(vec![timestep], BLOCKS.collect());
        let extractor = self.extractor(points)?;
        let classes = data.train.class_names().len();
        let tracked = self.context.device.clone().autodiff();
        let shapes = extractor.shapes()?;
        let seed = self.seed.stream("linear").at(timestep as u64);
        let heads = initialise(&tracked, seed, || {
            let heads = shapes.iter().map(|shape| {
                let config = LinearHeadConfig::new(shape.channels, POOL, classes);
                Ok(Head::Linear(config.init(&tracked)?))
            });
            let heads = heads.collect::<Result<_>>()?;
            Ok(Heads { heads })
        })?;
        let training = HeadTrainingConfig::linear();
        let name = format!("linear-t{timestep}");
        let heads = self.fit(heads, &extractor, data, &training, &name, seed)?;
        self.score(&extractor, data, heads.heads.len(), |features| {
            let maps = features.maps.iter().flatten();
            let heads = heads.heads.iter().zip(maps);
            heads
                .map(|(head, map)| head.forward(&Features::one(map.clone())))
                .collect()
        })
    }

    /// Test accuracy in percent of the attention head at the best point of the paper.
    fn attention(&self, data: &Data) -> Result<f64> {
        let points = FeaturePoints::best();
        let extractor = self.extractor(points.clone())?;
        let classes = data.train.class_names().len();
        let tracked = self.context.device.clone().autodiff();
        let config = AttentionHeadConfig::fused(&extractor.shapes()?, &points, classes);
        let seed = self.seed.stream("attention");
        let head = initialise(&tracked, seed, || {
            Ok(Head::Attention(config.init(&tracked)?))
        })?;
        let training = HeadTrainingConfig::attention();
        let head = self.fit(head, &extractor, data, &training, "attention", seed)?;
        let scores = self.score(&extractor, data, 1, |features| {
            Ok(vec![head.forward(features)?])
        })?;
        Ok(scores.first().copied().unwrap_or(f64::NAN))
    }

    fn extractor(&self, points: FeaturePoints) -> Result<FeatureExtractor> {
        FeatureExtractor::new(self.unet.clone(), self.diffusion.clone(), points)
    }

    /// Heads trained on features whose images are cropped, mirrored and noised anew at every step.
    fn fit<M>(
        &self,
        heads: M,
        extractor: &FeatureExtractor,
        data: &Data,
        training: &HeadTrainingConfig,
        name: &str,
        seed: Seed,
    ) -> Result<M>
    where
        M: burn::train::LearnerModel + TrainStep<Input = LabelledFeatures, Output = Scalars>,
    {
        let set = &data.train;
        let mut order = Order::shuffled(set.len(), BATCH, seed.stream("batches"))?;
        let accumulate = (training.batch / BATCH).max(1);
        let epoch = order.steps_per_epoch() / accumulate;
        let framing = view(ScaledCrop::training(256), true);
        let classes = set.class_names().len();
        let batch = |step: usize, device: &Device| {
            let indices = order.indices(step);
            let draws = seed.stream("draws").at(step as u64);
            let features = self.features(extractor, set, &framing, &indices, draws)?;
            let labels: Vec<usize> = indices.iter().map(|&index| set.labels()[index]).collect();
            LabelledFeatures::new(features, &labels, classes, device)
        };
        let schedule = training.schedule(epoch)?;
        let mut procedure = Supervised::new(heads, training.optimizer()?, schedule, batch)
            .accumulating(accumulate)?;
        let setup = (seed, training, extractor.points());
        let run = Run::create(&self.context.out.join(name), &setup, self.context.resume)?;
        let steps = FitConfig::new(training.epochs * epoch);
        run.fit(&mut procedure, &steps, &Progress::auto().labelled(name))?;
        procedure.trained()
    }

    fn features(
        &self,
        extractor: &FeatureExtractor,
        set: &FolderFiles,
        framing: &Augmentation,
        indices: &[usize],
        seed: Seed,
    ) -> Result<Features> {
        let pixels = set.batch(framing, indices, seed.stream("augmentation"))?;
        let [height, width] = framing.framing.size();
        let data = TensorData::new(pixels, [indices.len(), 3, height, width]);
        let device = &self.context.device;
        let images = Tensor::<4>::from_data(data, device);
        let noise = extractor.draw_noise(images.dims(), seed.stream("noise"), device);
        extractor.features(images, noise)
    }

    /// Test accuracy in percent of each of `heads` scores of a batch, `[batch, classes]`.
    fn score(
        &self,
        extractor: &FeatureExtractor,
        data: &Data,
        heads: usize,
        scores: impl Fn(&Features) -> Result<Vec<Tensor<2>>>,
    ) -> Result<Vec<f64>> {
        let framing = view(ScaledCrop::evaluation(256), false);
        let indices: Vec<usize> = (0..data.test.len()).collect();
        let mut right = vec![0_usize; heads];
        for (index, chunk) in indices.chunks(BATCH).enumerate() {
            let seed = self.seed.stream("test").at(index as u64);
            let features = self.features(extractor, &data.test, &framing, chunk, seed)?;
            for (right, scores) in right.iter_mut().zip(scores(&features)?) {
                let classes = scores.argmax(1).into_data();
                let labels = chunk.iter().map(|&index| data.test.labels()[index] as i64);
                *right += classes
                    .iter::<i64>()
                    .zip(labels)
                    .filter(|(a, b)| a == b)
                    .count();
            }
        }
        let count = data.test.len() as f64;
        Ok(right
            .into_iter()
            .map(|right| 100.0 * right as f64 / count)
            .collect())
    }
}

/// Images in −1..1.
fn view(crop: ScaledCrop, mirrored: bool) -> Augmentation {
    Augmentation {
        framing: Framing::Scaled(crop),
        flip: Flip {
            horizontal: if mirrored { 0.5 } else { 0.0 },
            vertical: 0.0,
        },
        rand_augment: None,
        normalise: Normalise {
            mean: vec![0.5; 3],
            std: vec![0.5; 3],
        },
        erasing: None,
    }
}

fn report(context: &Context, sweep: &[Vec<f64>], attention: f64) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    report
        .setting("device", format!("{:?}", context.device))
        .setting("checkpoint", CHECKPOINT)
        .text(
            "The released model at the published sizes: linear heads on fifty classes by block and \
             timestep, and the attention head on a thousand classes at t = 90, block 24.",
        );
    let blocks: Vec<usize> = BLOCKS.collect();
    let title = "Linear heads on ImageNet-50, %";
    let map = HeatMap::new(title, "timestep", "block", TIMESTEPS.map(|t| t.to_string())).digits(1);
    let map = blocks.iter().enumerate().fold(map, |map, (index, block)| {
        let row = sweep
            .iter()
            .map(|row| row.get(index).copied().unwrap_or(f64::NAN));
        map.row(block.to_string(), row)
    });
    report.heat_map("accuracy", map)?;
    let cells = TIMESTEPS.iter().zip(sweep).flat_map(|(&t, row)| {
        let row = blocks.iter().zip(row);
        row.map(move |(&block, &accuracy)| (accuracy, t, block))
    });
    let cells: Vec<(f64, usize, usize)> = cells.collect();
    let (best, t, block) = cells
        .iter()
        .copied()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((f64::NAN, 0, 0));
    let noisy = cells
        .iter()
        .filter(|(_, t, _)| *t == 500)
        .map(|cell| cell.0);
    let noisy = noisy.fold(f64::NAN, f64::max);
    let table = Table::new(
        "Accuracy, %",
        ["head", "data", "timestep", "block", "ours", "paper"],
    )
    .row(cells![
        "linear",
        "ImageNet-50",
        t,
        block,
        Cell::fixed(best, 2),
        None::<f64>
    ])
    .row(cells![
        "attention",
        "ImageNet-1k",
        90,
        24,
        Cell::fixed(attention, 2),
        PUBLISHED
    ]);
    report.table(table)?;
    report.verdict(
        "representation",
        Verdict::decided(
            attention >= PUBLISHED - SLACK,
            format!("{attention:.2} % with the attention head"),
            format!("at most {SLACK} point below the published {PUBLISHED} %"),
        ),
    )?;
    report.verdict(
        "block",
        Verdict::decided(
            (19..=28).contains(&block),
            format!("block {block}"),
            "the best block lies between the middle, 19, and half-way up, 28",
        ),
    )?;
    report.verdict(
        "timestep",
        Verdict::decided(
            t <= 150 && best > noisy,
            format!("{best:.2} % at t = {t}, at most {noisy:.2} % at t = 500"),
            "the best timestep is at most 150, and better than 500",
        ),
    )?;
    for (id, rule) in [
        ("heads", "no rule: one kind of head on each set"),
        ("similarity", "no rule: see the small run"),
        ("transfer", "no rule: the sets are not part of this run"),
    ] {
        report.verdict(id, Verdict::reported("not measured", rule))?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_report::Grid;

    /// A grey picture, a little larger than this.
    fn image(path: &Path, [height, width]: [usize; 2]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let grid = Grid::new([1, height, width]).scale(1);
        grid.row("", [vec![0.5; height * width]])
            .write(path)
            .unwrap();
    }

    #[test]
    fn images_of_any_size_are_cropped_out_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = [("a", [300, 500]), ("b", [700, 280])];
        for (class, size) in sizes {
            for part in ["train", "val"] {
                image(&dir.path().join(part).join(class).join("0.png"), size);
            }
        }
        let data = Data::open(dir.path()).unwrap();
        assert_eq!(data.train.labels(), [0, 1]);
        let [wide, high] = [0, 1].map(|index| data.train.image(index).unwrap().size());
        assert!(wide[1] >= 500 && wide[1] > wide[0], "{wide:?}");
        assert!(high[0] >= 700 && high[0] > high[1], "{high:?}");
        for (crop, mirrored) in [
            (ScaledCrop::training(256), true),
            (ScaledCrop::evaluation(256), false),
        ] {
            let framing = view(crop, mirrored);
            let found = data.train.batch(&framing, &[1, 0], Seed(0)).unwrap();
            assert_eq!(found.len(), 2 * 3 * 256 * 256);
            assert!(found.iter().all(|value| (-1.0..=1.0).contains(value)));
        }
    }

    #[test]
    fn folders_that_are_no_data_set_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = || Data::open(dir.path()).err().unwrap().to_string();
        image(&dir.path().join("train/a/0.png"), [8, 8]);
        image(&dir.path().join("val/0.png"), [8, 8]);
        let text = refusal();
        assert!(
            text.ends_with("val: has no folder for each class"),
            "{text}"
        );
        std::fs::remove_file(dir.path().join("val/0.png")).unwrap();
        image(&dir.path().join("val/b/0.png"), [8, 8]);
        let text = refusal();
        assert!(
            text.ends_with("val: has 1 classes that are not the 1 of the folder train beside it"),
            "{text}"
        );
    }
}
