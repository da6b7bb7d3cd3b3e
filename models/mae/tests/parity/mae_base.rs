//! mae-base: pre-training, fine-tuning, probing, geometry and recipes.

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_mae::mae_base::{
    ClassifierConfig, DecoderConfig, EpochSchedule, LabelledFeatures, Lars, LinearProbe, MaeConfig,
    Pooling, Probing, VitConfig, decays, layer_of, layer_scales, objective, weights,
};
use menagerie_nn::vit::{
    Masking, Order, len_keep, patchify,
    position::{First, interpolate, sincos_2d},
    unpatchify,
};
use menagerie_parity::{Case, Check, Fixture};
use menagerie_train::Procedure;
use serde::Deserialize;

pub(crate) const CASES: &[Case] = &[
    Case {
        slug: "mae-base",
        case: "pretrain",
        run: pretrain,
    },
    Case {
        slug: "mae-base",
        case: "geometry",
        run: geometry,
    },
    Case {
        slug: "mae-base",
        case: "finetune",
        run: finetune,
    },
    Case {
        slug: "mae-base",
        case: "linear_probe",
        run: linear_probe,
    },
    Case {
        slug: "mae-base",
        case: "recipes",
        run: recipes,
    },
];

#[derive(Deserialize)]
struct Vit {
    img_size: usize,
    patch_size: usize,
    embed_dim: usize,
    depth: usize,
    num_heads: usize,
    mlp_ratio: Option<f64>,
}

impl Vit {
    fn config(&self) -> VitConfig {
        VitConfig::new(
            self.img_size,
            self.patch_size,
            self.embed_dim,
            self.depth,
            self.num_heads,
        )
        .with_mlp_ratio(self.mlp_ratio.unwrap_or(4.0))
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::other("reading an input", error))
}

/// The masking of `noise`.
fn ascending(noise: Tensor<2>, ratio: f64, device: &Device) -> Result<Masking> {
    let shape @ [_, tokens] = noise.dims();
    let keep = len_keep(tokens, ratio);
    Masking::from_noise(&floats(noise)?, shape, keep, Order::Ascending, device)
}

#[derive(Deserialize)]
struct Pretraining {
    #[serde(flatten)]
    vit: Vit,
    decoder_embed_dim: usize,
    decoder_depth: usize,
    decoder_num_heads: usize,
    norm_pix_loss: bool,
    mask_ratio: f64,
}

fn pretrain(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let sizes: Pretraining = fixture.config()?;
    let decoder = DecoderConfig::new(
        sizes.decoder_embed_dim,
        sizes.decoder_depth,
        sizes.decoder_num_heads,
    );
    let config = MaeConfig::new(sizes.vit.config(), decoder)
        .with_mask_ratio(sizes.mask_ratio)
        .with_norm_pix_loss(sizes.norm_pix_loss);
    let map = weights::key_map(weights::Names::Official);
    let mae = fixture.load(config.init(&device)?, &map)?;
    let images = fixture.input::<4>("images", &device)?;
    let masking = ascending(fixture.input("noise", &device)?, sizes.mask_ratio, &device)?;

    check.output("mask", masking.mask.clone())?;
    check.output_int("ids_restore", masking.ids_restore.clone())?;
    let embedded = mae.encoder.patch_embed.forward(images.clone());
    check.output("patch_embed", embedded)?;
    check.output("target", mae.target(images.clone()))?;
    check.output("features_unmasked", mae.encode(images.clone())?)?;
    let (loss, output) = mae.loss(images.clone(), &masking)?;
    let mut blocks = mae
        .encoder
        .features(images.clone(), Some(&masking), &[0])?
        .into_iter();
    if let Some(block) = blocks.next() {
        check.output("enc_block0", block)?;
    }
    let input = mae.decoder.embed(output.latent.clone(), &masking);
    check.output("decoder_input", input.clone())?;
    if let Some(block) = mae.decoder.blocks.first() {
        check.output("dec_block0", block.forward(input, None))?;
    }
    check.output("latent", output.latent)?;
    check.output("pred", output.prediction.clone())?;
    let patch = config.encoder.patch;
    let grid = [config.encoder.grid(); 2];
    check.output("reconstruction", unpatchify(output.prediction, patch, grid))?;
    check.output("loss", loss.clone())?;
    check.gradients(&mae, &loss.backward(), &map)
}

#[derive(Deserialize)]
struct Geometry {
    dims: Vec<usize>,
    grids: Vec<usize>,
    source_grid: usize,
    target_grids: Vec<usize>,
    patch_size: usize,
}

fn geometry(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Geometry = fixture.config()?;
    for dim in &sizes.dims {
        for grid in &sizes.grids {
            let table = sincos_2d(*dim, [*grid; 2], First::Column, 1)?;
            check.output_data(&format!("sincos_d{dim}_g{grid}"), table)?;
        }
    }
    for target in &sizes.target_grids {
        let name = format!("pos_embed_{}to{target}", sizes.source_grid);
        let table = fixture.input_data(&name)?;
        let resized = interpolate(table, 1, [sizes.source_grid; 2], [*target; 2])?;
        check.output_data(&name, resized)?;
    }
    let images = fixture.input::<4>("images", device)?;
    check.output("patches", patchify(images.clone(), sizes.patch_size))?;
    let normalised = objective::target(images, sizes.patch_size, true);
    check.output("patches_normalised", normalised)
}

#[derive(Deserialize)]
struct Classification {
    #[serde(flatten)]
    vit: Vit,
    num_classes: usize,
    global_pool: bool,
}

