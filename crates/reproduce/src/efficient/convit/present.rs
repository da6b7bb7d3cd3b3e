//! The report.

use super::{Experiment, Kind, Outcome};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_efficient::convit::SYSTEM;
use menagerie_report::{Cell, Grid, Plot, Report, Stat, Table, Verdict, cells};

/// By how many points the method must lead with few images.
const GAIN: f64 = 1.5;

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    outcomes: &[Outcome],
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(match context.scale {
        Scale::Small => {
            "Both networks have the same sizes but for the attention of the first blocks, and see \
             the same images in the same order for the same number of steps. The paper trains on \
             parts of ImageNet; here they are parts of Fashion-MNIST. The experiment was designed for a \
             width of 64 and batches of at least 64; to end within ten minutes on two cores it has a \
             width of 48, batches of 32 and 5 000 of the 10 000 test images, every class at its share."
        }
        Scale::Paper => "ConViT-Ti and its plain twin under the published recipe.",
    });
    report.table(accuracies(experiment, outcomes))?;
    let curve = |kind| {
        let points = experiment.sizes.iter();
        points.map(move |(size, _)| (*size as f64, of(outcomes, kind, *size)))
    };
    let plot = Plot::new(
        "Accuracy by training images",
        "training images",
        "test accuracy, %",
    )
    .spread("ConViT", curve(Kind::ConVit))
    .spread("ViT", curve(Kind::Plain))
    .log_x();
    report.plot("accuracy", plot)?;
    depth(&mut report, experiment, outcomes)?;
    losses(&mut report, outcomes)?;
    maps(&mut report, experiment, outcomes)?;
    verdicts(&mut report, experiment, outcomes)?;
    Ok(report)
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let config = &experiment.config;
    report
        .setting("device", format!("{:?}", context.device))
        .setting("seeds", experiment.seeds)
        .setting("seeds on all images", experiment.seeds_on_all)
        .setting("first seed", context.seed)
        .setting("width", config.dim)
        .setting("heads", config.heads)
        .setting("blocks", config.depth)
        .setting("local blocks", config.local_blocks)
        .setting("patches", config.tokens())
        .setting("label smoothing", experiment.recipe.smoothing)
        .setting("test images", experiment.test.len());
    if let Some((_, length)) = experiment.sizes.last() {
        report
            .setting("steps", length.steps)
            .setting("batch", length.batch)
            .setting("rate (AdamW)", length.schedule.peak);
    }
}

fn runs(outcomes: &[Outcome], kind: Kind, images: usize) -> impl Iterator<Item = &Outcome> {
    let found = move |outcome: &&Outcome| outcome.arm.kind == kind && outcome.arm.images == images;
    outcomes.iter().filter(found)
}

fn of(outcomes: &[Outcome], kind: Kind, images: usize) -> Stat {
    runs(outcomes, kind, images)
        .map(|outcome| outcome.accuracy)
        .collect()
}

/// By how much the method leads, seed by seed.
fn gains(outcomes: &[Outcome], other: Kind, images: usize) -> Stat {
    runs(outcomes, Kind::ConVit, images)
        .filter_map(|ours| {
            let twin = runs(outcomes, other, images).find(|run| run.arm.seed == ours.arm.seed)?;
            Some(ours.accuracy - twin.accuracy)
        })
        .collect()
}

fn accuracies(experiment: &Experiment, outcomes: &[Outcome]) -> Table {
    let columns = [
        "training images",
        "ConViT",
        "ViT",
        "difference",
        "ratio of errors",
        "position alone",
        "content alone",
    ];
    let mut table = Table::new("Test accuracy, %", columns)
        .note("*Position alone* and *content alone* fix the gates at their limits, with one seed.");
    let shown = |stat: Stat| match stat.n {
        0 => Cell::Empty,
        _ => Cell::fixed(stat, 1),
    };
    for (size, _) in &experiment.sizes {
        let [ours, plain] = [Kind::ConVit, Kind::Plain].map(|kind| of(outcomes, kind, *size));
        table.push(cells![
            *size,
            shown(ours),
            shown(plain),
            shown(gains(outcomes, Kind::Plain, *size)),
            Cell::fixed((100.0 - ours.mean) / (100.0 - plain.mean), 2),
            shown(of(outcomes, Kind::Position, *size)),
            shown(of(outcomes, Kind::Content, *size)),
        ]);
    }
    table
}

/// The mean over heads of a block, over runs.
fn block(outcomes: &[Outcome], images: usize, layer: usize, far: bool) -> Stat {
    runs(outcomes, Kind::ConVit, images)
        .filter_map(|outcome| {
            let blocks = if far { &outcome.far } else { &outcome.gates };
            let heads = blocks.get(layer)?;
            Some(heads.iter().sum::<f64>() / heads.len() as f64)
        })
        .collect()
}

