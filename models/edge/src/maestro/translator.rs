//! A transformer with words at both ends, and how it is trained.

use super::config::TranslatorConfig;
use super::dropout::Dropout;
use super::layer::{Factors, LodLinear};
use super::network::{Factored, Ranks};
use super::objective::{Scored, Trainable};
use super::transformer::{LodTransformer, Masks};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};

/// Words to embeddings and sinusoidal positions, encoder and decoder, and a layer to the scores of
/// the next word (Vaswani et al., arXiv:1706.03762).
#[derive(Module, Debug)]
pub struct LodTranslator {
    /// `[words, dim]`.
    pub sources: Param<Tensor<2>>,
    /// `[words, dim]`.
    pub targets: Param<Tensor<2>>,
    /// Encoder and decoder.
    pub transformer: LodTransformer,
    /// To the scores of the target language's words.
    pub output: LodLinear,
    #[module(skip)]
    config: TranslatorConfig,
}

/// Pairs of sentences, filled up with the word of padding at their ends. Targets begin with a word
/// that says so.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// `[batch, time']`.
    pub sources: Tensor<2, Int>,
    /// `[batch, time]`, at least two words.
    pub targets: Tensor<2, Int>,
}

impl TranslatorConfig {
    /// A dense network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<LodTranslator> {
        self.validate()?;
        let dim = self.transformer.dim;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: (dim as f64).powf(-0.5),
        };
        let [sources, targets] = self.words.map(|words| normal.init([words, dim], device));
        Ok(LodTranslator {
            sources,
            targets,
            transformer: self.transformer.init(device)?,
            output: LodLinear::new(dim, self.words[1], true, device),
            config: self.clone(),
        })
    }
}

/// Sines and cosines of positions, `[time, dim]`, side by side.
fn positions(time: usize, dim: usize, device: &Device) -> Tensor<2> {
    let angle = |at: usize| {
        let frequency = 10_000f64.powf(-((at % dim / 2 * 2) as f64) / dim as f64);
        (at / dim) as f64 * frequency
    };
    let value = |at: usize| match at % 2 {
        0 => angle(at).sin(),
        _ => angle(at).cos(),
    };
    let values: Vec<f32> = (0..time * dim).map(|at| value(at) as f32).collect();
    Tensor::from_data(TensorData::new(values, [time, dim]), device)
}

/// On the device of the parameters, with autodiff as they are.
fn like(words: Tensor<2, Int>, table: &Tensor<2>) -> Tensor<2, Int> {
    match (table.is_autodiff(), words.is_autodiff()) {
        (true, false) => words.autodiff(),
        (false, true) => words.without_autodiff(),
        _ => words,
    }
}

impl LodTranslator {
    /// What the network was built from.
    pub fn config(&self) -> &TranslatorConfig {
        &self.config
    }

    /// Scores of the next word `[batch, time, words]` after each of `targets [batch, time]`, for
    /// `sources [batch, time']`. In training, where there is a seed, numbers are dropped.
    ///
    /// # Errors
    /// [`Error::Input`] for other numbers of sentences, empty ones, and words that are not there.
    pub fn run(
        &self,
        sources: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        ranks: &Ranks,
        seed: Option<Seed>,
    ) -> Result<Tensor<3>> {
        let ([batch, _], [others, time]) = (sources.dims(), targets.dims());
        if batch != others {
            let rule = format!("must be as many as sources, {batch}");
            return Err(Error::input("the number of targets", others, rule));
        }
        for (at, (what, words)) in [("sources", &sources), ("targets", &targets)]
            .into_iter()
            .enumerate()
        {
            self.check(what, words, self.config.words[at])?;
        }
        let mut drop = seed.map_or(Dropout::none(), |seed| {
            Dropout::new(self.config.transformer.dropout, seed.stream("words"))
        });
        let padding = self.config.padding as i64;
        let device = self.sources.val().device();
        let later = Tensor::<2>::ones([time, time], &device).triu(1).bool();
        let masks = Masks {
            blocked: Some(later),
            sources: Some(like(sources.clone(), &self.sources.val()).equal_elem(padding)),
            targets: Some(like(targets.clone(), &self.targets.val()).equal_elem(padding)),
        };
        let embedded = [
            drop.apply(self.embed(sources, &self.sources)),
            drop.apply(self.embed(targets, &self.targets)),
        ];
        let seed = seed.map(|seed| seed.stream("layers"));
        let found = self.transformer.run_masked(embedded, &masks, ranks, seed)?;
        let last = self.transformer.layers().len();
        Ok(self.output.forward(found.swap_dims(0, 1), ranks.of(last)))
    }

