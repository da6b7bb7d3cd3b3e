//! Transformers whose norms fold away and whose attention is linear.
//!
//! Layer normalisation has to look at every token before it can go on; batch normalisation is a
//! fixed affine map that disappears into the next linear layer, but transformers train badly with
//! it. PRepBN begins with the former and fades over to `BN(x) + α x` while training goes on.
//! Simplified linear attention replaces the softmax by a ReLU on queries and keys, whose products
//! can be taken in any order, and adds a depth-wise convolution of the values.
//!
//! Guo, Chen, Tang and Wang, *SLAB: Efficient Transformers with Simplified Linear Attention and
//! Progressive Re-parameterized Batch Normalization*, ICML 2024,
//! [arXiv:2405.11582](https://arxiv.org/abs/2405.11582).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_efficient::slab::{Classifier, DeitConfig, Mode, NormConfig, NormKind};
//!
//! let device = Device::default();
//! // The blend takes two steps of training.
//! let norm = NormConfig::new(NormKind::Progressive).with_steps(2);
//! let config = DeitConfig::new(28, 4, 32, 2, 4, norm).with_classes(10);
//! let model = config.init(&device)?;
//! let images = Tensor::ones([2, 3, 28, 28], &device);
//! assert_eq!(model.norm.lambda()?, Some(1.0));
//! model.run(images.clone(), Mode::Train, &[])?;
//! assert_eq!(model.norm.lambda()?, Some(0.5));
//!
//! // As long as layer normalisation has a say, its norms cannot be folded.
//! let error = model.fold().unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "the norm `blocks.0.norm1` is \"1 of 2 steps before the end of its blend\": must be trained \
//!      to the end of its blend before it is folded"
//! );
//! model.run(images.clone(), Mode::Train, &[])?;
//! let folded = model.fold()?;
//! let (one, two) = (model.forward(images.clone())?, folded.forward(images)?);
//! assert!((one - two).abs().max().into_scalar::<f32>() < 1e-4);
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! | network | module | official code |
//! | --- | --- | --- |
//! | DeiT, SLAB-DeiT | [`SlabDeit`] | `deit.py`, `slab_deit.py` |
//! | Swin, SLAB-Swin | [`SlabSwin`] | `swin_transformer.py`, `slab_swin.py` |
//! | CSWin, SLAB-CSWin | [`SlabCswin`] | `slab_cswin.py` |
//! | PVT, SLAB-PVT | [`SlabPvt`] | `slab_pvt.py` |
//! | LLaMA with PRepBN | [`Llama`] | `modeling_llama.py` |
//!
//! The official merge of Swin forgets a term in the patch embedding, so that its merged network is
//! another one; [`Classifier::fold`] is exact.
//!
//! Training goes through [`recipe`], [`prepare`] and Burn's `TrainStep`; afterwards [`reestimate`]
//! re-estimates the statistics. [`Norm::merge_into`] folds a norm of somebody else's network.
//!
//! # At small scale
//!
//! `cargo xtask reproduce slab` trains a small DeiT on Fashion-MNIST for 1 500 steps of 32 images, in
//! ten minutes on two cores. PRepBN ends above plain batch normalisation, which ends above layer
//! normalisation: the networks are far from the end of their training, and layer normalisation,
//! which is slowest to start here, gains most from a higher rate. Folded, the network takes about 0.8
//! of the time; linear attention takes less than half of softmax's with 784 tokens, and learns faster.
//! Plain batch normalisation does not diverge at this depth and rate.

mod attention;
mod config;
mod estimation;
mod fold;
mod model;
mod norm;
pub mod objective;
mod stripes;
mod training;
pub mod weights;
mod window;

pub use attention::{HeadConv, LinearAttention, Order, ReducedAttention, linear_attention};
pub use config::{
    AttentionKind, CswinConfig, CswinStageConfig, DeitConfig, LlamaConfig, Pooling, PvtConfig,
    PvtStageConfig, SlaConfig, StageConfig, StageKind, SwinConfig,
};
pub use estimation::{ESTIMATION_PASSES, Estimation, estimate, reestimate};
pub use model::{
    Block, Classifier, CswinBlock, CswinStage, Llama, LlamaBlock, Mixer, PatchMerging, PvtStage,
    SlabCswin, SlabDeit, SlabPvt, SlabSwin, SwinBlock, SwinStage,
};
pub use norm::{BatchNorm, Blend, Mode, Norm, NormConfig, NormKind, RmsNorm};
pub use stripes::{ChannelConv, StripeAttention};
pub use training::{decays, loss, optimizer, prepare, recipe, recipe_cswin, recipe_pvt};
pub use window::WindowAttention;

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Figures are those of its abstract and of the official repository.
pub const SYSTEM: System = System {
    slug: "slab",
    title: "SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized Batch Normalization",
    family: "efficient",
    summary: "Transformers whose norms fold away after training and whose attention is linear in the tokens",
    paper: "arXiv:2405.11582",
    paper_url: "https://arxiv.org/abs/2405.11582",
    code_url: Some("https://github.com/xinghaochen/SLAB"),
    claims: &[
        Claim {
            id: "accuracy",
            text: "PRepBN trains transformers to the accuracy of layer normalisation, and at least to that of plain batch normalisation.",
            figures: &[
                Figure {
                    name: "DeiT-T with PRepBN, ImageNet top-1, %",
                    value: 73.6,
                    verified: true,
                },
                Figure {
                    name: "DeiT-T with layer normalisation, ImageNet top-1, %",
                    value: 72.2,
                    verified: false,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "folding",
            text: "The folded network computes what the unfolded one does.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "latency",
            text: "Folding makes inference faster than layer normalisation.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "linear-attention",
            text: "Simplified linear attention is faster than softmax where there are many tokens, at the same accuracy.",
            figures: &[
                Figure {
                    name: "SLAB-Swin, ImageNet top-1, %",
                    value: 83.6,
                    verified: true,
                },
                Figure {
                    name: "SLAB-Swin, latency, ms",
                    value: 16.2,
                    verified: true,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "hard-settings",
            text: "At higher learning rates plain batch normalisation degrades or diverges.",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
