//! Weights into modules, and values and gradients out of them.

use burn::{
    module::{Module, Param, ParamId},
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, LinearLayout},
    tensor::{DType, Device, Int, Tensor, TensorData},
};
use menagerie_core::device;
use menagerie_hub::{KeyMap, StateDict, Strictness, gradients, load, load_with, values};

#[derive(Module, Debug)]
struct Net {
    layers: Vec<Linear>,
    norm: BatchNorm,
    steps: Param<Tensor<1, Int>>,
}

impl Net {
    fn init(device: &Device) -> Self {
        Self {
            layers: vec![
                LinearConfig::new(3, 2).init(device),
                LinearConfig::new(2, 1).with_bias(false).init(device),
            ],
            norm: BatchNormConfig::new(2).init(device),
            steps: Param::initialized(ParamId::new(), Tensor::from_ints([0], device)),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers[1].forward(self.layers[0].forward(x))
    }
}

fn flex() -> Device {
    device::parse("flex").unwrap()
}

fn map() -> KeyMap {
    KeyMap::new()
        .transpose("fc{i}.weight", "layers.{i-1}.weight")
        .rename("fc{i}.bias", "layers.{i-1}.bias")
        .rename("bn.weight", "norm.gamma")
        .rename("bn.bias", "norm.beta")
        .rename("bn.{name}", "norm.{name}")
        .ignore("*.num_batches_tracked")
}

fn weights() -> StateDict {
    StateDict::from_tensors(
        "net.pt",
        [
            (
                "fc1.weight",
                TensorData::from([[1f32, 2., 3.], [4., 5., 6.]]),
            ),
            ("fc1.bias", TensorData::from([7f32, 8.])),
            ("fc2.weight", TensorData::from([[9f32, 10.]])),
            ("bn.weight", TensorData::from([11f32, 12.])),
            ("bn.bias", TensorData::from([13f32, 14.])),
            ("bn.running_mean", TensorData::from([15f32, 16.])),
            ("bn.running_var", TensorData::from([17f32, 18.])),
            ("bn.num_batches_tracked", TensorData::from([99i64])),
            ("steps", TensorData::from([19i64])),
        ]
        .map(|(key, data)| (key.to_owned(), data)),
    )
}

#[test]
fn every_weight_finds_its_place_and_comes_back() {
    let (net, report) =
        load_with(Net::init(&flex()), &weights(), &map(), Strictness::Strict).unwrap();
    assert_eq!(report.to_string(), "8 loaded");
    assert_eq!(
        net.layers[0].weight.val().to_data(),
        TensorData::from([[1f32, 4.], [2., 5.], [3., 6.]])
    );
    assert_eq!(
        net.norm.running_var.value().to_data(),
        TensorData::from([17f32, 18.])
    );
    let official = map().to_official(&values(&net)).unwrap();
    for (key, data) in weights().iter().filter(|(key, _)| !key.contains("tracked")) {
        let data = data.clone().try_cast(official[key].dtype()).unwrap();
        assert_eq!(official[key], data, "{key}");
    }
}

#[test]
fn identity_and_training_state_of_a_module_stay() {
    let device = flex().autodiff();
    let mut net = Net::init(&device);
    net.layers[1] = net.layers[1].clone().no_grad();
    let ids = [net.layers[0].weight.id, net.layers[1].weight.id];
    let net = load(net, &weights(), &map()).unwrap();
    assert_eq!([net.layers[0].weight.id, net.layers[1].weight.id], ids);
    assert!(net.layers[0].weight.val().is_require_grad());
    assert!(!net.layers[1].weight.val().is_require_grad());
    assert!(net.layers[0].weight.val().device().is_autodiff());

    let valid = load(net.valid(), &weights(), &map()).unwrap();
    assert!(!valid.layers[0].weight.val().is_require_grad());
    let again = valid.train();
    assert!(again.layers[0].weight.val().is_require_grad());
    assert!(!again.layers[1].weight.val().is_require_grad());
}

#[test]
fn gradients_come_under_official_keys_in_the_official_layout() {
    let device = flex().autodiff();
    let net = load(Net::init(&device), &weights(), &map()).unwrap();
    let x = Tensor::<2>::from_data([[1f32, 0., 2.]], &device);
    let grads = net.forward(x).sum().backward();
    let official = map().to_official(&gradients(&net, &grads)).unwrap();
    // d/dW of w2 (W x + b): the outer product of w2 and x.
    assert_eq!(
        official["fc1.weight"],
        TensorData::from([[9f32, 0., 18.], [10., 0., 20.]])
    );
    assert_eq!(official["fc1.bias"], TensorData::from([9f32, 10.]));
    assert_eq!(official["fc2.weight"], TensorData::from([[14f32, 24.]]));
    // The loss does not depend on the norm; its buffers have no gradient at all.
    assert_eq!(official["bn.weight"], TensorData::from([0f32, 0.]));
    assert!(!official.contains_key("bn.running_mean"));
}

#[test]
fn a_column_major_layer_is_the_same_to_a_map() {
    let config = LinearConfig::new(3, 2)
        .with_bias(false)
        .with_layout(LinearLayout::Col);
    let map = KeyMap::identity();
    let data = TensorData::from([[1f32, 2., 3.], [4., 5., 6.]]);
    let weights = StateDict::from_tensors("col.pt", [("weight".to_owned(), data.clone())]);
    for initialise_first in [false, true] {
        let layer = config.init(&flex().autodiff());
        if initialise_first {
            let _ = layer.weight.val();
        }
        let layer = load(layer, &weights, &map).unwrap();
        assert_eq!(values(&layer)["weight"], data);
        let x = Tensor::<2>::from_data([[1f32, 0., 0.]], &layer.weight.val().device());
        let y = layer.forward(x);
        assert_eq!(y.to_data(), TensorData::from([[1f32, 4.]]));
        let grads = y.sum().backward();
        assert_eq!(
            gradients(&layer, &grads)["weight"],
            TensorData::from([[1f32, 0., 0.], [1., 0., 0.]])
        );
    }
}

#[test]
fn other_widths_become_the_parameters_own() {
    let mut wide = weights();
    for key in ["fc1.weight", "fc1.bias", "bn.weight"] {
        let data = wide.get(key).unwrap().clone();
        let dtype = match key {
            "fc1.weight" => DType::F64,
            "fc1.bias" => DType::BF16,
            _ => DType::F16,
        };
        wide.insert(key, data.try_cast(dtype).unwrap());
    }
    wide.insert("steps", TensorData::from([19i32]));
    let net = load(Net::init(&flex()), &wide, &map()).unwrap();
    let expected = load(Net::init(&flex()), &weights(), &map()).unwrap();
    assert_eq!(values(&net), values(&expected));
    let f32s = wide.into_f32().unwrap();
    assert_eq!(f32s.get("fc1.bias"), weights().get("fc1.bias"));
}

#[test]
fn what_does_not_fit_is_listed() {
    let mut odd = StateDict::from_tensors(
        "other.pt",
        weights()
            .iter()
            .filter(|(key, _)| *key != "fc1.bias")
            .map(|(key, data)| (key.to_owned(), data.clone()))
            .collect::<Vec<_>>(),
    );
    odd.insert("fc3.weight", TensorData::from([[1f32]]));
    odd.insert("fc2.weight", TensorData::from([[9f32, 10., 11.]]));
    odd.insert("steps", TensorData::from([1f32]));
    let error = load(Net::init(&flex()), &odd, &map())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "other.pt does not fit Net: 5 loaded; \
         1 missing: `layers.0.bias` (official `fc1.bias`); \
         1 unexpected: `fc3.weight`; \
         2 misshapen: `fc2.weight` as `layers.1.weight` has shape [3, 1], the module needs [2, 1], \
         `steps` has elements F32, the module needs Int"
    );
}

