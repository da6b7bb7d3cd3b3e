//! Residual networks, VGG and the transformer: counts, factors, statistics, names, training.

use crate::{device, distance, images};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_edge::maestro::{
    Factored, MaestroConfig, Mode, Network, NormConfig, NormKind, Ranks, ResNetConfig, Skip,
    Training, TransformerConfig, VggConfig, weights,
};
use menagerie_train::{FitConfig, Progress, Run, initialise};

#[test]
fn large_networks_have_the_published_numbers_of_parameters() {
    let device = device();
    let resnet = ResNetConfig::resnet18().init(&device).unwrap();
    assert_eq!(resnet.numbers(), 11_689_512);
    assert_eq!(resnet.redraw().numbers(), 13_434_408);
    let cifar = ResNetConfig::resnet18_cifar().init(&device).unwrap();
    assert_eq!(cifar.numbers(), 11_173_962);
    // The published 0.56 billion.
    assert_eq!(cifar.macs(&Ranks::Full), 555_422_720);
    let vgg = VggConfig::vgg19().init(&device).unwrap();
    assert_eq!(vgg.numbers(), 20_040_522);
    assert_eq!(vgg.redraw().numbers(), 22_437_511);
}

#[test]
fn fifty_layers_are_those_of_torchvision() {
    let device = device();
    let resnet = ResNetConfig::resnet50().init(&device).unwrap();
    assert_eq!(resnet.numbers(), 25_557_032);
    assert_eq!(resnet.layers().len(), 54);
}

/// A residual network of a few thousand numbers.
fn small_resnet() -> ResNetConfig {
    ResNetConfig::new(16, [1, 1, 1, 1], 5)
        .with_width(4)
        .with_channels(1)
}

fn pixels(batch: usize, side: usize, device: &Device) -> Tensor<4> {
    let x = images(batch, device);
    x.narrow(2, 0, side).narrow(3, 0, side)
}

#[test]
fn factored_residual_networks_and_vgg_compute_what_dense_ones_do() {
    fn check<N: Network>(dense: &N, x: &Tensor<4>) {
        let factored = dense.decompose().unwrap();
        let names = factored.layers().len();
        assert_eq!(names, factored.applications().len());
        let expected = dense.forward(x.clone(), &Ranks::Full).unwrap();
        let found = factored.forward(x.clone(), &Ranks::Full).unwrap();
        assert!(distance(found, expected) < 1e-4);
        // Every layer has a place in the pass: cutting it changes what comes out.
        let whole = factored.forward(x.clone(), &Ranks::Full).unwrap();
        for layer in 0..names {
            let cut = Ranks::Cut { layer, rank: 1 };
            let cut = factored.forward(x.clone(), &cut).unwrap();
            assert!(distance(cut, whole.clone()) > 1e-7, "layer {layer}");
        }
    }
    let device = device();
    let x = pixels(2, 16, &device);
    for config in [
        small_resnet(),
        small_resnet().with_stem(false),
        small_resnet().with_bottleneck(true),
        small_resnet().with_norm(NormConfig::new(NormKind::Group)),
    ] {
        check(
            &initialise(&device, Seed(7), || config.init(&device)).unwrap(),
            &x,
        );
    }
    let widths = vec![vec![4; 2], vec![6], vec![8; 2], vec![8]];
    let vgg = VggConfig::new().with_widths(widths).with_channels(1);
    check(
        &initialise(&device, Seed(7), || vgg.init(&device)).unwrap(),
        &x,
    );
}

