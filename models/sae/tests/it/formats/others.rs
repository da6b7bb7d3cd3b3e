//! The other formats, telling them apart, and releases.

use super::*;
use menagerie_hub::HubOptions;
use menagerie_sae::{
    formats::{self, Format, Release, gemma_scope, sparsify},
    sae::{Activation, Normalization},
};
use serde_json::json;
use std::io::{Read, Write};

/// A PyTorch archive with every `from` in its pickle replaced by a `to` of the same length.
fn patched(path: &Path, from: &[u8], to: &[u8], target: &Path) {
    assert_eq!(from.len(), to.len());
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let mut writer = zip::ZipWriter::new(fs::File::create(target).unwrap());
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut met = false;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if name.ends_with("data.pkl") {
            for at in 0..bytes.len() - from.len() {
                if bytes[at..].starts_with(from) {
                    bytes[at..at + from.len()].copy_from_slice(to);
                    met = true;
                }
            }
        }
        writer.start_file(name, options).unwrap();
        writer.write_all(&bytes).unwrap();
    }
    writer.finish().unwrap();
    assert!(met);
}

#[test]
fn sparsify_round_trips_and_refuses_what_it_cannot_say() {
    let transcoder = SaeConfig::new(6, 18, Activation::topk(3))
        .with_d_out(Some(6))
        .with_subtract_decoder_bias(false)
        .with_skip(true);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layers.3.mlp");
    for config in [
        SaeConfig::new(6, 18, Activation::topk(3)),
        SaeConfig::new(6, 18, Activation::GroupMax { k: 3 }),
        transcoder,
    ] {
        let original = Pretrained::new(sae(&config), SaeMetadata::default());
        sparsify::save(&original, &path).unwrap();
        let read = formats::open(&path, &device()).unwrap();
        assert_same(&read.sae, &original.sae, "sparsify");
        let hooks = (read.metadata.hook_name, read.metadata.hook_name_out);
        let hooks = (hooks.0.as_deref(), hooks.1.as_deref());
        match config.skip {
            false => assert_eq!(hooks, (Some("blocks.3.hook_mlp_out"), None)),
            true => assert_eq!(
                hooks,
                (Some("blocks.3.mlp.hook_in"), Some("blocks.3.hook_mlp_out"))
            ),
        }
    }
    for (config, expected) in [
        (
            SaeConfig::new(6, 18, Activation::Relu),
            "activation is Relu: must be TopK or GroupMax for sparsify",
        ),
        (
            SaeConfig::new(6, 18, Activation::topk(3)).with_normalization(Normalization::LayerNorm),
            "`normalization` of the autoencoder",
        ),
    ] {
        let original = Pretrained::new(sae(&config), SaeMetadata::default());
        let error = sparsify::save(&original, &path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // An expansion factor stands for a number of latents that is not given.
    edit_json(&path.join("cfg.json"), |cfg| {
        cfg["num_latents"] = 0.into();
        cfg["expansion_factor"] = 3.into();
    });
    assert_eq!(
        formats::open(&path, &device()).unwrap().sae.config().d_sae,
        18
    );
    edit_json(&path.join("cfg.json"), |cfg| {
        cfg["activation"] = "sigmoid".into()
    });
    let error = refusal(formats::open(&path, &device()));
    assert!(error.starts_with("unknown activation `sigmoid`"), "{error}");
    edit_json(&path.join("cfg.json"), |cfg| {
        cfg["activation"] = "topk".into();
        cfg["signed"] = true.into();
    });
    let error = refusal(formats::open(&path, &device()));
    assert!(
        error.contains("`signed` is true, expected false"),
        "{error}"
    );
}

#[test]
fn gemma_scope_archives_round_trip_by_either_case_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let config = SaeConfig::gemma_scope(6, 20);
    let original = Pretrained::new(sae(&config), SaeMetadata::default());
    let place = folder
        .path()
        .join("gemma-scope-2b-pt-res/layer_7/width_16k/average_l0_5");
    fs::create_dir_all(&place).unwrap();
    gemma_scope::save(&original, &place.join("params.npz")).unwrap();
    let read = formats::open(&place, &device()).unwrap();
    assert_same(&read.sae, &original.sae, "Gemma Scope");
    assert_eq!(read.metadata.model_name.as_deref(), Some("gemma-2-2b"));
    assert_eq!(
        read.metadata.hook_name.as_deref(),
        Some("blocks.7.hook_resid_post")
    );

    // Lower case, as some archives have it; the reader tells formats by content.
    let arrays = StateDict::open(place.join("params.npz")).unwrap();
    let lower = arrays
        .iter()
        .map(|(key, data)| (key.replace('W', "w"), data.clone()));
    let lower: Vec<_> = lower.collect();
    let path = folder.path().join("params.npz");
    StateDict::from_tensors("a test", lower)
        .save_safetensors(&path)
        .unwrap();
    let read = formats::open(folder.path(), &device()).unwrap();
    assert_same(&read.sae, &original.sae, "lower case");
    assert_eq!(read.metadata, SaeMetadata::default());

    // Embeddings were scaled by √d.
    let place = folder.path().join("embedding/width_4k/average_l0_6");
    fs::create_dir_all(&place).unwrap();
    fs::copy(&path, place.join("params.npz")).unwrap();
    let read = formats::open(&place, &device()).unwrap();
    let root = 6f64.sqrt();
    let (encoder, decoder) = (read.sae.encoder.val(), read.sae.decoder.val());
    assert_close(encoder * root, original.sae.encoder.val(), "W_enc / √d");
    assert_close(decoder / root, original.sae.decoder.val(), "W_dec · √d");

    let topk = Pretrained::new(
        sae(&SaeConfig::new(6, 20, Activation::topk(2))),
        SaeMetadata::default(),
    );
    let error = gemma_scope::save(&topk, &path).unwrap_err().to_string();
    assert!(error.contains("must be a plain JumpReLU"), "{error}");
    edit_weights(&path, |weights| {
        weights.insert("b_dec", TensorData::from([0f32; 7].as_slice()));
    });
    let error = refusal(formats::open(folder.path(), &device()));
    assert!(
        error.contains("`w_enc` has shape [6, 20], expected [20, 7] or [7, 20]"),
        "{error}"
    );
}

#[test]
fn attention_outputs_and_llama_scope_are_read() {
    // The reader tells files by content, so a safetensors file may stand for a pickle.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer5.pt");
    let tensors = |d: usize| {
        vec![
            ("W_enc", matrix(d, 20)),
            ("W_dec", matrix(20, d)),
            ("b_enc", vector(20)),
            ("b_dec", vector(d)),
        ]
    };
    write_weights(&path, tensors(6));
    let cfg = folder.path().join("layer5_cfg.json");
    let settings = json!({"act_size": 6, "dict_size": 20, "act_name": "blocks.5.attn.hook_z"});
    fs::write(&cfg, settings.to_string()).unwrap();
    let read = formats::open(folder.path(), &device()).unwrap();
    assert!(read.by_head);
    assert_eq!(
        read.metadata.hook_name.as_deref(),
        Some("blocks.5.attn.hook_z")
    );
    assert_eq!(read.sae.config(), &SaeConfig::new(6, 20, Activation::Relu));
    edit_json(&cfg, |cfg| cfg["act_size"] = 8.into());
    let error = refusal(formats::open(&path, &device()));
    assert!(
        error.contains("`W_enc` has shape [6, 20], expected [20, 8] or [8, 20]"),
        "{error}"
    );

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoints")).unwrap();
    let (encoder, decoder, bias) = (matrix(20, 4), matrix(4, 20), vector(4));
    write_weights(
        &folder.path().join("checkpoints/final.safetensors"),
        vec![
            ("encoder.weight", encoder.clone()),
            ("encoder.bias", vector(20)),
            ("decoder.weight", decoder.clone()),
            ("decoder.bias", bias.clone()),
        ],
    );
    let settings = json!({
        "d_model": 4, "d_sae": 20, "jump_relu_threshold": 0.5, "hook_point_in": "blocks.3.hook_resid_post",
        "dataset_average_activation_norm": {"in": 8.0, "out": 8.0},
    });
    let cfg = folder.path().join("hyperparams.json");
    fs::write(&cfg, settings.to_string()).unwrap();
    let read = formats::open(folder.path(), &device()).unwrap();
    // s = √4 / 8.
    let tensor = |data: TensorData| Tensor::<2>::from_data(data, &device());
    assert_close(read.sae.encoder.val(), tensor(encoder) * 0.25, "W_enc · s");
    let decoder = tensor(decoder).transpose();
    assert_close(read.sae.decoder.val(), decoder * 4.0, "W_dec / s");
    let bias = Tensor::<1>::from_data(bias, &device());
    assert_close(read.sae.b_dec.val(), bias * 4.0, "b_dec / s");
    let thresholds = read.sae.thresholds().unwrap();
    assert_close(thresholds, Tensor::full([20], 0.125, &device()), "θ · s");
    edit_json(&cfg, |cfg| {
        cfg["dataset_average_activation_norm"]["in"] = 0.into()
    });
    let error = refusal(formats::open(folder.path(), &device()));
    assert!(
        error.contains("`in` is 0, expected a number above 0"),
        "{error}"
    );
}

#[test]
fn openai_checkpoints_say_their_activation() {
    let original = checkpoint("openai/autoencoder.pt");
    let topk = formats::open(&original, &device()).unwrap();
    assert_eq!(topk.sae.config().activation, Activation::topk(6));
    assert_eq!(topk.sae.config().normalization, Normalization::LayerNorm);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("autoencoder.pt");
    patched(&original, b"TopK", b"Tank", &path);
    assert_eq!(
        refusal(formats::open(&path, &device())),
        "unknown activation `Tank`; known: ReLU, TopK"
    );
    patched(&original, b"ReLU", b"Tanh", &path);
    let error = refusal(formats::open(&path, &device()));
    assert!(
        error.contains("`postact_fn` of a TopK is Text(\"Tanh\"), expected ReLU"),
        "{error}"
    );
    // Without an activation's name it is a ReLU, and its input is not normalised.
    write_weights(
        &path,
        vec![
            ("pre_bias", vector(6)),
            ("latent_bias", vector(20)),
            ("encoder.weight", matrix(20, 6)),
            ("decoder.weight", matrix(6, 20)),
        ],
    );
    let relu = formats::open(folder.path(), &device()).unwrap();
    assert_eq!(relu.sae.config().activation, Activation::Relu);
    assert_eq!(relu.sae.config().normalization, Normalization::None);
}

#[test]
fn dictionary_learning_names_its_classes() {
    let name = "dictionary_learning_batchtopk";
    let read = formats::open(checkpoint(name), &device()).unwrap();
    assert_eq!(read.sae.config().activation, Activation::BatchTopK { k: 5 });
    assert!(read.sae.inference_threshold().unwrap() > 0.0);
    assert_eq!(
        read.metadata.hook_name.as_deref(),
        Some("blocks.1.hook_resid_post")
    );
    let (_folder, path) = copy(name);
    edit_json(&path.join("config.json"), |config| {
        config["trainer"]["dict_class"] = "AutoEncoderTopK".into();
    });
    let topk = formats::open(&path, &device()).unwrap();
    assert_eq!(topk.sae.config().activation, Activation::topk(5));
    edit_json(&path.join("config.json"), |config| {
        config["trainer"]["dict_class"] = "AutoEncoderTop".into();
    });
    let error = refusal(formats::open(&path, &device()));
    assert!(
        error.starts_with("unknown dict_class `AutoEncoderTop`; did you mean `AutoEncoderTopK`"),
        "{error}"
    );

    let write = |class: &str, tensors: Vec<(&str, TensorData)>| {
        edit_json(&path.join("config.json"), |config| {
            config["trainer"]["dict_class"] = class.into();
            config["trainer"]["activation_dim"] = 6.into();
            config["trainer"]["dict_size"] = 20.into();
        });
        write_weights(&path.join("ae.pt"), tensors);
        formats::open(&path, &device()).unwrap().sae
    };
    let linear = || {
        vec![
            ("encoder.weight", matrix(20, 6)),
            ("decoder.weight", matrix(6, 20)),
        ]
    };
    let with = |more: Vec<(&'static str, TensorData)>| {
        let mut tensors = linear();
        tensors.extend(more);
        tensors
    };
    let encoder_bias = || ("encoder.bias", vector(20));
    let sae = write(
        "AutoEncoder",
        with(vec![encoder_bias(), ("bias", vector(6))]),
    );
    assert!(sae.config().subtract_decoder_bias);
    let sae = write(
        "AutoEncoderNew",
        with(vec![encoder_bias(), ("decoder.bias", vector(6))]),
    );
    assert!(!sae.config().subtract_decoder_bias);
    let sae = write(
        "GatedAutoEncoder",
        with(vec![
            ("decoder_bias", vector(6)),
            ("r_mag", vector(20)),
            ("gate_bias", vector(20)),
            ("mag_bias", vector(20)),
        ]),
    );
    assert_eq!(sae.config().activation, Activation::Gated);
    let matrices = |more: Vec<(&'static str, TensorData)>| {
        let mut tensors = vec![
            ("W_enc", matrix(6, 20)),
            ("W_dec", matrix(20, 6)),
            ("b_enc", vector(20)),
            ("b_dec", vector(6)),
        ];
        tensors.extend(more);
        tensors
    };
    let sae = write(
        "JumpReluAutoEncoder",
        matrices(vec![(
            "threshold",
            TensorData::from([0.1f32; 20].as_slice()),
        )]),
    );
    assert!(!sae.config().subtract_decoder_bias);
    let sae = write(
        "MatryoshkaBatchTopKSAE",
        matrices(vec![
            ("k", TensorData::from([4i32])),
            ("threshold", TensorData::from([-1f32])),
            ("group_sizes", TensorData::from([5i64, 15])),
        ]),
    );
    assert_eq!(sae.config().activation, Activation::BatchTopK { k: 4 });
    assert_eq!(sae.inference_threshold(), None);
}

#[test]
fn formats_are_told_apart_and_others_refused() {
    for (name, format) in [
        ("saelens_gated", Format::SaeLens),
        ("sparsify", Format::Sparsify),
        ("gemma_scope", Format::GemmaScope),
        ("gemma_scope/params.npz", Format::GemmaScope),
        ("openai", Format::OpenAi),
        ("openai/autoencoder.pt", Format::OpenAi),
        (
            "dictionary_learning_batchtopk/ae.pt",
            Format::DictionaryLearning,
        ),
        ("saelens_topk/sae_weights.safetensors", Format::SaeLens),
    ] {
        assert_eq!(Format::detect(&checkpoint(name)).unwrap(), format, "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(formats::open(folder.path(), &device()));
    assert!(
        error.contains("none of the known formats, which have: sae_weights.safetensors (SAELens)"),
        "{error}"
    );
    let error = refusal(formats::open(folder.path().join("none"), &device()));
    assert!(error.starts_with("cannot find "), "{error}");
}

#[test]
fn releases_are_read_from_the_cache_of_the_hub() {
    let cache = tempfile::tempdir().unwrap();
    let repo = cache
        .path()
        .join("models--jbloom--GPT2-Small-SAEs-Reformatted");
    let commit = "0123456789012345678901234567890123456789";
    let folder = repo
        .join("snapshots")
        .join(commit)
        .join("blocks.1.hook_resid_pre");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), commit).unwrap();
    for file in ["cfg.json", "sae_weights.safetensors"] {
        fs::copy(checkpoint("saelens_topk").join(file), folder.join(file)).unwrap();
    }
    let mut options = HubOptions::new(cache.path());
    options.offline = true;
    let load = |id: &str| formats::from_pretrained("gpt2-small-res-jb", id, &options, &device());
    let read = load("blocks.1.hook_resid_pre").unwrap();
    assert_eq!(read.sae.config().activation, Activation::topk(5));
    // The release says so, not the file.
    assert_eq!(read.processed_host, Some(true));
    let error = refusal(load("blocks.2.hook_resid_pre"));
    assert!(
        error.contains("blocks.2.hook_resid_pre/cfg.json"),
        "{error}"
    );
    assert_eq!(
        Release::parse("google/gemma-scope-2b-pt-res")
            .unwrap()
            .format,
        Format::GemmaScope
    );
    let error = Release::parse("gpt2-small-res-jbb")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "unknown release `gpt2-small-res-jbb`; did you mean `gpt2-small-res-jb` or `gpt2-small-mlp-tm` or `gpt2-small-hook-z-kk`?"
    );
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    for name in fs::read_dir(checkpoint("")).unwrap() {
        let name = name.unwrap().file_name().into_string().unwrap();
        let (_folder, path) = copy(&name);
        for entry in fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            let whole = fs::read(&file).unwrap();
            let step = if whole.len() > 1000 { 97 } else { 5 };
            for at in (0..whole.len()).step_by(step) {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x15;
                fs::write(&file, bytes).unwrap();
                // Damage in a weight or in a name that is not read goes unnoticed.
                let _ = formats::open(&path, &device());
            }
            fs::write(&file, &whole[..whole.len() / 2]).unwrap();
            assert!(
                formats::open(&path, &device()).is_err(),
                "{}",
                file.display()
            );
            fs::write(&file, whole).unwrap();
        }
    }
}
