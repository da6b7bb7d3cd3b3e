//! Batch normalisation with what follows it, rows of large tables, and bilinear forms.

use crate::{assert_close, tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::adam::AdamUpdate;
use menagerie_nn::batch_norm::{norm_relu_dropout, relu_dropout};
use menagerie_nn::bilinear::bilinear;
use menagerie_nn::dropout::Dropout;
use menagerie_nn::embedding::{Lookup, Penalty, PenaltySums, adam_rows, plain};

type Named = Vec<(&'static str, Vec<f64>)>;

fn leaf<const D: usize>(seed: u64, dims: [usize; D], dtype: DType) -> Tensor<D> {
    let device = Device::flex();
    tensor::<D>(seed, dims, &device, dtype)
        .autodiff()
        .require_grad()
}

fn dropout() -> Option<Dropout> {
    Some(Dropout {
        rate: 0.3,
        seed: 77 << 20,
    })
}

#[test]
fn columns_are_normalised_with_their_gradients() {
    let run = |[rows, columns]: [usize; 2], dropout: Option<Dropout>, dtype| -> Named {
        let x = leaf(1, [rows, columns], dtype);
        let (gain, shift) = (leaf(2, [columns], dtype), leaf(3, [columns], dtype));
        let target = tensor::<2>(4, [rows, columns], &Device::flex(), dtype).autodiff();
        let offset = x.clone() * 0.5 + 3.0;
        let (y, moments) = norm_relu_dropout(offset, gain.clone(), shift.clone(), 1e-5, dropout);
        let grads = (y.clone() * target).sum().backward();
        vec![
            ("y", values(y.without_autodiff())),
            ("mean", values(moments.mean)),
            ("variance", values(moments.variance)),
            ("dx", values(x.grad(&grads).unwrap())),
            ("dgain", values(gain.grad(&grads).unwrap())),
            ("dshift", values(shift.grad(&grads).unwrap())),
        ]
    };
    for shape in [[2, 1], [5, 3], [64, 16], [130, 37], [300, 70]] {
        for dropout in [None, dropout()] {
            let (ours, reference) = (
                run(shape, dropout, DType::F32),
                run(shape, dropout, DType::F64),
            );
            // Of two rows the gradient of x is the difference of numbers a thousand times as large.
            let tolerance = if shape[0] == 2 { 1e-2 } else { 2e-5 };
            assert_close(
                &format!("{shape:?} {dropout:?}"),
                &ours,
                &reference,
                tolerance,
            );
        }
    }
}

#[test]
fn values_are_rectified_and_dropped() {
    let run = |dropout: Option<Dropout>, dtype| -> Named {
        let x = leaf(1, [300, 70], dtype);
        let y = relu_dropout(x.clone(), dropout);
        let grads = y.clone().square().sum().backward();
        vec![
            ("y", values(y.without_autodiff())),
            ("dx", values(x.grad(&grads).unwrap())),
        ]
    };
    for dropout in [None, dropout()] {
        let (ours, reference) = (run(dropout, DType::F32), run(dropout, DType::F64));
        assert_close(&format!("{dropout:?}"), &ours, &reference, 1e-6);
        let zero = ours[0].1.iter().filter(|y| **y == 0.0).count() as f64 / 21_000.0;
        let expected = if dropout.is_some() { 0.65 } else { 0.5 };
        assert!((zero - expected).abs() < 0.02, "{zero}");
    }
}

#[test]
fn slices_meet_in_their_forms() {
    let run = |[rows, heads, a, b]: [usize; 4], dtype| -> Named {
        let (x, y) = (
            leaf(1, [rows, heads * a], dtype),
            leaf(2, [rows, heads * b], dtype),
        );
        let w = leaf(3, [heads * a, b], dtype);
        let (u, v) = (leaf(4, [heads * a], dtype), leaf(5, [heads * b], dtype));
        let out = bilinear(
            x.clone(),
            y.clone(),
            w.clone(),
            [u.clone(), v.clone()],
            heads,
        );
        let weights = tensor::<1>(6, [rows], &Device::flex(), dtype).autodiff();
        let grads = (out.clone() * weights).sum().backward();
        vec![
            ("out", values(out.without_autodiff())),
            ("dx", values(x.grad(&grads).unwrap())),
            ("dy", values(y.grad(&grads).unwrap())),
            ("dw", values(w.grad(&grads).unwrap())),
            ("du", values(u.grad(&grads).unwrap())),
            ("dv", values(v.grad(&grads).unwrap())),
        ]
    };
    for shape in [
        [1, 1, 1, 1],
        [7, 2, 3, 5],
        [130, 4, 16, 16],
        [70, 1, 20, 150],
        [65, 5, 40, 80],
    ] {
        let (ours, reference) = (run(shape, DType::F32), run(shape, DType::F64));
        assert_close(&format!("{shape:?}"), &ours, &reference, 1e-5);
    }
    // By hand: two heads of one number, each with its own factor.
    let device = Device::flex();
    let of = |values: [[f32; 2]; 1]| Tensor::<2>::from_data(values, &device);
    let w = Tensor::from_data([[10.0], [100.0]], &device);
    let linear = [[1.0, 0.0], [0.0, 2.0]].map(|w| Tensor::<1>::from_data(w, &device));
    let out = bilinear(of([[2.0, 3.0]]), of([[5.0, 7.0]]), w, linear, 2);
    assert_eq!(values(out), [100.0 + 2_100.0 + 2.0 + 14.0]);
}

#[test]
fn gradients_are_added_up_row_by_row() {
    let ids = vec![3, 0, 7, 3, 0, 9, 3];
    let lookup = Lookup::new(10, ids.clone(), |id| id == 0);
    assert_eq!(lookup.rows(), [3, 7, 9]);
    for dtype in [DType::F32, DType::F64] {
        let gradient = tensor::<2>(1, [7, 5], &Device::flex(), dtype);
        let sums = lookup.sums(gradient.clone());
        let (dense, gradient) = (values(sums.dense()), values(gradient));
        for row in 0..10 {
            for column in 0..5 {
                let places = ids.iter().enumerate();
                let places = places.filter(|(_, id)| **id == row && row != 0);
                let sum: f64 = places.map(|(at, _)| gradient[at * 5 + column]).sum();
                let found = dense[row as usize * 5 + column];
                assert!((found - sum).abs() < 1e-6, "{found} {sum}");
            }
        }
    }
    // The looked-up rows in the batch's order.
    let table = tensor::<2>(2, [10, 5], &Device::flex(), DType::F32);
    let rows = values(lookup.select(table.clone()));
    assert_eq!(rows[10..15], values(table)[35..40]);
}

#[test]
fn one_pass_over_a_table_equals_the_dense_update() {
    let device = Device::flex();
    for ([rows, dim], penalty) in [
        ([10, 3], Penalty { l1: 0.0, l2: 0.05 }),
        ([5_000, 10], Penalty { l1: 0.01, l2: 0.2 }),
        ([1_000, 16], Penalty::default()),
    ] {
        let len = rows * dim;
        let start = tensor::<2>(1, [rows, dim], &device, DType::F32);
        let zeros = || [Tensor::zeros([len], &device), Tensor::zeros([len], &device)];
        let (mut ours, mut dense) = ((start.clone(), zeros()), (start, zeros()));
        for time in 1..5 {
            let update = AdamUpdate {
                rate: 0.01,
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-8,
                time,
            };
            let ids = (0..64u32).map(|at| at * at * 7 % rows as u32).collect();
            let lookup = Lookup::new(rows, ids, |id| id == 0);
            let gradient = tensor::<2>(10 + time as u64, [64, dim], &device, DType::F32);
            let gradient = lookup.sums(gradient);

            let sums = PenaltySums::of(&ours.0);
            let pull = gradient.dense() + penalty.gradient(ours.0.clone());
            let expected = pull.square().sum().into_scalar::<f64>();
            let norm = gradient.square_norm(&ours.0, &penalty, &sums);
            assert!((norm / expected - 1.0).abs() < 1e-4, "{norm} {expected}");

            let (table, moments) = ours;
            ours = adam_rows(&update, table, &gradient, &penalty, 0.7, moments);
            let (table, moments) = dense;
            dense = plain::adam_rows(&update, table, &gradient, &penalty, 0.7, moments);
        }
        let flat = |(table, [first, second]): (Tensor<2>, [Tensor<1>; 2])| -> Named {
            vec![
                ("table", values(table)),
                ("first", values(first)),
                ("second", values(second)),
            ]
        };
        assert_close(&format!("{rows}"), &flat(ours), &flat(dense), 1e-5);
    }
}

#[test]
fn penalties_are_summed() {
    let device = Device::flex();
    let values = Tensor::<2>::from_data([[3.0, 0.0], [-4.0, 1.0]], &device);
    let sums = PenaltySums::of(&values);
    assert_eq!(
        [sums.squares, sums.absolute, sums.nonzero],
        [26.0, 8.0, 3.0]
    );
    let penalty = Penalty { l1: 0.5, l2: 0.1 };
    assert!((penalty.value(&sums) - 5.3).abs() < 1e-12);
    let norm = penalty.gradient(values).square().sum().into_scalar::<f64>();
    assert!((penalty.square_norm(&sums) - norm).abs() < 1e-5);
}
