//! The report.

use super::{BATCH, Experiment, LAYER, LINEAR, PROGRESSIVE, Results};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_efficient::slab::SYSTEM;
use menagerie_report::{Cell, Plot, Report, Stat, Table, Verdict, cells};

/// How many points PRepBN may lose to layer normalisation.
const LOSS: f64 = 0.7;
/// How far scores of the folded network may be from the others'.
const FAR: f64 = 1e-4;
/// How many points linear attention may lose to softmax.
const LINEAR_LOSS: f64 = 1.0;

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    results: &Results,
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(match context.scale {
        Scale::Small => {
            "The same small DeiT with different norms and attentions, under the same recipe on \
             Fashion-MNIST. PRepBN fades from layer normalisation to RepBN over the first 60 % of \
             the steps. The statistics of every batch normalisation are re-estimated afterwards, in one \
             pass over 5 000 training images. The experiment was designed for a width of 64 and \
             batches of 128; to end within ten minutes on two cores it has a width of 48 and batches \
             of 32, and the card's ten passes of estimation are one. Half of the test images count."
        }
        Scale::Paper => {
            "DeiT-T, with a class token, and SLAB-DeiT-T under the published recipe. The best of ten \
             passes of estimation counts, chosen by the validation images as in the official code."
        }
    });
    report.table(accuracies(experiment, results))?;
    report.table(latencies(results))?;
    let first = results.outcomes.iter().filter(|outcome| outcome.seed == 0);
    let plot = first.fold(
        Plot::new("Training loss, first seed", "step", "cross-entropy, nats"),
        |plot, outcome| plot.line(outcome.arm.name, outcome.curve.iter().copied()),
    );
    report.plot("loss", plot)?;
    verdicts(&mut report, results)?;
    Ok(report)
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let config = &experiment.linear;
    report
        .setting("device", format!("{:?}", context.device))
        .setting("seeds", experiment.seeds)
        .setting("first seed", context.seed)
        .setting("width", config.dim)
        .setting("heads", config.heads)
        .setting("blocks", config.depth)
        .setting("patches", config.grid() * config.grid())
        .setting("steps", experiment.length.steps)
        .setting("batch", experiment.length.batch)
        .setting("rate (AdamW)", experiment.length.schedule.peak)
        .setting("steps of the blend", config.norm.steps)
        .setting("test images", experiment.test.len());
}

fn of(results: &Results, name: &str) -> Stat {
    let outcomes = results.outcomes.iter();
    outcomes
        .filter(|outcome| outcome.arm.name == name)
        .map(|outcome| outcome.accuracy)
        .collect()
}

/// The largest distance of scores that folding made.
fn farthest(results: &Results) -> f64 {
    let outcomes = results.outcomes.iter();
    outcomes
        .filter_map(|outcome| Some(outcome.folded?.1))
        .fold(0.0, f64::max)
}

fn accuracies(experiment: &Experiment, results: &Results) -> Table {
    let mut table = Table::new(
        "Test accuracy, %",
        ["network", "accuracy", "folded", "scores move by"],
    )
    .note("RepBN from the start and networks at another learning rate have one seed.");
    for arm in &experiment.arms {
        let outcomes = || {
            let outcomes = results.outcomes.iter();
            outcomes.filter(|outcome| outcome.arm.name == arm.name)
        };
        let folded: Stat = outcomes()
            .filter_map(|outcome| Some(outcome.folded?.0))
            .collect();
        let far = outcomes()
            .filter_map(|outcome| Some(outcome.folded?.1))
            .fold(0.0, f64::max);
        let known = folded.n > 0;
        table.push(cells![
            arm.name,
            Cell::fixed(of(results, arm.name), 2),
            if known {
                Cell::fixed(folded, 2)
            } else {
                Cell::Empty
            },
            if known {
                Cell::from(format!("{far:.1e}"))
            } else {
                Cell::Empty
            },
        ]);
    }
    table
}

fn latencies(results: &Results) -> Table {
    let times = &results.times;
    let [layer, folded, linear] = times.trained;
    let [normed, softmax, fine] = times.many;
    let row = |seconds: f64, base: f64| {
        [
            Cell::fixed(1e3 * seconds, 2),
            Cell::fixed(seconds / base, 2),
        ]
    };
    let mut table = Table::new(
        "Time of a forward pass",
        ["network", "tokens", "images", "time, ms", "ratio"],
    )
    .note("Median of 15 passes in turn; the ratio is to the first network of the same tokens.");
    let few = times.images[0];
    for (name, seconds) in [
        ("layer norm, softmax", layer),
        ("folded, softmax", folded),
        ("folded, linear attention", linear),
    ] {
        let [time, ratio] = row(seconds, layer);
        table.push([
            Cell::from(name),
            Cell::from("few"),
            Cell::from(few),
            time,
            ratio,
        ]);
    }
    let many = times.images[1];
    for (name, seconds) in [
        ("layer norm, softmax", normed),
        ("folded, softmax", softmax),
        ("folded, linear attention", fine),
    ] {
        let [time, ratio] = row(seconds, normed);
        table.push([
            Cell::from(name),
            Cell::from("784"),
            Cell::from(many),
            time,
            ratio,
        ]);
    }
    table
}

fn verdicts(report: &mut Report, results: &Results) -> Result<()> {
    let (layer, batch) = (of(results, LAYER), of(results, BATCH));
    let (ours, linear) = (of(results, PROGRESSIVE), of(results, LINEAR));
    report.verdict(
        "accuracy",
        Verdict::decided(
            ours.mean >= layer.mean - LOSS && ours.mean >= batch.mean,
            format!("{ours:.2} % against {layer:.2} % (layer norm) and {batch:.2} % (batch norm)"),
            format!(
                "the mean over seeds is at most {LOSS} points below layer norm and not below batch \
                 norm"
            ),
        ),
    )?;
    let far = farthest(results);
    report.verdict(
        "folding",
        Verdict::decided(
            far <= FAR,
            format!("scores differ by at most {far:.1e}"),
            format!("at most {FAR:.0e} on 200 test images, for every network and seed"),
        ),
    )?;
    let times = &results.times;
    let ratio = times.trained[1] / times.trained[0];
    report.verdict(
        "latency",
        Verdict::decided(
            ratio < 1.0,
            format!(
                "folded in {ratio:.2} of the time of layer norm, with 784 tokens in {:.2}",
                times.many[1] / times.many[0]
            ),
            "the folded network is faster than the one with layer norm",
        ),
    )?;
    let ratio = times.many[2] / times.many[1];
    report.verdict(
        "linear-attention",
        Verdict::decided(
            ratio < 1.0 && linear.mean >= ours.mean - LINEAR_LOSS,
            format!(
                "{ratio:.2} of the time with 784 tokens; {linear:.2} % against {ours:.2} % with \
                 softmax"
            ),
            format!(
                "faster than softmax with 784 tokens, and at most {LINEAR_LOSS} point less accurate"
            ),
        ),
    )?;
    let high = |name: &str| of(results, name);
    let (layer, batch) = (high("layer norm, rate 3e-3"), high("batch norm, rate 3e-3"));
    let measured = match layer.n.min(batch.n) {
        0 => "not measured".to_owned(),
        _ => format!("at three times the rate {batch:.2} % against {layer:.2} % with layer norm"),
    };
    report.verdict(
        "hard-settings",
        Verdict::reported(measured, "no rule: one seed"),
    )?;
    Ok(())
}
