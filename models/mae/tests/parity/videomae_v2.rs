//! VideoMAE V2: masks, the pre-training step with one and with two masks, the fine-tuned network.

use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_mae::mae_base::objective::soft_cross_entropy;
use menagerie_mae::videomae_v2::{
    BlocksConfig, ClassifierConfig, ClipConfig, DualMasking, Grid, Pooling, Target, TowerConfig,
    VideoMaeConfig, masks,
    weights::{classifier_key_map, key_map},
};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub const CASES: &[Case] = &[
    Case {
        slug: "videomae-v2",
        case: "finetune",
        run: finetune,
    },
    Case {
        slug: "videomae-v2",
        case: "masks",
        run: masks,
    },
    Case {
        slug: "videomae-v2",
        case: "pretrain",
        run: pretrain,
    },
];

#[derive(Deserialize)]
struct Masking {
    frames: usize,
    height: usize,
    width: usize,
    tube_ratio: f64,
    cell_ratios: Vec<f64>,
}

fn ints(fixture: &Fixture, name: &str) -> Result<Vec<i64>> {
    let data = fixture.input_data(name)?.clone();
    data.try_cast_as::<i64>()
        .and_then(TensorData::try_into_vec)
        .map_err(|error| Error::other(format!("reading in/{name}"), error))
}

fn masks(fixture: &Fixture, _: &Device, check: &mut Check) -> Result<()> {
    let config: Masking = fixture.config()?;
    let grid = Grid {
        time: config.frames,
        rows: config.height,
        columns: config.width,
    };
    let permutation: Vec<usize> = ints(fixture, "tube_permutation")?
        .into_iter()
        .map(|at| at as usize)
        .collect();
    let data = |mask: Vec<bool>, shape: &[usize]| {
        let values: Vec<i64> = mask.into_iter().map(i64::from).collect();
        TensorData::new(values, shape)
    };
    let tube = masks::tube(grid, config.tube_ratio, &permutation)?;
    check.output_data("tube_mask", data(tube, &[grid.time, grid.per_step()]))?;
    for ratio in config.cell_ratios {
        let all = (0..4).map(|offset| masks::running_cell(grid, ratio, offset));
        let all = all.collect::<Result<Vec<_>>>()?.concat();
        let name = format!("running_cell_{:.0}_all_offsets", 100.0 * ratio);
        check.output_data(&name, data(all, &[4, grid.time, grid.per_step()]))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Pretraining {
    img_size: usize,
    patch_size: usize,
    frames: usize,
    #[serde(default = "two")]
    tubelet: usize,
    encoder_embed_dim: usize,
    encoder_depth: usize,
    encoder_num_heads: usize,
    decoder_embed_dim: usize,
    decoder_depth: usize,
    decoder_num_heads: usize,
    mlp_ratio: f64,
    init_values: f64,
    cos_attn: bool,
    normalise_target: bool,
}

fn two() -> usize {
    2
}

/// 0 stands for none.
fn blocks(mlp_ratio: f64, init_values: f64, cosine: bool) -> BlocksConfig {
    BlocksConfig::new()
        .with_mlp_ratio(mlp_ratio)
        .with_layer_scale((init_values > 0.0).then_some(init_values))
        .with_cosine(cosine)
}

impl Pretraining {
    fn config(&self) -> VideoMaeConfig {
        let clip = ClipConfig {
            frames: self.frames,
            size: self.img_size,
            patch: self.patch_size,
            tubelet: self.tubelet,
        };
        let encoder = TowerConfig::new(
            self.encoder_embed_dim,
            self.encoder_depth,
            self.encoder_num_heads,
        );
        let decoder = TowerConfig::new(
            self.decoder_embed_dim,
            self.decoder_depth,
            self.decoder_num_heads,
        );
        let target = match self.normalise_target {
            true => Target::Standardised,
            false => Target::Pixels,
        };
        VideoMaeConfig::new(encoder, decoder)
            .with_clip(clip)
            .with_blocks(blocks(self.mlp_ratio, self.init_values, self.cos_attn))
            .with_target(target)
    }
}

fn pretrain(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let config = fixture.config::<Pretraining>()?.config();
    let model = fixture.load(config.init(&device)?, &key_map())?;
    let hidden = |name: &str| -> Result<Vec<bool>> {
        Ok(ints(fixture, name)?.into_iter().map(|at| at != 0).collect())
    };
    let (encoder, decoder) = (hidden("encoder_mask")?, hidden("decoder_mask")?);
    let tokens = config.clip.grid().tokens();
    let masks = DualMasking::new(&encoder, &decoder, tokens, &device)?;
    let video = fixture.input::<5>("video", &device)?;

    let cubes = model.encoder.patch_embed.cut(video.clone());
    let embedded = model.encoder.embed(cubes, &masks);
    let block0 = model.encoder.blocks[0].forward(embedded, None);
    let loss = model.loss(video, &masks)?;
    let grads = loss.total.backward();
    check.output(
        "encoder_pos_embed",
        model.encoder.positions.clone().unsqueeze::<3>(),
    )?;
    check.output(
        "decoder_pos_embed",
        model.decoder.positions.clone().unsqueeze::<3>(),
    )?;
    check.output("encoder_block0", block0)?;
    check.output("encoder_out", loss.forward.encoded)?;
    check.output("decoder_input", loss.forward.decoder_input)?;
    check.output("prediction", loss.forward.predictions)?;
    check.output("labels", loss.targets)?;
    let counted: Tensor<2, Int> = masks.invisible.int();
    check.output_int("loss_mask", counted)?;
    check.output("loss", loss.total)?;
    check.gradients(&model, &grads, &key_map())
}

#[derive(Deserialize)]
struct FineTuning {
    img_size: usize,
    patch_size: usize,
    frames: usize,
    tubelet: usize,
    embed_dim: usize,
    depth: usize,
    num_heads: usize,
    mlp_ratio: f64,
    init_values: f64,
    #[serde(default)]
    cos_attn: bool,
    mean_pooling: bool,
    num_classes: usize,
}

impl FineTuning {
    fn config(&self) -> ClassifierConfig {
        let tower = TowerConfig::new(self.embed_dim, self.depth, self.num_heads);
        let pooling = match self.mean_pooling {
            true => Pooling::Mean,
            false => Pooling::First,
        };
        ClassifierConfig::new(tower)
            .with_classes((self.num_classes > 0).then_some(self.num_classes))
            .with_clip(ClipConfig {
                frames: self.frames,
                size: self.img_size,
                patch: self.patch_size,
                tubelet: self.tubelet,
            })
            .with_blocks(blocks(self.mlp_ratio, self.init_values, self.cos_attn))
            .with_pooling(pooling)
    }
}

fn finetune(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let config = fixture.config::<FineTuning>()?.config();
    let model = fixture.load(config.init(&device)?, &classifier_key_map())?;
    let video = fixture.input::<5>("video", &device)?;
    let embedded = model.patch_embed.forward(video.clone());
    let positions = model.positions.clone().unsqueeze::<3>();
    let block0 = model.blocks[0].forward(embedded.clone() + positions, None);
    let logits = model.forward(video.clone())?;
    let loss = soft_cross_entropy(logits.clone(), fixture.input("soft_targets", &device)?);
    let grads = loss.backward();
    check.output("patch_embed", embedded)?;
    check.output("block0", block0)?;
    check.output("features", model.features(video)?)?;
    check.output("logits", logits)?;
    check.output("loss", loss)?;
    check.gradients(&model, &grads, &classifier_key_map())
}
