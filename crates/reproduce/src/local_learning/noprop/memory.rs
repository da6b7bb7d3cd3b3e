//! What a training step holds in memory, counted where memory is handed out.

use burn::tensor::{Device, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_local_learning::noprop::{
    BackpropConfig, DtConfig, Labelled, Learner, NetworkConfig, TrainingConfig,
};
use menagerie_train::initialise;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether anybody wants to know: otherwise the price is the reading of a flag that nobody writes.
static COUNTING: AtomicBool = AtomicBool::new(false);
/// Bytes handed out less bytes given back since counting began: what was there before does not count,
/// and is subtracted where it is given back.
static LIVE: AtomicIsize = AtomicIsize::new(0);
/// The most since the last reset.
static PEAK: AtomicIsize = AtomicIsize::new(0);
/// Held by who counts.
static TURN: Mutex<()> = Mutex::new(());

/// The system's allocator, with a count of the bytes that are out.
struct Counting;

fn grown(bytes: usize) {
    if COUNTING.load(Relaxed) {
        let bytes = bytes as isize;
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(live, Relaxed);
    }
}

fn shrunk(bytes: usize) {
    if COUNTING.load(Relaxed) {
        LIVE.fetch_sub(bytes as isize, Relaxed);
    }
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
        shrunk(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // A move holds both for a moment.
        grown(size);
        shrunk(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts as long as it lives; one at a time.
struct Count {
    _turn: MutexGuard<'static, ()>,
}

impl Count {
    fn begin() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        LIVE.store(0, Relaxed);
        PEAK.store(0, Relaxed);
        COUNTING.store(true, Relaxed);
        Self { _turn: turn }
    }

    /// Bytes that are out, less what was out at the beginning.
    fn live(&self) -> isize {
        LIVE.load(Relaxed)
    }

    /// What `run` returns, and the most that was out meanwhile.
    fn peak<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<(T, isize)> {
        PEAK.store(self.live(), Relaxed);
        let done = run()?;
        Ok((done, PEAK.load(Relaxed)))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        COUNTING.store(false, Relaxed);
    }
}

/// What training held at most, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Parameters and the moments of the optimiser.
    pub state: usize,
    /// Beside them, during an update: activations, gradients, draws, and buffers for them that are
    /// kept from update to update.
    pub step: usize,
}

impl Held {
    /// All of it.
    pub(super) fn whole(self) -> usize {
        self.state + self.step
    }
}

/// Of models of fewer and of more blocks.
pub(super) struct Memory {
    /// Blocks of the two sizes.
    pub blocks: [usize; 2],
    /// When blocks learn alone.
    pub discrete: [Held; 2],
    /// With back-propagation.
    pub backprop: [Held; 2],
}

/// Measures updates on `images` images on `flex`, whose buffers come from this program's allocator.
///
/// Nothing else may compute meanwhile. Kernels keep buffers for use again, which count as held: sizes
/// go up, so that none profits from what a larger one left.
pub(super) fn measure(
    network: &NetworkConfig,
    blocks: [usize; 2],
    images: usize,
) -> Result<Memory> {
    let device = menagerie_core::device::parse("flex")?.autodiff();
    let count = Count::begin();
    let [channels, height, width] = network.image;
    let batch = Labelled {
        images: Tensor::zeros([images, channels, height, width], &device),
        labels: (0..images).map(|at| at % network.classes).collect(),
    };
    let discrete = |blocks: usize| {
        let config = DtConfig::new(network.clone()).with_steps(blocks);
        held(&count, &device, || config.init(&device), &batch)
    };
    let backprop = |blocks: usize| {
        let config = BackpropConfig::new(network.clone()).with_steps(blocks);
        held(&count, &device, || config.init(&device), &batch)
    };
    Ok(Memory {
        blocks,
        discrete: [discrete(blocks[0])?, discrete(blocks[1])?],
        backprop: [backprop(blocks[0])?, backprop(blocks[1])?],
    })
}

fn held<M: Learner>(
    count: &Count,
    device: &Device,
    init: impl FnOnce() -> Result<M>,
    batch: &Labelled,
) -> Result<Held> {
    let before = count.live();
    let mut model = initialise(device, Seed(0), init)?;
    let turns = model.turns();
    // A parameter and its two moments, four bytes each.
    let state = 3 * size_of::<f32>() * model.num_params();
    let mut optimiser = model.optimiser(&TrainingConfig::new())?;
    let mut update = |model: M, block: usize| -> Result<M> {
        let (gradients, _) = model.gradients(batch, block, Seed(block as u64))?;
        Ok(optimiser.step(1e-3, model, gradients))
    };
    // After an update of every block all moments are there, and the stock of buffers.
    for block in 0..turns {
        model = update(model, block)?;
    }
    let (_, peak) = count.peak(|| update(model, turns / 2))?;
    let whole = usize::try_from(peak - before).unwrap_or(0);
    Ok(Held {
        state,
        step: whole.saturating_sub(state),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_is_counted_while_somebody_counts() {
        // Far more than anything else in the program takes or gives back meanwhile.
        const SIZE: usize = 1 << 28;
        let near = |found: isize, wanted: isize| (found - wanted).unsigned_abs() < SIZE / 8;
        let old = vec![1u8; SIZE];
        let count = Count::begin();
        let buffer = vec![1u8; SIZE];
        assert!(near(count.live(), SIZE as isize), "{}", count.live());
        let peak = count.peak(|| {
            drop(vec![1u8; 2 * SIZE]);
            Ok(())
        });
        assert!(near(peak.unwrap().1, 3 * SIZE as isize));
        // The peak is over.
        assert!(near(count.peak(|| Ok(())).unwrap().1, SIZE as isize));
        drop(buffer);
        assert!(near(count.live(), 0));
        // What was there before is less than nothing once it is gone.
        drop(old);
        assert!(near(count.live(), -(SIZE as isize)));
        drop(count);
        let buffer = vec![1u8; SIZE];
        assert!(near(LIVE.load(Relaxed), -(SIZE as isize)));
        drop(buffer);
    }
}
