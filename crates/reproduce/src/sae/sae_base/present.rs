//! The report: table, frontier, verdicts.

use super::{
    arms::{Experiment, Outcome, Variant},
    data::Data,
};
use crate::Context;
use menagerie_core::Result;
use menagerie_report::{Cell, Plot, Report, Stat, Table, Verdict, cells};
use menagerie_sae::sae_base;

/// The mean cosine that counts as having found the dictionary.
const FOUND: f64 = 0.85;

/// An experiment with what came of it.
pub struct Part {
    pub experiment: Experiment,
    pub outcomes: Vec<Outcome>,
}

impl Part {
    /// The outcomes of a variant at the deciding number of active latents, by seed.
    fn of(&self, variant: Variant) -> impl Iterator<Item = &Outcome> {
        let wanted = self.experiment.l0;
        self.outcomes
            .iter()
            .filter(move |o| o.variant == variant && o.wanted == wanted)
    }

    fn stat(&self, variant: Variant, value: impl Fn(&Outcome) -> f64) -> Stat {
        self.of(variant).map(value).collect()
    }

    /// Of what is known of every outcome, else a dash.
    fn known(&self, variant: Variant, value: impl Fn(&Outcome) -> Option<f64>) -> Cell {
        let all: Option<Stat> = self.of(variant).map(value).collect();
        all.map_or_else(|| "–".into(), Cell::from)
    }

    fn dead(&self, variant: Variant) -> Stat {
        self.stat(variant, |o| {
            o.quality().dead() as f64 / o.quality().density.len() as f64
        })
    }
}

/// The report on `parts`, of which the first has a known dictionary.
pub fn report(context: &Context, parts: &[Part]) -> Result<Report> {
    let mut report = Report::new(&sae_base::SYSTEM);
    for part in parts {
        let (heading, text, plot) = match &part.experiment.data {
            Data::Dictionary { .. } => (
                "Known directions",
                "Sums of known unit vectors, a few at a time, whose frequencies fall as 1/i. The \
                 papers compare on activations of language models, where the true directions are \
                 unknown.",
                "frontier",
            ),
            Data::Host { .. } => (
                "Inside a language model",
                "Activations whose true directions are unknown.",
                "frontier-host",
            ),
        };
        report.heading(heading);
        report.text(text);
        report.table(settings(&part.experiment))?;
        report.table(table(part))?;
        report.plot(plot, frontier(part))?;
    }
    report.setting("device", format!("{:?}", context.device));
    report.setting("seed", context.seed.to_string());
    verdicts(&mut report, parts)?;
    Ok(report)
}

fn settings(experiment: &Experiment) -> Table {
    let mut table = Table::new("Setting", ["what", "value"]);
    let activations = match &experiment.data {
        Data::Dictionary {
            config,
            rows,
            held_out,
        } => format!(
            "{} features in {} dimensions, {} active on average; {rows} rows, {held_out} held out",
            config.features, config.d, config.active
        ),
        Data::Host { host, hook, .. } => format!("{hook} of {host:?}"),
    };
    table.push(cells!["activations", activations]);
    let latents = format!(
        "{}; {} in the wide dictionaries",
        experiment.latents, experiment.wide_latents
    );
    table.push(cells!["latents", latents]);
    let training = format!(
        "{} steps of {} rows, Adam at {:.2e}, decay over the last fifth, unit-norm dictionary",
        experiment.steps, experiment.batch, experiment.learning_rate
    );
    table.push(cells!["training", training]);
    table.push(cells!["seeds", experiment.seeds]);
    table
}

fn table(part: &Part) -> Table {
    let mut table = Table::new(
        format!(
            "Held-out activations, {} active latents wanted",
            part.experiment.l0
        ),
        [
            "variant",
            "L0",
            "FVU",
            "norm of x' over norm of x",
            "dead fraction",
            "MMCS",
            "loss recovered",
        ],
    );
    for &variant in &part.experiment.variants {
        table.push(cells![
            variant.name(),
            part.stat(variant, |o| o.quality().l0),
            part.stat(variant, |o| o.quality().fvu),
            part.stat(variant, |o| o.quality().norm_ratio),
            part.dead(variant),
            part.known(variant, |o| o.measured.mmcs),
            part.known(variant, |o| o.measured.recovered),
        ]);
    }
    table.note(
        "Coefficients of ReLU + L1 and Gated were sought for the wanted L0. BatchTopK and \
         Matryoshka encode with the threshold that training has estimated. MMCS: mean over the \
         features of the largest cosine with a dictionary vector.",
    )
}

