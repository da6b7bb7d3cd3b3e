//! The report.

use super::linear::{Closed, Form};
use super::networks::{Kind, Outcome, Point, Study};
use super::timing::Times;
use super::verdicts::{recovery, verdicts};
use super::{Experiment, Results, SHARES};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_edge::maestro::SYSTEM;
use menagerie_report::{Cell, Plot, Report, Stat, Table, cells};

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    results: &Results,
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(match context.scale {
        Scale::Small => {
            "Linear maps first, whose best truncations are known; then a perceptron and LeNet, \
             trained as usual and cut along the singular value decomposition of their layers, or \
             trained as ordered factors and cut without further ado. The verdicts on the perceptron \
             are those of digits; garments stand beside them. Perceptrons learn from 8 000 images and \
             are judged by 2 000 of the 10 000 test images, LeNet by all of them."
        }
        Scale::Paper => {
            "ResNet-18 and VGG-19 on CIFAR-10 and LeNet on MNIST under the published recipe."
        }
    });
    report.table(closed(&results.linear))?;
    for form in Form::ALL {
        importances(&mut report, &results.linear, form)?;
    }
    let beside = experiment.beside.as_ref();
    let studies = [
        Some((&experiment.truncation, &results.truncation)),
        beside.map(|study| (study, &results.beside)),
        Some((&experiment.footprint, &results.footprint)),
    ];
    for (study, outcomes) in studies.into_iter().flatten() {
        report.heading(study.label);
        report.table(truncations(study, outcomes))?;
        report.table(left(study, outcomes))?;
        curves(&mut report, study, outcomes)?;
    }
    report.table(times(&results.times))?;
    recovery(&mut report, &results.linear)?;
    verdicts(&mut report, experiment, results)?;
    Ok(report)
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    report
        .setting("device", format!("{:?}", context.device))
        .setting("first seed", context.seed);
    for study in [&experiment.truncation, &experiment.footprint] {
        let id = study.id;
        report
            .setting(format!("{id}: training images"), study.train.len())
            .setting(format!("{id}: test images"), study.test.len())
            .setting(format!("{id}: epochs"), study.epochs)
            .setting(format!("{id}: batch"), study.batch)
            .setting(format!("{id}: rate"), study.config.rate)
            .setting(format!("{id}: threshold"), study.config.threshold)
            .setting(format!("{id}: seeds"), study.seeds);
    }
}

pub(super) fn of_form(linear: &[Closed], form: Form) -> impl Iterator<Item = &Closed> {
    linear.iter().filter(move |closed| closed.form == form)
}

fn name(form: Form) -> &'static str {
    match form {
        Form::Uniform => "uniform data",
        Form::Autoencoder => "linear autoencoder",
        Form::Reordered => "reordered data",
    }
}

fn closed(linear: &[Closed]) -> Table {
    let columns = [
        "map",
        "rank",
        "importance",
        "expected",
        "error",
        "least error",
        "error of the map's decomposition",
    ];
    let mut table = Table::new("Linear maps", columns)
        .note("Errors in percent of the squares of the map (uniform data) or of the targets.");
    for form in Form::ALL {
        let runs = || of_form(linear, form);
        let ranks = runs().map(|closed| closed.errors.len()).max().unwrap_or(0);
        for at in 0..ranks {
            let stat =
                |of: &dyn Fn(&Closed) -> Option<f64>| -> Stat { runs().filter_map(of).collect() };
            let share = |of: fn(&Closed) -> &Vec<f64>| {
                let percent = |closed: &Closed| Some(100.0 * of(closed).get(at)? / closed.whole);
                Cell::fixed(stat(&percent), 2)
            };
            table.push(cells![
                name(form),
                at + 1,
                Cell::fixed(stat(&|closed| closed.last().get(at).copied()), 3),
                Cell::fixed(stat(&|closed| closed.expected.get(at).copied()).mean, 3),
                share(|closed| &closed.errors),
                share(|closed| &closed.least),
                share(|closed| &closed.of_weights),
            ]);
        }
    }
    table
}

