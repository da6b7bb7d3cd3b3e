//! The whole autoencoder.

use super::adain::{AdaIn, MOST_SIGNALS, Side};
use super::bottleneck::Bottleneck;
use super::config::RaveConfig;
use super::decoder::Decoder;
use super::encoder::{Encoder, Posterior};
use super::layers::Layer;
use super::noise::draw_noise;
use super::pqmf::Pqmf;
use super::quantiser::ResidualQuantiser;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::noise::draw_normal;

/// Filter bank, encoder and decoder.
#[derive(Module, Debug)]
pub struct Rave {
    /// From sub-bands to the posterior.
    pub encoder: Encoder,
    /// From latent frames to sub-bands.
    pub decoder: Decoder,
    #[module(skip)]
    pqmf: Pqmf,
    #[module(skip)]
    config: RaveConfig,
}

impl RaveConfig {
    /// A model with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Rave> {
        self.validate()?;
        Ok(Rave {
            encoder: Encoder::new(self, device),
            decoder: Decoder::new(self, device),
            pqmf: Pqmf::new(self.bands, self.attenuation)?,
            config: self.clone(),
        })
    }
}

impl Rave {
    /// The sizes it was built with.
    pub fn config(&self) -> &RaveConfig {
        &self.config
    }

    /// The filter bank.
    pub fn pqmf(&self) -> &Pqmf {
        &self.pqmf
    }

    /// All weight normalisation folded into plain weights: the same function, faster, for inference
    /// alone.
    pub fn fold(self) -> Self {
        Self {
            encoder: self.encoder.fold(),
            decoder: self.decoder.fold(),
            pqmf: self.pqmf,
            config: self.config,
        }
    }

    /// Recorded `samples` as the tensor `[1, 1, time]` that the model takes, with zeros at the end up
    /// to a multiple of the hop.
    ///
    /// # Errors
    /// [`Error::Input`] if there are several channels or none, another rate than the model's, no
    /// sample, or one that is not finite.
    pub fn audio(
        &self,
        samples: &[f32],
        channels: usize,
        sample_rate: usize,
        device: &Device,
    ) -> Result<Tensor<3>> {
        if channels != 1 {
            let rule = "must be 1, the model is mono: mix the channels down first";
            return Err(Error::input("the number of channels", channels, rule));
        }
        if sample_rate != self.config.sample_rate {
            let rule = format!(
                "must be the model's, {} Hz: resample the audio first",
                self.config.sample_rate
            );
            return Err(Error::input("the sample rate", sample_rate, rule));
        }
        if samples.is_empty() {
            let rule = "must be at least 1 sample";
            return Err(Error::input("the length of the audio", 0, rule));
        }
        if let Some(at) = samples.iter().position(|sample| !sample.is_finite()) {
            let rule = format!("must be finite, at position {at}");
            return Err(Error::input("a sample", samples[at], rule));
        }
        let mut samples = samples.to_vec();
        samples.resize(samples.len().next_multiple_of(self.config.hop()), 0.0);
        let shape = [1, 1, samples.len()];
        Ok(Tensor::from_data(TensorData::new(samples, shape), device))
    }

    /// `audio` in the voice of the model `target`: what this model hears, synthesised by the other
    /// one's decoder. A model's own latent space is not another's: the two must share it, e.g. by
    /// having been trained from the same encoder; otherwise call
    /// [`target.reconstruct`](Self::reconstruct), which is the paper's timbre transfer.
    ///
    /// # Errors
    /// As [`encode`](Self::encode) and [`decode`](Self::decode); [`Error::Input`] if the models differ
    /// in hop or rate.
    pub fn transfer(
        &self,
        audio: Tensor<3>,
        target: &Rave,
        noise: Option<Tensor<4>>,
    ) -> Result<Tensor<3>> {
        let sizes = |rave: &Rave| [rave.config.hop(), rave.config.sample_rate];
        if sizes(self) != sizes(target) {
            let rule = format!("must be the source's, {:?}", sizes(self));
            let what = "the hop and sample rate of the target";
            return Err(Error::input(what, sizes(target), rule));
        }
        target.decode(self.encode(audio)?, noise)
    }

