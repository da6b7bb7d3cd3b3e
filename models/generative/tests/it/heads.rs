//! Heads: their sizes, what they see, what they refuse.

use crate::{device, largest, normal, num_params, values};
use burn::module::Module;
use burn::tensor::Tensor;
use menagerie_generative::diffusion_classifier::{
    AttentionHeadConfig, ConvHeadConfig, FeaturePoints, Features, Head, HeadBlock, HeadNorm,
    LinearHeadConfig, UNetConfig, weights,
};
use menagerie_hub::StateDict;

#[test]
fn published_heads_have_the_published_number_of_parameters() {
    let linear = |pool| num_params(&LinearHeadConfig::imagenet(pool).init(&device()).unwrap());
    assert_eq!(linear(1), 1_025_000);
    assert_eq!(linear(2), 4_097_000);
    let attention = AttentionHeadConfig::imagenet();
    assert_eq!(num_params(&attention.init(&device()).unwrap()), 27_786_216);
}

#[test]
fn the_published_head_stands_in_the_official_words() {
    let words = "Use_CLS_Token:True:1024,Insert_CLS_Token,Attention:1024:8:4:2,Extract_CLS_Token";
    let read = AttentionHeadConfig::imagenet().with_layers(words).unwrap();
    assert_eq!(read, AttentionHeadConfig::imagenet());
    // Any text counts as true.
    let words = words.replace("True", "False");
    assert!(
        AttentionHeadConfig::imagenet()
            .with_layers(&words)
            .unwrap()
            .cls_token
    );
    let mean = AttentionHeadConfig::imagenet().with_layers("Attention:64:2:1.5:3, FullyPool");
    let mean = mean.unwrap();
    assert_eq!((mean.dim, mean.cls_token), (64, false));
    assert_eq!(mean.blocks, vec![HeadBlock::new(2, 1.5); 3]);
    for (words, rule) in [
        ("Attention:64:2:4:2", "or end in FullyPool"),
        ("Attention:64:2:4,FullyPool", "of the form Attention:"),
        ("Attention:64:2:x:1,FullyPool", "of the form Attention:"),
        (
            "Attention:64:2:4:1,Attention:32:2:4:1,FullyPool",
            "one width",
        ),
        ("FullyPool", "one width"),
        (
            "Yes:1,Insert_CLS_Token,Extract_CLS_Token",
            "begin with Use_CLS_Token",
        ),
    ] {
        let error = AttentionHeadConfig::imagenet().with_layers(words);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(rule), "{words}: {error}");
    }
}

fn attention() -> AttentionHeadConfig {
    AttentionHeadConfig::new(vec![[3, 4, 8], [5, 6, 2]], 2, 5)
        .with_dim(8)
        .with_blocks(vec![HeadBlock::new(2, 2.0); 2])
        .with_pool(4)
}

fn features(batch: usize, seed: u64) -> Features {
    let maps = |seed| {
        vec![
            normal([batch, 4, 8, 8], seed),
            normal([batch, 6, 2, 2], seed + 1),
        ]
    };
    Features {
        maps: vec![maps(seed), maps(seed + 10)],
    }
}

#[test]
fn the_attention_head_fuses_blocks_and_timesteps() {
    for norm in [HeadNorm::Layer, HeadNorm::Batch] {
        for token in [true, false] {
            let config = attention().with_norm(norm).with_cls_token(token);
            let head = config.init(&device()).unwrap();
            let all = head.forward(&features(3, 1)).unwrap();
            assert_eq!(all.dims(), [3, 5]);
            // Each map counts.
            for (t, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let mut other = features(3, 1);
                other.maps[t][b] = normal(other.maps[t][b].dims(), 99);
                let moved = largest(head.forward(&other).unwrap() - all.clone());
                assert!(moved > 1e-5, "{norm:?} {token} {t} {b}: {moved}");
            }
        }
    }
}

#[test]
fn the_attention_head_does_not_see_where_a_pixel_lies() {
    // Batch normalisation, whose gains are alike for all pixels.
    let config = AttentionHeadConfig::new(vec![[3, 4, 4]], 1, 5)
        .with_dim(8)
        .with_blocks(vec![HeadBlock::new(2, 2.0)])
        .with_norm(HeadNorm::Batch);
    let head = config.init(&device()).unwrap();
    let map = normal([2, 4, 4, 4], 1);
    let one = head.forward(&Features::one(map.clone())).unwrap();
    let other = head.forward(&Features::one(map.flip([2, 3]))).unwrap();
    assert!(largest(one - other) < 1e-5);
}

