use super::{clips, floats, near, text, tiny};
use crate::device;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_mae::mae_base::objective::IMAGENET;
use menagerie_mae::videomae_v2::{
    BlocksConfig, ClassifierConfig, ClipConfig, DecoderMask, DualMasking, Grid, LossOver,
    MaskingConfig, Pooling, Target, VideoMaeConfig, objective, positions::resample,
};

#[test]
fn hidden_cubes_do_not_reach_the_encoder_nor_its_targets_the_loss() {
    let device = device();
    let config = tiny();
    let model = config.init(&device).unwrap();
    let masks = MaskingConfig::new()
        .draw(config.clip.grid(), 2, Seed(0))
        .unwrap();
    let dual = masks.on(&device).unwrap();
    let one = clips(2, &config.clip, 1, &device);
    let pass = model.forward(one.clone(), &dual).unwrap();
    assert_eq!(pass.encoded.dims(), [2, 4, 12]);
    assert_eq!(pass.decoder_input.dims(), [2, 4 + 16, 8]);
    assert_eq!(pass.predictions.dims(), [2, 16, 24]);

    // Other pixels wherever the encoder does not see.
    let other = clips(2, &config.clip, 2, &device);
    let mixed = mix(&one, &other, &masks.encoder);
    let mixed_pass = model.forward(mixed.clone(), &dual).unwrap();
    assert_eq!(floats(pass.predictions), floats(mixed_pass.predictions));
    let loss = |clips| floats(model.loss(clips, &dual).unwrap().total);
    assert_ne!(loss(one.clone()), loss(mixed));

    // Other pixels where cubes are visible or not decoded: targets that count stay.
    let uncounted: Vec<bool> = masks
        .encoder
        .iter()
        .zip(&masks.decoder)
        .map(|(hidden, left_out)| *hidden && *left_out)
        .collect();
    assert!(uncounted.contains(&true));
    assert_eq!(loss(one.clone()), loss(mix(&one, &other, &uncounted)));
}

/// `one` with the cubes of `other` where `from_other` says so.
fn mix(one: &Tensor<5>, other: &Tensor<5>, from_other: &[bool]) -> Tensor<5> {
    let [batch, channels, frames, height, width] = one.dims();
    let (rows, columns) = (height / 2, width / 2);
    let tokens = frames / 2 * rows * columns;
    let (a, b) = (floats(one.clone()), floats(other.clone()));
    let values: Vec<f32> = (0..a.len())
        .map(|at| {
            let (x, y) = (at % width, at / width % height);
            let t = at / (width * height) % frames;
            let clip = at / (width * height * frames * channels);
            let cube = clip * tokens + (t / 2 * rows + y / 2) * columns + x / 2;
            if from_other[cube] { b[at] } else { a[at] }
        })
        .collect();
    let data = TensorData::new(values, [batch, channels, frames, height, width]);
    Tensor::from_data(data, &one.device())
}

#[test]
fn targets_are_standardised_per_channel_with_the_epsilon_outside_of_the_root() {
    let device = device();
    // One cube of two pixels per channel: 1 and 3, 2 and 2, 5 and 1 before standardisation.
    let raw = [[1.0, 3.0], [2.0, 2.0], [5.0, 1.0]];
    let mean = IMAGENET.mean;
    let deviation = IMAGENET.deviation;
    let standard: Vec<f32> = (0..6)
        .map(|at| (raw[at / 2][at % 2] - mean[at / 2]) / deviation[at / 2])
        .collect();
    let cubes = Tensor::<3>::from_data(TensorData::new(standard, [1, 1, 6]), &device);
    let pixels = floats(objective::targets(cubes.clone(), Target::Pixels));
    near(&pixels, &[1.0, 2.0, 5.0, 3.0, 2.0, 1.0], 1e-5);
    let targets = objective::targets(cubes.clone(), Target::Standardised);
    // Deviations √2, 0 and √8 with the divisor n - 1; the second channel is 0 / 1e-6.
    let unit = 1.0 / 2.0_f32.sqrt();
    let found = floats(targets.clone());
    near(
        &[found[0], found[2], found[3], found[5]],
        &[-unit, unit, unit, -unit],
        1e-5,
    );
    let back = objective::predicted_pixels(targets, cubes, Target::Standardised);
    near(&floats(back), &[1.0, 3.0, 2.0, 2.0, 5.0, 1.0], 1e-4);
}

