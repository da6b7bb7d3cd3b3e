use crate::noise;
use image::{GrayImage, Rgb, RgbImage};
use menagerie_core::Seed;
use menagerie_data_image::{FolderConfig, augment::Augmentation, folder, folder::FolderFiles};
use proptest::prelude::*;
use std::{fs, path::Path};

fn save(path: &Path, width: u32, height: u32, colour: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(width, height, Rgb(colour))
        .save(path)
        .unwrap();
}

#[test]
fn sub_folders_are_classes_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("dog/b.png"), 4, 3, [10, 20, 30]);
    save(&dir.path().join("dog/a.PNG"), 4, 3, [40, 50, 60]);
    save(&dir.path().join("cat/deep/z.png"), 4, 3, [70, 80, 90]);
    save(&dir.path().join("cat/.hidden.png"), 4, 3, [0, 0, 0]);
    fs::write(dir.path().join("dog/notes.txt"), "no image").unwrap();
    fs::create_dir(dir.path().join("ant")).unwrap();
    let (set, report) = folder(dir.path(), &FolderConfig::default()).unwrap();
    assert_eq!(set.class_names(), ["cat", "dog"]);
    assert_eq!(set.labels(), [0, 1, 1]);
    assert_eq!(set.image_shape(), [3, 3, 4]);
    // Planes, not pixels, in the order of the paths.
    let planes = |colour: [u8; 3]| colour.iter().flat_map(|&c| [c; 12]).collect::<Vec<u8>>();
    assert_eq!(set.image(0).unwrap(), planes([70, 80, 90]));
    assert_eq!(set.image(1).unwrap(), planes([40, 50, 60]));
    assert_eq!(set.image(2).unwrap(), planes([10, 20, 30]));
    assert_eq!(report.read[1], dir.path().join("dog/a.PNG"));
    assert!(report.skipped.is_empty());
    assert_eq!(
        folder(dir.path(), &FolderConfig::default()).unwrap(),
        (set, report)
    );
}

/// Two classes of pictures with a gradient, `count` each.
fn gradients(dir: &Path, count: u8, [width, height]: [u32; 2]) {
    for (class, first) in [("cat", 0), ("dog", 100)] {
        fs::create_dir_all(dir.join(class)).unwrap();
        for at in 0..count {
            let pixel = |x: u32, y: u32| Rgb([first + 9 * at, (x * 7) as u8, (y * 5) as u8]);
            RgbImage::from_fn(width, height, pixel)
                .save(dir.join(format!("{class}/{at}.png")))
                .unwrap();
        }
    }
}

#[test]
fn files_are_decoded_when_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    gradients(dir.path(), 4, [20, 14]);
    let files = FolderFiles::list(dir.path(), 3).unwrap();
    let (set, report) = folder(dir.path(), &FolderConfig::default()).unwrap();
    assert_eq!((files.len(), files.paths()), (8, report.read.as_slice()));
    assert_eq!(
        (files.labels(), files.class_names()),
        (set.labels(), set.class_names())
    );
    assert_eq!(files.image(5).unwrap().to_planes(), set.image(5).unwrap());
    // The same draws as of a set in memory.
    let augmentation = Augmentation::fine_tuning(8);
    for seed in [Seed(1), Seed(2)] {
        assert_eq!(
            files.batch(&augmentation, &[6, 1, 1], seed).unwrap(),
            augmentation.batch(&set, &[6, 1, 1], seed).unwrap()
        );
    }
    // And the same choice.
    let few = files.stratified(4, Seed(3)).unwrap();
    let expected = set.stratified_indices(4, Seed(3)).unwrap();
    let expected: Vec<_> = expected.iter().map(|at| report.read[*at].clone()).collect();
    assert_eq!(
        (few.paths(), few.labels()),
        (expected.as_slice(), &[0, 0, 1, 1][..])
    );
}

#[test]
fn files_of_any_size_make_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("cat/a.png"), 40, 10, [10, 20, 30]);
    save(&dir.path().join("dog/b.png"), 9, 30, [10, 20, 30]);
    let files = FolderFiles::list(dir.path(), 3).unwrap();
    assert_eq!(files.image(0).unwrap().size(), [10, 40]);
    let batch = files
        .batch(&Augmentation::fine_tuning(8), &[0, 1], Seed(1))
        .unwrap();
    assert_eq!(batch.len(), 2 * 3 * 8 * 8);
}

#[test]
fn files_that_are_not_there_or_broken_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = |error: menagerie_core::Error| error.to_string();
    let empty = FolderFiles::list(dir.path(), 3).unwrap_err();
    assert!(text(empty).contains("holds no .png, .jpg or .jpeg file"));
    let channels = FolderFiles::list(dir.path(), 2).unwrap_err();
    assert_eq!(
        text(channels),
        "channels is 2: must be 1 (grey) or 3 (colour)"
    );
    fs::create_dir(dir.path().join("cat")).unwrap();
    fs::write(dir.path().join("cat/text.jpg"), "not an image").unwrap();
    let files = FolderFiles::list(dir.path(), 3).unwrap();
    assert!(text(files.image(0).unwrap_err()).contains("text.jpg"));
    assert_eq!(
        text(files.image(1).unwrap_err()),
        "image index is 1: must be below 1"
    );
    let batch = files.batch(&Augmentation::evaluation(8), &[0], Seed(1));
    assert!(text(batch.unwrap_err()).contains("text.jpg"));
    let beyond = files.stratified(2, Seed(0)).unwrap_err();
    assert_eq!(
        text(beyond),
        "the size of a subset is 2: must be at most the number of images, 1"
    );
}

