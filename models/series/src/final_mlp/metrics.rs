//! How well scores tell clicks from the rest.

use menagerie_core::{Error, Result};

/// The area under the receiver's curve: how often a positive row scores above a negative one, ties
/// counting one half.
///
/// # Errors
/// [`Error::Input`] for lists of different lengths, a score that is NaN, or labels of one kind only.
pub fn auc(scores: &[f64], labels: &[bool]) -> Result<f64> {
    check(scores, labels)?;
    let positives = labels.iter().filter(|label| **label).count();
    let negatives = labels.len() - positives;
    if positives == 0 || negatives == 0 {
        let rule = "must hold both kinds: without a positive and a negative row there is no area";
        return Err(Error::input(
            "labels",
            format!("{positives} of {} positive", labels.len()),
            rule,
        ));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    // Twice the positive rows' ranks from 1, each the middle of its tie.
    let (mut start, mut ranks) = (0, 0u128);
    while start < order.len() {
        let score = scores[order[start]];
        let tied = order[start..]
            .iter()
            .take_while(|at| scores[**at] == score)
            .count();
        let middle = (2 * start + tied + 1) as u128;
        let found = order[start..start + tied]
            .iter()
            .filter(|at| labels[**at])
            .count();
        ranks += found as u128 * middle;
        start += tied;
    }
    let least = positives as u128 * (positives as u128 + 1);
    Ok((ranks - least) as f64 / 2.0 / (positives as f64 * negatives as f64))
}

/// The mean of `-ln p` of what came, in double precision; probabilities are kept 2.2e-16 away from 0 and
/// 1.
///
/// # Errors
/// [`Error::Input`] for lists of different lengths or a probability outside of [0, 1].
pub fn log_loss(probabilities: &[f64], labels: &[bool]) -> Result<f64> {
    check(probabilities, labels)?;
    let outside = |p: &&f64| !(0.0..=1.0).contains(*p);
    if let Some(p) = probabilities.iter().find(outside) {
        return Err(Error::input("a probability", p, "must lie between 0 and 1"));
    }
    let loss = |(p, label): (&f64, &bool)| {
        let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        -(if *label { p } else { 1.0 - p }).ln()
    };
    let sum: f64 = probabilities.iter().zip(labels).map(loss).sum();
    Ok(sum / labels.len() as f64)
}

fn check(scores: &[f64], labels: &[bool]) -> Result<()> {
    if scores.is_empty() || scores.len() != labels.len() {
        let rule = format!(
            "must be that of the labels, {}, and at least 1",
            labels.len()
        );
        return Err(Error::input("the number of scores", scores.len(), rule));
    }
    match scores.iter().position(|score| score.is_nan()) {
        Some(row) => Err(Error::input(
            format!("the score of row {row}"),
            f64::NAN,
            "must be a number",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_order_are_counted_and_ties_halved() {
        let labels = [false, true, false, true, true];
        let scores = [0.1, 0.4, 0.4, 0.35, 0.8];
        // Pairs: 0.1 is below all three; 0.4 is below 0.8, tied with 0.4, above 0.35.
        assert!((auc(&scores, &labels).unwrap() - 4.5 / 6.0).abs() < 1e-15);
        assert_eq!(auc(&[1.0; 5], &labels).unwrap(), 0.5);
        assert_eq!(auc(&[-0.0, 0.0], &[true, false]).unwrap(), 0.5);
        let loss = log_loss(&[0.25, 1.0], &[false, true]).unwrap();
        assert!((loss - 0.5 * -(0.75f64.ln())).abs() < 1e-12);
        assert!(log_loss(&[0.0], &[true]).unwrap() < 40.0);
    }

    #[test]
    fn what_has_no_area_is_refused() {
        let text = |result: Result<f64>| result.unwrap_err().to_string();
        assert_eq!(
            text(auc(&[0.1, 0.2], &[true, true])),
            "labels is \"2 of 2 positive\": must hold both kinds: without a positive and a negative \
             row there is no area"
        );
        assert_eq!(
            text(auc(&[0.1, f64::NAN], &[true, false])),
            "the score of row 1 is NaN: must be a number"
        );
        assert_eq!(
            text(auc(&[0.1], &[true, false])),
            "the number of scores is 1: must be that of the labels, 2, and at least 1"
        );
        assert_eq!(
            text(log_loss(&[1.5], &[true])),
            "a probability is 1.5: must lie between 0 and 1"
        );
    }
}
