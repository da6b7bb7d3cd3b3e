//! Official names, and checkpoints by them.
//!
//! The names are those of the released code's state dictionaries. Lightning checkpoints (`.ckpt`)
//! hold discriminators and the latent analysis besides, which are read by functions of their own.
//! Exported models (`.ts`) are programs; a state dictionary saved from one has the same names, with
//! weight normalisation folded.

use super::bottleneck::Bottleneck;
use super::config::{Activation, DiscriminatorConfig, RaveConfig, Version};
use super::discriminator::Discriminator;
use super::latent::LatentAnalysis;
use super::model::Rave;
use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::{HubOptions, KeyMap, Op, Source, StateDict};
use std::path::Path;

/// Official names to the parameters of [`Rave`]; what else a checkpoint holds is ignored.
pub fn key_map(config: &RaveConfig) -> KeyMap {
    let names = Names {
        map: KeyMap::new(),
        config,
    };
    let map = match config.version {
        // The released model of the paper has the first root, later code the second.
        Version::V1 => names
            .encoder_v1("encoder.net")
            .decoder_v1(|stage, unit| format!("{stage}.net.{unit}.aligned.branches.0"))
            .encoder_v1("encoder.encoder.net")
            .decoder_v1(|stage, unit| {
                format!("{stage}.net.branches.0.net.{unit}.net.aligned.branches.0")
            }),
        Version::V2 => names.encoder_v2().codebooks().decoder_v2(),
    };
    [
        "*.num_batches_tracked",
        "*.target_size",
        "*warmed_up",
        // Codebooks without content say the same.
        "encoder.enabled",
        // Caches of a model that was exported for streaming.
        "*.pad",
        "*.cache",
        "pqmf.*",
        "discriminator.*",
        "loudness.*",
        "audio_distance.*",
        "multiband_audio_distance.*",
        "latent_pca",
        "latent_mean",
        "fidelity",
        "receptive_field",
        "saved_step",
    ]
    .iter()
    .fold(map.map, |map, name| map.ignore(name))
}

/// Official names to the parameters of [`Discriminator`].
pub fn discriminator_key_map(config: &DiscriminatorConfig) -> KeyMap {
    let root = "discriminator.discriminators";
    let convs = config.layers + if config.version == Version::V1 { 3 } else { 1 };
    let mut map = KeyMap::new();
    for conv in 0..convs {
        let (theirs, ours) = (2 * conv, conv);
        map = match config.version {
            Version::V1 => with_conv(
                map,
                &format!("{root}.{{s}}.net.{theirs}"),
                &format!("scales.{{s}}.convs.{ours}"),
            ),
            Version::V2 => {
                let official = format!("{root}.0.layers.{{p}}.net.{theirs}");
                let module = format!("periods.{{p}}.convs.{ours}");
                for part in ["weight", "weight_g", "weight_v"] {
                    // Two-dimensional kernels, one wide.
                    map = map.rule(
                        [format!("{official}.{part}").as_str()],
                        [format!("{module}.{part}").as_str()],
                        [Op::Squeeze(3)],
                    );
                }
                map = map.rename(&format!("{official}.bias"), &format!("{module}.bias"));
                with_conv(
                    map,
                    &format!("{root}.1.layers.{{s}}.net.{theirs}"),
                    &format!("scales.{{s}}.convs.{ours}"),
                )
            }
        };
    }
    [
        "encoder.*",
        "decoder.*",
        "pqmf.*",
        "loudness.*",
        "audio_distance.*",
        "multiband_audio_distance.*",
        "latent_pca",
        "latent_mean",
        "fidelity",
        "receptive_field",
        "saved_step",
    ]
    .iter()
    .fold(map, |map, name| map.ignore(name))
}

fn with_conv(map: KeyMap, official: &str, module: &str) -> KeyMap {
    ["weight", "weight_g", "weight_v", "bias"]
        .iter()
        .fold(map, |map, part| {
            map.rename(&format!("{official}.{part}"), &format!("{module}.{part}"))
        })
}

struct Names<'a> {
    map: KeyMap,
    config: &'a RaveConfig,
}

