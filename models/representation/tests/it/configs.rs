//! Published sizes, and what configurations are refused.

use super::{device, text};
use burn::module::Module;
use menagerie_representation::qlae::{
    BackboneConfig, Codebook, ConvStackConfig, DecoderConfig, EncoderConfig, ImageDecoderConfig,
    LossWeights, QlaeConfig, StyleDecoderConfig, TrainingConfig,
    baselines::{AutoencoderConfig, InfoGanConfig, VaeConfig, VqVaeConfig},
};

#[test]
fn published_models_have_the_published_number_of_parameters() {
    let model = QlaeConfig::shapes3d().init(&device()).unwrap();
    assert_eq!(model.encoder.num_params(), 3_684_524);
    assert_eq!(model.decoder.num_params(), 3_967_136);
    assert_eq!(model.latent.num_params(), 120);
    assert_eq!(model.num_params(), 7_651_780);
    for (config, latents, parameters) in [
        (QlaeConfig::isaac3d(), 18, 7_654_918),
        (QlaeConfig::falcor3d(), 14, 7_652_826),
        (QlaeConfig::mpi3d(), 14, 7_652_826),
    ] {
        assert_eq!(config.latents, latents);
        assert_eq!(config.init(&device()).unwrap().num_params(), parameters);
    }
}

#[test]
fn a_configuration_round_trips_through_both_file_formats() {
    let dir = tempfile::tempdir().unwrap();
    for config in [
        QlaeConfig::shapes3d(),
        QlaeConfig::small_mlp().into_global(),
        QlaeConfig::uniform(BackboneConfig::published_image_decoder(), 3, 4),
    ] {
        for name in ["config.json", "config.toml"] {
            let path = dir.path().join(name);
            menagerie_core::config::save(&config, &path).unwrap();
            let read: QlaeConfig = menagerie_core::config::load(&path).unwrap();
            assert_eq!(read, config);
        }
    }
}

fn refused(change: impl FnOnce(&mut QlaeConfig)) -> String {
    let mut config = QlaeConfig::shapes3d();
    change(&mut config);
    text(config.init(&device()))
}

#[test]
fn codebooks_need_at_least_one_value() {
    let error = refused(|config| config.values[3] = 0);
    assert_eq!(
        error,
        "QlaeConfig.values = [10, 10, 10, 0, 10, 10, 10, 10, 10, 10, 10, 10]: every codebook \
         needs at least 1 value (and 2 to carry information)"
    );
    let error = refused(|config| config.values = vec![10; 3]);
    assert_eq!(
        error,
        "QlaeConfig.values = [10, 10, 10]: needs 12 sizes, one per latent"
    );
    let error = refused(|config| config.codebook = Codebook::Global);
    assert!(
        error.ends_with("needs 1 sizes, one for the global codebook"),
        "{error}"
    );
    let error = refused(|config| {
        config.latents = 0;
        config.values.clear();
    });
    assert_eq!(error, "QlaeConfig.latents = 0: must be at least 1");
}

#[test]
fn the_image_must_be_divisible_by_the_strides() {
    for image in [[3, 60, 64], [3, 64, 72], [3, 17, 16]] {
        let error = refused(|config| config.backbone.image = image);
        assert_eq!(
            error,
            format!(
                "QlaeConfig.image = {image:?}: height and width must be divisible by 16, the \
                 product of the encoder's strides, and the decoder must undo the encoder's size \
                 changes"
            )
        );
    }
    for side in [16, 32, 48, 128] {
        let mut config = QlaeConfig::shapes3d();
        config.backbone.image = [1, side, 2 * side];
        config.validate().unwrap();
    }
    let error = refused(|config| config.backbone.image = [3, 0, 64]);
    assert!(
        error.ends_with("channels, height and width must be at least 1"),
        "{error}"
    );
}

#[test]
fn layers_that_do_not_fit_together_are_refused() {
    let encoder = |change: fn(&mut ConvStackConfig)| {
        refused(move |config| change(config.backbone.encoder.conv.as_mut().unwrap()))
    };
    let error = encoder(|conv| conv.kernels.truncate(2));
    assert_eq!(
        error,
        "QlaeConfig.encoder.conv.kernels = [3, 3]: needs one entry per layer, 12 as in widths"
    );
    let error = encoder(|conv| conv.strides[0] = 0);
    assert!(
        error.starts_with("QlaeConfig.encoder.conv.strides = [0, 1, 2,")
            && error.ends_with("every entry must be at least 1"),
        "{error}"
    );
    let error = encoder(|conv| *conv = ConvStackConfig::halving(&[]));
    assert_eq!(
        error,
        "QlaeConfig.encoder.conv.widths = []: needs at least one layer"
    );
    let error = encoder(|conv| conv.kernels[0] = 200);
    assert_eq!(
        error,
        "QlaeConfig.image = [3, 64, 64]: is smaller than the encoder's convolutions need"
    );
    let error = refused(|config| config.backbone.encoder.dense.clear());
    assert_eq!(
        error,
        "QlaeConfig.encoder.dense = []: needs at least one layer, each of width at least 1"
    );
}

