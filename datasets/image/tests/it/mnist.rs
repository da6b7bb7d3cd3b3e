use crate::{gzip, idx_bytes, noise};
use menagerie_core::Seed;
use menagerie_data::Locator;
use menagerie_data_image::{
    ImageSet, Split, fashion_mnist,
    mnist::{self, DIGITS, GARMENTS},
};
use std::fs;

#[test]
fn a_folder_of_either_form_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = (
        idx_bytes(&[3, 28, 28], &noise(2352)),
        idx_bytes(&[3], &[9, 0, 4]),
    );
    fs::write(dir.path().join("t10k-images-idx3-ubyte"), &images).unwrap();
    fs::write(dir.path().join("t10k-labels-idx1-ubyte.gz"), gzip(&labels)).unwrap();
    let set = mnist::read(dir.path(), Split::Test, &GARMENTS).unwrap();
    assert_eq!(set.image_shape(), [1, 28, 28]);
    assert_eq!(
        (set.labels(), &*set.class_names()[9]),
        ([9, 0, 4].as_slice(), "ankle boot")
    );

    let error = mnist::read(dir.path(), Split::Train, &DIGITS)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot open "), "{error}");
    assert!(error.contains("train-images-idx3-ubyte.gz"), "{error}");

    fs::write(
        dir.path().join("t10k-images-idx3-ubyte"),
        idx_bytes(&[3, 2, 1], &[0; 6]),
    )
    .unwrap();
    let error = mnist::read(dir.path(), Split::Test, &DIGITS)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("t10k-images-idx3-ubyte: holds images of 2x1, expected 28x28"));
}

#[test]
fn validation_comes_first() {
    let pixels: Vec<u8> = (0..6_000_u32).map(|at| (at / 100) as u8).collect();
    let train = ImageSet::new(pixels, [1, 1, 1], Vec::new(), Vec::new()).unwrap();
    let (train, validation) = mnist::validation_split(&train).unwrap();
    assert_eq!((train.len(), validation.len()), (1_000, 5_000));
    assert_eq!((validation.pixels()[0], train.pixels()[0]), (0, 50));
    let error = mnist::validation_split(&train).unwrap_err().to_string();
    assert_eq!(
        error,
        "the number of images to split is 1000: must be above 5000 to leave any for training"
    );
}

/// Whether the user's own folder holds the data set; the network is no part of a test.
fn is_here(name: &str) -> bool {
    let locator = Locator::from_env();
    let set = menagerie_data::dataset(name).unwrap();
    locator.data_dir.is_some() && locator.locate(set).is_some()
}

#[test]
fn the_real_digits_are_as_published() {
    if !is_here("mnist") {
        return;
    }
    let train = mnist::mnist(Split::Train).unwrap();
    let test = mnist::mnist(Split::Test).unwrap();
    assert_eq!((train.len(), test.len()), (60_000, 10_000));
    assert_eq!(train.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    assert_eq!(test.labels()[..5], [7, 2, 1, 0, 4]);
    // The mean that is customarily subtracted.
    let mean = train
        .pixels()
        .iter()
        .map(|&pixel| f64::from(pixel))
        .sum::<f64>()
        / (255.0 * train.pixels().len() as f64);
    assert!((mean - 0.1307).abs() < 5e-5, "{mean}");
    let (train, validation) = mnist::validation_split(&train).unwrap();
    assert_eq!((train.len(), validation.len()), (55_000, 5_000));
    let small = train.stratified(8_000, Seed(0)).unwrap();
    for class in 0..10 {
        let share = |set: &ImageSet| {
            let members = set.labels().iter().filter(|label| **label == class).count();
            members as f64 / set.len() as f64
        };
        assert!((share(&small) - share(&train)).abs() <= 1.0 / 8_000.0);
    }
}

#[test]
fn the_real_garments_are_as_published() {
    if !is_here("fashion-mnist") {
        return;
    }
    let train = fashion_mnist(Split::Train).unwrap();
    let test = fashion_mnist(Split::Test).unwrap();
    assert_eq!((train.len(), test.len()), (60_000, 10_000));
    for class in 0..10 {
        assert_eq!(
            train
                .labels()
                .iter()
                .filter(|label| **label == class)
                .count(),
            6_000
        );
    }
    let mean = train
        .pixels()
        .iter()
        .map(|&pixel| f64::from(pixel))
        .sum::<f64>()
        / (255.0 * train.pixels().len() as f64);
    assert!((mean - 0.2860).abs() < 5e-5, "{mean}");
}
