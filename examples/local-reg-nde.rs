//! Trains a neural ODE on two spirals, without and with the error of one step at a random time made
//! small, and shows how many evaluations a prediction then needs and which paths points take.
//!
//! ```text
//! cargo run -p menagerie-examples --example local-reg-nde
//! ```
//!
//! Takes a few seconds and writes `runs/examples/local-reg-nde/{vanilla,local}.svg`.

use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_nn::ode::Request;
use menagerie_report::Plot;
use menagerie_series::local_reg_nde::{
    Fit, LabelledRows, NodeConfig, RegularizerConfig, SolverConfig, TrainingConfig,
    objective::accuracy,
};
use menagerie_train::{Procedure, initialise};
use std::path::Path;

/// Points of two spirals, with a third coordinate at 0 for paths to pass each other.
fn spirals(count: usize) -> Result<LabelledRows> {
    let values = (0..count).flat_map(|at| {
        let turn = 1.0 + 5.0 * (at / 2) as f32 / (count / 2) as f32;
        let angle = turn + std::f32::consts::PI * (at % 2) as f32;
        let radius = turn / 6.0;
        [radius * angle.cos(), radius * angle.sin(), 0.0]
    });
    LabelledRows::new(values.collect(), 3, (0..count).map(|at| at % 2).collect())
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let device = Device::default();
    let tracked = device.clone().autodiff();
    let points = spirals(200)?;
    let config = NodeConfig::new(3, 24, SolverConfig::new(1e-6)).with_classes(2);
    let folder = Path::new("runs/examples/local-reg-nde");
    std::fs::create_dir_all(folder)?;

    let local = RegularizerConfig::new().with_weight([3e3, 3e3]);
    for (name, regularizer) in [("vanilla", RegularizerConfig::vanilla()), ("local", local)] {
        let model = initialise(&tracked, Seed(1), || config.init(&tracked))?;
        let training = TrainingConfig::new(300, 200, 2e-2, regularizer);
        let batches = |_: usize, to: &Device| Ok(points.all(to));
        let mut fit = Fit::new(model, &training, batches)?;
        for step in 0..training.steps {
            fit.step(step)?;
        }
        let model = fit.trained()?;

        let all = points.all(&device);
        let prediction = model.forward(all.images.clone())?;
        println!(
            "{name}: {} evaluations, accuracy {:.1} %",
            prediction.evaluations,
            100.0 * accuracy(prediction.logits, all.labels)
        );
        let times: Vec<f64> = (0..=40).map(|at| f64::from(at) / 40.0).collect();
        let request = Request {
            save_at: &times,
            ..Request::default()
        };
        let solution = model.solve(all.images, request)?;
        let states = solution.saved.iter();
        let states = states.map(|place| place.state().clone().into_data().iter().collect());
        let states: Vec<Vec<f64>> = states.collect();
        let mut plot = Plot::new(format!("Paths of points, {name}"), "first", "second");
        for (point, spiral) in [(0, "one"), (1, "other"), (120, "one"), (121, "other")] {
            let path = states
                .iter()
                .map(|all| (all[3 * point], all[3 * point + 1]));
            plot = plot.line(format!("{spiral} spiral, point {point}"), path);
        }
        plot.write(&folder.join(format!("{name}.svg")))?;
    }
    Ok(())
}
