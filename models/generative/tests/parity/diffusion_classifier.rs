//! The U-Net with its losses, the heads, the schedules.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_generative::diffusion_classifier::{
    AttentionHeadConfig, Denoiser, Features, Head, HeadNorm, Heads, LabelledFeatures,
    LinearHeadConfig, NoisyImages, QkvOrder, UNetConfig, linear_cka, weights,
};
use menagerie_nn::diffusion::{
    Diffusion, NoiseSchedule, Objective, Reverse, Variance, timestep_embedding,
};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;
use std::collections::BTreeMap;

pub const CASES: &[Case] = &[
    Case {
        slug: "diffusion-classifier",
        case: "adm_features",
        run: adm_features,
    },
    Case {
        slug: "diffusion-classifier",
        case: "heads",
        run: heads,
    },
    Case {
        slug: "diffusion-classifier",
        case: "schedule_and_cka",
        run: schedule_and_cka,
    },
];

#[derive(Deserialize)]
struct Network {
    norm_groups: usize,
    unet: Unet,
    timesteps: usize,
    noise_schedule: String,
    learn_sigma: bool,
    #[serde(default)]
    rescale_learned_sigmas: bool,
    blocks: Vec<usize>,
    num_blocks: usize,
    input_blocks: usize,
}

#[derive(Deserialize)]
struct Unet {
    image_size: usize,
    in_channels: usize,
    model_channels: usize,
    out_channels: usize,
    num_res_blocks: usize,
    attention_resolutions: Vec<usize>,
    channel_mult: Vec<usize>,
    num_heads: Option<usize>,
    num_head_channels: Option<i64>,
    #[serde(default)]
    use_scale_shift_norm: bool,
    #[serde(default)]
    resblock_updown: bool,
    #[serde(default)]
    use_new_attention_order: bool,
}

impl Network {
    fn config(&self) -> UNetConfig {
        let unet = &self.unet;
        // −1 stands for a number of heads instead.
        let width = unet.num_head_channels.unwrap_or(-1);
        let heads = match usize::try_from(width) {
            Ok(width) => Heads::Width(width),
            Err(_) => Heads::Count(unet.num_heads.unwrap_or(1)),
        };
        let order = match unet.use_new_attention_order {
            true => QkvOrder::Separate,
            false => QkvOrder::Legacy,
        };
        UNetConfig {
            attention_factors: unet.attention_resolutions.clone(),
            heads,
            qkv_order: order,
            scale_shift_norm: unet.use_scale_shift_norm,
            resblock_updown: unet.resblock_updown,
            norm_groups: self.norm_groups,
            ..UNetConfig::new(
                unet.image_size,
                unet.in_channels,
                unet.out_channels,
                unet.model_channels,
                unet.num_res_blocks,
                unet.channel_mult.clone(),
            )
        }
    }
}

fn process(name: &str, steps: usize) -> Result<Diffusion> {
    match name {
        "linear" => NoiseSchedule::Linear.diffusion(steps),
        "cosine" => NoiseSchedule::Cosine.diffusion(steps),
        other => Err(Error::input("the noise schedule", other, "is not known")),
    }
}

fn timesteps(fixture: &Fixture) -> Result<Vec<usize>> {
    let steps = fixture.input_data("t")?.iter::<i64>();
    Ok(steps.map(|step| step as usize).collect())
}

fn adm_features(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let network: Network = fixture.config()?;
    let config = network.config();
    if [config.input_blocks(), config.blocks()] != [network.input_blocks, network.num_blocks] {
        let found = [config.input_blocks(), config.blocks()];
        let rule = format!(
            "must be {} and {}",
            network.input_blocks, network.num_blocks
        );
        return Err(Error::input("the numbers of blocks", found, rule));
    }
    let tracked = device.clone().autodiff();
    let map = weights::unet_key_map();
    let unet = fixture.load(config.init(&tracked)?, &map)?;
    let diffusion = process(&network.noise_schedule, network.timesteps)?;
    let t = timesteps(fixture)?;
    let input = |name| fixture.input::<4>(name, &tracked);
    let (images, noise) = (input("x")?, input("noise")?);
    let embedding = timestep_embedding(&t, config.model_channels, device);
    check.output("temb", embedding)?;
    let x_t = diffusion.q_sample(images.clone(), &t, noise.clone())?;
    check.output("x_t", x_t.clone())?;
    check.output("unet_out", unet.forward(x_t.clone(), &t)?)?;
    for (block, map) in unet.features(x_t, &t, &network.blocks)? {
        check.output(&format!("block_{block:02}"), map)?;
    }
    let variance = match network.learn_sigma {
        true => Variance::Learned,
        false => Variance::Large,
    };
    let objective = Objective::new()
        .with_reverse(Reverse::new().with_variance(variance))
        .with_rescale(network.rescale_learned_sigmas);
    let denoiser = Denoiser::new(unet, diffusion, objective)?;
    let losses = denoiser.loss(NoisyImages {
        images,
        noise,
        timesteps: t,
    })?;
    check.output("mse", losses.mse)?;
    if let Some(bound) = losses.bound {
        check.output("vb", bound)?;
    }
    check.output("loss_per_sample", losses.total.clone())?;
    let loss = losses.total.mean();
    check.output("loss", loss.clone())?;
    check.gradients(&denoiser.unet, &loss.backward(), &map)
}

