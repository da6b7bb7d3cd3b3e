//! slab: counts, folding, statistics, schedules, weights, training, refusals.

mod estimation;
mod folded;
mod published;

use crate::{device, distance, images, values};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_efficient::deit::SoftLabelled;
use menagerie_efficient::slab::{
    AttentionKind, Classifier, CswinConfig, CswinStageConfig, DeitConfig, Llama, LlamaConfig, Mode,
    Norm, NormConfig, NormKind, Pooling, PvtConfig, PvtStageConfig, SlaConfig, StageConfig,
    StageKind, SwinConfig, optimizer, prepare, recipe, weights,
};
use menagerie_train::{FitConfig, Progress, Run, Supervised, initialise};

fn norm(kind: NormKind) -> NormConfig {
    NormConfig::new(kind).with_steps(4)
}

fn deit(kind: NormKind) -> DeitConfig {
    DeitConfig::new(24, 4, 24, 2, 3, norm(kind)).with_classes(5)
}

fn swin(kind: NormKind) -> SwinConfig {
    let stages = vec![
        StageConfig::new(2, 2, StageKind::Mixed(1)),
        StageConfig::new(1, 4, StageKind::Softmax),
    ];
    SwinConfig::new(56, 8, stages, norm(kind)).with_classes(5)
}

fn pvt(kind: NormKind) -> PvtConfig {
    let stages = vec![
        PvtStageConfig::new(8, 1, 2, 2.0, 2, AttentionKind::Linear),
        PvtStageConfig::new(16, 1, 2, 2.0, 1, AttentionKind::Softmax),
    ];
    PvtConfig::new(32, stages, norm(kind)).with_classes(5)
}

fn cswin(kind: NormKind) -> CswinConfig {
    let stages = vec![
        CswinStageConfig::new(2, 2, StageKind::Mixed(1), 2, 4),
        CswinStageConfig::new(1, 4, StageKind::Softmax, 1, 1),
    ];
    CswinConfig::new(32, 8, stages, norm(kind)).with_classes(5)
}

/// A few steps in training mode, so that statistics and blend are where they should be.
fn trained<M: Classifier>(model: M, side: usize, device: &Device) -> M {
    for _ in 0..6 {
        model
            .run(images(3, side, device) * 2.0 + 0.5, Mode::Train, &[])
            .unwrap();
    }
    model
}

/// Gives a norm of a language model, which starts as zeros, something to do.
fn stir(norm: &mut Norm, device: &Device) {
    let drawn = |size: usize, mean: f64| {
        let normal = Distribution::Normal(mean, 0.3);
        Param::from_tensor(Tensor::<1>::random([size], normal, device))
    };
    if let Some(bn) = &mut norm.bn {
        let [size] = bn.weight.dims();
        (bn.weight, bn.bias) = (drawn(size, 1.0), drawn(size, 0.0));
    }
    norm.alpha = norm.alpha.as_ref().map(|_| drawn(1, 1.0));
}

/// The model with every norm [`stir`]red, and larger words than a new model has.
fn stirred(mut model: Llama, device: &Device) -> Llama {
    for layer in &mut model.layers {
        stir(&mut layer.input_layernorm, device);
        stir(&mut layer.post_attention_layernorm, device);
    }
    stir(&mut model.norm, device);
    model.embed_tokens = Param::from_tensor(model.embed_tokens.val() * 50.0);
    model
}

/// The largest absolute value.
fn largest<const D: usize>(x: &Tensor<D>) -> f32 {
    distance(x.clone(), x.zeros_like())
}

