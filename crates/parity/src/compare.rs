//! The pass rule, on tensors in host memory.

use burn::tensor::{DType, TensorData};

/// How near two tensors must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Every element equal.
    Exact,
    /// `max|a − b| ≤ tol · max(1, max|b|)`.
    Output(f64),
    /// `max|a − b| ≤ tol · max|b|`.
    Gradient(f64),
    /// `max|a − b| ≤ tol`.
    Absolute(f64),
}

/// The outcome of one comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// `max|a − b|`; infinite where it is not a number.
    pub(crate) absolute: f64,
    /// `max|a − b| / max|b|`; the absolute difference where all of the reference is 0.
    pub(crate) relative: f64,
    /// What does not hold, if anything.
    pub(crate) failure: Option<String>,
}

/// Whether an element is one of a discrete set, so that nearly equal means nothing.
pub(crate) fn is_discrete(dtype: DType) -> bool {
    dtype.is_int() || dtype.is_uint() || dtype.is_bool()
}

/// Compares ours with theirs under `rule`; elements whose position `skip` accepts only have to
/// be there.
///
/// Where either side is discrete the rule is [`Rule::Exact`], whatever was asked for.
pub(crate) fn compare(
    ours: &TensorData,
    theirs: &TensorData,
    rule: Rule,
    skip: impl Fn(usize) -> bool,
) -> Outcome {
    let failed = |problem: String| Outcome {
        absolute: f64::INFINITY,
        relative: f64::INFINITY,
        failure: Some(problem),
    };
    let (shape, expected) = (ours.shape().to_vec(), theirs.shape().to_vec());
    if shape != expected {
        return failed(format!(
            "ours has shape {shape:?}, the reference {expected:?}"
        ));
    }
    if is_discrete(ours.dtype()) && is_discrete(theirs.dtype()) {
        return exact_integers(ours, theirs, skip);
    }
    let rule = if is_discrete(ours.dtype()) || is_discrete(theirs.dtype()) {
        Rule::Exact
    } else {
        rule
    };

    let mut worst = (0.0, 0);
    let mut scale = 0.0f64;
    let mut unequal = 0usize;
    for (position, (a, b)) in ours.iter::<f64>().zip(theirs.iter::<f64>()).enumerate() {
        if b.is_finite() {
            scale = scale.max(b.abs());
        }
        if skip(position) {
            continue;
        }
        let at = || index(position, &shape);
        match (a.is_nan(), b.is_nan()) {
            (true, true) => return failed(format!("both are NaN at {:?}", at())),
            (true, false) => {
                return failed(format!("ours is NaN at {:?}, the reference {b}", at()));
            }
            (false, true) => {
                return failed(format!("the reference is NaN at {:?}, ours {a}", at()));
            }
            (false, false) => {}
        }
        // Infinities of one sign are equal, although their difference is not a number.
        let difference = if a == b { 0.0 } else { (a - b).abs() };
        unequal += usize::from(difference > 0.0);
        if difference > worst.0 {
            worst = (difference, position);
        }
    }
    let (absolute, position) = worst;
    let relative = relative(absolute, scale);
    let allowed = match rule {
        Rule::Exact => 0.0,
        Rule::Output(tol) => tol * scale.max(1.0),
        Rule::Gradient(tol) => tol * scale,
        Rule::Absolute(tol) => tol,
    };
    let failure = (absolute > allowed).then(|| {
        let (a, b) = (value(ours, position), value(theirs, position));
        let found = format!(
            "ours {a} and the reference {b} at {:?}",
            index(position, &shape)
        );
        if allowed == 0.0 {
            format!(
                "{unequal} of {} elements differ, e.g. {found}",
                ours.num_elements()
            )
        } else {
            format!("{found} differ by {absolute:.3e}, allowed {allowed:.3e}")
        }
    });
    Outcome {
        absolute,
        relative,
        failure,
    }
}

fn exact_integers(ours: &TensorData, theirs: &TensorData, skip: impl Fn(usize) -> bool) -> Outcome {
    let mut worst = (0u64, 0);
    let (mut unequal, mut scale) = (0usize, 0u64);
    for (position, (a, b)) in ours.iter::<i64>().zip(theirs.iter::<i64>()).enumerate() {
        scale = scale.max(b.unsigned_abs());
        if skip(position) {
            continue;
        }
        let difference = a.abs_diff(b);
        unequal += usize::from(difference > 0);
        if difference > worst.0 {
            worst = (difference, position);
        }
    }
    let (difference, position) = worst;
    let absolute = difference as f64;
    let failure = (difference > 0).then(|| {
        let at = |data: &TensorData| data.iter::<i64>().nth(position).unwrap_or_default();
        format!(
            "{unequal} of {} elements differ, e.g. ours {} and the reference {} at {:?}",
            ours.num_elements(),
            at(ours),
            at(theirs),
            index(position, &ours.shape().to_vec())
        )
    });
    Outcome {
        absolute,
        relative: relative(absolute, scale as f64),
        failure,
    }
}

