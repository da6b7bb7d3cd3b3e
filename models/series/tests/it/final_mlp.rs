//! final-mlp: counts, embeddings, gates, fusion, folding, weights.

#[path = "final_mlp/refusals.rs"]
mod refusals;
#[path = "final_mlp/training.rs"]
mod training;

use crate::{device, text};
use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use menagerie_core::{Seed, device::seeded};
use menagerie_series::final_mlp::{
    BaselineConfig, BaselineKind, ClickModel, DualMlpConfig, FRAPPE, Field, FinalMlp,
    FinalMlpConfig, GateConfig, Impressions, MOVIELENS, Mode, StreamConfig, weights,
};
use menagerie_train::initialise;
use rand::RngExt;

/// A category, a number, a sequence and another category.
pub(crate) fn fields() -> Vec<Field> {
    vec![
        Field::category("user", 9),
        Field::number("age"),
        Field::sequence("tags", 6, 3),
        Field::category("item", 12),
    ]
}

pub(crate) fn config() -> FinalMlpConfig {
    let stream = |width, dropout| {
        StreamConfig::new(vec![8, width])
            .with_dropout(dropout)
            .with_batch_norm(true)
    };
    FinalMlpConfig::new(fields(), 4, stream(6, 0.2), stream(10, 0.0))
        .with_gate1(Some(GateConfig::new(
            vec![5],
            vec!["item".into(), "age".into()],
        )))
        .with_gate2(Some(GateConfig::new(vec![5], vec![])))
        .with_heads(2)
}

/// Rows whose label depends on user and item together.
pub(crate) fn rows(count: usize, seed: u64) -> Impressions {
    let mut rng = Seed(seed).rng();
    let (mut ids, mut ages, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (user, item) = (rng.random_range(1..9u32), rng.random_range(1..12u32));
        let known = rng.random_range(1..4usize);
        ids.push(user);
        ids.extend((0..3).map(|at| {
            if at < known {
                rng.random_range(1..6u32)
            } else {
                0
            }
        }));
        ids.push(item);
        ages.push(rng.random_range(-1.0..1.0f32));
        let logit = 3.0 * f32::from(u8::from((user + item) % 2 == 0)) - 1.5;
        labels.push(rng.random::<f32>() < 1.0 / (1.0 + (-logit).exp()));
    }
    Impressions::new(fields(), ids, ages, labels).unwrap()
}

/// A model whose numbers are all of ordinary size, embeddings too.
pub(crate) fn loud(config: &FinalMlpConfig, device: &Device) -> FinalMlp {
    struct Louder;
    impl burn::module::ModuleMapper for Louder {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            param.map(|value| {
                let tracked = value.is_require_grad();
                // Running variances stay positive.
                let noise = match D {
                    1 => Distribution::Uniform(0.0, 1.0),
                    _ => Distribution::Normal(0.3, 0.5),
                };
                let value = value.without_autodiff();
                let noise = Tensor::random(value.dims(), noise, &value.device());
                match tracked {
                    true => (value + noise).autodiff().require_grad(),
                    false => value + noise,
                }
            })
        }
    }
    seeded(device, Seed(5), || {
        config.init(device).unwrap().map(&mut Louder)
    })
}

pub(crate) fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar::<f32>()
}

#[test]
fn published_runs_have_the_published_counts() {
    let device = device();
    let frappe = FinalMlpConfig::frappe().init(&device).unwrap();
    assert_eq!(frappe.num_params() - moments(&[400, 100]), 253_392);
    let movielens = FinalMlpConfig::movielens().init(&device).unwrap();
    assert_eq!(movielens.num_params() - moments(&[400, 800]), 1_040_902);
    let sum = |fields: &[(&str, usize)]| fields.iter().map(|field| field.1).sum::<usize>();
    assert_eq!([sum(&FRAPPE), sum(&MOVIELENS)], [5_399, 90_242]);
}

/// Running means and variances, which are no parameters.
fn moments(widths: &[usize]) -> usize {
    2 * widths.iter().sum::<usize>()
}

