//! Trains a small QLAE on sprites, scores its code with InfoMEC and draws what each latent does.
//!
//! `cargo run -p menagerie-examples --example qlae` takes well under a minute and writes
//! `runs/examples/qlae/traversal.png`.

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_data_synthetic::SpritesConfig;
use menagerie_report::Grid;
use menagerie_representation::qlae::infomec::{InfomecConfig, Latents, Sources, infomec};
use menagerie_representation::qlae::{QlaeConfig, TrainingConfig};
use menagerie_train::{FitConfig, Progress, Run, Sampler, Schedule, Supervised, initialise};
use std::path::Path;

const STEPS: usize = 3_000;

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let device = Device::default();
    let sprites = SpritesConfig::qlae_small().init()?;
    let shape @ [channels, height, width] = sprites.image_shape();
    let all = [sprites.len(), channels, height, width];
    let images = Tensor::<4>::from_data(TensorData::new(sprites.images()?.to_vec(), all), &device);

    // Ten latents of eight values each; the strong weight decay is half of the method.
    let config = QlaeConfig::small_mlp();
    let training = TrainingConfig::small().with_steps(STEPS);
    let autodiff = device.clone().autodiff();
    let model = initialise(&autodiff, Seed(0), || config.init(&autodiff))?;

    let mut sampler = Sampler::replacement(sprites.len(), training.batch, Seed(0))?;
    let rate = Schedule::constant(training.learning_rate);
    let batch = |step, device: &Device| {
        let shape = [training.batch, channels, height, width];
        let batch = sprites.render_batch(&sampler.indices(step))?;
        Ok(Tensor::from_data(TensorData::new(batch, shape), device))
    };
    let mut procedure = Supervised::new(model, training.optimizer()?, rate, batch);
    // The folder keeps the run: starting the example again shows its result at once.
    let folder = Path::new("runs/examples/qlae");
    let run = Run::create(folder, &(&config, &training), true)?;
    run.fit(&mut procedure, &FitConfig::new(STEPS), &Progress::auto())?;
    let model = procedure.trained()?;

    // How well does the code separate the factors?
    let names = sprites.factor_names();
    let factors: Vec<i64> = sprites.factors().iter().map(|&f| f as i64).collect();
    let sources = Sources::new(sprites.len(), names.len(), &factors)?;
    let indices = model.encode(images.clone())?.indices.into_data();
    let indices = indices.convert::<i64>().try_to_vec()?;
    let latents = Latents::indices(sprites.len(), config.latents, &indices)?;
    let scores = infomec(&sources, &latents, &InfomecConfig::default())?;
    let infoe = scores.infoe().unwrap_or(f64::NAN);
    println!(
        "InfoM {:.3}  InfoE {infoe:.3}  InfoC {:.3}",
        scores.infom, scores.infoc
    );

    // One latent per row, set to each of its values.
    let middle = sprites.index_of(&[1, 2, 2, 1, 3])?;
    let middle: Tensor<3> = images.narrow(0, middle, 1).squeeze_dim(0);
    let mut grid = Grid::new(shape);
    for latent in 0..config.latents {
        let tiles = model.traverse(middle.clone(), latent)?.into_data();
        let tiles: Vec<f32> = tiles.convert::<f32>().try_to_vec()?;
        let told = names.iter().zip(&scores.nmi);
        let best = told.max_by(|a, b| a.1[latent].total_cmp(&b.1[latent]));
        let label = best.map(|(name, nmi)| format!("z{latent}: {name} {:.2}", nmi[latent]));
        grid = grid.row(label.unwrap_or_default(), tiles.chunks(height * width));
    }
    let path = folder.join("traversal.png");
    grid.write(&path)?;
    println!(
        "each row sets one latent to each of its values: {}",
        path.display()
    );
    Ok(())
}
