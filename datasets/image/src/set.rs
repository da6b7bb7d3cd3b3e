use menagerie_core::{Error, Result, Seed};
use rand::seq::SliceRandom;

/// Images of one size in memory, with or without class labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    pixels: Vec<u8>,
    shape: [usize; 3],
    len: usize,
    labels: Vec<usize>,
    class_names: Vec<String>,
}

impl ImageSet {
    /// A set from `pixels` `[n, channels, height, width]`, where `image_shape` is `[channels,
    /// height, width]`; `labels` holds one class per image, or nothing.
    ///
    /// # Errors
    /// [`Error::Input`] where the image shape has a 0, the pixels are not a whole number of images,
    /// or the labels do not match the images or the classes.
    pub fn new(
        pixels: Vec<u8>,
        image_shape: [usize; 3],
        labels: Vec<usize>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        let size = image_shape
            .iter()
            .try_fold(1_usize, |size, side| size.checked_mul(*side))
            .filter(|size| *size > 0)
            .ok_or_else(|| {
                Error::input(
                    "image shape",
                    image_shape,
                    "no side may be 0 or beyond memory",
                )
            })?;
        if !pixels.len().is_multiple_of(size) {
            let rule = format!("must be a multiple of {size} for images of shape {image_shape:?}");
            return Err(Error::input("the number of pixels", pixels.len(), rule));
        }
        let set = Self {
            len: pixels.len() / size,
            pixels,
            shape: image_shape,
            labels: Vec::new(),
            class_names: Vec::new(),
        };
        set.with_labels(labels, class_names)
    }

    /// The same images with these labels; no labels and no class names make the set unlabelled.
    ///
    /// # Errors
    /// [`Error::Input`] where the labels do not match the images or the classes.
    pub fn with_labels(mut self, labels: Vec<usize>, class_names: Vec<String>) -> Result<Self> {
        if labels.len() != self.len && !(labels.is_empty() && class_names.is_empty()) {
            let rule = format!("must be one for each of the {} images", self.len);
            return Err(Error::input("the number of labels", labels.len(), rule));
        }
        if let Some(label) = labels.iter().find(|label| **label >= class_names.len()) {
            let rule = format!("must be below the number of classes, {}", class_names.len());
            return Err(Error::input("a label", label, rule));
        }
        (self.labels, self.class_names) = (labels, class_names);
        Ok(self)
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `[channels, height, width]`.
    pub fn image_shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Channels per image: 1 for grey, 3 for red, green and blue.
    pub fn channels(&self) -> usize {
        self.shape[0]
    }

    /// Rows per image.
    pub fn height(&self) -> usize {
        self.shape[1]
    }

    /// Columns per image.
    pub fn width(&self) -> usize {
        self.shape[2]
    }

    /// All pixels, `[len, channels, height, width]` in row-major order.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels of the image `index`, `[channels, height, width]`, or `None` past the end.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        let size = self.image_size();
        self.pixels
            .get(index.checked_mul(size)?..index.checked_add(1)?.checked_mul(size)?)
    }

    /// The class of every image; empty where the set is unlabelled.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The name of every class; empty where the set is unlabelled.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The images `indices` as values in 0..=1, `[indices, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below [`len`](Self::len).
    pub fn to_f32(&self, indices: impl IntoIterator<Item = usize>) -> Result<Vec<f32>> {
        let indices = indices.into_iter();
        let mut values =
            Vec::with_capacity(indices.size_hint().0.min(self.len) * self.image_size());
        for index in indices {
            let image = self.image(index).ok_or_else(|| self.beyond(index))?;
            values.extend(image.iter().map(|&pixel| f32::from(pixel) / 255.0));
        }
        Ok(values)
    }

    /// The images `indices` in that order, with their labels.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below [`len`](Self::len).
    pub fn subset(&self, indices: impl IntoIterator<Item = usize>) -> Result<Self> {
        let indices: Vec<usize> = indices.into_iter().collect();
        let mut pixels = Vec::with_capacity(indices.len().saturating_mul(self.image_size()));
        for &index in &indices {
            pixels.extend_from_slice(self.image(index).ok_or_else(|| self.beyond(index))?);
        }
        let labels = indices
            .iter()
            .filter_map(|&index| self.labels.get(index).copied())
            .collect();
        Self::new(pixels, self.shape, labels, self.class_names.clone())
    }

    /// A random subset of `count` images in which every class keeps its share (to the nearest
    /// image), in the order of this set; the same for the same seed.
    ///
    /// # Errors
    /// As [`stratified_indices`](Self::stratified_indices).
    pub fn stratified(&self, count: usize, seed: Seed) -> Result<Self> {
        self.subset(self.stratified_indices(count, seed)?)
    }

    /// The indices of [`stratified`](Self::stratified), ascending.
    ///
    /// # Errors
    /// [`Error::Input`] where the set is unlabelled or `count` exceeds its size.
    pub fn stratified_indices(&self, count: usize, seed: Seed) -> Result<Vec<usize>> {
        if count > self.len {
            let rule = format!("must be at most the number of images, {}", self.len);
            return Err(Error::input("the size of a subset", count, rule));
        }
        if self.labels.len() < self.len {
            let rule = "a stratified subset needs one for each image";
            return Err(Error::input(
                "the number of labels",
                self.labels.len(),
                rule,
            ));
        }
        let mut classes = vec![Vec::new(); self.class_names.len()];
        for (index, &label) in self.labels.iter().enumerate() {
            classes[label].push(index);
        }
        let sizes: Vec<usize> = classes.iter().map(Vec::len).collect();
        let quotas = shares(&sizes, count);
        let stream = seed.stream("stratified");
        let mut chosen = Vec::with_capacity(count);
        for (class, (mut members, quota)) in classes.into_iter().zip(quotas).enumerate() {
            members.shuffle(&mut stream.at(class as u64).rng());
            chosen.extend(members.into_iter().take(quota));
        }
        chosen.sort_unstable();
        Ok(chosen)
    }

    /// The first `count` images and the rest.
    ///
    /// # Errors
    /// [`Error::Input`] where `count` exceeds the number of images.
    pub fn split_at(&self, count: usize) -> Result<(Self, Self)> {
        if count > self.len {
            let rule = format!("must be at most the number of images, {}", self.len);
            return Err(Error::input("the size of a split", count, rule));
        }
        Ok((self.subset(0..count)?, self.subset(count..self.len)?))
    }

    fn image_size(&self) -> usize {
        self.shape.iter().product()
    }

    fn beyond(&self, index: usize) -> Error {
        Error::input("image index", index, format!("must be below {}", self.len))
    }
}

/// `count` in proportion to `sizes` by the largest remainders, the first of equals winning.
fn shares(sizes: &[usize], count: usize) -> Vec<usize> {
    let total = sizes.iter().sum::<usize>().max(1) as u128;
    let exact = |size: usize| size as u128 * count as u128;
    let mut quotas: Vec<usize> = sizes
        .iter()
        .map(|&size| (exact(size) / total) as usize)
        .collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&class| std::cmp::Reverse(exact(sizes[class]) % total));
    let rest = count.saturating_sub(quotas.iter().sum());
    for class in order.into_iter().take(rest) {
        quotas[class] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn shares_add_up_and_follow_the_largest_remainders() {
        assert_eq!(shares(&[5, 3, 2], 5), [3, 1, 1]);
        assert_eq!(shares(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(shares(&[7, 0, 3], 10), [7, 0, 3]);
        assert!(shares(&[], 0).is_empty());
    }
}
