use crate::{assert_close, noise, tensor, values};
use burn::module::{Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Tensor, TensorData, activation, module};
use menagerie_core::{Seed, device};
use menagerie_nn::vit::{
    Block, BlockConfig, Masking, Order, PatchEmbedConfig, QkvBias, TubeEmbedConfig, draw_keep,
    draw_noise, len_keep, linear_rates, patchify,
    position::{First, interpolate, resize_bicubic, sincos_2d, sinusoid_1d},
    unpatchify,
};

/// `MENAGERIE_DEVICE`, else `flex`.
fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    device::parse(&name).unwrap()
}

fn close<const D: usize>(case: &str, ours: Tensor<D>, reference: Tensor<D>) {
    assert_eq!(ours.dims(), reference.dims(), "{case}");
    assert_close(
        case,
        &[("value", values(ours))],
        &[("value", values(reference))],
        1e-5,
    );
}

fn floats(data: &TensorData) -> Vec<f32> {
    data.iter().collect()
}

fn replaced<const D: usize>(seed: u64, dims: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(tensor(seed, dims, device, DType::F32))
}

/// A block whose every parameter is noise.
fn noisy(config: &BlockConfig, device: &Device) -> Block {
    let (dim, hidden) = (config.dim, config.hidden);
    let mut block = config.init(device).unwrap();
    block.norm1.weight = replaced(1, [dim], device);
    block.norm1.bias = replaced(2, [dim], device);
    block.norm2.weight = replaced(3, [dim], device);
    block.norm2.bias = replaced(4, [dim], device);
    block.attn.qkv.weight = replaced(5, [dim, 3 * dim], device);
    block.attn.q_bias = block.attn.q_bias.map(|_| replaced(6, [dim], device));
    block.attn.v_bias = block.attn.v_bias.map(|_| replaced(7, [dim], device));
    block.attn.proj.bias = Some(replaced(8, [dim], device));
    block.mlp.fc1.bias = Some(replaced(9, [hidden], device));
    block.mlp.fc2.bias = Some(replaced(10, [dim], device));
    block.gamma_1 = block.gamma_1.map(|_| replaced(11, [dim], device));
    block.gamma_2 = block.gamma_2.map(|_| replaced(12, [dim], device));
    block
}

#[test]
fn a_block_is_what_its_equations_say() {
    let device = device();
    for cosine in [false, true] {
        let config = BlockConfig::new(12, 3, 20)
            .with_qkv_bias(QkvBias::QueryValue)
            .with_layer_scale(Some(0.1))
            .with_cosine(cosine);
        let mut block = noisy(&config, &device);
        if cosine {
            // One head beyond the cap.
            let scale = Tensor::<3>::from_floats([[[1.0]], [[2.0]], [[9.0]]], &device);
            block.attn.scale = Some(Param::from_tensor(scale));
        }
        let x = tensor::<3>(20, [2, 5, 12], &device, DType::F32);

        let normed = |x: Tensor<3>, seed: u64| {
            let (variance, mean) = x.clone().var_mean_bias(2);
            let unit = (x - mean) / (variance + 1e-6).sqrt();
            let gain = tensor::<1>(seed, [12], &device, DType::F32).unsqueeze();
            unit * gain + tensor::<1>(seed + 1, [12], &device, DType::F32).unsqueeze()
        };
        let linear =
            |x: Tensor<3>, w: Tensor<2>, b: Tensor<1>| x.matmul(w.unsqueeze()) + b.unsqueeze();
        let vector = |seed: u64| tensor::<1>(seed, [12], &device, DType::F32);
        let bias = Tensor::cat(vec![vector(6), vector(6) * 0.0, vector(7)], 0);
        let qkv = linear(normed(x.clone(), 1), block.attn.qkv.weight.val(), bias);
        let heads = qkv.reshape([2, 5, 3, 3, 4]).permute([2, 0, 3, 1, 4]);
        let part = |at: usize| heads.clone().narrow(0, at, 1).squeeze_dim::<4>(0);
        let unit = |x: Tensor<4>| x.clone() / x.square().sum_dim(3).sqrt();
        let scores = match &block.attn.scale {
            None => part(0).matmul(part(1).transpose()) * 0.5,
            Some(_) => {
                let scale = [1.0f32, 2.0, 4.6052].map(f32::exp);
                let scale = Tensor::<1>::from_floats(scale, &device).reshape([1, 3, 1, 1]);
                unit(part(0)).matmul(unit(part(1)).transpose()) * scale
            }
        };
        let mixed = activation::softmax(scores, 3).matmul(part(2));
        let mixed = mixed.swap_dims(1, 2).reshape([2, 5, 12]);
        let branch = linear(mixed, block.attn.proj.weight.val(), vector(8));
        let y = x.clone() + branch * vector(11).unsqueeze();
        let hidden = tensor::<1>(9, [20], &device, DType::F32);
        let hidden = linear(normed(y.clone(), 3), block.mlp.fc1.weight.val(), hidden);
        let hidden = activation::gelu(hidden);
        let branch = linear(hidden, block.mlp.fc2.weight.val(), vector(10));
        let y = y + branch * vector(12).unsqueeze();

        close(&format!("cosine {cosine}"), block.forward(x, None), y);
    }
}

