//! rave: filter bank, both versions, losses, training, latent analysis.

#[path = "rave_streaming.rs"]
mod streaming;
#[path = "rave_training.rs"]
mod training;

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_codec::rave::objective::spectral_distance;
use menagerie_codec::rave::objective::{feature_matching, hinge, loudness, loudness_distance};
use menagerie_codec::rave::weights::{discriminator_from_state_dict, from_state_dict};
use menagerie_codec::rave::{
    DiscriminatorConfig, LatentAnalysis, NoiseConfig, Padding, Pqmf, RaveConfig, Statistics,
    Version,
};
use menagerie_core::{Error, Result};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub(crate) const CASES: &[Case] = &[
    case("pqmf", pqmf),
    case("forward_v1", forward_v1),
    case("forward_v2", forward_v2),
    case("spectral_loss", spectral_loss),
    case("train_v1", training::train_v1),
    case("latent_svd", latent_svd),
    case("cached_layers", streaming::cached_layers),
    case("streaming", streaming::streaming),
];

type Run = fn(&Fixture, &Device, &mut Check) -> Result<()>;

const fn case(case: &'static str, run: Run) -> Case {
    Case {
        slug: "rave",
        case,
        run,
    }
}

#[derive(Deserialize)]
struct Bank {
    n_band: usize,
    attenuation_db: f64,
}

fn number(value: f64) -> TensorData {
    TensorData::from([value as f32])
}

fn whole(value: usize) -> TensorData {
    TensorData::from([value as i64])
}

fn pqmf(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Bank {
        n_band,
        attenuation_db,
    } = fixture.config()?;
    let bank = Pqmf::new(n_band, attenuation_db)?;
    let design = bank.prototype();
    check.output_data("kaiser_beta", number(design.beta))?;
    check.output_data("wc", number(design.cutoff))?;
    check.output_data("n_taps", whole(design.taps.len()))?;
    check.output_data("aliasing_objective", number(design.aliasing))?;
    let taps: Vec<f32> = design.taps.iter().map(|tap| *tap as f32).collect();
    near(fixture, "h", TensorData::from(taps.as_slice()), 1e-6)?;
    near(fixture, "hk", bank.filters(device).into_data(), 1e-5)?;
    let analysis = bank.analysis_kernel(device).into_data();
    near(fixture, "forward_conv.weight", analysis, 1e-5)?;
    let synthesis = bank.synthesis_kernel(device).into_data();
    near(fixture, "inverse_conv.weight", synthesis, 1e-5)?;

    let audio = fixture.input::<3>("x", device)?;
    let subbands = bank.analysis(audio);
    check.output("analysis", subbands.clone())?;
    check.output("analysis_cached", subbands.clone())?;
    check.output("recon", bank.synthesis_aligned(subbands.clone()))?;
    check.output("recon_cached", bank.synthesis(subbands))?;
    let random = fixture.input::<3>("subbands_random", device)?;
    check.output("synthesis_random", bank.synthesis_aligned(random.clone()))?;
    check.output("synthesis_random_cached", bank.synthesis(random))
}

/// Holds a tensor that is designed here to the one stored as a parameter.
fn near(fixture: &Fixture, key: &str, ours: TensorData, tolerance: f64) -> Result<()> {
    let theirs = fixture.param_data(key)?;
    let values = |data: &TensorData| data.clone().convert::<f64>().iter().collect::<Vec<f64>>();
    let (a, b) = (values(&ours), values(theirs));
    let worst = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    if ours.shape() == theirs.shape() && worst <= tolerance {
        return Ok(());
    }
    let shapes = [ours.shape().to_vec(), theirs.shape().to_vec()];
    Err(Error::format(
        fixture.path(),
        format!(
            "`param/{key}`: shapes {shapes:?}, off by {worst:e}, expected {tolerance:e} at most"
        ),
    ))
}

#[derive(Deserialize)]
pub(crate) struct SizesV1 {
    data_size: usize,
    capacity: usize,
    latent_size: usize,
    ratios: Vec<usize>,
    bias: bool,
    loud_stride: usize,
    use_noise: bool,
    noise_ratios: Vec<usize>,
    noise_bands: usize,
    d_capacity: usize,
    d_multiplier: usize,
    d_n_layers: usize,
    no_latency: bool,
    pub(crate) max_kl: f64,
    sr: usize,
}

impl SizesV1 {
    pub(crate) fn model(&self) -> RaveConfig {
        let noise = NoiseConfig::new(self.noise_ratios.clone()).with_bands(self.noise_bands);
        let mut config = RaveConfig::v1()
            .with_capacity(self.capacity)
            .with_latent(self.latent_size)
            .with_sample_rate(self.sr)
            .with_bands(self.data_size)
            .with_bias(self.bias)
            .with_loudness_stride(self.loud_stride)
            .with_noise(self.use_noise.then_some(noise));
        config.ratios = self.ratios.clone();
        config.dilations = vec![vec![1, 3, 9]; self.ratios.len()];
        if self.no_latency {
            config = config.with_padding(Padding::Causal);
        }
        config
    }

