//! What is refused, and in which words.

use super::{drawn, small, vit};
use crate::device;
use burn::tensor::Tensor;
use menagerie_core::Seed;
use menagerie_mae::mae_base::{
    ClassifierConfig, DecoderConfig, EpochSchedule, FinetuningConfig, MaeConfig, ProbeHead,
    VitConfig,
};
use menagerie_nn::vit::{Masking, Order, draw_keep};

fn refusal(config: MaeConfig) -> String {
    let error = config.init(&device()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn impossible_configurations() {
    let with = |encoder: VitConfig| refusal(MaeConfig::new(encoder, DecoderConfig::new(8, 1, 2)));
    for (encoder, text) in [
        (
            VitConfig::new(30, 8, 16, 2, 2),
            "VitConfig.image = 30: must be divisible by patch, which is 8",
        ),
        (
            VitConfig::new(32, 0, 16, 2, 2),
            "VitConfig.patch = 0: must be at least 1",
        ),
        (
            VitConfig::new(32, 8, 18, 2, 2),
            "VitConfig.dim = 18: must be divisible by 4 and not 0, for its positions",
        ),
        (
            VitConfig::new(32, 8, 16, 2, 3),
            "VitConfig.heads = 3: must divide dim, which is 16",
        ),
        (
            VitConfig::new(32, 8, 16, 0, 2),
            "VitConfig.depth = 0: must be at least 1",
        ),
        (
            vit().with_channels(0),
            "VitConfig.channels = 0: must be at least 1",
        ),
        (
            vit().with_mlp_ratio(0.01),
            "VitConfig.mlp_ratio = 0.01: must be at most 1024 and leave at least one hidden number",
        ),
        (
            vit().with_mlp_ratio(1e300),
            "VitConfig.mlp_ratio = 1e300: must be at most 1024 and leave at least one hidden number",
        ),
        (
            VitConfig::new(usize::MAX - 7, 1, 16, 2, 2),
            "VitConfig.image = 18446744073709551608: must be at most 65536",
        ),
        (
            VitConfig::new(32, 8, 1 << 40, 2, 2),
            "VitConfig.dim = 1099511627776: must be at most 1048576",
        ),
        (
            vit().with_epsilon(-1.0),
            "BlockConfig.epsilon = -1.0: must be finite and above 0",
        ),
    ] {
        assert_eq!(with(encoder), text);
    }
    assert_eq!(
        refusal(MaeConfig::new(vit(), DecoderConfig::new(10, 1, 2))),
        "DecoderConfig.dim = 10: must be divisible by 4 and not 0, for its positions"
    );
    // 16 patches: 0.99 leaves none, 0.0 hides none.
    for ratio in [1.0, -0.1, 0.99, 0.0, f64::NAN] {
        let text = refusal(small().with_mask_ratio(ratio));
        let rule = "must hide at least one of 16 patches and leave one visible";
        assert_eq!(text, format!("MaeConfig.mask_ratio = {ratio:?}: {rule}"));
    }
    let classes = ClassifierConfig::new(vit(), 1).init(&device()).unwrap_err();
    assert_eq!(
        classes.to_string(),
        "ClassifierConfig.classes = 1: must be at least 2"
    );
    let depth = ClassifierConfig::new(vit(), 2).with_drop_path(1.0);
    assert_eq!(
        depth.init(&device()).unwrap_err().to_string(),
        "ClassifierConfig.drop_path = 1.0: must be at least 0 and below 1"
    );
    let error = ProbeHead::new(4, 1, &device()).unwrap_err().to_string();
    assert_eq!(
        error,
        "a probe is [4, 1]: needs at least one feature and two classes"
    );
}

#[test]
fn images_masks_and_blocks_that_do_not_fit() {
    let device = device();
    let mae = drawn(&small(), 1, &device);
    let images = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device);
    let masking = |batch: usize, tokens: usize| {
        let noise = vec![0.5; batch * tokens];
        Masking::from_noise(&noise, [batch, tokens], 2, Order::Ascending, &device).unwrap()
    };
    let rule = "must be [batch, 3, 32, 32] with at least one image";
    for shape in [[2, 1, 32, 32], [2, 3, 32, 24], [0, 3, 32, 32]] {
        let error = mae.encode(images(shape)).unwrap_err();
        assert_eq!(error.to_string(), format!("images is {shape:?}: {rule}"));
    }
    let good = images([2, 3, 32, 32]);
    for (masking, text) in [
        (masking(3, 16), "masking is [3, 16]: must be [2, 16]"),
        (masking(2, 9), "masking is [2, 9]: must be [2, 16]"),
    ] {
        let error = mae.forward_with(good.clone(), &masking).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    let all = Masking::from_hidden(&[false; 32], [2, 16], &device).unwrap();
    let error = mae.loss(good.clone(), &all).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hidden patches is 0: must hide at least one patch"
    );
    let error = mae.encoder.features(good.clone(), None, &[2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a block is 2: must be below the number of blocks, 2"
    );
    let keep = draw_keep(&[0.1], 2, Seed(0), &device).unwrap();
    let error = mae.encoder.forward(good, None, &keep).unwrap_err();
    assert_eq!(
        error.to_string(),
        "draws of stochastic depth is 1: must be one for each of 2 blocks"
    );
}

#[test]
fn impossible_trainings() {
    let refusal = |config: FinetuningConfig| config.validate().unwrap_err().to_string();
    assert_eq!(
        refusal(FinetuningConfig::new().with_layer_decay(0.0)),
        "FinetuningConfig.layer_decay = 0.0: must be above 0 and at most 1"
    );
    assert_eq!(
        refusal(FinetuningConfig::new().with_smoothing(1.0)),
        "FinetuningConfig.smoothing = 1.0: must be at least 0 and below 1"
    );
    assert_eq!(
        refusal(FinetuningConfig::new().with_floor(1.0)),
        "EpochSchedule.floor = 1.0: must lie between 0 and the peak"
    );
    let error = EpochSchedule::new(1e-3, 5.0, 5.0).steps(10).unwrap_err();
    assert_eq!(
        error.to_string(),
        "EpochSchedule.epochs = 5.0: must be finite and above warmup"
    );
    let device = device();
    let images = Tensor::zeros([2, 3, 32, 32], &device);
    let config = ClassifierConfig::new(vit(), 2);
    let prepare = |labels: &[usize]| {
        FinetuningConfig::new()
            .prepare(&config, images.clone(), labels, Seed(0))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        prepare(&[0]),
        "the number of labels is 1: must be one for each of 2 images"
    );
    assert_eq!(
        prepare(&[0, 2]),
        "a label is 2: must be below the number of classes, 2"
    );
}
