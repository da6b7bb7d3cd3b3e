//! Encoding and decoding while the signal comes in.

use super::bottleneck::draw_augmentation;
use super::cached::{Alignment, CachedConv1d, CachedNetwork, Delay, Progress, Silence, chain};
use super::config::{RaveConfig, Version};
use super::decoder::{Branches, repeat};
use super::encoder::{Encoder, Posterior};
use super::layers::{Conv1d, Geometry};
use super::model::Rave;
use super::noise::{NoiseFilter, draw_frames};
use super::pqmf::Pqmf;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};

/// Which part of the model a stream runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Audio to latent frames, their means.
    Encode,
    /// Latent frames to audio.
    Decode,
    /// Audio to audio.
    Both,
}

/// A model at work on a signal in blocks.
///
/// The blocks may have any length that is a multiple of the hop; how a signal is cut does not change
/// the result. A stream is equal to the offline output ([`Rave::encode`], [`Rave::decode`]), late by
/// [`delay`](Self::delay): with [`Alignment::Exact`] from the start of the signal on, with
/// [`Alignment::Official`] (V1) after a transient at the start, because zeros of padding are not what
/// the layers answer to silence. The official chain from audio to latent frames and the official
/// signs of the sub-bands take no notice of delays that came before, so that there it is not the
/// offline output of the same audio, but of audio that is late by one hop or less.
#[derive(Debug)]
pub struct Stream {
    direction: Direction,
    config: RaveConfig,
    device: Device,
    encoder: Option<EncoderStream>,
    decoder: Option<DecoderStream>,
    delay: usize,
}

/// The encoder's half of a [`Stream`], on tensors `[1, channels, time]`.
#[derive(Debug)]
pub struct EncoderStream {
    pqmf: Pqmf,
    analysis: Option<CachedConv1d>,
    net: CachedNetwork,
    /// For its bottleneck.
    encoder: Encoder,
    silence: Silence,
    delay: usize,
    /// Sub-band frames that came so far, and those by which they are late as far as signs go.
    frames: usize,
    phase: usize,
}

/// The decoder's half of a [`Stream`], on tensors `[1, channels, time]`.
#[derive(Debug)]
pub struct DecoderStream {
    config: RaveConfig,
    pqmf: Pqmf,
    net: CachedNetwork,
    waveform: Branch,
    loudness: Option<Branch>,
    noise: Option<NoiseStream>,
    synthesis: Option<CachedConv1d>,
    /// Noise beside the latent frames, those that came so far, and those by which they are late.
    augmentation: Option<Seed>,
    latents: usize,
    late: usize,
    delay: usize,
    /// Frames by which the sub-bands are late, as far as their signs are concerned.
    phase: usize,
    /// Sub-band frames that came so far.
    frames: usize,
}

/// A branch and what brings it into step with the others: a delay before it, as in the released
/// code, or after it.
#[derive(Debug)]
struct Branch {
    before: Delay,
    conv: CachedConv1d,
    after: Delay,
}

#[derive(Debug)]
struct NoiseStream {
    before: Delay,
    filter: NoiseFilter,
    convs: Vec<CachedConv1d>,
    after: Delay,
    seed: Seed,
    /// Frames of noise that came so far, and those by which they are late.
    frames: usize,
    late: usize,
}

impl Rave {
    /// A stream before its first block, on the device of the weights, without noise.
    ///
    /// # Errors
    /// [`Error::Input`] if the weights are on several devices.
    pub fn stream(&self, direction: Direction, alignment: Alignment) -> Result<Stream> {
        self.stream_with(direction, alignment, None)
    }

    /// [`stream`](Self::stream) with the noise branch and noise augmentation at work, their noise
    /// decided by the seed: the same as [`draw_noise`](Self::draw_noise) and
    /// [`draw_augmentation`] have for the whole signal.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub fn stream_with(
        &self,
        direction: Direction,
        alignment: Alignment,
        noise: Option<Seed>,
    ) -> Result<Stream> {
        let devices = self.devices();
        let [device] = devices.as_slice() else {
            let rule = "must be one";
            return Err(Error::input("the devices of a model", devices.len(), rule));
        };
        let device = device.clone().without_autodiff();
        let config = self.config();
        let start = |rate| Progress {
            alignment,
            // The released code of V2 does not hand its count on.
            counts: config.version == Version::V1,
            counted: 0,
            lag: 0,
            rate,
        };
        let (mut encoder, mut lag) = (None, 0);
        if direction != Direction::Decode {
            let (stream, progress) = EncoderStream::new(self, start(1), &device)?;
            encoder = Some(stream);
            lag = progress.lag;
        }
        let mut decoder = None;
        if direction != Direction::Encode {
            let mut progress = start(config.hop());
            progress.lag = lag;
            let (stream, after) = DecoderStream::new(self, progress, noise, &device)?;
            decoder = Some(stream);
            lag = after.lag;
        }
        Ok(Stream {
            direction,
            config: config.clone(),
            device,
            encoder,
            decoder,
            delay: lag,
        })
    }
}

