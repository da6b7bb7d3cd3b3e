//! local-reg-nde: counts, the chain's own gradients against the plain ones, adjoints and regularisers
//! of every model, training with resume, weights.

mod refusals;
mod training;

use crate::device;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_nn::noise::draw_normal;
use menagerie_nn::ode::{
    Adjoint as _, Cotangent, Estimate, Field, Keep, ModuleField, Outputs, Probe, Request, Stages,
    Step, Tsit5, discrete,
};
use menagerie_series::local_reg_nde::{
    Adjoint, ConvNodeConfig, Kind, Labelled, LatentOdeConfig, Learning, NeuralOde, NodeConfig,
    NsdeConfig, Precision, RegularizerConfig, Sampling, Scope, SolverConfig, TimeChain, Trainable,
    TrainingConfig,
};
use menagerie_train::initialise;

fn tiny(layers: usize) -> NodeConfig {
    NodeConfig::new(7, 5, SolverConfig::new(1e-6))
        .with_classes(3)
        .with_layers(layers)
}

fn init(config: &NodeConfig, device: &Device) -> NeuralOde {
    initialise(device, Seed(4), || config.init(device)).unwrap()
}

fn draw(shape: [usize; 2], seed: u64, device: &Device) -> Tensor<2> {
    draw_normal(shape, Seed(seed), &device.clone().without_autodiff()).cast(DType::F64)
}

fn batch(device: &Device) -> Labelled<2> {
    let device = &device.clone().without_autodiff();
    Labelled {
        images: draw_normal([6, 7], Seed(8), device),
        labels: Tensor::from_data(TensorData::from([0i64, 1, 2, 2, 1, 0]), device),
    }
}

fn learning(regularizer: RegularizerConfig) -> Learning {
    Learning {
        regularizer,
        weight: 1.0,
        adjoint: Adjoint::Discrete,
        time: 0.37,
        step: 200,
        seed: Seed(2),
    }
}

fn largest<const D: usize>(x: Tensor<D>) -> f64 {
    let values = x.inner().cast(DType::F64).into_data();
    values.iter::<f64>().fold(0.0, |most, x| most.max(x.abs()))
}

fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f64 {
    largest(a - b.clone()) / largest(b).max(1e-300)
}

/// How far apart gradients of a chain are, of each parameter beside its largest.
fn chains_apart(chain: &TimeChain, a: &GradientsParams, b: &GradientsParams) -> f64 {
    let mut most: f64 = 0.0;
    for layer in [&chain.first, &chain.last].into_iter().chain(&chain.middle) {
        let [a, b] = [a, b].map(|all| {
            let weight = all.get::<2>(layer.weight.id).unwrap();
            (weight, all.get::<1>(layer.bias.id).unwrap())
        });
        most = most.max(apart(a.0, b.0)).max(apart(a.1, b.1));
    }
    most
}

#[test]
fn published_models_have_their_parameters() {
    let device = device();
    let mnist = NodeConfig::mnist().init(&device).unwrap();
    // 785 · 100 + 100 + 101 · 784 + 784 + 784 · 10 + 10.
    assert_eq!(mnist.num_params(), 166_418);
    let sde = NsdeConfig::mnist().init(&device).unwrap();
    // 784 · 32 + 32, 32 · 64 + 64, 64 · 32 + 32, 32 · 32 + 32, 32 · 10 + 10.
    assert_eq!(sde.num_params(), 25_120 + 2_112 + 2_080 + 1_056 + 330);
    let latent = LatentOdeConfig::physionet().init(&device).unwrap();
    // Three gates of 175 · 40 + 40 and of 40 to 50, 50 and 100; 100 to 50 to 40; four times 20 to 40
    // to 20; 20 to 37.
    let gates = 3 * (175 * 40 + 40) + 2 * (40 * 50 + 50) + 40 * 100 + 100;
    let posterior = 100 * 50 + 50 + 50 * 40 + 40;
    let dynamics = 4 * (20 * 40 + 40 + 40 * 20 + 20);
    let expected = gates + posterior + dynamics + 20 * 37 + 37;
    assert_eq!(latent.num_params(), expected);
    let conv = ConvNodeConfig::cifar10().init(&device).unwrap();
    // 3 to 5, the norm of 8 channels; 9 to 64, 65 to 64, 65 to 8 without bias, two norms of 64; 8 to 1;
    // 1024 to 10. Running statistics count as parameters do.
    let augment = 27 * 5 + 5 + 4 * 8;
    let dynamics = 81 * 64 + 585 * 64 + 585 * 8 + 2 * 4 * 64;
    let expected = augment + dynamics + 72 + 1 + 10_250;
    assert_eq!(conv.num_params(), expected);
}

