//! Variants in the conventions of OpenAI and sparsify.

use super::variants::{Settings, case, counters, dead_mask, integers, missing, run, single, term};
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::sae::{
    Activation, AuxK, Convention, Normalization, ObjectiveConfig, Reconstruction, SaeConfig,
    Situation,
    training::DeadLatents,
    weights::{openai_key_map, sparsify_key_map},
};

pub const CASES: &[Case] = &[
    case("topk_auxk_openai", topk_openai),
    case("topk_fvu_sparsify", sparsify),
    case("skip_transcoder_sparsify", sparsify),
];

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
        ..Situation::default()
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
        ..Situation::default()
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
