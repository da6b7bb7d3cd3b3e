//! Mean and spread over repeated runs, and how numbers are printed everywhere in a report.

use std::fmt;

/// The mean of several runs, their sample standard deviation and their number.
///
/// Prints as `0.531 ± 0.012 (n=3)`: two significant digits of the deviation decide the decimals,
/// unless a precision is asked for (`{:.1}`).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Stat {
    /// The arithmetic mean; `NaN` without runs.
    pub mean: f64,
    /// The sample standard deviation (divisor `n − 1`); `NaN` with fewer than two runs, because
    /// one run says nothing about the spread.
    pub sd: f64,
    /// How many runs.
    pub n: usize,
}

impl Stat {
    /// The statistics of `values`, one per run; a run that is not finite makes the result so.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2));
        let sd = match n {
            0 | 1 => f64::NAN,
            n => (squares.sum::<f64>() / (n - 1) as f64).sqrt(),
        };
        Self { mean, sd, n }
    }
}

impl FromIterator<f64> for Stat {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self::of(&values.into_iter().collect::<Vec<_>>())
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, sd, n } = *self;
        if n < 2 {
            let mean = f
                .precision()
                .map_or_else(|| number(mean), |digits| fixed(mean, digits));
            return write!(f, "{mean} (n={n})");
        }
        let (mean, sd) = match f.precision() {
            Some(digits) => (fixed(mean, digits), fixed(sd, digits)),
            None if !mean.is_finite() || !sd.is_finite() || sd == 0.0 => (number(mean), number(sd)),
            None if mean.abs() >= 1e7 || sd < 1e-6 => (format!("{mean:.3e}"), format!("{sd:.1e}")),
            None => {
                let digits = (1.0 - sd.log10().floor()).clamp(0.0, 6.0) as usize;
                (fixed(mean, digits), fixed(sd, digits))
            }
        };
        write!(f, "{mean} ± {sd} (n={n})")
    }
}

/// `value` with up to four significant digits and no trailing zeros; whole numbers in full,
/// extremes in scientific notation.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.into()
    } else if value.fract() == 0.0 && magnitude < 1e9 {
        fixed(value, 0)
    } else if !(1e-4..1e6).contains(&magnitude) {
        format!("{value:.3e}")
    } else {
        let digits = (3.0 - magnitude.log10().floor()).max(0.0) as usize;
        let text = fixed(value, digits);
        if digits == 0 {
            return text;
        }
        text.trim_end_matches('0').trim_end_matches('.').into()
    }
}

/// `value` with `digits` decimals and no negative zero.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return number(value);
    }
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.into(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_decides_the_decimals() {
        let stat = Stat::of(&[0.519, 0.531, 0.543]);
        assert_eq!(stat.to_string(), "0.531 ± 0.012 (n=3)");
        assert_eq!(format!("{stat:.1}"), "0.5 ± 0.0 (n=3)");
        assert_eq!(Stat::of(&[90.0, 110.0]).to_string(), "100 ± 14 (n=2)");
        assert_eq!(
            Stat::of(&[1e-9, 3e-9]).to_string(),
            "2.000e-9 ± 1.4e-9 (n=2)"
        );
    }

    #[test]
    fn the_sample_deviation_divides_by_one_less() {
        let stat: Stat = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
            .into_iter()
            .collect();
        assert_eq!(stat.mean, 5.0);
        assert!((stat.sd - (32.0_f64 / 7.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn few_equal_and_diverged_runs_print_as_what_they_are() {
        assert_eq!(Stat::of(&[]).to_string(), "NaN (n=0)");
        assert_eq!(Stat::of(&[0.25]).to_string(), "0.25 (n=1)");
        assert_eq!(Stat::of(&[0.25, 0.25]).to_string(), "0.25 ± 0 (n=2)");
        assert_eq!(Stat::of(&[0.25, f64::NAN]).to_string(), "NaN ± NaN (n=2)");
    }

    #[test]
    fn numbers_keep_four_significant_digits() {
        for (value, text) in [
            (95.24, "95.24"),
            (0.95, "0.95"),
            (0.999_99, "1"),
            (1999.99, "2000"),
            (0.012_345, "0.01235"),
            (-0.0, "0"),
            (12_000.0, "12000"),
            (1234.56, "1235"),
            (3.2e-7, "3.200e-7"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(f64::NAN, 2), "NaN");
    }
}
