//! shallow: counts, forms, the expansion, training with resume, weights, refusals.

use crate::{device, text};
use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor, activation};
use menagerie_core::{Seed, device::seeded};
use menagerie_theory::shallow::{
    Activation, Form, LabelledImages, Objective, ResidualStack, ShallowConfig, TrainingConfig,
    evaluate, weights,
};
use menagerie_train::{FitConfig, Progress, Run, Sampler, Supervised, initialise};

fn tiny() -> ShallowConfig {
    tiny_of(3)
}

fn tiny_of(layers: usize) -> ShallowConfig {
    ShallowConfig::new(2, 6, layers, 4)
}

fn init(config: &ShallowConfig, device: &Device) -> ResidualStack {
    initialise(device, Seed(4), || config.init(device)).unwrap()
}

fn images(device: &Device) -> Tensor<4> {
    seeded(device, Seed(8), || {
        Tensor::random([3, 2, 6, 6], Distribution::Normal(0.0, 1.0), device)
    })
}

fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar::<f32>()
}

#[test]
fn forms_have_the_parameters_of_the_formula() {
    let device = device();
    for (config, expected) in [
        // 4 (9 + 1) + 4 · 4 (36 + 1) + 10 (4 · 784 + 1).
        (ShallowConfig::mnist(4, 4, 3), 32_002),
        // 8 (27 + 1) + 8 (72 + 1) + 10 (8 · 1024 + 1).
        (ShallowConfig::cifar10(1, 8, 3), 82_738),
        // 2 (16 + 1) + 2 · 2 (32 + 1) + 10 (2 · 784 + 1).
        (ShallowConfig::mnist(2, 2, 4), 15_856),
    ] {
        assert_eq!(config.parameters(), expected);
        for form in [Form::Sequential, Form::Parallel, Form::Plain] {
            let model = config.clone().with_form(form).init(&device).unwrap();
            assert_eq!(model.num_params(), expected);
        }
        let fused = config.init(&device).unwrap().fused_parallel();
        assert_eq!(fused.num_params(), expected);
    }
    let grid = ShallowConfig::mnist(1, 1, 1).grid();
    assert_eq!(grid.len(), 216);
    assert_eq!(grid.iter().filter(|config| config.layers == 32).count(), 36);
}

#[test]
fn a_single_layer_is_the_same_in_both_forms() {
    let device = device();
    let model = init(&tiny_of(1), &device);
    let x = images(&device);
    let deep = model.forward(x.clone()).unwrap();
    assert_eq!(
        distance(deep, model.to_parallel().forward(x.clone()).unwrap()),
        0.0
    );
    let gap: Vec<f32> = model.expansion_gap(x).unwrap().into_data().iter().collect();
    assert_eq!(gap, [0.0; 3]);
}

#[test]
fn orders_add_up_to_the_forms_of_linear_stacks() {
    let device = device();
    let x = images(&device);
    for kernel in [2, 3] {
        let config = tiny()
            .with_activation(Activation::Identity)
            .with_kernel(kernel);
        let model = init(&config, &device);
        let orders = model.orders(x.clone()).unwrap();
        assert_eq!(orders.len(), 4);
        let all = orders.iter().cloned().reduce(|a, b| a + b).unwrap();
        assert!(distance(all, model.features(x.clone()).unwrap()) < 1e-4);
        let first = orders[0].clone() + orders[1].clone();
        assert!(distance(first, model.to_parallel().features(x.clone()).unwrap()) < 1e-4);
        assert!(orders[3].clone().abs().max().into_scalar::<f32>() > 1e-2);
    }
}

#[test]
fn the_gap_closes_with_the_square_of_the_layers() {
    let device = device();
    let model = init(&tiny().with_activation(Activation::Tanh), &device);
    let x = images(&device);
    let gap = |factor: f64| {
        let mut model = model.clone();
        for layer in &mut model.layers {
            layer.weight = layer.weight.clone().map(|weight| weight * factor);
        }
        let gap: Vec<f32> = model
            .expansion_gap(x.clone())
            .unwrap()
            .into_data()
            .iter()
            .collect();
        gap.into_iter().sum::<f32>()
    };
    // The terms of second order beside those of first.
    let ratio = gap(0.02) / gap(0.01);
    assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
}

type Act = fn(Tensor<4>) -> Tensor<4>;

const ACTIVATIONS: [(Activation, Act); 4] = [
    (Activation::Relu, activation::relu),
    (Activation::Sigmoid, activation::sigmoid),
    (Activation::Tanh, activation::tanh),
    (Activation::Identity, |x| x),
];

