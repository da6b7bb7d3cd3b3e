//! Distillation: batches, the step, the published settings.

use super::model::{Dmae, Teacher};
use crate::mae_base::{FinetuningConfig, PretrainingConfig};
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::Result;
use menagerie_nn::vit::Masking;
use menagerie_train::Scalars;

/// The published distillation: 100 epochs, 20 of warm-up, batches of 4096, AdamW as in
/// pre-training.
pub fn distillation() -> PretrainingConfig {
    PretrainingConfig::new()
        .with_epochs(100.0)
        .with_warmup(20.0)
}

/// The published fine-tuning of the student; stochastic depth at 0.15.
pub fn fine_tuning() -> FinetuningConfig {
    FinetuningConfig::new()
        .with_layer_decay(0.75)
        .with_warmup(20.0)
}

/// Images, what is hidden of them, and what the teacher makes of the rest.
#[derive(Clone, Debug)]
pub struct DistillationBatch {
    /// `[batch, channels, height, width]`, normalised.
    pub images: Tensor<4>,
    /// Of `[batch, tokens]`; the same for teacher and student.
    pub masking: Masking,
    /// The teacher's aligned features, `[batch, 1 + visible, dim]` each.
    pub teacher: Vec<Tensor<3>>,
}

impl DistillationBatch {
    /// Asks the teacher.
    ///
    /// # Errors
    /// What [`Teacher::features`] reports.
    pub fn new(teacher: &Teacher, images: Tensor<4>, masking: Masking) -> Result<Self> {
        Ok(Self {
            teacher: teacher.features(images.clone(), &masking)?,
            images,
            masking,
        })
    }
}

/// The objective of a checked batch; a step panics where [`Dmae::loss`] reports an error.
impl TrainStep for Dmae {
    type Input = DistillationBatch;
    type Output = Scalars;

    fn step(&self, batch: DistillationBatch) -> TrainOutput<Scalars> {
        let loss = self.checked_loss(batch.images, &batch.masking, &batch.teacher);
        let mut scalars = Scalars::new()
            .with("loss", loss.total.clone())
            .with("reconstruction", loss.reconstruction);
        if let Some(sum) = loss.alignments.into_iter().reduce(|a, b| a + b) {
            scalars = scalars.with("alignment", sum);
        }
        TrainOutput::new(self, loss.total.backward(), scalars)
    }
}

impl InferenceStep for Dmae {
    type Input = DistillationBatch;
    type Output = Scalars;

    fn step(&self, batch: DistillationBatch) -> Scalars {
        let loss = self.checked_loss(batch.images, &batch.masking, &batch.teacher);
        Scalars::new()
            .with("loss", loss.total)
            .with("reconstruction", loss.reconstruction)
    }
}
