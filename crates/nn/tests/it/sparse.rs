use crate::{tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::sparse::{Pattern, attributed, plain, sampled_dot, topk, weighted_rows};

fn devices() -> [Device; 3] {
    let flex = Device::flex();
    let tracked = flex.clone().autodiff();
    [flex, tracked.clone(), tracked.gradient_checkpointing()]
}

/// Rows, width, dim, kept per row.
const SHAPES: [[usize; 4]; 5] = [
    [1, 1, 1, 1],
    [3, 7, 5, 7],
    [4, 50, 33, 6],
    [65, 300, 64, 9],
    [40, 2000, 70, 300],
];

/// Sums in another order differ by rounding.
fn assert_close(case: &str, ours: &[f64], reference: &[f64]) {
    let ours = [("values", ours.to_vec())];
    crate::assert_close(case, &ours, &[("values", reference.to_vec())], 2e-5);
}

type Product = dyn Fn(Tensor<2>, Tensor<1>, Tensor<2>, &Pattern) -> Tensor<2>;

/// The product and the gradients of a weighted sum of it.
fn evaluate(
    device: &Device,
    [rows, _, dim, _]: [usize; 4],
    pattern: &Pattern,
    product: &Product,
) -> Vec<Vec<f64>> {
    let leaf = |t: Tensor<2>| {
        if device.is_autodiff() {
            t.require_grad()
        } else {
            t
        }
    };
    let x = leaf(tensor(1, [rows, dim], device, DType::F32));
    let w = leaf(tensor(2, [pattern.width(), dim], device, DType::F32));
    let v = tensor::<1>(3, [pattern.len()], device, DType::F32);
    let v = if device.is_autodiff() {
        v.require_grad()
    } else {
        v
    };
    let y = product(x.clone(), v.clone(), w.clone(), pattern);
    let mut results = vec![values(y.clone())];
    if device.is_autodiff() {
        let grads = (y.clone() * tensor(4, y.dims(), device, DType::F32))
            .sum()
            .backward();
        results.push(values(w.grad(&grads).unwrap()));
        results.extend(x.grad(&grads).map(values));
        results.extend(v.grad(&grads).map(values));
    }
    results
}

fn same(shape: [usize; 4], pattern: &Pattern, kernel: &Product, plain: &Product) {
    for device in devices() {
        let ours = evaluate(&device, shape, pattern, kernel);
        let theirs = evaluate(&device, shape, pattern, plain);
        assert_eq!(ours.len(), theirs.len());
        assert!(ours.len() == 1 || ours.len() == 3, "a gradient is missing");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_close(&format!("{shape:?}"), ours, theirs);
        }
    }
}

#[test]
fn products_and_their_gradients_equal_the_plain_form() {
    for shape in SHAPES {
        let [rows, width, _, k] = shape;
        let scores = tensor(9, [rows, width], &Device::flex(), DType::F32);
        let patterns = [
            Pattern::topk(&scores, k),
            Pattern::topk_of_all(&scores, k * rows),
            Pattern::above(&scores, 0.3),
        ];
        for pattern in &patterns {
            if pattern.is_empty() {
                continue;
            }
            let dots = |t: Tensor<1>| t.unsqueeze::<2>();
            same(
                shape,
                pattern,
                &move |x, _, w, p| dots(sampled_dot(x, w, p)),
                &move |x, _, w, p| dots(plain::sampled_dot(x, w, p)),
            );
            same(
                shape,
                pattern,
                &|_, v, w, p| weighted_rows(v, w, p),
                &|_, v, w, p| plain::weighted_rows(v, w, p),
            );
        }
    }
}

#[test]
fn sparse_decoding_equals_the_dense_product() {
    for shape in SHAPES {
        let [rows, width, dim, k] = shape;
        let device = Device::flex().autodiff();
        let x = tensor(1, [rows, width], &device, DType::F32).require_grad();
        let w = tensor(2, [width, dim], &device, DType::F32).require_grad();
        let weights = tensor(3, [rows, dim], &device, DType::F32);
        let pattern = Pattern::topk(&x, k);
        let sparse = weighted_rows(pattern.gather(x.clone()), w.clone(), &pattern);
        let kept = pattern.scatter(pattern.gather(x.clone()));
        let dense = kept.matmul(w.clone());
        assert_close("sum", &values(sparse.clone()), &values(dense.clone()));
        let sparse = (sparse * weights.clone()).sum().backward();
        let dense = (dense * weights).sum().backward();
        for leaf in [&x, &w] {
            let gradient = |grads| values(leaf.grad(grads).unwrap());
            assert_close("gradient", &gradient(&sparse), &gradient(&dense));
        }
    }
}

#[test]
fn attributed_scores_equal_the_plain_form() {
    for [rows, width, dim, _] in SHAPES {
        for device in devices() {
            let h = tensor(1, [rows, width], &device, DType::F32);
            let x = tensor(2, [rows, dim], &device, DType::F32);
            let w = tensor(3, [width, dim], &device, DType::F32);
            let ours = attributed(h.clone(), x.clone(), w.clone(), 1.5);
            let theirs = plain::attributed(h, x, w, 1.5);
            assert_close("scores", &values(ours), &values(theirs));
        }
    }
}

#[test]
fn selection_equals_a_full_sort() {
    let device = Device::flex().autodiff();
    for [rows, width, _, k] in SHAPES {
        let x = tensor(5, [rows, width], &device, DType::F32).require_grad();
        let (ours, indices) = topk(x.clone(), k);
        let (theirs, _) = x.clone().topk_with_indices(k, 1);
        assert_eq!(values(ours.clone()), values(theirs.clone()));
        assert_eq!(values(x.clone().gather(1, indices)), values(ours.clone()));
        let weights = tensor(6, [rows, k], &device, DType::F32);
        let ours = (ours * weights.clone()).sum().backward();
        let theirs = (theirs * weights).sum().backward();
        let gradient = |grads| values(x.grad(grads).unwrap());
        assert_eq!(gradient(&ours), gradient(&theirs));
        assert_eq!(
            plain::topk_of_all(x.clone().without_autodiff(), rows * k),
            {
                let all = Pattern::topk_of_all(&x, rows * k);
                (all.starts().to_vec(), all.columns().to_vec())
            }
        );
    }
}

#[test]
fn ties_keep_exactly_k() {
    let x = Tensor::<2>::from_data(
        [[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
        &Device::flex(),
    );
    let pattern = Pattern::topk(&x, 2);
    assert_eq!(pattern.len(), 4);
    assert_eq!(values(pattern.gather(x.clone())), [1.0, 1.0, 0.0, 0.0]);
    let all = Pattern::topk_of_all(&x, 4);
    assert_eq!(all.len(), 4);
    let full: f64 = values(all.scatter(all.gather(x))).iter().sum();
    assert_eq!(full, 3.0);
}

#[test]
#[should_panic(expected = "5 of a row of 4")]
fn more_than_a_row_is_refused() {
    Pattern::topk(&Tensor::zeros([2, 4], &Device::flex()), 5);
}

#[test]
fn a_filtered_pattern_says_where_its_entries_were() {
    let pattern = Pattern::new(5, vec![0, 2, 2, 5], vec![4, 1, 0, 3, 2]);
    let (kept, entries) = pattern.filter(|row, column| row == 2 && column > 1 || column == 1);
    assert_eq!(kept.starts(), [0, 1, 1, 3]);
    assert_eq!(kept.columns(), [1, 3, 2]);
    assert_eq!(entries, [1, 3, 4]);
}
