//! `sae_dark_matter`: what an error costs the host.

use burn::tensor::{Device, Distribution, Int, Tensor};
use menagerie_sae::host::{HookPoint, LanguageModel, LanguageModelConfig};
use menagerie_sae::sae_dark_matter::{Injection, InjectionLoss, LinearFit, inject};

fn host(device: &Device) -> (LanguageModel, Tensor<2, Int>) {
    let config = LanguageModelConfig::gpt2(11, 8, 12, 2, 3);
    let tokens = Tensor::from_ints(
        [[1, 5, 2, 9, 0, 4, 10, 3], [3, 3, 7, 1, 6, 2, 2, 8]],
        device,
    );
    (config.init(device).unwrap(), tokens)
}

fn scaled(scale: f64, device: &Device) -> LinearFit {
    LinearFit::from_weight(Tensor::<2>::eye(12, device) * scale).unwrap()
}

#[test]
fn an_error_that_is_all_linear_is_repaired_by_its_linear_part() {
    let device = Device::default();
    let (model, tokens) = host(&device);
    for name in ["blocks.1.hook_resid_pre", "blocks.0.hook_mlp_out"] {
        let hook = HookPoint::parse(name, model.config()).unwrap();
        // Sae(x) = -2 x, so the error is 3 x.
        let probe = scaled(3.0, &device);
        let reconstruct = |x: Tensor<3>| Ok(x * -2.0);
        let loss = inject(&model, &tokens, &hook, reconstruct, &probe, 2).unwrap();
        assert!(
            (loss.reconstruction - loss.original).abs() > 1e-4,
            "{loss:?}"
        );
        assert!((loss.with_linear - loss.original).abs() < 1e-5, "{loss:?}");
        assert!((loss.recovered_by_linear() - 100.0).abs() < 1.0, "{loss:?}");
        assert!(loss.recovered_by_nonlinear().abs() < 1.0, "{loss:?}");
        let twice = InjectionLoss::mean(&[loss, loss]).unwrap();
        assert_eq!(twice, loss);
    }
    assert_eq!(InjectionLoss::mean(&[]), None);
}

#[test]
fn an_error_autoencoder_has_its_parameters_and_official_names() {
    use burn::module::Module;
    use menagerie_sae::sae::SaeConfig;
    use menagerie_sae::sae_dark_matter::{published_error_sae, weights};

    let device = Device::default();
    let published = published_error_sae();
    assert_eq!(published.parameters(), 169_908_480);
    // The same at a hundredth of the width.
    let small = SaeConfig::new(23, 16 * 23, published.activation);
    let sae = small.init(&device).unwrap();
    // One number more: the threshold that training estimates.
    assert_eq!(sae.num_params(), small.parameters() + 1);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sae.safetensors");
    let values = menagerie_hub::values(&sae);
    let official = weights::key_map(&small).to_official(&values).unwrap();
    assert!(official.contains_key("encoder.weight") && official.contains_key("W_dec"));
    let state = menagerie_hub::StateDict::from_tensors("a test", official);
    state.save_safetensors(&path).unwrap();
    let loaded = weights::load(&small, &path, &device).unwrap();
    let (a, b) = (loaded.decoder.val(), sae.decoder.val());
    assert_eq!(a.into_data(), b.into_data());
    let error = weights::load_probe(&path).unwrap_err();
    assert!(
        error.to_string().contains("no `probe` of two axes"),
        "{error}"
    );
}

#[test]
fn a_probe_is_read_as_it_was_written() {
    use menagerie_sae::sae_dark_matter::{LeastSquares, LeastSquaresConfig, weights};

    let device = Device::default();
    let mut sums = LeastSquares::new(3, 2, &LeastSquaresConfig::with_constant()).unwrap();
    let x = Tensor::<2>::random([20, 3], Distribution::Normal(0.0, 1.0), &device);
    sums.add(x.clone(), x.clone().narrow(1, 0, 2) * 2.0 + 1.0)
        .unwrap();
    let fit = sums.solve().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.safetensors");
    weights::save_probe(&fit, &path).unwrap();
    let loaded = weights::load_probe(&path).unwrap();
    let difference = loaded.predict(x.clone()).unwrap() - fit.predict(x).unwrap();
    assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
}

#[test]
fn skipped_positions_stay_and_nonsense_is_refused() {
    let device = Device::default();
    let x = Tensor::<3>::random([2, 5, 12], Distribution::Normal(0.0, 1.0), &device);
    let y = Tensor::<3>::zeros([2, 5, 12], &device);
    let probe = scaled(0.25, &device);
    let apply = |mode: Injection, skip| mode.apply(x.clone(), y.clone(), &probe, skip);
    for mode in Injection::ALL {
        let changed = apply(mode, 3).unwrap() - x.clone();
        let largest = |part: Tensor<3>| part.abs().max().into_scalar::<f32>();
        assert_eq!(largest(changed.clone().narrow(1, 0, 3)), 0.0);
        let moved = largest(changed.narrow(1, 3, 2)) > 0.0;
        assert_eq!(moved, mode != Injection::Original);
    }
    let rest = apply(Injection::WithNonlinear, 0).unwrap() - x.clone() * 0.75;
    assert!(rest.abs().max().into_scalar::<f32>() < 1e-6);
    assert_eq!(
        apply(Injection::Reconstruction, 4).unwrap_err().to_string(),
        "the number of skipped positions is 4: must leave a prediction of 5 tokens"
    );
    let narrow = Tensor::<3>::zeros([2, 5, 11], &device);
    assert_eq!(
        Injection::WithLinear
            .apply(x, narrow, &probe, 0)
            .unwrap_err()
            .to_string(),
        "the reconstruction is \"of shape [2, 5, 11]\": the activations have shape [2, 5, 12]"
    );
}