#[test]
fn statistics_are_estimated_anew_at_the_ranks_of_a_truncation() {
    let device = device();
    let config = small_resnet();
    let dense = initialise(&device, Seed(6), || config.init(&device)).unwrap();
    let network = dense.decompose().unwrap();
    let ranks = network.share(0.4).unwrap();
    let batches = || {
        (0..3)
            .map(|_| Ok(pixels(16, 16, &device)))
            .collect::<Vec<_>>()
    };
    let small = network.extract(&ranks, false);
    small.estimate(batches(), &Ranks::Full).unwrap();
    // As if there had been nothing before.
    let again = network.extract(&ranks, false);
    let x = pixels(256, 16, &device);
    let norm = |network: &menagerie_edge::maestro::ResNet| {
        let variance = network.stem.norm.running_var.as_ref().unwrap();
        variance.value_sync()
    };
    assert!(distance(norm(&small), norm(&again)) > 0.01);
    again.estimate([Ok(x.clone())], &Ranks::Full).unwrap();
    let trained = again.run(x.clone(), &Ranks::Full, Mode::Train).unwrap();
    let estimated = again.copy();
    estimated.estimate([Ok(x.clone())], &Ranks::Full).unwrap();
    let evaluated = estimated.forward(x, &Ranks::Full).unwrap();
    // The same statistics but for the unbiased variance.
    let largest = distance(trained.clone(), trained.zeros_like());
    let far = distance(trained, evaluated) / largest;
    assert!(far < 0.02, "{far}");
    // The original has its own.
    assert!(distance(norm(&network), norm(&network).ones_like()) == 0.0);
}

#[test]
fn a_transformer_of_factors_computes_what_a_dense_one_does() {
    let device = device();
    let config = TransformerConfig::new()
        .with_dim(12)
        .with_heads(3)
        .with_layers([2, 1])
        .with_hidden(20);
    let token = |time: usize| {
        let normal = burn::tensor::Distribution::Normal(0.0, 1.0);
        Tensor::<3>::random([time, 2, 12], normal, &device)
    };
    let (sources, targets) = (token(5), token(4));
    let blocked = Tensor::<2>::ones([4, 4], &device).triu(1).bool();
    for config in [config.clone(), config.with_norm_first(true)] {
        let dense = initialise(&device, Seed(8), || config.init(&device)).unwrap();
        let factored = dense.decompose().unwrap();
        assert_eq!(factored.ranks().len(), 2 * 6 + 10);
        assert_eq!(dense.numbers(), dense.num_params());
        let run = |network: &menagerie_edge::maestro::LodTransformer, ranks: &Ranks| {
            let mask = Some(blocked.clone());
            network
                .run(sources.clone(), targets.clone(), mask, ranks)
                .unwrap()
        };
        let whole = run(&factored, &Ranks::Full);
        assert!(distance(run(&dense, &Ranks::Full), whole.clone()) < 1e-4);
        for layer in 0..22 {
            let cut = run(&factored, &Ranks::Cut { layer, rank: 1 });
            assert!(distance(cut, whole.clone()) > 1e-6, "layer {layer}");
        }
        // What comes first does not see what comes later.
        let later = Tensor::cat(vec![targets.clone().narrow(0, 0, 3), token(1)], 0);
        let mask = Some(blocked.clone());
        let found = factored
            .run(sources.clone(), later, mask, &Ranks::Full)
            .unwrap();
        let first = |x: Tensor<3>| x.narrow(0, 0, 3);
        assert!(distance(first(found), first(whole)) < 1e-6);
    }
    let network = config_of_width(12).init(&device).unwrap();
    let error = network.run(token(5), token(4).narrow(1, 0, 1), None, &Ranks::Full);
    assert_eq!(
        error.unwrap_err().to_string(),
        "targets is [4, 1, 12]: must be [time, 2, 12]"
    );
}

fn config_of_width(dim: usize) -> TransformerConfig {
    TransformerConfig::new()
        .with_dim(dim)
        .with_heads(3)
        .with_layers([1, 1])
        .with_hidden(8)
}

