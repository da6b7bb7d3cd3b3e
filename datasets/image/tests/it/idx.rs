use crate::{gzip, idx_bytes, noise};
use menagerie_data_image::idx::{self, Element};
use proptest::prelude::*;
use std::{fs, path::Path};

fn error(bytes: &[u8]) -> String {
    idx::parse(bytes, Path::new("file.idx"))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_file_is_read_plain_and_compressed_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let plain = idx_bytes(&[2, 3, 4], &noise(24));
    for bytes in [plain.clone(), gzip(&plain)] {
        for name in ["images", "images.gz"] {
            let path = dir.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let idx = idx::read(&path).unwrap();
            assert_eq!((idx.element, idx.dims), (Element::U8, vec![2, 3, 4]));
            assert_eq!(idx.data, noise(24));
        }
    }
}

#[test]
fn every_element_type_has_its_size() {
    for (code, element, size) in [
        (0x08, Element::U8, 1),
        (0x09, Element::I8, 1),
        (0x0b, Element::I16, 2),
        (0x0c, Element::I32, 4),
        (0x0d, Element::F32, 4),
        (0x0e, Element::F64, 8),
    ] {
        let mut bytes = idx_bytes(&[3], &noise(3 * size));
        bytes[2] = code;
        let idx = idx::parse(&bytes, Path::new("file.idx")).unwrap();
        assert_eq!((idx.element, idx.data.len()), (element, 3 * size));
    }
}

#[test]
fn a_wrong_magic_number_is_named() {
    let mut bytes = idx_bytes(&[2], &[1, 2]);
    bytes[0] = 0x89;
    assert_eq!(
        error(&bytes),
        "file.idx: starts with [89, 00, 08, 01], expected two zero bytes as IDX files do"
    );
    let mut bytes = idx_bytes(&[2], &[1, 2]);
    bytes[2] = 0x0a;
    assert_eq!(
        error(&bytes),
        "file.idx: has the element type 0x0a, expected 0x08, 0x09 or 0x0b..=0x0e"
    );
}

#[test]
fn a_wrong_length_is_named() {
    let bytes = idx_bytes(&[2, 3], &noise(6));
    assert_eq!(
        error(&bytes[..bytes.len() - 1]),
        "file.idx: is cut short: 5 bytes of elements, expected 6 for the shape [2, 3]"
    );
    let long = [bytes.as_slice(), &[0]].concat();
    let problem = "file.idx: goes on after the 6 bytes of elements that the shape [2, 3] takes";
    assert_eq!(error(&long), problem);
    assert_eq!(error(&gzip(&long)), problem);
    assert_eq!(
        error(&bytes[..9]),
        "file.idx: ends within the header: 1 of 4 bytes of the sizes"
    );
    assert_eq!(
        error(&[]),
        "file.idx: ends within the header: 0 of 4 bytes of the magic number"
    );
    let vast = idx_bytes(&[usize::MAX, usize::MAX, usize::MAX], &[]);
    assert!(
        error(&vast).contains("which is more than 2 GiB"),
        "{}",
        error(&vast)
    );
    let large = idx_bytes(&[1 << 30], &[7]);
    assert!(error(&large).contains("1 bytes of elements, expected 1073741824"));
}

#[test]
fn damaged_compression_is_named() {
    let compressed = gzip(&idx_bytes(&[50, 50], &noise(2500)));
    for end in [5, 100, compressed.len() - 9, compressed.len() - 1] {
        let error = error(&compressed[..end]);
        assert!(
            error.starts_with("file.idx: damaged or cut short after "),
            "{error}"
        );
    }
    // The checksum at the end.
    let mut altered = compressed.clone();
    let at = altered.len() - 6;
    altered[at] ^= 1;
    assert!(error(&altered).starts_with("file.idx: damaged or cut short after "));
    let long = [compressed.as_slice(), b"more"].concat();
    assert!(
        error(&long).starts_with("file.idx: damaged or cut short after "),
        "{}",
        error(&long)
    );
}

#[test]
fn images_and_labels_have_their_dimensions() {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = (dir.path().join("images"), dir.path().join("labels"));
    fs::write(&images, idx_bytes(&[3, 2, 2], &noise(12))).unwrap();
    fs::write(&labels, idx_bytes(&[3], &[0, 1, 1])).unwrap();
    let names = ["cat", "dog"];

    let set = idx::read_labelled(&images, &labels, &names).unwrap();
    assert_eq!((set.len(), set.image_shape()), (3, [1, 2, 2]));
    assert_eq!(
        (set.pixels(), set.labels()),
        (noise(12).as_slice(), [0, 1, 1].as_slice())
    );
    assert_eq!(set.class_names(), names);
    let unlabelled = idx::read_images(&images).unwrap();
    assert!(unlabelled.labels().is_empty() && unlabelled.class_names().is_empty());

    let text = |result: Result<_, menagerie_core::Error>| {
        let _: menagerie_data_image::ImageSet = match result {
            Ok(set) => set,
            Err(error) => return error.to_string(),
        };
        "no error".to_string()
    };
    let error = text(idx::read_labelled(&labels, &labels, &names));
    assert!(
        error.ends_with(
            "labels: holds U8 elements of shape [3]: images are three dimensions of unsigned bytes"
        ),
        "{error}"
    );
    let error = text(idx::read_labelled(&images, &images, &names));
    assert!(
        error.ends_with("labels are one dimension of unsigned bytes"),
        "{error}"
    );
    let error = text(idx::read_labelled(&images, &labels, &names[..1]));
    assert!(
        error.ends_with("labels: label 1 of item 1 must be below 1"),
        "{error}"
    );
    fs::write(&labels, idx_bytes(&[2], &[0, 1])).unwrap();
    let error = text(idx::read_labelled(&images, &labels, &names));
    assert!(
        error.contains("labels: holds 2 labels, but ") && error.ends_with("images holds 3 images"),
        "{error}"
    );
    let error = text(idx::read_labelled(
        &images,
        &dir.path().join("none"),
        &names,
    ));
    assert!(
        error.starts_with("cannot open ") && error.contains("none"),
        "{error}"
    );
    fs::write(&images, idx_bytes(&[3, 0, 2], &[])).unwrap();
    assert!(text(idx::read_images(&images)).contains("shape [3, 0, 2]"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = idx::parse(&bytes, Path::new("file.idx"));
    }

    #[test]
    fn an_altered_file_is_an_error_or_well_formed(
        compressed: bool,
        at in 0..2000_usize,
        value: u8,
        cut in 0..2000_usize,
    ) {
        let mut bytes = idx_bytes(&[7, 9, 5], &noise(315));
        if compressed {
            bytes = gzip(&bytes);
        }
        let len = bytes.len();
        bytes[at % len] = value;
        bytes.truncate(len - cut % 20);
        if let Ok(idx) = idx::parse(&bytes, Path::new("file.idx")) {
            let elements: usize = idx.dims.iter().product();
            prop_assert_eq!(idx.data.len(), elements * idx.element.size());
        }
    }

    #[test]
    fn what_is_written_is_read(dims in prop::collection::vec(0..6_usize, 0..5), compressed: bool) {
        let data = noise(dims.iter().product());
        let bytes = idx_bytes(&dims, &data);
        let bytes = if compressed { gzip(&bytes) } else { bytes };
        let idx = idx::parse(&bytes, Path::new("file.idx")).unwrap();
        prop_assert_eq!((idx.dims, idx.data), (dims, data));
    }
}
