//! The verdicts.

use super::others::{Found, Which};
use super::present::{beside, of_other, over};
use super::{BIASED, CONTINUOUS, FROZEN, GLOBAL, LOCAL, Results, VANILLA};
use menagerie_core::Result;
use menagerie_report::{Report, Verdict};

/// The most evaluations beside vanilla.
const EVALUATIONS: f64 = 0.8;
/// How much accuracy may be lost.
const LOSS: f64 = 0.01;
/// The fewest seeds.
const SEEDS: usize = 3;

pub(super) fn verdicts(report: &mut Report, results: &Results) -> Result<()> {
    let evaluations = |method| over(results, method, &|run| run.evaluations).mean;
    let accuracy = |method| over(results, method, &|run| run.accuracy).mean;
    let ratio = |method| evaluations(method) / evaluations(VANILLA);
    let seeds = results
        .nodes
        .iter()
        .filter(|run| run.method == LOCAL)
        .count();
    let words = |method| {
        format!(
            "{:.1} evaluations ({:.2} ×), accuracy {:.1} %",
            evaluations(method),
            ratio(method),
            100.0 * accuracy(method)
        )
    };
    let none = format!(
        "{:.1} evaluations, accuracy {:.1} %",
        evaluations(VANILLA),
        100.0 * accuracy(VANILLA)
    );
    report.verdict(
        "fewer-evaluations",
        Verdict::decided(
            seeds >= SEEDS
                && ratio(LOCAL) <= EVALUATIONS
                && accuracy(LOCAL) >= accuracy(VANILLA) - LOSS,
            format!("{}; without {none}; {seeds} seeds", words(LOCAL)),
            "over at least 3 seeds, with a weight fixed before, the mean number of evaluations of the \
             local error, unbiased, is at most 0.8 times vanilla's, and mean accuracy at most one \
             point below",
        ),
    )?;
    let speed = beside(results, LOCAL, &|run| 1.0 / run.prediction);
    report.verdict(
        "faster-predictions",
        Verdict::reported(
            format!("{:.2} ± {:.2} times as fast", speed.mean, speed.sd),
            "shown: times of a few milliseconds depend on the machine and on what else it does",
        ),
    )?;
    report.verdict(
        "similar-to-global",
        Verdict::reported(
            format!("local: {}; global: {}", words(LOCAL), words(GLOBAL)),
            "shown: one weight of the global error was tried",
        ),
    )?;
    report.verdict(
        "any-sensitivity",
        Verdict::reported(
            format!(
                "through the steps: {}; by a second equation: {}",
                words(LOCAL),
                words(CONTINUOUS)
            ),
            "shown: both kinds of gradients are tests; here is what they train",
        ),
    )?;
    let seconds = |method| over(results, method, &|run| run.seconds).mean;
    report.verdict(
        "sampling",
        Verdict::reported(
            format!(
                "unbiased: {}, {:.1} s of training; biased: {}, {:.1} s",
                words(LOCAL),
                seconds(LOCAL),
                words(BIASED),
                seconds(BIASED)
            ),
            "shown: the paper's numbers were not at hand",
        ),
    )?;
    report.verdict(
        "first-stage",
        Verdict::reported(
            format!(
                "constant: {}; differentiated: {}",
                words(FROZEN),
                words(LOCAL)
            ),
            "shown: the tolerance, number of steps and precision are not the paper's",
        ),
    )?;
    let other = |which, id: &str, name: &str, unit: f64| -> (String, Verdict) {
        let of =
            |regularised, of: &dyn Fn(&Found) -> f64| of_other(results, which, regularised, of);
        let count = |regularised| of(regularised, &|found| found.evaluations).mean;
        let quality = |regularised| unit * of(regularised, &|found| found.quality).mean;
        let measured = format!(
            "{:.1} beside {:.1} evaluations ({:.2} ×); {name} {:.3} beside {:.3}",
            count(true),
            count(false),
            count(true) / count(false),
            quality(true),
            quality(false)
        );
        let rule = "shown: a small stand-in with one weight";
        (id.to_owned(), Verdict::reported(measured, rule))
    };
    for (id, verdict) in [
        other(Which::Latent, "latent-ode", "squared error", 1.0),
        other(Which::Sde, "neural-sde", "accuracy in %", 100.0),
    ] {
        report.verdict(&id, verdict)?;
    }
    Ok(())
}