#[test]
fn a_tensor_that_a_rule_cannot_take_is_misshapen_and_not_missing() {
    let mut odd = weights();
    odd.insert("fc2.weight", TensorData::from([9f32, 10.]));
    let error = load(Net::init(&flex()), &odd, &map())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1 misshapen: `fc2.weight` has shape [2], but the permutation"),
        "{error}"
    );
    assert!(!error.contains("missing"), "{error}");
}

#[test]
fn an_incomplete_rule_names_the_absent_keys() {
    let map = map().and(KeyMap::new().merge(["a.steps", "b.steps"], "steps", 0));
    let mut odd = weights();
    odd.insert("a.steps", TensorData::from([1i64]));
    let mut net_map_only = StateDict::from_tensors("half.pt", []);
    for (key, data) in odd.iter().filter(|(key, _)| *key != "steps") {
        net_map_only.insert(key, data.clone());
    }
    let error = load(Net::init(&flex()), &net_map_only, &map)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1 missing: `steps` (official `b.steps`)"),
        "{error}"
    );
}

#[test]
fn what_is_tolerated_is_still_reported() {
    let mut odd = weights();
    odd.insert("extra", TensorData::from([1f32]));
    let net = Net::init(&flex());
    let strict = load_with(net.clone(), &odd, &map(), Strictness::AllowMissing);
    assert!(
        strict
            .unwrap_err()
            .to_string()
            .contains("1 unexpected: `extra`")
    );
    let (_, report) = load_with(net.clone(), &odd, &map(), Strictness::AllowUnexpected).unwrap();
    assert_eq!(report.unexpected, ["`extra`"]);

    let few = StateDict::from_tensors("few.pt", [("steps".to_owned(), TensorData::from([5i64]))]);
    let strict = load_with(net.clone(), &few, &map(), Strictness::AllowUnexpected);
    assert!(strict.unwrap_err().to_string().contains("7 missing: "));
    let before = values(&net);
    let (net, report) = load_with(net, &few, &map(), Strictness::AllowMissing).unwrap();
    assert_eq!((report.loaded.len(), report.missing.len()), (1, 7));
    let after = values(&net);
    assert_eq!(after["layers.0.weight"], before["layers.0.weight"]);
    assert_ne!(after["steps"], before["steps"]);

    let computed = map().computed("norm.*").computed("layers.*");
    assert!(load(net, &few, &computed).is_ok());
}

#[test]
fn hundreds_of_keys_are_counted_and_not_all_shown() {
    let many = StateDict::from_tensors(
        "many.pt",
        (0..300).map(|at| (format!("k{at:03}"), TensorData::from([0f32]))),
    );
    let error = load(Net::init(&flex()), &many, &map())
        .unwrap_err()
        .to_string();
    assert!(error.contains("300 unexpected: `k000`, "), "{error}");
    assert!(error.contains("… and 288 more"), "{error}");
    assert!(error.len() < 1000, "{error}");
}
