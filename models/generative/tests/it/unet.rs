//! The network: its size, its blocks, its weights.

use crate::{device, drawn, largest, lively, normal, num_params, tiny, values};
use burn::tensor::Tensor;
use menagerie_generative::diffusion_classifier::{Heads, QkvOrder, UNetConfig, weights};
use menagerie_hub::{HubOptions, Source, StateDict};

#[test]
fn the_published_configuration_has_the_published_number_of_parameters() {
    let unet = UNetConfig::adm_256().init(&device()).unwrap();
    assert_eq!(num_params(&unet), 552_814_086);
}

#[test]
fn the_small_configuration_has_the_size_that_it_says() {
    let unet = UNetConfig::small().init(&device()).unwrap();
    assert_eq!(num_params(&unet), 1_140_929);
}

#[test]
fn blocks_have_the_shapes_that_the_configuration_says() {
    for (updown, scale_shift) in [(true, true), (false, false)] {
        let config = UNetConfig {
            resblock_updown: updown,
            scale_shift_norm: scale_shift,
            num_res_blocks: 2,
            channel_mult: vec![1, 2, 2],
            ..tiny()
        };
        let unet = lively(&config, 1, &device());
        let x = normal([2, 2, 8, 8], 1);
        let blocks: Vec<usize> = (1..=config.blocks()).collect();
        let found = unet.features(x.clone(), &[3, 70], &blocks).unwrap();
        let shapes = config.shapes().unwrap();
        assert_eq!(found.len(), shapes.len());
        for shape in shapes {
            let expected = [2, shape.channels, shape.side, shape.side];
            assert_eq!(
                found[&shape.block].dims(),
                expected,
                "block {}",
                shape.block
            );
        }
        assert_eq!(unet.forward(x, &[3, 70]).unwrap().dims(), [2, 4, 8, 8]);
    }
}

#[test]
fn an_early_exit_does_not_change_what_is_before_it() {
    let unet = lively(&tiny(), 2, &device());
    let x = normal([1, 2, 8, 8], 1);
    let all: Vec<usize> = (1..=tiny().blocks()).collect();
    let whole = unet.features(x.clone(), &[9], &all).unwrap();
    for block in all {
        let alone = unet.features(x.clone(), &[9], &[block]).unwrap();
        assert_eq!(values(alone[&block].clone()), values(whole[&block].clone()));
    }
}

#[test]
fn a_fresh_network_says_nothing_and_hears_the_timestep() {
    let x = normal([2, 2, 8, 8], 1);
    let fresh = drawn(&tiny(), 1, &device());
    assert_eq!(largest(fresh.forward(x.clone(), &[1, 99]).unwrap()), 0.0);
    let unet = lively(&tiny(), 1, &device());
    let one = unet.forward(x.clone(), &[1, 99]).unwrap();
    let other = unet.forward(x, &[1, 50]).unwrap();
    let difference = |image| largest((one.clone() - other.clone()).narrow(0, image, 1));
    assert_eq!(difference(0), 0.0);
    assert!(difference(1) > 1e-3);
}

#[test]
fn the_two_orders_of_queries_keys_and_values_are_permutations_of_each_other() {
    // With one head there is nothing to reorder; with two there is.
    let outputs = |heads, order| {
        let config = tiny().with_heads(Heads::Count(heads)).with_qkv_order(order);
        let unet = lively(&config, 3, &device());
        unet.forward(normal([1, 2, 8, 8], 1), &[5]).unwrap()
    };
    let difference =
        |heads| largest(outputs(heads, QkvOrder::Legacy) - outputs(heads, QkvOrder::Separate));
    assert_eq!(difference(1), 0.0);
    assert!(difference(2) > 1e-4);
}

#[test]
fn images_and_blocks_that_do_not_fit_are_refused() {
    let unet = drawn(&tiny(), 1, &device());
    let zeros = |shape| Tensor::<4>::zeros(shape, &device());
    let error = |shape, t: &[usize]| unet.forward(zeros(shape), t).unwrap_err().to_string();
    assert_eq!(
        error([1, 3, 8, 8], &[0]),
        "the shape of the images is [1, 3, 8, 8]: must be [batch, 2, 8, 8], or other sides that \
         are multiples of 2"
    );
    assert!(error([1, 2, 7, 8], &[0]).contains("multiples of 2"));
    assert_eq!(
        error([2, 2, 8, 8], &[0]),
        "the number of timesteps is 1: must be 2, one for each image"
    );
    let error = |blocks: &[usize]| {
        let found = unet.features(zeros([1, 2, 8, 8]), &[0], blocks);
        found.unwrap_err().to_string()
    };
    assert_eq!(
        error(&[]),
        "the list of blocks is []: must name at least one block"
    );
    assert_eq!(error(&[0]), "a block is 0: must lie in 1..=9");
    assert_eq!(error(&[3, 10]), "a block is 10: must lie in 1..=9");
    assert_eq!(
        error(&[3, 3]),
        "the list of blocks is [3, 3]: must name each block once"
    );
}

#[test]
fn weights_round_trip_through_their_official_names() {
    let dir = tempfile::tempdir().unwrap();
    for (updown, name) in [(true, "blocks"), (false, "convolutions")] {
        let config = tiny().with_resblock_updown(updown);
        let path = dir.path().join(format!("{name}.safetensors"));
        let unet = lively(&config, 4, &device());
        weights::save(&unet, &path).unwrap();
        let keys = StateDict::open(&path).unwrap();
        let shape = |key: &str| keys.get(key).unwrap().shape().to_vec();
        assert_eq!(shape("input_blocks.0.0.weight"), [8, 2, 3, 3]);
        assert_eq!(shape("input_blocks.3.1.qkv.weight"), [48, 16, 1]);
        assert_eq!(shape("time_embed.0.weight"), [32, 8]);
        assert_eq!(keys.get("input_blocks.2.0.op.weight").is_none(), updown);
        assert_eq!(keys.get("output_blocks.1.2.conv.weight").is_none(), updown);
        let back = weights::load(&config, &path, &device()).unwrap();
        assert_eq!(menagerie_hub::values(&unet), menagerie_hub::values(&back));
        let source = Source::parse(path.to_str().unwrap()).unwrap();
        let options = HubOptions::new(dir.path());
        let back = weights::load_from(&config, &source, &options, &device()).unwrap();
        assert_eq!(menagerie_hub::values(&unet), menagerie_hub::values(&back));
    }
}

#[test]
fn a_checkpoint_of_another_network_lists_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("unet.safetensors");
    weights::save(&drawn(&tiny(), 1, &device()), &path).unwrap();
    let error = |config: &UNetConfig| {
        let loaded = weights::load(config, &path, &device());
        loaded.unwrap_err().to_string()
    };
    // Another number of channels: of the image, and of the network.
    let grey = UNetConfig {
        in_channels: 1,
        ..tiny()
    };
    let text = error(&grey);
    assert!(
        text.contains("1 misshapen: `input_blocks.0.0.weight`"),
        "{text}"
    );
    let wide = UNetConfig {
        model_channels: 16,
        ..tiny()
    };
    assert!(error(&wide).contains("misshapen"), "{}", error(&wide));
    // Other blocks.
    let text = error(&tiny().with_resblock_updown(false));
    assert!(text.contains("input_blocks.2.0.op.weight"), "{text}");
    assert!(
        text.contains("missing") && text.contains("unexpected"),
        "{text}"
    );
    // Half a file.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let text = error(&tiny());
    assert!(text.contains("unet.safetensors"), "{text}");
}
