//! The report.

use super::{Arm, Experiment, Outcome, Results};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_mae::dmae::SYSTEM;
use menagerie_report::{Cell, Grid, Report, Stat, Table, Verdict, cells};

/// By how many points of percent a distilled student's probe must beat the other's.
const GAIN: f64 = 1.0;
/// How many points an extreme mask ratio may cost.
const LOSS: f64 = 2.0;

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    results: &Results,
) -> Result<Report> {
    let mut report = Report::new(&SYSTEM);
    settings(&mut report, context, experiment);
    report.text(match context.scale {
        Scale::Small => {
            "A teacher is pre-trained on all of Fashion-MNIST without labels. Students of a seventh \
             of its width and depth start from the same weights and see the same batches and masks; \
             what differs is whether they learn from the teacher, from which of its blocks, and how \
             much is hidden. A linear layer is then probed on their class token, and a classifier \
             fine-tuned, with a thousand labels. The paper trains for 100 epochs of ImageNet; these \
             students see about half of the images once."
        }
        Scale::Paper => "The published sizes, data and schedule.",
    });
    report.table(accuracies(experiment, results))?;
    if let Some(cost) = &results.cost {
        let share = |seconds: f64| Cell::fixed(seconds / cost.whole, 2);
        let table = Table::new(
            "What the teacher costs in a step",
            ["passes", "blocks", "time, ms", "of the whole"],
        )
        .row(cells![
            "all blocks and the decoder, as the released code",
            cost.blocks[1],
            Cell::fixed(1e3 * cost.whole, 1),
            share(cost.whole),
        ])
        .row(cells![
            "as far as the aligned block",
            cost.blocks[0],
            Cell::fixed(1e3 * cost.partial, 1),
            share(cost.partial),
        ])
        .note("Median of seven forward passes on random images, three quarters hidden.");
        report.table(table)?;
    }
    pictures(&mut report, experiment, results)?;
    verdicts(&mut report, results)?;
    Ok(report)
}

fn pictures(report: &mut Report, experiment: &Experiment, results: &Results) -> Result<()> {
    let names = ["image", "visible", "teacher"];
    let rows = names.into_iter().zip(&results.pictures);
    let students = results.outcomes.iter().filter_map(|outcome| {
        let tiles = outcome.pictures.as_ref()?;
        Some((outcome.arm.name, tiles))
    });
    let grid = rows.chain(students).fold(
        Grid::new(experiment.test.tile_shape()),
        |grid, (label, tiles)| grid.row(label, tiles),
    );
    let caption = "The first test images, the patches that the encoders see, and the hidden ones as \
                   filled in by the teacher, by the student alone and by the distilled one (first \
                   seed).";
    report.images("reconstructions", caption, &grid)?;
    Ok(())
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let config = &experiment.config;
    let size = |vit: &menagerie_mae::mae_base::VitConfig| {
        format!(
            "{} wide, {} blocks, {} heads",
            vit.dim, vit.depth, vit.heads
        )
    };
    let (_, distillation) = &experiment.distillation;
    let (_, finetuning) = &experiment.finetuning;
    report
        .setting("device", format!("{:?}", context.device))
        .setting("seeds", experiment.seeds)
        .setting("first seed", context.seed)
        .setting("student", size(&config.student.encoder))
        .setting("teacher", size(&config.teacher))
        .setting("student's block", format!("{:?}", config.student_blocks))
        .setting("teacher's block", format!("{:?}", config.teacher_blocks))
        .setting("projection", format!("{:?}", config.projection))
        .setting("distance", format!("{:?}", config.distance))
        .setting("steps of a student", distillation.steps)
        .setting("batch", distillation.batch)
        .setting("rate (AdamW)", distillation.schedule.peak)
        .setting("labelled images", experiment.labels)
        .setting("test images", experiment.test.len())
        .setting("fine-tuning steps", finetuning.steps);
    if let super::Origin::Trained(_, length) = &experiment.origin {
        report.setting("steps of the teacher", length.steps);
    }
}

