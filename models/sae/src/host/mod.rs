//! Language models whose activations can be read, replaced and differentiated.
//!
//! [`LanguageModel`] is GPT-2, GPT-NeoX (Pythia), Llama, Qwen2, Qwen3 or Gemma-2, as its
//! [`LanguageModelConfig`] says. Places inside it have the names of TransformerLens
//! ([`HookPoint::parse`]), heads side by side on the last axis.
//!
//! ```
//! use burn::tensor::{Device, Int, Tensor};
//! use menagerie_sae::host::{HookPoint, LanguageModelConfig, activation_gradient, cross_entropy};
//!
//! let device = Device::default();
//! let config = LanguageModelConfig::gpt2(65, 16, 24, 2, 3);
//! let model = config.init(&device)?;
//! let tokens = Tensor::<2, Int>::from_ints([[3, 1, 4, 1, 5]], &device);
//!
//! let logits = model.forward(tokens.clone())?;
//! assert_eq!(cross_entropy(logits, tokens.clone()).dims(), [1, 4]);
//!
//! let hook = HookPoint::parse("blocks.1.hook_resid_pre", &config)?;
//! let x = model.activations(tokens.clone(), &hook)?;
//! let edited = model.continue_from(&hook, x * 0.5)?;
//! assert_eq!(edited.dims(), [1, 5, 65]);
//!
//! let (x, g) = activation_gradient(&model, tokens, &hook)?;
//! assert_eq!((x.dims(), g.dims()), ([1, 5, 24], [1, 5, 24]));
//!
//! let error = HookPoint::parse("blocks.2.hook_resid_pre", &config).unwrap_err();
//! assert!(error.to_string().contains("{l} is a layer from 0 to 1"));
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod attention;
mod block;
mod checkpoint;
mod config;
mod hook;
mod hugging_face;
mod layers;
mod model;
mod objective;
mod processing;
#[cfg(feature = "tokenizer")]
mod tokenizer;
mod training;
pub mod weights;

pub use attention::Attention;
pub use block::{Block, Mlp};
pub use config::{Activation, Architecture, LanguageModelConfig, RotaryConfig, RotaryScaling};
pub use hook::{HookPoint, Hooks, Site};
pub use layers::Norm;
pub use model::LanguageModel;
pub use objective::{activation_gradient, cross_entropy, next_token_loss};
pub use processing::Processing;
#[cfg(feature = "tokenizer")]
pub use tokenizer::Tokenizer;
pub use training::{CharTrainingConfig, TokenBatch, char_host, train_on};
