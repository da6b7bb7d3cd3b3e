//! Clusters 2 000 handwritten digits without looking at a label, and shows the clusters.
//!
//! ```text
//! cargo run -p menagerie-examples --example depict
//! ```
//!
//! Takes well under a minute and writes `runs/examples/depict/clusters.png`.

use burn::tensor::Device;
use menagerie_cluster::depict::{DepictConfig, Fit, Images, TrainingConfig, assignments};
use menagerie_core::Seed;
use menagerie_data_image::{Split, mnist};
use menagerie_nn::clustering::{Contingency, Normalisation};
use menagerie_report::Grid;
use menagerie_train::Progress;
use std::path::Path;

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let device = Device::default();
    let digits = mnist(Split::Test)?.subset(0..2_000)?;
    let images = Images::from_bytes(digits.pixels(), digits.image_shape())?;

    let config = DepictConfig::mnist().with_maps([16, 16]);
    let training = TrainingConfig::short(12, 4, 10);
    let folder = Path::new("runs/examples/depict");
    let progress = Progress::auto();
    let fit = Fit {
        images: &images,
        training: &training,
        strata: None,
        seed: Seed(0),
        folder,
        resume: true,
        progress: &progress,
    };
    let found = fit.run(&config, &device)?;

    // Only now the labels, to see what the clusters are.
    for (name, labels) in [
        ("k-means on the autoencoder", &found.initial),
        ("joint training", &found.labels),
    ] {
        let scores = Contingency::new(digits.labels(), labels)?;
        println!(
            "{name}: {:.1} % of the digits are in the cluster of their kind, NMI {:.3}",
            100.0 * scores.accuracy(),
            scores.nmi(Normalisation::Arithmetic)
        );
    }

    // The ten surest digits of each cluster.
    let all: Vec<usize> = (0..images.len()).collect();
    let p = assignments(&found.model, &images, &all)?;
    let mut grid = Grid::new([1, 28, 28]);
    for cluster in 0..config.clusters {
        let mut surest = all.clone();
        surest.sort_by(|&a, &b| {
            let probability = |index: usize| p[index * config.clusters + cluster];
            probability(b).total_cmp(&probability(a))
        });
        let tiles = surest.iter().take(10).map(|&index| {
            let values = images.image(index).unwrap_or_default();
            values.iter().map(|value| (value + 1.0) / 2.0).collect()
        });
        let tiles: Vec<Vec<f32>> = tiles.collect();
        let size = found
            .labels
            .iter()
            .filter(|label| **label == cluster)
            .count();
        grid = grid.row(format!("{size} digits"), tiles);
    }
    let path = folder.join("clusters.png");
    grid.write(&path)?;
    println!("the clusters: {}", path.display());
    Ok(())
}