fn finetune(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let sizes: Classification = fixture.config()?;
    let pooling = match sizes.global_pool {
        true => Pooling::Mean,
        false => Pooling::ClassToken,
    };
    let config = ClassifierConfig::new(sizes.vit.config(), sizes.num_classes).with_pooling(pooling);
    let map = weights::classifier_key_map();
    let model = fixture.load(config.init(&device)?, &map)?;
    let images = fixture.input::<4>("images", &device)?;
    let last = config.encoder.depth - 1;
    let blocks = model.encoder.features(images.clone(), None, &[0, last])?;
    for (name, block) in ["block0", "block_last"].into_iter().zip(blocks) {
        check.output(name, block)?;
    }
    check.output("features", model.features(images.clone())?)?;
    let logits = model.forward(images, &[])?;
    check.output("logits", logits.clone())?;

    let labels: Vec<usize> = fixture
        .input_data("labels")?
        .iter::<i64>()
        .map(|label| label as usize)
        .collect();
    let smooth = objective::smooth_targets(&labels, config.classes, 0.1)?;
    let smooth = TensorData::new(smooth, [labels.len(), config.classes]);
    let smooth = Tensor::<2>::from_data(smooth, &device);
    let loss = objective::soft_cross_entropy(logits.clone(), smooth);
    check.output("loss_label_smoothing_0_1", loss)?;
    let targets = fixture.input::<2>("soft_targets", &device)?;
    let loss = objective::soft_cross_entropy(logits, targets);
    check.output("loss_soft_target", loss.clone())?;
    check.gradients(&model, &loss.backward(), &map)
}

#[derive(Deserialize)]
struct ProbeSizes {
    #[serde(flatten)]
    vit: Vit,
    num_classes: usize,
    lars: LarsSizes,
}

#[derive(Deserialize)]
struct LarsSizes {
    lr: f64,
    weight_decay: f64,
    momentum: f64,
    trust_coefficient: f64,
}

fn linear_probe(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let sizes: ProbeSizes = fixture.config()?;
    let map = weights::probe_key_map();
    let probe = LinearProbe::new(&sizes.vit.config(), sizes.num_classes, &device)?;
    let probe = fixture.load(probe, &map)?;
    let features = probe.features(fixture.input("images", &device)?)?.detach();
    let labels = fixture.input_int::<1>("labels", &device)?;
    check.output("logits_eval", probe.head.forward(features.clone()))?;
    let logits = probe.head.forward_batch(features.clone());
    check.output("logits_train", logits.clone())?;
    let loss = menagerie_nn::transformer::cross_entropy(logits, labels.clone()).mean();
    check.output("loss", loss.clone())?;
    check.gradients(&probe, &loss.backward(), &map)?;

    let lars = Lars::new()
        .with_momentum(sizes.lars.momentum)
        .with_trust_coefficient(sizes.lars.trust_coefficient)
        .with_weight_decay(sizes.lars.weight_decay);
    let features = features.without_autodiff();
    let labels = Tensor::<1, Int>::from_data(labels.into_data(), &features.device());
    let batch = |_: usize, _: &Device| {
        Ok(LabelledFeatures {
            features: features.clone(),
            labels: labels.clone(),
        })
    };
    let mut probing = Probing::new(probe.head, lars, sizes.lars.lr, batch)?;
    for step in 0..2 {
        probing.step(step)?;
        let head = probing.trained()?;
        let at = |name: &str| format!("{name}_after_step{}", step + 1);
        check.output(&at("head_weight"), head.linear.weight.val().transpose())?;
        if let Some(bias) = head.linear.bias.as_ref().map(Param::val) {
            check.output(&at("head_bias"), bias)?;
        }
        check.output(&at("running_mean"), head.running_mean.val())?;
        check.output(&at("running_var"), head.running_var.val())?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Recipes {
    depth: usize,
    layer_decay: f64,
    epochs: f64,
    warmup_epochs: f64,
    min_lr: f64,
    lr: f64,
    weight_decay: f64,
    param_names: Vec<String>,
}

fn recipes(fixture: &Fixture, _: &Device, check: &mut Check) -> Result<()> {
    let recipe: Recipes = fixture.config()?;
    let schedule = EpochSchedule::new(recipe.lr, recipe.epochs, recipe.warmup_epochs)
        .with_floor(recipe.min_lr);
    let epochs = fixture.input_data("epoch")?;
    let rates: Vec<f32> = epochs
        .iter::<f64>()
        .map(|epoch| schedule.at(epoch) as f32)
        .collect();
    // Relative to the largest rate.
    check.within("lr", 1e-6 * recipe.lr);
    check.output_data("lr", list(rates))?;
    let scales = layer_scales(recipe.depth, recipe.layer_decay);
    let scale = |name: &String| scales[layer_of(name, recipe.depth)] as f32;
    check.output_data(
        "lr_scale",
        list(recipe.param_names.iter().map(scale).collect()),
    )?;
    let rank = |name: &str| match name {
        "cls_token" | "pos_embed" => 3,
        "patch_embed.proj.weight" => 4,
        name if name.contains("norm") || name.ends_with("bias") => 1,
        _ => 2,
    };
    let decay = |name: &String| match decays(name, rank(name)) {
        true => recipe.weight_decay as f32,
        false => 0.0,
    };
    check.output_data(
        "weight_decay",
        list(recipe.param_names.iter().map(decay).collect()),
    )?;
    let scales = scales.iter().map(|scale| *scale as f32).collect();
    check.output_data("layer_scales", list(scales))
}

fn list(values: Vec<f32>) -> TensorData {
    let len = values.len();
    TensorData::new(values, [len])
}
