//! Single features in closed form, and the paper's equations of them.
//!
//! With `w` the amplitude that all layers and the head have in common, `w̄ = w^L` that of the encoder,
//! and t the gradient-flow time of the weights:
//!
//! | | equation | fixed point of w̄ |
//! | --- | --- | --- |
//! | JEPA | `dw̄/dt = L (λ w̄^{3−1/L} − (λ/ρ) w̄³)` | `ρ^L` |
//! | MAE | `dw̄/dt = L (λ w̄^{2−1/L} − (λ/ρ) w̄³)` | `ρ^{L/(L+1)}` |

use super::config::{DynamicsConfig, Kind};
use super::sources::Feature;
use menagerie_core::{Error, Result};
use std::f64::consts::TAU;

/// The amplitude w̄ that a feature ends at.
pub fn fixed_point(law: &DynamicsConfig, feature: Feature) -> f64 {
    layer_fixed_point(law, feature).powi(law.layers as i32)
}

/// The same of one layer.
fn layer_fixed_point(law: &DynamicsConfig, feature: Feature) -> f64 {
    match law.kind {
        Kind::Jepa => feature.rho(),
        Kind::Mae => feature.rho().powf(1.0 / (law.layers as f64 + 1.0)),
    }
}

/// `dw̄/dt` at the amplitude `w̄` (the paper's equations times L).
pub fn velocity(law: &DynamicsConfig, feature: Feature, amplitude: f64) -> f64 {
    let depth = law.layers as f64;
    let power = match law.kind {
        Kind::Jepa => 3.0,
        Kind::Mae => 2.0,
    } - 1.0 / depth;
    let (lambda, rho) = (feature.lambda(), feature.rho());
    depth * lambda * (amplitude.powf(power) - amplitude.powi(3) / rho)
}

/// The antiderivative of `1 / (dw/dt)` at `w`, up to a constant.
fn clock(law: &DynamicsConfig, feature: Feature, w: f64) -> f64 {
    let time = match law.kind {
        Kind::Jepa => jepa_clock(law.layers, feature.rho(), w),
        Kind::Mae => mae_clock(law.layers, feature.rho(), w),
    };
    time / feature.lambda()
}

/// `∫ dw / (w^{2L} (1 − w/ρ))` by partial fractions.
fn jepa_clock(layers: usize, rho: f64, w: f64) -> f64 {
    let top = 2 * layers as i32 - 1;
    let powers: f64 = (1..=top)
        .map(|n| -1.0 / (f64::from(n) * rho.powi(top - n) * w.powi(n)))
        .sum();
    powers + rho.powi(-top) * (w / (1.0 - w / rho).abs()).ln()
}

/// `∫ dw / (w^L (1 − w^{L+1}/ρ))`: `∫ dw / w^L`, and `ρ^{2/(L+1) − 1} ∫ s ds / (1 − s^{L+1})` of
/// `s = w ρ^{−1/(L+1)}`, whose partial fractions are over the roots of 1.
fn mae_clock(layers: usize, rho: f64, w: f64) -> f64 {
    let depth = layers as f64;
    let free = match layers {
        1 => w.ln(),
        _ => -w.powi(1 - layers as i32) / (depth - 1.0),
    };
    let roots = layers + 1;
    let share = 1.0 / roots as f64;
    let s = w * rho.powf(-share);
    let logarithms: f64 = (0..roots)
        .map(|k| {
            let angle = TAU * k as f64 * share;
            // ln(1 − s / ω), and ω² times it.
            let (re, im) = (1.0 - s * angle.cos(), s * angle.sin());
            let (log, turn) = (re.hypot(im).ln(), im.atan2(re));
            let twice = 2.0 * angle;
            twice.cos() * log - twice.sin() * turn
        })
        .sum();
    free - rho.powf(2.0 * share - 1.0) * share * logarithms
}

/// The time at which a feature has the share `p` of its fixed point: `w̄ = p · fixed point`.
///
/// # Errors
/// [`Error::Config`] for an invalid law; [`Error::Input`] if `p` is not between 0 and 1, and if the
/// feature is beyond that amplitude at the start.
pub fn critical_time(law: &DynamicsConfig, feature: Feature, p: f64) -> Result<f64> {
    law.validate()?;
    if !(p > 0.0 && p < 1.0) {
        return Err(Error::input("the share p", p, "must lie between 0 and 1"));
    }
    let target = p * fixed_point(law, feature);
    if law.epsilon >= target {
        let rule = format!("must be below p times the fixed point, which is {target:e}");
        return Err(Error::input("epsilon", law.epsilon, rule));
    }
    let root = 1.0 / law.layers as f64;
    let (from, to) = (law.epsilon.powf(root), target.powf(root));
    Ok(clock(law, feature, to) - clock(law, feature, from))
}

