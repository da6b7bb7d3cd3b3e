//! Latent frames as codes: residual vector quantisation with learned codebooks.

use super::state::{flag, plain, read, state, write};
use burn::config::Config;
use burn::module::{Module, RunningState};
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};

/// What becomes of the averages of a code that has been put somewhere new.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Restart {
    /// They start from there: the sum is the place times the size. A code that is replaced has the
    /// least size that is not replaced.
    Consistent,
    /// As the released code has it. After k-means the sums are the places without their sizes, so
    /// that the next update draws all codes towards zero; and a code is replaced before the update
    /// of the same step, which overwrites it, so that replacing has no effect.
    Released,
}

/// Sizes of the quantiser (`quantization.ResidualVectorQuantization` of the released code).
#[derive(Config, Debug, PartialEq)]
pub struct QuantiserConfig {
    /// Codebooks, each for what the ones before it leave over (`num_quantizers`).
    #[config(default = 16)]
    pub quantisers: usize,
    /// Codes of each codebook (`codebook_size`).
    #[config(default = 1024)]
    pub codes: usize,
    /// What is kept of the averages in each step (`decay`).
    #[config(default = 0.99)]
    pub decay: f64,
    /// Added to each size before it divides (`epsilon`).
    #[config(default = 1e-5)]
    pub smoothing: f64,
    /// Iterations of k-means on the first batch (`kmeans_iters`).
    #[config(default = 50)]
    pub iterations: usize,
    /// Average size below which a code is replaced by a frame of the batch; 0 for never
    /// (`threshold_ema_dead_code`).
    #[config(default = 2.0)]
    pub expire_below: f64,
    /// Weight of the commitment loss (`commitment_weight`).
    #[config(default = 1.0)]
    pub commitment: f64,
    /// What becomes of the averages of a code that has been put somewhere new.
    #[config(default = "Restart::Consistent")]
    pub restart: Restart,
}

impl QuantiserConfig {
    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let name = "QuantiserConfig";
        for (field, value, most) in [
            ("quantisers", self.quantisers, 256),
            ("codes", self.codes, 1 << 20),
            ("iterations", self.iterations, 1 << 20),
        ] {
            if !(1..=most).contains(&value) {
                let rule = format!("must lie between 1 and {most}");
                return Err(Error::config(name, field, value, rule));
            }
        }
        if !(0.0..1.0).contains(&self.decay) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(name, "decay", self.decay, rule));
        }
        if !(self.smoothing.is_finite() && self.smoothing > 0.0) {
            let rule = "must be finite and positive";
            return Err(Error::config(name, "smoothing", self.smoothing, rule));
        }
        for (field, value) in [
            ("expire_below", self.expire_below),
            ("commitment", self.commitment),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let rule = "must be finite and not negative";
                return Err(Error::config(name, field, value, rule));
            }
        }
        Ok(())
    }
}

/// Which rows of a batch a codebook takes, should it need some: numbers of rows, `[codes]` each.
#[derive(Clone, Debug)]
pub struct RowDraw {
    /// Where k-means starts.
    pub start: Tensor<1, Int>,
    /// What takes the place of codes that are hardly used.
    pub replacement: Tensor<1, Int>,
}

/// The rows for every codebook of `config`, from a batch of `rows` frames: all different where
/// there are enough.
pub fn draw_rows(
    config: &QuantiserConfig,
    rows: usize,
    seed: Seed,
    device: &Device,
) -> Vec<RowDraw> {
    let device = device.clone().without_autodiff();
    let draw = |seed: Seed| {
        let chosen = choose(rows.max(1), config.codes, &mut seed.rng());
        let shape = [chosen.len()];
        Tensor::<1, Int>::from_data(TensorData::new(chosen, shape), &device)
    };
    (0..config.quantisers as u64)
        .map(|layer| RowDraw {
            start: draw(seed.stream("start").at(layer)),
            replacement: draw(seed.stream("replacement").at(layer)),
        })
        .collect()
}

/// `count` numbers below `rows`, without repetition if possible.
fn choose(rows: usize, count: usize, rng: &mut impl Rng) -> Vec<i64> {
    if rows < count {
        return (0..count)
            .map(|_| rng.random_range(0..rows) as i64)
            .collect();
    }
    let mut all: Vec<i64> = (0..rows as i64).collect();
    for at in 0..count {
        all.swap(at, rng.random_range(at..rows));
    }
    all.truncate(count);
    all
}

