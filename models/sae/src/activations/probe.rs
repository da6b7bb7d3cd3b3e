//! Probes of a language model.

use super::host::Probe;
use crate::host::{HookPoint, Hooks, LanguageModel, activation_gradient};
use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use menagerie_core::{Error, Result};

/// Reads a [`LanguageModel`] at a hook.
///
/// ```
/// use burn::tensor::Device;
/// use menagerie_core::Seed;
/// use menagerie_sae::activations::{ActivationSource, HookedModel, HostSource, HostSourceConfig};
/// use menagerie_sae::host::{HookPoint, LanguageModelConfig};
///
/// let config = LanguageModelConfig::gpt2(65, 16, 24, 2, 3);
/// let model = config.init(&Device::default())?;
/// let hook = HookPoint::parse("blocks.1.hook_resid_pre", &config)?;
/// let probe = HookedModel::new(&model, "tiny", hook)?.with_gradients();
/// let windows = HostSourceConfig::new(16, 4).with_drop_first(1).with_drop_last(1);
/// let mut source = HostSource::new(probe, (0..64).collect(), &windows, Seed(0))?;
/// let rows = source.next()?.unwrap();
/// assert_eq!((rows.len(), rows.width(), rows.paired_width()), (4 * 14, 24, Some(24)));
/// # Ok::<(), menagerie_core::Error>(())
/// ```
#[derive(Debug)]
pub struct HookedModel {
    model: LanguageModel,
    name: String,
    hook: HookPoint,
    pairing: Pairing,
    device: Device,
}

#[derive(Clone, Copy, Debug)]
enum Pairing {
    Nothing,
    Gradient,
    Target(HookPoint),
}

impl HookedModel {
    /// Reads the activations of `model`, called `name`, at `hook`.
    ///
    /// # Errors
    /// A model without parameters.
    pub fn new(model: &LanguageModel, name: impl Into<String>, hook: HookPoint) -> Result<Self> {
        let model = model.valid();
        let device = model.devices().into_iter().next();
        let device = device
            .ok_or_else(|| Error::input("parameters of the model", 0, "must be at least 1"))?;
        Ok(Self {
            model,
            name: name.into(),
            hook,
            pairing: Pairing::Nothing,
            device,
        })
    }

    /// Pairs each activation with the gradient of the sum of the next-token cross-entropies with
    /// respect to it: a run to the end and back instead of one to the hook.
    pub fn with_gradients(mut self) -> Self {
        self.pairing = Pairing::Gradient;
        self
    }

    /// Pairs each activation with the one at another hook of the same run, which a transcoder
    /// predicts.
    pub fn with_target(mut self, hook: HookPoint) -> Self {
        self.pairing = Pairing::Target(hook);
        self
    }
}

impl Probe for HookedModel {
    fn hook(&self) -> String {
        self.hook.to_string()
    }

    fn model(&self) -> String {
        self.name.clone()
    }

    fn width(&self) -> usize {
        self.model.hidden_size(&self.hook)
    }

    fn paired_width(&self) -> Option<usize> {
        match self.pairing {
            Pairing::Nothing => None,
            Pairing::Gradient => Some(self.width()),
            Pairing::Target(hook) => Some(self.model.hidden_size(&hook)),
        }
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn read(&self, tokens: Tensor<2, Int>) -> Result<(Tensor<3>, Option<Tensor<3>>)> {
        match self.pairing {
            Pairing::Nothing => Ok((self.model.activations(tokens, &self.hook)?, None)),
            Pairing::Gradient => {
                let (x, gradient) = activation_gradient(&self.model, tokens, &self.hook)?;
                Ok((x, Some(gradient)))
            }
            Pairing::Target(target) => {
                let mut hooks = Hooks::new().reading(self.hook).reading(target);
                self.model.run(tokens, &mut hooks)?;
                Ok((hooks.take(&self.hook)?, Some(hooks.take(&target)?)))
            }
        }
    }
}