#[test]
fn the_linear_head_is_a_matrix_on_pooled_channels() {
    let head = LinearHeadConfig::new(3, 2, 4).init(&device()).unwrap();
    // Each quarter of a map has one value.
    let quarters = normal([2, 3, 2, 2], 1);
    let map = menagerie_nn::resample::upsample_nearest(quarters.clone());
    assert!(largest(head.pool(map.clone()).unwrap() - quarters.clone()) < 1e-6);
    let flat: Tensor<2> = quarters.flatten(1, 3);
    let expected = head.fcs[0].forward(flat);
    assert!(largest(head.forward(map).unwrap() - expected) < 1e-5);
    let deep = LinearHeadConfig::new(3, 1, 4).with_hidden(vec![7, 5]);
    let deep = deep.init(&device()).unwrap();
    let widths: Vec<[usize; 2]> = deep.fcs.iter().map(|fc| fc.weight.dims()).collect();
    assert_eq!(widths, [[3, 7], [7, 5], [5, 4]]);
    // A grid that does not divide the side.
    let odd = LinearHeadConfig::new(3, 3, 4).init(&device()).unwrap();
    assert_eq!(odd.forward(normal([1, 3, 8, 8], 2)).unwrap().dims(), [1, 4]);
}

#[test]
fn every_head_gives_probabilities() {
    let config = ConvHeadConfig::new(4, [8, 16], 5);
    let heads = [
        Head::Linear(LinearHeadConfig::new(4, 2, 5).init(&device()).unwrap()),
        Head::Conv(config.init(&device()).unwrap()),
        Head::Attention(
            AttentionHeadConfig::new(vec![[1, 4, 6]], 1, 5)
                .with_dim(8)
                .with_blocks(vec![HeadBlock::new(2, 2.0)])
                .init(&device())
                .unwrap(),
        ),
    ];
    for head in heads {
        let features = Features::one(normal([2, 4, 6, 6], 1));
        let probabilities = values(head.predict(&features).unwrap());
        for row in probabilities.chunks(5) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn weights_of_heads_load_by_their_official_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("head.safetensors");
    let write = |map: menagerie_hub::KeyMap, values| {
        let official = map.to_official(&values).unwrap();
        let dict = StateDict::from_tensors("a head", official);
        dict.save_safetensors(&path).unwrap();
        StateDict::open(&path).unwrap()
    };
    for norm in [HeadNorm::Layer, HeadNorm::Batch] {
        let config = attention().with_norm(norm);
        let head = config.init(&device()).unwrap();
        let values = menagerie_hub::values(&head);
        let dict = write(weights::attention_key_map(&config), values.clone());
        assert!(dict.get("pre_layer.5.2.weight").is_some());
        assert!(
            dict.get("intra_inter_block_attention.layers.2.attn.qkv.weight")
                .is_some()
        );
        let back = weights::load_attention(&config, &path, &device()).unwrap();
        assert_eq!(menagerie_hub::values(&back), values);
    }
    let config = LinearHeadConfig::new(4, 1, 3).with_hidden(vec![2]);
    let values = menagerie_hub::values(&config.init(&device()).unwrap());
    write(weights::linear_key_map(), values.clone());
    let back = weights::load_linear(&config, &path, &device()).unwrap();
    assert_eq!(menagerie_hub::values(&back), values);
    let error = weights::load_attention(&attention(), &path, &device()).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn every_head_comes_back_from_where_it_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("head.safetensors");
    let device = device();
    let linear = LinearHeadConfig::new(4, 2, 3).with_hidden(vec![5]);
    let conv = ConvHeadConfig::new(4, [8, 16], 3);
    let head = linear.init(&device).unwrap();
    weights::save_head(&Head::Linear(head.clone()), &path).unwrap();
    let back = weights::load_linear(&linear, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&back), menagerie_hub::values(&head));

    let head = conv.init(&device).unwrap();
    weights::save_head(&Head::Conv(head.clone()), &path).unwrap();
    let back = weights::load_conv(&conv, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&back), menagerie_hub::values(&head));
    let stored = StateDict::open(&path).unwrap();
    // Outputs first, as in PyTorch.
    assert_eq!(stored.get("fc.weight").unwrap().shape().to_vec(), [3, 16]);
    let other = ConvHeadConfig::new(4, [8, 24], 3);
    let error = weights::load_conv(&other, &path, &device).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("does not fit ConvHead") && text.contains("`conv2.weight`"),
        "{text}"
    );

    for norm in [HeadNorm::Layer, HeadNorm::Batch] {
        let config = attention().with_norm(norm);
        let head = config.init(&device).unwrap();
        weights::save_head(&Head::Attention(head.clone()), &path).unwrap();
        let back = weights::load_attention(&config, &path, &device).unwrap();
        assert_eq!(menagerie_hub::values(&back), menagerie_hub::values(&head));
    }
}

