//! `sae-dark-matter`.

use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};
use menagerie_core::{Error, Result};
use menagerie_hub::StateDict;
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::host::{HookPoint, LanguageModel, LanguageModelConfig};
use menagerie_sae::sae::{Activation, SaeConfig, Situation};
use menagerie_sae::sae_dark_matter::{
    Decomposition, Disturbance, ErrorComponent, InjectionLoss, LeastSquaresConfig, LinearFit,
    Noise, NormTarget, PursuitConfig, Split, cross_width, decompose, gather, gradient_pursuit,
    inject, norm_predictability, row_norms, synthetic, vendored_objective, weights,
};
use serde::Deserialize;
use serde_json::{Map, Value};

pub const CASES: &[Case] = &[
    case("ce_injection", ce_injection),
    case("error_decomposition", error_decomposition),
    case("grad_pursuit", grad_pursuit),
    case("per_token_scaling", per_token_scaling),
    case("synthetic_noise", synthetic_noise),
    case("train_on_error", train_on_error),
];

const fn case(name: &'static str, run: fn(&Fixture, &Device, &mut Check) -> Result<()>) -> Case {
    Case {
        slug: "sae-dark-matter",
        case: name,
        run,
    }
}

/// A ReLU autoencoder that takes `b_dec` off its input.
struct Sae {
    encoder: Tensor<2>,
    encoder_bias: Tensor<1>,
    decoder: Tensor<2>,
    decoder_bias: Tensor<1>,
}

impl Sae {
    fn load(fixture: &Fixture, prefix: &str, device: &Device) -> Result<Self> {
        let key = |name: &str| format!("{prefix}{name}");
        Ok(Self {
            encoder: fixture.param(&key("W_enc"), device)?,
            encoder_bias: fixture.param(&key("b_enc"), device)?,
            decoder: fixture.param(&key("W_dec"), device)?,
            decoder_bias: fixture.param(&key("b_dec"), device)?,
        })
    }

    fn encode(&self, x: Tensor<2>) -> Tensor<2> {
        let centred = x - self.decoder_bias.clone().unsqueeze();
        relu(centred.matmul(self.encoder.clone()) + self.encoder_bias.clone().unsqueeze())
    }

    fn decode(&self, latents: Tensor<2>) -> Tensor<2> {
        latents.matmul(self.decoder.clone()) + self.decoder_bias.clone().unsqueeze()
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.decode(self.encode(x))
    }
}

/// The rows that the regressions of a case use.
#[derive(Deserialize)]
struct Rows {
    train_rows: usize,
    eval_end: usize,
}

impl Rows {
    fn split(&self, fixture: &Fixture, permutation: &str, device: &Device) -> Result<Split> {
        let order = whole_numbers(fixture.input_int::<1>(permutation, device)?)?;
        Split::new(order, self.train_rows, self.eval_end - self.train_rows)
    }
}

fn whole_numbers(tensor: Tensor<1, Int>) -> Result<Vec<usize>> {
    let data = tensor.into_data().convert::<i64>();
    let values = data
        .iter::<i64>()
        .map(|value| usize::try_from(value).map_err(|_| refuse(value)));
    values.collect()
}

fn refuse(value: i64) -> Error {
    Error::input("a whole number of the fixture", value, "must be at least 0")
}

fn scalar(value: f64) -> TensorData {
    TensorData::from([value as f32].as_slice())
}

#[derive(Deserialize)]
struct Regression {
    #[serde(flatten)]
    rows: Rows,
    rcond: f64,
    bias: bool,
}

fn error_decomposition(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Regression = fixture.config()?;
    let sae = Sae::load(fixture, "", device)?;
    let x = fixture.input::<2>("x", device)?;
    let split = settings.rows.split(fixture, "permutation", device)?;
    let config = LeastSquaresConfig::new()
        .with_rcond(settings.rcond)
        .with_intercept(settings.bias);
    let latents = sae.encode(x.clone());
    let reconstruction = sae.decode(latents.clone());
    let parts = decompose(x.clone(), reconstruction.clone(), &split, &config)?;

    check.output("feature_acts", latents)?;
    check.output("sae_out", reconstruction)?;
    check.output("probe", parts.probe.weight(device))?;
    let held_out = gather(parts.nonlinear.clone(), split.held_out());
    check.output("heldout_residuals", held_out)?;
    check.output_data("error_r_squared", scalar(parts.r2))?;
    check.output_data("fvu_sae", scalar(parts.fvu))?;
    check.output_data("fvu_sae_plus_linear", scalar(parts.fvu_nonlinear))?;
    check.output_data("nmse_sae", scalar(parts.nmse))?;
    check.output_data("nmse_sae_plus_linear", scalar(parts.nmse_nonlinear))?;
    for (target, r2) in norm_predictability(&x, &parts, &split, &config)? {
        let name = match target {
            NormTarget::Activation => "x",
            NormTarget::Reconstruction => "sae_out",
            NormTarget::Error => "sae_error",
            NormTarget::Linear => "linear_error",
            NormTarget::Nonlinear => "nonlinear_error",
            NormTarget::ReconstructionAndNonlinear => "sae_out_plus_nonlinear_error",
        };
        let name = format!("norm_prediction_r2.{name}");
        if check.expects(&name) {
            check.output_data(&name, scalar(r2))?;
        }
    }
    let Decomposition {
        error,
        linear,
        nonlinear,
        ..
    } = parts;
    check.output("sae_error", error)?;
    check.output("linear_error", linear)?;
    check.output("nonlinear_error", nonlinear)
}

