//! The verdicts.

use super::present::{beside, over, test_loss, train_loss};
use super::train::Outcome;
use super::{Experiment, Results, Study};
use menagerie_core::Result;
use menagerie_report::{Report, Stat, Verdict};
use menagerie_theory::shallow::{Form, ShallowConfig};

/// How far the parallel form's test loss may be from the sequential one's, as a share of that.
const SIMILAR: f64 = 0.15;
/// The most layers for which it must be.
const MODERATE: usize = 8;
/// The fewest layers that count as deep.
const DEEP: usize = 8;

/// Where two forms are, in the mean over seeds, and the first as a share of the second, seed by seed.
struct Pair<'a> {
    config: &'a ShallowConfig,
    one: f64,
    other: f64,
    share: Stat,
}

fn pairs<'a>(
    study: &'a Study,
    outcomes: &[Outcome],
    forms: [Form; 2],
    of: &dyn Fn(&Outcome) -> f64,
) -> Vec<Pair<'a>> {
    let mean = |config, form| over(outcomes, config, form, of).mean;
    let configs = study.configs.iter();
    configs
        .map(|config| Pair {
            config,
            one: mean(config, forms[0]),
            other: mean(config, forms[1]),
            share: beside(outcomes, config, forms, of),
        })
        .collect()
}

fn words(pairs: &[&Pair], of: impl Fn(&Pair) -> String) -> String {
    let words = pairs.iter().map(|pair| {
        let ShallowConfig {
            layers, filters, ..
        } = pair.config;
        format!("{layers}×{filters}: {}", of(pair))
    });
    words.collect::<Vec<_>>().join(", ")
}

pub(super) fn verdicts(
    report: &mut Report,
    experiment: &Experiment,
    results: &Results,
) -> Result<()> {
    let (apart, off) = results.identical;
    report.verdict(
        "expansion",
        Verdict::decided(
            apart == 0.0 && off < 1e-5,
            format!(
                "scores of both forms of one layer differ by {apart:e}; the orders of eight linear \
                 layers add up to within {off:.1e} of the result"
            ),
            "one layer gives equal scores in both forms, and all orders of a linear stack add up to \
             its result within 1e-5 of its length",
        ),
    )?;
    let (Some(study), Some(outcomes)) = (experiment.studies.first(), results.studies.first())
    else {
        return Ok(());
    };
    let forms = [Form::Parallel, Form::Sequential];
    let test = pairs(study, outcomes, forms, &test_loss);
    let moderate: Vec<&Pair> = test
        .iter()
        .filter(|pair| pair.config.layers <= MODERATE)
        .collect();
    let percent = |pair: &Pair| {
        let (mean, sd) = (100.0 * (pair.share.mean - 1.0), 100.0 * pair.share.sd);
        format!("{mean:+.1} ± {sd:.1} %")
    };
    // Shown beside it: the rule is about the first study.
    let rest = experiment.studies.iter().zip(&results.studies).skip(1);
    let others: String = rest
        .map(|(study, outcomes)| {
            let pairs = pairs(study, outcomes, forms, &test_loss);
            let shown = words(&pairs.iter().collect::<Vec<_>>(), percent);
            format!("; {}, {} seeds: {shown}", study.label, study.seeds)
        })
        .collect();
    report.verdict(
        "equal-losses",
        Verdict::decided(
            !moderate.is_empty()
                && moderate
                    .iter()
                    .all(|pair| (pair.one - pair.other).abs() <= SIMILAR * pair.other),
            format!(
                "parallel beside sequential, layers × filters, mean and deviation over {} seeds: {}",
                study.seeds,
                words(&test.iter().collect::<Vec<_>>(), percent)
            ) + &others,
            "in the mean over seeds the parallel form's test loss is within 15 % of the sequential \
             one's for every stack of up to 8 layers",
        ),
    )?;
    let plain = pairs(study, outcomes, [Form::Parallel, Form::Plain], &test_loss);
    let deep: Vec<&Pair> = plain
        .iter()
        .filter(|pair| pair.config.layers >= DEEP)
        .collect();
    report.verdict(
        "beats-plain",
        Verdict::decided(
            !deep.is_empty() && deep.iter().all(|pair| pair.one <= pair.other),
            words(&deep, |pair| {
                format!("{:.3} and {:.3}", pair.one, pair.other)
            }),
            "in the mean over seeds the parallel form's test loss is not above that of the stack \
             without identity, for every stack of 8 layers or more",
        ),
    )?;
    let train = pairs(study, outcomes, forms, &train_loss);
    let ratio = |pair: &Pair| format!("{:.2} ± {:.2}", pair.share.mean, pair.share.sd);
    report.verdict(
        "equal-training",
        Verdict::reported(
            format!(
                "parallel / sequential, layers × filters: {}",
                words(&train.iter().collect::<Vec<_>>(), ratio)
            ),
            "shown: how far training losses are apart depends on depth and on how long one trains",
        ),
    )?;
    // A single layer is the same in both forms.
    let several = || test.iter().filter(|pair| pair.config.layers > 1);
    let better = several().filter(|pair| pair.one < pair.other).count();
    report.verdict(
        "generalises",
        Verdict::reported(
            format!(
                "the parallel form has the smaller test loss for {better} of {} stacks of several \
                 layers",
                several().count()
            ),
            "shown: `sometimes` has no threshold",
        ),
    )?;
    let [forward, step] = results.times.map(|[deep, wide]| 100.0 * wide / deep);
    report.verdict(
        "faster",
        Verdict::reported(
            format!(
                "of the time of 16 layers one after the other, the parallel form takes {forward:.0} % \
                 forward and {step:.0} % for a training step"
            ),
            "shown: the paper gives no number",
        ),
    )?;
    Ok(())
}
