//! The activations that are learned: of known directions, or of a language model.

use crate::{Context, sae::host::Host};
use anyhow::Context as _;
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_data_text::{Windows, split};
use menagerie_sae::{
    activations::{
        ActivationSource, HookedModel, HostSource, HostSourceConfig, Probe, RowSource, Rows,
    },
    host::{HookPoint, LanguageModel},
    sae::{SparseAutoencoder, metrics, metrics::mean_max_cosine},
    sae_base::{Dictionary, DictionaryConfig},
};
use serde::Serialize;

/// Windows of a language model's text that are measured at a time.
const WINDOWS: usize = 8;

/// Where activations come from.
#[derive(Clone, Debug, Serialize)]
pub enum Data {
    /// Sums of known directions.
    Dictionary {
        config: DictionaryConfig,
        rows: usize,
        held_out: usize,
    },
    /// A language model that reads text; held out is a tenth of the text, of which so many windows
    /// are measured.
    Host {
        host: Host,
        hook: &'static str,
        /// Rows that are mixed in memory.
        buffer: usize,
        held_out_windows: usize,
    },
}

/// What is ready before the first training.
pub enum Prepared {
    Dictionary {
        config: DictionaryConfig,
        rows: usize,
        held_out: usize,
        device: Device,
    },
    Host(Box<HostData>),
}

/// A language model and its text.
pub struct HostData {
    model: LanguageModel,
    name: String,
    hook: HookPoint,
    windows: HostSourceConfig,
    train: Vec<u32>,
    /// `[windows, tokens]`.
    held_out: Tensor<2, Int>,
    buffer: usize,
}

/// What one seed trains on.
pub enum Supply<'a> {
    Known(Box<Known>),
    Host(&'a HostData, Seed),
}

/// Activations of known directions.
pub struct Known {
    rows: Rows,
    dictionary: Dictionary,
    held_out: Tensor<2>,
}

/// What is measured of an autoencoder on held-out activations.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub quality: metrics::Quality,
    /// Mean over the features of the largest cosine with a dictionary vector, where they are known.
    pub mmcs: Option<f64>,
    /// The share of the loss of a zero ablation that the reconstruction recovers in a host.
    pub recovered: Option<f64>,
}

impl Data {
    /// Loads or trains the language model.
    pub fn prepare(&self, context: &Context, seed: Seed) -> anyhow::Result<Prepared> {
        match self {
            Self::Dictionary {
                config,
                rows,
                held_out,
            } => Ok(Prepared::Dictionary {
                config: config.clone(),
                rows: *rows,
                held_out: *held_out,
                device: context.device.clone(),
            }),
            Self::Host {
                host,
                hook,
                buffer,
                held_out_windows,
            } => {
                let text = host.load(context, seed.stream("host"))?;
                let data = HostData::new(
                    format!("{host:?}"),
                    text,
                    hook,
                    *held_out_windows,
                    *buffer,
                    seed,
                    &context.device,
                )?;
                Ok(Prepared::Host(Box::new(data)))
            }
        }
    }
}

impl Prepared {
    /// Width of an activation.
    pub fn width(&self) -> Result<usize> {
        Ok(match self {
            Self::Dictionary { config, .. } => config.d,
            Self::Host(host) => host.probe()?.width(),
        })
    }

    /// The activations of a seed.
    pub fn supply(&self, seed: Seed) -> anyhow::Result<Supply<'_>> {
        match self {
            Self::Dictionary {
                config,
                rows,
                held_out,
                device,
            } => {
                let dictionary = config.init(seed, device)?;
                Ok(Supply::Known(Box::new(Known {
                    rows: Rows::from_tensor(dictionary.sample(*rows, seed.stream("train")))?,
                    held_out: dictionary.sample(*held_out, seed.stream("held out")),
                    dictionary,
                })))
            }
            Self::Host(host) => Ok(Supply::Host(host, seed)),
        }
    }
}

