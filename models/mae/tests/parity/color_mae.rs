//! Filters, masks and the pre-training step of ColorMAE.

use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_mae::{
    color_mae::{
        Color, ColorMaeConfig, Crop, NoiseBank, NoiseConfig, masking,
        noise::{filter, gaussian_taps, radial_power, unit},
        weights,
    },
    mae_base::{DecoderConfig, MaeConfig, VitConfig},
};
use menagerie_nn::vit::len_keep;
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;
use std::collections::BTreeMap;

pub const CASES: &[Case] = &[
    case("noise_filters", noise_filters),
    case("masking", masks),
    case("pretrain_loss", pretrain_loss),
];

const fn case(name: &'static str, run: fn(&Fixture, &Device, &mut Check) -> Result<()>) -> Case {
    Case {
        slug: "color-mae",
        case: name,
        run,
    }
}

/// An input in host memory, with its shape.
fn values(fixture: &Fixture, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
    let data = fixture.input_data(name)?.clone();
    let shape = data.shape().to_vec();
    let values = data
        .try_cast_as::<f32>()
        .and_then(TensorData::try_into_vec::<f32>)
        .map_err(|error| Error::other(format!("reading in/{name}"), error))?;
    Ok((values, shape))
}

fn floats(values: impl IntoIterator<Item = f64>) -> TensorData {
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    let count = values.len();
    TensorData::new(values, [count])
}

fn noise_filters(fixture: &Fixture, _device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        sigma: f64,
        sigma1: f64,
        sigma2: f64,
        size: usize,
        boundary: String,
        truncate: f64,
    }
    let settings: Settings = fixture.config()?;
    if settings.boundary != "wrap" {
        let rule = "must be `wrap`";
        return Err(Error::input("boundary", settings.boundary, rule));
    }
    let (white, shape) = values(fixture, "white")?;
    let size = settings.size;
    let config = |color| {
        NoiseConfig::new(color)
            .with_slices(shape[0])
            .with_size(size)
            .with_sigma(settings.sigma)
            .with_sigmas([settings.sigma1, settings.sigma2])
            .with_truncate(settings.truncate)
    };
    for color in [Color::Red, Color::Blue, Color::Green, Color::Purple] {
        let name = color.name();
        let colored = filter(&white, &config(color))?;
        let power = radial_power(&colored, size)?;
        check.output_data(&format!("{name}_radial_power"), floats(power))?;
        let scaled = TensorData::new(unit(&colored, size)?, shape.clone());
        check.output_data(&format!("{name}_unit"), scaled)?;
        check.output_data(name, TensorData::new(colored, shape.clone()))?;
    }
    for (name, sigma) in [
        ("taps_sigma", settings.sigma),
        ("taps_sigma1", settings.sigma1),
        ("taps_sigma2", settings.sigma2),
    ] {
        let taps = gaussian_taps(sigma, settings.truncate);
        check.output_data(name, floats(taps))?;
    }
    Ok(())
}

fn masks(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        slices: usize,
        noise_size: usize,
        window: usize,
        batch: usize,
        mask_ratio: f64,
    }
    let cases: BTreeMap<String, Settings> = fixture.config()?;
    for (name, settings) in cases {
        let (noise, _) = values(fixture, &format!("{name}_noise"))?;
        let bank = NoiseBank::new(noise, [settings.slices, settings.noise_size])?;
        let (crops, _) = values(fixture, &format!("{name}_crops"))?;
        let crops: Vec<Crop> = crops
            .chunks(4)
            .map(|crop| Crop {
                top: crop[0] as usize,
                left: crop[1] as usize,
                horizontal: crop[2] != 0.0,
                vertical: crop[3] != 0.0,
            })
            .collect();
        let windows = bank.grouped(&crops, settings.batch);
        let grid = settings.window;
        let noise = bank.cut(&windows, grid)?;
        let tokens = grid * grid;
        let keep = len_keep(tokens, settings.mask_ratio);
        let masking = masking(&noise, tokens, keep, device)?;
        let noise = TensorData::new(noise, [settings.batch, grid, grid]);
        check.output_data(&format!("{name}_window"), noise)?;
        check.output(&format!("{name}_mask"), masking.mask)?;
        check.output_int(&format!("{name}_ids_restore"), masking.ids_restore)?;
        check.output_int(&format!("{name}_ids_keep"), masking.ids_keep)?;
    }
    Ok(())
}

fn pretrain_loss(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    #[derive(Deserialize)]
    struct Settings {
        img_size: usize,
        patch_size: usize,
        embed_dim: usize,
        depth: usize,
        num_heads: usize,
        mlp_ratio: f64,
        decoder_embed_dim: usize,
        decoder_depth: usize,
        decoder_num_heads: usize,
        mask_ratio: f64,
    }
    let settings: Settings = fixture.config()?;
    let device = device.clone().autodiff();
    let encoder = VitConfig::new(
        settings.img_size,
        settings.patch_size,
        settings.embed_dim,
        settings.depth,
        settings.num_heads,
    );
    let decoder = DecoderConfig::new(
        settings.decoder_embed_dim,
        settings.decoder_depth,
        settings.decoder_num_heads,
    );
    let mae = MaeConfig::new(encoder.with_mlp_ratio(settings.mlp_ratio), decoder)
        .with_mask_ratio(settings.mask_ratio);
    let config = ColorMaeConfig::of(mae, Color::Green);
    let model = fixture.load(config.init(&device)?, &weights::key_map())?;
    let images = fixture.input::<4>("images", &device)?;
    let (window, _) = values(fixture, "window")?;
    let masking = masking(
        &window,
        config.mae.encoder.tokens(),
        config.mae.visible(),
        &device,
    )?;
    let (loss, output) = model.loss(images.clone(), &masking)?;
    check.gradients(&model, &loss.backward(), &weights::key_map())?;
    check.output("mask", masking.mask)?;
    check.output_int("ids_restore", masking.ids_restore)?;
    check.output("latent", output.latent)?;
    check.output("prediction", output.prediction)?;
    check.output("features_unmasked", model.encode(images)?)?;
    check.output("loss", loss)
}
