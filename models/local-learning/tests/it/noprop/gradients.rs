//! Where gradients go, and where they do not.

use super::*;
use burn::module::Module;
use burn::optim::GradientsParams;
use menagerie_local_learning::noprop::{
    Adjoint, AdjointConfig, BackpropConfig, CtDraws, DtNoise, FmDraws, Learner, NoPropDt,
    objective::classification,
};
use menagerie_train::parameters;

/// The paths of the parameters that have a gradient.
fn reached<M: Module>(model: &M, gradients: &GradientsParams) -> Vec<String> {
    use burn::module::{ModuleVisitor, Param};
    struct Reached<'a> {
        gradients: &'a GradientsParams,
        at: usize,
        found: Vec<usize>,
    }
    impl ModuleVisitor for Reached<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.gradients.get::<D>(param.id).is_some() {
                self.found.push(self.at);
            }
            self.at += 1;
        }
    }
    let mut visitor = Reached {
        gradients,
        at: 0,
        found: Vec::new(),
    };
    model.visit(&mut visitor);
    let paths = parameters(model);
    let found = visitor.found.into_iter();
    found.map(|at| paths[at].0.clone()).collect()
}

#[test]
fn a_step_of_a_block_reaches_no_other_block() {
    let device = device().autodiff();
    for embedding in EMBEDDINGS {
        let config = DtConfig::new(tiny(embedding)).with_steps(3);
        let model = config.init(&device).unwrap();
        for block in 0..3 {
            let (gradients, _) = model
                .gradients(&batch(6, 1, &device), block, Seed(7))
                .unwrap();
            let reached = reached(&model, &gradients);
            let own = format!("blocks.{block}.");
            let trained = parameters(&model)
                .into_iter()
                .map(|(path, _)| path)
                .filter(|path| path.starts_with(&own) && !path.contains("running_"));
            // Everything in the block, nothing in the others.
            for path in trained {
                assert!(reached.contains(&path), "{path} has no gradient");
            }
            let others = reached.iter().filter(|path| !path.starts_with(&own));
            let others: Vec<&str> = others.map(String::as_str).collect();
            let wanted: &[&str] = match embedding {
                Embedding::OneHot => &["readout.head.weight", "readout.head.bias"],
                _ => &["readout.embed", "readout.head.weight", "readout.head.bias"],
            };
            assert_eq!(others, wanted, "{embedding:?}");
        }
    }
}

/// The loss of a block's step, and its gradients.
fn step_of<M: Learner>(model: &M, block: usize, device: &Device) -> (f64, Vec<f32>) {
    let (gradients, scalars) = model
        .gradients(&batch(6, 1, device), block, Seed(7))
        .unwrap();
    let loss = scalars.read().unwrap().get("loss").unwrap();
    (loss, flat(model, &gradients))
}

#[test]
fn a_step_of_a_block_does_not_read_other_blocks() {
    let device = device().autodiff();
    let network = tiny(Embedding::Learned);
    let config = DtConfig::new(network.clone()).with_steps(3);
    let model = initialise(&device, Seed(4), || config.init(&device)).unwrap();
    let other = initialise(&device, Seed(5), || config.init(&device)).unwrap();
    for block in 0..3 {
        // All other blocks are others: nothing of the step differs, to the last bit.
        let mut changed = model.clone();
        for at in (0..3).filter(|at| *at != block) {
            changed.adopt(at, &other).unwrap();
        }
        let [before, after] = [&model, &changed].map(|model| step_of(model, block, &device));
        assert_eq!(before, after);
        // The block itself matters.
        let mut changed = model.clone();
        changed.adopt(block, &other).unwrap();
        assert_ne!(before, step_of(&changed, block, &device));
    }
    // Back-propagation through the same blocks, by the same test, depends on all of them.
    let config = BackpropConfig::new(network).with_steps(3);
    let model = initialise(&device, Seed(4), || config.init(&device)).unwrap();
    let other = initialise(&device, Seed(5), || config.init(&device)).unwrap();
    for block in 0..3 {
        let mut changed = model.clone();
        changed.blocks[block] = other.blocks[block].clone();
        let [before, after] = [&model, &changed].map(|model| step_of(model, 0, &device));
        assert_ne!(before.0, after.0);
    }
}