#[test]
fn folding_is_exact() {
    let device = device();
    for kind in [NormKind::Batch, NormKind::RepBatch, NormKind::Progressive] {
        let model = initialise(&device, Seed(1), || deit(kind).init(&device)).unwrap();
        let model = trained(model, 24, &device);
        let x = images(2, 24, &device);
        let folded = model.fold().unwrap();
        assert!(folded.norm.is_folded() && folded.blocks[0].norm1.is_folded());
        let far = distance(
            model.forward(x.clone()).unwrap(),
            folded.forward(x).unwrap(),
        );
        assert!(far < 1e-4, "{kind:?}: {far}");

        let model = initialise(&device, Seed(1), || swin(kind).init(&device)).unwrap();
        let model = trained(model, 56, &device);
        let x = images(2, 56, &device);
        let folded = model.fold().unwrap();
        let far = distance(
            model.forward(x.clone()).unwrap(),
            folded.forward(x).unwrap(),
        );
        assert!(far < 1e-4, "{kind:?}: {far}");

        let model = initialise(&device, Seed(1), || pvt(kind).init(&device)).unwrap();
        let model = trained(model, 32, &device);
        let x = images(2, 32, &device);
        let folded = model.fold().unwrap();
        let far = distance(
            model.forward(x.clone()).unwrap(),
            folded.forward(x).unwrap(),
        );
        assert!(far < 1e-4, "{kind:?}: {far}");

        let model = initialise(&device, Seed(1), || cswin(kind).init(&device)).unwrap();
        let model = trained(model, 32, &device);
        let x = images(2, 32, &device);
        let folded = model.fold().unwrap();
        let far = distance(
            model.forward(x.clone()).unwrap(),
            folded.forward(x).unwrap(),
        );
        assert!(far < 1e-4, "{kind:?}: {far}");
    }
    let class = deit(NormKind::RepBatch)
        .with_attention(AttentionKind::Softmax)
        .with_pooling(Pooling::Class);
    let model = initialise(&device, Seed(1), || class.init(&device)).unwrap();
    let model = trained(model, 24, &device);
    let x = images(2, 24, &device);
    let folded = model.fold().unwrap();
    assert!(
        distance(
            model.forward(x.clone()).unwrap(),
            folded.forward(x).unwrap()
        ) < 1e-4
    );
}

#[test]
fn a_language_model_folds_too() {
    let device = device();
    let config = LlamaConfig::new(11, 16, 32, 2, 2).with_norm(
        NormConfig::new(NormKind::ProgressiveRms)
            .with_warm(1)
            .with_steps(2)
            .with_period(2),
    );
    let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let words: Vec<i64> = (0..12).map(|at| at * 5 % 11).collect();
    let words = Tensor::<2, Int>::from_data(TensorData::new(words, [2, 6]), &device);
    // Two calls make an update, and the counters move after the first of them, as in the official
    // code: one call of warm-up, whose update's second one has a weight of 1 anyway, then the fade.
    let mut lambdas = Vec::new();
    for _ in 0..7 {
        lambdas.push(model.norm.lambda().unwrap().unwrap());
        model.run(words.clone(), Mode::Train).unwrap();
    }
    assert_eq!(lambdas, [1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0]);
    let model = stirred(model, &device);
    let before = model.run(words.clone(), Mode::Evaluate).unwrap();
    let after = model
        .fold()
        .unwrap()
        .run(words.clone(), Mode::Evaluate)
        .unwrap();
    assert!(largest(&before) > 0.01, "{}", largest(&before));
    assert!(distance(before, after) < 1e-4);
    let error = model.run(words + 11, Mode::Evaluate).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("must be below the size of the vocabulary, 11")
    );
}

#[test]
fn words_do_not_see_what_follows() {
    let device = device();
    let config = LlamaConfig::new(11, 16, 32, 2, 2);
    let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let model = stirred(model, &device);
    let run = |last: i64| {
        let words = Tensor::<2, Int>::from_data([[1i64, 2, 3, last]], &device);
        let scores = model.run(words, Mode::Evaluate).unwrap();
        (scores.clone().narrow(1, 0, 3), scores.narrow(1, 3, 1))
    };
    let ((one, end), (two, other)) = (run(4), run(9));
    assert!(largest(&one) > 0.01, "{}", largest(&one));
    assert_eq!(distance(one, two), 0.0);
    assert!(distance(end, other) > 0.01);
}

