//! Discriminators on the waveform at several rates and, in V2, folded at several periods.

use super::config::{DiscriminatorConfig, Version};
use super::layers::{Conv1d, Form, Geometry};
use burn::module::Module;
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor};
use menagerie_core::Result;

/// One stack of convolutions.
#[derive(Module, Debug)]
pub struct DiscriminatorNet {
    /// The last one gives the score.
    pub convs: Vec<Conv1d>,
}

impl DiscriminatorNet {
    /// The output of every convolution before its activation; the last is the score.
    fn features(&self, x: Tensor<3>) -> Vec<Tensor<3>> {
        let mut features: Vec<Tensor<3>> = Vec::with_capacity(self.convs.len());
        let mut x = x;
        for conv in &self.convs {
            x = conv.forward(x);
            features.push(x.clone());
        }
        features
    }
}

/// All discriminators of a model.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// On folded signals, one for each period (V2).
    pub periods: Vec<DiscriminatorNet>,
    /// On the waveform at full, half, quarter … rate.
    pub scales: Vec<DiscriminatorNet>,
    #[module(skip)]
    config: DiscriminatorConfig,
}

/// What every net makes of a signal: the output of each of its convolutions before the activation,
/// the last of which is the score.
#[derive(Clone, Debug)]
pub struct Features {
    /// Nets on folded signals, then nets on the waveform. A folded signal's tensors are
    /// `[batch · period, channels, time]`, all others `[batch, channels, time]`.
    pub nets: Vec<Vec<Tensor<3>>>,
}

impl Features {
    /// The score of each net.
    pub fn scores(&self) -> impl Iterator<Item = &Tensor<3>> {
        self.nets.iter().filter_map(|net| net.last())
    }

    /// Those of the first half of the batch and of the second.
    pub fn halves(self) -> [Self; 2] {
        let half = |second: bool| Self {
            nets: self
                .nets
                .iter()
                .map(|net| {
                    net.iter()
                        .map(|x| {
                            let size = x.dims()[0] / 2;
                            x.clone().narrow(0, if second { size } else { 0 }, size)
                        })
                        .collect()
                })
                .collect(),
        };
        [half(false), half(true)]
    }
}

impl DiscriminatorConfig {
    /// Discriminators with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Discriminator> {
        self.validate()?;
        let net = |convs: Vec<([usize; 2], Geometry)>| {
            let last = convs.len() - 1;
            let convs = convs
                .into_iter()
                .enumerate()
                .map(|(index, (channels, geometry))| {
                    let geometry = match index {
                        0 => geometry,
                        _ => geometry.after_activation(),
                    };
                    // V2 leaves the score's weight as it is.
                    let form = match self.version {
                        Version::V2 if index == last => Form::Plain,
                        _ => Form::Normalised,
                    };
                    Conv1d::new(channels, geometry, form, true, device)
                });
            DiscriminatorNet {
                convs: convs.collect(),
            }
        };
        let (periods, waveform) = match self.version {
            Version::V1 => (0, self.waveform_v1()),
            Version::V2 => (self.periods.len(), self.doubling(15)),
        };
        Ok(Discriminator {
            periods: (0..periods).map(|_| net(self.doubling(5))).collect(),
            scales: (0..self.scales).map(|_| net(waveform.clone())).collect(),
            config: self.clone(),
        })
    }

    /// A wide kernel, strided ones in groups, two narrow ones.
    fn waveform_v1(&self) -> Vec<([usize; 2], Geometry)> {
        const WIDEST: usize = 1024;
        let same = |kernel: usize| Geometry::new(kernel, [kernel / 2; 2]);
        let mut width = self.capacity;
        let mut convs = vec![([1, width], same(15))];
        for layer in 0..self.layers {
            let next = (width * self.multiplier).min(WIDEST.max(width));
            // Each group of V1 sees `capacity` channels at most.
            let groups = self.multiplier.pow(layer as u32 + 1);
            let groups = (1..=groups.min(width))
                .rev()
                .find(|groups| width.is_multiple_of(*groups) && next.is_multiple_of(*groups))
                .unwrap_or(1);
            convs.push(([width, next], same(41).strided(4).grouped(groups)));
            width = next;
        }
        convs.push(([width; 2], same(5)));
        convs.push(([width, 1], same(1)));
        convs
    }

    /// Strided convolutions of doubling width.
    fn doubling(&self, kernel: usize) -> Vec<([usize; 2], Geometry)> {
        let mut width = 1;
        let mut convs = Vec::with_capacity(self.layers + 1);
        for layer in 0..self.layers {
            let next = self.capacity << layer;
            let geometry = Geometry::new(kernel, [(kernel - 1) / 2; 2]).strided(4);
            convs.push(([width, next], geometry));
            width = next;
        }
        convs.push(([width, 1], Geometry::new(1, [0, 0])));
        convs
    }
}

impl Discriminator {
    /// The sizes it was built with.
    pub fn config(&self) -> &DiscriminatorConfig {
        &self.config
    }

    /// What every net makes of `audio` `[batch, 1, time]`.
    ///
    /// # Panics
    /// If there are more channels.
    pub fn forward(&self, audio: Tensor<3>) -> Features {
        let mut nets = Vec::with_capacity(self.periods.len() + self.scales.len());
        for (net, &period) in self.periods.iter().zip(&self.config.periods) {
            nets.push(net.features(fold(audio.clone(), period)));
        }
        let mut audio = audio;
        for (index, net) in self.scales.iter().enumerate() {
            if index > 0 {
                audio = halve(audio);
            }
            nets.push(net.features(audio.clone()));
        }
        Features { nets }
    }
}

/// `[batch, 1, time]` as `period` interleaved signals, `[batch · period, 1, ⌈time / period⌉]`: a
/// two-dimensional convolution with a kernel one wide is one over each of them.
fn fold(audio: Tensor<3>, period: usize) -> Tensor<3> {
    let [batch, _, time] = audio.dims();
    let rows = time.div_ceil(period);
    let padding = [(0, 0), (0, 0), (0, rows * period - time)];
    audio
        .pad(padding, PadMode::Constant(0.0))
        .reshape([batch, rows, period])
        .swap_dims(1, 2)
        .reshape([batch * period, 1, rows])
}

/// Means of pairs; the last sample of an odd number goes.
fn halve(audio: Tensor<3>) -> Tensor<3> {
    let [batch, channels, time] = audio.dims();
    audio
        .narrow(2, 0, time / 2 * 2)
        .reshape([batch * channels, time / 2, 2])
        .mean_dim(2)
        .reshape([batch, channels, time / 2])
}
