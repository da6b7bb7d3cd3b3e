//! dmae: the distillation step.

use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_hub::StateDict;
use menagerie_mae::dmae::{Distance, DistillationBatch, DmaeConfig, Projection, weights};
use menagerie_mae::mae_base::{DecoderConfig, MaeConfig, VitConfig};
use menagerie_nn::vit::{Masking, Order, len_keep};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub(crate) const CASES: &[Case] = &[Case {
    slug: "dmae",
    case: "distill",
    run: distill,
}];

#[derive(Deserialize)]
struct Sizes {
    img: usize,
    patch: usize,
    dec_dim: usize,
    dec_depth: usize,
    dec_heads: usize,
    norm_pix: bool,
    dist: String,
    proj: Option<String>,
    mask_ratio: f64,
    student: Side,
    teacher: Side,
}

#[derive(Deserialize)]
struct Side {
    dim: usize,
    depth: usize,
    heads: usize,
    blocks: Vec<usize>,
}

impl Sizes {
    fn config(&self) -> Result<DmaeConfig> {
        let vit =
            |side: &Side| VitConfig::new(self.img, self.patch, side.dim, side.depth, side.heads);
        let decoder = DecoderConfig::new(self.dec_dim, self.dec_depth, self.dec_heads);
        let student = MaeConfig::new(vit(&self.student), decoder)
            .with_mask_ratio(self.mask_ratio)
            .with_norm_pix_loss(self.norm_pix);
        let projection = match self.proj.as_deref() {
            None | Some("none") => Projection::None,
            Some("fc-1layer") => Projection::Linear,
            Some("mlp-1layer") => Projection::Mlp,
            Some("mlp-2layer") => Projection::TwoMlps,
            Some(other) => {
                let known = ["none", "fc-1layer", "mlp-1layer", "mlp-2layer"];
                return Err(Error::unknown("projection head", other, known));
            }
        };
        let distance = match self.dist.as_str() {
            "L1" => Distance::L1,
            "L2" => Distance::L2,
            other => return Err(Error::unknown("distance", other, ["L1", "L2"])),
        };
        let blocks = [&self.student, &self.teacher].map(|side| side.blocks.clone());
        let [student_blocks, teacher_blocks] = blocks;
        let teacher = vit(&self.teacher);
        Ok(
            DmaeConfig::new(student, teacher, student_blocks, teacher_blocks)
                .with_projection(projection)
                .with_distance(distance),
        )
    }
}

/// The weights below `root`.
fn below(fixture: &Fixture, root: &str) -> Result<StateDict> {
    fixture.weights().below(root)
}

fn distill(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let config = fixture.config::<Sizes>()?.config()?;
    let map = weights::key_map(config.projection);
    let model = menagerie_hub::load(config.init(&device)?, &below(fixture, "student")?, &map)?;
    let teacher = weights::teacher_from_state_dict(&config, &below(fixture, "teacher")?, &device)?;

    let images = fixture.input::<4>("imgs", &device)?;
    let noise: Tensor<2> = fixture.input("noise", &device)?;
    let shape @ [_, tokens] = noise.dims();
    let noise = noise
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::other("reading the noise", error))?;
    let keep = len_keep(tokens, config.student.mask_ratio);
    let masking = Masking::from_noise(&noise, shape, keep, Order::Ascending, &device)?;
    check.output_int("ids_keep", masking.ids_keep.clone())?;
    check.output_int("ids_restore", masking.ids_restore.clone())?;
    check.output_int("mask", masking.mask.clone().int())?;

    let batch = DistillationBatch::new(&teacher, images, masking)?;
    let loss = model.loss(batch.images, &batch.masking, &batch.teacher)?;
    for (index, feature) in batch.teacher.into_iter().enumerate() {
        check.output(&format!("teacher_feat.{index}"), feature)?;
    }
    for (index, feature) in loss.output.features.into_iter().enumerate() {
        check.output(&format!("student_feat.{index}"), feature)?;
    }
    for (block, alignment) in config.student_blocks.iter().zip(loss.alignments) {
        check.output(&format!("loss.align_block{block}"), alignment)?;
    }
    check.output("student_latent", loss.output.latent)?;
    check.output("pred", loss.output.prediction)?;
    check.output("loss.reconstruction", loss.reconstruction)?;
    check.output("loss.total", loss.total.clone())?;
    check.gradients_under("grad/student.", &model, &loss.total.backward(), &map)
}
