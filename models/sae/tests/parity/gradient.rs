//! g-SAE: selection, objective, and its effect on a host.

use super::host::host;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::{
    gradient_sae::{
        GradientSae, GradientSaeConfig, GradientSaeTrainingConfig, attribution, logit_change,
        weights,
    },
    host::{HookPoint, activation_gradient, cross_entropy},
    sae::{
        SaeOutput, Situation,
        metrics::{divergence, quality_of},
        training::DeadLatents,
    },
};
use serde::Deserialize;

pub const CASES: &[Case] = &[
    case("gtopk_forward_and_loss", forward_and_loss),
    case("gsae_on_gpt2", on_gpt2),
];

const fn case(name: &'static str, run: fn(&Fixture, &Device, &mut Check) -> Result<()>) -> Case {
    Case {
        slug: "gradient-sae",
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

fn forward_and_loss(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        d_in: usize,
        d_sae: usize,
        k: usize,
        betas: Vec<f64>,
        train_beta: f64,
        auxk: usize,
        dead_after_steps: u64,
        auxk_coef: f64,
    }
    let settings: Settings = fixture.config()?;
    let config = GradientSaeConfig::new(settings.d_in, settings.d_sae, settings.k);
    let model = |beta: f64, device: &Device| -> Result<GradientSae> {
        fixture.load(
            config.clone().with_beta(beta).init(device)?,
            &weights::key_map(),
        )
    };
    let x = fixture.input::<2>("x", device)?;
    let g = fixture.input::<2>("grad_x", device)?;
    let plain = model(0.0, device)?;
    check.output("pre_acts", plain.sae.pre_activations(x.clone())?)?;
    check.output(
        "attribution",
        attribution(g.clone(), plain.sae.decoder.val()),
    )?;
    for &beta in &settings.betas {
        let sae = model(beta, device)?;
        let SaeOutput {
            codes,
            reconstruction,
        } = sae.forward(x.clone(), g.clone())?;
        let name = |part: &str| format!("beta{beta:.1}.{part}");
        check.output(&name("score"), sae.scores(x.clone(), g.clone())?)?;
        let menagerie_sae::sae::Latents::Sparse { pattern, .. } = &codes.latents else {
            return Err(missing("sparse codes"));
        };
        let ones = Tensor::ones([pattern.len()], device);
        let selected = pattern.scatter(ones).greater_elem(0.5);
        check.output_bool(&name("selected_mask"), selected)?;
        check.output(&name("feature_acts"), codes.to_dense())?;
        check.output(&name("recon"), reconstruction.clone())?;
        let change: Tensor<2> = ((reconstruction - x.clone()) * g.clone()).sum_dim(1);
        check.output(&name("linearised_loss_change"), change.squeeze_dim::<1>(1))?;
    }

    let autodiff = device.clone().autodiff();
    let sae = model(settings.train_beta, &autodiff)?;
    let counters = fixture.input_int::<1>("steps_since_fired", device)?;
    let counters = counters.into_data().convert::<i64>();
    let counters = counters.as_slice::<i64>().unwrap_or_default();
    let counters = counters.iter().map(|&steps| steps as u64).collect();
    // Dead after more than so many steps.
    let dead = DeadLatents::from_counters(counters, settings.dead_after_steps + 1, 0.0);
    let training = GradientSaeTrainingConfig::new()
        .with_auxk(settings.auxk)
        .with_auxk_coefficient(settings.auxk_coef);
    let mask = dead.mask();
    let situation = Situation {
        dead: Some(&mask),
        sparsity_scale: None,
        ..Situation::default()
    };
    let x = fixture.input::<2>("x", &autodiff)?;
    let (loss, _) = sae.loss(x, g, &training.objective(), situation)?;
    check.gradients(&sae, &loss.total.backward(), &weights::key_map())?;
    check.output("train_fvu", loss.reconstruction)?;
    check.output(
        "train_auxk",
        loss.auxiliary.ok_or_else(|| missing("dead latents"))?,
    )?;
    check.output("train_loss", loss.total)
}

fn on_gpt2(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        n_embd: usize,
        site: String,
        d_sae: usize,
        k: usize,
        beta: f64,
        steer_latent: usize,
        steer_scale: f64,
    }
    let settings: Settings = fixture.config()?;
    let model = host("gpt2", fixture, device)?;
    let hook = HookPoint::parse(&settings.site, model.config())?;
    let tokens = fixture.input_int::<2>("input_ids", device)?;
    let [batch, length] = tokens.dims();
    let width = settings.n_embd;
    let config = GradientSaeConfig::new(width, settings.d_sae, settings.k);
    let config = config.with_beta(settings.beta);
    let weights_of = fixture.weights().below("sae")?;
    let sae: GradientSae =
        menagerie_hub::load(config.init(device)?, &weights_of, &weights::key_map())?;

    let (x, g) = activation_gradient(&model, tokens.clone(), &hook)?;
    check.output("x", x.clone())?;
    check.output("grad_sum_ce", g.clone())?;
    let rows = |t: Tensor<3>| t.reshape([batch * length, width]);
    let a = attribution(rows(g.clone()), sae.sae.decoder.val());
    check.output("attribution", a.reshape([batch, length, settings.d_sae]))?;
    let clean = model.forward(tokens.clone())?;
    let ce = |logits: Tensor<3>| cross_entropy(logits, tokens.clone()).mean();
    check.output("ce_clean", ce(clean.clone()))?;
    let (flat, gradient) = (rows(x), rows(g));
    for (name, output) in [
        ("topk", sae.sae.forward(flat.clone())?),
        ("gtopk", sae.forward(flat.clone(), gradient)?),
    ] {
        let codes = output.codes.to_dense();
        let shape = [batch, length, settings.d_sae];
        check.output(&format!("{name}.feature_acts"), codes.reshape(shape))?;
        let reconstruction = output
            .reconstruction
            .clone()
            .reshape([batch, length, width]);
        check.output(&format!("{name}.recon"), reconstruction.clone())?;
        let quality = quality_of(flat.clone(), &output.codes, output.reconstruction)?;
        check.output_data(&format!("{name}.fvu"), single(quality.fvu))?;
        let logits = model.forward_with(tokens.clone(), &hook, |_| Ok(reconstruction))?;
        check.output(&format!("{name}.ce"), ce(logits.clone()))?;
        let kl = divergence(clean.clone(), logits);
        check.output_data(&format!("{name}.kl"), single(kl))?;
    }
    let (change, steered) = logit_change(
        &model,
        &hook,
        tokens.clone(),
        &clean,
        &sae.sae,
        settings.steer_latent,
        settings.steer_scale,
    )?;
    check.output("steered_logits", steered)?;
    check.output("steering_logit_change_norm", change)
}
