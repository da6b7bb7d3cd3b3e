//! The objective: cross-entropy with smoothed or mixed targets; there is no term of its own.

pub use menagerie_nn::classification::{accuracy, smooth_targets, soft_cross_entropy};
