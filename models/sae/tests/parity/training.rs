//! Training steps, resampling, schedules and metrics.

use super::host::host;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_hub::KeyMap;
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::{
    activations::geometric_median,
    host::HookPoint,
    sae::{
        Activation, ObjectiveConfig, SaeConfig, Situation, SparseAutoencoder, Sparsity,
        metrics::{QualityMeter, splice_sae},
        training::{
            Constraint, PAnneal, RateSchedule, SaeTrainer, SaeTrainingConfig, error_norms,
            sparsity_warmup,
        },
        weights::{dictionary_learning_key_map, saelens_key_map},
    },
};
use menagerie_train::{Adam, AdamConfig};
use serde::Deserialize;

pub const CASES: &[Case] = &[
    case("standard_unit_norm_training", unit_norm),
    case("p_anneal", annealing),
    case("resample_dead", resample),
    case("init_and_schedules", schedules),
    case("splice_metrics", metrics),
];

const fn case(name: &'static str, run: fn(&Fixture, &Device, &mut Check) -> Result<()>) -> Case {
    Case {
        slug: "sae-base",
        case: name,
        run,
    }
}

fn missing(field: &str) -> Error {
    Error::input(field, "missing", "the case needs it")
}

fn single(value: f64) -> TensorData {
    TensorData::from([value as f32])
}

fn floats(values: &[f64]) -> TensorData {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    TensorData::from(values.as_slice())
}

/// A trainer of dictionary_learning's `AutoEncoder` with the fixture's weights.
fn trainer(
    fixture: &Fixture,
    device: &Device,
    [d_in, d_sae]: [usize; 2],
    config: SaeTrainingConfig,
) -> Result<(SaeTrainer, KeyMap)> {
    let sae = SaeConfig::new(d_in, d_sae, Activation::Relu);
    let map = dictionary_learning_key_map(&sae);
    let sae = fixture.load(sae.init(&device.clone().autodiff())?, &map)?;
    Ok((SaeTrainer::new(sae, config, Seed(0))?, map))
}

/// The batch of step `step` from inputs `[steps, n, d]`.
fn batch(fixture: &Fixture, device: &Device, step: usize) -> Result<Tensor<2>> {
    let x = fixture.input::<3>("x", &device.clone().autodiff())?;
    Ok(x.slice_dim(0, step).squeeze_dim::<2>(0))
}

/// The unclipped objective with plain weights on latents.
fn dictionary_learning(
    coefficient: f64,
    p: f64,
    power: bool,
    rate: RateSchedule,
    sparsity_warmup: usize,
) -> SaeTrainingConfig {
    let sparsity = Sparsity::Lp {
        coefficient,
        weighted: false,
        p,
        power,
    };
    let objective = ObjectiveConfig::new().with_sparsity(sparsity);
    SaeTrainingConfig::new(objective, rate)
        .with_clip(None)
        .with_constraint(Constraint::ProjectStepNormalize)
        .with_sparsity_warmup(sparsity_warmup)
}

/// Compares the raw gradient of the objective before a step.
fn check_gradient(
    check: &mut Check,
    trainer: &SaeTrainer,
    map: &KeyMap,
    x: Tensor<2>,
    objective: &ObjectiveConfig,
    scale: f64,
) -> Result<()> {
    let situation = Situation {
        dead: None,
        sparsity_scale: Some(scale),
        ..Situation::default()
    };
    let (loss, _) = trainer.sae.loss(x, None, objective, situation)?;
    check.gradients(&trainer.sae, &loss.total.backward(), map)
}

fn unit_norm(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        d_in: usize,
        d_sae: usize,
        lr: f64,
        l1_penalty: f64,
        warmup_steps: usize,
        sparsity_warmup_steps: usize,
        steps: usize,
        betas: [f64; 2],
        eps: f64,
    }
    let settings: Settings = fixture.config()?;
    let rate = RateSchedule::DictionaryLearning {
        rate: settings.lr,
        warmup: settings.warmup_steps,
        decay_start: None,
        total: settings.steps,
    };
    let warmup = settings.sparsity_warmup_steps;
    let config = dictionary_learning(settings.l1_penalty, 1.0, false, rate.clone(), warmup)
        .with_adam(AdamConfig {
            beta_1: settings.betas[0],
            beta_2: settings.betas[1],
            epsilon: settings.eps,
        });
    let objective = config.objective.clone();
    let sizes = [settings.d_in, settings.d_sae];
    let (mut trainer, map) = trainer(fixture, device, sizes, config)?;
    for step in 0..settings.steps {
        let x = batch(fixture, device, step)?;
        if step == 1 {
            let scale = sparsity_warmup(step, warmup);
            check_gradient(check, &trainer, &map, x.clone(), &objective, scale)?;
        }
        check.output_data(&format!("lr_step{step}"), single(rate.at(step)))?;
        let scalars = trainer.step(step, x, None)?;
        let loss = scalars.read()?.get("loss").ok_or_else(|| missing("loss"))?;
        check.output_data(&format!("loss_step{step}"), single(loss))?;
        if check.expects(&format!("after_step{step}.bias")) {
            check.parameters(&format!("after_step{step}."), &trainer.sae, &map)?;
        }
    }
    Ok(())
}

