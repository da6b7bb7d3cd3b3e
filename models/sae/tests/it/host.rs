//! Hosts: hooks, runs that stop, go on and are edited, weights, configurations.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData, Tolerance, activation::log_softmax},
};
use menagerie_core::Seed;
use menagerie_hub::StateDict;
use menagerie_sae::host::{
    Activation, Architecture, HookPoint, Hooks, LanguageModel, LanguageModelConfig, Processing,
    RotaryConfig, Site, activation_gradient, cross_entropy, weights,
};

/// One small model of every architecture.
fn configs() -> Vec<LanguageModelConfig> {
    let modern = |architecture, activation| {
        LanguageModelConfig::new(architecture, 23, 12, 12, 2, 4, 2, 6, 10, activation)
            .with_rotary(Some(RotaryConfig::new(100.0, 6)))
    };
    let neox = LanguageModelConfig::new(
        Architecture::GptNeoX,
        23,
        12,
        16,
        2,
        2,
        2,
        8,
        20,
        Activation::Gelu,
    );
    vec![
        LanguageModelConfig::gpt2(23, 12, 16, 2, 4),
        neox.with_rotary(Some(RotaryConfig::new(100.0, 4)))
            .with_parallel(true)
            .with_tied(false)
            .with_qkv_bias(true)
            .with_output_bias(true)
            .with_mlp_bias(true),
        modern(Architecture::Llama, Activation::Silu).with_tied(false),
        modern(Architecture::Qwen2, Activation::Silu).with_qkv_bias(true),
        modern(Architecture::Qwen3, Activation::Silu),
        modern(Architecture::Gemma2, Activation::GeluTanh)
            .with_attention_softcap(Some(20.0))
            .with_logit_softcap(Some(10.0))
            .with_window(Some(3)),
    ]
}

fn model(config: &LanguageModelConfig) -> LanguageModel {
    let device = device();
    menagerie_train::initialise(&device, Seed(1), || config.init(&device)).unwrap()
}

fn device() -> Device {
    menagerie_core::device::parse(&std::env::var("MENAGERIE_DEVICE").unwrap_or("flex".into()))
        .unwrap()
}

fn tokens() -> Tensor<2, Int> {
    Tensor::from_ints([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 22, 0]], &device())
}

/// Every hook of every layer.
fn hooks(config: &LanguageModelConfig) -> Vec<HookPoint> {
    let names = HookPoint::names(config).into_iter().flat_map(|name| {
        let layers = if name.contains("{l}") {
            config.layers
        } else {
            1
        };
        (0..layers).map(move |layer| name.replace("{l}", &layer.to_string()))
    });
    names
        .map(|name| HookPoint::parse(&name, config).unwrap())
        .collect()
}

fn hook(name: &str, config: &LanguageModelConfig) -> HookPoint {
    HookPoint::parse(name, config).unwrap()
}

fn assert_close<const D: usize>(ours: Tensor<D>, theirs: Tensor<D>) {
    ours.into_data()
        .assert_approx_eq::<f32>(&theirs.into_data(), Tolerance::absolute(1e-5));
}

#[test]
fn an_unknown_hook_lists_those_that_exist() {
    let config = LanguageModelConfig::gpt2(23, 12, 16, 2, 4);
    for name in [
        "blocks.0.hook_resid",
        "blocks.2.hook_resid_pre",
        "blocks.x.hook_resid_pre",
        "blocks.-1.hook_resid_pre",
        "resid_pre",
        "",
        "blocks.0.attn.hook_rot_q",
        "blocks.0.mlp.hook_pre_linear",
    ] {
        let error = HookPoint::parse(name, &config).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        assert!(error.starts_with(&format!("hook `{name}`: must be one of hook_embed")));
        assert!(error.contains("blocks.{l}.attn.hook_z"), "{error}");
        assert!(error.ends_with("{l} is a layer from 0 to 1"), "{error}");
    }
    let name = "blocks.1.attn.hook_z";
    let parsed = hook(name, &config);
    assert_eq!((parsed.layer(), parsed.site()), (Some(1), Site::Z));
    assert_eq!(parsed.to_string(), name);
    let parallel = &configs()[1];
    assert!(HookPoint::parse("blocks.0.hook_resid_mid", parallel).is_err());
    assert!(HookPoint::parse("hook_pos_embed", parallel).is_err());
}

