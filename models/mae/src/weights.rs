//! Key maps that the systems of this family share.

use menagerie_hub::{KeyMap, Op};

/// A linear layer of PyTorch's, `[outputs, inputs]` with a bias, in a module's `[inputs, outputs]`.
pub(crate) fn linear(official: &str, module: &str) -> KeyMap {
    KeyMap::new()
        .transpose(&format!("{official}.weight"), &format!("{module}.weight"))
        .rename(&format!("{official}.bias"), &format!("{module}.bias"))
}

/// Weight and bias under other names: layer norms and convolutions.
pub(crate) fn affine(official: &str, module: &str) -> KeyMap {
    ["weight", "bias"].iter().fold(KeyMap::new(), |map, part| {
        map.rename(&format!("{official}.{part}"), &format!("{module}.{part}"))
    })
}

/// The names of the parts of a block below its root: norms, fused projection, projection, MLP.
pub(crate) struct BlockNames {
    /// The two norms.
    pub norms: [&'static str; 2],
    /// The fused projection to queries, keys and values.
    pub qkv: &'static str,
    /// The projection after attention.
    pub proj: &'static str,
    /// The two layers of the multilayer perceptron.
    pub mlp: [&'static str; 2],
}

/// timm's and BEiT's names, which are also those of the official code of MAE.
pub(crate) const TIMM: BlockNames = BlockNames {
    norms: ["norm1", "norm2"],
    qkv: "attn.qkv",
    proj: "attn.proj",
    mlp: ["mlp.fc1", "mlp.fc2"],
};

/// The blocks below `official`, e.g. `blocks.{i}`, as the module's below `module`. Vectors of a
/// block that have the same name on both sides (`attn.q_bias`, `gamma_1`, …) go along.
pub(crate) fn blocks(official: &str, module: &str, names: &BlockNames) -> KeyMap {
    let at = |root: &str, name: &str| format!("{root}.{name}");
    let pair = |theirs: &str, ours: &str| (at(official, theirs), at(module, ours));
    let mut map = KeyMap::new();
    for (theirs, ours) in [
        (names.qkv, "attn.qkv"),
        (names.proj, "attn.proj"),
        (names.mlp[0], "mlp.fc1"),
        (names.mlp[1], "mlp.fc2"),
    ] {
        let (theirs, ours) = pair(theirs, ours);
        map = map.and(linear(&theirs, &ours));
    }
    for (theirs, ours) in names.norms.into_iter().zip(["norm1", "norm2"]) {
        let (theirs, ours) = pair(theirs, ours);
        map = map.and(affine(&theirs, &ours));
    }
    for same in [
        "attn.q_bias",
        "attn.v_bias",
        "attn.scale",
        "gamma_1",
        "gamma_2",
    ] {
        let (theirs, ours) = pair(same, same);
        map = map.rename(&theirs, &ours);
    }
    map
}

/// Three separate linear layers as the fused projection `module`.
pub(crate) fn separate_qkv(official: [String; 3], module: &str) -> KeyMap {
    let part = |part: &str| official.each_ref().map(|name| format!("{name}.{part}"));
    let (weights, biases) = (part("weight"), part("bias"));
    let shares = vec![1, 1, 1];
    KeyMap::new()
        .rule(
            weights.each_ref().map(String::as_str),
            [format!("{module}.weight").as_str()],
            [Op::Permute(vec![1, 0]), Op::Concat { axis: 1, shares }],
        )
        .merge(
            biases.each_ref().map(String::as_str),
            &format!("{module}.bias"),
            0,
        )
}