#[test]
fn impossible_heads_are_refused() {
    let text = |error: menagerie_core::Error| error.to_string();
    assert_eq!(
        text(LinearHeadConfig::new(4, 0, 3).init(&device()).unwrap_err()),
        "LinearHeadConfig.pool = 0: must be at least 1"
    );
    assert_eq!(
        text(LinearHeadConfig::new(4, 1, 1).init(&device()).unwrap_err()),
        "LinearHeadConfig.classes = 1: must be at least 2"
    );
    let hidden = LinearHeadConfig::new(4, 1, 3).with_hidden(vec![5, 0]);
    assert_eq!(
        text(hidden.init(&device()).unwrap_err()),
        "LinearHeadConfig.hidden = 0: must be at least 1"
    );
    assert_eq!(
        text(
            ConvHeadConfig::new(4, [8, 12], 3)
                .init(&device())
                .unwrap_err()
        ),
        "ConvHeadConfig.groups = 8: must divide both widths, [8, 12]"
    );
    let error = |config: AttentionHeadConfig| text(config.init(&device()).unwrap_err());
    assert_eq!(
        error(attention().with_blocks(vec![HeadBlock::new(3, 4.0)])),
        "AttentionHeadConfig.blocks.heads = 3: must divide dim, which is 8"
    );
    assert_eq!(
        error(attention().with_blocks(vec![HeadBlock::new(2, 0.0)])),
        "AttentionHeadConfig.blocks.ratio = 0.0: must give at least one hidden unit"
    );
    assert_eq!(
        error(attention().with_pool(0)),
        "AttentionHeadConfig.pool = 0: must be at least 1"
    );
    let empty = AttentionHeadConfig::new(vec![], 1, 5);
    assert_eq!(
        error(empty),
        "AttentionHeadConfig.maps = 0: must be at least 1"
    );
}

#[test]
fn features_that_a_head_was_not_made_for_are_refused() {
    let linear = Head::Linear(LinearHeadConfig::new(4, 1, 3).init(&device()).unwrap());
    // A linear head takes one map: one timestep and one block.
    let error = linear.forward(&features(2, 1)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the number of timesteps and blocks is [2, 2]: must be one of each for a head that takes \
         a single map"
    );
    let wide = Features::one(normal([2, 5, 2, 2], 1));
    assert_eq!(
        linear.forward(&wide).unwrap_err().to_string(),
        "the shape of a feature map is [2, 5, 2, 2]: must be [batch, 4, height, width], not empty"
    );
    let head = attention().init(&device()).unwrap();
    assert_eq!(
        head.forward(&wide).unwrap_err().to_string(),
        "the number of timesteps is 1: must be 2, as the head was made for"
    );
    let mut few = features(2, 1);
    few.maps[1].pop();
    assert_eq!(
        head.forward(&few).unwrap_err().to_string(),
        "the number of blocks is 1: must be 2, as the head was made for"
    );
}

#[test]
fn published_points_exist_in_the_published_network() {
    let config = UNetConfig::adm_256();
    let diffusion = menagerie_nn::diffusion::NoiseSchedule::Linear
        .diffusion(1_000)
        .unwrap();
    for points in [FeaturePoints::best(), FeaturePoints::fusion()] {
        points.validate(&config, &diffusion).unwrap();
    }
    let shapes = config.shapes().unwrap();
    let fused: Vec<_> = [19, 24, 30].map(|block| shapes[block - 1]).into();
    let head = AttentionHeadConfig::fused(&fused, &FeaturePoints::fusion(), 50);
    assert_eq!(head.maps, [[19, 1024, 8], [24, 1024, 16], [30, 512, 64]]);
    assert_eq!(head.timesteps, 3);
    head.validate().unwrap();
    assert!(head.init(&device()).unwrap().num_params() > 0);
}