/// The importances of the first seed on their way.
fn importances(report: &mut Report, linear: &[Closed], form: Form) -> Result<()> {
    let Some(closed) = of_form(linear, form).find(|closed| closed.seed == 0) else {
        return Ok(());
    };
    let title = format!("Importances, {}", name(form));
    let ranks = closed.last().len();
    let mut plot = Plot::new(title, "step", "‖u‖ ‖v‖");
    for rank in 0..ranks {
        let points = closed.importances.iter();
        let points = points.filter_map(|(step, values)| Some((*step, *values.get(rank)?)));
        plot = plot.line(format!("rank {}", rank + 1), points);
    }
    let mut expected = closed.expected.clone();
    expected.dedup();
    for value in expected {
        plot = plot.level(format!("expected {value:.2}"), value);
    }
    let id = match form {
        Form::Uniform => "uniform",
        Form::Autoencoder => "autoencoder",
        Form::Reordered => "reordered",
    };
    report.plot(id, plot)?;
    Ok(())
}

pub(super) fn runs(outcomes: &[Outcome], kind: Kind) -> impl Iterator<Item = &Outcome> {
    outcomes
        .iter()
        .filter(move |outcome| outcome.arm.kind == kind)
}

fn kinds(study: &Study) -> Vec<Kind> {
    let lambdas = study.lambdas.iter().map(|lambda| Kind::Factored(*lambda));
    std::iter::once(Kind::Dense).chain(lambdas).collect()
}

fn label(kind: Kind) -> String {
    match kind {
        Kind::Dense => "decomposition of the dense network".into(),
        Kind::Factored(0.0) => "ordered factors".into(),
        Kind::Factored(lambda) => format!("ordered factors, λ = {lambda:e}"),
    }
}

/// Accuracies at a share of the ranks.
pub(super) fn at(outcomes: &[Outcome], kind: Kind, share: f64) -> Stat {
    let points = runs(outcomes, kind).flat_map(|outcome| &outcome.points);
    points
        .filter(|point| point.share == share)
        .map(|point| point.accuracy)
        .collect()
}

pub(super) fn whole(outcomes: &[Outcome], kind: Kind) -> Stat {
    runs(outcomes, kind)
        .map(|outcome| outcome.whole.accuracy)
        .collect()
}

/// The mean of something of the extracted networks.
fn mean(outcomes: &[Outcome], kind: Kind, share: f64, of: fn(&Point) -> usize) -> f64 {
    let points = runs(outcomes, kind).flat_map(|outcome| &outcome.points);
    let found: Stat = points
        .filter(|point| point.share == share)
        .map(|point| of(point) as f64)
        .collect();
    found.mean
}

fn truncations(study: &Study, outcomes: &[Outcome]) -> Table {
    let mut columns = vec!["ranks, %".to_owned()];
    for kind in kinds(study) {
        columns.push(label(kind));
    }
    columns.push("numbers".into());
    let mut table = Table::new(
        format!("Test accuracy at a share of the ranks, %: {}", study.label),
        columns,
    )
    .note(
        "The same share in all layers, at least one rank. Numbers are those of the decomposition.",
    );
    for share in SHARES {
        let mut row = vec![Cell::fixed(100.0 * share, 0)];
        for kind in kinds(study) {
            row.push(Cell::fixed(at(outcomes, kind, share), 1));
        }
        row.push(Cell::fixed(
            mean(outcomes, Kind::Dense, share, |point| point.numbers),
            0,
        ));
        table.push(row);
    }
    let mut row = vec![Cell::from("as trained")];
    for kind in kinds(study) {
        row.push(Cell::fixed(whole(outcomes, kind), 1));
    }
    row.push(Cell::Empty);
    table.push(row);
    table
}

/// Which share of the ranks of a layer is left, over seeds.
pub(super) fn share_left(outcomes: &[Outcome], kind: Kind, layer: usize) -> Stat {
    runs(outcomes, kind)
        .filter_map(|outcome| {
            let (_, left, stored) = outcome.ranks.get(layer)?;
            (*stored > 0).then(|| *left as f64 / *stored as f64)
        })
        .collect()
}