    /// The posterior of `audio`, `[batch, 1, time]` with a time that is a multiple of
    /// [`hop`](RaveConfig::hop), at the configured rate: mean and scale `[batch, latent, time /
    /// hop]`.
    ///
    /// # Errors
    /// [`Error::Input`] for other shapes, and if the bottleneck is not variational.
    pub fn posterior(&self, audio: Tensor<3>) -> Result<Posterior> {
        if self.config.bottleneck != Bottleneck::Variational {
            let rule = "must be Variational to give a posterior";
            let found = &self.config.bottleneck;
            return Err(Error::input("the bottleneck of the model", found, rule));
        }
        Ok(Posterior::from_output(self.output(audio)?))
    }

    /// The encoder's output for `audio`, before the bottleneck.
    fn output(&self, audio: Tensor<3>) -> Result<Tensor<3>> {
        self.check_audio(audio.dims())?;
        Ok(self.encoder.net.infer(self.pqmf.analysis(audio)))
    }

    /// The latent signal of `audio`, `[batch, latent, time / hop]`: the mean of a variational
    /// bottleneck (for a drawn one, see [`Posterior::sample`]), the output of one without draws, the
    /// codes of a discrete one, or its output as long as its codebooks are empty.
    ///
    /// # Errors
    /// [`Error::Input`] for other shapes.
    pub fn encode(&self, audio: Tensor<3>) -> Result<Tensor<3>> {
        Ok(self.encoder.settle(self.output(audio)?))
    }

    /// The numbers of the codes of `audio`, `[batch, quantisers, time / hop]`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`Error::Input`] if the bottleneck is not discrete, or its
    /// codebooks are empty.
    pub fn encode_codes(&self, audio: Tensor<3>) -> Result<Tensor<3, Int>> {
        let quantiser = self.quantiser()?;
        quantiser.encode_codes(self.output(audio)?)
    }

    /// The latent signal of `codes`, `[batch, quantisers, frames]`, for [`decode`](Self::decode).
    ///
    /// # Errors
    /// [`Error::Input`] if the bottleneck is not discrete, and as
    /// [`ResidualQuantiser::decode_codes`].
    pub fn decode_codes(&self, codes: Tensor<3, Int>) -> Result<Tensor<3>> {
        self.quantiser()?.decode_codes(codes)
    }

    fn quantiser(&self) -> Result<&ResidualQuantiser> {
        self.encoder.quantiser.as_ref().ok_or_else(|| {
            let rule = "must be Discrete for codes";
            Error::input("the bottleneck of the model", &self.config.bottleneck, rule)
        })
    }

    /// Audio `[batch, 1, hop · frames]` of `latent`, `[batch, latent, frames]`, late by one
    /// sub-band sample; `noise` as for [`Decoder::branches`]. Noise augmentation may stand behind
    /// the latent signal ([`draw_augmentation`](super::draw_augmentation)): `[batch, latent + noise
    /// augmentation, frames]`; otherwise zeros take its place.
    ///
    /// # Errors
    /// [`Error::Input`] for other shapes.
    pub fn decode(&self, latent: Tensor<3>, noise: Option<Tensor<4>>) -> Result<Tensor<3>> {
        self.check_latent(latent.dims(), noise.as_ref().map(Tensor::dims))?;
        let [batch, channels, frames] = latent.dims();
        let latent = match self.config.decoder_channels() - channels {
            0 => latent,
            missing => {
                let zeros = Tensor::zeros([batch, missing, frames], &latent.device());
                Tensor::cat(vec![latent, zeros], 1)
            }
        };
        Ok(self.pqmf.synthesis(self.decoder.infer(latent, noise)))
    }

    fn styles(&self) -> Result<Vec<&AdaIn>> {
        let layers = self.encoder.net.layers.iter();
        let styles: Vec<&AdaIn> = layers
            .chain(&self.decoder.net.layers)
            .filter_map(|layer| match layer {
                Layer::AdaIn(adain) => Some(adain),
                _ => None,
            })
            .collect();
        if self.config.adain {
            return Ok(styles);
        }
        let rule = "must be true for statistics of style";
        Err(Error::input("adain of the model", false, rule))
    }

