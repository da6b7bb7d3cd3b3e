//! Trains a small autoencoder with masks from green noise, then hides patches of garments by noise
//! of five colors and fills them in.
//!
//! `cargo run -p menagerie-examples --example color-mae` takes well under a minute and writes
//! `runs/examples/color-mae/colors.png`. It needs Fashion-MNIST, found or fetched.

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_data_image::{ImageSet, Split, fashion_mnist};
use menagerie_mae::color_mae::{Color, ColorMaeConfig, ColorPretrainingConfig, NoiseConfig};
use menagerie_mae::color_mae::{ColorMasks, NoiseSchedule, Sampling};
use menagerie_mae::mae_base::{DecoderConfig, MaeConfig, VitConfig};
use menagerie_report::Grid;
use menagerie_train::{FitConfig, Progress, Run, Sampler, Schedule, Supervised, initialise};
use std::path::Path;

const STEPS: usize = 400;
const BATCH: usize = 64;

/// Images `[indices, 1, 28, 28]` around 0.
fn images(set: &ImageSet, indices: &[usize], device: &Device) -> menagerie_core::Result<Tensor<4>> {
    let pixels = set.to_f32(indices.iter().copied())?;
    let data = TensorData::new(pixels, [indices.len(), 1, 28, 28]);
    Ok((Tensor::from_data(data, device) - 0.286) / 0.353)
}

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let device = Device::default();
    let (train, test) = (fashion_mnist(Split::Train)?, fashion_mnist(Split::Test)?);

    // 49 patches of 4×4, of which 12 stay visible; any color of noise may choose them.
    let noise = |color| NoiseConfig::new(color).with_slices(256);
    let encoder = VitConfig::new(28, 4, 64, 3, 4).with_channels(1);
    let mae = MaeConfig::new(encoder, DecoderConfig::new(32, 1, 4)).with_norm_pix_loss(false);
    let mut config = ColorMaeConfig::of(mae, Color::Green);
    config.noise = NoiseSchedule::constant(noise(Color::Green));
    config.sampling = Sampling::PerImage;

    let autodiff = device.clone().autodiff();
    let model = initialise(&autodiff, Seed(0), || config.init(&autodiff))?;
    let optimiser = ColorPretrainingConfig::new().optimizer(&model)?;
    let masks = config.masks(Seed(0))?;
    let mut sampler = Sampler::shuffled(train.len(), BATCH, Seed(0))?;
    let epoch = sampler.steps_per_epoch();
    let batch = |step, device: &Device| {
        let images = images(&train, &sampler.indices(step), device)?;
        masks.mask(images, step, epoch, Seed(0))
    };
    let rate = Schedule::cosine(1e-3, STEPS / 20, STEPS);
    let mut procedure = Supervised::new(model, optimiser, rate, batch);
    // The folder keeps the run: starting the example again shows its result at once.
    let folder = Path::new("runs/examples/color-mae");
    let run = Run::create(folder, &config, true)?;
    run.fit(&mut procedure, &FitConfig::new(STEPS), &Progress::auto())?;
    let model = procedure.trained()?;

    let shown = images(&test, &[0, 1, 2, 3, 4, 5], &device)?;
    let tiles = |images: Tensor<4>| -> Result<Vec<Vec<f32>>> {
        let values = ((images * 0.353 + 0.286).clamp(0.0, 1.0)).into_data();
        let values: Vec<f32> = values.convert::<f32>().try_to_vec()?;
        Ok(values.chunks(28 * 28).map(<[f32]>::to_vec).collect())
    };
    let mut grid = Grid::new([1, 28, 28]).row("image", tiles(shown.clone())?);
    for color in Color::ALL {
        let masks = ColorMasks::new(noise(color).init(Seed(1))?, Sampling::PerImage, 7, 0.75)?;
        let masking = masks.draw(6, Seed(2), &device)?;
        let filled = model.reconstruct(shown.clone(), &masking)?;
        grid = grid.row(color.name(), tiles(filled.masked)?);
        grid = grid.row("filled in", tiles(filled.pasted)?);
    }
    let path = folder.join("colors.png");
    grid.write(&path)?;
    println!(
        "garments hidden by noise of five colors: {}",
        path.display()
    );
    Ok(())
}
