//! Probes over blocks and timesteps, heads, similarities, samples.

use super::Experiment;
use super::data::Images;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_generative::diffusion_classifier::{
    AttentionHeadConfig, ConvHeadConfig, Denoiser, FeatureExtractor, FeaturePoints, Features, Head,
    HeadBlock, LabelledFeatures, LinearHeadConfig, UNet, linear_cka,
};
use menagerie_nn::diffusion::{Diffusion, Reverse, Sampler};
use menagerie_nn::noise::draw_normal;
use menagerie_train::{AdamW, Procedure, Sampler as Order, Supervised, initialise};

/// Images per forward pass of an evaluation.
const BATCH: usize = 250;

/// Images whose features are compared.
const COMPARED: usize = 500;

/// Probe accuracy in percent by timestep and block.
pub(super) struct Map {
    pub timesteps: Vec<usize>,
    /// `accuracy[t][b]`, blocks from 1 on.
    pub accuracy: Vec<Vec<f64>>,
}

impl Map {
    /// Accuracies at a timestep, by block.
    pub(super) fn at(&self, timestep: usize) -> &[f64] {
        let index = self.timesteps.iter().position(|t| *t == timestep);
        index
            .and_then(|index| self.accuracy.get(index))
            .map_or(&[], Vec::as_slice)
    }

    /// The number of the best block at a timestep.
    pub(super) fn best_block(&self, timestep: usize) -> usize {
        let blocks = self.at(timestep).iter().enumerate();
        blocks
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(1, |(index, _)| index + 1)
    }

    /// The best accuracy of all, with its timestep and block.
    pub(super) fn best(&self) -> (f64, usize, usize) {
        let rows = self.timesteps.iter().zip(&self.accuracy);
        let cells = rows.flat_map(|(t, blocks)| {
            let blocks = blocks.iter().enumerate();
            blocks.map(|(index, accuracy)| (*accuracy, *t, index + 1))
        });
        cells
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or((f64::NAN, 0, 0))
    }

    /// The accuracy of a block at a timestep.
    pub(super) fn of(&self, timestep: usize, block: usize) -> f64 {
        let blocks = self.at(timestep);
        let accuracy = block.checked_sub(1).and_then(|index| blocks.get(index));
        accuracy.copied().unwrap_or(f64::NAN)
    }
}

/// How a head fares on the features of one block.
pub(super) struct HeadResult {
    pub name: &'static str,
    pub parameters: usize,
    /// Test accuracy in percent.
    pub accuracy: f64,
}

/// Linear centred kernel alignment.
pub(super) struct Similarity {
    /// Between blocks of the trained network at the compared timestep.
    pub blocks: Vec<Vec<f64>>,
    /// Between timesteps at the best block.
    pub timesteps: Vec<Vec<f64>>,
    /// Of each block with the same block before training.
    pub before: Vec<f64>,
}

/// Probe accuracy in percent on other classes.
pub(super) struct Transfer {
    pub features: f64,
    pub pixels: f64,
}

/// What all measures share.
pub(super) struct Bench<'a> {
    pub experiment: &'a Experiment,
    pub diffusion: &'a Diffusion,
    pub device: &'a Device,
    pub seed: Seed,
}

