//! How long each stage of training lasts and what it starts from.

use super::{path_integral::PathIntegralConfig, targets::TargetRule};
use burn::config::Config;
use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the network is trained.
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// Learning rate of Adam (β 0.9 and 0.999, ε 1e-8) in all stages.
    #[config(default = 1e-4)]
    pub learning_rate: f64,
    /// Images per batch.
    #[config(default = 100)]
    pub batch: usize,
    /// Share of the images that judge the first two stages instead of training; 0 keeps the last
    /// network of a stage instead of the best.
    #[config(default = 0.1)]
    pub validation: f64,
    /// The first stage.
    #[config(default = "Budget::new(4_000, 100)")]
    pub autoencoder: Budget,
    /// The clustering of the embeddings after it.
    #[config(default = "InitialClustering::published()")]
    pub initial: InitialClustering,
    /// The second stage.
    #[config(default = "Budget::new(1_000, 5)")]
    pub warm_up: Budget,
    /// The third stage.
    #[config(default = "JointConfig::new()")]
    pub joint: JointConfig,
}

/// How long a stage lasts.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct Budget {
    /// Passes over the training images at most.
    pub epochs: usize,
    /// Passes without an improvement on the validation images after which the stage ends.
    pub patience: usize,
}

/// How embeddings are clustered before the softmax layer exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum InitialClustering {
    /// k-means with k-means++: MNIST-full, FRGC, YTF and CMU-PIE.
    KMeans {
        /// Seedings that are tried.
        restarts: usize,
        /// Lloyd's iterations of each at most.
        iterations: usize,
    },
    /// Agglomerative clustering by path integral: MNIST-test and USPS.
    PathIntegral(PathIntegralConfig),
}

impl InitialClustering {
    /// k-means with 40 restarts of 300 iterations.
    pub fn published() -> Self {
        Self::KMeans {
            restarts: 40,
            iterations: 300,
        }
    }
}

/// How targets and network alternate.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct JointConfig {
    /// Passes over the images at most.
    #[config(default = 4_000)]
    pub epochs: usize,
    /// The stage ends when the mean squared change of the targets from one pass to the next is below
    /// this.
    #[config(default = 1e-7)]
    pub tolerance: f64,
    /// How targets follow from assignments.
    #[config(default = "TargetRule::Squared")]
    pub rule: TargetRule,
    /// Which assignments they follow from.
    #[config(default = "Refresh::EachStep")]
    pub refresh: Refresh,
}

/// Which assignments an E-step sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refresh {
    /// Those that were computed right after the step of each batch, slightly stale for the first ones
    /// of a pass, as in the released code.
    EachStep,
    /// Those of a clean pass over all images at the end of each pass.
    EachEpoch,
}

impl TrainingConfig {
    const NAME: &str = "TrainingConfig";

    /// The official run on MNIST-full, FRGC, YTF and CMU-PIE.
    pub fn published() -> Self {
        Self::new()
    }

    /// The official run on MNIST-test and USPS, which starts from AC-PIC.
    pub fn published_small() -> Self {
        Self::new().with_initial(InitialClustering::PathIntegral(PathIntegralConfig::new()))
    }

    /// A run of so many passes in each stage at ten times the rate, without validation, with targets
    /// from a clean pass; for a few thousand images.
    pub fn short(autoencoder: usize, warm_up: usize, joint: usize) -> Self {
        Self::new()
            .with_learning_rate(1e-3)
            .with_validation(0.0)
            .with_autoencoder(Budget::new(autoencoder, autoencoder))
            .with_warm_up(Budget::new(warm_up, warm_up))
            .with_initial(InitialClustering::KMeans {
                restarts: 20,
                iterations: 300,
            })
            .with_joint(
                JointConfig::new()
                    .with_epochs(joint)
                    .with_refresh(Refresh::EachEpoch),
            )
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !self.learning_rate.is_finite() || self.learning_rate <= 0.0 {
            let rule = "must be finite and above 0";
            let rate = self.learning_rate;
            return Err(Error::config(Self::NAME, "learning_rate", rate, rule));
        }
        if !(0.0..1.0).contains(&self.validation) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(
                Self::NAME,
                "validation",
                self.validation,
                rule,
            ));
        }
        if !self.joint.tolerance.is_finite() || self.joint.tolerance < 0.0 {
            let rule = "must be finite and not negative";
            let tolerance = self.joint.tolerance;
            return Err(Error::config(
                Self::NAME,
                "joint.tolerance",
                tolerance,
                rule,
            ));
        }
        for (field, value) in [
            ("batch", self.batch),
            ("autoencoder.epochs", self.autoencoder.epochs),
            ("autoencoder.patience", self.autoencoder.patience),
            ("warm_up.epochs", self.warm_up.epochs),
            ("warm_up.patience", self.warm_up.patience),
            ("joint.epochs", self.joint.epochs),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        Ok(())
    }
}
