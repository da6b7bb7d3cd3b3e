//! Published formats: written and read again, old, transposed, damaged and hostile.

mod others;
mod saelens;

use burn::{
    module::Param,
    tensor::{Device, Distribution, Tensor, TensorData},
};
use menagerie_core::Seed;
use menagerie_hub::StateDict;
use menagerie_sae::{
    formats::{Pretrained, SaeMetadata},
    sae::{SaeConfig, SparseAutoencoder},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Checkpoints that the official code wrote.
fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/sae-base/checkpoints")
        .join(name)
}

fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or("flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.5), &device())
}

/// An autoencoder with every parameter at random, dictionary norms included.
fn sae(config: &SaeConfig) -> SparseAutoencoder {
    let device = device();
    menagerie_train::initialise(&device, Seed(4), || {
        let mut sae = config.init(&device)?;
        let vector = |param: Param<Tensor<1>>| param.map(|values| random(values.dims()));
        let positive = |param: Param<Tensor<1>>| param.map(|values| values + 0.2);
        sae.decoder = sae.decoder.map(|decoder| random(decoder.dims()));
        sae.b_dec = vector(sae.b_dec);
        sae.b_enc = sae.b_enc.map(vector);
        sae.threshold = sae.threshold.map(positive);
        sae.skip = sae.skip.map(|skip| skip.map(|skip| random(skip.dims())));
        sae.gate = sae.gate.map(|mut gate| {
            gate.r_mag = vector(gate.r_mag);
            gate.b_gate = vector(gate.b_gate);
            gate.b_mag = vector(gate.b_mag);
            gate
        });
        Ok(sae)
    })
    .unwrap()
}

fn metadata() -> SaeMetadata {
    SaeMetadata {
        model_name: Some("gpt2-small".into()),
        hook_name: Some("blocks.1.attn.hook_z".into()),
        prepend_bos: Some(true),
        context_size: Some(16),
        ..SaeMetadata::default()
    }
}

fn assert_close<const D: usize>(ours: Tensor<D>, theirs: Tensor<D>, what: &str) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let far = (ours - theirs).abs().max().into_data();
    let far = far.iter::<f32>().next().unwrap();
    assert!(far < 1e-5, "{what}: {far}");
}

fn assert_same(ours: &SparseAutoencoder, theirs: &SparseAutoencoder, what: &str) {
    let x = random([11, ours.config().d_in]);
    let (ours, theirs) = (ours.forward(x.clone()).unwrap(), theirs.forward(x).unwrap());
    assert_close(ours.reconstruction, theirs.reconstruction, what);
}

/// The text of the error.
fn refusal(result: menagerie_core::Result<Pretrained>) -> String {
    match result {
        Ok(pretrained) => panic!("was read: {:?}", pretrained.sae.config()),
        Err(error) => error.to_string(),
    }
}

fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn edit_weights(path: &Path, change: impl FnOnce(&mut StateDict)) {
    let mut weights = StateDict::open(path).unwrap();
    change(&mut weights);
    weights.save_safetensors(path).unwrap();
}

fn write_weights(path: &Path, tensors: Vec<(&str, TensorData)>) {
    let tensors = tensors
        .into_iter()
        .map(|(key, data)| (key.to_owned(), data));
    StateDict::from_tensors("a test", tensors)
        .save_safetensors(path)
        .unwrap();
}

/// A copy of a checkpoint, to be changed.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::create_dir(&path).unwrap();
    for entry in fs::read_dir(checkpoint(name)).unwrap() {
        let entry = entry.unwrap();
        fs::write(
            path.join(entry.file_name()),
            fs::read(entry.path()).unwrap(),
        )
        .unwrap();
    }
    (folder, path)
}

fn matrix(rows: usize, columns: usize) -> TensorData {
    random([rows, columns]).into_data()
}

fn vector(length: usize) -> TensorData {
    random([length]).into_data()
}
