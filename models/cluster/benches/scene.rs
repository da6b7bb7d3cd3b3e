//! stacked-geo's way from a GeoTIFF scene of 10 megapixels and seven bands to maps of classes, of the raw
//! bands and of stacked codes, with the time of each part and the memory that the program held at most.
//! The bands are read from Deflate strips and from a single strip that is not compressed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use burn::tensor::Device;
use menagerie_cluster::stacked_geo::{
    Features, Fit, MinMax, ScenePixels, StackConfig, StageConfig, collect, label, sample,
};
use menagerie_core::Seed;
use menagerie_data_image::geotiff::{GeoTags, Samples, Scene, write_bands};
use menagerie_data_synthetic::ScenesConfig;
use menagerie_nn::clustering::{KMeansConfig, Rows};
use menagerie_train::Progress;
use std::{fs, path::Path, time::Instant};

const SIZE: [usize; 2] = [2_500, 4_000];
const BANDS: usize = 7;
/// Pixels that the stack is trained on, one pass each.
const SAMPLE: usize = 200_000;

fn main() {
    // A filter that asks for something else.
    let mut filters = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    if filters.any(|filter| !"scene stacked_geo".contains(&filter)) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [path, strip] = ["scene.tif", "strip.tif"].map(|name| dir.path().join(name));
    draw(&path, &strip);
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
    let single = Scene::open(&[&strip]).unwrap();
    assert_eq!(MinMax::fit(&ScenePixels::raw(&single)).unwrap(), scaling);
    tell("the same of a single strip");
    let points = ScenePixels::scaled(&scene, &scaling).unwrap();
    let config = KMeansConfig::new(7).with_restarts(1);
    let centres = config.fit(&points, Seed(0)).unwrap();
    tell(&format!("k-means, {} iterations", centres.iterations));
    label(&scene, &scaling, &Features::Bands(BANDS), &centres).unwrap();
    tell("map");

    let few = sample(&points, SAMPLE, Seed(0)).unwrap();
    tell("a sample of the pixels");
    let stages = [64, 32, 16].map(|batch| StageConfig::new(1, batch));
    let device = Device::default();
    let fit = Fit {
        seed: Seed(0),
        folder: dir.path(),
        resume: false,
        progress: &Progress::silent(),
        device: &device,
    };
    let stack = fit.stack(&StackConfig::new(BANDS), &stages, &few).unwrap();
    tell("three autoencoders on it");
    let features = Features::Stack(stack.model, device.clone());
    let codes = collect(&features.points(&points).unwrap()).unwrap();
    tell("codes of all pixels");
    let rows = Rows::new(&codes, features.dim()).unwrap();
    let centres = config.fit(&rows, Seed(0)).unwrap();
    tell(&format!(
        "k-means of codes, {} iterations",
        centres.iterations
    ));
    let map = label(&scene, &scaling, &features, &centres).unwrap();
    tell("map of codes");
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
            (SIZE[0] * SIZE[1] * BANDS * 4) as f64 / 1e6
        ),
        _ => println!("memory at most: this system does not say"),
    }
}

/// Draws a scene of 16-bit values and writes it, in strips and in a single one.
fn draw(path: &Path, strip: &Path) {
    let config = ScenesConfig::small().with_size(SIZE);
    let scene = config.draw(Seed(0)).unwrap();
    let scaled = scene
        .values
        .iter()
        .map(|value| (value.clamp(0.0, 6.0) * 10_000.0) as u16);
    let values: Vec<u16> = scaled.collect();
    let geo = GeoTags::north_up([500_000.0, 6_500_000.0], [30.0, 30.0]).with_epsg(32_754);
    write_bands(
        path,
        Samples::U16(&values),
        BANDS,
        SIZE,
        &geo,
        Some(65_535.0),
    )
    .unwrap();
    write_strip(strip, &values);
}

/// A TIFF file with one strip, not compressed: what simple programs write.
fn write_strip(path: &Path, values: &[u16]) {
    // Tag, kind (3 is 16 bits, 4 is 32), values; the bits of a band are all in one place.
    let bytes = 2 * values.len() as u32;
    let entries: [(u16, u16, u32, u32); 8] = [
        (256, 4, 1, SIZE[1] as u32),
        (257, 4, 1, SIZE[0] as u32),
        (258, 3, BANDS as u32, 8 + bytes),
        (259, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, BANDS as u32),
        (278, 4, 1, SIZE[0] as u32),
        (279, 4, 1, bytes),
    ];
    let directory = 8 + bytes + 2 * BANDS as u32;
    let mut file = b"II*\0".to_vec();
    file.extend(directory.to_le_bytes());
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file.extend([16_u16; BANDS].iter().flat_map(|bits| bits.to_le_bytes()));
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    fs::write(path, file).unwrap();
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
