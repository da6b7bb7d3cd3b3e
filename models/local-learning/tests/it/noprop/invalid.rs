//! What is refused, in which words.

use super::*;
use menagerie_local_learning::noprop::{
    AdjointConfig, BackpropConfig, DtNoise, Training, TrainingConfig,
};

/// A tiny network with one change.
fn changed(embedding: Embedding, change: impl Fn(&mut NetworkConfig)) -> DtConfig {
    let mut network = tiny(embedding);
    change(&mut network);
    DtConfig::new(network)
}

#[test]
fn impossible_configurations_are_refused() {
    let good = tiny(Embedding::OneHot);
    let dt = |network: NetworkConfig| DtConfig::new(network);
    let cases: Vec<(menagerie_core::Result<()>, &str)> = vec![
        (
            dt(good.clone()).with_steps(0).validate(),
            "DtConfig.steps = 0: must be at least 1",
        ),
        (
            changed(Embedding::OneHot, |network| network.dim = 4).validate(),
            "NetworkConfig.dim = 4: must be 3, the number of classes, for one-hot embeddings",
        ),
        (
            changed(Embedding::Prototype, |network| network.dim = 63).validate(),
            "NetworkConfig.dim = 63: must be 64, the numbers of an image, for prototypes",
        ),
        (
            changed(Embedding::Learned, |network| network.dim = 0).validate(),
            "NetworkConfig.dim = 0: must be at least 1",
        ),
        (
            changed(Embedding::OneHot, |network| network.image = [1, 8, 10]).validate(),
            "NetworkConfig.image = [1, 8, 10]: needs channels, and sides that are divisible by 4",
        ),
        (
            changed(Embedding::OneHot, |network| network.classes = 1).validate(),
            "NetworkConfig.classes = 1: must be at least 2",
        ),
        (
            dt(good.clone().with_convs([3, 0, 5])).validate(),
            "NetworkConfig.convs = 0: must be at least 1",
        ),
        (
            dt(good.clone().with_dropout(1.0)).validate(),
            "NetworkConfig.dropout = 1.0: must be at least 0 and below 1",
        ),
        (
            dt(good.clone().with_sigma(0.0)).validate(),
            "NetworkConfig.sigma = 0.0: must be finite and above 0",
        ),
        (
            dt(good.clone()).with_eta(-0.1).validate(),
            "DtConfig.eta = -0.1: must be finite and at least 0",
        ),
        (
            dt(good.clone()).with_clip(0.5).validate(),
            "DtConfig.clip = 0.5: must be above 0 and below 0.5",
        ),
        (
            dt(good.clone()).with_clip(0.0).validate(),
            "DtConfig.clip = 0.0: must be above 0 and below 0.5",
        ),
        (
            CtConfig::new(good.clone())
                .with_gamma([5.0, -5.0])
                .validate(),
            "CtConfig.gamma = [5.0, -5.0]: must be finite and ascending, so that the signal grows \
             with time",
        ),
        (
            CtConfig::new(good.clone()).with_gamma_hidden(0).validate(),
            "CtConfig.gamma_hidden = 0: must be at least 1",
        ),
        (
            CtConfig::new(good.clone()).with_time_dim(7).validate(),
            "CtConfig.time_dim = 7: must be even and at least 2",
        ),
        (
            CtConfig::new(good.clone()).with_eta(f64::NAN).validate(),
            "CtConfig.eta = NaN: must be finite and at least 0",
        ),
        (
            FmConfig::new(good.clone()).with_sigma(-1.0).validate(),
            "FmConfig.sigma = -1.0: must be finite and at least 0",
        ),
        (
            FmConfig::new(good.clone())
                .with_inference_steps(0)
                .validate(),
            "FmConfig.inference_steps = 0: must be at least 1",
        ),
        (
            BackpropConfig::new(good.clone()).with_steps(0).validate(),
            "BackpropConfig.steps = 0: must be at least 1",
        ),
        (
            BackpropConfig::new(good.clone())
                .with_start(f64::INFINITY)
                .validate(),
            "BackpropConfig.start = inf: must be finite",
        ),
        (
            AdjointConfig::new(good).with_steps(0).validate(),
            "AdjointConfig.steps = 0: must be at least 1",
        ),
        (
            TrainingConfig::new().with_rate(0.0).validate(),
            "TrainingConfig.rate = 0.0: must be finite and above 0",
        ),
        (
            TrainingConfig::new().with_weight_decay(-1.0).validate(),
            "TrainingConfig.weight_decay = -1.0: must be finite and at least 0",
        ),
        (
            TrainingConfig::new().with_batch(0).validate(),
            "TrainingConfig.batch = 0: must be at least 1",
        ),
        (
            TrainingConfig::new().with_epochs(0).validate(),
            "TrainingConfig.epochs = 0: must be at least 1",
        ),
        (
            CosineSchedule::new(0, 0.1).map(|_| ()),
            "CosineSchedule.steps = 0: must be at least 1",
        ),
        (
            CosineSchedule::new(3, -0.1).map(|_| ()),
            "CosineSchedule.clip = -0.1: must be above 0 and below 0.5",
        ),
    ];
    for (result, wanted) in cases {
        assert_eq!(text(result), wanted);
    }
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let device = device();
    let config = DtConfig::new(tiny(Embedding::OneHot)).with_steps(2);
    let model = config.init(&device).unwrap();
    let loss = |batch: &Labelled, block: usize| {
        let rows = batch.images.dims()[0].max(1);
        let noise = DtNoise::draw([rows, 3], Seed(1), &device);
        let loss = model.loss(block, batch, noise, Mode::Train(Seed(2)));
        text(loss.map(|_| ()))
    };
    let good = batch(4, 1, &device);
    assert_eq!(
        loss(&good, 2),
        "the block is 2: must be below the number of blocks, 2"
    );
    let mut wrong = good.clone();
    wrong.labels[1] = 3;
    assert_eq!(
        loss(&wrong, 0),
        "a label is 3: must be below the number of classes, 3"
    );
    wrong.labels.truncate(2);
    assert_eq!(
        loss(&wrong, 0),
        "the number of labels is 2: must be that of the images, 4"
    );
    assert_eq!(
        loss(&batch(1, 1, &device), 0),
        "the number of images is 1: must be at least 2, for batch normalisation"
    );
    let large = Tensor::zeros([4, 1, 8, 12], &device);
    let wanted = "the shape of images is [4, 1, 8, 12]: must be [batch, 1, 8, 8], of at least one";
    assert_eq!(text(model.predict(large.clone(), Seed(0))), wanted);
    let ct = CtConfig::new(tiny(Embedding::OneHot))
        .init(&device)
        .unwrap();
    assert_eq!(text(ct.predict(large.clone(), Seed(0))), wanted);
    let fm = FmConfig::new(tiny(Embedding::OneHot))
        .init(&device)
        .unwrap();
    assert_eq!(text(fm.predict(large, Seed(0))), wanted);
}

