//! Sizes of the published models.

use super::bottleneck::Bottleneck;
use super::quantiser::QuantiserConfig;
use burn::config::Config;
use menagerie_core::{Error, Result};

/// Which of the two published architectures.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Version {
    /// The model of the paper: batch normalisation in the encoder; waveform, loudness and noise
    /// branches after the decoder.
    V1,
    /// The later model of the official code: dilated residual units, weight normalisation
    /// everywhere, the amplitude as a gate beside the waveform.
    V2,
}

/// Where a convolution takes its padding.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Padding {
    /// Half before, half after; the larger half after.
    Centered,
    /// All before: no look-ahead, hence no latency when streaming.
    Causal,
}

impl Padding {
    /// Frames before and after the signal for a kernel of `kernel` taps.
    pub fn of(self, kernel: usize, dilation: usize) -> [usize; 2] {
        // The kernel reaches over `span` frames; a lone tap needs none.
        let span = (kernel.max(1) - 1) * dilation + 1;
        match self {
            _ if kernel <= 1 => [0, 0],
            Self::Centered => [(span - 1) / 2, span / 2],
            Self::Causal => [span - 1, 0],
        }
    }
}

/// What stands between the convolutions.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Activation {
    /// A leaky rectifier with a slope of 0.2 below zero.
    LeakyRelu,
    /// [`Snake`](super::Snake), with a learned frequency for each channel (V2; `snake.gin` of the
    /// released code).
    Snake,
}

/// The branch of filtered noise.
#[derive(Config, Debug, PartialEq, Eq)]
pub struct NoiseConfig {
    /// Strides of its convolutions; their product is the length of a frame of noise, in sub-band
    /// samples.
    pub ratios: Vec<usize>,
    /// Frequencies at which the filter's magnitude is given; its impulse response has
    /// `2 · (bands − 1)` taps, cut to the length of a frame.
    #[config(default = 5)]
    pub bands: usize,
    /// Channels between its convolutions; as many as come in where it is absent.
    #[config(default = "None")]
    pub hidden: Option<usize>,
}

impl NoiseConfig {
    /// Sub-band samples of a frame of noise.
    pub fn frame(&self) -> usize {
        self.ratios.iter().product()
    }

    /// Taps of the filter's impulse response.
    pub fn taps(&self) -> usize {
        2 * (self.bands.max(1) - 1)
    }
}

/// Sizes of encoder, decoder and filter bank.
#[derive(Config, Debug, PartialEq)]
pub struct RaveConfig {
    /// Which architecture.
    pub version: Version,
    /// Strides of the encoder, outermost first. The decoder of V1 takes them in the same order,
    /// that of V2 in reverse.
    pub ratios: Vec<usize>,
    /// Dimensions of a latent frame.
    #[config(default = 128)]
    pub latent: usize,
    /// Samples per second.
    #[config(default = 48_000)]
    pub sample_rate: usize,
    /// Bands M of the filter bank, a power of two; 1 for none.
    #[config(default = 16)]
    pub bands: usize,
    /// Attenuation of the filter bank's stop band, in dB.
    #[config(default = 100.0)]
    pub attenuation: f64,
    /// Where convolutions take their padding.
    #[config(default = "Padding::Centered")]
    pub padding: Padding,
    /// Whether convolutions of encoder, branches and the decoder's first layer have a bias.
    #[config(default = true)]
    pub bias: bool,
    /// Dilations of the residual units at each stride of the encoder, outermost first; in V1 the
    /// decoder alone has them, `[1, 3, 9]` at every stride.
    pub dilations: Vec<Vec<usize>>,
    /// Width of the encoder's first layer, doubled at each stride.
    #[config(default = 64)]
    pub capacity: usize,
    /// Stride of the loudness branch (V1).
    #[config(default = 1)]
    pub loudness_stride: usize,
    /// The noise branch.
    #[config(default = "None")]
    pub noise: Option<NoiseConfig>,
    /// What stands between the convolutions; in V1 the leaky rectifier.
    #[config(default = "Activation::LeakyRelu")]
    pub activation: Activation,
    /// What the encoder's output is; in V1 a posterior.
    #[config(default = "Bottleneck::Variational")]
    pub bottleneck: Bottleneck,
    /// Channels of noise that the decoder takes beside the latent signal; none of a posterior.
    #[config(default = 0)]
    pub noise_augmentation: usize,
    /// Whether an [`AdaIn`](super::AdaIn) stands before each residual unit (V2; `adain.gin` of the
    /// released code).
    #[config(default = false)]
    pub adain: bool,
}

impl RaveConfig {
    const NAME: &str = "RaveConfig";

