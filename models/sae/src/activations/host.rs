//! Activations of a model that is run on windows of tokens.

use super::rows::{ActivationSource, Rows, floats, non_finite};
use burn::{
    config::Config,
    tensor::{Device, Int, Tensor, TensorData},
};
use menagerie_core::{Error, Result, Seed};
use rand::seq::SliceRandom;

/// Reads a model at a hook.
pub trait Probe {
    /// The hook's name, for errors and for the index of shards.
    fn hook(&self) -> String;

    /// The model's name, for the index of shards.
    fn model(&self) -> String;

    /// Width of an activation.
    fn width(&self) -> usize;

    /// Width of what [`read`](Self::read) pairs with each activation; `None` where it is nothing.
    fn paired_width(&self) -> Option<usize> {
        None
    }

    /// Where the model is.
    fn device(&self) -> Device;

    /// Activations `[batch, tokens, width]` of `tokens` `[batch, tokens]`, and what belongs to
    /// each `[batch, tokens, paired width]`: the gradient of the loss, or a transcoder's target.
    ///
    /// # Errors
    /// Tokens that the model cannot take.
    fn read(&self, tokens: Tensor<2, Int>) -> Result<(Tensor<3>, Option<Tensor<3>>)>;
}

/// How tokens are run and which of their rows are kept.
#[derive(Config, Debug, PartialEq)]
pub struct HostSourceConfig {
    /// Tokens of a window, [`prepend`](Self::prepend) included.
    pub context: usize,
    /// Windows that the model is run on at once.
    pub windows: usize,
    /// Passes over the tokens, each in an order of its own.
    #[config(default = 1)]
    pub epochs: usize,
    /// A token that is put before every window, such as the one for the beginning of a text.
    #[config(default = "None")]
    pub prepend: Option<u32>,
    /// Rows that are dropped at the start of every window, whose activations are atypical.
    #[config(default = 0)]
    pub drop_first: usize,
    /// Rows that are dropped at the end of every window, e.g. 1 for gradients, which are 0 there.
    #[config(default = 0)]
    pub drop_last: usize,
    /// Tokens whose rows are dropped, such as the beginning of a text and padding.
    #[config(default = "vec![]")]
    pub exclude: Vec<u32>,
    /// Drops rows whose norm exceeds this multiple (10 is customary) of their block's median.
    #[config(default = "None")]
    pub max_norm_ratio: Option<f64>,
}

impl HostSourceConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: String| {
            Err(Error::config("HostSourceConfig", field, value, rule))
        };
        let own = usize::from(self.prepend.is_some());
        if self.context <= own {
            let rule = format!("must be at least {}", own + 1);
            return refuse("context", &self.context, rule);
        }
        for (field, value) in [("windows", self.windows), ("epochs", self.epochs)] {
            if value == 0 {
                return refuse(field, &value, "must be at least 1".into());
            }
        }
        if self.drop_first.saturating_add(self.drop_last) >= self.context {
            let rule = format!(
                "with drop_last must leave some of the {} rows",
                self.context
            );
            return refuse("drop_first", &self.drop_first, rule);
        }
        if let Some(ratio) = self.max_norm_ratio
            && !(ratio.is_finite() && ratio >= 1.0)
        {
            let rule = "must be finite and at least 1".into();
            return refuse("max_norm_ratio", &ratio, rule);
        }
        Ok(())
    }
}

/// Runs windows of tokens through a model up to a hook; one block of rows per run.
///
/// The tokens are cut into windows that do not overlap (a rest that is no window is left out),
/// visited in an order drawn per pass.
pub struct HostSource<P> {
    probe: P,
    tokens: Vec<u32>,
    config: HostSourceConfig,
    seed: Seed,
    /// Windows of one pass.
    windows: usize,
    position: u64,
    /// The order of the pass last asked for.
    order: Option<(u64, Vec<usize>)>,
}

impl<P: Probe> HostSource<P> {
    /// Reads `tokens` through `probe`.
    ///
    /// # Errors
    /// What [`HostSourceConfig::validate`] reports, and tokens that do not fill one window.
    pub fn new(probe: P, tokens: Vec<u32>, config: &HostSourceConfig, seed: Seed) -> Result<Self> {
        config.validate()?;
        let own = config.context - usize::from(config.prepend.is_some());
        let windows = tokens.len() / own;
        if windows == 0 {
            return Err(Error::input(
                "tokens of the stream",
                tokens.len(),
                format!("must fill at least one window of {own}"),
            ));
        }
        Ok(Self {
            probe,
            tokens,
            config: config.clone(),
            seed,
            windows,
            position: 0,
            order: None,
        })
    }

    /// The probe that it reads through.
    pub fn probe(&self) -> &P {
        &self.probe
    }

    fn blocks_per_epoch(&self) -> u64 {
        self.windows.div_ceil(self.config.windows) as u64
    }

    fn end(&self) -> u64 {
        self.blocks_per_epoch()
            .saturating_mul(self.config.epochs as u64)
    }

