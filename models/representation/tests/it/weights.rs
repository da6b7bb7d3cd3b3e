//! Files with official names.

use super::{device, floats, images, text};
use burn::module::Module;
use menagerie_hub::{KeyMap, StateDict};
use menagerie_representation::qlae::{
    BackboneConfig, ConvStackConfig, DecoderConfig, DenseDecoderConfig, EncoderConfig,
    ImageDecoderConfig, QlaeConfig, StyleDecoderConfig,
    baselines::{AutoencoderConfig, InfoGanConfig, VaeConfig, VqVaeConfig},
    weights,
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

/// Official names of every parameter, and back into the module.
fn official<M: Module>(model: M, map: &KeyMap) -> Vec<String> {
    let values = menagerie_hub::values(&model);
    let official = map.to_official(&values).unwrap();
    let names = official.keys().cloned().collect();
    let weights = StateDict::from_tensors("the test", official);
    let loaded = menagerie_hub::load(model, &weights, map).unwrap();
    assert_eq!(menagerie_hub::values(&loaded), values);
    names
}

#[test]
fn baselines_have_official_names_too() {
    let device = device();
    for decoder in decoders() {
        let config = tiny(decoder);
        let autoencoder = AutoencoderConfig::matching(&config);
        let map = weights::autoencoder_key_map(&autoencoder);
        let names = official(autoencoder.init(&device).unwrap(), &map);
        assert!(names.iter().all(|name| !name.starts_with("latent")));

        let vae = VaeConfig::beta(&config, 1.0);
        official(vae.init(&device).unwrap(), &weights::vae_key_map(&vae));

        let vqvae = VqVaeConfig::matching(&config);
        let map = weights::vqvae_key_map(&vqvae);
        let names = official(vqvae.init(&device).unwrap(), &map);
        assert!(names.contains(&"latent.embeddings".to_owned()));

        let global = config.clone().into_global();
        let map = weights::key_map(&global);
        let names = official(global.init(&device).unwrap(), &map);
        assert!(names.contains(&"latent.values".to_owned()));

        let gan = InfoGanConfig::quantized(&config);
        let map = weights::infogan_key_map(&gan);
        let names = official(gan.init(&device).unwrap(), &map);
        for name in [
            "encoder.base.conv.layers.0.layers.0.weight",
            "encoder.critic.bias",
            "latent._values_per_latent.2",
        ] {
            assert!(names.contains(&name.to_owned()), "{name}");
        }
        assert!(names.iter().all(|name| !name.contains("Style")));
    }
}