impl Names<'_> {
    fn conv(mut self, official: &str, module: &str) -> Self {
        self.map = with_conv(self.map, official, module);
        self
    }

    fn encoder_v1(mut self, root: &str) -> Self {
        let stages = self.config.ratios.len();
        self = self.conv(&format!("{root}.0"), "encoder.net.layers.0.Conv");
        for stage in 0..stages {
            let (theirs, ours) = (1 + 3 * stage, 1 + 2 * stage);
            for (official, module) in [
                ("weight", "gamma"),
                ("bias", "beta"),
                ("running_mean", "running_mean"),
                ("running_var", "running_var"),
            ] {
                self.map = self.map.rename(
                    &format!("{root}.{theirs}.{official}"),
                    &format!("encoder.net.layers.{ours}.Norm.{module}"),
                );
            }
            self = self.conv(
                &format!("{root}.{}", theirs + 2),
                &format!("encoder.net.layers.{}.Conv", ours + 1),
            );
        }
        self.conv(
            &format!("{root}.{}", 3 * stages + 2),
            &format!("encoder.net.layers.{}.Conv", 2 * stages + 1),
        )
    }

    fn decoder_v1(mut self, unit_name: impl Fn(&str, usize) -> String) -> Self {
        self = self.conv("decoder.net.0", "decoder.net.layers.0.Conv");
        let mut ours = 1;
        for (stage, dilations) in self.config.dilations.iter().enumerate() {
            let up = 1 + 2 * stage;
            self = self.conv(
                &format!("decoder.net.{up}.net.1"),
                &format!("decoder.net.layers.{ours}.Conv"),
            );
            ours += 1;
            for unit in 0..dilations.len() {
                let name = unit_name(&format!("decoder.net.{}", up + 1), unit);
                for conv in 0..2 {
                    self = self.conv(
                        &format!("{name}.{}", 1 + 2 * conv),
                        &format!("decoder.net.layers.{ours}.Residual.convs.{conv}"),
                    );
                }
                ours += 1;
            }
        }
        self = self
            .conv("decoder.synth.branches.0", "decoder.waveform")
            .conv("decoder.synth.branches.1", "decoder.loudness");
        self.noise("decoder.synth.branches.2")
    }

    /// α of the activation at `official`, if activations learn.
    fn alpha(mut self, official: &str, module: &str) -> Self {
        if self.config.activation == Activation::Snake {
            let [official, module] = [official, module].map(|path| format!("{path}.alpha"));
            self.map = self.map.rename(&official, &module);
        }
        self
    }

    fn noise(mut self, root: &str) -> Self {
        let convs = self.config.noise.as_ref().map_or(0, |n| n.ratios.len());
        for conv in 0..convs {
            self = self.conv(
                &format!("{root}.net.{}", 2 * conv),
                &format!("decoder.noise.convs.{conv}"),
            );
            // The first has its activation in common with the waveform.
            if conv > 0 {
                self = self.alpha(
                    &format!("{root}.net.{}", 2 * conv - 1),
                    &format!("decoder.noise.convs.{conv}.snake"),
                );
            }
        }
        self
    }

    /// Layers of a residual unit with what stands before it.
    fn unit(&self) -> usize {
        if self.config.adain { 2 } else { 1 }
    }

    fn adain(mut self, official: &str, module: &str) -> Self {
        for (theirs, side) in [("x", "source"), ("y", "target")] {
            for (name, ours) in [
                ("mean", "mean"),
                ("std", "std"),
                ("learn", "learning"),
                ("num_update", "updates"),
            ] {
                self.map = self.map.rename(
                    &format!("{official}.{name}_{theirs}"),
                    &format!("{module}.AdaIn.{side}.{ours}"),
                );
            }
        }
        self
    }

    fn codebooks(mut self) -> Self {
        if let Bottleneck::Discrete(_) = self.config.bottleneck {
            for name in ["inited", "cluster_size", "embed", "embed_avg"] {
                self.map = self.map.rename(
                    &format!("encoder.rvq.layers.{{q}}._codebook.{name}"),
                    &format!("encoder.quantiser.layers.{{q}}.{name}"),
                );
            }
        }
        self
    }

    /// Residual units from position `theirs` on, one after the other.
    fn units(mut self, root: [&str; 2], [theirs, ours]: [usize; 2], count: usize) -> Self {
        let size = self.unit();
        for unit in 0..count {
            if self.config.adain {
                self = self.adain(
                    &format!("{}.{}", root[0], theirs + unit * size),
                    &format!("{}.layers.{}", root[1], ours + unit * size),
                );
            }
            let unit = (unit + 1) * size - 1;
            for conv in 0..2 {
                let official = format!("{}.{}.aligned.branches.0.net", root[0], theirs + unit);
                let module = format!("{}.layers.{}.Residual.convs.{conv}", root[1], ours + unit);
                self = self
                    .alpha(
                        &format!("{official}.{}", 2 * conv),
                        &format!("{module}.snake"),
                    )
                    .conv(&format!("{official}.{}", 1 + 2 * conv), &module);
            }
        }
        self
    }

    /// The convolution at position `theirs`, and the activation before it.
    fn at(mut self, root: [&str; 2], theirs: usize, ours: usize) -> Self {
        let module = format!("{}.layers.{ours}.Conv", root[1]);
        if let Some(before) = theirs.checked_sub(1) {
            self = self.alpha(&format!("{}.{before}", root[0]), &format!("{module}.snake"));
        }
        self.conv(&format!("{}.{theirs}", root[0]), &module)
    }

    fn encoder_v2(mut self) -> Self {
        let root = ["encoder.encoder.net", "encoder.net"];
        self = self.at(root, 0, 0);
        let (mut theirs, mut ours) = (1, 1);
        for dilations in &self.config.dilations {
            let count = dilations.len();
            let units = count * self.unit();
            self = self.units(root, [theirs, ours], count);
            self = self.at(root, theirs + units + 1, ours + units);
            theirs += units + 2;
            ours += units + 1;
        }
        self.at(root, theirs + 1, ours)
    }

    fn decoder_v2(mut self) -> Self {
        let root = ["decoder.net", "decoder.net"];
        self = self.at(root, 0, 0);
        let (mut theirs, mut ours) = (1, 1);
        for dilations in self.config.dilations.iter().rev() {
            let count = dilations.len();
            let units = count * self.unit();
            self = self.at(root, theirs + 1, ours);
            self = self.units(root, [theirs + 2, ours + 1], count);
            theirs += units + 2;
            ours += units + 1;
        }
        self = self.alpha(
            &format!("decoder.net.{theirs}"),
            &format!("decoder.net.layers.{ours}.Snake"),
        );
        // Without noise the waveform is the network's last layer.
        let waveform = match self.config.noise {
            Some(_) => "decoder.waveform_module".to_owned(),
            None => format!("decoder.net.{}", theirs + 1),
        };
        self.conv(&waveform, "decoder.waveform")
            .noise("decoder.noise_module")
    }
}