#[test]
fn the_loss_may_count_all_decoded_cubes() {
    let device = device();
    let masks = DualMasking::new(
        &[false, true, true, false],
        &[false, false, true, true],
        4,
        &device,
    )
    .unwrap();
    // Cubes 0 and 1 are decoded; 0 is visible.
    let errors = Tensor::<2>::from_floats([[5.0, 1.0]], &device);
    let invisible = objective::masked_mean(errors.clone(), &masks, LossOver::Invisible);
    let all = objective::masked_mean(errors, &masks, LossOver::Decoded);
    assert_eq!((floats(invisible), floats(all)), (vec![1.0], vec![3.0]));
}

#[test]
fn a_perfect_prediction_reconstructs_the_clip() {
    let device = device();
    let config = tiny().with_target(Target::Pixels);
    let mut model = config.init(&device).unwrap();
    // A head without weights predicts its bias: a grey that no visible cube has.
    let bias = model.decoder.head.bias.take().unwrap();
    model.decoder.head.weight = Param::from_tensor(model.decoder.head.weight.val() * 0.0);
    model.decoder.head.bias = Some(Param::from_tensor(bias.val() + 0.25));
    let grid = config.clip.grid();
    let masks = MaskingConfig::new().draw(grid, 2, Seed(3)).unwrap();
    let dual = masks.on(&device).unwrap();
    let input = clips(2, &config.clip, 4, &device);
    let found = model.reconstruct(input.clone(), &dual).unwrap();
    let grey = |value: f32| Tensor::full(found.original.dims(), value, &device);
    // What the masks say, pixel by pixel.
    let masked = mix(&found.original, &grey(0.5), &masks.encoder);
    near(&floats(found.masked.clone()), &floats(masked.clone()), 1e-6);
    let decoded: Vec<bool> = masks
        .encoder
        .iter()
        .zip(&masks.decoder)
        .map(|(hidden, left_out)| *hidden && !left_out)
        .collect();
    let filled = mix(&masked, &grey(0.25), &decoded);
    near(&floats(found.reconstructed), &floats(filled), 1e-6);
    assert!(
        floats(found.original)
            .iter()
            .all(|value| (0.0..=1.0).contains(value))
    );
}

#[test]
fn cosine_attention_and_layer_scale_train() {
    let device = device().autodiff();
    let blocks = BlocksConfig::new()
        .with_cosine(true)
        .with_layer_scale(Some(0.1));
    let config = tiny().with_blocks(blocks);
    let model = config.init(&device).unwrap();
    let dual = MaskingConfig::new()
        .draw(config.clip.grid(), 2, Seed(0))
        .unwrap()
        .on(&device)
        .unwrap();
    let loss = model
        .loss(clips(2, &config.clip, 1, &device), &dual)
        .unwrap();
    let grads = loss.total.backward();
    let block = &model.encoder.blocks[0];
    let moved = |gradient: Option<Vec<f32>>| gradient.unwrap().iter().any(|value| *value != 0.0);
    let scale = block.attn.scale.as_ref().unwrap().val();
    assert!(moved(scale.grad(&grads).map(floats)));
    let gamma = block.gamma_1.as_ref().unwrap().val();
    assert!(moved(gamma.grad(&grads).map(floats)));
    // Keys have no bias to train.
    assert!(block.attn.qkv.bias.is_none());
}

#[test]
fn the_encoder_and_the_extractor_agree() {
    let device = device();
    let config = tiny();
    let model = config.init(&device).unwrap();
    let mut extractor = ClassifierConfig::of(&config, None).init(&device).unwrap();
    extractor.patch_embed = model.encoder.patch_embed.clone();
    extractor.blocks = model.encoder.blocks.clone();
    let input = clips(3, &config.clip, 1, &device);
    let tokens = model
        .encoder
        .norm
        .forward(extractor.tokens(input.clone()).unwrap());
    near(
        &floats(tokens.clone()),
        &floats(model.encode(input.clone()).unwrap()),
        1e-5,
    );
    let mean = tokens.mean_dim(1).squeeze_dim::<2>(1);
    near(&floats(mean), &floats(model.features(input).unwrap()), 1e-5);
}