#[test]
fn small_trials_have_the_counts_of_the_card() {
    let device = device();
    let sizes = [201, 201, 11, 11, 11, 11];
    let names = ["user", "item", "c0", "c1", "c2", "c3"];
    let fields: Vec<Field> = names
        .iter()
        .zip(sizes)
        .map(|(name, size)| Field::category(*name, size))
        .collect();
    let count = |contexts| {
        let config = FinalMlpConfig::small(fields.clone(), contexts);
        config.init(&device).unwrap().num_params()
    };
    assert_eq!(count(None), 19_314);
    assert_eq!(count(Some(["user", "item"])), 26_274);
    let dual = DualMlpConfig::small(fields.clone()).init(&device).unwrap();
    assert_eq!(dual.num_params(), 18_290);
    let baseline = |kind| {
        let config = BaselineConfig::small(kind, fields.clone());
        config.init(&device).unwrap().num_params()
    };
    // 446 · 8 + 48 · 128 + 128 + 128 · 64 + 64 + 65; with 446 + 1 of a linear model; with three cross
    // layers of 48 · 48 + 48 and a head of 112 + 1 in place of the output unit.
    assert_eq!(baseline(BaselineKind::Mlp), 18_161);
    assert_eq!(baseline(BaselineKind::DeepFm), 18_161 + 447);
    let cross = 3 * (48 * 48 + 48) + 113 - 65;
    assert_eq!(baseline(BaselineKind::DcnV2 { layers: 3 }), 18_161 + cross);
}

