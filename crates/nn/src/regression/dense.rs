//! Products of row-major `f64` matrices, on all cores.

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f64],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// `[rows, columns]`, rows `stride` apart.
    pub fn new(values: &'a [f64], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(fits(values.len(), (rows, stride), (columns, 1)));
        Self {
            values,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// The same values seen as `[columns, rows]`.
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

fn fits(len: usize, rows: (usize, usize), columns: (usize, usize)) -> bool {
    rows.0 == 0 || columns.0 == 0 || (rows.0 - 1) * rows.1 + (columns.0 - 1) * columns.1 < len
}

/// `c += factor · a · b`, where the rows of `c` lie `stride` apart.
pub(super) fn add_product(c: &mut [f64], stride: usize, factor: f64, a: View, b: View) {
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    assert_eq!(depth, b.rows);
    assert!(columns <= stride && fits(c.len(), (rows, stride), (columns, 1)));
    if rows == 0 || columns == 0 || depth == 0 {
        return;
    }
    // SAFETY: every index that the sizes and strides reach lies inside of its slice: checked for
    // `c` above, for `a` and `b` where they were made. `c` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            c.as_mut_ptr(),
            1,
            stride as isize,
            true,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_added_to_what_is_there() {
        // [[1, 2, 3], [4, 5, 6]] and its transpose, into the left of rows that are 4 apart.
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let view = View::new(&a, 2, 3, 3);
        let mut c = [1.0; 8];
        add_product(&mut c, 4, -1.0, view, view.transposed());
        assert_eq!(c, [-13.0, -31.0, 1.0, 1.0, -31.0, -76.0, 1.0, 1.0]);
    }
}
