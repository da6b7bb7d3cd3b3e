//! The data of the studies, as numbers.

use menagerie_core::{Result, Seed};
use menagerie_data_tabular::procedural::{self, ImpressionsConfig};
use menagerie_data_tabular::{
    Encoded, Encoder, EncoderConfig, Splits, Table, census as adult, movielens,
};
use menagerie_series::final_mlp::{Field, Impressions, auc, log_loss};

/// Training, validation and test rows.
pub(super) struct Part {
    pub train: Impressions,
    pub valid: Option<Impressions>,
    pub test: Impressions,
    /// Area and log loss of the probabilities behind the test labels, where they are known.
    pub bayes: Option<[f64; 2]>,
    /// The context field that each user listens to, from user 1.
    pub listens: Vec<usize>,
}

fn rows(fields: &[Field], encoded: Encoded) -> Result<Impressions> {
    Impressions::new(
        fields.to_vec(),
        encoded.ids,
        encoded.numbers,
        encoded.labels,
    )
}

fn encoded(
    train: &Table,
    valid: Option<&Table>,
    test: &Table,
    config: &EncoderConfig,
) -> Result<Part> {
    let encoder = Encoder::fit(train, config)?;
    let of = |table: &Table| Impressions::of(&encoder, table);
    Ok(Part {
        train: of(train)?,
        valid: valid.map(of).transpose()?,
        test: of(test)?,
        bayes: None,
        listens: Vec::new(),
    })
}

/// A law of its own for every seed, and training and test rows of it.
pub(super) fn impressions(seed: u64, [train, test]: [usize; 2]) -> Result<Part> {
    let seed = Seed(seed).stream("impressions");
    let config = ImpressionsConfig::default();
    let law = procedural::Impressions::new(config, seed.stream("law"))?;
    let fields: Vec<Field> = law
        .fields()
        .into_iter()
        .map(|(name, size)| Field::category(name, size))
        .collect();
    let (train, test) = (
        law.draw(train, seed.stream("train")),
        law.draw(test, seed.stream("test")),
    );
    let labels = &test.rows.labels;
    let bayes = [
        auc(&test.probabilities, labels)?,
        log_loss(&test.probabilities, labels)?,
    ];
    Ok(Part {
        train: rows(&fields, train.rows)?,
        valid: None,
        test: rows(&fields, test.rows)?,
        bayes: Some(bayes),
        listens: (0..config.users)
            .filter_map(|user| law.listens_to(user))
            .collect(),
    })
}

/// Every rating with two films that were not rated; four fifths of the rows to train.
pub(super) fn films(seed: u64) -> Result<Part> {
    let seed = Seed(seed).stream("films");
    let table = movielens::ml_latest_small()?.impressions(2, seed.stream("negatives"))?;
    let [train, test] = table.split([0.8, 0.2], seed.stream("split"))?;
    encoded(&train, None, &test, &EncoderConfig::default())
}

/// The distributors' training and test rows.
pub(super) fn census() -> Result<Part> {
    let [train, test] = adult::adult()?;
    let config = EncoderConfig {
        standardise: true,
        ..EncoderConfig::default()
    };
    encoded(&train, None, &test, &config)
}

/// Published parts.
pub(super) fn splits(splits: &Splits) -> Result<Part> {
    let config = EncoderConfig::default();
    encoded(&splits.train, Some(&splits.valid), &splits.test, &config)
}