    /// The windows of the block at `position`, by their numbers in the stream.
    fn block(&mut self, position: u64) -> Vec<usize> {
        let epoch = position / self.blocks_per_epoch();
        let order = match self.order.take() {
            Some((cached, order)) if cached == epoch => order,
            _ => {
                let mut order: Vec<usize> = (0..self.windows).collect();
                order.shuffle(&mut self.seed.at(epoch).rng());
                order
            }
        };
        let start = (position % self.blocks_per_epoch()) as usize * self.config.windows;
        let end = self.windows.min(start + self.config.windows);
        let block = order[start..end].to_vec();
        self.order = Some((epoch, order));
        block
    }

    fn window(&self, window: usize) -> impl Iterator<Item = u32> {
        let own = self.config.context - usize::from(self.config.prepend.is_some());
        let text = &self.tokens[window * own..(window + 1) * own];
        self.config.prepend.into_iter().chain(text.iter().copied())
    }

    /// The rows of `windows` that are kept.
    fn read(&self, windows: &[usize]) -> Result<Rows> {
        let context = self.config.context;
        let tokens: Vec<u32> = windows.iter().flat_map(|&w| self.window(w)).collect();
        let ids: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        let data = TensorData::new(ids, [windows.len(), context]);
        let (x, paired) = self
            .probe
            .read(Tensor::from_data(data, &self.probe.device()))?;
        let (width, paired_width) = (self.probe.width(), self.probe.paired_width());
        for (what, found, expected) in [
            ("activations", Some(x.dims()), Some(width)),
            (
                "what is paired with them",
                paired.as_ref().map(Tensor::dims),
                paired_width,
            ),
        ] {
            let expected = expected.map(|width| [windows.len(), context, width]);
            if found != expected {
                return Err(Error::input(
                    format!("shape of {what} at `{}`", self.probe.hook()),
                    found,
                    format!("must be {expected:?}"),
                ));
            }
        }
        let x = floats(x.into_data())?;
        let paired = match paired {
            Some(paired) => floats(paired.into_data())?,
            None => Vec::new(),
        };

        let positions = self.config.drop_first..context - self.config.drop_last;
        let mut kept: Vec<usize> = (0..tokens.len())
            .filter(|row| positions.contains(&(row % context)))
            .filter(|&row| !self.config.exclude.contains(&tokens[row]))
            .collect();
        let named = |what: &str, row: usize, value: f32| {
            Error::input(
                format!(
                    "{what} at `{}`, window {}, position {}",
                    self.probe.hook(),
                    windows[row / context],
                    row % context
                ),
                value,
                "must be finite",
            )
        };
        let span = |row: usize, width: usize| row * width..(row + 1) * width;
        for &row in &kept {
            let numbers = &x[span(row, width)];
            if let Some(index) = non_finite(numbers) {
                return Err(named("an activation", row, numbers[index]));
            }
        }
        if let Some(ratio) = self.config.max_norm_ratio {
            drop_large(&mut kept, &x, width, ratio);
        }
        let mut rows = Rows::empty(width, paired_width.unwrap_or(0));
        rows.reserve(kept.len())?;
        for &row in &kept {
            rows.push_values(&x[span(row, width)], &[]);
            if let Some(width) = paired_width {
                let numbers = &paired[span(row, width)];
                if let Some(index) = non_finite(numbers) {
                    return Err(named("what is paired", row, numbers[index]));
                }
                rows.push_values(&[], numbers);
            }
        }
        Ok(rows)
    }
}

/// Removes from `kept` the rows of `x` whose norm exceeds `ratio` times the median of all kept.
fn drop_large(kept: &mut Vec<usize>, x: &[f32], width: usize, ratio: f64) {
    let norm = |row: usize| {
        let numbers = &x[row * width..(row + 1) * width];
        numbers
            .iter()
            .map(|&value| f64::from(value).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let norms: Vec<f64> = kept.iter().map(|&row| norm(row)).collect();
    let mut sorted = norms.clone();
    let Some(middle) = sorted.len().checked_sub(1).map(|last| last / 2) else {
        return;
    };
    let (_, median, _) = sorted.select_nth_unstable_by(middle, f64::total_cmp);
    let limit = ratio * *median;
    let mut norms = norms.into_iter();
    kept.retain(|_| norms.next().is_some_and(|norm| norm <= limit));
}

impl<P: Probe> ActivationSource for HostSource<P> {
    fn width(&self) -> usize {
        self.probe.width()
    }

    fn paired_width(&self) -> Option<usize> {
        self.probe.paired_width()
    }

    fn next(&mut self) -> Result<Option<Rows>> {
        if self.position >= self.end() {
            return Ok(None);
        }
        let windows = self.block(self.position);
        let rows = self.read(&windows)?;
        self.position += 1;
        Ok(Some(rows))
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn seek(&mut self, position: u64) -> Result<()> {
        self.position = position.min(self.end());
        Ok(())
    }
}