#[test]
fn a_language_model_learns_a_cycle() {
    let tracked = device().autodiff();
    let norm = NormConfig::new(NormKind::ProgressiveRms).with_steps(20);
    let config = LlamaConfig::new(5, 16, 32, 1, 2).with_norm(norm);
    let mut model = initialise(&tracked, Seed(1), || config.init(&tracked)).unwrap();
    let words: Vec<i64> = (0..24).map(|at| (at % 12 + at / 12) % 5).collect();
    let words = Tensor::<2, Int>::from_data(TensorData::new(words, [2, 12]), &device());
    let mut optimiser = optimizer(&recipe(), &model).unwrap();
    let mut losses = Vec::new();
    for _ in 0..60 {
        let loss = model.loss(words.clone(), Mode::Train).unwrap();
        losses.push(loss.clone().without_autodiff().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimiser.step(1e-2, model, gradients);
    }
    // It begins as good as chance, five words.
    assert!((losses[0] - 5.0f32.ln()).abs() < 0.3, "{}", losses[0]);
    assert!(losses[59] < 0.3, "{}", losses[59]);
    let error = model
        .loss(words.narrow(1, 0, 1), Mode::Evaluate)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "words is [2, 1]: must be rows of at least two"
    );
}

#[test]
fn a_network_in_training_is_not_folded() {
    let device = device();
    let model = deit(NormKind::Progressive)
        .init(&device.clone().autodiff())
        .unwrap();
    assert_eq!(
        model.fold().unwrap_err().to_string(),
        "what is to be folded is \"in training\": must be without autodiff, as `valid()` makes it"
    );
    let model = model.valid();
    model.run(images(2, 24, &device), Mode::Train, &[]).unwrap();
    assert_eq!(
        model.fold().unwrap_err().to_string(),
        "the norm `blocks.0.norm1` is \"3 of 4 steps before the end of its blend\": must be trained \
         to the end of its blend before it is folded"
    );
    let model = deit(NormKind::Layer).init(&device).unwrap();
    assert_eq!(
        model.fold().unwrap_err().to_string(),
        "the norm `blocks.0.norm1` is \"computed from each token\": must be a batch normalisation: \
         nothing else can be folded"
    );
    let model = trained(deit(NormKind::RepBatch).init(&device).unwrap(), 24, &device);
    let folded = model.fold().unwrap();
    assert!(
        folded
            .fold()
            .unwrap_err()
            .to_string()
            .contains("is \"folded\"")
    );
}

#[test]
fn progress_can_be_set() {
    let device = device();
    let model = deit(NormKind::Progressive).init(&device).unwrap();
    model.norm.set_progress(1).unwrap();
    assert_eq!(model.norm.lambda().unwrap(), Some(0.25));
    assert_eq!(
        model.norm.set_progress(5).unwrap_err().to_string(),
        "updates that are left is 5: must be at most all of them, 4"
    );
    let model = deit(NormKind::Layer).init(&device).unwrap();
    model.norm.set_progress(1).unwrap();
    assert_eq!(model.norm.lambda().unwrap(), None);
}

