//! Variants in the conventions of dictionary_learning.

use super::variants::{
    Settings, case, counters, integers, missing, run, run_with_gradients, scalar, single, term,
};
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::KeyMap;
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::sae::{
    Activation, AuxK, Convention, ObjectiveConfig, Prefixes, SaeConfig, Situation, Sparsity,
    Threshold,
    training::{DeadLatents, ThresholdRule},
    weights::{dictionary_learning_key_map, saelens_key_map},
};

pub const CASES: &[Case] = &[
    case("gated_dictionary_learning", gated_dictionary_learning),
    case("jumprelu_target_l0_dictionary_learning", jumprelu_target),
    case("topk_auxk_dictionary_learning", topk_dictionary_learning),
    case(
        "batchtopk_dictionary_learning",
        batchtopk_dictionary_learning,
    ),
    case(
        "matryoshka_dictionary_learning",
        matryoshka_dictionary_learning,
    ),
];

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
        ..Situation::default()
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
        ..Situation::default()
    };
    let (_, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    check.output("l0", output.codes.l0())?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("l2_loss", loss.reconstruction)?;
    term(check, "sparsity_loss", loss.sparsity, 1.0)?;
    check.output("loss", loss.total)
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
    // The objective itself has to find out who is dead after the batch.
    let ages = counters(fixture, "num_tokens_since_fired", device)?;
    let limit = settings.dead_feature_threshold.unwrap_or(10_000_000);
    let before = DeadLatents::from_counters(ages, limit, 0.0);
    let rows = fixture.input::<2>("x", device)?.dims()[0];
    let situation = Situation {
        silent: Some((&before, rows as u64)),
        ..Situation::default()
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
    let after = rule.update((before >= 0.0).then_some(before), &output.codes, 1);
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
        ..Situation::default()
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
    let after = rule.update((before >= 0.0).then_some(before), &output.codes, 1);
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
        ..Situation::default()
    };
    let (_, loss, output) = run(fixture, device, check, &config, &map, &objective, situation)?;
    check.output("feature_acts", output.codes.to_dense())?;
    check.output("sae_out", output.reconstruction)?;
    check.output("l2_loss", loss.reconstruction)?;
    term(check, "auxk_loss", loss.auxiliary, 1.0)?;
    check.output("loss", loss.total)
}
