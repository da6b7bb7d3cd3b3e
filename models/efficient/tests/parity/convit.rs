//! convit: the convolutional initialisation, and whole networks with their gradients.

use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_efficient::convit::objective::non_locality;
use menagerie_efficient::convit::{ConVitConfig, convolution_taps, weights};
use menagerie_efficient::deit::SoftLabelled;
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub(crate) const CASES: &[Case] = &[
    Case {
        slug: "convit",
        case: "local_init",
        run: local_init,
    },
    Case {
        slug: "convit",
        case: "model",
        run: model,
    },
];

#[derive(Deserialize)]
struct Grid {
    grid: usize,
}

/// Names are `<what>.h<heads>_s<strength>`.
fn local_init(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Grid { grid } = fixture.config()?;
    let names: Vec<(String, Vec<usize>)> = fixture
        .expected()
        .filter_map(|(name, data)| {
            Some((name.strip_prefix("out/")?.to_owned(), data.shape().to_vec()))
        })
        .collect();
    for (name, shape) in names {
        let parsed = name.split_once(".h").and_then(|(what, rest)| {
            let (heads, locality) = rest.split_once("_s")?;
            Some((what, heads.parse().ok()?, locality.parse().ok()?))
        });
        let Some((what, heads, locality)) = parsed else {
            let rule = "must be <what>.h<heads>_s<strength>";
            return Err(Error::input("a recorded name", name, rule));
        };
        // Only the value matrix shows the width.
        let dim = match what {
            "v_weight" => shape[0],
            _ => heads,
        };
        let config = ConVitConfig::new(grid, 1, dim, 2, heads)
            .with_local_blocks(1)
            .with_locality(locality);
        let model = config.init(device)?;
        let attention = &model.local[0].attn;
        match what {
            "pos_proj_weight" => {
                let taps = convolution_taps(heads, locality);
                let taps: Vec<f32> = taps.into_iter().flatten().collect();
                check.output_data(&name, TensorData::new(taps, [heads, 3]))?;
            }
            "pos_attention" => {
                check.output(&name, attention.positions(&model.relative(device)))?;
            }
            "gating_param" => check.output(&name, attention.gating_param.val())?,
            "v_weight" => check.output(&name, attention.v.weight.val())?,
            other => {
                let known = [
                    "pos_proj_weight",
                    "pos_attention",
                    "gating_param",
                    "v_weight",
                ];
                return Err(Error::unknown("recorded tensor", other, known));
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Sizes {
    img: usize,
    patch: usize,
    classes: usize,
    dim: usize,
    depth: usize,
    heads: usize,
    local: usize,
    loc: f64,
    #[serde(default)]
    qkv_bias: bool,
    #[serde(default = "yes")]
    pos: bool,
    #[serde(default = "four")]
    mlp: f64,
    #[serde(default = "three")]
    channels: usize,
}

fn yes() -> bool {
    true
}

fn four() -> f64 {
    4.0
}

fn three() -> usize {
    3
}

fn model(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let sizes: Sizes = fixture.config()?;
    // All weights are replaced, so that nothing hangs on how they start.
    let config = ConVitConfig::new(sizes.img, sizes.patch, sizes.dim, sizes.depth, sizes.heads)
        .with_local_blocks(sizes.local)
        .with_channels(sizes.channels)
        .with_classes(sizes.classes)
        .with_mlp_ratio(sizes.mlp)
        .with_qkv_bias(sizes.qkv_bias)
        .with_positions(sizes.pos)
        .with_locality(sizes.loc)
        .with_local_init(false);
    let map = weights::key_map(&config);
    let model = fixture.load(config.init(&device)?, &map)?;
    let images = fixture.input::<4>("x", &device)?;

    let relative = model.relative(&device);
    if check.expects("rel_indices") {
        check.output("rel_indices", relative.indices())?;
    }
    for layer in 0..config.depth {
        let [attention, far] = ["attn", "nonlocality"].map(|what| format!("{what}_block{layer}"));
        let map = model.attention_map(images.clone(), layer)?;
        if layer < config.local_blocks && check.expects(&far) {
            check.output(&far, non_locality(map.clone(), relative.distances()))?;
        }
        if check.expects(&attention) {
            check.output(&attention, map)?;
        }
    }
    for (block, tokens) in model.block_outputs(images.clone())?.into_iter().enumerate() {
        let name = format!("block_{block}");
        if check.expects(&name) {
            check.output(&name, tokens)?;
        }
    }
    let prepared = model.prepare().forward(images.clone().without_autodiff())?;
    check.output("logits", prepared)?;

    let labels = fixture.input_data("y")?;
    let labels: Vec<usize> = labels.iter::<i64>().map(|label| label as usize).collect();
    let batch = SoftLabelled::new(images, &labels, config.classes, 0.1)?;
    let (loss, logits) = model.loss(batch);
    check.output("logits", logits)?;
    check.output("loss", loss.clone())?;
    check.gradients(&model, &loss.backward(), &map)
}