#[test]
fn views_are_averaged_as_probabilities_and_windows_slide() {
    let device = device();
    let config = ClassifierConfig::of(&tiny(), Some(5)).with_head_scale(1.0);
    let model = config.init(&device).unwrap();
    let views = clips(3, &config.clip, 1, &device);
    let each = floats(model.classify(views.clone()).unwrap());
    let mean: Vec<f32> = (0..5)
        .map(|class| (each[class] + each[5 + class] + each[10 + class]) / 3.0)
        .collect();
    let found = floats(model.classify_views(views.clone()).unwrap());
    near(&found, &mean, 1e-6);
    assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-5);

    let long = ClipConfig {
        frames: 11,
        ..config.clip
    };
    let video = clips(1, &long, 2, &device).squeeze_dim::<4>(0);
    let features = model.sliding_features(video.clone(), 3, 2).unwrap();
    assert_eq!(features.dims(), [3, 12]);
    let second = video.clone().narrow(1, 3, 4).unsqueeze::<5>();
    near(
        &floats(features)[12..24],
        &floats(model.features(second).unwrap()),
        1e-5,
    );
    assert_eq!(
        text(model.sliding_features(video.clone().narrow(1, 0, 3), 1, 1)),
        "the number of frames is 3: must be at least 4, the frames of a window"
    );
    assert_eq!(
        text(model.sliding_features(video, 0, 1)),
        "the step is 0: must be at least 1"
    );
}

#[test]
fn the_first_token_can_stand_for_the_clip() {
    let device = device();
    let config = ClassifierConfig::of(&tiny(), Some(4)).with_pooling(Pooling::First);
    let model = config.init(&device).unwrap();
    let input = clips(2, &config.clip, 1, &device);
    let tokens = model.tokens(input.clone()).unwrap();
    let norm = model.norm.as_ref().unwrap();
    let first = norm.forward(tokens.narrow(1, 0, 1)).squeeze_dim::<2>(1);
    near(
        &floats(first),
        &floats(model.features(input).unwrap()),
        1e-6,
    );
    assert!(model.fc_norm.is_none());
}

#[test]
fn tables_are_resampled_in_space_then_time() {
    let grid = |time, rows, columns| Grid {
        time,
        rows,
        columns,
    };
    let (from, to) = (grid(2, 2, 3), grid(3, 3, 4));
    let values: Vec<f32> = (0..12).map(|at| (at * at % 7) as f32).collect();
    let table = TensorData::new(values, [12, 1]);
    let resampled = resample(table.clone(), from, to).unwrap();
    assert_eq!(resampled.shape().to_vec(), [36, 1]);
    // PyTorch's `interpolate`: bicubic over rows and columns, then linear over time.
    let expected = [
        -0.251619, 0.182436, 2.14493, 4.221563, 0.964111, 1.045166, 2.455811, 4.179443, 2.179842,
        1.907896, 2.766691, 4.137324, 0.276755, 0.109248, 1.131312, 2.606383, 1.785889, 1.265381,
        1.735596, 2.857666, 3.295022, 2.421514, 2.339879, 3.108949, 0.80513, 0.03606, 0.117694,
        0.991202, 2.607666, 1.485596, 1.015381, 1.535889, 4.410202, 2.935131, 1.913067, 2.080575,
    ];
    let found: Vec<f32> = resampled.iter().collect();
    near(&found, &expected, 1e-5);

    assert_eq!(resample(table.clone(), from, from).unwrap(), table);
    assert_eq!(
        text(resample(table.clone(), to, from)),
        "the table of positions is [12, 1]: must be [36, dim]"
    );
    assert!(text(resample(table, from, grid(0, 1, 1))).ends_with("must not be empty"));
    // A model for other clips than its weights takes the resampled table.
    let trained = ClipConfig::new().with_frames(4).with_size(16).with_patch(2);
    let config = ClassifierConfig::of(&tiny(), None).with_trained_on(Some(trained));
    let model = config.init(&device()).unwrap();
    let plain = ClassifierConfig::of(&tiny(), None).init(&device()).unwrap();
    assert_eq!(model.positions.dims(), [32, 12]);
    assert_ne!(floats(model.positions), floats(plain.positions));
}

