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
use menagerie_data_tabular::{Encoder, EncoderConfig, Encoding, Table, census};
use menagerie_report::HeatMap;
use menagerie_series::final_mlp::{
    ClickModel, DualMlpConfig, Field, FinalMlpConfig, Impressions, TrainingConfig, fit,
};
use menagerie_train::{Progress, Run, initialise};
use std::path::Path;

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let [table, test] = census::adult()?;
    let [train, valid] = table.split([0.8, 0.2], Seed(0))?;
    let standard = EncoderConfig {
        standardise: true,
        ..EncoderConfig::default()
    };
    let encoder = Encoder::fit(&train, &standard)?;
    let both = encoder.fields().iter().zip(encoder.encodings());
    let fields: Vec<Field> = both
        .map(|(field, encoding)| match encoding {
            Encoding::Category(names) => Field::category(&field.name, names.size()),
            _ => Field::number(&field.name),
        })
        .collect();
    let rows = |table: &Table| {
        let of = encoder.encode(table)?;
        Impressions::new(fields.clone(), of.ids, of.numbers, of.labels)
    };
    let (train, valid, seen) = (rows(&train)?, rows(&valid)?, rows(&test)?);

    let device = Device::default().autodiff();
    let folder = Path::new("runs/examples/final-mlp");
    let training = TrainingConfig::small().with_batch(500).with_epochs(6);
    let run = |name: &str| Run::create(&folder.join(name), &training, true);
    let progress = |name: &str| Progress::auto().labelled(name);

    let contexts = Some(["relationship", "occupation"]);
    let config = FinalMlpConfig::small(fields.clone(), contexts);
    let model = initialise(&device, Seed(1), || config.init(&device))?;
    let place = run("final")?;
    let (model, _) = fit(
        model,
        &train,
        &valid,
        &training,
        Seed(2),
        &place,
        &progress("final"),
    )?;
    let dual = DualMlpConfig::small(fields.clone());
    let dual = initialise(&device, Seed(1), || dual.init(&device))?;
    let place = run("dual")?;
    let (dual, _) = fit(
        dual,
        &train,
        &valid,
        &training,
        Seed(2),
        &place,
        &progress("dual"),
    )?;
    println!("FinalMLP  {}", model.evaluate(&seen, 4_096)?);
    println!("DualMLP   {}", dual.evaluate(&seen, 4_096)?);

    // The first stream's gate depends on the relationship: one row for each of its names.
    let mut known: Vec<(String, usize)> = Vec::new();
    for row in 0..1_000 {
        let name = test.text(row, "relationship")?;
        if !known.iter().any(|(other, _)| *other == name) {
            known.push((name, row));
        }
    }
    let places: Vec<usize> = known.iter().map(|(_, row)| *row).collect();
    let gates: Vec<f64> = model.field_gates(&seen, &places)?[0]
        .to_data()
        .iter()
        .collect();
    let names = fields.iter().map(|field| field.name.clone());
    let mut map = HeatMap::new(
        "Gates of the first stream",
        "attribute",
        "relationship",
        names,
    );
    for ((name, _), gates) in known.into_iter().zip(gates.chunks(fields.len())) {
        map = map.row(name, gates.iter().copied());
    }
    Ok(map.digits(2).write(&folder.join("gates.svg"))?)
}