/// The gradient through one wide convolution is that of the layers alone.
#[test]
fn every_layer_of_the_parallel_form_gets_its_gradient() {
    let tracked = device().autodiff();
    for (kind, act) in ACTIVATIONS {
        let model = init(&tiny().with_activation(kind), &tracked).to_parallel();
        let x = images(&tracked);
        let h = model.stem(x.clone()).unwrap();
        let terms = model
            .layers
            .iter()
            .map(|layer| act(layer.forward(h.clone())));
        let apart = h.clone() + terms.reduce(|a, b| a + b).unwrap();
        let gradients = |features: Tensor<4>| {
            let grads = features.square().mean().backward();
            menagerie_hub::gradients(&model, &grads)
        };
        let (apart, joint) = (gradients(apart), gradients(model.features(x).unwrap()));
        assert_eq!(joint.len(), apart.len());
        for (key, value) in &apart {
            if key.starts_with("layers.") || key.starts_with("stem.") {
                let largest = value.iter::<f32>().map(f32::abs).fold(0.0, f32::max);
                assert!(largest > 1e-4, "{kind:?} {key}: {largest}");
            }
            let off = joint[key].iter::<f32>().zip(value.iter::<f32>());
            let off = off.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{kind:?} {key}: {off}");
        }
    }
}

/// A stack on a device with autodiff can be fused too.
#[test]
fn the_fused_form_is_made_of_a_tracked_stack() {
    let tracked = device().autodiff();
    let model = init(&tiny(), &tracked);
    let x = images(&tracked);
    let fused = model.fused_parallel();
    let expected = model.to_parallel().forward(x.clone()).unwrap();
    let found = fused.forward(x).unwrap();
    assert!(distance(found.clone(), expected) < 1e-5);
    let grads = found.square().mean().backward();
    assert!(fused.wide.weight.val().grad(&grads).is_some());
    assert!(model.layers[0].weight.val().grad(&grads).is_none());
}

#[test]
fn a_silent_stack_leaves_nothing_out() {
    let device = device();
    let mut model = init(&tiny(), &device);
    for layer in &mut model.layers {
        layer.weight = layer.weight.clone().map(|weight| weight * 0.0);
    }
    let gap = model.expansion_gap(images(&device)).unwrap();
    assert_eq!(gap.into_data().iter::<f32>().collect::<Vec<_>>(), [0.0; 3]);
}

#[test]
fn one_convolution_stands_for_the_parallel_form() {
    let device = device();
    let x = images(&device);
    for (kind, act) in ACTIVATIONS {
        for kernel in [2, 3] {
            let config = tiny().with_activation(kind).with_kernel(kernel);
            let model = init(&config, &device).to_parallel();
            // The sum as it is written in the paper, layer by layer.
            let h = model.stem(x.clone()).unwrap();
            let terms = model
                .layers
                .iter()
                .map(|layer| act(layer.forward(h.clone())));
            let expected = h.clone() + terms.reduce(|a, b| a + b).unwrap();
            let found = model.features(x.clone()).unwrap();
            assert!(distance(found, expected.clone()) < 1e-5, "{kind:?}");
            let fused = model.fused_parallel();
            let found = fused.features(x.clone()).unwrap();
            assert!(distance(found, expected) < 1e-5, "{kind:?}");
            let found = fused.forward(x.clone()).unwrap();
            assert!(distance(found, model.forward(x.clone()).unwrap()) < 1e-5);
        }
    }
    let model = init(&tiny(), &device);
    let deep = model.forward(x.clone()).unwrap();
    let wide = model.to_parallel();
    assert!(distance(deep.clone(), wide.forward(x.clone()).unwrap()) > 1e-2);
    assert_eq!(
        distance(deep, wide.to_sequential().forward(x).unwrap()),
        0.0
    );
}

/// Images of two channels, the brighter one of which is the class; their mean is near 0, so that no start
/// is so sure of one class that the squared error of its probabilities has no slope.
fn examples() -> LabelledImages {
    let labels: Vec<usize> = (0..40).map(|at| at % 2).collect();
    let pixels = labels.iter().enumerate().flat_map(|(at, label)| {
        (0..72).map(move |p| {
            let bright = if p / 36 == *label { 0.5 } else { -0.5 };
            bright + ((p * 31 + at * 17) % 13) as f32 / 20.0 - 0.3
        })
    });
    LabelledImages::new(pixels.collect(), [2, 6, 6], labels).unwrap()
}

