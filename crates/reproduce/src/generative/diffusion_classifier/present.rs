//! The report.

use super::data::SIDE;
use super::{Experiment, Outcome};
use crate::Context;
use menagerie_core::Result;
use menagerie_generative::diffusion_classifier::SYSTEM;
use menagerie_report::{Best, Cell, Grid, HeatMap, Plot, Report, Stat, Table, Verdict, cells};

/// By how many points the best trained block must lead the best block before training.
const OVER_RANDOM: f64 = 3.0;
/// And the pixels.
const OVER_PIXELS: f64 = 1.0;
/// By how many points much noise must be worse than little.
const FALL: f64 = 10.0;
/// Samples in a row of the picture.
const PER_ROW: usize = 16;

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    outcome: &Outcome,
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(
        "An unconditional U-Net learns to see the noise in garments of 14×14 pixels, without labels. \
         Then the activations of each block at each timestep are pooled to 2×2 and a ridge classifier \
         is fitted on them, with few labels: for the trained network, for the same network before \
         training, and for the pixels. The paper does so with a model of ImageNet at 256×256 and \
         trained heads.",
    );
    report.table(comparison(experiment, outcome))?;
    maps(&mut report, experiment, outcome)?;
    samples(&mut report, experiment, outcome)?;
    heads(&mut report, experiment, outcome)?;
    similarity(&mut report, experiment, outcome)?;
    let curve = outcome.curve.iter().copied();
    let loss = Plot::new("Training loss", "step", "squared error of the noise");
    report.plot("loss", loss.line("U-Net", curve).log_y())?;
    verdicts(&mut report, experiment, outcome)?;
    Ok(report)
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let (network, data) = (&experiment.network, &experiment.data);
    report
        .setting("device", format!("{:?}", context.device))
        .setting("first seed", context.seed)
        .setting("image side", network.image_size)
        .setting("channels", network.model_channels)
        .setting("multipliers", format!("{:?}", network.channel_mult))
        .setting("blocks", network.blocks())
        .setting("unlabelled images", data.unlabelled.len())
        .setting("labelled images", data.labelled.len())
        .setting("test images", data.test.len())
        .setting("steps", experiment.steps)
        .setting("batch", experiment.batch)
        .setting("rate (AdamW)", experiment.rate)
        .setting("decay of the average", experiment.average)
        .setting("ridge penalty", experiment.probe.penalty)
        .setting("pooled side", experiment.probe.pool)
        .setting("epochs of the heads", experiment.heads.epochs);
}

fn comparison(experiment: &Experiment, outcome: &Outcome) -> Table {
    let [little, much] = experiment.compared;
    let (random, at_random, random_block) = outcome.random.best();
    let best = outcome.trained.best_block(little);
    let noises: Stat = outcome.noises.iter().copied().collect();
    let mut table = Table::new(
        "Probe accuracy, %",
        ["features", "timestep", "block", "accuracy"],
    )
    .note(
        "Several draws: the spread over draws of the noise, which is part of the method, at the \
             same block. On digits: the same features on MNIST, which the network never saw.",
    )
    .highlight_column("accuracy", Best::Highest);
    let trained = |t: usize, block: usize| Cell::fixed(outcome.trained.of(t, block), 1);
    table.push(cells![
        "pixels",
        Cell::Empty,
        Cell::Empty,
        Cell::fixed(outcome.pixels, 1)
    ]);
    table.push(cells![
        "before training",
        at_random,
        random_block,
        Cell::fixed(random, 1)
    ]);
    table.push(cells!["trained", little, best, trained(little, best)]);
    table.push(cells![
        "trained, several draws",
        little,
        best,
        Cell::fixed(noises, 1)
    ]);
    table.push(cells!["trained", much, best, trained(much, best)]);
    let transfer = &outcome.transfer;
    table.push(cells![
        "trained, on digits",
        little,
        best,
        Cell::fixed(transfer.features, 1)
    ]);
    table.push(cells![
        "pixels, of digits",
        Cell::Empty,
        Cell::Empty,
        Cell::fixed(transfer.pixels, 1),
    ]);
    table
}

