//! Hide three quarters of an image's patches and predict their pixels from the rest.
//!
//! A vision transformer encodes the visible patches only, so that a step costs a quarter of what the
//! whole image would; a small decoder, which is thrown away afterwards, gets a shared token in the
//! place of every hidden patch and predicts the pixels. The encoder is then fine-tuned, or its class
//! token probed by a linear layer.
//!
//! He, Chen, Xie, Li, Dollár and Girshick, *Masked Autoencoders Are Scalable Vision Learners*, CVPR
//! 2022, [arXiv:2111.06377](https://arxiv.org/abs/2111.06377).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_mae::mae_base::{DecoderConfig, MaeConfig, VitConfig};
//!
//! let device = Device::default();
//! // 64 patches of 4×4, of which 16 stay.
//! let encoder = VitConfig::new(32, 4, 96, 4, 4);
//! let config = MaeConfig::new(encoder, DecoderConfig::new(48, 2, 4));
//! let mae = config.init(&device)?;
//! let images = Tensor::zeros([2, 3, 32, 32], &device);
//!
//! let masking = config.draw_masking(2, Seed(0), &device)?;
//! let output = mae.forward_with(images.clone(), &masking)?;
//! assert_eq!(output.latent.dims(), [2, 1 + 16, 96]);
//! assert_eq!(output.prediction.dims(), [2, 64, 48]);
//! assert_eq!(mae.encode(images)?.dims(), [2, 1 + 64, 96]);
//!
//! let error = mae.encode(Tensor::zeros([2, 3, 28, 28], &device)).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "images is [2, 3, 28, 28]: must be [batch, 3, 32, 32] with at least one image"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! Pre-training goes through [`PretrainingConfig`] and Burn's `TrainStep`, which [`Mae`] implements;
//! fine-tuning through [`FinetuningConfig`] and [`Classifier`].
//!
//! # Memory
//!
//! Peak of the whole process, libraries included, ViT-B/16 at 224² on two threads, beside PyTorch 2.9:
//!
//! | | here, MiB | PyTorch, MiB |
//! | --- | --- | --- |
//! | pre-training step with AdamW, 8 images, 75 % hidden | 2 553 | 2 807 |
//! | encoder on all patches, 1 image | 354 | 972 |
//! | encoder on all patches, 8 images | 465 | 1 071 |
//!
//! `cargo xtask bench mae-base` times the same passes.
//!
//! # The linear probe at a small scale
//!
//! The small reproduction asks for ten points over random weights. In the card's 2 000 steps it gets
//! 74.5 against 69.7 %, the mean of three seeds, with batches of 48. A twin of the run in PyTorch (one
//! seed, 2 400 steps of 32) gets 76.0 against 70.1 %, and 73.1 in 600 steps of 128: the reference
//! misses the rule as well, and the number of steps is what counts, not that of images. A logistic
//! regression on the pixels themselves gives 80.7 % with the same labels: the rule asks of a class
//! token, which starts high with garments, what all pixels give. The paper's encoder sees 10⁹ images.

mod classifier;
mod config;
mod encoder;
mod lars;
mod model;
pub mod objective;
mod probe;
mod training;
pub mod weights;

pub use classifier::Classifier;
pub use config::{ClassifierConfig, DecoderConfig, MaeConfig, Pooling, VitConfig};
pub use encoder::{Encoded, Encoder, Start};
pub use lars::Lars;
pub use menagerie_nn::mix::{Mix, MixConfig};
pub use model::{Decoder, Mae, MaeOutput, Reconstruction};
pub use probe::{LabelledFeatures, LinearProbe, ProbeHead, Probing, ProbingConfig, probed};
pub use training::{
    EpochSchedule, FinetuningConfig, MaskedImages, PretrainingConfig, SoftLabelled, decays,
    layer_of, layer_scales,
};

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Figures that are marked unverified are recalled from the paper.
pub const SYSTEM: System = System {
    slug: "mae-base",
    title: "Masked Autoencoders Are Scalable Vision Learners",
    family: "mae",
    summary: "Self-supervised pre-training of vision transformers that encodes only the visible quarter of an image",
    paper: "arXiv:2111.06377",
    paper_url: "https://arxiv.org/abs/2111.06377",
    code_url: Some("https://github.com/facebookresearch/mae"),
    claims: &[
        Claim {
            id: "pixels",
            text: "Hidden pixels can be predicted from a quarter of the patches: the objective falls far below that of a patch's mean.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "linear-probe",
            // At the small scale the module's documentation says what stands in the way.
            text: "Pre-trained features are linearly separable far beyond those of the same network with random weights.",
            figures: &[Figure {
                name: "ViT-B linear probe, ImageNet top-1, %",
                value: 68.0,
                verified: false,
            }],
            gate: Gate::Decided,
        },
        Claim {
            id: "fine-tuning",
            text: "Fine-tuning from pre-trained weights beats training from scratch.",
            figures: &[
                Figure {
                    name: "ViT-B fine-tuned, ImageNet top-1, %",
                    value: 83.6,
                    verified: true,
                },
                Figure {
                    name: "ViT-L fine-tuned after 800 epochs, ImageNet top-1, %",
                    value: 84.9,
                    verified: false,
                },
                Figure {
                    name: "ViT-L from scratch, ImageNet top-1, %",
                    value: 82.5,
                    verified: false,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "high-ratio",
            text: "A high mask ratio, 75 %, works best.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "visible-only",
            text: "Encoding only the visible patches makes a step several times faster.",
            figures: &[
                Figure {
                    name: "speed-up of ViT-L with the decoder of 8 blocks",
                    value: 2.8,
                    verified: false,
                },
                Figure {
                    name: "speed-up of ViT-L with a decoder of 1 block",
                    value: 3.7,
                    verified: false,
                },
            ],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[
        "facebook/vit-mae-base",
        "facebook/vit-mae-large",
        "facebook/vit-mae-huge",
        "timm/vit_base_patch16_224.mae",
        "timm/vit_large_patch16_224.mae",
        "timm/vit_huge_patch14_224.mae",
    ],
};
