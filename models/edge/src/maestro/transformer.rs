//! A transformer of encoder and decoder whose projections and perceptrons are products of factors.
//!
//! Tokens come embedded, as `[time, batch, dim]`; a [`LodTranslator`](super::LodTranslator) embeds
//! them.

use super::attention::LodAttention;
use super::config::TransformerConfig;
use super::dropout::Dropout;
use super::layer::{Factors, LodLinear};
use super::network::{Factored, Ranks};
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, activation::relu};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::vit::LayerNorm;

/// Two linear layers with a ReLU between them.
#[derive(Module, Debug)]
pub struct LodPerceptron {
    /// To the hidden layer.
    pub linear1: LodLinear,
    /// From it.
    pub linear2: LodLinear,
}

impl LodPerceptron {
    fn forward(&self, x: Tensor<3>, [first, second]: [usize; 2], drop: &mut Dropout) -> Tensor<3> {
        let hidden = drop.apply(relu(self.linear1.forward(x, first)));
        self.linear2.forward(hidden, second)
    }
}

/// Self-attention and a perceptron.
#[derive(Module, Debug)]
pub struct LodEncoderLayer {
    /// Of tokens to each other.
    pub self_attn: LodAttention,
    /// Of each token alone.
    pub perceptron: LodPerceptron,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the perceptron.
    pub norm2: LayerNorm,
    #[module(skip)]
    norm_first: bool,
}

/// Self-attention, attention to the encoder's tokens, and a perceptron.
#[derive(Module, Debug)]
pub struct LodDecoderLayer {
    /// Of tokens to each other.
    pub self_attn: LodAttention,
    /// To the encoder's tokens.
    pub cross_attn: LodAttention,
    /// Of each token alone.
    pub perceptron: LodPerceptron,
    /// Of the self-attention.
    pub norm1: LayerNorm,
    /// Of the attention to the encoder's tokens.
    pub norm2: LayerNorm,
    /// Of the perceptron.
    pub norm3: LayerNorm,
    #[module(skip)]
    norm_first: bool,
}

/// `x + branch(norm(x))`, or `norm(x + branch(x))`.
fn residual(
    norm_first: bool,
    norm: &LayerNorm,
    x: Tensor<3>,
    branch: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    match norm_first {
        true => x.clone() + branch(norm.forward(x)),
        false => norm.forward(x.clone() + branch(x)),
    }
}

/// The next `N` of the ranks of a network's layers.
fn take<const N: usize>(next: &mut impl FnMut() -> usize) -> [usize; N] {
    std::array::from_fn(|_| next())
}

/// What tokens must not look at.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    /// `[time, time]`, true where a target must not look at another.
    pub blocked: Option<Tensor<2, Bool>>,
    /// `[batch, time']`, true where a source is padding.
    pub sources: Option<Tensor<2, Bool>>,
    /// `[batch, time]`, true where a target is padding.
    pub targets: Option<Tensor<2, Bool>>,
}

impl LodEncoderLayer {
    fn forward(
        &self,
        x: Tensor<3>,
        masks: &Masks,
        next: &mut impl FnMut() -> usize,
        drop: &mut Dropout,
    ) -> Tensor<3> {
        let x = residual(self.norm_first, &self.norm1, x, |x| {
            let masks = [None, masks.sources.clone()];
            let ranks = Some(take(next));
            let attention = &self.self_attn;
            let (found, _) = attention.forward_padded(x.clone(), x, masks, ranks, drop);
            drop.apply(found)
        });
        residual(self.norm_first, &self.norm2, x, |x| {
            let found = self.perceptron.forward(x, take(next), drop);
            drop.apply(found)
        })
    }
}

impl LodDecoderLayer {
    fn forward(
        &self,
        x: Tensor<3>,
        memory: Tensor<3>,
        masks: &Masks,
        next: &mut impl FnMut() -> usize,
        drop: &mut Dropout,
    ) -> Tensor<3> {
        let x = residual(self.norm_first, &self.norm1, x, |x| {
            let masks = [masks.blocked.clone(), masks.targets.clone()];
            let ranks = Some(take(next));
            let attention = &self.self_attn;
            let (found, _) = attention.forward_padded(x.clone(), x, masks, ranks, drop);
            drop.apply(found)
        });
        let x = residual(self.norm_first, &self.norm2, x, |x| {
            let masks = [None, masks.sources.clone()];
            let ranks = Some(take(next));
            let attention = &self.cross_attn;
            let (found, _) = attention.forward_padded(x, memory, masks, ranks, drop);
            drop.apply(found)
        });
        residual(self.norm_first, &self.norm3, x, |x| {
            let found = self.perceptron.forward(x, take(next), drop);
            drop.apply(found)
        })
    }
}

