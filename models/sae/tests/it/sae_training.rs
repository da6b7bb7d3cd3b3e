//! Training: it learns, it resumes exactly, dead latents are revived.

use crate::{device, floats, normal, text};
use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use menagerie_core::Seed;
use menagerie_sae::{
    activations::{ActivationBuffer, BufferConfig, RowSource, Rows},
    sae::{
        Activation, AuxK, Convention, Initialization, ObjectiveConfig, SaeConfig, SaeRun,
        Situation, Sparsity, Threshold,
        metrics::quality,
        objective::lp_sum,
        straight_through,
        training::{
            Constraint, DeadLatents, DeadRule, PAnneal, RateSchedule, Resample, ResampleBy,
            SaeTrainer, SaeTrainingConfig, ThresholdRule, draw_inputs,
        },
    },
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use rand::RngExt;

/// Rows that are sums of a few of 12 fixed directions in 8 dimensions.
fn sparse_rows(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Seed(7).rng();
    let directions: Vec<f32> = (0..12 * 8).map(|_| rng.random::<f32>() - 0.5).collect();
    let mut rng = Seed(seed).rng();
    let mut rows = vec![0.0; count * 8];
    for row in rows.chunks_exact_mut(8) {
        for _ in 0..2 {
            let direction = rng.random_range(0..12);
            let strength = 1.0 + rng.random::<f32>();
            for (value, step) in row.iter_mut().zip(&directions[direction * 8..][..8]) {
                *value += strength * step;
            }
        }
    }
    rows
}

fn tensor(rows: &[f32]) -> Tensor<2> {
    let shape = [rows.len() / 8, 8];
    Tensor::from_data(TensorData::new(rows.to_vec(), shape), &device())
}

fn rate(rate: f64) -> RateSchedule {
    RateSchedule::Constant { rate }
}

fn trainer(activation: Activation, config: SaeTrainingConfig) -> SaeTrainer {
    let device = device().autodiff();
    let sae = SaeConfig::new(8, 24, activation).with_initialization(Initialization::FixedNorm(1.0));
    let sae = initialise(&device, Seed(1), || sae.init(&device)).unwrap();
    SaeTrainer::new(sae, config, Seed(2)).unwrap()
}

fn lp(coefficient: f64) -> ObjectiveConfig {
    ObjectiveConfig::new().with_sparsity(Sparsity::Lp {
        coefficient,
        weighted: false,
        p: 1.0,
        power: true,
    })
}

#[test]
fn every_variant_learns() {
    let auxiliary =
        || ObjectiveConfig::new().with_auxiliary(Some(AuxK::new(Convention::DictionaryLearning)));
    let jump = Activation::JumpRelu {
        threshold: Threshold::Log,
        bandwidth: 0.05,
        initial: 0.01,
    };
    let variants = [
        (Activation::Relu, lp(0.01)),
        (Activation::topk(3), auxiliary()),
        (Activation::BatchTopK { k: 3 }, auxiliary()),
        (Activation::GroupMax { k: 4 }, auxiliary()),
        (
            jump,
            ObjectiveConfig::new().with_sparsity(Sparsity::Step { coefficient: 0.01 }),
        ),
        (
            Activation::Gated,
            ObjectiveConfig::new().with_sparsity(Sparsity::Gate {
                coefficient: 0.01,
                weighted: false,
                detached: true,
            }),
        ),
    ];
    let rows = sparse_rows(512, 3);
    for (activation, objective) in variants {
        let config = SaeTrainingConfig::new(objective, rate(3e-3))
            .with_threshold(activation.k().map(|_| ThresholdRule::Average { rate: 0.1 }));
        let mut trainer = trainer(activation, config);
        let x = || tensor(&rows).autodiff();
        let first = trainer.step(0, x(), None).unwrap().read().unwrap();
        for step in 1..150 {
            trainer.step(step, x(), None).unwrap();
        }
        let last = trainer.step(150, x(), None).unwrap().read().unwrap();
        let [first, last] = [first, last].map(|metrics| metrics.get("reconstruction").unwrap());
        assert!(last < 0.5 * first, "{activation:?}: {first} to {last}");
        let measured = quality(&trainer.sae.valid(), tensor(&rows), 100).unwrap();
        assert!(measured.fvu < 0.5, "{activation:?}: {}", measured.fvu);
    }
}

#[test]
fn the_constraint_keeps_dictionary_vectors_at_unit_norm() {
    for constraint in [
        Constraint::ProjectStepNormalize,
        Constraint::ProjectNormalizeStep,
        Constraint::NormalizeProjectStep,
        Constraint::NormalizeForwardProjectStep,
    ] {
        let config = SaeTrainingConfig::new(lp(0.1), rate(1e-2)).with_constraint(constraint);
        let mut trainer = trainer(Activation::Relu, config);
        let rows = sparse_rows(64, 4);
        for step in 0..5 {
            trainer.step(step, tensor(&rows).autodiff(), None).unwrap();
        }
        let norms = floats(trainer.sae.decoder_norms());
        let slack = match constraint {
            Constraint::ProjectStepNormalize => 1e-5,
            // One step after the last normalisation, in which Adam moves each of 8 entries by at
            // most the rate.
            _ => 0.01 * 8f32.sqrt(),
        };
        assert!(
            norms.iter().all(|norm| (norm - 1.0).abs() < slack),
            "{constraint:?} {norms:?}"
        );
    }
}

/// Trains to the end, and again with a kill after the last checkpoint but one.
fn resumes_exactly(activation: Activation, config: SaeTrainingConfig) -> SaeTrainer {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, steps: usize, resume: bool| {
        let rows = Rows::new(8, sparse_rows(200, 5)).unwrap();
        let source = RowSource::new(rows, 40, 20).unwrap();
        let batches = ActivationBuffer::new(source, &BufferConfig::new(120, 32), Seed(3)).unwrap();
        let trainer = trainer(activation, config.clone());
        let mut procedure = SaeRun::new(trainer, batches).unwrap();
        let run = Run::create(&folder.path().join(name), &"sae", resume).unwrap();
        let fit = FitConfig {
            log_every: 1,
            checkpoint_every: 7,
            ..FitConfig::new(steps)
        };
        run.fit(&mut procedure, &fit, &Progress::silent()).unwrap();
        procedure.into_trainer()
    };
    let whole = run("whole", 30, false);
    run("killed", 16, false);
    // The folder's last checkpoint is that of step 16; a kill in between loses what came after 14.
    let last = folder.path().join("killed/checkpoints/step-16");
    if last.is_dir() {
        std::fs::remove_dir_all(&last).unwrap();
    }
    let resumed = run("killed", 30, true);
    assert_eq!(
        floats(resumed.sae.decoder.val()),
        floats(whole.sae.decoder.val())
    );
    assert_eq!(
        floats(resumed.trained().encoder.val()),
        floats(whole.trained().encoder.val())
    );
    assert_eq!(resumed.dead, whole.dead);
    assert_eq!(resumed.anneal, whole.anneal);
    assert_eq!(resumed.threshold, whole.threshold);
    assert_eq!(
        resumed.sae.inference_threshold(),
        whole.sae.inference_threshold()
    );
    let log = |name: &str| {
        std::fs::read_to_string(folder.path().join(name).join("metrics.jsonl")).unwrap()
    };
    assert_eq!(log("killed"), log("whole"));
    whole
}

#[test]
fn a_killed_run_resumes_exactly() {
    let anneal = PAnneal {
        p_start: 1.0,
        p_end: 0.4,
        start: 6,
        end: 24,
        updates: 4,
        queue: 3,
        coefficient: 0.05,
    };
    let resample = Resample {
        every: 10,
        until: 20,
        by: ResampleBy::SquaredLoss,
        scale: 0.2,
    };
    let config = SaeTrainingConfig::new(lp(0.05), rate(1e-2))
        .with_constraint(Constraint::ProjectStepNormalize)
        .with_dead(DeadRule::Steps(4))
        .with_resample(Some(resample))
        .with_anneal(Some(anneal));
    resumes_exactly(Activation::Relu, config);
}

#[test]
fn a_killed_run_keeps_dead_latents_and_thresholds() {
    let auxk = AuxK::new(Convention::DictionaryLearning).with_k(4);
    let objective = ObjectiveConfig::new().with_auxiliary(Some(auxk));
    let threshold = ThresholdRule::SetThenAverage {
        beta: 0.9,
        start: 10,
    };
    let config = SaeTrainingConfig::new(objective, rate(1e-2))
        .with_constraint(Constraint::ProjectStepNormalize)
        .with_dead(DeadRule::Steps(2))
        .with_threshold(Some(threshold));
    let trainer = resumes_exactly(Activation::BatchTopK { k: 2 }, config);
    // All of it took part.
    assert!(trainer.dead.count() > 0);
    assert!(trainer.threshold.is_some_and(|threshold| threshold > 0.0));
}

#[test]
fn a_killed_run_of_sign_descent_keeps_its_average() {
    let sizes = SaeConfig::new(8, 24, Activation::topk(2));
    let config = SaeTrainingConfig {
        rate: rate(1e-2),
        ..SaeTrainingConfig::sparsify(&sizes)
    };
    let trainer = resumes_exactly(Activation::topk(2), config);
    assert_ne!(
        floats(trainer.trained().encoder.val()),
        floats(trainer.sae.encoder.val())
    );
}

#[test]
fn dead_latents_are_counted_and_resampled() {
    let mut dead = DeadLatents::new(24, 3, 0.0);
    let mut trainer = trainer(
        Activation::Relu,
        SaeTrainingConfig::new(lp(0.1), rate(1e-3)),
    );
    let rows = sparse_rows(64, 6);
    // A bias that no input overcomes silences the first half.
    let silence: Vec<f32> = (0..24).map(|i| if i < 12 { -1e3 } else { 0.0 }).collect();
    let bias = trainer.sae.b_enc.take().unwrap();
    trainer.sae.b_enc = Some(bias.map(|old| {
        Tensor::from_data(TensorData::from(silence.as_slice()), &old.device()).require_grad()
    }));
    for _ in 0..3 {
        dead.update(&trainer.sae.encode(tensor(&rows)).unwrap(), 1);
    }
    let mask = dead.mask();
    assert!(mask[..12].iter().all(|&dead| dead));
    let count = mask.iter().filter(|&&dead| dead).count();
    trainer.step(0, tensor(&rows).autodiff(), None).unwrap();
    let drawn = draw_inputs(&[1.0; 64], count, ResampleBy::ErrorNorm, Seed(1)).unwrap();
    let (sae, adam) = (trainer.sae.clone(), &mut trainer.adam);
    let error = sae
        .clone()
        .resample(adam, tensor(&rows), &mask, &[0; 25], 0.2);
    assert!(text(error).contains("must be at most one per dead latent"));
    let all = vec![true; 24];
    let error = sae
        .clone()
        .resample(adam, tensor(&rows), &all, &[0; 24], 0.2);
    assert!(text(error).contains("must leave a living latent"));
    let sae = sae
        .resample(adam, tensor(&rows), &mask, &drawn, 0.2)
        .unwrap();
    dead.update(&sae.encode(tensor(&rows)).unwrap(), 1);
    assert!(
        dead.count() < count / 2,
        "{} of {count} still dead",
        dead.count()
    );
    let norms = floats(sae.decoder_norms());
    assert!(norms[..12].iter().all(|norm| (norm - 1.0).abs() < 1e-5));
}

fn topk_config() -> SaeTrainingConfig {
    SaeTrainingConfig::new(ObjectiveConfig::new(), rate(1e-3))
}

#[test]
fn the_batch_at_hand_counts_for_dead_latents_where_the_convention_says_so() {
    let sae = trainer(Activation::topk(3), topk_config()).sae;
    let x = tensor(&sparse_rows(2, 5)).autodiff();
    let ages = DeadLatents::from_counters(vec![100; 24], 50, 0.0);
    let auxiliary = |convention, situation: Situation| {
        let objective = ObjectiveConfig::new().with_auxiliary(Some(AuxK::new(convention)));
        let (loss, _) = sae.loss(x.clone(), None, &objective, situation).unwrap();
        floats(loss.auxiliary.unwrap())[0]
    };
    let counts = sae.encode_training(x.clone()).unwrap().firing_counts();
    let after: Vec<bool> = counts.iter().map(|&count| count == 0).collect();
    assert!(after.contains(&false));
    for (convention, expected) in [
        (Convention::DictionaryLearning, &after),
        (Convention::OpenAi, &after),
        (Convention::Sparsify, &vec![true; 24]),
    ] {
        let all = [true; 24];
        let told = auxiliary(
            convention,
            Situation {
                dead: Some(&all),
                silent: Some((&ages, 2)),
                ..Situation::default()
            },
        );
        let masked = auxiliary(
            convention,
            Situation {
                dead: Some(expected),
                ..Situation::default()
            },
        );
        assert_eq!(told, masked, "{convention:?}");
    }
}

#[test]
fn inputs_are_drawn_by_their_error() {
    let share_of_three = |by| {
        let first = |seed| draw_inputs(&[0.0, 1.0, 0.0, 3.0], 1, by, Seed(seed)).unwrap();
        (0..4_000).filter(|&seed| first(seed) == [3]).count() as f64 / 4_000.0
    };
    let share = share_of_three(ResampleBy::ErrorNorm);
    assert!((share - 0.75).abs() < 0.03, "{share}");
    let share = share_of_three(ResampleBy::SquaredLoss);
    assert!((share - 81.0 / 82.0).abs() < 0.01, "{share}");
    // No row twice, and none without an error.
    let mut all = draw_inputs(&[0.0, 1.0, 0.0, 3.0], 9, ResampleBy::ErrorNorm, Seed(1)).unwrap();
    all.sort_unstable();
    assert_eq!(all, [1, 3]);
    assert!(text(draw_inputs(&[0.0; 3], 1, ResampleBy::ErrorNorm, Seed(1))).contains("above 0"));
}

#[test]
fn a_straight_through_gradient_is_that_of_the_kernel() {
    let device = device().autodiff();
    let (theta, width) = (0.5_f32, 0.2_f32);
    let values = [0.1, 0.39, 0.41, 0.5, 0.59, 0.61, 2.0];
    let h = Tensor::<2>::from_data([values], &device).require_grad();
    let thresholds = Tensor::<1>::from_data([theta; 7], &device).require_grad();
    let z = straight_through::jump(h.clone(), thresholds.clone(), width.into());
    let expected = [0.0, 0.0, 0.0, 0.0, 0.59, 0.61, 2.0];
    assert_eq!(floats(z.clone()), expected);
    let grads = z.sum().backward();
    assert_eq!(
        floats(h.grad(&grads).unwrap()),
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    );
    let inside = [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0];
    let gradient = floats(thresholds.grad(&grads).unwrap());
    for (gradient, inside) in gradient.iter().zip(inside) {
        assert!(
            (gradient + inside * theta / width).abs() < 1e-5,
            "{gradient}"
        );
    }
    let count = straight_through::step(h, thresholds.clone(), width.into()).sum();
    let grads = count.backward();
    let gradient = floats(thresholds.grad(&grads).unwrap());
    for (gradient, inside) in gradient.iter().zip(inside) {
        assert!((gradient + inside / width).abs() < 1e-4, "{gradient}");
    }
}

#[test]
fn a_power_below_one_has_no_gradient_at_zero() {
    let device = device().autodiff();
    let z = Tensor::<2>::from_data([[0.0, 4.0], [0.0, 0.0]], &device).require_grad();
    let sum = lp_sum(z.clone(), 0.5);
    assert_eq!(floats(sum.clone()), [2.0, 0.0]);
    let gradient = floats(z.grad(&sum.sum().backward()).unwrap());
    assert_eq!(gradient, [0.0, 0.25, 0.0, 0.0]);
}

#[test]
fn impossible_trainings_are_refused() {
    let sae = SaeConfig::new(8, 24, Activation::Relu);
    let base = || SaeTrainingConfig::new(lp(0.1), rate(1e-3));
    for (config, message) in [
        (
            base().with_clip(Some(0.0)),
            "SaeTrainingConfig.clip = 0.0: must be finite and above 0",
        ),
        (
            base().with_dead(DeadRule::Tokens(0)),
            "SaeTrainingConfig.dead = Tokens(0): must be at least 1",
        ),
        (
            SaeTrainingConfig::new(lp(-1.0), rate(1e-3)),
            "needs finite numbers of at least 0",
        ),
        (
            SaeTrainingConfig::new(lp(0.1), rate(f64::NAN)),
            "RateSchedule.rate = NaN: must be finite and at least 0",
        ),
        (
            base().with_threshold(Some(ThresholdRule::Average { rate: 0.1 })),
            "needs a selecting activation",
        ),
    ] {
        assert!(text(config.validate(&sae)).contains(message), "{message}");
    }
    let plain = sae.init(&device()).unwrap();
    let error = SaeTrainer::new(plain, base(), Seed(0)).map(|_| ());
    assert!(text(error).contains("initialise it on `device.autodiff()`"));
}

#[test]
fn a_stream_that_ends_early_or_is_of_another_width_is_an_error() {
    let batches = |width: usize| {
        let rows = Rows::new(width, vec![0.5; width * 64]).unwrap();
        let source = RowSource::new(rows, 32, 1).unwrap();
        ActivationBuffer::new(source, &BufferConfig::new(64, 32), Seed(0)).unwrap()
    };
    let new = || {
        trainer(
            Activation::Relu,
            SaeTrainingConfig::new(lp(0.1), rate(1e-3)),
        )
    };
    let error = SaeRun::new(new(), batches(6)).map(|_| ());
    assert_eq!(
        text(error),
        "width of the activations is 6: must be d_in, 8"
    );
    let folder = tempfile::tempdir().unwrap();
    let run = Run::create(&folder.path().join("run"), &1, false).unwrap();
    let mut procedure = SaeRun::new(new(), batches(8)).unwrap();
    let error = run.fit(&mut procedure, &FitConfig::new(5), &Progress::silent());
    assert!(text(error.map(|_| ())).contains("ended before the last step"));
}

#[test]
fn quality_of_two_halves_is_that_of_the_whole() {
    let device = device();
    let sae = SaeConfig::new(8, 24, Activation::Relu)
        .init(&device)
        .unwrap();
    let x = normal([40, 8], &device);
    let whole = quality(&sae, x.clone(), 40).unwrap();
    let halves = quality(&sae, x, 20).unwrap();
    for (a, b) in [
        (whole.l0, halves.l0),
        (whole.fvu, halves.fvu),
        (whole.cosine, halves.cosine),
        (whole.relative_bias, halves.relative_bias),
        (
            whole.explained_variance_of_residual,
            halves.explained_variance_of_residual,
        ),
    ] {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert_eq!(whole.density, halves.density);
    assert_eq!(whole.density_histogram(5).iter().sum::<usize>(), 24);
}
