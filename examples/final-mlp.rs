//! Trains FinalMLP and DualMLP on the census of 1994, and shows which attributes the gates let through for
//! whom.
//!
//! ```text
//! cargo run -p menagerie-examples --example final-mlp
//! ```
//!
//! Takes well under a minute and writes `runs/examples/final-mlp/gates.svg`.

use burn::tensor::Device;
use menagerie_core::Seed;
use menagerie_data_tabular::{Encoder, EncoderConfig, census};
use menagerie_report::HeatMap;
use menagerie_series::final_mlp::{
    ClickModel, DualMlpConfig, FinalMlpConfig, Impressions, TrainingConfig, fit,
};
use menagerie_train::{Progress, Run, initialise};
use std::path::Path;

const FOLDER: &str = "runs/examples/final-mlp";

fn train<M: ClickModel>(name: &str, model: M, rows: [&Impressions; 2]) -> anyhow::Result<M> {
    let training = TrainingConfig::small().with_batch(500).with_epochs(6);
    let run = Run::create(&Path::new(FOLDER).join(name), &training, true)?;
    let progress = Progress::auto().labelled(name);
    let [train, valid] = rows;
    Ok(fit(model, train, valid, &training, Seed(2), &run, &progress)?.0)
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let [table, test] = census::adult()?;
    let [first, second] = table.split([0.8, 0.2], Seed(0))?;
    let standard = EncoderConfig {
        standardise: true,
        ..EncoderConfig::default()
    };
    let encoder = Encoder::fit(&first, &standard)?;
    let [first, second, seen] =
        [&first, &second, &test].map(|table| Impressions::of(&encoder, table));
    let (first, second, seen) = (first?, second?, seen?);

    let device = Device::default().autodiff();
    let fields = first.fields().to_vec();
    let config = FinalMlpConfig::small(fields.clone(), Some(["relationship", "occupation"]));
    let model = initialise(&device, Seed(1), || config.init(&device))?;
    let model = train("final", model, [&first, &second])?;
    let dual = DualMlpConfig::small(fields.clone());
    let dual = initialise(&device, Seed(1), || dual.init(&device))?;
    let dual = train("dual", dual, [&first, &second])?;
    println!("FinalMLP  {}", model.evaluate(&seen, 4_096)?);
    println!("DualMLP   {}", dual.evaluate(&seen, 4_096)?);

    // The first stream's gate depends on the relationship: one row for each of its names.
    let names = fields.iter().map(|field| field.name.clone());
    let mut map = HeatMap::new(
        "Gates of the first stream",
        "attribute",
        "relationship",
        names,
    );
    let mut known = Vec::new();
    for row in 0..1_000 {
        let name = test.text(row, "relationship")?;
        if !known.contains(&name) {
            let gates = model.field_gates(&seen, &[row])?[0].to_data();
            map = map.row(name.clone(), gates.iter::<f64>());
            known.push(name);
        }
    }
    Ok(map.digits(2).write(&Path::new(FOLDER).join("gates.svg"))?)
}
