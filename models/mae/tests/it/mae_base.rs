//! mae-base: counts, behaviour, training, weights and refusals.

mod refusals;
mod training;
mod weights;

use crate::{device, num_params};
use burn::tensor::{Device, Distribution, Tensor};
use menagerie_core::Seed;
use menagerie_mae::mae_base::{
    ClassifierConfig, DecoderConfig, Mae, MaeConfig, Pooling, Start, VitConfig, objective,
};
use menagerie_nn::vit::{Masking, Order, patchify};

/// 16 patches of 8×8.
pub(crate) fn vit() -> VitConfig {
    VitConfig::new(32, 8, 16, 2, 2)
}

pub(crate) fn small() -> MaeConfig {
    MaeConfig::new(vit(), DecoderConfig::new(8, 1, 2))
}

pub(crate) fn drawn(config: &MaeConfig, seed: u64, device: &Device) -> Mae {
    menagerie_train::initialise(device, Seed(seed), || config.init(device)).unwrap()
}

pub(crate) fn images(batch: usize, device: &Device) -> Tensor<4> {
    Tensor::random([batch, 3, 32, 32], Distribution::Normal(0.0, 1.0), device)
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.without_autodiff().into_data().iter().collect()
}

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    for (config, whole, encoder, classifier) in [
        (MaeConfig::base(), 111_907_840, 85_798_656, 86_567_656),
        (MaeConfig::large(), 329_541_888, 303_301_632, 304_326_632),
        (MaeConfig::huge(), 657_074_508, 630_764_800, 632_045_800),
    ] {
        // Parameters are drawn when they are first used: none of these takes memory.
        let mae = config.init(&device).unwrap();
        assert_eq!(num_params(&mae), whole);
        let vit = config.encoder.init(Start::Pretraining, true, &device);
        assert_eq!(num_params(&vit.unwrap()), encoder);
        let model = ClassifierConfig::imagenet(config.encoder);
        assert_eq!(num_params(&model.init(&device).unwrap()), classifier);
    }
    assert_eq!(VitConfig::base().tokens(), 196);
    assert_eq!(MaeConfig::base().visible(), 49);
    assert_eq!(MaeConfig::huge().encoder.tokens(), 256);
    let rates: Vec<f64> = [VitConfig::base(), VitConfig::large(), VitConfig::huge()]
        .map(|encoder| ClassifierConfig::imagenet(encoder).drop_path)
        .to_vec();
    assert_eq!(rates, [0.1, 0.2, 0.3]);
}

#[test]
fn weights_start_as_published() {
    let device = device();
    let mae = drawn(&small(), 1, &device);
    let spread = |values: Vec<f32>| {
        let square: f32 = values.iter().map(|value| value * value).sum();
        (square / values.len() as f32).sqrt()
    };
    let block = &mae.encoder.blocks[0];
    // Xavier over the fused projection: √(2 / (16 + 48)).
    let qkv = spread(values(block.attn.qkv.weight.val()));
    assert!((qkv / (2.0f32 / 64.0).sqrt() - 1.0).abs() < 0.1, "{qkv}");
    let patch = spread(values(mae.encoder.patch_embed.weight.val()));
    let expected = (2.0f32 / (16.0 + 192.0)).sqrt();
    assert!((patch / expected - 1.0).abs() < 0.1, "{patch}");
    let bias = values(mae.encoder.patch_embed.bias.val());
    let bound = (1.0f32 / 192.0).sqrt();
    assert!(bias.iter().all(|b| b.abs() <= bound) && spread(bias) > 0.3 * bound);
    assert!(
        values(block.mlp.fc1.bias.as_ref().unwrap().val())
            .iter()
            .all(|b| *b == 0.0)
    );
    let token = spread(values(mae.decoder.mask_token.val()));
    assert!(token > 0.005 && token < 0.05, "{token}");
    // Row 0 is the class token's.
    assert!(
        values(mae.encoder.pos_embed.val())[..16]
            .iter()
            .all(|p| *p == 0.0)
    );

    let config = ClassifierConfig::new(vit(), 5);
    let model = menagerie_train::initialise(&device, Seed(2), || config.init(&device)).unwrap();
    let fc1 = spread(values(model.encoder.blocks[1].mlp.fc1.weight.val()));
    assert!((fc1 / 0.02 - 1.0).abs() < 0.15, "{fc1}");
    let positions = spread(values(model.encoder.pos_embed.val()));
    assert!((positions / 0.02 - 1.0).abs() < 0.25, "{positions}");
}

