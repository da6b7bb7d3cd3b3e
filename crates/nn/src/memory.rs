//! Large buffers that are used again.
//!
//! The operating system zeroes fresh pages one fault at a time, which for maps of many megabytes
//! costs as much as the arithmetic on them. Freed buffers are therefore kept, up to a limit.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{AllocationProperty, Bytes, DType, Shape};
use burn_std::{AccessError, AccessPolicy, AllocationController};
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

/// Values below which the allocator's own reuse is good enough.
const SMALL: usize = 1 << 16;

/// Idle values that are kept at most: two gigabytes, about what a training step of the largest
/// autoencoder here holds and frees.
const LIMIT: usize = 1 << 29;

static IDLE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// A buffer to be filled, then to be handed to a tensor.
pub(crate) struct Buffer {
    memory: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` arbitrary values.
    pub(crate) fn new(len: usize) -> Self {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |memory: &Vec<f32>| memory.len() >= len && memory.len() - len <= len / 8;
        let found = (len >= SMALL)
            .then(|| idle.iter().rposition(fits))
            .flatten()
            .map(|index| idle.remove(index));
        drop(idle);
        Self {
            memory: found.unwrap_or_else(|| vec![0.0; len]),
            len,
        }
    }

    /// The tensor with these values.
    pub(crate) fn into_tensor(self, shape: impl Into<Shape>) -> FlexTensor {
        let len = self.len * size_of::<f32>();
        // SAFETY: the controller owns at least `len` bytes, all of them initialised.
        let bytes = unsafe { Bytes::from_controller(Box::new(self), len) };
        FlexTensor::new(bytes, Layout::contiguous(shape.into()), DType::F32)
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.memory.len() < SMALL {
            return;
        }
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(std::mem::take(&mut self.memory));
        // The oldest go first: they are of sizes that are no longer asked for.
        while idle.iter().map(Vec::len).sum::<usize>() > LIMIT {
            idle.remove(0);
        }
    }
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(
        &mut self,
        _policy: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes = size_of_val(&**self);
        // SAFETY: plain bytes of an exclusively borrowed slice; the caller promises to write only
        // initialised ones.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), bytes) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes = size_of_val(&**self);
        // SAFETY: plain bytes of a borrowed slice.
        Ok(unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_buffer_is_used_again() {
        // A size that no other test asks for.
        let len = 3 * SMALL + 12_345;
        let buffer = Buffer::new(len);
        let address = buffer.as_ptr();
        let tensor = buffer.into_tensor([len]);
        let other = tensor.clone();
        drop(tensor);
        assert_ne!(
            Buffer::new(len).as_ptr(),
            address,
            "still in use by `other`"
        );
        drop(other);
        let again = [Buffer::new(len - 7), Buffer::new(len - 7)];
        assert!(again.iter().any(|buffer| buffer.as_ptr() == address));
        assert_eq!(again[0].len(), len - 7);
    }
}
