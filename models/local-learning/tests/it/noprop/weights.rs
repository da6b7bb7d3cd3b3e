//! Files under the reference's names.

use super::*;
use burn::module::Module;
use menagerie_hub::StateDict;
use menagerie_local_learning::noprop::{
    AdjointConfig, BackpropConfig,
    weights::{Official, load, save},
};

/// Saves a model and loads it into a new one.
fn exchanged<M: Official>(model: M, new: M) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    save(&model, &path).unwrap();
    let loaded = load(new, &path).unwrap();
    assert_eq!(
        menagerie_hub::values(&loaded),
        menagerie_hub::values(&model)
    );
}

#[test]
fn every_model_loads_what_it_saved() {
    let device = device();
    for embedding in EMBEDDINGS {
        let network = tiny(embedding);
        let dt = || DtConfig::new(network.clone()).with_steps(2).init(&device);
        exchanged(dt().unwrap(), dt().unwrap());
        let back = || {
            let config = BackpropConfig::new(network.clone());
            config.with_steps(2).init(&device)
        };
        exchanged(back().unwrap(), back().unwrap());
        let ct = || CtConfig::new(network.clone()).init(&device);
        exchanged(ct().unwrap(), ct().unwrap());
        let fm = || FmConfig::new(network.clone()).init(&device);
        exchanged(fm().unwrap(), fm().unwrap());
        let adjoint = || AdjointConfig::new(network.clone()).init(&device);
        exchanged(adjoint().unwrap(), adjoint().unwrap());
    }
}

#[test]
fn names_are_the_reference_s() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let config = DtConfig::new(tiny(Embedding::OneHot)).with_steps(2);
    save(&config.init(&device).unwrap(), &path).unwrap();
    let saved = StateDict::open(&path).unwrap();
    for (name, shape) in [
        ("embed", vec![3, 3]),
        ("head.weight", vec![3, 3]),
        ("blocks.1.image.fc.weight", vec![8, 20]),
        ("blocks.1.label.fc1.weight", vec![8, 3]),
        ("blocks.0.label.bn3.running_var", vec![8]),
        ("blocks.0.fuse2.weight", vec![6, 8]),
    ] {
        assert_eq!(saved.get(name).unwrap().shape().to_vec(), shape, "{name}");
    }
}

#[test]
fn wrong_files_are_refused_by_name() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("noprop.safetensors");
    let model = |network: NetworkConfig, steps: usize| {
        let config = DtConfig::new(network).with_steps(steps);
        config.init(&device).unwrap()
    };
    let network = tiny(Embedding::OneHot);
    save(&model(network.clone(), 2), &path).unwrap();
    // More blocks than the file has.
    let error = text(load(model(network.clone(), 3), &path));
    assert!(error.contains("missing"), "{error}");
    assert!(error.contains("blocks.2.fuse1.weight"), "{error}");
    // Fewer.
    let error = text(load(model(network.clone(), 1), &path));
    assert!(error.contains("unexpected"), "{error}");
    assert!(error.contains("blocks.1.fuse1.weight"), "{error}");
    // Wider.
    let error = text(load(model(network.clone().with_fc2(9), 2), &path));
    assert!(error.contains("blocks.0.fuse2.weight"), "{error}");
    // Another model.
    let other = CtConfig::new(network.clone()).init(&device).unwrap();
    let error = text(load(other, &path));
    assert!(error.contains("missing: `block.fuse1.bias`"), "{error}");
    assert!(error.contains("unexpected: `blocks.0.bn1.bias`"), "{error}");
    // Cut short.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = text(load(model(network, 2), &path));
    assert!(error.contains("noprop.safetensors"), "{error}");
}

#[test]
fn loading_keeps_fixed_embeddings_fixed() {
    let device = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let config = DtConfig::new(tiny(Embedding::OneHot)).with_steps(1);
    let model = config.init(&device).unwrap();
    save(&model, &path).unwrap();
    let loaded = load(model, &path).unwrap();
    assert!(!loaded.readout.embed.val().is_require_grad());
    assert!(loaded.readout.head.weight.val().is_require_grad());
    assert_eq!(loaded.valid().readout.embeddings().dims(), [3, 3]);
}
