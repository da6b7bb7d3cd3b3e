use super::{clips, floats, near, text, tiny};
use crate::device;
use burn::tensor::TensorData;
use menagerie_core::Seed;
use menagerie_hub::{HubOptions, Source, StateDict};
use menagerie_mae::videomae_v2::{ClassifierConfig, MaskingConfig, VideoMaeConfig, weights};
use std::path::Path;

/// The file's tensors under other names.
fn renamed(path: &Path, name: impl Fn(&str) -> Option<String>) -> StateDict {
    let weights = StateDict::open(path).unwrap();
    let tensors: Vec<(String, TensorData)> = weights
        .iter()
        .filter_map(|(key, data)| Some((name(key)?, data.clone())))
        .collect();
    StateDict::from_tensors("checkpoint", tensors)
}

#[test]
fn a_saved_network_loads_again_under_official_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pretrained.safetensors");
    let device = device();
    let config = tiny();
    let model = config.init(&device).unwrap();
    weights::save(&model, &path).unwrap();
    let saved = StateDict::open(&path).unwrap();
    for key in [
        "mask_token",
        "encoder.patch_embed.proj.weight",
        "encoder.blocks.1.attn.q_bias",
        "encoder.norm.weight",
        "encoder_to_decoder.weight",
        "decoder.blocks.0.mlp.fc1.weight",
        "decoder.head.bias",
    ] {
        assert!(saved.get(key).is_some(), "{key}");
    }
    assert!(saved.get("encoder_to_decoder.bias").is_none());
    assert_eq!(
        saved
            .get("encoder_to_decoder.weight")
            .unwrap()
            .shape()
            .to_vec(),
        [8, 12]
    );
    let loaded = weights::load(&config, &path, &device).unwrap();
    let source = Source::parse(path.to_str().unwrap()).unwrap();
    let options = HubOptions::new(dir.path());
    let from = weights::load_from(&config, &source, &options, &device).unwrap();
    let dual = MaskingConfig::new()
        .draw(config.clip.grid(), 1, Seed(0))
        .unwrap()
        .on(&device)
        .unwrap();
    let input = clips(1, &config.clip, 1, &device);
    let predict = |model: &menagerie_mae::videomae_v2::VideoMae| {
        floats(model.forward(input.clone(), &dual).unwrap().predictions)
    };
    assert_eq!(predict(&model), predict(&loaded));
    assert_eq!(predict(&model), predict(&from));
    // Wrappers around the whole model are seen through, one within the other.
    for prefix in ["module.", "model.", "_orig_mod.", "module._orig_mod."] {
        let wrapped = renamed(&path, |key| Some(format!("{prefix}{key}")));
        let loaded = weights::from_weights(&config, wrapped, &device).unwrap();
        assert_eq!(predict(&model), predict(&loaded), "{prefix}");
    }
}

#[test]
fn classifiers_and_extractors_load_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("finetuned.safetensors");
    let device = device();
    let config = ClassifierConfig::of(&tiny(), Some(7)).with_head_scale(1.0);
    let model = config.init(&device).unwrap();
    weights::save_classifier(&model, &path).unwrap();
    let saved = StateDict::open(&path).unwrap();
    for key in [
        "patch_embed.proj.bias",
        "blocks.0.norm2.weight",
        "fc_norm.bias",
        "head.weight",
    ] {
        assert!(saved.get(key).is_some(), "{key}");
    }
    let input = clips(2, &config.clip, 3, &device);
    let loaded = weights::load_classifier(&config, &path, &device).unwrap();
    assert_eq!(
        floats(model.forward(input.clone()).unwrap()),
        floats(loaded.forward(input.clone()).unwrap())
    );
    // An extractor leaves the head out, and reads files that never had one, below `model.`.
    let extractor = ClassifierConfig::of(&tiny(), None);
    let features = floats(model.features(input.clone()).unwrap());
    let loaded = weights::load_classifier(&extractor, &path, &device).unwrap();
    assert_eq!(features, floats(loaded.features(input.clone()).unwrap()));
    let headless = renamed(&path, |key| {
        (!key.starts_with("head.")).then(|| format!("model.{key}"))
    });
    let loaded = weights::classifier_from_weights(&extractor, headless.clone(), &device).unwrap();
    assert_eq!(features, floats(loaded.features(input).unwrap()));
    let error = text(weights::classifier_from_weights(&config, headless, &device));
    assert!(
        error.contains("2 missing: ") && error.contains("head.bias"),
        "{error}"
    );
}

