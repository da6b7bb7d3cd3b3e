//! The Free Spoken Digit Dataset: the digits 0 to 9, said by six speakers, at 8 kHz.

use crate::wav;
use menagerie_core::{Error, Result};
use std::path::Path;

/// Samples per second.
pub const RATE: u32 = 8_000;

/// Takes of every digit and speaker that are held out, by the distributors' rule.
const TEST: usize = 5;

/// One spoken digit.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    digit: u8,
    speaker: usize,
    take: usize,
    samples: Vec<f32>,
}

impl Recording {
    /// The digit that is said.
    pub fn digit(&self) -> u8 {
        self.digit
    }

    /// Who says it, an index of [`Fsdd::speakers`].
    pub fn speaker(&self) -> usize {
        self.speaker
    }

    /// Which of the speaker's recordings of the digit it is.
    pub fn take(&self) -> usize {
        self.take
    }

    /// The sound at [`RATE`].
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }
}

/// Recordings, ordered by digit, speaker and take.
#[derive(Clone, Debug, PartialEq)]
pub struct Fsdd {
    recordings: Vec<Recording>,
    speakers: Vec<String>,
}

impl Fsdd {
    /// Reads the files `{digit}_{speaker}_{take}.wav` in `dir`.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder or a file cannot be read; [`Error::Format`] with the path for a
    /// name or a file that is not as the data set has them, and for a folder without any.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut named = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
            let path = entry.map_err(Error::io("read", dir))?.path();
            if path.extension().is_none_or(|extension| extension != "wav") {
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let Some((digit, speaker, take)) = parse(&stem) else {
                let problem = "is not named {digit}_{speaker}_{take}.wav";
                return Err(Error::format(&path, problem));
            };
            named.push((digit, speaker.to_owned(), take, path));
        }
        if named.is_empty() {
            return Err(Error::format(dir, "holds no recording"));
        }
        named.sort();
        let mut speakers: Vec<String> = named.iter().map(|entry| entry.1.clone()).collect();
        speakers.sort();
        speakers.dedup();
        let mut recordings = Vec::with_capacity(named.len());
        for (digit, speaker, take, path) in named {
            let clip = wav::read(&path)?;
            if clip.rate() != RATE {
                let problem = format!("has {} samples per second, not {RATE}", clip.rate());
                return Err(Error::format(&path, problem));
            }
            let samples = clip
                .into_mono()
                .map_err(|error| Error::format(&path, error.to_string()))?;
            recordings.push(Recording {
                digit,
                speaker: speakers.iter().position(|s| *s == speaker).unwrap_or(0),
                take,
                samples,
            });
        }
        Ok(Self {
            recordings,
            speakers,
        })
    }

    /// All recordings.
    pub fn recordings(&self) -> &[Recording] {
        &self.recordings
    }

    /// The speakers' names, in alphabetical order.
    pub fn speakers(&self) -> &[String] {
        &self.speakers
    }

    /// Indices of the training and of the test recordings: takes 0 to 4 are the test.
    pub fn split(&self) -> (Vec<usize>, Vec<usize>) {
        (0..self.recordings.len()).partition(|&index| self.recordings[index].take >= TEST)
    }
}

/// Digit, speaker and take.
fn parse(stem: &str) -> Option<(u8, &str, usize)> {
    let (digit, rest) = stem.split_once('_')?;
    let (speaker, take) = rest.rsplit_once('_')?;
    let digit = digit.parse().ok().filter(|&digit| digit <= 9)?;
    (!speaker.is_empty()).then_some((digit, speaker, take.parse().ok()?))
}

/// The data set `fsdd`: takes 0 to 24 of every digit and speaker, 1 500 recordings.
///
/// # Errors
/// As [`menagerie_data::find`] and [`Fsdd::read`].
pub fn fsdd() -> Result<Fsdd> {
    Fsdd::read(&menagerie_data::find("fsdd")?.join("recordings"))
}
