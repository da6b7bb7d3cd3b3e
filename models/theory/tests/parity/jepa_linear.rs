//! jepa-linear: losses and gradients of samples and of covariances; trajectories of the matrices, of
//! the equations, and in closed form.

use burn::tensor::{Device, TensorData};
use menagerie_core::Result;
use menagerie_hub::StateDict;
use menagerie_parity::{Case, Check, Fixture};
use menagerie_theory::jepa_linear::{
    Chain, Covariances, DynamicsConfig, Feature, JepaLinearConfig, Kind, Matrix, Method,
    critical_time, fit_covariances, fixed_point, integrate, leading_time, simulate, trajectory,
    weights,
};
use serde::Deserialize;

const fn trajectories(case: &'static str) -> Case {
    Case {
        slug: "jepa-linear",
        case,
        run: flow,
    }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        slug: "jepa-linear",
        case: "losses",
        run: losses,
    },
    trajectories("trajectory"),
    trajectories("trajectory_L1"),
    trajectories("trajectory_L2"),
    trajectories("trajectory_L3"),
    trajectories("trajectory_L4"),
    trajectories("trajectory_L5"),
];

const KINDS: [(Kind, &str, &str); 2] = [
    (Kind::Jepa, "jepa", "decoder.weight"),
    (Kind::Mae, "mae", "predictor.weight"),
];

#[derive(Deserialize)]
struct Sizes {
    #[serde(rename = "L")]
    layers: usize,
    dx: usize,
    dz: usize,
}

/// The weights of a network of one kind, the other's head left out.
fn of_kind(fixture: &Fixture, other: &str) -> StateDict {
    let mut weights = fixture.weights();
    weights.remove(other);
    weights
}

fn data(matrix: &Matrix) -> TensorData {
    let values: Vec<f32> = matrix.values().iter().map(|value| *value as f32).collect();
    TensorData::new(values, matrix.shape())
}

fn row(values: &[f64]) -> TensorData {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    TensorData::from(values.as_slice())
}

