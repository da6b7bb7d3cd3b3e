//! The report.

use super::{
    Experiment, Outcome, TUNED,
    masks::{Cost, Look},
    shapes,
};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_mae::color_mae::{Color, SYSTEM};
use menagerie_report::{Cell, Grid, Plot, Report, Stat, Table, Verdict, cells};

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    (outcomes, textured): (&[Outcome], &[shapes::Outcome]),
    looks: &[Look],
    costs: &[Cost],
) -> Result<Report> {
    let results = Results { outcomes, textured };
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(introduction(context.scale));
    report.table(difficulty(&results, looks))?;
    report.table(transfer(&results))?;
    if let Some(shapes) = &experiment.shapes {
        report.table(dense(&results, shapes))?;
    }
    report.table(spectra(looks))?;
    report.table(time(costs))?;
    curves(&mut report, &results, looks)?;
    pictures(&mut report, experiment, &results, looks)?;
    verdicts(&mut report, &results, looks, costs)?;
    Ok(report)
}

struct Results<'a> {
    outcomes: &'a [Outcome],
    textured: &'a [shapes::Outcome],
}

impl Results<'_> {
    fn of(&self, color: Color) -> impl Iterator<Item = &Outcome> {
        let outcomes = self.outcomes.iter();
        outcomes.filter(move |outcome| outcome.color == color)
    }

    fn stat(&self, color: Color, of: impl Fn(&Outcome) -> f64) -> Stat {
        self.of(color).map(of).collect()
    }

    fn error(&self, color: Color) -> f64 {
        self.stat(color, |outcome| outcome.error).mean
    }

    fn tuned(&self, color: Color) -> Option<Stat> {
        let values: Vec<f64> = self
            .of(color)
            .filter_map(|outcome| outcome.fine_tuned)
            .collect();
        (!values.is_empty()).then(|| Stat::of(&values))
    }

    /// Probes of textured shapes after masks of a color, or of networks as they were drawn.
    fn textured(&self, color: Option<Color>) -> impl Iterator<Item = f64> {
        let outcomes = self.textured.iter();
        outcomes
            .filter(move |outcome| outcome.color == color)
            .map(|outcome| outcome.dense)
    }

    /// By how much green exceeds white, seed by seed.
    fn green_over_white(&self, of: impl Fn(&Outcome) -> f64) -> Stat {
        let pairs = self.of(Color::Green).zip(self.of(Color::White));
        pairs.map(|(green, white)| of(green) - of(white)).collect()
    }
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let (model, noise) = (&experiment.model, &experiment.noise);
    let (_, pretraining) = &experiment.pretraining;
    let (_, finetuning) = &experiment.finetuning;
    let size = |dim: usize, depth: usize, heads: usize| {
        format!("{dim} wide, {depth} blocks, {heads} heads")
    };
    let (encoder, decoder) = (&model.encoder, &model.decoder);
    report
        .setting("device", format!("{:?}", context.device))
        .setting("seeds", experiment.seeds)
        .setting("first seed", context.seed)
        .setting("image", encoder.image)
        .setting("patches", format!("{0} × {0}", encoder.grid()))
        .setting("encoder", size(encoder.dim, encoder.depth, encoder.heads))
        .setting("decoder", size(decoder.dim, decoder.depth, decoder.heads))
        .setting("mask ratio", model.mask_ratio)
        .setting("normalised patches", format!("{}", model.norm_pix_loss))
        .setting(
            "noise",
            format!(
                "{} tiles of {2} × {2}, σ {1}",
                noise.slices, noise.sigma, noise.size
            ),
        )
        .setting(
            "σ1 and σ2",
            format!("{} and {}", noise.sigmas[0], noise.sigmas[1]),
        )
        .setting("masks of an image", format!("{:?}", experiment.sampling))
        .setting("pre-training images", experiment.unlabelled.len())
        .setting("pre-training steps", pretraining.steps)
        .setting("pre-training batch", pretraining.batch)
        .setting("pre-training rate (AdamW)", pretraining.schedule.peak)
        .setting("labelled images", experiment.labels)
        .setting("images with labelled patches", experiment.dense_labels)
        .setting("test images", experiment.test.len())
        .setting("fine-tuning steps", finetuning.steps)
        .setting("fine-tuning batch", finetuning.batch)
        .setting("fine-tuning rate (AdamW)", finetuning.schedule.peak);
}