/// A codebook and the averages that it follows.
#[derive(Module, Debug)]
pub struct Codebook {
    /// 1 from k-means on, `[1]`.
    pub inited: RunningState<Tensor<1>>,
    /// How many frames of a batch take each code, on average, `[codes]`.
    pub cluster_size: RunningState<Tensor<1>>,
    /// The codes, `[codes, latent]`.
    pub embed: RunningState<Tensor<2>>,
    /// The sum of the frames of a batch that take each code, on average, `[codes, latent]`.
    pub embed_avg: RunningState<Tensor<2>>,
}

impl Codebook {
    fn new([codes, latent]: [usize; 2], device: &Device) -> Self {
        let on = device.clone().without_autodiff();
        Self {
            inited: state(Tensor::zeros([1], &on), device),
            cluster_size: state(Tensor::zeros([codes], &on), device),
            embed: state(Tensor::zeros([codes, latent], &on), device),
            embed_avg: state(Tensor::zeros([codes, latent], &on), device),
        }
    }

    /// The codes, `[codes, latent]`, without autodiff.
    pub fn codes(&self) -> Tensor<2> {
        read(&self.embed)
    }

    /// The number of the nearest code for each of `rows`, `[rows, latent]` without autodiff.
    pub fn nearest(&self, rows: Tensor<2>) -> Tensor<1, Int> {
        nearest(rows, self.codes())
    }

    /// k-means on `rows`, `[rows, latent]`, from the rows `start` on.
    fn start(&self, rows: Tensor<2>, start: Tensor<1, Int>, config: &QuantiserConfig) {
        let (means, sizes) = k_means(rows, start, config.iterations);
        let sums = match config.restart {
            Restart::Consistent => means.clone() * sizes.clone().reshape([config.codes, 1]),
            Restart::Released => means.clone(),
        };
        write(&self.embed, means);
        write(&self.embed_avg, sums);
        let inited = sizes.ones_like().narrow(0, 0, 1);
        write(&self.cluster_size, sizes);
        write(&self.inited, inited);
    }

    /// Moves the codes towards `rows`, `[rows, latent]` without autodiff, which took the codes
    /// `taken`, `[rows]`.
    ///
    /// The average size of a code is `N ← d N + (1 − d) n`, the average sum of its rows
    /// `S ← d S + (1 − d) s`, and the code `S / Ñ` with `Ñ = (N + ε) / (ΣN + codes · ε) · ΣN`
    /// (Laplace smoothing).
    pub fn update(
        &self,
        rows: Tensor<2>,
        taken: Tensor<1, Int>,
        replacement: Tensor<1, Int>,
        config: &QuantiserConfig,
    ) {
        let [codes, latent] = self.codes().dims();
        let members = memberships(taken, codes);
        let keep = config.decay;
        let count = members.clone().sum_dim(0).reshape([codes]);
        let mut size = read(&self.cluster_size) * keep + count * (1.0 - keep);
        let sum = members.transpose().matmul(rows.clone());
        let mut sums = read(&self.embed_avg) * keep + sum * (1.0 - keep);
        let total = size.clone().sum();
        let smoothed = (size.clone() + config.smoothing)
            / (total.clone() + codes as f64 * config.smoothing)
            * total;
        let mut embed = sums.clone() / smoothed.reshape([codes, 1]);
        let least = config.expire_below;
        if config.restart == Restart::Consistent && least > 0.0 {
            let unused = size.clone().lower_elem(least);
            let row_unused = unused.clone().reshape([codes, 1]).expand([codes, latent]);
            let fresh = rows.select(0, replacement);
            embed = embed.mask_where(row_unused.clone(), fresh.clone());
            sums = sums.mask_where(row_unused, fresh * least);
            let full = size.full_like(least);
            size = size.mask_where(unused, full);
        }
        write(&self.embed, embed);
        write(&self.embed_avg, sums);
        write(&self.cluster_size, size);
    }
}

/// For each of `rows`, `[rows, latent]`, the number of the nearest of `codes`, `[codes, latent]`.
fn nearest(rows: Tensor<2>, codes: Tensor<2>) -> Tensor<1, Int> {
    let count = rows.dims()[0];
    // The row's own length is the same for all codes.
    let lengths = codes.clone().square().sum_dim(1).transpose();
    let distance = lengths - rows.matmul(codes.transpose()) * 2.0;
    distance.argmin(1).reshape([count])
}

