//! The report.

use super::{Experiment, Results, measure::FIDELITIES};
use crate::{Context, Scale};
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_codec::rave::{SYSTEM, SecondStage, objective::spectrum};
use menagerie_core::{Error, Result};
use menagerie_report::{Cell, Grid, Plot, Report, Table, Verdict, cells};

/// How many times faster than the waveform a network on 8 and on 16 bands must be.
const FASTER: [(usize, f64); 2] = [(8, 3.0), (16, 4.0)];
/// How many times faster than real time the published model must be.
const REAL_TIME: f64 = 20.0;
/// By how much a distance may rise where it is to fall.
const SLACK: f64 = 0.05;

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    results: &Results,
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(match context.scale {
        Scale::Small => {
            "A model with eight bands and a latent of sixteen dimensions learns spoken digits at 8 kHz \
             in the first stage; its latent space is then analysed on held-out digits. Two second \
             stages with discriminators start from the same weights: one with the encoder frozen, one \
             with it trained on. Speeds are those of networks with fresh weights."
        }
        Scale::Paper => "The published model and schedule.",
    });
    report.heading("Speed").table(band_speeds(results))?;
    report.table(headline(experiment, results))?;
    report.heading("The latent space").table(cuts(results))?;
    report.plot("fidelity", fidelity(results))?;
    report.plot("distance", distance(results))?;
    report.heading("The second stage").table(second(results)?)?;
    if results.curve.len() > 1 {
        let plot = Plot::new("The first stage", "step", "held-out spectral distance");
        report.plot("first-stage", plot.line("distance", results.curve.clone()))?;
    }
    report.heading("To listen to");
    for (name, samples) in &results.sounds {
        report.audio(&slug(name), name.clone(), samples, experiment.speech.rate())?;
    }
    let grid = spectrograms(results)?;
    report.images(
        "spectrograms",
        "Logarithmic magnitudes, time to the right",
        &grid,
    )?;
    verdicts(&mut report, experiment, results)?;
    Ok(report)
}

fn slug(name: &str) -> String {
    let kept = name.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
        _ => '-',
    });
    kept.collect()
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let (config, training) = (&experiment.config, &experiment.training);
    let [train, test] = experiment.speech.seconds();
    report
        .setting("device", format!("{:?}", context.device))
        .setting("first seed", context.seed)
        .setting("sample rate, Hz", config.sample_rate)
        .setting("bands", config.bands)
        .setting("ratios", format!("{:?}", config.ratios))
        .setting("capacity", config.capacity)
        .setting("latent", config.latent)
        .setting("hop, samples", config.hop())
        .setting("steps of the first stage", training.steps)
        .setting("steps of the second stage", experiment.second)
        .setting("batch", training.batch)
        .setting("crop, samples", training.crop)
        .setting("sound to train on, s", Cell::fixed(train, 0))
        .setting("sound held out, s", Cell::fixed(test, 0));
}

/// Seconds on the waveform over those on `bands` bands.
fn gain(results: &Results, bands: usize) -> f64 {
    let taken = |wanted: usize| {
        let speeds = results.speeds.bands.iter();
        speeds
            .filter(|(bands, _)| *bands == wanted)
            .map(|(_, taken)| *taken)
            .next()
            .unwrap_or(f64::NAN)
    };
    taken(1) / taken(bands)
}

fn band_speeds(results: &Results) -> Table {
    let title = format!(
        "Decoding {} s with and without sub-bands",
        results.speeds.timed
    );
    let mut table = Table::new(title, ["bands", "time, ms", "times faster"]);
    for &(bands, taken) in &results.speeds.bands {
        table.push(cells![
            bands,
            Cell::fixed(1e3 * taken, 1),
            Cell::fixed(gain(results, bands), 1),
        ]);
    }
    table.note("The shortest of five passes, with the filter bank. The paper: 25 times faster.")
}

