//! Impressions of a known law: people and items with hidden tastes, and contexts that matter to some.
//!
//! `logit = 1.5 ⟨p_u, q_i⟩ + b_u + b_i + 1.5 t[c_{f(u)}] + 0.7 T[c₀, c₁] − 0.5`: tastes of four numbers,
//! `p ~ N(0, 1/4)` and `q ~ N(0, 1)`; a bias with deviation 0.5 for each person and item; the value
//! of the one context field that the person listens to; a table of pairs of the first two contexts; all
//! tables `N(0, 1)`. People, items and contexts are drawn evenly, the label from the law.

use crate::encode::Encoded;
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};

/// Sizes of the law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImpressionsConfig {
    /// People.
    pub users: usize,
    /// Items.
    pub items: usize,
    /// Context fields, at least two.
    pub contexts: usize,
    /// Values of each context field.
    pub values: usize,
}

impl Default for ImpressionsConfig {
    /// 200 people, 200 items, four context fields with ten values.
    fn default() -> Self {
        Self {
            users: 200,
            items: 200,
            contexts: 4,
            values: 10,
        }
    }
}

/// Numbers of a taste.
const TASTES: usize = 4;

/// The law of the labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Impressions {
    config: ImpressionsConfig,
    users: Vec<[f64; TASTES]>,
    items: Vec<[f64; TASTES]>,
    user_biases: Vec<f64>,
    item_biases: Vec<f64>,
    /// The context field that each person listens to.
    listens: Vec<usize>,
    /// `[contexts, values]`.
    tones: Vec<f64>,
    /// `[values, values]`.
    pairs: Vec<f64>,
}

/// Rows of the law with the probabilities behind their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    /// User, item and contexts, `[rows, 2 + contexts]`, counted from 1 in every field (0 is padding), and
    /// labels.
    pub rows: Encoded,
    /// The probability of a positive label, one per row.
    pub probabilities: Vec<f64>,
}

impl Impressions {
    /// Tastes, biases and tables drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes of 0 or fewer than two contexts.
    pub fn new(config: ImpressionsConfig, seed: Seed) -> Result<Self> {
        let ImpressionsConfig {
            users,
            items,
            contexts,
            values,
        } = config;
        let refuse = |field: &str, value: usize, rule: &str| {
            Err(Error::config("ImpressionsConfig", field, value, rule))
        };
        for (field, size) in [("users", users), ("items", items), ("values", values)] {
            if size == 0 {
                return refuse(field, 0, "must be at least 1");
            }
        }
        if contexts < 2 {
            return refuse(
                "contexts",
                contexts,
                "must be at least 2: a table pairs the first two",
            );
        }
        let mut rng = seed.rng();
        let mut draw = |count: usize, deviation: f64| -> Vec<f64> {
            (0..count).map(|_| deviation * normal(&mut rng)).collect()
        };
        let tastes = |numbers: Vec<f64>| numbers.as_chunks::<TASTES>().0.to_vec();
        let (of_users, of_items) = (draw(users * TASTES, 0.5), draw(items * TASTES, 1.0));
        let (user_biases, item_biases) = (draw(users, 0.5), draw(items, 0.5));
        let (tones, pairs) = (draw(contexts * values, 1.0), draw(values * values, 1.0));
        Ok(Self {
            config,
            users: tastes(of_users),
            items: tastes(of_items),
            user_biases,
            item_biases,
            tones,
            pairs,
            listens: (0..users).map(|_| rng.random_range(0..contexts)).collect(),
        })
    }

    /// Names and sizes of the fields, padding included.
    pub fn fields(&self) -> Vec<(String, usize)> {
        let contexts =
            (0..self.config.contexts).map(|at| (format!("context{at}"), self.config.values));
        let named = [
            ("user".to_owned(), self.config.users),
            ("item".to_owned(), self.config.items),
        ];
        let all = named.into_iter().chain(contexts);
        all.map(|(name, size)| (name, size + 1)).collect()
    }

