//! The two tables that are compared: classes of sources and values of latents.

use menagerie_core::{Error, Result};
use std::collections::BTreeMap;

/// Integer classes of the ground-truth sources, `[rows, sources]`, relabelled to `0..classes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    rows: usize,
    columns: Vec<Classes>,
}

/// One categorical variable.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Classes {
    /// The class of each row.
    pub labels: Vec<usize>,
    /// Rows of each class, none of them 0.
    pub sizes: Vec<usize>,
}

impl Classes {
    /// Relabels to `0..classes` in ascending order of the values.
    pub fn encode<T: Copy + Ord>(values: impl Iterator<Item = T> + Clone) -> Self {
        let mut names: BTreeMap<T, usize> = values.clone().map(|value| (value, 0)).collect();
        for (label, slot) in names.values_mut().enumerate() {
            *slot = label;
        }
        let labels: Vec<usize> = values.map(|value| names[&value]).collect();
        let mut sizes = vec![0; names.len()];
        for &label in &labels {
            sizes[label] += 1;
        }
        Self { labels, sizes }
    }

    /// Plug-in entropy in nats.
    pub fn entropy(&self) -> f64 {
        plug_in_entropy(self.sizes.iter().copied(), self.labels.len())
    }
}

/// `−Σ p ln p` of counts that sum to `total`.
pub(super) fn plug_in_entropy(counts: impl Iterator<Item = usize>, total: usize) -> f64 {
    let total = total as f64;
    counts
        .filter(|&count| count > 0)
        .map(|count| count as f64 / total)
        .map(|p| -p * p.ln())
        .sum()
}

impl Sources {
    /// From row-major `values` `[rows, columns]`.
    ///
    /// # Errors
    /// [`Error::Input`] if `values` does not hold `rows × columns` numbers, if there are fewer than
    /// two sources (InfoM is undefined for one) or if a source is constant (its entropy is 0).
    pub fn new(rows: usize, columns: usize, values: &[i64]) -> Result<Self> {
        check_shape("sources", rows, columns, values.len())?;
        if columns < 2 {
            let rule = "InfoM is defined for at least 2";
            return Err(Error::input("number of sources", columns, rule));
        }
        let columns: Vec<Classes> = (0..columns)
            .map(|column| Classes::encode(values.iter().skip(column).step_by(columns).copied()))
            .collect();
        for (index, source) in columns.iter().enumerate() {
            if source.sizes.len() < 2 {
                return Err(Error::input(
                    format!("source {index}"),
                    values.get(index),
                    "is the same in all rows; a constant source has no entropy to be informed about",
                ));
            }
        }
        Ok(Self { rows, columns })
    }

    /// Number of samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of sources.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Plug-in entropy of each source in nats.
    pub fn entropies(&self) -> Vec<f64> {
        self.columns.iter().map(Classes::entropy).collect()
    }

    pub(super) fn classes(&self) -> &[Classes] {
        &self.columns
    }
}

/// Values of the latents, `[rows, latents]`, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    rows: usize,
    /// Column by column.
    columns: Vec<Vec<f64>>,
    discrete: bool,
}

impl Latents {
    /// Quantised latents from row-major `values` `[rows, columns]`; only which of them are equal
    /// matters, so codebook values and indices do alike.
    ///
    /// # Errors
    /// [`Error::Input`] if `values` does not hold `rows × columns` numbers or one is not finite.
    pub fn discrete(rows: usize, columns: usize, values: &[f32]) -> Result<Self> {
        Self::new(rows, columns, values, true)
    }

    /// Quantised latents from row-major codebook `indices` `[rows, columns]`.
    ///
    /// # Errors
    /// [`Error::Input`] if `indices` does not hold `rows × columns` numbers.
    pub fn indices(rows: usize, columns: usize, indices: &[i64]) -> Result<Self> {
        check_shape("latents", rows, columns, indices.len())?;
        let column = |start| indices.iter().skip(start).step_by(columns);
        Ok(Self {
            rows,
            columns: (0..columns)
                .map(|start| column(start).map(|&index| index as f64).collect())
                .collect(),
            discrete: true,
        })
    }

    /// Continuous latents from row-major `values` `[rows, columns]`.
    ///
    /// # Errors
    /// [`Error::Input`] if `values` does not hold `rows × columns` numbers or one is not finite.
    pub fn continuous(rows: usize, columns: usize, values: &[f32]) -> Result<Self> {
        Self::new(rows, columns, values, false)
    }

