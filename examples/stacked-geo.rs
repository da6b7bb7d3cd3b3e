//! Maps a satellite scene: three small autoencoders, k-means, a majority filter; GeoTIFF in, GeoTIFF and
//! PNG out.
//!
//! ```text
//! cargo run -p menagerie-examples --example stacked-geo [band files…]
//! ```
//!
//! Without files it takes the seven bands of a Landsat 5 scene of Pará. Takes well under a minute and
//! writes `map.tif` and `map.png` to `runs/examples/stacked-geo/<first file>`.

use burn::tensor::Device;
use menagerie_cluster::stacked_geo::{
    Features, Fit, MinMax, ScenePixels, StackConfig, StageConfig, collect, label, sample,
};
use menagerie_core::Seed;
use menagerie_data_image::geotiff::Scene;
use menagerie_nn::clustering::{KMeansConfig, Quality, Rows};
use menagerie_train::Progress;
use std::path::{Path, PathBuf};

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let mut files: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        let dir = menagerie_data::find("landsat")?;
        let names = (1..=7).map(|band| format!("LT52240631988227CUB02_B{band}.TIF"));
        files = names.map(|name| dir.join(name)).collect();
    }
    let scene = Scene::open(&files)?;
    let (bands, width, height) = (scene.bands(), scene.width(), scene.height());
    println!(
        "{bands} bands of {width}x{height} pixels, EPSG {:?}",
        scene.geo().epsg()
    );

    let scaling = MinMax::fit(&ScenePixels::raw(&scene))?;
    let points = ScenePixels::scaled(&scene, &scaling)?;
    // No more of a large scene than memory and patience have room for.
    let pixels = sample(&points, 1_000_000, Seed(0))?;

    // The published networks, with fewer passes over the pixels.
    let stages = [(2, 64), (1, 32), (1, 16)].map(|(epochs, batch)| StageConfig::new(epochs, batch));
    let name = files.first().and_then(|file| file.file_stem());
    let folder = Path::new("runs/examples/stacked-geo").join(name.unwrap_or_default());
    let device = Device::default();
    let fit = Fit {
        seed: Seed(0),
        folder: &folder,
        resume: true,
        progress: &Progress::auto(),
        device: &device,
    };
    let stack = fit.stack(&StackConfig::new(bands), &stages, &pixels)?;
    println!("mean squared errors of the three: {:?}", stack.errors);
    println!("has a code collapsed? {}", stack.collapsed());

    let features = Features::Stack(stack.model, device);
    let codes = collect(&features.points(&points)?)?;
    let codes = Rows::new(&codes, features.dim())?;
    let centres = KMeansConfig::new(7).with_restarts(3).fit(&codes, Seed(0))?;
    let quality = Quality::of(&codes, &centres.assign(&codes)?)?;
    println!(
        "Calinski-Harabasz {:.0}, Davies-Bouldin {:.3}",
        quality.calinski_harabasz, quality.davies_bouldin
    );

    let map = label(&scene, &scaling, &features, &centres)?.majority(7)?;
    let pixels = map.counts();
    let total: usize = pixels.iter().sum();
    for (class, count) in pixels.iter().enumerate() {
        println!(
            "class {class}: {:.1} % of the ground",
            100.0 * *count as f64 / total as f64
        );
    }
    map.write(&folder.join("map.tif"), scene.geo())?;
    map.write_png(&folder.join("map.png"))?;
    println!("the map: {}", folder.join("map.png").display());
    Ok(())
}