#[test]
fn without_a_key_bias_is_with_one_of_zero() {
    let device = device();
    let separate = noisy(
        &BlockConfig::new(8, 2, 16).with_qkv_bias(QkvBias::QueryValue),
        &device,
    );
    let mut fused = separate.clone();
    let vector = |seed: u64| tensor::<1>(seed, [8], &device, DType::F32);
    let bias = Tensor::cat(vec![vector(6), vector(6) * 0.0, vector(7)], 0);
    fused.attn.qkv.bias = Some(Param::from_tensor(bias));
    (fused.attn.q_bias, fused.attn.v_bias) = (None, None);
    let x = tensor::<3>(20, [3, 4, 8], &device, DType::F32);
    close(
        "bias",
        separate.forward(x.clone(), None),
        fused.forward(x, None),
    );
    let parameters = |bias: QkvBias| {
        let config = BlockConfig::new(8, 2, 16).with_qkv_bias(bias);
        config.init(&device).unwrap().num_params()
    };
    assert_eq!(
        parameters(QkvBias::Fused),
        parameters(QkvBias::QueryValue) + 8
    );
    assert_eq!(parameters(QkvBias::Fused), parameters(QkvBias::None) + 24);
}

#[test]
fn stochastic_depth_leaves_out_and_scales_up() {
    let device = device();
    let block = noisy(&BlockConfig::new(8, 2, 16), &device);
    let x = tensor::<3>(20, [64, 3, 8], &device, DType::F32);
    assert_eq!(linear_rates(0.3, 4), [0.0, 0.3 / 3.0, 0.3 * 2.0 / 3.0, 0.3]);
    assert_eq!(linear_rates(0.3, 1), [0.0]);
    let draw = |seed| draw_keep(&[0.0, 0.5], 64, Seed(seed), &device).unwrap();
    let [None, Some(keep)] = &draw(3)[..] else {
        panic!("a rate of 0 draws nothing");
    };
    let (attention, mlp) = (values(keep.attention.clone()), values(keep.mlp.clone()));
    assert!(attention.iter().chain(&mlp).all(|f| *f == 0.0 || *f == 2.0));
    let again = values(draw(3)[1].as_ref().unwrap().mlp.clone());
    assert_eq!(mlp, again);
    assert_ne!(mlp, values(draw(4)[1].as_ref().unwrap().mlp.clone()));
    let (before, after) = (values(x.clone()), values(block.forward(x, Some(keep))));
    for sample in 0..64 {
        let at = sample * 24..(sample + 1) * 24;
        let same = before[at.clone()] == after[at];
        assert_eq!(
            same,
            attention[sample] == 0.0 && mlp[sample] == 0.0,
            "{sample}"
        );
    }
    let error = draw_keep(&[1.0], 2, Seed(0), &device).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a rate of stochastic depth is 1.0: must be at least 0 and below 1"
    );
}