fn relative(absolute: f64, scale: f64) -> f64 {
    if scale > 0.0 {
        absolute / scale
    } else {
        absolute
    }
}

fn value(data: &TensorData, position: usize) -> f64 {
    data.iter::<f64>().nth(position).unwrap_or(f64::NAN)
}

/// The index along each axis of an element in row-major order.
fn index(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = position % shape[axis].max(1);
        position /= shape[axis].max(1);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(ours: impl Into<TensorData>, theirs: impl Into<TensorData>, rule: Rule) -> bool {
        compare(&ours.into(), &theirs.into(), rule, |_| false)
            .failure
            .is_none()
    }

    fn failure(ours: impl Into<TensorData>, theirs: impl Into<TensorData>, rule: Rule) -> String {
        compare(&ours.into(), &theirs.into(), rule, |_| false)
            .failure
            .unwrap()
    }

    #[test]
    fn a_result_may_differ_relative_to_the_largest_element_or_to_one() {
        assert!(passes(
            [100.0f32, 0.05],
            [100.0f32, 0.0],
            Rule::Output(1e-3)
        ));
        assert!(!passes(
            [100.0f32, 0.11],
            [100.0f32, 0.0],
            Rule::Output(1e-3)
        ));
        assert!(passes([0.0009f32], [0.0f32], Rule::Output(1e-3)));
        assert!(!passes([0.0011f32], [0.0f32], Rule::Output(1e-3)));
    }

    #[test]
    fn a_gradient_may_differ_relative_to_the_largest_element_only() {
        assert!(passes([1.0005e-6f32], [1e-6f32], Rule::Gradient(1e-3)));
        assert!(!passes([1.1e-6f32], [1e-6f32], Rule::Gradient(1e-3)));
        assert!(!passes([1e-30f32], [0.0f32], Rule::Gradient(1e-3)));
        assert!(passes([0.0f32], [0.0f32], Rule::Gradient(1e-3)));
    }

    #[test]
    fn an_absolute_tolerance_ignores_the_scale() {
        assert!(!passes([100.05f32], [100.0f32], Rule::Absolute(0.01)));
        assert!(passes([100.005f32], [100.0f32], Rule::Absolute(0.01)));
    }

    #[test]
    fn discrete_elements_must_be_equal_whatever_the_rule() {
        let rule = Rule::Output(0.5);
        assert!(passes([1i64, 2], [1i64, 2], rule));
        assert!(passes([1i32, 2], [1i64, 2], rule));
        assert!(passes([true, false], [1f32, 0.0], rule));
        assert!(passes([1f32, 2.0], [1i64, 2], rule));
        assert!(!passes([1.2f32, 2.0], [1i64, 2], rule));
        assert!(!passes([1i64, 2], [1.2f32, 2.0], rule));
        let text = failure([1i64, 5], [1i64, 2], rule);
        assert_eq!(
            text,
            "1 of 2 elements differ, e.g. ours 5 and the reference 2 at [1]"
        );
        // Beyond the whole numbers that a float can tell apart.
        assert!(!passes([(1i64 << 53) + 1], [1i64 << 53], rule));
    }

    #[test]
    fn tolerance_zero_is_equality() {
        assert!(passes([0.1f32], [0.1f32], Rule::Output(0.0)));
        assert!(!passes([0.1f32], [0.100_000_01f32], Rule::Output(0.0)));
    }

    #[test]
    fn what_is_not_a_number_fails_and_says_so() {
        let rule = Rule::Output(1e6);
        assert!(
            failure([[0f32, f32::NAN]], [[0f32, 1.0]], rule).starts_with("ours is NaN at [0, 1]")
        );
        assert!(failure([1f32], [f32::NAN], rule).starts_with("the reference is NaN at [0]"));
        assert!(failure([f32::NAN], [f32::NAN], rule).starts_with("both are NaN"));
        assert!(passes(
            [f32::INFINITY, 1.0],
            [f32::INFINITY, 1.0],
            Rule::Output(1e-6)
        ));
        assert!(!passes(
            [f32::INFINITY, 2.0],
            [f32::INFINITY, 1.0],
            Rule::Output(1e-6)
        ));
        assert!(!passes([f32::INFINITY], [f32::NEG_INFINITY], rule));
        assert!(!passes([f32::INFINITY], [1.0f32], rule));
    }

    #[test]
    fn shapes_must_agree() {
        let text = failure([[1f32], [2.0]], [1f32, 2.0], Rule::Output(1.0));
        assert_eq!(text, "ours has shape [2, 1], the reference [2]");
    }

    #[test]
    fn skipped_elements_may_differ() {
        let (ours, theirs) = (TensorData::from([1i64, 9]), TensorData::from([1i64, 2]));
        assert!(
            compare(&ours, &theirs, Rule::Exact, |at| at == 1)
                .failure
                .is_none()
        );
        assert!(
            compare(&ours, &theirs, Rule::Exact, |at| at == 0)
                .failure
                .is_some()
        );
    }
}
