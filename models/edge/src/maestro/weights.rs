//! Weights under the names of the official code.
//!
//! A linear layer is `in_network.weight [rank, inputs]` and `out_network.{weight, bias}`, a
//! convolution `conv_u.weight [rank, channels, height, width]` and `conv_v.{weight, bias}`. A layer
//! that is not factored has its ordinary names. Ranks are those of the file.

use super::attention::LodAttention;
use super::config::{LeNetConfig, MlpConfig, ResNetConfig, TransformerConfig, VggConfig};
use super::layer::{Factors, LodConv};
use super::model::{LeNet, Mlp};
use super::network::{Factored, Ranks};
use super::resnet::{NormedConv, ResNet};
use super::transformer::LodTransformer;
use super::vgg::Vgg;
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// Official names of a linear layer, below `official`, to its [`Factors`] below `module`.
pub fn linear_key_map(official: &str, module: &str) -> KeyMap {
    let theirs = |name: &str| match official {
        "" => name.to_owned(),
        official => format!("{official}.{name}"),
    };
    let ours = |name: &str| match module {
        "" => format!("factors.{name}"),
        module => format!("{module}.factors.{name}"),
    };
    KeyMap::new()
        .rename(&theirs("in_network.weight"), &ours("v"))
        .rename(&theirs("out_network.weight"), &ours("u"))
        .rename(&theirs("out_network.bias"), &ours("bias"))
}

/// The same of a convolution, whose kernels [`flat`] has made matrices of.
pub fn conv_key_map(official: &str, module: &str) -> KeyMap {
    let theirs = |name: &str| match official {
        "" => name.to_owned(),
        official => format!("{official}.{name}"),
    };
    let ours = |name: &str| match module {
        "" => format!("factors.{name}"),
        module => format!("{module}.factors.{name}"),
    };
    KeyMap::new()
        .rename(&theirs("conv_u.weight"), &ours("v"))
        .rename(&theirs("conv_v.weight"), &ours("u"))
        .rename(&theirs("conv_v.bias"), &ours("bias"))
}

/// Official names to the parameters of a [`LodAttention`] of factored projections.
pub fn attention_key_map() -> KeyMap {
    ["q_proj", "k_proj", "v_proj", "out_proj"]
        .iter()
        .fold(KeyMap::new(), |map, name| {
            map.and(linear_key_map(name, name))
        })
}

/// Where a layer is, in the file and in the network.
pub struct Place {
    /// The official name of the layer.
    official: String,
    /// The path of the module that holds its [`Factors`].
    module: String,
    /// Channels and side of the kernel, of a convolution.
    kernel: Option<[usize; 2]>,
}

/// A network whose layers have official names.
pub trait Official: Factored {
    /// Its layers, in the order of [`Factored::layers`].
    fn places(&self) -> Vec<Place>;

    /// The names of its other parameters.
    fn others_key_map(&self) -> KeyMap {
        KeyMap::new()
    }
}

fn linear_place(official: &str, module: &str) -> Place {
    Place {
        official: official.into(),
        module: module.into(),
        kernel: None,
    }
}

fn conv_place(official: &str, module: &str, conv: &LodConv) -> Place {
    let sizes = conv.sizes();
    Place {
        kernel: Some([sizes.inputs, sizes.kernel]),
        ..linear_place(official, module)
    }
}

impl Official for LeNet {
    fn places(&self) -> Vec<Place> {
        let convs = [("conv1", &self.conv1), ("conv2", &self.conv2)];
        let linears = ["fc1", "fc2", "fc3"].map(|name| linear_place(name, name));
        let convs = convs.map(|(name, conv)| conv_place(name, name, conv));
        convs.into_iter().chain(linears).collect()
    }
}

impl Official for Mlp {
    fn places(&self) -> Vec<Place> {
        (0..self.linears.len())
            .map(|at| linear_place(&format!("fc{}", at + 1), &format!("linears.{at}")))
            .collect()
    }
}

/// Paths of the convolutions of a network, its norms beside them.
type Convs<'a> = Vec<(String, [String; 2], &'a NormedConv)>;

fn conv_places(convs: &Convs<'_>) -> Vec<Place> {
    let places = convs.iter();
    places
        .map(|(module, [name, _], conv)| conv_place(name, &format!("{module}.conv"), &conv.conv))
        .collect()
}

fn norms_key_map(convs: &Convs<'_>) -> KeyMap {
    let map = KeyMap::new().ignore("*.num_batches_tracked");
    convs.iter().fold(map, |map, (module, [_, name], _)| {
        let parts = ["weight", "bias", "running_mean", "running_var"];
        parts.iter().fold(map, |map, part| {
            map.rename(&format!("{name}.{part}"), &format!("{module}.norm.{part}"))
        })
    })
}

