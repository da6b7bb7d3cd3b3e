//! How the claims of a paper fared.

use menagerie_core::{Claim, Error, Gate, Result};

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The run decided the claim and confirmed it.
    Met,
    /// The run decided the claim and did not confirm it.
    NotMet,
    /// Measured, but not decidable at this scale.
    Reported,
    /// The run says nothing about the claim; counts as not met.
    Missing,
}

impl Outcome {
    /// The word for readers, e.g. `not met`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::Reported => "reported",
            Self::Missing => "missing",
        }
    }

    /// The name in `report.json` and of the style class.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::NotMet => "not_met",
            other => other.word(),
        }
    }

    /// Whether a run with this outcome has failed.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::NotMet | Self::Missing)
    }
}

/// The outcome of one claim with what was measured and the rule that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What became of the claim.
    pub outcome: Outcome,
    /// The measured numbers in words, e.g. `95.7 ± 0.2 % against 95.9 ± 0.1 %`.
    pub measured: String,
    /// The criterion, or for a reported claim why it is not decided here.
    pub rule: String,
}

impl Verdict {
    /// A claim that the run confirmed.
    pub fn met(measured: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::decided(true, measured, rule)
    }

    /// A claim that the run did not confirm.
    pub fn not_met(measured: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::decided(false, measured, rule)
    }

    /// [`met`](Self::met) or [`not_met`](Self::not_met), as `met` says.
    pub fn decided(met: bool, measured: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            outcome: if met { Outcome::Met } else { Outcome::NotMet },
            measured: measured.into(),
            rule: rule.into(),
        }
    }

    /// A claim that was measured without being decided.
    pub fn reported(measured: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Reported,
            measured: measured.into(),
            rule: rule.into(),
        }
    }

    /// What stands for a claim that nobody has given a verdict.
    pub(crate) fn missing() -> Self {
        Self {
            outcome: Outcome::Missing,
            measured: "nothing was measured".into(),
            rule: "every claim needs a verdict".into(),
        }
    }

    /// # Errors
    /// [`Error::Input`] unless the outcome is one that the claim's gate allows.
    pub(crate) fn check(&self, claim: &Claim) -> Result<()> {
        let rule = match (claim.gate, self.outcome) {
            (Gate::Decided, Outcome::Met | Outcome::NotMet)
            | (Gate::Reported, Outcome::Reported) => return Ok(()),
            (Gate::Decided, _) => "its gate is `Decided`: must be met or not met",
            (Gate::Reported, _) => "its gate is `Reported`: must be reported",
        };
        Err(Error::input(
            format!("verdict of claim `{}`", claim.id),
            self.outcome.word(),
            rule,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_decides_which_outcomes_a_claim_can_have() {
        let claim = |gate| Claim {
            id: "gap",
            text: "The gap is small.",
            figures: &[],
            gate,
        };
        let met = Verdict::met("0.1", "at most 0.2");
        let not_met = Verdict::not_met("0.3", "at most 0.2");
        let reported = Verdict::reported("0.3 ± 0.4", "too few seeds");
        assert!(met.check(&claim(Gate::Decided)).is_ok());
        assert!(not_met.check(&claim(Gate::Decided)).is_ok());
        assert!(reported.check(&claim(Gate::Reported)).is_ok());
        assert_eq!(
            reported
                .check(&claim(Gate::Decided))
                .unwrap_err()
                .to_string(),
            "verdict of claim `gap` is \"reported\": its gate is `Decided`: must be met or not met"
        );
        assert_eq!(
            not_met
                .check(&claim(Gate::Reported))
                .unwrap_err()
                .to_string(),
            "verdict of claim `gap` is \"not met\": its gate is `Reported`: must be reported"
        );
    }
}
