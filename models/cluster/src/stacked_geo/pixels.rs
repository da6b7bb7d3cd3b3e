//! The pixels of a scene as points, a few rows at a time.

use super::{
    elbow::check_clusters,
    features::Features,
    map::{ClassMap, NO_CLASS},
    scaling::MinMax,
};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::geotiff::Scene;
use menagerie_nn::clustering::{KMeans, Points, Rows};
use rayon::prelude::*;

/// The pixels of a scene that have data in every band, in the order of its rows; scaled if asked for.
///
/// Nothing is held in memory: a block is read from the files whenever it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ScenePixels<'a> {
    scene: &'a Scene,
    scaling: Option<&'a MinMax>,
}

impl<'a> ScenePixels<'a> {
    /// The bands as they are.
    pub fn raw(scene: &'a Scene) -> Self {
        Self {
            scene,
            scaling: None,
        }
    }

    /// The bands in 0..1.
    ///
    /// # Errors
    /// [`Error::Input`] if the scaling is for another number of bands.
    pub fn scaled(scene: &'a Scene, scaling: &'a MinMax) -> Result<Self> {
        if scaling.bands() != scene.bands() {
            let rule = format!("must be {}, as those that were scaled", scaling.bands());
            return Err(Error::input("the number of bands", scene.bands(), rule));
        }
        Ok(Self {
            scene,
            scaling: Some(scaling),
        })
    }
}

/// Moves the pixels that have data in every band to the front; gives how many there are.
fn compact(pixels: &mut [f32], bands: usize) -> usize {
    let mut kept = 0;
    for at in 0..pixels.len() / bands {
        let pixel = at * bands..(at + 1) * bands;
        if pixels[pixel.clone()].iter().all(|value| value.is_finite()) {
            pixels.copy_within(pixel, kept * bands);
            kept += 1;
        }
    }
    kept
}

impl Points for ScenePixels<'_> {
    fn dim(&self) -> usize {
        self.scene.bands()
    }

    fn blocks(&self) -> usize {
        self.scene.blocks()
    }

    fn block<'a>(&'a self, index: usize, buffer: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        self.scene.read_rows(self.scene.block_rows(index), buffer)?;
        let kept = compact(buffer, self.scene.bands());
        buffer.truncate(kept * self.scene.bands());
        if let Some(scaling) = self.scaling {
            scaling.apply(buffer);
        }
        Ok(buffer)
    }
}

/// The features of points, computed a block at a time, anew whenever a block is asked for: k-means asks
/// for all of them in every iteration, so that codes of two numbers are best [collected](collect) first.
#[derive(Clone, Copy, Debug)]
pub struct FeaturePoints<'a, P: ?Sized> {
    points: &'a P,
    features: &'a Features,
}

impl Features {
    /// The features of scaled pixels.
    ///
    /// # Errors
    /// [`Error::Input`] if the pixels are of another number of bands.
    pub fn points<'a, P: Points + ?Sized>(&'a self, points: &'a P) -> Result<FeaturePoints<'a, P>> {
        check_bands(points.dim(), self)?;
        Ok(FeaturePoints {
            points,
            features: self,
        })
    }
}

fn check_bands(bands: usize, features: &Features) -> Result<()> {
    if bands == features.bands() {
        return Ok(());
    }
    let rule = format!("must be {}, as those of the features", features.bands());
    Err(Error::input("the number of bands", bands, rule))
}

impl<P: Points + ?Sized> Points for FeaturePoints<'_, P> {
    fn dim(&self) -> usize {
        self.features.dim()
    }

    fn blocks(&self) -> usize {
        self.points.blocks()
    }

    fn block<'a>(&'a self, index: usize, buffer: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        let mut own = Vec::new();
        let block = self.points.block(index, &mut own)?;
        *buffer = if block.is_empty() {
            Vec::new()
        } else {
            self.features.of(block)?
        };
        Ok(buffer)
    }
}

/// All points in memory, `[n, dim]`.
///
/// # Errors
/// What the points report.
pub fn collect<P: Points + ?Sized>(points: &P) -> Result<Vec<f32>> {
    let blocks: Result<Vec<Vec<f32>>> = (0..points.blocks())
        .into_par_iter()
        .map(|index| {
            let mut buffer = Vec::new();
            Ok(points.block(index, &mut buffer)?.to_vec())
        })
        .collect();
    Ok(blocks?.concat())
}