#[test]
fn stopping_early_reads_what_a_full_run_reads() {
    for config in configs() {
        let model = model(&config);
        let mut all = hooks(&config)
            .into_iter()
            .fold(Hooks::new(), |all, hook| all.reading(hook));
        let logits = model.run(tokens(), &mut all).unwrap().unwrap();
        assert_close(logits, model.forward(tokens()).unwrap());
        for hook in hooks(&config) {
            let early = model.activations(tokens(), &hook).unwrap();
            if hook.site() != Site::Pattern {
                assert_eq!(early.dims()[2], model.hidden_size(&hook), "{hook}");
            }
            assert_close(early, all.take(&hook).unwrap());
        }
    }
}

#[test]
fn what_is_put_back_unchanged_changes_nothing_and_what_is_changed_acts() {
    for config in configs() {
        let model = model(&config);
        let plain = model.forward(tokens()).unwrap();
        for hook in hooks(&config) {
            let same = model.forward_with(tokens(), &hook, Ok).unwrap();
            assert_close(same, plain.clone());
            // Not constant along the width, which a norm would take out.
            let edited = model
                .forward_with(tokens(), &hook, |x| {
                    let [_, _, width] = x.dims();
                    let ramp = Tensor::<1, Int>::arange(0..width as i64, &device()).float();
                    Ok(x * 5.0 + ramp.unsqueeze::<3>() * 0.1)
                })
                .unwrap();
            let moved = (edited - plain.clone()).abs().max().into_scalar::<f32>();
            assert!(moved > 1e-4, "{:?} {hook}: {moved}", config.architecture);
        }
    }
}

#[test]
fn a_replacement_is_read_and_keeps_its_shape() {
    let config = &configs()[0];
    let model = model(config);
    let resid = hook("blocks.0.hook_resid_post", config);
    let next = hook("blocks.1.hook_resid_pre", config);
    let mut run = Hooks::new()
        .replacing(resid, |x| Ok(x.zeros_like()))
        .replacing(resid, |x| Ok(x + 2.0))
        .reading(resid)
        .reading(next);
    model.run(tokens(), &mut run).unwrap();
    for hook in [resid, next] {
        let x = run.take(&hook).unwrap();
        assert_close(x.clone(), x.full_like(2.0));
    }
    let error = model
        .forward_with(tokens(), &resid, |x| Ok(x.narrow(2, 0, 3)))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the shape that replaces blocks.0.hook_resid_post is [2, 7, 3]: must be [2, 7, 16] as before"
    );
    let failed = model
        .forward_with(tokens(), &resid, |_| {
            Err(menagerie_core::Error::other("the replacement", "failed"))
        })
        .unwrap_err();
    assert_eq!(failed.to_string(), "the replacement: failed");
}

#[test]
fn a_hook_that_is_not_met_is_an_error() {
    let config = &configs()[0];
    let model = model(config);
    let deeper = LanguageModelConfig::gpt2(23, 12, 16, 5, 4);
    let foreign = hook("blocks.4.hook_resid_pre", &deeper);
    let error = model.activations(tokens(), &foreign).unwrap_err();
    assert!(error.to_string().contains("was not met"), "{error}");
    let error = Hooks::new().take(&foreign).unwrap_err().to_string();
    assert!(error.contains("must have been read"), "{error}");
}

