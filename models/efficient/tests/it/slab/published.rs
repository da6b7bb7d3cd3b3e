//! What is published: sizes, names and shapes of the official code, recipes.

use super::{norm, swin};
use crate::{device, num_params};
use menagerie_efficient::slab::{
    AttentionKind, CswinConfig, DeitConfig, LlamaConfig, Mixer, NormConfig, NormKind, PvtConfig,
    SwinConfig, decays, recipe, recipe_cswin, recipe_pvt, weights,
};
use menagerie_hub::StateDict;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    // Statistics and counters are not parameters.
    let params = |module: &dyn Fn() -> usize| module();
    let deit = |config: DeitConfig| {
        let model = config.init(&device).unwrap();
        let buffers = (2 * config.depth + 1) * (2 * config.dim + 4);
        // The official class token, which is not used.
        num_params(&model) - buffers + config.dim
    };
    assert_eq!(params(&|| deit(DeitConfig::slab_tiny())), 6_198_401);
    assert_eq!(params(&|| deit(DeitConfig::slab_small())), 22_992_641);
    let swin = |config: SwinConfig| {
        let model = config.init(&device).unwrap();
        let mut buffers = 2 * config.dim + 4 + 2 * (config.dim << 3) + 4;
        for (at, stage) in config.stages.iter().enumerate() {
            buffers += 2 * stage.depth * (2 * (config.dim << at) + 4);
            if at < 3 {
                buffers += 8 * (config.dim << at) + 4;
            }
        }
        num_params(&model) - buffers
    };
    assert_eq!(params(&|| swin(SwinConfig::slab_tiny())), 29_216_605);
    assert_eq!(params(&|| swin(SwinConfig::slab_small())), 50_552_965);
}

#[test]
fn every_published_configuration_builds() {
    let device = device();
    for (config, drop_path) in [
        (PvtConfig::slab_tiny(), 0.0),
        (PvtConfig::slab_small(), 0.1),
        (PvtConfig::slab_medium(), 0.3),
        (PvtConfig::tiny(), 0.0),
        (PvtConfig::small(), 0.1),
        (PvtConfig::medium(), 0.3),
    ] {
        assert_eq!(config.drop_path, drop_path);
        let model = config.init(&device).unwrap();
        assert!(num_params(&model) > 10_000_000);
        let is_linear = config.stages[0].attention == AttentionKind::Linear;
        for (at, stage) in model.stages.iter().enumerate() {
            for block in &stage.blocks {
                let Mixer::Reduced(mixer) = &block.attn else {
                    panic!("every block of PVT may reduce its keys")
                };
                // Linear attention has every key, softmax fewer but in the last stage.
                let reduces = !is_linear && at < 3;
                assert_eq!(
                    (mixer.sr.is_some(), mixer.norm.is_some()),
                    (reduces, reduces)
                );
                let positions = mixer.positional_encoding.as_ref();
                let positions = positions.map(|positions| positions.lazy_shape().to_vec());
                let (side, dim) = (56 >> at, config.stages[at].dim);
                assert_eq!(positions, is_linear.then(|| vec![1, side * side, dim]));
            }
        }
    }
    CswinConfig::slab_tiny().init(&device).unwrap();
    CswinConfig::slab_small().init(&device).unwrap();
    let norm = NormConfig::new(NormKind::Progressive);
    DeitConfig::tiny(norm.clone()).init(&device).unwrap();
    DeitConfig::small(norm.clone()).init(&device).unwrap();
    let swin = SwinConfig::tiny(norm);
    assert_eq!(swin.drop_path, 0.1);
    swin.init(&device).unwrap();
    let llama = LlamaConfig::b350m().init(&device).unwrap();
    // Embedding and head 65.5 million, blocks of 16.8 million.
    let count = num_params(&llama);
    assert!((360_000_000..370_000_000).contains(&count), "{count}");
}

/// Names and shapes of the state dicts of the official networks, as the official code makes them.
/// The language model has 11 words, two blocks of 16 numbers in two heads, and 24 hidden ones.
fn official() -> BTreeMap<String, BTreeMap<String, Vec<usize>>> {
    let keys = include_str!("../../../fixtures/slab/keys.json");
    serde_json::from_str(keys).unwrap()
}

