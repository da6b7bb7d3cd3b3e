//! Images without labels, and which of them judge the others' training.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use rand::seq::SliceRandom;

/// A set of images in host memory, values in -1..1.
#[derive(Clone, Debug)]
pub struct Images {
    values: Vec<f32>,
    shape: [usize; 3],
    len: usize,
}

impl Images {
    /// Images `values`, `[n, channels, height, width]` one after the other, in -1..1.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no image, the values are not a whole number of images, or one
    /// lies outside of -1..1.
    pub fn new(values: Vec<f32>, shape: [usize; 3]) -> Result<Self> {
        let [channels, height, width] = shape;
        let size = shape
            .iter()
            .try_fold(1_usize, |size, side| size.checked_mul(*side))
            .filter(|size| *size > 0);
        let len = size
            .filter(|size| values.len().is_multiple_of(*size))
            .map_or(0, |size| values.len() / size);
        if len == 0 {
            let rule =
                format!("must be one or more images of {channels} x {height} x {width} values");
            return Err(Error::input("the number of pixels", values.len(), rule));
        }
        if let Some(value) = values.iter().find(|value| !(-1.0..=1.0).contains(*value)) {
            let rule = "must lie in -1..=1: scale bytes by (v − 127.5) / 127.5";
            return Err(Error::input("a pixel", value, rule));
        }
        Ok(Self { values, shape, len })
    }

    /// Images of bytes, `[n, channels, height, width]` one after the other, as `(v − 127.5) / 127.5`.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no image or the bytes are not a whole number of images.
    pub fn from_bytes(bytes: &[u8], shape: [usize; 3]) -> Result<Self> {
        let scaled = bytes.iter().map(|&byte| (f32::from(byte) - 127.5) / 127.5);
        Self::new(scaled.collect(), shape)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no image; never, as [`new`](Self::new) refuses that.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Channels, height and width of an image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Values of an image.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// All values, `[n, channels · height · width]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values of one image, `[channels, height, width]`.
    pub fn image(&self, index: usize) -> Option<&[f32]> {
        let size = self.size();
        self.values.get(index.checked_mul(size)?..)?.get(..size)
    }

    /// The images `indices` in that order, `[indices, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below [`len`](Self::len).
    pub fn batch(&self, indices: &[usize], device: &Device) -> Result<Tensor<4>> {
        let mut values = Vec::with_capacity(indices.len() * self.size());
        for &index in indices {
            let image = self.image(index).ok_or_else(|| {
                Error::input("an index", index, format!("must be below {}", self.len))
            })?;
            values.extend_from_slice(image);
        }
        let [channels, height, width] = self.shape;
        let data = TensorData::new(values, [indices.len(), channels, height, width]);
        Ok(Tensor::from_data(data, device))
    }
}

/// The images that train and those that judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    /// Indices of the images that train, ascending.
    pub train: Vec<usize>,
    /// Indices of the images that judge, ascending; none if training is not judged.
    pub validation: Vec<usize>,
}

/// Sets a `share` of `len` images aside at random. With `strata`, a label for each image, every label
/// gives its share: the released code stratifies by the true classes, which lets them leak a little.
///
/// # Errors
/// [`Error::Input`] if the share does not leave images on either side (a share of 0 sets none aside),
/// or the strata are not as many as the images.
pub fn draw_division(
    len: usize,
    share: f64,
    strata: Option<&[usize]>,
    seed: Seed,
) -> Result<Division> {
    if let Some(strata) = strata.filter(|strata| strata.len() != len) {
        let rule = format!("must be one for each of the {len} images");
        return Err(Error::input("the number of strata", strata.len(), rule));
    }
    let aside = (share * len as f64).round();
    if !(0.0..1.0).contains(&share) || aside as usize >= len || (share > 0.0 && aside < 1.0) {
        let rule = format!("must leave images of {len} on either side, or be 0");
        return Err(Error::input("the share for validation", share, rule));
    }
    let of = |index: usize| strata.map_or(0, |strata| strata[index]);
    let mut groups = std::collections::BTreeMap::<usize, Vec<usize>>::new();
    for index in 0..len {
        groups.entry(of(index)).or_default().push(index);
    }
    let stream = seed.stream("validation");
    let mut validation = Vec::new();
    let mut before = 0;
    for (number, mut members) in groups.into_values().enumerate() {
        members.shuffle(&mut stream.at(number as u64).rng());
        // Rounded on the running sum, so that the whole has its share however small the groups.
        let due = |count: usize| (share * count as f64).round() as usize;
        let count = due(before + members.len()) - due(before);
        before += members.len();
        validation.extend(members.into_iter().take(count));
    }
    validation.sort_unstable();
    let train = (0..len)
        .filter(|index| validation.binary_search(index).is_err())
        .collect();
    Ok(Division { train, validation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_division_has_its_shares() {
        let strata: Vec<usize> = (0..1_000)
            .map(|index| usize::from(index % 10 == 0))
            .collect();
        let found = draw_division(1_000, 0.1, Some(&strata), Seed(1)).unwrap();
        assert_eq!((found.train.len(), found.validation.len()), (900, 100));
        let odd = found.validation.iter().filter(|&&index| strata[index] == 1);
        assert_eq!(odd.count(), 10);
        let plain = draw_division(1_000, 0.1, None, Seed(1)).unwrap();
        assert_eq!(plain.validation.len(), 100);
        assert_ne!(plain, draw_division(1_000, 0.1, None, Seed(2)).unwrap());
        assert_eq!(plain, draw_division(1_000, 0.1, None, Seed(1)).unwrap());
        let none = draw_division(5, 0.0, None, Seed(1)).unwrap();
        assert_eq!((none.train.len(), none.validation.len()), (5, 0));
        let mut all = [plain.train, plain.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn impossible_sets_are_refused() {
        let refusal = |values: Vec<f32>| Images::new(values, [1, 2, 2]).unwrap_err().to_string();
        assert_eq!(
            refusal(vec![0.0; 7]),
            "the number of pixels is 7: must be one or more images of 1 x 2 x 2 values"
        );
        assert!(refusal(Vec::new()).starts_with("the number of pixels is 0"));
        assert_eq!(
            refusal(vec![0.0, 0.5, -1.0, 127.0]),
            "a pixel is 127.0: must lie in -1..=1: scale bytes by (v − 127.5) / 127.5"
        );
        assert!(refusal(vec![f32::NAN; 4]).starts_with("a pixel is NaN"));
        let images = Images::from_bytes(&[0, 255, 51, 204], [1, 2, 2]).unwrap();
        assert_eq!(images.image(0), Some([-1.0, 1.0, -0.6, 0.6].as_slice()));
        let error = images.batch(&[1], &Device::default()).unwrap_err();
        assert_eq!(error.to_string(), "an index is 1: must be below 1");
        for (share, text) in [
            (
                1.0,
                "the share for validation is 1.0: must leave images of 5",
            ),
            (
                0.01,
                "the share for validation is 0.01: must leave images of 5",
            ),
        ] {
            let error = draw_division(5, share, None, Seed(0)).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
        }
        let error = draw_division(5, 0.2, Some(&[1, 2]), Seed(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of strata is 2: must be one for each of the 5 images"
        );
    }
}