    fn of(version: Version, ratios: &[usize], capacity: usize) -> Self {
        let dilations = vec![vec![1, 3, 9]; ratios.len()];
        Self::new(version, ratios.to_vec(), dilations).with_capacity(capacity)
    }

    /// The model of the paper: strides 4, 4, 4, 2, 17 615 858 parameters.
    pub fn v1() -> Self {
        Self::of(Version::V1, &[4, 4, 4, 2], 64).with_noise(Some(NoiseConfig::new(vec![4, 4, 4])))
    }

    /// Half the width: 4 808 370 parameters.
    pub fn v1_small() -> Self {
        Self::v1().with_capacity(32)
    }

    /// Strides 4, 4, 2, 2, 2: 64 160 754 parameters.
    pub fn v1_large() -> Self {
        Self::of(Version::V1, &[4, 4, 2, 2, 2], 64)
            .with_noise(Some(NoiseConfig::new(vec![4, 4, 4])))
    }

    /// The later model: 31 536 000 parameters.
    pub fn v2() -> Self {
        let mut config = Self::of(Version::V2, &[4, 4, 4, 2], 96).with_bias(false);
        config.dilations = vec![vec![1, 3, 9], vec![1, 3, 9], vec![1, 3, 9], vec![1, 3]];
        config
    }

    /// Strides 4, 2, 2, 2, with noise: 7 762 512 parameters.
    pub fn v2_small() -> Self {
        let noise = NoiseConfig::new(vec![2, 2, 2])
            .with_bands(32)
            .with_hidden(Some(64));
        let mut config = Self::v2().with_capacity(48).with_noise(Some(noise));
        config.ratios = vec![4, 2, 2, 2];
        config
    }

    /// V2 with a latent signal of 16 dimensions that is held to a standard normal as a whole, and 128
    /// channels of noise beside it (`wasserstein.gin`).
    pub fn wasserstein() -> Self {
        Self::v2()
            .with_latent(16)
            .with_bottleneck(Bottleneck::Wasserstein)
            .with_noise_augmentation(128)
    }

    /// V2 with strides 4, 4, 2, 2 and sixteen codes of 1024 for each latent frame, and 128 channels
    /// of noise beside them (`discrete.gin`).
    pub fn discrete() -> Self {
        let mut config = Self::v2()
            .with_bottleneck(Bottleneck::Discrete(QuantiserConfig::new()))
            .with_noise_augmentation(128);
        config.ratios = vec![4, 4, 2, 2];
        config
    }

    /// Speech at 8 kHz in eight bands: the small model of the reproduction.
    pub fn speech() -> Self {
        Self::of(Version::V1, &[4, 2, 2], 16)
            .with_latent(16)
            .with_sample_rate(8_000)
            .with_bands(8)
            .with_noise(Some(NoiseConfig::new(vec![4, 2, 2])))
    }

    /// No look-ahead in any layer, and a filter bank of 70 dB, which is shorter.
    pub fn low_latency(self) -> Self {
        self.with_padding(Padding::Causal).with_attenuation(70.0)
    }

    /// Sub-band samples per latent frame, R.
    pub fn stride(&self) -> usize {
        self.ratios.iter().product()
    }

    /// Samples per latent frame, M · R: what lengths of audio must be a multiple of.
    pub fn hop(&self) -> usize {
        self.bands * self.stride()
    }

    /// Numbers of the audio for each number of a latent signal of `kept` dimensions: by how much
    /// encoding compresses.
    pub fn compression(&self, kept: usize) -> f64 {
        self.hop() as f64 / kept.max(1) as f64
    }

    /// Latent frames per second.
    pub fn frame_rate(&self) -> f64 {
        self.sample_rate as f64 / self.hop() as f64
    }

    /// Channels that the decoder takes: the latent signal and the noise beside it.
    pub fn decoder_channels(&self) -> usize {
        self.latent + self.noise_augmentation
    }

