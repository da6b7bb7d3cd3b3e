//! Permuting, flipping, cutting and joining tensors on the host, element by element and without
//! arithmetic, so that every operation can be undone exactly and works for every element type.

use burn::tensor::{DType, TensorData};

/// What an operation needs of the tensor it is applied to, for a message.
pub(crate) type Outcome<T> = Result<T, String>;

/// Shape, bytes and element size of a tensor whose elements are whole bytes.
fn parts(data: &TensorData) -> Outcome<(Vec<usize>, &[u8], usize)> {
    if matches!(data.dtype(), DType::QFloat(_)) {
        return Err("is quantised, and packed elements cannot be rearranged".into());
    }
    Ok((
        data.shape().to_vec(),
        data.as_bytes(),
        data.dtype().size().max(1),
    ))
}

fn build(bytes: Vec<u8>, shape: Vec<usize>, dtype: DType) -> Outcome<TensorData> {
    TensorData::try_from_bytes_vec(bytes, shape, dtype).map_err(|error| error.to_string())
}

/// Row-major strides, in elements.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// `data` with its axes in the order `axes`: axis `k` of the result is axis `axes[k]` of `data`.
pub(crate) fn permute(data: &TensorData, axes: &[usize]) -> Outcome<TensorData> {
    let (shape, bytes, size) = parts(data)?;
    if shape.len() != axes.len() {
        return Err(format!(
            "has shape {shape:?}, but the permutation {axes:?} needs {} axes",
            axes.len()
        ));
    }
    inverse(axes)?;
    let old = strides(&shape);
    let to_shape: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    let to_strides: Vec<usize> = axes.iter().map(|&axis| old[axis]).collect();
    let mut moved = Vec::with_capacity(bytes.len());
    // The innermost axis is a plain loop; only the others need an index.
    let (row, step) = match (to_shape.last(), to_strides.last()) {
        (Some(&row), Some(&step)) => (row, step),
        _ => return Ok(data.clone()),
    };
    let outer = axes.len() - 1;
    walk(&to_shape[..outer], &to_strides[..outer], |offset| {
        for at in 0..row {
            let from = (offset + at * step) * size;
            moved.extend_from_slice(&bytes[from..from + size]);
        }
    });
    build(moved, to_shape, data.dtype())
}

/// The permutation that undoes `axes`.
pub(crate) fn inverse(axes: &[usize]) -> Outcome<Vec<usize>> {
    let mut inverse = vec![usize::MAX; axes.len()];
    for (to, &from) in axes.iter().enumerate() {
        match inverse.get_mut(from) {
            Some(slot) if *slot == usize::MAX => *slot = to,
            _ => return Err(format!("cannot be permuted by {axes:?}: not a permutation")),
        }
    }
    Ok(inverse)
}

/// `data` reversed along each of `axes`; its own inverse.
pub(crate) fn flip(data: &TensorData, axes: &[usize]) -> Outcome<TensorData> {
    let (shape, bytes, size) = parts(data)?;
    if let Some(axis) = axes.iter().find(|axis| **axis >= shape.len()) {
        return Err(format!("has shape {shape:?}: no axis {axis} to flip"));
    }
    let strides = strides(&shape);
    let mut moved = Vec::with_capacity(bytes.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        let offset: usize = (0..shape.len())
            .map(|axis| {
                let at = index[axis];
                let at = if axes.contains(&axis) {
                    shape[axis] - 1 - at
                } else {
                    at
                };
                at * strides[axis]
            })
            .sum();
        moved.extend_from_slice(&bytes[offset * size..][..size]);
        advance(&mut index, &shape);
    }
    build(moved, shape, data.dtype())
}

/// `data` cut along `axis` into as many parts as there are `shares`, in proportion to them.
pub(crate) fn split(data: &TensorData, axis: usize, shares: &[usize]) -> Outcome<Vec<TensorData>> {
    let (shape, bytes, size) = parts(data)?;
    let total: usize = shares.iter().sum();
    let extent = *shape
        .get(axis)
        .ok_or_else(|| format!("has shape {shape:?}: no axis {axis} to split"))?;
    if total == 0 || extent % total != 0 {
        return Err(format!(
            "has shape {shape:?}: axis {axis} does not divide into {total} equal parts"
        ));
    }
    let inner: usize = shape[axis + 1..].iter().product::<usize>() * size;
    let row = extent * inner;
    let mut from = 0;
    shares
        .iter()
        .map(|share| {
            let length = share * (extent / total);
            let mut part = Vec::with_capacity(bytes.len() / total.max(1) * share);
            if row > 0 {
                for chunk in bytes.chunks_exact(row) {
                    part.extend_from_slice(&chunk[from * inner..][..length * inner]);
                }
            }
            from += length;
            let mut part_shape = shape.clone();
            part_shape[axis] = length;
            build(part, part_shape, data.dtype())
        })
        .collect()
}

