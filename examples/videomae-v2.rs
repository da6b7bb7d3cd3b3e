//! Pre-trains a small VideoMAE V2 on moving garments with both masks and draws what it makes of
//! clips of which it sees a tenth.
//!
//! `cargo run -p menagerie-examples --example videomae-v2` takes well under a minute and writes
//! `runs/examples/videomae-v2/frames.png`.

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_data_image::{Split, fashion_mnist};
use menagerie_data_video::{Clip, MovingImages, MovingImagesConfig};
use menagerie_mae::mae_base::objective::IMAGENET;
use menagerie_mae::videomae_v2::{Batches, Draw, MaskingConfig, PretrainingConfig, VideoMaeConfig};
use menagerie_report::Grid;
use menagerie_train::{FitConfig, Progress, Run, Schedule, Supervised, initialise};
use std::path::Path;

const STEPS: usize = 200;

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let device = Device::default();
    let images = fashion_mnist(Split::Train)?;
    let moving = MovingImages::new(
        MovingImagesConfig::small(),
        images.pixels(),
        [images.height(), images.width()],
        images.labels(),
        Seed(0),
    )?;
    let (mean, deviation) = (IMAGENET.mean, IMAGENET.deviation);
    let standardised = |clip: Clip| clip.into_colour().standardised(mean, deviation);

    // What a step costs with the decoder's mask and without it.
    let config = VideoMaeConfig::experiment();
    let grid = config.clip.grid();
    let alone = MaskingConfig::encoder_only();
    for (name, masking) in [("both masks", MaskingConfig::new()), ("one mask", alone)] {
        let [visible, decoded] = masking.counts(grid)?;
        let cost = config.multiply_adds(visible, decoded).decoder;
        println!("{name}: {visible} cubes seen, {decoded} decoded, {cost} multiply-adds for it");
    }

    let training = PretrainingConfig::new().with_batch(32).with_samples(1);
    let view = |image: usize, draw: Draw| {
        let (direction, start) = moving.draw_motion(draw.view);
        Ok(standardised(moving.render(image, direction, start)?.clip))
    };
    let mut batches = Batches::new(&config.clip, &training, moving.images(), Seed(0), view)?;
    let autodiff = device.clone().autodiff();
    let model = initialise(&autodiff, Seed(0), || config.init(&autodiff))?;
    let rate = Schedule::cosine(1e-3, STEPS / 20, STEPS);
    let optimiser = training.optimizer(&model)?;
    let batch = |step, device: &Device| batches.batch(step, device);
    let mut procedure = Supervised::new(model, optimiser, rate, batch);
    // The folder keeps the run: starting the example again shows its result at once.
    let folder = Path::new("runs/examples/videomae-v2");
    let run = Run::create(folder, &(&config, &training), true)?;
    run.fit(&mut procedure, &FitConfig::new(STEPS), &Progress::auto())?;
    let model = procedure.trained()?;

    // A clip, the tenth of it that the encoder sees, and the rest as the decoder predicts it.
    let clip = standardised(moving.draw(1).clip);
    let clip = Tensor::from_data(TensorData::new(clip, [1, 3, 8, 32, 32]), &device);
    let found = model.reconstruct(clip, &alone.draw(grid, 1, Seed(0))?.on(&device)?)?;
    let mut sheet = Grid::new([3, 32, 32]);
    for (name, frames) in [
        ("clip", found.original),
        ("seen", found.masked),
        ("reconstructed", found.reconstructed),
    ] {
        let values: Vec<f32> = frames.swap_dims(1, 2).into_data().iter().collect();
        sheet = sheet.row(name, values.chunks(3 * 32 * 32));
    }
    let path = folder.join("frames.png");
    sheet.write(&path)?;
    println!("frames: {}", path.display());
    Ok(())
}
