//! Holds the crate to fixtures made by the papers' own code.

use burn::{
    optim::GradientsParams,
    tensor::{Device, Element, Tensor, TensorData},
};
use menagerie_core::{Error, Result};
use menagerie_hub::StateDict;
use menagerie_parity::{Case, Check, Fixture};
use menagerie_representation::qlae::{
    BackboneConfig, ConvStackConfig, DecoderConfig, DenseDecoderConfig, EncoderConfig,
    ImageDecoderConfig, LossWeights, QlaeConfig, QuantizedPass, StyleDecoderConfig, TrainingConfig,
    baselines::VqVaeConfig,
    infomec::{Infomec, InfomecConfig, Latents, Probe, Sources, explicitness, infomec},
    objective::QlaeLoss,
    quantize, weights,
};
use serde::Deserialize;
use std::process::ExitCode;

const CASES: &[Case] = &[
    case("qlae_step", qlae_step),
    case("quantizer", quantizer),
    case("vqvae_baseline", vqvae_step),
    case("infomec_continuous", infomec_scores),
    case("infomec_discrete", infomec_scores),
    case("infomec_perfect", infomec_scores),
];

const fn case(name: &'static str, run: fn(&Fixture, &Device, &mut Check) -> Result<()>) -> Case {
    Case {
        slug: "qlae",
        case: name,
        run,
    }
}

fn main() -> ExitCode {
    menagerie_parity::main(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"), CASES)
}

/// What the step fixtures say of their model.
#[derive(Deserialize)]
struct StepConfig {
    encoder: Stack,
    decoder: Stack,
    num_latents: usize,
    num_values: Option<Sizes>,
    num_embeddings: Option<usize>,
    embedding_size: Option<usize>,
    lambdas: Lambdas,
    l2: f64,
    lr: f64,
    clip: f64,
}

/// Convolutions (none in a perceptron) and dense layers.
#[derive(Deserialize)]
struct Stack {
    #[serde(default)]
    widths: Vec<usize>,
    #[serde(default)]
    kernels: Vec<usize>,
    #[serde(default)]
    strides: Vec<usize>,
    #[serde(default)]
    paddings: Vec<usize>,
    dense: Vec<usize>,
    input_channels: Option<usize>,
}

/// One size for all latents, or one each.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sizes {
    Same(usize),
    Each(Vec<usize>),
}

#[derive(Deserialize)]
struct Lambdas {
    binary_cross_entropy: f64,
    quantization: f64,
    commitment: f64,
}

impl Stack {
    fn conv(&self) -> ConvStackConfig {
        ConvStackConfig::new(
            self.widths.clone(),
            self.kernels.clone(),
            self.strides.clone(),
            self.paddings.clone(),
        )
    }
}

impl StepConfig {
    fn backbone(&self, images: &Tensor<4>, params: &StateDict) -> Result<BackboneConfig> {
        let [_, channels, height, width] = images.dims();
        let norm = |dense: &str| {
            params
                .get(&format!("{dense}.layers.0.layers.1.weight"))
                .is_some()
        };
        let side = |key: &str| params.get(key)?.shape().last().copied();
        let (style, image) = (
            "decoder.conv.layers.0.weight",
            "decoder.layers.4.layers.0.weight",
        );
        let dense = self.decoder.dense.clone();
        let decoder = if let Some(kernel) = side(style) {
            let inputs = self.decoder.input_channels.ok_or_else(|| {
                Error::input(
                    "decoder.input_channels",
                    "missing",
                    "a style decoder needs it",
                )
            })?;
            let config = StyleDecoderConfig::new(dense, inputs, self.decoder.conv());
            DecoderConfig::Style(config.with_output_kernel(kernel))
        } else if let Some(kernel) = side(image) {
            let config = ImageDecoderConfig::new(dense, self.decoder.conv());
            DecoderConfig::Image(config.with_output_kernel(kernel))
        } else {
            let config = DenseDecoderConfig::new(dense);
            DecoderConfig::Dense(config.with_layer_norm(norm("decoder.layers.0")))
        };
        let conv = (!self.encoder.widths.is_empty()).then(|| self.encoder.conv());
        let encoder = EncoderConfig::new(self.encoder.dense.clone())
            .with_conv(conv)
            .with_layer_norm(norm("encoder.dense"));
        Ok(BackboneConfig::new(
            [channels, height, width],
            encoder,
            decoder,
        ))
    }

