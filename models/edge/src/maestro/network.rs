//! What networks of factored layers have in common, and what is done with their ranks.

use super::config::Skip;
use super::layer::Factors;
use super::norm::Mode;
use burn::module::Module;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// How many of its ranks each layer uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranks {
    /// All that are left.
    Full,
    /// One layer the first few, all others everything.
    Cut {
        /// The layer, in the order of [`Factored::layers`].
        layer: usize,
        /// Its ranks.
        rank: usize,
    },
    /// Every layer a number of its own.
    Each(Vec<usize>),
}

impl Ranks {
    /// The number for layer `at`; layers use no more than they have.
    pub fn of(&self, at: usize) -> usize {
        match self {
            Self::Cut { layer, rank } if *layer == at => *rank,
            Self::Each(ranks) => ranks.get(at).copied().unwrap_or(usize::MAX),
            Self::Full | Self::Cut { .. } => usize::MAX,
        }
    }
}

/// A network of layers that may be products of factors.
pub trait Factored: Module {
    /// The names and the maps of its layers, from the input on.
    fn layers(&self) -> Vec<(String, &Factors)>;

    /// The maps of its layers, in the same order.
    fn layers_mut(&mut self) -> Vec<&mut Factors>;

    /// Numbers of its other parameters: the gains and offsets of norms.
    fn others(&self) -> usize {
        0
    }

    /// Gives statistics of batch normalisation that are shared with another network a place of their
    /// own: those of a clone are those of the original.
    fn own_statistics(&mut self) {}

    /// A copy that shares nothing.
    fn copy(&self) -> Self {
        let mut copy = self.clone();
        copy.own_statistics();
        copy
    }

    /// The same network with every dense layer as a product of two factors, which at full rank
    /// computes the same: the thin singular value decomposition, its values shared evenly.
    ///
    /// # Errors
    /// If a layer cannot be read.
    fn decompose(&self) -> Result<Self> {
        self.decompose_but(Skip::new())
    }

    /// [`decompose`](Self::decompose) with some of the layers left dense.
    ///
    /// # Errors
    /// If a layer cannot be read.
    fn decompose_but(&self, skip: Skip) -> Result<Self> {
        let mut factored = self.copy();
        let layers = factored.layers_mut();
        let end = layers.len() - usize::from(skip.last && !layers.is_empty());
        for layer in layers.into_iter().take(end).skip(skip.first) {
            layer.decompose()?;
        }
        Ok(factored)
    }

    /// The same network with freshly drawn factors of full rank in place of every dense layer, each
    /// drawn as a layer of its own: less work than [`decompose`](Self::decompose), and according to
    /// the authors as good.
    fn redraw(&self) -> Self {
        let mut factored = self.copy();
        for layer in factored.layers_mut() {
            layer.redraw();
        }
        factored
    }

    /// Ranks that are left in each layer.
    fn ranks(&self) -> Vec<usize> {
        let layers = self.layers();
        layers.iter().map(|(_, layer)| layer.rank()).collect()
    }

    /// Importances of all stored ranks, by layer; see [`Factors::importances`].
    ///
    /// # Errors
    /// If a layer cannot be read.
    fn importances(&self, hierarchical: bool) -> Result<Vec<Vec<f64>>> {
        let layers = self.layers();
        layers
            .iter()
            .map(|(_, layer)| layer.importances(hierarchical))
            .collect()
    }

    /// Masks every rank whose importance is below `threshold`: progressive shrinking. A layer may
    /// lose all of its ranks and is its bias alone then, as in the official code; see
    /// [`bare`](Self::bare).
    ///
    /// # Errors
    /// [`Error::Input`] for a threshold that is negative; the network is as it was then.
    fn mask(&mut self, threshold: f64, hierarchical: bool) -> Result<()> {
        if threshold.is_nan() || threshold < 0.0 {
            let rule = "must not be negative";
            return Err(Error::input("the importance threshold", threshold, rule));
        }
        let layers = self.layers();
        let shrunk = layers
            .iter()
            .map(|(_, layer)| layer.above(threshold, hierarchical));
        let shrunk: Vec<Vec<usize>> = shrunk.collect::<Result<_>>()?;
        for (layer, survivors) in self.layers_mut().into_iter().zip(shrunk) {
            layer.set_survivors(survivors)?;
        }
        Ok(())
    }