    fn new(rows: usize, columns: usize, values: &[f32], discrete: bool) -> Result<Self> {
        check_shape("latents", rows, columns, values.len())?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::input(
                format!("latent {} of row {}", at % columns, at / columns),
                values[at],
                "every latent must be finite",
            ));
        }
        let column = |start| values.iter().skip(start).step_by(columns);
        Ok(Self {
            rows,
            columns: (0..columns)
                // `+ 0.0` makes one value of the two zeros.
                .map(|start| column(start).map(|&value| f64::from(value) + 0.0).collect())
                .collect(),
            discrete,
        })
    }

    /// Number of samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of latents.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Whether the latents are categories rather than magnitudes.
    pub fn is_discrete(&self) -> bool {
        self.discrete
    }

    /// Which latents are active: those with a range above `share` of the
    /// largest range. `None` is 0 for discrete latents and 1/20 for continuous ones.
    pub fn active(&self, share: Option<f64>) -> Vec<bool> {
        let share = share.unwrap_or(if self.discrete { 0.0 } else { 1.0 / 20.0 });
        let ranges: Vec<f64> = self.columns.iter().map(|column| range(column)).collect();
        let widest = ranges.iter().copied().fold(0.0, f64::max);
        ranges.iter().map(|&range| range > share * widest).collect()
    }

    pub(super) fn column(&self, latent: usize) -> &[f64] {
        &self.columns[latent]
    }

    /// The classes of a discrete latent.
    pub(super) fn classes(&self, latent: usize) -> Classes {
        Classes::encode(self.columns[latent].iter().map(|&value| Ordered(value)))
    }

    /// A latent with mean 0 and population standard deviation 1; a constant one is all zeros.
    pub(super) fn standardised(&self, latent: usize) -> Vec<f64> {
        let column = self.column(latent);
        let count = column.len() as f64;
        let mean = column.iter().sum::<f64>() / count;
        let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let scale = if range(column) > 0.0 {
            variance.sqrt().recip()
        } else {
            0.0
        };
        column.iter().map(|x| (x - mean) * scale).collect()
    }
}

/// Cuts each continuous latent into `bins` classes of equal size, at its empirical quantiles, so
/// that continuous and quantised codes can be scored by the same discrete estimator.
///
/// A latent that the published rule calls inactive becomes constant: binning would otherwise
/// magnify its noise into a full-range code. Equal values fall into the same bin. Discrete latents
/// are returned as they are.
///
/// # Errors
/// [`Error::Input`] if `bins` is below 2.
pub fn quantile_bins(latents: &Latents, bins: usize) -> Result<Latents> {
    if bins < 2 {
        return Err(Error::input("bins", bins, "must be at least 2"));
    }
    if latents.discrete {
        return Ok(latents.clone());
    }
    let active = latents.active(None);
    let columns = latents.columns.iter().zip(active).map(|(column, active)| {
        if !active {
            return vec![0.0; column.len()];
        }
        let mut sorted = column.clone();
        sorted.sort_by(f64::total_cmp);
        let cuts: Vec<f64> = (1..bins)
            .map(|cut| quantile(&sorted, cut as f64 / bins as f64))
            .collect();
        column
            .iter()
            .map(|value| cuts.partition_point(|cut| cut <= value) as f64)
            .collect()
    });
    Ok(Latents {
        rows: latents.rows,
        columns: columns.collect(),
        discrete: true,
    })
}

/// The quantile of ascending values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, weight) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + weight * (sorted[high] - sorted[low])
}

fn range(values: &[f64]) -> f64 {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    high - low
}

fn check_shape(what: &str, rows: usize, columns: usize, length: usize) -> Result<()> {
    if rows < 2 || columns == 0 {
        return Err(Error::input(
            what,
            format!("[{rows}, {columns}]"),
            "at least 2 rows and 1 column are needed",
        ));
    }
    if rows.checked_mul(columns) == Some(length) {
        return Ok(());
    }
    Err(Error::input(
        what,
        format!("{length} numbers"),
        format!("a table [{rows}, {columns}] holds {rows} × {columns}"),
    ))
}

/// A finite float that can be a key.
#[derive(Clone, Copy)]
struct Ordered(f64);

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}
