//! Buffers that a pass changes: read without autodiff, written through at once.

use burn::module::RunningState;
use burn::tensor::{Device, Tensor};

/// `value`, which has no autodiff, as a buffer of a module on `device`.
pub(super) fn state<const D: usize>(value: Tensor<D>, device: &Device) -> RunningState<Tensor<D>> {
    RunningState::new(match device.is_autodiff() {
        true => Tensor::from_inner(value),
        false => value,
    })
}

/// `tensor` without autodiff.
pub(super) fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match tensor.device().is_autodiff() {
        true => tensor.without_autodiff(),
        false => tensor,
    }
}

/// What a buffer holds, without autodiff.
pub(super) fn read<const D: usize>(state: &RunningState<Tensor<D>>) -> Tensor<D> {
    plain(state.value_sync())
}

/// Puts `value`, which has no autodiff, in a buffer.
pub(super) fn write<const D: usize>(state: &RunningState<Tensor<D>>, value: Tensor<D>) {
    let value = match state.value_sync().device().is_autodiff() {
        true => Tensor::from_inner(value),
        false => value,
    };
    state.update(value);
    let _ = state.value_sync();
}

/// Whether a buffer of one number holds anything but 0.
pub(super) fn flag(state: &RunningState<Tensor<1>>) -> bool {
    read(state).into_scalar::<f32>() != 0.0
}