    fn check(&self, what: &str, words: &Tensor<2, Int>, known: usize) -> Result<()> {
        let found = words.dims();
        if found.contains(&0) {
            let rule = "must be sentences of at least one word";
            return Err(Error::input(what, found, rule));
        }
        let values = words
            .clone()
            .try_into_vec_as::<i64>()
            .map_err(|error| Error::other("reading words", error))?;
        if let Some(word) = values
            .iter()
            .find(|word| !(0..known as i64).contains(*word))
        {
            let rule = format!("must be below {known}, the words of the {what}");
            return Err(Error::input("a word", word, rule));
        }
        let padding = self.config.padding as i64;
        if values
            .chunks(found[1])
            .any(|sentence| sentence[0] == padding)
        {
            let rule = "must not begin with padding, behind which nothing is seen";
            return Err(Error::input(what, found, rule));
        }
        Ok(())
    }

    /// `[time, batch, dim]` of words `[batch, time]`.
    fn embed(&self, words: Tensor<2, Int>, table: &Param<Tensor<2>>) -> Tensor<3> {
        let ([batch, time], dim) = (words.dims(), self.config.transformer.dim);
        let table = table.val();
        let words = like(words, &table).reshape([batch * time]);
        let found = table.clone().select(0, words).reshape([batch, time, dim]);
        let places = positions(time, dim, &table.device()).unsqueeze::<3>();
        (found * (dim as f64).sqrt() + places).swap_dims(0, 1)
    }

    /// Multiplications and additions of the maps for a pair of sentences of that many words; those of
    /// the attention between words, which ranks do not change, are not among them.
    pub fn macs(&self, words: [usize; 2], ranks: &Ranks) -> usize {
        let times = self.transformer.applications(words).into_iter();
        let layers = self.layers().into_iter().zip(times.chain([words[1]]));
        layers
            .enumerate()
            .map(|(at, ((_, layer), times))| times * layer.products(ranks.of(at)))
            .sum()
    }
}

impl Factored for LodTranslator {
    fn layers(&self) -> Vec<(String, &Factors)> {
        let layers = self.transformer.layers().into_iter();
        let layers = layers.map(|(name, layer)| (format!("transformer.{name}"), layer));
        layers
            .chain([("output".to_owned(), &self.output.factors)])
            .collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Factors> {
        let mut layers = self.transformer.layers_mut();
        layers.push(&mut self.output.factors);
        layers
    }

    fn others(&self) -> usize {
        let words: usize = self.config.words.iter().sum();
        words * self.config.transformer.dim + self.transformer.others()
    }
}

impl Trainable for LodTranslator {
    type Batch = Pairs;

    /// The scores of every target but the first, and how much each counts: nothing where it is
    /// padding.
    fn scored(&self, batch: &Pairs, ranks: &Ranks, seed: Seed) -> Result<Scored> {
        let [count, time] = batch.targets.dims();
        if time < 2 {
            let rule = "must be sentences of at least two words";
            return Err(Error::input("targets", [count, time], rule));
        }
        let before = batch.targets.clone().narrow(1, 0, time - 1);
        let next = batch.targets.clone().narrow(1, 1, time - 1);
        let scores = self.run(batch.sources.clone(), before, ranks, Some(seed))?;
        let rows = count * (time - 1);
        let next = like(next, &self.targets.val()).reshape([rows]);
        let counts = next.clone().not_equal_elem(self.config.padding as i64);
        Ok(Scored {
            logits: scores.reshape([rows, self.config.words[1]]),
            labels: next,
            weights: Some(counts.float()),
        })
    }
}
