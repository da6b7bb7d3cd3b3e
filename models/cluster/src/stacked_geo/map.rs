//! Maps of classes: cleaning, colours, files.

use menagerie_core::{Error, Result};
use menagerie_data_image::geotiff::{GeoTags, write_classes, write_map};
use rayon::prelude::*;
use std::{collections::BTreeMap, path::Path};

/// Stands for a pixel without a class.
pub const NO_CLASS: u8 = u8::MAX;

/// Colours that are told apart at a glance, also by most colour-blind readers; beyond them hues follow
/// each other by the golden ratio.
const COLOURS: [[u8; 3]; 10] = [
    [0x44, 0x77, 0xaa],
    [0xee, 0x66, 0x77],
    [0x22, 0x88, 0x33],
    [0xcc, 0xbb, 0x44],
    [0x66, 0xcc, 0xee],
    [0xaa, 0x33, 0x77],
    [0xbb, 0xbb, 0xbb],
    [0x88, 0x22, 0x55],
    [0xdd, 0xaa, 0x77],
    [0x33, 0x22, 0x88],
];

/// The class of every pixel of a scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassMap {
    classes: Vec<u8>,
    size: [usize; 2],
}

impl ClassMap {
    /// A map of `[height, width]` pixels, row by row; [`NO_CLASS`] stands for those without a class.
    ///
    /// # Errors
    /// [`Error::Input`] if the classes are not of that many pixels.
    pub fn new(classes: Vec<u8>, [height, width]: [usize; 2]) -> Result<Self> {
        if classes.is_empty() || height.checked_mul(width) != Some(classes.len()) {
            let rule = format!("must be one for each of {height} x {width} pixels, and not 0");
            return Err(Error::input("the number of classes", classes.len(), rule));
        }
        Ok(Self {
            classes,
            size: [height, width],
        })
    }

    /// The classes, `[height · width]`.
    pub fn classes(&self) -> &[u8] {
        &self.classes
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// How many pixels each class has, up to the last that has any.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; usize::from(NO_CLASS)];
        for &class in self.classes.iter().filter(|class| **class != NO_CLASS) {
            counts[usize::from(class)] += 1;
        }
        let used = counts.iter().rposition(|count| *count > 0);
        counts.truncate(used.map_or(0, |last| last + 1));
        counts
    }

    /// The most frequent class in a square window of `window` pixels around each pixel, of equals the
    /// smallest. Beyond its borders the map is mirrored, the pixel at the edge included (`cba|abc|cba`).
    /// Pixels without a class keep none, and do not count.
    ///
    /// # Errors
    /// [`Error::Input`] if the window is even or 0.
    pub fn majority(&self, window: usize) -> Result<Self> {
        if window.is_multiple_of(2) {
            let rule = "must be odd, so that it has a middle";
            return Err(Error::input("the window", window, rule));
        }
        let [height, width] = self.size;
        let reach = window / 2;
        let bins = self.counts().len().max(1);
        let columns: Vec<usize> = (0..width + 2 * reach)
            .map(|at| mirrored(at, reach, width))
            .collect();
        let mut classes = vec![NO_CLASS; self.classes.len()];
        classes
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(row, out)| {
                let rows: Vec<&[u8]> = (row..row + window)
                    .map(|at| &self.classes[mirrored(at, reach, height) * width..][..width])
                    .collect();
                let mut counts = vec![0_u32; bins];
                // Of the columns of the window that have been seen, added or taken away.
                let shift = |counts: &mut [u32], column: usize, add: bool| {
                    for row in &rows {
                        let class = row[columns[column]];
                        if let Some(count) = counts.get_mut(usize::from(class)) {
                            *count = if add { *count + 1 } else { *count - 1 };
                        }
                    }
                };
                for column in 0..window - 1 {
                    shift(&mut counts, column, true);
                }
                for (column, out) in out.iter_mut().enumerate() {
                    shift(&mut counts, column + window - 1, true);
                    if self.classes[row * width + column] != NO_CLASS {
                        let mut best = 0;
                        for (class, &count) in counts.iter().enumerate() {
                            if count > counts[best] {
                                best = class;
                            }
                        }
                        *out = best as u8;
                    }
                    shift(&mut counts, column, false);
                }
            });
        Ok(Self {
            classes,
            size: self.size,
        })
    }

    /// The map with its classes renamed, e.g. to the units of a reference that they are matched with.
    ///
    /// Classes without an entry, such as clusters that no unit is left for, get numbers of their own, in
    /// their order: those after the largest name and after the last of the `units` of the reference. So
    /// no pixel of theirs is taken for one of a unit.
    ///
    /// # Errors
    /// [`Error::Input`] if a number is too large for a class.
    pub fn renamed(&self, names: &BTreeMap<usize, usize>, units: usize) -> Result<Self> {
        let mut fresh = names.values().map(|name| name + 1).fold(units, usize::max);
        let counts = self.counts();
        let mut table = vec![NO_CLASS; counts.len()];
        for (class, (new, count)) in table.iter_mut().zip(counts).enumerate() {
            if count == 0 {
                continue;
            }
            let name = names.get(&class).copied().unwrap_or_else(|| {
                fresh += 1;
                fresh - 1
            });
            if name >= usize::from(NO_CLASS) {
                let rule = format!("must be below {NO_CLASS}, for a byte per pixel");
                return Err(Error::input("the number of a class", name, rule));
            }
            *new = name as u8;
        }
        let name = |class: &u8| table.get(usize::from(*class)).copied().unwrap_or(NO_CLASS);
        Ok(Self {
            classes: self.classes.iter().map(name).collect(),
            size: self.size,
        })
    }

    /// Writes the map as a GeoTIFF with the tags of a scene, [`NO_CLASS`] as its nodata value.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path, geo: &GeoTags) -> Result<()> {
        let colours = palette(self.counts().len());
        write_classes(path, &self.classes, self.size, geo, NO_CLASS, &colours)
    }

    /// Writes the map as a coloured PNG; pixels without a class are transparent.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        write_map(
            path,
            &self.classes,
            self.size,
            &palette(self.counts().len()),
        )
    }

    /// The map as red, green and blue in 0..1, `[3, height, width]`; pixels without a class are black.
    pub fn colours(&self) -> Vec<f32> {
        let colours = palette(self.counts().len());
        let channel = |channel: usize| {
            let colours = &colours;
            self.classes.iter().map(move |&class| {
                let colour = colours.get(usize::from(class));
                colour.map_or(0.0, |colour| f32::from(colour[channel]) / 255.0)
            })
        };
        (0..3).flat_map(channel).collect()
    }
}

