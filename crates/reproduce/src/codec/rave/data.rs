//! Recordings as one long signal, of which crops are taken.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_audio::folder::VALIDATION;
use menagerie_data_audio::{Channels, FolderConfig, augment, crop, folder, fsdd, split};
use std::path::Path;

/// Sound to train on and sound that is held out, at one rate.
pub(super) struct Speech {
    train: Vec<f32>,
    test: Vec<f32>,
    rate: u32,
}

impl Speech {
    /// The spoken digits, one after the other, split as their distributors do.
    pub fn digits() -> Result<Self> {
        let digits = fsdd()?;
        let (train, test) = digits.split();
        let join = |indices: Vec<usize>| {
            let recordings = indices.into_iter().map(|index| &digits.recordings()[index]);
            recordings
                .flat_map(|recording| recording.samples().iter().copied())
                .collect()
        };
        Ok(Self {
            train: join(train),
            test: join(test),
            rate: fsdd::RATE,
        })
    }

    /// All files of a folder at `rate`; 2 % of them are held out.
    pub fn folder(dir: &Path, rate: u32) -> Result<Self> {
        let config = FolderConfig {
            rate: Some(rate),
            channels: Channels::Mix,
            ..FolderConfig::default()
        };
        let (sounds, _) = folder(dir, &config)?;
        let (train, test) = split(sounds.clips.len(), VALIDATION, Seed(42))?;
        let join = |indices: Vec<usize>| {
            let clips = indices.into_iter().map(|index| &sounds.clips[index]);
            let channels = clips.filter_map(|clip| clip.channels().first());
            channels.flatten().copied().collect()
        };
        Ok(Self {
            train: join(train),
            test: join(test),
            rate,
        })
    }

    #[cfg(test)]
    pub fn from_samples(train: Vec<f32>, test: Vec<f32>, rate: u32) -> Self {
        Self { train, test, rate }
    }

    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Seconds to train on and seconds held out.
    pub fn seconds(&self) -> [f64; 2] {
        [&self.train, &self.test].map(|samples| samples.len() as f64 / f64::from(self.rate))
    }

    /// Random crops `[rows, 1, size]` with the original's augmentation: an all-pass filter, and noise
    /// below the last bit.
    pub fn batch(
        &self,
        rows: usize,
        size: usize,
        seed: Seed,
        device: &Device,
    ) -> Result<Tensor<3>> {
        let mut values = Vec::with_capacity(rows * size);
        for row in 0..rows {
            let seed = seed.at(row as u64);
            let start = crop::draw(self.train.len(), size, seed.stream("start"));
            let mut piece = crop::take(&self.train, start, size);
            let mangle = augment::PhaseMangle::default();
            if let Some(filter) = mangle.draw(self.rate, seed.stream("phase"))? {
                filter.apply(&mut piece);
            }
            let noise = augment::draw_dequantisation(size, seed.stream("bits"));
            augment::dequantise(&mut piece, &noise);
            values.extend(piece);
        }
        let data = TensorData::new(values, [rows, 1, size]);
        Ok(Tensor::from_data(data, device))
    }

    /// The first held-out crops, `[crops, 1, size]`, at most `most`.
    pub fn held_out(&self, most: usize, size: usize, device: &Device) -> Result<Tensor<3>> {
        let crops = (self.test.len() / size).min(most);
        if crops == 0 {
            let rule = format!("must be at least a crop, {size}");
            return Err(Error::input("the held-out samples", self.test.len(), rule));
        }
        let data = TensorData::new(self.test[..crops * size].to_vec(), [crops, 1, size]);
        Ok(Tensor::from_data(data, device))
    }

    /// A few held-out seconds to listen to.
    pub fn sample(&self, seconds: f64) -> &[f32] {
        let most = (seconds * f64::from(self.rate)) as usize;
        &self.test[..most.min(self.test.len())]
    }
}
