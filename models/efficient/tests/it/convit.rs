//! convit: counts, the convolution that it starts as, gates, weights, training, refusals.

use crate::{device, distance, images, num_params, values};
use burn::tensor::Tensor;
use menagerie_core::Seed;
use menagerie_efficient::convit::{
    ConVitConfig, Gating, convolution_taps, epochs_for_share, optimizer, recipe, weights,
};
use menagerie_efficient::deit::{DeitRecipe, SoftLabelled};
use menagerie_nn::mix::MixConfig;
use menagerie_train::{FitConfig, Progress, Run, Supervised, initialise};

fn small() -> ConVitConfig {
    ConVitConfig::new(24, 4, 32, 3, 4)
        .with_local_blocks(2)
        .with_classes(5)
}

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    for (config, count) in [
        (ConVitConfig::tiny(), 5_710_512),
        (ConVitConfig::tiny_plus(), 9_972_912),
        (ConVitConfig::small(), 27_777_322),
        (ConVitConfig::small_plus(), 48_979_882),
        (ConVitConfig::base(), 86_540_040),
        (ConVitConfig::base_plus(), 153_134_856),
    ] {
        assert_eq!(
            num_params(&config.init(&device).unwrap()),
            count,
            "{config:?}"
        );
    }
}

#[test]
fn heads_start_as_the_taps_of_a_convolution() {
    let device = device();
    let config = ConVitConfig::new(40, 8, 18, 2, 9)
        .with_local_blocks(1)
        .with_locality(40.0);
    let model = config.init(&device).unwrap();
    let attention = &model.local[0].attn;
    let map = values(attention.positions(&model.relative(&device)));
    // The patch in the middle of 5×5 looks at one neighbour with each head, far from the border.
    for head in 0..9 {
        let (row, column) = (head % 3, head / 3);
        let key = (1 + row) * 5 + 1 + column;
        assert!(map[(head * 25 + 12) * 25 + key] > 0.999, "head {head}");
    }
    // Values are the inputs, gates σ(1).
    assert_eq!(
        distance(attention.v.weight.val(), Tensor::eye(18, &device)),
        0.0
    );
    let expected = 1.0 / (1.0 + (-1.0f32).exp());
    assert!(
        values(attention.gates())
            .iter()
            .all(|gate| (gate - expected).abs() < 1e-6)
    );
}

#[test]
fn heads_beyond_the_kernel_start_anywhere() {
    let device = device();
    let config = ConVitConfig::new(24, 4, 24, 2, 6).with_local_blocks(1);
    let model = initialise(&device, Seed(3), || config.init(&device)).unwrap();
    let weight = values(model.local[0].attn.pos_proj.weight.val().transpose());
    let taps: Vec<f32> = convolution_taps(6, 1.0).into_iter().flatten().collect();
    assert_eq!(weight[..12], taps[..12]);
    assert!(
        weight[12..]
            .iter()
            .all(|value| *value != 0.0 && value.abs() < 0.2)
    );
}

#[test]
fn mixing_equals_the_map() {
    let device = device();
    for gating in [Gating::Learned, Gating::Position, Gating::Content] {
        let config = small().with_gating(gating).with_qkv_bias(true);
        let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
        let attention = &model.local[0].attn;
        let tokens = Tensor::random(
            [2, 36, 32],
            burn::tensor::Distribution::Normal(0.0, 1.0),
            &device,
        );
        let positions = attention.positions(&model.relative(&device));
        let map = attention.attention_map(tokens.clone(), positions.clone());
        let sums = values(map.clone().sum_dim(3));
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5));
        let heads = attention.v.forward(tokens.clone());
        let heads = heads.reshape([2, 36, 4, 8]).swap_dims(1, 2);
        let mixed = map.matmul(heads).swap_dims(1, 2).reshape([2, 36, 32]);
        let expected = attention.proj.forward(mixed);
        let found = attention.forward(tokens, positions);
        assert!(distance(found, expected) < 1e-5, "{gating:?}");
    }
}

