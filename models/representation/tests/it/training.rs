//! The two parameter groups, and training steps.

use super::{device, floats, images};
use burn::{
    module::{Module, Param},
    nn::{Linear, LinearConfig},
    optim::GradientsParams,
    train::{InferenceStep, TrainStep},
};
use menagerie_representation::qlae::{QlaeConfig, TrainingConfig};

/// A weight and a bias outside, and a parameter inside of a field called `latent`.
#[derive(Module, Debug)]
struct Toy {
    layer: Linear,
    latent: Linear,
}

/// Adam with decoupled decay, as the paper's code writes it down.
struct Reference {
    value: f64,
    first: f64,
    second: f64,
    step: i32,
}

impl Reference {
    fn new(value: f32) -> Self {
        Self {
            value: value.into(),
            first: 0.0,
            second: 0.0,
            step: 0,
        }
    }

    fn update(&mut self, gradient: f64, clip: f64, decay: f64) {
        let (rate, gradient) = (0.01, gradient.clamp(-clip, clip));
        self.step += 1;
        self.first = 0.9 * self.first + 0.1 * gradient;
        self.second = 0.999 * self.second + 0.001 * gradient * gradient;
        let first = self.first / (1.0 - 0.9f64.powi(self.step));
        let second = self.second / (1.0 - 0.999f64.powi(self.step));
        self.value -= rate * (first / (second.sqrt() + 1e-8) + decay * self.value);
    }
}

#[test]
fn weights_are_clipped_and_decay_while_biases_and_codebooks_do_not() {
    let device = device().autodiff();
    let mut toy = Toy {
        layer: LinearConfig::new(1, 1).init(&device),
        latent: LinearConfig::new(1, 1).with_bias(false).init(&device),
    };
    let config = TrainingConfig::new()
        .with_learning_rate(0.01)
        .with_weight_decay(2.0);
    let mut optimizer = config.optimizer().unwrap();
    let read = |toy: &Toy| {
        let bias = toy.layer.bias.as_ref().map(Param::val).unwrap();
        [
            floats(toy.layer.weight.val())[0],
            floats(bias)[0],
            floats(toy.latent.weight.val())[0],
        ]
    };
    let mut references = read(&toy).map(Reference::new);
    // Clipping shows in the moments as soon as gradients differ in size.
    for slope in [100.0, -0.5, 3.0] {
        let bias = toy.layer.bias.as_ref().map(Param::val).unwrap();
        let loss =
            (toy.layer.weight.val().sum() + bias.sum() + toy.latent.weight.val().sum()) * slope;
        let gradients = GradientsParams::from_grads(loss.backward(), &toy);
        toy = optimizer.step(config.learning_rate, toy, gradients);
        let [weight, bias, codebook] = &mut references;
        weight.update(slope, 1.0, 2.0);
        bias.update(slope, f64::INFINITY, 0.0);
        codebook.update(slope, f64::INFINITY, 0.0);
        for (ours, reference) in read(&toy).iter().zip(&references) {
            assert!(
                (f64::from(*ours) - reference.value).abs() < 1e-6,
                "{ours} {}",
                reference.value
            );
        }
    }
}

#[test]
fn codebooks_learn_from_the_quantisation_loss_alone() {
    let device = device().autodiff();
    let mut config = QlaeConfig::small_mlp();
    for (weight, learns) in [(0.0, false), (0.01, true)] {
        config.weights.quantization = weight;
        let model = config.init(&device).unwrap();
        let (loss, _) = model.loss(images([4, 1, 16, 16], 0, &device));
        let gradients = loss.total.mean().backward();
        let gradient = model.latent.values.val().grad(&gradients);
        let moved = gradient.is_some_and(|gradient| floats(gradient).iter().any(|&g| g != 0.0));
        assert_eq!(moved, learns);
    }
    config.trainable_values = false;
    let model = config.init(&device).unwrap();
    let (loss, _) = model.loss(images([4, 1, 16, 16], 0, &device));
    let gradients = loss.total.mean().backward();
    assert!(model.latent.values.val().grad(&gradients).is_none());
}

#[test]
fn a_few_steps_improve_the_reconstruction() {
    for config in [QlaeConfig::small_mlp(), QlaeConfig::small_conv()] {
        let device = device().autodiff();
        let training = TrainingConfig::small();
        let batch = images([8, 1, 16, 16], 5, &device).greater_elem(0.8).float();
        let mut model = config.init(&device).unwrap();
        let mut optimizer = training.optimizer().unwrap();
        let before = InferenceStep::step(&model, batch.clone()).read().unwrap();
        for _ in 0..30 {
            let output = TrainStep::step(&model, batch.clone());
            model = optimizer.step(training.learning_rate, model, output.grads);
        }
        let after = InferenceStep::step(&model.valid(), batch.without_autodiff())
            .read()
            .unwrap();
        for name in ["bce", "mse"] {
            assert!(
                after.get(name) < before.get(name),
                "{name}: {before} to {after}"
            );
        }
    }
}
