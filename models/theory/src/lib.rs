//! Theories of deep learning, run on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `jepa-linear` | [`jepa_linear`] | Littwin et al., *How JEPA Avoids Noisy Features: The Implicit Bias of Deep Linear Self Distillation Networks*, NeurIPS 2024 |
//! | `shallow` | [`shallow`] | Bermeitinger, Hrycej and Handschuh, *Make Deep Networks Shallow Again*, KDIR 2023 |

pub mod jepa_linear;
pub mod shallow;
