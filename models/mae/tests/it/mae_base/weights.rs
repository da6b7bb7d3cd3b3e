//! Official names of three kinds, and what does not fit.

use super::{drawn, images, small, values, vit};
use crate::device;
use burn::tensor::{Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_hub::{HubOptions, Source, StateDict};
use menagerie_mae::mae_base::{
    ClassifierConfig, Mae, MaeConfig, Pooling, VitConfig,
    weights::{self, Names},
};
use std::collections::BTreeMap;

const NAMES: [Names; 3] = [Names::Official, Names::HuggingFace, Names::HuggingFaceNew];

fn official(mae: &Mae, names: Names) -> BTreeMap<String, TensorData> {
    weights::key_map(names)
        .to_official(&menagerie_hub::values(mae))
        .unwrap()
}

fn dict(tensors: BTreeMap<String, TensorData>) -> StateDict {
    StateDict::from_tensors("a checkpoint", tensors)
}

#[test]
fn all_three_namings_give_the_same_model() {
    let device = device();
    let mae = drawn(&small(), 1, &device);
    for names in NAMES {
        let tensors = dict(official(&mae, names));
        assert_eq!(Names::of(&tensors), names);
        let back = weights::from_state_dict(&small(), &tensors, &device).unwrap();
        assert_eq!(menagerie_hub::values(&mae), menagerie_hub::values(&back));
        let encoder = weights::encoder_from_state_dict(&vit(), &tensors, &device).unwrap();
        let images = images(1, &device);
        let alone = encoder.forward(images.clone(), None, &[]).unwrap();
        assert_eq!(values(alone), values(mae.encode(images).unwrap()));
    }
    let keys: Vec<String> = official(&mae, Names::HuggingFace).into_keys().collect();
    for key in [
        "vit.embeddings.position_embeddings",
        "vit.encoder.layer.1.attention.attention.key.bias",
        "vit.encoder.layer.0.attention.output.dense.weight",
        "vit.layernorm.weight",
        "decoder.decoder_layers.0.intermediate.dense.weight",
        "decoder.decoder_pred.bias",
    ] {
        assert!(keys.iter().any(|found| found == key), "{key}");
    }
    // Queries are the first third, transposed.
    let parts = official(&mae, Names::HuggingFace);
    let query = &parts["vit.encoder.layer.0.attention.attention.query.weight"];
    let fused = &official(&mae, Names::Official)["blocks.0.attn.qkv.weight"];
    let rows: Vec<f32> = fused.iter().take(16 * 16).collect();
    assert_eq!(query.iter::<f32>().collect::<Vec<_>>(), rows);
}

#[test]
fn a_file_round_trips_and_a_damaged_one_is_named() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mae.safetensors");
    let mae = drawn(&small(), 2, &device);
    weights::save(&mae, &path).unwrap();
    let back = weights::load(&small(), &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&mae), menagerie_hub::values(&back));
    let source = Source::parse(path.to_str().unwrap()).unwrap();
    let options = HubOptions::new(dir.path());
    let back = weights::load_from(&small(), &source, &options, &device).unwrap();
    assert_eq!(menagerie_hub::values(&mae), menagerie_hub::values(&back));
    let encoder = weights::load_encoder(&vit(), &path, &device).unwrap();
    assert_eq!(
        values(encoder.cls_token.val()),
        values(mae.encoder.cls_token.val())
    );

    let wider = MaeConfig::new(VitConfig::new(32, 8, 20, 2, 2), small().decoder);
    let error = weights::load(&wider, &path, &device)
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not fit Mae"), "{error}");
    assert!(
        error.contains("misshapen") && error.contains("`blocks.0.attn.qkv.weight`"),
        "{error}"
    );
    let deeper = MaeConfig::new(VitConfig::new(32, 8, 16, 3, 2), small().decoder);
    let error = weights::load(&deeper, &path, &device)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("missing") && error.contains("blocks.2.norm1.weight"),
        "{error}"
    );
    let shallower = MaeConfig::new(VitConfig::new(32, 8, 16, 1, 2), small().decoder);
    let error = weights::load(&shallower, &path, &device)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unexpected") && error.contains("`blocks.1."),
        "{error}"
    );

    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = weights::load(&small(), &path, &device)
        .unwrap_err()
        .to_string();
    assert!(error.contains("mae.safetensors"), "{error}");
    let foreign = dict(BTreeMap::from([(
        "conv1.weight".into(),
        TensorData::from([1f32]),
    )]));
    let error = weights::from_state_dict(&small(), &foreign, &device).unwrap_err();
    assert!(error.to_string().contains("`conv1.weight`"), "{error}");
}

#[test]
fn fixed_positions_may_be_absent() {
    let device = device();
    let mae = drawn(&small(), 3, &device);
    let mut tensors = official(&mae, Names::Official);
    tensors.remove("pos_embed");
    tensors.remove("decoder_pos_embed");
    let back = weights::from_state_dict(&small(), &dict(tensors), &device).unwrap();
    assert_eq!(menagerie_hub::values(&mae), menagerie_hub::values(&back));
}

#[test]
fn a_classifier_starts_from_any_pre_trained_file() {
    let device = device();
    let mae = drawn(&small(), 4, &device);
    let config = ClassifierConfig::new(vit(), 5);
    for names in NAMES {
        let (model, report) =
            weights::pretrained_from(&config, dict(official(&mae, names)), &device).unwrap();
        let (ours, theirs) = (&model.encoder.blocks[1], &mae.encoder.blocks[1]);
        assert_eq!(
            values(ours.attn.qkv.weight.val()),
            values(theirs.attn.qkv.weight.val())
        );
        assert_eq!(
            values(model.encoder.pos_embed.val()),
            values(mae.encoder.pos_embed.val())
        );
        assert!(
            report
                .loaded
                .iter()
                .all(|path| path.starts_with("encoder."))
        );
        // A fresh head is all but zero.
        let head = values(model.head.weight.val());
        assert!(head.iter().all(|w| w.abs() < 2e-4) && head.iter().any(|w| *w != 0.0));
    }
    // With the class token, the norm is taken over.
    let config = config.with_pooling(Pooling::ClassToken);
    let (model, _) =
        weights::pretrained_from(&config, dict(official(&mae, Names::Official)), &device).unwrap();
    assert!(model.encoder.norm.is_some());
}

#[test]
fn positions_are_resized_to_another_grid() {
    let device = device();
    let mae = drawn(&small(), 5, &device);
    let larger = ClassifierConfig::new(VitConfig::new(48, 8, 16, 2, 2), 5);
    let tensors = official(&mae, Names::Official);
    let (model, _) = weights::pretrained_from(&larger, dict(tensors.clone()), &device).unwrap();
    let positions = model.encoder.pos_embed.val();
    assert_eq!(positions.dims(), [1, 37, 16]);
    // The class row stays, and the middle of the grid is near the middle of the old one.
    let (new, old) = (values(positions), values(mae.encoder.pos_embed.val()));
    assert_eq!(new[..16], old[..16]);
    let images = Tensor::zeros([1, 3, 48, 48], &device);
    assert_eq!(model.classify(images).unwrap().dims(), [1, 5]);

    // Not the table of a square grid.
    let mut odd = tensors;
    odd.insert("pos_embed".into(), TensorData::zeros::<f32, _>([1, 15, 16]));
    let error = weights::pretrained_from(&larger, dict(odd), &device).unwrap_err();
    assert!(error.to_string().contains("`pos_embed`"), "{error}");
}

#[test]
fn a_head_is_kept_if_it_fits_and_dropped_if_not() {
    let device = device();
    let config = ClassifierConfig::new(vit(), 5);
    let model = menagerie_train::initialise(&device, Seed(6), || config.init(&device)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("classifier.safetensors");
    weights::save_classifier(&model, &path).unwrap();
    let back = weights::load_classifier(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    let (kept, report) = weights::load_pretrained(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&kept));
    assert!(report.missing.is_empty());
    let other = ClassifierConfig::new(vit(), 7);
    let (dropped, _) = weights::load_pretrained(&other, &path, &device).unwrap();
    assert_eq!(dropped.head.weight.val().dims(), [16, 7]);
    assert_eq!(
        values(dropped.fc_norm.unwrap().weight.val()),
        values(model.fc_norm.clone().unwrap().weight.val())
    );
    let error = weights::load_classifier(&other, &path, &device)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`head.weight`"), "{error}");
    // Anything else that is missing is an error.
    let mut tensors = weights::classifier_key_map()
        .to_official(&menagerie_hub::values(&model))
        .unwrap();
    tensors.remove("blocks.1.mlp.fc2.bias");
    let error = weights::pretrained_from(&config, dict(tensors), &device).unwrap_err();
    assert!(
        error.to_string().contains("blocks.1.mlp.fc2.bias"),
        "{error}"
    );
}
