//! The report.

use super::train::Outcome;
use super::verdicts::verdicts;
use super::{Experiment, Kind, Results, Study, WIDTHS, sizes};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_report::{Best, Cell, HeatMap, Plot, Report, Stat, Table, cells};
use menagerie_series::final_mlp::SYSTEM;

/// Something of the outcomes of a kind of model, over seeds.
pub(super) fn of(outcomes: &[Outcome], kind: Kind, what: &dyn Fn(&Outcome) -> f64) -> Stat {
    let runs = outcomes.iter().filter(|outcome| outcome.arm.kind == kind);
    runs.map(what).collect()
}

pub(super) fn auc(outcome: &Outcome) -> f64 {
    outcome.test.get("auc").unwrap_or(f64::NAN)
}

fn log_loss(outcome: &Outcome) -> f64 {
    outcome.test.get("log loss").unwrap_or(f64::NAN)
}

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    results: &Results,
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    report
        .setting("device", format!("{:?}", context.device))
        .setting("first seed", context.seed);
    for study in &experiment.studies {
        let id = study.id;
        if let Some(part) = study.parts.first() {
            let [train, valid, test] = sizes(part);
            report.setting(format!("{id}: rows"), format!("{train} / {valid} / {test}"));
        }
        report
            .setting(format!("{id}: epochs"), study.training.epochs)
            .setting(format!("{id}: batch"), study.training.batch)
            .setting(format!("{id}: rate"), study.training.rate)
            .setting(format!("{id}: seeds"), study.seeds);
    }
    report.text(
        "Models with embeddings of the same size, on the same batches, in the mean over seeds. Rows: \
         training / validation / test.",
    );
    for (study, outcomes) in experiment.studies.iter().zip(&results.studies) {
        report.heading(study.label);
        report.table(areas(study, outcomes))?;
        report.plot(study.id, curves(experiment, study, outcomes))?;
        if let Some(map) = gates(study, outcomes) {
            report.heat_map(&format!("{}-gates", study.id), map)?;
        }
    }
    if experiment.scale == Scale::Paper {
        report.table(published())?;
    }
    report.heading("Cost of the fusion");
    report.table(costs(results))?;
    verdicts(&mut report, experiment, results)?;
    Ok(report)
}

fn areas(study: &Study, outcomes: &[Outcome]) -> Table {
    let columns = ["model", "parameters", "test AUC", "test log loss"];
    let mut table = Table::new(format!("Test rows: {}", study.label), columns)
        .highlight_column("test AUC", Best::Highest)
        .highlight_column("test log loss", Best::Lowest);
    for kind in &study.kinds {
        let mut found = outcomes.iter().filter(|outcome| outcome.arm.kind == *kind);
        table.push(cells![
            kind.label(),
            found.next().map_or(0, |outcome| outcome.parameters),
            Cell::fixed(of(outcomes, *kind, &auc), 4),
            Cell::fixed(of(outcomes, *kind, &log_loss), 4),
        ]);
    }
    let bayes = study.parts.iter().filter_map(|part| part.bayes);
    let [areas, losses]: [Vec<f64>; 2] = {
        let (areas, losses) = bayes.map(|[area, loss]| (area, loss)).unzip();
        [areas, losses]
    };
    match areas.is_empty() {
        true => table,
        false => table.note(format!(
            "The probabilities behind the labels have an AUC of {:.4} and a log loss of {:.4}: no model \
             can do better.",
            Stat::of(&areas),
            Stat::of(&losses)
        )),
    }
}

/// Watched areas by epoch.
fn curves(experiment: &Experiment, study: &Study, outcomes: &[Outcome]) -> Plot {
    let watched = match experiment.scale {
        Scale::Small => "test",
        Scale::Paper => "validation",
    };
    let mut plot = Plot::new(study.label, "epoch", format!("{watched} AUC"));
    for kind in &study.kinds {
        let runs: Vec<&Outcome> = outcomes.iter().filter(|o| o.arm.kind == *kind).collect();
        let epochs = runs
            .iter()
            .map(|outcome| outcome.curve.len())
            .min()
            .unwrap_or(0);
        let points = (0..epochs).map(|epoch| {
            let stat: Stat = runs.iter().map(|outcome| outcome.curve[epoch]).collect();
            ((epoch + 1) as f64, stat)
        });
        plot = plot.spread(kind.label(), points);
    }
    plot
}

/// Mean gates by the context field that users listen to, where that is known.
fn gates(study: &Study, outcomes: &[Outcome]) -> Option<HeatMap> {
    let known: Vec<&Outcome> = outcomes.iter().filter(|o| !o.gates.is_empty()).collect();
    let contexts = known.first()?.gates.len();
    let name = |at: usize| format!("context {at}");
    let mut map = HeatMap::new(
        format!("{}: first stream's mean gate by user", study.label),
        "on the embedding of",
        "users who listen to",
        (0..contexts).map(name),
    )
    .digits(3);
    for heard in 0..contexts {
        let mean = |context: usize| {
            known.iter().map(|o| o.gates[heard][context]).sum::<f64>() / known.len() as f64
        };
        map = map.row(name(heard), (0..contexts).map(mean));
    }
    Some(map)
}

fn published() -> Table {
    Table::new(
        "Published test AUC, %",
        ["model", "Criteo", "Avazu", "MovieLens", "Frappe"],
    )
    .row(cells!["DCNv2", 81.42, 76.54, 96.91, 98.45])
    .row(cells!["DualMLP", 81.42, 76.57, 96.98, 98.47])
    .row(cells!["FinalMLP", 81.49, 76.66, 97.20, 98.61])
}

fn costs(results: &Results) -> Table {
    let [left, right] = WIDTHS;
    let mut table = Table::new(
        format!("Bilinear fusion of {left} and {right} numbers, 4096 rows"),
        ["heads", "numbers of the weight", "forward pass, ms"],
    );
    for cost in &results.costs {
        table.push(cells![
            cost.heads,
            cost.parameters,
            Cell::fixed(1e3 * cost.seconds, 2)
        ]);
    }
    table
}
