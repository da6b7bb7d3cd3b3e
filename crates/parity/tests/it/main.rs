//! The harness passes what holds and fails everything else, each with a text that says why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod maker;

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, TensorData},
};
use maker::Maker;
use menagerie_core::Result;
use menagerie_hub::KeyMap;
use menagerie_parity::{Case, Check, Fixture, Options, Summary, run};
use serde::Deserialize;
use std::{fs, path::Path};

#[derive(Deserialize)]
struct Sizes {
    inputs: usize,
    outputs: usize,
}

#[derive(Module, Debug)]
struct Layer {
    inner: Linear,
}

fn key_map() -> KeyMap {
    KeyMap::new()
        .transpose("fc.weight", "inner.weight")
        .rename("fc.bias", "inner.bias")
}

/// A linear layer: result, index of the largest output, gradients of the sum of squares.
fn linear(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Sizes = fixture.config()?;
    let device = device.clone().autodiff();
    let inner = LinearConfig::new(sizes.inputs, sizes.outputs).init(&device);
    let layer = fixture.load(Layer { inner }, &key_map())?;
    let y = layer.inner.forward(fixture.input::<2>("x", &device)?);
    check.output("y", y.clone())?;
    check.output_int("largest", y.clone().argmax(1).squeeze_dim::<1>(1))?;
    let grads = y.powi_scalar(2).sum().backward();
    check.gradients(&layer, &grads, &key_map())?;
    if check.expects("copy/fc.weight") {
        check.parameters("copy/", &layer, &key_map())?;
    }
    Ok(())
}

/// Reads one of its two results only.
fn forgetful(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    check.output("a", fixture.input::<1>("x", device)?)
}

fn panicking(_: &Fixture, _: &Device, _: &mut Check) -> Result<()> {
    panic!("index 7 out of range")
}

/// Indices that are exact but for the last, and a result of a looser tolerance.
fn excepted(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let index = fixture.input_int::<1>("index", device)?;
    check.output_where("index", index.into_data(), |at| at < 2)?;
    check
        .within("loose", 0.1)
        .output("loose", fixture.input::<1>("x", device)?)
}

const CASES: &[Case] = &[
    Case {
        slug: "toy",
        case: "linear",
        run: linear,
    },
    Case {
        slug: "toy",
        case: "forgetful",
        run: forgetful,
    },
    Case {
        slug: "toy",
        case: "panicking",
        run: panicking,
    },
    Case {
        slug: "other",
        case: "excepted",
        run: excepted,
    },
];

/// A fixture that [`linear`] satisfies: W = [[1, 2], [3, 4], [5, 6]], b = 0, x = [[1, -1]].
fn linear_fixture() -> Maker {
    Maker::new("toy", "linear")
        .config(r#"{"inputs": 2, "outputs": 3}"#)
        .tensor("param/fc.weight", [[1f32, 2.], [3., 4.], [5., 6.]])
        .tensor("param/fc.bias", [0f32, 0.5, 0.])
        .tensor("in/x", [[1f32, -1.]])
        .tensor("out/y", [[-1f32, -0.5, -1.]])
        .tensor("out/largest", [1i64])
        .tensor("grad/fc.weight", [[-2f32, 2.], [-1., 1.], [-2., 2.]])
        .tensor("grad/fc.bias", [-2f32, -1., -2.])
}

fn excepted_fixture() -> Maker {
    Maker::new("other", "excepted")
        .tensor("in/index", [1i64, 2, 3])
        .tensor("in/x", [10.05f32])
        .tensor("out/index", [1i64, 2, 4])
        .tensor("out/loose", [10f32])
}

fn options(dir: &Path, slugs: &[&str]) -> Options {
    Options {
        dir: dir.to_path_buf(),
        slugs: slugs.iter().map(ToString::to_string).collect(),
        device: "flex".into(),
    }
}

fn parity(dir: &Path, slugs: &[&str]) -> (Summary, String) {
    let mut out = Vec::new();
    let summary = run(&options(dir, slugs), CASES, &mut out).unwrap();
    (summary, String::from_utf8(out).unwrap())
}

/// Runs one fixture; whether it passed, and what was printed.
fn verdict(maker: Maker) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    maker.write(dir.path(), "some_name");
    let (summary, text) = parity(dir.path(), &[]);
    assert_eq!(summary.passed + summary.failed, 1, "{text}");
    let row = text.lines().next().unwrap();
    assert_eq!(row.starts_with("pass"), summary.failed == 0, "{text}");
    assert_eq!(row.starts_with("FAIL"), summary.failed == 1, "{text}");
    (summary.failed == 0, text)
}