#[test]
fn deep_networks_round_trip_by_their_official_names() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("network.safetensors");
    let config = small_resnet();
    let dense = config.init(&device).unwrap();
    // Statistics that are not those of a new network.
    dense
        .run(pixels(4, 16, &device), &Ranks::Full, Mode::Train)
        .unwrap();
    let factored = dense.decompose().unwrap();
    let mixed = dense.decompose_but(Skip::new().with_first(3)).unwrap();
    for network in [
        &dense,
        &factored,
        &mixed,
        &factored.extract(&factored.share(0.5).unwrap(), true),
    ] {
        weights::save_resnet(network, &path).unwrap();
        let back = weights::load_resnet(&config, &path, &device).unwrap();
        assert_eq!(menagerie_hub::values(network), menagerie_hub::values(&back));
    }
    weights::save_resnet(&factored, &path).unwrap();
    let official = menagerie_hub::StateDict::open(&path).unwrap();
    let shape = |key: &str| official.get(key).map(|data| data.shape().to_vec());
    assert_eq!(shape("conv1.conv_u.weight"), Some(vec![4, 1, 7, 7]));
    assert_eq!(
        shape("layer2.0.downsample.0.conv_v.weight"),
        Some(vec![8, 4, 1, 1])
    );
    assert_eq!(shape("layer4.0.bn2.running_var"), Some(vec![32]));
    assert_eq!(shape("fc.out_network.bias"), Some(vec![5]));
    let mut larger = config;
    larger.blocks[0] = 2;
    let error = weights::load_resnet(&larger, &path, &device);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("layer1.1.conv1"), "{text}");

    let config = VggConfig::new()
        .with_widths(vec![vec![4, 4], vec![6]])
        .with_channels(1);
    let vgg = config.init(&device).unwrap().decompose().unwrap();
    weights::save_vgg(&vgg, &path).unwrap();
    let official = menagerie_hub::StateDict::open(&path).unwrap();
    for key in [
        "features.0.conv_u.weight",
        "features.4.weight",
        "features.7.conv_v.bias",
    ] {
        assert!(official.get(key).is_some(), "{key}");
    }
    let back = weights::load_vgg(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&vgg), menagerie_hub::values(&back));

    let config = config_of_width(6);
    let network = config.init(&device).unwrap().redraw();
    weights::save_transformer(&network, &path).unwrap();
    let official = menagerie_hub::StateDict::open(&path).unwrap();
    for key in [
        "encoder.layers.0.self_attn.q_proj.in_network.weight",
        "decoder.layers.0.multihead_attn.out_proj.out_network.bias",
        "decoder.layers.0.linear2.out_network.weight",
        "decoder.layers.0.norm3.bias",
        "encoder.norm.weight",
    ] {
        assert!(official.get(key).is_some(), "{key}");
    }
    let back = weights::load_transformer(&config, &path, &device).unwrap();
    assert_eq!(
        menagerie_hub::values(&network),
        menagerie_hub::values(&back)
    );
}

#[test]
fn a_residual_network_trains_and_resumes_with_its_statistics() {
    let device = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let plain = device.clone().without_autodiff();
    let pool = pixels(8, 16, &plain);
    let train = |name: &str, steps: usize, resume: bool| {
        let config = small_resnet();
        let network = initialise(&device, Seed(1), || config.init(&device)).unwrap();
        let network = network.decompose().unwrap();
        let batch = |step: usize, device: &Device| {
            let labels: Vec<i64> = (0..8).map(|at| (at + step as i64) % 5).collect();
            let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [8]), device);
            Ok((pool.clone().autodiff(), labels))
        };
        let config = MaestroConfig::cifar();
        let mut training = Training::new(network, config.clone(), 2, Seed(2), batch)
            .unwrap()
            .scheduled(config.falling(6))
            .unwrap();
        let run = Run::create(&dir.path().join(name), &0, resume).unwrap();
        let fit = FitConfig {
            checkpoint_every: 3,
            ..FitConfig::new(steps)
        };
        run.fit(&mut training, &fit, &Progress::silent()).unwrap();
        menagerie_hub::values(&training.trained().unwrap())
    };
    let whole = train("whole", 6, false);
    train("parts", 3, false);
    assert_eq!(train("parts", 6, true), whole);
}

#[test]
fn the_rate_falls_after_half_and_three_quarters() {
    let schedule = MaestroConfig::cifar().falling(100);
    let rates = [0, 49, 50, 74, 75, 99].map(|step| schedule.at(step));
    for (found, expected) in rates.iter().zip([0.1, 0.1, 0.01, 0.01, 0.001, 0.001]) {
        assert!((found - expected).abs() < 1e-12, "{rates:?}");
    }
}
