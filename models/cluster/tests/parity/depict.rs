//! depict: network, objective, targets, AC-PIC, k-means and scores.

use burn::tensor::{Device, Tensor, TensorData, activation::softmax};
use menagerie_cluster::depict::{
    DepictConfig, Dropout, LossWeights, Masks, PathIntegralConfig, TargetRule, clustering_loss,
    frequencies, head_weight, most_probable, relative_entropy, targets, weights::key_map,
};
use menagerie_core::{Error, Result};
use menagerie_nn::clustering::{
    Contingency, KMeans, Normalisation, Rows, SeedingDraws, Stop, k_means_plus_plus, lloyd,
};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub const CASES: &[Case] = &[
    Case {
        slug: "depict",
        case: "ac_pic",
        run: ac_pic,
    },
    Case {
        slug: "depict",
        case: "forward_clean",
        run: forward_clean,
    },
    Case {
        slug: "depict",
        case: "joint_loss",
        run: joint_loss,
    },
    Case {
        slug: "depict",
        case: "kmeans",
        run: kmeans,
    },
    Case {
        slug: "depict",
        case: "metrics",
        run: metrics,
    },
    Case {
        slug: "depict",
        case: "target",
        run: target,
    },
];

#[derive(Deserialize)]
struct Network {
    hw: [usize; 2],
    c_in: usize,
    maps: [usize; 2],
    k: usize,
    drop: Option<[f64; 3]>,
    hidden_loss_weight: Option<f64>,
    lambda_recon: Option<f64>,
    lambda_clus: Option<f64>,
}

impl Network {
    /// Kernels and padding are those of the published configuration for the size.
    fn config(&self) -> DepictConfig {
        let [height, width] = self.hw;
        let published = LossWeights::new();
        let [input, first, second] = self.drop.unwrap_or_default();
        DepictConfig::for_images([self.c_in, height, width], self.k)
            .with_maps(self.maps)
            .with_dropout(Dropout {
                input,
                first,
                second,
            })
            .with_weights(LossWeights {
                reconstruction: self.lambda_recon.unwrap_or(published.reconstruction),
                clustering: self.lambda_clus.unwrap_or(published.clustering),
                hidden: self.hidden_loss_weight.unwrap_or(published.hidden),
            })
    }
}

/// The values of an input in host memory.
pub fn values(fixture: &Fixture, name: &str) -> Result<Vec<f32>> {
    Ok(fixture.input_data(name)?.iter::<f32>().collect())
}

/// Labels or indices of an input in host memory.
pub fn indices(fixture: &Fixture, name: &str) -> Result<Vec<usize>> {
    let values = fixture.input_data(name)?.iter::<i64>();
    values
        .map(|value| usize::try_from(value).map_err(|error| Error::other(name, error)))
        .collect()
}

/// Integers as the harness compares them.
pub fn integers<const D: usize>(values: &[usize], shape: [usize; D]) -> TensorData {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    TensorData::new(values, shape)
}

pub fn floats<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> TensorData {
    TensorData::new(values, shape)
}

pub fn number(value: f64) -> TensorData {
    TensorData::new(vec![value as f32], [1])
}

/// The same partition in the numbers that the reference has given it.
fn renamed(ours: &[usize], theirs: &[usize]) -> Result<Vec<usize>> {
    let matching = Contingency::new(theirs, ours)?.matching();
    let name = |label: &usize| matching.get(label).copied().unwrap_or(usize::MAX >> 1);
    Ok(ours.iter().map(name).collect())
}

#[derive(Deserialize)]
struct Graph {
    #[serde(rename = "N")]
    n: usize,
    #[serde(rename = "D")]
    d: usize,
    k: usize,
    #[serde(rename = "K_neighbours")]
    neighbours: usize,
    a: f64,
    z: f64,
}

