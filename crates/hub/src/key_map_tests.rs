use super::*;
use crate::StateDict;

type Named = BTreeMap<String, TensorData>;
type Tensors = [(&'static str, TensorData)];

fn counting(shape: &[usize]) -> TensorData {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|value| value as f32).collect();
    TensorData::new(values, shape.to_vec())
}

fn named(tensors: &[(&str, TensorData)]) -> Named {
    tensors
        .iter()
        .map(|(key, data)| (key.to_string(), data.clone()))
        .collect()
}

fn dict(tensors: &[(&str, TensorData)]) -> StateDict {
    StateDict::from_tensors("official.pt", named(tensors))
}

/// Both directions of a map, one after the other, on tensors that cover every rule.
fn round_trips(map: &KeyMap, official: &[(&str, TensorData)], module: &[(&str, TensorData)]) {
    assert_eq!(map.to_module(&dict(official)).unwrap(), named(module));
    assert_eq!(map.to_official(&named(module)).unwrap(), named(official));
}

#[test]
fn a_key_without_a_rule_keeps_its_name() {
    let tensors = [("a.weight", counting(&[2, 3]))];
    round_trips(&KeyMap::identity(), &tensors, &tensors);
}

#[test]
fn names_are_changed_and_counted() {
    round_trips(
        &KeyMap::new()
            .rename("encoder_f{i}", "encoder.convs.{i-1}.weight")
            .rename("model.{*rest}", "{*rest}"),
        &[
            ("encoder_f1", counting(&[1])),
            ("encoder_f12", counting(&[2])),
            ("model.head.0.bias", counting(&[3])),
        ],
        &[
            ("encoder.convs.0.weight", counting(&[1])),
            ("encoder.convs.11.weight", counting(&[2])),
            ("head.0.bias", counting(&[3])),
        ],
    );
}

#[test]
fn the_first_matching_rule_decides() {
    let map = KeyMap::new()
        .transpose("{name}.weight", "{name}.kernel")
        .rename("a.weight", "never");
    let module = map
        .to_module(&dict(&[("a.weight", counting(&[1, 2]))]))
        .unwrap();
    assert_eq!(module["a.kernel"].shape().to_vec(), [2, 1]);
}

#[test]
fn matrices_are_transposed_and_kernels_permuted() {
    round_trips(
        &KeyMap::new()
            .transpose("fc.weight", "fc.weight")
            .permute("conv", "conv", &[3, 2, 0, 1]),
        &[
            (
                "fc.weight",
                TensorData::from([[1f32, 2., 3.], [4., 5., 6.]]),
            ),
            ("conv", counting(&[2, 3, 4, 5])),
        ],
        &[
            (
                "fc.weight",
                TensorData::from([[1f32, 4.], [2., 5.], [3., 6.]]),
            ),
            (
                "conv",
                axes::permute(&counting(&[2, 3, 4, 5]), &[3, 2, 0, 1]).unwrap(),
            ),
        ],
    );
}

#[test]
fn flips_come_before_permutations() {
    // An adjoint convolution: here[out, in, 1 - i] is there[in, out, i].
    round_trips(
        &KeyMap::new().flip_permute("up", "up.weight", &[2], &[1, 0, 2]),
        &[("up", TensorData::from([[[1f32, 2.], [3., 4.]]]))],
        &[("up.weight", TensorData::from([[[2f32, 1.]], [[4., 3.]]]))],
    );
}

#[test]
fn a_fused_projection_is_split_and_transposed() {
    let map = KeyMap::new()
        .rule(
            ["blocks.{i}.qkv.weight"],
            [
                "layers.{i}.q.weight",
                "layers.{i}.k.weight",
                "layers.{i}.v.weight",
            ],
            [
                Op::Split {
                    axis: 0,
                    shares: vec![2, 1, 1],
                },
                Op::Permute(vec![1, 0]),
            ],
        )
        .split(
            "blocks.{i}.kv.bias",
            ["layers.{i}.k.bias", "layers.{i}.v.bias"],
            0,
        );
    round_trips(
        &map,
        &[
            ("blocks.0.qkv.weight", counting(&[4, 1])),
            ("blocks.3.qkv.weight", counting(&[8, 2])),
            ("blocks.3.kv.bias", TensorData::from([1f32, 2.])),
        ],
        &[
            ("layers.0.q.weight", TensorData::from([[0f32, 1.]])),
            ("layers.0.k.weight", TensorData::from([[2f32]])),
            ("layers.0.v.weight", TensorData::from([[3f32]])),
            (
                "layers.3.q.weight",
                TensorData::from([[0f32, 2., 4., 6.], [1., 3., 5., 7.]]),
            ),
            (
                "layers.3.k.weight",
                TensorData::from([[8f32, 10.], [9., 11.]]),
            ),
            (
                "layers.3.v.weight",
                TensorData::from([[12f32, 14.], [13., 15.]]),
            ),
            ("layers.3.k.bias", TensorData::from([1f32])),
            ("layers.3.v.bias", TensorData::from([2f32])),
        ],
    );
}

#[test]
fn separate_tensors_are_merged() {
    round_trips(
        &KeyMap::new().merge(["w_f", "w_i"], "gates", 1),
        &[
            ("w_f", TensorData::from([[1f32, 2.], [3., 4.]])),
            ("w_i", TensorData::from([[5f32, 6.], [7., 8.]])),
        ],
        &[(
            "gates",
            TensorData::from([[1f32, 2., 5., 6.], [3., 4., 7., 8.]]),
        )],
    );
}

#[test]
fn numbered_tensors_are_stacked_in_numerical_order() {
    let official: Vec<(String, TensorData)> = (0..12)
        .map(|j| {
            (
                format!("latent.values.{j}"),
                TensorData::from([j as f32, 0.5]),
            )
        })
        .collect();
    let rows: Vec<f32> = (0..12).flat_map(|j| [j as f32, 0.5]).collect();
    let module = named(&[("latent.codebook", TensorData::new(rows, [12, 2]))]);
    let map = KeyMap::new().stack("latent.values.{j}", "latent.codebook");
    let weights = StateDict::from_tensors("official.pt", official.clone());
    assert_eq!(map.to_module(&weights).unwrap(), module);
    assert_eq!(
        map.to_official(&module).unwrap(),
        official.into_iter().collect()
    );

    round_trips(
        &KeyMap::new().stack("level{l}.v{j+1}", "levels.{l}"),
        &[
            ("level7.v1", TensorData::from([1i64])),
            ("level7.v2", TensorData::from([2i64])),
        ],
        &[("levels.7", TensorData::from([[1i64], [2]]))],
    );
}

#[test]
fn axes_of_one_come_and_go() {
    round_trips(
        &KeyMap::new().rule(
            ["conv1x1"],
            ["linear.weight"],
            [Op::Squeeze(2), Op::Permute(vec![1, 0])],
        ),
        &[("conv1x1", counting(&[2, 3, 1]))],
        &[(
            "linear.weight",
            TensorData::from([[0f32, 3.], [1., 4.], [2., 5.]]),
        )],
    );
}

#[test]
fn ignored_keys_are_dropped() {
    let map = KeyMap::new().ignore("*.num_batches_tracked");
    let module = map
        .to_module(&dict(&[
            ("bn.num_batches_tracked", TensorData::from([1i64])),
            ("bn.weight", counting(&[1])),
        ]))
        .unwrap();
    assert_eq!(module.keys().collect::<Vec<_>>(), ["bn.weight"]);
}

#[test]
fn every_misuse_is_named() {
    let stack = KeyMap::new().stack("v.{j}", "values");
    let merge = KeyMap::new().merge(["a", "b"], "ab", 0);
    let cases: [(&KeyMap, &Tensors, &str); 7] = [
        (
            &stack,
            &[("v.0", counting(&[1])), ("v.2", counting(&[1]))],
            "`v.0`, `v.2` come without `v.1`",
        ),
        (
            &stack,
            &[("v.0", counting(&[1])), ("v.1", counting(&[2]))],
            "`v.0`, `v.1` has parts that do not join",
        ),
        (&merge, &[("b", counting(&[1]))], "`b` come without `a`"),
        (
            &merge,
            &[("a", counting(&[1])), ("b", counting(&[2]))],
            "not in the proportion [1, 1]",
        ),
        (
            &KeyMap::new().transpose("w", "w"),
            &[("w", counting(&[3]))],
            "`w` has shape [3], but the permutation [1, 0] needs 2 axes",
        ),
        (
            &KeyMap::new().split("w", ["x", "y"], 0),
            &[("w", counting(&[3]))],
            "`w` has shape [3]: axis 0 does not divide into 2 equal parts",
        ),
        (
            &KeyMap::new().rename("a", "b"),
            &[("a", counting(&[1])), ("b", counting(&[1]))],
            "both become `b`",
        ),
    ];
    for (map, tensors, text) in cases {
        let error = map.to_module(&dict(tensors)).unwrap_err().to_string();
        assert!(
            error.starts_with("official.pt does not fit the key map: "),
            "{error}"
        );
        assert!(error.contains(text), "{error} lacks: {text}");
    }
}

#[test]
fn the_way_back_names_what_is_absent() {
    let map = KeyMap::new().split("qkv", ["q", "k", "v"], 0);
    let error = map
        .to_official(&named(&[("q", counting(&[1])), ("v", counting(&[1]))]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`q`, `v` come without `k`"), "{error}");
}

#[test]
fn a_module_path_knows_its_official_names() {
    let map = KeyMap::new()
        .rename("encoder_f{i}", "convs.{i-1}.weight")
        .merge(["a.{n}", "b.{n}"], "ab.{n}", 0)
        .stack("v.{j}", "values");
    assert_eq!(map.official_names("convs.2.weight"), ["encoder_f3"]);
    assert_eq!(map.official_names("ab.x"), ["a.x", "b.x"]);
    assert_eq!(map.official_names("values"), ["v.{j}"]);
    assert_eq!(map.official_names("other"), ["other"]);
}
