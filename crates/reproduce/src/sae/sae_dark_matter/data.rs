//! The activations of a host at the analysed site and at those before it.

use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Error, Result};
use menagerie_data_text::{Batch, Windows};
use menagerie_sae::{
    host::{HookPoint, Hooks, LanguageModel, TokenBatch, cross_entropy},
    sae_dark_matter::AnalysisConfig,
};

/// Rows of activations with what is known of their tokens.
pub(super) struct Data {
    /// At the analysed site `[rows, width]`, scaled to a mean squared norm of 1
    /// where that was asked for.
    pub x: Tensor<2>,
    /// What x was divided by.
    pub scale: f64,
    /// At the other sites, each scaled likewise, in the order of [`Site`].
    pub sites: Vec<Tensor<2>>,
    /// The token of each row.
    pub tokens: Vec<i64>,
    /// The loss of the host on it, in nats `[rows, 1]`.
    pub losses: Tensor<2>,
    /// Batches of windows after those of the rows, for injection `[windows, tokens]`.
    pub unseen: Vec<Tensor<2, Int>>,
    /// The tokens after those.
    pub unread: Vec<u32>,
}

/// Where the other activations come from: what the analysed residual stream is the sum of.
pub(super) struct Sites {
    pub analysed: HookPoint,
    pub others: Vec<(&'static str, HookPoint)>,
}

impl Sites {
    /// The stream before block `layer`, that of a layer earlier, and what block `layer - 1` adds.
    pub fn before(layer: usize, host: &LanguageModel) -> Result<Self> {
        let config = host.config();
        let Some(block) = layer.checked_sub(1) else {
            let rule = "must be at least 1, for a layer before it";
            return Err(Error::input("the analysed layer", layer, rule));
        };
        let hook =
            |layer: usize, site: &str| HookPoint::parse(&format!("blocks.{layer}.{site}"), config);
        Ok(Self {
            analysed: hook(layer, "hook_resid_pre")?,
            others: vec![
                ("previous residual", hook(block, "hook_resid_pre")?),
                ("MLP output", hook(block, "hook_mlp_out")?),
                ("attention z", hook(block, "attn.hook_z")?),
            ],
        })
    }
}

/// What is collected, and how.
pub(super) struct Collection<'a> {
    pub analysis: &'a AnalysisConfig,
    pub sites: &'a Sites,
    /// Windows that go through the host at a time.
    pub batch: usize,
    pub unseen_batches: usize,
    /// Whether the rows of each site are scaled to a mean squared norm of 1.
    pub scaled: bool,
}

impl Collection<'_> {
    /// Runs the host over the first windows of `windows`.
    pub fn run(&self, host: &LanguageModel, windows: &Windows, device: &Device) -> Result<Data> {
        let Self {
            analysis,
            sites,
            batch,
            unseen_batches,
            scaled,
        } = *self;
        analysis.validate()?;
        if analysis.skip_first == 0 {
            let rule = "must be at least 1: the first token has no loss";
            return Err(Error::config("AnalysisConfig", "skip_first", 0, rule));
        }
        let (first, last) = (
            analysis.skip_first,
            analysis.context_length - analysis.skip_last,
        );
        let hooks: Vec<HookPoint> = std::iter::once(sites.analysed)
            .chain(sites.others.iter().map(|(_, hook)| *hook))
            .collect();
        let mut parts: Vec<Vec<Tensor<2>>> = hooks.iter().map(|_| Vec::new()).collect();
        let (mut losses, mut tokens) = (Vec::new(), Vec::new());
        let mut window = 0;
        while window < analysis.contexts {
            let count = batch.min(analysis.contexts - window);
            let cut = windows.sequential(window, count)?;
            window += count;
            for row in cut.inputs.chunks_exact(cut.length) {
                tokens.extend_from_slice(&row[first..last]);
            }
            let inputs = inputs(cut, device);
            let mut reading = hooks
                .iter()
                .fold(Hooks::new(), |all, hook| all.reading(*hook));
            let logits = host.run(inputs.clone(), &mut reading)?;
            for (part, hook) in parts.iter_mut().zip(&hooks) {
                part.push(rows(reading.take(hook)?, first, last));
            }
            if let Some(logits) = logits {
                // The loss of position p stands at p - 1.
                let loss = cross_entropy(logits, inputs);
                losses.push(rows(loss.unsqueeze_dim(2), first - 1, last - 1));
            }
        }
        let mut unseen = Vec::new();
        for part in 0..unseen_batches {
            let cut = windows.sequential(window + part * batch, batch)?;
            unseen.push(inputs(cut, device));
        }
        let mut found = Vec::new();
        for part in parts {
            let x = Tensor::cat(part, 0);
            found.push(match scaled {
                true => unit_mean_square(x)?,
                false => (x, 1.0),
            });
        }
        let (x, scale) = found.remove(0);
        Ok(Data {
            x,
            scale,
            sites: found.into_iter().map(|(x, _)| x).collect(),
            tokens,
            losses: Tensor::cat(losses, 0),
            unseen,
            unread: Vec::new(),
        })
    }
}

fn inputs(cut: Batch, device: &Device) -> Tensor<2, Int> {
    TokenBatch::new(cut, device).inputs
}

/// Positions `first..last` of `[windows, tokens, width]`, as rows.
fn rows(x: Tensor<3>, first: usize, last: usize) -> Tensor<2> {
    let x = x.narrow(1, first, last - first);
    let [windows, tokens, width] = x.dims();
    x.reshape([windows * tokens, width])
}

/// `x` divided by √(mean ‖x‖²), and that number.
pub(super) fn unit_mean_square(x: Tensor<2>) -> Result<(Tensor<2>, f64)> {
    let mean = x.clone().square().sum_dim(1).mean();
    let mean = mean
        .try_into_scalar::<f64>()
        .map_err(|error| Error::other("reading a mean", error))?;
    let scale = mean.sqrt();
    Ok((x / scale, scale))
}
