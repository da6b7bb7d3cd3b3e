//! The report.

use super::{
    Experiment, Method,
    real::{Survey, classified},
    runs::{Arm, Outcome, Scores},
};
use crate::Context;
use menagerie_cluster::stacked_geo::{ClassMap, SYSTEM};
use menagerie_core::Result;
use menagerie_report::{Best, Cell, Grid, Plot, Report, Stat, Table, Verdict, cells};

/// By how many times an autoencoder's error must lie below the variance.
const FACTOR: f64 = 10.0;

/// The autoencoders, in the order of their errors.
const AUTOENCODERS: [&str; 4] = [
    "one autoencoder",
    "first of the stack",
    "second of the stack",
    "third of the stack",
];

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    known: &[Outcome],
    real: &[Survey],
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    let [height, width] = experiment.scenes.size;
    report
        .setting("device", format!("{:?}", context.device))
        .setting("first seed", context.seed)
        .setting("procedural scenes", experiment.seeds)
        .setting("size of a scene", format!("{height}×{width}"))
        .setting(
            "bands, units",
            format!("{}, {}", experiment.scenes.bands, experiment.scenes.units),
        )
        .setting("restarts of k-means", experiment.restarts)
        .setting("passes and batches", "10 of 64, 5 of 32, 5 of 16")
        .setting("majority filter", "7×7");
    report.text(
        "Procedural scenes have a known unit for every pixel: spectra with absorption features, a \
         little mixing at borders, terrain that shades all bands, and bands that answer to light by \
         powers of their own, so that the pixels of a unit lie on a curve. All methods see the same \
         scaled pixels and the same k-means, with as many clusters as there are units. A cluster is \
         matched with the unit that it shares most pixels with, one to one. Pixels are used without \
         labels for training and mapping alike, as in the paper.",
    );
    report.heading("Scenes with known units");
    report.table(accuracy(known))?;
    report.table(errors(known, real, experiment))?;
    if let Some(outcome) = known.first() {
        units(&mut report, outcome)?;
    }
    for (place, survey) in experiment.places.iter().zip(real) {
        report.heading(place.label);
        let size = [place.scene.height(), place.scene.width()];
        let mut grid = Grid::new([3, size[0], size[1]]).scale(1);
        grid = grid.captioned_row("", [(survey.picture.clone(), "the scene")]);
        let maps = survey.arms.iter().zip(Method::PUBLISHED);
        let tiles = maps.map(|(arm, method)| {
            let caption = format!("{}, {} clusters", method.id(), arm.clusters);
            (arm.map.colours(), caption)
        });
        for tile in tiles {
            grid = grid.captioned_row("", [tile]);
        }
        let caption = format!(
            "The scene, and the maps after the majority filter; {} of {} pixels have data. The colours \
             of two maps have nothing to do with each other. The maps are also in the folder `maps`, as \
             GeoTIFF with the scene's tags and as PNG.",
            survey.arms.first().map_or(0, |arm| classified(&arm.map)),
            size[0] * size[1]
        );
        report.images(&format!("{}-maps", place.id), caption, &grid)?;
        let mut plot = Plot::new(
            format!("{}: elbow", place.label),
            "clusters",
            "inertia, as a share of that of two clusters",
        );
        for (arm, method) in survey.arms.iter().zip(Method::PUBLISHED) {
            plot = plot.line(method.label(), arm.elbow.clone());
        }
        report.plot(&format!("{}-elbow", place.id), plot)?;
    }
    if !real.is_empty() {
        report.heading("Indices of the real scenes");
        report.table(indices(experiment, real))?;
    }
    verdicts(&mut report, experiment, known, real)?;
    Ok(report)
}

fn stat(known: &[Outcome], method: Method, of: impl Fn(&Arm) -> f64) -> Stat {
    let at = Method::ALL.iter().position(|other| *other == method);
    let arms = known.iter().filter_map(|outcome| outcome.arms.get(at?));
    arms.map(of).collect()
}