fn headline(experiment: &Experiment, results: &Results) -> Table {
    let (length, taken) = results.speeds.headline;
    let [block, median, worst] = results.speeds.blocks;
    let config = &experiment.headline;
    let title = format!("The model of the paper at {} Hz", config.sample_rate);
    Table::new(title, ["what", "audio, ms", "time, ms", "times real time"])
        .row(cells![
            "decoding, offline",
            Cell::fixed(1e3 * length, 0),
            Cell::fixed(1e3 * taken, 1),
            Cell::fixed(length / taken, 1),
        ])
        .row(cells![
            format!("a block of {}, encoder and decoder: median", config.hop()),
            Cell::fixed(1e3 * block, 1),
            Cell::fixed(1e3 * median, 1),
            Cell::fixed(block / median, 1),
        ])
        .row(cells![
            "the worst of fifty blocks",
            Cell::fixed(1e3 * block, 1),
            Cell::fixed(1e3 * worst, 1),
            Cell::fixed(block / worst, 1),
        ])
}

fn cuts(results: &Results) -> Table {
    let mut table = Table::new(
        "Held-out reconstructions from the first directions of the latent",
        ["fidelity", "directions", "spectral distance"],
    );
    for &(fidelity, kept, distance) in &results.compaction.cuts {
        let name = match fidelity {
            1.0 => "all".to_owned(),
            fidelity => fidelity.to_string(),
        };
        table.push(cells![name, kept, Cell::fixed(distance, 3)]);
    }
    table.note(
        "Directions as the released code counts them, one fewer than the fidelity needs; those left \
         out are zero.",
    )
}

fn fidelity(results: &Results) -> Plot {
    let points = |shares: Vec<f64>| {
        let points = shares.into_iter().enumerate();
        points.map(|(index, share)| ((index + 1) as f64, share))
    };
    let title = "What the first directions explain";
    let mut plot = Plot::new(title, "directions", "share of the variance");
    plot = plot.line("first stage", points(results.analysis.fidelity()));
    for arm in &results.second {
        plot = plot.line(arm_name(arm.stage), points(arm.analysis.fidelity()));
    }
    plot
}

fn distance(results: &Results) -> Plot {
    let points = results.compaction.cuts.iter();
    let points = points.map(|(_, kept, distance)| (*kept as f64, *distance));
    Plot::new(
        "What is lost with the others",
        "directions",
        "held-out spectral distance",
    )
    .line("reconstruction", points)
}

fn arm_name(stage: SecondStage) -> &'static str {
    match stage {
        SecondStage::Decoder => "encoder frozen",
        SecondStage::Both => "encoder trained on",
    }
}

fn second(results: &Results) -> Result<Table> {
    let mut heads = vec!["training".to_owned()];
    heads.extend(FIDELITIES.iter().map(|f| format!("directions at {f}")));
    heads.push("spectral distance".into());
    let mut table = Table::new("Directions of the latent by fidelity", heads);
    let last = results.compaction.cuts.last().map(|cut| cut.2);
    let mut push = |name: &str, analysis: &menagerie_codec::rave::LatentAnalysis, distance| {
        let mut row = vec![Cell::from(name)];
        for fidelity in FIDELITIES {
            row.push(analysis.kept(fidelity)?.into());
        }
        row.push(Cell::fixed(distance, 3));
        table.push(row);
        Ok::<_, Error>(())
    };
    push("first stage", &results.analysis, last.unwrap_or(f64::NAN))?;
    for arm in &results.second {
        push(arm_name(arm.stage), &arm.analysis, arm.distance)?;
    }
    Ok(table
        .note("Held-out sound; distances of reconstructions from all directions, without noise."))
}