    /// The context field that a person, counted from 0, listens to.
    pub fn listens_to(&self, user: usize) -> Option<usize> {
        self.listens.get(user).copied()
    }

    fn logit(&self, user: usize, item: usize, contexts: &[usize]) -> f64 {
        let product = |(p, q): (&f64, &f64)| p * q;
        let taste: f64 = self.users[user]
            .iter()
            .zip(&self.items[item])
            .map(product)
            .sum();
        let values = self.config.values;
        let heard = self.listens[user];
        1.5 * taste
            + self.user_biases[user]
            + self.item_biases[item]
            + 1.5 * self.tones[heard * values + contexts[heard]]
            + 0.7 * self.pairs[contexts[0] * values + contexts[1]]
            - 0.5
    }

    /// `count` rows.
    pub fn draw(&self, count: usize, seed: Seed) -> Draws {
        let mut rng = seed.rng();
        let mut rows = Encoded::default();
        let mut probabilities = Vec::with_capacity(count);
        for _ in 0..count {
            let user = rng.random_range(0..self.config.users);
            let item = rng.random_range(0..self.config.items);
            let contexts: Vec<usize> = (0..self.config.contexts)
                .map(|_| rng.random_range(0..self.config.values))
                .collect();
            let probability = 1.0 / (1.0 + (-self.logit(user, item, &contexts)).exp());
            rows.ids.extend(
                [user, item]
                    .iter()
                    .chain(&contexts)
                    .map(|id| *id as u32 + 1),
            );
            rows.labels.push(rng.random::<f64>() < probability);
            probabilities.push(probability);
        }
        Draws {
            rows,
            probabilities,
        }
    }
}

/// A standard normal number, by Box and Muller.
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_the_probabilities() {
        let law = Impressions::new(ImpressionsConfig::default(), Seed(1)).unwrap();
        let draws = law.draw(20_000, Seed(2));
        assert_eq!(draws.rows.ids.len(), 6 * 20_000);
        assert_eq!(draws, law.draw(20_000, Seed(2)));
        // Deciles of the probability: the share of positives is the mean probability.
        let mut rows: Vec<(f64, bool)> = draws
            .probabilities
            .iter()
            .copied()
            .zip(draws.rows.labels.iter().copied())
            .collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        for part in rows.chunks(2_000) {
            let mean = part.iter().map(|row| row.0).sum::<f64>() / 2_000.0;
            let share = part.iter().filter(|row| row.1).count() as f64 / 2_000.0;
            let deviation = (mean * (1.0 - mean) / 2_000.0).sqrt();
            assert!((share - mean).abs() < 4.0 * deviation, "{share} and {mean}");
        }
        let sizes: Vec<usize> = law.fields().iter().map(|field| field.1).collect();
        assert_eq!(sizes, [201, 201, 11, 11, 11, 11]);
        let most = |at: usize| draws.rows.ids.iter().skip(at).step_by(6).max();
        assert_eq!(
            [most(0), most(1), most(5)],
            [Some(&200), Some(&200), Some(&10)]
        );
        assert!(draws.rows.ids.iter().all(|id| *id > 0));
    }

    #[test]
    fn a_person_hears_one_context_and_the_pair() {
        let law = Impressions::new(ImpressionsConfig::default(), Seed(5)).unwrap();
        let user = (0..200)
            .find(|user| law.listens_to(*user) == Some(3))
            .unwrap();
        let logit = |contexts: [usize; 4]| law.logit(user, 7, &contexts);
        assert_eq!(
            logit([1, 2, 3, 4]),
            logit([1, 2, 9, 4]),
            "the third is not heard"
        );
        assert_ne!(logit([1, 2, 3, 4]), logit([1, 2, 3, 5]));
        assert_ne!(logit([1, 2, 3, 4]), logit([1, 3, 3, 4]));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let config = ImpressionsConfig {
            contexts: 1,
            ..ImpressionsConfig::default()
        };
        let error = Impressions::new(config, Seed(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ImpressionsConfig.contexts = 1: must be at least 2: a table pairs the first two"
        );
    }
}
