use crate::{gzip, noise};
use menagerie_data_image::{
    Cifar100Labels, Split,
    cifar::{
        CIFAR10_CLASSES, CIFAR100_COARSE, CIFAR100_FINE, parse_cifar10, parse_cifar100,
        read_cifar10, read_cifar100,
    },
};
use proptest::prelude::*;
use std::{fs, path::Path};

/// Records with the given label bytes and images of noise.
fn records(labels: &[&[u8]]) -> Vec<u8> {
    labels
        .iter()
        .flat_map(|labels| [labels, noise(3072).as_slice()].concat())
        .collect()
}

fn batches() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = (1..=5_u8)
        .map(|batch| {
            (
                format!("data_batch_{batch}.bin"),
                records(&[&[batch], &[0]]),
            )
        })
        .collect();
    files.push(("test_batch.bin".into(), records(&[&[9]])));
    files
}

fn tar(folder: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    // The archive's own order is not the batches'.
    for (name, bytes) in files.iter().rev() {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder
            .append_data(&mut header, format!("{folder}/{name}"), &**bytes)
            .unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn folder_and_archive_hold_the_same_images() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("cifar-10-binary.tar.gz");
    let packed = tar("cifar-10-batches-bin", &batches());
    fs::write(&archive, gzip(&packed)).unwrap();
    let from_archive = read_cifar10(&archive, Split::Train).unwrap();
    assert_eq!(
        (from_archive.len(), from_archive.image_shape()),
        (10, [3, 32, 32])
    );
    assert_eq!(from_archive.labels(), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    assert_eq!(from_archive.class_names(), CIFAR10_CLASSES);
    assert_eq!(from_archive.image(3).unwrap(), noise(3072));
    assert_eq!(
        read_cifar10(dir.path(), Split::Train).unwrap(),
        from_archive
    );
    assert_eq!(read_cifar10(dir.path(), Split::Test).unwrap().labels(), [9]);

    fs::write(&archive, packed).unwrap();
    assert_eq!(
        read_cifar10(dir.path(), Split::Train).unwrap(),
        from_archive
    );

    fs::remove_file(&archive).unwrap();
    let unpacked = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&unpacked).unwrap();
    for (name, bytes) in batches() {
        fs::write(unpacked.join(name), bytes).unwrap();
    }
    for path in [dir.path(), &unpacked] {
        assert_eq!(read_cifar10(path, Split::Train).unwrap(), from_archive);
    }
}

#[test]
fn cifar_100_has_two_labels() {
    let bytes = records(&[&[19, 99], &[0, 3]]);
    let path = Path::new("train.bin");
    let fine = parse_cifar100(&bytes, Cifar100Labels::Fine, path).unwrap();
    assert_eq!(
        (fine.labels(), fine.class_names()[99].as_str()),
        ([99, 3].as_slice(), "worm")
    );
    let coarse = parse_cifar100(&bytes, Cifar100Labels::Coarse, path).unwrap();
    assert_eq!(coarse.labels(), [19, 0]);
    assert_eq!(coarse.image(1).unwrap(), noise(3072));
    let error = parse_cifar100(&records(&[&[20, 1]]), Cifar100Labels::Coarse, path).unwrap_err();
    assert_eq!(
        error.to_string(),
        "train.bin: label 20 of record 0 must be below 20"
    );

    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("train.bin".to_string(), bytes),
        ("test.bin".into(), records(&[&[1, 2]])),
    ];
    let packed = gzip(&tar("cifar-100-binary", &files));
    fs::write(dir.path().join("cifar-100-binary.tar.gz"), packed).unwrap();
    assert_eq!(
        read_cifar100(dir.path(), Split::Train, Cifar100Labels::Fine).unwrap(),
        fine
    );
    let test = read_cifar100(dir.path(), Split::Test, Cifar100Labels::Coarse).unwrap();
    assert_eq!(test.labels(), [1]);
}

#[test]
fn class_names_are_complete_and_distinct() {
    for names in [
        &CIFAR10_CLASSES as &[&str],
        &CIFAR100_FINE,
        &CIFAR100_COARSE,
    ] {
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

#[test]
fn wrong_lengths_and_labels_are_named() {
    let path = Path::new("data_batch_1.bin");
    let error = |bytes: &[u8]| parse_cifar10(bytes, path).unwrap_err().to_string();
    let bytes = records(&[&[3], &[10]]);
    assert_eq!(
        error(&bytes),
        "data_batch_1.bin: label 10 of record 1 must be below 10"
    );
    assert_eq!(
        error(&bytes[..4000]),
        "data_batch_1.bin: has 4000 bytes, expected a multiple of 3073 (records of 1 + 3072)"
    );
    assert!(error(&[]).contains("has 0 bytes"));
}

#[test]
fn damaged_archives_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("cifar-10-binary.tar.gz");
    let error = |bytes: &[u8]| {
        fs::write(&archive, bytes).unwrap();
        read_cifar10(dir.path(), Split::Train)
            .unwrap_err()
            .to_string()
    };
    let packed = tar("cifar-10-batches-bin", &batches());
    assert!(error(&packed[..packed.len() / 2]).contains("cifar-10-binary.tar.gz"));
    let compressed = gzip(&packed);
    assert!(error(&compressed[..compressed.len() / 2]).contains("cifar-10-binary.tar.gz"));
    assert!(error(b"<html>not found</html>").contains("is not a whole tar archive"));
    let incomplete = tar("cifar-10-batches-bin", &batches()[..4]);
    assert!(error(&incomplete).ends_with("does not hold data_batch_5.bin"));

    fs::remove_file(&archive).unwrap();
    let missing = read_cifar10(dir.path(), Split::Test)
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("cannot read ") && missing.contains("test_batch.bin"),
        "{missing}"
    );
}

proptest! {
    #[test]
    fn no_records_make_the_parser_panic(
        label: u8,
        len in prop_oneof![0..3_usize, Just(3073), Just(3074), Just(6146), 3000..10_000_usize],
    ) {
        let mut bytes = noise(len);
        if let Some(first) = bytes.first_mut() {
            *first = label;
        }
        let path = Path::new("batch.bin");
        if let Ok(set) = parse_cifar10(&bytes, path) {
            prop_assert_eq!(set.len() * 3073, len);
        }
        if let Ok(set) = parse_cifar100(&bytes, Cifar100Labels::Fine, path) {
            prop_assert_eq!(set.len() * 3074, len);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_altered_archive_makes_the_reader_panic(
        compressed: bool,
        // Headers are where damage does most: every 512 bytes plus the record's own fields.
        block in 0..60_usize,
        field in 0..512_usize,
        value: u8,
        cut in 0..50_000_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("cifar-10-binary.tar");
        let mut bytes = tar("cifar-10-batches-bin", &batches());
        let at = (block * 512 + field) % bytes.len();
        bytes[at] = value;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let bytes = if compressed { gzip(&bytes) } else { bytes };
        fs::write(&archive, bytes).unwrap();
        if let Ok(set) = read_cifar10(&archive, Split::Train) {
            prop_assert!(!set.is_empty());
        }
    }
}