#[test]
fn every_form_trains_and_resumes_exactly() {
    let device = device();
    let tracked = device.clone().autodiff();
    let set = examples();
    let dir = tempfile::tempdir().unwrap();
    for form in [Form::Sequential, Form::Parallel, Form::Plain] {
        for objective in [Objective::CrossEntropy, Objective::SquaredError] {
            let config = tiny().with_form(form).with_classes(2);
            let training = TrainingConfig::new()
                .with_rate(3e-3)
                .with_objective(objective);
            let run = |folder: &str, steps: usize, resume: bool| {
                let model = init(&config, &tracked);
                let mut sampler = Sampler::shuffled(set.len(), 8, Seed(1)).unwrap();
                let batches =
                    |step: usize, to: &Device| Ok(set.batch(&sampler.indices(step), objective, to));
                let optimizer = training.optimizer().unwrap();
                let mut fit = Supervised::new(model, optimizer, training.rate, batches);
                let folder = dir.path().join(format!("{form:?}-{objective:?}-{folder}"));
                let run = Run::create(&folder, &training, resume).unwrap();
                run.fit(&mut fit, &FitConfig::new(steps), &Progress::silent())
                    .unwrap();
                fit.trained().unwrap()
            };
            let whole = run("whole", 40, false);
            run("parts", 20, false);
            let parts = run("parts", 40, true);
            assert_eq!(menagerie_hub::values(&whole), menagerie_hub::values(&parts));
            let before = evaluate(&init(&config, &device), &set, objective).unwrap();
            let after = evaluate(&whole, &set, objective).unwrap();
            let loss = |metrics: &menagerie_train::Metrics| metrics.get("loss").unwrap();
            assert!(loss(&after) < 0.2 * loss(&before), "{form:?} {objective:?}");
        }
    }
}

#[test]
fn files_round_trip_and_wrong_ones_are_refused() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stack.safetensors");
    let model = init(&tiny(), &device);
    weights::save(&model, &path).unwrap();
    let back = weights::load(&tiny().with_form(Form::Parallel), &path, &device).unwrap();
    let x = images(&device);
    let expected = model.to_parallel().forward(x.clone()).unwrap();
    assert_eq!(distance(back.forward(x).unwrap(), expected), 0.0);

    // A layer of another width in the middle of the stack.
    let mut state = menagerie_hub::StateDict::open(&path).unwrap();
    let wide = burn::tensor::TensorData::zeros::<f32, _>([5, 4, 3, 3]);
    state.insert("layers.1.weight", wide);
    let error = text(weights::from_state_dict(&tiny(), &state, &device));
    assert!(
        error.contains("layers.1.weight") && error.contains("[5, 4, 3, 3]"),
        "{error}"
    );
    let error = text(weights::load(&tiny_of(4), &path, &device));
    assert!(
        error.contains("layers.3.weight") && error.contains("layers.3.bias"),
        "{error}"
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = text(weights::load(&tiny(), &path, &device));
    assert!(error.contains("stack.safetensors"), "{error}");
}

#[test]
fn impossible_stacks_and_images_are_refused() {
    let device = device();
    assert_eq!(
        text(tiny().with_stride(2).init(&device)),
        "ShallowConfig.stride = 2: must be 1: the identity needs maps of one size"
    );
    assert_eq!(
        text(tiny_of(0).init(&device)),
        "ShallowConfig.layers = 0: must be at least 1"
    );
    assert_eq!(
        text(tiny().with_kernel(0).validate()),
        "ShallowConfig.kernel = 0: must be at least 1"
    );
    assert_eq!(
        text(TrainingConfig::new().with_rate(f64::NAN).optimizer()),
        "TrainingConfig.rate = NaN: must be finite and above 0"
    );
    assert_eq!(
        text(TrainingConfig::published().with_batch(0).validate()),
        "TrainingConfig.batch = 0: must be at least 1"
    );
    let model = init(&tiny(), &device);
    assert_eq!(
        text(model.forward(Tensor::zeros([1, 2, 6, 7], &device))),
        "images is [1, 2, 6, 7]: must be [batch, 2, 6, 6] with at least one image"
    );
    assert_eq!(
        text(
            model
                .fused_parallel()
                .forward(Tensor::zeros([0, 2, 6, 6], &device))
        ),
        "images is [0, 2, 6, 6]: must be [batch, 2, 6, 6] with at least one image"
    );
    let set = LabelledImages::new(vec![0.0; 144], [2, 6, 6], vec![9, 10]).unwrap();
    assert_eq!(
        text(evaluate(&model, &set, Objective::CrossEntropy)),
        "label 1 is 10: must be below 10, the number of classes"
    );
    assert_eq!(
        text(set.fits(&ShallowConfig::mnist(1, 1, 1))),
        "the images' shape is [2, 6, 6]: must be [1, 28, 28] for this stack"
    );
    assert_eq!(
        text(LabelledImages::new(vec![0.0; 71], [2, 6, 6], vec![0])),
        "the number of pixels is 71: must be 72 for each of 1 labels"
    );
}