impl Stream {
    /// Its two halves, for signals that are tensors already.
    pub fn into_parts(self) -> (Option<EncoderStream>, Option<DecoderStream>) {
        (self.encoder, self.decoder)
    }

    /// Samples by which the output is late against the offline output. Latent frames are late by
    /// this many divided by the hop; in the official alignment this need not be a whole number.
    pub fn delay(&self) -> usize {
        self.delay
    }

    /// Numbers that a block must have a multiple of: the hop, or, to decode, those of a latent
    /// frame.
    pub fn granularity(&self) -> usize {
        match self.direction {
            Direction::Decode => self.config.latent,
            _ => self.config.hop(),
        }
    }

    /// The output for the next block. Audio is mono at the configured rate; latent frames stand one
    /// after the other, [`latent`](RaveConfig::latent) numbers each. An empty block gives an empty
    /// output.
    ///
    /// # Errors
    /// [`Error::Input`] for a block whose length is no multiple of
    /// [`granularity`](Self::granularity), or that holds a number that is not finite; the stream is
    /// as before then.
    pub fn push(&mut self, block: &[f32]) -> Result<Vec<f32>> {
        let unit = self.granularity();
        if !block.len().is_multiple_of(unit) {
            let rule = match self.direction {
                Direction::Decode => format!("must be a multiple of the latent size, {unit}"),
                _ => format!("must be a multiple of the hop, {unit} samples"),
            };
            return Err(Error::input("the length of a block", block.len(), rule));
        }
        if let Some(at) = block.iter().position(|value| !value.is_finite()) {
            let rule = format!("must be finite, at position {at} of the block");
            return Err(Error::input("a sample", block[at], rule));
        }
        if block.is_empty() {
            return Ok(Vec::new());
        }
        let count = block.len() / unit;
        let latent = match &mut self.encoder {
            Some(encoder) => {
                let audio = TensorData::new(block.to_vec(), [1, 1, block.len()]);
                let audio = Tensor::from_data(audio, &self.device);
                let subbands = encoder.analyse(audio);
                encoder.latent(subbands)
            }
            None => {
                let frames = TensorData::new(block.to_vec(), [1, count, unit]);
                Tensor::<3>::from_data(frames, &self.device).swap_dims(1, 2)
            }
        };
        let output = match &mut self.decoder {
            Some(decoder) => {
                let subbands = decoder.decode(latent);
                decoder.synthesise(subbands)
            }
            None => latent.swap_dims(1, 2),
        };
        output
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::other("reading a block", error))
    }

    /// Forgets the signal so far.
    pub fn reset(&mut self) {
        if let Some(encoder) = &mut self.encoder {
            encoder.reset();
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.reset();
        }
    }
}

impl EncoderStream {
    fn new(model: &Rave, progress: Progress, device: &Device) -> Result<(Self, Progress)> {
        let pqmf = model.pqmf().clone();
        let (analysis, progress) = analysis(&pqmf, progress, device)?;
        let (phase, late) = (progress.silence(), progress.lag);
        // The released code builds the encoder as if its input were in time.
        let progress = Progress {
            counted: 0,
            ..progress
        };
        let (net, progress) = CachedNetwork::new(&model.encoder.net, progress);
        let stream = Self {
            pqmf,
            analysis,
            net,
            encoder: model.encoder.clone(),
            silence: Silence::new(progress.silence()),
            delay: progress.lag - late,
            frames: 0,
            phase,
        };
        Ok((stream, progress))
    }

    /// Samples by which the latent frames are late against the sub-bands.
    pub fn delay(&self) -> usize {
        self.delay
    }

    /// Audio `[1, 1, time]` to sub-bands `[1, bands, time / bands]`.
    ///
    /// # Panics
    /// If the shape is another, or the time no multiple of the hop.
    pub fn analyse(&mut self, audio: Tensor<3>) -> Tensor<3> {
        let Some(analysis) = &mut self.analysis else {
            return audio;
        };
        let subbands = analysis.push(audio);
        let first = self.frames + self.phase;
        self.frames += subbands.dims()[2];
        self.pqmf.alternate(subbands, first)
    }