fn ac_pic(fixture: &Fixture, _: &Device, check: &mut Check) -> Result<()> {
    let graph: Graph = fixture.config()?;
    let config = PathIntegralConfig {
        neighbours: graph.neighbours,
        a: graph.a,
        z: graph.z,
    };
    let points = values(fixture, "x")?;
    let transitions = config.transitions(&points, graph.d)?;
    let mut dense = vec![0.0; graph.n * graph.n];
    let entries = transitions.columns.iter().zip(&transitions.values);
    for (at, (&column, &value)) in entries.enumerate() {
        dense[at / transitions.width * graph.n + column as usize] = value as f32;
    }
    check.output_data("transition", floats(dense, [graph.n, graph.n]))?;
    let recorded = |name: &str| -> Result<Vec<usize>> {
        let (_, data) = fixture
            .expected()
            .find(|(key, _)| key.strip_prefix("out/") == Some(name))
            .ok_or_else(|| Error::format(fixture.path(), format!("no out/{name}")))?;
        Ok(data.iter::<i64>().map(|value| value as usize).collect())
    };
    let initial = renamed(
        &transitions.initial_clusters(),
        &recorded("initial_cluster")?,
    )?;
    check.output_data("initial_cluster", integers(&initial, [graph.n]))?;
    let found = config.fit(&points, graph.d, graph.k)?;
    let labels = renamed(&found, &recorded("labels")?)?;
    check.output_data("labels", integers(&labels, [graph.n]))?;
    let scores = Contingency::new(&indices(fixture, "true")?, &found)?;
    check.output_data("nmi_vs_true", number(scores.nmi(Normalisation::Arithmetic)))
}

fn forward_clean(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let config = fixture.config::<Network>()?.config();
    let model = fixture.load(config.init(device)?, &key_map())?;
    let images = fixture.input::<4>("x", device)?;
    let encoding = model.encoding(images.clone(), None);
    let decoding = model.decoding(encoding.embedding.clone());
    check.output("conv1", encoding.first)?;
    check.output("conv2", encoding.second)?;
    check.output(
        "probs",
        softmax(model.scores(encoding.embedding.clone()), 1),
    )?;
    check.output("z", encoding.embedding)?;
    check.output("d2", decoding.second)?;
    check.output("d1", decoding.first)?;
    check.output("recon", decoding.image)
}

fn joint_loss(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let config = fixture.config::<Network>()?.config();
    let model = fixture.load(config.init(&device)?, &key_map())?;
    let mask = |name: &str| {
        let there = fixture.has_input(name);
        there.then(|| fixture.input::<4>(name, &device)).transpose()
    };
    let masks = Masks {
        input: mask("mask0")?,
        first: mask("mask1")?,
        second: mask("mask2")?,
    };
    let targets = fixture.input::<2>("q", &device)?;
    let images = fixture.input::<4>("x", &device)?;
    let loss = model.loss(images, &masks, Some(targets), &config.weights);
    let grads = loss.total.backward();
    check.output("loss0", loss.reconstruction.image)?;
    check.output("loss1", loss.reconstruction.first)?;
    check.output("loss2", loss.reconstruction.second)?;
    check.output("recon", loss.reconstruction.total)?;
    if let (Some(clustering), Some(logs)) = (loss.clustering, loss.log_probabilities) {
        check.output("clus", clustering)?;
        check.output("noisy_probs", logs.exp())?;
    }
    check.output("total", loss.total)?;
    check.gradients(&model, &grads, &key_map())
}

#[derive(Deserialize)]
struct Points {
    #[serde(rename = "N")]
    n: usize,
    #[serde(rename = "D")]
    d: usize,
    k: usize,
    local_trials: usize,
    tol: f64,
}

/// The draws of a fixture: `first`, and `uniform` of `[k - 1, trials]`.
pub fn draws(fixture: &Fixture, trials: usize) -> Result<SeedingDraws> {
    let first = indices(fixture, "first")?;
    let uniform = fixture.input_data("uniform")?.iter::<f64>().collect();
    Ok(SeedingDraws {
        first: first.first().copied().unwrap_or(usize::MAX),
        uniform,
        trials,
    })
}

