//! Sparse autoencoders and the language models that they read, on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `gradient-sae` | [`gradient_sae`] | Olmo et al., *Features that Make a Difference*, NAACL 2025 |
//! | `sae-base` | [`sae_base`] | Gao et al., *Scaling and evaluating sparse autoencoders*, 2024, and the variants around it |
//! | `sae-dark-matter` | [`sae_dark_matter`] | Engels, Smith and Tegmark, *Decomposing The Dark Matter of Sparse Autoencoders*, TMLR 2025 |
//!
//! They share
//!
//! | module | holds |
//! | --- | --- |
//! | [`sae_base`], or [`sae`] for short | autoencoders and transcoders of every common variant, their objectives and training |
//! | [`formats`] | checkpoints of SAELens, sparsify, Gemma Scope, OpenAI, dictionary_learning and others |
//! | [`host`] | GPT-2, GPT-NeoX, Llama, Qwen and Gemma-2 with named hooks |
//! | [`activations`] | activations as a stream of training batches, through memory or disk |
//!
//! ```no_run
//! use burn::tensor::Device;
//! use menagerie_hub::HubOptions;
//! use menagerie_sae::host::{HookPoint, LanguageModel};
//! use menagerie_sae::sae::metrics::splice_sae;
//! # fn sae() -> menagerie_sae::sae::SparseAutoencoder { unimplemented!() }
//! # fn tokens() -> burn::tensor::Tensor<2, burn::tensor::Int> { unimplemented!() }
//!
//! // What does GPT-2 lose when it reads an autoencoder's reconstruction?
//! let device = Device::default();
//! let gpt2 = LanguageModel::from_hub("openai-community/gpt2", "main", &HubOptions::from_env(), &device)?;
//! let hook = HookPoint::parse("blocks.8.hook_resid_pre", gpt2.config())?;
//! let splice = splice_sae(&gpt2, &hook, tokens(), &sae())?;
//! println!("{:.1} % of the loss recovered", 100.0 * splice.recovered_from_zero());
//! # Ok::<(), menagerie_core::Error>(())
//! ```

pub mod activations;
mod draw;
pub mod formats;
pub mod gradient_sae;
pub mod host;
pub mod sae_base;
pub mod sae_dark_matter;

#[doc(inline)]
pub use sae_base as sae;