impl Supply<'_> {
    /// The activations in an order of their own, `block` at a time, at least `total` of them; and
    /// the rows that a buffer should mix.
    pub fn source(
        &self,
        block: usize,
        total: usize,
    ) -> Result<(Box<dyn ActivationSource + '_>, usize)> {
        match self {
            Self::Known(known) => {
                let rows = &known.rows;
                let passes = total.div_ceil(rows.len()) + 1;
                let source = RowSource::new(rows.clone(), block, passes)?;
                Ok((Box::new(source), rows.len()))
            }
            Self::Host(host, seed) => {
                let tokens = host.train.clone();
                let seed = seed.stream("windows");
                let source = HostSource::new(host.probe()?, tokens, &host.windows, seed)?;
                Ok((Box::new(source), host.buffer))
            }
        }
    }

    /// The first activations `[at most rows, d]`.
    pub fn first(&self, rows: usize, device: &Device) -> anyhow::Result<Tensor<2>> {
        let (mut source, _) = self.source(rows, rows)?;
        let first = source.next()?.context("no activation")?;
        let x = first.into_batch(device).x;
        let count = x.dims()[0].min(rows);
        Ok(x.narrow(0, 0, count))
    }

    /// Measures `sae` on what was held out.
    pub fn measure(&self, sae: &SparseAutoencoder) -> Result<Measured> {
        match self {
            Self::Known(known) => Ok(Measured {
                quality: metrics::quality(sae, known.held_out.clone(), 4_096)?,
                mmcs: Some(mean_max_cosine(
                    known.dictionary.features.clone(),
                    sae.decoder.val(),
                )?),
                recovered: None,
            }),
            Self::Host(host, _) => host.measure(sae),
        }
    }
}

impl HostData {
    /// A model, its tokens and the length of a window; a tenth of the tokens is held out, of which
    /// so many windows are measured.
    pub fn new(
        name: String,
        (model, tokens, length): (LanguageModel, Vec<u32>, usize),
        hook: &str,
        held_out_windows: usize,
        buffer: usize,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let hook = HookPoint::parse(hook, model.config())?;
        let (train, held_out) = split(&tokens, 0.1)?;
        let batch =
            Windows::new(held_out, length)?.random(held_out_windows, seed.stream("evaluation"));
        let held_out = TensorData::new(batch.inputs, [batch.rows, batch.length]);
        // The first position has an activation of its own kind.
        let windows = HostSourceConfig::new(length, 32)
            .with_epochs(usize::MAX >> 32)
            .with_drop_first(1);
        Ok(Self {
            model,
            name,
            hook,
            windows,
            train,
            held_out: Tensor::from_data(held_out, device),
            buffer,
        })
    }

    fn probe(&self) -> Result<HookedModel> {
        HookedModel::new(&self.model, self.name.clone(), self.hook)
    }

    fn measure(&self, sae: &SparseAutoencoder) -> Result<Measured> {
        let mut meter = metrics::QualityMeter::default();
        let mut recovered = Vec::new();
        for tokens in self.held_out.clone().split(WINDOWS, 0) {
            let splice = metrics::splice(&self.model, &self.hook, tokens, |x| {
                let [windows, length, width] = x.dims();
                // The first position keeps its activation, as in training.
                let rows = x.clone().narrow(1, 1, length - 1);
                let rows = rows.reshape([windows * (length - 1), width]);
                let output = sae.forward(rows.clone())?;
                meter.add(rows, &output.codes, output.reconstruction.clone())?;
                let rest = output.reconstruction.reshape([windows, length - 1, width]);
                Ok(Tensor::cat(vec![x.narrow(1, 0, 1), rest], 1))
            })?;
            recovered.push(splice.recovered_from_zero());
        }
        Ok(Measured {
            quality: meter.quality()?,
            mmcs: None,
            recovered: Some(recovered.iter().sum::<f64>() / recovered.len() as f64),
        })
    }
}
