//! Weights from the file formats in which they are published, whole and damaged.

use burn::tensor::{BoolStore, DType, TensorData};
use menagerie_hub::{Scalar, StateDict};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Files that `torch.save` and `numpy.savez` wrote; `make.py` beside them says how.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn error(path: &Path) -> String {
    let error = StateDict::open(path).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let error = error.to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    error
}

/// The tensors that `make.py` puts into every checkpoint.
fn check_model(weights: &StateDict) {
    let keys: Vec<&str> = weights.keys().collect();
    assert_eq!(
        keys,
        [
            "encoder.bias",
            "encoder.half",
            "encoder.steps",
            "encoder.view",
            "encoder.weight"
        ]
    );
    assert_eq!(
        weights.get("encoder.weight"),
        Some(&TensorData::from([[0f32, 1., 2.], [3., 4., 5.]]))
    );
    // A transposed view is read in the order of its own indices.
    assert_eq!(
        weights.get("encoder.view"),
        Some(&TensorData::from([[0f32, 3.], [1., 4.], [2., 5.]]))
    );
    assert_eq!(
        weights.get("encoder.steps"),
        Some(&TensorData::from([7i64]))
    );
    let half = weights.get("encoder.half").unwrap();
    assert_eq!(half.dtype(), DType::BF16);
    let bias = weights.get("encoder.bias").unwrap();
    assert_eq!(bias.dtype(), DType::F64);
    let f32s = weights.clone().into_f32().unwrap();
    assert_eq!(
        f32s.get("encoder.half"),
        Some(&TensorData::from([1.5f32, -2.0]))
    );
    assert_eq!(
        f32s.get("encoder.bias"),
        Some(&TensorData::from([0.25f32, 0.5]))
    );
}

#[test]
fn pytorch_checkpoints_are_read_in_both_containers() {
    for name in ["plain.pt", "legacy.pth"] {
        check_model(&StateDict::open(data(name)).unwrap());
    }
}

#[test]
fn a_single_root_is_unwrapped_and_dotted_names_are_not_roots() {
    // {"epoch": 3, "model": {"state_dict": {…}}}: every name begins with `encoder.`, which stays.
    check_model(&StateDict::open(data("nested.pt")).unwrap());
}

#[test]
fn plain_values_stand_beside_the_tensors() {
    // {"epoch": 3, "model": {"state_dict": {…}}}: the root of the tensors is no root of `epoch`.
    let nested = StateDict::open(data("nested.pt")).unwrap();
    assert_eq!(nested.scalar("epoch"), Some(&Scalar::Int(3)));
    assert_eq!(nested.scalar("encoder.bias"), None, "a tensor");
    let both = StateDict::open(data("two_roots.pt")).unwrap();
    assert_eq!(both.scalar("epoch"), Some(&Scalar::Int(3)));
    assert_eq!(both.below("ema").unwrap().scalar("epoch"), None);
    let plain = StateDict::open(data("arrays.npz")).unwrap();
    assert_eq!(plain.scalar("scalar"), None, "an array of one element");
}

#[test]
fn one_root_of_several_is_chosen() {
    let both = StateDict::open(data("two_roots.pt")).unwrap();
    assert_eq!(both.len(), 10);
    check_model(&both.below("ema").unwrap());
    let error = both.below("teacher").unwrap_err().to_string();
    assert!(
        error.contains("no tensor below `teacher.`; there are: ema, model"),
        "{error}"
    );
}

#[test]
fn code_in_a_checkpoint_is_not_executed() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("executed");
    // The pickle of an object whose reconstruction calls os.system("touch …").
    let path = dir.path().join("evil.pt");
    let command = format!("touch {}", witness.display());
    let mut pickle = b"\x80\x02}X\x06\x00\x00\x00weightcposix\nsystem\nX".to_vec();
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.as_bytes());
    pickle.extend(b"\x85Rs.");
    fs::write(&path, pickle).unwrap();
    assert!(error(&path).contains("expected a checkpoint that `torch.save` wrote"));
    assert!(!witness.exists());
}

