//! The report: tables beside the paper's numbers, pictures, verdicts.

use super::{
    AE_WD, BETA_VAE, GAN, GLOBAL_WD, QLAE, QLAE_WD, QUANTIZED_GAN, arms::Experiment,
    measure::Outcome,
};
use crate::{Context, Scale};
use menagerie_core::Result;
use menagerie_report::{Best, Cell, Grid, Plot, Report, Stat, Table, Verdict, cells};
use menagerie_representation::qlae::{self, infomec::Infomec};

/// How far InfoM must rise above that of an autoencoder with the same weight decay.
const ABOVE_AE: f64 = 0.05;
/// How far InfoM must rise above that of the same model without weight decay.
const ABOVE_NO_DECAY: f64 = 0.1;

/// Outcomes `[arm][seed]` with the names of their arms.
struct Results<'a> {
    experiment: &'a Experiment,
    outcomes: &'a [Vec<Outcome>],
}

impl Results<'_> {
    /// The arm with the highest mean of `metric`.
    fn highest(&self, metric: &str) -> (&'static str, Stat) {
        let arms = self.experiment.arms.iter().enumerate();
        arms.map(|(index, arm)| (arm.label, self.stat(index, metric)))
            .max_by(|a, b| a.1.mean.total_cmp(&b.1.mean))
            .unwrap_or(("none", Stat::of(&[])))
    }

    fn stat(&self, arm: usize, metric: &str) -> Stat {
        let values = self.outcomes[arm].iter();
        values
            .filter_map(|outcome| outcome.metrics.get(metric))
            .collect()
    }

    /// By how much a metric of arm `a` exceeds that of arm `b`, seed by seed.
    fn excess(&self, metric: &str, a: &str, b: &str) -> Result<Stat> {
        let (a, b) = (self.experiment.position(a)?, self.experiment.position(b)?);
        let pairs = self.outcomes[a].iter().zip(&self.outcomes[b]);
        Ok(pairs
            .filter_map(|(a, b)| Some(a.metrics.get(metric)? - b.metrics.get(metric)?))
            .collect())
    }

    /// The seed of an arm with the highest InfoM.
    fn best(&self, arm: &str) -> Result<Option<&Outcome>> {
        let outcomes = self.outcomes[self.experiment.position(arm)?].iter();
        Ok(outcomes.max_by(|a, b| a.scores.infom.total_cmp(&b.scores.infom)))
    }
}

pub(super) fn report(
    context: &Context,
    experiment: &Experiment,
    outcomes: &[Vec<Outcome>],
) -> Result<Report> {
    let results = Results {
        experiment,
        outcomes,
    };
    let mut report = Report::new(&qlae::SYSTEM);
    settings(&mut report, context, experiment);
    report.text(introduction(context.scale));
    report.table(scores(&results))?;
    report.table(effects(&results)?)?;
    pictures(&mut report, &results)?;
    verdicts(&mut report, &results)?;
    Ok(report)
}

fn settings(report: &mut Report, context: &Context, experiment: &Experiment) {
    let (model, training) = (&experiment.model, &experiment.training);
    let factors: Vec<String> = experiment
        .sprites
        .factor_names()
        .iter()
        .zip(experiment.sprites.factor_sizes())
        .map(|(name, size)| format!("{name} {size}"))
        .collect();
    let [_, height, width] = experiment.sprites.image_shape();
    report
        .setting("device", format!("{:?}", context.device))
        .setting(
            "images",
            format!(
                "{} of {height}×{width}: {}",
                experiment.sprites.len(),
                factors.join(" × ")
            ),
        )
        .setting("scored images", experiment.sample.len())
        .setting("first seed", context.seed)
        .setting("steps", training.steps)
        .setting("batch", training.batch)
        .setting("learning rate", training.learning_rate)
        .setting("weight decay (wd)", training.weight_decay)
        .setting("latents", model.latents)
        .setting("values per latent", model.values.iter().copied().max())
        .setting("λ of quantisation", model.weights.quantization)
        .setting("λ of commitment", model.weights.commitment)
        .setting("β of β-VAE", experiment.kl);
}

fn introduction(scale: Scale) -> String {
    let compared = "The autoencoders of a seed see the same images in the same order for the same \
        number of steps. InfoM (modularity), InfoC (compactness) and InfoE (explicitness) are 1 at best; InfoM and \
        InfoC are 0 at chance. The columns marked *common* score all codes by one estimator: \
        continuous latents are cut into as many equally filled bins as a quantised latent has \
        values. InfoM without that mark takes the nearest-neighbour estimator for continuous \
        latents, as the paper does.";
    let scale = match scale {
        Scale::Small => {
            "Plug-in estimates from 900 images are biased upwards: compare the arms with each \
             other, not with scores from other data. The paper's numbers come from Shapes3D at \
             64×64 after 200,000 steps."
        }
        Scale::Paper => {
            "The networks, the schedule and the loss weights are the published ones; the images \
             are the full grid of dSprites, which the paper did not use, so its numbers on \
             Shapes3D stand for orientation."
        }
    };
    format!("{compared}\n\n{scale}")
}