#[test]
fn impossible_blocks_are_refused() {
    let refusal = |config: BlockConfig| config.init(&device()).unwrap_err().to_string();
    assert_eq!(
        refusal(BlockConfig::new(10, 3, 20)),
        "BlockConfig.heads = 3: must divide dim, which is 10"
    );
    assert_eq!(
        refusal(BlockConfig::new(8, 2, 0)),
        "BlockConfig.hidden = 0: must be at least 1"
    );
    assert_eq!(
        refusal(BlockConfig::new(8, 2, 16).with_epsilon(0.0)),
        "BlockConfig.epsilon = 0.0: must be finite and above 0"
    );
    assert_eq!(
        refusal(BlockConfig::new(8, 2, 16).with_layer_scale(Some(f64::NAN))),
        "BlockConfig.layer_scale = NaN: must be finite"
    );
}

#[test]
fn embedding_is_a_convolution() {
    let device = device().autodiff();
    let images = tensor::<4>(1, [2, 3, 8, 12], &device, DType::F32);
    let embed = PatchEmbedConfig::new(3, 4, 5).init(&device).unwrap();
    let ours = embed.forward(images.clone());
    let plain = module::conv2d(
        images,
        embed.weight.val(),
        Some(embed.bias.val()),
        ConvOptions::new([4, 4], [0, 0], [1, 1], 1),
    )
    .flatten::<3>(2, 3)
    .swap_dims(1, 2);
    close("images", ours.clone(), plain.clone());
    let gradient = |y: Tensor<3>| {
        let weights = tensor(7, y.dims(), &device, DType::F32);
        let grads = (y * weights).sum().backward();
        embed.weight.val().grad(&grads).unwrap()
    };
    close("gradient", gradient(ours), gradient(plain));

    let clips = tensor::<5>(2, [2, 3, 4, 6, 9], &device, DType::F32);
    let embed = TubeEmbedConfig::new(3, 2, 3, 5).init(&device).unwrap();
    let plain = module::conv3d(
        clips.clone(),
        embed.weight.val(),
        Some(embed.bias.val()),
        ConvOptions::new([2, 3, 3], [0, 0, 0], [1, 1, 1], 1),
    )
    .flatten::<3>(2, 4)
    .swap_dims(1, 2);
    close("clips", embed.forward(clips), plain);

    let error = PatchEmbedConfig::new(3, 0, 5).init(&device).unwrap_err();
    assert_eq!(
        error.to_string(),
        "PatchEmbedConfig.patch = 0: must be at least 1"
    );
    let error = TubeEmbedConfig::new(3, 0, 5, 5).init(&device).unwrap_err();
    assert_eq!(
        error.to_string(),
        "TubeEmbedConfig.frames = 0: must be at least 1"
    );
}

#[test]
fn patches_hold_their_pixels_with_the_channel_fastest() {
    let device = device();
    // A pixel is 100 · channel + 10 · row + column.
    let pixels: Vec<f32> = (0..2 * 4 * 6)
        .map(|at| (100 * (at / 24) + 10 * (at / 6 % 4) + at % 6) as f32)
        .collect();
    let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 2, 4, 6]), &device);
    let patches = patchify(image.clone(), 2);
    assert_eq!(patches.dims(), [1, 6, 8]);
    let second: Vec<f64> = values(patches.clone())[8..16].to_vec();
    assert_eq!(second, [2., 102., 3., 103., 12., 112., 13., 113.]);
    let fourth: Vec<f64> = values(patches.clone())[24..32].to_vec();
    assert_eq!(fourth, [20., 120., 21., 121., 30., 130., 31., 131.]);
    assert_eq!(values(unpatchify(patches, 2, [2, 3])), values(image));
}

