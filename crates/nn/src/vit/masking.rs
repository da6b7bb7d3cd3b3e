//! Which tokens stay and which are hidden.

use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// How many of `tokens` stay at a mask `ratio`: `tokens · (1 − ratio)` in double precision, cut off.
pub fn len_keep(tokens: usize, ratio: f64) -> usize {
    (tokens as f64 * (1.0 - ratio)) as usize
}

/// Uniform noise in [0, 1) for a batch of `[batch, tokens]`, row-major.
pub fn draw_noise([batch, tokens]: [usize; 2], seed: Seed) -> Vec<f32> {
    let mut rng = seed.rng();
    (0..batch * tokens).map(|_| rng.random()).collect()
}

/// Which end of the sorted noise stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The tokens with the least noise.
    Ascending,
    /// The tokens with the most.
    Descending,
}

/// The tokens of a batch divided into visible and hidden ones, as many of each in every sample.
#[derive(Clone, Debug)]
pub struct Masking {
    /// The visible tokens in the order in which they are encoded, `[batch, visible]`.
    pub ids_keep: Tensor<2, Int>,
    /// Where each token lies in the order "visible ones, then hidden ones", `[batch, tokens]`.
    pub ids_restore: Tensor<2, Int>,
    /// 0 for visible and 1 for hidden tokens, `[batch, tokens]`.
    pub mask: Tensor<2>,
    shape: [usize; 2],
    visible: usize,
    /// The visible tokens as rows of `[batch · tokens]`.
    rows: Tensor<1, Int>,
    restore: Vec<u32>,
}

impl Masking {
    /// Keeps the first `keep` tokens of each sample in the order of its noise; `noise` is `[batch,
    /// tokens]`, row-major. Equal noise stays in the order of the tokens.
    ///
    /// # Errors
    /// [`Error::Input`] if the noise is not of that size, or `keep` not between 1 and `tokens`.
    pub fn from_noise(
        noise: &[f32],
        [batch, tokens]: [usize; 2],
        keep: usize,
        order: Order,
        device: &Device,
    ) -> Result<Self> {
        if batch == 0 || tokens == 0 || Some(noise.len()) != batch.checked_mul(tokens) {
            let rule = format!("must be one for each of {batch} x {tokens} tokens, and not 0");
            return Err(Error::input("the number of draws", noise.len(), rule));
        }
        let shuffles = noise.chunks(tokens).map(|noise| {
            let mut shuffle: Vec<u32> = (0..tokens as u32).collect();
            let at = |token: &u32| noise[*token as usize];
            match order {
                Order::Ascending => shuffle.sort_by(|a, b| at(a).total_cmp(&at(b))),
                Order::Descending => shuffle.sort_by(|a, b| at(b).total_cmp(&at(a))),
            }
            shuffle
        });
        Self::from_shuffles(shuffles.flatten().collect(), [batch, tokens], keep, device)
    }

    /// Keeps the tokens that are not `hidden`, in their order; `hidden` is `[batch, tokens]`,
    /// row-major.
    ///
    /// # Errors
    /// [`Error::Input`] if the mask is not of that size, or hides all tokens of a sample or more in
    /// one than in another.
    pub fn from_hidden(
        hidden: &[bool],
        [batch, tokens]: [usize; 2],
        device: &Device,
    ) -> Result<Self> {
        if batch == 0 || tokens == 0 || Some(hidden.len()) != batch.checked_mul(tokens) {
            let rule = format!("must be {batch} x {tokens}, and not 0");
            return Err(Error::input("the length of the mask", hidden.len(), rule));
        }
        let visible = |row: &[bool]| row.iter().filter(|hidden| !**hidden).count();
        let keep = visible(&hidden[..tokens]);
        if let Some(row) = hidden.chunks(tokens).find(|row| visible(row) != keep) {
            let rule = format!("must be {keep}, as in the first sample");
            return Err(Error::input(
                "the number of visible tokens",
                visible(row),
                rule,
            ));
        }
        let shuffles = hidden.chunks(tokens).flat_map(|row| {
            let all = 0..tokens as u32;
            let (hidden, visible): (Vec<u32>, Vec<u32>) =
                all.partition(|token| row[*token as usize]);
            visible.into_iter().chain(hidden)
        });
        Self::from_shuffles(shuffles.collect(), [batch, tokens], keep, device)
    }

