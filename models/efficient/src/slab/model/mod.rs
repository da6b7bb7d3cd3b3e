//! The networks.

mod block;
mod cswin;
mod deit;
mod llama;
mod pvt;
mod swin;

pub use block::{Block, Mixer};
pub use cswin::{CswinBlock, CswinStage, SlabCswin};
pub use deit::SlabDeit;
pub use llama::{Llama, LlamaBlock};
pub use pvt::{PvtStage, SlabPvt};
pub use swin::{PatchMerging, SlabSwin, SwinBlock, SwinStage};

use super::norm::{Mode, Norm, NormConfig, NormKind};
use burn::module::Module;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};
use menagerie_nn::vit::Keep;

/// What all image classifiers of this module do.
pub trait Classifier: Module {
    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`; `keep` is a draw
    /// of stochastic depth for each block, or empty.
    ///
    /// # Errors
    /// [`Error::Input`] if images or draws do not fit the configuration.
    fn run(&self, images: Tensor<4>, mode: Mode, keep: &[Option<Keep>]) -> Result<Tensor<2>>;

    /// The same network with every norm folded into its neighbours: what it computes in evaluation,
    /// without norms.
    ///
    /// # Errors
    /// [`Error::Input`] if the network is on a device that records gradients, which is the one it is
    /// trained on, or a norm cannot be folded yet or at all.
    fn fold(&self) -> Result<Self>;

    /// All norms, in the order of a pass.
    fn norms(&self) -> Vec<&Norm>;

    /// Classes.
    fn classes(&self) -> usize;

    /// Number of blocks, and the rate of stochastic depth of the last one.
    fn drop_path(&self) -> (f64, usize);
}

/// Refuses a batch whose norms would see one token in all: its variance is not defined, and PyTorch
/// refuses it too. `tokens` is the smallest number that a norm of the network sees of an image.
fn check_statistics(found: &[usize], tokens: usize, mode: Mode, norm: &NormConfig) -> Result<()> {
    use NormKind::{Batch, Progressive, ProgressiveRms, RepBatch};
    let has_statistics = matches!(norm.kind, Batch | RepBatch | Progressive | ProgressiveRms);
    let batch = found.first().copied().unwrap_or_default();
    if mode == Mode::Evaluate || !has_statistics || batch * tokens != 1 {
        return Ok(());
    }
    let rule = "must give every batch normalisation more than one token, whose variance it is to \
                take in";
    Err(Error::input("a batch in training", found, rule))
}

/// Refuses images and draws of another shape.
fn check(
    images: &Tensor<4>,
    [channels, side]: [usize; 2],
    keep: &[Option<Keep>],
    blocks: usize,
) -> Result<()> {
    let found = images.dims();
    let [batch, rest @ ..] = found;
    if batch == 0 || rest != [channels, side, side] {
        let rule = format!("must be [batch, {channels}, {side}, {side}] with at least one image");
        return Err(Error::input("images", found, rule));
    }
    if !keep.is_empty() && keep.len() != blocks {
        let rule = format!("must be one for each of {blocks} blocks");
        return Err(Error::input("draws of stochastic depth", keep.len(), rule));
    }
    Ok(())
}

/// Refuses a network on the device that it is trained on.
pub(super) fn check_trained<M: Module>(module: &M) -> Result<()> {
    match module
        .devices()
        .iter()
        .any(burn::tensor::Device::is_autodiff)
    {
        false => Ok(()),
        true => Err(Error::input(
            "what is to be folded",
            "in training",
            "must be without autodiff, as `valid()` makes it",
        )),
    }
}
