//! Step sizes: what is accepted, and how long the next step is.

use burn::config::Config;
use menagerie_core::{Error, Result};

/// How large the error of a step may be: `absolute + relative · max(|u|, |u⁺|)` for every element.
#[derive(Config, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// In units of the state.
    pub absolute: f64,
    /// As a share of the state.
    pub relative: f64,
}

impl Tolerance {
    /// Both of one size.
    pub fn both(size: f64) -> Self {
        Self::new(size, size)
    }

    /// Refuses sizes that are not above 0.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("absolute", self.absolute), ("relative", self.relative)] {
            if !(value.is_finite() && value > 0.0) {
                let rule = "must be finite and above 0";
                return Err(Error::config("Tolerance", field, value, rule));
            }
        }
        Ok(())
    }
}

/// The constants of a PI controller (Hairer and Wanner, *Solving Ordinary Differential Equations
/// II*, IV.2), in double precision whatever the state is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controller {
    /// Power of the error of the step, β₁.
    pub proportional: f64,
    /// Power of the error of the last accepted step, β₂.
    pub integral: f64,
    /// How much shorter than thought possible the next step is, γ.
    pub safety: f64,
    /// The next step is at least this share of the last one.
    pub shrink: f64,
    /// The next step is at most this multiple of the last one.
    pub grow: f64,
}

/// The error that is remembered before the first step, and the least that is.
const LEAST: f64 = 1e-4;

impl Controller {
    /// Of Tsit5.
    pub const ODE: Self = Self {
        proportional: 7.0 / 50.0,
        integral: 2.0 / 25.0,
        safety: 0.9,
        shrink: 0.2,
        grow: 10.0,
    };

    /// Of SOSRI.
    pub const SDE: Self = Self {
        proportional: 7.0 / 15.0,
        integral: 4.0 / 15.0,
        safety: 0.9,
        shrink: 0.2,
        grow: 1.125,
    };

    /// At the start of a solve.
    pub(crate) fn start(self) -> Control {
        Control {
            constants: self,
            last: LEAST,
        }
    }
}

/// A controller on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    constants: Controller,
    /// The error of the last accepted step.
    last: f64,
}

impl Control {
    /// Whether a step of this scaled error is accepted, and how long the next one is to be.
    pub(crate) fn judge(&mut self, error: f64, dt: f64) -> (bool, f64) {
        let Controller {
            proportional,
            integral,
            safety,
            shrink,
            grow,
        } = self.constants;
        let powered = error.powf(proportional);
        if error > 1.0 {
            return (false, dt / (powered / safety).min(1.0 / shrink));
        }
        let quotient = if error == 0.0 {
            1.0 / grow
        } else {
            let quotient = powered / self.last.powf(integral) / safety;
            quotient.clamp(1.0 / grow, 1.0 / shrink)
        };
        self.last = error.max(LEAST);
        (true, dt / quotient)
    }
}

/// A first step size from sizes of the state and of its first slope, both beside the tolerance
/// (Hairer, Nørsett and Wanner, *Solving Ordinary Differential Equations I*, II.4).
pub(crate) fn first_guess(state: f64, slope: f64, span: f64) -> f64 {
    let guess = if state < 1e-5 || slope < 1e-5 {
        1e-6
    } else {
        0.01 * state / slope
    };
    guess.min(span)
}

/// The first step size from that guess, the size of the first slope, and how much the slope changes
/// over the guess, beside the tolerance and by unit of time.
pub(crate) fn second_guess(guess: f64, slope: f64, change: f64, order: f64, span: f64) -> f64 {
    let largest = slope.max(change);
    let second = if largest <= 1e-15 {
        (1e-3 * guess).max(1e-6)
    } else {
        10f64.powf(-(2.0 + largest.log10()) / order)
    };
    second.min(100.0 * guess).min(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_with_small_errors_and_shrink_with_large_ones() {
        let mut control = Controller::ODE.start();
        let (accepted, dt) = control.judge(0.0, 1.0);
        assert!(accepted && (dt - 10.0).abs() < 1e-12);
        // 0.5^0.14 / 1e-4^0.08 / 0.9.
        let (accepted, dt) = control.judge(0.5, 1.0);
        let quotient = 0.5f64.powf(0.14) / 1e-4f64.powf(0.08) / 0.9;
        assert!(accepted && (dt - 1.0 / quotient).abs() < 1e-12);
        // Refused without memory.
        let (accepted, dt) = control.judge(4.0, 1.0);
        assert!(!accepted && (dt - 0.9 / 4f64.powf(0.14)).abs() < 1e-12);
        let (_, dt) = control.judge(1e30, 1.0);
        assert!((dt - 0.2).abs() < 1e-12);
        // Memory of the accepted 0.5.
        let (_, dt) = control.judge(0.5, 1.0);
        let quotient = 0.5f64.powf(0.14) / 0.5f64.powf(0.08) / 0.9;
        assert!((dt - 1.0 / quotient).abs() < 1e-12);
    }
}