#[test]
fn the_chain_s_slopes_are_those_of_its_layers() {
    let device = device();
    for layers in [1, 2, 3] {
        let model = init(&tiny(layers), &device);
        let chain = &model.dynamics;
        let field = chain.field();
        let plain = ModuleField::new(chain, |chain: &TimeChain, u, t| chain.forward(u, t));
        let u = draw([4, 7], 1, &device);
        let place = field.place(u.clone());
        let slope = field.slope(&place, &[], 0.3);
        let expected = chain.forward(u.clone(), 0.3);
        assert!(apart(field.sum(&[(1.0, &slope)]), expected.clone()) < 1e-12);
        let step = Step::take(&field, &place, slope, 0.3, 0.2);
        let other = Step::take(&plain, &u, expected, 0.3, 0.2);
        assert!(apart(step.to.state().clone(), other.to.clone()) < 1e-12);
        let error = field.sum(&step.error_terms());
        assert!(largest(error - plain.sum(&other.error_terms())) < 1e-14);
        let solver = Tsit5::with_both(1e-7);
        let run = solver.solve(&field, u.clone(), [0.0, 1.0], Request::default());
        let one = run.unwrap();
        let run = solver.solve(&plain, u, [0.0, 1.0], Request::default());
        let two = run.unwrap();
        assert_eq!(one.attempts.len(), two.attempts.len());
        assert!(apart(one.end.state().clone(), two.end) < 1e-12);
    }
}

#[test]
fn the_chain_s_gradients_are_those_of_its_layers() {
    let tracked = device().autodiff();
    for layers in [1, 2, 3] {
        let model = init(&tiny(layers), &tracked);
        let chain = &model.dynamics;
        let field = chain.field();
        let plain = ModuleField::new(chain, |chain: &TimeChain, u, t| chain.forward(u, t));
        let u = draw([4, 7], 1, &tracked);
        let place = field.place(u.clone());
        let step = Step::take(&field, &place, field.slope(&place, &[], 0.3), 0.3, 0.4);
        let other = Step::take(&plain, &u, plain.slope(&u, &[], 0.3), 0.3, 0.4);
        let cotangents = [
            Cotangent::after(draw([4, 7], 2, &tracked), 0.4),
            Cotangent {
                value: draw([4, 7], 3, &tracked),
                state: 0.5,
                slopes: [0.2, -0.1, 0.0, 0.4, 0.0, 0.3, -0.7],
            },
        ];
        // With one slope, with those of the solution and with all; from the first, and from later.
        for (count, first) in [(1, 0), (6, 0), (7, 0), (7, 1)] {
            let mut cotangents = cotangents.clone();
            for cotangent in &mut cotangents {
                cotangent.slopes[count..].fill(0.0);
            }
            let (mut sum, mut expected) = (field.zero(), plain.zero());
            let stages = Stages {
                from: &place,
                t: 0.3,
                dt: 0.4,
                slopes: &step.slopes[..count],
            };
            let by_state = field.pull_back(&stages, &cotangents, first, &mut sum);
            let stages = Stages {
                from: &u,
                t: 0.3,
                dt: 0.4,
                slopes: &other.slopes[..count],
            };
            let state = plain.pull_back(&stages, &cotangents, first, &mut expected);
            assert!(apart(by_state, state) < 1e-11);
            let (found, expected) = (field.gradients(sum), plain.gradients(expected));
            let off = chains_apart(chain, &found, &expected);
            assert!(off < 1e-11, "{layers} layers, {count} from {first}: {off}");
        }
        // A whole solve.
        let request = Request {
            save_at: &[0.4],
            keep: Keep::States,
            ..Request::default()
        };
        let solver = Tsit5::with_both(1e-5);
        let outputs = || Outputs {
            end: Some(draw([4, 7], 5, &tracked)),
            saved: vec![draw([4, 7], 6, &tracked)],
        };
        let (mut sum, mut expected) = (field.zero(), plain.zero());
        let one = solver
            .solve(&field, u.clone(), [0.0, 1.0], request)
            .unwrap();
        let by_first = discrete(&field, &one, outputs(), None, &mut sum).unwrap();
        let two = solver.solve(&plain, u, [0.0, 1.0], request).unwrap();
        let first = discrete(&plain, &two, outputs(), None, &mut expected).unwrap();
        assert!(apart(by_first, first) < 1e-10);
        let (found, expected) = (field.gradients(sum), plain.gradients(expected));
        assert!(chains_apart(chain, &found, &expected) < 1e-10);
    }
}

