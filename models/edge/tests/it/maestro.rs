//! maestro: counts, truncation, shrinking, extraction, sampling, ground truth, weights, refusals.

mod deep;
mod training;
mod translator;

use crate::{device, distance, images};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_edge::maestro::{
    ConvSizes, Factored, Factors, LeNetConfig, LodAttention, LodConv, MaestroConfig, Mlp,
    MlpConfig, Network, Ranks, ResNetConfig, Sampling, Skip, Training, TransformerConfig,
    VggConfig, draw_ranks, group_lasso, optimizer, svd, weights,
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use std::collections::HashSet;

fn lenet(device: &Device) -> menagerie_edge::maestro::LeNet {
    let config = LeNetConfig::new();
    let dense = initialise(device, Seed(1), || config.init(device)).unwrap();
    dense.decompose().unwrap()
}

#[test]
fn lenet_has_the_published_number_of_parameters() {
    let device = device();
    let dense = LeNetConfig::new().init(&device).unwrap();
    assert_eq!((dense.numbers(), dense.num_params()), (44_426, 44_426));
    let factored = dense.decompose().unwrap();
    assert_eq!(
        (factored.numbers(), factored.num_params()),
        (66_274, 66_274)
    );
    assert_eq!(factored.ranks(), [6, 16, 120, 84, 10]);
    assert_eq!(dense.ranks(), [0; 5]);
    // 24² · 6 · 25 + 8² · 16 · 150 + 256 · 120 + 120 · 84 + 84 · 10.
    assert_eq!(dense.macs(&Ranks::Full), 281_640);
}

#[test]
fn decomposition_changes_nothing_and_truncation_follows_the_best_one() {
    let device = device();
    let dense = MlpConfig::new(vec![9, 6]).init(&device).unwrap();
    let factored = dense.decompose().unwrap();
    let x = Tensor::<2>::eye(9, &device);
    let whole = factored.forward_rows(x.clone(), &Ranks::Full).unwrap();
    assert!(distance(dense.forward_rows(x, &Ranks::Full).unwrap(), whole) < 1e-5);
    let layers = dense.layers();
    let values: Vec<f64> = layers[0].1.product(0).into_data().iter().collect();
    let best = svd(&values, 6, 9).truncated(2);
    let ours: Vec<f64> = factored.layers()[0]
        .1
        .product(2)
        .into_data()
        .iter()
        .collect();
    for (a, b) in ours.iter().zip(best) {
        assert!((a - b).abs() < 1e-5);
    }
}

#[test]
fn layers_may_be_left_dense() {
    let device = device();
    let dense = LeNetConfig::new().init(&device).unwrap();
    let skip = Skip::new().with_first(2).with_last(true);
    let factored = dense.decompose_but(skip).unwrap();
    assert_eq!(factored.ranks(), [0, 0, 120, 84, 0]);
    let x = images(2, &device);
    let found = factored.forward(x.clone(), &Ranks::Full).unwrap();
    assert!(distance(found, dense.forward(x, &Ranks::Full).unwrap()) < 1e-4);
    assert_eq!(
        dense
            .decompose_but(Skip::new().with_first(9))
            .unwrap()
            .ranks(),
        [0; 5]
    );
}

#[test]
fn a_dilated_convolution_is_one_with_holes() {
    let device = device();
    let sizes = ConvSizes::new(1, 3, 2)
        .with_dilation(2)
        .with_padding(1)
        .with_stride(2);
    let dilated = LodConv::new(sizes, &device).unwrap();
    // The same taps in a kernel of 3×3.
    let taps: Vec<f32> = dilated.factors.product(0).into_data().iter().collect();
    let holes: Vec<f32> = taps
        .chunks(4)
        .flat_map(|t| [t[0], 0.0, t[1], 0.0, 0.0, 0.0, t[2], 0.0, t[3]])
        .collect();
    let sizes = ConvSizes::new(1, 3, 3).with_padding(1).with_stride(2);
    let mut plain = LodConv::new(sizes, &device).unwrap();
    let holes = Tensor::<2>::from_data(TensorData::new(holes, [3, 9]), &device);
    plain.factors.weight = Some(Param::from_tensor(holes));
    plain.factors.bias = dilated.factors.bias.clone();
    let x = images(2, &device);
    let found = dilated.forward(x.clone(), 0);
    assert_eq!(found.dims()[2], sizes.convolved(28));
    assert!(distance(found, plain.forward(x, 0)) < 1e-5);
}

#[test]
fn only_the_layer_of_a_pair_is_cut() {
    let device = device();
    let network = lenet(&device);
    let x = images(2, &device);
    let cut = network
        .forward(x.clone(), &Ranks::Cut { layer: 3, rank: 5 })
        .unwrap();
    let each = Ranks::Each(vec![6, 16, 120, 5, 10]);
    assert_eq!(
        distance(cut.clone(), network.forward(x.clone(), &each).unwrap()),
        0.0
    );
    assert!(distance(cut, network.forward(x, &Ranks::Full).unwrap()) > 1e-3);
}

#[test]
fn without_ranks_the_bias_alone_is_left() {
    let device = device();
    let network = lenet(&device);
    let x = images(2, &device);
    for layer in [0, 4] {
        let cut = network
            .forward(x.clone(), &Ranks::Cut { layer, rank: 0 })
            .unwrap();
        assert_eq!(cut.dims(), [2, 10]);
        assert!(distance(cut.clone().narrow(0, 0, 1), cut.narrow(0, 1, 1)) < 1e-6);
    }
}

#[test]
fn extraction_keeps_what_is_left() {
    let device = device();
    let mut network = lenet(&device);
    let before = network.importances(true).unwrap();
    // Above the second of the first layer's six.
    let threshold = before[0][0] * 0.99;
    network.shrink(threshold, true).unwrap();
    let above = |values: &Vec<f64>| values.iter().filter(|value| **value >= threshold).count();
    let expected: Vec<usize> = before.iter().map(above).collect();
    assert_eq!(network.ranks(), expected);
    assert!(expected[0] < 6 && expected[2] < 120, "{expected:?}");
    let ranks = network.share(0.5).unwrap();
    let x = images(2, &device);
    let expected = network.forward(x.clone(), &ranks).unwrap();
    for merge in [false, true] {
        let small = network.extract(&ranks, merge);
        let found = small.forward(x.clone(), &Ranks::Full).unwrap();
        assert!(distance(found, expected.clone()) < 1e-4);
        assert!(small.numbers() < network.numbers());
        assert!(small.macs(&Ranks::Full) <= network.macs(&ranks));
    }
    let dense = network.to_dense(&ranks);
    assert!(distance(dense.forward(x, &Ranks::Full).unwrap(), expected) < 1e-4);
    assert_eq!(dense.numbers(), 44_426);
}

#[test]
fn a_budget_takes_the_least_important_ranks() {
    let device = device();
    let network = lenet(&device);
    let whole = network.macs(&Ranks::Full);
    let ranks = network.fit(whole / 3).unwrap();
    let found = network.macs(&ranks);
    assert!(
        found <= whole / 3 && found > whole / 4,
        "{found} of {whole}"
    );
    let error = network.fit(10).unwrap_err().to_string();
    assert!(
        error.starts_with("the budget of multiplications is 10: must be at least "),
        "{error}"
    );
}

#[test]
fn survivors_need_not_be_a_beginning() {
    let device = device();
    let mut network = MlpConfig::new(vec![7, 5])
        .init(&device)
        .unwrap()
        .decompose()
        .unwrap();
    network.layers_mut()[0].set_survivors(vec![1, 3]).unwrap();
    let x = Tensor::<2>::eye(7, &device);
    let found = network.forward_rows(x.clone(), &Ranks::Full).unwrap();
    let small = network.extract(&Ranks::Full, false);
    assert_eq!(small.layers()[0].1.width(), 2);
    assert!(distance(small.forward_rows(x, &Ranks::Full).unwrap(), found) < 1e-6);
    let error = network.layers_mut()[0]
        .set_survivors(vec![1, 1])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ranks that are left is [1, 1]: must be ascending and below 5"
    );
}

