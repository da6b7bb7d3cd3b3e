//! What a training step holds in memory, counted where memory is handed out.

use burn::tensor::{Device, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_local_learning::noprop::{
    BackpropConfig, DtConfig, Labelled, Learner, NetworkConfig,
};
use menagerie_train::initialise;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a count of the bytes that are out.
struct Counting;

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every call is handed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that a step holds at most beyond the parameters: activations, gradients, draws.
pub(super) struct Memory {
    /// Blocks of the two sizes.
    pub blocks: [usize; 2],
    /// Of an update of one block.
    pub discrete: [usize; 2],
    /// Of a step of back-propagation.
    pub backprop: [usize; 2],
}

/// Measures steps of `images` images on `flex`, whose buffers come from this program's allocator.
///
/// To be called before other training: kernels keep buffers for use again, which count as held. Sizes
/// go up, so that none profits from what a larger one left.
pub(super) fn measure(
    network: &NetworkConfig,
    blocks: [usize; 2],
    images: usize,
) -> Result<Memory> {
    let device = menagerie_core::device::parse("flex")?.autodiff();
    let start = LIVE.load(Relaxed);
    let batch = Labelled {
        images: Tensor::zeros(
            [images, network.image[0], network.image[1], network.image[2]],
            &device,
        ),
        labels: (0..images).map(|at| at % network.classes).collect(),
    };
    let discrete = |blocks: usize| {
        let config = DtConfig::new(network.clone()).with_steps(blocks);
        let init = || config.init(&device);
        held(&device, init, &batch, start)
    };
    let backprop = |blocks: usize| {
        let config = BackpropConfig::new(network.clone()).with_steps(blocks);
        let init = || config.init(&device);
        held(&device, init, &batch, start)
    };
    Ok(Memory {
        blocks,
        discrete: [discrete(blocks[0])?, discrete(blocks[1])?],
        backprop: [backprop(blocks[0])?, backprop(blocks[1])?],
    })
}

/// What is held at most in a step beyond `start` and the model.
fn held<M: Learner>(
    device: &Device,
    init: impl FnOnce() -> Result<M>,
    batch: &Labelled,
    start: usize,
) -> Result<usize> {
    let before = LIVE.load(Relaxed);
    let model = initialise(device, Seed(0), init)?;
    let size = LIVE.load(Relaxed).saturating_sub(before);
    let step = |seed| -> Result<()> {
        drop(model.gradients(batch, model.turns() / 2, Seed(seed))?);
        Ok(())
    };
    // The first step fills the stock of buffers.
    step(1)?;
    PEAK.store(LIVE.load(Relaxed), Relaxed);
    step(2)?;
    Ok(PEAK.load(Relaxed).saturating_sub(start + size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_counted() {
        // Far more than anything else in the program takes or gives back meanwhile.
        const SIZE: usize = 1 << 28;
        let before = LIVE.load(Relaxed);
        let buffer = vec![1u8; SIZE];
        let with = LIVE.load(Relaxed);
        assert!(with > before + SIZE / 2, "{before} {with}");
        assert!(PEAK.load(Relaxed) >= with.min(before + SIZE / 2));
        drop(buffer);
        assert!(LIVE.load(Relaxed) < with - SIZE / 2);
    }
}
