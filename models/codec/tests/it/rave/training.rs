//! Training in two stages.

use super::{audio, small, small_v2};
use crate::device;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_codec::rave::{
    Beta, DiscriminatorConfig, RaveConfig, RaveTraining, RaveTrainingConfig, SecondStage, Version,
    draw_normal,
};
use menagerie_core::{Result, Seed};
use menagerie_train::{FitConfig, Metrics, Procedure, Progress, Run, Schedule, initialise};
use std::collections::BTreeMap;

pub(super) const CROP: usize = 2048;

pub(super) fn setup(steps: usize, warmup: usize) -> RaveTrainingConfig {
    RaveTrainingConfig::new(Schedule::constant(1e-3))
        .with_steps(steps)
        .with_warmup(warmup)
        .with_batch(2)
        .with_crop(CROP)
        .with_scales(vec![256, 64])
}

fn nets(version: Version) -> DiscriminatorConfig {
    DiscriminatorConfig::new(version, 4)
        .with_layers(2)
        .with_scales(2)
        .with_periods(vec![2, 3])
}

/// Two crops of one signal, which depend on the step alone.
fn batch(step: usize, device: &Device) -> Result<Tensor<3>> {
    // Pure tones are silent at most frequencies, and silence is what logarithms never reach.
    let hiss: Tensor<1> = draw_normal(
        [CROP + 64 * 40],
        Seed(9),
        &device.clone().without_autodiff(),
    );
    let hiss: Vec<f32> = hiss.try_into_vec_as().unwrap();
    let tones = audio(hiss.len());
    let samples: Vec<f32> = tones.iter().zip(hiss).map(|(a, b)| a + 0.1 * b).collect();
    let start = step % 16 * 64;
    let crops = [&samples[start..][..CROP], &samples[start + 512..][..CROP]].concat();
    Ok(Tensor::from_data(
        TensorData::new(crops, [2, 1, CROP]),
        device,
    ))
}

pub(super) fn training(config: &RaveConfig, setup: RaveTrainingConfig) -> RaveTraining<'static> {
    let device = device().autodiff();
    let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let nets = nets(config.version);
    let nets = initialise(&device, Seed(2), || nets.init(&device)).unwrap();
    RaveTraining::new(model, nets, setup, Seed(3), &device, batch).unwrap()
}

pub(super) fn values<M: Module>(module: &M) -> BTreeMap<String, TensorData> {
    menagerie_hub::values(module)
}

#[test]
fn a_resumed_run_is_an_uninterrupted_one() {
    for config in [small(), small_v2()] {
        let dir = tempfile::tempdir().unwrap();
        let fit = |name: &str, steps: usize, resume: bool| {
            let mut procedure = training(&config, setup(8, 3));
            let run = Run::create(&dir.path().join(name), &"rave", resume).unwrap();
            let mut fit = FitConfig::new(steps);
            fit.log_every = 1;
            fit.checkpoint_every = 1;
            run.fit(&mut procedure, &fit, &Progress::silent()).unwrap();
            let model = values(procedure.model().unwrap());
            let nets = values(procedure.discriminator().unwrap());
            (run.history().unwrap(), model, nets)
        };
        let whole = fit("whole", 8, false);
        // Once within each stage.
        fit("parts", 2, false);
        fit("parts", 5, true);
        let parts = fit("parts", 8, true);
        assert_eq!(whole.0, parts.0);
        assert_eq!(whole.1, parts.1);
        assert_eq!(whole.2, parts.2);
    }
}

#[test]
fn the_first_stage_brings_the_reconstruction_closer() {
    let mut setup = setup(60, 60);
    setup.rate = Schedule::constant(3e-3);
    let mut procedure = training(&small(), setup);
    let mut losses = Vec::new();
    for step in 0..60 {
        let metrics: Metrics = procedure.step(step).unwrap().read().unwrap();
        losses.push(metrics.get("fullband").unwrap());
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[55..]));
    assert!(last < 0.8 * first, "{first} to {last}");
}

/// Which of encoder, decoder and discriminators change in step `step`.
fn changed(procedure: &mut RaveTraining, step: usize) -> [bool; 3] {
    let state = |procedure: &RaveTraining| {
        let model = procedure.model().unwrap();
        let nets = procedure.discriminator().unwrap();
        [values(&model.encoder), values(&model.decoder), values(nets)]
    };
    let before = state(procedure);
    procedure.step(step).unwrap();
    let after = state(procedure);
    std::array::from_fn(|part| before[part] != after[part])
}

