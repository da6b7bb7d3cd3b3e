//! Models of sequences, tables and continuous time on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `final-mlp` | [`final_mlp`] | Mao et al., *FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction*, AAAI 2023 |
//! | `local-reg-nde` | [`local_reg_nde`] | Pal, Edelman and Rackauckas, *Locally Regularized Neural Differential Equations: Some Black Boxes Were Meant to Remain Closed!*, ICML 2023 |

pub mod final_mlp;
pub mod local_reg_nde;
