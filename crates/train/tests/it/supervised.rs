//! Accumulation and several devices give the gradients of the whole batch.

use crate::{Data, Regression};
use burn::optim::SgdConfig;
use burn::tensor::Device;
use menagerie_train::{Procedure, Supervised};

fn weights_after(steps: usize, micro: usize, batch: usize, devices: usize) -> Vec<f32> {
    let data = Data::new();
    let device = Device::flex().autodiff();
    let mut trainer = Supervised::new(
        Regression::new(&device),
        SgdConfig::new().init(),
        0.1,
        |index, device: &Device| {
            let indices: Vec<usize> = (0..batch).map(|i| (index * batch + i) % 64).collect();
            Ok(data.pairs(&indices, device))
        },
    )
    .accumulating(micro)
    .unwrap()
    .on_devices(vec![device; devices])
    .unwrap();
    for step in 0..steps {
        trainer.step(step).unwrap();
    }
    trainer.model().unwrap().weights()
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert!(
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5),
        "{a:?} {b:?}"
    );
}

#[test]
fn accumulation_equals_a_larger_batch() {
    assert_close(&weights_after(5, 4, 4, 1), &weights_after(5, 1, 16, 1));
}

#[test]
fn two_devices_equal_a_larger_batch() {
    assert_close(&weights_after(5, 1, 8, 2), &weights_after(5, 1, 16, 1));
    assert_close(&weights_after(5, 2, 4, 2), &weights_after(5, 1, 16, 1));
}

fn loss_of_first_step(micro: usize, batch: usize, devices: usize) -> f64 {
    let data = Data::new();
    let device = Device::flex().autodiff();
    let mut trainer = Supervised::new(
        Regression::new(&device),
        SgdConfig::new().init(),
        0.1,
        |index, device: &Device| {
            let indices: Vec<usize> = (0..batch).map(|i| (index * batch + i) % 64).collect();
            Ok(data.pairs(&indices, device))
        },
    )
    .accumulating(micro)
    .unwrap()
    .on_devices(vec![device; devices])
    .unwrap();
    let scalars = trainer.step(0).unwrap().read().unwrap();
    scalars.get("loss").unwrap()
}

#[test]
fn a_step_in_parts_reports_the_loss_of_the_whole() {
    let whole = loss_of_first_step(1, 16, 1);
    for (micro, batch, devices) in [(4, 4, 1), (1, 8, 2), (2, 4, 2)] {
        let parts = loss_of_first_step(micro, batch, devices);
        assert!((parts - whole).abs() < 1e-5, "{parts} {whole}");
    }
}

#[test]
fn clipping_limits_the_update() {
    let data = Data::new();
    let device = Device::flex().autodiff();
    let model = Regression::new(&device);
    let before = model.weights();
    let mut trainer = Supervised::new(model, SgdConfig::new().init(), 1.0, |_, device: &Device| {
        Ok(data.pairs(&[0, 1, 2, 3], device))
    })
    .clipping(1e-3)
    .unwrap();
    trainer.step(0).unwrap();
    let after = trainer.model().unwrap().weights();
    let moved: f32 = before
        .iter()
        .zip(&after)
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    assert!(moved > 0.0 && moved.sqrt() <= 1.001e-3, "{moved}");
}

#[test]
fn an_impossible_schedule_is_refused() {
    let data = Data::new();
    let device = Device::flex().autodiff();
    let mut trainer = Supervised::new(
        Regression::new(&device),
        SgdConfig::new().init(),
        -0.1,
        |_, device: &Device| Ok(data.pairs(&[0], device)),
    );
    let error = trainer.step(0).unwrap_err().to_string();
    assert_eq!(
        error,
        "Schedule.peak = -0.1: must be finite and not negative"
    );
}

#[test]
fn impossible_settings_are_refused() {
    let data = Data::new();
    let make = || {
        let device = Device::flex().autodiff();
        Supervised::new(
            Regression::new(&device),
            SgdConfig::new().init(),
            0.1,
            |_, device: &Device| Ok(data.pairs(&[0], device)),
        )
    };
    let text = |result: menagerie_core::Result<_>| match result {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        text(make().accumulating(0)),
        "Supervised.accumulate = 0: must be at least 1"
    );
    assert_eq!(
        text(make().clipping(0.0)),
        "Supervised.clip = 0.0: must be positive"
    );
    assert_eq!(
        text(make().on_devices(vec![])),
        "devices is \"[]\": must name at least one device"
    );
    assert_eq!(
        text(make().averaging(2.0)),
        "Ema.decay = 2.0: must lie in [0, 1]"
    );
}
