//! Forward passes, objectives and gradients of every variant.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::KeyMap;
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::sae::{
    Activation, AuxK, Convention, Normalization, ObjectiveConfig, Prefixes, Reconstruction,
    SaeConfig, SaeLoss, SaeOutput, Situation, SparseAutoencoder, Sparsity, Threshold,
    training::{DeadLatents, ThresholdRule, sparsity_warmup},
    weights::{dictionary_learning_key_map, openai_key_map, saelens_key_map, sparsify_key_map},
};
use serde::Deserialize;

pub const CASES: &[Case] = &[
    case("standard_april_l1", standard_april),
    case("gated_saelens", gated_saelens),
    case("gated_dictionary_learning", gated_dictionary_learning),
    case("jumprelu_step_saelens", jumprelu_saelens),
    case("jumprelu_tanh_preact_saelens", jumprelu_saelens),
    case("jumprelu_target_l0_dictionary_learning", jumprelu_target),
    case("topk_aux_saelens", topk_saelens),
    case("matryoshka_batchtopk_saelens", matryoshka_saelens),
    case("topk_auxk_dictionary_learning", topk_dictionary_learning),
    case(
        "batchtopk_dictionary_learning",
        batchtopk_dictionary_learning,
    ),
    case(
        "matryoshka_dictionary_learning",
        matryoshka_dictionary_learning,
    ),
    case("topk_auxk_openai", topk_openai),
    case("topk_fvu_sparsify", sparsify),
    case("skip_transcoder_sparsify", sparsify),
    case("topk_ties", ties),
    case("transcoders_saelens", transcoders),
    case("normalisation_and_folding", normalisation),
];

const fn case(name: &'static str, run: fn(&Fixture, &Device, &mut Check) -> Result<()>) -> Case {
    Case {
        slug: "sae-base",
        case: name,
        run,
    }
}

/// What the fixtures' configs say; each case reads its own part.
#[derive(Deserialize)]
struct Settings {
    d_in: usize,
    d_out: Option<usize>,
    #[serde(alias = "num_latents")]
    d_sae: usize,
    k: Option<usize>,
    l1_coefficient: Option<f64>,
    lp_norm: Option<f64>,
    apply_b_dec_to_input: Option<bool>,
    l1_penalty: Option<f64>,
    step: Option<usize>,
    sparsity_warmup_steps: Option<usize>,
    mode: Option<String>,
    bandwidth: Option<f64>,
    l0_coefficient: Option<f64>,
    tanh_scale: Option<f64>,
    pre_act_loss_coefficient: Option<f64>,
    sparsity_penalty: Option<f64>,
    target_l0: Option<f64>,
    rescale_acts_by_decoder_norm: Option<bool>,
    aux_loss_coefficient: Option<f64>,
    matryoshka_widths: Option<Vec<usize>>,
    topk_threshold_lr: Option<f64>,
    topk_threshold_before: Option<f32>,
    auxk_alpha: Option<f64>,
    top_k_aux: Option<usize>,
    dead_feature_threshold: Option<u64>,
    threshold_beta: Option<f64>,
    threshold_before: Option<f32>,
    group_sizes: Option<Vec<usize>>,
    group_weights: Option<Vec<f64>>,
    auxk: Option<usize>,
    dead_steps_threshold: Option<u64>,
    auxk_coef: Option<f64>,
    fired_threshold: Option<f32>,
    multi_topk: Option<bool>,
    skip_connection: Option<bool>,
    transcode: Option<bool>,
    scaling_factor: Option<f64>,
}

impl Settings {
    fn config(&self, activation: Activation) -> SaeConfig {
        SaeConfig::new(self.d_in, self.d_sae, activation)
            .with_subtract_decoder_bias(self.apply_b_dec_to_input.unwrap_or(true))
            .with_rescale_by_decoder_norm(self.rescale_acts_by_decoder_norm.unwrap_or(false))
    }

    fn k(&self) -> Result<usize> {
        self.k.ok_or_else(|| missing("k"))
    }