    fn weights(&self) -> LossWeights {
        LossWeights::new()
            .with_reconstruction(self.lambdas.binary_cross_entropy)
            .with_quantization(self.lambdas.quantization)
            .with_commitment(self.lambdas.commitment)
    }

    fn training(&self) -> TrainingConfig {
        TrainingConfig::new()
            .with_learning_rate(self.lr)
            .with_weight_decay(self.l2)
            .with_clip(self.clip)
    }
}

fn missing(field: &str) -> Error {
    Error::input(field, "missing", "the case needs it in its config")
}

fn qlae_step(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = &device.clone().autodiff();
    let settings: StepConfig = fixture.config()?;
    let images = fixture.input::<4>("x", device)?;
    let backbone = settings.backbone(&images, &fixture.weights())?;
    let values = match settings
        .num_values
        .as_ref()
        .ok_or_else(|| missing("num_values"))?
    {
        Sizes::Same(size) => vec![*size; settings.num_latents],
        Sizes::Each(sizes) => sizes.clone(),
    };
    let config =
        QlaeConfig::new(backbone, settings.num_latents, values).with_weights(settings.weights());
    let map = weights::key_map(&config);
    let model = fixture.load(config.init(device)?, &map)?;

    let (loss, pass) = model.loss(images);
    check_pass(check, &loss, pass)?;
    let gradients = loss.total.mean().backward();
    check.gradients(&model, &gradients, &map)?;
    let gradients = GradientsParams::from_grads(gradients, &model);
    let model = settings
        .training()
        .optimizer()?
        .step(settings.lr, model, gradients);
    check.parameters("after_step/", &model, &map)
}

fn vqvae_step(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = &device.clone().autodiff();
    let settings: StepConfig = fixture.config()?;
    let images = fixture.input::<4>("x", device)?;
    let backbone = settings.backbone(&images, &fixture.weights())?;
    let config = VqVaeConfig::new(backbone, settings.num_latents)
        .with_embeddings(
            settings
                .num_embeddings
                .ok_or_else(|| missing("num_embeddings"))?,
        )
        .with_embedding(
            settings
                .embedding_size
                .ok_or_else(|| missing("embedding_size"))?,
        )
        .with_weights(settings.weights());
    let map = weights::vqvae_key_map(&config);
    let model = fixture.load(config.init(device)?, &map)?;

    let (loss, pass) = model.loss(images);
    check_pass(check, &loss, pass)?;
    let gradients = loss.total.mean().backward();
    check.gradients(&model, &gradients, &map)?;
    let gradients = GradientsParams::from_grads(gradients, &model);
    let model = settings
        .training()
        .optimizer()?
        .step(settings.lr, model, gradients);
    check.parameters("after_step/", &model, &map)
}

fn check_pass(check: &mut Check, loss: &QlaeLoss, pass: QuantizedPass) -> Result<()> {
    check.output("features", pass.features)?;
    check.output("z_continuous", pass.continuous)?;
    check.output_int("z_indices", pass.quantized.indices)?;
    check.output("z_quantized", pass.quantized.values)?;
    check.output("z_hat", pass.quantized.straight_through)?;
    check.output("x_hat_logits", pass.logits)?;
    check.output("bce", loss.reconstruction.clone())?;
    check.output("quantization", loss.quantization.clone())?;
    check.output("commitment", loss.commitment.clone())?;
    check.output("loss_per_sample", loss.total.clone())?;
    check.output("loss", loss.total.clone().mean())
}

#[derive(Deserialize)]
struct QuantizerConfig {
    num_values: usize,
}

