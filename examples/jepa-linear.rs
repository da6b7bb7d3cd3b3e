//! Trains two deep linear networks on the same noisy pairs, one to predict latents, one to predict
//! observations, and shows which features they learn first.
//!
//! ```text
//! cargo run -p menagerie-examples --example jepa-linear
//! ```
//!
//! Takes a few seconds and writes `runs/examples/jepa-linear/{jepa,mae}.svg`.

use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_report::Plot;
use menagerie_theory::jepa_linear::{
    DynamicsConfig, Feature, JepaLinearConfig, Kind, Source, TrainingConfig, draw_pairs,
    draw_rotation, fit_covariances, fixed_point, learning_order, train, trajectory,
};
use std::path::Path;

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    // Two noisy looks at two things: one varies much behind much noise, the other less behind little.
    let device = Device::default();
    let features = [Feature::new(1.2, 0.6)?, Feature::new(1.0, 0.9)?];
    let sources = features
        .map(Source::of)
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let rotation = draw_rotation(2, Seed(0));
    let [x, y] = draw_pairs(&sources, 20_000, Some(&rotation), Seed(1))?;
    let (x, y) = (x.tensor(&device), y.tensor(&device));

    // The features as they are found again in the pairs, the largest ρ first.
    let found = fit_covariances(x.clone(), y.clone())?.features()?;
    for (name, feature) in ["clean", "noisy"].iter().zip(&found) {
        println!("{name}: λ = {:.3}, ρ = {:.3}", feature.lambda, feature.rho);
    }
    let folder = Path::new("runs/examples/jepa-linear");
    std::fs::create_dir_all(folder)?;
    for (kind, name, span) in [(Kind::Jepa, "jepa", 1_000.0), (Kind::Mae, "mae", 20.0)] {
        let law = DynamicsConfig::deep(kind);
        let config = JepaLinearConfig::square(kind, 2, law.layers);
        let training = TrainingConfig::new(span).with_epsilon(law.epsilon);
        let history = train(&config, x.clone(), y.clone(), &training, 200)?;

        let known = found.iter().map(|f| Feature::new(f.lambda, f.rho));
        let known = known.collect::<Result<Vec<_>>>()?;
        let targets: Vec<f64> = known.iter().map(|f| 0.5 * fixed_point(&law, *f)).collect();
        let order = learning_order(&history, &found, &targets)?;
        let times = history.crossings(&found, &targets)?;
        let words = order
            .iter()
            .filter_map(|at| Some(format!("{} at {:.1}", ["clean", "noisy"][*at], times[*at]?)));
        println!(
            "{name}: learns {}",
            words.collect::<Vec<_>>().join(", then ")
        );

        let mut plot = Plot::new(format!("What {name} has learned"), "time", "amplitude");
        let amplitudes = history.amplitudes(&found)?;
        for ((feature, values), label) in known.iter().zip(&amplitudes).zip(["clean", "noisy"]) {
            let points = history.times.iter().copied().zip(values.iter().copied());
            plot = plot.line(label, points);
            let theory = trajectory(&law, *feature, &history.times)?;
            let points = history.times.iter().copied().zip(theory).step_by(5);
            plot = plot.scatter(format!("{label}, closed form"), points);
        }
        plot.write(&folder.join(format!("{name}.svg")))?;
    }
    Ok(())
}