#[test]
fn decoders_that_cannot_work_are_refused() {
    let style = |change: fn(&mut StyleDecoderConfig)| {
        refused(move |config| match &mut config.backbone.decoder {
            DecoderConfig::Style(style) => change(style),
            _ => unreachable!(),
        })
    };
    let error = style(|config| config.input_channels = 0);
    assert_eq!(
        error,
        "QlaeConfig.decoder.input_channels = 0: must be at least 1"
    );
    let error = style(|config| config.output_kernel = 4);
    assert_eq!(
        error,
        "QlaeConfig.decoder.output_kernel = 4: must be odd, so that the image keeps its size"
    );
    let error = style(|config| config.dense = vec![256, 0]);
    assert!(
        error.starts_with("QlaeConfig.decoder.dense = [256, 0]"),
        "{error}"
    );
    // A decoder for an encoder of three halvings, not four.
    let conv = ConvStackConfig::halving(&[8, 8, 8]);
    let error = refused(|config| {
        config.backbone.decoder = DecoderConfig::Image(ImageDecoderConfig::new(vec![8], conv));
    });
    assert!(
        error.ends_with("the decoder must undo the encoder's size changes"),
        "{error}"
    );
}

#[test]
fn loss_weights_must_be_finite_and_not_negative() {
    let error = refused(|config| config.weights = LossWeights::new().with_quantization(-1.0));
    assert_eq!(
        error,
        "QlaeConfig.weights.quantization = -1.0: must be finite and not negative"
    );
    let error = refused(|config| config.weights = LossWeights::new().with_commitment(f64::NAN));
    assert!(
        error.starts_with("QlaeConfig.weights.commitment = NaN"),
        "{error}"
    );
}

#[test]
fn training_configurations_are_checked() {
    for (config, error) in [
        (
            TrainingConfig::new().with_learning_rate(0.0),
            "TrainingConfig.learning_rate = 0.0: must be finite and above 0",
        ),
        (
            TrainingConfig::new().with_clip(f64::INFINITY),
            "TrainingConfig.clip = inf: must be finite and above 0",
        ),
        (
            TrainingConfig::new().with_weight_decay(-0.1),
            "TrainingConfig.weight_decay = -0.1: must be finite and not negative",
        ),
        (
            TrainingConfig::new().with_beta_2(1.0),
            "TrainingConfig.beta_2 = 1.0: must be at least 0 and below 1",
        ),
        (
            TrainingConfig::new().with_batch(0),
            "TrainingConfig.batch = 0: must be at least 1",
        ),
    ] {
        assert_eq!(config.optimizer().err().unwrap().to_string(), error);
    }
    for config in [
        TrainingConfig::published(),
        TrainingConfig::published_vqvae(),
        TrainingConfig::published_gan(),
        TrainingConfig::small(),
    ] {
        config.validate().unwrap();
    }
}

#[test]
fn baselines_refuse_impossible_values() {
    let small = QlaeConfig::small_mlp();
    let device = device();
    let error = text(
        AutoencoderConfig::bio(&small)
            .with_activity(-1.0)
            .init(&device),
    );
    assert_eq!(
        error,
        "AutoencoderConfig.activity = -1.0: must be finite and not negative"
    );
    let error = text(
        VqVaeConfig::matching(&small)
            .with_embeddings(0)
            .init(&device),
    );
    assert_eq!(error, "VqVaeConfig.embeddings = 0: must be at least 1");
    let error = text(VaeConfig::total_correlation(&small, 3.0, 0).init(&device));
    assert_eq!(
        error,
        "VaeConfig.objective.data_set = 0: must be the number of training images, at least 1"
    );
    let error = text(VaeConfig::beta(&small, -3.0).init(&device));
    assert_eq!(
        error,
        "VaeConfig.objective.kl = -3.0: must be finite and not negative"
    );
    let error = text(
        InfoGanConfig::quantized(&small)
            .with_generator_every(0)
            .init(&device),
    );
    assert_eq!(
        error,
        "InfoGanConfig.generator_every = 0: must be at least 1"
    );
    let error = text(
        InfoGanConfig::matching(&small)
            .with_values(Some(vec![2]))
            .init(&device),
    );
    assert_eq!(
        error,
        "InfoGanConfig.values = [2]: needs 10 sizes, one per latent, each at least 1"
    );
    let mut broken = small;
    broken.backbone.encoder = EncoderConfig::new(vec![]);
    let error = text(AutoencoderConfig::matching(&broken).init(&device));
    assert!(
        error.starts_with("AutoencoderConfig.encoder.dense = []"),
        "{error}"
    );
}
