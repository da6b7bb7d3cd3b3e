//! Adam in one pass.

use super::{downcast, values};
use crate::adam::AdamUpdate;
use crate::kernel::{adam, micro::Level};
use burn::backend::{BackendTensor, DispatchKindConversion, DispatchTensor, Flex, TensorMetadata};
use burn::tensor::{DType, Tensor};

/// [`crate::adam::adam_update`], or `None` where the kernel does not apply.
pub(crate) fn update(
    update: &AdamUpdate,
    parameter: &Tensor<1>,
    gradient: &Tensor<1>,
    [first, second]: &[Tensor<1>; 2],
) -> Option<[Tensor<1>; 3]> {
    let [len] = parameter.dims();
    let inputs = [parameter, gradient, first, second].map(|t| t.clone().into_dispatch());
    if len == 0 || inputs.iter().any(|input| input.dtype() != DType::F32) {
        return None;
    }
    let inputs = downcast::<Flex, 4>(&inputs)?.map(|input| input.to_contiguous());
    let slices = inputs.each_ref().map(values);
    let updated = adam::update(Level::detect(), update, slices);
    Some(updated.map(|buffer| {
        let tensor = BackendTensor::<Flex>::Float(buffer.into_tensor([len]));
        Tensor::from_dispatch(DispatchTensor::from_backend(tensor))
    }))
}
