use super::{Image, Interpolation, Operation, OperationKind, normal, probability, uniform};
use menagerie_core::{Error, Result};
use rand::{Rng, RngExt};

/// Random operations of a random strength (Cubuk et al. 2020), with timm's operations, ranges and
/// magnitude noise.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// Operations per image, drawn with replacement.
    pub operations: usize,
    /// The strength, on a scale on which 10 is the end of most ranges.
    pub magnitude: f64,
    /// The standard deviation of each operation's magnitude; an infinite one draws it uniformly
    /// from 0 to `magnitude`.
    pub magnitude_std: f64,
    /// What a drawn magnitude is cut to.
    pub magnitude_max: f64,
    /// Whether every operation grows stronger with the magnitude. Otherwise posterize and solarize
    /// grow weaker, and the enhancements go from 0.1 to 1.9 instead of away from 1.
    pub increasing: bool,
    /// The probability of each operation.
    pub probability: f64,
    /// How the geometric operations interpolate; one of the list is drawn for each.
    pub interpolations: Vec<Interpolation>,
    /// The value of each channel outside of the image.
    pub fill: Vec<u8>,
}

impl RandAugment {
    const NAME: &str = "RandAugment";

    /// timm's `rand-m9-mstd0.5-inc1`, bicubic, filled with ImageNet's mean: the fine-tuning recipe
    /// of MAE and many others.
    pub fn fine_tuning() -> Self {
        Self {
            operations: 2,
            magnitude: 9.0,
            magnitude_std: 0.5,
            magnitude_max: 10.0,
            increasing: true,
            probability: 0.5,
            interpolations: vec![Interpolation::Bicubic],
            fill: vec![124, 116, 104],
        }
    }

    /// timm's `rand-m7-n4-mstd0.5-inc1`, the fine-tuning recipe for video.
    pub fn video() -> Self {
        Self {
            operations: 4,
            magnitude: 7.0,
            ..Self::fine_tuning()
        }
    }

    /// Reads timm's notation: `rand` and then, joined by `-`, any of `m` (magnitude), `n`
    /// (operations), `mstd` (magnitude noise; above 100 is uniform), `mmax`, `inc` (0 or 1) and
    /// `p` (probability), e.g. `rand-m9-mstd0.5-inc1`. What is left out is as in timm: 2
    /// operations, magnitude 10, no noise, at most 10, not increasing, probability 0.5.
    ///
    /// # Errors
    /// [`Error::Input`] for any other notation; what [`validate`](Self::validate) reports.
    pub fn parse(notation: &str) -> Result<Self> {
        let mut parsed = Self {
            magnitude: 10.0,
            magnitude_std: 0.0,
            increasing: false,
            ..Self::fine_tuning()
        };
        let refuse = || {
            let rule = "must be `rand` with parts m, n, mstd, mmax, inc or p and their numbers, \
                        such as rand-m9-mstd0.5-inc1";
            Error::input("the notation of RandAugment", notation, rule)
        };
        let mut parts = notation.split('-');
        if parts.next() != Some("rand") {
            return Err(refuse());
        }
        for part in parts {
            let digits = part.find(|letter: char| !letter.is_ascii_alphabetic());
            let (key, number) = part.split_at(digits.ok_or_else(refuse)?);
            let value: f64 = number.parse().map_err(|_| refuse())?;
            match key {
                "m" => parsed.magnitude = value,
                "n" if value.fract() == 0.0 => parsed.operations = value as usize,
                "mstd" if value > 100.0 => parsed.magnitude_std = f64::INFINITY,
                "mstd" => parsed.magnitude_std = value,
                "mmax" => parsed.magnitude_max = value,
                "inc" => parsed.increasing = value != 0.0,
                "p" => parsed.probability = value,
                _ => return Err(refuse()),
            }
        }
        parsed.validate()?;
        Ok(parsed)
    }

    /// The same with this value of each channel outside of the image.
    pub fn with_fill(mut self, fill: impl Into<Vec<u8>>) -> Self {
        self.fill = fill.into();
        self
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("magnitude", self.magnitude),
            ("magnitude_max", self.magnitude_max),
        ] {
            if !value.is_finite() || value < 0.0 {
                let rule = "must be finite and not negative";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        if self.magnitude_std.is_nan() || self.magnitude_std < 0.0 {
            let rule = "must not be negative";
            let value = self.magnitude_std;
            return Err(Error::config(Self::NAME, "magnitude_std", value, rule));
        }
        if self.operations > 64 {
            let rule = "must be at most 64";
            return Err(Error::config(
                Self::NAME,
                "operations",
                self.operations,
                rule,
            ));
        }
        if self.interpolations.is_empty() {
            let rule = "must name at least one";
            return Err(Error::config(Self::NAME, "interpolations", "[]", rule));
        }
        probability(Self::NAME, "probability", self.probability)
    }

    /// The operations for one image (or for all frames of a clip).
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<Operation> {
        let mut drawn = Vec::with_capacity(self.operations);
        for _ in 0..self.operations {
            let kind = OperationKind::ALL[rng.random_range(0..OperationKind::ALL.len())];
            if rng.random::<f64>() > self.probability {
                continue;
            }
            let magnitude = match self.magnitude_std {
                0.0 => self.magnitude,
                std if std.is_infinite() => uniform(0.0, self.magnitude, rng),
                std => self.magnitude + std * normal(rng),
            };
            let magnitude = magnitude.min(self.magnitude_max).max(0.0);
            let negative = rng.random::<bool>();
            let interpolation = match self.interpolations.len() {
                0 => Interpolation::default(),
                count => self.interpolations[rng.random_range(0..count)],
            };
            drawn.push(Operation {
                kind,
                argument: self.argument(kind, magnitude, negative),
                interpolation,
            });
        }
        drawn
    }

    /// `image` under `operations`, one after the other.
    ///
    /// # Errors
    /// As [`Operation::apply`].
    pub fn apply(&self, image: &Image, operations: &[Operation]) -> Result<Image> {
        let mut image = image.clone();
        for operation in operations {
            image = operation.apply(&image, &self.fill)?;
        }
        Ok(image)
    }

    /// The argument of an operation of that `kind` at a `magnitude`; `negative` turns the ones that
    /// go both ways.
    pub fn argument(&self, kind: OperationKind, magnitude: f64, negative: bool) -> f64 {
        let level = magnitude / 10.0;
        let signed = |value: f64| if negative { -value } else { value };
        match kind {
            OperationKind::AutoContrast | OperationKind::Equalize | OperationKind::Invert => 0.0,
            OperationKind::Rotate => signed(level * 30.0),
            OperationKind::Posterize if self.increasing => (4.0 - (level * 4.0).trunc()).max(0.0),
            OperationKind::Posterize => (level * 4.0).trunc(),
            OperationKind::Solarize if self.increasing => {
                256.0 - (level * 256.0).trunc().min(256.0)
            }
            OperationKind::Solarize => (level * 256.0).trunc().min(256.0),
            OperationKind::SolarizeAdd => (level * 110.0).trunc().min(128.0),
            OperationKind::Color
            | OperationKind::Contrast
            | OperationKind::Brightness
            | OperationKind::Sharpness
                if self.increasing =>
            {
                (1.0 + signed(level * 0.9)).max(0.1)
            }
            OperationKind::Color
            | OperationKind::Contrast
            | OperationKind::Brightness
            | OperationKind::Sharpness => level * 1.8 + 0.1,
            OperationKind::ShearX | OperationKind::ShearY => signed(level * 0.3),
            OperationKind::TranslateX | OperationKind::TranslateY => signed(level * 0.45),
        }
    }
}