#[derive(Deserialize)]
struct HeadSizes {
    blocks: Vec<usize>,
    t_list: Vec<usize>,
    dims: BTreeMap<String, usize>,
    sizes: BTreeMap<String, usize>,
    pool_linear: usize,
    pool_attention: usize,
    head_arc_mlp: String,
    fusion_arc: String,
    norm_type: String,
    num_classes: usize,
}

impl HeadSizes {
    /// Number, channels and side of a block's map.
    fn map(&self, block: usize) -> Result<[usize; 3]> {
        let key = block.to_string();
        match (self.dims.get(&key), self.sizes.get(&key)) {
            (Some(&channels), Some(&side)) => Ok([block, channels, side]),
            _ => Err(Error::input("a block", block, "must have dims and sizes")),
        }
    }

    fn linear(&self, hidden: &str) -> Result<LinearHeadConfig> {
        let [_, channels, _] = self.map(self.blocks[0])?;
        let hidden = hidden.split('_').filter(|width| !width.is_empty());
        let hidden: std::result::Result<Vec<usize>, _> = hidden.map(str::parse).collect();
        let hidden = hidden.map_err(|error| Error::other("reading head_arc_mlp", error))?;
        let config = LinearHeadConfig::new(channels, self.pool_linear, self.num_classes);
        Ok(config.with_hidden(hidden))
    }

    fn attention(&self) -> Result<AttentionHeadConfig> {
        let maps: Result<Vec<_>> = self.blocks.iter().map(|&block| self.map(block)).collect();
        let norm = match self.norm_type.as_str() {
            "batch" => HeadNorm::Batch,
            _ => HeadNorm::Layer,
        };
        AttentionHeadConfig::new(maps?, self.t_list.len(), self.num_classes)
            .with_pool(self.pool_attention)
            .with_norm(norm)
            .with_layers(&self.fusion_arc)
    }
}

fn heads(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: HeadSizes = fixture.config()?;
    let tracked = device.clone().autodiff();
    let mut maps = Vec::new();
    for t in 0..sizes.t_list.len() {
        let map = |block| fixture.input::<4>(&format!("feat_t{t}_b{block}"), &tracked);
        maps.push(sizes.blocks.iter().map(map).collect::<Result<Vec<_>>>()?);
    }
    let first = maps[0][0].clone();
    for (name, hidden) in [("linear", ""), ("mlp", sizes.head_arc_mlp.as_str())] {
        let head = sizes.linear(hidden)?.init(&tracked)?;
        let official = fixture.weights().below(name)?;
        let head = menagerie_hub::load(head, &official, &weights::linear_key_map())?;
        check.output(&format!("logits_{name}"), head.forward(first.clone())?)?;
        if name == "linear" {
            check.output("pooled_first", head.pool(first.clone())?)?;
        }
    }
    let config = sizes.attention()?;
    let map = weights::attention_key_map(&config);
    let head = config.init(&tracked)?;
    let head = menagerie_hub::load(head, &fixture.weights().below("attention")?, &map)?;
    let features = Features { maps };
    check.output("logits_attention", head.forward(&features)?)?;
    let labels: Vec<usize> = fixture
        .input_data("y")?
        .iter::<i64>()
        .map(|label| label as usize)
        .collect();
    let batch = LabelledFeatures::new(features, &labels, sizes.num_classes, &tracked)?;
    let head = Head::Attention(head);
    let (loss, _) = head.loss(batch)?;
    check.output("loss_attention", loss.clone())?;
    let Head::Attention(head) = &head else {
        return Ok(());
    };
    check.gradients_under("grad/attention.", head, &loss.backward(), &map)
}

#[derive(Deserialize)]
struct Schedule {
    timesteps: usize,
}

fn schedule_and_cka(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Schedule { timesteps: steps } = fixture.config()?;
    let linear = process("linear", steps)?;
    let cosine = process("cosine", steps)?;
    let row = |values: &[f64]| {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let shape = [values.len()];
        TensorData::new(values, shape)
    };
    check.output_data("betas_linear", row(linear.betas()))?;
    check.output_data("alphas_cumprod_linear", row(linear.alpha_bars()))?;
    check.output_data("alphas_cumprod_cosine", row(cosine.alpha_bars()))?;

    let t = timesteps(fixture)?;
    let input = |name| fixture.input::<4>(name, device);
    let (x, noise) = (input("x")?, input("noise")?);
    let dims = x.dims();
    let x_t = linear.q_sample(x.clone(), &t, noise)?;
    check.output("x_t", x_t.clone())?;
    let (mean, variance) = linear.q_mean_variance(x.clone(), &t)?;
    check.output("q_mean", mean)?;
    check.output("q_variance", variance.expand(dims))?;
    let posterior = linear.posterior(x, x_t, &t)?;
    check.output("posterior_mean", posterior.mean)?;
    let log_variance: Tensor<4> = posterior.log_variance.expand(dims);
    check.output("posterior_log_variance_clipped", log_variance)?;

    let names: Vec<String> = fixture
        .expected()
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in names {
        // The width is part of the name.
        let width = name
            .strip_prefix("out/temb_")
            .and_then(|width| width.parse().ok());
        if let (Some(width), Some(name)) = (width, name.strip_prefix("out/")) {
            check.output(name, timestep_embedding(&t, width, device))?;
        }
    }

    let input = |name| fixture.input::<2>(name, device);
    let (x, y) = (input("cka_x")?, input("cka_y")?);
    check.output("cka_linear", linear_cka(x.clone(), y)?)?;
    check.output("cka_self", linear_cka(x.clone(), x)?)
}
