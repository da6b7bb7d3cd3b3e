//! The report.

use super::{Experiment, Outcome, timing::Cost};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_mae::mae_base::SYSTEM;
use menagerie_report::{Cell, Grid, Plot, Report, Stat, Table, Verdict, cells};

/// What the objective must fall to, as a share of its mean over the first steps.
const FALL: f64 = 0.75;
/// How many steps at the beginning and at the end are averaged.
const WINDOW: f64 = 100.0;
/// By how many points of percent a probe of pre-trained features must beat one of random features.
const GAIN: f64 = 10.0;

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    (outcomes, ratios): (&[Outcome], &[Outcome]),
    costs: &[Cost],
) -> Result<Report> {
    let results = Results { outcomes, ratios };
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(introduction(context.scale));
    report.table(accuracies(&results))?;
    report.table(by_ratio(&results, experiment, costs))?;
    curves(&mut report, &results)?;
    let pictures = outcomes
        .iter()
        .find_map(|outcome| outcome.pictures.as_ref());
    if let Some(pictures) = pictures {
        let grid = pictures
            .rows
            .iter()
            .fold(Grid::new(pictures.shape), |grid, (label, tiles)| {
                grid.row(*label, tiles)
            });
        let caption = "The first test images, the patches that the encoder sees, what the decoder \
                       predicts, and both together (first seed). The model was trained on \
                       normalised patches: each prediction gets mean and deviation of the true \
                       patch.";
        report.images("reconstructions", caption, &grid)?;
    }
    verdicts(&mut report, &results, costs)?;
    Ok(report)
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let (model, (_, pretraining)) = (&experiment.model, &experiment.pretraining);
    let (_, finetuning) = &experiment.finetuning;
    let size = |dim: usize, depth: usize, heads: usize| {
        format!("{dim} wide, {depth} blocks, {heads} heads")
    };
    let encoder = &model.encoder;
    report
        .setting("device", format!("{:?}", context.device))
        .setting("seeds", experiment.seeds)
        .setting("first seed", context.seed)
        .setting("image", encoder.image)
        .setting("patch", encoder.patch)
        .setting("encoder", size(encoder.dim, encoder.depth, encoder.heads))
        .setting(
            "decoder",
            size(model.decoder.dim, model.decoder.depth, model.decoder.heads),
        )
        .setting("mask ratio", model.mask_ratio)
        .setting("unlabelled images", experiment.unlabelled.len())
        .setting("labelled images", experiment.labels)
        .setting("test images", experiment.test.len())
        .setting("pre-training steps", pretraining.steps)
        .setting("pre-training batch", pretraining.batch)
        .setting("pre-training rate (AdamW)", pretraining.schedule.peak)
        .setting("fine-tuning steps", finetuning.steps)
        .setting("fine-tuning batch", finetuning.batch)
        .setting("fine-tuning rate (AdamW)", finetuning.schedule.peak);
}

fn introduction(scale: Scale) -> &'static str {
    match scale {
        Scale::Small => {
            "An autoencoder is pre-trained on all of Fashion-MNIST without labels; a thousand \
             labelled images are left for the comparison. A linear layer is probed on the class \
             token of the frozen encoder, pre-trained or as it was drawn. A classifier is trained \
             for as many steps on the same images from pre-trained weights or from scratch. The \
             paper trains a model 400 times as large for 800 to 1 600 epochs; this run sees every \
             image about once."
        }
        Scale::Paper => "The published model, data, augmentation and schedule.",
    }
}

struct Results<'a> {
    /// At the published ratio, one for each seed.
    outcomes: &'a [Outcome],
    /// Of the comparison of ratios.
    ratios: &'a [Outcome],
}

impl Results<'_> {
    /// The run of the comparison at a mask ratio.
    fn at(&self, ratio: f64) -> Option<&Outcome> {
        self.ratios.iter().find(|outcome| outcome.ratio == ratio)
    }

    fn stat(&self, of: impl Fn(&Outcome) -> f64) -> Stat {
        self.outcomes.iter().map(of).collect()
    }

    /// Accuracies after fine-tuning, from pre-trained weights and from scratch.
    fn tuned(&self) -> Vec<[f64; 2]> {
        let outcomes = self.outcomes.iter();
        outcomes.filter_map(|outcome| outcome.fine_tuned).collect()
    }
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().collect::<Stat>().mean
}

/// What the objective of a run fell to: its mean over the last steps as a share of that over the
/// first.
fn fall(outcome: &Outcome) -> f64 {
    let last = outcome.loss.last().map_or(0.0, |(step, _)| *step);
    let over = |from: f64, to: f64| {
        let points = outcome.loss.iter();
        mean(points.filter_map(|(step, loss)| (from < *step && *step <= to).then_some(*loss)))
    };
    over(last - WINDOW, last) / over(0.0, WINDOW)
}

fn accuracies(results: &Results) -> Table {
    let tuned = results.tuned();
    let of = |arm: usize| tuned.iter().map(|pair| pair[arm]).collect::<Stat>();
    let row = |what: &str, pretrained: Stat, baseline: Stat| {
        [
            Cell::from(what),
            Cell::fixed(pretrained, 1),
            Cell::fixed(baseline, 1),
        ]
    };
    Table::new(
        "Test accuracy with few labels, %",
        ["protocol", "pre-trained", "random weights"],
    )
    .row(row(
        "linear probe",
        results.stat(|outcome| outcome.probe),
        results.stat(|outcome| outcome.random_probe),
    ))
    .row(row("fine-tuning", of(0), of(1)))
    .note(
        "The paper's ViT-B on ImageNet: 68.0 % probed and 83.6 % fine-tuned; ViT-L 84.9 % \
         fine-tuned after 800 epochs against 82.5 % from scratch (recalled, except for 83.6).",
    )
}