    /// Begins or ends learning the statistics of one side from everything that is encoded and
    /// decoded, as a whole or in blocks, a running average over signals or blocks: for the sound of
    /// one recording on another, first [`Side::Target`] while that recording is
    /// [reconstructed](Self::reconstruct), then [`Side::Source`] while the other one is. Streams and
    /// clones of the model share its statistics.
    ///
    /// # Errors
    /// [`Error::Input`] for a model without adaptive instance normalisation.
    pub fn learn_style(&self, side: Side, learning: bool) -> Result<()> {
        for adain in self.styles()? {
            adain.side(side).set_learning(learning);
        }
        Ok(())
    }

    /// Forgets the statistics of one side.
    ///
    /// # Errors
    /// [`Error::Input`] for a model without adaptive instance normalisation.
    pub fn reset_style(&self, side: Side) -> Result<()> {
        for adain in self.styles()? {
            adain.side(side).reset();
        }
        Ok(())
    }

    /// [`encode`](Self::encode), then [`decode`](Self::decode).
    ///
    /// # Errors
    /// As both.
    pub fn reconstruct(&self, audio: Tensor<3>, noise: Option<Tensor<4>>) -> Result<Tensor<3>> {
        self.decode(self.encode(audio)?, noise)
    }

    /// Standard normal noise for [`Posterior::sample`], `[batch, latent, frames]`.
    pub fn draw_latent_noise(
        &self,
        batch: usize,
        frames: usize,
        seed: Seed,
        device: &Device,
    ) -> Tensor<3> {
        draw_normal([batch, self.config.latent, frames], seed, device)
    }

    /// Noise for [`decode`](Self::decode) of `frames` latent frames; `None` without a noise branch.
    pub fn draw_noise(
        &self,
        batch: usize,
        frames: usize,
        seed: Seed,
        device: &Device,
    ) -> Option<Tensor<4>> {
        let noise = self.config.noise.as_ref()?;
        let frames = frames * self.config.stride() / noise.frame();
        draw_noise(&self.config, batch, 0, frames, seed, device)
    }

    fn check_audio(&self, [batch, channels, time]: [usize; 3]) -> Result<()> {
        let shape = [batch, channels, time];
        if channels != 1 {
            let rule = "must be mono, [batch, 1, time]: mix the channels down first";
            return Err(Error::input("the shape of the audio", shape, rule));
        }
        let hop = self.config.hop();
        if batch == 0 || time == 0 || !time.is_multiple_of(hop) {
            let rule = format!("must have a time that is a positive multiple of {hop} samples");
            return Err(Error::input("the shape of the audio", shape, rule));
        }
        self.check_batch(batch)
    }

    fn check_batch(&self, batch: usize) -> Result<()> {
        if self.config.adain && batch > MOST_SIGNALS {
            let rule = format!("must be at most {MOST_SIGNALS} with statistics of style");
            return Err(Error::input("the size of the batch", batch, rule));
        }
        Ok(())
    }

    fn check_latent(&self, shape: [usize; 3], noise: Option<[usize; 4]>) -> Result<()> {
        let [batch, latent, frames] = shape;
        let possible = [self.config.latent, self.config.decoder_channels()];
        if !possible.contains(&latent) || batch == 0 || frames == 0 {
            let [few, all] = possible;
            let channels = match few == all {
                true => few.to_string(),
                false => format!("{few} or {all}"),
            };
            let rule = format!("must be [batch, {channels}, frames], not empty");
            return Err(Error::input("the shape of the latent signal", shape, rule));
        }
        self.check_batch(batch)?;
        if let (Some(shape), Some(noise)) = (noise, &self.config.noise) {
            let frames = frames * self.config.stride() / noise.frame();
            let needed = [batch, frames, self.config.bands, noise.frame()];
            if shape != needed {
                let rule = format!("must be {needed:?} for this latent signal");
                return Err(Error::input("the shape of the noise", shape, rule));
            }
        }
        Ok(())
    }
}