fn scores(results: &Results) -> Table {
    let common = "InfoM, common";
    let mut table = Table::new(
        "Disentanglement and reconstruction",
        [
            "arm",
            "PSNR, dB",
            common,
            "InfoM",
            "InfoC, common",
            "InfoE",
            "active latents",
            "paper's InfoM",
        ],
    )
    .highlight_column(common, Best::Highest)
    .note("Paper: Shapes3D, recalled from secondary sources, not verified.");
    for (index, arm) in results.experiment.arms.iter().enumerate() {
        let paper = (arm.id == QLAE_WD).then(|| figure("InfoM on Shapes3D, QLAE"));
        table.push(cells![
            arm.label,
            Cell::fixed(results.stat(index, "psnr"), 1),
            Cell::fixed(results.stat(index, "infom_common"), 3),
            Cell::fixed(results.stat(index, "infom"), 3),
            Cell::fixed(results.stat(index, "infoc_common"), 3),
            Cell::fixed(results.stat(index, "infoe"), 3),
            Cell::fixed(results.stat(index, "active"), 1),
            paper.flatten(),
        ]);
    }
    table.row(cells![
        "β-TCVAE, paper only",
        None::<f64>,
        None::<f64>,
        None::<f64>,
        None::<f64>,
        None::<f64>,
        None::<f64>,
        figure("InfoM on Shapes3D, β-TCVAE"),
    ])
}

/// A published number of the descriptor.
fn figure(name: &str) -> Option<f64> {
    let mut figures = qlae::SYSTEM.claims.iter().flat_map(|claim| claim.figures);
    figures
        .find(|figure| figure.name == name)
        .map(|figure| figure.value)
}

fn effects(results: &Results) -> Result<Table> {
    let excess = |of| results.excess("infom_common", QLAE_WD, of);
    Ok(Table::new(
        "What QLAE + wd gains in InfoM (common), seed by seed",
        ["against", "gain", "needed", "paper"],
    )
    .row(cells![
        "AE + wd (no quantisation)",
        Cell::fixed(excess(AE_WD)?, 3),
        ABOVE_AE,
        None::<f64>
    ])
    .row(cells![
        "QLAE without wd",
        Cell::fixed(excess(QLAE)?, 3),
        ABOVE_NO_DECAY,
        figure("mean loss of InfoM without weight decay"),
    ])
    .row(cells![
        "one codebook for all latents, with wd",
        Cell::fixed(excess(GLOBAL_WD)?, 3),
        None::<f64>,
        None::<f64>,
    ]))
}

fn pictures(report: &mut Report, results: &Results) -> Result<()> {
    let experiment = results.experiment;
    let shape = experiment.sprites.image_shape();
    let size: usize = shape.iter().product();

    let mut plot = Plot::new("Modularity over training", "step", "InfoM, common");
    for (arm, outcomes) in experiment.arms.iter().zip(results.outcomes) {
        let steps = outcomes.first().map_or(0, |outcome| outcome.curve.len());
        if steps == 0 {
            // The adversarial arms are scored at the end only.
            continue;
        }
        let points = (0..steps).filter_map(|at| {
            let step = outcomes.first()?.curve.get(at)?.0;
            let values = outcomes
                .iter()
                .filter_map(|outcome| Some(outcome.curve.get(at)?.1));
            Some((step, values.collect::<Stat>()))
        });
        plot = plot.spread(arm.label, points.collect::<Vec<_>>());
    }
    report.plot("infom", plot)?;

    if let Some(best) = results.best(QLAE_WD)? {
        if let Some(traversal) = &best.traversal {
            let mut grid = Grid::new(shape);
            for (latent, tiles) in traversal.tiles.iter().enumerate() {
                if best.scores.active.get(latent) == Some(&true) {
                    grid = grid.row(informs(&best.scores, results, latent), tiles);
                }
            }
            report.images(
                "traversal",
                "QLAE + wd, the seed with the highest InfoM: one latent per row, set to each of \
                 its values while the others keep theirs. The label names the factor that the \
                 latent informs about most, with its normalised mutual information.",
                &grid,
            )?;
        }
        report.images(
            "nmi-qlae",
            "QLAE + wd, the same seed: normalised mutual information between factors (rows) and \
             latents (columns).",
            &heat_map(&best.scores, results),
        )?;
    }
    if let Some(best) = results.best(AE_WD)? {
        report.images(
            "nmi-ae",
            "AE + wd, the seed with the highest InfoM.",
            &heat_map(&best.scores, results),
        )?;
    }

    let examples = experiment.examples();
    let inputs = examples
        .iter()
        .map(|&index| experiment.sprites.render(index))
        .collect::<Result<Vec<_>>>()?;
    let mut grid = Grid::new(shape).row("input", inputs);
    for (arm, outcomes) in experiment.arms.iter().zip(results.outcomes) {
        if let Some(outcome) = outcomes.first() {
            grid = grid.row(arm.label, outcome.reconstructions.chunks(size));
        }
    }
    report.images(
        "reconstructions",
        "Reconstructions of the first seed.",
        &grid,
    )?;
    Ok(())
}

