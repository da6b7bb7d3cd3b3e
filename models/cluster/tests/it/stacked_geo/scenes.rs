//! Samples of scenes, and scenes with a margin.

use super::*;

#[test]
fn a_sample_takes_its_share_of_every_part_of_a_scene() {
    let dir = tempfile::tempdir().unwrap();
    // More rows than a portion of work has.
    let size = [900, 100];
    let bands: Vec<u16> = (0..900 * 100_u32)
        .flat_map(|at| [at % 100, at / 100].map(|value| value as u16))
        .collect();
    let path = dir.path().join("scene.tif");
    write_bands(
        &path,
        Samples::U16(&bands),
        2,
        size,
        &GeoTags::default(),
        Some(99.0),
    )
    .unwrap();
    let scene = Scene::open(&[path]).unwrap();
    assert!(scene.blocks() > 1);
    let points = ScenePixels::raw(&scene);
    let all = collect(&points).unwrap();
    // Without the last column and row 99.
    assert_eq!(all.len(), 2 * 899 * 99);
    assert_eq!(sample(&points, usize::MAX, Seed(0)).unwrap(), all);
    let few = sample(&points, 9_000, Seed(0)).unwrap();
    assert_eq!(few.len(), 2 * 9_000);
    assert_eq!(few, sample(&points, 9_000, Seed(0)).unwrap());
    assert_ne!(few, sample(&points, 9_000, Seed(1)).unwrap());
    let place = |pixel: &[f32]| (pixel[1] as usize, pixel[0] as usize);
    let places: Vec<_> = few.chunks(2).map(place).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "in order, each once");
    for part in 0..9 {
        let here = places.iter().filter(|(row, _)| row / 100 == part).count();
        assert!((900..1_100).contains(&here), "{here} of part {part}");
    }
    let error = sample(&points, 0, Seed(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of points of a sample is 0: must be at least 1"
    );
}

/// rasterio's sample, whose nodata fills the margin of a scene that lies askew.
#[test]
#[allow(clippy::print_stderr)]
fn the_margin_of_a_real_scene_has_no_class() {
    let Some(dir) = std::env::var_os("MENAGERIE_DATA") else {
        eprintln!("skipped: MENAGERIE_DATA is not set");
        return;
    };
    let path = Path::new(&dir).join("landsat/RGB.byte.tif");
    if !path.is_file() {
        eprintln!("skipped: there is no {}", path.display());
        return;
    }
    let scene = Scene::open(&[path]).unwrap();
    let scaling = MinMax::fit(&ScenePixels::raw(&scene)).unwrap();
    let points = ScenePixels::scaled(&scene, &scaling).unwrap();
    // A quarter of the scene is margin.
    let mut values = Vec::new();
    scene.read_rows(0..scene.height(), &mut values).unwrap();
    let valid: Vec<bool> = values
        .chunks(3)
        .map(|pixel| pixel.iter().all(|value| !value.is_nan()))
        .collect();
    let count = valid.iter().filter(|valid| **valid).count();
    let pixels = collect(&points).unwrap();
    assert_eq!(pixels.len(), 3 * count);
    assert!(pixels.iter().all(|value| (0.0..=1.0).contains(value)));
    assert!(
        count > valid.len() / 4 && count < valid.len() - valid.len() / 10,
        "{count}"
    );
    let features = Features::principal(Pca::fit(&points).unwrap(), 0.9);
    let few = sample(&points, 5_000, Seed(0)).unwrap();
    let codes = features.of(&few).unwrap();
    let codes = Rows::new(&codes, features.dim()).unwrap();
    let centres = KMeansConfig::new(4).with_restarts(1);
    let centres = centres.fit(&codes, Seed(0)).unwrap();
    let map = label(&scene, &scaling, &features, &centres).unwrap();
    for map in [map.majority(7).unwrap(), map] {
        for (class, valid) in map.classes().iter().zip(&valid) {
            assert_eq!(*class != NO_CLASS, *valid);
        }
        assert_eq!(map.counts().iter().sum::<usize>(), count);
        assert_eq!(map.counts().len(), 4);
    }
}
