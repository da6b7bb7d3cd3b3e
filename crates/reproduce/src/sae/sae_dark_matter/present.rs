//! The report: tables beside the paper's numbers, pictures, verdicts.

use super::{Analysed, Experiment, Outcome, measure};
use crate::Context;
use menagerie_core::Result;
use menagerie_report::{Cell, Plot, Report, Stat, Table, Verdict, cells};
use menagerie_sae::sae_dark_matter::{self, ErrorComponent, NormTarget, row_norms};

/// The nonlinear part must fall by less than this share of what the whole falls by.
const RELATIVE_DROP: f64 = 0.7;
/// R² of error vector and error norm that every width must exceed.
const ERROR_R2: f64 = 0.1;
const NORM_R2: f64 = 0.3;
/// R² of an unrelated error may differ from 0 by this much.
const CONTROL: f64 = 0.02;
/// R² between the error norms of neighbouring widths.
const NEIGHBOURS: f64 = 0.5;
/// Correlation of a part's norm with what was put in.
const CORRELATION: f64 = 0.8;
/// Tokens in the scatter plot.
const SHOWN: usize = 600;

/// Measurements with the sizes that they belong to.
struct Results<'a> {
    experiment: &'a Experiment,
    outcome: &'a Outcome,
}

impl Results<'_> {
    fn stat(&self, width: usize, value: impl Fn(&Analysed) -> f64) -> Stat {
        let seeds = self.outcome.widths.iter();
        seeds.map(|widths| value(&widths[width])).collect()
    }

    /// The lowest of a number over all widths and seeds.
    fn lowest(&self, value: impl Fn(&Analysed) -> f64) -> f64 {
        let all = self.outcome.widths.iter().flatten().map(value);
        all.fold(f64::INFINITY, f64::min)
    }

    /// By how much a mean falls from the smallest to the largest width, relative to the first.
    fn drop(&self, value: impl Fn(&Analysed) -> f64 + Copy) -> f64 {
        let first = self.stat(0, value).mean;
        let last = self.stat(self.experiment.widths.len() - 1, value).mean;
        (first - last) / first
    }

    fn curve(&self, value: impl Fn(&Analysed) -> f64 + Copy) -> Vec<(f64, Stat)> {
        let widths = self.experiment.widths.iter().enumerate();
        widths
            .map(|(at, &width)| (width as f64, self.stat(at, value)))
            .collect()
    }

    fn side(&self) -> usize {
        let widths = &self.experiment.widths;
        let side = widths.iter().position(|&w| w == self.experiment.side_width);
        side.unwrap_or(0)
    }
}

fn fvu(found: &Analysed) -> f64 {
    found.parts.fvu
}

fn nonlinear(found: &Analysed) -> f64 {
    found.parts.fvu_nonlinear
}

fn error_norm(found: &Analysed) -> f64 {
    found.norm(NormTarget::Error)
}

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    outcome: &Outcome,
) -> Result<Report> {
    let results = Results {
        experiment,
        outcome,
    };
    let mut report = Report::new(&sae_dark_matter::SYSTEM);
    settings(&mut report, context, experiment);
    report.text(
        "The error of a sparse autoencoder is x - Sae(x). Its linear part is its least-squares \
         prediction from x, without a constant, fitted on 60 % of the rows; R² is measured on the \
         others. FVU is the fraction of the variance of x that is left unexplained, over all rows; \
         *nonlinear FVU* is what remains when the linear part of the error is added to the \
         reconstruction. \n\nThe paper analyses \
         autoencoders of a thousand times the small size, whose error norms are governed by a few \
         massive directions of the residual stream. Its R² of the norm, above 0.9, is therefore \
         no criterion here.",
    );
    report.table(widths(&results))?;
    report.plot("fvu", fvu_plot(&results))?;
    report.table(norms(&results))?;
    report.table(neighbours(&results))?;
    report.plot("error-norms", scatter(&results)?)?;
    report.table(baselines(&results))?;
    report.table(injection(&results))?;
    report.table(pursuit(&results))?;
    report.table(elsewhere(&results))?;
    report.table(components(&results))?;
    report.table(disturbed(&results))?;
    report.table(known(&results))?;
    report.text(format!(
        "Correlation, over the {} latents, of the mean activation of a latent with the inner \
         product of its dictionary vector and the predictor of ‖Sae(x)‖²: {:.3}.",
        experiment.side_width, outcome.alignment
    ));
    verdicts(&mut report, &results)?;
    Ok(report)
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let analysis = &experiment.analysis;
    report
        .setting("device", format!("{:?}", context.device))
        .setting("host", format!("{:?}", experiment.host))
        .setting("autoencoders", format!("{:?}", experiment.source))
        .setting("site", format!("before block {}", experiment.layer))
        .setting("rows", analysis.rows())
        .setting("fitted rows", analysis.training_rows)
        .setting("first positions dropped", analysis.skip_first)
        .setting("kept latents (k) in training", experiment.k)
        .setting("steps", experiment.steps)
        .setting("rows per step", experiment.batch)
        .setting("first seed", context.seed);
}