/// 1 where a row takes a code: `[rows, codes]` of `taken`, `[rows]`.
fn memberships(taken: Tensor<1, Int>, codes: usize) -> Tensor<2> {
    let rows = taken.dims()[0];
    let numbers = Tensor::<1, Int>::arange(0..codes as i64, &taken.device());
    let numbers = numbers.reshape([1, codes]).expand([rows, codes]);
    let taken = taken.reshape([rows, 1]).expand([rows, codes]);
    taken.equal(numbers).float()
}

/// `iterations` iterations of k-means on `rows`, `[rows, latent]`, from the rows with the numbers
/// `start`, `[codes]`: the means `[codes, latent]` and how many rows were nearest to each, `[codes]`.
/// A mean without rows stays where it is.
pub fn k_means(
    rows: Tensor<2>,
    start: Tensor<1, Int>,
    iterations: usize,
) -> (Tensor<2>, Tensor<1>) {
    let mut means = rows.clone().select(0, start);
    let [codes, latent] = means.dims();
    let mut sizes = Tensor::zeros([codes], &rows.device());
    for _ in 0..iterations {
        let members = memberships(nearest(rows.clone(), means.clone()), codes);
        sizes = members.clone().sum_dim(0).reshape([codes]);
        let column = sizes.clone().reshape([codes, 1]);
        let sums = members.transpose().matmul(rows.clone());
        let empty = column.clone().lower_elem(0.5).expand([codes, latent]);
        means = (sums / column.clamp_min(1.0)).mask_where(empty, means);
    }
    (means, sizes)
}

/// What a quantiser makes of a latent signal.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The sum of the codes, `[batch, latent, frames]`; its gradient goes on to the latent signal
    /// unchanged (straight-through).
    pub latent: Tensor<3>,
    /// The numbers of the codes, `[batch, quantisers, frames]`.
    pub codes: Tensor<3, Int>,
    /// The mean squared distance of each codebook's input from its code, summed over codebooks and
    /// weighted, `[1]`. Only the first has a gradient: what it leaves over is, straight through, a
    /// constant.
    pub commitment: Tensor<1>,
}

/// Codebooks, each for what the ones before it leave over (Zeghidour et al., 2021).
#[derive(Module, Debug)]
pub struct ResidualQuantiser {
    /// In the order of the residuals.
    pub layers: Vec<Codebook>,
    #[module(skip)]
    config: QuantiserConfig,
}

impl ResidualQuantiser {
    /// Codebooks for `latent` dimensions, not yet initialised.
    ///
    /// # Errors
    /// What [`QuantiserConfig::validate`] reports.
    pub fn new(config: &QuantiserConfig, latent: usize, device: &Device) -> Result<Self> {
        config.validate()?;
        Ok(Self::unchecked(config, latent, device))
    }

    pub(super) fn unchecked(config: &QuantiserConfig, latent: usize, device: &Device) -> Self {
        Self {
            layers: (0..config.quantisers)
                .map(|_| Codebook::new([config.codes, latent], device))
                .collect(),
            config: config.clone(),
        }
    }

    /// Its sizes.
    pub fn config(&self) -> &QuantiserConfig {
        &self.config
    }

    /// Whether the codebooks hold anything: a step of training or a checkpoint initialises them.
    pub fn is_initialised(&self) -> bool {
        self.layers.iter().all(|layer| flag(&layer.inited))
    }

    /// `latent`, `[batch, latent, frames]`, in codes, as the codebooks stand.
    ///
    /// # Panics
    /// If the dimensions are others.
    pub fn forward(&self, latent: Tensor<3>) -> Quantised {
        self.walk(latent, |layer, rows, _| layer.nearest(rows))
    }

    /// The same in training, after which the codebooks move towards what they stood for. Codebooks
    /// without content take it from this batch first. `draws` has an entry for each codebook
    /// ([`draw_rows`] of `batch · frames` rows); the others learn nothing.
    ///
    /// # Panics
    /// If the dimensions are others.
    pub fn learn(&self, latent: Tensor<3>, draws: &[RowDraw]) -> Quantised {
        let mut found = Vec::with_capacity(self.layers.len());
        let quantised = self.walk(latent, |layer, rows, index| {
            let draw = draws.get(index);
            if let Some(draw) = draw
                && !flag(&layer.inited)
            {
                layer.start(rows.clone(), draw.start.clone(), &self.config);
            }
            let taken = layer.nearest(rows.clone());
            if let Some(draw) = draw {
                found.push((layer, rows, taken.clone(), draw.replacement.clone()));
            }
            taken
        });
        for (layer, rows, taken, replacement) in found {
            layer.update(rows, taken, replacement, &self.config);
        }
        quantised
    }