/// A colour for each of `classes` classes.
pub fn palette(classes: usize) -> Vec<[u8; 3]> {
    let further = |at: usize| {
        let hue = 6.0 * (at as f64 * 0.618_033_988_749_895).fract();
        let channel = |shift: f64| {
            let place = (hue + shift) % 6.0;
            let strength = 1.0 - 0.75 * (place.min(4.0 - place)).clamp(0.0, 1.0);
            (255.0 * strength) as u8
        };
        [channel(5.0), channel(3.0), channel(1.0)]
    };
    (0..classes)
        .map(|at| COLOURS.get(at).copied().unwrap_or_else(|| further(at)))
        .collect()
}

/// Where place `at`, counted from `reach` before the first, lies in a line of `len` that is mirrored
/// at its ends, the ends included.
fn mirrored(at: usize, reach: usize, len: usize) -> usize {
    // Any number of mirrors for windows larger than the map.
    let period = 2 * len as i64;
    let place = (at as i64 - reach as i64).rem_euclid(period);
    place.min(period - 1 - place) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_include_the_edge() {
        let line: Vec<usize> = (0..10).map(|at| mirrored(at, 3, 4)).collect();
        assert_eq!(line, [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]);
        let short: Vec<usize> = (0..7).map(|at| mirrored(at, 3, 1)).collect();
        assert_eq!(short, [0; 7]);
    }

    /// The filter by its definition.
    fn slow(map: &ClassMap, window: usize) -> Vec<u8> {
        let [height, width] = map.size;
        let reach = window / 2;
        let at = |row: usize, column: usize| {
            let mut counts = [0; 256];
            for down in 0..window {
                for right in 0..window {
                    let y = mirrored(row + down, reach, height);
                    let x = mirrored(column + right, reach, width);
                    counts[usize::from(map.classes[y * width + x])] += 1;
                }
            }
            counts[usize::from(NO_CLASS)] = 0;
            let most = counts.iter().max().copied().unwrap_or_default();
            counts.iter().position(|count| *count == most).unwrap() as u8
        };
        (0..height * width)
            .map(|index| match map.classes[index] {
                NO_CLASS => NO_CLASS,
                _ => at(index / width, index % width),
            })
            .collect()
    }

    #[test]
    fn the_majority_is_that_of_the_definition() {
        let class = |at: u32| match at.wrapping_mul(2_654_435_761) >> 27 {
            0 | 1 => NO_CLASS,
            other => (other % 5) as u8,
        };
        for [height, width] in [[20, 24], [3, 50], [1, 1], [9, 2]] {
            let classes: Vec<u8> = (0..(height * width) as u32).map(class).collect();
            let map = ClassMap::new(classes, [height, width]).unwrap();
            for window in [1, 3, 7] {
                assert_eq!(map.majority(window).unwrap().classes, slow(&map, window));
            }
        }
    }

    #[test]
    fn impossible_maps_and_windows_are_refused() {
        let map = ClassMap::new(vec![0; 6], [2, 3]).unwrap();
        for window in [0, 4] {
            assert_eq!(
                map.majority(window).unwrap_err().to_string(),
                format!("the window is {window}: must be odd, so that it has a middle")
            );
        }
        assert_eq!(
            ClassMap::new(vec![0; 5], [2, 3]).unwrap_err().to_string(),
            "the number of classes is 5: must be one for each of 2 x 3 pixels, and not 0"
        );
    }

    #[test]
    fn clusters_without_a_unit_keep_to_themselves() {
        // Five clusters, three units: clusters 1 and 4 are matched with none, and their own numbers are
        // those of units.
        let map = ClassMap::new(vec![0, 1, 2, 3, 4, NO_CLASS], [2, 3]).unwrap();
        let names = BTreeMap::from([(0, 2), (2, 1), (3, 0)]);
        let renamed = map.renamed(&names, 3).unwrap();
        assert_eq!(renamed.classes, [2, 3, 1, 0, 4, NO_CLASS]);
        // A unit that no cluster is matched with keeps its number free as well.
        let renamed = map.renamed(&names, 6).unwrap();
        assert_eq!(renamed.classes, [2, 6, 1, 0, 7, NO_CLASS]);
        let error = map.renamed(&names, 254).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of a class is 255: must be below 255, for a byte per pixel"
        );
    }

    #[test]
    fn colours_differ() {
        let colours = palette(30);
        for (at, a) in colours.iter().enumerate() {
            assert!(colours[..at].iter().all(|b| a != b), "{at}: {a:?}");
        }
    }
}
