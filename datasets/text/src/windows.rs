use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// The first part of `tokens` for training and the last `validation` share (above 0, below 1) for
/// validation, each contiguous, so that no window of the one touches the other.
///
/// # Errors
/// [`Error::Input`] for a share outside of its range, or if a part would be empty.
pub fn split(tokens: &[u32], validation: f64) -> Result<(Vec<u32>, Vec<u32>)> {
    if !(validation > 0.0 && validation < 1.0) {
        return Err(Error::input(
            "the validation share",
            validation,
            "must be above 0 and below 1",
        ));
    }
    let train = (tokens.len() as f64 * (1.0 - validation)) as usize;
    if train == 0 || train == tokens.len() {
        return Err(Error::input(
            "the number of tokens to split",
            tokens.len(),
            "leaves a part without any",
        ));
    }
    let (train, validation) = tokens.split_at(train);
    Ok((train.to_vec(), validation.to_vec()))
}

/// Windows of one length out of a stream of tokens, each with the tokens that follow its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    tokens: Vec<u32>,
    length: usize,
}

/// Inputs and targets, both `[rows, length]`, row after row; a target is the token after its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The tokens that a model reads.
    pub inputs: Vec<i64>,
    /// The tokens that it should predict.
    pub targets: Vec<i64>,
    /// The number of windows.
    pub rows: usize,
    /// Tokens per window.
    pub length: usize,
}

impl Windows {
    /// Windows of `length` inputs over `tokens`.
    ///
    /// # Errors
    /// [`Error::Input`] if `length` is 0 or there are not `length + 1` tokens.
    pub fn new(tokens: Vec<u32>, length: usize) -> Result<Self> {
        if length == 0 {
            return Err(Error::input(
                "the length of a window",
                0,
                "must be at least 1",
            ));
        }
        if tokens.len() <= length {
            return Err(Error::input(
                "the number of tokens",
                tokens.len(),
                format!("must be above {length}: a window and the token after it"),
            ));
        }
        Ok(Self { tokens, length })
    }

    /// The tokens, from which the windows are cut.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens per window.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The number of places where a window can start.
    pub fn starts(&self) -> usize {
        self.tokens.len() - self.length
    }

    /// The number of windows that do not overlap, laid from the first token on.
    pub fn sequential_len(&self) -> usize {
        (self.tokens.len() - 1) / self.length
    }

    /// `rows` windows that start anywhere, drawn with replacement. The seed decides them: give every
    /// step its own sub-stream.
    pub fn random(&self, rows: usize, seed: Seed) -> Batch {
        let mut rng = seed.rng();
        let starts: Vec<usize> = (0..rows)
            .map(|_| rng.random_range(0..self.starts()))
            .collect();
        self.cut(&starts)
    }

    /// The windows `first..first + rows` of those that do not overlap.
    ///
    /// # Errors
    /// [`Error::Input`] if they end after [`sequential_len`](Self::sequential_len).
    pub fn sequential(&self, first: usize, rows: usize) -> Result<Batch> {
        let end = first.saturating_add(rows);
        if end > self.sequential_len() {
            return Err(Error::input(
                "the end of the windows",
                end,
                format!("must be at most {}", self.sequential_len()),
            ));
        }
        let starts: Vec<usize> = (first..end).map(|window| window * self.length).collect();
        Ok(self.cut(&starts))
    }

    /// The windows that start at `starts`.
    ///
    /// # Errors
    /// [`Error::Input`] for a start that is not below [`starts`](Self::starts).
    pub fn at(&self, starts: &[usize]) -> Result<Batch> {
        match starts.iter().find(|&&start| start >= self.starts()) {
            None => Ok(self.cut(starts)),
            Some(start) => Err(Error::input(
                "the start of a window",
                start,
                format!("must be below {}", self.starts()),
            )),
        }
    }

    /// Starts must be below [`starts`](Self::starts).
    fn cut(&self, starts: &[usize]) -> Batch {
        let gather = |offset: usize| {
            let mut out = Vec::with_capacity(starts.len() * self.length);
            for start in starts {
                let window = &self.tokens[start + offset..start + offset + self.length];
                out.extend(window.iter().map(|&token| i64::from(token)));
            }
            out
        };
        Batch {
            inputs: gather(0),
            targets: gather(1),
            rows: starts.len(),
            length: self.length,
        }
    }
}
