//! Activations of a frozen U-Net at chosen timesteps and blocks.

use super::config::{BlockShape, UNetConfig};
use super::unet::UNet;
use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::diffusion::Diffusion;
use menagerie_nn::noise::draw_normal;

/// Where features are taken: after each of the blocks, at each of the timesteps.
#[derive(Config, Debug, PartialEq)]
pub struct FeaturePoints {
    /// How noisy the image is, as steps of the process from 0.
    pub timesteps: Vec<usize>,
    /// Blocks, counted from 1: those on the way down, the middle, those on the way up.
    pub blocks: Vec<usize>,
}

impl FeaturePoints {
    /// One timestep and one block.
    pub fn one(timestep: usize, block: usize) -> Self {
        Self::new(vec![timestep], vec![block])
    }

    /// The best single point of the paper: t = 90, block 24.
    pub fn best() -> Self {
        Self::one(90, 24)
    }

    /// The points that the later paper fuses: t = 90, 150 and 300, blocks 19, 24 and 30.
    pub fn fusion() -> Self {
        Self::new(vec![90, 150, 300], vec![19, 24, 30])
    }

    /// Refuses empty lists, blocks that the network does not have, a block named twice, and
    /// timesteps that the process does not have.
    ///
    /// # Errors
    /// [`Error::Input`] with the value and the rule.
    pub fn validate(&self, config: &UNetConfig, diffusion: &Diffusion) -> Result<()> {
        if self.timesteps.is_empty() {
            let rule = "must name at least one timestep";
            let list = &self.timesteps;
            return Err(Error::input("the list of timesteps", list, rule));
        }
        diffusion.check(&self.timesteps)?;
        config.check_blocks(&self.blocks)
    }
}

/// Features by timestep, then by block, in the order of the points that they were taken at.
#[derive(Clone, Debug)]
pub struct Features {
    /// `maps[t][b]` is `[batch, channels, side, side]`.
    pub maps: Vec<Vec<Tensor<4>>>,
}

impl Features {
    /// Features of one timestep and one block.
    pub fn one(map: Tensor<4>) -> Self {
        let maps = vec![vec![map]];
        Self { maps }
    }

    /// The only map.
    ///
    /// # Errors
    /// [`Error::Input`] if there is another number of timesteps or blocks than one.
    pub fn only(&self) -> Result<Tensor<4>> {
        match &self.maps[..] {
            [blocks] if blocks.len() == 1 => Ok(blocks[0].clone()),
            maps => {
                let blocks = maps.first().map_or(0, Vec::len);
                let rule = "must be one of each for a head that takes a single map";
                let what = "the number of timesteps and blocks";
                Err(Error::input(what, [maps.len(), blocks], rule))
            }
        }
    }

    /// Images in the batch.
    pub fn batch(&self) -> usize {
        let first = self.maps.iter().flatten().next();
        first.map_or(0, |map| map.dims()[0])
    }

    /// Those images of the batch, in that order.
    pub fn select(&self, images: &[usize]) -> Self {
        let indices: Vec<i64> = images.iter().map(|&image| image as i64).collect();
        let pick = |map: &Tensor<4>| {
            let indices = Tensor::from_ints(indices.as_slice(), &map.device());
            map.clone().select(0, indices)
        };
        let maps = self.maps.iter();
        let maps = maps
            .map(|blocks| blocks.iter().map(pick).collect())
            .collect();
        Self { maps }
    }

    /// The same maps with autodiff, for a head that is trained on them.
    pub fn autodiff(self) -> Self {
        let track = |maps: Vec<Tensor<4>>| maps.into_iter().map(Tensor::autodiff).collect();
        Self {
            maps: self.maps.into_iter().map(track).collect(),
        }
    }

    /// Batches one after the other.
    pub fn concatenate(batches: &[Self]) -> Self {
        let Some(first) = batches.first() else {
            return Self { maps: Vec::new() };
        };
        let join = |t: usize, b: usize| {
            let maps = batches.iter().filter_map(|batch| batch.maps.get(t)?.get(b));
            Tensor::cat(maps.cloned().collect(), 0)
        };
        let maps = first.maps.iter().enumerate();
        let maps = maps.map(|(t, blocks)| (0..blocks.len()).map(|b| join(t, b)).collect());
        Self {
            maps: maps.collect(),
        }
    }
}

/// A U-Net as a feature extractor: noise an image to step t, run the network once, stop after the
/// last block that is asked for.
///
/// The noise is part of the method, also when features are used: fix its seed, or report the spread
/// over several.
#[derive(Module, Debug)]
pub struct FeatureExtractor {
    /// The network; it is not trained here.
    pub unet: UNet,
    #[module(skip)]
    diffusion: Diffusion,
    #[module(skip)]
    points: FeaturePoints,
}

impl FeatureExtractor {
    /// Features of `unet`, which was trained on the process `diffusion`.
    ///
    /// # Errors
    /// What [`FeaturePoints::validate`] refuses.
    pub fn new(unet: UNet, diffusion: Diffusion, points: FeaturePoints) -> Result<Self> {
        points.validate(unet.config(), &diffusion)?;
        Ok(Self {
            unet,
            diffusion,
            points,
        })
    }

    /// Where features are taken.
    pub fn points(&self) -> &FeaturePoints {
        &self.points
    }

    /// The process.
    pub fn diffusion(&self) -> &Diffusion {
        &self.diffusion
    }

    /// The shapes of the features of one timestep, in the order of the points.
    ///
    /// # Errors
    /// None in practice: the points were checked when this was made.
    pub fn shapes(&self) -> Result<Vec<BlockShape>> {
        let shapes = self.unet.config().shapes()?;
        let of = |block: &usize| shapes.get(block.wrapping_sub(1)).copied();
        Ok(self.points.blocks.iter().filter_map(of).collect())
    }

    /// Noise for [`features`](Self::features) of images `[batch, channels, height, width]`, one
    /// tensor for each timestep.
    pub fn draw_noise(&self, images: [usize; 4], seed: Seed, device: &Device) -> Vec<Tensor<4>> {
        (0..self.points.timesteps.len())
            .map(|index| draw_normal(images, seed.at(index as u64), device))
            .collect()
    }

    /// The features of `images`, `[batch, channels, height, width]` in −1..1, with one tensor of
    /// `noise` in their shape for each timestep.
    ///
    /// # Errors
    /// [`Error::Input`] if shapes or the number of noises do not fit.
    pub fn features(&self, images: Tensor<4>, noise: Vec<Tensor<4>>) -> Result<Features> {
        let FeaturePoints { timesteps, blocks } = &self.points;
        if noise.len() != timesteps.len() {
            let rule = format!("must be {}, one for each timestep", timesteps.len());
            return Err(Error::input("the number of noises", noise.len(), rule));
        }
        let batch = images.dims()[0];
        let mut maps = Vec::with_capacity(timesteps.len());
        for (&step, noise) in timesteps.iter().zip(noise) {
            let x_t = self
                .diffusion
                .q_sample(images.clone(), &vec![step; batch], noise)?;
            // A thinned process has other names for its steps than the network.
            let name = self.diffusion.timesteps()[step];
            let mut found = self.unet.features(x_t, &vec![name; batch], blocks)?;
            let taken = blocks.iter().filter_map(|block| found.remove(block));
            maps.push(taken.collect());
        }
        Ok(Features { maps })
    }
}