    /// Channels of the innermost layer.
    pub(super) fn width(&self) -> usize {
        self.capacity << self.ratios.len()
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        fn refuse(field: &str, value: impl std::fmt::Debug, rule: impl Into<String>) -> Result<()> {
            Err(Error::config(RaveConfig::NAME, field, value, rule))
        }
        for (field, value) in [
            ("capacity", self.capacity),
            ("latent", self.latent),
            ("sample_rate", self.sample_rate),
            ("loudness_stride", self.loudness_stride),
        ] {
            if value == 0 {
                return refuse(field, value, "must be at least 1");
            }
        }
        if !(self.bands.is_power_of_two() && self.bands <= 256) {
            let rule =
                "must be a power of two up to 256, for the polyphase form of the filter bank";
            return refuse("bands", self.bands, rule);
        }
        if !(21.0..=200.0).contains(&self.attenuation) {
            return refuse(
                "attenuation",
                self.attenuation,
                "must lie between 21 and 200 dB",
            );
        }
        let possible = |ratio: &usize| *ratio == 1 || (ratio.is_multiple_of(2) && *ratio <= 64);
        if self.ratios.is_empty() || self.ratios.len() > 12 || !self.ratios.iter().all(possible) {
            let rule = "must be 1 to 12 strides, each 1 or an even number up to 64";
            return refuse("ratios", &self.ratios, rule);
        }
        if self.dilations.len() != self.ratios.len() {
            let rule = format!("must be as many lists as ratios, {}", self.ratios.len());
            return refuse("dilations", &self.dilations, rule);
        }
        if self
            .dilations
            .iter()
            .flatten()
            .any(|dilation| *dilation == 0)
        {
            return refuse("dilations", &self.dilations, "must be at least 1 each");
        }
        let stride = self.stride();
        match self.version {
            Version::V1 if !stride.is_multiple_of(self.loudness_stride) => {
                let rule = format!("must divide the product of the ratios, {stride}");
                return refuse("loudness_stride", self.loudness_stride, rule);
            }
            Version::V2 if self.loudness_stride != 1 => {
                return refuse("loudness_stride", self.loudness_stride, "must be 1 in V2");
            }
            Version::V1 if self.activation != Activation::LeakyRelu => {
                return refuse("activation", self.activation, "must be LeakyRelu in V1");
            }
            Version::V1 if self.bottleneck != Bottleneck::Variational => {
                return refuse("bottleneck", &self.bottleneck, "must be Variational in V1");
            }
            Version::V1 if self.adain => {
                return refuse("adain", self.adain, "must be false in V1");
            }
            _ => {}
        }
        let augmentation = self.noise_augmentation;
        if augmentation > 0 && self.bottleneck == Bottleneck::Variational {
            let rule = "must be 0 with a Variational bottleneck";
            return refuse("noise_augmentation", augmentation, rule);
        }
        if let Bottleneck::Discrete(quantiser) = &self.bottleneck {
            quantiser.validate()?;
        }
        let Some(noise) = &self.noise else {
            return Ok(());
        };
        if noise.ratios.is_empty() || noise.ratios.iter().any(|r| !(1..=64).contains(r)) {
            return refuse(
                "noise.ratios",
                &noise.ratios,
                "must be strides from 1 to 64",
            );
        }
        if noise.bands < 2 {
            return refuse("noise.bands", noise.bands, "must be at least 2");
        }
        if noise.hidden == Some(0) {
            return refuse("noise.hidden", 0, "must be at least 1");
        }
        let frame = noise.frame();
        if !stride.is_multiple_of(frame) {
            let rule = format!(
                "must have a product that divides the sub-band samples of a latent frame, {stride}"
            );
            return refuse("noise.ratios", &noise.ratios, rule);
        }
        Ok(())
    }
}

/// Sizes of the discriminators.
#[derive(Config, Debug, PartialEq, Eq)]
pub struct DiscriminatorConfig {
    /// Which of the two published designs.
    pub version: Version,
    /// Channels of the first layer.
    pub capacity: usize,
    /// By what channels grow at each strided layer of V1, which also sets its groups. V2 doubles
    /// them.
    #[config(default = 4)]
    pub multiplier: usize,
    /// Strided layers of each net of V1; all layers but the last of V2.
    #[config(default = 4)]
    pub layers: usize,
    /// Nets at full, half, quarter … rate.
    #[config(default = 3)]
    pub scales: usize,
    /// Periods of the nets that see the signal folded (V2).
    #[config(default = "vec![2, 3, 5, 7, 11]")]
    pub periods: Vec<usize>,
}

impl DiscriminatorConfig {
    const NAME: &str = "DiscriminatorConfig";

    /// Three nets on the waveform: 16 917 942 parameters.
    pub fn v1() -> Self {
        Self::new(Version::V1, 16)
    }

    /// Five nets on folded signals and three on the waveform: 27 130 952 parameters.
    pub fn v2() -> Self {
        Self::new(Version::V2, 96)
    }

    /// The same for the small model.
    pub fn v2_small() -> Self {
        Self::new(Version::V2, 48)
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value, most) in [
            ("capacity", self.capacity, 1 << 16),
            ("multiplier", self.multiplier, 64),
            ("layers", self.layers, 8),
            ("scales", self.scales, 8),
        ] {
            if !(1..=most).contains(&value) {
                let rule = format!("must lie between 1 and {most}");
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        if self.version == Version::V2 && self.periods.contains(&0) {
            let rule = "must be at least 1 each";
            return Err(Error::config(Self::NAME, "periods", &self.periods, rule));
        }
        Ok(())
    }
}
