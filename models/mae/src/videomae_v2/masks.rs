//! Which cubes the encoder does not see, and which the decoder does not predict.
//!
//! A mask is `true` where a cube is left out. Cubes are numbered by time, row, column.

use burn::{
    config::Config,
    tensor::{Device, Tensor, TensorData},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::vit::Masking;
use rand::seq::SliceRandom;

/// Cubes of a clip along time, rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Steps in time, T'.
    pub time: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Grid {
    /// Cubes of one step.
    pub fn per_step(&self) -> usize {
        self.rows * self.columns
    }

    /// All cubes, N.
    pub fn tokens(&self) -> usize {
        self.time * self.per_step()
    }
}

/// How the cubes that the encoder does not see are drawn.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum EncoderMask {
    /// The same places at every step (VideoMAE): the share of the places, 0.9 as published.
    Tube(f64),
    /// Any cubes: the share of all.
    Random(f64),
}

/// How the cubes that the decoder does not predict are drawn.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum DecoderMask {
    /// Those that the encoder sees: all others are predicted, as in VideoMAE.
    Visible,
    /// Cells of 2×2 places that run through their four places step by step, so that every place is
    /// predicted in turn: the share left out, 0.5 as published; it counts in quarters.
    RunningCell(f64),
    /// Any cubes: the share of all (ablation).
    Random(f64),
    /// Whole steps in time: the share of them (ablation).
    Frame(f64),
}

/// Both masks of a pre-training run.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct MaskingConfig {
    /// Of the encoder.
    #[config(default = "EncoderMask::Tube(0.9)")]
    pub encoder: EncoderMask,
    /// Of the decoder.
    #[config(default = "DecoderMask::RunningCell(0.5)")]
    pub decoder: DecoderMask,
}

impl MaskingConfig {
    const NAME: &str = "MaskingConfig";

    /// Encoder masking alone, as in VideoMAE.
    pub fn encoder_only() -> Self {
        Self::new().with_decoder(DecoderMask::Visible)
    }

    /// Refuses shares that leave nothing to see or nothing to predict on `grid`.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self, grid: Grid) -> Result<()> {
        let (share, of) = match self.encoder {
            EncoderMask::Tube(share) => (share, grid.per_step()),
            EncoderMask::Random(share) => (share, grid.tokens()),
        };
        part("encoder", share, of)?;
        match self.decoder {
            DecoderMask::Visible => Ok(()),
            DecoderMask::RunningCell(share) => cells(share, grid).map(|_| ()),
            DecoderMask::Random(share) => part("decoder", share, grid.tokens()).map(|_| ()),
            DecoderMask::Frame(share) => part("decoder", share, grid.time).map(|_| ()),
        }
    }

    /// Cubes of a clip that the encoder sees, and that the decoder predicts.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn counts(&self, grid: Grid) -> Result<[usize; 2]> {
        self.validate(grid)?;
        let tokens = grid.tokens();
        let hidden = match self.encoder {
            EncoderMask::Tube(share) => grid.time * part("encoder", share, grid.per_step())?,
            EncoderMask::Random(share) => part("encoder", share, tokens)?,
        };
        let left_out = match self.decoder {
            DecoderMask::Visible => tokens - hidden,
            DecoderMask::RunningCell(share) => tokens / 4 * cells(share, grid)?,
            DecoderMask::Random(share) => part("decoder", share, tokens)?,
            DecoderMask::Frame(share) => grid.per_step() * part("decoder", share, grid.time)?,
        };
        Ok([tokens - hidden, tokens - left_out])
    }

    /// The masks of `batch` clips, each with draws of its own.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn draw(&self, grid: Grid, batch: usize, seed: Seed) -> Result<Masks> {
        self.validate(grid)?;
        let mut masks = Masks {
            encoder: Vec::with_capacity(batch * grid.tokens()),
            decoder: Vec::with_capacity(batch * grid.tokens()),
            tokens: grid.tokens(),
        };
        let (encoder, decoder) = (seed.stream("encoder"), seed.stream("decoder"));
        for clip in 0..batch as u64 {
            let draw = encoder.at(clip);
            let hidden = match self.encoder {
                EncoderMask::Tube(share) => {
                    tube(grid, share, &draw_permutation(grid.per_step(), draw))?
                }
                EncoderMask::Random(share) => {
                    scattered(grid, share, &draw_permutation(grid.tokens(), draw))?
                }
            };
            let draw = decoder.at(clip);
            let left_out = match self.decoder {
                DecoderMask::Visible => hidden.iter().map(|hidden| !hidden).collect(),
                DecoderMask::RunningCell(share) => running_cell(grid, share, draw_offset(draw))?,
                DecoderMask::Random(share) => {
                    scattered(grid, share, &draw_permutation(grid.tokens(), draw))?
                }
                DecoderMask::Frame(share) => {
                    steps(grid, share, &draw_permutation(grid.time, draw))?
                }
            };
            masks.encoder.extend(hidden);
            masks.decoder.extend(left_out);
        }
        Ok(masks)
    }
}

