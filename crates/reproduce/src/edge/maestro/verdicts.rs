//! The verdicts.

use super::linear::{Closed, Form};
use super::networks::{Kind, Outcome, Study};
use super::present::{at, of_form, runs, share_left, whole};
use super::{Equal, Experiment, Results};
use menagerie_core::Result;
use menagerie_report::{Report, Stat, Verdict};

/// How far a truncation may be from the best one, as a share of everything.
const NEAR: f64 = 0.01;
/// The shares of the ranks at which truncations are compared.
const COMPARED: [f64; 2] = [0.2, 0.3];
/// By how many points ordered factors must lead there.
const LEAD: f64 = 10.0;
/// How many points they may lose at full rank.
const LOSS: f64 = 2.5;
/// The share of a layer's ranks that the lasso must remove.
const REMOVED: f64 = 0.25;
/// How many points LeNet may lose at full rank.
const LENET_LOSS: f64 = 1.0;

/// The verdicts on linear maps.
pub(super) fn recovery(report: &mut Report, linear: &[Closed]) -> Result<()> {
    let most = |form: Form, of: fn(&Closed) -> f64| {
        let found = of_form(linear, form).map(of);
        found.fold(0.0, f64::max)
    };
    let excess = |form: Form| most(form, Closed::excess);
    let (far, off) = (excess(Form::Uniform), most(Form::Uniform, Closed::off));
    report.verdict(
        "recovers-svd",
        Verdict::decided(
            far < NEAR && off < NEAR && of_form(linear, Form::Uniform).count() > 0,
            format!(
                "truncations are at most {:.3} % of the map's squares away, importances {:.3} % from \
                 the singular values",
                100.0 * far,
                100.0 * off
            ),
            "after 2 000 steps every truncation of every seed is closer than 1 % of the map's \
             squares to the best one, and the importances to the singular values",
        ),
    )?;
    let far = excess(Form::Autoencoder);
    let counted = |closed: &Closed| closed.last().iter().filter(|value| **value > 0.5).count();
    let three =
        of_form(linear, Form::Autoencoder).all(|closed| counted(closed) == closed.expected.len());
    let counts: Vec<String> = of_form(linear, Form::Autoencoder)
        .map(|closed| counted(closed).to_string())
        .collect();
    report.verdict(
        "recovers-pca",
        Verdict::decided(
            far < NEAR && three,
            format!(
                "truncations err by at most {:.3} % of the data's squares more than principal \
                 components; ranks above one half: {}",
                100.0 * far,
                counts.join(", ")
            ),
            "every truncation of every seed errs by less than 1 % of the data's squares more than \
             the principal components, and as many importances as there are dimensions are above \
             one half",
        ),
    )?;
    let rises = of_form(linear, Form::Reordered).all(|closed| {
        let found = closed.last().get(..closed.expected.len());
        found.is_some_and(|found| found.is_sorted())
    });
    let ratio = |of: fn(&Closed) -> &Vec<f64>| {
        of_form(linear, Form::Reordered)
            .flat_map(|closed| {
                let pairs = of(closed).iter().zip(&closed.least);
                // Nothing is left after the third.
                pairs
                    .filter(|(_, least)| **least > 1e-6)
                    .map(|(error, least)| error / least)
            })
            .fold(0.0, f64::max)
    };
    let (ours, weights) = (
        ratio(|closed| &closed.errors),
        ratio(|closed| &closed.of_weights),
    );
    report.verdict(
        "data-order",
        Verdict::decided(
            rises && ours < 1.0 + NEAR && of_form(linear, Form::Reordered).count() > 0,
            format!(
                "importances {}; truncations err {ours:.4} times the least possible, those of the \
                 map's decomposition {weights:.1} times",
                if rises { "rise" } else { "do not rise" }
            ),
            "importances rise where the singular values fall, and truncations err by less than 1 % \
             more than the best ones, for every seed",
        ),
    )?;
    Ok(())
}

/// The leads of ordered factors at the compared shares.
fn leads(outcomes: &[Outcome]) -> Vec<f64> {
    let at = |kind, share| at(outcomes, kind, share).mean;
    COMPARED
        .map(|share| at(Kind::Factored(0.0), share) - at(Kind::Dense, share))
        .to_vec()
}

fn listed(leads: &[f64]) -> String {
    let leads = leads.iter().zip(COMPARED);
    let leads: Vec<String> = leads
        .map(|(lead, share)| format!("{lead:+.1} points at {:.0} % of the ranks", 100.0 * share))
        .collect();
    leads.join(", ")
}

/// The verdicts on networks.
pub(super) fn verdicts(
    report: &mut Report,
    experiment: &Experiment,
    results: &Results,
) -> Result<()> {
    let plain = Kind::Factored(0.0);
    let outcomes = &results.truncation;
    let (dense, ordered) = (whole(outcomes, Kind::Dense), whole(outcomes, plain));
    let found = leads(outcomes);
    let beside = match &experiment.beside {
        None => String::new(),
        Some(study) => format!("; {}: {}", study.label, listed(&leads(&results.beside))),
    };
    report.verdict(
        "truncation",
        Verdict::decided(
            found.iter().all(|lead| *lead >= LEAD) && ordered.mean >= dense.mean - LOSS,
            format!(
                "{}; {:.1} % at full rank against {:.1} %{beside}",
                listed(&found),
                ordered.mean,
                dense.mean
            ),
            format!(
                "at least {LEAD} points ahead of the decomposition of the dense network at 20 and \
                 30 % of the ranks, on average over seeds, and at most {LOSS} points behind at full \
                 rank"
            ),
        ),
    )?;
    shrinking(report, &experiment.truncation, outcomes)?;
    footprint(report, results)?;
    cost(report, experiment, results)?;
    nesting(report, &experiment.truncation, &results.truncation)?;
    let times = &results.times;
    let cut: Vec<String> = times
        .cut
        .iter()
        .map(|(rank, share, seconds)| {
            format!(
                "rank {rank}: {:.1} % of the multiplications, {:.1} % of the time",
                100.0 * share,
                100.0 * seconds / times.dense
            )
        })
        .collect();
    report.verdict(
        "extracted",
        Verdict::reported(cut.join("; "), "no rule: the paper counts multiplications"),
    )?;
    Ok(())
}