#[test]
fn numpy_archives_are_read() {
    for name in ["arrays.npz", "compressed.npz"] {
        let arrays = StateDict::open(data(name)).unwrap();
        let get = |key: &str| arrays.get(key).unwrap().clone();
        assert_eq!(get("f32"), TensorData::from([[0f32, 1., 2.], [3., 4., 5.]]));
        assert_eq!(get("fortran"), get("f32"), "column-major");
        assert_eq!(get("big_endian"), get("f32"));
        assert_eq!(get("f64"), TensorData::from([0.5f64, -1.0]));
        assert_eq!(
            get("f16").convert::<f32>(),
            TensorData::from([0.5f32, -1.0])
        );
        assert_eq!(get("i64"), TensorData::from([1i64, -2]));
        assert_eq!(get("i32"), TensorData::from([1i32, -2]));
        assert_eq!(get("u8"), TensorData::from([1u8, 255]));
        assert_eq!(get("bool"), TensorData::from([true, false]));
        assert_eq!(get("bool").dtype(), DType::Bool(BoolStore::Native));
        assert_eq!(get("scalar").shape().to_vec(), [0usize; 0]);
        let cube = get("fortran_cube");
        assert_eq!(cube.shape().to_vec(), [2, 3, 4]);
        let counted: Vec<i64> = cube.iter().collect();
        assert_eq!(counted, (0..24).collect::<Vec<_>>());
        assert_eq!(arrays.len(), 11);
    }
}

/// An archive with one array, given as the bytes of its `.npy` file.
fn npz(dir: &Path, npy: &[u8]) -> PathBuf {
    let path = dir.join("made.npz");
    let mut archive = ZipWriter::new(fs::File::create(&path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    archive.start_file("w.npy", options).unwrap();
    archive.write_all(npy).unwrap();
    archive.finish().unwrap();
    path
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn damaged_arrays_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let huge = format!("({0}, {0}, {0})", u32::MAX);
    let plain = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
    let cases: [(Vec<u8>, &str); 9] = [
        (
            npy(plain, &[0; 7]),
            "7 bytes of data, expected 8 for shape [2] of `<f4`",
        ),
        (
            npy(&plain.replace("(2,)", &huge), &[0; 8]),
            "is beyond any memory",
        ),
        (
            npy(&plain.replace("(2,)", "(-2,)"), &[0; 8]),
            "the extent `-2` in its shape",
        ),
        (
            npy(&plain.replace("<f4", "|O"), &[0; 8]),
            "elements of type `|O` are not supported",
        ),
        (
            npy(&plain.replace("'<f4'", "[('a', '<f4')]"), &[0; 8]),
            "structured elements",
        ),
        (
            npy(&plain.replace("shape", "form"), &[0; 8]),
            "no `shape` in the header",
        ),
        (
            npy(plain, &[0; 8])[..30].to_vec(),
            "truncated: 20 bytes, expected a header of",
        ),
        (b"\x93NUMPY\x09\x00".to_vec(), "unknown version 9"),
        (b"not numpy".to_vec(), "no NumPy magic"),
    ];
    for (bytes, text) in cases {
        let error = error(&npz(dir.path(), &bytes));
        assert!(
            error.contains("array `w`: ") && error.contains(text),
            "{error} lacks: {text}"
        );
    }
    assert_eq!(
        StateDict::open(npz(dir.path(), &npy(plain, &[0; 8])))
            .unwrap()
            .get("w"),
        Some(&TensorData::from([0f32, 0.]))
    );
}

#[test]
fn safetensors_come_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let tensors = [
        ("a.f32", TensorData::from([[1f32, 2.], [3., 4.]])),
        ("a.f64", TensorData::from([1f64])),
        (
            "a.f16",
            TensorData::from([1.5f32]).convert_dtype(DType::F16),
        ),
        (
            "a.bf16",
            TensorData::from([1.5f32]).convert_dtype(DType::BF16),
        ),
        ("b.i64", TensorData::from([i64::MIN])),
        ("b.u8", TensorData::from([255u8])),
        ("b.bool", TensorData::from([true, false])),
        ("empty", TensorData::new(Vec::<f32>::new(), [0, 3])),
    ];
    let written = StateDict::from_tensors(
        path.display().to_string(),
        tensors.map(|(key, data)| (key.to_owned(), data)),
    );
    written.save_safetensors(&path).unwrap();
    assert_eq!(StateDict::open(&path).unwrap(), written);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn damaged_safetensors_say_how_much_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let weights = StateDict::from_tensors("x", [("w".to_owned(), TensorData::from([1f32, 2.]))]);
    weights.save_safetensors(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let size = whole.len();
    let cases: [(Vec<u8>, String); 5] = [
        (
            whole[..size - 3].to_vec(),
            format!("truncated: {} bytes, expected {size}", size - 3),
        ),
        (
            [&whole[..], &[0]].concat(),
            format!("too long: {} bytes, expected {size}", size + 1),
        ),
        (
            whole[..20].to_vec(),
            "20 bytes, expected a header of".into(),
        ),
        (
            whole[..5].to_vec(),
            "truncated: 5 bytes, expected at least the 8".into(),
        ),
        (
            [&3u64.to_le_bytes()[..], b"{x}"].concat(),
            "malformed safetensors header".into(),
        ),
    ];
    for (bytes, text) in cases {
        fs::write(&path, bytes).unwrap();
        let error = error(&path);
        assert!(error.contains(&text), "{error} lacks: {text}");
    }
}

#[test]
fn truncated_archives_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["plain.pt", "legacy.pth", "arrays.npz"] {
        let whole = fs::read(data(name)).unwrap();
        for keep in [whole.len() / 2, whole.len() - 10, 100, 3] {
            let path = dir.path().join(name);
            fs::write(&path, &whole[..keep]).unwrap();
            let error = error(&path);
            assert!(
                error.contains("expected"),
                "{keep} bytes of {name}: {error}"
            );
        }
    }
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["plain.pt", "legacy.pth", "compressed.npz"] {
        let whole = fs::read(data(name)).unwrap();
        let path = dir.path().join(name);
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            fs::write(&path, bytes).unwrap();
            // Damage in padding or in a value without a checksum goes unnoticed.
            let _ = StateDict::open(&path);
        }
    }
}

