//! The report.

use super::{
    Experiment, Method,
    real::{Survey, classified},
    reference::Comparison,
    runs::{Arm, Outcome, Scores},
    verdicts,
};
use crate::Context;
use menagerie_cluster::stacked_geo::{ClassMap, SYSTEM};
use menagerie_core::Result;
use menagerie_report::{Best, Cell, Grid, Plot, Report, Stat, Table, cells};

/// The autoencoders, in the order of their errors.
pub(super) const AUTOENCODERS: [&str; 4] = [
    "one autoencoder",
    "first of the stack",
    "second of the stack",
    "third of the stack",
];

/// Everything that came of it.
pub(super) struct Results<'a> {
    pub experiment: &'a Experiment,
    /// The procedural scenes.
    pub known: &'a [Outcome],
    /// These against PyTorch.
    pub compared: &'a [Comparison],
    /// The real scenes.
    pub real: &'a [Survey],
}

pub(super) fn report(context: &Context, results: &Results) -> Result<Report> {
    let &Results {
        experiment,
        known,
        compared,
        real,
    } = results;
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
    report.heading("The same arms in PyTorch");
    report.table(reference(compared))?;
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
    report.heading("The paper's numbers");
    for table in published() {
        report.table(table)?;
    }
    verdicts::learning(&mut report, known)?;
    verdicts::agreement(&mut report, compared)?;
    verdicts::accuracies(&mut report, known)?;
    verdicts::sensors(&mut report, experiment, real)?;
    Ok(report)
}

pub(super) fn stat(known: &[Outcome], method: Method, of: impl Fn(&Arm) -> f64) -> Stat {
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
        .chain(["collapsed codes", "components"]);
    let mut table = Table::new("Mean squared errors of the autoencoders", columns).note(
        "Over all pixels and all inputs of each. The third of the stack cannot do better than what its \
         sigmoid misses of five inputs that leave 0..1. Collapsed codes: of how many of the four the \
         covariance has not full rank. Components: how many hold 90 % of the variance.",
    );
    let mut push = |name: &str, rows: &[(f64, &[f64], usize, usize)]| {
        let mut cells = vec![Cell::from(name)];
        cells.push(Stat::from_iter(rows.iter().map(|(variance, ..)| *variance)).into());
        for at in 0..AUTOENCODERS.len() {
            let errors = rows
                .iter()
                .filter_map(|(_, errors, ..)| errors.get(at).copied());
            cells.push(errors.collect::<Stat>().into());
        }
        let collapsed = rows.iter().map(|(_, _, collapsed, _)| *collapsed as f64);
        cells.push(Cell::fixed(collapsed.collect::<Stat>(), 1));
        let components = rows.iter().map(|(.., components)| *components as f64);
        cells.push(Cell::fixed(components.collect::<Stat>(), 1));
        table.push(cells);
    };
    let rows: Vec<_> = known
        .iter()
        .map(|outcome| {
            let errors = &outcome.errors[..];
            (
                outcome.variance,
                errors,
                outcome.collapsed,
                outcome.components,
            )
        })
        .collect();
    push("procedural", &rows);
    for (place, survey) in experiment.places.iter().zip(real) {
        let errors = &survey.errors[..];
        let row = (survey.variance, errors, survey.collapsed, survey.components);
        push(place.id, &[row]);
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
        ],
    )
    .note(
        "Each method's indices are of its own features, so that methods cannot be compared by them. \
         Higher is better for Calinski-Harabasz, lower for Davies-Bouldin. Calinski-Harabasz grows with \
         the number of pixels.",
    );
    for (place, survey) in experiment.places.iter().zip(real) {
        for (arm, method) in survey.arms.iter().zip(Method::PUBLISHED) {
            table.push(cells![
                place.id,
                survey.pixels,
                method.label(),
                arm.clusters,
                Cell::fixed(arm.quality.calinski_harabasz, 0),
                Cell::fixed(arm.quality.davies_bouldin, 4),
            ]);
        }
    }
    table
}

/// Sensors of the paper, millions of pixels, and clusters by method.
const SENSORS: [(&str, f64, [usize; 3]); 3] = [
    ("Landsat 8", 0.762, [6, 6, 7]),
    ("ASTER", 3.05, [6, 6, 7]),
    ("Sentinel-2", 6.86, [6, 7, 6]),
];
/// What its figures call the methods.
const NAMES: [&str; 3] = ["PCA", "autoencoder", "stack"];

/// The paper's indices and losses.
fn published() -> [Table; 2] {
    let mut indices = Table::new(
        "The paper's indices",
        [
            "scene",
            "pixels, millions",
            "features",
            "clusters",
            "Calinski-Harabasz",
            "Davies-Bouldin",
        ],
    )
    .note("Read from the outputs of the released notebooks; other scenes than those above.");
    let mut losses = Table::new(
        "The paper's final losses",
        ["scene", AUTOENCODERS[0], AUTOENCODERS[3]],
    )
    .note("With the penalty on activations, which the errors above are without.");
    let cell = |name: String, digits| match figure(&name) {
        Some(value) => Cell::fixed(value, digits),
        None => Cell::Empty,
    };
    for (sensor, pixels, clusters) in SENSORS {
        for ((name, method), clusters) in NAMES.iter().zip(Method::PUBLISHED).zip(clusters) {
            indices.push(cells![
                sensor,
                Cell::fixed(pixels, 2),
                method.label(),
                clusters,
                cell(format!("{sensor} {name}, Calinski-Harabasz"), 0),
                cell(format!("{sensor} {name}, Davies-Bouldin"), 4),
            ]);
        }
        losses.push(cells![
            sensor,
            cell(format!("{sensor} canonical autoencoder, final loss"), 6),
            cell(format!("{sensor} third stage, final loss"), 6),
        ]);
    }
    [indices, losses]
}

fn figure(name: &str) -> Option<f64> {
    let mut figures = SYSTEM.claims.iter().flat_map(|claim| claim.figures);
    figures
        .find(|figure| figure.name == name)
        .map(|figure| figure.value)
}

fn reference(compared: &[Comparison]) -> Table {
    let mut table = Table::new(
        "Accuracy after the filter, %",
        [
            "scene",
            "features",
            "here",
            "PyTorch, the same draws",
            "points apart",
            "PyTorch, other draws",
        ],
    )
    .note(
        "Recorded by reference.py, which shares nothing with this program but the scenes, the initial \
         weights and the orders of the pixels. Other draws: PyTorch's own weights and orders.",
    );
    for arm in compared {
        let others: Stat = arm.others.iter().copied().collect();
        table.push(cells![
            arm.scene,
            arm.method.label(),
            Cell::fixed(arm.ours, 2),
            Cell::fixed(arm.theirs, 2),
            Cell::fixed(arm.apart(), 2),
            if others.n == 0 {
                Cell::Empty
            } else {
                Cell::fixed(others, 1)
            },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_numbers_are_found_under_their_names() {
        for (sensor, ..) in SENSORS {
            for name in NAMES {
                for index in ["Calinski-Harabasz", "Davies-Bouldin"] {
                    assert!(figure(&format!("{sensor} {name}, {index}")).is_some());
                }
            }
            for network in ["canonical autoencoder", "third stage"] {
                assert!(figure(&format!("{sensor} {network}, final loss")).is_some());
            }
        }
    }
}