    /// [`mask`](Self::mask) with a threshold that somebody asked for.
    ///
    /// # Errors
    /// [`Error::Input`] for a threshold that is negative or leaves a layer without ranks; the network
    /// is as it was then.
    fn shrink(&mut self, threshold: f64, hierarchical: bool) -> Result<()> {
        for (name, layer) in self.layers() {
            let left = layer.above(threshold, hierarchical)?;
            if left.is_empty() && layer.rank() > 0 {
                let rule = format!(
                    "must leave a rank: all {} of layer `{name}` are below it",
                    layer.rank()
                );
                return Err(Error::input("the importance threshold", threshold, rule));
            }
        }
        self.mask(threshold, hierarchical)
    }

    /// The names of the factored layers that have no rank left.
    fn bare(&self) -> Vec<String> {
        let layers = self.layers().into_iter();
        layers
            .filter(|(_, layer)| layer.is_bare())
            .map(|(name, _)| name)
            .collect()
    }

    /// The small network: masked ranks and those beyond `ranks` are deleted; with `merge` layers whose
    /// factors take more numbers than their map become dense. Layers keep no more than they have, and
    /// at least one rank.
    fn extract(&self, ranks: &Ranks, merge: bool) -> Self {
        let mut small = self.copy();
        for (at, layer) in small.layers_mut().into_iter().enumerate() {
            layer.extract(ranks.of(at), merge);
        }
        small
    }

    /// [`extract`](Self::extract) with ranks that somebody asked for.
    ///
    /// # Errors
    /// [`Error::Input`] if a layer is not there or is to keep no rank, or more than it has.
    fn truncate(&self, ranks: &Ranks, merge: bool) -> Result<Self> {
        let layers = self.layers();
        let wanted: Vec<(usize, usize)> = match ranks {
            Ranks::Full => Vec::new(),
            Ranks::Cut { layer, rank } => vec![(*layer, *rank)],
            Ranks::Each(ranks) => {
                if ranks.len() != layers.len() {
                    let rule = format!("must be one for each of {} layers", layers.len());
                    return Err(Error::input("the number of ranks", ranks.len(), rule));
                }
                ranks.iter().copied().enumerate().collect()
            }
        };
        for (at, rank) in wanted {
            let Some((name, layer)) = layers.get(at) else {
                let rule = format!("must be below {}", layers.len());
                return Err(Error::input("a layer", at, rule));
            };
            // A layer without ranks keeps none.
            let least = layer.rank().min(1);
            if layer.is_factored() && !(least..=layer.rank()).contains(&rank) {
                let rule = format!("must lie between 1 and {}", layer.rank());
                return Err(Error::input(
                    format!("the rank of layer `{name}`"),
                    rank,
                    rule,
                ));
            }
        }
        Ok(self.extract(ranks, merge))
    }

    /// Every layer as one map.
    fn to_dense(&self, ranks: &Ranks) -> Self {
        let mut dense = self.copy();
        for (at, layer) in dense.layers_mut().into_iter().enumerate() {
            layer.multiply(ranks.of(at));
        }
        dense
    }

    /// Numbers that are stored for what is left.
    fn numbers(&self) -> usize {
        let layers = self.layers();
        let maps: usize = layers.iter().map(|(_, layer)| layer.numbers()).sum();
        maps + self.others()
    }

    /// Numbers that [`extract`](Self::extract) with merging stores at `ranks`.
    fn numbers_at(&self, ranks: &Ranks) -> usize {
        let layers = self.layers();
        let maps = layers.iter().enumerate();
        let maps: usize = maps
            .map(|(at, (_, layer))| layer.numbers_at(ranks.of(at)))
            .sum();
        maps + self.others()
    }

    /// The ranks that a budget of stored numbers leaves: the least important rank goes first, by its
    /// importance for each number, until [`numbers_at`](Self::numbers_at) fits.
    ///
    /// # Errors
    /// [`Error::Input`] if one rank in every layer is more than the budget.
    fn fit_numbers(&self, budget: usize) -> Result<Ranks> {
        let once = vec![1; self.layers().len()];
        fit(self, "numbers", budget, &once, |ranks| {
            self.numbers_at(ranks)
        })
    }