    fn warmup(&self) -> f64 {
        match (self.step, self.sparsity_warmup_steps) {
            (Some(step), Some(steps)) => sparsity_warmup(step, steps),
            _ => 1.0,
        }
    }
}

fn missing(field: &str) -> Error {
    Error::input(field, "missing", "the case needs it in its config")
}

fn scalar(fixture: &Fixture, key: &str) -> Result<f32> {
    let data = fixture.param_data(key)?.clone().convert::<f32>();
    let value = data
        .as_slice::<f32>()
        .ok()
        .and_then(|data| data.first().copied());
    value.ok_or_else(|| missing(key))
}

fn dead_mask(fixture: &Fixture, device: &Device) -> Result<Option<Vec<bool>>> {
    if !fixture.has_input("dead_mask") {
        return Ok(None);
    }
    let mask = fixture.input_int::<1>("dead_mask", device)?.into_data();
    let mask = mask.convert::<i64>();
    let mask = mask.as_slice::<i64>().unwrap_or_default();
    Ok(Some(mask.iter().map(|&dead| dead != 0).collect()))
}

fn counters(fixture: &Fixture, name: &str, device: &Device) -> Result<Vec<u64>> {
    let data = fixture
        .input_int::<1>(name, device)?
        .into_data()
        .convert::<i64>();
    let data = data.as_slice::<i64>().unwrap_or_default();
    Ok(data.iter().map(|&count| count as u64).collect())
}

fn integers(values: &[u64]) -> TensorData {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    TensorData::from(values.as_slice())
}

fn single(value: f64) -> TensorData {
    TensorData::from([value as f32])
}

/// Loads, evaluates the objective and compares the gradients.
fn run(
    fixture: &Fixture,
    device: &Device,
    check: &mut Check,
    config: &SaeConfig,
    map: &KeyMap,
    objective: &ObjectiveConfig,
    situation: Situation,
) -> Result<(SparseAutoencoder, SaeLoss, SaeOutput)> {
    let (sae, loss, output, _) =
        run_with_gradients(fixture, device, check, config, map, objective, situation)?;
    Ok((sae, loss, output))
}

fn run_with_gradients(
    fixture: &Fixture,
    device: &Device,
    check: &mut Check,
    config: &SaeConfig,
    map: &KeyMap,
    objective: &ObjectiveConfig,
    situation: Situation,
) -> Result<(SparseAutoencoder, SaeLoss, SaeOutput, Gradients)> {
    let device = &device.clone().autodiff();
    let sae = fixture.load(config.init(device)?, map)?;
    let x = fixture.input::<2>("x", device)?;
    let y = match config.d_out {
        Some(_) => Some(fixture.input::<2>("y", device)?),
        None => None,
    };
    let (loss, output) = sae.loss(x, y, objective, situation)?;
    let gradients = loss.total.clone().backward();
    check.gradients(&sae, &gradients, map)?;
    Ok((sae, loss, output, gradients))
}

fn term(check: &mut Check, name: &str, term: Option<Tensor<1>>, scale: f64) -> Result<()> {
    let device = Device::default();
    let term = term.unwrap_or_else(|| Tensor::zeros([1], &device));
    check.output(name, term * scale)
}

fn standard_april(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::Relu);
    let objective = ObjectiveConfig::new().with_sparsity(Sparsity::Lp {
        coefficient: settings
            .l1_coefficient
            .ok_or_else(|| missing("l1_coefficient"))?,
        weighted: true,
        p: settings.lp_norm.unwrap_or(1.0),
        power: false,
    });
    let map = saelens_key_map(&config);
    let situation = Situation::default();
    let (sae, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    let x = fixture.input::<2>("x", device)?;
    check.output("hidden_pre", sae.pre_activations(x)?)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("mse_loss", loss.reconstruction)?;
    term(check, "l1_loss", loss.sparsity, 1.0)?;
    check.output("loss", loss.total)
}