#[test]
fn a_run_goes_on_from_an_activation() {
    for config in configs() {
        let model = model(&config);
        let plain = model.forward(tokens()).unwrap();
        for layer in 0..config.layers {
            for site in ["hook_resid_pre", "hook_resid_post"] {
                let hook = hook(&format!("blocks.{layer}.{site}"), &config);
                let x = model.activations(tokens(), &hook).unwrap();
                assert_close(model.continue_from(&hook, x).unwrap(), plain.clone());
            }
        }
    }
    let config = &configs()[0];
    let model = model(config);
    let x = Tensor::<3>::zeros([1, 4, 16], &device());
    for (name, x, rule) in [
        ("blocks.0.hook_mlp_out", x.clone(), "hook_resid_post"),
        (
            "blocks.0.hook_resid_pre",
            x.clone().narrow(2, 0, 8),
            "must be 16",
        ),
        (
            "blocks.0.hook_resid_pre",
            x.clone().repeat_dim(1, 4),
            "1 to 12 tokens",
        ),
    ] {
        let error = model.continue_from(&hook(name, config), x).unwrap_err();
        assert!(error.to_string().contains(rule), "{error}");
    }
    let deeper = LanguageModelConfig::gpt2(23, 12, 16, 5, 4);
    let foreign = hook("blocks.4.hook_resid_pre", &deeper);
    assert!(model.continue_from(&foreign, x).is_err());
}

#[test]
fn a_later_token_never_changes_an_earlier_logit() {
    for config in configs() {
        let model = model(&config);
        let plain = model.forward(tokens()).unwrap();
        let mut data = tokens()
            .into_data()
            .convert::<i64>()
            .try_to_vec::<i64>()
            .unwrap();
        data[4] = 17;
        let changed = Tensor::from_data(TensorData::new(data, [2, 7]), &device());
        let changed = model.forward(changed).unwrap();
        assert_close(
            changed.clone().narrow(1, 0, 4),
            plain.clone().narrow(1, 0, 4),
        );
        let moved = (changed - plain).narrow(0, 0, 1).narrow(1, 4, 3);
        assert!(moved.abs().max().into_scalar::<f32>() > 1e-4);
    }
}

#[test]
fn a_window_hides_what_lies_before_it() {
    let config = LanguageModelConfig {
        layers: 1,
        ..configs().pop().unwrap()
    };
    let model = model(&config);
    let pattern = hook("blocks.0.attn.hook_pattern", &config);
    let seen = model.activations(tokens(), &pattern).unwrap();
    let seen = seen.narrow(0, 0, 1).narrow(1, 0, 7).squeeze_dim::<2>(0);
    let seen: Vec<f32> = seen.into_data().try_to_vec().unwrap();
    for query in 0..7 {
        for key in 0..7 {
            let visible = key <= query && query - key < 3;
            assert_eq!(seen[query * 7 + key] > 0.0, visible, "{query} {key}");
        }
    }
}

#[test]
fn the_gradient_is_that_of_the_summed_loss() {
    for config in configs() {
        let model = model(&config);
        let hook = hook("blocks.1.hook_resid_pre", &config);
        let (x, g) = activation_gradient(&model, tokens(), &hook).unwrap();
        assert_close(x.clone(), model.activations(tokens(), &hook).unwrap());
        assert!(!g.is_autodiff() && !x.is_autodiff());
        let last = g.clone().narrow(1, 6, 1).abs().max().into_scalar::<f32>();
        assert_eq!(last, 0.0);
        // Central difference along the gradient's sign.
        let direction = g.clone().sign();
        let loss = |step: f64| {
            let x = x.clone() + direction.clone() * step;
            let logits = model.continue_from(&hook, x).unwrap();
            f64::from(cross_entropy(logits, tokens()).sum().into_scalar::<f32>())
        };
        let step = 1e-3;
        let measured = (loss(step) - loss(-step)) / (2.0 * step);
        let expected = f64::from((g * direction).sum().into_scalar::<f32>());
        assert!(
            (measured - expected).abs() < 0.02 * expected.abs() + 0.02,
            "{:?}: {measured} {expected}",
            config.architecture
        );
    }
    let config = &configs()[0];
    let one = tokens().narrow(1, 0, 1);
    let error = activation_gradient(&model(config), one, &hook("hook_embed", config));
    assert!(error.unwrap_err().to_string().contains("at least 2"));
}

#[test]
fn tokens_outside_of_vocabulary_or_context_are_refused() {
    let config = &configs()[0];
    let model = model(config);
    let refused = |tokens: Tensor<2, Int>| model.forward(tokens).unwrap_err().to_string();
    let far = Tensor::from_ints([[1, 23]], &device());
    assert_eq!(
        refused(far),
        "a token is 23: must be below 23, the size of the vocabulary, and not negative"
    );
    let negative = Tensor::from_ints([[1, -2]], &device());
    assert!(refused(negative).starts_with("a token is -2"));
    let long = Tensor::zeros([1, 13], &device());
    assert!(refused(long).contains("with 1 to 12 tokens"));
}