    /// Sub-bands `[1, bands, time]` to the latent signal `[1, latent, time / R]`, as
    /// [`Rave::encode`] gives it.
    ///
    /// # Panics
    /// If the shape is another, or the time no multiple of R.
    pub fn latent(&mut self, subbands: Tensor<3>) -> Tensor<3> {
        let output = self.net.push(subbands);
        // Codes of silence are not silent.
        self.silence.apply(self.encoder.settle(output))
    }

    /// Sub-bands `[1, bands, time]` to the posterior `[1, latent, time / R]`, for a variational
    /// bottleneck.
    ///
    /// # Panics
    /// If the shape is another, or the time no multiple of R.
    pub fn encode(&mut self, subbands: Tensor<3>) -> Posterior {
        Posterior::from_output(self.net.push(subbands))
    }

    fn reset(&mut self) {
        if let Some(analysis) = &mut self.analysis {
            analysis.reset();
        }
        self.net.reset();
        self.silence.reset();
        self.frames = 0;
    }
}

/// The filter bank's analysis, which is late by half its filters' length; `None` for one band.
fn analysis(
    pqmf: &Pqmf,
    progress: Progress,
    device: &Device,
) -> Result<(Option<CachedConv1d>, Progress)> {
    if pqmf.bands() == 1 {
        return Ok((None, progress));
    }
    let taps = pqmf.analysis_taps();
    let geometry = Geometry::new(taps, [taps / 2; 2]).strided(pqmf.bands());
    let conv = Conv1d::from_weight(pqmf.analysis_kernel(device), None, geometry)?;
    let (conv, progress) = CachedConv1d::after(&conv, None, progress);
    Ok((Some(conv), progress))
}

/// The filter bank's synthesis by polyphase components; `None` for one band.
fn synthesis(
    pqmf: &Pqmf,
    progress: Progress,
    device: &Device,
) -> Result<(Option<CachedConv1d>, Progress)> {
    if pqmf.bands() == 1 {
        return Ok((None, progress));
    }
    let taps = pqmf.synthesis_taps();
    let geometry = Geometry::new(taps, [taps / 2; 2]);
    let conv = Conv1d::from_weight(pqmf.synthesis_kernel(device), None, geometry)?;
    let (conv, progress) = CachedConv1d::after(&conv, None, progress);
    Ok((Some(conv), progress))
}

impl DecoderStream {
    fn new(
        model: &Rave,
        progress: Progress,
        noise: Option<Seed>,
        device: &Device,
    ) -> Result<(Self, Progress)> {
        let config = model.config().clone();
        let late = progress.lag;
        let (augmentation, unheard) = (noise, progress.silence());
        let decoder = &model.decoder;
        let exact = progress.alignment == Alignment::Exact;
        let (net, hidden) = CachedNetwork::new(&decoder.net, progress);
        // The released code counts each branch from 0 and the largest on top of what came before.
        let start = if exact {
            hidden
        } else {
            Progress {
                counted: 0,
                ..hidden
            }
        };
        let (waveform, mut ends) = {
            let (conv, end) = CachedConv1d::after(&decoder.waveform, None, start);
            (conv, vec![end.lag])
        };
        let loudness = decoder.loudness.as_ref().map(|conv| {
            let (conv, end) = CachedConv1d::after(conv, None, start);
            ends.push(end.lag);
            conv
        });
        let noise_chain = decoder.noise.as_ref().map(|filter| {
            let (convs, end) = chain(&filter.convs, start);
            ends.push(end.lag);
            (filter.clone(), convs, end)
        });
        let last = ends.iter().copied().max().unwrap_or(hidden.lag);
        let rate = hidden.rate;
        // The released code of V2 does not bring its branches into step.
        let aligned = exact || config.version == Version::V1;
        let waits = |end: usize| {
            let wait = if aligned { (last - end) / rate } else { 0 };
            match exact {
                true => (Delay::new(0), Delay::new(wait)),
                false => (Delay::new(wait), Delay::new(0)),
            }
        };
        let mut ends = ends.into_iter();
        let branch = |conv: CachedConv1d, end: Option<usize>| {
            let (before, after) = waits(end.unwrap_or(last));
            Branch {
                before,
                conv,
                after,
            }
        };
        let waveform = branch(waveform, ends.next());
        let loudness = loudness.map(|conv| branch(conv, ends.next()));
        let noise = noise_chain.and_then(|(filter, convs, end)| {
            let (before, after) = waits(ends.next().unwrap_or(last));
            let seed = noise?;
            Some(NoiseStream {
                before,
                late: end.silence(),
                filter,
                convs,
                after,
                seed: seed.at(0),
                frames: 0,
            })
        });
        let mixed = match aligned {
            true => Progress {
                lag: last,
                ..hidden
            },
            false => Progress {
                lag: waveform_lag(&decoder.waveform, hidden),
                ..hidden
            },
        };
        let pqmf = model.pqmf().clone();
        let phase = if exact { mixed.lag / rate } else { 0 };
        let (synthesis, progress) = synthesis(&pqmf, mixed, device)?;
        let stream = Self {
            config,
            pqmf,
            net,
            waveform,
            loudness,
            noise,
            synthesis,
            augmentation,
            latents: 0,
            late: unheard,
            delay: mixed.lag - late,
            phase,
            frames: 0,
        };
        Ok((stream, progress))
    }

