//! Rows of large tables.

use super::{downcast, values};
use crate::adam::AdamUpdate;
use crate::embedding::{Lookup, Penalty, PenaltySums, RowGradients};
use crate::kernel::embedding::{self, Pull};
use crate::kernel::micro::Level;
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::backend::{BackendTensor, DispatchKindConversion, DispatchTensor, Flex, TensorMetadata};
use burn::tensor::{DType, Tensor};

fn tensor<const D: usize>(buffer: Buffer, shape: [usize; D]) -> Tensor<D> {
    let tensor = BackendTensor::<Flex>::Float(buffer.into_tensor(shape));
    Tensor::from_dispatch(DispatchTensor::from_backend(tensor))
}

fn single<const N: usize>(inputs: [DispatchTensor; N]) -> Option<[FlexTensor; N]>
where
    DispatchTensor: DispatchKindConversion<Flex>,
{
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return None;
    }
    Some(downcast::<Flex, N>(&inputs)?.map(|input| input.to_contiguous()))
}

/// [`Lookup::sums`], or `None` where the kernel does not apply.
pub(crate) fn sums(lookup: &Lookup, gradient: &Tensor<2>) -> Option<Tensor<2>> {
    let dim = gradient.dims()[1];
    let [gradient] = single([gradient.clone().into_dispatch()])?;
    let gradient = values(&gradient);
    let mut sums = Buffer::new(lookup.rows().len() * dim);
    for (sum, places) in sums.chunks_exact_mut(dim.max(1)).zip(lookup.groups()) {
        sum.fill(0.0);
        for at in places {
            let row = &gradient[*at as usize * dim..][..dim];
            sum.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
    }
    Some(tensor(sums, [lookup.rows().len(), dim]))
}

/// [`PenaltySums::of`], or `None` where the kernel does not apply.
pub(crate) fn penalty_sums(of: &Tensor<1>) -> Option<PenaltySums> {
    let [of] = single([of.clone().into_dispatch()])?;
    let [squares, absolute, nonzero] = embedding::sums(Level::detect(), values(&of));
    Some(PenaltySums {
        squares,
        absolute,
        nonzero,
    })
}

/// [`crate::embedding::adam_rows`], or `None` where the kernel does not apply.
pub(crate) fn adam_rows(
    update: &AdamUpdate,
    table: &Tensor<2>,
    gradients: &RowGradients,
    penalty: &Penalty,
    factor: f64,
    [first, second]: &[Tensor<1>; 2],
) -> Option<(Tensor<2>, [Tensor<1>; 2])> {
    let [rows, dim] = table.dims();
    if rows * dim == 0 {
        return None;
    }
    let inputs = single([
        table.clone().into_dispatch(),
        gradients.sums().clone().into_dispatch(),
        first.clone().into_dispatch(),
        second.clone().into_dispatch(),
    ])?;
    let [table, sums, first, second] = inputs.each_ref().map(values);
    let pull = Pull {
        l1: penalty.l1 as f32,
        l2: penalty.l2 as f32,
        factor: factor as f32,
    };
    let sparse = (gradients.rows(), sums);
    let updated = embedding::adam_rows(
        Level::detect(),
        update,
        &pull,
        dim,
        sparse,
        [table, first, second],
    );
    let [table, first, second] = updated;
    Some((
        tensor(table, [rows, dim]),
        [first, second].map(|moment| tensor(moment, [rows * dim])),
    ))
}