/// One picture for each sound, low frequencies below.
fn spectrograms(results: &Results) -> Result<Grid> {
    const WINDOW: usize = 256;
    let device = Device::default();
    let mut grid: Option<Grid> = None;
    for (name, samples) in &results.sounds {
        let frames = samples.len().min(2 * 8_192);
        let data = TensorData::new(samples[..frames].to_vec(), [1, frames]);
        let magnitudes = spectrum(Tensor::<2>::from_data(data, &device), WINDOW)?;
        let [_, bins, columns] = magnitudes.dims();
        let values: Vec<f32> = magnitudes
            .try_into_vec_as()
            .map_err(|error| Error::other("reading a spectrum", error))?;
        let width = columns.min(240);
        let mut pixels = Vec::with_capacity(bins * width);
        for bin in (0..bins).rev() {
            let row = &values[bin * columns..][..width];
            // From −80 dB, black, to 0 dB, white.
            pixels.extend(row.iter().map(|value| 1.0 + (value + 1e-6).log10() / 4.0));
        }
        let shape = [1, bins, width];
        let rows = grid.unwrap_or_else(|| Grid::new(shape).scale(2));
        grid = Some(rows.row(name.clone(), [pixels]));
    }
    grid.ok_or_else(|| Error::other("the spectrograms", "there is no sound"))
}

fn verdicts(report: &mut Report, experiment: &Experiment, results: &Results) -> Result<()> {
    let (length, taken) = results.speeds.headline;
    let factor = length / taken;
    let [block, _, worst] = results.speeds.blocks;
    let measured = format!(
        "{factor:.1} times real time ({:.0} samples per second); the worst block of {:.1} ms took {:.1} ms",
        factor * experiment.headline.sample_rate as f64,
        1e3 * block,
        1e3 * worst
    );
    let rule = format!("offline decoding at least {REAL_TIME} times faster than real time");
    report.verdict(
        "real-time",
        Verdict::decided(factor >= REAL_TIME, measured, rule),
    )?;

    let gains = FASTER.map(|(bands, least)| (bands, gain(results, bands), least));
    let measured: Vec<String> = gains
        .iter()
        .map(|(bands, gain, _)| format!("{gain:.1} times with {bands} bands"))
        .collect();
    let rule: Vec<String> = gains
        .iter()
        .map(|(bands, _, least)| format!("at least {least} times with {bands} bands"))
        .collect();
    let met = gains.iter().all(|(_, gain, least)| gain >= least);
    report.verdict(
        "multiband-speed",
        Verdict::decided(met, measured.join(", "), rule.join(", ")),
    )?;

    let size = results.analysis.size();
    let kept = results.analysis.kept(0.99)?;
    let distances: Vec<f64> = results.compaction.cuts.iter().map(|cut| cut.2).collect();
    let falls = distances
        .windows(2)
        .all(|pair| pair[1] <= pair[0] * (1.0 + SLACK));
    let shown: Vec<String> = distances.iter().map(|d| format!("{d:.2}")).collect();
    let measured = format!(
        "{kept} of {size} directions at a fidelity of 0.99; distances {}",
        shown.join(", ")
    );
    let rule = format!(
        "at most {} directions, and a held-out distance that does not rise with fidelity by more \
         than {:.0} %",
        size / 2,
        100.0 * SLACK
    );
    let met = 2 * kept <= size && falls;
    report.verdict("compaction", Verdict::decided(met, measured, rule))?;

    let of = |stage: SecondStage| {
        let arm = results.second.iter().find(|arm| arm.stage == stage);
        let arm = arm.ok_or_else(|| Error::other("the second stage", "an arm is missing"))?;
        arm.analysis.needed(0.99)
    };
    let before = results.analysis.needed(0.99)?;
    let measured = format!(
        "{before} directions explain 99 % after the first stage, {} with the encoder frozen, {} with \
         it trained on",
        of(SecondStage::Decoder)?,
        of(SecondStage::Both)?
    );
    let rule =
        "a few hundred steps of the second stage show the tendency, not the published growth";
    report.verdict("frozen-encoder", Verdict::reported(measured, rule))?;
    let measured = "reconstructions to listen to; no listeners were asked";
    let rule = "opinions are the measure, and the data of the paper are not public";
    report.verdict("quality", Verdict::reported(measured, rule))?;
    Ok(())
}