/// Reads a model from a `.safetensors`, PyTorch or Lightning file.
///
/// Where the file's weight normalisation is folded, so is the model's ([`Rave::fold`]).
///
/// # Errors
/// If the configuration is invalid; the file cannot be read; it is of the other version, or its
/// filter bank another; or a key is missing, unexpected or of another shape.
pub fn load(config: &RaveConfig, path: &Path, device: &Device) -> Result<Rave> {
    from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &RaveConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<Rave> {
    from_state_dict(config, &source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// As [`load`], without the file.
pub fn from_state_dict(config: &RaveConfig, weights: &StateDict, device: &Device) -> Result<Rave> {
    let model = config.init(device)?;
    let refuse = |problem: String| {
        Err(Error::Weights {
            origin: weights.origin().to_owned(),
            module: "Rave".into(),
            problem,
        })
    };
    let any = |test: &dyn Fn(&str) -> bool| weights.keys().any(test);
    let branches = any(&|key| key.starts_with("decoder.synth."));
    let units = any(&|key| key.starts_with("encoder.") && key.contains(".aligned."));
    let found = match (branches, units) {
        (true, false) => Some(Version::V1),
        (false, true) => Some(Version::V2),
        _ => None,
    };
    if let Some(found) = found
        && found != config.version
    {
        let wanted = config.version;
        return refuse(format!(
            "it is a checkpoint of {found:?}, and the configuration is of {wanted:?}"
        ));
    }
    if let Some(prototype) = weights.get("pqmf.h") {
        let stored: Vec<f32> = prototype.clone().convert::<f32>().iter().collect();
        let ours = &model.pqmf().prototype().taps;
        let close = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-5;
        if stored.len() != ours.len() || !stored.iter().zip(ours).all(close) {
            return refuse(format!(
                "its filter bank has a prototype of {} taps that is not the one of {} bands at {} dB, \
                 of {} taps",
                stored.len(),
                config.bands,
                config.attenuation,
                ours.len()
            ));
        }
    }
    let folded = !any(&|key| !key.starts_with("discriminator.") && key.ends_with(".weight_g"));
    let model = if folded { model.fold() } else { model };
    menagerie_hub::load(model, weights, &key_map(config))
}

/// The discriminators of a Lightning checkpoint.
///
/// # Errors
/// If the configuration is invalid, or a key is missing, unexpected or of another shape.
pub fn discriminator_from_state_dict(
    config: &DiscriminatorConfig,
    weights: &StateDict,
    device: &Device,
) -> Result<Discriminator> {
    let map = discriminator_key_map(config);
    menagerie_hub::load(config.init(device)?, weights, &map)
}

/// The latent analysis that a checkpoint holds; `None` where it has none.
///
/// # Errors
/// [`Error::Input`] where its parts do not fit each other.
pub fn latent_analysis(weights: &StateDict) -> Result<Option<LatentAnalysis>> {
    let read = |key: &str| {
        let data = weights.get(key)?.clone();
        Some(data.convert::<f64>().iter().collect::<Vec<f64>>())
    };
    let parts = (read("latent_mean"), read("latent_pca"), read("fidelity"));
    let (Some(mean), Some(components), Some(fidelity)) = parts else {
        return Ok(None);
    };
    LatentAnalysis::from_parts(mean, components, &fidelity).map(Some)
}

/// Writes a model, and its latent analysis if there is one, under the official names as
/// `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &Rave, analysis: Option<&LatentAnalysis>, path: &Path) -> Result<()> {
    let map = key_map(model.config());
    let mut official = map.to_official(&menagerie_hub::values(model))?;
    if let Some(analysis) = analysis {
        let size = analysis.size();
        let single = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        let mut put = |key: &str, values: &[f64], shape: Vec<usize>| {
            official.insert(key.into(), TensorData::new(single(values), shape))
        };
        put("latent_mean", analysis.mean(), vec![size]);
        put("latent_pca", analysis.components(), vec![size, size]);
        put("fidelity", &analysis.fidelity(), vec![size]);
    }
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}