/// Expects a failure that says all of `texts`.
fn fails(maker: Maker, texts: &[&str]) {
    let (passed, printed) = verdict(maker);
    assert!(!passed, "{printed}");
    for text in texts {
        assert!(printed.contains(text), "{printed} lacks: {text}");
    }
}

#[test]
fn a_fixture_that_holds_passes_and_its_row_says_how_nearly() {
    let (passed, text) = verdict(linear_fixture());
    assert!(passed, "{text}");
    let row = text.lines().next().unwrap();
    for part in [
        "toy",
        "linear",
        "toy/some_name.safetensors",
        "abs 0.0e0",
        "tol 1e-5/1e-3",
    ] {
        assert!(row.contains(part), "{row} lacks {part}");
    }
    assert!(text.contains("1 passed, 0 failed"), "{text}");

    let near = linear_fixture().tensor("out/y", [[-1f32, -0.500_005, -1.]]);
    let (passed, text) = verdict(near);
    assert!(passed && text.contains("abs 5.0e-6 out/y"), "{text}");
}

#[test]
fn a_wrong_value_fails() {
    let maker = linear_fixture().tensor("out/y", [[-1f32, -0.5001, -1.]]);
    fails(
        maker,
        &[
            "out/y: ours -0.5 and the reference -0.5001",
            "at [0, 1] differ by 1.0",
        ],
    );
}

#[test]
fn a_wrong_index_fails_also_where_it_is_stored_as_a_float() {
    let texts = ["out/largest: 1 of 1 elements differ, e.g. ours 1 and the reference 2 at [0]"];
    fails(linear_fixture().tensor("out/largest", [2i64]), &texts);
    fails(
        linear_fixture().tensor("out/largest", [2f32]).tol("1e9"),
        &texts,
    );
    assert!(verdict(linear_fixture().tensor("out/largest", [1f32])).0);
}

#[test]
fn a_wrong_gradient_fails() {
    let maker = linear_fixture().tensor("grad/fc.bias", [-2f32, -1.1, -2.]);
    fails(maker, &["grad/fc.bias: ours -1 and the reference -1.1"]);
    let mut transposed = linear_fixture();
    transposed = transposed.tensor("grad/fc.weight", [[-2f32, -1., -2.], [2., 1., 2.]]);
    fails(
        transposed,
        &["grad/fc.weight: ours has shape [3, 2], the reference [2, 3]"],
    );
}

#[test]
fn a_tensor_that_no_one_reads_fails() {
    let texts = ["out/extra: was not read by the case"];
    fails(linear_fixture().tensor("out/extra", [1f32]), &texts);
    let texts = ["grad/elsewhere: was not read by the case"];
    fails(linear_fixture().tensor("grad/elsewhere", [1f32]), &texts);
    let forgetful = Maker::new("toy", "forgetful")
        .tensor("in/x", [1f32])
        .tensor("out/a", [1f32])
        .tensor("out/b", [1f32]);
    fails(forgetful, &["out/b: was not read"]);
}

#[test]
fn parameters_after_a_step_are_held_like_results() {
    let right = [[1f32, 2.], [3., 4.], [5., 6.]];
    assert!(verdict(linear_fixture().tensor("out/copy/fc.weight", right)).0);
    let wrong = [[1f32, 2.], [3., 4.], [5., 7.]];
    let maker = linear_fixture().tensor("out/copy/fc.weight", wrong);
    fails(maker, &["out/copy/fc.weight: ours 6 and the reference 7"]);
}

#[test]
fn what_is_not_a_number_fails() {
    let maker = linear_fixture()
        .tensor("out/y", [[-1f32, f32::NAN, -1.]])
        .tol("1e9");
    fails(maker, &["out/y: the reference is NaN at [0, 1]"]);
    let maker = linear_fixture()
        .tensor("in/x", [[f32::NAN, -1.]])
        .tol("1e9");
    fails(maker, &["out/y: ours is NaN at [0, 0]"]);
}