fn widths(results: &Results) -> Table {
    let mut table = Table::new(
        "Error over width",
        [
            "latents",
            "FVU",
            "nonlinear FVU",
            "R² of the error",
            "R² of its norm²",
            "‖Sae(x) - x‖² / ‖x‖²",
        ],
    );
    for (at, &width) in results.experiment.widths.iter().enumerate() {
        table.push(cells![
            width,
            Cell::fixed(results.stat(at, fvu), 4),
            Cell::fixed(results.stat(at, nonlinear), 4),
            Cell::fixed(results.stat(at, |found| found.parts.r2), 3),
            Cell::fixed(results.stat(at, error_norm), 3),
            Cell::fixed(results.stat(at, |found| found.parts.nmse), 4),
        ]);
    }
    let control: Stat = results.outcome.control.iter().copied().collect();
    table
        .row(cells![
            "unrelated error",
            None::<f64>,
            None::<f64>,
            Cell::fixed(control, 3),
            None::<f64>,
            None::<f64>,
        ])
        .row(cells![
            "paper, large models",
            None::<f64>,
            None::<f64>,
            figure("R² of the error vector"),
            figure("R² of its squared norm"),
            None::<f64>,
        ])
        .note("The paper's numbers are recalled from its abstract, not verified.")
}

/// A published number of the descriptor.
fn figure(name: &str) -> Option<f64> {
    let claims = sae_dark_matter::SYSTEM.claims.iter();
    let mut figures = claims.flat_map(|claim| claim.figures);
    figures
        .find(|figure| figure.name == name)
        .map(|figure| figure.value)
}

fn fvu_plot(results: &Results) -> Plot {
    let flat = results.curve(nonlinear);
    let mean = flat.iter().map(|(_, stat)| stat.mean).sum::<f64>() / flat.len() as f64;
    let plot = Plot::new(
        "Unexplained variance over width",
        "latents",
        "fraction of variance unexplained",
    )
    .spread("FVU", results.curve(fvu))
    .spread("nonlinear FVU", flat)
    .level("mean of the nonlinear FVU", mean)
    .log_x();
    let Some(law) = results.outcome.power_law else {
        return plot;
    };
    let widths = &results.experiment.widths;
    let (first, last) = (widths[0] as f64, widths[widths.len() - 1] as f64);
    let fitted = (0..=40).map(|place| {
        let width = first * (last / first).powf(f64::from(place) / 40.0);
        (width, law.at(width))
    });
    let name = format!(
        "{:.4} + {:.3} · F^-{:.2}",
        law.floor, law.factor, law.exponent
    );
    plot.line(name, fitted)
}

fn norms(results: &Results) -> Table {
    let columns = NormTarget::ALL.map(NormTarget::name);
    let columns = std::iter::once("latents").chain(columns);
    let mut table = Table::new(
        "R² of squared norms from x, on held-out rows",
        columns.collect::<Vec<_>>(),
    );
    for (at, &width) in results.experiment.widths.iter().enumerate() {
        let stats = NormTarget::ALL
            .map(|target| Cell::fixed(results.stat(at, |found| found.norm(target)), 3));
        table.push(std::iter::once(Cell::from(width)).chain(stats));
    }
    table
}

fn neighbours(results: &Results) -> Table {
    let mut table = Table::new(
        "R² of a larger autoencoder's error norms",
        [
            "from → to",
            "from the smaller one's error norm",
            "with its nonlinear error norm",
            "gained of what was open, %",
        ],
    );
    for (at, pair) in results.experiment.widths.windows(2).enumerate() {
        let seeds = || results.outcome.neighbours.iter().map(|pairs| pairs[at]);
        table.push(cells![
            format!("{} → {}", pair[0], pair[1]),
            Cell::fixed(seeds().map(|found| found.r2).collect::<Stat>(), 3),
            Cell::fixed(
                seeds()
                    .map(|found| found.r2_with_nonlinear)
                    .collect::<Stat>(),
                3
            ),
            Cell::fixed(
                seeds()
                    .map(|found| found.gained_percent())
                    .collect::<Stat>(),
                1
            ),
        ]);
    }
    table
}

fn scatter(results: &Results) -> Result<Plot> {
    let widths = &results.experiment.widths;
    let last = widths.len() - 1;
    let norms = |at: usize| {
        let found = &results.outcome.widths[0][at];
        measure::values(row_norms(found.parts.error.clone()))
    };
    let (small, large) = (norms(0)?, norms(last)?);
    let stride = (small.len() / SHOWN).max(1);
    let points = small.into_iter().zip(large).step_by(stride);
    Ok(Plot::new(
        "Error norms of single tokens, first seed",
        format!("‖error‖ with {} latents", widths[0]),
        format!("‖error‖ with {} latents", widths[last]),
    )
    .scatter("tokens", points))
}

