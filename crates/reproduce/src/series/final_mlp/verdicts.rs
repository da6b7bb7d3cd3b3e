//! The verdicts.

use super::present::{auc, of};
use super::train::Outcome;
use super::{Experiment, Kind, Results, Study, WIDTHS};
use crate::Scale;
use menagerie_core::Result;
use menagerie_report::{Report, Stat, Verdict};

/// By how much the mean area of FinalMLP must exceed that of DualMLP and of one perceptron.
const MARGIN: f64 = 0.01;
/// The least area on films.
const FILMS: f64 = 0.89;
/// The least area on Frappe at full scale.
const FRAPPE: f64 = 0.984;

/// The area of a kind of model over seeds.
fn area(study: &Study, outcomes: &[Outcome], kind: Kind) -> Stat {
    debug_assert!(study.kinds.contains(&kind));
    of(outcomes, kind, &auc)
}

fn studied<'a>(
    experiment: &'a Experiment,
    results: &'a Results,
    id: &str,
) -> Option<(&'a Study, &'a [Outcome])> {
    let mut all = experiment.studies.iter().zip(&results.studies);
    let found = all.find(|(study, _)| study.id == id)?;
    Some((found.0, found.1.as_slice()))
}

pub(super) fn verdicts(
    report: &mut Report,
    experiment: &Experiment,
    results: &Results,
) -> Result<()> {
    let (main, margin, real, least) = match experiment.scale {
        Scale::Small => ("impressions", MARGIN, "films", FILMS),
        Scale::Paper => ("frappe", 0.0, "frappe", FRAPPE),
    };
    if let Some((study, outcomes)) = studied(experiment, results, main) {
        let mean = |kind| area(study, outcomes, kind).mean;
        let (ours, dual, single) = (mean(Kind::Final), mean(Kind::Dual), mean(Kind::Mlp));
        report.verdict(
            "gates-add",
            Verdict::decided(
                ours >= dual + margin && ours >= single + margin,
                format!(
                    "{}: FinalMLP {ours:.4}, DualMLP {dual:.4}, MLP {single:.4}, the mean over {} seeds",
                    study.label, study.seeds
                ),
                format!(
                    "the mean test AUC of FinalMLP is at least {margin} above that of DualMLP and that of \
                     one perceptron after {} epochs",
                    study.training.epochs
                ),
            ),
        )?;
        let (ungated, rivals) = (mean(Kind::Ungated), [Kind::DeepFm, Kind::DcnV2].map(mean));
        report.verdict(
            "fusion-adds",
            Verdict::reported(
                format!(
                    "FinalMLP without gates {ungated:.4}, DualMLP {dual:.4} on {}",
                    study.label
                ),
                "shown: the trial's gain comes from gates",
            ),
        )?;
        let rest = experiment.studies.iter().zip(&results.studies);
        let rest = rest
            .filter(|(study, _)| study.id != main)
            .map(|(study, outcomes)| {
                let mean = |kind| area(study, outcomes, kind).mean;
                format!(
                    "{}: {:.4}, {:.4}, {:.4}",
                    study.label,
                    mean(Kind::Dual),
                    mean(Kind::DeepFm),
                    mean(Kind::DcnV2)
                )
            });
        let first = format!(
            "{}: {dual:.4}, {:.4}, {:.4}",
            study.label, rivals[0], rivals[1]
        );
        let all: Vec<String> = std::iter::once(first).chain(rest).collect();
        report.verdict(
            "dual-rivals",
            Verdict::reported(
                format!("test AUC of DualMLP, DeepFM, DCNv2: {}", all.join("; ")),
                "shown: nobody has tuned these models to these data",
            ),
        )?;
    }
    if let Some((study, outcomes)) = studied(experiment, results, real) {
        let found = area(study, outcomes, Kind::Final);
        report.verdict(
            "real-data",
            Verdict::decided(
                found.mean >= least,
                format!("{}: FinalMLP {found}", study.label),
                format!("the mean test AUC of FinalMLP is at least {least}"),
            ),
        )?;
    }
    let [left, right] = WIDTHS;
    let exact = results
        .costs
        .iter()
        .all(|cost| cost.parameters == left * right / cost.heads);
    let time = |heads| {
        let found = results.costs.iter().find(|cost| cost.heads == heads);
        found.map_or(f64::NAN, |cost| cost.seconds)
    };
    let ratio = time(10) / time(1);
    let sizes = results
        .costs
        .iter()
        .map(|cost| format!("{}: {}", cost.heads, cost.parameters));
    report.verdict(
        "heads-cut-cost",
        Verdict::decided(
            exact && ratio < 0.5,
            format!(
                "parameters by heads: {}; ten heads take {:.0} % of the time of one",
                sizes.collect::<Vec<_>>().join(", "),
                100.0 * ratio
            ),
            "the bilinear weight has d₁ d₂ / k numbers, and ten heads take less than half the time of one",
        ),
    )?;
    Ok(())
}
