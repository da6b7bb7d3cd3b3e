//! The real scenes: maps, indices and elbows.

use super::{
    Experiment, Method, Place, WINDOW,
    runs::{Networks, fit},
};
use crate::{Context, jobs};
use anyhow::Context as _;
use menagerie_cluster::stacked_geo::{
    ClassMap, MinMax, NO_CLASS, Pca, ScenePixels, collect, elbow, label,
};
use menagerie_core::{Result, Seed};
use menagerie_nn::clustering::{KMeansConfig, Quality, Rows};
use menagerie_train::Progress;

/// What came of a real scene.
pub(super) struct Survey {
    /// Pixels with data in every band.
    pub pixels: usize,
    /// By method, in the order of [`Method::PUBLISHED`].
    pub arms: Vec<Arm>,
    /// The mean variance of the scaled bands.
    pub variance: f64,
    /// Mean squared errors of the ordinary autoencoder and of the three of the stack.
    pub errors: Vec<f64>,
    /// How many of their codes have collapsed.
    pub collapsed: usize,
    /// How many components hold 90 % of the variance.
    pub components: usize,
    /// The scene in colour, `[3, height, width]`.
    pub picture: Vec<f32>,
}

/// A method on a real scene.
pub(super) struct Arm {
    pub clusters: usize,
    /// Of the features with the labels of k-means.
    pub quality: Quality,
    /// Inertia by number of clusters, as a share of that of the smallest number.
    pub elbow: Vec<(f64, f64)>,
    /// After the majority filter.
    pub map: ClassMap,
}

/// All scenes, several at a time.
pub(super) fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Vec<Survey>> {
    let progress = Progress::auto();
    let places: Vec<usize> = (0..experiment.places.len()).collect();
    let workers = experiment.workers.min(places.len());
    jobs::run(&places, workers, |&index| {
        let place = &experiment.places[index];
        let progress = progress.labelled(place.id);
        survey(place, experiment, context, &progress).context(place.label)
    })
}

fn survey(
    place: &Place,
    experiment: &Experiment,
    context: &Context,
    progress: &Progress,
) -> Result<Survey> {
    let scene = &place.scene;
    let scaling = MinMax::fit(&ScenePixels::raw(scene))?;
    let points = ScenePixels::scaled(scene, &scaling)?;
    let pca = Pca::fit(&points)?;
    let pixels = collect(&points)?;
    let bands = scene.bands();
    let seed = Seed(context.seed);
    let folder = context.out.join(place.id);
    let networks = Networks::train(&fit(&folder, seed, context, progress), bands, &pixels)?;
    let maps = context.out.join("maps");
    menagerie_core::fs::create_dir(&maps)?;
    let mut arms = Vec::new();
    for method in Method::PUBLISHED {
        let features = networks.features(method, &pca, &context.device);
        let values = features.of(&pixels)?;
        let points = Rows::new(&values, features.dim())?;
        let (restarts, k_means) = (experiment.restarts, seed.stream("k-means"));
        let clusters = method.clusters();
        let centres = KMeansConfig::new(clusters)
            .with_restarts(restarts)
            .fit(&points, k_means)?;
        let quality = Quality::of(&points, &centres.assign(&points)?)?;
        let map = label(scene, &scaling, &features, &centres)?;
        let map = map.majority(WINDOW)?;
        let file = maps.join(format!("{}-{}.tif", place.id, method.id()));
        map.write(&file, scene.geo())?;
        map.write_png(&file.with_extension("png"))?;
        arms.push(Arm {
            clusters,
            quality,
            elbow: shares(elbow(&points, experiment.elbow.clone(), restarts, k_means)?),
            map,
        });
    }
    Ok(Survey {
        pixels: pixels.len() / bands,
        arms,
        variance: pca.variance.iter().sum::<f64>() / bands as f64,
        errors: networks.errors(),
        collapsed: networks.collapsed(),
        components: pca.select(0.9),
        picture: picture(place)?,
    })
}

/// Inertias by number of clusters, the first of them as 1.
fn shares(inertias: Vec<(usize, f64)>) -> Vec<(f64, f64)> {
    let first = inertias.first().map_or(1.0, |(_, inertia)| *inertia);
    let share = |(clusters, inertia)| (clusters as f64, inertia / first);
    inertias.into_iter().map(share).collect()
}

/// The scene in colour: the lowest and the highest hundredth of each band are cut off.
fn picture(place: &Place) -> Result<Vec<f32>> {
    let scene = &place.scene;
    let mut values = Vec::new();
    scene.read_rows(0..scene.height(), &mut values)?;
    let mut picture = Vec::with_capacity(3 * values.len() / scene.bands());
    for band in place.shown {
        let band: Vec<f32> = values
            .iter()
            .skip(band)
            .step_by(scene.bands())
            .copied()
            .collect();
        let mut sorted: Vec<f32> = band
            .iter()
            .copied()
            .filter(|value| !value.is_nan())
            .collect();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied();
        let (low, high) = (at(0.01).unwrap_or(0.0), at(0.99).unwrap_or(1.0));
        let span = (high - low).max(f32::MIN_POSITIVE);
        picture.extend(band.iter().map(|value| {
            let scaled = ((value - low) / span).clamp(0.0, 1.0);
            if scaled.is_nan() { 0.0 } else { scaled }
        }));
    }
    Ok(picture)
}

/// How many pixels of a map have a class.
pub(super) fn classified(map: &ClassMap) -> usize {
    map.classes()
        .iter()
        .filter(|class| **class != NO_CLASS)
        .count()
}