fn by_ratio(results: &Results, experiment: &Experiment, costs: &[Cost]) -> Table {
    let mut table = Table::new(
        "Mask ratio",
        [
            "ratio",
            "visible patches",
            "linear probe, %",
            "last loss",
            "time of a step, ms",
            "of a step with all patches",
        ],
    )
    .note(format!(
        "Times of forward and backward of a batch of 64 on random images; the first row hides one \
         patch. The decoder sees all patches at every ratio. Probes and losses are of the first \
         seed after {} steps.",
        experiment.ratios.1.steps
    ));
    let whole = costs.first().map_or(f64::NAN, |cost| cost.seconds);
    for cost in costs {
        let outcome = results.at(cost.ratio);
        let probe = outcome.map(|outcome| outcome.probe);
        let loss = outcome.and_then(|outcome| Some(outcome.loss.last()?.1));
        let shown = |value: Option<f64>, digits: usize| {
            value.map_or(Cell::Empty, |value| Cell::fixed(value, digits))
        };
        table.push(cells![
            Cell::fixed(cost.ratio, 2),
            format!("{} of {}", cost.visible, experiment.model.encoder.tokens()),
            shown(probe, 1),
            shown(loss, 3),
            Cell::fixed(1e3 * cost.seconds, 1),
            Cell::fixed(cost.seconds / whole, 2),
        ]);
    }
    table
}

fn curves(report: &mut Report, results: &Results) -> Result<()> {
    let mut plot = Plot::new("Pre-training", "step", "objective on the batch");
    for (index, outcome) in results.outcomes.iter().chain(results.ratios).enumerate() {
        let name = format!("ratio {}, run {}", outcome.ratio, index + 1);
        plot = plot.line(name, outcome.loss.iter().copied());
    }
    report.plot("loss", plot)?;
    Ok(())
}

fn verdicts(report: &mut Report, results: &Results, costs: &[Cost]) -> Result<()> {
    let falls: Vec<f64> = results.outcomes.iter().map(fall).collect();
    let shares: Vec<String> = falls.iter().map(|fall| format!("{fall:.2}")).collect();
    report.verdict(
        "pixels",
        Verdict::decided(
            falls.iter().all(|fall| *fall < FALL),
            format!(
                "the objective falls to {} of its first {WINDOW} steps",
                shares.join(", ")
            ),
            format!(
                "with every seed the mean objective of the last {WINDOW} steps is below {FALL} of \
                 that of the first {WINDOW}"
            ),
        ),
    )?;
    let probe = results.stat(|outcome| outcome.probe);
    let random = results.stat(|outcome| outcome.random_probe);
    let gain = probe.mean - random.mean;
    report.verdict(
        "linear-probe",
        Verdict::decided(
            gain >= GAIN,
            format!("{probe:.1} % against {random:.1} %: {gain:+.1} points"),
            format!("the mean over seeds is at least {GAIN} points higher"),
        ),
    )?;
    let tuned = results.tuned();
    let wins = tuned.iter().filter(|[a, b]| a >= b).count();
    // Two of three.
    let needed = (2 * tuned.len()).div_ceil(3);
    let pairs: Vec<String> = tuned
        .iter()
        .map(|[a, b]| format!("{a:.1} against {b:.1} %"))
        .collect();
    report.verdict(
        "fine-tuning",
        Verdict::decided(
            wins >= needed && !tuned.is_empty(),
            format!("{}; not worse {wins} times", pairs.join(", ")),
            format!(
                "not worse than from scratch with {needed} of {} seeds",
                tuned.len()
            ),
        ),
    )?;
    let by_ratio: Vec<String> = results
        .ratios
        .iter()
        .map(|outcome| format!("{:.1} % at {}", outcome.probe, outcome.ratio))
        .collect();
    report.verdict(
        "high-ratio",
        Verdict::reported(
            format!("linear probe: {}", by_ratio.join(", ")),
            "no rule: the order of the ratios takes the paper's length of training",
        ),
    )?;
    let speed_ups: Vec<String> = costs
        .iter()
        .skip(1)
        .filter_map(|cost| {
            let whole = costs.first()?.seconds;
            Some(format!(
                "{:.2} times at {}",
                whole / cost.seconds,
                cost.ratio
            ))
        })
        .collect();
    report.verdict(
        "visible-only",
        Verdict::reported(
            format!("a step is faster {}", speed_ups.join(", ")),
            "no rule: a time, and the small encoder is a smaller part of the step than the paper's",
        ),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fall_is_that_of_means() {
        let outcome = |loss: Vec<(f64, f64)>| Outcome {
            ratio: 0.75,
            loss,
            probe: 0.0,
            random_probe: 0.0,
            fine_tuned: None,
            pictures: None,
        };
        let points = [
            (50.0, 1.0),
            (100.0, 0.8),
            (150.0, 0.0),
            (300.0, 0.6),
            (390.0, 0.3),
        ];
        assert!((fall(&outcome(points.to_vec())) - 0.5).abs() < 1e-12);
        // A run without numbers has not fallen.
        let none = fall(&outcome(Vec::new()));
        assert!(none.is_nan());
    }
}