/// Loss and weighted regulariser of a model whose first weight has moved by `way`.
fn objective(model: &NeuralOde, way: f64, learning: &Learning) -> f64 {
    let mut moved = model.clone();
    let weight = moved.dynamics.first.weight.clone();
    let tensor = weight.val();
    let at = tensor.clone().slice([2..3, 1..2]) + way;
    let tensor = tensor.slice_assign([2..3, 1..2], at);
    moved.dynamics.first.weight = weight.map(|_| tensor);
    let device = moved.devices()[0].clone();
    let learned = moved
        .fork(&device.autodiff())
        .learn(&batch(&crate::device()), learning);
    learned.unwrap().numbers.get("loss").unwrap()
}

#[test]
fn every_regulariser_has_the_slope_of_its_value() {
    let device = device();
    let solver = SolverConfig::new(1e-3);
    let config = tiny(1);
    let config = NodeConfig { solver, ..config };
    let model = init(&config, &device);
    let tracked = model.clone().fork(&device.clone().autodiff());
    let all = [
        (RegularizerConfig::vanilla(), 1.0),
        (RegularizerConfig::global_error(), 50.0),
    ];
    for (regularizer, weight) in all {
        let learning = Learning {
            weight,
            ..learning(regularizer)
        };
        let learned = tracked.learn(&batch(&device), &learning).unwrap();
        let id = tracked.dynamics.first.weight.id;
        let gradient = learned.gradients.get::<2>(id).unwrap();
        let found = gradient.slice([2..3, 1..2]).into_scalar::<f64>();
        let way = 1e-6;
        let [up, down] = [way, -way].map(|way| objective(&model, way, &learning));
        let expected = (up - down) / (2.0 * way);
        // Lengths of steps are constants to the gradient, but not to the difference.
        let off = (found / expected - 1.0).abs();
        let allowed = if regularizer.scope == Scope::Vanilla {
            2e-3
        } else {
            0.15
        };
        assert!(off < allowed, "{regularizer:?}: {found}, not {expected}");
    }
    // A sum over steps is as many times their mean as there are steps, and so is its slope.
    let [vanilla, mean, sum] = [
        RegularizerConfig::vanilla(),
        RegularizerConfig::global_error(),
        RegularizerConfig::global_error().with_mean(false),
    ]
    .map(|regularizer| {
        let learned = tracked
            .learn(&batch(&device), &learning(regularizer))
            .unwrap();
        let gradient = learned.gradients.get::<2>(tracked.dynamics.first.weight.id);
        let slope = gradient.unwrap().slice([2..3, 1..2]).into_scalar::<f64>();
        (learned.numbers.get("regularizer").unwrap_or(0.0), slope)
    });
    // The slope of the largest estimate of stiffness is that of one step, which has a test of its own;
    // that it is not a difference of solves, whose steps move, goes for it even more.
    let stiff = RegularizerConfig::global_stiffness();
    let learned = tracked.learn(&batch(&device), &learning(stiff)).unwrap();
    let gradient = learned.gradients.get::<2>(tracked.dynamics.first.weight.id);
    let slope = gradient.unwrap().slice([2..3, 1..2]).into_scalar::<f64>();
    assert!((slope - vanilla.1).abs() > 1e-6, "{slope}, {}", vanilla.1);
    let steps = sum.0 / mean.0;
    assert!(steps > 1.5, "{steps} steps");
    let of_sum = (sum.1 - vanilla.1) / (mean.1 - vanilla.1);
    assert!((of_sum / steps - 1.0).abs() < 1e-5, "{of_sum}, not {steps}");
}

