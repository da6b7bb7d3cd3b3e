//! Autoencoders: sizes, refusals, folding, codes.

use crate::{device, floats, normal, text};
use burn::tensor::{Tensor, TensorData};
use menagerie_nn::sparse::Pattern;
use menagerie_sae::sae_base::{
    Activation, AuxK, Codes, Convention, Initialization, Normalization, ObjectiveConfig, Prefixes,
    Reconstruction, SaeConfig, Situation, SparseAutoencoder, Sparsity,
};

fn every_activation() -> Vec<Activation> {
    vec![
        Activation::Relu,
        Activation::topk(3),
        Activation::BatchTopK { k: 3 },
        Activation::GroupMax { k: 4 },
        Activation::jump_relu(),
        Activation::jump_relu_plain(),
        Activation::Gated,
        Activation::Identity,
    ]
}

fn sae(config: &SaeConfig) -> SparseAutoencoder {
    config.init(&device()).unwrap()
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 2e-5 * b.abs().max(1.0), "{a} against {b}");
    }
}

#[test]
fn published_sizes_have_the_published_parameter_counts() {
    for (config, parameters) in [
        (SaeConfig::gpt2_small_res_jb(), 37_774_080),
        (SaeConfig::gpt2_small_hook_z_kk(0), 37_774_080),
        (SaeConfig::gpt2_small_hook_z_kk(5), 75_547_392),
        (SaeConfig::openai_v5_32k(), 50_365_184),
        (SaeConfig::openai_v5_128k(), 201_458_432),
        (SaeConfig::gemma_scope(2_304, 16_384), 75_532_544),
        (SaeConfig::gemma_scope(3_584, 16_384), 117_476_864),
        (SaeConfig::gemma_scope(3_584, 131_072), 939_789_824),
    ] {
        config.validate().unwrap();
        assert_eq!(config.parameters(), parameters, "{config:?}");
    }
    let millions = |config: SaeConfig| (config.parameters() + 50_000) / 100_000;
    assert_eq!(millions(SaeConfig::llama_scope(8)), 2_685);
}

