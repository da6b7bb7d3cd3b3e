use crate::noise;
use menagerie_core::Seed;
use menagerie_data_image::ImageSet;
use proptest::prelude::*;

/// `labels.len()` images of 1x2x2.
fn set(labels: Vec<usize>, classes: usize) -> ImageSet {
    let names = (0..classes).map(|class| format!("class {class}")).collect();
    ImageSet::new(noise(labels.len() * 4), [1, 2, 2], labels, names).unwrap()
}

#[test]
fn values_are_pixels_over_255() {
    let set = ImageSet::new(vec![0, 51, 255, 102], [2, 1, 1], vec![], vec![]).unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(set.to_f32([1, 0]).unwrap(), [1.0, 0.4, 0.0, 0.2]);
    assert_eq!(set.to_f32(0..0).unwrap(), [0.0; 0]);
    let error = set.to_f32(1..3).unwrap_err().to_string();
    assert_eq!(error, "image index is 2: must be below 2");
    assert!(set.image(usize::MAX).is_none());
}

#[test]
fn a_subset_keeps_order_labels_and_names() {
    let all = set(vec![0, 1, 2, 1], 3);
    let some = all.subset([3, 0, 3]).unwrap();
    assert_eq!((some.len(), some.labels()), (3, [1, 0, 1].as_slice()));
    assert_eq!(some.image(0), all.image(3));
    assert_eq!(some.class_names(), all.class_names());
    assert!(all.subset([4]).is_err());
    let (first, rest) = all.split_at(1).unwrap();
    assert_eq!(
        (first.labels(), rest.labels()),
        ([0].as_slice(), [1, 2, 1].as_slice())
    );
    assert!(
        all.split_at(5)
            .unwrap_err()
            .to_string()
            .contains("the size of a split is 5")
    );
}

#[test]
fn a_stratified_subset_depends_on_the_seed_alone() {
    let all = set((0..1000).map(|at| at % 3).collect(), 3);
    let indices = all.stratified_indices(100, Seed(1)).unwrap();
    assert_eq!(indices, all.stratified_indices(100, Seed(1)).unwrap());
    assert_ne!(indices, all.stratified_indices(100, Seed(2)).unwrap());
    assert!(indices.is_sorted_by(|a, b| a < b));
    assert_eq!(all.stratified(1000, Seed(1)).unwrap(), all);
    let error = all.stratified(1001, Seed(1)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the size of a subset is 1001: must be at most the number of images, 1000"
    );
    let unlabelled = all.with_labels(vec![], vec![]).unwrap();
    let error = unlabelled.stratified(1, Seed(1)).unwrap_err().to_string();
    assert!(
        error.contains("a stratified subset needs one for each image"),
        "{error}"
    );
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let error = |pixels: usize, shape, labels: Vec<usize>, names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        ImageSet::new(vec![0; pixels], shape, labels, names)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(5, [1, 2, 2], vec![], &[]),
        "the number of pixels is 5: must be a multiple of 4 for images of shape [1, 2, 2]"
    );
    assert!(error(4, [1, 0, 2], vec![], &[]).starts_with("image shape is [1, 0, 2]: "));
    assert!(error(4, [usize::MAX, 2, 2], vec![], &[]).starts_with("image shape is ["));
    assert_eq!(
        error(8, [1, 2, 2], vec![0], &["a"]),
        "the number of labels is 1: must be one for each of the 2 images"
    );
    assert_eq!(
        error(4, [1, 2, 2], vec![1], &["a"]),
        "a label is 1: must be below the number of classes, 1"
    );
}

proptest! {
    #[test]
    fn a_stratified_subset_keeps_every_classs_share(
        labels in prop::collection::vec(0..5_usize, 1..200),
        part in 0.0..1.0_f64,
        seed: u64,
    ) {
        let count = (labels.len() as f64 * part) as usize;
        let all = set(labels, 5);
        let some = all.stratified(count, Seed(seed)).unwrap();
        prop_assert_eq!(some.len(), count);
        for class in 0..5 {
            let members = |set: &ImageSet| set.labels().iter().filter(|l| **l == class).count();
            let exact = members(&all) as f64 * count as f64 / all.len() as f64;
            prop_assert!((members(&some) as f64 - exact).abs() < 1.0);
        }
    }
}
