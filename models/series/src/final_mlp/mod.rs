//! Click-through rates by two perceptrons whose features are gated and whose outputs meet in a bilinear
//! form.
//!
//! Rows of many sparse fields become embeddings side by side. Two streams look at them, each through a gate
//! of its own that strengthens or weakens every number by the context, such as user or item; aligned slices
//! of what the streams make are fused bilinearly, head by head, into the logit of a click. DualMLP, the
//! model's baseline, adds two output units instead.
//!
//! Mao, Zhu, Su, Cai, Li and Dong, *FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction*, AAAI
//! 2023, [arXiv:2304.00902](https://arxiv.org/abs/2304.00902); the conventions are those of the authors'
//! library FuxiCTR.
//!
//! ```
//! use burn::tensor::Device;
//! use menagerie_series::final_mlp::{ClickModel, Field, FinalMlpConfig, Impressions};
//!
//! let device = Device::default();
//! let fields = vec![Field::category("user", 10), Field::category("item", 20), Field::number("age")];
//! let config = FinalMlpConfig::small(fields.clone(), Some(["user", "item"]));
//! let model = config.init(&device)?;
//!
//! let (ids, ages) = (vec![3, 7, 1, 19], vec![0.2, -1.0]);
//! let rows = Impressions::new(fields, ids, ages, vec![true, false])?;
//! assert_eq!(model.predict_proba(&rows, 100)?.len(), 2);
//! // How much of each of three fields reaches the first stream.
//! assert_eq!(model.field_gates(&rows, &[0, 1])?[0].dims(), [2, 3]);
//!
//! let error = config.with_heads(3).init(&device).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "FinalMlpConfig.heads = 3: must divide the last width of stream1, 64"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! # What the reproduction found
//!
//! `cargo xtask reproduce final-mlp`, test AUC, mean and standard deviation of five seeds:
//!
//! | model | impressions of a known law | MovieLens latest small | Adult |
//! | --- | --- | --- | --- |
//! | MLP | 0.798 ± 0.011 | 0.900 ± 0.002 | 0.912 ± 0.001 |
//! | DeepFM | 0.801 ± 0.017 | 0.900 ± 0.005 | 0.909 ± 0.001 |
//! | DCNv2 | 0.798 ± 0.014 | 0.899 ± 0.005 | 0.912 ± 0.001 |
//! | DualMLP | 0.802 ± 0.019 | 0.903 ± 0.003 | 0.912 ± 0.001 |
//! | FinalMLP without gates | 0.796 ± 0.011 | | |
//! | FinalMLP | 0.825 ± 0.006 | 0.904 ± 0.001 | 0.912 ± 0.001 |
//!
//! The law's own probabilities have an AUC of 0.884. The gain is the gates'; on the two real sets, which are
//! small and where the identity of user and film says most, the models are alike. Ten heads of the bilinear
//! fusion take a fifth of the time of one.
//!
//! # Gradients of tables
//!
//! Nearly all parameters are rows of embedding tables, of which a batch looks up a few. [`Fit`] makes the
//! looked-up rows leaves of back-propagation, so that no gradient of a table's size exists, and updates
//! tables in one pass: the published regulariser pulls in every row at every step and Adam's moments decay
//! in every row, so that a lazy update of looked-up rows alone would be another method. Burn's own way, a
//! dense gradient and several passes, stays as [`ClickModel::loss`] with `TrainStep`; a test holds both to
//! equal weights.

mod baselines;
mod click;
mod config;
mod data;
mod embedding;
mod metrics;
mod mlp;
mod model;
pub mod objective;
mod training;
pub mod weights;

pub use baselines::{Baseline, BaselineConfig, BaselineKind};
pub use click::{ClickLoss, ClickModel};
pub use config::{
    Activation, DualMlpConfig, FRAPPE, Field, FieldKind, FinalMlpConfig, GateConfig, MOVIELENS,
    Regulariser, StreamConfig,
};
pub use data::{Batch, Impressions};
pub use embedding::Embedding;
pub use metrics::{auc, log_loss};
pub use mlp::{Affine, Layer, Mlp, Mode, Norm};
pub use model::{DualMlp, FinalMlp, Fusion, Gate, Trace};
pub use training::{Epochs, Fit, TrainingConfig, fit};

use menagerie_core::{Claim, Figure, System};

/// What the paper claims. The gain in an online test of a news feed is the authors' own and has no
/// counterpart here.
pub const SYSTEM: System = System {
    slug: "final-mlp",
    title: "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction",
    family: "series",
    summary: "Two-stream perceptron for click-through rates with feature gates and bilinear fusion",
    paper: "arXiv:2304.00902",
    paper_url: "https://arxiv.org/abs/2304.00902",
    code_url: Some("https://github.com/reczoo/FuxiCTR"),
    claims: &[
        Claim {
            id: "gates-add",
            text: "Gates and bilinear fusion add to two streams: FinalMLP is better than DualMLP and than one perceptron.",
            figures: &[
                Figure {
                    name: "Frappe test AUC of FinalMLP, %",
                    value: 98.61,
                    verified: true,
                },
                Figure {
                    name: "Frappe test AUC of DualMLP, %",
                    value: 98.47,
                    verified: true,
                },
                Figure {
                    name: "MovieLens test AUC of FinalMLP, %",
                    value: 97.20,
                    verified: true,
                },
                Figure {
                    name: "MovieLens test AUC of DualMLP, %",
                    value: 96.98,
                    verified: true,
                },
            ],
            gate: menagerie_core::Gate::Decided,
        },
        Claim {
            id: "real-data",
            text: "The model ranks real interactions.",
            figures: &[],
            gate: menagerie_core::Gate::Decided,
        },
        Claim {
            id: "dual-rivals",
            text: "Two well-tuned perceptrons rival models with explicit feature interactions.",
            figures: &[
                Figure {
                    name: "Frappe test AUC of DCNv2, %",
                    value: 98.45,
                    verified: true,
                },
                Figure {
                    name: "MovieLens test AUC of DCNv2, %",
                    value: 96.91,
                    verified: true,
                },
            ],
            gate: menagerie_core::Gate::Reported,
        },
        Claim {
            id: "fusion-adds",
            text: "Bilinear fusion without gates adds to two streams.",
            figures: &[],
            gate: menagerie_core::Gate::Reported,
        },
        Claim {
            id: "heads-cut-cost",
            text: "k heads cut the cost of the bilinear fusion to a k-th.",
            figures: &[],
            gate: menagerie_core::Gate::Decided,
        },
    ],
    hub_ids: &[],
};