/// An encoder and a decoder.
#[derive(Module, Debug)]
pub struct LodTransformer {
    /// The layers of the encoder.
    pub encoder: Vec<LodEncoderLayer>,
    /// The layers of the decoder.
    pub decoder: Vec<LodDecoderLayer>,
    /// After the encoder.
    pub encoder_norm: LayerNorm,
    /// After the decoder.
    pub decoder_norm: LayerNorm,
    #[module(skip)]
    config: TransformerConfig,
}

impl TransformerConfig {
    /// A dense network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<LodTransformer> {
        self.validate()?;
        let [encoder, decoder] = self.layers;
        let norm = || LayerNorm::new(self.dim, self.epsilon, device);
        let attention = || LodAttention::new(self.dim, self.heads, true, device);
        let perceptron = || LodPerceptron {
            linear1: LodLinear::new(self.dim, self.hidden, true, device),
            linear2: LodLinear::new(self.hidden, self.dim, true, device),
        };
        let encoder_layer = || -> Result<LodEncoderLayer> {
            Ok(LodEncoderLayer {
                self_attn: attention()?,
                perceptron: perceptron(),
                norm1: norm(),
                norm2: norm(),
                norm_first: self.norm_first,
            })
        };
        let decoder_layer = || -> Result<LodDecoderLayer> {
            Ok(LodDecoderLayer {
                self_attn: attention()?,
                cross_attn: attention()?,
                perceptron: perceptron(),
                norm1: norm(),
                norm2: norm(),
                norm3: norm(),
                norm_first: self.norm_first,
            })
        };
        Ok(LodTransformer {
            encoder: (0..encoder)
                .map(|_| encoder_layer())
                .collect::<Result<_>>()?,
            decoder: (0..decoder)
                .map(|_| decoder_layer())
                .collect::<Result<_>>()?,
            encoder_norm: norm(),
            decoder_norm: norm(),
            config: self.clone(),
        })
    }
}

impl LodTransformer {
    /// What the network was built from.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// What the decoder makes of `targets [time, batch, dim]`, of the same shape, when the encoder
    /// reads `sources [time', batch, dim]`. `blocked [time, time]` is true where a target must not
    /// look at another. Nothing is dropped.
    ///
    /// # Errors
    /// [`Error::Input`] if the shapes do not fit the configuration or each other.
    pub fn run(
        &self,
        sources: Tensor<3>,
        targets: Tensor<3>,
        blocked: Option<Tensor<2, Bool>>,
        ranks: &Ranks,
    ) -> Result<Tensor<3>> {
        let masks = Masks {
            blocked,
            ..Masks::default()
        };
        self.run_masked([sources, targets], &masks, ranks, None)
    }

    /// [`run`](Self::run) of sources and targets of which some are padding; in training, where there
    /// is a seed, numbers are dropped at the configured rate.
    ///
    /// # Errors
    /// [`Error::Input`] if the shapes do not fit the configuration or each other.
    pub fn run_masked(
        &self,
        [sources, targets]: [Tensor<3>; 2],
        masks: &Masks,
        ranks: &Ranks,
        seed: Option<Seed>,
    ) -> Result<Tensor<3>> {
        self.check([sources.dims(), targets.dims()], masks)?;
        let mut drop = seed.map_or(Dropout::none(), |seed| {
            Dropout::new(self.config.dropout, seed)
        });
        let mut layer = 0;
        let mut next = || {
            layer += 1;
            ranks.of(layer - 1)
        };
        let mut memory = sources;
        for layer in &self.encoder {
            memory = layer.forward(memory, masks, &mut next, &mut drop);
        }
        let memory = self.encoder_norm.forward(memory);
        let mut decoded = targets;
        for layer in &self.decoder {
            decoded = layer.forward(decoded, memory.clone(), masks, &mut next, &mut drop);
        }
        Ok(self.decoder_norm.forward(decoded))
    }

