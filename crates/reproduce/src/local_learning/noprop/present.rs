//! The report.

use super::{BACKPROP, BACKPROP_MNIST, DISCRETE, DISCRETE_MNIST, Experiment, Method, Results};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_local_learning::noprop::SYSTEM;
use menagerie_report::{Cell, Plot, Report, Stat, Table, Verdict, cells};

/// How many points blocks that learn alone may lose to back-propagation.
const LOSS: f64 = 3.0;
/// By which factor memory may grow from five to ten blocks and still count as constant.
const CONSTANT: f64 = 1.05;

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    results: &Results,
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    report
        .setting("device", format!("{:?}", context.device))
        .setting("seeds", experiment.seeds)
        .setting("first seed", context.seed)
        .setting("batch", experiment.training.batch)
        .setting("learning rate", experiment.training.rate)
        .setting("weight decay", experiment.training.weight_decay)
        .setting("inferences per seed", experiment.inferences as usize);
    report.text(match context.scale {
        Scale::Small => {
            "Five narrow blocks on 12 800 images of Fashion-MNIST, 4 000 to test with: each learns \
             alone, one pass over the images after the other, against back-propagation through the \
             same blocks with as many updates, each of which passes through all of them. Methods of \
             one block get as many updates, the adjoint method a tenth of them. The paper's own \
             network of ten blocks gets on MNIST what the time allows, 40 updates of each block, and \
             back-propagation as many passes of a block, as in the paper. The paper's numbers are \
             those of a hundred epochs."
        }
        Scale::Paper => "The published recipe on CIFAR-10.",
    });
    report.table(accuracies(experiment, results))?;
    let first = results.outcomes.iter().filter(|outcome| outcome.seed == 0);
    let plot = first.fold(
        Plot::new("Test accuracy, first seed", "updates", "%"),
        |plot, outcome| plot.line(outcome.arm.as_str(), outcome.curve.iter().copied()),
    );
    report.plot("accuracy", plot)?;
    report.table(memory(results))?;
    verdicts(&mut report, experiment, results)?;
    Ok(report)
}

fn of(results: &Results, name: &str) -> Stat {
    let outcomes = results.outcomes.iter();
    outcomes
        .filter(|outcome| outcome.arm == name)
        .map(|outcome| outcome.accuracy)
        .collect()
}

fn accuracies(experiment: &Experiment, results: &Results) -> Table {
    let mut table = Table::new(
        "Test accuracy, %",
        [
            "method",
            "accuracy",
            "updates",
            "passes of a block",
            "an update, ms",
        ],
    )
    .note(
        "A pass of a block is forward and back, of one batch. Trainings ran beside each other, on a \
         thread each.",
    );
    for arm in &experiment.arms {
        let outcomes = results.outcomes.iter();
        let seconds: Stat = outcomes
            .filter(|outcome| outcome.arm == arm.name)
            .map(|outcome| outcome.seconds)
            .collect();
        let passes = match arm.method {
            Method::Backprop => arm.steps * arm.blocks,
            Method::Adjoint => arm.steps * arm.inference,
            _ => arm.steps,
        };
        table.push(cells![
            arm.name.as_str(),
            Cell::fixed(of(results, &arm.name), 2),
            arm.steps,
            passes,
            Cell::fixed(1e3 * seconds.mean / arm.steps as f64, 0),
        ]);
    }
    table
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

fn memory(results: &Results) -> Table {
    let memory = &results.memory;
    let mut table = Table::new(
        "Memory of training, MB",
        [
            "blocks",
            "method",
            "parameters and moments",
            "an update",
            "whole",
        ],
    )
    .note(
        "The paper's network, counted where the flex backend gets its memory. An update holds \
         activations, gradients and draws.",
    );
    for at in 0..2 {
        for (name, held) in [
            ("NoProp-DT", memory.discrete[at]),
            ("back-propagation", memory.backprop[at]),
        ] {
            table.push(cells![
                memory.blocks[at],
                name,
                Cell::fixed(megabytes(held.state), 1),
                Cell::fixed(megabytes(held.step), 1),
                Cell::fixed(megabytes(held.whole()), 1),
            ]);
        }
    }
    table
}

/// What the paper's network does on MNIST, where that was run.
fn published(results: &Results) -> String {
    let [ours, theirs] = [DISCRETE_MNIST, BACKPROP_MNIST].map(|name| of(results, name).mean);
    match ours.is_finite() && theirs.is_finite() {
        true => format!(
            "; the paper's network on MNIST with as many passes of a block, {ours:.2} % against \
             {theirs:.2} %"
        ),
        false => String::new(),
    }
}

fn verdicts(report: &mut Report, experiment: &Experiment, results: &Results) -> Result<()> {
    let (ours, theirs) = (of(results, DISCRETE), of(results, BACKPROP));
    let least = experiment.least;
    report.verdict(
        "accuracy",
        Verdict::decided(
            ours.mean >= least,
            format!("{ours:.2} %"),
            format!("at least {least} % of the test images"),
        ),
    )?;
    report.verdict(
        "back-propagation",
        Verdict::decided(
            ours.mean >= theirs.mean - LOSS,
            format!("{ours:.2} % against {theirs:.2} %{}", published(results)),
            format!("at most {LOSS} points below back-propagation with as many updates"),
        ),
    )?;
    let memory = &results.memory;
    let [few, many] = memory.discrete.map(|held| megabytes(held.step));
    let growth = many / few;
    report.verdict(
        "constant-memory",
        Verdict::decided(
            growth <= CONSTANT,
            format!(
                "{few:.1} MB with {} blocks, {many:.1} MB with {}",
                memory.blocks[0], memory.blocks[1]
            ),
            format!("grows by a factor of at most {CONSTANT} from five to ten blocks"),
        ),
    )?;
    let [ours, theirs] =
        [memory.discrete[1], memory.backprop[1]].map(|held| megabytes(held.whole()));
    report.verdict(
        "half-memory",
        Verdict::reported(
            format!(
                "{ours:.0} MB against {theirs:.0} MB with {} blocks, {:.2} of it",
                memory.blocks[1],
                ours / theirs
            ),
            "no rule: the paper's figures are of a GPU and include what a framework holds",
        ),
    )?;
    let listed = |wanted: &[&str]| {
        let arms = experiment.arms.iter();
        let found = arms.filter(|arm| wanted.iter().any(|part| arm.name.contains(part)));
        let found = found.map(|arm| format!("{} {:.2} %", arm.name, of(results, &arm.name)));
        found.collect::<Vec<_>>().join("; ")
    };
    report.verdict(
        "continuous-time",
        Verdict::reported(
            listed(&["NoProp-CT", "NoProp-FM", "adjoint"]),
            "no rule: few updates, of the adjoint method a tenth, and garments instead of CIFAR",
        ),
    )?;
    report.verdict(
        "embeddings",
        Verdict::reported(
            listed(&[DISCRETE, "NoProp-DT, prototypes", "NoProp-DT, 20"]),
            "no rule: one seed, and the paper's differences are of a tenth of a point",
        ),
    )?;
    report.verdict(
        "other-methods",
        Verdict::reported(
            "not run",
            "no rule: the other methods are other systems; the paper's numbers are listed",
        ),
    )?;
    Ok(())
}
