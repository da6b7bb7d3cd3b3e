//! Student, teacher, and what is aligned between them.

use crate::mae_base::{MaeConfig, VitConfig};
use burn::config::Config;
use menagerie_core::{Error, Result};

/// What maps a student's features to the teacher's width.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Projection {
    /// Nothing: features are compared as they are, without normalisation, which takes equal widths.
    None,
    /// A linear layer (`fc-1layer`).
    Linear,
    /// Linear, GELU, linear (`mlp-1layer`).
    Mlp,
    /// Two of the former one after the other (`mlp-2layer`; the released code names it, but does not
    /// run with it).
    TwoMlps,
}

/// How far two features are from each other.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Distance {
    /// The mean absolute difference.
    L1,
    /// The mean squared difference.
    L2,
}

/// A masked autoencoder that learns from the features of a larger one.
#[derive(Config, Debug, PartialEq)]
pub struct DmaeConfig {
    /// The student. Raw pixels are its target in the released recipe.
    pub student: MaeConfig,
    /// The teacher's encoder, over the same patches.
    pub teacher: VitConfig,
    /// The student's blocks that are aligned, counted from 0.
    pub student_blocks: Vec<usize>,
    /// The teacher's block that each of them is aligned with.
    pub teacher_blocks: Vec<usize>,
    /// What maps the student's features to the teacher's width, one for each aligned block.
    #[config(default = "Projection::Linear")]
    pub projection: Projection,
    /// The distance of features.
    #[config(default = "Distance::L1")]
    pub distance: Distance,
    /// Weight α of the alignment beside the reconstruction; 1 in the released code.
    #[config(default = 1.0)]
    pub alignment: f64,
}

impl DmaeConfig {
    const NAME: &str = "DmaeConfig";

    /// The released recipe: ViT-B learns from ViT-L, the ninth of twelve blocks from the eighteenth
    /// of twenty-four; 112 443 136 trained parameters.
    pub fn base() -> Self {
        Self::of(VitConfig::base())
    }

    /// The same with a ViT-S as student.
    pub fn small() -> Self {
        Self::of(VitConfig::small())
    }

    /// The same with a ViT-Ti as student.
    pub fn tiny() -> Self {
        Self::of(VitConfig::tiny())
    }

    fn of(student: VitConfig) -> Self {
        let student = MaeConfig::new(student, MaeConfig::base().decoder).with_norm_pix_loss(false);
        Self::new(student, VitConfig::large(), vec![8], vec![17])
    }

    /// The factor √D of the teacher's width, by which a mean over the entries of unit vectors becomes
    /// one that does not shrink with the width. **Not in the paper**: the released code leaves the
    /// mean as it is.
    pub fn width_factor(&self) -> f64 {
        (self.teacher.dim as f64).sqrt()
    }

    /// Refuses impossible sizes and pairs of blocks.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.student.validate()?;
        self.teacher.validate()?;
        let (student, teacher) = (&self.student.encoder, &self.teacher);
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: String| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        let sees = |vit: &VitConfig| [vit.image, vit.patch, vit.channels];
        if sees(student) != sees(teacher) {
            let rule = format!(
                "image, patch and channels must be the student's, {:?}",
                sees(student)
            );
            return refuse("teacher", &sees(teacher), rule);
        }
        if self.student_blocks.is_empty() {
            let rule = "must name at least one block";
            return refuse("student_blocks", &self.student_blocks, rule.into());
        }
        if self.student_blocks.len() != self.teacher_blocks.len() {
            let rule = format!(
                "must be as many as student_blocks, {}",
                self.student_blocks.len()
            );
            return refuse("teacher_blocks", &self.teacher_blocks, rule);
        }
        for (field, blocks, depth) in [
            ("student_blocks", &self.student_blocks, student.depth),
            ("teacher_blocks", &self.teacher_blocks, teacher.depth),
        ] {
            if blocks.iter().any(|block| *block >= depth) {
                let rule = format!("must be below the number of blocks, {depth}");
                return refuse(field, blocks, rule);
            }
        }
        if self.projection == Projection::None && student.dim != teacher.dim {
            let rule = format!(
                "needs equal widths, but the student is {} and the teacher {} wide",
                student.dim, teacher.dim
            );
            return refuse("projection", &self.projection, rule);
        }
        if !(self.alignment.is_finite() && self.alignment >= 0.0) {
            let rule = "must be finite and not negative";
            return refuse("alignment", &self.alignment, rule.into());
        }
        Ok(())
    }
}