/// A block's name: which way it lies on.
fn block_name(experiment: &Experiment, block: usize) -> String {
    let down = experiment.network.input_blocks();
    match block {
        block if block <= down => format!("{block} down"),
        block if block == down + 1 => format!("{block} middle"),
        block => format!("{block} up"),
    }
}

fn maps(report: &mut Report, experiment: &Experiment, outcome: &Outcome) -> Result<()> {
    let blocks = experiment.network.blocks();
    let title = "Probe accuracy by block and timestep, %";
    let steps = outcome.trained.timesteps.iter().map(usize::to_string);
    let map = (1..=blocks).fold(
        HeatMap::new(title, "timestep", "block", steps).digits(1),
        |map, block| {
            let steps = outcome.trained.timesteps.iter();
            let row = steps.map(|&t| outcome.trained.of(t, block));
            map.row(block_name(experiment, block), row)
        },
    );
    report.heat_map("accuracy", map)?;
    let [little, much] = experiment.compared;
    let line = |accuracy: &[f64]| -> Vec<(f64, f64)> {
        let blocks = accuracy.iter().enumerate();
        blocks
            .map(|(index, accuracy)| (index as f64 + 1.0, *accuracy))
            .collect()
    };
    let plot = Plot::new("Probe accuracy by block", "block", "accuracy, %")
        .line(
            format!("trained, t = {little}"),
            line(outcome.trained.at(little)),
        )
        .line(
            format!("trained, t = {much}"),
            line(outcome.trained.at(much)),
        );
    let plot = outcome.random.timesteps.iter().fold(plot, |plot, &t| {
        plot.line(
            format!("before training, t = {t}"),
            line(outcome.random.at(t)),
        )
    });
    report.plot("blocks", plot.level("pixels", outcome.pixels))?;
    let best = outcome.trained.best_block(little);
    let steps = outcome.trained.timesteps.iter();
    let plot = Plot::new("Probe accuracy by timestep", "timestep", "accuracy, %")
        .line(
            block_name(experiment, best),
            steps.map(|&t| (t as f64, outcome.trained.of(t, best))),
        )
        .level("pixels", outcome.pixels);
    report.plot("timesteps", plot)?;
    Ok(())
}

fn samples(report: &mut Report, experiment: &Experiment, outcome: &Outcome) -> Result<()> {
    let per_row = PER_ROW.min(outcome.samples.len()).max(1);
    let test = &experiment.data.test;
    let real = (0..per_row).map(|index| test.tile(index));
    let mut grid = Grid::new([1, SIDE, SIDE]).scale(3).row("test images", real);
    for (index, row) in outcome.samples.chunks_exact(per_row).enumerate() {
        let label = if index == 0 { "samples" } else { "" };
        grid = grid.row(label, row);
    }
    let steps = experiment.samples[1];
    let caption = format!(
        "What the network was shown the like of, and what it makes of noise in {steps} steps of DDIM; \
         not selected."
    );
    report.images("samples", caption, &grid)?;
    Ok(())
}

fn heads(report: &mut Report, experiment: &Experiment, outcome: &Outcome) -> Result<()> {
    let mut table = Table::new(
        "Heads on the best block",
        ["head", "parameters", "accuracy, %"],
    )
    .note(format!(
        "Each trained for {} epochs with AdamW, at the same rates, one seed.",
        experiment.heads.epochs
    ))
    .highlight_column("accuracy, %", Best::Highest);
    for head in &outcome.heads {
        table.push(cells![
            head.name,
            head.parameters,
            Cell::fixed(head.accuracy, 1)
        ]);
    }
    report.table(table)?;
    Ok(())
}