#[test]
fn fine_tuning_starts_from_pre_trained_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pretrained.safetensors");
    let device = device();
    let model = tiny().init(&device).unwrap();
    weights::save(&model, &path).unwrap();
    let config = ClassifierConfig::of(&tiny(), Some(7));
    let weights = StateDict::open(&path).unwrap();
    let (start, report) = weights::load_pretrained(&config, weights.clone(), &device).unwrap();
    let input = clips(2, &config.clip, 3, &device);
    let tokens = model
        .encoder
        .norm
        .forward(start.tokens(input.clone()).unwrap());
    near(
        &floats(tokens),
        &floats(model.encode(input.clone()).unwrap()),
        1e-5,
    );
    assert_eq!(report.missing.len(), 4, "{report}");
    // `backbone.` in the place of `encoder.`, as in other exports.
    let backbone = renamed(&path, |key| {
        let inner = key.strip_prefix("encoder.")?;
        Some(format!("backbone.{inner}"))
    });
    let (other, _) = weights::load_pretrained(&config, backbone, &device).unwrap();
    assert_eq!(
        floats(other.tokens(input.clone()).unwrap()),
        floats(start.tokens(input.clone()).unwrap())
    );
    // A fine-tuned network gives its norm, and its head where the classes are as many.
    let tuned = dir.path().join("tuned.safetensors");
    weights::save_classifier(&start, &tuned).unwrap();
    let tuned = StateDict::open(&tuned).unwrap();
    let (_, report) = weights::load_pretrained(&config, tuned.clone(), &device).unwrap();
    assert!(report.missing.is_empty(), "{report}");
    let wider = ClassifierConfig::of(&tiny(), Some(9));
    let (_, report) = weights::load_pretrained(&wider, tuned, &device).unwrap();
    assert_eq!(report.missing.len(), 2, "{report}");
    // A block that is missing is no fresh start.
    let mut lacking = weights;
    lacking.remove("encoder.blocks.1.attn.v_bias");
    let error = text(weights::load_pretrained(&config, lacking, &device));
    assert!(error.contains("blocks.1.attn.v_bias"), "{error}");
}

#[test]
fn heads_of_kinetics_710_convert_by_label_maps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k710.safetensors");
    let device = device();
    let config = ClassifierConfig::of(&tiny(), Some(7)).with_head_scale(1.0);
    let model = config.init(&device).unwrap();
    weights::save_classifier(&model, &path).unwrap();
    let map = dir.path().join("map.json");
    std::fs::write(&map, "[\n  5,\n  0,\n  6\n]").unwrap();
    let map = weights::read_label_map(&map).unwrap();
    assert_eq!(map, [5, 0, 6]);
    let official = StateDict::open(&path).unwrap();
    let converted = weights::convert_head(official.clone(), &map).unwrap();
    let small = ClassifierConfig::of(&tiny(), Some(3));
    let small = weights::classifier_from_weights(&small, converted, &device).unwrap();
    let input = clips(2, &config.clip, 3, &device);
    let all = floats(model.forward(input.clone()).unwrap());
    let chosen = floats(small.forward(input).unwrap());
    near(
        &chosen,
        &[all[5], all[0], all[6], all[12], all[7], all[13]],
        1e-6,
    );
    assert_eq!(
        text(weights::convert_head(official.clone(), &[7])),
        "a row of the label map is 7: must be below the head's 7 classes"
    );
    assert_eq!(
        text(weights::convert_head(official.clone(), &[])),
        "the label map is []: must have at least one class"
    );
    let mut headless = official;
    headless.remove("head.weight");
    assert!(text(weights::convert_head(headless, &[0])).ends_with("`head.weight` is missing"));
    let broken = dir.path().join("broken.json");
    std::fs::write(&broken, "{\"a\": 1}").unwrap();
    assert!(text(weights::read_label_map(&broken)).contains("broken.json: is no list of class"));
}

#[test]
fn wrong_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pretrained.safetensors");
    let device = device();
    let config = tiny();
    weights::save(&config.init(&device).unwrap(), &path).unwrap();

    let mut wider = config;
    wider.decoder.dim = 10;
    let error = text(weights::load(&wider, &path, &device));
    assert!(
        error.contains("18 misshapen: `decoder.blocks.0.attn.proj.bias` has shape [8]"),
        "{error}"
    );
    let mut deeper = config;
    deeper.encoder.depth = 3;
    let error = text(weights::load(&deeper, &path, &device));
    assert!(error.contains("encoder.blocks.2.attn.q_bias"), "{error}");
    let error = text(weights::load_classifier(
        &ClassifierConfig::of(&config, Some(4)),
        &path,
        &device,
    ));
    assert!(
        error.contains("missing") && error.contains("unexpected"),
        "{error}"
    );
    let error = text(weights::load(&VideoMaeConfig::experiment(), &path, &device));
    assert!(error.contains("does not fit VideoMae"), "{error}");

    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = text(weights::load(&config, &path, &device));
    assert!(error.contains("pretrained.safetensors"), "{error}");
    let none = dir.path().join("none.safetensors");
    assert!(text(weights::load(&config, &none, &device)).contains("none.safetensors"));
}
