//! slab: linear attention, the progressive norm, networks, and what they fold to.

use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_efficient::deit::SoftLabelled;
use menagerie_efficient::slab::{
    AttentionKind, BatchNorm, Classifier, DeitConfig, LinearAttention, Mixer, Mode, Norm,
    NormConfig, NormKind, Order, SlaConfig, StageConfig, StageKind, SwinConfig, loss, weights,
};
use menagerie_hub::{KeyMap, StateDict};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;
use std::collections::BTreeMap;

pub(crate) const CASES: &[Case] = &[
    Case {
        slug: "slab",
        case: "linear_attention",
        run: linear_attention,
    },
    Case {
        slug: "slab",
        case: "prepbn_schedule",
        run: schedule,
    },
    Case {
        slug: "slab",
        case: "slab_deit",
        run: deit,
    },
    Case {
        slug: "slab",
        case: "slab_swin",
        run: swin,
    },
    Case {
        slug: "slab",
        case: "merge_bn",
        run: merge,
    },
];

/// What a file may say besides its sizes.
#[derive(Deserialize)]
struct Details {
    /// Of layer normalisation.
    ln_eps: Option<f64>,
    bn_eps: Option<f64>,
    bn_momentum: Option<f64>,
    /// The weight of layer normalisation at the start of the blend.
    r0: Option<f64>,
    /// Of linear attention.
    eps: Option<f64>,
    /// Side of the depth-wise kernel of linear attention.
    kernel: Option<usize>,
}

impl Details {
    fn norm(&self, kind: NormKind, epsilon: f64) -> NormConfig {
        let norm = NormConfig::new(kind);
        NormConfig {
            epsilon: self.ln_eps.unwrap_or(epsilon),
            batch_epsilon: self.bn_eps.unwrap_or(norm.batch_epsilon),
            momentum: self.bn_momentum.unwrap_or(norm.momentum),
            start: self.r0.unwrap_or(norm.start),
            ..norm
        }
    }

    fn sla(&self) -> SlaConfig {
        let sla = SlaConfig::new();
        SlaConfig {
            kernel: self.kernel.unwrap_or(sla.kernel),
            epsilon: self.eps.unwrap_or(sla.epsilon),
        }
    }
}

/// The ε of layer normalisation of DeiT, and of Swin.
const DEIT_EPSILON: f64 = 1e-6;
const SWIN_EPSILON: f64 = 1e-5;

#[derive(Deserialize)]
struct Attention {
    dim: usize,
    window: usize,
    heads: usize,
}

/// The attention of a network of one block over `window²` patches of one pixel.
fn attention(sizes: &Attention, sla: SlaConfig, device: &Device) -> Result<LinearAttention> {
    let norm = NormConfig::new(NormKind::Layer);
    let network = DeitConfig::new(sizes.window, 1, sizes.dim, 1, sizes.heads, norm)
        .with_sla(sla)
        .init(device)?;
    match network.blocks.into_iter().next().map(|block| block.attn) {
        Some(Mixer::Linear(attention)) => Ok(attention),
        _ => Err(Error::other("building an attention", "it is not linear")),
    }
}

