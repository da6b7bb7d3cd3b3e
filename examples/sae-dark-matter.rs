//! Takes the error of a growing dictionary apart, on activations whose every part is known.
//!
//! `cargo run -p menagerie-examples --example sae-dark-matter` takes seconds and writes
//! `runs/examples/sae-dark-matter/error-norms.svg`.

use anyhow::{Context as _, Result};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Seed, fs};
use menagerie_report::Plot;
use menagerie_sae::sae_dark_matter::{
    LeastSquaresConfig, ProceduralConfig, Split, correlation, decompose, row_norms,
};
use std::path::Path;

fn norms(rows: Tensor<2>) -> Result<Vec<f64>> {
    Ok(row_norms(rows).into_data().convert::<f64>().try_to_vec()?)
}

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let device = Device::default();
    let least_squares = LeastSquaresConfig::new();
    let rows = 20_000;
    let split = Split::draw(rows, 12_000, 8_000, Seed(1))?;
    let mut plot = None;

    println!("96 features, a dense part of rank 3, and error that the autoencoder introduces");
    println!("learned      FVU  nonlinear FVU  R² of error  correlation with what was put in");
    for learned in [24, 48, 72, 96] {
        let known = ProceduralConfig::new()
            .with_rows(rows)
            .with_learned(learned)
            .draw(Seed(0), &device)?;
        let x = known.x;
        let parts = decompose(x.clone(), known.reconstruction, &split, &least_squares)?;

        // Does each part of the error have the size of what was put in?
        let linear = norms(parts.linear)?;
        let nonlinear = norms(parts.nonlinear)?;
        let put_in = norms(known.absent + known.dense)?;
        let introduced = norms(known.introduced)?;
        let found = correlation(&linear, &put_in).context("norms that vary")?;
        let own = correlation(&nonlinear, &introduced).context("norms that vary")?;
        println!(
            "{learned:7}  {:7.4}  {:13.4}  {:11.3}  {found:.2}, {own:.2}",
            parts.fvu, parts.fvu_nonlinear, parts.r2
        );
        let points = |a: &[f64], b: &[f64]| {
            let pairs = a.iter().copied().zip(b.iter().copied());
            pairs.step_by(rows / 400).collect::<Vec<_>>()
        };
        plot = Some(
            Plot::new(
                "Parts of the error",
                "norm of what was put in",
                "norm of what was found",
            )
            .scatter(
                "linear: dense and absent features",
                points(&put_in, &linear),
            )
            .scatter(
                "nonlinear: introduced error",
                points(&introduced, &nonlinear),
            ),
        );
    }
    let folder = Path::new("runs/examples/sae-dark-matter");
    fs::create_dir(folder)?;
    let path = folder.join("error-norms.svg");
    plot.context("four widths")?.write(&path)?;
    println!("the parts with everything learned: {}", path.display());
    Ok(())
}