/// Truncations of the same footprint, and shrunk networks beside truncations that store as much.
fn footprint(report: &mut Report, results: &Results) -> Result<()> {
    let outcomes = &results.footprint;
    let plain = Kind::Factored(0.0);
    let (dense, ordered) = (whole(outcomes, Kind::Dense), whole(outcomes, plain));
    let found = leads(outcomes);
    let equal = |of: fn(&Equal) -> f64| -> Stat { results.equal.iter().map(of).collect() };
    let (ours, other) = (equal(|equal| equal.ours), equal(|equal| equal.decomposed));
    let numbers = equal(|equal| equal.numbers as f64);
    report.verdict(
        "footprint",
        Verdict::decided(
            found.iter().all(|lead| *lead > 0.0)
                && ordered.mean >= dense.mean - LENET_LOSS
                && ours.mean >= other.mean,
            format!(
                "{}; {:.2} % at full rank against {:.2} %; shrunk to {:.0} numbers {:.2} % against \
                 {:.2} % of a decomposition that stores no more",
                listed(&found),
                ordered.mean,
                dense.mean,
                numbers.mean,
                ours.mean,
                other.mean
            ),
            format!(
                "ahead of the decomposition of the dense network at 20 and 30 % of the ranks, of \
                 the same footprint, on average over seeds; at most {LENET_LOSS} point behind at \
                 full rank; and with the largest λ, as training left it, not behind the better of \
                 two truncations of the decomposition (the same share of all ranks, and the most \
                 important ones) that store as many numbers"
            ),
        ),
    )?;
    Ok(())
}

/// What training took.
fn cost(report: &mut Report, experiment: &Experiment, results: &Results) -> Result<()> {
    let studies = [
        (&experiment.truncation, &results.truncation),
        (&experiment.footprint, &results.footprint),
    ];
    let measured = studies.map(|(study, outcomes)| {
        let costs = study.lambdas.iter().map(|lambda| {
            let runs = runs(outcomes, Kind::Factored(*lambda));
            let cost: Stat = runs.map(|outcome| outcome.cost).collect();
            format!("×{:.2} with λ = {lambda:e}", cost.mean)
        });
        let costs: Vec<String> = costs.collect();
        format!("{}: {}", study.label, costs.join(", "))
    });
    report.verdict(
        "training-cost",
        Verdict::reported(
            measured.join("; "),
            "no rule: multiplications of a pass over all ranks that were left, the mean over epochs, \
             as a multiple of the dense network's",
        ),
    )?;
    Ok(())
}

/// Whether a larger λ leaves fewer ranks of every layer. Those that are left are the first ones, so
/// that fewer are a part of more.
fn nesting(report: &mut Report, study: &Study, outcomes: &[Outcome]) -> Result<()> {
    let (mut nested, mut pairs) = (0, 0);
    for lambdas in study.lambdas.windows(2) {
        let [less, more] = [lambdas[0], lambdas[1]].map(Kind::Factored);
        for one in runs(outcomes, less) {
            let other = runs(outcomes, more).find(|other| other.arm.seed == one.arm.seed);
            let layers = other
                .into_iter()
                .flat_map(|other| one.ranks.iter().zip(&other.ranks));
            for ((_, wider, _), (_, narrower, _)) in layers {
                pairs += 1;
                nested += usize::from(narrower <= wider);
            }
        }
    }
    report.verdict(
        "nesting",
        Verdict::reported(
            format!(
                "{nested} of {pairs} layers keep no more ranks at the next larger λ, over {} values \
                 of λ and all seeds",
                study.lambdas.len()
            ),
            "no rule: the paper shows it in pictures",
        ),
    )?;
    Ok(())
}

/// The largest λ that costs little, and what it removed.
fn shrinking(report: &mut Report, study: &Study, outcomes: &[Outcome]) -> Result<()> {
    let without = whole(outcomes, Kind::Factored(0.0)).mean;
    let kept = |lambda: f64| whole(outcomes, Kind::Factored(lambda)).mean;
    let lambdas = study.lambdas.iter().copied().filter(|lambda| *lambda > 0.0);
    let largest = lambdas
        .filter(|lambda| kept(*lambda) >= without - LOSS)
        .fold(0.0, f64::max);
    let layers = outcomes.first().map_or(0, |outcome| outcome.ranks.len());
    let removed = (0..layers)
        .map(|layer| 1.0 - share_left(outcomes, Kind::Factored(largest), layer).mean)
        .fold(0.0, f64::max);
    let measured = match largest > 0.0 {
        true => format!(
            "with λ = {largest:e} a layer loses {:.0} % of its ranks; {:.1} % against {without:.1} % \
             without a lasso",
            100.0 * removed,
            kept(largest)
        ),
        false => format!("no λ keeps {without:.1} % within {LOSS} points"),
    };
    report.verdict(
        "shrinking",
        Verdict::decided(
            largest > 0.0 && removed >= REMOVED,
            measured,
            format!(
                "the largest λ that costs at most {LOSS} points removes at least {:.0} % of the \
                 ranks of a layer",
                100.0 * REMOVED
            ),
        ),
    )?;
    Ok(())
}
