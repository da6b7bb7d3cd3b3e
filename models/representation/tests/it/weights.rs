//! Files with official names.

use super::{device, floats, images, text};
use menagerie_hub::StateDict;
use menagerie_representation::qlae::{
    BackboneConfig, ConvStackConfig, DecoderConfig, DenseDecoderConfig, EncoderConfig,
    ImageDecoderConfig, QlaeConfig, StyleDecoderConfig, weights,
};

fn tiny(decoder: DecoderConfig) -> QlaeConfig {
    let encoder = EncoderConfig::new(vec![7, 6])
        .with_conv(Some(ConvStackConfig::halving(&[3, 4])))
        .with_layer_norm(matches!(decoder, DecoderConfig::Dense(_)));
    let mut config = QlaeConfig::uniform(BackboneConfig::new([2, 8, 12], encoder, decoder), 3, 4);
    config.values[1] = 2;
    config
}

fn decoders() -> [DecoderConfig; 3] {
    let conv = ConvStackConfig::halving(&[4, 3]);
    [
        DecoderConfig::Style(StyleDecoderConfig::new(vec![5], 6, conv.clone())),
        DecoderConfig::Image(ImageDecoderConfig::new(vec![5], conv)),
        DecoderConfig::Dense(DenseDecoderConfig::new(vec![5]).with_layer_norm(true)),
    ]
}

#[test]
fn a_saved_model_loads_again_under_official_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qlae.safetensors");
    let device = device();
    for decoder in decoders() {
        let config = tiny(decoder);
        let model = config.init(&device).unwrap();
        weights::save(&config, &model, &path).unwrap();
        let loaded = weights::load(&config, &path, &device).unwrap();
        let batch = images([2, 2, 8, 12], 4, &device);
        let (a, b) = (model.forward(batch.clone()), loaded.forward(batch));
        assert_eq!(floats(a.logits), floats(b.logits));
        let saved = StateDict::open(&path).unwrap();
        let second = saved.get("latent._values_per_latent.1").unwrap();
        assert_eq!(second.shape().to_vec(), [2]);
        assert!(saved.get("encoder.conv.layers.1.layers.0.weight").is_some());
    }
}

#[test]
fn weights_of_another_model_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qlae.safetensors");
    let device = device();
    let [style, image, _] = decoders();
    let config = tiny(style);
    weights::save(&config, &config.init(&device).unwrap(), &path).unwrap();

    let error = text(weights::load(&tiny(image), &path, &device));
    assert!(
        error.contains("decoder.layers.1.layers.0.weight"),
        "{error}"
    );
    assert!(error.contains("decoder.input_map"), "{error}");

    let mut wider = config.clone();
    wider.backbone.encoder.dense[1] = 9;
    let error = text(weights::load(&wider, &path, &device));
    assert!(error.contains("encoder.head.weight"), "{error}");

    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = text(weights::load(&config, &path, &device));
    assert!(error.contains("qlae.safetensors"), "{error}");
    let error = text(weights::load(
        &config,
        &dir.path().join("none.safetensors"),
        &device,
    ));
    assert!(error.contains("none.safetensors"), "{error}");
}