fn gated_saelens(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::Gated);
    let objective = ObjectiveConfig::new().with_sparsity(Sparsity::Gate {
        coefficient: settings
            .l1_coefficient
            .ok_or_else(|| missing("l1_coefficient"))?,
        weighted: true,
        detached: false,
    });
    let map = saelens_key_map(&config);
    let situation = Situation::default();
    let (_, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("mse_loss", loss.reconstruction)?;
    term(check, "l1_loss", loss.sparsity, 1.0)?;
    term(check, "auxiliary_reconstruction_loss", loss.second, 1.0)?;
    check.output("loss", loss.total)
}

fn gated_dictionary_learning(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::Gated);
    let coefficient = settings.l1_penalty.ok_or_else(|| missing("l1_penalty"))?;
    let objective = ObjectiveConfig::new().with_sparsity(Sparsity::Gate {
        coefficient,
        weighted: false,
        detached: true,
    });
    let map = dictionary_learning_key_map(&config);
    let warmup = settings.warmup();
    let situation = Situation {
        dead: None,
        sparsity_scale: Some(warmup),
    };
    let (sae, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    let x = fixture.input::<2>("x", device)?;
    let gate = burn::tensor::activation::relu(sae.pre_activations(x)?);
    check.output("gate_acts", gate)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("mse_loss", loss.reconstruction)?;
    // Recorded before its coefficient.
    term(
        check,
        "sparsity_loss",
        loss.sparsity,
        1.0 / (coefficient * warmup),
    )?;
    term(check, "aux_loss", loss.second, 1.0)?;
    check.output("loss", loss.total)
}

fn jumprelu_saelens(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::JumpRelu {
        threshold: Threshold::Log,
        bandwidth: settings.bandwidth.ok_or_else(|| missing("bandwidth"))?,
        initial: 0.01,
    });
    let coefficient = settings
        .l0_coefficient
        .ok_or_else(|| missing("l0_coefficient"))?;
    let sparsity = match settings.mode.as_deref() {
        Some("step") => Sparsity::Step { coefficient },
        Some("tanh") => Sparsity::Tanh {
            coefficient,
            scale: settings.tanh_scale.unwrap_or(4.0),
            pre_activation: settings.pre_act_loss_coefficient,
        },
        _ => return Err(missing("mode step or tanh")),
    };
    let objective = ObjectiveConfig::new().with_sparsity(sparsity);
    let map = saelens_key_map(&config);
    let dead = dead_mask(fixture, device)?;
    let situation = Situation {
        dead: dead.as_deref(),
        sparsity_scale: None,
    };
    let (sae, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    let x = fixture.input::<2>("x", device)?;
    check.output("hidden_pre", sae.pre_activations(x)?)?;
    check.output(
        "threshold",
        sae.thresholds().ok_or_else(|| missing("threshold"))?,
    )?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("mse_loss", loss.reconstruction)?;
    term(check, "l0_loss", loss.sparsity, 1.0)?;
    if check.expects("pre_act_loss") {
        term(check, "pre_act_loss", loss.second, 1.0)?;
    }
    check.output("loss", loss.total)
}

