use image::{Rgb, RgbImage};
use menagerie_core::Seed;
use menagerie_data_image::{CropsConfig, crops};
use std::fs;

const CONFIG: CropsConfig = CropsConfig {
    channels: 3,
    size: 8,
    count: 11,
};

#[test]
fn squares_come_from_their_image_and_repeat_with_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    // The place of a pixel is its colour.
    let image = |blue| RgbImage::from_fn(30, 20, move |x, y| Rgb([x as u8, y as u8, blue]));
    image(1).save(dir.path().join("a.png")).unwrap();
    fs::create_dir(dir.path().join("deep")).unwrap();
    image(2).save(dir.path().join("deep/b.png")).unwrap();
    RgbImage::new(7, 30).save(dir.path().join("c.png")).unwrap();
    fs::write(dir.path().join("d.png"), "no image").unwrap();
    let (set, report) = crops(dir.path(), &CONFIG, Seed(0)).unwrap();
    assert_eq!((set.len(), set.image_shape()), (11, [3, 8, 8]));
    assert_eq!(set.class_names(), ["a", "b"]);
    assert_eq!(set.labels()[..4], [0, 1, 0, 1]);
    assert_eq!(report.skipped.len(), 2);
    assert_eq!(report.skipped[0].1, "is 7x30 pixels, smaller than 8x8");
    let mut places = Vec::new();
    for (at, &label) in set.labels().iter().enumerate() {
        let planes = set.image(at).unwrap();
        let (left, top) = (planes[0], planes[64]);
        places.push((left, top));
        for (pixel, ((&x, &y), &blue)) in planes[..64]
            .iter()
            .zip(&planes[64..128])
            .zip(&planes[128..])
            .enumerate()
        {
            assert_eq!((x, y), (left + (pixel % 8) as u8, top + (pixel / 8) as u8));
            assert_eq!(usize::from(blue), label + 1);
        }
    }
    places.sort_unstable();
    places.dedup();
    assert!(places.len() > 8, "places vary");
    assert_eq!(crops(dir.path(), &CONFIG, Seed(0)).unwrap().0, set);
    assert_ne!(crops(dir.path(), &CONFIG, Seed(1)).unwrap().0, set);
}

#[test]
fn impossible_requests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = |config| crops(dir.path(), &config, Seed(0)).unwrap_err().to_string();
    assert!(error(CONFIG).ends_with("holds no .png, .jpg or .jpeg file"));
    assert!(error(CropsConfig { size: 0, ..CONFIG }).contains("must be at least 1"));
    let channels = CropsConfig {
        channels: 2,
        ..CONFIG
    };
    assert_eq!(
        error(channels),
        "channels is 2: must be 1 (grey) or 3 (colour)"
    );
    RgbImage::new(7, 7).save(dir.path().join("a.png")).unwrap();
    let text = error(CONFIG);
    assert!(
        text.contains("none of its 1 image files can be used; "),
        "{text}"
    );
    assert!(text.ends_with("is 7x7 pixels, smaller than 8x8"), "{text}");
}
