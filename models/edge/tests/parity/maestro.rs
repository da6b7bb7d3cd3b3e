//! maestro: factored layers, attention, LeNet's objective, and a trajectory of plain descent.

use burn::module::{Module, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_edge::maestro::{
    ConvSizes, Factored, Factors, LeNetConfig, LodConv, LodLinear, MaestroConfig, MlpConfig, Mode,
    Network, Ranks, loss, svd, weights,
};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub(crate) const CASES: &[Case] = &[
    Case {
        slug: "maestro",
        case: "linear_lod",
        run: linear,
    },
    Case {
        slug: "maestro",
        case: "conv_lod",
        run: convolution,
    },
    Case {
        slug: "maestro",
        case: "attention",
        run: attention,
    },
    Case {
        slug: "maestro",
        case: "lenet_step",
        run: lenet,
    },
    Case {
        slug: "maestro",
        case: "svd_trajectory",
        run: trajectory,
    },
];

/// A network of one linear layer: its masks, truncations and extractions are those of any.
type Single = menagerie_edge::maestro::Mlp;

fn single(inputs: usize, outputs: usize, bias: bool, device: &Device) -> Result<Single> {
    let config = MlpConfig::new(vec![inputs, outputs]).with_bias(bias);
    config.init(device)?.decompose()
}

fn ints(values: impl IntoIterator<Item = usize>) -> TensorData {
    let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
    let count = values.len();
    TensorData::new(values, [count])
}

/// 1 for the ranks that are left.
fn mask(factors: &Factors) -> TensorData {
    let left = factors.survivors();
    ints((0..factors.width()).map(|rank| usize::from(left.contains(&rank))))
}

fn doubles(values: &[f64]) -> TensorData {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let count = values.len();
    TensorData::new(values, [count])
}

/// Norms, importances and the lasso of a layer.
fn norms(factors: &Factors, check: &mut Check) -> Result<()> {
    for (hierarchical, names) in [
        (false, ["norm_out", "norm_in", "importance", "group_lasso"]),
        (
            true,
            ["hier_out", "hier_in", "importance_hier", "group_lasso_hier"],
        ),
    ] {
        if let (Some([u, v]), Some(lasso)) =
            (factors.norms(hierarchical), factors.lasso(hierarchical))
        {
            check.output(names[0], u)?;
            check.output(names[1], v)?;
            check.output(names[3], lasso)?;
        }
        let importances = factors.importances(hierarchical)?;
        check.output_data(names[2], doubles(&importances))?;
    }
    Ok(())
}

/// The ranks `n` of all recorded `rank<n>`.
fn recorded_ranks(fixture: &Fixture) -> Vec<usize> {
    let names = fixture.expected();
    names
        .filter_map(|(name, _)| name.strip_prefix("out/rank")?.parse().ok())
        .collect()
}

#[derive(Deserialize)]
struct LinearSizes {
    in_features: usize,
    out_features: usize,
    bias: bool,
    threshold: f64,
}

fn linear(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: LinearSizes = fixture.config()?;
    let (inputs, outputs) = (sizes.in_features, sizes.out_features);
    let x = fixture.input::<2>("x", device)?;

    // An ordinary layer, decomposed.
    let mut dense = MlpConfig::new(vec![inputs, outputs])
        .with_bias(sizes.bias)
        .init(device)?;
    for layer in dense.layers_mut() {
        layer.weight = Some(Param::from_tensor(fixture.input::<2>("weight", device)?));
        if sizes.bias {
            layer.bias = Some(Param::from_tensor(fixture.input::<1>("bias", device)?));
        }
    }
    let decomposed = dense.decompose()?;
    let whole = decomposed.forward_rows(x.clone(), &Ranks::Full)?;
    check.output("decomposed_reference", whole)?;
    let values: Vec<f64> = fixture.input_data("weight")?.iter().collect();
    let found = svd(&values, outputs, inputs);
    check.output_data("singular_values", doubles(&found.s))?;

    // The recorded factors.
    let map = weights::linear_key_map("", "linears.0");
    let network = single(inputs, outputs, sizes.bias, device)?;
    let mut network = weights::load_factored(network, &fixture.weights(), &map)?;
    norms(network.layers()[0].1, check)?;
    check.output("full", network.forward_rows(x.clone(), &Ranks::Full)?)?;
    for rank in recorded_ranks(fixture) {
        let ranks = Ranks::Each(vec![rank]);
        check.output(
            &format!("rank{rank}"),
            network.forward_rows(x.clone(), &ranks)?,
        )?;
    }
    network.shrink(sizes.threshold, false)?;
    let factors = network.layers()[0].1;
    let left = factors.rank();
    check.output_data("mask_flat", mask(factors))?;
    check.output_data("inner_dim_flat", ints([left]))?;
    check.output_data("keep_full", ints([usize::from(factors.is_smaller_dense())]))?;
    check.output(
        "masked_full",
        network.forward_rows(x.clone(), &Ranks::Full)?,
    )?;
    let half = Ranks::Each(vec![left.div_ceil(2)]);
    check.output("masked_p_half", network.forward_rows(x, &half)?)?;
    check.output("recomposed_weight", factors.product(left))?;
    let small = network.extract(&Ranks::Full, false);
    let factors = small.layers()[0].1;
    if let (Some(u), Some(v)) = (&factors.u, &factors.v) {
        check.output("pruned_out", u.val())?;
        check.output("pruned_in", v.val())?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct ConvConfig {
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    #[serde(default = "one")]
    dilation: usize,
    bias: bool,
    threshold: f64,
}

fn one() -> usize {
    1
}

/// A convolution as a network of one layer.
#[derive(Module, Debug)]
struct One {
    conv: LodConv,
}

impl Network for One {
    fn run(&self, images: Tensor<4>, ranks: &Ranks, _: Mode) -> Result<Tensor<2>> {
        Ok(self.conv.forward(images, ranks.of(0)).flatten(1, 3))
    }

    fn applications(&self) -> Vec<usize> {
        vec![1]
    }
}

impl Factored for One {
    fn layers(&self) -> Vec<(String, &Factors)> {
        vec![("conv".into(), &self.conv.factors)]
    }

    fn layers_mut(&mut self) -> Vec<&mut Factors> {
        vec![&mut self.conv.factors]
    }
}

fn convolution(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let config: ConvConfig = fixture.config()?;
    let sizes = ConvSizes::new(config.in_channels, config.out_channels, config.kernel)
        .with_stride(config.stride)
        .with_padding(config.padding)
        .with_dilation(config.dilation)
        .with_bias(config.bias);
    let x = fixture.input::<4>("x", device)?;
    let mut dense = One {
        conv: LodConv::new(sizes, device)?,
    };
    let weight = fixture.input::<4>("weight", device)?;
    dense.conv.factors.weight = Some(Param::from_tensor(weight.flatten(1, 3)));
    if sizes.bias {
        let bias = fixture.input::<1>("bias", device)?;
        dense.conv.factors.bias = Some(Param::from_tensor(bias));
    }
    let decomposed = dense.decompose()?;
    let whole = decomposed.conv.forward(x.clone(), usize::MAX);
    check.output("decomposed_reference", whole)?;

    let map = weights::conv_key_map("", "conv");
    let empty = One {
        conv: LodConv::zeros(sizes, device)?,
    };
    let mut network = weights::load_factored(empty, &fixture.weights(), &map)?;
    norms(&network.conv.factors, check)?;
    check.output("full", network.conv.forward(x.clone(), usize::MAX))?;
    for rank in recorded_ranks(fixture) {
        check.output(
            &format!("rank{rank}"),
            network.conv.forward(x.clone(), rank),
        )?;
    }
    network.shrink(config.threshold, false)?;
    let (conv, left) = (&network.conv, network.conv.factors.rank());
    check.output_data("mask_flat", mask(&conv.factors))?;
    check.output_data(
        "keep_full",
        ints([usize::from(conv.factors.is_smaller_dense())]),
    )?;
    check.output("masked_full", conv.forward(x.clone(), usize::MAX))?;
    check.output("masked_p_half", conv.forward(x, left.div_ceil(2)))?;
    let side = config.kernel;
    let shape = [config.out_channels, config.in_channels, side, side];
    check.output(
        "recomposed_weight",
        conv.factors.product(left).reshape(shape),
    )
}

#[derive(Deserialize)]
struct AttentionSizes {
    embed: usize,
    heads: usize,
}

fn attention(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: AttentionSizes = fixture.config()?;
    let bias = fixture.param_data("q_proj.out_network.bias").is_ok();
    let dims = [sizes.embed, sizes.heads];
    let module = weights::attention_from_state_dict(dims, bias, &fixture.weights(), device)?;
    let queries = fixture.input::<3>("query", device)?;
    let keys = fixture.input::<3>("key_value", device)?;
    let blocked = fixture.input_int::<2>("mask", device)?.equal_elem(1);
    let ranks: Vec<usize> = fixture
        .input_data("ranks")?
        .iter::<i64>()
        .map(|rank| if rank == 0 { usize::MAX } else { rank as usize })
        .collect();
    let ranks: [usize; 4] = ranks
        .try_into()
        .map_err(|_| Error::other("reading ranks", "there are not four"))?;
    let mask = Some(blocked);
    let (out, weights) = module.forward(queries.clone(), keys.clone(), mask.clone(), Some(ranks));
    check.output("out", out)?;
    check.output("weights", weights)?;
    check.output("out_full", module.forward(queries, keys, mask, None).0)
}

#[derive(Deserialize)]
struct Step {
    gp_lambda: f64,
    full_pass: bool,
    hierarchical: bool,
}

fn lenet(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let step: Step = fixture.config()?;
    let shape = |key: &str| fixture.param_data(key).map(|data| data.shape().to_vec());
    let first = |key: &str| Ok::<_, Error>(shape(key)?.first().copied().unwrap_or(1));
    let channels = shape("conv1.conv_u.weight")?.get(1).copied().unwrap_or(1);
    let config = LeNetConfig::new()
        .with_channels(channels)
        .with_filters([first("conv1.conv_v.weight")?, first("conv2.conv_v.weight")?])
        .with_hidden([
            first("fc1.out_network.weight")?,
            first("fc2.out_network.weight")?,
        ])
        .with_classes(first("fc3.out_network.weight")?);
    let network = weights::lenet_from_state_dict(&config, &fixture.weights(), &device)?;
    check.output_data("widths", ints(network.ranks()))?;

    let one = |name: &str| -> Result<usize> {
        let value = fixture.input_data(name)?.iter::<i64>().next();
        Ok(value.unwrap_or_default() as usize)
    };
    let ranks = Ranks::Cut {
        layer: one("layer")?,
        rank: one("rank")?,
    };
    let settings = MaestroConfig::new()
        .with_lambda(step.gp_lambda)
        .with_full_pass(step.full_pass)
        .with_hierarchical(step.hierarchical);
    let images = fixture.input::<4>("x", &device)?;
    let labels = fixture.input_int::<1>("y", &device)?;
    let found = loss(&network, &settings, images, labels, &ranks)?;
    check.output("logits_partial", found.partial_logits)?;
    check.output("loss_partial", found.partial)?;
    check.output("group_lasso", found.lasso)?;
    if let (Some(logits), Some(full)) = (found.full_logits, found.full) {
        check.output("logits_full", logits)?;
        check.output("loss_full", full)?;
    }
    check.output("total", found.total.clone())?;

    // Kernels are matrices here.
    let gradients = menagerie_hub::gradients(&network, &found.total.backward());
    let gradients = weights::key_map(&network).to_official(&gradients)?;
    let recorded: Vec<(String, Vec<usize>)> = fixture
        .expected()
        .filter(|(name, _)| name.starts_with("grad/"))
        .map(|(name, data)| (name.to_owned(), data.shape().to_vec()))
        .collect();
    for (name, shape) in recorded {
        let ours = gradients.get(name.trim_start_matches("grad/")).cloned();
        let ours = ours.ok_or_else(|| Error::other("gradients", format!("no {name}")))?;
        check.gradient_data(&name, weights::reshaped(ours, shape))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Descent {
    m: usize,
    n: usize,
    lr: f64,
}

fn trajectory(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let config: Descent = fixture.config()?;
    let mut layer = LodLinear::new(config.m, config.n, false, &device);
    layer.factors = single(config.m, config.n, false, &device)?.linears[0]
        .factors
        .clone();
    let map = weights::linear_key_map("", "");
    let mut layer = weights::load_factored(layer, &fixture.weights(), &map)?;
    let target = fixture.input::<2>("target", &device)?;
    let rows = Tensor::<2>::eye(config.m, &device);
    let ranks: Vec<usize> = fixture
        .input_data("ranks")?
        .iter::<i64>()
        .map(|rank| rank as usize)
        .collect();
    let mut optimiser = SgdConfig::new().init();
    let mut losses = Vec::with_capacity(ranks.len());
    for rank in &ranks {
        let loss = (layer.forward(rows.clone(), *rank) - target.clone())
            .square()
            .mean();
        losses.push(loss.clone().without_autodiff().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &layer);
        layer = optimiser.step(config.lr, layer, gradients);
    }
    let count = losses.len();
    check.output_data("losses", TensorData::new(losses, [count]))?;
    let factors = &layer.factors;
    if let (Some(u), Some(v)) = (&factors.u, &factors.v) {
        check.output("out_weight", u.val())?;
        check.output("in_weight", v.val())?;
    }
    check.output_data("importance", doubles(&factors.importances(false)?))?;
    let values: Vec<f64> = fixture.input_data("target")?.iter().collect();
    let best = svd(&values, config.m, config.n);
    check.output_data("singular_values", doubles(&best.s))?;
    let errors: Vec<f64> = (1..=best.rank)
        .map(|rank| {
            // `[n, m]`, the target is `[m, n]`.
            let ours: Vec<f64> = factors
                .product(rank)
                .transpose()
                .into_data()
                .iter()
                .collect();
            let best = best.truncated(rank);
            ours.iter().zip(best).map(|(a, b)| (a - b).powi(2)).sum()
        })
        .collect();
    check.output_data("error_to_best_rank", doubles(&errors))
}