fn jumprelu_target(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let activation = Activation::JumpRelu {
        threshold: Threshold::Plain,
        bandwidth: settings.bandwidth.ok_or_else(|| missing("bandwidth"))?,
        initial: 0.001,
    };
    let config = settings
        .config(activation)
        .with_subtract_decoder_bias(false);
    let objective = ObjectiveConfig::new().with_sparsity(Sparsity::TargetL0 {
        coefficient: settings
            .sparsity_penalty
            .ok_or_else(|| missing("sparsity_penalty"))?,
        target: settings.target_l0.ok_or_else(|| missing("target_l0"))?,
    });
    let map = saelens_key_map(&config);
    let situation = Situation {
        dead: None,
        sparsity_scale: Some(settings.warmup()),
    };
    let (_, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    check.output("l0", output.codes.l0())?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("l2_loss", loss.reconstruction)?;
    term(check, "sparsity_loss", loss.sparsity, 1.0)?;
    check.output("loss", loss.total)
}

/// The weights as SAELens saves them.
fn check_folded(check: &mut Check, sae: SparseAutoencoder) -> Result<()> {
    let folded = sae.fold_decoder_norms();
    check.output("folded.W_enc", folded.encoder.val().transpose())?;
    check.output("folded.W_dec", folded.decoder.val())?;
    let bias = folded.b_enc.as_ref().ok_or_else(|| missing("b_enc"))?;
    check.output("folded.b_enc", bias.val())
}

fn topk_saelens(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::topk(settings.k()?));
    let coefficient = settings.aux_loss_coefficient.unwrap_or(1.0);
    let auxiliary = AuxK::new(Convention::SaeLens).with_coefficient(coefficient);
    let objective = ObjectiveConfig::new().with_auxiliary(Some(auxiliary));
    let map = saelens_key_map(&config);
    let dead = dead_mask(fixture, device)?;
    let situation = Situation {
        dead: dead.as_deref(),
        sparsity_scale: None,
    };
    let (sae, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    let x = fixture.input::<2>("x", device)?;
    check.output("hidden_pre", sae.pre_activations(x)?)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("mse_loss", loss.reconstruction)?;
    term(
        check,
        "auxiliary_reconstruction_loss",
        loss.auxiliary,
        coefficient,
    )?;
    check.output("loss", loss.total)?;
    check_folded(check, sae)
}

fn matryoshka_saelens(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::BatchTopK { k: settings.k()? });
    let widths = settings.matryoshka_widths.clone().unwrap_or_default();
    let coefficient = settings.aux_loss_coefficient.unwrap_or(1.0);
    let objective = ObjectiveConfig::new()
        .with_prefixes(Some(Prefixes::summed(widths.clone())))
        .with_auxiliary(Some(
            AuxK::new(Convention::SaeLens).with_coefficient(coefficient),
        ));
    let map = saelens_key_map(&config);
    let dead = dead_mask(fixture, device)?;
    let situation = Situation {
        dead: dead.as_deref(),
        sparsity_scale: None,
    };
    let (sae, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    for (width, prefix) in widths.iter().zip(&loss.prefixes) {
        let name = match *width == settings.d_sae {
            true => "mse_loss".to_owned(),
            false => format!("inner_mse_loss_{width}"),
        };
        check.output(&name, prefix.clone())?;
    }
    term(
        check,
        "auxiliary_reconstruction_loss",
        loss.auxiliary,
        coefficient,
    )?;
    check.output("loss", loss.total)?;

    let rule = ThresholdRule::Average {
        rate: settings
            .topk_threshold_lr
            .ok_or_else(|| missing("topk_threshold_lr"))?,
    };
    let before = match settings.topk_threshold_before {
        Some(before) => before,
        None => scalar(fixture, "topk_threshold")?,
    };
    let after = rule.update(Some(before), &output.codes, 0);
    check.output_data(
        "topk_threshold_after",
        single(after.unwrap_or_default().into()),
    )?;
    check_folded(check, sae.clone())?;
    let saved = sae
        .set_inference_threshold(after.unwrap_or_default())?
        .into_jump_relu()?;
    let threshold = saved.thresholds().ok_or_else(|| missing("threshold"))?;
    check.output("folded.threshold", threshold)
}

/// The auxiliary loss of dictionary_learning and what its counters become.
fn dictionary_learning_dead(
    fixture: &Fixture,
    device: &Device,
    settings: &Settings,
    config: &SaeConfig,
    map: &KeyMap,
) -> Result<DeadLatents> {
    let before = counters(fixture, "num_tokens_since_fired", device)?;
    let limit = settings.dead_feature_threshold.unwrap_or(10_000_000);
    let mut dead = DeadLatents::from_counters(before, limit, 0.0);
    let sae = fixture.load(config.init(device)?, map)?;
    let x = fixture.input::<2>("x", device)?;
    let rows = x.dims()[0];
    dead.update(&sae.encode_training(x)?, rows as u64);
    Ok(dead)
}

fn topk_dictionary_learning(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::topk(settings.k()?));
    let map = dictionary_learning_key_map(&config);
    let dead = dictionary_learning_dead(fixture, device, &settings, &config, &map)?;
    let mut auxiliary = AuxK::new(Convention::DictionaryLearning)
        .with_coefficient(settings.auxk_alpha.unwrap_or(1.0 / 32.0));
    auxiliary.k = settings.top_k_aux;
    let objective = ObjectiveConfig::new().with_auxiliary(Some(auxiliary));
    let mask = dead.mask();
    let situation = Situation {
        dead: Some(&mask),
        sparsity_scale: None,
    };
    let (sae, loss, output, gradients) =
        run_with_gradients(fixture, device, check, &config, &map, &objective, situation)?;
    let (values, _) = output
        .codes
        .to_sparse()
        .ok_or_else(|| missing("k per row"))?;
    check.output("topk_values_sorted", values)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction.clone())?;
    check.output("l2_loss", loss.reconstruction)?;
    term(check, "auxk_loss", loss.auxiliary, 1.0)?;
    check.output("loss", loss.total)?;
    check.output_data("num_tokens_since_fired_after", integers(dead.counters()))?;

    let gradient = sae
        .decoder
        .grad(&gradients)
        .ok_or_else(|| missing("gradient"))?;
    let decoder = sae.decoder.val().without_autodiff();
    let projected = menagerie_sae::sae::project(gradient, decoder, f64::from(f32::EPSILON));
    check.output("decoder_grad_projected", projected.transpose())?;

    let rule = ThresholdRule::RowsSetThenAverage {
        beta: settings.threshold_beta.unwrap_or(0.999),
        start: 0,
    };
    let before = scalar(fixture, "threshold")?;
    let after = rule.update((before >= 0.0).then_some(before), &output.codes, 0);
    check.output_data("threshold_after", single(after.unwrap_or_default().into()))?;
    let threshold = fixture.input_data("threshold_for_inference")?.clone();
    let threshold = threshold
        .convert::<f32>()
        .as_slice::<f32>()
        .unwrap_or_default()[0];
    let x = fixture.input::<2>("x", device)?;
    let codes = sae
        .set_inference_threshold(threshold)?
        .encode_thresholded(x)?;
    check.output("feature_acts_thresholded", codes.to_dense())
}