#[test]
fn ordinary_blocks_mix_by_their_map() {
    let device = device();
    let config = small().with_qkv_bias(true);
    let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let images = images(2, 24, &device);
    let map = model.attention_map(images.clone(), 2).unwrap();
    // The class token joined.
    assert_eq!(map.dims(), [2, 4, 37, 37]);
    let before = model.block_outputs(images).unwrap().remove(1);
    let class = model.cls_token.val().expand([2, 1, 32]);
    let tokens = Tensor::cat(vec![class, before], 1);
    let block = &model.global[0];
    let tokens = block.norm1.forward(tokens);
    let heads = block.attn.qkv.forward(tokens.clone()).narrow(2, 64, 32);
    let heads = heads.reshape([2, 37, 4, 8]).swap_dims(1, 2);
    let mixed = map.matmul(heads).swap_dims(1, 2).reshape([2, 37, 32]);
    let expected = block.attn.proj.forward(mixed);
    assert!(distance(block.attn.forward(tokens), expected) < 1e-5);
}

#[test]
fn the_prepared_network_computes_the_same() {
    let device = device();
    for config in [
        small(),
        small().with_gating(Gating::Content),
        small().with_local_blocks(0),
    ] {
        let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
        let images = images(2, 24, &device);
        let plain = model.forward(images.clone(), &[]).unwrap();
        let prepared = model.prepare().forward(images).unwrap();
        assert!(distance(plain, prepared) < 1e-5);
    }
}

#[test]
fn heads_look_as_far_as_their_taps() {
    let device = device();
    // Nine taps; the fifth is the patch itself, the second and fourth are its neighbours.
    let config = ConVitConfig::new(24, 4, 36, 3, 9)
        .with_local_blocks(2)
        .with_gating(Gating::Position)
        .with_locality(60.0);
    let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let far = model.non_localities(images(2, 24, &device)).unwrap();
    let far = values(far[0].clone());
    assert!(far[4] < 1e-3, "{far:?}");
    // At the border the nearest patch takes the place of the one that is missing.
    assert!((far[1] - 5.0 / 6.0).abs() < 1e-3, "{far:?}");
    assert!((far[3] - 5.0 / 6.0).abs() < 1e-3, "{far:?}");
    assert!(far[0] > far[1]);
}

#[test]
fn weights_round_trip_and_wrong_files_are_refused() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("convit.safetensors");
    let model = small().init(&device).unwrap();
    weights::save(&model, &path).unwrap();
    let back = weights::load(&small(), &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    let official = weights::state_dict(&model).unwrap();
    for key in [
        "blocks.0.attn.gating_param",
        "blocks.1.attn.pos_proj.weight",
        "blocks.2.attn.qkv.weight",
        "patch_embed.proj.weight",
        "cls_token",
    ] {
        assert!(official.get(key).is_some(), "{key}");
    }

    let refusal = |config: ConVitConfig| {
        weights::load(&config, &path, &device)
            .unwrap_err()
            .to_string()
    };
    // Another size, another number of local blocks.
    let text = refusal(small().with_classes(7));
    assert!(
        text.contains("head.weight") && text.contains("head.bias"),
        "{text}"
    );
    let text = refusal(small().with_local_blocks(1));
    assert!(text.contains("blocks.1.attn.qkv.weight"), "{text}");
    assert!(text.contains("blocks.1.attn.gating_param"), "{text}");

    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let text = refusal(small());
    assert!(text.contains("convit.safetensors"), "{text}");
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = device().autodiff();
    let config = small().with_drop_path(0.1);
    let recipe = DeitRecipe::new()
        .with_base_rate(5e-4)
        .with_batch(1024)
        .with_mix(MixConfig::new());
    let dir = tempfile::tempdir().unwrap();
    let labels: Vec<usize> = (0..10).map(|index| index % 5).collect();
    let pixels = initialise_images(&device);
    let train = |name: &str, steps: usize, resume: bool| {
        let model = initialise(&device, Seed(2), || config.init(&device)).unwrap();
        let optimiser = optimizer(&recipe, &model).unwrap();
        let batches = |step: usize, _: &burn::tensor::Device| {
            config.prepare(&recipe, pixels.clone(), &labels, Seed(step as u64))
        };
        let mut procedure = Supervised::new(model, optimiser, 1e-3, batches);
        let run = Run::create(&dir.path().join(name), &0, resume).unwrap();
        let fit = FitConfig {
            checkpoint_every: 2,
            ..FitConfig::new(steps)
        };
        run.fit(&mut procedure, &fit, &Progress::silent())
            .unwrap()
            .train
    };
    let whole = train("whole", 6, false);
    train("parts", 4, false);
    assert_eq!(train("parts", 6, true), whole);
}