#[test]
fn a_masking_hides_and_restores() {
    let device = device();
    let noise = [0.4, 0.1, 0.9, 0.1, 0.7, 0.0, 0.0, 0.8, 0.2, 0.3];
    let least = Masking::from_noise(&noise, [2, 5], 2, Order::Ascending, &device).unwrap();
    let ints = |tensor: Tensor<2, burn::tensor::Int>| -> Vec<i64> {
        tensor.into_data().iter::<i64>().collect()
    };
    // Ties in the order of the tokens.
    assert_eq!(ints(least.ids_keep.clone()), [1, 3, 0, 1]);
    assert_eq!(
        ints(least.ids_restore.clone()),
        [2, 0, 4, 1, 3, 0, 1, 4, 2, 3]
    );
    assert_eq!(
        values(least.mask.clone()),
        [1., 0., 1., 0., 1., 0., 0., 1., 1., 1.]
    );
    assert_eq!((least.visible(), least.hidden()), (2, 3));
    let most = Masking::from_noise(&noise, [2, 5], 2, Order::Descending, &device).unwrap();
    assert_eq!(ints(most.ids_keep.clone()), [2, 4, 2, 4]);

    let tokens = tensor::<3>(3, [2, 5, 3], &device, DType::F32);
    let class = tensor::<3>(4, [2, 1, 3], &device, DType::F32);
    let kept = least.gather(tokens.clone());
    let encoded = Tensor::cat(vec![class.clone(), kept], 1);
    let blank = Tensor::<1>::from_floats([7.0, 8.0, 9.0], &device);
    let back = least.restore(encoded, blank.clone(), 1);
    let mask = least.mask.clone().unsqueeze_dim::<3>(2);
    let expected = tokens.clone() * (mask.clone().neg() + 1.0) + blank.reshape([1, 1, 3]) * mask;
    close("restored", back, Tensor::cat(vec![class, expected], 1));
    let table = tensor::<2>(5, [5, 3], &device, DType::F32);
    close(
        "table",
        least.gather_table(table.clone()),
        least.gather(table.unsqueeze::<3>().expand([2, 5, 3])),
    );

    let hidden: Vec<bool> = values(least.mask.clone())
        .iter()
        .map(|m| *m > 0.0)
        .collect();
    let given = Masking::from_hidden(&hidden, [2, 5], &device).unwrap();
    assert_eq!(ints(given.ids_keep.clone()), [1, 3, 0, 1]);
    assert_eq!(values(given.mask.clone()), values(least.mask.clone()));
}

#[test]
fn the_mask_token_gets_the_gradient_of_all_hidden_places() {
    let device = device().autodiff();
    let noise = draw_noise([2, 6], Seed(1));
    assert!(noise.iter().all(|draw| (0.0..1.0).contains(draw)));
    let masking = Masking::from_noise(&noise, [2, 6], 2, Order::Ascending, &device).unwrap();
    let encoded = tensor::<3>(3, [2, 3, 4], &device, DType::F32).require_grad();
    let blank = tensor::<1>(4, [4], &device, DType::F32).require_grad();
    let grads = masking
        .restore(encoded.clone(), blank.clone(), 1)
        .sum()
        .backward();
    assert_eq!(values(blank.grad(&grads).unwrap()), [8.0; 4]);
    assert_eq!(values(encoded.grad(&grads).unwrap()), [1.0; 24]);
}