/// Lloyd's iterations to the end.
pub fn settled(points: &Rows, centres: Vec<f32>, tolerance: f64) -> Result<KMeans> {
    let stop = Stop {
        iterations: 10_000,
        tolerance,
    };
    lloyd(points, centres, stop)
}

fn kmeans(fixture: &Fixture, _: &Device, check: &mut Check) -> Result<()> {
    let config: Points = fixture.config()?;
    let x = values(fixture, "x")?;
    let points = Rows::new(&x, config.d)?;
    let draws = draws(fixture, config.local_trials)?;
    let seeding = k_means_plus_plus(&points, &draws)?;
    check.output_data("seed_index", integers(&seeding.indices, [config.k]))?;
    check.output_data(
        "candidates",
        integers(&seeding.candidates, [config.k - 1, config.local_trials]),
    )?;
    let one = SeedingDraws {
        uniform: draws
            .uniform
            .chunks(draws.trials)
            .map(|row| row[0])
            .collect(),
        trials: 1,
        ..draws
    };
    let one = k_means_plus_plus(&points, &one)?;
    check.output_data("seed_index_one_trial", integers(&one.indices, [config.k]))?;
    let found = settled(&points, seeding.centres, config.tol)?;
    check.output_data("iterations", integers(&[found.iterations], [1]))?;
    check.output_data("labels", integers(&found.assign(&points)?, [config.n]))?;
    check.output_data("inertia", number(found.inertia))?;
    check.output_data("centers", floats(found.centres, [config.k, config.d]))
}

#[derive(Deserialize)]
struct Labellings {
    cases: Vec<String>,
}

fn metrics(fixture: &Fixture, _: &Device, check: &mut Check) -> Result<()> {
    for case in fixture.config::<Labellings>()?.cases {
        let truth = indices(fixture, &format!("{case}_true"))?;
        let found = indices(fixture, &format!("{case}_pred"))?;
        let scores = Contingency::new(&truth, &found)?;
        let counts: Vec<usize> = scores
            .counts()
            .iter()
            .map(|&count| count as usize)
            .collect();
        let shape = [scores.classes().len(), scores.clusters().len()];
        check.output_data(&format!("{case}_contingency"), integers(&counts, shape))?;
        for (name, score) in [
            ("acc", scores.accuracy()),
            ("ari", scores.ari()),
            ("nmi_arithmetic", scores.nmi(Normalisation::Arithmetic)),
            ("nmi_geometric", scores.nmi(Normalisation::Geometric)),
            ("purity", scores.purity()),
        ] {
            check.output_data(&format!("{case}_{name}"), number(score))?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Assignments {
    #[serde(rename = "N")]
    n: usize,
    #[serde(rename = "K")]
    k: usize,
    #[serde(rename = "D")]
    d: usize,
}

fn target(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Assignments { n, k, d } = fixture.config()?;
    let p = values(fixture, "p")?;
    let f = frequencies(&p, k).into_iter().map(|f| f as f32).collect();
    check.output_data("freq", floats(f, [k]))?;
    for (name, labels, rule) in [
        ("code", "pred", TargetRule::Squared),
        ("paper", "pred_paper", TargetRule::SquareRoot),
    ] {
        let q = targets(&p, k, rule)?;
        check.output_data(labels, integers(&most_probable(&q, k), [n]))?;
        let entropy = number(relative_entropy(&q, &p, k));
        check.output_data(&format!("kl_{name}"), entropy)?;
        if rule == TargetRule::Squared {
            let logs = fixture.input::<2>("p", device)?.log();
            let q = Tensor::from_data(floats(q.clone(), [n, k]), device);
            check.output("ce_code", clustering_loss(logs, q))?;
        }
        check.output_data(&format!("q_{name}"), floats(q, [n, k]))?;
    }
    let features = values(fixture, "features")?;
    let weight = head_weight(&features, d, &indices(fixture, "labels")?, k)?;
    check.output_data("init_weight", floats(weight, [d, k]))
}