/// A permutation of `0..count`.
pub fn draw_permutation(count: usize, seed: Seed) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut seed.rng());
    order
}

/// The step of its round at which a running cell starts, 0..4.
pub fn draw_offset(seed: Seed) -> usize {
    use rand::RngExt;
    seed.rng().random_range(0..4)
}

/// The tube mask `[time · rows · columns]`: a share of the places, the same at every step. Place
/// `i` is hidden unless `permutation[i]` is one of the first, visible ones.
///
/// # Errors
/// [`Error::Config`] for a share that hides no place or all; [`Error::Input`] if the permutation is
/// not one of the places.
pub fn tube(grid: Grid, share: f64, permutation: &[usize]) -> Result<Vec<bool>> {
    let places = grid.per_step();
    let visible = places - part("encoder", share, places)?;
    let step = hidden_by(permutation, places, visible)?;
    Ok(step.repeat(grid.time))
}

/// A mask of any cubes, `[time · rows · columns]`, by a permutation of them as in [`tube`].
///
/// # Errors
/// As [`tube`].
pub fn scattered(grid: Grid, share: f64, permutation: &[usize]) -> Result<Vec<bool>> {
    let tokens = grid.tokens();
    let visible = tokens - part("share", share, tokens)?;
    hidden_by(permutation, tokens, visible)
}

/// A mask of whole steps, `[time · rows · columns]`, by a permutation of the steps as in [`tube`].
///
/// # Errors
/// As [`tube`].
pub fn steps(grid: Grid, share: f64, permutation: &[usize]) -> Result<Vec<bool>> {
    let visible = grid.time - part("decoder", share, grid.time)?;
    let steps = hidden_by(permutation, grid.time, visible)?;
    let step = |hidden: bool| std::iter::repeat_n(hidden, grid.per_step());
    Ok(steps.into_iter().flat_map(step).collect())
}

/// The running-cell mask `[time · rows · columns]` (section 3.2): in every cell of 2×2 places
/// `4 · share` are left out, and which ones moves on by one place with every step, from `offset`.
///
/// # Errors
/// [`Error::Config`] for a share that leaves out none or all of the four, or a grid whose rows or
/// columns are odd; [`Error::Input`] for an offset of 4 or more.
pub fn running_cell(grid: Grid, share: f64, offset: usize) -> Result<Vec<bool>> {
    let left_out = cells(share, grid)?;
    if offset >= 4 {
        let rule = "must be below 4, the places of a cell";
        return Err(Error::input("the offset of a running cell", offset, rule));
    }
    let mut mask = Vec::with_capacity(grid.tokens());
    for time in 0..grid.time {
        for row in 0..grid.rows {
            for column in 0..grid.columns {
                let place = 2 * (row % 2) + column % 2;
                mask.push((place + offset + time + 1) % 4 < left_out);
            }
        }
    }
    Ok(mask)
}

/// Places of a running cell that are left out, 1 to 3.
fn cells(share: f64, grid: Grid) -> Result<usize> {
    let left_out = (4.0 * share) as usize;
    if !share.is_finite() || !(1..4).contains(&left_out) {
        let rule = "a running cell leaves out 1, 2 or 3 of 4 places: must be at least 0.25 and \
                    below 1";
        return Err(Error::config(MaskingConfig::NAME, "decoder", share, rule));
    }
    if !grid.rows.is_multiple_of(2) || !grid.columns.is_multiple_of(2) {
        let rule = format!(
            "a running cell needs an even number of rows and columns, not {} x {}",
            grid.rows, grid.columns
        );
        return Err(Error::config(MaskingConfig::NAME, "decoder", share, rule));
    }
    Ok(left_out)
}