fn annealing(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        d_in: usize,
        d_sae: usize,
        steps: usize,
        lr: f64,
        warmup_steps: usize,
        sparsity_warmup_steps: usize,
        sparsity_function: String,
        initial_sparsity_penalty: f64,
        anneal_start: usize,
        anneal_end: usize,
        p_start: f64,
        p_end: f64,
        n_sparsity_updates: usize,
        sparsity_queue_length: usize,
    }
    let settings: Settings = fixture.config()?;
    let power = match settings.sparsity_function.as_str() {
        "Lp^p" => true,
        "Lp" => false,
        _ => return Err(missing("sparsity_function Lp or Lp^p")),
    };
    let rate = RateSchedule::DictionaryLearning {
        rate: settings.lr,
        warmup: settings.warmup_steps,
        decay_start: None,
        total: settings.steps,
    };
    let plan = PAnneal {
        p_start: settings.p_start,
        p_end: settings.p_end,
        start: settings.anneal_start,
        end: settings.anneal_end,
        updates: settings.n_sparsity_updates,
        queue: settings.sparsity_queue_length,
        coefficient: settings.initial_sparsity_penalty,
    };
    let warmup = settings.sparsity_warmup_steps;
    let config = dictionary_learning(plan.coefficient, plan.p_start, power, rate, warmup)
        .with_anneal(Some(plan));
    let sizes = [settings.d_in, settings.d_sae];
    let (mut trainer, map) = trainer(fixture, device, sizes, config)?;
    let (mut losses, mut penalties) = (vec![], vec![]);
    let (mut exponents, mut coefficients) = (vec![], vec![]);
    // Where the step of the recorded gradient is stated in words only, it is the second with p < 1.
    let recorded = gradient_step(fixture);
    let mut below_one = 0;
    for step in 0..settings.steps {
        let x = batch(fixture, device, step)?;
        let state = trainer.anneal.clone().ok_or_else(|| missing("anneal"))?;
        let scale = sparsity_warmup(step, warmup);
        below_one += usize::from(state.p < 1.0);
        if recorded.map_or(state.p < 1.0 && below_one == 2, |recorded| step == recorded) {
            let objective = ObjectiveConfig::new().with_sparsity(Sparsity::Lp {
                coefficient: state.coefficient,
                weighted: false,
                p: state.p,
                power,
            });
            check_gradient(check, &trainer, &map, x.clone(), &objective, scale)?;
        }
        let z = trainer.sae.encode(x.clone())?.to_dense().without_autodiff();
        let sum = menagerie_sae::sae::objective::lp_sum(z, state.p);
        let sum = match power {
            true => sum,
            false => sum.powf_scalar(1.0 / state.p),
        };
        penalties.push(value(sum.mean())?);
        let scalars = trainer.step(step, x, None)?;
        losses.push(scalars.read()?.get("loss").ok_or_else(|| missing("loss"))?);
        let state = trainer.anneal.as_ref().ok_or_else(|| missing("anneal"))?;
        exponents.push(state.p);
        coefficients.push(state.coefficient);
    }
    check.output_data("loss_per_step", floats(&losses))?;
    check.output_data("lp_loss_per_step", floats(&penalties))?;
    check.output_data("p_after_step", floats(&exponents))?;
    check.output_data("sparsity_coeff_after_step", floats(&coefficients))
}

