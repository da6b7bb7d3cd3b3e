//! stacked-geo: autoencoder, stack, components, maps.

use crate::depict::{draws, floats, indices, integers, number, settled, values};
use burn::tensor::Device;
use menagerie_cluster::stacked_geo::{
    AutoencoderConfig, ClassMap, MinMax, Pca, StackConfig, autoencoder_loss,
    weights::{key_map, stack_key_map},
};
use menagerie_core::{Error, Result};
use menagerie_nn::clustering::{Quality, Rows, k_means_plus_plus};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub const CASES: &[Case] = &[
    Case {
        slug: "stacked-geo",
        case: "ae_loss",
        run: ae_loss,
    },
    Case {
        slug: "stacked-geo",
        case: "cluster_map",
        run: cluster_map,
    },
    Case {
        slug: "stacked-geo",
        case: "pca",
        run: pca,
    },
    Case {
        slug: "stacked-geo",
        case: "stack_forward",
        run: stack_forward,
    },
];

#[derive(Deserialize)]
struct Single {
    bands: usize,
    widths: Vec<usize>,
    activity_l1: f64,
}

fn ae_loss(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Single {
        bands,
        widths,
        activity_l1,
    } = fixture.config()?;
    let device = device.clone().autodiff();
    let config = AutoencoderConfig::new(bands, widths);
    let model = fixture.load(config.init(&device)?, &key_map())?;
    let x = fixture.input::<2>("x", &device)?;
    let activations = model.activations(x.clone());
    check.output("code", activations.code())?;
    check.output("recon", activations.reconstruction())?;
    let loss = autoencoder_loss(activations, x, activity_l1);
    let grads = loss.total.backward();
    check.output("mse", loss.error)?;
    check.output("activity_l1", loss.activity)?;
    check.output("total", loss.total)?;
    check.gradients(&model, &grads, &key_map())
}

#[derive(Deserialize)]
struct Map {
    #[serde(rename = "H")]
    height: usize,
    #[serde(rename = "W")]
    width: usize,
    #[serde(rename = "D")]
    dim: usize,
    k: usize,
    filter: usize,
}

fn cluster_map(fixture: &Fixture, _: &Device, check: &mut Check) -> Result<()> {
    let config: Map = fixture.config()?;
    let features = values(fixture, "features")?;
    let points = Rows::new(&features, config.dim)?;
    // The draws give the points to start from, where a file has both.
    let start = indices(fixture, "init_index")?;
    if fixture.has_input("first") && fixture.has_input("uniform") {
        let trials = fixture.input_data("uniform")?.shape().to_vec();
        let draws = draws(fixture, trials.get(1).copied().unwrap_or(1))?;
        let seeding = k_means_plus_plus(&points, &draws)?;
        if seeding.indices != start {
            let found = format!("{:?}", seeding.indices);
            let rule = format!("must be {start:?}, the points that the reference starts from");
            return Err(Error::input("the seeding", found, rule));
        }
    }
    let centres: Vec<f32> = start
        .iter()
        .flat_map(|&index| features[index * config.dim..][..config.dim].to_vec())
        .collect();
    let found = settled(&points, centres, 0.0)?;
    let labels = found.assign(&points)?;
    let size = [config.height, config.width];
    check.output_data("labels", integers(&labels, size))?;
    check.output_data("inertia", number(found.inertia))?;
    check.output_data("centers", floats(found.centres, [config.k, config.dim]))?;
    let quality = Quality::of(&points, &labels)?;
    check.output_data("calinski_harabasz", number(quality.calinski_harabasz))?;
    check.output_data("davies_bouldin", number(quality.davies_bouldin))?;
    let classes = labels.iter().map(|&label| label as u8).collect();
    let filtered = ClassMap::new(classes, size)?.majority(config.filter)?;
    let filtered: Vec<usize> = filtered
        .classes()
        .iter()
        .copied()
        .map(usize::from)
        .collect();
    check.output_data("filtered", integers(&filtered, size))
}

#[derive(Deserialize)]
struct Components {
    #[serde(rename = "N")]
    n: usize,
    bands: usize,
    threshold: f64,
}

fn pca(fixture: &Fixture, _: &Device, check: &mut Check) -> Result<()> {
    let Components {
        n,
        bands,
        threshold,
    } = fixture.config()?;
    let mut scaled = values(fixture, "raw")?;
    let scaling = MinMax::fit(&Rows::new(&scaled, bands)?)?;
    scaling.apply(&mut scaled);
    let pca = Pca::fit(&Rows::new(&scaled, bands)?)?;
    let single =
        |values: &[f64]| -> Vec<f32> { values.iter().map(|&value| value as f32).collect() };
    check.output_data("mean", floats(single(&pca.mean), [bands]))?;
    let components = single(&pca.components.concat());
    check.output_data("components", floats(components, [bands, bands]))?;
    check.output_data("explained_variance", floats(single(&pca.variance), [bands]))?;
    check.output_data("ratio", floats(single(&pca.ratio()), [bands]))?;
    let count = pca.select(threshold);
    check.output_data("n_selected", integers(&[count], [1]))?;
    let projected = pca.project(&scaled, count)?;
    check.output_data("projected", floats(projected, [n, count]))?;
    check.output_data("scaled", floats(scaled, [n, bands]))
}

#[derive(Deserialize)]
struct Stages {
    bands: usize,
    widths: [Vec<usize>; 3],
}

fn stack_forward(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Stages {
        bands,
        widths: [first, second, third],
    } = fixture.config()?;
    let config = StackConfig::new(bands)
        .with_first(first)
        .with_second(second)
        .with_third(third);
    let model = fixture.load(config.init(device)?, &stack_key_map())?;
    let pass = model.forward(fixture.input("x", device)?)?;
    check.output("ae1_code", pass.first.code())?;
    check.output("ae1_recon", pass.first.reconstruction())?;
    check.output("ae2_input", pass.second_input)?;
    if check.expects("ae2_code") {
        check.output("ae2_code", pass.second.code())?;
    }
    check.output("ae2_mid", pass.second.encoder[1].clone())?;
    check.output("ae2_recon", pass.second.reconstruction())?;
    check.output("ae3_input", pass.third_input)?;
    check.output("ae3_code", pass.third.code())?;
    check.output("ae3_recon", pass.third.reconstruction())
}
