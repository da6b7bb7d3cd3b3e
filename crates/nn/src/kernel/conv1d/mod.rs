//! One-dimensional convolutions and their adjoints.
//!
//! A convolution is a product of its weight `[out, in · taps]` with a matrix of shifted copies of
//! the signal. That matrix is not built: its columns are read as vectors of a [`window`] of the
//! signal that stays in the second cache, at an offset per tap. The weight is read where it lies
//! unless there are many columns, for which [`pack`] pays. A transposed convolution is `stride` such
//! products, one for every output position modulo the stride, on the same window; they are
//! interleaved when they are written. Signals of a few columns (a live stream) are bound by reading
//! the weight, which [`short`] does once, front to back.
//!
//! The order of every sum depends on the shapes and the instruction set only, never on the number of
//! threads.

pub(crate) mod gather;
pub(crate) mod pack;
pub(crate) mod pass;
pub(crate) mod short;
pub(crate) mod tile;
pub(crate) mod weight;
pub(crate) mod window;

#[cfg(test)]
mod tests;

/// Multiply-adds below which a second thread does not pay.
const SMALL: usize = 1 << 16;

/// The shape of a convolution from `inputs` to `outputs` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub batch: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// Values of a channel of the convolution's input and output.
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub groups: usize,
    /// Zeros before the input.
    pub before: usize,
}

impl Geometry {
    /// Input and output channels of a group.
    fn channels(&self) -> [usize; 2] {
        [self.inputs / self.groups, self.outputs / self.groups]
    }

    /// Values of a group's weight.
    fn group_weight(&self) -> usize {
        let [inputs, outputs] = self.channels();
        inputs * outputs * self.kernel
    }

    /// Values of the weight of one output channel.
    pub(crate) fn depth(&self) -> usize {
        self.inputs / self.groups * self.kernel
    }

    /// Multiply-adds of a pass.
    fn work(&self) -> usize {
        self.batch * self.groups * self.group_weight() * self.output
    }
}

/// What a pass computes besides the sums.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extras<'a> {
    /// Added to every output channel.
    pub bias: Option<&'a [f32]>,
    /// The slope of a leaky ReLU on the signal that is read.
    pub leaky: Option<f32>,
    /// The signal before a leaky ReLU, and its slope: the result is multiplied by the derivative.
    pub derivative: Option<(&'a [f32], f32)>,
}

impl Extras<'_> {
    /// Multiplies the result's values from `first` on by the derivative.
    fn derive(&self, first: usize, out: &mut [f32]) {
        let Some((signal, slope)) = self.derivative else {
            return;
        };
        for (value, signal) in out.iter_mut().zip(&signal[first..]) {
            *value = if *signal > 0.0 {
                *value
            } else {
                slope * *value
            };
        }
    }
}