/// The step in `notes`: "… raw gradients at step 13 …".
fn gradient_step(fixture: &Fixture) -> Option<usize> {
    let (_, rest) = fixture
        .metadata("notes")?
        .split_once("gradients at step ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn value(tensor: Tensor<1>) -> Result<f64> {
    let data = tensor.into_data().convert::<f64>();
    let value = data
        .as_slice::<f64>()
        .ok()
        .and_then(|data| data.first().copied());
    value.ok_or_else(|| missing("value"))
}

fn resample(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        d_in: usize,
        d_sae: usize,
        scale: f64,
    }
    let settings: Settings = fixture.config()?;
    let config = SaeConfig::new(settings.d_in, settings.d_sae, Activation::Relu);
    let map = dictionary_learning_key_map(&config);
    let sae = fixture.load(config.init(device)?, &map)?;
    let x = fixture.input::<2>("x", device)?;
    check.output("per_sample_loss", error_norms(&sae, x.clone())?)?;

    let mut adam = Adam::new(AdamConfig::default())?;
    let flat = |t: Tensor<2>| {
        let len = t.dims().iter().product::<usize>();
        t.reshape([len])
    };
    // Weights are recorded `[F, d]` for the encoder and `[d, F]` for the decoder.
    let weight = |name: &str, moment: &str| -> Result<Tensor<1>> {
        let t = fixture.input::<2>(&format!("adam.{name}.weight.{moment}"), device)?;
        Ok(flat(match name {
            "decoder" => t.transpose(),
            _ => t,
        }))
    };
    let vector = |name: &str, moment: &str| -> Result<Tensor<1>> {
        fixture.input::<1>(&format!("adam.{name}.{moment}"), device)
    };
    let bias = sae.b_enc.as_ref().ok_or_else(|| missing("b_enc"))?.id;
    let (encoder, decoder, b_dec) = (sae.encoder.id, sae.decoder.id, sae.b_dec.id);
    let pair = |read: &dyn Fn(&str) -> Result<Tensor<1>>| -> Result<[Tensor<1>; 2]> {
        Ok([read("exp_avg")?, read("exp_avg_sq")?])
    };
    adam.set_moments(encoder, pair(&|moment| weight("encoder", moment))?);
    adam.set_moments(decoder, pair(&|moment| weight("decoder", moment))?);
    adam.set_moments(bias, pair(&|moment| vector("encoder.bias", moment))?);
    adam.set_moments(b_dec, pair(&|moment| vector("bias", moment))?);

    let integers = |name: &str| -> Result<Vec<usize>> {
        let data = fixture
            .input_int::<1>(name, device)?
            .into_data()
            .convert::<i64>();
        let data = data.as_slice::<i64>().unwrap_or_default();
        Ok(data.iter().map(|&value| value as usize).collect())
    };
    let dead: Vec<bool> = integers("dead_mask")?
        .iter()
        .map(|&dead| dead != 0)
        .collect();
    let drawn = integers("sampled_indices")?;
    let sae = sae.resample(&mut adam, x, &dead, &drawn, settings.scale)?;
    check.parameters("after.", &sae, &map)?;
    let after = |id| adam.moments(id).ok_or_else(|| missing("moments"));
    for (index, moment) in ["exp_avg", "exp_avg_sq"].into_iter().enumerate() {
        let shape = [settings.d_sae, settings.d_in];
        let weight = |id| -> Result<Tensor<2>> { Ok(after(id)?[index].clone().reshape(shape)) };
        check.output(
            &format!("after.adam.encoder.weight.{moment}"),
            weight(encoder)?,
        )?;
        let decoder = weight(decoder)?.transpose();
        check.output(&format!("after.adam.decoder.weight.{moment}"), decoder)?;
        for (name, id) in [("encoder.bias", bias), ("bias", b_dec)] {
            check.output(
                &format!("after.adam.{name}.{moment}"),
                after(id)?[index].clone(),
            )?;
        }
    }
    Ok(())
}

/// The number behind `word` in one of the parts of a name, e.g. 4 in `dl_lr_warmup4_decay12`.
fn number(name: &str, word: &str) -> Option<usize> {
    let part = name.split('_').find_map(|part| part.strip_prefix(word));
    part?.parse().ok()
}

