//! Theories of deep learning, run on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `jepa-linear` | [`jepa_linear`] | Littwin et al., *How JEPA Avoids Noisy Features: The Implicit Bias of Deep Linear Self Distillation Networks*, NeurIPS 2024 |

pub mod jepa_linear;
