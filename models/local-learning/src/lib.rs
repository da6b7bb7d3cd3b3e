//! Networks whose parts learn alone, without back-propagation through the whole, on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `noprop` | [`noprop`] | Li, Teh and Pascanu, *NoProp: Training Neural Networks without Back-propagation or Forward-propagation*, 2025 |

pub mod noprop;