fn introduction(scale: Scale) -> &'static str {
    match scale {
        Scale::Small => {
            "Five autoencoders with every seed, alike but for the color of the noise that their \
             masks are cut out of; white is MAE's random masking. Each is tested on images and on \
             masks of its own color that it has not seen. The objective is the error of pixels, \
             not of normalised patches, so that the errors compare what was trained.\n\n\
             What the features are good for cannot be decided here: the paper's differences are \
             tenths of a percent on ImageNet and points on segmentation after 300 epochs and \
             more, of a network 500 times as large. It is measured all the same: by a linear \
             probe of the class token and one of the patch tokens (background or which garment) \
             on frozen encoders, and by fine-tuning after green and after random masks. The paper's \
             gain is largest on dense tasks: a second pair of networks is pre-trained for longer on \
             textured shapes, whose every pixel has a class."
        }
        Scale::Paper => "The published model, data, augmentation and schedule.",
    }
}

fn difficulty(results: &Results, looks: &[Look]) -> Table {
    let mut table = Table::new(
        "How hard each color is",
        [
            "masks",
            "error of hidden pixels",
            "last objective",
            "hidden areas",
            "hidden areas, 14×14",
        ],
    )
    .note(
        "The error is the mean squared difference of standardised pixels under held-out masks of \
         the same color. Hidden areas are connected along rows and columns, in 4 096 masks; their \
         spread is that of single masks.",
    );
    for look in looks {
        let last = results.stat(look.color, |outcome| {
            outcome.loss.last().map_or(f64::NAN, |(_, loss)| *loss)
        });
        table.push(cells![
            look.color.name(),
            Cell::fixed(results.stat(look.color, |outcome| outcome.error), 4),
            Cell::fixed(last, 4),
            Cell::fixed(look.areas, 2),
            Cell::fixed(look.published_areas, 2),
        ]);
    }
    table
}

fn transfer(results: &Results) -> Table {
    let mut table = Table::new(
        "What the features are good for, %",
        [
            "masks",
            "linear probe",
            "patch probe, mIoU",
            "fine-tuning",
            "paper: ImageNet",
            "paper: ADE20K mIoU",
        ],
    )
    .note("The paper's numbers are of ViT-B after 800 epochs.");
    for color in Color::ALL {
        let (imagenet, ade) = match color {
            Color::Green => (Some(83.57), Some(49.18)),
            Color::White => (Some(83.17), Some(46.46)),
            _ => (None, None),
        };
        let tuned = results.tuned(color);
        table.push(cells![
            color.name(),
            Cell::fixed(results.stat(color, |outcome| outcome.probe), 1),
            Cell::fixed(results.stat(color, |outcome| outcome.dense), 1),
            tuned.map_or(Cell::Empty, |stat| Cell::fixed(stat, 1)),
            imagenet,
            ade,
        ]);
    }
    table
}

fn dense(results: &Results, shapes: &shapes::Shapes) -> Table {
    let mut table = Table::new(
        "Textured shapes: mIoU of a probe of patches, %",
        ["masks", "patch probe, mIoU", "last objective"],
    )
    .note(format!(
        "Discs, squares and triangles with textures of their own on a striped ground, {} images, {} \
         steps of {}; a patch has the class of most of its pixels. The probe is trained on {} images \
         and measured on {}.",
        shapes.unlabelled,
        shapes.length.steps,
        shapes.length.batch,
        shapes.labelled[0],
        shapes.labelled[1]
    ));
    let colors = shapes::COLORS.map(Some).into_iter().chain([None]);
    for color in colors {
        let last: Stat = results
            .textured
            .iter()
            .filter(|outcome| outcome.color == color)
            .filter_map(|outcome| outcome.loss)
            .collect();
        table.push(cells![
            color.map_or("none: the network as it was drawn", Color::name),
            Cell::fixed(results.textured(color).collect::<Stat>(), 1),
            match last.n {
                0 => Cell::Empty,
                _ => Cell::fixed(last, 4),
            },
        ]);
    }
    table
}

/// The share of the power in the low, middle and high third of the frequencies.
fn thirds(power: &[f64]) -> [f64; 3] {
    let count = power.len();
    let share = |from: usize, to: usize| {
        let part = &power[from..to];
        part.iter().sum::<f64>() / part.len().max(1) as f64
    };
    let means = [
        share(0, count / 3),
        share(count / 3, 2 * count / 3),
        share(2 * count / 3, count),
    ];
    let sum: f64 = means.iter().sum();
    means.map(|mean| mean / sum)
}