fn of<'a>(results: &'a Results, name: &'a str) -> impl Iterator<Item = &'a Outcome> {
    let outcomes = results.outcomes.iter();
    outcomes.filter(move |outcome| outcome.arm.name == name)
}

fn probes(results: &Results, name: &str) -> Stat {
    of(results, name).map(|outcome| outcome.probe).collect()
}

fn tuned(results: &Results, name: &str) -> Stat {
    of(results, name)
        .filter_map(|outcome| outcome.tuned)
        .collect()
}

/// The difference to another arm, seed by seed.
fn gains(results: &Results, name: &str, other: &str) -> Stat {
    of(results, name)
        .filter_map(|outcome| {
            let twin = of(results, other).find(|twin| twin.seed == outcome.seed)?;
            Some(outcome.probe - twin.probe)
        })
        .collect()
}

fn accuracies(experiment: &Experiment, results: &Results) -> Table {
    let mut table = Table::new(
        "Test accuracy with few labels, %",
        [
            "student",
            "teacher's block",
            "hidden",
            "linear probe",
            "fine-tuned",
        ],
    )
    .note(format!(
        "The teacher's own probe: {:.1} %. *Scaled distance* multiplies the distance by the root of \
         the teacher's width and is not in the paper: a mean over the entries of unit vectors is \
         small beside the reconstruction.",
        results.teacher_probe
    ));
    let shown = |stat: Stat| match stat.n {
        0 => Cell::Empty,
        _ => Cell::fixed(stat, 1),
    };
    for arm in &experiment.arms {
        let Arm {
            name,
            teacher_block,
            mask_ratio,
            ..
        } = arm;
        table.push(cells![
            *name,
            teacher_block.map_or(Cell::Empty, |block| Cell::from(block.to_string())),
            Cell::fixed(*mask_ratio, 2),
            shown(probes(results, name)),
            shown(tuned(results, name)),
        ]);
    }
    table
}

fn verdicts(report: &mut Report, results: &Results) -> Result<()> {
    let (alone, distilled) = (probes(results, "alone"), probes(results, "distilled"));
    let gain = gains(results, "distilled", "alone");
    let mut measured = format!(
        "linear probe {distilled:.1} % against {alone:.1} %: {:+.1} points",
        gain.mean
    );
    let (ours, theirs) = (tuned(results, "distilled"), tuned(results, "alone"));
    if ours.n > 0 && theirs.n > 0 {
        measured += &format!("; fine-tuned {ours:.1} % against {theirs:.1} %");
    }
    let scaled = gains(results, "scaled distance", "alone");
    if scaled.n > 0 {
        measured += &format!("; with the scaled distance {:+.1} points", scaled.mean);
    }
    report.verdict(
        "distillation",
        Verdict::decided(
            gain.mean >= GAIN,
            measured,
            format!("the mean probe over seeds is at least {GAIN} point higher"),
        ),
    )?;
    let last = probes(results, "last block");
    report.verdict(
        "middle-features",
        Verdict::reported(
            match last.n {
                0 => "not measured".to_owned(),
                _ => {
                    format!("linear probe {distilled:.1} % against {last:.1} % with the last block")
                }
            },
            "no rule: the distance is small beside the reconstruction at any block",
        ),
    )?;
    let extreme = gains(results, "nine tenths hidden", "distilled");
    report.verdict(
        "extreme-masking",
        Verdict::decided(
            extreme.mean >= -LOSS,
            format!("linear probe {:+.1} points with more hidden", extreme.mean),
            format!("the mean probe over seeds is at most {LOSS} points lower"),
        ),
    )?;
    report.verdict(
        "partial-teacher",
        Verdict::reported(
            match &results.cost {
                Some(cost) => format!(
                    "{:.2} of the time of the whole teacher: {} of {} blocks and no decoder",
                    cost.partial / cost.whole,
                    cost.blocks[0],
                    cost.blocks[1]
                ),
                None => "not measured".to_owned(),
            },
            "no rule: a time",
        ),
    )?;
    Ok(())
}