/// Ten images, the same for every run.
fn initialise_images(device: &burn::tensor::Device) -> Tensor<4> {
    let pixels: Vec<f32> = (0..10 * 3 * 24 * 24)
        .map(|at| ((at * 7919 % 1000) as f32 / 500.0) - 1.0)
        .collect();
    Tensor::from_data(
        burn::tensor::TensorData::new(pixels, [10, 3, 24, 24]),
        device,
    )
}

#[test]
fn gates_learn_and_their_bias_does_not_matter() {
    let device = device().autodiff();
    let config = small();
    let model = initialise(&device, Seed(2), || config.init(&device)).unwrap();
    let labels: Vec<usize> = (0..10).map(|index| index % 5).collect();
    let batch = SoftLabelled::new(initialise_images(&device), &labels, 5, 0.1).unwrap();
    let (loss, _) = model.loss(batch);
    let gradients = menagerie_hub::gradients(&model, &loss.backward());
    let largest = |path: &str| {
        let values = gradients[path].iter::<f32>();
        values.fold(0.0, |largest: f32, value| largest.max(value.abs()))
    };
    assert!(largest("local.0.attn.gating_param") > 0.0);
    assert!(largest("local.0.attn.pos_proj.weight") > 0.0);
    assert!(largest("local.0.attn.pos_proj.bias") < 1e-6);
}

#[test]
fn the_published_recipe() {
    let recipe = recipe();
    // The official loop has no cool-down.
    assert_eq!(recipe.total_epochs(), 300);
    assert_eq!(recipe.peak(), 1e-3);
    assert_eq!(epochs_for_share(300, 0.1).unwrap(), 3_000);
    assert_eq!(
        epochs_for_share(300, 0.0).unwrap_err().to_string(),
        "the share of the images is 0.0: must be above 0 and at most 1"
    );
}

#[test]
fn impossible_configurations_are_refused() {
    let refusal = |config: ConVitConfig| config.init(&device()).unwrap_err().to_string();
    assert_eq!(
        refusal(ConVitConfig::new(28, 14, 36, 3, 9).with_local_blocks(2)),
        "ConVitConfig.heads = 9: start as the taps of a 3×3 kernel, which must fit the grid of 2×2 \
         patches"
    );
    assert_eq!(
        refusal(small().with_local_blocks(3)),
        "ConVitConfig.local_blocks = 3: must be below depth, which is 3: the class token joins \
         after the local blocks"
    );
    let mut config = small();
    config.image = 30;
    assert_eq!(
        refusal(config),
        "ConVitConfig.image = 30: must be divisible by patch, which is 4"
    );
    let mut config = small();
    config.heads = 5;
    assert_eq!(
        refusal(config),
        "ConVitConfig.heads = 5: must divide dim, which is 32"
    );
    assert_eq!(
        refusal(small().with_locality(0.0)),
        "ConVitConfig.locality = 0.0: must be finite and above 0"
    );
    assert_eq!(
        refusal(small().with_drop_path(1.0)),
        "ConVitConfig.drop_path = 1.0: must be at least 0 and below 1"
    );
}

#[test]
fn impossible_inputs_are_refused() {
    let device = device();
    let model = small().init(&device).unwrap();
    let error = model.classify(images(2, 28, &device)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "images is [2, 3, 28, 28]: must be [batch, 3, 24, 24] with at least one image"
    );
    let error = model.attention_map(images(1, 24, &device), 3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a block is 3: must be below the number of blocks, 3"
    );
    let error = model.forward(images(1, 24, &device), &[None]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "draws of stochastic depth is 1: must be one for each of 3 blocks"
    );
    let error = model.prepare().forward(images(1, 28, &device)).unwrap_err();
    assert!(error.to_string().starts_with("images is [1, 3, 28, 28]"));
}
