//! Language-model hosts against the transformers library.

use burn::tensor::{Device, Int, Tensor, activation::log_softmax};
use menagerie_core::{Error, Result};
use menagerie_hub::{KeyMap, StateDict};
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::host::{
    HookPoint, Hooks, LanguageModel, LanguageModelConfig, Processing, cross_entropy, weights,
};
use serde_json::{Map, Value};

pub const CASES: &[Case] = &[
    case("gpt2_tiny", |fixture, device, check| {
        lens_case(fixture, device, check)
    }),
    case("gpt_neox_tiny", |fixture, device, check| {
        layers_case("gpt_neox", fixture, device, check)
    }),
    case("llama_tiny", |fixture, device, check| {
        layers_case("llama", fixture, device, check)
    }),
    case("transformer_lens_processing", processing_case),
    case("qwen3_tiny", |fixture, device, check| {
        layers_case("qwen3", fixture, device, check)
    }),
    case("gemma2_tiny", |fixture, device, check| {
        layers_case("gemma2", fixture, device, check)
    }),
];

const fn case(name: &'static str, run: fn(&Fixture, &Device, &mut Check) -> Result<()>) -> Case {
    Case {
        slug: "sae-base",
        case: name,
        run,
    }
}

/// The host of a fixture, from its configuration and weights.
pub fn host(model_type: &str, fixture: &Fixture, device: &Device) -> Result<LanguageModel> {
    let weights = host_weights(fixture);
    let mut fields: Map<String, Value> = fixture.config()?;
    let untied = ["lm_head.weight", "embed_out.weight"]
        .iter()
        .any(|key| weights.get(key).is_some());
    fields.insert("model_type".into(), model_type.into());
    fields.insert("tie_word_embeddings".into(), (!untied).into());
    let config = LanguageModelConfig::from_hugging_face(&Value::from(fields).to_string())?;
    LanguageModel::load(&config, &weights, device)
}

/// The weights without those of a sparse autoencoder beside the host.
fn host_weights(fixture: &Fixture) -> StateDict {
    let weights = fixture.weights();
    let host = weights
        .iter()
        .filter(|(key, _)| !key.starts_with("sae."))
        .map(|(key, data)| (key.to_owned(), data.clone()));
    StateDict::from_tensors(weights.origin(), host.collect::<Vec<_>>())
}

/// Runs a model and compares every recorded hook, and the logits; `names` leads from hooks to
/// recorded names.
fn compare_hooks(
    check: &mut Check,
    model: &LanguageModel,
    tokens: &Tensor<2, Int>,
    names: &[(String, String)],
) -> Result<Tensor<3>> {
    let logits = hooked(check, model, tokens, names)?;
    // Without a hook, attention goes another way to the same logits.
    let plain = model.forward(tokens.clone())?;
    check.output("logits", plain)?;
    Ok(logits)
}

fn hooked(
    check: &mut Check,
    model: &LanguageModel,
    tokens: &Tensor<2, Int>,
    names: &[(String, String)],
) -> Result<Tensor<3>> {
    let parsed: Vec<(HookPoint, &String)> = names
        .iter()
        .filter(|(_, recorded)| check.expects(recorded))
        .map(|(hook, recorded)| Ok((HookPoint::parse(hook, model.config())?, recorded)))
        .collect::<Result<_>>()?;
    let mut hooks = parsed
        .iter()
        .fold(Hooks::new(), |hooks, (hook, _)| hooks.reading(*hook));
    let logits = model
        .run(tokens.clone(), &mut hooks)?
        .ok_or_else(|| Error::other("the run", "stopped early"))?;
    let [batch, length] = tokens.dims();
    let heads = model.config().heads;
    for (hook, recorded) in parsed {
        let ours = hooks.take(&hook)?;
        let [_, _, width] = ours.dims();
        match hook.to_string().rsplit('.').next() {
            Some("hook_z") => check.output(
                recorded,
                ours.reshape([batch, length, heads, width / heads]),
            )?,
            Some("hook_pattern") => {
                check.output(recorded, ours.reshape([batch, heads, length, length]))?
            }
            _ => check.output(recorded, ours)?,
        }
    }
    Ok(logits)
}

