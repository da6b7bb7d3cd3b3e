//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009), binary version: records of labels and a 32x32 image
//! with its red, green and blue plane (<https://www.cs.toronto.edu/~kriz/cifar.html>).

use crate::{
    ImageSet, Split,
    bytes::{open, read_up_to},
};
use menagerie_core::{Error, Result};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

mod names;
pub use names::{CIFAR10_CLASSES, CIFAR100_COARSE, CIFAR100_FINE};

/// Bytes of an image.
const IMAGE: usize = 3 * 32 * 32;
/// The largest file of either set is 154 MB.
const MAX_BYTES: u64 = 1 << 28;

/// Which of the two labels of CIFAR-100 an image gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cifar100Labels {
    /// The 100 classes.
    Fine,
    /// The 20 superclasses.
    Coarse,
}

/// How a version lays out its records and files.
struct Layout {
    folder: &'static str,
    archive: &'static str,
    files: &'static [&'static str],
    /// Label bytes before the image.
    labels: usize,
    /// Which of them is the class.
    label: usize,
    classes: &'static [&'static str],
}

impl Layout {
    fn cifar10(split: Split) -> Self {
        Self {
            folder: "cifar-10-batches-bin",
            archive: "cifar-10-binary.tar.gz",
            files: match split {
                Split::Train => &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                ],
                Split::Test => &["test_batch.bin"],
            },
            labels: 1,
            label: 0,
            classes: &CIFAR10_CLASSES,
        }
    }

    fn cifar100(split: Split, labels: Cifar100Labels) -> Self {
        Self {
            folder: "cifar-100-binary",
            archive: "cifar-100-binary.tar.gz",
            files: match split {
                Split::Train => &["train.bin"],
                Split::Test => &["test.bin"],
            },
            labels: 2,
            label: match labels {
                Cifar100Labels::Coarse => 0,
                Cifar100Labels::Fine => 1,
            },
            classes: match labels {
                Cifar100Labels::Coarse => &CIFAR100_COARSE,
                Cifar100Labels::Fine => &CIFAR100_FINE,
            },
        }
    }
}

/// CIFAR-10, found or fetched by [`menagerie_data::find`]: 50 000 or 10 000 images `[3, 32, 32]`.
///
/// # Errors
/// As [`menagerie_data::find`] and [`read_cifar10`].
pub fn cifar10(split: Split) -> Result<ImageSet> {
    read_cifar10(&menagerie_data::find("cifar-10")?, split)
}

/// CIFAR-100, found or fetched by [`menagerie_data::find`]: 50 000 or 10 000 images `[3, 32, 32]`.
///
/// # Errors
/// As [`menagerie_data::find`] and [`read_cifar100`].
pub fn cifar100(split: Split, labels: Cifar100Labels) -> Result<ImageSet> {
    read_cifar100(&menagerie_data::find("cifar-100")?, split, labels)
}

/// Reads CIFAR-10 from `path`: the archive, the unpacked folder, or a folder that holds either.
///
/// # Errors
/// [`Error::Io`] for a file that is missing, [`Error::Format`] for an archive without a batch, a
/// batch that is not a whole number of records, or a label that has no class.
pub fn read_cifar10(path: &Path, split: Split) -> Result<ImageSet> {
    read(path, &Layout::cifar10(split))
}

/// Reads CIFAR-100 from `path`: the archive, the unpacked folder, or a folder that holds either.
///
/// # Errors
/// As [`read_cifar10`].
pub fn read_cifar100(path: &Path, split: Split, labels: Cifar100Labels) -> Result<ImageSet> {
    read(path, &Layout::cifar100(split, labels))
}

/// Reads records of CIFAR-10 from memory; errors name their file `path`.
///
/// # Errors
/// As [`read_cifar10`].
pub fn parse_cifar10(bytes: &[u8], path: &Path) -> Result<ImageSet> {
    let layout = Layout::cifar10(Split::Test);
    let mut records = Records::default();
    records.append(bytes, &layout, path)?;
    records.finish(&layout)
}

/// Reads records of CIFAR-100 from memory; errors name their file `path`.
///
/// # Errors
/// As [`read_cifar10`].
pub fn parse_cifar100(bytes: &[u8], labels: Cifar100Labels, path: &Path) -> Result<ImageSet> {
    let layout = Layout::cifar100(Split::Test, labels);
    let mut records = Records::default();
    records.append(bytes, &layout, path)?;
    records.finish(&layout)
}

#[derive(Default)]
struct Records {
    pixels: Vec<u8>,
    labels: Vec<usize>,
}

impl Records {
    fn append(&mut self, bytes: &[u8], layout: &Layout, path: &Path) -> Result<()> {
        let record = layout.labels + IMAGE;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            let problem = format!(
                "has {} bytes, expected a multiple of {record} (records of {} + {IMAGE})",
                bytes.len(),
                layout.labels
            );
            return Err(Error::format(path, problem));
        }
        for (item, record) in bytes.chunks_exact(record).enumerate() {
            let (labels, image) = record.split_at(layout.labels);
            let class = usize::from(labels[layout.label]);
            if class >= layout.classes.len() {
                let classes = layout.classes.len();
                let problem = format!("label {class} of record {item} must be below {classes}");
                return Err(Error::format(path, problem));
            }
            self.labels.push(class);
            self.pixels.extend_from_slice(image);
        }
        Ok(())
    }

    fn finish(self, layout: &Layout) -> Result<ImageSet> {
        let names = layout.classes.iter().map(ToString::to_string).collect();
        ImageSet::new(self.pixels, [3, 32, 32], self.labels, names)
    }
}

fn read(path: &Path, layout: &Layout) -> Result<ImageSet> {
    let mut records = Records::default();
    if path.is_dir() {
        let nested = path.join(layout.folder);
        let complete = |dir: &Path| layout.files.iter().all(|file| dir.join(file).is_file());
        let archive = path.join(layout.archive);
        let folder = if nested.is_dir() {
            nested
        } else {
            path.to_path_buf()
        };
        if archive.is_file() && !complete(&folder) {
            return read(&archive, layout);
        }
        for file in layout.files {
            let path = folder.join(file);
            let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
            records.append(&bytes, layout, &path)?;
        }
    } else {
        for (path, bytes) in unpack(path, layout)? {
            records.append(&bytes, layout, &path)?;
        }
    }
    records.finish(layout)
}

/// The files of `layout` in the archive, in their order, as `<archive>/<file>`.
fn unpack(archive: &Path, layout: &Layout) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let damaged = |error: std::io::Error| {
        Error::format(archive, format!("is not a whole tar archive: {error}"))
    };
    let mut found = BTreeMap::new();
    let mut tar = tar::Archive::new(open(archive)?);
    for entry in tar.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(position) = layout.files.iter().position(|file| *file == name) else {
            continue;
        };
        let path = archive.join(layout.files[position]);
        let size = entry.size();
        if size > MAX_BYTES {
            let problem = format!("announces {size} bytes, which is more than any batch has");
            return Err(Error::format(path, problem));
        }
        let mut reader = std::io::BufReader::new(entry);
        let bytes = read_up_to(&mut reader, size, &path)?;
        if (bytes.len() as u64) < size {
            let problem = format!("is cut short: {} of {size} bytes", bytes.len());
            return Err(Error::format(path, problem));
        }
        found.insert(position, (path, bytes));
    }
    match (0..layout.files.len()).find(|position| !found.contains_key(position)) {
        Some(position) => Err(Error::format(
            archive,
            format!("does not hold {}", layout.files[position]),
        )),
        None => Ok(found.into_values().collect()),
    }
}