fn frontier(part: &Part) -> Plot {
    let first = |variant: Variant| {
        part.outcomes
            .iter()
            .filter(move |o| o.variant == variant && o.seed == 0)
    };
    let sorted = |mut points: Vec<(f64, f64)>| {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let mut plot = Plot::new(
        "Variance unexplained against activity, first seed",
        "active latents (L0)",
        "FVU",
    )
    .log_y();
    for &variant in &part.experiment.variants {
        let points = first(variant).flat_map(|o| {
            let searched = o.tried.iter().map(|&[_, l0, fvu]| (l0, fvu));
            let itself = o
                .tried
                .is_empty()
                .then_some((o.quality().l0, o.quality().fvu));
            searched.chain(itself)
        });
        let near = |&(l0, _): &(f64, f64)| l0 > 0.5 && l0 < 4.0 * part.experiment.l0 as f64;
        let points = sorted(points.filter(near).collect());
        plot = match points.len() {
            0 => plot,
            1 => plot.scatter(variant.name(), points),
            _ => plot.line(variant.name(), points),
        };
    }
    plot
}

fn verdicts(report: &mut Report, parts: &[Part]) -> Result<()> {
    let fvu = |part: &Part, variant: Variant| part.stat(variant, |o| o.quality().fvu);
    let pairs = |ours: Variant, theirs: Variant| {
        let pair = |part: &Part| format!("{} against {}", fvu(part, ours), fvu(part, theirs));
        let all: Vec<String> = parts.iter().map(pair).collect();
        format!("FVU {}", all.join("; "))
    };
    let beaten = |part: &Part| {
        part.of(Variant::TopK)
            .zip(part.of(Variant::L1))
            .all(|(topk, l1)| topk.quality().fvu < l1.quality().fvu)
    };
    let norms: Vec<String> = parts
        .iter()
        .map(|part| {
            let norm = |variant| part.stat(variant, |o: &Outcome| o.quality().norm_ratio);
            format!("{} against {}", norm(Variant::TopK), norm(Variant::L1))
        })
        .collect();
    report.verdict(
        "topk",
        Verdict::decided(
            parts.iter().all(beaten),
            format!(
                "{}; norm of the reconstruction {} of the activation's",
                pairs(Variant::TopK, Variant::L1),
                norms.join("; ")
            ),
            "FVU of TopK below that of ReLU + L1 at the same L0 for every seed",
        ),
    )?;
    if let Some(known) = parts.first() {
        let mmcs =
            |variant| -> Option<Stat> { known.of(variant).map(|o| o.measured.mmcs).collect() };
        if let (Some(topk), Some(l1)) = (mmcs(Variant::TopK), mmcs(Variant::L1)) {
            report.verdict(
                "dictionary",
                Verdict::decided(
                    topk.mean >= FOUND,
                    format!("MMCS {topk}; ReLU + L1 {l1}"),
                    format!("mean MMCS of TopK at least {FOUND}"),
                ),
            )?;
        }
        let (with, without) = (
            known.dead(Variant::WideTopK),
            known.dead(Variant::WideTopKWithoutAuxK),
        );
        report.verdict(
            "auxk",
            Verdict::decided(
                with.mean < without.mean,
                format!("dead fraction {with} against {without}"),
                "mean fraction of the wide dictionaries' latents that are never active on held-out \
                 rows lower with AuxK",
            ),
        )?;
    }
    report.verdict(
        "batchtopk",
        Verdict::reported(
            pairs(Variant::BatchTopK, Variant::TopK),
            "shown: features are active independently of each other here, in other numbers than \
             in a language model",
        ),
    )?;
    report.verdict(
        "gates",
        Verdict::reported(
            format!(
                "Gated: {}; JumpReLU: {}",
                pairs(Variant::Gated, Variant::L1),
                pairs(Variant::JumpRelu, Variant::L1)
            ),
            "shown: the card gives no criterion for them",
        ),
    )?;
    report.verdict(
        "matryoshka",
        Verdict::reported(
            pairs(Variant::Matryoshka, Variant::BatchTopK),
            "shown: these features have no hierarchy to be absorbed in",
        ),
    )?;
    Ok(())
}