#[test]
fn every_pair_comes_once_before_any_comes_again() {
    let drawn = draw_ranks(Sampling::PerLayer, &[3, 0, 2], 12, Seed(4));
    let pair = |ranks: &Ranks| match ranks {
        Ranks::Cut { layer, rank } => (*layer, *rank),
        _ => panic!("every step cuts a layer"),
    };
    let first: HashSet<_> = drawn[..5].iter().map(pair).collect();
    let second: HashSet<_> = drawn[5..10].iter().map(pair).collect();
    let all = HashSet::from([(0, 1), (0, 2), (0, 3), (2, 1), (2, 2)]);
    assert_eq!((first, second), (all.clone(), all));
    assert_eq!(
        draw_ranks(Sampling::Fixed(0.25), &[6, 16], 1, Seed(4)),
        [Ranks::Each(vec![2, 4])]
    );
    for ranks in draw_ranks(Sampling::Uniform, &[6, 16], 50, Seed(4)) {
        let Ranks::Each(ranks) = ranks else {
            panic!("every layer has a rank")
        };
        assert!((1..=6).contains(&ranks[0]) && (1..=16).contains(&ranks[1]));
    }
    assert_eq!(
        draw_ranks(Sampling::PerLayer, &[0], 2, Seed(4)),
        [Ranks::Full, Ranks::Full]
    );
}