#[test]
fn features_stop_where_they_are_asked_for() {
    let device = device();
    let mae = drawn(&small(), 3, &device);
    let images = images(2, &device);
    let masking = small().draw_masking(2, Seed(1), &device).unwrap();
    let output = mae
        .forward_with_features(images.clone(), &masking, &[1, 0])
        .unwrap();
    let alone = mae
        .encoder
        .features(images.clone(), Some(&masking), &[0])
        .unwrap();
    assert_eq!(values(output.features[1].clone()), values(alone[0].clone()));
    // The last block's output is before the norm.
    let norm = mae.encoder.norm.as_ref().unwrap();
    let normed = norm.forward(output.features[0].clone());
    assert_eq!(values(normed), values(output.latent.clone()));
    assert_eq!(output.latent.dims(), [2, 1 + 4, 16]);
    let plain = mae.forward_with(images.clone(), &masking).unwrap();
    assert_eq!(values(plain.prediction), values(output.prediction));
    assert!(mae.encoder.features(images, None, &[]).unwrap().is_empty());
}

#[test]
fn hidden_patches_do_not_reach_the_encoder() {
    let device = device();
    let mae = drawn(&small(), 4, &device);
    let first = images(1, &device);
    let masking = small().draw_masking(1, Seed(2), &device).unwrap();
    // Other pixels in all hidden patches.
    let hidden = masking.mask.clone().unsqueeze_dim::<3>(2);
    let patches = patchify(first.clone(), 8) + hidden * 3.0;
    let second = menagerie_nn::vit::unpatchify(patches, 8, [4, 4]);
    let latent = |images| values(mae.forward_with(images, &masking).unwrap().latent);
    assert_eq!(latent(first.clone()), latent(second.clone()));
    let all = |images| values(mae.encode(images).unwrap());
    assert_ne!(all(first), all(second));
}

#[test]
fn a_reconstruction_keeps_what_is_visible() {
    let device = device();
    for normalised in [false, true] {
        let config = small().with_norm_pix_loss(normalised);
        let mae = drawn(&config, 5, &device);
        let images = images(2, &device);
        let masking = config.draw_masking(2, Seed(3), &device).unwrap();
        let made = mae.reconstruct(images.clone(), &masking).unwrap();
        assert_eq!(made.pasted.dims(), [2, 3, 32, 32]);
        let mask = masking.mask.clone().unsqueeze_dim::<3>(2);
        let visible =
            (patchify(made.pasted.clone() - images.clone(), 8)) * (mask.clone() * -1.0 + 1.0);
        assert!(
            values(visible)
                .iter()
                .all(|difference| difference.abs() < 1e-6)
        );
        let filled = patchify(made.pasted - made.predicted.clone(), 8) * mask;
        assert!(
            values(filled)
                .iter()
                .all(|difference| difference.abs() < 1e-6)
        );
        // What was predicted in normalised pixels comes back in those of the image.
        let output = mae.forward_with(images.clone(), &masking).unwrap();
        let again = match normalised {
            false => patchify(made.predicted, 8),
            true => objective::PatchMoments::of(patchify(images, 8))
                .normalise(patchify(made.predicted, 8)),
        };
        for (a, b) in values(again).iter().zip(values(output.prediction)) {
            assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{a} against {b}");
        }
    }
}

#[test]
fn the_mean_of_patches_leaves_the_class_token_out() {
    let device = device();
    let config = ClassifierConfig::new(vit(), 3);
    let model = menagerie_train::initialise(&device, Seed(6), || config.init(&device)).unwrap();
    let images = images(2, &device);
    let tokens = model.encoder.forward(images.clone(), None, &[]).unwrap();
    let mean = tokens
        .clone()
        .narrow(1, 1, 16)
        .mean_dim(1)
        .squeeze_dim::<2>(1);
    let expected = model.fc_norm.as_ref().unwrap().forward(mean);
    assert_eq!(
        values(model.features(images.clone()).unwrap()),
        values(expected)
    );
    assert!(model.encoder.norm.is_none());
    let probabilities = values(model.classify(images.clone()).unwrap());
    for row in probabilities.chunks(3) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }

    let config = config.with_pooling(Pooling::ClassToken);
    let model = menagerie_train::initialise(&device, Seed(6), || config.init(&device)).unwrap();
    let tokens = model.encoder.forward(images.clone(), None, &[]).unwrap();
    let class = tokens.narrow(1, 0, 1).squeeze_dim::<2>(1);
    assert_eq!(values(model.features(images).unwrap()), values(class));
    assert!(model.fc_norm.is_none());
}

#[test]
fn any_number_of_channels_and_any_order_of_noise_will_do() {
    let device = device();
    for channels in [1, 2, 5] {
        let config = MaeConfig::new(vit().with_channels(channels), DecoderConfig::new(8, 1, 2));
        let mae = drawn(&config, 7, &device);
        let images = Tensor::random([2, channels, 32, 32], Distribution::Default, &device);
        let noise: Vec<f32> = (0..32).map(|at| (at * 7 % 16) as f32).collect();
        let masking = Masking::from_noise(&noise, [2, 16], 4, Order::Descending, &device).unwrap();
        let (loss, output) = mae.loss(images.clone(), &masking).unwrap();
        assert_eq!(output.prediction.dims(), [2, 16, 64 * channels]);
        assert!(values(loss)[0].is_finite());
        let made = mae.reconstruct(images.clone(), &masking).unwrap();
        assert_eq!(made.predicted.dims(), images.dims());
    }
}
