//! Pipelines on 64 photographs of 3×256×256 brought to 224.
#![allow(clippy::unwrap_used)]

use divan::Bencher;
use menagerie_core::Seed;
use menagerie_data_image::{ImageSet, augment::Augmentation};
use rand::RngExt;

fn main() {
    divan::main();
}

fn photographs() -> ImageSet {
    let mut rng = Seed(0).rng();
    let pixels = (0..64 * 3 * 256 * 256).map(|_| rng.random()).collect();
    ImageSet::new(pixels, [3, 256, 256], vec![], vec![]).unwrap()
}

#[divan::bench_group(name = "augment_64", sample_count = 10)]
mod augment_64 {
    use super::*;

    fn run(bencher: Bencher, augmentation: &Augmentation) {
        let set = photographs();
        let indices: Vec<usize> = (0..64).collect();
        bencher.bench_local(|| augmentation.batch(&set, &indices, Seed(1)).unwrap());
    }

    /// Random resized crop and mirroring.
    #[divan::bench]
    fn pre_training(bencher: Bencher) {
        run(bencher, &Augmentation::pre_training(224));
    }

    /// With RandAugment and random erasing.
    #[divan::bench]
    fn fine_tuning(bencher: Bencher) {
        run(bencher, &Augmentation::fine_tuning(224));
    }
}
