//! Ranges, ticks and tick labels.

use super::Axis;
use crate::stat::{fixed, number};

/// About as many ticks as an axis can label legibly.
const TICKS: f64 = 7.0;

/// What an axis shows, in the coordinates of [`Axis::place`].
#[derive(Clone, Debug)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
    pub(super) labels: Vec<String>,
}

impl Axis {
    /// Where `value` stands on the axis: itself, or its decimal logarithm; `None` if nowhere.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = if self.log { value.log10() } else { value };
        place.is_finite().then_some(place)
    }

    /// A scale that shows all `places` with a margin.
    pub(super) fn scale(&self, places: impl Iterator<Item = f64>) -> Scale {
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
            (low.min(place), high.max(place))
        });
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let extent = high / 2.0 - low / 2.0;
        let margin = match extent {
            // One value only, or values that differ by rounding alone.
            extent if extent <= low.abs().max(high.abs()) * 1e-12 => (low.abs() * 0.1).max(0.5),
            extent => extent * 0.08,
        };
        // Values near the limits of f64 must not push the scale beyond them.
        let low = (low - margin).max(-1e300);
        let high = (high + margin).min(1e300);
        let (ticks, labels) = if self.log {
            logarithmic(low, high)
        } else {
            linear(low, high)
        };
        Scale {
            low,
            high,
            ticks,
            labels,
        }
    }
}

impl Scale {
    /// The label of a tick.
    pub(super) fn label(&self, place: f64) -> String {
        let ticks = self.ticks.iter().zip(&self.labels);
        let nearest =
            ticks.min_by(|(a, _), (b, _)| (*a - place).abs().total_cmp(&(*b - place).abs()));
        nearest.map_or_else(String::new, |(_, label)| label.clone())
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear(low: f64, high: f64) -> (Vec<f64>, Vec<String>) {
    let rough = (high / TICKS - low / TICKS).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil();
    let count = ((high / step).floor() - first).clamp(0.0, 2.0 * TICKS) as usize;
    let ticks: Vec<f64> = (0..=count)
        .map(|index| (first + index as f64) * step)
        .collect();
    let largest = ticks
        .iter()
        .fold(0.0_f64, |largest, tick| largest.max(tick.abs()));
    let unit = match largest {
        largest if largest >= 1e6 && step >= 1e5 => (1e6, "M"),
        largest if largest >= 1e4 && step >= 1e2 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let digits = (-(step / unit.0).log10().floor()).max(0.0) as usize;
    let labels = ticks.iter().map(|tick| {
        if !(1e-4..1e9).contains(&largest) || digits > 8 {
            number(*tick)
        } else if *tick == 0.0 {
            "0".into()
        } else {
            fixed(*tick / unit.0, digits) + unit.1
        }
    });
    let labels = labels.collect();
    (ticks, labels)
}

/// Powers of ten; over less than two decades also their doubles and quintuples.
fn logarithmic(low: f64, high: f64) -> (Vec<f64>, Vec<String>) {
    let (first, last) = (low.floor() as i64, high.ceil() as i64);
    let stride = ((last - first) as f64 / TICKS).ceil().max(1.0) as usize;
    let factors: &[f64] = if high - low < 2.0 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let ticks: Vec<(f64, f64, i64)> = (first..=last)
        .step_by(stride)
        .flat_map(|power| {
            factors
                .iter()
                .map(move |f| (power as f64 + f.log10(), *f, power))
        })
        .filter(|(place, ..)| (low..=high).contains(place))
        .collect();
    if ticks.len() < 2 {
        // Less than a third of a decade: evenly spaced places, labelled by their value.
        let ticks: Vec<f64> = (0..5)
            .map(|i| low + (high - low) * (0.5 + i as f64) / 5.0)
            .collect();
        let labels = ticks
            .iter()
            .map(|tick| number(10_f64.powf(*tick)))
            .collect();
        return (ticks, labels);
    }
    let label = |factor: f64, power: i64| match power {
        -4..=5 => {
            let value = factor * 10_f64.powi(power as i32);
            fixed(value, usize::try_from(-power).unwrap_or(0))
        }
        _ => format!("{factor}e{power}"),
    };
    ticks
        .into_iter()
        .map(|(place, factor, power)| (place, label(factor, power)))
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(log: bool, values: &[f64]) -> Scale {
        let axis = Axis {
            title: String::new(),
            log,
        };
        axis.scale(values.iter().filter_map(|value| axis.place(*value)))
    }

    #[test]
    fn ticks_are_round_and_labelled_alike() {
        assert_eq!(
            scale(false, &[0.0, 1.0]).labels,
            ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            scale(false, &[0.0, 12_000.0]).labels,
            ["0", "2k", "4k", "6k", "8k", "10k", "12k"]
        );
        assert_eq!(
            scale(false, &[0.0, 3e6]).labels,
            ["0", "0.5M", "1.0M", "1.5M", "2.0M", "2.5M", "3.0M"]
        );
        assert_eq!(
            scale(true, &[0.01, 100.0]).labels,
            ["0.01", "0.1", "1", "10", "100"]
        );
        assert_eq!(scale(true, &[1.0, 10.0]).labels, ["1", "2", "5", "10"]);
    }

    #[test]
    fn every_range_has_ticks_within_it() {
        let ranges: [&[f64]; 9] = [
            &[],
            &[f64::NAN],
            &[3.0],
            &[1e-300, 1e300],
            &[-1.7e308, 1.7e308],
            &[1.0, 1.0 + 1e-15],
            &[2.1, 2.2],
            &[1e-12, 2e-12],
            &[5e8, 6e8],
        ];
        for range in ranges {
            for log in [false, true] {
                let scale = scale(log, range);
                assert!(scale.low < scale.high, "{range:?}");
                assert!(scale.ticks.len() >= 2, "{range:?} {log} {scale:?}");
                assert_eq!(scale.ticks.len(), scale.labels.len());
                let inside = |tick: &f64| (scale.low..=scale.high).contains(tick);
                assert!(scale.ticks.iter().all(inside), "{range:?} {scale:?}");
                assert_eq!(scale.label(scale.ticks[1]), scale.labels[1]);
            }
        }
    }
}
