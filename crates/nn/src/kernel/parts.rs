//! Results that several threads write.

use std::marker::PhantomData;

/// Values that several threads write at disjoint places.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    start: *mut f32,
    len: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: parts are handed out by an unsafe function only, whose caller sees to it that they do not
// overlap.
unsafe impl Send for Parts<'_> {}
// SAFETY: as above.
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            len: values.len(),
            values: PhantomData,
        }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        self.start.wrapping_add(offset)
    }

    /// `len` values from `first` on.
    ///
    /// # Safety
    /// No other part with one of these values is in use.
    pub(crate) unsafe fn part(self, first: usize, len: usize) -> &'a mut [f32] {
        assert!(first <= self.len && len <= self.len - first);
        // SAFETY: inside of the values that `new` borrows; the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}