fn batchtopk_dictionary_learning(
    fixture: &Fixture,
    device: &Device,
    check: &mut Check,
) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::BatchTopK { k: settings.k()? });
    let map = dictionary_learning_key_map(&config);
    let dead = dictionary_learning_dead(fixture, device, &settings, &config, &map)?;
    let auxiliary = AuxK::new(Convention::DictionaryLearning)
        .with_coefficient(settings.auxk_alpha.unwrap_or(1.0 / 32.0));
    let objective = ObjectiveConfig::new().with_auxiliary(Some(auxiliary));
    let mask = dead.mask();
    let situation = Situation {
        dead: Some(&mask),
        sparsity_scale: None,
    };
    let (sae, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction.clone())?;
    check.output("l2_loss", loss.reconstruction)?;
    term(check, "auxk_loss", loss.auxiliary, 1.0)?;
    check.output("loss", loss.total)?;
    check.output_data("num_tokens_since_fired_after", integers(dead.counters()))?;
    let rule = ThresholdRule::SetThenAverage {
        beta: settings.threshold_beta.unwrap_or(0.999),
        start: 0,
    };
    let before = match settings.threshold_before {
        Some(before) => before,
        None => scalar(fixture, "threshold")?,
    };
    let after = rule.update((before >= 0.0).then_some(before), &output.codes, 0);
    let after = after.ok_or_else(|| missing("threshold"))?;
    check.output_data("threshold_after", single(after.into()))?;
    let x = fixture.input::<2>("x", device)?;
    let sae = sae.set_inference_threshold(before)?;
    let inference = sae.forward(x)?;
    check.output("feature_acts_inference", inference.codes.to_dense())?;
    check.output("sae_out_inference", inference.reconstruction)
}

