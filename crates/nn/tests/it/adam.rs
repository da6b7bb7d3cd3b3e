use crate::{tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::adam::{AdamUpdate, adam_update, plain};

#[test]
fn one_pass_equals_the_plain_form() {
    let device = Device::flex();
    for len in [1, 7, 1000, 100_000] {
        let leaf = |seed| tensor::<1>(seed, [len], &device, DType::F32);
        let mut ours = [leaf(1), leaf(2) * 0.1, leaf(3).square()];
        let mut reference = ours.clone();
        for time in 1..5 {
            let update = AdamUpdate {
                rate: 0.01,
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-8,
                time,
            };
            let gradient = leaf(10 + time as u64);
            let [p, m, v] = ours;
            ours = adam_update(&update, p, gradient.clone(), [m, v]);
            let [p, m, v] = reference;
            reference = plain(&update, p, gradient, [m, v]);
        }
        for (ours, reference) in ours.into_iter().zip(reference) {
            for (a, b) in values(ours).into_iter().zip(values(reference)) {
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{a} {b}");
            }
        }
    }
}

#[test]
fn the_first_update_is_the_rate_in_the_direction_of_the_gradient() {
    let device = Device::flex();
    let zeros = || Tensor::<1>::zeros([2], &device);
    let update = AdamUpdate {
        rate: 0.1,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        time: 1,
    };
    let gradient = Tensor::from_data([3.0, -0.02], &device);
    let [parameter, ..] = adam_update(&update, zeros(), gradient, [zeros(), zeros()]);
    let parameter = values(parameter);
    assert!((parameter[0] + 0.1).abs() < 1e-6 && (parameter[1] - 0.1).abs() < 1e-6);
}
