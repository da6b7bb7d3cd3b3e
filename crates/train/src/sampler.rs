//! Which examples make up the batch of a step.

use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt, seq::SliceRandom};

/// The order in which a data set is visited, as a function of the step.
///
/// There is nothing to save: a resumed run asks for the batch of its next step.
#[derive(Clone, Debug)]
pub struct Sampler {
    len: usize,
    batch: usize,
    order: Order,
    /// The permutation of the epoch last asked for, so that an epoch is shuffled once.
    cache: Option<(usize, Vec<usize>)>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Sequential,
    Shuffled(Seed),
    Replacement(Seed),
    Repeated(Seed, usize),
}

impl Sampler {
    /// Each epoch visits every example once in a new random order; an incomplete last batch is
    /// dropped, so every batch has `batch` examples.
    ///
    /// # Errors
    /// [`Error::Input`] if `batch` is 0 or larger than `len`.
    pub fn shuffled(len: usize, batch: usize, seed: Seed) -> Result<Self> {
        Self::new(len, batch, Order::Shuffled(seed))
    }

    /// Every example of every batch is drawn uniformly from all `len`.
    ///
    /// # Errors
    /// [`Error::Input`] if `batch` or `len` is 0.
    pub fn replacement(len: usize, batch: usize, seed: Seed) -> Result<Self> {
        Self::new(len, batch, Order::Replacement(seed))
    }

    /// Repeated augmentation (Hoffer et al., arXiv:1901.09335), as DeiT samples on one device: in an
    /// epoch's random order every example stands `repeats` times in a row, and the epoch ends after
    /// as many draws as there are examples, so that it visits a part of them.
    ///
    /// # Errors
    /// [`Error::Input`] if `batch` is 0 or larger than `len`, or `repeats` is 0.
    pub fn repeated(len: usize, batch: usize, repeats: usize, seed: Seed) -> Result<Self> {
        if repeats == 0 {
            let rule = "must be at least 1";
            return Err(Error::input("repeats of an example", repeats, rule));
        }
        Self::new(len, batch, Order::Repeated(seed, repeats))
    }

    /// Every epoch visits the examples in order; an incomplete last batch is dropped.
    ///
    /// # Errors
    /// [`Error::Input`] if `batch` is 0 or larger than `len`.
    pub fn sequential(len: usize, batch: usize) -> Result<Self> {
        Self::new(len, batch, Order::Sequential)
    }

    fn new(len: usize, batch: usize, order: Order) -> Result<Self> {
        let limit = match order {
            Order::Replacement(_) => usize::MAX,
            _ => len,
        };
        if batch == 0 || len == 0 || batch > limit {
            return Err(Error::input(
                "the batch size",
                batch,
                format!("must be at least 1 and at most the {len} examples there are"),
            ));
        }
        Ok(Self {
            len,
            batch,
            order,
            cache: None,
        })
    }

    /// How many batches make up one pass over the data.
    pub fn steps_per_epoch(&self) -> usize {
        (self.len / self.batch).max(1)
    }

    /// The indices of the examples of step `step` (counted from 0), `batch` of them.
    pub fn indices(&mut self, step: usize) -> Vec<usize> {
        let epoch = step / self.steps_per_epoch();
        let start = step % self.steps_per_epoch() * self.batch;
        match self.order {
            Order::Sequential => (start..start + self.batch).collect(),
            Order::Replacement(seed) => {
                let mut rng = seed.at(step as u64).rng();
                (0..self.batch)
                    .map(|_| rng.random_range(0..self.len))
                    .collect()
            }
            Order::Shuffled(seed) | Order::Repeated(seed, _) => {
                let repeats = match self.order {
                    Order::Repeated(_, repeats) => repeats,
                    _ => 1,
                };
                if self
                    .cache
                    .as_ref()
                    .is_none_or(|(cached, _)| *cached != epoch)
                {
                    let mut order: Vec<usize> = (0..self.len).collect();
                    shuffle(&mut order, &mut seed.at(epoch as u64).rng());
                    self.cache = Some((epoch, order));
                }
                match &self.cache {
                    Some((_, order)) => (start..start + self.batch)
                        .map(|at| order[at / repeats])
                        .collect(),
                    None => Vec::new(),
                }
            }
        }
    }
}

fn shuffle(order: &mut [usize], rng: &mut impl Rng) {
    order.shuffle(rng);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_example_once_and_epochs_differ() {
        let mut sampler = Sampler::shuffled(12, 4, Seed(1)).unwrap();
        assert_eq!(sampler.steps_per_epoch(), 3);
        let epoch = |sampler: &mut Sampler, first| -> Vec<usize> {
            (first..first + 3)
                .flat_map(|step| sampler.indices(step))
                .collect()
        };
        let (one, two) = (epoch(&mut sampler, 0), epoch(&mut sampler, 3));
        let mut sorted = one.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12).collect::<Vec<_>>());
        assert_ne!(one, two);
    }

    #[test]
    fn a_step_does_not_depend_on_the_steps_before_it() {
        for make in [Sampler::shuffled, Sampler::replacement] {
            let mut whole = make(10, 3, Seed(5)).unwrap();
            let straight: Vec<_> = (0..20).map(|step| whole.indices(step)).collect();
            let mut resumed = make(10, 3, Seed(5)).unwrap();
            assert_eq!(resumed.indices(17), straight[17]);
            assert_eq!(resumed.indices(4), straight[4]);
        }
    }

    #[test]
    fn examples_are_repeated_in_a_row() {
        let mut sampler = Sampler::repeated(12, 6, 3, Seed(1)).unwrap();
        let batch = sampler.indices(1);
        assert_eq!(batch[0], batch[2]);
        assert_eq!(batch[3], batch[5]);
        assert_ne!(batch[0], batch[3]);
        assert_ne!(batch, sampler.indices(0));
        let error = Sampler::repeated(12, 6, 0, Seed(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "repeats of an example is 0: must be at least 1"
        );
    }

    #[test]
    fn impossible_batches_are_refused() {
        let error = Sampler::shuffled(10, 11, Seed(0)).unwrap_err().to_string();
        assert_eq!(
            error,
            "the batch size is 11: must be at least 1 and at most the 10 examples there are"
        );
        assert!(Sampler::replacement(10, 0, Seed(0)).is_err());
        assert!(Sampler::replacement(10, 64, Seed(0)).is_ok());
    }
}