fn schedules(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        base_lr: f64,
        lr_end: f64,
    }
    let settings: Settings = fixture.config()?;
    let x = fixture.input::<2>("x", device)?;
    check.output("mean", x.clone().mean_dim(0).squeeze_dim::<1>(0))?;
    check.output("geometric_median", geometric_median(x)?)?;
    let recorded: Vec<(String, usize)> = fixture
        .expected()
        .filter_map(|(name, data)| {
            let name = name.strip_prefix("out/")?;
            (name.starts_with("dl_") || name.starts_with("saelens_"))
                .then(|| (name.to_owned(), data.shape().iter().product()))
        })
        .collect();
    for (name, steps) in recorded {
        let field = |word: &str| number(&name, word).ok_or_else(|| missing(word));
        // Rates of dictionary_learning are recorded relative to the peak.
        let at: Box<dyn Fn(usize) -> f64> = if name.starts_with("dl_sparsity") {
            let warmup = field("warmup")?;
            Box::new(move |step| sparsity_warmup(step, warmup))
        } else if name.starts_with("saelens_coefficient") {
            let (warmup, last) = (field("warmup")?, field("final")? as f64);
            Box::new(move |step| last * sparsity_warmup(step, warmup))
        } else {
            let rate = if name.starts_with("dl_lr_resample") {
                RateSchedule::Resampling {
                    rate: 1.0,
                    warmup: field("warmup")?,
                    every: field("resample")?,
                }
            } else if name.starts_with("dl_lr") {
                RateSchedule::DictionaryLearning {
                    rate: 1.0,
                    warmup: field("warmup")?,
                    decay_start: Some(field("decay")?),
                    total: field("total")?,
                }
            } else {
                check.within(&name, 1e-9);
                RateSchedule::SaeLens {
                    rate: settings.base_lr,
                    warmup: field("warm")?,
                    decay: field("decay")?,
                    total: field("total")?,
                    cosine_to: name.contains("cosine").then_some(settings.lr_end),
                }
            };
            rate.validate()?;
            Box::new(move |step| rate.at(step))
        };
        let values: Vec<f64> = (0..steps).map(at).collect();
        check.output_data(&name, floats(&values))?;
    }
    Ok(())
}

fn metrics(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        n_embd: usize,
        d_sae: usize,
        site: String,
    }
    let settings: Settings = fixture.config()?;
    let model = host("gpt2", fixture, device)?;
    let config = SaeConfig::new(settings.n_embd, settings.d_sae, Activation::Relu);
    let map = saelens_key_map(&config);
    let sae: SparseAutoencoder =
        menagerie_hub::load(config.init(device)?, &fixture.weights().below("sae")?, &map)?;
    let hook = HookPoint::parse(&settings.site, model.config())?;
    let tokens = fixture.input_int::<2>("input_ids", device)?;
    let [batch, length] = tokens.dims();

    let x = model.activations(tokens.clone(), &hook)?;
    let rows = x.clone().reshape([batch * length, settings.n_embd]);
    let output = sae.forward(rows.clone())?;
    let reconstruction = output.reconstruction.clone();
    check.output(
        "sae_out",
        reconstruction
            .clone()
            .reshape([batch, length, settings.n_embd]),
    )?;
    let codes = output.codes.to_dense();
    check.output(
        "feature_acts",
        codes.reshape([batch, length, settings.d_sae]),
    )?;
    let mut meter = QualityMeter::default();
    meter.add(rows, &output.codes, reconstruction)?;
    let quality = meter.quality()?;
    for (name, value) in [
        ("l0", quality.l0),
        ("l1", quality.l1),
        ("mse_sum", quality.squared_error),
        ("fvu_pooled", quality.fvu),
        ("explained_variance", quality.explained_variance),
        (
            "explained_variance_legacy",
            quality.explained_variance_per_token,
        ),
        (
            "frac_variance_explained_dl",
            quality.explained_variance_of_residual,
        ),
        ("normalised_mse", quality.normalized_error),
        ("cossim", quality.cosine),
        ("l2_ratio", quality.norm_ratio),
        ("relative_reconstruction_bias", quality.relative_bias),
    ] {
        check.output_data(name, single(value))?;
    }
    check.output_data("dead_count", TensorData::from([quality.dead() as i64]))?;
    check.output_data("feature_density", floats(&quality.density))?;
    check.output_data("log10_density", floats(&quality.log10_density()))?;

    let splice = splice_sae(&model, &hook, tokens.clone(), &sae)?;
    for (name, value) in [
        ("ce_clean", splice.clean),
        ("ce_sae", splice.spliced),
        ("ce_zero_ablation", splice.zero),
        ("ce_mean_ablation", splice.mean),
        ("ce_recovered_zero", splice.recovered_from_zero()),
        ("ce_recovered_mean", splice.recovered_from_mean()),
        ("kl_clean_sae", splice.kl_spliced),
        ("kl_clean_zero", splice.kl_zero),
    ] {
        check.output_data(name, single(value))?;
    }
    let with_error = model.forward_with(tokens, &hook, |x| {
        let dims = x.dims();
        let rows = x.reshape([batch * length, settings.n_embd]);
        Ok(sae.forward_with_error(rows, |codes| codes)?.reshape(dims))
    })?;
    check.output("logits_error_term", with_error)
}