/// Trains a linear map without bias on rows and targets by plain descent.
fn descend(
    mut network: Mlp,
    rows: &Tensor<2>,
    targets: &Tensor<2>,
    rate: f64,
    steps: usize,
) -> Mlp {
    let config = MaestroConfig::new()
        .with_momentum(0.0)
        .with_weight_decay(0.0);
    let mut optimiser = optimizer(&config);
    let ranks = draw_ranks(Sampling::Uniform, &network.ranks(), steps, Seed(3));
    for ranks in &ranks {
        let error = network.forward_rows(rows.clone(), ranks).unwrap() - targets.clone();
        let loss = error.square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimiser.step(rate, network, gradients);
    }
    network
}

/// A map of rank 3 from nine to six numbers, as targets `[9, 6]`.
fn low_rank(device: &Device) -> Tensor<2> {
    let table = |shape: [usize; 2], seed: usize| {
        let values: Vec<f32> = (0..shape[0] * shape[1])
            .map(|at| ((at * 7919 + seed * 911) % 1009) as f32 / 300.0 - 1.7)
            .collect();
        Tensor::<2>::from_data(TensorData::new(values, shape), device)
    };
    table([9, 3], 1).matmul(table([3, 6], 2))
}

#[test]
fn uniform_data_lead_to_the_singular_value_decomposition() {
    let device = device().autodiff();
    let target = low_rank(&device);
    let values: Vec<f64> = target
        .clone()
        .without_autodiff()
        .into_data()
        .iter()
        .collect();
    let best = svd(&values, 9, 6);
    let config = MlpConfig::new(vec![9, 6]).with_bias(false);
    let network = initialise(&device, Seed(5), || config.init(&device)).unwrap();
    let network = network.decompose().unwrap();
    let rows = Tensor::eye(9, &device);
    let rate = 4.0 / best.s[0];
    let network = descend(network, &rows, &target, rate, 4_000);
    let square: f64 = best.s.iter().map(|value| value * value).sum();
    let layers = network.layers();
    for rank in 1..=3 {
        let ours: Vec<f64> = layers[0]
            .1
            .product(rank)
            .transpose()
            .without_autodiff()
            .into_data()
            .iter()
            .collect();
        let error: f64 = ours
            .iter()
            .zip(best.truncated(rank))
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        assert!(error < 0.01 * square, "rank {rank}: {}", error / square);
    }
}