    /// `shuffles` holds a permutation of the tokens for each sample.
    fn from_shuffles(
        shuffles: Vec<u32>,
        [batch, tokens]: [usize; 2],
        visible: usize,
        device: &Device,
    ) -> Result<Self> {
        if visible == 0 || visible > tokens {
            let rule = format!("must be between 1 and the number of tokens, {tokens}");
            return Err(Error::input("the number of visible tokens", visible, rule));
        }
        let mut restore = vec![0u32; batch * tokens];
        for (sample, shuffle) in shuffles.chunks(tokens).enumerate() {
            for (place, token) in shuffle.iter().enumerate() {
                restore[sample * tokens + *token as usize] = place as u32;
            }
        }
        let kept = || {
            let samples = shuffles.chunks(tokens).enumerate();
            samples.flat_map(|(sample, shuffle)| {
                let kept = shuffle[..visible].iter();
                kept.map(move |token| (sample, i64::from(*token)))
            })
        };
        let ids_keep: Vec<i64> = kept().map(|(_, token)| token).collect();
        let rows: Vec<i64> = kept()
            .map(|(sample, token)| (sample * tokens) as i64 + token)
            .collect();
        let mask: Vec<f32> = restore
            .iter()
            .map(|place| f32::from(*place as usize >= visible))
            .collect();
        let ids_restore: Vec<i64> = restore.iter().map(|place| i64::from(*place)).collect();
        Ok(Self {
            ids_keep: Tensor::from_data(TensorData::new(ids_keep, [batch, visible]), device),
            ids_restore: Tensor::from_data(TensorData::new(ids_restore, [batch, tokens]), device),
            mask: Tensor::from_data(TensorData::new(mask, [batch, tokens]), device),
            shape: [batch, tokens],
            visible,
            rows: Tensor::from_data(rows.as_slice(), device),
            restore,
        })
    }

    /// `[batch, tokens]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Visible tokens per sample.
    pub fn visible(&self) -> usize {
        self.visible
    }

    /// Hidden tokens per sample.
    pub fn hidden(&self) -> usize {
        self.shape[1] - self.visible
    }

    /// The visible ones of tokens `[batch, tokens, dim]`: `[batch, visible, dim]`.
    ///
    /// # Panics
    /// If batch or tokens are others.
    pub fn gather(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [batch, count, dim] = tokens.dims();
        assert_eq!([batch, count], self.shape, "gather: batch and tokens");
        tokens
            .reshape([batch * count, dim])
            .select(0, self.rows.clone())
            .reshape([batch, self.visible, dim])
    }

    /// The visible ones of a table `[tokens, dim]`, for each sample: `[batch, visible, dim]`.
    ///
    /// # Panics
    /// If the tokens are others.
    pub fn gather_table(&self, table: Tensor<2>) -> Tensor<3> {
        let [batch, tokens] = self.shape;
        let [count, dim] = table.dims();
        assert_eq!(count, tokens, "gather: rows of the table");
        table
            .select(0, self.ids_keep.clone().reshape([batch * self.visible]))
            .reshape([batch, self.visible, dim])
    }

    /// Encoded tokens `[batch, prefix + visible, dim]` in the order of the image, with `mask_token`
    /// `[dim]` in the place of hidden ones: `[batch, prefix + tokens, dim]`. The first `prefix`
    /// tokens, such as a class token, stay first.
    ///
    /// # Panics
    /// If the sizes do not fit each other.
    pub fn restore(&self, encoded: Tensor<3>, mask_token: Tensor<1>, prefix: usize) -> Tensor<3> {
        let [batch, tokens] = self.shape;
        let [_, count, dim] = encoded.dims();
        assert_eq!(
            [encoded.dims()[0], count],
            [batch, prefix + self.visible],
            "restore: batch and tokens"
        );
        // One row for all hidden tokens; each place picks its row.
        let hidden = (batch * count) as i64;
        let rows: Vec<i64> = self
            .restore
            .chunks(tokens)
            .enumerate()
            .flat_map(|(sample, places)| {
                let first = (sample * count) as i64;
                let kept = places.iter().map(move |place| match *place as usize {
                    place if place < self.visible => first + (prefix + place) as i64,
                    _ => hidden,
                });
                (first..first + prefix as i64).chain(kept)
            })
            .collect();
        let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &self.rows.device());
        Tensor::cat(
            vec![
                encoded.reshape([batch * count, dim]),
                mask_token.unsqueeze(),
            ],
            0,
        )
        .select(0, rows)
        .reshape([batch, prefix + tokens, dim])
    }
}