#[test]
fn local_regularisers_are_the_probe_of_their_time() {
    let tracked = device().autodiff();
    let model = init(&tiny(1), &tracked);
    let field = model.dynamics.field();
    let solver = Tsit5::with_both(1e-6);
    let images = batch(&tracked).images;
    let u = images.clone().cast(DType::F64);
    let request = Request {
        keep: Keep::Slopes,
        ..Request::default()
    };
    let solution = solver.solve(&field, u, [0.0, 1.0], request).unwrap();
    for kind in [Kind::Error, Kind::Stiffness] {
        for sampling in [Sampling::Unbiased, Sampling::Biased] {
            let regularizer = RegularizerConfig::new()
                .with_kind(kind)
                .with_sampling(sampling);
            let learning = learning(regularizer);
            let found = model.forward_train(images.clone(), &learning).unwrap();
            // The time does not change the steps.
            assert_eq!(found.solution.attempts.len(), solution.attempts.len());
            let (place, t) = match sampling {
                Sampling::Unbiased => (solution.at(&field, 0.37).unwrap(), 0.37),
                Sampling::Biased => {
                    let steps = solution.taken.len();
                    assert!(steps > 2);
                    let taken = &solution.taken[(0.37 * steps as f64) as usize];
                    (taken.from.clone(), taken.t)
                }
            };
            let probe = Probe::take(&solver, &field, place, [t, 1.0]).unwrap();
            let of = |estimate: Estimate| {
                estimate.of(&field, &probe.from, &probe.step, solver.tolerance)
            };
            let expected = of(kind.local());
            assert!(expected > 0.0 && (found.value / expected - 1.0).abs() < 1e-6);
            // Its gradients come on top of the loss's.
            let with = model.learn(&batch(&tracked), &learning).unwrap();
            let vanilla = super::local_reg_nde::learning(RegularizerConfig::vanilla());
            let without = model.learn(&batch(&tracked), &vanilla).unwrap();
            let mut sum = field.zero();
            probe.pull_back(kind.local(), &field, solver.tolerance, 1.0, true, &mut sum);
            let alone = field.gradients(sum);
            let id = model.dynamics.last.weight.id;
            let [with, without, alone] =
                [&with.gradients, &without.gradients, &alone].map(|all| all.get::<2>(id).unwrap());
            assert!(apart(with - without, alone) < 1e-5);
        }
    }
}

#[test]
fn both_adjoints_agree_on_every_ordinary_model() {
    let tracked = device().autodiff();
    let continuous = |regularizer| Learning {
        adjoint: Adjoint::Continuous,
        ..learning(regularizer)
    };
    let regularizer = RegularizerConfig::new();
    let config = NodeConfig {
        solver: SolverConfig::new(1e-8),
        ..tiny(1)
    };
    let model = init(&config, &tracked);
    let one = model
        .learn(&batch(&tracked), &learning(regularizer))
        .unwrap();
    let two = model
        .learn(&batch(&tracked), &continuous(regularizer))
        .unwrap();
    let chain = &model.dynamics;
    assert!(chains_apart(chain, &one.gradients, &two.gradients) < 1e-4);
    assert!(two.numbers.get("evaluations of the adjoint").unwrap() > 10.0);

    let config = ConvNodeConfig::new(6, SolverConfig::new(1e-8))
        .with_state(4)
        .with_hidden(3)
        .with_classes(2)
        .with_precision(Precision::Double);
    let model = initialise(&tracked, Seed(1), || config.init(&tracked)).unwrap();
    let plain = device();
    let images = draw_normal([3, 3, 6, 6], Seed(3), &plain);
    let labels = Tensor::from_data(TensorData::from([0i64, 1, 1]), &plain);
    let images = Labelled { images, labels };
    let vanilla = RegularizerConfig::vanilla();
    let one = model.learn(&images, &learning(vanilla)).unwrap();
    let two = model.learn(&images, &continuous(vanilla)).unwrap();
    let of = |all: &GradientsParams| {
        let (second, augment) = (model.dynamics.second.weight.id, model.augment.weight.id);
        (
            all.get::<4>(second).unwrap(),
            all.get::<4>(augment).unwrap(),
        )
    };
    let (one, two) = (of(&one.gradients), of(&two.gradients));
    assert!(apart(two.0, one.0) < 1e-4);
    assert!(apart(two.1, one.1) < 1e-4);
}

#[test]
fn the_paper_s_training_is_as_published() {
    let ode = TrainingConfig::mnist(RegularizerConfig::mnist_error());
    assert_eq!([ode.steps, ode.batch], [7_500, 512]);
    assert_eq!(ode.regularizer.weight_at(0, 7_500), 2.5);
    assert!((ode.regularizer.weight_at(3_750, 7_500) - 2.5f64.sqrt()).abs() < 1e-12);
    assert!((ode.regularizer.weight_at(7_500, 7_500) - 1.0).abs() < 1e-12);
    let sde = TrainingConfig::mnist_sde(RegularizerConfig::mnist_sde());
    assert!((sde.rate_at(1_000) - 0.01 / 1.01).abs() < 1e-15);
    let cifar = TrainingConfig::cifar10(RegularizerConfig::cifar10());
    assert!((cifar.rate_at(31_250) - 1e-4).abs() < 1e-15);
    assert_eq!(cifar.rate_at(0), 3e-3);
    TrainingConfig::physionet(RegularizerConfig::physionet())
        .validate()
        .unwrap();
}