#[test]
fn clips_that_do_not_fit_are_refused() {
    let device = device();
    let config = tiny();
    let model = config.init(&device).unwrap();
    let dual = MaskingConfig::new()
        .draw(config.clip.grid(), 2, Seed(0))
        .unwrap()
        .on(&device)
        .unwrap();
    let rule = "must be [batch, 3, 4, 8, 8] with at least one clip, channels before frames";
    for shape in [
        [2, 4, 3, 8, 8],
        [2, 3, 4, 8, 10],
        [2, 1, 4, 8, 8],
        [2, 3, 6, 8, 8],
    ] {
        let wrong = || Tensor::<5>::zeros(shape, &device);
        let expected = format!("clips is {shape:?}: {rule}");
        assert_eq!(text(model.forward(wrong(), &dual)), expected);
        assert_eq!(text(model.loss(wrong(), &dual)), expected);
        assert_eq!(text(model.reconstruct(wrong(), &dual)), expected);
        assert_eq!(text(model.encode(wrong())), expected);
    }
    assert_eq!(
        text(model.loss(clips(3, &config.clip, 0, &device), &dual)),
        "the shape of the masks is [2, 32]: must be [3, 32], the clips and their cubes"
    );
    let extractor = ClassifierConfig::of(&config, None).init(&device).unwrap();
    assert_eq!(
        text(extractor.classify(clips(1, &config.clip, 0, &device))),
        "ClassifierConfig.classes = None: must be set: a feature extractor has no head"
    );
}

#[test]
fn weights_start_as_the_official_code_draws_them() {
    let device = device();
    let model = VideoMaeConfig::small().init(&device).unwrap();
    let range = |values: &[f32]| {
        values
            .iter()
            .fold(0.0_f32, |most, value| most.max(value.abs()))
    };
    let token = floats(model.mask_token.val());
    assert!(range(&token) <= 0.02 && range(&token) > 0.015);
    let mean = token.iter().sum::<f32>() / token.len() as f32;
    assert!(mean.abs() < 0.005);
    // Xavier for the blocks, PyTorch's default for the bridge: ±√(6 / 1536) and ±1 / √384.
    let qkv = floats(model.encoder.blocks[0].attn.proj.weight.val());
    let bound = (6.0_f32 / (384.0 + 384.0)).sqrt();
    assert!(range(&qkv) <= bound && range(&qkv) > 0.95 * bound);
    let bridge = floats(model.encoder_to_decoder.weight.val());
    let bound = 1.0 / 384.0_f32.sqrt();
    assert!(range(&bridge) <= bound && range(&bridge) > 0.95 * bound);
    assert!(model.encoder_to_decoder.bias.is_none());
    let embed = floats(model.encoder.patch_embed.weight.val());
    let bound = 1.0 / 1536.0_f32.sqrt();
    assert!(range(&embed) <= bound && range(&embed) > 0.95 * bound);
    // The head of a classifier is scaled down.
    let classifier = ClassifierConfig::small(Some(10)).init(&device).unwrap();
    let head = floats(classifier.head.unwrap().weight.val());
    let deviation =
        (head.iter().map(|value| value * value).sum::<f32>() / head.len() as f32).sqrt();
    assert!((deviation / 2e-5 - 1.0).abs() < 0.1, "{deviation}");
}

#[test]
fn the_tables_move_with_the_module_and_are_no_parameters() {
    let device = device();
    let model = tiny().init(&device.clone().autodiff()).unwrap();
    let inner = model.valid();
    assert_eq!(inner.encoder.positions.device(), device);
    let paths = menagerie_hub::values(&inner);
    assert!(!paths.keys().any(|path| path.contains("positions")));
    let random = MaskingConfig::new().with_decoder(DecoderMask::Random(0.5));
    let masks = random.draw(tiny().clip.grid(), 1, Seed(0)).unwrap();
    assert!(masks.on(&device).is_ok());
}