/// The leading terms of the critical time for small ε: JEPA
/// `(1/λ) Σ_{n=1}^{2L−1} 1 / (n ρ^{2L−1−n} ε^{n/L})`, MAE `ε^{−(L−1)/L} / ((L−1) λ)`, or
/// `ln(1/ε) / λ` with one layer. The paper has a factor L more, for its unit of time.
pub fn leading_time(law: &DynamicsConfig, feature: Feature) -> f64 {
    let depth = law.layers as f64;
    let (epsilon, rho) = (law.epsilon, feature.rho());
    let terms = match law.kind {
        Kind::Jepa => {
            let top = 2 * law.layers as i32 - 1;
            let term = |n: i32| {
                let power = epsilon.powf(f64::from(n) / depth);
                1.0 / (f64::from(n) * rho.powi(top - n) * power)
            };
            (1..=top).map(term).sum()
        }
        Kind::Mae if law.layers == 1 => (1.0 / epsilon).ln(),
        Kind::Mae => epsilon.powf(1.0 / depth - 1.0) / (depth - 1.0),
    };
    terms / feature.lambda()
}

/// The amplitude w̄ at a time, from the closed form of the time.
///
/// # Errors
/// [`Error::Config`] for an invalid law; [`Error::Input`] for a time that is negative or not finite.
pub fn amplitude_at(law: &DynamicsConfig, feature: Feature, time: f64) -> Result<f64> {
    law.validate()?;
    if !(time.is_finite() && time >= 0.0) {
        let rule = "must be finite and not negative";
        return Err(Error::input("a time", time, rule));
    }
    let start = law.epsilon.powf(1.0 / law.layers as f64);
    let end = layer_fixed_point(law, feature);
    let began = clock(law, feature, start);
    // As w goes from the start to its fixed point the clock goes from 0 to infinity, whether the
    // start is below or above.
    let (mut early, mut late) = (start, end);
    for _ in 0..200 {
        let middle = 0.5 * (early + late);
        if middle == early || middle == late {
            break;
        }
        match clock(law, feature, middle) - began < time {
            true => early = middle,
            false => late = middle,
        }
    }
    Ok((0.5 * (early + late)).powi(law.layers as i32))
}

/// [`amplitude_at`] of every time.
///
/// # Errors
/// As [`amplitude_at`].
pub fn trajectory(law: &DynamicsConfig, feature: Feature, times: &[f64]) -> Result<Vec<f64>> {
    times
        .iter()
        .map(|time| amplitude_at(law, feature, *time))
        .collect()
}

/// The amplitude w̄ at ascending times from 0 on, by the method of Runge and Kutta on the paper's
/// equation with steps of at most `step`.
///
/// # Errors
/// [`Error::Config`] for an invalid law; [`Error::Input`] if times do not ascend from 0 or more, or
/// the step is not above 0.
pub fn integrate(
    law: &DynamicsConfig,
    feature: Feature,
    times: &[f64],
    step: f64,
) -> Result<Vec<f64>> {
    law.validate()?;
    ascending(times, step)?;
    let (mut now, mut amplitude) = (0.0, law.epsilon);
    let speed = |w: f64| velocity(law, feature, w);
    Ok(times
        .iter()
        .map(|time| {
            let steps = ((time - now) / step).ceil().max(0.0) as usize;
            let h = (time - now) / steps.max(1) as f64;
            for _ in 0..steps {
                let k1 = speed(amplitude);
                let k2 = speed(amplitude + 0.5 * h * k1);
                let k3 = speed(amplitude + 0.5 * h * k2);
                let k4 = speed(amplitude + h * k3);
                amplitude += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
            }
            now = *time;
            amplitude
        })
        .collect())
}

/// Refuses times that do not ascend from 0 or more, and a step that is not above 0.
pub(crate) fn ascending(times: &[f64], step: f64) -> Result<()> {
    if !(step.is_finite() && step > 0.0) {
        let rule = "must be finite and above 0";
        return Err(Error::input("the step", step, rule));
    }
    let mut last = 0.0;
    for time in times {
        if !(time.is_finite() && *time >= last) {
            let rule = format!("must be finite and not before {last}");
            return Err(Error::input("a time", time, rule));
        }
        last = *time;
    }
    Ok(())
}