/// `count · share`, cut off: what a mask leaves out.
fn part(field: &str, share: f64, count: usize) -> Result<usize> {
    let left_out = (share * count as f64) as usize;
    if !(0.0..1.0).contains(&share) || left_out == 0 || left_out >= count {
        let rule = format!(
            "must be at least 0, below 1, and leave out at least one and not all of {count}"
        );
        return Err(Error::config(MaskingConfig::NAME, field, share, rule));
    }
    Ok(left_out)
}

fn hidden_by(permutation: &[usize], count: usize, visible: usize) -> Result<Vec<bool>> {
    let mut seen = vec![false; count];
    for &at in permutation {
        if let Some(seen) = seen.get_mut(at) {
            *seen = true;
        }
    }
    if permutation.len() != count || seen.contains(&false) {
        let rule = format!("must be one of the numbers below {count}");
        let what = "a permutation";
        return Err(Error::input(what, permutation, rule));
    }
    Ok(permutation.iter().map(|&at| at >= visible).collect())
}

/// The masks of a batch in host memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masks {
    /// Where the encoder does not see, `[batch, tokens]`.
    pub encoder: Vec<bool>,
    /// Where the decoder does not predict, `[batch, tokens]`.
    pub decoder: Vec<bool>,
    /// Cubes of a clip.
    pub tokens: usize,
}

impl Masks {
    /// The masks as indices on a device.
    ///
    /// # Errors
    /// [`Error::Input`] if the masks are not of one length, a multiple of the cubes; if clips differ
    /// in how many cubes are visible or decoded, or none is; or if no decoded cube is invisible, so
    /// that there is no loss.
    pub fn on(&self, device: &Device) -> Result<DualMasking> {
        DualMasking::new(&self.encoder, &self.decoder, self.tokens, device)
    }
}

/// Both masks of a batch, as indices on a device.
#[derive(Clone, Debug)]
pub struct DualMasking {
    /// The cubes that the encoder sees.
    pub visible: Masking,
    /// The cubes that the decoder predicts.
    pub decoded: Masking,
    /// 1 for decoded cubes that the encoder does not see, else 0; `[batch, decoded]`.
    pub invisible: Tensor<2>,
}

impl DualMasking {
    /// As [`Masks::on`], of masks `[batch, tokens]`.
    ///
    /// # Errors
    /// As [`Masks::on`].
    pub fn new(encoder: &[bool], decoder: &[bool], tokens: usize, device: &Device) -> Result<Self> {
        if encoder.len() != decoder.len() || tokens == 0 || !encoder.len().is_multiple_of(tokens) {
            let rule = format!(
                "must be that of the encoder's mask, {}, and a multiple of the {tokens} cubes of a \
                 clip",
                encoder.len()
            );
            let what = "the length of the decoder's mask";
            return Err(Error::input(what, decoder.len(), rule));
        }
        let shape = [encoder.len() / tokens, tokens];
        let visible = Masking::from_hidden(encoder, shape, device)
            .map_err(|error| named("the encoder's mask", error))?;
        let decoded = Masking::from_hidden(decoder, shape, device)
            .map_err(|error| named("the decoder's mask", error))?;
        let counted: Vec<f32> = encoder
            .iter()
            .zip(decoder)
            .filter(|(_, left_out)| !**left_out)
            .map(|(hidden, _)| f32::from(*hidden))
            .collect();
        if !counted.contains(&1.0) {
            let rule = "must be at least 1, or there is no loss";
            let what = "the number of decoded cubes that are invisible to the encoder";
            return Err(Error::input(what, 0, rule));
        }
        let invisible = TensorData::new(counted, [shape[0], decoded.visible()]);
        Ok(Self {
            visible,
            decoded,
            invisible: Tensor::from_data(invisible, device),
        })
    }

    /// `[batch, tokens]`.
    pub fn shape(&self) -> [usize; 2] {
        self.visible.shape()
    }
}

/// The same error with the name of the mask.
fn named(mask: &str, error: Error) -> Error {
    match error {
        Error::Input { what, value, rule } => Error::Input {
            what: format!("{mask}: {what}"),
            value,
            rule,
        },
        other => other,
    }
}