fn accuracy(known: &[Outcome]) -> Table {
    let mut table = Table::new(
        "Maps against units",
        [
            "features",
            "accuracy, %",
            "ARI",
            "accuracy after the filter, %",
            "ARI after the filter",
        ],
    )
    .note(
        "Accuracy: share of pixels whose cluster is matched with their unit. The paper reports 86.6 to \
         90 % for the stacked autoencoders on real scenes, above the other two; that table could not be \
         checked.",
    )
    .highlight_column("accuracy after the filter, %", Best::Highest)
    .highlight_column("ARI after the filter", Best::Highest);
    for method in Method::ALL {
        let of = |scores: fn(&Arm) -> Scores| {
            let accuracy = stat(known, method, |arm| 100.0 * scores(arm).accuracy);
            let ari = stat(known, method, |arm| scores(arm).ari);
            [Cell::fixed(accuracy, 1), Cell::fixed(ari, 3)]
        };
        let mut row = vec![Cell::from(method.label())];
        row.extend(of(|arm| arm.plain));
        row.extend(of(|arm| arm.cleaned));
        table.push(row);
    }
    table
}

fn errors(known: &[Outcome], real: &[Survey], experiment: &Experiment) -> Table {
    let columns = ["scenes", "variance of the bands"]
        .into_iter()
        .chain(AUTOENCODERS)
        .chain(["components"]);
    let mut table = Table::new("Mean squared errors of the autoencoders", columns).note(
        "Over all pixels and all inputs of each. The third of the stack cannot do better than what its \
         sigmoid misses of five inputs that leave 0..1. Components: how many hold 90 % of the variance.",
    );
    let mut push = |name: &str, rows: &[(f64, &[f64], usize)]| {
        let mut cells = vec![Cell::from(name)];
        cells.push(Stat::from_iter(rows.iter().map(|(variance, ..)| *variance)).into());
        for at in 0..AUTOENCODERS.len() {
            let errors = rows
                .iter()
                .filter_map(|(_, errors, _)| errors.get(at).copied());
            cells.push(errors.collect::<Stat>().into());
        }
        let components = rows.iter().map(|(.., components)| *components as f64);
        cells.push(Cell::fixed(components.collect::<Stat>(), 1));
        table.push(cells);
    };
    let rows: Vec<_> = known
        .iter()
        .map(|outcome| (outcome.variance, &outcome.errors[..], outcome.components))
        .collect();
    push("procedural", &rows);
    for (place, survey) in experiment.places.iter().zip(real) {
        push(
            place.id,
            &[(survey.variance, &survey.errors, survey.components)],
        );
    }
    table
}

/// Scene, units and maps of the first seed.
fn units(report: &mut Report, outcome: &Outcome) -> Result<()> {
    let Some(scene) = &outcome.scene else {
        return Ok(());
    };
    let [height, width] = scene.size;
    let truth = ClassMap::new(scene.units.clone(), scene.size)?;
    let channel = |band: usize| scene.values.iter().skip(band).step_by(scene.bands);
    let colours = [4, 2, 0].map(|band| band.min(scene.bands - 1));
    let picture: Vec<f32> = colours.into_iter().flat_map(channel).copied().collect();
    let mut tiles = vec![
        (picture, "bands 5, 3, 1".to_string()),
        (truth.colours(), "units".to_string()),
    ];
    tiles.extend(outcome.arms.iter().zip(Method::ALL).map(|(arm, method)| {
        let caption = format!("{} {:.0} %", method.id(), 100.0 * arm.cleaned.accuracy);
        (arm.map.colours(), caption)
    }));
    let grid = Grid::new([3, height, width]).captioned_row("", tiles);
    let caption = "A procedural scene (first seed), its units, and the maps after the majority filter in \
                   the colours of the units that their clusters are matched with, with their accuracy.";
    report.images("units", caption, &grid)?;
    Ok(())
}

