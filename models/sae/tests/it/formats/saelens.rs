//! The SAELens folder.

use super::*;
use menagerie_sae::{
    formats::{self, saelens},
    sae::{Activation, Normalization},
};
use serde_json::json;

#[test]
fn every_variant_of_saelens_round_trips() {
    let transcoder = |activation| {
        SaeConfig::new(6, 20, activation)
            .with_d_out(Some(9))
            .with_subtract_decoder_bias(false)
    };
    let configs = [
        ("standard", SaeConfig::new(6, 20, Activation::Relu)),
        (
            "standard",
            SaeConfig::new(6, 20, Activation::Relu).with_normalization(Normalization::ConstantNorm),
        ),
        ("topk", SaeConfig::new(6, 20, Activation::topk(3))),
        (
            "topk",
            SaeConfig::new(6, 20, Activation::topk(3))
                .with_rescale_by_decoder_norm(true)
                .with_normalization(Normalization::LayerNorm),
        ),
        (
            "jumprelu",
            SaeConfig::new(6, 20, Activation::jump_relu()).with_subtract_decoder_bias(false),
        ),
        ("gated", SaeConfig::new(6, 20, Activation::Gated)),
        ("transcoder", transcoder(Activation::Relu)),
        (
            "skip_transcoder",
            transcoder(Activation::Relu).with_skip(true),
        ),
        (
            "jumprelu_transcoder",
            transcoder(Activation::jump_relu_plain()),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (architecture, config) in configs {
        let path = folder.path().join("sae");
        let original = Pretrained::new(sae(&config), metadata());
        saelens::save(&original, &path).unwrap();
        let cfg: Value = serde_json::from_slice(&fs::read(path.join("cfg.json")).unwrap()).unwrap();
        assert_eq!(cfg["architecture"], architecture);
        let read = formats::open(&path, &device()).unwrap();
        assert_same(&read.sae, &original.sae, architecture);
        assert_eq!(read.metadata, original.metadata);
        if config.rescale_by_decoder_norm {
            assert!(read.sae.config().rescale_by_decoder_norm);
            let norms = read.sae.decoder_norms();
            assert_close(norms, Tensor::ones([20], &device()), "folded norms");
        }
    }
}

#[test]
fn a_batch_topk_is_written_as_a_jump_relu() {
    let folder = tempfile::tempdir().unwrap();
    for rescale in [false, true] {
        let config = SaeConfig::new(6, 20, Activation::BatchTopK { k: 3 })
            .with_rescale_by_decoder_norm(rescale);
        let path = folder.path().join("sae");
        let unset = Pretrained::new(sae(&config), metadata());
        let error = saelens::save(&unset, &path).unwrap_err().to_string();
        assert!(error.contains("batch_threshold is \"unset\""), "{error}");
        assert!(!path.exists());

        let trained = sae(&config).set_inference_threshold(0.3).unwrap();
        let original = Pretrained::new(trained, metadata());
        saelens::save(&original, &path).unwrap();
        let read = formats::open(&path, &device()).unwrap();
        assert!(matches!(
            read.sae.config().activation,
            Activation::JumpRelu { .. }
        ));
        let thresholds = read.sae.thresholds().unwrap();
        assert_close(thresholds, Tensor::full([20], 0.3, &device()), "threshold");
        assert_same(&read.sae, &original.sae, "BatchTopK");
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn heads_and_sparsity_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sae");
    let mut original = Pretrained::new(sae(&SaeConfig::new(6, 20, Activation::Relu)), metadata());
    original.by_head = true;
    original.log_sparsity = Some((0..20).map(|i| -(i as f32)).collect());
    saelens::save(&original, &path).unwrap();
    let read = formats::open(&path, &device()).unwrap();
    assert!(read.by_head);
    assert_eq!(read.log_sparsity, original.log_sparsity);
    assert_eq!(read.rows(random([2, 5, 3, 2])).unwrap().dims(), [10, 6]);
    let error = read.rows(random([2, 5, 4, 2])).unwrap_err().to_string();
    assert_eq!(
        error,
        "shape of the activations is [2, 5, 4, 2]: must end in heads and head width of product d_in, 6"
    );
    edit_json(&path.join("cfg.json"), |cfg| {
        cfg["metadata"]["hook_name"] = "blocks.1.hook_resid_pre".into();
    });
    let error = refusal(formats::open(&path, &device()));
    assert!(
        error.contains(
            "`hook_name` is \"blocks.1.hook_resid_pre\", expected a hook whose name ends in `_z`"
        ),
        "{error}"
    );
}

#[test]
fn configurations_before_version_6_get_their_defaults() {
    let legacy = saelens::load(&checkpoint("saelens_legacy_topk"), &device()).unwrap();
    assert_eq!(legacy.sae.config().activation, Activation::topk(6));
    assert_eq!(
        legacy.metadata.hook_name.as_deref(),
        Some("blocks.1.hook_resid_pre")
    );
    assert_eq!(legacy.metadata.extra["dataset_path"], "none");

    let (_folder, path) = copy("saelens_legacy_topk");
    let cfg = path.join("cfg.json");
    edit_json(&cfg, |cfg| {
        cfg["hook_point"] = "blocks.0.attn.hook_z".into();
        cfg["activation_fn_str"] = "relu".into();
        cfg["normalize_activations"] = true.into();
        cfg.as_object_mut().unwrap().remove("apply_b_dec_to_input");
    });
    let read = formats::open(&path, &device()).unwrap();
    assert_eq!(read.sae.config().activation, Activation::Relu);
    assert!(read.by_head && read.expects_scale && read.sae.config().subtract_decoder_bias);

    edit_json(&cfg, |cfg| cfg["activation_fn_str"] = "tanh-relu".into());
    let error = refusal(formats::open(&path, &device()));
    assert_eq!(error, "unknown activation `tanh-relu`; known: relu, topk");
    edit_json(&cfg, |cfg| {
        cfg["activation_fn_str"] = "topk".into();
        cfg["activation_fn_kwargs"] = json!({});
    });
    let error = refusal(formats::open(&path, &device()));
    assert!(
        error.contains("an object with the number `k` of a `topk`"),
        "{error}"
    );
}

#[test]
fn a_scaling_factor_counts_only_where_it_was_fine_tuned() {
    let (_folder, path) = copy("saelens_legacy_topk");
    let before = formats::open(&path, &device()).unwrap();
    edit_weights(&path.join("sae_weights.safetensors"), |weights| {
        weights.insert("scaling_factor", TensorData::from([2f32; 40].as_slice()));
    });
    let error = refusal(formats::open(&path, &device()));
    assert!(
        error.contains("`scaling_factor` is not 1 although `finetuning_scaling_factor` is false"),
        "{error}"
    );
    edit_json(&path.join("cfg.json"), |cfg| {
        cfg["finetuning_scaling_factor"] = true.into();
    });
    let after = formats::open(&path, &device()).unwrap();
    assert_close(
        after.sae.decoder.val(),
        before.sae.decoder.val() * 2.0,
        "scaled dictionary",
    );
}

#[test]
fn configurations_that_contradict_themselves_are_refused_by_name() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 10] = [
        (
            |cfg| cfg["architecture"] = "topkk".into(),
            "unknown architecture `topkk`; did you mean `topk`?",
        ),
        (
            |cfg| cfg["normalize_activations"] = "batch".into(),
            "unknown normalize_activations `batch`",
        ),
        (
            |cfg| cfg["reshape_activations"] = "hook_q".into(),
            "unknown reshape_activations `hook_q`",
        ),
        (
            |cfg| cfg["k"] = 0.into(),
            "SaeConfig.activation.k = 0: must be at least 1",
        ),
        (
            |cfg| cfg["k"] = Value::Null,
            "cfg.json: no `k`, which this format needs",
        ),
        (
            |cfg| cfg["d_in"] = (-3).into(),
            "`d_in` is -3, expected a whole number of at least 0",
        ),
        (
            |cfg| cfg["d_sae"] = 1e300.into(),
            "`d_sae` is 1e+300, expected a whole number",
        ),
        (
            |cfg| cfg["metadata"] = json!([1, 2]),
            "`metadata` is [1,2], expected an object",
        ),
        (
            |cfg| cfg["d_in"] = 15.into(),
            "`W_dec` has shape [40, 16], expected [40, 15] or [15, 40]",
        ),
        (
            |cfg| cfg["apply_b_dec_to_input"] = "yes".into(),
            "`apply_b_dec_to_input` is \"yes\", expected true or false",
        ),
    ];
    for (change, expected) in cases {
        let (_folder, path) = copy("saelens_topk");
        edit_json(&path.join("cfg.json"), change);
        let error = refusal(formats::open(&path, &device()));
        assert!(error.contains(expected), "{error}");
    }
    let (_folder, path) = copy("saelens_topk");
    for text in ["", "[]", "{", "nul", "{\"d_in\": 1e999}"] {
        fs::write(path.join("cfg.json"), text).unwrap();
        let error = refusal(formats::open(&path, &device()));
        assert!(error.contains("cfg.json"), "{error}");
    }
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let (_folder, path) = copy("saelens_jumprelu");
    let file = path.join("sae_weights.safetensors");
    let original = fs::read(&file).unwrap();
    let broken = |change: &dyn Fn(&mut StateDict)| {
        fs::write(&file, &original).unwrap();
        edit_weights(&file, change);
        refusal(formats::open(&path, &device()))
    };
    let error = broken(&|weights| {
        weights.insert("W_extra", TensorData::from([0f32]));
    });
    assert!(error.contains("unexpected: `W_extra`"), "{error}");
    let error = broken(&|weights| {
        let without = weights.iter().filter(|(key, _)| *key != "threshold");
        *weights = StateDict::from_tensors(
            "sae_weights.safetensors",
            without.map(|(key, data)| (key.to_owned(), data.clone())),
        );
    });
    assert!(error.contains("`threshold` is missing"), "{error}");
    let error = broken(&|weights| {
        weights.insert("b_enc", TensorData::from([1i64; 40].as_slice()));
    });
    assert!(
        error.contains("`b_enc` holds I64, expected floating-point"),
        "{error}"
    );

    // Turned, it is read all the same.
    let before = {
        fs::write(&file, &original).unwrap();
        formats::open(&path, &device()).unwrap()
    };
    edit_weights(&file, |weights| {
        let data = weights.get("W_enc").unwrap().clone();
        let turned = Tensor::<2>::from_data(data, &device()).transpose();
        weights.insert("W_enc", turned.into_data());
    });
    let after = formats::open(&path, &device()).unwrap();
    assert_same(&after.sae, &before.sae, "a turned matrix");

    fs::write(&file, &original[..original.len() - 9]).unwrap();
    let error = refusal(formats::open(&path, &device()));
    assert!(
        error.contains("sae_weights.safetensors") && error.contains("truncated"),
        "{error}"
    );
}