fn left(study: &Study, outcomes: &[Outcome]) -> Table {
    let names: Vec<String> = outcomes
        .first()
        .map(|outcome| {
            outcome
                .ranks
                .iter()
                .map(|(name, ..)| name.clone())
                .collect()
        })
        .unwrap_or_default();
    let columns = ["λ".to_owned()]
        .into_iter()
        .chain(names.clone())
        .chain(["numbers", "multiplications", "accuracy, %"].map(String::from));
    let mut table = Table::new(
        format!("Ranks that are left after training, %: {}", study.label),
        columns,
    );
    for lambda in &study.lambdas {
        let kind = Kind::Factored(*lambda);
        let mut row = vec![Cell::from(format!("{lambda:e}"))];
        for layer in 0..names.len() {
            row.push(Cell::fixed(
                100.0 * share_left(outcomes, kind, layer).mean,
                0,
            ));
        }
        let of = |of: fn(&Point) -> usize| -> Stat {
            runs(outcomes, kind)
                .map(|outcome| of(&outcome.whole) as f64)
                .collect()
        };
        row.push(Cell::fixed(of(|point| point.numbers).mean, 0));
        row.push(Cell::fixed(of(|point| point.macs).mean, 0));
        row.push(Cell::fixed(whole(outcomes, kind), 1));
        table.push(row);
    }
    table
}

fn curves(report: &mut Report, study: &Study, outcomes: &[Outcome]) -> Result<()> {
    let mut plot = Plot::new(
        format!("Accuracy by share of the ranks: {}", study.label),
        "ranks, %",
        "test accuracy, %",
    );
    for kind in kinds(study) {
        let points = SHARES.map(|share| (100.0 * share, at(outcomes, kind, share)));
        plot = plot.spread(label(kind), points);
    }
    report.plot(study.id, plot)?;

    // Every network that was extracted from the first seed, by what it stores.
    let mut plot = Plot::new(
        format!("Accuracy by footprint: {}", study.label),
        "numbers",
        "test accuracy, %",
    )
    .log_x();
    for kind in kinds(study) {
        for (what, cut) in [("same share", true), ("by importance", false)] {
            let of = runs(outcomes, kind).find(|outcome| outcome.arm.seed == 0);
            let points = of.map(|outcome| {
                if cut {
                    &outcome.points
                } else {
                    &outcome.fitted
                }
            });
            let points: Vec<(f64, f64)> = points
                .into_iter()
                .flatten()
                .map(|point| (point.numbers as f64, point.accuracy))
                .collect();
            if !points.is_empty() {
                plot = plot.line(format!("{}, {what}", label(kind)), points);
            }
        }
    }
    report.plot(&format!("{}-footprint", study.id), plot)?;

    let mut plot = Plot::new(
        format!("Ranks that are left: {}", study.label),
        "epoch",
        "ranks",
    );
    for kind in kinds(study).into_iter().skip(1) {
        let first = runs(outcomes, kind).find(|outcome| outcome.arm.seed == 0);
        if let Some(outcome) = first.filter(|outcome| !outcome.shrinking.is_empty()) {
            plot = plot.line(label(kind), outcome.shrinking.iter().copied());
        }
    }
    report.plot(&format!("{}-ranks", study.id), plot)?;
    Ok(())
}

fn times(times: &Times) -> Table {
    let mut table = Table::new(
        "Time of a linear layer of 1024×1024 on 128 rows",
        ["rank", "multiplications, %", "time, ms", "time, %"],
    )
    .note("Median of 15 passes in turn.");
    table.push(cells!["dense", 100, Cell::fixed(1e3 * times.dense, 3), 100]);
    for (rank, share, seconds) in &times.cut {
        table.push(cells![
            *rank,
            Cell::fixed(100.0 * share, 1),
            Cell::fixed(1e3 * seconds, 3),
            Cell::fixed(100.0 * seconds / times.dense, 1),
        ]);
    }
    table
}
