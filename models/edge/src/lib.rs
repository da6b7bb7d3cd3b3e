//! Small networks for small devices on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `maestro` | [`maestro`] | Horváth et al., *Maestro: Uncovering Low-Rank Structures via Trainable Decomposition*, ICML 2024 |

pub mod maestro;
