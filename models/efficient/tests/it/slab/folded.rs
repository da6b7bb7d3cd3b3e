//! Folded networks on disk, and norms folded one by one.

use super::{cswin, deit, norm, pvt, stirred, swin, trained};
use crate::{device, distance, images};
use burn::tensor::{Distribution, Int, Tensor};
use menagerie_core::Seed;
use menagerie_efficient::slab::{
    Classifier, DeitConfig, LlamaConfig, Mode, Norm, NormConfig, NormKind, weights,
};
use menagerie_nn::vit::{Linear, LinearConfig};
use menagerie_train::initialise;

/// Folds, writes and reads a network of every kind.
macro_rules! round_trip {
    ($make:ident, $side:expr, $save:ident, $load:ident) => {{
        let (device, dir) = (device(), tempfile::tempdir().unwrap());
        let path = dir.path().join("folded.safetensors");
        let config = $make(NormKind::RepBatch);
        let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
        let folded = trained(model, $side, &device).fold().unwrap();
        weights::$save(&folded, &path).unwrap();
        let back = weights::$load(folded.config(), &path, &device).unwrap();
        assert_eq!(menagerie_hub::values(&folded), menagerie_hub::values(&back));
        let x = images(2, $side, &device);
        let (one, two) = (folded.forward(x.clone()).unwrap(), back.forward(x).unwrap());
        assert_eq!(distance(one, two), 0.0);
    }};
}

#[test]
fn folded_networks_round_trip() {
    round_trip!(deit, 24, save_deit, load_deit);
    round_trip!(swin, 56, save_swin, load_swin);
    round_trip!(pvt, 32, save_pvt, load_pvt);
    round_trip!(cswin, 32, save_cswin, load_cswin);

    let (device, dir) = (device(), tempfile::tempdir().unwrap());
    let path = dir.path().join("folded.safetensors");
    let norm = NormConfig::llama()
        .with_warm(0)
        .with_steps(1)
        .with_period(1);
    let config = LlamaConfig::new(11, 16, 32, 2, 2).with_norm(norm);
    let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let words = Tensor::<2, Int>::from_data([[1i64, 5, 2, 7]], &device);
    model.run(words, Mode::Train).unwrap();
    let folded = stirred(model, &device).fold().unwrap();
    weights::save_llama(&folded, &path).unwrap();
    let back = weights::load_llama(folded.config(), &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&folded), menagerie_hub::values(&back));
}

/// A norm of 24 numbers, its statistics those of some tokens, and the layer after it.
fn pair(kind: NormKind, outputs: usize) -> (Norm, Linear, Tensor<3>) {
    let device = device();
    let config = DeitConfig {
        norm: norm(kind),
        ..deit(kind)
    };
    let norm = config.init(&device).unwrap().norm;
    let normal = Distribution::Normal(0.5, 2.0);
    let x = Tensor::<3>::random([2, 5, 24], normal, &device);
    for _ in 0..6 {
        norm.forward(x.clone(), Mode::Train);
    }
    let mut linear = LinearConfig::new(24, outputs);
    linear.bias = false;
    (norm, linear.init(&device), x)
}

#[test]
fn a_norm_merges_into_any_linear_layer() {
    for kind in [NormKind::Batch, NormKind::RepBatch, NormKind::Progressive] {
        let (mut norm, mut linear, x) = pair(kind, 7);
        let expected = linear.forward(norm.forward(x.clone(), Mode::Evaluate));
        norm.merge_into(&mut linear, "norm").unwrap();
        assert!(norm.is_folded() && linear.bias.is_some());
        let far = distance(linear.forward(norm.forward(x, Mode::Evaluate)), expected);
        assert!(far < 1e-4, "{kind:?}: {far}");
        assert_eq!(
            norm.merge_into(&mut linear, "norm")
                .unwrap_err()
                .to_string(),
            "the norm `norm` is \"folded\": must be a batch normalisation: nothing else can be folded"
        );
    }
}

#[test]
fn merging_is_refused_where_folding_is() {
    let (mut norm, mut linear, _) = pair(NormKind::Layer, 7);
    let refusal = |norm: &mut Norm, linear: &mut Linear| {
        let before = menagerie_hub::values(linear);
        let text = norm.merge_into(linear, "norm").unwrap_err().to_string();
        assert_eq!(menagerie_hub::values(linear), before);
        text
    };
    assert_eq!(
        refusal(&mut norm, &mut linear),
        "the norm `norm` is \"computed from each token\": must be a batch normalisation: nothing else \
         can be folded"
    );
    let (mut norm, _, _) = pair(NormKind::Progressive, 7);
    norm.set_progress(3).unwrap();
    assert_eq!(
        refusal(&mut norm, &mut linear),
        "the norm `norm` is \"3 of 4 steps before the end of its blend\": must be trained to the end of \
         its blend before it is folded"
    );
    assert!(norm.bn.is_some());
    let (mut norm, ..) = pair(NormKind::Batch, 7);
    let mut narrow = LinearConfig::new(23, 7).init(&device());
    assert_eq!(
        refusal(&mut norm, &mut narrow),
        "the inputs of the layer is 23: must be 24, the width of the norm `norm`"
    );
    let mut tracked = LinearConfig::new(24, 7).init(&device().autodiff());
    assert_eq!(
        refusal(&mut norm, &mut tracked),
        "what is to be folded is \"in training\": must be without autodiff, as `valid()` makes it"
    );
}