fn matryoshka_dictionary_learning(
    fixture: &Fixture,
    device: &Device,
    check: &mut Check,
) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let config = settings.config(Activation::BatchTopK { k: settings.k()? });
    let map = saelens_key_map(&config)
        .rename("threshold", "batch_threshold")
        .ignore("k")
        .ignore("group_sizes");
    let groups = settings
        .group_sizes
        .as_deref()
        .ok_or_else(|| missing("group_sizes"))?;
    let weights = settings
        .group_weights
        .as_deref()
        .ok_or_else(|| missing("group_weights"))?;
    let dead = dictionary_learning_dead(fixture, device, &settings, &config, &map)?;
    let auxiliary = AuxK::new(Convention::DictionaryLearning)
        .with_coefficient(settings.auxk_alpha.unwrap_or(1.0 / 32.0));
    let objective = ObjectiveConfig::new()
        .with_prefixes(Some(Prefixes::averaged(groups, weights)))
        .with_auxiliary(Some(auxiliary));
    let mask = dead.mask();
    let situation = Situation {
        dead: Some(&mask),
        sparsity_scale: None,
    };
    let (_, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("l2_loss", loss.reconstruction)?;
    term(check, "auxk_loss", loss.auxiliary, 1.0)?;
    check.output("loss", loss.total)
}

fn topk_openai(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let inference = settings
        .config(Activation::topk(settings.k()?))
        .with_normalization(Normalization::LayerNorm);
    let map = openai_key_map(&inference);
    let sae = fixture.load(inference.init(device)?, &map)?;
    let x = fixture.input::<2>("x", device)?;
    check.output("latents_pre_act", sae.pre_activations(x.clone())?)?;
    let output = sae.forward(x)?;
    check.output("latents", output.codes.to_dense())?;
    check.output("recons", output.reconstruction)?;
    let normalised = fixture.input::<2>("x_normalised", device)?;
    let raw = fixture.input::<2>("x", device)?;
    check.output("x_normalised", sae.normalize(raw)?)?;

    // Training sees inputs that are normalised already.
    let config = inference.with_normalization(Normalization::None);
    let scale = 1.0 / menagerie_sae::sae::training::sample_variance(normalised.clone());
    check.output_data("mse_scale", single(scale))?;
    let training = fixture.load(config.init(&device.clone().autodiff())?, &map)?;
    let before = counters(fixture, "stats_last_nonzero", device)?;
    let limit = settings
        .dead_steps_threshold
        .ok_or_else(|| missing("dead_steps_threshold"))?;
    let mut dead =
        DeadLatents::from_counters(before, limit + 1, settings.fired_threshold.unwrap_or(1e-3));
    dead.update(&training.encode_training(normalised.clone())?, 1);
    let coefficient = settings.auxk_coef.unwrap_or(1.0 / 32.0);
    let mut auxiliary = AuxK::new(Convention::OpenAi).with_coefficient(coefficient);
    auxiliary.k = settings.auxk;
    let objective = ObjectiveConfig::new()
        .with_reconstruction(Reconstruction::ScaledMean(scale))
        .with_auxiliary(Some(auxiliary));
    let mask = dead.mask();
    let situation = Situation {
        dead: Some(&mask),
        sparsity_scale: None,
    };
    let autodiff = device.clone().autodiff();
    let x = fixture.input::<2>("x_normalised", &autodiff)?;
    let (loss, output) = training.loss(x, None, &objective, situation)?;
    let gradients = loss.total.clone().backward();
    check.gradients(&training, &gradients, &map)?;
    check.output("train_recons", output.reconstruction)?;
    check.output("train_mse", loss.reconstruction)?;
    term(check, "train_auxk", loss.auxiliary, 1.0)?;
    check.output("train_loss", loss.total)?;
    // The reference adds the step after it has set the counters of active latents to 0.
    let after: Vec<u64> = dead.counters().iter().map(|&age| age.max(1)).collect();
    check.output_data("stats_last_nonzero_after", integers(&after))
}