#[test]
fn weights_round_trip_and_wrong_files_are_refused() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slab.safetensors");
    let config = deit(NormKind::Progressive);
    let model = trained(config.init(&device).unwrap(), 24, &device);
    weights::save_deit(&model, &path).unwrap();
    let back = weights::load_deit(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    let official = menagerie_hub::StateDict::open(&path).unwrap();
    for key in [
        "blocks.0.norm1.norm2.bn.running_var",
        "blocks.1.norm2.iter",
        "blocks.1.attn.positional_encoding",
        "norm.norm1.weight",
    ] {
        assert!(official.get(key).is_some(), "{key}");
    }
    let refusal = |config: DeitConfig| {
        let error = weights::load_deit(&config, &path, &device);
        error.unwrap_err().to_string()
    };
    let text = refusal(config.clone().with_classes(6));
    assert!(text.contains("head.weight"), "{text}");
    let text = refusal(deit(NormKind::RepBatch));
    assert!(text.contains("blocks.0.norm1.alpha"), "{text}");
    let text = refusal(config.clone().with_attention(AttentionKind::Softmax));
    assert!(text.contains("positional_encoding"), "{text}");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(refusal(config).contains("slab.safetensors"));

    let (config, path) = (
        swin(NormKind::Progressive),
        dir.path().join("swin.safetensors"),
    );
    let model = config.init(&device).unwrap();
    weights::save_swin(&model, &path).unwrap();
    let back = weights::load_swin(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    let (config, path) = (
        pvt(NormKind::Progressive),
        dir.path().join("pvt.safetensors"),
    );
    let model = config.init(&device).unwrap();
    weights::save_pvt(&model, &path).unwrap();
    let back = weights::load_pvt(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    let (config, path) = (
        cswin(NormKind::Progressive),
        dir.path().join("cswin.safetensors"),
    );
    let model = config.init(&device).unwrap();
    weights::save_cswin(&model, &path).unwrap();
    let back = weights::load_cswin(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    let official = menagerie_hub::StateDict::open(&path).unwrap();
    for key in [
        "stage1_conv_embed.0.weight",
        "stage1_conv_embed.2.norm2.bn.weight",
        "stage1.0.attns.1.positional_encoding",
        "stage1.1.attns.0.get_v.bias",
        "merge1.norm.iter",
        "stage2.0.attns.0.get_v.weight",
    ] {
        assert!(official.get(key).is_some(), "{key}");
    }
    assert!(official.get("stage1.1.attns.0.dwc.weight").is_none());
    let config = LlamaConfig::new(11, 16, 32, 2, 2);
    let (model, path) = (
        config.init(&device).unwrap(),
        dir.path().join("llama.safetensors"),
    );
    weights::save_llama(&model, &path).unwrap();
    let back = weights::load_llama(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
}

/// Six images, the same for every run.
fn pixels(device: &Device) -> Tensor<4> {
    let pixels: Vec<f32> = (0..6 * 3 * 24 * 24)
        .map(|at| ((at * 7919 % 1000) as f32 / 500.0) - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(pixels, [6, 3, 24, 24]), device)
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = device().autodiff();
    let config = deit(NormKind::Progressive).with_drop_path(0.1);
    let recipe = recipe();
    let dir = tempfile::tempdir().unwrap();
    let labels = [0, 1, 2, 3, 4, 0];
    let train = |name: &str, steps: usize, resume: bool| {
        let model = initialise(&device, Seed(2), || config.init(&device)).unwrap();
        let optimiser = optimizer(&recipe, &model).unwrap();
        let sizes = model.clone();
        let batches = |step: usize, device: &Device| {
            prepare(&recipe, &sizes, pixels(device), &labels, Seed(step as u64))
        };
        let procedure = Supervised::new(model, optimiser, 1e-3, batches);
        let mut procedure = procedure.clipping(5.0).unwrap();
        let run = Run::create(&dir.path().join(name), &0, resume).unwrap();
        let fit = FitConfig {
            checkpoint_every: 2,
            ..FitConfig::new(steps)
        };
        run.fit(&mut procedure, &fit, &Progress::silent()).unwrap();
        let trained = procedure.trained().unwrap();
        (
            menagerie_hub::values(&trained),
            trained.norm.lambda().unwrap(),
        )
    };
    let (whole, lambda) = train("whole", 3, false);
    assert_eq!(lambda, Some(0.25));
    train("parts", 2, false);
    assert_eq!(train("parts", 3, true).0, whole);
}

#[test]
fn the_loss_falls() {
    let device = device().autodiff();
    let config = deit(NormKind::Progressive);
    let model = initialise(&device, Seed(2), || config.init(&device)).unwrap();
    let optimiser = optimizer(&recipe(), &model).unwrap();
    let labels = [0, 1, 2, 3, 4, 0];
    let batches = |_: usize, device: &Device| SoftLabelled::new(pixels(device), &labels, 5, 0.0);
    let mut procedure = Supervised::new(model, optimiser, 2e-3, batches);
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(dir.path(), &0, false).unwrap();
    let end = run
        .fit(&mut procedure, &FitConfig::new(30), &Progress::silent())
        .unwrap();
    let first = run.history().unwrap()[0].metrics.get("loss").unwrap();
    let last = end.train.get("loss").unwrap();
    assert!(last < 0.5 * first, "{first} to {last}");
}

#[test]
fn impossible_configurations_are_refused() {
    let device = device();
    let refusal = |config: DeitConfig| config.init(&device).unwrap_err().to_string();
    assert_eq!(
        refusal(deit(NormKind::Layer).with_pooling(Pooling::Class)),
        "DeitConfig.pooling = Class: must be Mean for linear attention, whose convolution needs a \
         square of tokens"
    );
    let mut config = deit(NormKind::Layer);
    config.heads = 5;
    assert_eq!(
        refusal(config),
        "DeitConfig.heads = 5: must divide the width, which is 24"
    );
    let mut config = deit(NormKind::Progressive);
    config.norm.steps = 0;
    assert_eq!(
        refusal(config),
        "NormConfig.steps = 0: must lie between 1 and 16777216"
    );
    for (norm, text) in [
        (
            norm(NormKind::Batch).with_batch_epsilon(0.0),
            "NormConfig.batch_epsilon = 0.0: must be finite and above 0",
        ),
        (
            norm(NormKind::Batch).with_momentum(1.5),
            "NormConfig.momentum = 1.5: must lie between 0 and 1",
        ),
        (
            norm(NormKind::Progressive).with_start(-1.0),
            "NormConfig.start = -1.0: must lie between 0 and 1",
        ),
    ] {
        assert_eq!(
            refusal(DeitConfig {
                norm,
                ..deit(NormKind::Batch)
            }),
            text
        );
    }
    assert_eq!(
        refusal(deit(NormKind::Layer).with_sla(SlaConfig::new().with_kernel(4))),
        "SlaConfig.kernel = 4: must be odd and at most 99"
    );
    assert_eq!(
        refusal(deit(NormKind::Layer).with_sla(SlaConfig::new().with_epsilon(0.0))),
        "SlaConfig.epsilon = 0.0: must be finite and above 0"
    );
    let mut config = swin(NormKind::Layer);
    config.image = 64;
    assert_eq!(
        config.init(&device).unwrap_err().to_string(),
        "SwinConfig.image = 64: makes a grid of 16×16 in stage 1, which windows of 7 do not divide"
    );
    let mut config = pvt(NormKind::Layer);
    config.stages[0].reduction = 3;
    assert_eq!(
        config.init(&device).unwrap_err().to_string(),
        "PvtStageConfig.reduction = 3: must divide the side of the grid of its stage, 8"
            .replace("PvtStageConfig", "PvtConfig")
    );
    let mut config = cswin(NormKind::Layer);
    config.stages[0].split = 3;
    assert_eq!(
        config.init(&device).unwrap_err().to_string(),
        "CswinConfig.split = 3: must divide the side of the grid of its stage, 8"
    );
    let config = LlamaConfig::new(11, 15, 32, 2, 5);
    assert_eq!(
        config.init(&device).unwrap_err().to_string(),
        "LlamaConfig.heads = 5: must leave heads of an even width, for their rotations"
    );
    let model = deit(NormKind::Layer).init(&device).unwrap();
    assert_eq!(
        model
            .forward(images(1, 28, &device))
            .unwrap_err()
            .to_string(),
        "images is [1, 3, 28, 28]: must be [batch, 3, 24, 24] with at least one image"
    );
    let _ = values(model.forward(images(1, 24, &device)).unwrap());
}