#[test]
fn what_cannot_be_replaced_or_trained_is_refused() {
    let device = device();
    let zeros = |rows: usize, width: usize| Tensor::<2>::zeros([rows, width], &device);
    let mut one_hot = DtConfig::new(tiny(Embedding::OneHot))
        .init(&device)
        .unwrap();
    assert_eq!(
        text(one_hot.readout.set_embeddings(zeros(3, 3))),
        "embeddings is [3, 3]: cannot replace one-hot embeddings, which are fixed"
    );
    let mut learned = DtConfig::new(tiny(Embedding::Learned))
        .init(&device)
        .unwrap();
    assert_eq!(
        text(learned.readout.set_embeddings(zeros(3, 4))),
        "embeddings is [3, 4]: must be [3, 5], one row for each class"
    );
    let batches = |_: usize, device: &Device| Ok(batch(4, 1, device));
    let settings = TrainingConfig::new();
    let refused = Training::new(one_hot, &settings, 0, Seed(0), batches);
    assert_eq!(
        refused.err().unwrap().to_string(),
        "steps of a pass is 0: must be at least 1"
    );
    let adjoint = AdjointConfig::new(tiny(Embedding::OneHot)).with_steps(2);
    let adjoint = adjoint.init(&device).unwrap();
    let start = normal([4, 3], 1, &device);
    let error = text(
        adjoint
            .gradients(&batch(4, 1, &device), start, Mode::Evaluate)
            .map(|_| ()),
    );
    assert!(
        error.ends_with("must have autodiff, for a step of training"),
        "{error}"
    );
}