#[test]
fn back_propagation_reaches_every_block() {
    let device = device().autodiff();
    let config = BackpropConfig::new(tiny(Embedding::OneHot)).with_steps(3);
    let model = config.init(&device).unwrap();
    let (gradients, _) = model.gradients(&batch(6, 1, &device), 0, Seed(7)).unwrap();
    let reached = reached(&model, &gradients);
    for block in 0..3 {
        let path = format!("blocks.{block}.image.conv1.weight");
        assert!(reached.contains(&path), "{reached:?}");
    }
    assert!(reached.contains(&"w".to_owned()));
}

#[test]
fn a_step_leaves_other_blocks_as_they_are() {
    let device = device().autodiff();
    let config = DtConfig::new(tiny(Embedding::Learned)).with_steps(3);
    let mut model = config.init(&device).unwrap();
    let mut optimiser = model.optimiser(&training::settings()).unwrap();
    let everything = |model: &NoPropDt, block: usize| {
        let block = menagerie_hub::values(&model.blocks[block]);
        format!("{block:?}")
    };
    // Neither decay, nor the moments of earlier steps, nor batch statistics move a block whose turn
    // it is not.
    for turn in [0, 1, 2, 0, 2, 1] {
        let before: Vec<String> = (0..3).map(|block| everything(&model, block)).collect();
        let (gradients, _) = model
            .gradients(&batch(6, 1, &device), turn, Seed(7))
            .unwrap();
        model = optimiser.step(0.1, model, gradients);
        for (block, before) in before.iter().enumerate() {
            let moved = &everything(&model, block) != before;
            assert_eq!(moved, block == turn, "block {block} in the turn of {turn}");
        }
    }
}

#[test]
fn the_label_is_not_read_off_its_noise() {
    // Block 1 sees almost no label: what it says depends on the image alone, up to the noise.
    let device = device();
    let config = DtConfig::new(tiny(Embedding::OneHot)).with_steps(3);
    let model = config.init(&device).unwrap();
    let noise = DtNoise::draw([6, 3], Seed(1), &device);
    let first = batch(6, 1, &device);
    let mut second = first.clone();
    second.labels.rotate_left(1);
    let says = |batch: &Labelled, block: usize| {
        let loss = model.loss(block, batch, noise.clone(), Mode::Evaluate);
        loss.unwrap().before
    };
    assert!(distance(says(&first, 0), says(&second, 0)) < 0.02);
    assert!(distance(says(&first, 2), says(&second, 2)) > 0.5);
}

#[test]
fn the_weight_of_an_error_grows_with_the_signal() {
    let device = device();
    let config = DtConfig::new(tiny(Embedding::OneHot)).with_steps(4);
    let model = config.init(&device).unwrap();
    let noise = DtNoise::draw([6, 3], Seed(1), &device);
    let batch = batch(6, 1, &device);
    let rises = model.schedule().snr_rise();
    for (block, rise) in rises.iter().enumerate() {
        let loss = model
            .loss(block, &batch, noise.clone(), Mode::Evaluate)
            .unwrap();
        let u = model
            .readout
            .embeddings()
            .select(0, Tensor::from_ints([0i64, 1, 2, 0, 1, 2], &device));
        // Summed over the width, averaged over the batch.
        let error = (loss.estimate - u).square().sum().into_scalar::<f32>() / 6.0;
        let wanted = 2.0 * 0.1 * *rise as f32 * error;
        let found = values(loss.denoising)[0];
        assert!((found / wanted - 1.0).abs() < 1e-4, "{found} {wanted}");
    }
}

/// The gradients of all parameters that have some, one after the other, in the order of the module.
fn flat<M: Module>(model: &M, gradients: &GradientsParams) -> Vec<f32> {
    use burn::module::{ModuleVisitor, Param};
    struct Flat<'a>(&'a GradientsParams, Vec<f32>);
    impl ModuleVisitor for Flat<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1.extend(values(gradient));
            }
        }
    }
    let mut visitor = Flat(gradients, Vec::new());
    model.visit(&mut visitor);
    visitor.1
}

/// How far `a` is from `b`, relative to the length of `b`.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let length = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    };
    let far = length(&mut a.iter().zip(b).map(|(a, b)| a - b));
    far / length(&mut b.iter().copied())
}