fn spectra(looks: &[Look]) -> Table {
    let mut table = Table::new(
        "Where the power of the noise lies",
        ["noise", "low third", "middle third", "high third"],
    )
    .note("Shares of the mean power per frequency; white noise has a third in each.");
    for look in looks {
        let [low, middle, high] = thirds(&look.power).map(|share| Cell::fixed(share, 3));
        table.push([Cell::from(look.color.name()), low, middle, high]);
    }
    table
}

fn time(costs: &[Cost]) -> Table {
    let mut table = Table::new("Time, ms", ["what", "green", "random", "ratio"]);
    for cost in costs {
        table.push(cells![
            cost.what,
            Cell::fixed(1e3 * cost.green, 2),
            Cell::fixed(1e3 * cost.random, 2),
            Cell::fixed(cost.green / cost.random, 2),
        ]);
    }
    table
}

fn curves(report: &mut Report, results: &Results, looks: &[Look]) -> Result<()> {
    let mut plot = Plot::new("Pre-training, first seed", "step", "objective on the batch");
    for color in Color::ALL {
        if let Some(outcome) = results.of(color).next() {
            plot = plot.line(color.name(), outcome.loss.iter().copied());
        }
    }
    report.plot("loss", plot.log_y())?;
    let mut plot = Plot::new(
        "Spectra of the noise",
        "frequency, cycles per tile",
        "mean power",
    );
    for look in looks {
        let points = look.power.iter().enumerate();
        plot = plot.line(
            look.color.name(),
            points.map(|(at, power)| ((at + 1) as f64, *power)),
        );
    }
    report.plot("spectra", plot.log_y())?;
    Ok(())
}

fn pictures(
    report: &mut Report,
    experiment: &Experiment,
    results: &Results,
    looks: &[Look],
) -> Result<()> {
    let grid = looks.iter().fold(Grid::new([1, 64, 64]), |grid, look| {
        let tiles = std::iter::once(&look.noise).chain(&look.masks);
        grid.row(look.color.name(), tiles)
    });
    let shown = looks.first().map_or(0, |look| look.masks.len());
    let labels = std::iter::once("noise").chain(std::iter::repeat_n("mask", shown));
    let caption = "A tile of noise of each color, and masks of 14×14 patches that are cut out of \
                   such noise: a quarter of the patches, white, stays visible.";
    report.images("masks", caption, &grid.columns(labels))?;

    let mut grid = Grid::new(experiment.test.tile_shape());
    let mut shown = false;
    for color in Color::ALL {
        let pictures = results
            .of(color)
            .find_map(|outcome| outcome.pictures.as_ref());
        let Some([images, visible, filled]) = pictures else {
            continue;
        };
        if !shown {
            grid = grid.row("image", images);
            shown = true;
        }
        grid = grid
            .row(format!("{}: visible", color.name()), visible)
            .row("filled in", filled);
    }
    if shown {
        let caption = "The first test images, what the encoder sees of them under masks of each \
                       color, and with the hidden patches filled in (first seed).";
        report.images("reconstructions", caption, &grid)?;
    }
    Ok(())
}

