//! Where gradients go, and where they do not.

use super::*;
use burn::module::Module;
use burn::optim::GradientsParams;
use menagerie_local_learning::noprop::{
    AdjointConfig, BackpropConfig, CtDraws, DtNoise, FmDraws, Learner,
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
    let model = config.init(&device).unwrap();
    let settings = training::settings();
    let mut optimiser = model.optimiser(&settings).unwrap();
    let (gradients, _) = model.gradients(&batch(6, 1, &device), 1, Seed(7)).unwrap();
    let trained = optimiser.step(0.1, model.clone(), gradients);
    let weights = |model: &menagerie_local_learning::noprop::NoPropDt, block: usize| {
        values(model.blocks[block].fuse1.weight.val())
    };
    // Not even weight decay touches them.
    assert_eq!(weights(&trained, 0), weights(&model, 0));
    assert_eq!(weights(&trained, 2), weights(&model, 2));
    assert_ne!(weights(&trained, 1), weights(&model, 1));
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

#[test]
fn the_adjoint_equation_has_the_gradients_of_the_solver() {
    let device = device().autodiff();
    let config = AdjointConfig::new(tiny(Embedding::Learned)).with_time_dim(4);
    // Both err by about a step: the difference falls with it.
    let far = |steps: usize| {
        let config = config.clone().with_steps(steps);
        let model = initialise(&device, Seed(5), || config.init(&device)).unwrap();
        let (batch, start) = (batch(6, 1, &device), normal([6, 5], 3, &device));
        let mode = Mode::Train(Seed(0));
        let loss = model.loss(&batch, start.clone(), mode).unwrap();
        let (value, ours) = model.gradients(&batch, start, mode).unwrap();
        assert!((values(value)[0] - values(loss.clone())[0]).abs() < 1e-5);
        let theirs = GradientsParams::from_grads(loss.backward(), &model);
        let id = model.block.fuse1.weight.id;
        let ours = ours.get::<2>(id).unwrap();
        let theirs = theirs.get::<2>(id).unwrap();
        let size = theirs.clone().abs().max().into_scalar::<f32>();
        distance(ours, theirs) / size
    };
    let (rough, fine) = (far(5), far(40));
    assert!(fine < 0.05 && fine < 0.5 * rough, "{rough} {fine}");
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
