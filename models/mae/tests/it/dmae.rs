//! dmae: counts, the teacher that stops early, weights, refusals.

use crate::mae_base::{images, small, values, vit};
use crate::{device, num_params};
use menagerie_core::Seed;
use menagerie_mae::dmae::{DistillationBatch, DmaeConfig, Projection, weights};
use menagerie_mae::mae_base::{Start, VitConfig};

fn config() -> DmaeConfig {
    let teacher = VitConfig::new(32, 8, 24, 3, 2);
    DmaeConfig::new(small(), teacher, vec![0, 1], vec![0, 1])
}

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    for (config, trained, head) in [
        (DmaeConfig::base(), 112_443_136, 787_456),
        (DmaeConfig::small(), 47_401_728 + 394_240, 394_240),
    ] {
        let vit = &config.student.encoder;
        // The tables of positions are fixed.
        let fixed = (1 + vit.tokens()) * (vit.dim + config.student.decoder.dim);
        let model = config.init(&device).unwrap();
        assert_eq!(num_params(&model) - fixed, trained);
        assert_eq!(num_params(&model.heads), head);
    }
}

#[test]
fn the_teacher_is_run_as_far_as_it_is_needed() {
    let device = device();
    let config = config();
    let whole = config.teacher.init(Start::Pretraining, true, &device);
    let whole = whole.unwrap();
    let teacher = config.teacher(whole.clone()).unwrap();
    assert_eq!(teacher.config().depth, 2);
    let images = images(2, &device);
    let masking = config.student.draw_masking(2, Seed(1), &device).unwrap();
    let ours = teacher.features(images.clone(), &masking).unwrap();
    let all = whole.features(images, Some(&masking), &[0, 1]).unwrap();
    for (ours, all) in ours.into_iter().zip(all) {
        assert_eq!(values(ours), values(all));
    }
    let other = vit().init(Start::Pretraining, true, &device).unwrap();
    let error = config.teacher(other).unwrap_err().to_string();
    assert!(error.starts_with("the teacher is "), "{error}");
}

#[test]
fn heads_of_every_kind_round_trip() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("student.safetensors");
    for projection in [Projection::Linear, Projection::Mlp, Projection::TwoMlps] {
        let config = config().with_projection(projection);
        let model = config.init(&device).unwrap();
        weights::save(&model, &path).unwrap();
        let back = weights::load(&config, &path, &device).unwrap();
        assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    }
    let error = weights::load(&config(), &path, &device).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("aligned_feature_projection_heads"), "{text}");
}

#[test]
fn impossible_pairs_are_refused() {
    let refusal = |config: DmaeConfig| config.init(&device()).unwrap_err().to_string();
    assert_eq!(
        refusal(config().with_projection(Projection::None)),
        "DmaeConfig.projection = None: needs equal widths, but the student is 16 and the teacher \
         24 wide"
    );
    let mut uneven = config();
    uneven.teacher_blocks = vec![1];
    assert_eq!(
        refusal(uneven),
        "DmaeConfig.teacher_blocks = [1]: must be as many as student_blocks, 2"
    );
    let mut deep = config();
    deep.teacher_blocks = vec![0, 3];
    assert_eq!(
        refusal(deep),
        "DmaeConfig.teacher_blocks = [0, 3]: must be below the number of blocks, 3"
    );
    let device = device();
    let model = config().init(&device).unwrap();
    let whole = config().teacher.init(Start::Pretraining, true, &device);
    let teacher = config().teacher(whole.unwrap()).unwrap();
    let masking = small().draw_masking(2, Seed(1), &device).unwrap();
    let batch = DistillationBatch::new(&teacher, images(2, &device), masking).unwrap();
    let error = model.loss(batch.images, &batch.masking, &batch.teacher[..1]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "features of the teacher is 1: must be 2"
    );
}
