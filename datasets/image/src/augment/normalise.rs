use super::Image;
use menagerie_core::{Error, Result};

/// The mean of red, green and blue over ImageNet, on a scale from 0 to 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// The standard deviation of red, green and blue over ImageNet, on a scale from 0 to 1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Standardises each channel: (value / 255 − mean) / std.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// The mean of each channel on a scale from 0 to 1.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel on a scale from 0 to 1.
    pub std: Vec<f32>,
}

impl Normalise {
    const NAME: &str = "Normalise";

    /// By ImageNet's statistics.
    pub fn imagenet() -> Self {
        Self {
            mean: IMAGENET_MEAN.into(),
            std: IMAGENET_STD.into(),
        }
    }

    /// Values from 0 to 1 as they are.
    pub fn none(channels: usize) -> Self {
        Self {
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.mean.is_empty() || !self.mean.iter().all(|mean| mean.is_finite()) {
            let rule = "must be a finite number for each channel";
            return Err(Error::config(Self::NAME, "mean", &self.mean, rule));
        }
        let positive = |std: &f32| std.is_finite() && *std > 0.0;
        if self.std.len() != self.mean.len() || !self.std.iter().all(positive) {
            let rule = format!(
                "must be {} positive numbers, one for each mean",
                self.mean.len()
            );
            return Err(Error::config(Self::NAME, "std", &self.std, rule));
        }
        Ok(())
    }

    /// The standardised planes `[channels, height, width]` of `image`.
    ///
    /// # Errors
    /// [`Error::Input`] where the image has another number of channels.
    pub fn apply(&self, image: &Image) -> Result<Vec<f32>> {
        let mut planes = vec![0.0; image.pixels().len()];
        self.write(image, &mut planes)?;
        Ok(planes)
    }

    /// [`apply`](Self::apply) into `planes`, which has the image's number of values.
    pub(super) fn write(&self, image: &Image, planes: &mut [f32]) -> Result<()> {
        let channels = image.channels();
        if channels != self.mean.len() {
            let rule = format!("must be {}, the number of means", self.mean.len());
            return Err(Error::input("channels", channels, rule));
        }
        let area = image.height() * image.width();
        for (channel, plane) in planes.chunks_exact_mut(area).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let table: [f32; 256] =
                std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
            let values = image.pixels().iter().skip(channel).step_by(channels);
            for (output, &value) in plane.iter_mut().zip(values) {
                *output = table[usize::from(value)];
            }
        }
        Ok(())
    }
}