/// Holds a state dict to the official one; what the official code makes and does not use is
/// `unused`. A counter has one element with an axis or without.
fn check(name: &str, found: &StateDict, unused: &str) {
    let is_counter = |key: &str| {
        let last = key.rsplit('.').next().unwrap_or(key);
        [
            "warm",
            "iter",
            "total_step",
            "num_step",
            "num_batches_tracked",
        ]
        .contains(&last)
    };
    let shape = |key: &str, shape: Vec<usize>| match is_counter(key) {
        true => Vec::new(),
        false => shape,
    };
    let expected: BTreeSet<(String, Vec<usize>)> = official()[name]
        .iter()
        .filter(|(key, _)| unused.is_empty() || !key.ends_with(unused))
        .map(|(key, size)| (key.clone(), shape(key, size.clone())))
        .collect();
    let found: BTreeSet<(String, Vec<usize>)> = found
        .iter()
        .map(|(key, data)| (key.to_owned(), shape(key, data.shape().to_vec())))
        .collect();
    let missing: Vec<_> = expected.difference(&found).take(8).collect();
    let others: Vec<_> = found.difference(&expected).take(8).collect();
    assert!(
        missing.is_empty() && others.is_empty(),
        "{name}: {missing:?} but {others:?}"
    );
}

#[test]
fn names_and_shapes_are_the_official_ones() {
    let device = device();
    for (name, config) in [
        ("slab_pvt_tiny", PvtConfig::slab_tiny()),
        ("pvt_tiny", PvtConfig::tiny()),
    ] {
        let model = config.init(&device).unwrap();
        let found = weights::state_dict(&model, &weights::pvt_key_map(&config)).unwrap();
        check(name, &found, "");
    }
    let config = CswinConfig::slab_tiny();
    let model = config.init(&device).unwrap();
    let found = weights::state_dict(&model, &weights::cswin_key_map(&config)).unwrap();
    check("slab_cswin_tiny", &found, ".scale");
    let config = LlamaConfig::new(11, 16, 24, 2, 2);
    let model = config.init(&device).unwrap();
    let found = weights::state_dict(&model, &weights::llama_key_map(&config)).unwrap();
    check("llama", &found, ".inv_freq");
}

#[test]
fn every_epsilon_of_the_language_model_is_its_own() {
    let norm = LlamaConfig::b350m().norm;
    assert_eq!((norm.epsilon, norm.batch_epsilon), (1e-6, 1e-6));
    assert_eq!(NormConfig::new(NormKind::Batch).batch_epsilon, 1e-5);
}

#[test]
fn positions_and_vectors_do_not_decay() {
    assert!(decays("blocks.0.mlp.fc1.weight", 2));
    assert!(!decays(
        "layers.0.blocks.0.block.attn.Window.relative_position_bias_table",
        2
    ));
    assert!(!decays("pos_embed", 3));
    assert!(!decays("norm.alpha", 1));
    // The official lists do not have these.
    assert!(decays("blocks.0.attn.Linear.positional_encoding", 3));
    assert!(decays("stages.2.pos_embed", 3));
}

#[test]
fn recipes_are_those_of_the_official_configurations() {
    let of_deit = recipe();
    assert_eq!(
        (of_deit.clip, of_deit.batch, of_deit.total_epochs()),
        (Some(5.0), 1_024, 300)
    );
    assert_eq!(of_deit.schedule(10).unwrap().at(0), 1e-6);
    let of_pvt = recipe_pvt();
    assert_eq!(
        (of_pvt.clip, of_pvt.batch, of_pvt.total_epochs()),
        (None, 1_024, 310)
    );
    let schedule = of_pvt.schedule(10).unwrap();
    assert_eq!((schedule.at(0), schedule.at(3_050)), (2e-6, 2e-5));
    let of_cswin = recipe_cswin();
    assert_eq!((of_cswin.warmup, of_cswin.batch), (20, 2_048));
    let schedule = of_cswin.schedule(10).unwrap();
    assert_eq!((schedule.at(0), schedule.at(3_050)), (4e-6, 4e-5));
}

#[test]
fn kernels_and_the_start_of_the_blend_can_be_others() {
    let device = device();
    let mut config = swin(NormKind::Progressive);
    config.norm = norm(NormKind::Progressive).with_start(0.5);
    config.sla.kernel = 3;
    let model = config.init(&device).unwrap();
    assert_eq!(model.norm.lambda().unwrap(), Some(0.5));
    let Mixer::Linear(mixer) = &model.layers[0].blocks[0].block.attn else {
        panic!("the first block is linear")
    };
    assert_eq!(mixer.dwc.weight.dims(), [4, 1, 3, 3]);
}