#[test]
fn each_step_trains_what_its_stage_says() {
    let mut procedure = training(&small(), setup(8, 2));
    assert_eq!(changed(&mut procedure, 0), [true, true, false]);
    assert_eq!(changed(&mut procedure, 1), [true, true, false]);
    // The encoder is frozen, its running statistics too; both sides take turns.
    assert_eq!(changed(&mut procedure, 2), [false, true, false]);
    assert_eq!(changed(&mut procedure, 3), [false, false, true]);

    let both = setup(8, 2).with_second_stage(SecondStage::Both);
    let mut procedure = training(&small(), both);
    assert_eq!(changed(&mut procedure, 2), [true, true, false]);

    let rarely = setup(8, 0).with_discriminator_every(4);
    let mut procedure = training(&small_v2(), rarely);
    let nets: Vec<bool> = (0..4)
        .map(|step| changed(&mut procedure, step)[2])
        .collect();
    assert_eq!(nets, [false, false, false, true]);
}

#[test]
fn beta_follows_its_schedule() {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b, "{a} and {b}");
    let warm = Beta::WarmUp {
        from: 1e-6,
        to: 1e-2,
        steps: 100,
    };
    near(warm.at(0), 1e-6);
    near(warm.at(50), 1e-4);
    near(warm.at(100), 1e-2);
    near(warm.at(5000), 1e-2);
    let cyclic = Beta::Cyclic {
        least: 1e-4,
        most: 1.0,
        cycle: 100,
    };
    near(cyclic.at(125), 1e-2);
    near(cyclic.at(160), 1.0);
    near(cyclic.at(200), 1e-4);
}

#[test]
fn trainings_that_cannot_be_are_refused() {
    let device = device().autodiff();
    let refuse = |setup: RaveTrainingConfig, device: &Device, batch_of: usize| -> String {
        let model = small().init(device).unwrap();
        let nets = nets(Version::V1).init(device).unwrap();
        let batch = move |_: usize, device: &Device| Ok(Tensor::zeros([2, 1, batch_of], device));
        let error = RaveTraining::new(model, nets, setup, Seed(0), device, batch)
            .and_then(|mut training| training.step(0).map(|_| ()));
        error.unwrap_err().to_string()
    };
    for (setup, expected) in [
        (
            setup(0, 0),
            "RaveTrainingConfig.steps = 0: must be at least 1",
        ),
        (
            setup(4, 2).with_crop(100),
            "RaveTrainingConfig.crop = 100: must be a multiple of the model's hop, 64",
        ),
        (
            setup(4, 2).with_beta(Beta::Constant(f64::NAN)),
            "RaveTrainingConfig.beta = NaN: must be finite and not negative",
        ),
        (
            setup(4, 2).with_scales(vec![]),
            "RaveTrainingConfig.scales = []: must name at least one window length",
        ),
        (
            setup(4, 2).with_discriminator_every(1),
            "RaveTrainingConfig.discriminator_every = 1: must be at least 2",
        ),
    ] {
        assert_eq!(refuse(setup, &device, CROP), expected);
    }
    let plain = device.clone().without_autodiff();
    let error = refuse(setup(4, 2), &plain, CROP);
    assert!(error.contains("must have autodiff"), "{error}");
    let error = refuse(setup(4, 2), &device, 64);
    assert_eq!(
        error,
        "the shape of a batch is [2, 1, 64]: must be [batch, 1, 2048]"
    );
    let error = refuse(setup(4, 2).with_scales(vec![2048]), &device, CROP);
    assert!(
        error.starts_with("the scale of a spectrum is 2048"),
        "{error}"
    );
}

#[test]
fn published_trainings_are_valid() {
    for config in [
        RaveTrainingConfig::v1(),
        RaveTrainingConfig::v1_large(),
        RaveTrainingConfig::v2(),
    ] {
        config.validate().unwrap();
    }
    let rate = RaveTrainingConfig::v2().rate;
    assert_eq!(rate.at(0), 1e-3);
    assert!((rate.at(1_000_000) - 1e-4).abs() < 1e-12);
}
