use menagerie_core::{Error, Result};

/// Sound: one or more channels of samples, as a rule in `-1..=1`, at `rate` samples per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    channels: Vec<Vec<f32>>,
    rate: u32,
}

/// What becomes of several channels where one is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// They all stay.
    Keep,
    /// Their mean.
    #[default]
    Mix,
    /// This one, the left being 0.
    Only(usize),
}

/// The highest rate; filters between rates far above it would not fit the memory.
const MAX_RATE: u32 = 1_000_000;

/// Whether there is sound at that rate.
pub(crate) fn check_rate(rate: u32) -> Result<()> {
    if (1..=MAX_RATE).contains(&rate) {
        return Ok(());
    }
    let rule = format!("must be above 0 and at most {MAX_RATE}");
    Err(Error::input("the sample rate", rate, rule))
}

impl Clip {
    /// Channels of equal length, left first.
    ///
    /// # Errors
    /// [`Error::Input`] for no channels or samples, channels of unequal length, a rate of zero or above
    /// a million, or a sample that is not finite.
    pub fn new(channels: Vec<Vec<f32>>, rate: u32) -> Result<Self> {
        check_rate(rate)?;
        let len = channels.first().map_or(0, Vec::len);
        if len == 0 {
            return Err(Error::input(
                "the number of samples",
                0,
                "must be at least 1",
            ));
        }
        if let Some(other) = channels.iter().find(|channel| channel.len() != len) {
            let rule = format!("must be {len}, that of the first channel");
            return Err(Error::input("the length of a channel", other.len(), rule));
        }
        for (index, channel) in channels.iter().enumerate() {
            if let Some(at) = channel.iter().position(|sample| !sample.is_finite()) {
                let what = format!("sample {at} of channel {index}");
                return Err(Error::input(what, channel[at], "must be finite"));
            }
        }
        Ok(Self { channels, rate })
    }

    /// One channel.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn mono(samples: Vec<f32>, rate: u32) -> Result<Self> {
        Self::new(vec![samples], rate)
    }

    /// The channels, left first.
    pub fn channels(&self) -> &[Vec<f32>] {
        &self.channels
    }

    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples of a channel.
    pub fn len(&self) -> usize {
        self.channels[0].len()
    }

    /// Whether there are no samples; never, as [`new`](Self::new) refuses that.
    pub fn is_empty(&self) -> bool {
        self.channels[0].is_empty()
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.len() as f64 / f64::from(self.rate)
    }

    /// The clip with the channels that `rule` leaves.
    ///
    /// # Errors
    /// [`Error::Input`] for a channel that does not exist.
    pub fn select(mut self, rule: Channels) -> Result<Self> {
        match rule {
            Channels::Keep => (),
            Channels::Only(index) if index < self.channels.len() => {
                self.channels = vec![self.channels.swap_remove(index)];
            }
            Channels::Only(index) => {
                let rule = format!("must be below {}", self.channels.len());
                return Err(Error::input("a channel", index, rule));
            }
            Channels::Mix if self.channels.len() == 1 => (),
            Channels::Mix => {
                let share = 1.0 / self.channels.len() as f32;
                let mean = |at: usize| {
                    let sum: f32 = self.channels.iter().map(|channel| channel[at]).sum();
                    sum * share
                };
                self.channels = vec![(0..self.len()).map(mean).collect()];
            }
        }
        Ok(self)
    }

    /// The samples of a clip with one channel.
    ///
    /// # Errors
    /// [`Error::Input`] for a clip with several.
    pub fn into_mono(mut self) -> Result<Vec<f32>> {
        let count = self.channels.len();
        match self.channels.pop() {
            Some(samples) if count == 1 => Ok(samples),
            _ => {
                let rule = "must be 1: mix them or choose one first";
                Err(Error::input("the number of channels", count, rule))
            }
        }
    }
}
