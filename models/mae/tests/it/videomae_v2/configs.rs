use super::{text, tiny};
use crate::device;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use menagerie_mae::mae_base::MixConfig;
use menagerie_mae::videomae_v2::{
    BlocksConfig, ClassifierConfig, ClipConfig, DecoderMask, EncoderMask, FinetuningConfig,
    MaskingConfig, PretrainingConfig, Target, TowerConfig, VideoMaeConfig,
};

/// As `Module::num_params`, without drawing the parameters.
fn num_params<M: Module>(module: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += param.lazy_shape().num_elements();
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    for (config, whole, encoder, classifier) in [
        (VideoMaeConfig::small(), 24_029_376, 21_879_936, 22_153_286),
        (VideoMaeConfig::base(), 94_210_944, 86_227_200, 86_773_190),
        (
            VideoMaeConfig::large(),
            317_782_016,
            303_860_736,
            304_588_486,
        ),
        (
            VideoMaeConfig::huge(),
            645_659_392,
            631_607_040,
            632_516_550,
        ),
        (
            VideoMaeConfig::giant(),
            1_026_306_560,
            1_011_610_752,
            1_012_611_142,
        ),
    ] {
        // Parameters are drawn when they are first used: none of these takes memory.
        assert_eq!(num_params(&config.init(&device).unwrap()), whole);
        let of = |classes| {
            ClassifierConfig::of(&config, classes)
                .init(&device)
                .unwrap()
        };
        assert_eq!(num_params(&of(None)), encoder);
        assert_eq!(num_params(&of(Some(710))), classifier);
    }
}

#[test]
fn costs_are_those_of_the_paper() {
    let masking = MaskingConfig::new();
    for (config, alone, dual) in [
        (VideoMaeConfig::small(), 11.54, 7.84),
        (VideoMaeConfig::base(), 35.44, 25.84),
        (VideoMaeConfig::large(), 83.03, 68.27),
        (VideoMaeConfig::huge(), 136.86, 122.09),
        (VideoMaeConfig::giant(), 263.96, 241.61),
    ] {
        let grid = config.clip.grid();
        let cost = |masking: &MaskingConfig| {
            let [visible, decoded] = masking.counts(grid).unwrap();
            config.multiply_adds(visible, decoded).total() as f64 / 1e9
        };
        let encoder_only = MaskingConfig::encoder_only();
        assert!(
            (cost(&encoder_only) - alone).abs() < 0.005,
            "{}",
            cost(&encoder_only)
        );
        assert!((cost(&masking) - dual).abs() < 0.005, "{}", cost(&masking));
    }
    let base = VideoMaeConfig::base();
    assert_eq!(masking.counts(base.clip.grid()).unwrap(), [160, 784]);
    let giant = VideoMaeConfig::giant().clip.grid();
    assert_eq!(masking.counts(giant).unwrap(), [208, 1024]);
}

#[test]
fn impossible_sizes_are_refused() {
    let clip = |clip: ClipConfig| text(tiny().with_clip(clip).init(&device()));
    assert_eq!(
        clip(ClipConfig::new().with_frames(15)),
        "ClipConfig.frames = 15: must be a multiple of tubelet, which is 2"
    );
    assert_eq!(
        clip(ClipConfig::new().with_patch(15)),
        "ClipConfig.size = 224: must be a multiple of patch, which is 15"
    );
    assert_eq!(
        clip(ClipConfig::new().with_tubelet(0)),
        "ClipConfig.tubelet = 0: must be at least 1"
    );
    assert_eq!(
        clip(ClipConfig::new().with_tubelet(1).with_patch(1)),
        "VideoMaeConfig.target = Standardised: a cube of one pixel has no deviation: use \
         Target::Pixels or larger cubes"
    );
    let single = ClipConfig::new()
        .with_frames(1)
        .with_size(2)
        .with_patch(1)
        .with_tubelet(1);
    assert!(
        tiny()
            .with_clip(single)
            .with_target(Target::Pixels)
            .init(&device())
            .is_ok()
    );
    let towers = |encoder, decoder| {
        let mut config = tiny();
        (config.encoder, config.decoder) = (encoder, decoder);
        text(config.init(&device()))
    };
    let good = TowerConfig::new(8, 1, 2);
    assert_eq!(
        towers(TowerConfig::new(12, 2, 5), good),
        "VideoMaeConfig.encoder.heads = 5: must divide dim, which is 12"
    );
    assert_eq!(
        towers(good, TowerConfig::new(8, 0, 2)),
        "VideoMaeConfig.decoder.depth = 0: must be at least 1"
    );
    assert_eq!(
        towers(good, TowerConfig::new(usize::MAX, 1, 1)),
        format!(
            "VideoMaeConfig.decoder.dim = {}: must be at most 1048576",
            usize::MAX
        )
    );
    for (ratio, value) in [(0.0, "0.0"), (f64::NAN, "NaN"), (1e9, "1000000000.0")] {
        let config = tiny().with_blocks(BlocksConfig::new().with_mlp_ratio(ratio));
        assert_eq!(
            text(config.init(&device())),
            format!("VideoMaeConfig.blocks.mlp_ratio = {value}: must be above 0 and at most 1024")
        );
    }
    let config = tiny().with_blocks(BlocksConfig::new().with_layer_scale(Some(f64::NAN)));
    assert_eq!(
        text(config.init(&device())),
        "VideoMaeConfig.blocks.layer_scale = NaN: must be finite"
    );
    let classifier = ClassifierConfig::of(&tiny(), Some(0));
    assert_eq!(
        text(classifier.init(&device())),
        "ClassifierConfig.classes = 0: must be at least 1, or None for a feature extractor"
    );
}