#[test]
fn tolerance_zero_means_equal() {
    assert!(verdict(linear_fixture().tol("0.0")).0);
    let maker = linear_fixture()
        .tensor("out/y", [[-1f32, -0.500_000_1, -1.]])
        .tol("0");
    fails(maker, &["out/y: 1 of 3 elements differ"]);
}

#[test]
fn stated_exceptions_hold_and_nothing_beyond_them() {
    assert!(verdict(excepted_fixture()).0);
    let maker = excepted_fixture().tensor("out/index", [1i64, 3, 4]);
    fails(maker, &["out/index: 1 of 3 elements differ"]);
    let maker = excepted_fixture().tensor("out/loose", [10.2f32]);
    fails(maker, &["out/loose: ours 10.0", "allowed 1.000e-1"]);
}

#[test]
fn an_unclaimed_fixture_fails() {
    let unknown = |slug, case| Maker::new(slug, case).tensor("out/a", [1f32]);
    fails(
        unknown("toy", "backward"),
        &["toy", "backward", "unclaimed"],
    );
    fails(unknown("nobody", "linear"), &["nobody", "unclaimed"]);
}

#[test]
fn metadata_decide_and_not_the_name_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    linear_fixture().write(dir.path(), "excepted");
    excepted_fixture().write(dir.path(), "linear");
    let (summary, text) = parity(dir.path(), &[]);
    assert_eq!((summary.passed, summary.failed), (2, 0), "{text}");
    assert!(text.contains("note  no fixture of toy forgetful"), "{text}");
}

#[test]
fn slugs_narrow_what_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    linear_fixture().write(dir.path(), "right");
    linear_fixture()
        .tensor("out/y", [[0f32, 0., 0.]])
        .write(dir.path(), "wrong");
    excepted_fixture().write(dir.path(), "right");
    Maker::new("nobody", "x")
        .tensor("out/a", [1f32])
        .write(dir.path(), "x");
    let count = |slugs| {
        let (summary, _) = parity(dir.path(), slugs);
        (summary.passed, summary.failed)
    };
    assert_eq!(count(&[]), (2, 2));
    assert_eq!(count(&["toy"]), (1, 1));
    assert_eq!(count(&["other"]), (1, 0));
    assert_eq!(count(&["other", "toy"]), (2, 1));
    let error = run(&options(dir.path(), &["tou"]), CASES, &mut Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown system `tou`; did you mean `toy`?"
    );
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_panic_fails_its_own_fixture_only() {
    let dir = tempfile::tempdir().unwrap();
    Maker::new("toy", "panicking")
        .tensor("out/a", [1f32])
        .write(dir.path(), "a");
    linear_fixture().write(dir.path(), "b");
    let (summary, text) = parity(dir.path(), &[]);
    assert_eq!((summary.passed, summary.failed), (1, 1), "{text}");
    assert!(
        text.contains("panicked: index 7 out of range (crates/parity/tests/it/main.rs:"),
        "{text}"
    );
}