fn baselines(results: &Results) -> Table {
    let widths = &results.experiment.widths;
    let mut table = Table::new(
        format!(
            "What tells ‖error‖ (not squared), {} latents, first seed",
            widths[widths.len() - 1]
        ),
        ["from", "R², held-out"],
    )
    .note("A linear map with a constant; the mean over training rows for tokens.");
    for (baseline, r2) in &results.outcome.baselines {
        table.push(cells![baseline.name(), Cell::fixed(*r2, 3)]);
    }
    table
}

fn injection(results: &Results) -> Table {
    let mut table = Table::new(
        "Loss of the host with the residual stream replaced, nats",
        [
            "latents",
            "original",
            "Sae(x)",
            "+ linear error",
            "+ nonlinear error",
            "repaired by linear, %",
            "repaired by nonlinear, %",
        ],
    );
    for (at, &width) in results.experiment.widths.iter().enumerate() {
        table.push(cells![
            width,
            Cell::fixed(results.stat(at, |found| found.loss.original), 4),
            Cell::fixed(results.stat(at, |found| found.loss.reconstruction), 4),
            Cell::fixed(results.stat(at, |found| found.loss.with_linear), 4),
            Cell::fixed(results.stat(at, |found| found.loss.with_nonlinear), 4),
            Cell::fixed(
                results.stat(at, |found| found.loss.recovered_by_linear()),
                1
            ),
            Cell::fixed(
                results.stat(at, |found| found.loss.recovered_by_nonlinear()),
                1
            ),
        ]);
    }
    table
}

fn pursuit(results: &Results) -> Table {
    let mut table = Table::new(
        "Gradient pursuit in the encoder's place, at its L0",
        [
            "latents",
            "FVU, encoder",
            "FVU, pursuit",
            "nonlinear FVU, encoder",
            "nonlinear FVU, pursuit",
            "L0 of pursuit",
        ],
    );
    for (at, &width) in results.experiment.widths.iter().enumerate() {
        let pursued = |value: fn(super::Pursued) -> f64| {
            Cell::fixed(
                results.stat(at, |found| found.pursuit.map_or(f64::NAN, value)),
                4,
            )
        };
        table.push(cells![
            width,
            Cell::fixed(results.stat(at, fvu), 4),
            pursued(|found| found.fvu),
            Cell::fixed(results.stat(at, nonlinear), 4),
            pursued(|found| found.fvu_nonlinear),
            pursued(|found| found.l0),
        ]);
    }
    table
}

fn elsewhere(results: &Results) -> Table {
    let mut table = Table::new(
        format!(
            "R² of the error from reconstructions at another site, {} latents, first seed",
            results.experiment.widths[results.side()]
        ),
        ["site", "error", "linear error", "nonlinear error"],
    );
    for (name, found) in &results.outcome.elsewhere {
        table.push(cells![
            *name,
            Cell::fixed(found.error, 3),
            Cell::fixed(found.linear, 3),
            Cell::fixed(found.nonlinear, 3),
        ]);
    }
    table
}

fn components(results: &Results) -> Table {
    let mut table = Table::new(
        format!(
            "Autoencoders trained on a part of the error, {} latents",
            results.experiment.side_width
        ),
        ["part", "FVU of that part"],
    );
    for (component, fvu) in &results.outcome.components {
        table.push(cells![component.name(), Cell::fixed(*fvu, 3)]);
    }
    table
}

fn disturbed(results: &Results) -> Table {
    let mut table = Table::new(
        format!(
            "Noise of known kind, {} latents: R² over all entries",
            results.experiment.widths[results.side()]
        ),
        [
            "noise on x",
            "noise on Sae(x)",
            "latents taken out",
            "reconstruction",
            "with linear error",
        ],
    )
    .note("x is a reconstruction; noise in shares of the size of its values.");
    for (level, plain, linear) in &results.outcome.disturbed {
        table.push(cells![
            Cell::fixed(level.activation, 1),
            Cell::fixed(level.reconstruction, 1),
            Cell::fixed(level.ablated, 2),
            Cell::fixed(*plain, 3),
            Cell::fixed(*linear, 3),
        ]);
    }
    table
}