fn verdicts(report: &mut Report, results: &Results, looks: &[Look], costs: &[Cost]) -> Result<()> {
    let [red, green, white, blue, purple] = Color::ALL.map(|color| results.error(color));
    let worst = [green, white, blue, purple]
        .iter()
        .all(|other| red > *other);
    let ordered = red > green && green > white && white > blue;
    report.verdict(
        "color-controls-difficulty",
        Verdict::decided(
            worst && blue < white,
            format!(
                "error of hidden pixels {red:.4} red, {green:.4} green, {white:.4} white, \
                 {blue:.4} blue, {purple:.4} purple; the order red, green, white, blue {}",
                if ordered { "holds" } else { "does not hold" }
            ),
            "of the means over seeds, red is the highest and blue is below white",
        ),
    )?;
    areas(report, looks)?;
    power(report, looks)?;

    let differences = [
        (
            "linear probe",
            results.green_over_white(|outcome| outcome.probe),
        ),
        (
            "patch probe",
            results.green_over_white(|outcome| outcome.dense),
        ),
        (
            "fine-tuning",
            results.green_over_white(|outcome| outcome.fine_tuned.unwrap_or(f64::NAN)),
        ),
    ];
    let pairs = results
        .textured(Some(Color::Green))
        .zip(results.textured(Some(Color::White)));
    let shapes = pairs.map(|(green, white)| green - white).collect::<Stat>();
    let measured: Vec<String> = differences
        .iter()
        .chain(&[("patch probe on textured shapes", shapes)])
        .filter(|(_, stat)| stat.n > 0)
        .map(|(what, stat)| format!("{what} {:+.1} ± {:.1} points", stat.mean, stat.sd))
        .collect();
    debug_assert!(TUNED.contains(&Color::Green) && TUNED.contains(&Color::White));
    report.verdict(
        "green-transfers",
        Verdict::reported(
            format!("green over random: {}", measured.join(", ")),
            "at this size easier masks may look better: shown with its spread over seeds",
        ),
    )?;
    let by = |of: &dyn Fn(Color) -> f64, ascending: bool| {
        let mut colors = Color::ALL.to_vec();
        colors.sort_by(|a, b| of(*a).total_cmp(&of(*b)));
        if !ascending {
            colors.reverse();
        }
        let names: Vec<&str> = colors.iter().map(|color| color.name()).collect();
        names.join(", ")
    };
    let mean = |of: fn(&Outcome) -> f64| move |color| results.stat(color, of).mean;
    report.verdict(
        "reconstruction-is-not-transfer",
        Verdict::reported(
            format!(
                "from the best: reconstruction {}; linear probe {}; patch probe {}",
                by(&|color| results.error(color), true),
                by(&mean(|outcome| outcome.probe), false),
                by(&mean(|outcome| outcome.dense), false),
            ),
            "the order of the colors, of means over seeds",
        ),
    )?;
    let times: Vec<String> = costs
        .iter()
        .map(|cost| {
            format!(
                "{}: {:.2} ms green, {:.2} ms random",
                cost.what,
                1e3 * cost.green,
                1e3 * cost.random
            )
        })
        .collect();
    report.verdict(
        "no-cost",
        Verdict::reported(
            times.join("; "),
            "medians of 9, in turns; no parameters are added",
        ),
    )?;
    Ok(())
}

fn areas(report: &mut Report, looks: &[Look]) -> Result<()> {
    let counts = |of: fn(&Look) -> f64| -> (bool, String) {
        let red = looks.iter().find(|look| look.color == Color::Red);
        let others = looks.iter().filter(|look| look.color != Color::Red);
        let fewest = red.is_some_and(|red| others.map(of).all(|other| of(red) < other));
        let list: Vec<String> = looks
            .iter()
            .map(|look| format!("{:.2} {}", of(look), look.color.name()))
            .collect();
        (fewest, list.join(", "))
    };
    let (fewest, list) = counts(|look| look.areas.mean);
    let (published_fewest, published) = counts(|look| look.published_areas.mean);
    report.verdict(
        "red-connects",
        Verdict::decided(
            fewest && published_fewest,
            format!("hidden areas of a mask: {list}; on 14×14: {published}"),
            "red has the fewest on average, on this grid and on the published one",
        ),
    )?;
    Ok(())
}

fn power(report: &mut Report, looks: &[Look]) -> Result<()> {
    let holds = looks.iter().all(|look| {
        let [low, middle, high] = thirds(&look.power);
        match look.color {
            Color::Red => low > middle && middle > high,
            Color::Blue => low < middle && middle < high,
            Color::Green => middle > low && middle > high,
            Color::Purple => middle < low && middle < high,
            Color::White => [low, middle, high]
                .iter()
                .all(|share| (share - 1.0 / 3.0).abs() < 0.02),
        }
    });
    let list: Vec<String> = looks
        .iter()
        .map(|look| {
            let [low, middle, high] = thirds(&look.power);
            format!("{} {low:.2}/{middle:.2}/{high:.2}", look.color.name())
        })
        .collect();
    report.verdict(
        "spectra",
        Verdict::decided(
            holds,
            format!(
                "power in the low, middle and high third: {}",
                list.join(", ")
            ),
            "red falls, blue rises, green has most in the middle, purple least, white is even",
        ),
    )?;
    Ok(())
}