impl Bench<'_> {
    /// Probe accuracy at every block for each of `timesteps`.
    pub(super) fn map(&self, unet: &UNet, timesteps: &[usize]) -> Result<Map> {
        let data = &self.experiment.data;
        let accuracy = timesteps.iter().map(|&t| {
            let train = self.pooled(unet, &data.labelled, t, "labelled")?;
            let test = self.pooled(unet, &data.test, t, "test")?;
            let blocks = train.into_iter().zip(test);
            blocks
                .map(|(train, test)| self.score(train, &data.labelled, test, &data.test))
                .collect()
        });
        Ok(Map {
            timesteps: timesteps.into(),
            accuracy: accuracy.collect::<Result<_>>()?,
        })
    }

    /// Pooled features of all blocks at a timestep, `[images, features]` each.
    fn pooled(
        &self,
        unet: &UNet,
        images: &Images,
        timestep: usize,
        noise: &str,
    ) -> Result<Vec<Tensor<2>>> {
        let blocks: Vec<usize> = (1..=unet.config().blocks()).collect();
        let points = FeaturePoints::new(vec![timestep], blocks);
        let mut parts: Vec<Vec<Tensor<2>>> = Vec::new();
        self.features(unet, images, points, noise, |features| {
            let maps = features.maps.into_iter().flatten();
            let pooled = maps.map(|map| self.experiment.probe.pool(map));
            parts.push(pooled.collect::<Result<_>>()?);
            Ok(())
        })?;
        let blocks = parts.first().map_or(0, Vec::len);
        Ok((0..blocks)
            .map(|block| {
                let column = parts.iter().map(|part| part[block].clone());
                Tensor::cat(column.collect(), 0)
            })
            .collect())
    }

    /// Hands the features of all `images` to `take`, some at a time.
    fn features(
        &self,
        unet: &UNet,
        images: &Images,
        points: FeaturePoints,
        noise: &str,
        mut take: impl FnMut(Features) -> Result<()>,
    ) -> Result<()> {
        let extractor = FeatureExtractor::new(unet.clone(), self.diffusion.clone(), points)?;
        let indices: Vec<usize> = (0..images.len()).collect();
        for (index, chunk) in indices.chunks(BATCH).enumerate() {
            let images = images.batch(chunk, self.device);
            let seed = self.seed.stream(noise).at(index as u64);
            let noise = extractor.draw_noise(images.dims(), seed, self.device);
            take(extractor.features(images, noise)?)?;
        }
        Ok(())
    }

    /// The accuracy on `test` of a probe that was fitted on `train`.
    fn score(
        &self,
        train: Tensor<2>,
        train_images: &Images,
        test: Tensor<2>,
        test_images: &Images,
    ) -> Result<f64> {
        let probe = self.experiment.probe.fit(train, train_images.labels())?;
        probe.accuracy(test, test_images.labels())
    }

    /// A probe on pixels.
    pub(super) fn pixels(&self, train: &Images, test: &Images) -> Result<f64> {
        let flat = |images: &Images| -> Tensor<2> {
            let indices: Vec<usize> = (0..images.len()).collect();
            images.batch(&indices, self.device).flatten(1, 3)
        };
        self.score(flat(train), train, flat(test), test)
    }

    /// The features of one block at a timestep.
    fn block(
        &self,
        unet: &UNet,
        images: &Images,
        (timestep, block): (usize, usize),
        noise: &str,
    ) -> Result<Features> {
        let mut parts = Vec::new();
        let points = FeaturePoints::one(timestep, block);
        self.features(unet, images, points, noise, |features| {
            parts.push(features);
            Ok(())
        })?;
        Ok(Features::concatenate(&parts))
    }

    /// The accuracy at `block` and the timestep with little noise under several draws of the noise.
    pub(super) fn noises(&self, unet: &UNet, block: usize) -> Result<Vec<f64>> {
        let data = &self.experiment.data;
        let point = (self.experiment.compared[0], block);
        (0..self.experiment.noises)
            .map(|draw| {
                let pooled = |images, part: &str| {
                    let noise = format!("{part}-{draw}");
                    let map = self.block(unet, images, point, &noise)?.only()?;
                    self.experiment.probe.pool(map)
                };
                let train = pooled(&data.labelled, "labelled")?;
                let test = pooled(&data.test, "test")?;
                self.score(train, &data.labelled, test, &data.test)
            })
            .collect()
    }

    /// Heads of every kind on the features of `block`, with as many steps each.
    pub(super) fn heads(&self, unet: &UNet, block: usize) -> Result<Vec<HeadResult>> {
        let data = &self.experiment.data;
        let classes = self.experiment.probe.classes;
        let point = (self.experiment.compared[0], block);
        let train = self.block(unet, &data.labelled, point, "labelled")?;
        let test = self.block(unet, &data.test, point, "test")?;
        let [_, channels, side, _] = train.only()?.dims();
        let tracked = self.device.clone().autodiff();
        let linear =
            |hidden: Vec<usize>| LinearHeadConfig::new(channels, 2, classes).with_hidden(hidden);
        let attention = AttentionHeadConfig::new(vec![[block, channels, side]], 1, classes)
            .with_dim(64)
            .with_blocks(vec![HeadBlock::new(4, 4.0); 2])
            .with_pool(4);
        let convolutions = ConvHeadConfig::new(channels, [64, 64], classes);
        let kinds: [(&str, &dyn Fn() -> Result<Head>); 4] = [
            ("linear", &|| {
                Ok(Head::Linear(linear(vec![]).init(&tracked)?))
            }),
            ("hidden layer", &|| {
                Ok(Head::Linear(linear(vec![128]).init(&tracked)?))
            }),
            ("convolutions", &|| {
                Ok(Head::Conv(convolutions.init(&tracked)?))
            }),
            ("attention", &|| {
                Ok(Head::Attention(attention.init(&tracked)?))
            }),
        ];
        kinds
            .into_iter()
            .map(|(name, init)| {
                let seed = self.seed.stream(name);
                let head = initialise(&tracked, seed.stream("weights"), init)?;
                let parameters = head.num_params();
                let head = self.train_head(head, &train, seed)?;
                let accuracy = head_accuracy(&head, &test, data.test.labels())?;
                Ok(HeadResult {
                    name,
                    parameters,
                    accuracy,
                })
            })
            .collect()
    }

    fn train_head(&self, head: Head, train: &Features, seed: Seed) -> Result<Head> {
        let (config, probe) = (&self.experiment.heads, &self.experiment.probe);
        let labels = self.experiment.data.labelled.labels();
        let mut order = Order::shuffled(labels.len(), config.batch, seed.stream("batches"))?;
        let epoch = order.steps_per_epoch();
        let steps = config.epochs * epoch;
        let batch = |step: usize, device: &Device| {
            let indices = order.indices(step);
            let chosen: Vec<usize> = indices.iter().map(|&index| labels[index]).collect();
            LabelledFeatures::new(train.select(&indices), &chosen, probe.classes, device)
        };
        let optimiser = AdamW::new().grouped(&head, |_, rank| rank > 1)?;
        let mut procedure = Supervised::new(head, optimiser, config.schedule(epoch)?, batch);
        for step in 0..steps {
            procedure.step(step)?;
        }
        procedure.trained()
    }

    /// Similarities of the features of some test images.
    pub(super) fn similarity(&self, unet: &UNet, fresh: &UNet, block: usize) -> Result<Similarity> {
        let [little, _] = self.experiment.compared;
        let images = self.experiment.data.test.first(COMPARED);
        let of = |unet: &UNet, timestep| self.pooled(unet, &images, timestep, "test");
        let trained = of(unet, little)?;
        let random = of(fresh, little)?;
        let steps = self.experiment.timesteps.iter();
        let steps = steps.map(|&timestep| {
            let mut blocks = of(unet, timestep)?;
            Ok(blocks.swap_remove(block - 1))
        });
        let steps = steps.collect::<Result<Vec<_>>>()?;
        let before = trained.iter().zip(&random);
        Ok(Similarity {
            blocks: table(&trained)?,
            timesteps: table(&steps)?,
            before: before.map(|(x, y)| cka(x, y)).collect::<Result<_>>()?,
        })
    }

    /// Probes on images of other classes than the network was trained on.
    pub(super) fn transfer(&self, unet: &UNet, block: usize) -> Result<Transfer> {
        let [train, test] = &self.experiment.data.other;
        let point = (self.experiment.compared[0], block);
        let pooled = |images, noise| {
            let map = self.block(unet, images, point, noise)?.only()?;
            self.experiment.probe.pool(map)
        };
        let features = [
            pooled(train, "other-labelled")?,
            pooled(test, "other-test")?,
        ];
        let [of_train, of_test] = features;
        Ok(Transfer {
            features: self.score(of_train, train, of_test, test)?,
            pixels: self.pixels(train, test)?,
        })
    }

    /// Samples by DDIM, in 0..1.
    pub(super) fn samples(&self, denoiser: &Denoiser) -> Result<Vec<Vec<f32>>> {
        let [count, steps] = self.experiment.samples;
        let config = denoiser.unet.config();
        let (channels, side) = (config.in_channels, config.image_size);
        let noise = self.seed.stream("samples");
        let noise = draw_normal([count, channels, side, side], noise, self.device);
        let sampler = Sampler::ddim(Reverse::new());
        let samples = denoiser.sample(noise, &sampler, steps, self.seed)?;
        let values = ((samples + 1.0) / 2.0)
            .clamp(0.0, 1.0)
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::other("reading samples", error))?;
        let size = channels * side * side;
        Ok(values.chunks(size).map(<[f32]>::to_vec).collect())
    }
}

/// The share of right classes in percent.
fn head_accuracy(head: &Head, features: &Features, labels: &[usize]) -> Result<f64> {
    let classes = head.forward(features)?.argmax(1).into_data();
    let classes = classes
        .try_cast_as::<i64>()
        .map_err(|error| Error::other("reading classes", error))?;
    let right = classes.iter::<i64>().zip(labels);
    let right = right
        .filter(|(class, label)| *class == **label as i64)
        .count();
    Ok(100.0 * right as f64 / labels.len().max(1) as f64)
}

/// Every representation with every other.
fn table(features: &[Tensor<2>]) -> Result<Vec<Vec<f64>>> {
    let row = |x: &Tensor<2>| features.iter().map(|y| cka(x, y)).collect();
    features.iter().map(row).collect()
}

fn cka(x: &Tensor<2>, y: &Tensor<2>) -> Result<f64> {
    let value = linear_cka(x.clone(), y.clone())?;
    let value = value
        .try_into_scalar::<f32>()
        .map_err(|error| Error::other("reading a similarity", error))?;
    Ok(f64::from(value))
}