fn known(results: &Results) -> Table {
    let stat = |value: fn(&measure::Known) -> f64| {
        let known = results.outcome.known.iter().map(value);
        Cell::fixed(known.collect::<Stat>(), 3)
    };
    Table::new(
        "Activations with known parts: correlation of norms",
        [
            "found",
            "absent features and dense part",
            "introduced error",
        ],
    )
    .row(cells![
        "linear error",
        stat(|found| found.linear),
        stat(|found| found.crossed[0])
    ])
    .row(cells![
        "nonlinear error",
        stat(|found| found.crossed[1]),
        stat(|found| found.nonlinear)
    ])
}

fn verdicts(report: &mut Report, results: &Results) -> Result<()> {
    let outcome = results.outcome;
    let error = results.lowest(|found| found.parts.r2);
    let norm = results.lowest(error_norm);
    let control = outcome
        .control
        .iter()
        .fold(0.0, |max: f64, r2| max.max(r2.abs()));
    report.verdict(
        "predictable-error",
        Verdict::decided(
            error > ERROR_R2 && norm > NORM_R2 && control <= CONTROL,
            format!(
                "R² of the error at least {error:.3}, of its norm at least {norm:.3}; of an \
                 unrelated error within {control:.3} of 0"
            ),
            format!(
                "R² above {ERROR_R2} and {NORM_R2} at every width and seed; the same pipeline \
                 within {CONTROL} of 0 on an unrelated error"
            ),
        ),
    )?;
    let pairs = outcome.neighbours.iter().flatten();
    let lowest = pairs.map(|found| found.r2).fold(f64::INFINITY, f64::min);
    report.verdict(
        "same-tokens",
        Verdict::decided(
            lowest > NEIGHBOURS,
            format!("R² between neighbouring widths at least {lowest:.3}"),
            format!("above {NEIGHBOURS} for every pair and seed"),
        ),
    )?;
    let (whole, rest) = (results.drop(fvu), results.drop(nonlinear));
    report.verdict(
        "constant-floor",
        Verdict::decided(
            rest < RELATIVE_DROP * whole,
            format!(
                "FVU falls by {:.1} %, nonlinear FVU by {:.1} %",
                100.0 * whole,
                100.0 * rest
            ),
            format!("nonlinear FVU falls by less than {RELATIVE_DROP} of what FVU falls by"),
        ),
    )?;
    report.verdict("different-in-kind", kind(results))?;
    report.verdict("pursuit", reduction(results))?;
    let weakest = outcome
        .known
        .iter()
        .flat_map(|found| [found.linear, found.nonlinear])
        .fold(f64::INFINITY, f64::min);
    report.verdict(
        "known-parts",
        Verdict::decided(
            weakest > CORRELATION,
            format!("correlation of norms at least {weakest:.3}"),
            format!("above {CORRELATION} for both parts and every seed"),
        ),
    )?;
    Ok(())
}

fn kind(results: &Results) -> Verdict {
    let side = results.side();
    let part = |wanted| {
        let mut found = results.outcome.components.iter();
        found
            .find(|(component, _)| *component == wanted)
            .map_or(f64::NAN, |(_, fvu)| *fvu)
    };
    let norm = |target| results.stat(side, |found| found.norm(target)).mean;
    let share = |value: fn(&Analysed) -> f64| results.stat(side, value).mean;
    Verdict::reported(
        format!(
            "autoencoders leave {:.3} of nonlinear and {:.3} of linear error unexplained; R² of \
             the norms {:.3} and {:.3}; adding the nonlinear part repairs {:.1} % of the loss, the \
             linear one {:.1} %",
            part(ErrorComponent::Nonlinear),
            part(ErrorComponent::Linear),
            norm(NormTarget::Nonlinear),
            norm(NormTarget::Linear),
            share(|found| found.loss.recovered_by_nonlinear()),
            share(|found| found.loss.recovered_by_linear()),
        ),
        "interpretability of latents needs a language model as the judge",
    )
}

fn reduction(results: &Results) -> Verdict {
    let side = results.side();
    let relative = |before: f64, after: f64| 100.0 * (after - before) / before;
    let pursued = |value: fn(super::Pursued) -> f64| {
        results
            .stat(side, |found| found.pursuit.map_or(f64::NAN, value))
            .mean
    };
    let whole = relative(results.stat(side, fvu).mean, pursued(|found| found.fvu));
    let rest = relative(
        results.stat(side, nonlinear).mean,
        pursued(|found| found.fvu_nonlinear),
    );
    let sites = results.outcome.elsewhere.iter().skip(1);
    let best = sites.max_by(|a, b| a.1.nonlinear.total_cmp(&b.1.nonlinear));
    let best = best.map_or_else(String::new, |(name, found)| {
        format!(
            "; {name} explains {:.1} % of the nonlinear error",
            100.0 * found.nonlinear
        )
    });
    Verdict::reported(
        format!("pursuit changes FVU by {whole:+.1} %, nonlinear FVU by {rest:+.1} %{best}"),
        "one small host and one kind of autoencoder cannot rank the two",
    )
}
