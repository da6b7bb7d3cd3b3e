//! Numbers that tell sets of data apart.

use serde::{Serialize, Serializer};

/// A hash of values: what a run was started with is told from other data of the same size. Not proof
/// against somebody who wants two sets to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// Of floats, by their bits.
    pub(crate) fn of(values: &[f32]) -> Self {
        Self::words(values.iter().map(|value| u64::from(value.to_bits())))
    }

    /// Of labels.
    pub(crate) fn of_labels(labels: &[usize]) -> Self {
        Self::words(labels.iter().map(|label| *label as u64))
    }

    fn words(words: impl Iterator<Item = u64>) -> Self {
        // FNV-1a by words instead of bytes; the shift brings high bits down, which a product never
        // does.
        let hash = words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
            let hash = (hash ^ word).wrapping_mul(0x0100_0000_01b3);
            hash ^ hash >> 29
        });
        Self(hash)
    }
}

impl Serialize for Fingerprint {
    /// As hexadecimal text: JSON's numbers are floats to many readers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:016x}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_a_value_or_of_the_order_shows() {
        let values: Vec<f32> = (0..1_000).map(|at| (at as f32).sin()).collect();
        let whole = Fingerprint::of(&values);
        assert_eq!(whole, Fingerprint::of(&values.clone()));
        assert_ne!(whole, Fingerprint::of(&values[1..]));
        for at in [0, 499, 999] {
            for bit in [0, 15, 31] {
                let mut other = values.clone();
                other[at] = f32::from_bits(other[at].to_bits() ^ 1 << bit);
                assert_ne!(whole, Fingerprint::of(&other), "bit {bit} of value {at}");
            }
        }
        let mut other = values.clone();
        other.swap(3, 700);
        assert_ne!(whole, Fingerprint::of(&other));
        assert_ne!(
            Fingerprint::of_labels(&[0, 1, 2]),
            Fingerprint::of_labels(&[0, 2, 1])
        );
    }
}
