//! Reproducible randomness from one number.
//!
//! A run has one [`Seed`]. Each use takes a stream of its own by name, and a numbered use (a
//! training step, an item) takes a sub-stream by number. Because a stream depends on nothing but
//! the seed, the name and the number, the draws of step 1000 are the same whether the run started
//! at step 1 or was resumed at step 999.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The root of all random draws of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of the stream `name`, e.g. `"mask"`.
    pub fn stream(self, name: &str) -> Self {
        // FNV-1a over the name, then mixed with the seed: cheap, stable across releases.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(mix(self.0 ^ mix(hash)))
    }

    /// The seed of the `index`-th draw of this stream.
    pub fn at(self, index: u64) -> Self {
        Self(mix(self.0.wrapping_add(mix(index.wrapping_add(1)))))
    }

    /// A generator that starts at this seed; the same on every machine.
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }
}

impl From<u64> for Seed {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

/// SplitMix64's finaliser: a bijection that spreads every input bit over the output.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_and_steps_are_distinct_and_stable() {
        let seed = Seed(7);
        assert_ne!(seed.stream("mask"), seed.stream("noise"));
        assert_ne!(seed.stream("mask").at(0), seed.stream("mask").at(1));
        assert_ne!(seed.stream("mask").at(0), seed.stream("mask"));
        assert_eq!(seed.stream("mask").at(3), Seed(7).stream("mask").at(3));
        // Pinned: a change here silently changes every published run.
        assert_eq!(
            Seed(0).stream("mask").at(0).rng().next_u64(),
            2_422_562_186_502_935_529
        );
    }
}