/// `z3: x 0.71`, the factor that a latent informs about most.
fn informs(scores: &Infomec, results: &Results, latent: usize) -> String {
    let names = results.experiment.sprites.factor_names();
    let column = names
        .iter()
        .zip(&scores.nmi)
        .map(|(name, row)| (name, row[latent]));
    match column.max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((name, nmi)) => format!("z{latent}: {name} {nmi:.2}"),
        None => format!("z{latent}"),
    }
}

fn heat_map(scores: &Infomec, results: &Results) -> Grid {
    let latents = scores.active.len();
    let mut grid = Grid::new([1, 1, 1])
        .columns((0..latents).map(|latent| format!("z{latent}")))
        .scale(40);
    for (name, row) in results
        .experiment
        .sprites
        .factor_names()
        .iter()
        .zip(&scores.nmi)
    {
        let tiles = row.iter().map(|&nmi| ([nmi as f32], format!("{nmi:.2}")));
        grid = grid.captioned_row(*name, tiles);
    }
    grid
}

fn verdicts(report: &mut Report, results: &Results) -> Result<()> {
    let mean = |id: &str| -> Result<Stat> {
        Ok(results.stat(results.experiment.position(id)?, "infom_common"))
    };
    let (ours, ae, plain) = (mean(QLAE_WD)?, mean(AE_WD)?, mean(QLAE)?);
    let decided = |baseline: Stat, name: &str, needed: f64| {
        Verdict::decided(
            ours.mean >= baseline.mean + needed,
            format!("InfoM {ours:.3} against {baseline:.3}"),
            format!("mean InfoM (common) at least {needed} above {name}"),
        )
    };
    report.verdict(
        "modularity",
        decided(ae, "AE with the same weight decay", ABOVE_AE),
    )?;
    let (label, best) = results.highest("infom_common");
    let psnr = |id| -> Result<Stat> { Ok(results.stat(results.experiment.position(id)?, "psnr")) };
    report.verdict(
        "most-modular",
        Verdict::reported(
            format!(
                "InfoM {ours:.3}; the highest is that of {label}, {best:.3}; PSNR {:.1} dB against \
                 {:.1} dB of AE with the same weight decay and {:.1} dB of QLAE without",
                psnr(QLAE_WD)?,
                psnr(AE_WD)?,
                psnr(QLAE)?,
            ),
            "a small run with one setting per method cannot rank them all",
        ),
    )?;
    report.verdict(
        "both-needed",
        decided(plain, "QLAE without weight decay", ABOVE_NO_DECAY),
    )?;
    let (global, gan, quantized_gan) = (mean(GLOBAL_WD)?, mean(GAN)?, mean(QUANTIZED_GAN)?);
    report.verdict(
        "scalar-codebooks",
        Verdict::reported(
            format!("InfoM {ours:.3} against {global:.3}"),
            "one small data set and few seeds cannot decide between kinds of codebooks",
        ),
    )?;
    report.verdict(
        "transfers-to-gans",
        Verdict::reported(
            format!("InfoM {quantized_gan:.3} with quantised latents against {gan:.3}"),
            "adversarial training needs far more steps than this comparison has",
        ),
    )?;
    let vae = results.experiment.position(BETA_VAE)?;
    let all: Stat = results.outcomes[vae]
        .iter()
        .map(|o| o.own.infom_unpruned())
        .collect();
    let active: Stat = results.outcomes[vae].iter().map(|o| o.own.infom).collect();
    let count = results.stat(vae, "active");
    report.verdict(
        "infomec",
        Verdict::reported(
            format!("β-VAE, {count:.1} active latents: InfoM {active:.3}, with the inactive ones {all:.3}"),
            "shows what pruning inactive latents changes; there is no criterion for a better metric",
        ),
    )?;
    Ok(())
}
