//! A masked autoencoder of video whose decoder, too, works on a part of the clip alone.
//!
//! A clip is cut into cubes of a few frames; nine tenths of them are hidden, the same places at
//! every step, and a plain vision transformer encodes the rest. A small decoder predicts the pixels of
//! *half* of the cubes, chosen by a second mask that runs through cells of 2×2 places so that every
//! place is predicted in turn; the loss counts those that the encoder did not see. The decoder's cost
//! halves, the encoder learns as well, and is then fine-tuned or used as it is.
//!
//! Wang, Huang, Zhao, Tong, He, Wang, Wang and Qiao, *VideoMAE V2: Scaling Video Masked Autoencoders
//! with Dual Masking*, CVPR 2023, [arXiv:2303.16727](https://arxiv.org/abs/2303.16727).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_mae::videomae_v2::{ClassifierConfig, MaskingConfig, VideoMaeConfig};
//!
//! let device = Device::default();
//! let config = VideoMaeConfig::experiment();
//! let model = config.init(&device)?;
//!
//! // Standardised clips, [batch, channels, frames, height, width].
//! let clips = Tensor::zeros([2, 3, 8, 32, 32], &device);
//! let masks = MaskingConfig::new().draw(config.clip.grid(), 2, Seed(0))?.on(&device)?;
//! let pass = model.forward(clips.clone(), &masks)?;
//! assert_eq!(pass.encoded.dims(), [2, 28, 96]); // 7 of 64 places at each of 4 steps
//! assert_eq!(pass.predictions.dims(), [2, 128, 96]); // half of the 256 cubes of 2×4×4×3 pixels
//!
//! let extractor = ClassifierConfig::of(&config, None).init(&device)?;
//! assert_eq!(extractor.features(clips)?.dims(), [2, 96]);
//!
//! let wrong = Tensor::zeros([2, 8, 3, 32, 32], &device);
//! assert_eq!(
//!     extractor.features(wrong).unwrap_err().to_string(),
//!     "clips is [2, 8, 3, 32, 32]: must be [batch, 3, 8, 32, 32] with at least one clip, channels \
//!      before frames"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod classifier;
mod config;
mod finetuning;
pub mod masks;
mod model;
pub mod objective;
pub mod positions;
mod training;
pub mod weights;

pub use classifier::{Classifier, ClassifierConfig, Pooling};
pub use config::{
    BlocksConfig, CHANNELS, ClipConfig, LossOver, MultiplyAdds, Target, TowerConfig, VideoMaeConfig,
};
pub use finetuning::{FinetuningConfig, SoftLabelledClips};
pub use masks::{DecoderMask, DualMasking, EncoderMask, Grid, MaskingConfig, Masks};
pub use model::{Decoder, Encoder, Forward, PretrainLoss, Reconstruction, VideoMae};
pub use training::{Batches, Draw, MaskedClips, PretrainingConfig, View, decays};

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Numbers that are marked unverified are recalled from the paper; the others
/// stand in the official repository. What the paper says about more data and about the labelled stage
/// in between takes its data sets, and is left out.
pub const SYSTEM: System = System {
    slug: "videomae-v2",
    title: "VideoMAE V2: Scaling Video Masked Autoencoders with Dual Masking",
    family: "mae",
    summary: "Video masked autoencoder whose decoder, too, works on half of the cubes; features and classifiers of clips",
    paper: "arXiv:2303.16727",
    paper_url: "https://arxiv.org/abs/2303.16727",
    code_url: Some("https://github.com/OpenGVLab/VideoMAEv2"),
    claims: &[
        Claim {
            id: "accuracy",
            text: "Masking the decoder, too, costs almost no accuracy.",
            figures: &[
                Figure {
                    name: "SSv2 top-1, ViT-B, dual masking, %",
                    value: 70.15,
                    verified: false,
                },
                Figure {
                    name: "SSv2 top-1, ViT-B, encoder masking alone, %",
                    value: 70.28,
                    verified: false,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "cost",
            text: "Dual masking makes pre-training cheaper: about two thirds of the operations, and faster by the clock.",
            figures: &[
                Figure {
                    name: "ViT-B, dual masking, GFLOPs",
                    value: 25.87,
                    verified: false,
                },
                Figure {
                    name: "ViT-B, encoder masking alone, GFLOPs",
                    value: 35.48,
                    verified: false,
                },
                Figure {
                    name: "ViT-B, speed-up of pre-training",
                    value: 1.8,
                    verified: false,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "decoder-mask",
            text: "The decoder's mask must cover all places in turn and the loss must leave out what the encoder saw.",
            figures: &[
                Figure {
                    name: "SSv2 top-1, random decoder mask, %",
                    value: 64.87,
                    verified: false,
                },
                Figure {
                    name: "SSv2 top-1, running cells, loss on all decoded cubes, %",
                    value: 66.74,
                    verified: false,
                },
                Figure {
                    name: "SSv2 top-1, frame mask, %",
                    value: 69.76,
                    verified: false,
                },
            ],
            gate: Gate::Reported,
        },
        Claim {
            id: "model-size",
            text: "Accuracy grows with the size of the model, up to a billion parameters.",
            figures: &[
                Figure {
                    name: "Kinetics-400 top-1, ViT-g, %",
                    value: 87.2,
                    verified: true,
                },
                Figure {
                    name: "Kinetics-400 top-1, ViT-g after Kinetics-710, %",
                    value: 88.4,
                    verified: true,
                },
            ],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[
        "OpenGVLab/VideoMAE2",
        "OpenGVLab/VideoMAEv2-Base",
        "OpenGVLab/VideoMAEv2-Large",
        "OpenGVLab/VideoMAEv2-Huge",
        "OpenGVLab/VideoMAEv2-giant",
    ],
};