fn losses(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = &device.clone().autodiff();
    let sizes: Sizes = fixture.config()?;
    let (x, y) = (
        fixture.input::<2>("x", device)?,
        fixture.input::<2>("y", device)?,
    );
    let covariances = fit_covariances(x.clone(), y.clone())?;
    check.output_data("Sxx", data(&covariances.xx))?;
    check.output_data("Syx", data(&covariances.yx))?;
    check.output_data("Syy", data(&covariances.yy))?;
    for (kind, name, other) in KINDS {
        let config = JepaLinearConfig::new(kind, sizes.dx, sizes.dz, sizes.layers);
        let weights = of_kind(fixture, other);
        let model = weights::from_state_dict(&config, &weights, device)?;
        let loss = model.loss(x.clone(), y.clone())?;
        check.output(&format!("{name}_loss"), loss.clone())?;
        if kind == Kind::Jepa {
            check.output("latent_x", model.encode(x.clone())?)?;
            check.output("latent_pred", model.predict(x.clone())?)?;
        }
        let root = format!("grad/{name}.");
        check.gradients_under(&root, &model, &loss.backward(), &weights::key_map(kind))?;

        // The same from covariances.
        let chain = weights::chain_from_state_dict(&config, &weights)?;
        check.output_data(&format!("{name}_loss"), row(&[covariances.loss(&chain)]))?;
        let gradients = covariances.gradients(&chain);
        for (at, layer) in gradients.layers.iter().enumerate() {
            check.gradient_data(&format!("{root}encoder.{at}.weight"), data(layer))?;
        }
        let head = if kind == Kind::Jepa {
            "predictor"
        } else {
            "decoder"
        };
        check.gradient_data(&format!("{root}{head}.weight"), data(&gradients.head))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct FlowConfig {
    #[serde(rename = "L")]
    layers: usize,
    eps: f64,
    p: f64,
}

fn doubles(fixture: &Fixture, name: &str) -> Result<Vec<f64>> {
    Ok(fixture.input_data(name)?.iter::<f64>().collect())
}

fn square(fixture: &Fixture, name: &str) -> Result<Matrix> {
    let values = doubles(fixture, name)?;
    let size = values.len().isqrt();
    Matrix::new(size, size, values)
}

/// The recorded times, which no input holds.
fn times(fixture: &Fixture, name: &str) -> Vec<f64> {
    let key = format!("out/t_{name}");
    let mut expected = fixture.expected();
    let found = expected.find(|(found, _)| *found == key);
    found.map_or_else(Vec::new, |(_, data)| data.iter::<f64>().collect())
}

/// One list per feature as `[times, features]`.
fn table(lists: &[Vec<f64>]) -> TensorData {
    let count = lists.first().map_or(0, Vec::len);
    let values: Vec<f32> = (0..count)
        .flat_map(|at| lists.iter().map(move |list| list[at] as f32))
        .collect();
    TensorData::new(values, [count, lists.len()])
}

fn flow(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: FlowConfig = fixture.config()?;
    let pairs = doubles(fixture, "lambda")?
        .into_iter()
        .zip(doubles(fixture, "rho")?);
    let features: Vec<Feature> = pairs
        .map(|(lambda, rho)| Feature::new(lambda, rho))
        .collect::<Result<_>>()?;
    let xx = square(fixture, "Sxx")?;
    let covariances = Covariances {
        yx: square(fixture, "Syx")?,
        yy: xx.clone(),
        xx,
    };
    for (kind, name, _) in KINDS {
        let law = DynamicsConfig::new(kind, settings.layers, settings.eps);
        let of = |of: &dyn Fn(Feature) -> Result<f64>| -> Result<TensorData> {
            let values = features.iter().map(|feature| of(*feature));
            Ok(row(&values.collect::<Result<Vec<_>>>()?))
        };
        let fixed = of(&|feature| Ok(fixed_point(&law, feature)))?;
        check.output_data(&format!("fixed_point_{name}"), fixed)?;
        let half = of(&|feature| critical_time(&law, feature, settings.p))?;
        check.output_data(&format!("t_half_{name}"), half)?;
        if kind == Kind::Jepa {
            check.output_data("t_series_jepa", of(&|f| Ok(leading_time(&law, f)))?)?;
        }
        let times = times(fixture, name);
        check.output_data(&format!("t_{name}"), row(&times))?;
        paths(
            fixture,
            device,
            check,
            (&law, &features, &covariances),
            &times,
            name,
        )?;
    }
    Ok(())
}

/// The closed form, the paper's equation, and the matrices from the recorded start.
fn paths(
    fixture: &Fixture,
    device: &Device,
    check: &mut Check,
    (law, features, covariances): (&DynamicsConfig, &[Feature], &Covariances),
    times: &[f64],
    name: &str,
) -> Result<()> {
    let step = times.last().copied().unwrap_or(1.0) / 4_000.0;
    let closed: Vec<Vec<f64>> = features
        .iter()
        .map(|feature| trajectory(law, *feature, times))
        .collect::<Result<_>>()?;
    check.output_data(&format!("wbar_{name}_theory"), table(&closed))?;
    let integrated: Vec<Vec<f64>> = features
        .iter()
        .map(|feature| integrate(law, *feature, times, step))
        .collect::<Result<_>>()?;
    check.output_data(&format!("wbar_{name}"), table(&integrated))?;

    let config = JepaLinearConfig::square(law.kind, features.len(), law.layers);
    let chain = recorded(fixture, &config, device)?;
    let history = simulate(&chain, covariances, times, Method::RungeKutta, step)?;
    let diagonals: Vec<Vec<f64>> = (0..features.len())
        .map(|at| history.encoders.iter().map(|w| w.at(at, at)).collect())
        .collect();
    check.output_data(&format!("wbar_{name}"), table(&diagonals))?;
    Ok(())
}

/// The recorded start, by way of the device; MAE's decoder starts as JEPA's predictor does.
fn recorded(fixture: &Fixture, config: &JepaLinearConfig, device: &Device) -> Result<Chain> {
    let mut weights = fixture.weights();
    if config.kind == Kind::Mae
        && let Some(head) = weights.remove("predictor.weight")
    {
        weights.insert("decoder.weight", head);
    }
    weights::from_state_dict(config, &weights, device)?.chain()
}