#[test]
fn masks_that_leave_nothing_are_refused() {
    let grid = tiny().clip.grid();
    let refused = |masking: MaskingConfig| text(masking.validate(grid));
    let new = MaskingConfig::new();
    assert_eq!(
        refused(new.with_encoder(EncoderMask::Tube(0.05))),
        "MaskingConfig.encoder = 0.05: must be at least 0, below 1, and leave out at least one and \
         not all of 16"
    );
    for share in [1.0, -0.5, f64::NAN] {
        assert!(refused(new.with_encoder(EncoderMask::Random(share))).contains("of 32"));
        assert!(refused(new.with_decoder(DecoderMask::Frame(share))).contains("of 2"));
    }
    assert!(refused(new.with_decoder(DecoderMask::Random(0.01))).contains(".decoder = 0.01"));
    for share in [0.2, 1.0, f64::NAN] {
        assert!(
            refused(new.with_decoder(DecoderMask::RunningCell(share)))
                .contains("must be at least 0.25 and below 1")
        );
    }
    let odd = ClipConfig::new().with_size(48).grid();
    assert_eq!(
        text(new.validate(odd)),
        "MaskingConfig.decoder = 0.5: a running cell needs an even number of rows and columns, not \
         3 x 3"
    );
    assert!(MaskingConfig::encoder_only().validate(odd).is_ok());
}

#[test]
fn impossible_trainings_are_refused() {
    let pre = PretrainingConfig::new();
    let fine = FinetuningConfig::new();
    for (outcome, expected) in [
        (
            pre.clone().with_batch(0).validate(),
            "PretrainingConfig.batch = 0: must be at least 1",
        ),
        (
            pre.clone().with_samples(0).validate(),
            "PretrainingConfig.samples = 0: must be at least 1",
        ),
        (
            pre.clone().with_clip_norm(Some(0.0)).validate(),
            "PretrainingConfig.clip_norm = 0.0: must be finite and above 0",
        ),
        (
            pre.with_epochs(10.0).validate(),
            "EpochSchedule.epochs = 10.0: must be finite and above warmup",
        ),
        (
            fine.clone().with_layer_decay(0.0).validate(),
            "FinetuningConfig.layer_decay = 0.0: must be above 0 and at most 1",
        ),
        (
            fine.clone().with_head_dropout(1.0).validate(),
            "FinetuningConfig.head_dropout = 1.0: must be at least 0 and below 1",
        ),
        (
            fine.with_mix(MixConfig::new().with_switch(1.5)).validate(),
            "MixConfig.switch = 1.5: must lie between 0 and 1",
        ),
    ] {
        assert_eq!(text(outcome), expected);
    }
    for config in [
        FinetuningConfig::base(),
        FinetuningConfig::large(),
        FinetuningConfig::huge(),
        FinetuningConfig::giant(),
        FinetuningConfig::giant_specific(),
        FinetuningConfig::giant_ssv2(),
    ] {
        config.validate().unwrap();
    }
    for (config, peak) in [
        (PretrainingConfig::base(), 4e-3),
        (PretrainingConfig::large(), 6e-3),
        (PretrainingConfig::huge(), 8e-3),
        (PretrainingConfig::giant(), 4.8e-3),
    ] {
        config.validate().unwrap();
        assert!((config.schedule().peak - peak).abs() < 1e-12);
    }
}

#[test]
fn configurations_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mae.toml");
    let config = VideoMaeConfig::giant();
    menagerie_core::config::save(&config, &path).unwrap();
    assert_eq!(
        menagerie_core::config::load::<VideoMaeConfig>(&path).unwrap(),
        config
    );
    let path = dir.path().join("training.json");
    let config = PretrainingConfig::giant();
    menagerie_core::config::save(&config, &path).unwrap();
    assert_eq!(
        menagerie_core::config::load::<PretrainingConfig>(&path).unwrap(),
        config
    );
}