fn grad_pursuit(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let dictionary = fixture.param::<2>("dictionary", device)?;
    let signals = fixture.input::<2>("signals", device)?;
    let targets = whole_numbers(fixture.input_int::<1>("target_l0s", device)?)?;
    let pursue = |targets: &[usize]| {
        gradient_pursuit(
            dictionary.clone(),
            signals.clone(),
            targets,
            &PursuitConfig::new(),
        )
    };
    for steps in [1, 2] {
        let weights = pursue(&vec![steps; targets.len()])?.weights();
        check.output(&format!("weights_step{steps}"), weights)?;
    }
    let found = pursue(&targets)?;
    check.output("weights", found.weights())?;
    check.output("reconstruction", found.reconstruction)?;
    check.output("residual_norm", found.residual_norms)
}

#[derive(Deserialize)]
struct Widths {
    #[serde(flatten)]
    rows: Rows,
    widths: Vec<usize>,
}

/// Seed 2 orders the rows of the error probes, seed 1 those of the regressions between widths.
fn per_token_scaling(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Widths = fixture.config()?;
    let x = fixture.input::<2>("x", device)?;
    let norms = settings.rows.split(fixture, "permutation_seed1", device)?;
    let probes = settings.rows.split(fixture, "permutation_seed2", device)?;
    let parts: Vec<Decomposition> = (0..settings.widths.len())
        .map(|index| {
            let sae = Sae::load(fixture, &format!("{index}."), device)?;
            let reconstruction = sae.forward(x.clone());
            decompose(
                x.clone(),
                reconstruction,
                &probes,
                &LeastSquaresConfig::new(),
            )
        })
        .collect::<Result<_>>()?;
    let columns = |part: fn(&Decomposition) -> &Tensor<2>| {
        let norms = parts.iter().map(|parts| row_norms(part(parts).clone()));
        Tensor::cat(norms.collect(), 1)
    };
    check.output("total_error_norms", columns(|parts| &parts.error))?;
    check.output("nonlinear_norms", columns(|parts| &parts.nonlinear))?;
    let [small, large] = parts.as_slice() else {
        let rule = "the case compares two widths";
        return Err(Error::input("widths", settings.widths, rule));
    };
    let found = cross_width(&small.error, &small.nonlinear, &large.error, &norms)?;
    check.output_data("r2_small_to_large", scalar(found.r2))?;
    check.output_data("r2_with_nonlinear", scalar(found.r2_with_nonlinear))?;
    let gained = scalar(found.gained_percent());
    check.output_data("percent_of_unexplained_gained", gained)
}

#[derive(Deserialize)]
struct Disturbances {
    #[serde(flatten)]
    rows: Rows,
    /// Noise on the activations, noise on the reconstructions, percent of latents ablated.
    cases: Vec<(f64, f64, u32)>,
}