#[test]
fn impossible_thresholds_and_settings_are_refused() {
    let device = device();
    let mut network = lenet(&device);
    let error = network.shrink(1e9, true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the importance threshold is 1000000000.0: must leave a rank: all 6 of layer `conv1` are \
         below it"
    );
    assert_eq!(network.ranks(), [6, 16, 120, 84, 10]);
    assert_eq!(
        network.shrink(-1.0, true).unwrap_err().to_string(),
        "the importance threshold is -1.0: must not be negative"
    );
    assert_eq!(
        network.share(0.0).unwrap_err().to_string(),
        "the share of the ranks is 0.0: must be above 0 and at most 1"
    );
    let refusal = |config: MaestroConfig| config.validate().unwrap_err().to_string();
    assert_eq!(
        refusal(MaestroConfig::new().with_lambda(-1.0)),
        "MaestroConfig.lambda = -1.0: must be finite and not negative"
    );
    assert_eq!(
        refusal(MaestroConfig::new().with_sampling(Sampling::Fixed(0.0))),
        "MaestroConfig.sampling = 0.0: must be a share above 0 and at most 1"
    );
    let truncated = |ranks: Ranks| network.truncate(&ranks, true).unwrap_err().to_string();
    assert_eq!(
        truncated(Ranks::Cut { layer: 4, rank: 0 }),
        "the rank of layer `fc3` is 0: must lie between 1 and 10"
    );
    assert_eq!(
        truncated(Ranks::Cut { layer: 1, rank: 17 }),
        "the rank of layer `conv2` is 17: must lie between 1 and 16"
    );
    assert_eq!(
        truncated(Ranks::Cut { layer: 5, rank: 1 }),
        "a layer is 5: must be below 5"
    );
    assert_eq!(
        truncated(Ranks::Each(vec![1; 4])),
        "the number of ranks is 4: must be one for each of 5 layers"
    );
    assert_eq!(
        LodConv::new(ConvSizes::new(4, 4, 3).with_groups(2), &device)
            .unwrap_err()
            .to_string(),
        "ConvSizes.groups = 2: must be 1: groups of channels have no map in common to factor"
    );
    assert_eq!(
        ResNetConfig::new(32, [2, 0, 2, 2], 10)
            .validate()
            .unwrap_err()
            .to_string(),
        "ResNetConfig.blocks = 0: must be at least 1"
    );
    assert_eq!(
        VggConfig::new()
            .with_widths(vec![vec![4, 0]])
            .validate()
            .unwrap_err()
            .to_string(),
        "VggConfig.widths = [[4, 0]]: must be one to ten lists, none of them empty or with a 0"
    );
    assert_eq!(
        TransformerConfig::new()
            .with_heads(7)
            .validate()
            .unwrap_err()
            .to_string(),
        "TransformerConfig.heads = 7: must divide dim, which is 512"
    );
    assert_eq!(
        LeNetConfig::new()
            .with_classes(0)
            .init(&device)
            .unwrap_err()
            .to_string(),
        "LeNetConfig.classes = 0: must be at least 1"
    );
    assert_eq!(
        LodAttention::new(10, 3, true, &device)
            .unwrap_err()
            .to_string(),
        "LodAttention.heads = 3: must divide the width, which is 10"
    );
    let images = Tensor::<4>::zeros([1, 3, 28, 28], &device);
    assert_eq!(
        network
            .forward(images, &Ranks::Full)
            .unwrap_err()
            .to_string(),
        "images is [1, 3, 28, 28]: must be [batch, 1, 28, 28] with at least one image"
    );
}