fn similarity(report: &mut Report, experiment: &Experiment, outcome: &Outcome) -> Result<()> {
    let little = experiment.compared[0];
    let best = outcome.trained.best_block(little);
    let blocks = outcome.similarity.blocks.len();
    let numbers = (1..=blocks).map(|block| block.to_string());
    let title = format!("Similarity of blocks (linear CKA) at t = {little}");
    let map = HeatMap::new(title, "block", "block", numbers).digits(2);
    let rows = outcome.similarity.blocks.iter().enumerate();
    let map = rows.fold(map, |map, (index, row)| {
        map.row(block_name(experiment, index + 1), row.iter().copied())
    });
    report.heat_map("similarity-blocks", map)?;
    let steps: Vec<String> = experiment.timesteps.iter().map(usize::to_string).collect();
    let title = format!("Similarity of timesteps (linear CKA) at block {best}");
    let map = HeatMap::new(title, "timestep", "timestep", steps.clone()).digits(2);
    let rows = steps.iter().zip(&outcome.similarity.timesteps);
    let map = rows.fold(map, |map, (step, row)| map.row(step, row.iter().copied()));
    report.heat_map("similarity-timesteps", map)?;
    Ok(())
}

fn verdicts(report: &mut Report, experiment: &Experiment, outcome: &Outcome) -> Result<()> {
    let [little, much] = experiment.compared;
    let (random, _, random_block) = outcome.random.best();
    let best = outcome.trained.best_block(little);
    let trained = outcome.trained.of(little, best);
    report.verdict(
        "representation",
        Verdict::decided(
            trained >= random + OVER_RANDOM && trained >= outcome.pixels + OVER_PIXELS,
            format!(
                "{trained:.1} % at block {best}, {random:.1} % before training (block \
                 {random_block}), {:.1} % on pixels",
                outcome.pixels
            ),
            format!(
                "at t = {little} the best block is at least {OVER_RANDOM} points above the best \
                 before training and {OVER_PIXELS} above the pixels"
            ),
        ),
    )?;
    let down = experiment.network.input_blocks();
    let [first, last] = [down, down + 1 + down.div_ceil(2)];
    report.verdict(
        "block",
        Verdict::decided(
            (first..=last).contains(&best),
            format!("block {best} of {}, the middle being {}", experiment.network.blocks(), down + 1),
            format!(
                "at t = {little} the best block lies between the last on the way down, {first}, and \
                 half-way up, {last}"
            ),
        ),
    )?;
    let noisy = outcome.trained.of(much, best);
    report.verdict(
        "timestep",
        Verdict::decided(
            trained - noisy >= FALL,
            format!("{trained:.1} % at t = {little}, {noisy:.1} % at t = {much}, block {best}"),
            format!("at least {FALL} points less at t = {much} than at t = {little}"),
        ),
    )?;
    let heads = outcome.heads.iter();
    let heads: Vec<String> = heads
        .map(|head| format!("{} {:.1} %", head.name, head.accuracy))
        .collect();
    report.verdict(
        "heads",
        Verdict::reported(
            heads.join(", "),
            "no rule: one seed, few labels, small maps",
        ),
    )?;
    let similarity = &outcome.similarity;
    let neighbours = |table: &[Vec<f64>], from: usize, to: usize| {
        let row = table.get(from).and_then(|row| row.get(to));
        row.copied().unwrap_or(f64::NAN)
    };
    let ends = similarity.timesteps.len().saturating_sub(1);
    let own = similarity.before.get(best - 1).copied().unwrap_or(f64::NAN);
    report.verdict(
        "similarity",
        Verdict::reported(
            format!(
                "block {best}: {:.2} to block 1, {:.2} to the last; {:.2} between its first and last \
                 timestep; {own:.2} to itself before training",
                neighbours(&similarity.blocks, best - 1, 0),
                neighbours(&similarity.blocks, best - 1, similarity.blocks.len() - 1),
                neighbours(&similarity.timesteps, 0, ends),
            ),
            "no rule: the paper compares with networks trained on ImageNet",
        ),
    )?;
    let transfer = &outcome.transfer;
    report.verdict(
        "transfer",
        Verdict::reported(
            format!(
                "digits: {:.1} % on features of a network of garments, {:.1} % on pixels",
                transfer.features, transfer.pixels
            ),
            "no rule: digits are no fine-grained classes",
        ),
    )?;
    Ok(())
}
