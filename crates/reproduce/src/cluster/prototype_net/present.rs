//! The report.

use super::{
    Arm, Experiment, Study,
    measure::{Gallery, Outcome, Prototypes},
    runs::Group,
};
use crate::{Context, Scale};
use menagerie_cluster::prototype_net::SYSTEM;
use menagerie_core::Result;
use menagerie_report::{Cell, Grid, Plot, Report, Stat, Table, Verdict, cells};

/// The accuracy, in points of percent, that the prototypes may cost.
const GAP: f64 = 2.0;
/// The share of prototypes that must depict the class they speak for.
const AGREEMENT: f64 = 0.5;
/// By how many times the share without R1 and R2 must be exceeded.
const AGREEMENT_FACTOR: f64 = 2.0;
/// Prototypes shown for each explained image.
const SHOWN: usize = 3;

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    groups: &[Group],
) -> Result<Report> {
    let results = Results { experiment, groups };
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(introduction(context.scale));
    report.table(comparison(&results))?;
    for study in 0..experiment.studies.len() {
        pictures(&mut report, &results, study)?;
    }
    verdicts(&mut report, &results)?;
    Ok(report)
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    report
        .setting("device", format!("{:?}", context.device))
        .setting("seeds", experiment.seeds)
        .setting("first seed", context.seed);
    for study in &experiment.studies {
        report.setting(format!("epochs, {}", study.label), study.training.epochs);
    }
    if let Some(study) = experiment.studies.first() {
        let (config, training) = (&study.config, &study.training);
        let weights = config.weights;
        let weights = [
            weights.classification,
            weights.reconstruction,
            weights.r1,
            weights.r2,
        ];
        let elastic = if training.elastic.is_some() {
            "every batch"
        } else {
            "none"
        };
        report
            .setting("batch", training.batch)
            .setting("learning rate (Adam)", training.learning_rate)
            .setting("elastic deformation", elastic)
            .setting("training images", study.train.len())
            .setting("test images", study.test.len())
            .setting("filters", format!("{:?}", config.initialisation))
            .setting("prototypes", config.prototypes)
            .setting(
                "λ of CE, R, R1, R2",
                weights.map(|λ| λ.to_string()).join(", "),
            );
    }
}

fn introduction(scale: Scale) -> &'static str {
    match scale {
        Scale::Small => {
            "Three networks with the same encoder see the same images in the same order for the \
             same number of steps. Filters are drawn by He's rule: from the published N(0, 0.01²) \
             a run this short does not leave its first plateau. The paper trains 1 500 epochs on \
             elastically deformed images, seven times as many of them, so its accuracies are a \
             ceiling here."
        }
        Scale::Paper => {
            "The published network, initialisation, deformation and schedule. Three networks with \
             the same encoder see the same images in the same order."
        }
    }
}

/// The outcomes with their statistics.
struct Results<'a> {
    experiment: &'a Experiment,
    groups: &'a [Group],
}