fn resnet_convs(network: &ResNet) -> Convs<'_> {
    let mut modules = vec!["stem".to_owned()];
    for (stage, blocks) in network.stages.iter().enumerate() {
        for (index, block) in blocks.iter().enumerate() {
            let root = format!("stages.{stage}.{index}");
            modules.extend((0..block.convs.len()).map(|at| format!("{root}.convs.{at}")));
            modules.extend(block.shortcut.iter().map(|_| format!("{root}.shortcut")));
        }
    }
    let convs = modules.into_iter().zip(network.convs());
    convs
        .map(|(module, (names, conv))| (module, names, conv))
        .collect()
}

fn vgg_convs(network: &Vgg) -> Convs<'_> {
    let sizes = network.sizes.iter().enumerate();
    let modules = sizes
        .flat_map(|(size, convs)| (0..convs.len()).map(move |at| format!("sizes.{size}.{at}")));
    let convs = modules.zip(network.convs());
    convs
        .map(|(module, (names, conv))| (module, names, conv))
        .collect()
}

impl Official for ResNet {
    fn places(&self) -> Vec<Place> {
        let mut places = conv_places(&resnet_convs(self));
        places.push(linear_place("fc", "fc"));
        places
    }

    fn others_key_map(&self) -> KeyMap {
        norms_key_map(&resnet_convs(self))
    }
}

impl Official for Vgg {
    fn places(&self) -> Vec<Place> {
        let mut places = conv_places(&vgg_convs(self));
        places.push(linear_place("classifier", "classifier"));
        places
    }

    fn others_key_map(&self) -> KeyMap {
        norms_key_map(&vgg_convs(self))
    }
}

impl Official for LodTransformer {
    fn places(&self) -> Vec<Place> {
        let layers = self.layers().into_iter();
        layers
            .map(|(official, _)| {
                let module = official
                    .replace(".layers.", ".")
                    .replace("multihead_attn", "cross_attn")
                    .replace(".linear", ".perceptron.linear");
                linear_place(&official, &module)
            })
            .collect()
    }

    fn others_key_map(&self) -> KeyMap {
        let map = KeyMap::new()
            .affine("encoder.norm", "encoder_norm")
            .affine("decoder.norm", "decoder_norm");
        let [encoder, decoder] = self.config().layers;
        [("encoder", encoder, 2), ("decoder", decoder, 3)]
            .into_iter()
            .fold(map, |map, (part, layers, norms)| {
                let layers = (0..layers).flat_map(|at| (1..=norms).map(move |norm| (at, norm)));
                layers.fold(map, |map, (at, norm)| {
                    let theirs = format!("{part}.layers.{at}.norm{norm}");
                    map.affine(&theirs, &format!("{part}.{at}.norm{norm}"))
                })
            })
    }
}

/// Official names to the parameters of a network as it is, factored or not, after [`flat`].
pub fn key_map(network: &impl Official) -> KeyMap {
    let layers = network.layers();
    let factored = layers.iter().map(|(_, layer)| layer.is_factored());
    network_key_map(&network.places(), factored).and(network.others_key_map())
}

/// The map of layers of which `factored` says which are products of factors.
fn network_key_map(places: &[Place], factored: impl Iterator<Item = bool>) -> KeyMap {
    let layers = places.iter().zip(factored);
    layers.fold(KeyMap::new(), |map, (place, factored)| {
        let Place {
            official,
            module,
            kernel,
        } = place;
        match (factored, kernel) {
            (true, Some(_)) => map.and(conv_key_map(official, module)),
            (true, None) => map.and(linear_key_map(official, module)),
            (false, _) => map
                .rename(
                    &format!("{official}.weight"),
                    &format!("{module}.factors.weight"),
                )
                .rename(
                    &format!("{official}.bias"),
                    &format!("{module}.factors.bias"),
                ),
        }
    })
}

/// The same numbers in another shape of as many; others are left as they are.
pub fn reshaped(data: TensorData, shape: Vec<usize>) -> TensorData {
    if shape.iter().product::<usize>() != data.num_elements() {
        return data;
    }
    let (bytes, _, dtype) = data.into_parts();
    TensorData::from_bytes(bytes, shape, dtype)
}

/// Tensors of more than two axes as matrices: the first axis, and all others.
pub fn flat(weights: &StateDict) -> StateDict {
    let flat = weights.iter().map(|(key, data)| {
        let shape = data.shape().to_vec();
        let data = data.clone();
        let data = match shape[..] {
            [first, _, _, ..] if data.num_elements() > 0 => {
                let rest = data.num_elements() / first;
                reshaped(data, vec![first, rest])
            }
            _ => data,
        };
        (key.to_owned(), data)
    });
    StateDict::from_tensors(weights.origin(), flat)
}