    /// Samples by which the sub-bands are late against the latent frames.
    pub fn delay(&self) -> usize {
        self.delay
    }

    /// Latent frames `[1, latent, frames]` to sub-bands `[1, bands, R · frames]`.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn decode(&mut self, latent: Tensor<3>) -> Tensor<3> {
        let latent = self.augmented(latent);
        let hidden = self.net.push(latent);
        let waveform = self.waveform.push(hidden.clone());
        let loudness = self.loudness.as_mut().map(|branch| {
            let stride = branch.conv.stride();
            let x = branch.before.push(hidden.clone());
            let x = repeat(branch.conv.push(x), stride);
            branch.after.push(x)
        });
        let noise = self
            .noise
            .as_mut()
            .map(|noise| noise.push(hidden.clone(), &self.config));
        let branches = Branches {
            hidden,
            waveform,
            loudness,
            noise,
        };
        branches.mix()
    }

    /// Noise beside the latent frames: zeros without a seed, and what stands there already is kept.
    fn augmented(&mut self, latent: Tensor<3>) -> Tensor<3> {
        let [_, channels, frames] = latent.dims();
        let missing = self.config.decoder_channels().saturating_sub(channels);
        let first = self.latents as isize - self.late as isize;
        self.latents += frames;
        if missing == 0 {
            return latent;
        }
        let device = latent.device();
        let noise = self
            .augmentation
            .and_then(|seed| draw_augmentation(&self.config, 1, first, frames, seed, &device));
        let noise = noise.unwrap_or_else(|| Tensor::zeros([1, missing, frames], &device));
        Tensor::cat(vec![latent, noise], 1)
    }

    /// Sub-bands `[1, bands, time]` to audio `[1, 1, bands · time]`.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn synthesise(&mut self, subbands: Tensor<3>) -> Tensor<3> {
        let Some(conv) = &mut self.synthesis else {
            return subbands;
        };
        let first = self.frames + self.phase;
        self.frames += subbands.dims()[2];
        let signed = self.pqmf.alternate(subbands, first);
        self.pqmf.weave(conv.push(signed))
    }

    fn reset(&mut self) {
        self.net.reset();
        self.waveform.reset();
        if let Some(branch) = &mut self.loudness {
            branch.reset();
        }
        if let Some(noise) = &mut self.noise {
            noise.before.reset();
            noise.convs.iter_mut().for_each(CachedConv1d::reset);
            noise.after.reset();
            noise.frames = 0;
        }
        if let Some(synthesis) = &mut self.synthesis {
            synthesis.reset();
        }
        self.frames = 0;
        self.latents = 0;
    }
}

fn waveform_lag(conv: &Conv1d, hidden: Progress) -> usize {
    CachedConv1d::after(conv, None, hidden).1.lag
}

impl Branch {
    fn push(&mut self, x: Tensor<3>) -> Tensor<3> {
        let x = self.before.push(x);
        let x = self.conv.push(x);
        self.after.push(x)
    }

    fn reset(&mut self) {
        self.before.reset();
        self.conv.reset();
        self.after.reset();
    }
}

impl NoiseStream {
    fn push(&mut self, hidden: Tensor<3>, config: &RaveConfig) -> Tensor<3> {
        let x = self.before.push(hidden);
        let response = self.convs.iter_mut().fold(x, |x, conv| conv.push(x));
        let frames = response.dims()[2];
        let first = self.frames as isize - self.late as isize;
        let sizes = self.filter.config();
        let range = first..first + frames as isize;
        let values = draw_frames(config, sizes, range, self.seed);
        let shape = [1, frames, config.bands, sizes.frame()];
        let noise = Tensor::from_data(TensorData::new(values, shape), &response.device());
        self.frames += frames;
        self.after.push(self.filter.filter(response, noise))
    }
}
