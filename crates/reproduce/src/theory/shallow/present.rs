//! The report.

use super::train::{Outcome, name};
use super::verdicts::verdicts;
use super::{Experiment, FORMS, Results, Study};
use crate::Context;
use menagerie_core::Result;
use menagerie_report::{Cell, Plot, Report, Stat, Table, cells};
use menagerie_theory::shallow::{Form, SYSTEM, ShallowConfig};
use menagerie_train::Metrics;

/// What one form has beside another, as a share of that: for every seed the two runs that started from
/// the same weights and saw the same batches.
pub(super) fn beside(
    outcomes: &[Outcome],
    config: &ShallowConfig,
    [one, other]: [Form; 2],
    of: &dyn Fn(&Outcome) -> f64,
) -> Stat {
    let runs = |form| {
        let wanted = config.clone().with_form(form);
        let runs = outcomes.iter();
        runs.filter(move |outcome| outcome.arm.config == wanted)
    };
    let pairs = runs(one).filter_map(|a| {
        let b = runs(other).find(|b| b.arm.seed == a.arm.seed)?;
        Some(of(a) / of(b))
    });
    pairs.collect()
}

/// Something of the outcomes of a stack in one form, over seeds.
pub(super) fn over(
    outcomes: &[Outcome],
    config: &ShallowConfig,
    form: Form,
    of: &dyn Fn(&Outcome) -> f64,
) -> Stat {
    let wanted = config.clone().with_form(form);
    let runs = outcomes
        .iter()
        .filter(|outcome| outcome.arm.config == wanted);
    runs.map(of).collect()
}

pub(super) fn value(metrics: &Metrics, name: &str) -> f64 {
    metrics.get(name).unwrap_or(f64::NAN)
}

pub(super) fn test_loss(outcome: &Outcome) -> f64 {
    value(&outcome.test, "cross-entropy")
}

pub(super) fn train_loss(outcome: &Outcome) -> f64 {
    value(&outcome.train, "cross-entropy")
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
        report
            .setting(format!("{id}: training images"), study.train.len())
            .setting(format!("{id}: test images"), study.test.len())
            .setting(format!("{id}: epochs"), study.training.epochs)
            .setting(format!("{id}: batch"), study.training.batch)
            .setting(format!("{id}: rate"), study.training.rate)
            .setting(format!("{id}: seeds"), study.seeds);
    }
    report.text(
        "The same weights to start from and the same batches in every form: layers one after the \
         other with identity (sequential), all on the same input (parallel), one after the other \
         without identity (plain). The paper's own numbers were not at hand.",
    );
    for (study, outcomes) in experiment.studies.iter().zip(&results.studies) {
        report.heading(study.label);
        report.table(losses(study, outcomes))?;
        report.table(others(study, outcomes))?;
        curves(&mut report, study, outcomes)?;
    }
    report.table(times(results))?;
    verdicts(&mut report, experiment, results)?;
    Ok(report)
}

fn losses(study: &Study, outcomes: &[Outcome]) -> Table {
    let columns = [
        "layers",
        "filters",
        "kernel",
        "parameters",
        "form",
        "training loss",
        "test loss",
        "test accuracy, %",
    ];
    let mut table = Table::new(format!("Cross-entropy: {}", study.label), columns);
    for config in &study.configs {
        for form in FORMS {
            let over = |of: &dyn Fn(&Outcome) -> f64| over(outcomes, config, form, of);
            let accuracy = |outcome: &Outcome| 100.0 * value(&outcome.test, "accuracy");
            table.push(cells![
                config.layers,
                config.filters,
                config.kernel,
                config.parameters(),
                name(form),
                Cell::fixed(over(&train_loss), 3),
                Cell::fixed(over(&test_loss), 3),
                Cell::fixed(over(&accuracy), 1),
            ]);
        }
    }
    table
}

fn others(study: &Study, outcomes: &[Outcome]) -> Table {
    let columns = [
        "layers",
        "filters",
        "kernel",
        "squared error, sequential",
        "squared error, parallel",
        "gap at the start",
        "gap of the sequential stack at the end",
        "gap of the parallel stack at the end",
        "training loss, parallel / sequential",
    ];
    let mut table = Table::new(
        format!(
            "Squared error and what the expansion leaves out: {}",
            study.label
        ),
        columns,
    )
    .note(
        "The gap is ‖seq − par‖ / ‖seq − h₀‖ for one set of weights, the mean of 100 test images.",
    );
    for config in &study.configs {
        let over = |form, of: &dyn Fn(&Outcome) -> f64| over(outcomes, config, form, of);
        let squares = |outcome: &Outcome| value(&outcome.test, "squared error");
        let forms = [Form::Parallel, Form::Sequential];
        let ratio = beside(outcomes, config, forms, &train_loss);
        table.push(cells![
            config.layers,
            config.filters,
            config.kernel,
            Cell::fixed(over(Form::Sequential, &squares), 4),
            Cell::fixed(over(Form::Parallel, &squares), 4),
            Cell::fixed(over(Form::Sequential, &|outcome| outcome.gap[0]), 3),
            Cell::fixed(over(Form::Sequential, &|outcome| outcome.gap[1]), 3),
            Cell::fixed(over(Form::Parallel, &|outcome| outcome.gap[1]), 3),
            Cell::fixed(ratio, 2),
        ]);
    }
    table
}

/// Test losses by depth, a chart for every width of the study's first kernel.
fn curves(report: &mut Report, study: &Study, outcomes: &[Outcome]) -> Result<()> {
    let Some(kernel) = study.configs.first().map(|config| config.kernel) else {
        return Ok(());
    };
    let mut filters: Vec<usize> = study.configs.iter().map(|config| config.filters).collect();
    filters.sort_unstable();
    filters.dedup();
    for filters in filters {
        let configs = || {
            let configs = study.configs.iter();
            configs.filter(|config| config.filters == filters && config.kernel == kernel)
        };
        let heading = format!("{}: test loss with {filters} filters", study.label);
        let mut plot = Plot::new(heading, "layers", "cross-entropy");
        for form in FORMS {
            let points = configs().map(|config| {
                (
                    config.layers as f64,
                    over(outcomes, config, form, &test_loss),
                )
            });
            plot = plot.spread(name(form), points);
        }
        report.plot(&format!("{}-{filters}", study.id), plot)?;
    }
    Ok(())
}

fn times(results: &Results) -> Table {
    let columns = ["pass", "sequential, ms", "parallel, ms", "share, %"];
    let mut table = Table::new("16 layers of 32 filters, 64 maps of 16²", columns)
        .note("Median of nine; the parallel form is one convolution of 512 filters.");
    let passes = [
        ("forward", results.times[0]),
        ("training step", results.times[1]),
    ];
    for (name, [deep, wide]) in passes {
        table.push(cells![
            name,
            Cell::fixed(1e3 * deep, 2),
            Cell::fixed(1e3 * wide, 2),
            Cell::fixed(100.0 * wide / deep, 0),
        ]);
    }
    table
}
