//! The report.

use super::digits::Halves;
use super::flows::Flow;
use super::samples::{Drawn, name};
use super::verdicts::verdicts;
use super::{Experiment, FEATURES, KINDS, NAMES, Results, features};
use crate::Context;
use menagerie_core::Result;
use menagerie_report::{Cell, HeatMap, Plot, Report, Stat, Table, cells};
use menagerie_theory::jepa_linear::{DynamicsConfig, Feature, Kind, SYSTEM, critical_time};

pub(super) fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Jepa => "JEPA",
        Kind::Mae => "MAE",
    }
}

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    results: &Results,
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    report
        .setting("device", format!("{:?}", context.device))
        .setting("first seed", context.seed)
        .setting("steps of Runge and Kutta", experiment.steps)
        .setting("pairs", experiment.pairs)
        .setting("seeds", experiment.seeds);
    report.text(
        "Four features by covariance λ and regression coefficient ρ: A (1, 0.9), B (1, 0.5), \
         C (0.6, 0.9), D (1.2, 0.6). Times are gradient-flow times of the weights; the half time is \
         when a feature has half of the amplitude that it ends at.",
    );
    report.table(flows(&results.flows))?;
    for flow in &results.flows {
        overlay(&mut report, flow)?;
    }
    report.heading("Which features come first");
    for kind in KINDS {
        for layers in [1, 3] {
            phases(&mut report, kind, layers)?;
        }
    }
    report.table(depths(&results.flows))?;
    report.heading("From samples");
    report.table(samples(results))?;
    if !results.halves.is_empty() {
        report.heading("Halves of digits");
        report.text(
            "One half of a digit is seen, the other one, mirrored, is predicted; both in the first \
             principal components of all halves. Their features are not uncorrelated with each \
             other, so that theory holds roughly at most. Two layers from ε = 0.01.",
        );
        for halves in &results.halves {
            report.table(digits(halves))?;
        }
    }
    verdicts(&mut report, results)?;
    Ok(report)
}

fn flows(flows: &[Flow]) -> Table {
    let columns = [
        "method",
        "layers",
        "ε",
        "feature",
        "half time, simulated",
        "closed form",
        "largest error of w̄",
        "share of ρ^L",
        "error of the equation",
    ];
    let mut table = Table::new("Matrices and closed form", columns).note(
        "Errors over 400 times until the last feature has 95 % of its fixed point; the equation is \
         the paper's, integrated with as many steps.",
    );
    for flow in flows {
        for (at, (half, closed)) in flow.half.iter().enumerate() {
            let end = FEATURES[at].1.powi(flow.law.layers as i32);
            table.push(cells![
                title(flow.law.kind),
                flow.law.layers,
                format!("{}", flow.law.epsilon),
                NAMES[at],
                half.map(|time| Cell::fixed(time, 2)).unwrap_or(Cell::Empty),
                Cell::fixed(*closed, 2),
                format!("{:.1e}", flow.errors[at]),
                format!("{:.1e}", flow.errors[at] / end),
                format!("{:.1e}", flow.equation_errors[at]),
            ]);
        }
    }
    table
}

/// The simulation as lines, the closed form as points.
fn overlay(report: &mut Report, flow: &Flow) -> Result<()> {
    let DynamicsConfig {
        kind,
        layers,
        epsilon,
    } = flow.law;
    let id = match (layers, epsilon) {
        (1, 0.1) => format!("single-{}", name(kind)),
        (3, 0.01) => format!("deep-{}", name(kind)),
        _ => return Ok(()),
    };
    let heading = format!("{}, {layers} layer(s), ε = {epsilon}", title(kind));
    let mut plot = Plot::new(heading, "time", "amplitude w̄");
    for (at, label) in NAMES.iter().enumerate() {
        let (lambda, rho) = FEATURES[at];
        let points = |values: &[f64]| -> Vec<(f64, f64)> {
            flow.times
                .iter()
                .copied()
                .zip(values.iter().copied())
                .collect()
        };
        let label = format!("{label} (λ {lambda}, ρ {rho})");
        plot = plot.line(format!("{label}, matrices"), points(&flow.amplitudes[at]));
        let closed = points(&flow.closed[at]).into_iter().step_by(12);
        plot = plot.scatter(format!("{label}, closed form"), closed);
    }
    report.plot(&id, plot)?;
    Ok(())
}

