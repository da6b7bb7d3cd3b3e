//! The student with its projection heads, and the teacher that is run only as far as it is needed.

use super::config::{DmaeConfig, Projection};
use super::objective::{directions, distance};
use crate::mae_base::objective::masked_error;
use crate::mae_base::{Encoder, Mae, MaeOutput, VitConfig};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::transformer::gelu;
use menagerie_nn::vit::{Linear, LinearConfig, Masking};

/// Maps a student's features to the teacher's width.
#[derive(Module, Debug)]
pub struct ProjectionHead {
    /// One layer, or two or four with a GELU inside of each pair.
    pub layers: Vec<Linear>,
}

impl ProjectionHead {
    fn new(projection: Projection, student: usize, teacher: usize, device: &Device) -> Self {
        let layers = match projection {
            Projection::None => 0,
            Projection::Linear => 1,
            Projection::Mlp => 2,
            Projection::TwoMlps => 4,
        };
        let layers = (0..layers)
            .map(|layer| {
                let inputs = if layer == 0 { student } else { teacher };
                LinearConfig::new(inputs, teacher).init(device)
            })
            .collect();
        Self { layers }
    }

    /// `[batch, tokens, student's dim]` to `[batch, tokens, teacher's dim]`.
    ///
    /// # Panics
    /// If the last axis is not the student's width.
    pub fn forward(&self, features: Tensor<3>) -> Tensor<3> {
        self.layers
            .chunks(2)
            .fold(features, |features, pair| match pair {
                [first, second] => second.forward(gelu(first.forward(features))),
                pair => pair.iter().fold(features, |x, layer| layer.forward(x)),
            })
    }
}

/// The student and its projection heads; the heads are thrown away after training.
#[derive(Module, Debug)]
pub struct Dmae {
    /// The student.
    pub student: Mae,
    /// One for each aligned block; none where the features are compared as they are.
    pub heads: Vec<ProjectionHead>,
    #[module(skip)]
    config: DmaeConfig,
}

/// The objective of a batch.
#[derive(Clone, Debug)]
pub struct DmaeLoss {
    /// The sum of reconstruction and weighted alignments, `[1]`.
    pub total: Tensor<1>,
    /// The student's error on hidden patches, `[1]`.
    pub reconstruction: Tensor<1>,
    /// The distance at each aligned block, before weighting, `[1]` each.
    pub alignments: Vec<Tensor<1>>,
    /// The student's pass.
    pub output: MaeOutput,
}

impl DmaeConfig {
    /// A student with freshly drawn weights and heads.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Dmae> {
        self.validate()?;
        let (student, teacher) = (self.student.encoder.dim, self.teacher.dim);
        let heads = match self.projection {
            Projection::None => 0,
            _ => self.student_blocks.len(),
        };
        Ok(Dmae {
            student: self.student.init(device)?,
            heads: (0..heads)
                .map(|_| ProjectionHead::new(self.projection, student, teacher, device))
                .collect(),
            config: self.clone(),
        })
    }

    /// A teacher from its encoder, which must be of the configured sizes, though it may end after
    /// the last aligned block.
    ///
    /// # Errors
    /// [`Error::Input`] if the encoder is of other sizes; what [`validate`](Self::validate) reports.
    pub fn teacher(&self, encoder: Encoder) -> Result<Teacher> {
        self.validate()?;
        let last = self.teacher_blocks.iter().max().map_or(0, |last| last + 1);
        let found = encoder.config();
        let expected = VitConfig {
            depth: found.depth,
            ..self.teacher.clone()
        };
        if *found != expected || found.depth < last {
            let rule = format!("must be {:?}, of at least {last} blocks", self.teacher);
            return Err(Error::input("the teacher", found, rule));
        }
        Ok(Teacher {
            encoder: encoder.truncated(last).valid(),
            blocks: self.teacher_blocks.clone(),
        })
    }
}