#[test]
fn published_sizes_have_the_published_counts() {
    for (config, count) in [
        (LanguageModelConfig::gpt2_small(), 124_439_808),
        (LanguageModelConfig::gpt2_medium(), 354_823_168),
        (LanguageModelConfig::gpt2_large(), 774_030_080),
        (LanguageModelConfig::gpt2_xl(), 1_557_611_200),
        (LanguageModelConfig::pythia_70m(), 70_426_624),
        (LanguageModelConfig::pythia_160m(), 162_322_944),
        (LanguageModelConfig::llama_3_1_8b(), 8_030_261_248),
        (LanguageModelConfig::gemma_2_2b(), 2_614_341_888),
        (LanguageModelConfig::gemma_2_9b(), 9_241_705_984),
    ] {
        config.validate().unwrap();
        assert_eq!(config.parameters(), count);
    }
    // The formula is that of the modules.
    for config in configs() {
        assert_eq!(model(&config).num_params(), config.parameters());
    }
}

#[test]
fn impossible_sizes_are_refused() {
    let gpt2 = LanguageModelConfig::gpt2(23, 12, 16, 2, 4);
    let llama = configs().remove(2);
    for (config, text) in [
        (
            LanguageModelConfig {
                layers: 0,
                ..gpt2.clone()
            },
            "LanguageModelConfig.layers = 0: must be at least 1",
        ),
        (
            LanguageModelConfig::gpt2(23, 12, 16, 2, 3),
            "LanguageModelConfig.head_size = 5: heads · head_size must be hidden = 16",
        ),
        (
            LanguageModelConfig {
                kv_heads: 3,
                ..llama.clone()
            },
            "LanguageModelConfig.kv_heads = 3: must divide the 4 query heads",
        ),
        (
            llama.with_rotary(Some(RotaryConfig::new(100.0, 5))),
            "RotaryConfig.size = 5: must be even, above 0 and at most the head's width 6",
        ),
        (
            gpt2.with_head_bias(true),
            "LanguageModelConfig.head_bias = true: a tied unembedding has no bias",
        ),
    ] {
        assert_eq!(config.init(&device()).unwrap_err().to_string(), text);
    }
}