#[test]
fn weights_round_trip_at_any_rank_and_wrong_files_are_refused() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lenet.safetensors");
    let network = lenet(&device);
    let ranks = network.share(0.4).unwrap();
    let config = LeNetConfig::new();
    for network in [
        network.clone(),
        network.extract(&ranks, false),
        network.extract(&ranks, true),
        network.to_dense(&Ranks::Full),
    ] {
        weights::save_lenet(&network, &path).unwrap();
        let back = weights::load_lenet(&config, &path, &device).unwrap();
        assert_eq!(back.ranks(), network.ranks());
        assert_eq!(
            menagerie_hub::values(&network),
            menagerie_hub::values(&back)
        );
    }
    weights::save_lenet(&network, &path).unwrap();
    let official = menagerie_hub::StateDict::open(&path).unwrap();
    let shape = |key: &str| official.get(key).unwrap().shape().to_vec();
    assert_eq!(shape("conv2.conv_u.weight"), [16, 6, 5, 5]);
    assert_eq!(shape("conv2.conv_v.weight"), [16, 16, 1, 1]);
    assert_eq!(shape("fc1.in_network.weight"), [120, 256]);
    let error = weights::load_lenet(&config.clone().with_classes(7), &path, &device);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("fc3"), "{text}");
    let error = weights::load_lenet(&config.with_channels(3), &path, &device);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("conv1"), "{text}");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = weights::load_lenet(&LeNetConfig::new(), &path, &device);
    assert!(error.unwrap_err().to_string().contains("lenet.safetensors"));
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = device().autodiff();
    let config = MaestroConfig::new().with_rate(0.05).with_lambda(1e-3);
    let dir = tempfile::tempdir().unwrap();
    let pixels: Vec<f32> = (0..8 * 784)
        .map(|at| (at * 7919 % 1000) as f32 / 500.0 - 1.0)
        .collect();
    let train = |name: &str, steps: usize, resume: bool| {
        let network = lenet(&device);
        let threshold = network.importances(true).unwrap()[3][70];
        let config = config.clone().with_threshold(threshold);
        let batch = |step: usize, device: &Device| {
            let pixels = TensorData::new(pixels.clone(), [8, 1, 28, 28]);
            let labels: Vec<i64> = (0..8).map(|at| (at + step as i64) % 10).collect();
            let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [8]), device);
            Ok((Tensor::from_data(pixels, device), labels))
        };
        let mut training = Training::new(network, config, 3, Seed(2), batch).unwrap();
        let run = Run::create(&dir.path().join(name), &0, resume).unwrap();
        let fit = FitConfig {
            checkpoint_every: 4,
            ..FitConfig::new(steps)
        };
        run.fit(&mut training, &fit, &Progress::silent()).unwrap();
        let network = training.trained().unwrap();
        (menagerie_hub::values(&network), network.ranks())
    };
    let (whole, ranks) = train("whole", 8, false);
    assert!(ranks[3] < 84, "{ranks:?}");
    train("parts", 4, false);
    assert_eq!(train("parts", 8, true), (whole, ranks));
}

#[test]
fn the_lasso_has_a_slope_where_a_tail_is_gone() {
    let device = device().autodiff();
    let mut network = MlpConfig::new(vec![4, 3])
        .init(&device)
        .unwrap()
        .decompose()
        .unwrap();
    let zeros = |shape: [usize; 2]| Param::from_tensor(Tensor::<2>::zeros(shape, &device));
    let layer: &mut Factors = network.layers_mut().remove(0);
    (layer.u, layer.v) = (Some(zeros([3, 3])), Some(zeros([3, 4])));
    let lasso = group_lasso(&network, true).unwrap();
    let gradients = menagerie_hub::gradients(&network, &lasso.backward());
    for (path, gradient) in gradients {
        assert!(gradient.iter::<f32>().all(f32::is_finite), "{path}");
    }
}