    fn check(&self, [sources, targets]: [[usize; 3]; 2], masks: &Masks) -> Result<()> {
        let [length, batch, _] = sources;
        let [time, ..] = targets;
        for (what, found) in [("sources", sources), ("targets", targets)] {
            if found[0] == 0 || found[1] != batch || batch == 0 || found[2] != self.config.dim {
                let rule = format!("must be [time, {}, {}]", batch.max(1), self.config.dim);
                return Err(Error::input(what, found, rule));
            }
        }
        for (what, mask, wanted) in [
            ("the blocked pairs", &masks.blocked, [time, time]),
            ("the padding of sources", &masks.sources, [batch, length]),
            ("the padding of targets", &masks.targets, [batch, time]),
        ] {
            if let Some(mask) = mask
                && mask.dims() != wanted
            {
                let rule = format!("must be {wanted:?}");
                return Err(Error::input(what, mask.dims(), rule));
            }
        }
        Ok(())
    }

    /// How often each layer's map is applied to a pair of that many source and target tokens, in the
    /// order of [`Factored::layers`].
    pub(crate) fn applications(&self, [sources, targets]: [usize; 2]) -> Vec<usize> {
        let encoder = self.encoder.iter().flat_map(|_| [sources; 6]);
        // Keys and values of the attention to the encoder's tokens are of those.
        let cross = [targets, sources, sources, targets];
        let decoder = self.decoder.iter().flat_map(|_| {
            let own = [targets; 4].into_iter();
            own.chain(cross).chain([targets; 2])
        });
        encoder.chain(decoder).collect()
    }
}

/// The official names of a part's layers, in the order of its ranks.
const PROJECTIONS: [&str; 4] = ["q_proj", "k_proj", "v_proj", "out_proj"];

fn attention<'a>(root: &str, attention: &'a LodAttention) -> Vec<(String, &'a Factors)> {
    let names = PROJECTIONS.map(|name| format!("{root}.{name}"));
    let layers = attention.layers().map(|layer| &layer.factors);
    names.into_iter().zip(layers).collect()
}

fn perceptron<'a>(root: &str, layers: &'a LodPerceptron) -> [(String, &'a Factors); 2] {
    [("linear1", &layers.linear1), ("linear2", &layers.linear2)]
        .map(|(name, layer)| (format!("{root}.{name}"), &layer.factors))
}

impl Factored for LodTransformer {
    fn layers(&self) -> Vec<(String, &Factors)> {
        let mut layers = Vec::new();
        for (at, layer) in self.encoder.iter().enumerate() {
            let root = format!("encoder.layers.{at}");
            layers.extend(attention(&format!("{root}.self_attn"), &layer.self_attn));
            layers.extend(perceptron(&root, &layer.perceptron));
        }
        for (at, layer) in self.decoder.iter().enumerate() {
            let root = format!("decoder.layers.{at}");
            layers.extend(attention(&format!("{root}.self_attn"), &layer.self_attn));
            layers.extend(attention(
                &format!("{root}.multihead_attn"),
                &layer.cross_attn,
            ));
            layers.extend(perceptron(&root, &layer.perceptron));
        }
        layers
    }

    fn layers_mut(&mut self) -> Vec<&mut Factors> {
        let mut layers: Vec<&mut LodLinear> = Vec::new();
        for layer in &mut self.encoder {
            layers.extend(layer.self_attn.layers_mut());
            layers.extend([&mut layer.perceptron.linear1, &mut layer.perceptron.linear2]);
        }
        for layer in &mut self.decoder {
            layers.extend(layer.self_attn.layers_mut());
            layers.extend(layer.cross_attn.layers_mut());
            layers.extend([&mut layer.perceptron.linear1, &mut layer.perceptron.linear2]);
        }
        layers.into_iter().map(|layer| &mut layer.factors).collect()
    }

    fn others(&self) -> usize {
        // Gain and offset of every norm.
        let norms = 2 * self.encoder.len() + 3 * self.decoder.len() + 2;
        2 * self.config.dim * norms
    }
}