#[test]
fn counts_are_those_of_the_modules() {
    use burn::module::Module;
    for activation in every_activation() {
        for (d_out, skip) in [(None, false), (Some(5), false), (Some(5), true)] {
            let config = SaeConfig::new(6, 12, activation)
                .with_d_out(d_out)
                .with_skip(skip)
                .with_subtract_decoder_bias(d_out.is_none());
            let sae = sae(&config);
            // The threshold that is estimated, not trained.
            let estimated = usize::from(sae.batch_threshold.is_some());
            assert_eq!(
                sae.num_params() - estimated,
                config.parameters(),
                "{config:?}"
            );
        }
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let base = || SaeConfig::new(8, 16, Activation::topk(2));
    let relu = || SaeConfig::new(8, 16, Activation::Relu);
    for (config, message) in [
        (
            SaeConfig::new(8, 16, Activation::topk(0)),
            "SaeConfig.activation.k = 0: must be at least 1 and at most d_sae, 16",
        ),
        (
            SaeConfig::new(8, 16, Activation::BatchTopK { k: 17 }),
            "SaeConfig.activation.k = 17: must be at least 1 and at most d_sae, 16",
        ),
        (
            SaeConfig::new(8, 16, Activation::GroupMax { k: 3 }),
            "SaeConfig.d_sae = 16: must be a multiple of the number of groups, 3",
        ),
        (
            SaeConfig::new(0, 16, Activation::Relu),
            "SaeConfig.d_in = 0: must be at least 1",
        ),
        (
            relu().with_d_out(Some(4)),
            "SaeConfig.subtract_decoder_bias = true: must be false for a transcoder, whose b_dec \
             belongs to the output",
        ),
        (
            relu().with_initialization(Initialization::FixedNorm(f64::NAN)),
            "SaeConfig.initialization.FixedNorm = NaN: must be finite and above 0",
        ),
        (
            SaeConfig::new(1, 16, Activation::Relu).with_normalization(Normalization::LayerNorm),
            "SaeConfig.d_in = 1: must be at least 2 for a standard deviation",
        ),
    ] {
        assert_eq!(text(config.init(&device())), message);
    }
    base().validate().unwrap();
}

#[test]
fn objectives_that_do_not_fit_are_refused() {
    let topk = SaeConfig::new(8, 16, Activation::topk(2));
    let relu = SaeConfig::new(8, 16, Activation::Relu);
    let step = ObjectiveConfig::new().with_sparsity(Sparsity::Step { coefficient: 1.0 });
    assert!(text(step.validate(&topk)).contains("does not fit the activation TopK"));
    let auxiliary =
        ObjectiveConfig::new().with_auxiliary(Some(AuxK::new(Convention::DictionaryLearning)));
    assert!(text(auxiliary.validate(&relu)).contains("needs a selecting activation"));
    let prefixes = |widths: &[usize]| {
        ObjectiveConfig::new().with_prefixes(Some(Prefixes::summed(widths.to_vec())))
    };
    assert_eq!(
        text(prefixes(&[4, 4, 16]).validate(&topk)),
        "Prefixes.widths = [4, 4, 16]: must ascend and end with d_sae, 16"
    );
    assert!(text(prefixes(&[4, 8]).validate(&topk)).contains("end with d_sae, 16"));
    prefixes(&[4, 16]).validate(&topk).unwrap();
    let scale = ObjectiveConfig::new().with_reconstruction(Reconstruction::ScaledMean(0.0));
    assert!(text(scale.validate(&topk)).contains("must be finite and above 0"));
    let sae = sae(&topk);
    let dead = [false; 3];
    let situation = Situation {
        dead: Some(&dead),
        sparsity_scale: None,
        ..Situation::default()
    };
    let x = normal([4, 8], &device());
    assert_eq!(
        text(sae.loss(x, None, &ObjectiveConfig::new(), situation)),
        "length of the dead mask is 3: must be d_sae, 16"
    );
}

#[test]
fn inputs_of_another_shape_are_refused() {
    let sae = sae(&SaeConfig::new(8, 16, Activation::topk(2)));
    let x = |shape: [usize; 2]| Tensor::zeros(shape, &device());
    assert_eq!(
        text(sae.encode(x([3, 7]))),
        "width of x is 7: must be 8, as in the configuration"
    );
    assert_eq!(
        text(sae.encode(x([0, 8]))),
        "rows of x is 0: must be at least 1"
    );
    assert_eq!(
        text(sae.decode(&Codes::dense(x([3, 8])))),
        "width of the codes is 8: must be d_sae, 16"
    );
    assert_eq!(
        text(sae.direction(16)),
        "latent is 16: there are 16, counted from 0"
    );
    let wrong: Tensor<3> = Tensor::zeros([2, 3, 5], &device());
    assert!(text(sae.reconstruct(wrong)).contains("must end in d_in or in heads"));
    let batch = SaeConfig::new(8, 16, Activation::BatchTopK { k: 2 });
    assert!(
        text(batch.init(&device()).unwrap().encode(x([3, 8])))
            .starts_with("batch_threshold is \"unset\"")
    );
}

#[test]
fn sparse_codes_are_the_dense_ones() {
    let device = device();
    for activation in [
        Activation::topk(3),
        Activation::GroupMax { k: 4 },
        Activation::BatchTopK { k: 3 },
    ] {
        for rescale in [false, true] {
            let config = SaeConfig::new(6, 12, activation)
                .with_rescale_by_decoder_norm(rescale)
                .with_initialization(Initialization::KaimingUniform);
            let sae = sae(&config);
            let x = normal([9, 6], &device);
            let codes = sae.encode_training(x.clone()).unwrap();
            let dense = Codes::dense(codes.to_dense());
            close(
                &floats(sae.decode(&codes).unwrap()),
                &floats(sae.decode(&dense).unwrap()),
            );
            assert_eq!(codes.firing_counts(), dense.firing_counts());
            close(&floats(codes.l0()), &floats(dense.l0()));
            let most = codes.firing_counts().iter().sum::<u32>();
            assert!(most <= 9 * activation.k().unwrap() as u32);
        }
    }
}

#[test]
fn as_many_latents_as_there_are_make_topk_a_relu() {
    let device = device();
    let relu = SaeConfig::new(6, 12, Activation::Relu);
    let topk = SaeConfig::new(6, 12, Activation::topk(12));
    let sae = sae(&relu);
    let x = normal([5, 6], &device);
    let expected = sae.forward(x.clone()).unwrap();
    let found = sae.with_config(topk).unwrap().forward(x).unwrap();
    close(
        &floats(found.codes.to_dense()),
        &floats(expected.codes.to_dense()),
    );
    close(
        &floats(found.reconstruction),
        &floats(expected.reconstruction),
    );
}

#[test]
fn folding_norms_and_scales_does_not_change_the_function() {
    let device = device();
    let x = normal([7, 6], &device);
    for activation in every_activation() {
        for rescale in [false, true] {
            if rescale && activation.k().is_none() {
                continue;
            }
            let config = SaeConfig::new(6, 12, activation)
                .with_rescale_by_decoder_norm(rescale)
                .with_initialization(Initialization::KaimingUniform);
            let before = sae(&config);
            let output = |sae: &SparseAutoencoder, x: Tensor<2>| {
                let codes = sae.encode_training(x).unwrap();
                floats(sae.decode(&codes).unwrap())
            };
            let expected = output(&before, x.clone());
            let folded = before.clone().fold_decoder_norms();
            // Without the rescaling, TopK selects by other numbers once norms are folded in.
            if rescale || activation.k().is_none() {
                let folded = folded.unwrap();
                close(&output(&folded, x.clone()), &expected);
                close(&floats(folded.decoder_norms()), &[1.0; 12]);
            } else {
                assert!(text(folded).contains("which the folding of norms changes"));
            }
            if !rescale {
                let scaled = output(&before, x.clone() * 0.37);
                let folded = before.fold_scale(0.37).unwrap();
                let expected: Vec<f32> = scaled.iter().map(|value| value / 0.37).collect();
                close(&output(&folded, x.clone()), &expected);
            }
        }
    }
    let rescaled = SaeConfig::new(6, 12, Activation::topk(3)).with_rescale_by_decoder_norm(true);
    assert!(text(sae(&rescaled).fold_scale(2.0)).contains("call `fold_decoder_norms` first"));
    assert!(text(sae(&rescaled).fold_scale(0.0)).starts_with("scale is 0.0"));
}

#[test]
fn a_batchtopk_becomes_the_jump_relu_that_it_is_at_inference() {
    let device = device();
    for rescale in [false, true] {
        let config = SaeConfig::new(6, 12, Activation::BatchTopK { k: 3 })
            .with_rescale_by_decoder_norm(rescale)
            .with_initialization(Initialization::KaimingUniform);
        let batch = sae(&config).set_inference_threshold(0.4).unwrap();
        let x = normal([20, 6], &device);
        let expected = floats(batch.forward(x.clone()).unwrap().reconstruction);
        let jump = batch.into_jump_relu().unwrap();
        assert!(matches!(
            jump.config().activation,
            Activation::JumpRelu { .. }
        ));
        close(&floats(jump.forward(x).unwrap().reconstruction), &expected);
    }
}

#[test]
fn an_intervention_is_what_changes_and_nothing_else() {
    let device = device();
    let sae = sae(&SaeConfig::new(6, 12, Activation::Relu));
    let x = normal([4, 6], &device);
    let same = sae.forward_with_error(x.clone(), |codes| codes).unwrap();
    close(&floats(same), &floats(x.clone()));
    // One latent more by 2 moves the output by twice its direction.
    let moved = sae
        .forward_with_error(x.clone(), |codes| {
            codes.map(|z| {
                let mut step = vec![0.0; 12];
                step[5] = 2.0;
                z + Tensor::<1>::from_data(TensorData::from(step.as_slice()), &device).unsqueeze()
            })
        })
        .unwrap();
    let steered = sae.steer(x, 5, 2.0).unwrap();
    close(&floats(moved), &floats(steered));
}

#[test]
fn head_outputs_are_flattened_and_restored() {
    let device = device();
    let sae = sae(&SaeConfig::new(6, 12, Activation::Relu));
    let heads = normal([2, 3, 2, 3], &device);
    let flat = heads.clone().reshape([6, 6]);
    let restored = sae.reconstruct(heads).unwrap();
    assert_eq!(restored.dims(), [2, 3, 2, 3]);
    let expected = sae.forward(flat).unwrap().reconstruction;
    close(&floats(restored), &floats(expected));
}

#[test]
fn skip_transcoders_need_their_input() {
    let config = SaeConfig::new(6, 12, Activation::Relu)
        .with_d_out(Some(4))
        .with_subtract_decoder_bias(false)
        .with_skip(true)
        .with_initialization(Initialization::ZeroDecoder);
    let sae = sae(&config);
    let x = normal([3, 6], &device());
    let output = sae.forward(x).unwrap();
    // Decoder and skip connection start at zero.
    assert!(
        floats(output.reconstruction)
            .iter()
            .all(|&value| value == 0.0)
    );
    assert!(text(sae.decode(&output.codes)).contains("use `forward`"));
}

#[test]
fn codes_can_be_made_by_hand() {
    let device = device();
    let sae = sae(&SaeConfig::new(6, 12, Activation::topk(1)));
    let pattern = Pattern::new(12, vec![0, 1, 1], vec![7]);
    let values = Tensor::from_data([3.0], &device);
    let out = floats(sae.decode(&Codes::sparse(values, pattern)).unwrap());
    let direction = floats(sae.direction(7).unwrap() * 3.0);
    close(&out[..6], &direction);
    assert!(out[6..].iter().all(|&value| value == 0.0));
}

#[test]
fn the_identity_loses_nothing() {
    use menagerie_sae::sae_base::metrics::quality;
    let sae = sae(&SaeConfig::identity(8));
    let x = normal([20, 8], &device());
    assert_eq!(
        floats(sae.reconstruct(x.clone()).unwrap()),
        floats(x.clone())
    );
    let quality = quality(&sae, x, 7).unwrap();
    assert_eq!(quality.fvu, 0.0);
    let error = SaeConfig::identity(8);
    let error = SaeConfig { d_sae: 9, ..error }.validate();
    assert_eq!(
        text(error),
        "SaeConfig.d_sae = 9: must be d_in, 8, for the identity"
    );
}

#[test]
fn openai_starts_with_unit_vectors_reconstructed_at_unit_norm() {
    use menagerie_core::Seed;
    use menagerie_sae::sae_base::draw_directions;
    let config =
        SaeConfig::new(12, 48, Activation::topk(6)).with_initialization(Initialization::OpenAi);
    let bias = normal([12], &device());
    let sae = sae(&config).with_decoder_bias(bias.clone()).unwrap();
    let norms = floats(sae.decoder_norms());
    close(&norms, &[1.0; 48]);
    // PyTorch's bound for a linear layer of 12 inputs.
    let largest = floats(sae.encoder.val().abs().max());
    assert!(largest[0] <= 1.0 / 12f32.sqrt() && largest[0] > 0.25);

    let directions = draw_directions(256, 12, Seed(4), &device());
    let sae = sae.rescale_encoder(directions.clone()).unwrap();
    let around = directions + bias.clone().unsqueeze();
    let decoded = sae.reconstruct(around).unwrap() - bias.unsqueeze();
    let mean = decoded.square().sum_dim(1).sqrt().mean();
    close(&floats(mean), &[1.0]);

    let wide = draw_directions(4, 13, Seed(4), &device());
    assert_eq!(
        text(sae.rescale_encoder(wide)),
        "width of the directions is 13: must be 12, as in the configuration"
    );
}