/// A network with the weights of a file: factored where the file has factors, at the file's ranks.
///
/// # Errors
/// [`Error::Weights`] that lists the keys that are missing, unexpected or of another shape;
/// [`Error::Input`] for a rank that a layer cannot have.
pub fn fill<N: Official>(mut network: N, weights: &StateDict, device: &Device) -> Result<N> {
    let weights = flat(weights);
    let places = network.places();
    for (place, layer) in places.iter().zip(network.layers_mut()) {
        let name = match place.kernel {
            Some(_) => format!("{}.conv_u.weight", place.official),
            None => format!("{}.in_network.weight", place.official),
        };
        let factor = weights.get(&name).map(|data| data.shape().to_vec());
        let Some(rank) = factor.and_then(|shape| shape.first().copied()) else {
            continue;
        };
        let [outputs, inputs] = layer.dims();
        let bias = layer.bias.is_some();
        *layer = Factors::zeros(outputs, inputs, bias, device).narrowed(rank, &name)?;
    }
    let map = key_map(&network);
    menagerie_hub::load(network, &weights, &map)
}

/// A network's weights under the official names, what is masked left out.
///
/// # Errors
/// None for a network that its configuration made.
pub fn state_dict(network: &impl Official) -> Result<StateDict> {
    let extracted = network.extract(&Ranks::Full, false);
    let mut official = key_map(&extracted).to_official(&menagerie_hub::values(&extracted))?;
    for place in extracted.places() {
        let Some([channels, side]) = place.kernel else {
            continue;
        };
        for (name, shape) in [
            ("conv_u.weight", [channels, side, side]),
            ("weight", [channels, side, side]),
            ("conv_v.weight", [0, 1, 1]),
        ] {
            let key = format!("{}.{name}", place.official);
            if let Some(data) = official.remove(&key) {
                let dims = data.shape().to_vec();
                let size = |at: usize| dims.get(at).copied().unwrap_or_default();
                let second = if shape[0] == 0 { size(1) } else { channels };
                let data = reshaped(data, vec![size(0), second, shape[1], shape[2]]);
                official.insert(key, data);
            }
        }
    }
    Ok(StateDict::from_tensors("a network", official))
}

// Reading and writing of every kind of network.
macro_rules! files {
    ($($load:ident, $load_from:ident, $from:ident, $save:ident, $config:ty, $network:ty;)*) => {$(
        /// Reads a network, factored or not, at the ranks of the file, from a `.safetensors`, PyTorch
        /// or NumPy file with the official names.
        ///
        /// # Errors
        /// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected
        /// or of another shape.
        pub fn $load(config: &$config, path: &Path, device: &Device) -> Result<$network> {
            $from(config, &StateDict::open(path)?, device)
        }

        /// The same from a local file or a file of a repository on the Hub.
        ///
        /// # Errors
        /// As from a local file, and those of [`Source::fetch`].
        pub fn $load_from(
            config: &$config,
            source: &Source,
            options: &HubOptions,
            device: &Device,
        ) -> Result<$network> {
            $from(config, &source.open(options)?, device)
        }

        /// The same of weights in memory.
        ///
        /// # Errors
        /// As from a local file.
        pub fn $from(config: &$config, weights: &StateDict, device: &Device) -> Result<$network> {
            fill(config.init(device)?, weights, device)
        }

        /// Writes a network under the official names as `.safetensors`, whole or not at all; what is
        /// masked is left out.
        ///
        /// # Errors
        /// If the file cannot be written.
        pub fn $save(network: &$network, path: &Path) -> Result<()> {
            state_dict(network)?.save_safetensors(path)
        }
    )*};
}
files! {
    load_lenet, load_lenet_from, lenet_from_state_dict, save_lenet, LeNetConfig, LeNet;
    load_mlp, load_mlp_from, mlp_from_state_dict, save_mlp, MlpConfig, Mlp;
    load_resnet, load_resnet_from, resnet_from_state_dict, save_resnet, ResNetConfig, ResNet;
    load_vgg, load_vgg_from, vgg_from_state_dict, save_vgg, VggConfig, Vgg;
    load_transformer, load_transformer_from, transformer_from_state_dict, save_transformer,
        TransformerConfig, LodTransformer;
}

/// A [`LodAttention`] with factored official weights of full rank.
///
/// # Errors
/// If the heads do not divide the width, or a key is missing, unexpected or of another shape.
pub fn attention_from_state_dict(
    [dim, heads]: [usize; 2],
    bias: bool,
    weights: &StateDict,
    device: &Device,
) -> Result<LodAttention> {
    let mut attention = LodAttention::new(dim, heads, bias, device)?;
    for layer in attention.layers_mut() {
        layer.factors = Factors::zeros(dim, dim, bias, device);
    }
    load_factored(attention, weights, &attention_key_map())
}

/// Weights into a module that is factored already.
///
/// # Errors
/// [`Error::Weights`] that lists the keys that are missing, unexpected or of another shape.
pub fn load_factored<M: Module>(module: M, weights: &StateDict, map: &KeyMap) -> Result<M> {
    menagerie_hub::load(module, &flat(weights), map)
}

impl Factors {
    /// Zeros with another number of ranks.
    fn narrowed(mut self, rank: usize, name: &str) -> Result<Self> {
        if rank == 0 || rank > self.width() {
            let rule = format!("must lie between 1 and {}", self.width());
            return Err(Error::input(format!("the rank of `{name}`"), rank, rule));
        }
        self.extract(rank, false);
        Ok(self)
    }
}