impl Results<'_> {
    fn outcomes(&self, study: usize, arm: Arm) -> &[Outcome] {
        self.groups
            .iter()
            .find(|group| group.study == study && group.arm == arm)
            .map_or(&[], |group| &group.outcomes)
    }

    fn stat(&self, study: usize, arm: Arm, of: impl Fn(&Outcome) -> Option<f64>) -> Stat {
        self.outcomes(study, arm).iter().filter_map(of).collect()
    }

    /// Test accuracy in percent.
    fn accuracy(&self, study: usize, arm: Arm) -> Stat {
        self.stat(study, arm, |outcome| percent(outcome.test.get("accuracy")))
    }

    /// A number of the prototypes.
    fn prototypes(&self, study: usize, arm: Arm, of: impl Fn(&Prototypes) -> f64) -> Stat {
        self.stat(study, arm, |outcome| outcome.prototypes.as_ref().map(&of))
    }

    fn gallery(&self, study: usize, arm: Arm) -> Option<&Gallery> {
        let outcomes = self.outcomes(study, arm).iter();
        outcomes
            .filter_map(|outcome| outcome.prototypes.as_ref()?.gallery.as_ref())
            .next()
    }

    /// `describe` of every data set, joined.
    fn each(&self, describe: impl Fn(usize) -> String) -> String {
        let studies = self.experiment.studies.iter().enumerate();
        studies
            .map(|(index, study)| format!("{}: {}", study.label, describe(index)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Whether `holds` on every data set.
    fn everywhere(&self, holds: impl Fn(usize) -> bool) -> bool {
        (0..self.experiment.studies.len()).all(holds)
    }
}

fn percent(share: Option<f64>) -> Option<f64> {
    share.map(|share| 100.0 * share)
}

/// The paper's accuracy of an arm on a data set.
fn published(study: &Study, arm: Arm) -> Option<f64> {
    let name = match arm {
        Arm::Full => format!("{} test accuracy, %", study.label),
        Arm::Plain => format!(
            "{} test accuracy without prototypes and decoder, %",
            study.label
        ),
        Arm::WithoutTerms => return None,
    };
    let mut figures = SYSTEM.claims.iter().flat_map(|claim| claim.figures);
    figures
        .find(|figure| figure.name == name)
        .map(|figure| figure.value)
}

fn comparison(results: &Results) -> Table {
    let mut table = Table::new(
        "Accuracy and prototypes",
        [
            "data",
            "network",
            "test accuracy, %",
            "paper's, %",
            "training accuracy, %",
            "realism ratio",
            "class agreement, %",
            "classes shown",
            "squared error per image",
        ],
    )
    .note(
        "Realism ratio: squared distance of a prototype to its nearest training image, in units \
         of that from an image to its nearest other image; lower is better. Class agreement: \
         prototypes whose most negative weight is at the class of their nearest training image. \
         Classes shown: those with at least one such prototype. The paper's accuracies other than \
         99.22 are recalled, not verified.",
    );
    for (index, study) in results.experiment.studies.iter().enumerate() {
        for arm in Arm::ALL {
            let of_prototypes = |of: fn(&Prototypes) -> f64, digits| {
                let stat = results.prototypes(index, arm, of);
                (stat.n > 0).then(|| Cell::fixed(stat, digits))
            };
            let error = results.stat(index, arm, |outcome| outcome.test.get("reconstruction"));
            table.push([
                Cell::from(study.label),
                arm.label().into(),
                Cell::fixed(results.accuracy(index, arm), 2),
                published(study, arm).map_or(Cell::Empty, |value| Cell::fixed(value, 2)),
                Cell::fixed(
                    results.stat(index, arm, |o| percent(o.train.get("accuracy"))),
                    2,
                ),
                of_prototypes(|p| p.realism, 2).unwrap_or(Cell::Empty),
                of_prototypes(|p| 100.0 * p.agreement, 0).unwrap_or(Cell::Empty),
                of_prototypes(|p| p.cover.0 as f64, 1).unwrap_or(Cell::Empty),
                if error.n > 0 {
                    Cell::fixed(error, 2)
                } else {
                    Cell::Empty
                },
            ]);
        }
    }
    table
}

fn pictures(report: &mut Report, results: &Results, index: usize) -> Result<()> {
    let study = &results.experiment.studies[index];
    report.heading(study.label);
    curves(report, results, index)?;
    for (arm, what) in [
        (Arm::Full, "The prototypes of the full network"),
        (Arm::WithoutTerms, "Without R1 and R2"),
    ] {
        if let Some(gallery) = results.gallery(index, arm) {
            let name = format!("{}-{}", study.id, arm.id());
            let caption = format!(
                "{what} (first seed), decoded, above the training image nearest to each. The \
                 captions name the class that the prototype's weights speak for, and the class \
                 of the image."
            );
            report.images(&name, caption, &prototype_grid(study, gallery))?;
        }
    }
    if let Some(gallery) = results.gallery(index, Arm::Full) {
        report.table(weight_table(study, gallery))?;
        let caption = format!(
            "The first {} test images, their reconstructions, and the nearest prototypes with \
             their squared distances.",
            gallery.explained.len()
        );
        let name = format!("{}-explained", study.id);
        report.images(&name, caption, &explanation_grid(study, gallery))?;
        report.table(explanation_table(study, gallery))?;
    }
    Ok(())
}

fn curves(report: &mut Report, results: &Results, index: usize) -> Result<()> {
    let study = &results.experiment.studies[index];
    let mut accuracy = Plot::new(
        format!("{}: learning curves", study.label),
        "epoch",
        "test accuracy, %",
    );
    let mut r1 = Plot::new(
        format!("{}: distance of prototypes to the batch", study.label),
        "epoch",
        "R1 on training batches",
    )
    .log_y();
    for arm in Arm::ALL {
        let outcomes = results.outcomes(index, arm);
        let points = spread(outcomes, |outcome| &outcome.accuracy);
        let points = points.into_iter().map(|(epoch, values)| {
            let values: Vec<f64> = values.into_iter().map(|value| 100.0 * value).collect();
            (epoch, Stat::of(&values))
        });
        accuracy = accuracy.spread(arm.label(), points.collect::<Vec<_>>());
        if arm != Arm::Plain {
            let points = spread(outcomes, |outcome| &outcome.r1).into_iter();
            let points = points.map(|(epoch, values)| (epoch, Stat::of(&values)));
            r1 = r1.spread(arm.label(), points.collect::<Vec<_>>());
        }
    }
    report.plot(&format!("{}-accuracy", study.id), accuracy)?;
    report.plot(&format!("{}-r1", study.id), r1)?;
    Ok(())
}

/// The values of all seeds at each point that every seed has.
fn spread(
    outcomes: &[Outcome],
    curve: impl Fn(&Outcome) -> &Vec<(f64, f64)>,
) -> Vec<(f64, Vec<f64>)> {
    let length = outcomes.iter().map(|outcome| curve(outcome).len()).min();
    (0..length.unwrap_or(0))
        .map(|at| {
            let values = outcomes.iter().map(|outcome| curve(outcome)[at].1);
            (curve(&outcomes[0])[at].0, values.collect())
        })
        .collect()
}

fn tile(study: &Study, index: usize) -> Vec<f32> {
    study.train.image(index).unwrap_or_default().to_vec()
}

fn prototype_grid(study: &Study, gallery: &Gallery) -> Grid {
    // Rows of one length.
    let count = gallery.decoded.len();
    let per_row = (4..=8).rev().find(|n| count.is_multiple_of(*n));
    let per_row = per_row.unwrap_or(count).max(1);
    let names = &study.class_names;
    let mut grid = Grid::new(study.config.image);
    let all: Vec<usize> = (0..count).collect();
    for row in all.chunks(per_row) {
        let prototype = |&j: &usize| {
            let caption = format!("{j}: {}", names[gallery.claimed[j]]);
            (gallery.decoded[j].clone(), caption)
        };
        let image = |&j: &usize| {
            let caption = names[gallery.depicted[j]].clone();
            (tile(study, gallery.nearest[j]), caption)
        };
        grid = grid
            .captioned_row("prototype", row.iter().map(prototype))
            .captioned_row("nearest image", row.iter().map(image));
    }
    grid
}

fn weight_table(study: &Study, gallery: &Gallery) -> Table {
    let names = study.class_names.iter().map(String::as_str);
    let columns = ["prototype", "depicts"].into_iter().chain(names);
    let mut table = Table::new(
        format!("{}: weights of the last layer (first seed)", study.label),
        columns,
    )
    .note(
        "A score is the sum of distance times weight over the prototypes, so that a prototype \
         speaks for the class of its most negative weight, which is marked ◂. \"Depicts\" is the \
         class of the nearest training image.",
    );
    for (j, row) in gallery.weights.iter().enumerate() {
        let mut cells = vec![
            Cell::from(j),
            study.class_names[gallery.depicted[j]].as_str().into(),
        ];
        cells.extend(row.iter().enumerate().map(|(class, weight)| {
            let mark = if class == gallery.claimed[j] {
                " ◂"
            } else {
                ""
            };
            Cell::from(format!("{weight:.2}{mark}"))
        }));
        table.push(cells);
    }
    table
}

fn explanation_grid(study: &Study, gallery: &Gallery) -> Grid {
    let names = &study.class_names;
    let mut grid = Grid::new(study.config.image);
    for (index, why, reconstruction) in &gallery.explained {
        let label = study.test.labels()[*index];
        let image = study.test.image(*index).unwrap_or_default().to_vec();
        let said = format!(
            "{} {:.0} %",
            names[why.class],
            100.0 * why.probabilities[why.class]
        );
        let nearest = why.nearest.iter().take(SHOWN).map(|&j| {
            let caption = format!("{j}: {:.2}", why.distances[j]);
            (gallery.decoded[j].clone(), caption)
        });
        let tiles = [
            (image, said),
            (reconstruction.clone(), "reconstructed".into()),
        ];
        grid = grid.captioned_row(
            format!("is {}", names[label]),
            tiles.into_iter().chain(nearest),
        );
    }
    let nearest = ["nearest", "second", "third"].into_iter().take(SHOWN);
    grid.columns(["test image", ""].into_iter().chain(nearest))
}

fn explanation_table(study: &Study, gallery: &Gallery) -> Table {
    let names = &study.class_names;
    let mut table = Table::new(
        format!("{}: why the first test images get their class", study.label),
        [
            "image",
            "prototype",
            "depicts",
            "squared distance",
            "weight for the class",
            "adds to the class",
            "adds to the second",
        ],
    )
    .note(
        "What a prototype adds to a score is distance times weight. The rest are the prototypes \
         that are farther away: where they speak for other classes, they take little from this \
         one and much from theirs.",
    );
    for (index, why, _) in &gallery.explained {
        let first = why.class;
        let others = (0..why.logits.len()).filter(|&class| class != first);
        let second = others
            .max_by(|&a, &b| why.logits[a].total_cmp(&why.logits[b]))
            .unwrap_or(first);
        let label = &names[study.test.labels()[*index]];
        let adds = |prototypes: &[usize], class: usize| -> f64 {
            let rows = prototypes.iter();
            rows.map(|&j| f64::from(why.contributions[j][class])).sum()
        };
        let (shown, rest) = why.nearest.split_at(SHOWN.min(why.nearest.len()));
        for &j in shown {
            table.push(cells![
                format!("{index} ({label})"),
                j,
                names[gallery.depicted[j]].as_str(),
                Cell::fixed(f64::from(why.distances[j]), 2),
                Cell::fixed(f64::from(gallery.weights[j][first]), 2),
                Cell::fixed(adds(&[j], first), 2),
                Cell::fixed(adds(&[j], second), 2),
            ]);
        }
        table.push(cells![
            format!("{index} ({label})"),
            "the rest",
            None::<f64>,
            None::<f64>,
            None::<f64>,
            Cell::fixed(adds(rest, first), 2),
            Cell::fixed(adds(rest, second), 2),
        ]);
        table.push(cells![
            format!("{index} ({label})"),
            "score",
            format!("{} against {}", names[first], names[second]),
            None::<f64>,
            None::<f64>,
            Cell::fixed(f64::from(why.logits[first]), 2),
            Cell::fixed(f64::from(why.logits[second]), 2),
        ]);
    }
    table
}

fn verdicts(report: &mut Report, results: &Results) -> Result<()> {
    let gap =
        |study| results.accuracy(study, Arm::Plain).mean - results.accuracy(study, Arm::Full).mean;
    let target = results.experiment.target;
    let reached = target.is_none_or(|target| results.accuracy(0, Arm::Full).mean >= target);
    let mut rule = format!(
        "on each data set the mean over seeds is at most {GAP} points below that of the encoder \
         with a linear head"
    );
    if let Some(target) = target {
        rule += &format!(", and at least {target} % on the first");
    }
    let measured = results.each(|study| {
        format!(
            "{:.2} % against {:.2} %, {:.2} points below",
            results.accuracy(study, Arm::Full).mean,
            results.accuracy(study, Arm::Plain).mean,
            gap(study)
        )
    });
    let met = reached && results.everywhere(|study| gap(study) <= GAP);
    report.verdict("accuracy-gap", Verdict::decided(met, measured, rule))?;

    let realism = |study, arm| results.prototypes(study, arm, |p| p.realism);
    report.verdict(
        "realistic-prototypes",
        Verdict::reported(
            results.each(|study| format!("realism ratio {:.2}", realism(study, Arm::Full))),
            "no rule: whether a picture looks realistic is for the reader to judge; a ratio below \
             1 puts prototypes closer to an image than images are to each other",
        ),
    )?;
    report.verdict(
        "terms-needed",
        Verdict::decided(
            results.everywhere(|study| {
                realism(study, Arm::Full).mean < realism(study, Arm::WithoutTerms).mean
            }),
            results.each(|study| {
                format!(
                    "realism ratio {:.2}, {:.2} without R1 and R2",
                    realism(study, Arm::Full),
                    realism(study, Arm::WithoutTerms)
                )
            }),
            "on each data set the realism ratio (mean over seeds) is smaller with R1 and R2",
        ),
    )?;
    let agreement = |study, arm| results.prototypes(study, arm, |p| p.agreement).mean;
    report.verdict(
        "one-class-each",
        Verdict::decided(
            results.everywhere(|study| {
                let full = agreement(study, Arm::Full);
                full >= AGREEMENT && full >= AGREEMENT_FACTOR * agreement(study, Arm::WithoutTerms)
            }),
            results.each(|study| {
                format!(
                    "{:.0} % of prototypes, {:.0} % without R1 and R2",
                    100.0 * agreement(study, Arm::Full),
                    100.0 * agreement(study, Arm::WithoutTerms)
                )
            }),
            format!(
                "on each data set at least {:.0} % of the prototypes (mean over seeds) agree, and \
                 at least {AGREEMENT_FACTOR} times as many as without R1 and R2",
                100.0 * AGREEMENT
            ),
        ),
    )?;
    report.verdict(
        "sub-classes",
        Verdict::reported(
            results.each(|study| {
                let several = results.prototypes(study, Arm::Full, |p| p.cover.1 as f64);
                format!("{several:.1} classes with several prototypes")
            }),
            "no rule: whether two prototypes of a class show different kinds of it is for the \
             reader to judge",
        ),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_accuracies_are_found_under_their_names() {
        let figures = SYSTEM.claims.iter().flat_map(|claim| claim.figures);
        let names: Vec<&str> = figures.map(|figure| figure.name).collect();
        assert!(names.contains(&"MNIST test accuracy, %"));
        assert!(names.contains(&"MNIST test accuracy without prototypes and decoder, %"));
        assert!(names.contains(&"Fashion-MNIST test accuracy, %"));
    }

    #[test]
    fn curves_keep_the_points_that_every_seed_has() {
        let outcome = |points: &[f64]| Outcome {
            train: Default::default(),
            test: Default::default(),
            accuracy: points.iter().map(|&value| (10.0 * value, value)).collect(),
            r1: Vec::new(),
            prototypes: None,
        };
        let outcomes = [outcome(&[1.0, 2.0, 3.0]), outcome(&[1.0, 4.0])];
        let curve = spread(&outcomes, |outcome| &outcome.accuracy);
        assert_eq!(curve, [(10.0, vec![1.0, 1.0]), (20.0, vec![2.0, 4.0])]);
        assert!(spread(&[], |outcome| &outcome.accuracy).is_empty());
    }
}
