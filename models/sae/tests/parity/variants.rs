//! Forward passes, objectives and gradients of every variant.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::KeyMap;
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::sae::{
    Activation, AuxK, Convention, Normalization, ObjectiveConfig, Prefixes, SaeConfig, SaeLoss,
    SaeOutput, Situation, SparseAutoencoder, Sparsity, Threshold,
    training::{ThresholdRule, sparsity_warmup},
    weights::saelens_key_map,
};
use serde::Deserialize;

pub const CASES: &[Case] = &[
    case("standard_april_l1", standard_april),
    case("gated_saelens", gated_saelens),
    case("jumprelu_step_saelens", jumprelu_saelens),
    case("jumprelu_tanh_preact_saelens", jumprelu_saelens),
    case("topk_aux_saelens", topk_saelens),
    case("matryoshka_batchtopk_saelens", matryoshka_saelens),
    case("topk_ties", ties),
    case("transcoders_saelens", transcoders),
    case("normalisation_and_folding", normalisation),
];

pub const fn case(
    name: &'static str,
    run: fn(&Fixture, &Device, &mut Check) -> Result<()>,
) -> Case {
    Case {
        slug: "sae-base",
        case: name,
        run,
    }
}

/// What the fixtures' configs say; each case reads its own part.
#[derive(Deserialize)]
pub struct Settings {
    pub d_in: usize,
    pub d_out: Option<usize>,
    #[serde(alias = "num_latents")]
    pub d_sae: usize,
    pub k: Option<usize>,
    pub l1_coefficient: Option<f64>,
    pub lp_norm: Option<f64>,
    pub apply_b_dec_to_input: Option<bool>,
    pub l1_penalty: Option<f64>,
    pub step: Option<usize>,
    pub sparsity_warmup_steps: Option<usize>,
    pub mode: Option<String>,
    pub bandwidth: Option<f64>,
    pub l0_coefficient: Option<f64>,
    pub tanh_scale: Option<f64>,
    pub pre_act_loss_coefficient: Option<f64>,
    pub sparsity_penalty: Option<f64>,
    pub target_l0: Option<f64>,
    pub rescale_acts_by_decoder_norm: Option<bool>,
    pub aux_loss_coefficient: Option<f64>,
    pub matryoshka_widths: Option<Vec<usize>>,
    pub topk_threshold_lr: Option<f64>,
    pub topk_threshold_before: Option<f32>,
    pub auxk_alpha: Option<f64>,
    pub top_k_aux: Option<usize>,
    pub dead_feature_threshold: Option<u64>,
    pub threshold_beta: Option<f64>,
    pub threshold_before: Option<f32>,
    pub group_sizes: Option<Vec<usize>>,
    pub group_weights: Option<Vec<f64>>,
    pub auxk: Option<usize>,
    pub dead_steps_threshold: Option<u64>,
    pub auxk_coef: Option<f64>,
    pub fired_threshold: Option<f32>,
    pub multi_topk: Option<bool>,
    pub skip_connection: Option<bool>,
    pub transcode: Option<bool>,
    pub scaling_factor: Option<f64>,
}

impl Settings {
    pub fn config(&self, activation: Activation) -> SaeConfig {
        SaeConfig::new(self.d_in, self.d_sae, activation)
            .with_subtract_decoder_bias(self.apply_b_dec_to_input.unwrap_or(true))
            .with_rescale_by_decoder_norm(self.rescale_acts_by_decoder_norm.unwrap_or(false))
    }

    pub fn k(&self) -> Result<usize> {
        self.k.ok_or_else(|| missing("k"))
    }

    pub fn warmup(&self) -> f64 {
        match (self.step, self.sparsity_warmup_steps) {
            (Some(step), Some(steps)) => sparsity_warmup(step, steps),
            _ => 1.0,
        }
    }
}

pub fn missing(field: &str) -> Error {
    Error::input(field, "missing", "the case needs it in its config")
}

pub fn scalar(fixture: &Fixture, key: &str) -> Result<f32> {
    let data = fixture.param_data(key)?.clone().convert::<f32>();
    let value = data
        .as_slice::<f32>()
        .ok()
        .and_then(|data| data.first().copied());
    value.ok_or_else(|| missing(key))
}

pub fn dead_mask(fixture: &Fixture, device: &Device) -> Result<Option<Vec<bool>>> {
    if !fixture.has_input("dead_mask") {
        return Ok(None);
    }
    let mask = fixture.input_int::<1>("dead_mask", device)?.into_data();
    let mask = mask.convert::<i64>();
    let mask = mask.as_slice::<i64>().unwrap_or_default();
    Ok(Some(mask.iter().map(|&dead| dead != 0).collect()))
}

pub fn counters(fixture: &Fixture, name: &str, device: &Device) -> Result<Vec<u64>> {
    let data = fixture
        .input_int::<1>(name, device)?
        .into_data()
        .convert::<i64>();
    let data = data.as_slice::<i64>().unwrap_or_default();
    Ok(data.iter().map(|&count| count as u64).collect())
}

pub fn integers(values: &[u64]) -> TensorData {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    TensorData::from(values.as_slice())
}

pub fn single(value: f64) -> TensorData {
    TensorData::from([value as f32])
}

/// Loads, evaluates the objective and compares the gradients.
pub fn run(
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

pub fn run_with_gradients(
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

pub fn term(check: &mut Check, name: &str, term: Option<Tensor<1>>, scale: f64) -> Result<()> {
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
        ..Situation::default()
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

/// The weights as SAELens saves them.
fn check_folded(check: &mut Check, sae: SparseAutoencoder) -> Result<()> {
    let folded = sae.fold_decoder_norms()?;
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
        ..Situation::default()
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
        ..Situation::default()
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
    let folded = sae.clone().fold_decoder_norms()?;
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