/// Logits, loss and gradients.
fn compare_loss(
    check: &mut Check,
    model: &LanguageModel,
    tokens: Tensor<2, Int>,
    logits: Tensor<3>,
    map: &KeyMap,
) -> Result<()> {
    check.output("logits", logits.clone())?;
    let losses = cross_entropy(logits, tokens);
    if check.expects("loss_per_token") {
        check.output("loss_per_token", losses.clone())?;
    }
    let loss = losses.mean();
    check.output("loss", loss.clone())?;
    check.gradients(model, &loss.backward(), map)
}

/// Every hook of every block.
fn lens_names(config: &LanguageModelConfig) -> Vec<String> {
    (0..config.layers)
        .flat_map(|layer| {
            let names = HookPoint::names(config).into_iter();
            names.map(move |name| name.replace("{l}", &layer.to_string()))
        })
        .collect()
}

/// A fixture whose results have TransformerLens' names.
fn lens_case(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let tokens = fixture.input_int::<2>("input_ids", device)?;
    let names = |model: &LanguageModel| -> Vec<(String, String)> {
        let names = lens_names(model.config()).into_iter();
        names.map(|name| (name.clone(), name)).collect()
    };
    let plain = host("gpt2", fixture, device)?;
    compare_hooks(check, &plain, &tokens, &names(&plain))?;
    let device = device.clone().autodiff();
    let model = host("gpt2", fixture, &device)?;
    let tokens = fixture.input_int::<2>("input_ids", &device)?;
    let logits = compare_hooks(check, &model, &tokens, &names(&model))?;
    let map = weights::key_map(model.config());
    compare_loss(check, &model, tokens, logits, &map)
}

/// A fixture whose results are named by layer.
fn layers_case(
    model_type: &str,
    fixture: &Fixture,
    device: &Device,
    check: &mut Check,
) -> Result<()> {
    let names = |model: &LanguageModel| -> Vec<(String, String)> {
        (0..model.config().layers)
            .flat_map(|layer| {
                [
                    ("hook_resid_pre", "input"),
                    ("hook_resid_post", "output"),
                    ("attn.hook_pattern", "pattern"),
                    ("attn.hook_z", "z"),
                ]
                .map(|(hook, recorded)| {
                    (
                        format!("blocks.{layer}.{hook}"),
                        format!("layers.{layer}.{recorded}"),
                    )
                })
            })
            .collect()
    };
    let plain = host(model_type, fixture, device)?;
    let tokens = fixture.input_int::<2>("input_ids", device)?;
    compare_hooks(check, &plain, &tokens, &names(&plain))?;
    let device = device.clone().autodiff();
    let model = host(model_type, fixture, &device)?;
    let tokens = fixture.input_int::<2>("input_ids", &device)?;
    let logits = compare_hooks(check, &model, &tokens, &names(&model))?;
    let map = weights::key_map(model.config());
    compare_loss(check, &model, tokens, logits, &map)
}

/// A processed GPT-2, and the original one below `raw.`.
fn processing_case(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let tokens = fixture.input_int::<2>("input_ids", device)?;
    let original = host("gpt2", fixture, device)?;
    let processed = original.processed(Processing::new())?;
    let names = |prefix: &str| -> Vec<(String, String)> {
        lens_names(original.config())
            .into_iter()
            .map(|name| (name.clone(), format!("{prefix}{name}")))
            .collect()
    };
    hooked(check, &original, &tokens, &names("raw."))?;
    let logits = compare_hooks(check, &processed, &tokens, &names(""))?;
    check.output("log_softmax", log_softmax(logits, 2))?;
    // Whatever is folded and centred, probabilities stay.
    let plain = original.forward(tokens)?;
    check.output("log_softmax", log_softmax(plain, 2))
}