/// The adjoint method's loss, with the equation solved by the classical Runge-Kutta method, every
/// step of it on the autodiff graph.
fn solved_finely(model: &Adjoint, batch: &Labelled, start: Tensor<2>, steps: usize) -> Tensor<1> {
    let mode = Mode::Train(Seed(0));
    let features = model.block.features(batch.images.clone(), mode);
    let velocity = |z: Tensor<2>, time: f64| {
        let times = Tensor::full([z.dims()[0]], time as f32, &z.device());
        let scores = model.block.scores(features.clone(), z, times, mode);
        model.readout.combined(scores)
    };
    let size = 1.0 / steps as f64;
    let mut z = start;
    for step in 0..steps {
        let time = step as f64 * size;
        let first = velocity(z.clone(), time);
        let second = velocity(z.clone() + first.clone() * (0.5 * size), time + 0.5 * size);
        let third = velocity(z.clone() + second.clone() * (0.5 * size), time + 0.5 * size);
        let fourth = velocity(z.clone() + third.clone() * size, time + size);
        z = z + (first + (second + third) * 2.0 + fourth) * (size / 6.0);
    }
    let labels: Vec<i64> = batch.labels.iter().map(|label| *label as i64).collect();
    let labels = Tensor::from_ints(labels.as_slice(), &batch.images.device());
    classification(&model.readout, z, labels)
}

#[test]
fn the_adjoint_equation_has_the_gradient_of_the_exact_solution() {
    let device = device().autodiff();
    for embedding in [Embedding::OneHot, Embedding::Learned] {
        let network = tiny(embedding);
        let (batch, start) = (batch(6, 1, &device), normal([6, network.dim], 3, &device));
        let config = AdjointConfig::new(network).with_time_dim(4);
        let model = |steps: usize| {
            let config = config.clone().with_steps(steps);
            initialise(&device, Seed(5), || config.init(&device)).unwrap()
        };
        let exact = {
            let model = model(1);
            let loss = solved_finely(&model, &batch, start.clone(), 200);
            flat(
                &model,
                &GradientsParams::from_grads(loss.backward(), &model),
            )
        };
        let ours = |steps: usize| {
            let mode = Mode::Train(Seed(0));
            let model = model(steps);
            let (value, found) = model.gradients(&batch, start.clone(), mode).unwrap();
            // The value is that of the solver, whose steps are the same.
            let loss = model.loss(&batch, start.clone(), mode).unwrap();
            assert!((values(value)[0] - values(loss)[0]).abs() < 1e-5);
            flat(&model, &found)
        };
        // Euler's method errs by about a step: half the steps, twice the error, and what two of them
        // agree on without it is far nearer.
        // Euler's method errs by about a step, with some more or less where a ReLU switches on the
        // way.
        let errors = [8, 32, 128].map(|steps| relative(&ours(steps), &exact));
        let [rough, fine, finest] = errors;
        assert!(fine < rough / 2.0 && finest < rough / 8.0, "{errors:?}");
        assert!(finest < 1e-3, "{errors:?}");
    }
}

#[test]
fn everything_of_the_continuous_methods_learns() {
    let device = device().autodiff();
    let batch = batch(6, 1, &device);
    for embedding in EMBEDDINGS {
        let dim = tiny(embedding).dim;
        let model = CtConfig::new(tiny(embedding)).init(&device).unwrap();
        let draws = CtDraws::draw([6, dim], Seed(1), &device);
        let loss = model.loss(&batch, draws, Mode::Train(Seed(2))).unwrap();
        let gradients = GradientsParams::from_grads(loss.total.backward(), &model);
        let fixed = usize::from(embedding == Embedding::OneHot);
        let all = parameters(&model).len();
        assert_eq!(reached(&model, &gradients).len(), all - fixed);

        let model = FmConfig::new(tiny(embedding)).init(&device).unwrap();
        let draws = FmDraws::draw([6, dim], Seed(1), &device);
        let loss = model.loss(&batch, draws, Mode::Train(Seed(2))).unwrap();
        assert_eq!(loss.anchor.is_some(), embedding != Embedding::OneHot);
        let gradients = GradientsParams::from_grads(loss.total.backward(), &model);
        let all = parameters(&model).len();
        // Without an anchor the head is of no use.
        assert_eq!(reached(&model, &gradients).len(), all - 3 * fixed);
    }
}
