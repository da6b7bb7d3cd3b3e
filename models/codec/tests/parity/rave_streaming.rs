//! rave: layers and models over a signal in blocks.

use super::{SizesV1, whole};
use burn::tensor::{Device, Tensor};
use menagerie_codec::rave::weights::from_state_dict;
use menagerie_codec::rave::{
    Alignment, CachedConv1d, Conv1d, Direction, Geometry, Padding, Statistics,
};
use menagerie_core::{Error, Result};
use menagerie_parity::{Check, Fixture};
use serde::Deserialize;

#[derive(Deserialize)]
struct Layers {
    layers: Vec<LayerSizes>,
}

#[derive(Deserialize)]
struct LayerSizes {
    r#type: String,
    mode: String,
    chunk: usize,
    kernel_size: Option<usize>,
    #[serde(default = "one")]
    stride: usize,
    #[serde(default = "one")]
    dilation: usize,
    #[serde(default)]
    cumulative_delay: usize,
}

fn one() -> usize {
    1
}

impl LayerSizes {
    fn geometry(&self) -> Result<Geometry> {
        if self.r#type == "convt" {
            return Ok(Geometry::upsampling(self.stride));
        }
        let padding = match self.mode.as_str() {
            "centered" => Padding::Centered,
            "causal" => Padding::Causal,
            other => return Err(Error::unknown("padding", other, ["centered", "causal"])),
        };
        let kernel = self.kernel_size.unwrap_or(1);
        let padding = padding.of(kernel, self.dilation);
        Ok(Geometry::new(kernel, padding)
            .strided(self.stride)
            .dilated(self.dilation))
    }
}

/// `x` in blocks of `frames`.
fn blocks(x: &Tensor<3>, frames: usize) -> impl Iterator<Item = Tensor<3>> {
    let count = x.dims()[2] / frames;
    (0..count).map(move |block| x.clone().narrow(2, block * frames, frames))
}

pub(super) fn cached_layers(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Layers { layers } = fixture.config()?;
    for (index, sizes) in layers.iter().enumerate() {
        let weight = fixture.param::<3>(&format!("{index}.weight"), device)?;
        let bias = fixture.param::<1>(&format!("{index}.bias"), device)?;
        let x = fixture.input::<3>(&format!("{index}.x"), device)?;
        let conv = Conv1d::from_weight(weight, Some(bias), sizes.geometry()?)?;
        check.output(&format!("{index}.offline"), conv.forward(x.clone()))?;
        let mut cached = CachedConv1d::new(&conv, sizes.cumulative_delay);
        check.output_data(&format!("{index}.delay"), whole(cached.delay()))?;
        // However the signal is cut.
        for frames in [sizes.chunk, 2 * sizes.chunk] {
            cached.reset();
            let outputs = blocks(&x, frames).map(|block| cached.push(block));
            check.output(
                &format!("{index}.stream"),
                Tensor::cat(outputs.collect(), 2),
            )?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Chunk {
    chunk_samples: usize,
}

pub(super) fn streaming(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: SizesV1 = fixture.config()?;
    let Chunk { chunk_samples } = fixture.config()?;
    let config = sizes.model();
    let model = from_state_dict(&config, &fixture.weights(), device)?;
    let audio = fixture.input::<3>("x", device)?;
    let latent = fixture.input::<3>("z", device)?;
    let subbands = model.pqmf().analysis(audio.clone());
    let net = &model.encoder.net;
    let offline = net.forward(subbands.clone(), Statistics::Running);
    check.output("offline_latent", offline)?;
    let offline = model.decoder.forward(latent.clone(), None);
    check.output("offline_y_multiband", offline.clone())?;
    let whole_signal = model.pqmf().synthesis(offline.clone());
    let time = whole_signal.dims()[2];
    let last = whole_signal.narrow(2, time - 2048, 2048);
    check.output("offline_synthesis_last2048", last)?;

    for chunk in [chunk_samples, 2 * chunk_samples] {
        let bands = config.bands;
        let parts = || {
            let stream = model.stream(Direction::Both, Alignment::Official)?;
            match stream.into_parts() {
                (Some(encoder), Some(decoder)) => Ok((encoder, decoder)),
                _ => Err(Error::other("a stream in both directions", "has one half")),
            }
        };
        let output = |posterior: menagerie_codec::rave::Posterior| {
            Tensor::cat(vec![posterior.mean, posterior.scale], 1)
        };
        let (mut encoder, mut decoder) = parts()?;
        let encoded = encoder.delay() / config.hop();
        check.output_data("delay.encoder", whole(encoded))?;
        check.output_data("delay.decoder", whole(decoder.delay() / bands))?;
        let filter = model.pqmf().analysis_taps() / 2 / bands;
        check.output_data("delay.pqmf_analysis", whole(filter))?;
        let filter = model.pqmf().synthesis_taps() / 2;
        check.output_data("delay.pqmf_synthesis_subband", whole(filter))?;

        let frames = chunk / bands;
        let latents = blocks(&subbands, frames).map(|block| output(encoder.encode(block)));
        check.output("stream_latent", Tensor::cat(latents.collect(), 2))?;
        let decoded = blocks(&latent, chunk / config.hop()).map(|block| decoder.decode(block));
        check.output("stream_y_multiband", Tensor::cat(decoded.collect(), 2))?;

        let (mut encoder, mut decoder) = parts()?;
        let mut analysed = Vec::new();
        let mut latents = Vec::new();
        for block in blocks(&audio, chunk) {
            let subbands = encoder.analyse(block);
            latents.push(output(encoder.encode(subbands.clone())));
            analysed.push(subbands);
        }
        check.output("encode_chain_stream", Tensor::cat(latents, 2))?;
        let analysed = Tensor::cat(analysed, 2);
        let frames = analysed.dims()[2];
        let last = analysed.clone().narrow(2, frames - 64, 64);
        check.output("stream_analysis_last64", last)?;
        let woven = blocks(&offline, chunk / bands).map(|block| decoder.synthesise(block));
        let woven = Tensor::cat(woven.collect(), 2);
        let last = woven.narrow(2, time - 2048, 2048);
        check.output("stream_synthesis_last2048", last)?;
    }
    Ok(())
}
