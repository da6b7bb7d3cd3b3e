//! Checkpoints in folders.

use burn::tensor::{Device, Int, Tensor};
use menagerie_core::Seed;
use menagerie_hub::{HubOptions, StateDict};
use menagerie_sae::host::{LanguageModel, LanguageModelConfig, weights};
use std::{fs, path::Path};

fn device() -> Device {
    menagerie_core::device::parse(&std::env::var("MENAGERIE_DEVICE").unwrap_or("flex".into()))
        .unwrap()
}

fn model() -> LanguageModel {
    let device = device();
    let config = LanguageModelConfig::gpt2(11, 8, 12, 2, 3);
    menagerie_train::initialise(&device, Seed(2), || config.init(&device)).unwrap()
}

fn write_config(dir: &Path) {
    let config = r#"{"model_type": "gpt2", "vocab_size": 11, "n_positions": 8, "n_embd": 12,
        "n_layer": 2, "n_head": 3}"#;
    fs::write(dir.join("config.json"), config).unwrap();
}

fn logits(model: &LanguageModel) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[1, 10, 3]], &device());
    model
        .forward(tokens)
        .unwrap()
        .into_data()
        .try_to_vec()
        .unwrap()
}

#[test]
fn a_folder_with_one_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path());
    let model = model();
    model.save(&dir.path().join("model.safetensors")).unwrap();
    let loaded = LanguageModel::from_folder(dir.path(), &device()).unwrap();
    assert_eq!(logits(&loaded), logits(&model));
}

#[test]
fn a_folder_with_several_files_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path());
    let model = model();
    let all = weights::key_map(model.config())
        .to_official(&menagerie_hub::values(&model))
        .unwrap();
    let mut map = serde_json::Map::new();
    for part in 0..2 {
        let file = format!("model-{part}-of-2.safetensors");
        let tensors = all.iter().enumerate().filter(|(at, _)| at % 2 == part);
        let tensors: Vec<_> = tensors
            .map(|(_, (key, data))| (key.clone(), data.clone()))
            .collect();
        for (key, _) in &tensors {
            map.insert(key.clone(), file.clone().into());
        }
        let path = dir.path().join(&file);
        StateDict::from_tensors(file, tensors)
            .save_safetensors(path)
            .unwrap();
    }
    let index = dir.path().join("model.safetensors.index.json");
    let write = |map: &serde_json::Map<String, serde_json::Value>| {
        fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    };
    write(&map);
    let loaded = LanguageModel::from_folder(dir.path(), &device()).unwrap();
    assert_eq!(logits(&loaded), logits(&model));

    map.insert("x".into(), "../model.safetensors".into());
    write(&map);
    let error = LanguageModel::from_folder(dir.path(), &device()).unwrap_err();
    assert!(
        error.to_string().contains("which is none beside it"),
        "{error}"
    );
    fs::write(&index, "{}").unwrap();
    let error = LanguageModel::from_folder(dir.path(), &device()).unwrap_err();
    assert!(
        error.to_string().contains("missing field `weight_map`"),
        "{error}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = LanguageModel::from_folder(dir.path(), &device()).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
    write_config(dir.path());
    let error = LanguageModel::from_folder(dir.path(), &device()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("looking for one of model.safetensors, model.safetensors.index.json"),
        "{error}"
    );
    let offline = HubOptions {
        offline: true,
        ..HubOptions::new(dir.path())
    };
    let error = LanguageModel::from_hub("openai-community/gpt2", "main", &offline, &device());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("openai-community/gpt2"), "{error}");
}
