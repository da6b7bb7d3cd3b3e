//! stacked-geo's way from a GeoTIFF scene of 10 megapixels and seven bands to a map of classes, with the
//! time of each part and the memory that the program held at most.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use menagerie_cluster::stacked_geo::{Features, MinMax, ScenePixels, label};
use menagerie_core::Seed;
use menagerie_data_image::geotiff::{GeoTags, Samples, Scene, write_bands};
use menagerie_data_synthetic::ScenesConfig;
use menagerie_nn::clustering::KMeansConfig;
use std::{fs, path::Path, time::Instant};

const SIZE: [usize; 2] = [2_500, 4_000];

fn main() {
    // A filter that asks for something else.
    let mut filters = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    if filters.any(|filter| !"scene stacked_geo".contains(&filter)) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scene.tif");
    draw(&path);
    let before = memory("VmRSS");
    // What drawing took is forgotten, where the system allows it.
    let _ = fs::write("/proc/self/clear_refs", "5");

    let began = Instant::now();
    let mut last = 0.0;
    let mut tell = |what: &str| {
        let now = began.elapsed().as_secs_f64();
        println!("{what:<32} {:>7.2} s", now - last);
        last = now;
    };
    let scene = Scene::open(&[&path]).unwrap();
    let scaling = MinMax::fit(&ScenePixels::raw(&scene)).unwrap();
    tell("range of the bands");
    let points = ScenePixels::scaled(&scene, &scaling).unwrap();
    let config = KMeansConfig::new(7).with_restarts(1);
    let centres = config.fit(&points, Seed(0)).unwrap();
    tell(&format!("k-means, {} iterations", centres.iterations));
    let map = label(&scene, &scaling, &Features::Bands(7), &centres).unwrap();
    tell("map");
    let map = map.majority(7).unwrap();
    tell("7x7 majority filter");
    map.write(&dir.path().join("map.tif"), scene.geo()).unwrap();
    tell("class GeoTIFF");
    println!("{:<32} {:>7.2} s", "in all", began.elapsed().as_secs_f64());
    match (memory("VmHWM"), before) {
        (Some(peak), Some(before)) => println!(
            "{:<32} {:>7.0} MB, {:.0} MB before; the bands alone are {:.0} MB as floats",
            "memory at most",
            peak,
            before,
            (SIZE[0] * SIZE[1] * 7 * 4) as f64 / 1e6
        ),
        _ => println!("memory at most: this system does not say"),
    }
}

/// Draws a scene of 16-bit values and writes it.
fn draw(path: &Path) {
    let config = ScenesConfig::small().with_size(SIZE);
    let scene = config.draw(Seed(0)).unwrap();
    let scaled = scene
        .values
        .iter()
        .map(|value| (value.clamp(0.0, 6.0) * 10_000.0) as u16);
    let values: Vec<u16> = scaled.collect();
    let geo = GeoTags::north_up([500_000.0, 6_500_000.0], [30.0, 30.0]).with_epsg(32_754);
    write_bands(path, Samples::U16(&values), 7, SIZE, &geo, Some(65_535.0)).unwrap();
}

/// A line of the system's account of this program, in MB.
fn memory(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}