fn synthetic_noise(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Disturbances = fixture.config()?;
    let sae = Sae::load(fixture, "", device)?;
    let x = fixture.input::<2>("x", device)?;
    let split = settings.rows.split(fixture, "permutation", device)?;
    let noise = Noise {
        activation: fixture.input("noise_activation", device)?,
        reconstruction: fixture.input("noise_reconstruction", device)?,
    };
    for (activation, reconstruction, percent) in settings.cases {
        let disturbance = Disturbance {
            activation,
            reconstruction,
            ablated: f64::from(percent) / 100.0,
        };
        let latents = sae.encode(x.clone());
        let decode = |latents| Ok(sae.decode(latents));
        let found = synthetic(x.clone(), latents, decode, &noise, &disturbance, &split)?;
        let name =
            |what: &str| format!("act{activation:?}_rec{reconstruction:?}_abl{percent}.{what}");
        check.output(&name("mask"), found.kept)?;
        check.output_data(&name("recon_r2"), scalar(found.reconstruction_r2))?;
        check.output_data(&name("linear_r2"), scalar(found.linear_r2))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct InjectionSite {
    site: String,
    skip_first: usize,
}

fn ce_injection(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: InjectionSite = fixture.config()?;
    let model = gpt2(fixture, device)?;
    let sae = Sae::load(fixture, "sae.", device)?;
    let probe = LinearFit::from_weight(fixture.param::<2>("probe", device)?)?;
    let hook = HookPoint::parse(&settings.site, model.config())?;
    let tokens = fixture.input_int::<2>("input_ids", device)?;
    let reconstruct = |x: Tensor<3>| {
        let [batch, tokens, width] = x.dims();
        let rows = sae.forward(x.reshape([batch * tokens, width]));
        Ok(rows.reshape([batch, tokens, width]))
    };
    let skip = settings.skip_first;
    let loss = inject(&model, &tokens, &hook, reconstruct, &probe, skip)?;
    check.output_data("loss_original", scalar(loss.original))?;
    check.output_data("loss_sae", scalar(loss.reconstruction))?;
    check.output_data("loss_sae_and_linear", scalar(loss.with_linear))?;
    check.output_data("loss_sae_and_noise", scalar(loss.with_nonlinear))?;
    // Percentages of differences of losses: one rounding of a loss in `f32` is worth more than
    // their tolerance. The formula is held to them on the recorded losses, which ours were held to.
    let recorded = InjectionLoss {
        original: recorded(fixture, "loss_original")?,
        reconstruction: recorded(fixture, "loss_sae")?,
        with_linear: recorded(fixture, "loss_sae_and_linear")?,
        with_nonlinear: recorded(fixture, "loss_sae_and_noise")?,
    };
    let (linear, nonlinear) = (
        recorded.recovered_by_linear(),
        recorded.recovered_by_nonlinear(),
    );
    check.output_data("percent_recovered_linear", scalar(linear))?;
    check.output_data("percent_recovered_nonlinear", scalar(nonlinear))
}

/// A recorded result of one element.
fn recorded(fixture: &Fixture, name: &str) -> Result<f64> {
    let key = format!("out/{name}");
    let mut values = fixture.expected().filter(|(found, _)| *found == key);
    values
        .find_map(|(_, data)| data.iter::<f64>().next())
        .ok_or_else(|| Error::format(fixture.path(), format!("no `{key}`")))
}

/// The host beside the autoencoder and the probe.
fn gpt2(fixture: &Fixture, device: &Device) -> Result<LanguageModel> {
    let weights = fixture.weights();
    let host = weights
        .iter()
        .filter(|(key, _)| key.starts_with("transformer."))
        .map(|(key, data)| (key.to_owned(), data.clone()));
    let host = StateDict::from_tensors(weights.origin(), host.collect::<Vec<_>>());
    let mut fields: Map<String, Value> = fixture.config()?;
    fields.insert("model_type".into(), "gpt2".into());
    let config = LanguageModelConfig::from_hugging_face(&Value::from(fields).to_string())?;
    LanguageModel::load(&config, &host, device)
}

#[derive(Deserialize)]
struct ErrorTraining {
    d_in: usize,
    num_latents: usize,
    k: usize,
    auxk_weight: f64,
}

fn train_on_error(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: ErrorTraining = fixture.config()?;
    let x = fixture.input::<2>("x", device)?;
    let reconstruction = fixture.input::<2>("sae_out", device)?;
    // The official probe predicts `Sae(x) - x`.
    let probe = LinearFit::from_weight(-fixture.input::<2>("probe", device)?)?;
    for (name, component) in [
        ("target_error", ErrorComponent::Full),
        ("target_linear", ErrorComponent::Linear),
        ("target_nonlinear", ErrorComponent::Nonlinear),
    ] {
        let target = component.target(x.clone(), reconstruction.clone(), &probe)?;
        check.output(name, target)?;
    }

    let device = &device.clone().autodiff();
    let activation = Activation::topk(settings.k);
    let config = SaeConfig::new(settings.d_in, settings.num_latents, activation);
    let map = weights::key_map(&config);
    let sae = fixture.load(config.init(device)?, &map)?;
    let dead = whole_numbers(fixture.input_int::<1>("dead_mask", device)?)?;
    let dead: Vec<bool> = dead.into_iter().map(|dead| dead > 0).collect();
    let situation = Situation {
        dead: Some(&dead),
        ..Situation::default()
    };
    let objective = vendored_objective(Some(settings.auxk_weight));
    // It learns the nonlinear error.
    let rows = ErrorComponent::Nonlinear.target(x, reconstruction, &probe)?;
    let rows = Tensor::from_inner(rows);
    let (loss, output) = sae.loss(rows, None, &objective, situation)?;
    check.output("sae_out", output.reconstruction)?;
    check.output("fvu", loss.reconstruction)?;
    let auxiliary = loss.auxiliary.ok_or_else(|| refuse(0))?;
    check.output("auxk_loss", auxiliary)?;
    check.output("loss", loss.total.clone())?;
    check.gradients(&sae, &loss.total.backward(), &map)
}