    /// The ranks of every layer for a share of those that are left, rounded up.
    ///
    /// # Errors
    /// [`Error::Input`] for a share that is not above 0 and at most 1.
    fn share(&self, share: f64) -> Result<Ranks> {
        if !(share > 0.0 && share <= 1.0) {
            let rule = "must be above 0 and at most 1";
            return Err(Error::input("the share of the ranks", share, rule));
        }
        // A share that is meant to be a whole number of ranks may come out a little above it.
        let part = |rank: usize| (rank as f64 * share - 1e-9).ceil() as usize;
        Ok(Ranks::Each(self.ranks().into_iter().map(part).collect()))
    }
}

/// A classifier made of layers that may be factored.
pub trait Network: Factored {
    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`; batch
    /// normalisation, where there is any, does what `mode` says.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are of another size.
    fn run(&self, images: Tensor<4>, ranks: &Ranks, mode: Mode) -> Result<Tensor<2>>;

    /// How often each layer's map is applied to an image: once, or once for every pixel of a
    /// convolution's result.
    fn applications(&self) -> Vec<usize>;

    /// [`run`](Self::run) in evaluation.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are of another size.
    fn forward(&self, images: Tensor<4>, ranks: &Ranks) -> Result<Tensor<2>> {
        self.run(images, ranks, Mode::Evaluate)
    }

    /// Lets the statistics of batch normalisation forget what they hold and take in `batches`
    /// instead, all alike, at `ranks`: to be done after every truncation.
    ///
    /// # Errors
    /// What [`run`](Self::run) and the batches report.
    fn estimate(
        &self,
        batches: impl IntoIterator<Item = Result<Tensor<4>>>,
        ranks: &Ranks,
    ) -> Result<()> {
        for (seen, images) in batches.into_iter().enumerate() {
            self.run(images?, ranks, Mode::Estimate { seen })?;
        }
        Ok(())
    }

    /// Multiplications and additions for an image.
    fn macs(&self, ranks: &Ranks) -> usize {
        let layers = self.layers().into_iter().zip(self.applications());
        layers
            .enumerate()
            .map(|(at, ((_, layer), times))| times * layer.products(ranks.of(at)))
            .sum()
    }

    /// The ranks that a budget of multiplications leaves: the least important rank goes first, by its
    /// importance for each multiplication that it costs, until the rest fits.
    ///
    /// # Errors
    /// [`Error::Input`] if one rank in every layer is more than the budget.
    fn fit(&self, budget: usize) -> Result<Ranks> {
        let spent = |ranks: &Ranks| self.macs(ranks);
        fit(self, "multiplications", budget, &self.applications(), spent)
    }
}

/// The ranks that leave at most `budget` of what `spent` counts; a rank of a layer costs as much as
/// its numbers, `times` over.
fn fit<N: Factored>(
    network: &N,
    what: &str,
    budget: usize,
    times: &[usize],
    spent: impl Fn(&Ranks) -> usize,
) -> Result<Ranks> {
    let importances = network.importances(false)?;
    let layers = network.layers();
    let mut ranks = network.ranks();
    loop {
        let wanted = Ranks::Each(ranks.clone());
        if spent(&wanted) <= budget {
            return Ok(wanted);
        }
        let last = layers.iter().enumerate().filter_map(|(at, (_, layer))| {
            let rank = ranks.get(at).copied().filter(|rank| *rank > 1)?;
            let stored = *layer.survivors().get(rank - 1)?;
            let [outputs, inputs] = layer.dims();
            let cost = (outputs + inputs) * times.get(at)?;
            let importance = importances.get(at)?.get(stored)?;
            Some((at, importance / cost as f64))
        });
        let Some((least, _)) = last.min_by(|a, b| a.1.total_cmp(&b.1)) else {
            let rule = format!(
                "must be at least {}, one rank in every layer",
                spent(&wanted)
            );
            return Err(Error::input(format!("the budget of {what}"), budget, rule));
        };
        ranks[least] -= 1;
    }
}