/// Half times over the plane of λ and ρ, relative to that of A.
fn phases(report: &mut Report, kind: Kind, layers: usize) -> Result<()> {
    let law = match layers {
        1 => DynamicsConfig::single(kind),
        _ => DynamicsConfig::deep(kind),
    };
    let lambdas: Vec<f64> = (0..9).map(|at| 0.6 + 0.1 * f64::from(at)).collect();
    let labels: Vec<String> = lambdas
        .iter()
        .map(|lambda| format!("{lambda:.1}"))
        .collect();
    let heading = format!(
        "Half time relative to that of A: {}, {layers} layer(s); features below 1 come before A",
        title(kind)
    );
    let mut map = HeatMap::new(heading, "covariance λ", "regression coefficient ρ", labels);
    let half = |lambda: f64, rho: f64| critical_time(&law, Feature::new(lambda, rho)?, 0.5);
    let reference = half(FEATURES[0].0, FEATURES[0].1)?;
    for row in 0..8 {
        let rho = 1.1 - 0.1 * f64::from(row);
        let times = lambdas
            .iter()
            .map(|lambda| Ok(half(*lambda, rho)? / reference));
        map = map.row(format!("{rho:.1}"), times.collect::<Result<Vec<f64>>>()?);
    }
    report.heat_map(&format!("phase-{}-{layers}", name(kind)), map.digits(2))?;
    Ok(())
}

/// How late B is beside A, which has its λ.
fn depths(flows: &[Flow]) -> Table {
    let columns = ["method", "layers", "ε", "t_B / t_A", "t_D / t_A", "order"];
    let mut table = Table::new("Half times beside that of A, simulated", columns);
    for flow in flows {
        let ratio = |at| flow.ratio(at, 0).map(|ratio| Cell::fixed(ratio, 3));
        let mut order: Vec<(f64, &str)> = flow
            .half
            .iter()
            .zip(NAMES)
            .filter_map(|((half, _), name)| Some(((*half)?, name)))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let order: Vec<&str> = order.into_iter().map(|(_, name)| name).collect();
        table.push(cells![
            title(flow.law.kind),
            flow.law.layers,
            format!("{}", flow.law.epsilon),
            ratio(1).unwrap_or(Cell::Empty),
            ratio(3).unwrap_or(Cell::Empty),
            order.join(" "),
        ]);
    }
    table
}

/// The half times of a feature relative to those of A, over seeds.
pub(super) fn ratios(results: &Results, kind: Kind, drawn: Drawn, feature: usize) -> Stat {
    let runs = results.samples.iter();
    let runs = runs.filter(|(sample, _)| sample.kind == kind && sample.drawn == drawn);
    // A feature that was not learned in the span makes the mean no number.
    runs.map(|(_, half)| match (half.get(feature), half.first()) {
        (Some(Some(time)), Some(Some(reference))) => time / reference,
        _ => f64::NAN,
    })
    .collect()
}

fn samples(results: &Results) -> Table {
    let columns = ["model", "method", "t_B / t_A", "t_C / t_A", "t_D / t_A"];
    let mut table = Table::new("Half times beside that of A, from samples", columns).note(
        "Three layers from ε = 0.01 in a random basis; amplitudes along the true directions. In the \
         dynamic model B and D change fast, in the static one they have the most noise.",
    );
    for drawn in Drawn::ALL {
        for kind in KINDS {
            let ratio = |at| Cell::fixed(ratios(results, kind, drawn, at), 3);
            table.push(cells![
                drawn.name(),
                title(kind),
                ratio(1),
                ratio(2),
                ratio(3),
            ]);
        }
    }
    // What theory says of the same features.
    for kind in KINDS {
        let law = DynamicsConfig::deep(kind);
        let known = features().unwrap_or_default();
        let half = known
            .iter()
            .map(|feature| critical_time(&law, *feature, 0.5).ok());
        let half: Vec<f64> = half.map(|time| time.unwrap_or(f64::NAN)).collect();
        if let [a, b, c, d] = half[..] {
            let ratio = |time: f64| Cell::fixed(time / a, 3);
            table.push(cells![
                "closed form",
                title(kind),
                ratio(b),
                ratio(c),
                ratio(d)
            ]);
        }
    }
    table
}

fn digits(halves: &Halves) -> Table {
    let columns = [
        "feature",
        "λ",
        "ρ",
        "half time, trained",
        "closed form alone",
    ];
    let heading = format!("Features of halves of digits: {}", title(halves.kind));
    let mut table = Table::new(heading, columns).note(
        "Features of λ below 0.05, or that start beyond half of their fixed point, are left out.",
    );
    for (at, (feature, (found, expected))) in halves.features.iter().zip(&halves.half).enumerate() {
        let time = |time: &Option<f64>| time.map_or(Cell::Empty, |time| Cell::fixed(time, 1));
        table.push(cells![
            at + 1,
            Cell::fixed(feature.lambda, 3),
            Cell::fixed(feature.rho, 3),
            time(found),
            time(expected),
        ]);
    }
    table
}