/// At most `most` points in memory, `[n, dim]`, in their order: all of them if there are no more, else so
/// many drawn at random. Every block gives its share (rounded on the running sum), so that no part of a
/// scene is left out. Reads the points twice.
///
/// For scenes whose bands do not fit into memory: networks of two thousand parameters learn no more from
/// a hundred million pixels than from a few millions of them.
///
/// # Errors
/// [`Error::Input`] if `most` is 0; what the points report.
pub fn sample<P: Points + ?Sized>(points: &P, most: usize, seed: Seed) -> Result<Vec<f32>> {
    if most == 0 {
        let rule = "must be at least 1";
        return Err(Error::input("the number of points of a sample", most, rule));
    }
    let dim = points.dim();
    let lengths: Result<Vec<usize>> = (0..points.blocks())
        .into_par_iter()
        .map_init(Vec::new, |buffer, index| {
            Ok(points.block(index, buffer)?.len() / dim)
        })
        .collect();
    let mut ends = lengths?;
    let mut total = 0;
    for length in &mut ends {
        total += *length;
        *length = total;
    }
    let most = most.min(total) as u128;
    // Of the first so many points.
    let due = |count: usize| (count as u128 * most / total.max(1) as u128) as usize;
    let blocks: Result<Vec<Vec<f32>>> = (0..points.blocks())
        .into_par_iter()
        .map_init(Vec::new, |buffer, index| {
            let block = points.block(index, buffer)?;
            let start = index.checked_sub(1).map_or(0, |before| ends[before]);
            let count = due(ends[index]) - due(start);
            let mut rng = seed.stream("sample").at(index as u64).rng();
            let mut places =
                rand::seq::index::sample(&mut rng, block.len() / dim, count).into_vec();
            places.sort_unstable();
            let values = places
                .into_iter()
                .flat_map(|place| &block[place * dim..][..dim]);
            Ok(values.copied().collect())
        })
        .collect();
    Ok(blocks?.concat())
}

/// The map that centres give a scene: the nearest centre of the features of each pixel with data; the
/// others have no class. Holds one byte per pixel.
///
/// # Errors
/// [`Error::Input`] if there are fewer than 2 or more than 255 clusters, or scaling, features or centres are for another
/// number of bands or values; what the scene and the features report.
pub fn label(
    scene: &Scene,
    scaling: &MinMax,
    features: &Features,
    centres: &KMeans,
) -> Result<ClassMap> {
    let (bands, dim) = (scene.bands(), features.dim());
    check_clusters(centres.clusters())?;
    if centres.clusters() > usize::from(NO_CLASS) {
        let rule = format!("must be at most {NO_CLASS}, for a byte per pixel");
        return Err(Error::input(
            "the number of clusters",
            centres.clusters(),
            rule,
        ));
    }
    check_bands(bands, features)?;
    // Only for its check.
    ScenePixels::scaled(scene, scaling)?;
    let width = scene.width();
    let mut classes = vec![NO_CLASS; scene.height() * width];
    let first = scene.block_rows(0).len().max(1);
    classes
        .par_chunks_mut(first * width)
        .enumerate()
        .map_init(Vec::new, |pixels, (index, classes)| {
            scene.read_rows(scene.block_rows(index), pixels)?;
            let valid: Vec<bool> = pixels
                .chunks_exact(bands)
                .map(|pixel| pixel.iter().all(|value| value.is_finite()))
                .collect();
            let kept = compact(pixels, bands);
            if kept == 0 {
                return Ok(());
            }
            pixels.truncate(kept * bands);
            scaling.apply(pixels);
            let features = features.of(pixels)?;
            let labels = centres.assign(&Rows::new(&features, dim)?)?;
            let mut labels = labels.into_iter();
            for (class, valid) in classes.iter_mut().zip(valid) {
                if let Some(label) = valid.then(|| labels.next()).flatten() {
                    *class = label as u8;
                }
            }
            Ok(())
        })
        .collect::<Result<()>>()?;
    ClassMap::new(classes, [scene.height(), width])
}
