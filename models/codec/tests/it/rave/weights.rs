//! Checkpoints by their official names.

use super::{model, small, small_v2};
use crate::device;
use burn::tensor::{Tensor, TensorData};
use menagerie_codec::rave::weights::{
    discriminator_from_state_dict, discriminator_key_map, from_state_dict, key_map,
    latent_analysis, load, save,
};
use menagerie_codec::rave::{DiscriminatorConfig, LatentAnalysis, Rave, RaveConfig, Version};
use menagerie_core::Seed;
use menagerie_hub::StateDict;
use menagerie_train::initialise;

fn latent() -> Tensor<3> {
    menagerie_codec::rave::draw_normal([1, 3, 5], Seed(2), &device())
}

fn decoded(model: &Rave) -> Vec<f32> {
    let audio = model.decode(latent(), None).unwrap();
    audio.try_into_vec_as().unwrap()
}

fn official(model: &Rave) -> StateDict {
    let map = key_map(model.config());
    let tensors = map.to_official(&menagerie_hub::values(model)).unwrap();
    StateDict::from_tensors("a checkpoint", tensors)
}

#[test]
fn a_saved_model_is_the_same_and_so_is_its_analysis() {
    let dir = tempfile::tempdir().unwrap();
    for config in [small(), small_v2(), small_v2().with_noise(None)] {
        let original = model(&config);
        let path = dir.path().join("model.safetensors");
        let means = menagerie_codec::rave::draw_normal([2, 3, 20], Seed(3), &device());
        let analysis = LatentAnalysis::fit(means).unwrap();
        save(&original, Some(&analysis), &path).unwrap();
        let loaded = load(&config, &path, &device()).unwrap();
        assert_eq!(decoded(&loaded), decoded(&original));
        let stored = latent_analysis(&StateDict::open(&path).unwrap())
            .unwrap()
            .unwrap();
        for (a, b) in stored.fidelity().iter().zip(analysis.fidelity()) {
            assert!((a - b).abs() < 1e-6);
        }
        // Folded, the names are those of an exported model.
        let folded = original.clone().fold();
        save(&folded, None, &path).unwrap();
        let weights = StateDict::open(&path).unwrap();
        assert!(weights.keys().all(|key| !key.ends_with("_g")));
        assert!(latent_analysis(&weights).unwrap().is_none());
        let loaded = load(&config, &path, &device()).unwrap();
        assert_eq!(decoded(&loaded), decoded(&folded));
    }
}

#[test]
fn names_are_those_of_the_released_code() {
    let weights = official(&model(&small()));
    for key in [
        "encoder.net.0.weight",
        "encoder.net.1.running_var",
        "encoder.net.3.bias",
        "encoder.net.11.weight",
        "decoder.net.1.net.1.weight_g",
        "decoder.net.2.net.2.aligned.branches.0.3.weight_v",
        "decoder.synth.branches.0.bias",
        "decoder.synth.branches.2.net.2.weight",
    ] {
        assert!(weights.get(key).is_some(), "{key}");
    }
    let weights = official(&model(&small_v2().with_noise(None)));
    for key in [
        "encoder.encoder.net.1.aligned.branches.0.net.3.weight_v",
        "encoder.encoder.net.4.weight_g",
        "decoder.net.2.weight_v",
        "decoder.net.3.aligned.branches.0.net.1.weight_g",
        "decoder.net.9.weight_g",
    ] {
        assert!(
            weights.get(key).is_some(),
            "{key} of {:?}",
            weights.keys().collect::<Vec<_>>()
        );
    }
}

#[test]
fn later_names_of_the_first_version_load_as_well() {
    let original = model(&small());
    let weights = official(&original);
    let renamed = weights.iter().map(|(key, data)| {
        let key = key.replace("encoder.net.", "encoder.encoder.net.");
        let key = match key.split_once(".aligned.") {
            Some((unit, rest)) => {
                let (stage, unit) = unit.rsplit_once(".net.").unwrap();
                format!("{stage}.net.branches.0.net.{unit}.net.aligned.{rest}")
            }
            None => key,
        };
        (key, data.clone())
    });
    let weights = StateDict::from_tensors("a later checkpoint", renamed.collect::<Vec<_>>());
    let loaded = from_state_dict(&small(), &weights, &device()).unwrap();
    assert_eq!(decoded(&loaded), decoded(&original));
}

#[test]
fn what_a_lightning_checkpoint_holds_besides_is_no_hindrance() {
    let original = model(&small());
    let nets = DiscriminatorConfig::new(Version::V1, 4).with_layers(2);
    let on = device();
    let discriminator = initialise(&on, Seed(1), || nets.init(&on)).unwrap();
    let mut weights = official(&original);
    let map = discriminator_key_map(&nets);
    for (key, data) in map
        .to_official(&menagerie_hub::values(&discriminator))
        .unwrap()
    {
        weights.insert(key, data);
    }
    for key in [
        "loudness.a_weight",
        "encoder.net.1.num_batches_tracked",
        "saved_step",
    ] {
        weights.insert(key, TensorData::from([1.0f32]));
    }
    let loaded = from_state_dict(&small(), &weights, &device()).unwrap();
    assert_eq!(decoded(&loaded), decoded(&original));
    assert!(discriminator_from_state_dict(&nets, &weights, &device()).is_ok());
}

fn refusal(config: &RaveConfig, weights: &StateDict) -> String {
    from_state_dict(config, weights, &device())
        .unwrap_err()
        .to_string()
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let first = official(&model(&small()));
    let second = official(&model(&small_v2()));
    let error = refusal(&small_v2(), &first);
    assert_eq!(
        error,
        "a checkpoint does not fit Rave: it is a checkpoint of V1, and the configuration is of V2"
    );
    assert!(refusal(&small(), &second).contains("it is a checkpoint of V2"));

    let mut bank = first.clone();
    bank.insert("pqmf.h", TensorData::from([0.0f32, 1.0, 0.0]));
    let error = refusal(&small(), &bank);
    assert!(
        error.contains("its filter bank has a prototype of 3 taps"),
        "{error}"
    );

    let mut broken = first.clone();
    broken.remove("decoder.net.0.weight_v");
    broken.insert("encoder.net.0.weight", TensorData::from([[[1.0f32]]]));
    broken.insert("encoder.net.99.weight", TensorData::from([[[1.0f32]]]));
    let error = refusal(&small(), &broken);
    for part in [
        "decoder.net.0.weight_v",
        "encoder.net.0.weight",
        "encoder.net.99.weight",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    save(&model(&small()), None, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = load(&small(), &path, &device()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}
