//! How the claims fared.

use super::{
    Experiment, Method,
    present::{AUTOENCODERS, stat},
    real::Survey,
    reference::Comparison,
    runs::Outcome,
};
use menagerie_core::Result;
use menagerie_report::{Report, Stat, Verdict};

/// By how many times an autoencoder's error must lie below the variance.
const FACTOR: f64 = 10.0;
/// Points by which an arm may differ from the same arm in PyTorch.
const APART: f64 = 2.0;

/// Whether every autoencoder's error lies far below the variance, on every scene.
pub(super) fn learning(report: &mut Report, known: &[Outcome]) -> Result<()> {
    let least = |at: usize| {
        let folds = known.iter().filter_map(|outcome| {
            let error = outcome.errors.get(at)?;
            Some(outcome.variance / error)
        });
        folds.fold(f64::INFINITY, f64::min)
    };
    let variance: Stat = known.iter().map(|outcome| outcome.variance).collect();
    let measured: Vec<String> = (0..AUTOENCODERS.len())
        .map(|at| format!("{} {:.1} times", AUTOENCODERS[at], least(at)))
        .collect();
    let beyond = known.iter().filter_map(|outcome| {
        let error = outcome.errors.get(3)?;
        let rest = (error - outcome.beyond).max(f64::MIN_POSITIVE);
        Some((100.0 * outcome.beyond / error, outcome.variance / rest))
    });
    let (share, rest) = beyond.fold((f64::INFINITY, f64::INFINITY), |least, found| {
        (least.0.min(found.0), least.1.min(found.1))
    });
    report.verdict(
        "autoencoders-learn",
        Verdict::decided(
            (0..AUTOENCODERS.len()).all(|at| least(at) >= FACTOR),
            format!(
                "below the variance of the scaled bands, {variance}, on the worst scene: {}; of the third's \
                 error at least {share:.0} % is beyond the reach of its sigmoid, the rest {rest:.1} times \
                 below",
                measured.join(", ")
            ),
            format!(
                "on every procedural scene the errors of the one autoencoder and of all three of the \
                 stack lie at least {FACTOR} times below the variance of the scaled bands, although \
                 the third has inputs that its sigmoid cannot reach"
            ),
        ),
    )?;
    Ok(())
}

/// Whether every arm is that of PyTorch.
pub(super) fn agreement(report: &mut Report, compared: &[Comparison]) -> Result<()> {
    let of = |method: Method| compared.iter().filter(move |arm| arm.method == method);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let mut measured: Vec<String> = Vec::new();
    for method in Method::ALL.into_iter().filter(|&m| of(m).count() > 0) {
        let apart = most(&mut of(method).map(Comparison::apart));
        measured.push(format!("{} {apart:.1} points", method.id()));
    }
    let mut text = format!("at most apart: {}", measured.join(", "));
    let spread = [Method::Autoencoder, Method::Stack]
        .map(|method| most(&mut of(method).map(Comparison::spread)));
    if spread.iter().any(|spread| *spread > APART) {
        text += &format!(
            "; from other draws of weights and orders PyTorch itself varies by up to {:.1} points with \
             one autoencoder and {:.1} with the stack on one scene, which is why both start from the \
             same",
            spread[0], spread[1]
        );
    }
    report.verdict(
        "agrees-with-pytorch",
        Verdict::decided(
            !compared.is_empty() && compared.iter().all(|arm| arm.apart() <= APART),
            text,
            format!(
                "on every recorded scene the matched accuracy of every arm after the filter lies within \
                 {APART} points of the same arm in PyTorch, from the same draws"
            ),
        ),
    )?;
    Ok(())
}

pub(super) fn accuracies(report: &mut Report, known: &[Outcome]) -> Result<()> {
    let filtered = |method| stat(known, method, |arm| 100.0 * arm.cleaned.accuracy);
    let gains: Vec<f64> = known
        .iter()
        .filter_map(|outcome| {
            // In the order of `Method::ALL`.
            let [_, pca, _, stack] = outcome.arms.as_slice() else {
                return None;
            };
            Some(100.0 * (stack.cleaned.accuracy - pca.cleaned.accuracy))
        })
        .collect();
    let above = gains.iter().filter(|gain| **gain >= 0.0).count();
    report.verdict(
        "stack-accuracy",
        Verdict::reported(
            format!(
                "stack {:.1} %, principal components {:.1} %, one autoencoder {:.1} %, raw bands {:.1} \
                 %; stack minus components {:+.1} points, at least 0 in {above} of {} scenes",
                filtered(Method::Stack),
                filtered(Method::Pca),
                filtered(Method::Autoencoder),
                filtered(Method::Bands),
                Stat::of(&gains),
                gains.len()
            ),
            "no rule: which features follow the units better depends on the data; the paper's own \
             reference map and how its clusters were assigned to rock units are not available",
        ),
    )?;
    Ok(())
}

pub(super) fn sensors(report: &mut Report, experiment: &Experiment, real: &[Survey]) -> Result<()> {
    let places: Vec<String> = experiment
        .places
        .iter()
        .zip(real)
        .map(|(place, survey)| {
            let arms = survey.arms.iter().zip(Method::PUBLISHED);
            let arms: Vec<String> = arms
                .map(|(arm, method)| format!("{} {:.3}", method.id(), arm.quality.davies_bouldin))
                .collect();
            format!("{}: Davies-Bouldin {}", place.label, arms.join(", "))
        })
        .collect();
    report.verdict(
        "several-sensors",
        Verdict::reported(
            places.join("; "),
            "no rule: there is no reference map for these scenes; whether a map shows the ground is \
             for the reader to judge",
        ),
    )?;
    Ok(())
}