    pub(crate) fn discriminator(&self) -> DiscriminatorConfig {
        DiscriminatorConfig::new(Version::V1, self.d_capacity)
            .with_multiplier(self.d_multiplier)
            .with_layers(self.d_n_layers)
    }
}

/// `2u − 1`: the noise of a uniform draw in [0, 1).
fn noise(fixture: &Fixture, name: &str, device: &Device) -> Result<Tensor<4>> {
    Ok(fixture.input::<4>(name, device)? * 2.0 - 1.0)
}

fn forward_v1(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: SizesV1 = fixture.config()?;
    let model = from_state_dict(&sizes.model(), &fixture.weights(), device)?;
    // What is folded gives the same.
    for model in [model.clone(), model.fold()] {
        let audio = fixture.input::<3>("x", device)?;
        let subbands = model.pqmf().analysis(audio);
        check.output("multiband", subbands.clone())?;
        let posterior = model.encoder.forward(subbands, Statistics::Running);
        check.output("mean", posterior.mean.clone())?;
        check.output("scale", posterior.scale.clone())?;
        check.output("kl", posterior.kl())?;
        let latent = posterior.sample(fixture.input("eps", device)?);
        check.output("z", latent.clone())?;
        let noise = noise(fixture, "u", device)?;
        let branches = model.decoder.branches(latent.clone(), Some(noise.clone()));
        check.output("decoder_hidden", branches.hidden.clone())?;
        check.output("branch_wave", branches.waveform.clone())?;
        if let (Some(loudness), Some(noise)) = (&branches.loudness, &branches.noise) {
            check.output("branch_loud", loudness.clone())?;
            check.output("branch_noise", noise.clone())?;
        }
        check.output("y_multiband", branches.mix())?;
        let silent = model.decoder.forward(latent.clone(), None);
        check.output("y_multiband_no_noise", silent)?;
        check.output("y", model.decode(latent.clone(), Some(noise))?)?;
        check.output("y_no_noise", model.decode(latent, None)?)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct SizesV2 {
    n_band: usize,
    capacity: usize,
    ratios: Vec<usize>,
    latent_size: usize,
    dilations: Vec<Vec<usize>>,
    noise: bool,
    noise_hidden: usize,
    noise_ratios: Vec<usize>,
    noise_bands: usize,
    d_capacity: usize,
    d_layers: usize,
}

impl SizesV2 {
    fn model(&self) -> RaveConfig {
        let noise = NoiseConfig::new(self.noise_ratios.clone())
            .with_bands(self.noise_bands)
            .with_hidden(Some(self.noise_hidden));
        let mut config = RaveConfig::v2()
            .with_bands(self.n_band)
            .with_capacity(self.capacity)
            .with_latent(self.latent_size)
            .with_noise(self.noise.then_some(noise));
        config.ratios = self.ratios.clone();
        config.dilations = self.dilations.clone();
        config
    }

    fn discriminator(&self) -> DiscriminatorConfig {
        DiscriminatorConfig::new(Version::V2, self.d_capacity).with_layers(self.d_layers)
    }
}

fn forward_v2(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: SizesV2 = fixture.config()?;
    let model = from_state_dict(&sizes.model(), &fixture.weights(), device)?;
    let subbands = fixture.input::<3>("x_multiband", device)?;
    let posterior = model.encoder.forward(subbands, Statistics::Running);
    check.output("mean", posterior.mean.clone())?;
    check.output("scale", posterior.scale.clone())?;
    check.output("kl", posterior.kl())?;
    let latent = posterior.sample(fixture.input("eps", device)?);
    check.output("z", latent.clone())?;
    let noise = noise(fixture, "u", device)?;
    let y = model.decoder.forward(latent.clone(), Some(noise.clone()));
    check.output("y_multiband", y)?;
    check.output(
        "y_multiband",
        model.fold().decoder.forward(latent, Some(noise)),
    )?;

    let device = device.clone().autodiff();
    let config = sizes.discriminator();
    let nets = discriminator_from_state_dict(&config, &fixture.weights(), &device)?;
    let fake = fixture.input::<3>("audio_fake", &device)?.require_grad();
    let real = fixture.input::<3>("audio_real", &device)?;
    let batch = real.dims()[0];
    let (real, features) = (nets.forward(real), nets.forward(fake.clone()));
    for (index, score) in real.scores().enumerate() {
        let name = format!("scores_real.{index}");
        let [_, channels, time] = score.dims();
        match config.periods.get(index) {
            None => check.output(&name, score.clone())?,
            Some(&period) => {
                // The reference keeps the period as an axis.
                let score = score.clone().reshape([batch, period, channels, time]);
                check.output(&name, score.permute([0, 2, 3, 1]))?;
            }
        }
    }
    let adversarial = hinge(&real, &features);
    let matching = feature_matching(&real, &features, Version::V2);
    check.output("loss_dis", adversarial.discriminator)?;
    check.output("loss_adv", adversarial.generator.clone())?;
    check.output("feature_matching", matching.clone())?;
    let gradients = (adversarial.generator + matching).backward();
    let gradient = fake
        .grad(&gradients)
        .ok_or_else(|| Error::other("the gradient of the audio", "there is none"))?;
    check.gradient_data("grad/audio_fake_of_adv_plus_fm", gradient.into_data())
}

#[derive(Deserialize)]
struct Scales {
    scales: Vec<usize>,
    sr: usize,
}

fn spectral_loss(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Scales { scales, sr } = fixture.config()?;
    let device = device.clone().autodiff();
    let x = fixture.input::<3>("x", &device)?;
    let y = fixture.input::<3>("y", &device)?.require_grad();
    let distance = spectral_distance(x.clone(), y.clone(), &scales, Version::V1)?;
    check.output("lin", Tensor::cat(distance.linear.clone(), 0))?;
    check.output("log", Tensor::cat(distance.log.clone(), 0))?;
    check.output("distance", distance.total())?;
    let later = spectral_distance(x.clone(), y.clone(), &scales, Version::V2)?;
    check.output("v2_lin", Tensor::cat(later.linear.clone(), 0))?;
    check.output("v2_log", Tensor::cat(later.log.clone(), 0))?;
    check.output("v2_distance", later.total())?;
    check.output("loudness_x", loudness(x.clone(), sr)?)?;
    check.output(
        "loudness_distance",
        loudness_distance(x.clone(), y.clone(), sr)?,
    )?;
    let [batch, _, time] = x.dims();
    let magnitudes = menagerie_codec::rave::objective::spectrum(x.reshape([batch, time]), 128)?;
    check.output("stft_mag_128", magnitudes)?;
    let gradients = distance.total().backward();
    let gradient = y
        .grad(&gradients)
        .ok_or_else(|| Error::other("the gradient of the signal", "there is none"))?;
    check.gradient_data("grad/y", gradient.into_data())
}

#[derive(Deserialize)]
struct Latent {
    latent_size: usize,
}

fn latent_svd(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Latent { latent_size: size } = fixture.config()?;
    let means = fixture.input::<3>("mean", device)?;
    let analysis = LatentAnalysis::fit(means.clone())?;
    let single = |values: &[f64]| {
        let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        TensorData::from(values.as_slice())
    };
    check.output_data("latent_mean", single(analysis.mean()))?;
    check.output_data("explained_variance", single(analysis.variance()))?;
    check.output_data("fidelity", single(&analysis.fidelity()))?;

    // Rows come with the signs of the reference's.
    let name = "latent_pca_up_to_row_sign";
    let theirs = fixture
        .expected()
        .find(|(key, _)| *key == format!("out/{name}"))
        .map(|(_, data)| data.clone().convert::<f64>().iter().collect::<Vec<f64>>())
        .ok_or_else(|| Error::format(fixture.path(), format!("no `out/{name}`")))?;
    let rows: Vec<f32> = analysis
        .components()
        .chunks(size)
        .zip(theirs.chunks(size))
        .flat_map(|(ours, theirs)| {
            let product: f64 = ours.iter().zip(theirs).map(|(a, b)| a * b).sum();
            ours.iter()
                .map(move |value| (value * product.signum()) as f32)
        })
        .collect();
    // The direction of a row is decided as far as its variance differs from its neighbours': the
    // reference decomposes single-precision numbers, whose rounding turns it by about
    // ε · (largest variance) / (distance).
    let variance = analysis.variance();
    let decided = |row: usize| {
        let near = [row.checked_sub(1), Some(row + 1)].into_iter().flatten();
        let distances = near.filter_map(|other| Some((variance[row] - variance.get(other)?).abs()));
        let distance = distances.fold(f64::INFINITY, f64::min);
        f64::from(f32::EPSILON) * variance[0] < fixture.tol() * distance
    };
    let rows = TensorData::new(rows, [size, size]);
    check.output_where(name, rows, |position| decided(position / size))?;

    let std = fixture.input::<3>("std", device)?;
    for text in ["0.8", "0.9", "0.95", "0.99"] {
        let fidelity: f64 = text.parse().unwrap_or(f64::NAN);
        let kept = analysis.exported(fidelity)?;
        check.output_data(&format!("argmax_f{text}"), whole(analysis.kept(fidelity)?))?;
        check.output_data(&format!("crop_f{text}"), whole(kept))?;
        let projector = analysis.projector(kept, device)?;
        check.output(&format!("projector_f{text}"), projector)?;
        let compact = analysis.compact(means.clone(), kept)?;
        let name = format!("reconstructed_latent_f{text}");
        check.output(&name, analysis.expand(compact, None)?)?;
        let name = format!("rotated_std_f{text}");
        if check.expects(&name) {
            check.output(&name, analysis.compact_std(std.clone(), kept)?)?;
        }
    }
    Ok(())
}