fn indices(experiment: &Experiment, real: &[Survey]) -> Table {
    let mut table = Table::new(
        "Calinski-Harabasz and Davies-Bouldin",
        [
            "scene",
            "pixels with data",
            "features",
            "clusters",
            "Calinski-Harabasz",
            "Davies-Bouldin",
            "paper's Davies-Bouldin on Landsat 8",
        ],
    )
    .note(
        "Each method's indices are of its own features, so that methods cannot be compared by them. \
         Higher is better for Calinski-Harabasz, lower for Davies-Bouldin. Calinski-Harabasz grows with \
         the number of pixels; the paper's are of 0.76 million.",
    );
    let names = ["PCA", "autoencoder", "stack"];
    for (place, survey) in experiment.places.iter().zip(real) {
        for ((arm, method), name) in survey.arms.iter().zip(Method::PUBLISHED).zip(names) {
            let paper = published(&format!("Landsat 8 {name}, Davies-Bouldin"));
            table.push(cells![
                place.id,
                survey.pixels,
                method.label(),
                arm.clusters,
                Cell::fixed(arm.quality.calinski_harabasz, 0),
                Cell::fixed(arm.quality.davies_bouldin, 4),
                paper.map_or(Cell::Empty, |value| Cell::fixed(value, 4)),
            ]);
        }
    }
    table
}

fn published(name: &str) -> Option<f64> {
    let mut figures = SYSTEM.claims.iter().flat_map(|claim| claim.figures);
    figures
        .find(|figure| figure.name == name)
        .map(|figure| figure.value)
}

fn verdicts(
    report: &mut Report,
    experiment: &Experiment,
    known: &[Outcome],
    real: &[Survey],
) -> Result<()> {
    let variance: Stat = known.iter().map(|outcome| outcome.variance).collect();
    let error = |at: usize| -> Stat {
        let errors = known
            .iter()
            .filter_map(|outcome| outcome.errors.get(at).copied());
        errors.collect()
    };
    let fold = |at: usize| variance.mean / error(at).mean;
    let measured: Vec<String> = (0..AUTOENCODERS.len())
        .map(|at| format!("{} {:.1} times", AUTOENCODERS[at], fold(at)))
        .collect();
    report.verdict(
        "autoencoders-learn",
        Verdict::decided(
            (0..3).all(|at| fold(at) >= FACTOR),
            format!("below the variance of the scaled bands, {variance}: {}", measured.join(", ")),
            format!(
                "on the procedural scenes, mean over seeds: the errors of the one autoencoder and of \
                 the first two of the stack lie at least {FACTOR} times below the variance of the \
                 scaled bands; the third, whose inputs partly lie beyond its sigmoid, is shown"
            ),
        ),
    )?;
    let filtered = |method| stat(known, method, |arm| 100.0 * arm.cleaned.accuracy);
    let gains: Vec<f64> = known
        .iter()
        .filter_map(|outcome| {
            // In the order of `Method::ALL`.
            let [_, pca, _, stack] = outcome.arms.as_slice() else {
                return None;
            };
            Some(100.0 * (stack.cleaned.accuracy - pca.cleaned.accuracy))
        })
        .collect();
    let above = gains.iter().filter(|gain| **gain >= 0.0).count();
    report.verdict(
        "stack-accuracy",
        Verdict::reported(
            format!(
                "stack {:.1} %, principal components {:.1} %, one autoencoder {:.1} %, raw bands {:.1} \
                 %; stack minus components {:+.1} points, at least 0 in {above} of {} scenes",
                filtered(Method::Stack),
                filtered(Method::Pca),
                filtered(Method::Autoencoder),
                filtered(Method::Bands),
                Stat::of(&gains),
                gains.len()
            ),
            "no rule: which features follow the units better depends on the data; the paper's own \
             reference map and how its clusters were assigned to rock units are not available",
        ),
    )?;
    let places: Vec<String> = experiment
        .places
        .iter()
        .zip(real)
        .map(|(place, survey)| {
            let arms = survey.arms.iter().zip(Method::PUBLISHED);
            let arms: Vec<String> = arms
                .map(|(arm, method)| format!("{} {:.3}", method.id(), arm.quality.davies_bouldin))
                .collect();
            format!("{}: Davies-Bouldin {}", place.label, arms.join(", "))
        })
        .collect();
    report.verdict(
        "several-sensors",
        Verdict::reported(
            places.join("; "),
            "no rule: there is no reference map for these scenes; whether a map shows the ground is \
             for the reader to judge",
        ),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_indices_are_found_under_their_names() {
        for name in ["PCA", "autoencoder", "stack"] {
            assert!(published(&format!("Landsat 8 {name}, Davies-Bouldin")).is_some());
        }
    }
}
