//! Trains a prototype network on a few thousand digits, draws its prototypes and explains a
//! prediction.
//!
//! ```text
//! cargo run -p menagerie-examples --example prototype-net
//! ```
//!
//! Takes well under a minute and writes `runs/examples/prototype-net/prototypes.png`.

use burn::tensor::Device;
use menagerie_cluster::prototype_net::{
    Batches, Examples, Initialisation, PrototypeNetConfig, TrainingConfig, evaluate, measures,
};
use menagerie_core::Seed;
use menagerie_data_image::{ImageSet, Split, mnist};
use menagerie_report::Grid;
use menagerie_train::{FitConfig, Progress, Run, Supervised, initialise};
use std::path::Path;

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let device = Device::default();
    let first = |set: ImageSet, count: usize| {
        let images = set.to_f32(0..count)?;
        Examples::new(images, set.labels()[..count].to_vec(), [1, 28, 28], 10)
    };
    let train = first(mnist(Split::Train)?, 4_000)?;
    let test = first(mnist(Split::Test)?, 1_000)?;

    let config = PrototypeNetConfig::mnist().with_initialisation(Initialisation::He);
    let training = TrainingConfig::short(25).with_batch(100);
    let autodiff = device.clone().autodiff();
    let model = initialise(&autodiff, Seed(0), || config.init(&autodiff))?;
    let mut batches = Batches::new(&train, &training, Seed(0))?;
    let fit = FitConfig::new(training.epochs * batches.steps_per_epoch());
    let mut procedure = Supervised::new(
        model,
        training.optimizer()?,
        training.learning_rate,
        |step, device: &Device| batches.batch(step, device),
    );
    let folder = Path::new("runs/examples/prototype-net");
    let run = Run::create(folder, &(&config, &training), true)?;
    run.fit(&mut procedure, &fit, &Progress::auto())?;
    let model = procedure.trained()?;
    let metrics = evaluate(&model, &test, 250, &device)?;
    println!("1 000 test digits: {metrics}");

    // Every prototype beside the training image that lies nearest to it.
    let claimed = measures::claimed_classes(&model.weight_matrix()?);
    let pixels: Vec<f32> = model.decode_prototypes().into_data().iter().collect();
    let captions = claimed.iter().map(|class| format!("for {class}"));
    let prototypes = pixels.chunks(28 * 28).zip(captions);
    let nearest = model.nearest_training_images(train.images(&device))?;
    let images = nearest.iter().map(|found| {
        let label = format!("is a {}", train.labels()[found.index]);
        (train.image(found.index).unwrap_or_default(), label)
    });
    let path = folder.join("prototypes.png");
    Grid::new([1, 28, 28])
        .captioned_row("prototype", prototypes)
        .captioned_row("nearest image", images)
        .write(&path)?;
    println!("the prototypes: {}", path.display());

    let why = &model.explain(test.batch(&[0], &device)?.images)?[0];
    let (label, class) = (test.labels()[0], why.class);
    println!("the first test digit, a {label}, is taken for a {class}:");
    for &prototype in why.nearest.iter().take(3) {
        let (distance, speaks_for) = (why.distances[prototype], claimed[prototype]);
        println!("  prototype {prototype}, which speaks for {speaks_for}, is {distance:.2} away");
    }
    Ok(())
}
