//! The same weights as another variant.

use super::{
    config::{Activation, SaeConfig, Threshold},
    fold::edit,
    model::SparseAutoencoder,
};
use burn::{module::Param, tensor::Tensor};
use menagerie_core::{Error, Result};

impl SparseAutoencoder {
    /// The same weights read as another variant, e.g. the JumpReLU that a trained BatchTopK
    /// becomes. Parameters that the variant adds are initialised, those that it lacks dropped.
    ///
    /// # Errors
    /// What [`SaeConfig::validate`] reports, other sizes than these weights have, thresholds of at
    /// most 0 where their logarithms are to be stored.
    pub fn with_config(self, config: SaeConfig) -> Result<Self> {
        let sizes = |config: &SaeConfig| [config.d_in, config.d_sae, config.output()];
        if sizes(&config) != sizes(&self.config) {
            return Err(Error::input(
                "sizes [d_in, d_sae, d_out]",
                sizes(&config),
                format!("must be those of the weights, {:?}", sizes(&self.config)),
            ));
        }
        let fresh = config.init(&self.decoder.device())?;
        let threshold = self.threshold_for(&config)?;
        Ok(Self {
            encoder: self.encoder,
            decoder: self.decoder,
            b_dec: self.b_dec,
            b_enc: fresh.b_enc.map(|new| self.b_enc.unwrap_or(new)),
            threshold: fresh.threshold.map(|new| threshold.unwrap_or(new)),
            batch_threshold: fresh
                .batch_threshold
                .map(|new| self.batch_threshold.unwrap_or(new)),
            gate: fresh.gate.map(|new| self.gate.unwrap_or(new)),
            skip: fresh.skip.map(|new| self.skip.unwrap_or(new)),
            config,
        })
    }

    /// The parameter of the thresholds as another configuration stores it.
    fn threshold_for(&self, config: &SaeConfig) -> Result<Option<Param<Tensor<1>>>> {
        let is_log = |config: &SaeConfig| {
            matches!(
                config.activation,
                Activation::JumpRelu {
                    threshold: Threshold::Log,
                    ..
                }
            )
        };
        let (Some(stored), Some(theta)) = (&self.threshold, self.thresholds()) else {
            return Ok(None);
        };
        let theta = theta.detach();
        let stored = match (is_log(&self.config), is_log(config)) {
            (false, true) => {
                let least = theta.clone().min().into_data().convert::<f32>();
                match least.as_slice::<f32>() {
                    Ok([least]) if *least > 0.0 => edit(stored.clone(), |_| theta.log()),
                    Ok([least]) => {
                        let rule = "must be above 0 where its logarithm is stored";
                        return Err(Error::input("the least threshold", least, rule));
                    }
                    _ => stored.clone(),
                }
            }
            (true, false) => edit(stored.clone(), |_| theta),
            _ => stored.clone(),
        };
        Ok(Some(stored))
    }
}