#[test]
fn what_is_no_weights_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("weights.txt");
    fs::write(&page, "<!doctype html>").unwrap();
    let text = error(&page);
    assert!(text.contains("15 bytes that begin with [3c, 21,"), "{text}");
    assert!(
        text.contains("expected .safetensors, .pt, .pth, .bin, .npz or .pickle"),
        "{text}"
    );
    let disguised = dir.path().join("weights.pt");
    fs::write(&disguised, "<!doctype html>").unwrap();
    assert!(error(&disguised).contains("expected a checkpoint"));
    assert!(error(dir.path()).contains("is a folder"));
    assert!(error(&dir.path().join("none.pt")).starts_with("cannot open"));
}

#[test]
fn pickled_arrays_are_named_by_their_places() {
    let list = StateDict::open(data("list.pickle")).unwrap();
    let array = TensorData::from([[0f32, 1., 2.], [3., 4., 5.]]);
    let keys: Vec<&str> = list.keys().collect();
    assert_eq!(keys, ["0", "1", "2", "3"]);
    // Row-major, column-major and big-endian.
    for key in ["0", "1", "2"] {
        assert_eq!(list.get(key), Some(&array), "{key}");
    }
    assert_eq!(list.get("3"), Some(&TensorData::from([1i64, -2])));

    let nested = StateDict::open(data("nested.pkl")).unwrap();
    let keys: Vec<&str> = nested.keys().collect();
    assert_eq!(keys, ["layers.0", "layers.1.again", "layers.1.bias"]);
    assert_eq!(nested.get("layers.1.again"), Some(&array));
    assert_eq!(
        nested.get("layers.1.bias"),
        Some(&TensorData::from([0.5f64]))
    );
    let lone = StateDict::open(data("lone.pickle")).unwrap();
    assert_eq!(lone.get("0"), Some(&TensorData::from([0f64, 1., 2.])));
}

#[test]
fn pickles_that_are_no_arrays_are_refused() {
    let text = error(&data("call.pickle"));
    assert!(text.contains("wants to call `builtins print`"), "{text}");
    assert!(text.ends_with("expected pickled NumPy arrays in a list, tuple or dictionary"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.pickle");
    let whole = fs::read(data("list.pickle")).unwrap();
    for len in 2..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(error(&path).contains("cut short"), "{len}");
    }
    // Every byte, changed: an error or other arrays, never a panic.
    for at in 2..whole.len() {
        for value in [0, 0x2e, 0x62, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            fs::write(&path, bytes).unwrap();
            let _ = StateDict::open(&path);
        }
    }
    fs::write(&path, b"\x80\x03]q\x00.").unwrap();
    assert!(error(&path).contains("holds no arrays"));
}