#[test]
fn an_error_of_a_case_is_the_fixtures_failure() {
    fails(
        linear_fixture().config(r#"{"inputs": 2}"#),
        &["missing field `outputs`"],
    );
    let texts = [
        "does not fit Layer",
        "1 missing: `inner.bias` (official `fc.bias`)",
    ];
    fails(linear_fixture().without("param/fc.bias"), &texts);
    fails(
        linear_fixture().without("in/x"),
        &["no `in/x`; below in/ there are:"],
    );
    fails(
        linear_fixture().tensor("in/x", [1f32, 2.]),
        &["`in/x` has shape [2], expected 2 axes"],
    );
    fails(
        linear_fixture().without("out/y"),
        &["no `out/y` to hold a result against"],
    );
    let fractions = excepted_fixture().tensor("in/index", [1.5f32, 2., 3.]);
    fails(fractions, &["`in/index` holds fractions"]);
}

#[test]
fn metadata_are_read_strictly() {
    fails(
        linear_fixture().tol("tight"),
        &["metadata `tol` is `tight`, expected a finite number"],
    );
    fails(linear_fixture().tol("-1"), &["metadata `tol` is `-1`"]);
    fails(linear_fixture().tol("NaN"), &["metadata `tol` is `NaN`"]);
    fails(
        linear_fixture().metadata("grad_tol", None),
        &["no `grad_tol` in the metadata"],
    );
    fails(
        linear_fixture().metadata("config", None),
        &["no `config` in the metadata"],
    );
    fails(
        linear_fixture().config("{"),
        &["metadata `config` is no JSON"],
    );
    let empty = Maker::new("toy", "linear").tensor("in/x", [1f32]);
    fails(empty, &["no out/ and no grad/ tensor"]);
}

#[test]
fn other_files_are_skipped_and_damaged_ones_fail() {
    let dir = tempfile::tempdir().unwrap();
    linear_fixture().write(dir.path(), "right");
    let nested = dir.path().join("toy/checkpoints/run");
    fs::create_dir_all(&nested).unwrap();
    let path = linear_fixture()
        .metadata("slug", None)
        .write(dir.path(), "anonymous");
    fs::copy(&path, nested.join("weights.safetensors")).unwrap();
    fs::write(dir.path().join("toy/README.md"), "notes").unwrap();
    fs::write(dir.path().join("loose.safetensors"), "not in a folder").unwrap();
    let (summary, text) = parity(dir.path(), &["toy"]);
    assert_eq!(
        (summary.passed, summary.failed, summary.skipped),
        (1, 0, 2),
        "{text}"
    );
    assert!(text.contains("skip  toy/anonymous.safetensors"), "{text}");
    assert!(
        text.contains("skip  toy/checkpoints/run/weights.safetensors"),
        "{text}"
    );

    let whole = fs::read(dir.path().join("toy/right.safetensors")).unwrap();
    for (name, keep) in [("cut", whole.len() - 2), ("stub", 20)] {
        fs::write(
            dir.path().join(format!("toy/{name}.safetensors")),
            &whole[..keep],
        )
        .unwrap();
    }
    let (summary, text) = parity(dir.path(), &[]);
    assert_eq!((summary.passed, summary.failed), (1, 2), "{text}");
    assert!(text.contains("truncated: "), "{text}");
    assert!(text.contains("20 bytes, expected a header of"), "{text}");
}

#[test]
fn nothing_to_check_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = |dir: &Path, slugs: &[&str]| {
        let error = run(&options(dir, slugs), CASES, &mut Vec::new()).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        error.to_string()
    };
    let text = error(dir.path(), &[]);
    assert!(
        text.contains("no fixture of any system: expected <slug>/*.safetensors"),
        "{text}"
    );
    let text = error(&dir.path().join("none"), &[]);
    assert!(
        text.starts_with("cannot read ") && text.contains("none"),
        "{text}"
    );
}

#[test]
fn a_slug_without_fixtures_fails() {
    let dir = tempfile::tempdir().unwrap();
    linear_fixture().write(dir.path(), "right");
    let (summary, text) = parity(dir.path(), &["toy", "other"]);
    assert_eq!((summary.passed, summary.failed), (1, 1), "{text}");
    assert!(
        text.contains("no fixture: expected other/*.safetensors below"),
        "{text}"
    );
}

#[test]
fn an_unknown_device_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    linear_fixture().write(dir.path(), "right");
    let mut options = options(dir.path(), &[]);
    options.device = "abacus".into();
    let error = run(&options, CASES, &mut Vec::new()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().starts_with("unknown device `abacus`"));
}

#[test]
fn a_whole_result_cannot_be_excepted() {
    let dir = tempfile::tempdir().unwrap();
    let path = excepted_fixture().write(dir.path(), "x");
    let fixture = Fixture::open(path).unwrap();
    let mut check = Check::new(&fixture);
    let data = TensorData::from([0i64, 0, 0]);
    let error = check
        .output_where("index", data, |_| false)
        .unwrap_err()
        .to_string();
    assert!(error.contains("at least one element must count"), "{error}");
    // A gradient that is kept beside the official ones.
    let zero = Tensor::<1>::zeros([1], &menagerie_core::device::parse("flex").unwrap());
    assert!(check.gradient_data("grad/none", zero.into_data()).is_err());
}