/// The teacher as far as its last aligned block: no decoder, no gradient.
#[derive(Clone, Debug)]
pub struct Teacher {
    encoder: Encoder,
    blocks: Vec<usize>,
}

impl Teacher {
    /// Features of the aligned blocks on the visible patches of images `[batch, channels, height,
    /// width]`, `[batch, 1 + visible, dim]` each, class token included, before any norm. They are
    /// constants: on the device of the images, but of no graph.
    ///
    /// # Errors
    /// [`Error::Input`] if images or masking are not of the configured sizes.
    pub fn features(&self, images: Tensor<4>, masking: &Masking) -> Result<Vec<Tensor<3>>> {
        let tracked = images.is_autodiff();
        let plain = images.without_autodiff();
        let features = self.encoder.features(plain, Some(masking), &self.blocks)?;
        Ok(match tracked {
            true => features.into_iter().map(Tensor::autodiff).collect(),
            false => features,
        })
    }

    /// The configuration of what is left of the encoder.
    pub fn config(&self) -> &VitConfig {
        self.encoder.config()
    }
}

impl Dmae {
    /// What the student was built from.
    pub fn config(&self) -> &DmaeConfig {
        &self.config
    }

    /// The objective of images `[batch, channels, height, width]`, given what the teacher makes of
    /// the same visible patches.
    ///
    /// # Errors
    /// [`Error::Input`] if images, masking or features are not of the configured sizes, or nothing is
    /// hidden.
    pub fn loss(
        &self,
        images: Tensor<4>,
        masking: &Masking,
        teacher: &[Tensor<3>],
    ) -> Result<DmaeLoss> {
        self.student.encoder.check(&images, Some(masking))?;
        if masking.hidden() == 0 {
            let rule = "must hide at least one patch";
            return Err(Error::input("hidden patches", 0, rule));
        }
        let expected = [
            images.dims()[0],
            1 + masking.visible(),
            self.config.teacher.dim,
        ];
        if teacher.len() != self.config.teacher_blocks.len() {
            let rule = format!("must be {}", self.config.teacher_blocks.len());
            return Err(Error::input("features of the teacher", teacher.len(), rule));
        }
        if let Some(found) = teacher.iter().find(|found| found.dims() != expected) {
            let rule = format!("must be {expected:?}");
            return Err(Error::input("a feature of the teacher", found.dims(), rule));
        }
        Ok(self.checked_loss(images, masking, teacher))
    }

    /// [`loss`](Self::loss) of what was checked.
    pub(super) fn checked_loss(
        &self,
        images: Tensor<4>,
        masking: &Masking,
        teacher: &[Tensor<3>],
    ) -> DmaeLoss {
        let target = self.student.target(images.clone());
        let blocks = &self.config.student_blocks;
        let encoded = self
            .student
            .encoder
            .encode(images, Some(masking), &[], blocks);
        let prediction = self
            .student
            .decoder
            .forward(encoded.latent.clone(), masking);
        let reconstruction = masked_error(prediction.clone(), target, masking.mask.clone());
        let alignments: Vec<Tensor<1>> = encoded
            .features
            .iter()
            .zip(teacher)
            .enumerate()
            .map(|(index, (ours, theirs))| {
                let (ours, theirs) = (ours.clone(), theirs.clone());
                match self.heads.get(index) {
                    Some(head) => distance(
                        directions(head.forward(ours)),
                        directions(theirs),
                        self.config.distance,
                    ),
                    None => distance(ours, theirs, self.config.distance),
                }
            })
            .collect();
        let total = alignments
            .iter()
            .fold(reconstruction.clone(), |total, alignment| {
                total + alignment.clone() * self.config.alignment
            });
        DmaeLoss {
            total,
            reconstruction,
            alignments,
            output: MaeOutput {
                latent: encoded.latent,
                prediction,
                features: encoded.features,
            },
        }
    }
}