#[test]
fn a_flat_folder_is_unlabelled() {
    let dir = tempfile::tempdir().unwrap();
    GrayImage::from_raw(2, 2, vec![0, 85, 170, 255])
        .unwrap()
        .save(dir.path().join("only.png"))
        .unwrap();
    let grey = FolderConfig {
        channels: 1,
        size: None,
    };
    let (set, _) = folder(dir.path(), &grey).unwrap();
    assert_eq!(
        (set.image_shape(), set.pixels()),
        ([1, 2, 2], [0, 85, 170, 255].as_slice())
    );
    assert!(set.labels().is_empty() && set.class_names().is_empty());
}

#[test]
fn jpeg_is_read_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jpeg");
    save(&path, 16, 16, [200, 100, 50]);
    fs::copy(&path, dir.path().join("b.png")).unwrap();
    let (set, report) = folder(dir.path(), &FolderConfig::default()).unwrap();
    assert_eq!((set.len(), report.skipped.len()), (2, 0));
    assert!(set.pixels()[..256].iter().all(|red| red.abs_diff(200) < 6));
}

#[test]
fn broken_files_are_left_out_and_named() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("cat/good.png"), 8, 8, [1, 2, 3]);
    save(&dir.path().join("cat/small.png"), 7, 8, [1, 2, 3]);
    save(&dir.path().join("stray.png"), 8, 8, [1, 2, 3]);
    fs::write(dir.path().join("cat/empty.png"), "").unwrap();
    fs::write(dir.path().join("cat/text.jpg"), "not an image").unwrap();
    let whole = fs::read(dir.path().join("cat/good.png")).unwrap();
    fs::write(dir.path().join("cat/cut.png"), &whole[..whole.len() / 2]).unwrap();
    let (set, report) = folder(dir.path(), &FolderConfig::default()).unwrap();
    assert_eq!(set.len(), 1);
    let names: Vec<_> = report
        .skipped
        .iter()
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["cut.png", "empty.png", "small.png", "text.jpg", "stray.png"]
    );
    assert_eq!(
        report.skipped[2].1,
        "is 7x8 pixels, but the images before it are 8x8"
    );
    assert_eq!(report.skipped[4].1, "lies outside of the class folders");
    let text = report.to_string();
    assert!(
        text.starts_with("1 images read, 5 skipped\nskipped "),
        "{text}"
    );
}

#[test]
fn a_size_crops_to_the_centre_and_scales() {
    let dir = tempfile::tempdir().unwrap();
    // Red in the middle, blue at both ends.
    let wide = RgbImage::from_fn(30, 10, |x, _| {
        if (10..20).contains(&x) {
            Rgb([255, 0, 0])
        } else {
            Rgb([0, 0, 255])
        }
    });
    wide.save(dir.path().join("wide.png")).unwrap();
    save(&dir.path().join("thin.png"), 1, 5000, [9, 9, 9]);
    let config = FolderConfig {
        channels: 3,
        size: Some([5, 5]),
    };
    let (set, _) = folder(dir.path(), &config).unwrap();
    assert_eq!((set.len(), set.image_shape()), (2, [3, 5, 5]));
    assert_eq!(set.image(0).unwrap(), [9; 75]);
    assert_eq!(
        set.image(1).unwrap(),
        [[255; 25], [0; 25], [0; 25]].concat()
    );
}

#[test]
fn impossible_requests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path, config: FolderConfig| folder(path, &config).unwrap_err().to_string();
    let plain = FolderConfig::default();
    assert!(error(dir.path(), plain).ends_with("holds no .png, .jpg or .jpeg file"));
    assert!(error(&dir.path().join("none"), plain).starts_with("cannot read "));
    let channels = FolderConfig {
        channels: 4,
        ..plain
    };
    assert_eq!(
        error(dir.path(), channels),
        "channels is 4: must be 1 (grey) or 3 (colour)"
    );
    let size = FolderConfig {
        size: Some([0, 5]),
        ..plain
    };
    assert_eq!(
        error(dir.path(), size),
        "size is Some([0, 5]): both sides must lie in 1..=16384"
    );
    fs::write(dir.path().join("bad.png"), noise(100)).unwrap();
    let text = error(dir.path(), plain);
    assert!(
        text.contains("none of its 1 image files can be read; "),
        "{text}"
    );
    assert!(text.contains("bad.png"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_altered_image_makes_the_reader_panic(
        jpeg: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        truncated: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(if jpeg { "a.jpg" } else { "a.png" });
        RgbImage::from_raw(20, 15, noise(900)).unwrap().save(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if truncated {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, bytes).unwrap();
        save(&dir.path().join("b.png"), 20, 15, [1, 2, 3]);
        let config = FolderConfig { channels: 3, size: Some([6, 7]) };
        let (set, report) = folder(dir.path(), &config).unwrap();
        prop_assert_eq!(set.len() + report.skipped.len(), 2);
    }
}
