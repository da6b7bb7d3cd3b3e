//! The report.

use super::others::{Found, Which};
use super::train::Outcome;
use super::verdicts::verdicts;
use super::{Experiment, Results, VANILLA};
use crate::Context;
use menagerie_core::Result;
use menagerie_report::{Cell, Plot, Report, Stat, Table, cells};
use menagerie_series::local_reg_nde::SYSTEM;

/// Something of the runs of a method, over seeds.
pub(super) fn over(results: &Results, method: &str, of: &dyn Fn(&Outcome) -> f64) -> Stat {
    let runs = results.nodes.iter().filter(|run| run.method == method);
    runs.map(of).collect()
}

/// The same beside the vanilla run of the same seed.
pub(super) fn beside(results: &Results, method: &str, of: &dyn Fn(&Outcome) -> f64) -> Stat {
    let vanilla = |seed: usize| {
        let mut runs = results.nodes.iter();
        runs.find(|run| run.method == VANILLA && run.seed == seed)
    };
    let runs = results.nodes.iter().filter(|run| run.method == method);
    runs.filter_map(|run| Some(of(run) / of(vanilla(run.seed)?)))
        .collect()
}

/// Something of another model, regularised or not, over seeds.
pub(super) fn of_other(
    results: &Results,
    which: Which,
    regularised: bool,
    of: &dyn Fn(&Found) -> f64,
) -> Stat {
    let runs = results.others.iter();
    let runs = runs.filter(|(other, _)| other.which == which && other.regularised == regularised);
    runs.map(|(_, found)| of(found)).collect()
}

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    results: &Results,
) -> Result<Report> {
    let (training, solver) = (&experiment.training, experiment.config.solver);
    let mut report = Report::new(&SYSTEM);
    report
        .setting("device", format!("{:?}", context.device))
        .setting("first seed", context.seed)
        .setting("training images", experiment.train.len())
        .setting("test images", experiment.test.len())
        .setting("hidden units", experiment.config.hidden)
        .setting("tolerance", solver.tolerance)
        .setting("steps", training.steps)
        .setting("batch", training.batch)
        .setting("rate", training.rate)
        .setting("seeds", experiment.seeds);
    report.text(
        "Every method starts from the same weights and sees the same batches. Weights were fixed \
         before, on another seed. Evaluations and time are those of a prediction of all test images \
         in one batch. The paper: 0.556 to 0.733 times the evaluations, 1.3 to 2 times the speed.",
    );
    report.heading("Neural ODE");
    report.table(nodes(experiment, results))?;
    report.plot("evaluations", history(experiment, results))?;
    report.heading("Other models");
    report.table(others(results))?;
    verdicts(&mut report, results)?;
    Ok(report)
}

fn nodes(experiment: &Experiment, results: &Results) -> Table {
    let columns = [
        "regulariser",
        "weight",
        "test accuracy, %",
        "evaluations",
        "beside none",
        "prediction, ms",
        "speed beside none",
        "training, s",
    ];
    let mut table = Table::new("Neural ODE by regulariser", columns).note(
        "Mean and standard deviation over seeds. Training times are those of arms that ran beside \
         each other.",
    );
    for method in &experiment.methods {
        let id = method.id;
        let [start, end] = method.regularizer.weight;
        let weight = match (id == VANILLA, start == end) {
            (true, _) => "–".to_owned(),
            (_, true) => format!("{start}"),
            _ => format!("{start} to {end}"),
        };
        table.push(cells![
            method.label,
            weight,
            Cell::fixed(over(results, id, &|run| 100.0 * run.accuracy), 1),
            Cell::fixed(over(results, id, &|run| run.evaluations), 1),
            Cell::fixed(beside(results, id, &|run| run.evaluations), 2),
            Cell::fixed(over(results, id, &|run| 1e3 * run.prediction), 2),
            Cell::fixed(beside(results, id, &|run| 1.0 / run.prediction), 2),
            Cell::fixed(over(results, id, &|run| run.seconds), 1),
        ]);
    }
    table
}

fn history(experiment: &Experiment, results: &Results) -> Plot {
    let mut plot = Plot::new(
        "Evaluations of a prediction during training",
        "steps",
        "evaluations",
    );
    for method in &experiment.methods {
        let runs = results.nodes.iter().filter(|run| run.method == method.id);
        let runs: Vec<&Outcome> = runs.collect();
        let times = runs.first().map_or(0, |run| run.history.len());
        let points = (0..times).filter_map(|at| {
            let step = runs.first()?.history.get(at)?.0;
            let values = runs.iter().filter_map(|run| run.history.get(at));
            Some((step, values.map(|(_, value)| *value).collect::<Stat>()))
        });
        plot = plot.spread(method.label, points.collect::<Vec<_>>());
    }
    plot
}

fn others(results: &Results) -> Table {
    let columns = ["model", "regulariser", "quality", "evaluations"];
    let mut table = Table::new(
        "Neural SDE on digits, latent ODE on damped sinusoids",
        columns,
    )
    .note(
        "Quality is test accuracy in % of the SDE, and the squared error of all values of new \
             series of the latent ODE.",
    );
    for (which, name, scale) in [
        (Which::Sde, "neural SDE", 100.0),
        (Which::Latent, "latent ODE", 1.0),
    ] {
        for (regularised, how) in [(false, "none"), (true, "local error, unbiased")] {
            let runs = |of: &dyn Fn(&Found) -> f64| of_other(results, which, regularised, of);
            table.push(cells![
                name,
                how,
                Cell::fixed(runs(&|found| scale * found.quality), 3),
                Cell::fixed(runs(&|found| found.evaluations), 1),
            ]);
        }
    }
    table
}