    fn walk<'a>(
        &'a self,
        latent: Tensor<3>,
        mut take: impl FnMut(&'a Codebook, Tensor<2>, usize) -> Tensor<1, Int>,
    ) -> Quantised {
        let [batch, dims, frames] = latent.dims();
        let autodiff = latent.device().is_autodiff();
        let lift = |tensor: Tensor<2>| match autodiff {
            true => Tensor::from_inner(tensor),
            false => tensor,
        };
        let rows = latent.swap_dims(1, 2).reshape([batch * frames, dims]);
        let mut residual = plain(rows.clone());
        let mut sum = residual.zeros_like();
        let mut codes = Vec::with_capacity(self.layers.len());
        let mut commitment: Option<Tensor<1>> = None;
        for (index, layer) in self.layers.iter().enumerate() {
            let content = |taken: Tensor<1, Int>| layer.codes().select(0, taken);
            let taken = take(layer, residual.clone(), index);
            let code = content(taken.clone());
            commitment = Some(match commitment {
                None => (rows.clone() - lift(code.clone())).square().mean(),
                Some(before) => {
                    let distance = lift(residual.clone() - code.clone());
                    before + distance.square().mean()
                }
            });
            residual = residual - code.clone();
            sum = sum + code;
            codes.push(taken.reshape([batch, 1, frames]));
        }
        let step = (lift(sum) - rows.clone()).detach();
        let commitment = commitment.unwrap_or_else(|| rows.clone().mean() * 0.0);
        Quantised {
            latent: (rows + step).reshape([batch, frames, dims]).swap_dims(1, 2),
            codes: Tensor::cat(codes, 1),
            commitment: commitment * self.config.commitment,
        }
    }

    /// The numbers of the codes of `latent`, `[batch, latent, frames]`: `[batch, quantisers,
    /// frames]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the codebooks are empty.
    ///
    /// # Panics
    /// If the dimensions are others.
    pub fn encode_codes(&self, latent: Tensor<3>) -> Result<Tensor<3, Int>> {
        self.check_content()?;
        Ok(self.forward(latent).codes)
    }

    /// The latent signal `[batch, latent, frames]` of `codes`, `[batch, quantisers, frames]`. Fewer
    /// codebooks, the first ones, give a coarser one.
    ///
    /// # Errors
    /// [`Error::Input`] if the codebooks are empty, for more of them than there are or none, or for
    /// a number that is no code's.
    pub fn decode_codes(&self, codes: Tensor<3, Int>) -> Result<Tensor<3>> {
        self.check_content()?;
        let shape @ [batch, quantisers, frames] = codes.dims();
        let layers = self.layers.len();
        if batch == 0 || frames == 0 || !(1..=layers).contains(&quantisers) {
            let rule = format!("must be [batch, 1 to {layers}, frames], not empty");
            return Err(Error::input("the shape of the codes", shape, rule));
        }
        let count = self.config.codes as i64;
        let values = codes.to_data();
        if let Some(value) = values.iter::<i64>().find(|v| !(0..count).contains(v)) {
            let rule = format!("must be below the size of a codebook, {count}");
            return Err(Error::input("a code", value, rule));
        }
        let mut sum: Option<Tensor<2>> = None;
        for (index, layer) in self.layers.iter().take(quantisers).enumerate() {
            let numbers = codes.clone().narrow(1, index, 1);
            let code = layer.codes().select(0, numbers.reshape([batch * frames]));
            sum = Some(match sum {
                Some(sum) => sum + code,
                None => code,
            });
        }
        let Some(sum) = sum else {
            return Err(Error::input(
                "the number of codebooks",
                0,
                "must be at least 1",
            ));
        };
        let dims = sum.dims()[1];
        Ok(sum.reshape([batch, frames, dims]).swap_dims(1, 2))
    }

    fn check_content(&self) -> Result<()> {
        if self.is_initialised() {
            return Ok(());
        }
        let found = self.layers.iter().filter(|layer| flag(&layer.inited));
        let rule = format!(
            "must be all {}: train the model, or load a checkpoint",
            self.layers.len()
        );
        Err(Error::input(
            "the number of codebooks with content",
            found.count(),
            rule,
        ))
    }
}
