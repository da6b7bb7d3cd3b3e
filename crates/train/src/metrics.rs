//! Named numbers: [`Scalars`] on the device, [`Metrics`] on the host.

use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::{
    ItemLazy,
    metric::{Adaptor, LossInput},
};
use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Named numbers in the order in which they were reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// No metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces `name`.
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.insert(name, value);
        self
    }

    /// Adds or replaces `name`.
    pub fn insert(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether there is no metric.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first metric that is NaN or infinite.
    pub fn non_finite(&self) -> Option<(&str, f64)> {
        self.iter().find(|(_, value)| !value.is_finite())
    }

    /// The mean of each metric over `all`, weighted: for evaluations that run in batches.
    pub fn weighted_mean(all: impl IntoIterator<Item = (Metrics, f64)>) -> Self {
        let mut sums = Self::new();
        let mut total = 0.0;
        for (metrics, weight) in all {
            total += weight;
            for (name, value) in metrics.iter() {
                let sum = sums.get(name).unwrap_or(0.0);
                sums.insert(name, sum + weight * value);
            }
        }
        for (_, value) in &mut sums.0 {
            *value /= total;
        }
        sums
    }
}

impl std::fmt::Display for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            let gap = if index == 0 { "" } else { "  " };
            write!(f, "{gap}{name} {value:.4}")?;
        }
        Ok(())
    }
}

// A JSON object in reporting order; NaN and infinities, which JSON lacks, as strings.
impl Serialize for Metrics {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(name, value)| (name, Number::from(value))))
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Metrics;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object of numbers")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Metrics, A::Error> {
                let mut metrics = Metrics::new();
                while let Some((name, number)) = map.next_entry::<String, Number>()? {
                    metrics.insert(name, number.into());
                }
                Ok(metrics)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Other(String),
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        if value.is_finite() {
            Self::Finite(value)
        } else {
            Self::Other(value.to_string())
        }
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Finite(value) => value,
            Number::Other(text) => text.parse().unwrap_or(f64::NAN),
        }
    }
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a step reports a handful of scalars, most of them tensors"
)]
enum Scalar {
    Device(Tensor<1>),
    Host(f64),
}

impl Scalar {
    fn plus(self, other: Self, device: &Device) -> Self {
        let on_device = |scalar| match scalar {
            Self::Device(tensor) => tensor,
            Self::Host(value) => Tensor::from_floats([value as f32], device),
        };
        match (self, other) {
            (Self::Host(a), Self::Host(b)) => Self::Host(a + b),
            (a, b) => Self::Device(on_device(a) + on_device(b)),
        }
    }
}

/// Named scalars that may still lie on the device: reading one waits for the device, so a step
/// hands them over unread and the loop reads them when it logs.
///
/// The output of the training and inference steps of Menagerie's systems. With burn-train's own
/// learner, the entry `loss` feeds its `LossMetric`.
#[derive(Clone, Debug, Default)]
pub struct Scalars(Vec<(&'static str, Scalar)>);

impl Scalars {
    /// No scalars.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor of one element, shape `[1]`, detached from the autodiff graph.
    pub fn with(mut self, name: &'static str, value: Tensor<1>) -> Self {
        self.0
            .push((name, Scalar::Device(value.without_autodiff())));
        self
    }

    /// Adds a number that is already known.
    pub fn with_value(mut self, name: &'static str, value: f64) -> Self {
        self.0.push((name, Scalar::Host(value)));
        self
    }

    /// The mean of each scalar over the parts of a step, on `device`; a NaN in one part shows.
    pub(crate) fn mean(parts: Vec<Self>, device: &Device) -> Self {
        let share = 1.0 / parts.len() as f64;
        let mut sums: Vec<(&'static str, Scalar)> = Vec::new();
        for (name, scalar) in parts.into_iter().flat_map(|part| part.0) {
            let scalar = match scalar {
                Scalar::Device(tensor) => Scalar::Device(tensor.to_device(device) * share),
                Scalar::Host(value) => Scalar::Host(value * share),
            };
            match sums.iter_mut().find(|(known, _)| *known == name) {
                None => sums.push((name, scalar)),
                Some((_, sum)) => *sum = sum.clone().plus(scalar, device),
            }
        }
        Self(sums)
    }

    /// Reads the values from the device.
    ///
    /// # Errors
    /// If the device fails, or if a tensor does not hold exactly one element.
    pub fn read(&self) -> Result<Metrics> {
        let mut metrics = Metrics::new();
        for (name, scalar) in &self.0 {
            let value = match scalar {
                Scalar::Host(value) => *value,
                Scalar::Device(tensor) => tensor
                    .clone()
                    .try_into_scalar::<f64>()
                    .map_err(|error| Error::other(format!("reading the metric {name}"), error))?,
            };
            metrics.insert(*name, value);
        }
        Ok(metrics)
    }
}

impl ItemLazy for Scalars {
    fn sync(self) -> std::result::Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for Scalars {
    fn adapt(&self) -> LossInput {
        let loss = self.0.iter().find_map(|(name, scalar)| match scalar {
            Scalar::Device(tensor) if *name == "loss" => Some(tensor.clone()),
            _ => None,
        });
        LossInput::new(loss.unwrap_or_else(|| Tensor::full([1], f32::NAN, &Default::default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_round_trip_in_order_with_non_finite_values() {
        let metrics = Metrics::new()
            .with("loss", 0.1 + 0.2)
            .with("accuracy", f64::NAN)
            .with("b", f64::NEG_INFINITY);
        let text = serde_json::to_string(&metrics).unwrap();
        assert_eq!(
            text,
            r#"{"loss":0.30000000000000004,"accuracy":"NaN","b":"-inf"}"#
        );
        let back: Metrics = serde_json::from_str(&text).unwrap();
        assert_eq!(back.get("loss"), metrics.get("loss"));
        assert!(back.get("accuracy").unwrap().is_nan());
        assert_eq!(metrics.non_finite().unwrap().0, "accuracy");
    }

    #[test]
    fn a_weighted_mean_weighs() {
        let batches = [
            (Metrics::new().with("a", 1.0), 3.0),
            (Metrics::new().with("a", 5.0), 1.0),
        ];
        assert_eq!(Metrics::weighted_mean(batches).get("a"), Some(2.0));
    }

    #[test]
    fn scalars_are_read_from_the_device() {
        let device = Default::default();
        let scalars = Scalars::new()
            .with("loss", Tensor::from_floats([2.5], &device))
            .with_value("rate", 0.1);
        let metrics = scalars.read().unwrap();
        assert_eq!(metrics.get("loss"), Some(2.5));
        assert_eq!(metrics.get("rate"), Some(0.1));
    }
}