/// `tensors` joined along `axis`, whose extents must be in proportion to `shares`.
pub(crate) fn concat(tensors: &[TensorData], axis: usize, shares: &[usize]) -> Outcome<TensorData> {
    let first = tensors.first().ok_or("has no parts")?;
    let (mut shape, _, size) = parts(first)?;
    if axis >= shape.len() {
        return Err(format!(
            "has parts of shape {shape:?}: no axis {axis} to join along"
        ));
    }
    let mut chunks = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let (part, bytes, _) = parts(tensor)?;
        let fits = part.len() == shape.len()
            && tensor.dtype() == first.dtype()
            && (0..part.len()).all(|k| k == axis || part[k] == shape[k]);
        if !fits {
            return Err(format!(
                "has parts that do not join along axis {axis}: {shape:?} {:?} and {part:?} {:?}",
                first.dtype(),
                tensor.dtype()
            ));
        }
        let row: usize = part[axis..].iter().product::<usize>() * size;
        chunks.push((part[axis], bytes, row));
    }
    let total: usize = chunks.iter().map(|(extent, ..)| extent).sum();
    let share_total: usize = shares.iter().sum();
    let in_proportion = shares.len() == chunks.len()
        && chunks
            .iter()
            .zip(shares)
            .all(|((extent, ..), share)| extent * share_total == total * share);
    if !in_proportion {
        let extents: Vec<_> = chunks.iter().map(|(extent, ..)| extent).collect();
        return Err(format!(
            "has parts of {extents:?} along axis {axis}, which are not in the proportion {shares:?}"
        ));
    }
    let rows: usize = shape[..axis].iter().product();
    let mut joined = Vec::with_capacity(chunks.iter().map(|(_, bytes, _)| bytes.len()).sum());
    for row in 0..rows {
        for (_, bytes, length) in &chunks {
            joined.extend_from_slice(&bytes[row * length..][..*length]);
        }
    }
    shape[axis] = total;
    build(joined, shape, first.dtype())
}

/// `data` with an axis of extent 1 put in at `axis`.
pub(crate) fn unsqueeze(data: &TensorData, axis: usize) -> Outcome<TensorData> {
    let mut shape = data.shape().to_vec();
    if axis > shape.len() {
        return Err(format!("has shape {shape:?}: no place for an axis {axis}"));
    }
    shape.insert(axis, 1);
    build(data.as_bytes().to_vec(), shape, data.dtype())
}

/// `data` without its axis `axis`, whose extent must be 1.
pub(crate) fn squeeze(data: &TensorData, axis: usize) -> Outcome<TensorData> {
    let mut shape = data.shape().to_vec();
    if shape.get(axis) != Some(&1) {
        return Err(format!(
            "has shape {shape:?}: axis {axis} must have extent 1"
        ));
    }
    shape.remove(axis);
    build(data.as_bytes().to_vec(), shape, data.dtype())
}

/// Calls `visit` with the offset of every element of a strided view, in row-major order.
fn walk(shape: &[usize], strides: &[usize], mut visit: impl FnMut(usize)) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        visit(
            index
                .iter()
                .zip(strides)
                .map(|(at, stride)| at * stride)
                .sum(),
        );
        advance(&mut index, shape);
    }
}

/// The next index in row-major order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for axis in (0..shape.len()).rev() {
        index[axis] += 1;
        if index[axis] < shape[axis] {
            return;
        }
        index[axis] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> TensorData {
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|v| v as f32)
            .collect();
        TensorData::new(values, shape.to_vec())
    }

    #[test]
    fn a_permutation_moves_elements_and_is_undone_by_its_inverse() {
        let data = counting(&[2, 3]);
        let turned = permute(&data, &[1, 0]).unwrap();
        assert_eq!(turned, TensorData::from([[0f32, 3.], [1., 4.], [2., 5.]]));
        let data = counting(&[2, 3, 4, 5]);
        let axes = [3, 0, 2, 1];
        let back = permute(&permute(&data, &axes).unwrap(), &inverse(&axes).unwrap()).unwrap();
        assert_eq!(back, data);
        assert!(
            permute(&data, &[0, 1])
                .unwrap_err()
                .contains("needs 2 axes")
        );
        assert!(
            permute(&data, &[0, 0, 1, 2])
                .unwrap_err()
                .contains("not a permutation")
        );
    }

    #[test]
    fn a_flip_reverses_the_named_axes_only() {
        let data = counting(&[1, 2, 3]);
        let flipped = flip(&data, &[2]).unwrap();
        assert_eq!(flipped, TensorData::from([[[2f32, 1., 0.], [5., 4., 3.]]]));
        assert_eq!(flip(&flipped, &[2]).unwrap(), data);
        assert!(flip(&data, &[3]).unwrap_err().contains("no axis 3"));
    }

    #[test]
    fn parts_join_to_what_they_were_cut_from() {
        let data = counting(&[2, 6, 2]);
        for shares in [vec![1, 1, 1], vec![4, 1, 1], vec![6]] {
            let cut = split(&data, 1, &shares).unwrap();
            assert_eq!(cut.len(), shares.len());
            assert_eq!(concat(&cut, 1, &shares).unwrap(), data);
        }
        let cut = split(&counting(&[4]), 0, &[1, 1]).unwrap();
        assert_eq!(cut[1], TensorData::from([2f32, 3.]));
        assert!(
            split(&data, 0, &[1, 1, 1])
                .unwrap_err()
                .contains("does not divide")
        );
        assert!(concat(&cut, 0, &[1, 3]).unwrap_err().contains("proportion"));
    }

    #[test]
    fn an_axis_of_one_comes_and_goes() {
        let data = counting(&[2, 3]);
        let wide = unsqueeze(&data, 2).unwrap();
        assert_eq!(wide.shape().to_vec(), [2, 3, 1]);
        assert_eq!(squeeze(&wide, 2).unwrap(), data);
        assert!(
            squeeze(&data, 0)
                .unwrap_err()
                .contains("must have extent 1")
        );
    }

    #[test]
    fn empty_tensors_pass_through() {
        let data = counting(&[0, 4]);
        assert_eq!(permute(&data, &[1, 0]).unwrap().shape().to_vec(), [4, 0]);
        assert_eq!(
            split(&data, 1, &[1, 1]).unwrap()[0].shape().to_vec(),
            [0, 2]
        );
    }
}