#[test]
fn masks_that_do_not_fit_are_refused() {
    let device = device();
    let refusal = |noise: &[f32], shape: [usize; 2], keep: usize| {
        Masking::from_noise(noise, shape, keep, Order::Ascending, &device)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refusal(&[0.5; 7], [2, 4], 1),
        "the number of draws is 7: must be one for each of 2 x 4 tokens, and not 0"
    );
    let rule = "must be between 1 and the number of tokens, 4";
    for keep in [0, 5] {
        assert_eq!(
            refusal(&[0.5; 8], [2, 4], keep),
            format!("the number of visible tokens is {keep}: {rule}")
        );
    }
    let uneven = Masking::from_hidden(&[true, false, false, false], [2, 2], &device);
    assert_eq!(
        uneven.unwrap_err().to_string(),
        "the number of visible tokens is 2: must be 1, as in the first sample"
    );
    // Products of floats are cut off, not rounded.
    assert_eq!(len_keep(196, 0.75), 49);
    assert_eq!(len_keep(25, 0.6), 10);
    assert_eq!(len_keep(196, 0.95), 9);
    assert_eq!(len_keep(196, 0.98), 3);
}

#[test]
fn tables_of_positions_hold_what_they_say() {
    let columns = sincos_2d(8, [2, 3], First::Column, 1).unwrap();
    assert_eq!(columns.shape().to_vec(), [7, 8]);
    let table = floats(&columns);
    assert_eq!(table[..8], [0.0; 8]);
    // Row 1, column 2.
    let (row, column) = (1.0f64, 2.0f64);
    let code = |u: f64| [u.sin(), (u / 100.0).sin(), u.cos(), (u / 100.0).cos()];
    let expected: Vec<f32> = [code(column), code(row)]
        .as_flattened()
        .iter()
        .map(|value| *value as f32)
        .collect();
    assert_eq!(table[48..], expected);
    let rows = floats(&sincos_2d(8, [2, 3], First::Row, 0).unwrap());
    assert_eq!(rows[40..44], expected[4..]);
    assert_eq!(rows[44..], expected[..4]);
    for dim in [0, 6] {
        let error = sincos_2d(dim, [2, 2], First::Row, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the width of a position is {dim}: must be divisible by 4, and not 0")
        );
    }

    let line = floats(&sinusoid_1d(5, 4));
    let third = 3.0f64;
    let slow = third / 10_000f64.powf(0.4);
    let slower = third / 10_000f64.powf(0.8);
    let expected = [
        third.sin(),
        third.cos(),
        slow.sin(),
        slow.cos(),
        slower.sin(),
    ];
    assert_eq!(line[15..], expected.map(|value| value as f32));
}

#[test]
fn resized_tables_keep_what_they_can() {
    let values: Vec<f32> = noise(1, 4 * 3 * 2).iter().map(|v| *v as f32).collect();
    assert_eq!(resize_bicubic(&values, 2, [4, 3], [4, 3]), values);
    // Weights add up to 1: a constant stays.
    for value in resize_bicubic(&[2.5; 18], 2, [3, 3], [7, 5]) {
        assert!((value - 2.5).abs() < 1e-6, "{value}");
    }
    // Halfway between cells the weights are -3/32, 19/32, 19/32, -3/32.
    let row = [1.0f32, 2.0, 4.0, 8.0];
    let half = resize_bicubic(&row, 1, [1, 4], [1, 2]);
    let expected = (-3.0 * 1.0 + 19.0 * 1.0 + 19.0 * 2.0 - 3.0 * 4.0) / 32.0;
    assert!((half[0] - expected).abs() < 1e-6, "{half:?}");

    let table = TensorData::new([&[9.0f32, 9.0][..], &values].concat(), [1, 13, 2]);
    let back = interpolate(&table, 1, [4, 3], [2, 2]).unwrap();
    assert_eq!(back.shape().to_vec(), [1, 5, 2]);
    assert_eq!(floats(&back)[..2], [9.0, 9.0]);
    let error = interpolate(&table, 0, [4, 3], [2, 2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table of positions is [1, 13, 2]: must be [1, 12, dim]"
    );
    let error = interpolate(&table, 1, [4, 3], [0, 2]).unwrap_err();
    assert!(error.to_string().ends_with("must not be empty"), "{error}");
}