fn linear_attention(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let config: BTreeMap<String, serde_json::Value> = fixture.config()?;
    let sla = fixture.config::<Details>()?.sla();
    for (name, sizes) in config {
        let Ok(sizes) = serde_json::from_value::<Attention>(sizes) else {
            continue;
        };
        let layers = ["qkv", "proj"];
        let map = layers
            .iter()
            .fold(KeyMap::new(), |map, layer| map.linear(layer, layer));
        let weights = fixture.weights().below(&name)?;
        let module = menagerie_hub::load(attention(&sizes, sla, &device)?, &weights, &map)?;
        let x = fixture
            .input::<3>(&format!("x{name}"), &device)?
            .require_grad();
        for order in [Order::KeysFirst, Order::ScoresFirst] {
            let y = module.forward_in_order(x.clone(), order);
            check.output(&format!("y{name}"), y)?;
        }
        let y = module.forward(x.clone());
        check.output(&format!("y{name}"), y.clone())?;
        let loss_name = format!("loss_{name}");
        if check.expects(&loss_name) {
            let loss = y.square().mean();
            check.output(&loss_name, loss.clone())?;
            let grads = loss.backward();
            if let Some(gradient) = x.grad(&grads) {
                check.output(&format!("grad_x{name}"), gradient)?;
            }
            check.gradients_under(&format!("grad/{name}."), &module, &grads, &map)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Schedule {
    dim: usize,
    warm: usize,
    step: usize,
}

/// A norm alone, out of a network of one block.
fn norm(dim: usize, config: &NormConfig, device: &Device) -> Result<Norm> {
    Ok(DeitConfig::new(1, 1, dim, 1, 1, config.clone())
        .init(device)?
        .norm)
}

fn schedule(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Schedule = fixture.config()?;
    let details: Details = fixture.config()?;
    let config = details
        .norm(NormKind::Progressive, DEIT_EPSILON)
        .with_warm(sizes.warm)
        .with_steps(sizes.step);
    let map = weights::norm_key_map(&config, "", "");
    let norm = norm(sizes.dim, &config, device)?;
    let norm = weights::load_into(norm, &fixture.weights(), &map)?;
    let batches = fixture.input::<4>("x", device)?;
    let [steps, ..] = batches.dims();
    let batch = |step: usize| batches.clone().narrow(0, step, 1).squeeze_dim::<3>(0);
    for step in 0..steps {
        check.output(
            &format!("train_{step}"),
            norm.forward(batch(step), Mode::Train),
        )?;
        let (Some(blend), Some(bn)) = (&norm.blend, &norm.bn) else {
            return Err(Error::other("the norm", "it has no blend"));
        };
        check.output_int(&format!("iter_after_{step}"), blend.iter.value_sync().int())?;
        check.output_int(&format!("warm_after_{step}"), blend.warm.value_sync().int())?;
        check.output(
            &format!("running_mean_after_{step}"),
            bn.running_mean.value_sync(),
        )?;
        check.output(
            &format!("running_var_after_{step}"),
            bn.running_var.value_sync(),
        )?;
        if step + 1 == steps {
            check.output_int("num_batches", bn.num_batches_tracked.value_sync().int())?;
        }
    }
    // Of the first batch again, after all of them.
    check.output("eval", norm.forward(batch(0), Mode::Evaluate))
}

#[derive(Deserialize)]
struct Deit {
    dim: usize,
    depth: usize,
    heads: usize,
    mlp: f64,
    classes: usize,
    step: usize,
}

/// The first tokens, as many as are recorded.
fn first(fixture: &Fixture, name: &str, tokens: Tensor<3>) -> Tensor<3> {
    let recorded = fixture
        .expected()
        .find(|(key, _)| *key == format!("out/{name}"))
        .and_then(|(_, data)| data.shape().to_vec().get(1).copied());
    let count = tokens.dims()[1];
    tokens.narrow(1, 0, recorded.unwrap_or(count).min(count))
}

fn deit(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let sizes: Deit = fixture.config()?;
    let images = fixture.input::<4>("x", &device)?;
    let [_, channels, side, _] = images.dims();
    let patch = *fixture
        .param_data("patch_embed.proj.weight")?
        .shape()
        .to_vec()
        .last()
        .unwrap_or(&1);
    let details: Details = fixture.config()?;
    let norm = details
        .norm(NormKind::Progressive, DEIT_EPSILON)
        .with_steps(sizes.step);
    let config = DeitConfig::new(side, patch, sizes.dim, sizes.depth, sizes.heads, norm)
        .with_attention(AttentionKind::Linear)
        .with_sla(details.sla())
        .with_channels(channels)
        .with_mlp_ratio(sizes.mlp)
        .with_classes(sizes.classes);
    let map = weights::deit_key_map(&config);
    let model = weights::load_into(config.init(&device)?, &fixture.weights(), &map)?;

    let (blocks, logits) = model.forward_with_blocks(images.clone(), Mode::Evaluate)?;
    for (index, tokens) in blocks.into_iter().enumerate() {
        let name = format!("eval.block_{index}");
        check.output(&name, first(fixture, &name, tokens))?;
    }
    check.output("eval.logits", logits)?;

    // The statistics move in a training pass: one on a copy of the network for the blocks.
    let copy = weights::load_into(config.init(&device)?, &fixture.weights(), &map)?;
    let (blocks, _) = copy.forward_with_blocks(images.clone(), Mode::Train)?;
    for (index, tokens) in blocks.into_iter().enumerate() {
        let name = format!("train.block_{index}");
        check.output(&name, first(fixture, &name, tokens))?;
    }
    let labels = fixture.input_data("y")?;
    let labels: Vec<usize> = labels.iter::<i64>().map(|label| label as usize).collect();
    let smoothing = 0.0;
    let batch = SoftLabelled::new(images, &labels, config.classes, smoothing)?;
    let (total, logits) = loss(&model, batch, Mode::Train)?;
    check.output("train.logits", logits)?;
    check.output("train.loss", total.clone())?;
    let (Some(blend), Some(bn)) = (&model.norm.blend, &model.norm.bn) else {
        return Err(Error::other("the norm", "it has no blend"));
    };
    check.output_int("train.iter_after", blend.iter.value_sync().int())?;
    statistics(check, bn)?;
    check.gradients(&model, &total.backward(), &map)
}

fn statistics(check: &mut Check, bn: &BatchNorm) -> Result<()> {
    check.output("train.running_mean_norm", bn.running_mean.value_sync())?;
    check.output("train.running_var_norm", bn.running_var.value_sync())
}

/// `LLSS`, or `ML1` for a mixed stage, a linear one, and one linear block in the mixed one.
fn stages(letters: &str, depths: &[usize], heads: &[usize]) -> Result<Vec<StageConfig>> {
    let (kinds, rest) = letters.split_at(letters.len().min(depths.len()));
    let kinds = kinds.chars().zip(depths.iter().zip(heads));
    kinds
        .map(|(kind, (depth, heads))| {
            let kind = match (kind, rest.parse::<usize>()) {
                ('L', _) => StageKind::Linear,
                ('S', _) => StageKind::Softmax,
                ('M', Ok(linear)) => StageKind::Mixed(linear),
                _ => {
                    let rule = "must be L, S, or M with a number after the letters";
                    return Err(Error::input("the attention of the stages", letters, rule));
                }
            };
            Ok(StageConfig::new(*depth, *heads, kind))
        })
        .collect()
}

#[derive(Deserialize)]
struct Swin {
    dim: usize,
    depths: Vec<usize>,
    heads: Vec<usize>,
    window: usize,
    classes: usize,
    attn: Option<String>,
}

/// A Swin of the sizes that images and weights have.
fn swin_config(
    fixture: &Fixture,
    sizes: &Swin,
    kind: NormKind,
    [channels, side]: [usize; 2],
) -> Result<SwinConfig> {
    let shape = |key: &str| fixture.param_data(key).map(|data| data.shape().to_vec());
    let patch = *shape("patch_embed.proj.weight")?.last().unwrap_or(&1);
    let hidden = *shape("layers.0.blocks.0.mlp.fc1.weight")?
        .first()
        .unwrap_or(&1);
    let letters = sizes.attn.clone();
    let letters = letters.unwrap_or_else(|| "S".repeat(sizes.depths.len()));
    let stages = stages(&letters, &sizes.depths, &sizes.heads)?;
    let details: Details = fixture.config()?;
    let norm = details.norm(kind, SWIN_EPSILON);
    Ok(SwinConfig::new(side, sizes.dim, stages, norm)
        .with_sla(details.sla())
        .with_window(sizes.window)
        .with_patch(patch)
        .with_channels(channels)
        .with_classes(sizes.classes)
        .with_mlp_ratio(hidden as f64 / sizes.dim as f64))
}

fn swin(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Swin = fixture.config()?;
    let images = fixture.input::<4>("x", device)?;
    let [_, channels, side, _] = images.dims();
    let config = swin_config(fixture, &sizes, NormKind::Progressive, [channels, side])?;
    // The fixture holds no counters.
    let map = weights::swin_key_map(&config)
        .computed("*.blend.*")
        .computed("*.num_batches_tracked");
    let model = weights::load_into(config.init(device)?, &fixture.weights(), &map)?;
    let (stages, logits) = model.forward_with_blocks(images, Mode::Evaluate)?;
    for (stage, blocks) in stages.into_iter().enumerate() {
        for (block, tokens) in blocks.into_iter().enumerate() {
            let name = format!("layer{stage}_block{block}");
            if check.expects(&name) {
                check.output(&name, tokens)?;
            }
        }
    }
    check.output("logits", logits)
}

fn merge(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Swin = fixture.config()?;
    let images = fixture.input::<4>("x", device)?;
    let [_, channels, side, _] = images.dims();
    let config = swin_config(fixture, &sizes, NormKind::RepBatch, [channels, side])?;
    let map = weights::swin_key_map(&config).computed("*.num_batches_tracked");
    let model = weights::load_into(config.init(device)?, &fixture.weights(), &map)?;
    check.output("logits", model.forward(images.clone())?)?;

    let folded = model.fold()?;
    check.output("logits_merged", folded.forward(images.clone())?)?;
    let merged = weights::state_dict(&folded, &weights::swin_key_map(folded.config()))?;
    let names: Vec<String> = fixture
        .expected()
        .filter_map(|(key, _)| Some(key.strip_prefix("out/merged.")?.to_owned()))
        .collect();
    for name in names {
        let data = merged.get(&name).cloned();
        let data = data.ok_or_else(|| Error::other("folding", format!("no {name}")))?;
        check.output_data(&format!("merged.{name}"), data)?;
    }
    if check.expects("logits_official_merge") {
        check.output(
            "logits_official_merge",
            official_merge(&folded, &fixture.weights(), images)?,
        )?;
    }
    Ok(())
}

/// The released merge, which leaves `α c` out of the patch embedding's bias: `γ (c − μ) / √(σ² + ε) +
/// β` remains.
fn official_merge(
    folded: &menagerie_efficient::slab::SlabSwin,
    weights: &StateDict,
    images: Tensor<4>,
) -> Result<Tensor<2>> {
    let device = images.device();
    let read = |key: &str| -> Result<Tensor<1>> {
        let data = weights.get(key).cloned();
        let data = data.ok_or_else(|| Error::other("the released merge", format!("no {key}")))?;
        Ok(Tensor::from_data(data, &device))
    };
    let forgotten = read("patch_embed.norm.alpha")? * read("patch_embed.proj.bias")?;
    let mut released = folded.clone();
    let bias = released.patch_embed.bias.val() - forgotten;
    released.patch_embed.bias = burn::module::Param::from_tensor(bias);
    released.forward(images)
}
