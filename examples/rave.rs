//! Trains a small model on spoken digits for a few dozen steps, then encodes and decodes a WAV file.
//!
//! ```text
//! cargo run -p menagerie-examples --example rave [-- input.wav]
//! ```
//!
//! Takes well under a minute; without an input it takes digits that were held out. In
//! `runs/examples/rave` are the original, what comes of all latent directions or few, and a stream.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_codec::rave::{
    Alignment, Direction, DiscriminatorConfig, LatentAnalysis, RaveConfig, RaveTraining,
    RaveTrainingConfig,
};
use menagerie_core::Seed;
use menagerie_data_audio::{crop, fsdd, resample, wav};
use menagerie_report::Sound;
use menagerie_train::{FitConfig, Progress, Run, Schedule, initialise};
use std::path::Path;

const STEPS: usize = 60;
const CROP: usize = 4_096;

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let (tracked, out) = (
        Device::default().autodiff(),
        Path::new("runs/examples/rave"),
    );
    let digits = fsdd()?;
    let joined = |indices: &[usize]| -> Vec<f32> {
        let clips = indices.iter().map(|at| digits.recordings()[*at].samples());
        clips.flatten().copied().collect()
    };
    let (train, test) = digits.split();
    let train = joined(&train);
    let config = RaveConfig::speech();
    let model = initialise(&tracked, Seed(0), || config.init(&tracked))?;
    let nets = DiscriminatorConfig::v1().with_layers(1).init(&tracked)?;
    let setup = RaveTrainingConfig::new(Schedule::constant(2e-3))
        .with_warmup(STEPS)
        .with_crop(CROP)
        .with_scales(vec![512, 256, 128, 64]);
    let batch = |step: usize, device: &Device| {
        let piece = |row| crop::draw(train.len(), CROP, Seed(1).at(step as u64).at(row));
        let crops = (0..8).flat_map(|row| crop::take(&train, piece(row), CROP));
        let data = TensorData::new(crops.collect::<Vec<f32>>(), [8, 1, CROP]);
        Ok(Tensor::from_data(data, device))
    };
    let mut training = RaveTraining::new(model, nets, setup.clone(), Seed(2), &tracked, batch)?;
    let run = Run::create(&out.join("training"), &setup, true)?;
    run.fit(&mut training, &FitConfig::new(STEPS), &Progress::auto())?;
    let (model, rate) = (training.trained()?.fold(), config.sample_rate);

    let samples = match std::env::args().nth(1) {
        Some(path) => resample(&wav::read(Path::new(&path))?, rate as u32)?.into_mono()?,
        None => joined(&test[..6]),
    };
    let save = |name: &str, samples: Vec<f32>| {
        Sound::mono(samples, rate as u32).write(&out.join(name).with_extension("wav"))
    };
    let latent = model.encode(model.audio(&samples, 1, rate, &Device::default())?)?;
    let analysis = LatentAnalysis::fit(latent.clone())?;
    let few = analysis.kept(0.9)?;
    println!(
        "{few} of {} latent directions explain 90 %",
        analysis.size()
    );
    let compact = analysis.expand(analysis.compact(latent.clone(), few)?, None)?;
    for (name, latent) in [("all", latent), ("few", compact)] {
        save(name, model.decode(latent, None)?.try_into_vec_as()?)?;
    }
    // The same as it would come from a microphone, hop by hop.
    let mut stream = model.stream(Direction::Both, Alignment::Exact)?;
    let blocks = samples.chunks_exact(config.hop());
    let streamed: Result<Vec<_>, _> = blocks.map(|block| stream.push(block)).collect();
    save("streamed", streamed?.concat())?;
    println!("streamed.wav is {} samples late", stream.delay());
    Ok(save("original", samples)?)
}