fn sparsify(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let activation = Activation::TopK {
        k: settings.k()?,
        leaky_gradient: true,
    };
    let transcode = settings.transcode.unwrap_or(false);
    let mut config = settings
        .config(activation)
        .with_subtract_decoder_bias(!transcode)
        .with_skip(settings.skip_connection.unwrap_or(false));
    if transcode {
        let bias = fixture.param::<1>("b_dec", device)?;
        config = config.with_d_out(Some(bias.dims()[0]));
    }
    let map = sparsify_key_map(&config);
    let multi = settings.multi_topk.unwrap_or(false);
    let objective = ObjectiveConfig::new()
        .with_reconstruction(Reconstruction::Fvu)
        .with_auxiliary(Some(AuxK::new(Convention::Sparsify)))
        .with_multi_topk(multi.then_some(1.0 / 8.0));
    let dead = dead_mask(fixture, device)?;
    let situation = Situation {
        dead: dead.as_deref(),
        sparsity_scale: None,
    };
    let (sae, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    check.output("fvu", loss.reconstruction)?;
    term(check, "auxk_loss", loss.auxiliary, 1.0)?;
    term(check, "multi_topk_fvu", loss.multi_topk, 1.0)?;
    check.output("loss", loss.total)?;
    // With the second decoding, the reference returns the codes of that one.
    let output = match multi {
        false => output,
        true => {
            let k = (4 * settings.k()?).min(settings.d_sae);
            let activation = Activation::topk(k);
            let config = SaeConfig {
                activation,
                ..config
            };
            sae.with_config(config)?
                .forward(fixture.input("x", device)?)?
        }
    };
    check.output("latents_dense", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)
}

fn ties(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Ties {
        k: usize,
        batchtopk_k: usize,
    }
    use menagerie_nn::sparse::{Pattern, topk};
    let settings: Ties = fixture.config()?;
    let h = fixture.input::<2>("pre_acts", device)?;
    let (values, _) = topk(h.clone(), settings.k);
    check.output("topk_values_sorted", values)?;
    let pattern = Pattern::topk(&h, settings.k);
    let kept = burn::tensor::activation::relu(pattern.scatter(pattern.gather(h.clone())));
    check.output_int(
        "kept_positive",
        kept.clone()
            .greater_elem(0.0)
            .int()
            .sum_dim(1)
            .squeeze_dim::<1>(1),
    )?;
    check.output("kept_sum", kept.clone().sum_dim(1).squeeze_dim::<1>(1))?;
    let decoder = fixture.param::<2>("W_dec", device)?;
    // Rows where every choice among equals gives the same reconstruction. A sum of floats depends
    // on its order, which every matrix product chooses for itself: equal up to rounding.
    let names = fixture.expected().filter_map(|(name, _)| {
        let name = name.strip_prefix("out/")?;
        let rows = name.strip_prefix("recon_rows_")?;
        let rows: Option<Vec<i64>> = rows.split('_').map(|row| row.parse().ok()).collect();
        Some((name.to_owned(), rows?))
    });
    for (name, rows) in names.collect::<Vec<_>>() {
        let rows = Tensor::from_data(rows.as_slice(), device);
        check.within(&name, 1e-6);
        check.output(&name, kept.clone().select(0, rows).matmul(decoder.clone()))?;
    }
    let positive = burn::tensor::activation::relu(h.clone());
    let all = Pattern::topk_of_all(&positive, settings.batchtopk_k * h.dims()[0]);
    let batch = all.gather(positive);
    check.output("batchtopk_sum", batch.clone().sum())?;
    check.output("batchtopk_values_sorted", batch.sort_descending(0))?;
    // Which of equal entries wins is not defined: recorded for information.
    let data = fixture
        .expected()
        .find(|(name, _)| *name == "out/topk_indices_torch_cpu")
        .map(|(_, data)| data.clone());
    if let Some(data) = data {
        let theirs = Tensor::<2, burn::tensor::Int>::from_data(data.clone(), device);
        check.output("topk_values_sorted", h.gather(1, theirs))?;
        check.output_data("topk_indices_torch_cpu", data)?;
    }
    Ok(())
}

fn transcoders(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let x = fixture.input::<2>("x", device)?;
    let base = settings
        .config(Activation::Relu)
        .with_subtract_decoder_bias(false)
        .with_d_out(settings.d_out);
    let plain = saelens_key_map(&base).ignore("W_skip").ignore("threshold");
    let output = fixture
        .load(base.init(device)?, &plain)?
        .forward(x.clone())?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("out_transcoder", output.reconstruction)?;

    let config = base.clone().with_skip(true);
    let map = saelens_key_map(&config).ignore("threshold");
    let output = fixture
        .load(config.init(device)?, &map)?
        .forward(x.clone())?;
    check.output("out_skip", output.reconstruction)?;

    let config = SaeConfig {
        activation: Activation::jump_relu_plain(),
        ..base
    };
    let map = saelens_key_map(&config).ignore("W_skip");
    let output = fixture.load(config.init(device)?, &map)?.forward(x)?;
    check.output("feature_acts_jump", output.codes.to_dense())?;
    check.output("out_jump", output.reconstruction)
}

fn normalisation(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let x = fixture.input::<2>("x", device)?;
    let base = settings.config(Activation::Relu);
    let map = saelens_key_map(&base);
    for (name, normalization) in [
        ("none", Normalization::None),
        ("constant_norm_rescale", Normalization::ConstantNorm),
        ("layer_norm", Normalization::LayerNorm),
    ] {
        let config = base.clone().with_normalization(normalization);
        let output = fixture
            .load(config.init(device)?, &map)?
            .forward(x.clone())?;
        check.output(&format!("{name}.feature_acts"), output.codes.to_dense())?;
        check.output(&format!("{name}.sae_out"), output.reconstruction)?;
    }
    let sae = fixture.load(base.init(device)?, &map)?;
    let error = sae.forward_with_error(x.clone(), |codes| codes)?;
    check.output("error_term.sae_out", error)?;
    let heads = fixture.input::<4>("z", device)?;
    check.output("hook_z.sae_out", sae.reconstruct(heads)?)?;

    let parts = |check: &mut Check, name: &str, sae: &SparseAutoencoder| -> Result<()> {
        check.output(&format!("{name}.W_enc"), sae.encoder.val().transpose())?;
        check.output(&format!("{name}.W_dec"), sae.decoder.val())?;
        check.output(&format!("{name}.b_dec"), sae.b_dec.val())?;
        let bias = sae.b_enc.as_ref().ok_or_else(|| missing("b_enc"))?;
        check.output(&format!("{name}.b_enc"), bias.val())
    };
    let folded = sae.clone().fold_decoder_norms();
    parts(check, "folded_norm", &folded)?;
    let output = folded.forward(x.clone())?;
    check.output("folded_norm.feature_acts", output.codes.to_dense())?;
    check.output("folded_norm.sae_out", output.reconstruction)?;
    let scale = settings
        .scaling_factor
        .ok_or_else(|| missing("scaling_factor"))?;
    let folded = sae.fold_scale(scale)?;
    parts(check, "folded_scale", &folded)?;
    check.output(
        "folded_scale.sae_out",
        folded.forward(x.clone())?.reconstruction,
    )?;
    // The reference averaged over three batches: x, 2 x and x / 2.
    let norms: Tensor<1> = x.square().sum_dim(1).sqrt().squeeze_dim(1);
    let mean = (norms.clone() + norms.clone() * 2.0 + norms * 0.5).mean() / 3.0;
    let expected = mean.recip() * (settings.d_in as f64).sqrt();
    check.output("expected_average_scaling_factor", expected)
}