#[test]
fn initial_weights_are_the_official_ones() {
    let device = device();
    let model = initialise(&device, Seed(1), || FinalMlpConfig::frappe().init(&device)).unwrap();
    let table = model.embedding.table.as_ref().unwrap().val();
    let mut start = 0;
    for (_, size) in FRAPPE {
        let padding = table.clone().narrow(0, start, 1).abs().max();
        assert_eq!(padding.into_scalar::<f32>(), 0.0);
        start += size;
    }
    let deviation = |tensor: Tensor<2>| tensor.square().mean().sqrt().into_scalar::<f32>();
    assert!((deviation(table) / 1e-4 - 1.0).abs() < 0.05);
    // √(2 / (inputs + outputs)).
    let first = model.stream1.layers[0].linear.weight.val();
    assert!((deviation(first) / (2.0f32 / 500.0).sqrt() - 1.0).abs() < 0.05);
    let bilinear = model.fusion.bilinear.val();
    assert_eq!(bilinear.dims(), [8_000, 1]);
    assert!((deviation(bilinear) / (2.0f32 / 8_001.0).sqrt() - 1.0).abs() < 0.05);
    let bias = model.stream1.layers[0].linear.bias.val();
    assert_eq!(bias.abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn fields_are_embedded_side_by_side() {
    let device = device();
    let model = loud(&config(), &device);
    let table = model.embedding.table.as_ref().unwrap().val();
    let row = |at: usize| table.clone().narrow(0, at, 1);
    let rows = Impressions::new(
        fields(),
        vec![4, 2, 0, 5, 11, 8, 0, 0, 0, 1],
        vec![0.5, -2.0],
        vec![true, false],
    )
    .unwrap();
    let batch = rows.batch(&[1, 0], &device, None);
    let looked_up = model
        .embeddings()
        .into_iter()
        .map(|e| e.looked_up(&batch))
        .collect();
    let flat = model.trace(looked_up, &batch, Mode::Evaluate).flat;
    let numbers = model.embedding.numbers.as_ref().unwrap().val();
    // Tables: user 0..9, tags 9..15, item 15..27. A sequence of padding alone is zero.
    let second = [
        row(4),
        numbers.clone() * 0.5,
        (row(11) + row(14)) / 2.0,
        row(26),
    ];
    let first = [
        row(8),
        numbers * -2.0,
        Tensor::zeros([1, 4], &device),
        row(16),
    ];
    let expected = [first, second].map(|parts| Tensor::cat(parts.to_vec(), 1));
    let off = distance(flat, Tensor::cat(expected.to_vec(), 0));
    assert!(off < 1e-6, "{off}");
}

#[test]
fn gates_by_context_differ_and_neutral_ones_change_nothing() {
    let device = device();
    let (model, rows) = (loud(&config(), &device), rows(5, 1));
    let places: Vec<usize> = (0..5).collect();
    let [first, second] = model.field_gates(&rows, &places).unwrap();
    assert_eq!([first.dims(), second.dims()], [[5, 4]; 2]);
    let spread = |gates: Tensor<2>| {
        let range = gates.clone().max_dim(0) - gates.min_dim(0);
        range.max().into_scalar::<f32>()
    };
    assert!(spread(first) > 1e-3);
    assert_eq!(spread(second), 0.0, "without context one gate for all");

    // A gate whose last layer is zero is the identity.
    let mut neutral = model.clone();
    for gate in [&mut neutral.gate1, &mut neutral.gate2] {
        let output = gate.as_mut().unwrap().mlp.output.as_mut().unwrap();
        output.weight = output.weight.clone().map(|weight| weight.zeros_like());
        output.bias = output.bias.clone().map(|bias| bias.zeros_like());
    }
    let mut open = model;
    (open.gate1, open.gate2) = (None, None);
    let of = |model: &FinalMlp| model.predict_proba(&rows, 5).unwrap();
    for (a, b) in of(&neutral).iter().zip(of(&open)) {
        assert!((a - b).abs() < 1e-6);
    }
    let neutral = neutral.field_gates(&rows, &places).unwrap();
    assert_eq!(
        distance(neutral[0].clone(), Tensor::ones([5, 4], &device)),
        0.0
    );
}

#[test]
fn a_gate_without_context_folds_into_its_stream() {
    let device = device();
    let (model, rows) = (loud(&config(), &device), rows(40, 2));
    let folded = model.folded();
    assert!(folded.gate1.is_some(), "its gate depends on the item");
    assert!(folded.gate2.is_none() && folded.config().gate2.is_none());
    let expected = model.predict_proba(&rows, 16).unwrap();
    for (a, b) in folded
        .predict_proba(&rows, 16)
        .unwrap()
        .iter()
        .zip(expected)
    {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    // A folded model is one of its own configuration.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("folded.safetensors");
    weights::save(&folded, &path).unwrap();
    let back = weights::load(folded.config(), &path, &device).unwrap();
    assert_eq!(
        back.predict_proba(&rows, 40).unwrap(),
        folded.predict_proba(&rows, 40).unwrap()
    );
}

#[test]
fn heads_see_aligned_slices_only() {
    let device = device();
    let mut model = loud(&config(), &device);
    let rows = rows(6, 3);
    let batch = rows.batch(&[0, 1, 2, 3, 4, 5], &device, None);
    let trace = |model: &FinalMlp| {
        let looked_up = model
            .embeddings()
            .into_iter()
            .map(|e| e.looked_up(&batch))
            .collect();
        model.trace(looked_up, &batch, Mode::Evaluate)
    };
    let found = trace(&model);
    let read = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().iter().collect() };
    let [left, right] = found.streams.map(read);
    let w = read(model.fusion.bilinear.val());
    let (u, v) = (
        read(model.fusion.left.weight.val()),
        read(model.fusion.right.weight.val()),
    );
    let bias =
        |affine: &menagerie_series::final_mlp::Affine| affine.bias.val().into_scalar::<f32>();
    let logits: Vec<f32> = found.logits.into_data().iter().collect();
    for row in 0..6 {
        let (x, y) = (&left[row * 6..][..6], &right[row * 10..][..10]);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let mut expected =
            dot(x, &u) + dot(y, &v) + bias(&model.fusion.left) + bias(&model.fusion.right);
        for head in 0..2 {
            for i in 0..3 {
                for j in 0..5 {
                    expected += x[head * 3 + i] * w[head * 15 + i * 5 + j] * y[head * 5 + j];
                }
            }
        }
        let off = (logits[row] - expected).abs();
        assert!(
            off < 1e-3 * expected.abs().max(1.0),
            "{} {expected}",
            logits[row]
        );
    }
    // Half the numbers of one head.
    model = config().with_heads(1).init(&device).unwrap();
    assert_eq!(model.fusion.bilinear.val().dims(), [60, 1]);
}

#[test]
fn files_round_trip_and_wrong_ones_are_refused() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let (model, rows) = (loud(&config(), &device), rows(20, 4));
    weights::save(&model, &path).unwrap();
    let back = weights::load(&config(), &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&back), menagerie_hub::values(&model));
    assert_eq!(
        back.predict_proba(&rows, 20).unwrap(),
        model.predict_proba(&rows, 20).unwrap()
    );

    // Official names: a table for each field, places that count norm, activation and dropout.
    let mut state = menagerie_hub::StateDict::open(&path).unwrap();
    let shape = |key: &str| state.get(key).unwrap().shape().to_vec();
    let table = "embedding_layer.embedding_layer.embedding_layers";
    assert_eq!(shape(&format!("{table}.item.weight")), [12, 4]);
    assert_eq!(shape(&format!("{table}.age.weight")), [4, 1]);
    assert_eq!(
        shape("fs_module.fs1_ctx_emb.embedding_layer.embedding_layers.item.weight"),
        [12, 4]
    );
    assert_eq!(shape("fs_module.fs2_ctx_bias"), [1, 4]);
    assert_eq!(
        shape("mlp1.mlp.4.weight"),
        [6, 8],
        "0 linear, 1 norm, 2 ReLU, 3 dropout"
    );
    assert_eq!(shape("mlp2.mlp.3.weight"), [10, 8], "without dropout");
    assert_eq!(shape("fusion_module.w_xy"), [30, 1]);

    // A vocabulary of another size: the table as a whole has the right size, its parts have not.
    state.insert(
        format!("{table}.item.weight"),
        TensorData::zeros::<f32, _>([11, 4]),
    );
    let error = text(weights::from_state_dict(&config(), &state, &device));
    assert!(error.contains(&format!("{table}.item.weight")), "{error}");
    state.remove(&format!("{table}.item.weight"));
    let error = text(weights::from_state_dict(&config(), &state, &device));
    assert!(error.contains("missing: `embedding.table`"), "{error}");
    assert!(error.contains(&format!("{table}.item.weight")), "{error}");
    // Of a model without the second gate.
    let error = text(weights::load(&config().with_gate2(None), &path, &device));
    assert!(
        error.contains("unexpected: `fs_module.fs2_ctx_bias`"),
        "{error}"
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = text(weights::load(&config(), &path, &device));
    assert!(error.contains("model.safetensors"), "{error}");

    let dual = DualMlpConfig::new(fields(), 4, config().stream1, config().stream2);
    let model = initialise(&device, Seed(3), || dual.init(&device)).unwrap();
    weights::save(&model, &path).unwrap();
    let back = weights::load_dual(&dual, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&back), menagerie_hub::values(&model));
}

