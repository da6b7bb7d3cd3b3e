//! g-SAE: refusals, selection, weights, the procedural task.

use crate::{device, floats, normal, text};
use burn::{module::Module, tensor::Tensor};
use menagerie_core::Seed;
use menagerie_sae::gradient_sae::{
    GradientSaeConfig, GradientSaeTrainer, GradientSaeTrainingConfig, GradientScale, attribution,
    procedural::TaskConfig, standardise, weights,
};
use menagerie_train::initialise;

#[test]
fn published_sizes_have_the_published_parameter_counts() {
    assert_eq!(GradientSaeConfig::gpt2_small().parameters(), 37_774_080);
    assert_eq!(GradientSaeConfig::gpt2_small_32k().parameters(), 50_365_184);
    for config in [GradientSaeConfig::small(4), GradientSaeConfig::gpt2_small()] {
        let sae = config.init(&device()).unwrap();
        // One number is estimated, not trained.
        assert_eq!(sae.num_params() - 1, config.parameters());
    }
}

#[test]
fn nonsense_is_refused() {
    let config = GradientSaeConfig::new(8, 16, 3);
    for (config, message) in [
        (
            GradientSaeConfig::new(8, 16, 17),
            "GradientSaeConfig.k = 17: must be at least 1 and at most d_sae, 16",
        ),
        (
            config.clone().with_beta(f64::INFINITY),
            "GradientSaeConfig.beta = inf: must be finite and at least 0",
        ),
    ] {
        assert_eq!(text(config.init(&device())), message);
    }
    let sae = config.init(&device()).unwrap();
    let x = normal([4, 8], &device());
    let short = normal([3, 8], &device());
    assert_eq!(
        text(sae.encode(x.clone(), short)),
        "shape of the gradient is [3, 8]: must be that of x, [4, 8]"
    );
    let infinite = Tensor::full([4, 8], f32::NAN, &device());
    assert!(text(sae.encode(x, infinite)).contains("a gradient is NaN or infinite"));
    let training = GradientSaeTrainingConfig::new().with_batch(0);
    assert!(text(training.validate()).contains("batch = 0"));
}

#[test]
fn without_weight_or_gradient_it_is_topk() {
    let device = device();
    let x = normal([9, 8], &device);
    let g = normal([9, 8], &device);
    let config = GradientSaeConfig::new(8, 16, 3);
    let plain = config.clone().with_beta(0.0).init(&device).unwrap();
    let codes = |codes: menagerie_sae::sae::Codes| floats(codes.to_dense());
    let expected = codes(plain.encode_plain(x.clone()).unwrap());
    assert_eq!(codes(plain.encode(x.clone(), g.clone()).unwrap()), expected);
    let strong = config.with_beta(3.0).init(&device).unwrap();
    let zero = g.zeros_like();
    let topk = codes(strong.encode_plain(x.clone()).unwrap());
    assert_eq!(codes(strong.encode(x.clone(), zero).unwrap()), topk);
    // With a gradient it keeps others, with their own activations.
    let kept = codes(strong.encode(x.clone(), g).unwrap());
    assert_ne!(kept, topk);
    let h = floats(strong.sae.pre_activations(x).unwrap());
    for (&kept, &h) in kept.iter().zip(&h) {
        assert!(kept == 0.0 || (kept - h).abs() < 1e-5, "{kept} {h}");
    }
}

#[test]
fn a_standardised_gradient_does_not_depend_on_the_loss_scale() {
    let device = device();
    let g = normal([9, 8], &device);
    let unit = standardise(g.clone());
    let norms: Tensor<2> = unit.clone().square().sum_dim(1).sqrt();
    assert!((floats(norms.mean())[0] - 1.0).abs() < 1e-5);
    let config = GradientSaeConfig::new(8, 16, 3).with_gradient(GradientScale::UnitMeanNorm);
    let sae = config.init(&device).unwrap();
    let x = normal([9, 8], &device);
    let codes = |g| floats(sae.encode(x.clone(), g).unwrap().to_dense());
    assert_eq!(codes(g.clone() * 64.0), codes(g.clone()));
    assert_eq!(floats(standardise(g.zeros_like())), vec![0.0; 72]);
}

#[test]
fn the_gradient_is_a_constant_for_training() {
    let device = device().autodiff();
    let g = normal([5, 8], &device).require_grad();
    let sae = GradientSaeConfig::new(8, 16, 3).init(&device).unwrap();
    let a = attribution(g, sae.sae.decoder.val());
    assert!(!a.is_autodiff());
}

#[test]
fn weights_travel_by_their_official_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sae.safetensors");
    let config = GradientSaeConfig::new(8, 16, 3);
    let sae = config.init(&device()).unwrap();
    weights::save(&sae, &path).unwrap();
    let loaded = weights::load(&config, &path, &device()).unwrap();
    assert_eq!(
        floats(loaded.sae.encoder.val()),
        floats(sae.sae.encoder.val())
    );
    let wider = GradientSaeConfig::new(9, 16, 3);
    let error = text(weights::load(&wider, &path, &device()));
    assert!(
        error.contains("W_enc") && error.contains("[16, 8]"),
        "{error}"
    );
}

#[test]
fn the_gradient_of_the_task_is_that_of_its_loss() {
    let device = device();
    let task = TaskConfig::default().init(Seed(1), &device).unwrap();
    let data = task.sample(50, Seed(2));
    let x = data.x.clone().autodiff().require_grad();
    let log_p = burn::tensor::activation::log_softmax(x.clone().matmul(task.head.clone()), 1);
    let picked: Tensor<2> = log_p.gather(1, data.labels.unsqueeze_dim(1));
    let grads = picked.sum().neg().backward();
    let expected = floats(x.grad(&grads).unwrap());
    for (a, b) in floats(data.g).iter().zip(expected) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    let bad = TaskConfig {
        read: 100,
        ..TaskConfig::default()
    };
    assert!(text(bad.init(Seed(1), &device)).contains("at most the features"));
}

#[test]
fn training_lowers_the_loss_and_keeps_unit_vectors() {
    let device = device().autodiff();
    let task = TaskConfig::default()
        .init(Seed(1), &device.clone().without_autodiff())
        .unwrap();
    let data = task.sample(256, Seed(2));
    let config = GradientSaeConfig::new(32, 64, 4);
    let sae = initialise(&device, Seed(3), || config.init(&device)).unwrap();
    let training = GradientSaeTrainingConfig::small().with_learning_rate(3e-3);
    let mut trainer = GradientSaeTrainer::new(sae, &training, Seed(4)).unwrap();
    let step = |trainer: &mut GradientSaeTrainer, step: usize| {
        let (x, g) = (data.x.clone().autodiff(), data.g.clone());
        let scalars = trainer.step(step, x, g).unwrap();
        scalars.read().unwrap().get("loss").unwrap()
    };
    let first = step(&mut trainer, 0);
    let last = (1..80)
        .map(|index| step(&mut trainer, index))
        .last()
        .unwrap();
    assert!(last < 0.8 * first, "{first} to {last}");
    let norms = floats(trainer.model().unwrap().sae.decoder_norms());
    assert!(norms.iter().all(|norm| (norm - 1.0).abs() < 1e-2));
}
