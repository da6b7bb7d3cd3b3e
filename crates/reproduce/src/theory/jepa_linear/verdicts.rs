//! The verdicts.

use super::present::{ratios, title};
use super::samples::Drawn;
use super::{A, B, D, FEATURES, KINDS, NAMES, Results};
use menagerie_core::Result;
use menagerie_report::{Report, Verdict};
use menagerie_theory::jepa_linear::Kind;

/// How far the simulation may be from the closed form, as a share of ρ^L.
const NEAR: f64 = 1e-3;
/// How late B must be beside A for JEPA with three layers.
const LATE: f64 = 1.2;
/// How far B may be from A for MAE.
const SAME: f64 = 0.05;

pub(super) fn verdicts(report: &mut Report, results: &Results) -> Result<()> {
    tractable(report, results)?;
    order(report, results)?;
    disjoint(report, results)?;
    from_samples(report, results)
}

fn tractable(report: &mut Report, results: &Results) -> Result<()> {
    let mut worst: f64 = 0.0;
    let mut looked = 0;
    for kind in KINDS {
        for (layers, epsilon) in [(1, 0.1), (3, 0.01)] {
            let errors = results.flow(kind, layers, epsilon).map(|flow| &flow.errors);
            for (error, (_, rho)) in errors.into_iter().flatten().zip(FEATURES) {
                worst = worst.max(error / rho.powi(layers as i32));
                looked += 1;
            }
        }
    }
    report.verdict(
        "tractable",
        Verdict::decided(
            looked == 16 && worst < NEAR,
            format!("the largest difference of {looked} trajectories is {worst:.1e} of ρ^L"),
            "with one layer from ε = 0.1 and three from 0.01, every simulated amplitude of both \
             methods stays within 1e-3 of ρ^L of the closed form",
        ),
    )?;
    Ok(())
}

/// A ratio of half times of a flow; no number where it is not there.
fn ratio(results: &Results, kind: Kind, layers: usize, epsilon: f64, feature: usize) -> f64 {
    let flow = results.flow(kind, layers, epsilon);
    flow.and_then(|flow| flow.ratio(feature, A))
        .unwrap_or(f64::NAN)
}

fn order(report: &mut Report, results: &Results) -> Result<()> {
    let mae = |feature| ratio(results, Kind::Mae, 3, 0.01, feature);
    report.verdict(
        "covariance",
        Verdict::decided(
            mae(D) < 1.0 && (mae(B) - 1.0).abs() <= SAME,
            format!("t_D / t_A = {:.3}, t_B / t_A = {:.3}", mae(D), mae(B)),
            "MAE with three layers learns D, of more covariance and more noise, before A, and B, of \
             the same covariance as A, within 5 % of A's time",
        ),
    )?;
    let jepa = |feature| ratio(results, Kind::Jepa, 3, 0.01, feature);
    let single = ratio(results, Kind::Jepa, 1, 0.1, B);
    let depths: Vec<String> = results
        .flows
        .iter()
        .filter(|flow| flow.law.kind == Kind::Jepa && flow.law.epsilon == 0.01)
        .filter_map(|flow| Some(format!("L = {}: {:.2}", flow.law.layers, flow.ratio(B, A)?)))
        .collect();
    report.verdict(
        "regression",
        Verdict::decided(
            jepa(D) > 1.0 && jepa(B) > LATE && single < 1.0,
            format!(
                "t_D / t_A = {:.3}, t_B / t_A = {:.3} with three layers, {single:.3} with one; from \
                 ε = 0.01 {}",
                jepa(D),
                jepa(B),
                depths.join(", ")
            ),
            "JEPA with three layers learns A before D, and B more than 1.2 times as late as A; with \
             one layer from ε = 0.1 B comes before A",
        ),
    )?;
    Ok(())
}

fn disjoint(report: &mut Report, results: &Results) -> Result<()> {
    // Half-way between the first two half times, a method has learned one feature.
    let early = |kind| -> Option<(f64, Vec<usize>)> {
        let flow = results.flow(kind, 3, 0.01)?;
        let mut half: Vec<f64> = flow.half.iter().filter_map(|(half, _)| *half).collect();
        half.sort_by(f64::total_cmp);
        let time = 0.5 * (half.first()? + half.get(1)?);
        Some((time, flow.learned(time)))
    };
    let sets = KINDS.map(early);
    let met = match &sets {
        [Some((_, one)), Some((_, other))] => {
            !one.is_empty() && !other.is_empty() && one.iter().all(|at| !other.contains(at))
        }
        _ => false,
    };
    let words = |(kind, set): (Kind, &Option<(f64, Vec<usize>)>)| {
        let (time, learned) = set.clone().unwrap_or((f64::NAN, Vec::new()));
        let names: Vec<&str> = learned.into_iter().map(|at| NAMES[at]).collect();
        format!(
            "{} has {} at time {time:.1}",
            title(kind),
            names.join(" and ")
        )
    };
    let measured: Vec<String> = KINDS.into_iter().zip(&sets).map(words).collect();
    report.verdict(
        "disjoint",
        Verdict::decided(
            met,
            measured.join(", "),
            "with three layers, half-way between its first two half times each method has features, \
             and none that the other one has",
        ),
    )?;
    Ok(())
}

fn from_samples(report: &mut Report, results: &Results) -> Result<()> {
    let mut met = true;
    let mut measured = Vec::new();
    for drawn in Drawn::ALL {
        let jepa = |feature| ratios(results, Kind::Jepa, drawn, feature);
        let mae = ratios(results, Kind::Mae, drawn, D);
        met &= jepa(D).mean > 1.0 && mae.mean < 1.0 && jepa(B).mean > LATE;
        measured.push(format!(
            "{}: t_D / t_A = {:.3} for JEPA, {mae:.3} for MAE; t_B / t_A = {:.3} for JEPA",
            drawn.name(),
            jepa(D),
            jepa(B)
        ));
    }
    report.verdict(
        "samples",
        Verdict::decided(
            met,
            measured.join("; "),
            "from samples of both models, in the mean over seeds, JEPA learns A before D, MAE D \
             before A, and JEPA needs more than 1.2 times as long for B as for A",
        ),
    )?;
    Ok(())
}