#[test]
fn the_machine_counts_every_pair_of_fields() {
    let device = device();
    let fields: Vec<Field> = ["a", "b", "c"].map(|name| Field::category(name, 4)).into();
    let config = BaselineConfig::new(
        BaselineKind::DeepFm,
        fields.clone(),
        3,
        StreamConfig::new(vec![2]),
    );
    let mut model = initialise(&device, Seed(2), || config.init(&device)).unwrap();
    // The perceptron says nothing.
    let output = model.stream.output.as_mut().unwrap();
    output.weight = output.weight.clone().map(|weight| weight.zeros_like());
    let rows = Impressions::new(fields, vec![1, 2, 3], vec![], vec![true]).unwrap();
    let batch = rows.batch(&[0], &device, None);
    let logit = model.forward(&batch).unwrap().into_scalar::<f32>();
    let of = |embedding: &menagerie_series::final_mlp::Embedding| -> Vec<f32> {
        embedding
            .looked_up(&batch)
            .unwrap()
            .into_data()
            .iter()
            .collect()
    };
    let e = of(&model.embedding);
    let pair = |a: usize, b: usize| (0..3).map(|d| e[3 * a + d] * e[3 * b + d]).sum::<f32>();
    let linear: f32 = of(model.linear.as_ref().unwrap()).iter().sum();
    let expected = pair(0, 1) + pair(0, 2) + pair(1, 2) + linear;
    assert!((logit - expected).abs() < 1e-9, "{logit} {expected}");
}