fn depth(report: &mut Report, experiment: &Experiment, outcomes: &[Outcome]) -> Result<()> {
    let layers = experiment.config.local_blocks;
    for (name, title, axis, far) in [
        ("gates", "What position counts for", "mean σ(λ)", false),
        (
            "distance",
            "How far heads look",
            "mean distance, patches",
            true,
        ),
    ] {
        let plot = experiment.sizes.iter().fold(
            Plot::new(title, "local block", axis),
            |plot, (size, _)| {
                let points = (0..layers)
                    .map(|layer| (layer as f64 + 1.0, block(outcomes, *size, layer, far)));
                plot.spread(format!("{size} images"), points)
            },
        );
        report.plot(name, plot)?;
    }
    Ok(())
}

fn losses(report: &mut Report, outcomes: &[Outcome]) -> Result<()> {
    let first = outcomes
        .iter()
        .filter(|outcome| outcome.arm.seed == 0 && outcome.arm.kind != Kind::Position)
        .filter(|outcome| outcome.arm.kind != Kind::Content);
    let plot = first.fold(
        Plot::new("Training loss, first seed", "step", "cross-entropy, nats"),
        |plot, outcome| {
            let name = format!("{}, {}", outcome.arm.kind.name(), outcome.arm.images);
            plot.line(name, outcome.curve.iter().copied())
        },
    );
    report.plot("loss", plot)?;
    Ok(())
}

fn maps(report: &mut Report, experiment: &Experiment, outcomes: &[Outcome]) -> Result<()> {
    let grid = experiment.config.grid();
    for outcome in outcomes.iter().filter(|outcome| !outcome.maps.is_empty()) {
        let last = format!("block {}", experiment.config.local_blocks);
        let labels = ["block 1".to_owned(), last];
        let pictures = labels.into_iter().zip(&outcome.maps).fold(
            Grid::new([1, grid, grid]).scale(12),
            |pictures, (label, heads)| pictures.row(label, heads),
        );
        let caption = format!(
            "Where the heads of the first and the last local block look from the patch in the \
             middle, after training on {} images; white is most.",
            outcome.arm.images
        );
        report.images(
            &format!("attention-{}", outcome.arm.images),
            caption,
            &pictures,
        )?;
    }
    Ok(())
}

fn verdicts(report: &mut Report, experiment: &Experiment, outcomes: &[Outcome]) -> Result<()> {
    let gains: Vec<(usize, Stat)> = experiment
        .sizes
        .iter()
        .map(|(size, _)| (*size, gains(outcomes, Kind::Plain, *size)))
        .collect();
    let listed: Vec<String> = gains
        .iter()
        .map(|(size, gain)| format!("{:+.1} points with {size}", gain.mean))
        .collect();
    let listed = format!("{} images", listed.join(", "));
    report.verdict(
        "better",
        Verdict::decided(
            gains.iter().all(|(_, gain)| gain.mean >= 0.0),
            &listed,
            "the mean accuracy over seeds is at least the plain network's at every size",
        ),
    )?;
    let (most, fewer) = match gains.split_last() {
        Some(((_, most), fewer)) => (most.mean, fewer),
        None => (f64::NAN, &[][..]),
    };
    report.verdict(
        "sample-efficiency",
        Verdict::decided(
            fewer
                .iter()
                .all(|(_, gain)| gain.mean >= GAIN && gain.mean > most),
            &listed,
            format!("at least {GAIN} points, and more than with all images, at every smaller size"),
        ),
    )?;
    let all = experiment.sizes.iter().map(|(size, _)| *size).max();
    let all = all.unwrap_or_default();
    let last = experiment.config.local_blocks.saturating_sub(1);
    let [early, late] = [0, last].map(|layer| block(outcomes, all, layer, false));
    report.verdict(
        "escape",
        Verdict::decided(
            early.mean > late.mean,
            format!("mean σ(λ) {early:.3} in the first and {late:.3} in the last local block"),
            "the mean gate of the first local block is above that of the last, on all images",
        ),
    )?;
    let mut sizes = experiment.sizes.iter().map(|(size, _)| *size);
    let ablated = sizes.find(|size| of(outcomes, Kind::Position, *size).n > 0);
    let measured = match ablated {
        None => "not measured".to_owned(),
        Some(size) => {
            let gated: Stat = runs(outcomes, Kind::ConVit, size)
                .filter(|run| run.arm.seed == 0)
                .map(|run| run.accuracy)
                .collect();
            let position = of(outcomes, Kind::Position, size);
            let content = of(outcomes, Kind::Content, size);
            format!(
                "{size} images, one seed: {:.1} % with gates, {:.1} % by position, {:.1} % by \
                 content",
                gated.mean, position.mean, content.mean
            )
        }
    };
    report.verdict(
        "gating",
        Verdict::reported(measured, "no rule: one seed at one size"),
    )?;
    Ok(())
}