#[test]
fn hugging_face_files_are_understood() {
    let read = LanguageModelConfig::from_hugging_face;
    let gpt2 = r#"{"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_ctx": 1024,
        "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": null,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-05}"#;
    assert_eq!(read(gpt2).unwrap(), LanguageModelConfig::gpt2_small());
    let pythia = r#"{"model_type": "gpt_neox", "vocab_size": 50304, "hidden_size": 512,
        "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048,
        "max_position_embeddings": 2048, "rotary_pct": 0.25, "rotary_emb_base": 10000,
        "hidden_act": "gelu", "layer_norm_eps": 1e-05, "use_parallel_residual": true,
        "tie_word_embeddings": false}"#;
    assert_eq!(read(pythia).unwrap(), LanguageModelConfig::pythia_70m());
    let llama = r#"{"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 14336, "max_position_embeddings": 131072, "hidden_act": "silu",
        "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": false,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"}}"#;
    assert_eq!(read(llama).unwrap(), LanguageModelConfig::llama_3_1_8b());
    let gemma = r#"{"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 2304,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "intermediate_size": 9216, "head_dim": 256, "max_position_embeddings": 8192,
        "hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
        "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "sliding_window": 4096}"#;
    assert_eq!(read(gemma).unwrap(), LanguageModelConfig::gemma_2_2b());

    for (text, problem) in [
        (
            r#"{"model_type": "mamba"}"#,
            "unknown model_type `mamba`; known: gpt2, gpt_neox, llama, qwen2, qwen3, gemma2",
        ),
        ("{}", "config.json: no `model_type`"),
        (r#"{"model_type": "gpt2"}"#, "missing field `vocab_size`"),
        (
            &gpt2.replace("gelu_new", "mish"),
            "config.json.activation_function = \"mish\"",
        ),
        (
            &llama.replace("llama3", "yarn"),
            "must be default, linear or llama3",
        ),
        ("{", "EOF"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

/// Official tensors of a model.
fn official(model: &LanguageModel) -> StateDict {
    let map = weights::key_map(model.config());
    let tensors = map.to_official(&menagerie_hub::values(model)).unwrap();
    StateDict::from_tensors("test", tensors)
}

#[test]
fn weights_go_out_and_come_back() {
    for config in configs() {
        let model = model(&config);
        let loaded = LanguageModel::load(&config, &official(&model), &device()).unwrap();
        assert_eq!(
            menagerie_hub::values(&loaded),
            menagerie_hub::values(&model)
        );
    }
}

#[test]
fn gpt2_loads_under_either_spelling_with_old_buffers() {
    let config = &configs()[0];
    let model = model(config);
    let mut files = vec![official(&model)];
    files.push(official(&model).below("transformer").unwrap());
    for mut file in files {
        let root = match file.get("wte.weight") {
            Some(_) => "",
            None => "transformer.",
        };
        let mask = TensorData::new(vec![1f32; 144], [1, 1, 12, 12]);
        file.insert(format!("{root}h.0.attn.bias"), mask);
        file.insert(
            format!("{root}h.1.attn.masked_bias"),
            TensorData::from([1f32]),
        );
        let embedding = menagerie_hub::values(&model)["embedding"].clone();
        file.insert("lm_head.weight", embedding);
        let loaded = LanguageModel::load(config, &file, &device()).unwrap();
        assert_eq!(
            menagerie_hub::values(&loaded),
            menagerie_hub::values(&model)
        );
    }
}

#[test]
fn another_models_weights_list_what_does_not_fit() {
    let config = &configs()[0];
    let file = official(&model(config));
    let wider = LanguageModelConfig::gpt2(23, 12, 32, 2, 4);
    let error = LanguageModel::load(&wider, &file, &device()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("misshapen") && error.contains("`transformer.h.0.attn.c_attn.bias`"),
        "{error}"
    );
    let deeper = LanguageModelConfig::gpt2(23, 12, 16, 3, 4);
    let error = LanguageModel::load(&deeper, &file, &device()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("missing") && error.contains("h.2.ln_1.weight"),
        "{error}"
    );
    let shallower = LanguageModelConfig::gpt2(23, 12, 16, 1, 4);
    let error = LanguageModel::load(&shallower, &file, &device()).unwrap_err();
    assert!(error.to_string().contains("unexpected"), "{error}");
}

#[test]
fn processing_is_for_gpt2_and_takes_the_steps_that_are_asked_for() {
    let configs = configs();
    let error = model(&configs[1]).processed(Processing::new()).unwrap_err();
    let error = error.to_string();
    assert_eq!(
        error,
        "the architecture to process is GptNeoX: must be Gpt2"
    );

    let model = model(&configs[0]);
    let plain = log_softmax(model.forward(tokens()).unwrap(), 2);
    let resid = hook("blocks.1.hook_resid_pre", model.config());
    let before = model.activations(tokens(), &resid).unwrap();
    for center_writing in [true, false] {
        let steps = Processing::new().with_center_writing(center_writing);
        let processed = model.processed(steps).unwrap();
        assert_eq!(processed.num_params(), processed.config().parameters());
        let logits = processed.forward(tokens()).unwrap();
        assert_close(log_softmax(logits, 2), plain.clone());
        let after = processed.activations(tokens(), &resid).unwrap();
        let mean = after.clone().mean_dim(2).abs().max().into_scalar::<f32>();
        assert_eq!(mean < 1e-6, center_writing, "{mean}");
        if !center_writing {
            assert_close(after, before.clone());
        }
        // The untied unembedding goes to a file and back.
        let loaded = LanguageModel::load(processed.config(), &official(&processed), &device());
        assert_close(
            loaded.unwrap().forward(tokens()).unwrap(),
            processed.forward(tokens()).unwrap(),
        );
    }
}