fn quantizer(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = &device.clone().autodiff();
    let settings: QuantizerConfig = fixture.config()?;
    let x = fixture.input::<1>("x", device)?.require_grad();
    let values = fixture.param::<1>("values", device)?;
    let [count] = x.dims();
    let result = quantize(
        x.clone().unsqueeze(),
        values,
        &vec![settings.num_values; count],
    );

    // The last inputs lie half-way between two values, where rounding decides.
    let decided = count.saturating_sub(settings.num_values - 1);
    let indices = result.indices.squeeze_dim::<1>(0).into_data();
    check.output_where("index", indices, |position| position < decided)?;
    check.output("quantized", result.values.squeeze_dim::<1>(0))?;
    let estimate = result.straight_through;
    check.output("z_hat", estimate.clone().squeeze_dim::<1>(0))?;
    let gradients = estimate.square().sum().backward();
    let gradient = x.grad(&gradients).ok_or_else(|| missing("gradient of x"))?;
    check.output("grad_of_sum_zhat_squared", gradient)
}

#[derive(Deserialize)]
struct MetricConfig {
    discrete_latents: bool,
    ksg_neighbors: usize,
}

fn infomec_scores(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: MetricConfig = fixture.config()?;
    let sources = fixture.input_int::<2>("sources", device)?;
    let [rows, columns] = sources.dims();
    let values = sources.into_data().convert::<i64>();
    let sources = Sources::new(rows, columns, &vector(&values)?)?;
    let latents = fixture.input::<2>("latents", device)?;
    let [rows, columns] = latents.dims();
    let values: Vec<f32> = vector(&latents.into_data())?;
    let latents = match settings.discrete_latents {
        true => Latents::discrete(rows, columns, &values)?,
        false => Latents::continuous(rows, columns, &values)?,
    };
    let config = InfomecConfig {
        neighbors: settings.ksg_neighbors,
        ..InfomecConfig::default()
    };
    let scores = infomec(&sources, &latents, &config)?;
    let converged = explicitness(&sources, &latents, Probe::Converged)?;

    for name in ["nmi", "infom", "infoc", "infom_gap", "infoc_gap"] {
        check.within(name, 1e-4);
    }
    check.within("infoe_converged", 1e-3);
    check.within("infoe_official_100_iters", 5e-3);
    check_scores(check, &scores)?;
    let published = scores.infoe().ok_or_else(|| missing("explicitness"))?;
    check.output_data("infoe_official_100_iters", floats(&[published]))?;
    check.output_data("infoe_converged", floats(&[converged.infoe]))?;
    check.output_data(
        "conditional_ce_converged",
        floats(&converged.conditional_ce),
    )?;
    check.output_data("marginal_ce_converged", floats(&converged.marginal_ce))
}

fn check_scores(check: &mut Check, scores: &Infomec) -> Result<()> {
    let nmi = scores.nmi.concat();
    let shape = [scores.nmi.len(), scores.active.len()];
    let nmi: Vec<f32> = nmi.into_iter().map(|value| value as f32).collect();
    check.output_data("nmi", TensorData::new(nmi, shape))?;
    let active: Vec<i64> = scores
        .active
        .iter()
        .map(|&active| i64::from(active))
        .collect();
    check.output_data("active", TensorData::from(active.as_slice()))?;
    check.output_data("source_entropy_nats", floats(&scores.source_entropy))?;
    check.output_data("infom", floats(&[scores.infom]))?;
    check.output_data("infoc", floats(&[scores.infoc]))?;
    check.output_data("infom_gap", floats(&[scores.infom_gap]))?;
    check.output_data("infoc_gap", floats(&[scores.infoc_gap]))
}

fn floats(values: &[f64]) -> TensorData {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    TensorData::from(values.as_slice())
}

fn vector<E: Element>(data: &TensorData) -> Result<Vec<E>> {
    data.try_to_vec()
        .map_err(|error| Error::other("reading a tensor", format!("{error:?}")))
}
