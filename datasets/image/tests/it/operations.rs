//! Operations and resizing against Pillow 13.0 and timm 1.0.31.
//!
//! `tests/fixtures/operations_<channels>_<interpolation>.png` has the outputs of timm's operations
//! on [`picture`], one below the other; `resized_<channels>.png` those of Pillow's `resize`, first
//! of the columns, then of the rows.

use crate::augment::picture;
use menagerie_core::Seed;
use menagerie_data_image::augment::{
    Filter, Interpolation, Operation, OperationKind, RandAugment, Resize,
};
use std::path::Path;

fn fixture(name: &str, channels: usize) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    let image = image::open(path).unwrap();
    match channels {
        1 => image.into_luma8().into_raw(),
        _ => image.into_rgb8().into_raw(),
    }
}

/// What the fixtures hold, in order.
const OPERATIONS: &[(OperationKind, f64)] = {
    use OperationKind::*;
    &[
        (AutoContrast, 0.0),
        (Equalize, 0.0),
        (Invert, 0.0),
        (Rotate, 17.3),
        (Rotate, -30.0),
        (Rotate, 0.0),
        (Posterize, 2.0),
        (Posterize, 1.0),
        (Posterize, 3.0),
        (Posterize, 4.0),
        (Solarize, 0.0),
        (Solarize, 100.0),
        (Solarize, 256.0),
        (SolarizeAdd, 0.0),
        (SolarizeAdd, 60.0),
        (SolarizeAdd, 110.0),
        (Color, 0.1),
        (Color, 1.0),
        (Color, 1.9),
        (Contrast, 0.1),
        (Contrast, 0.73),
        (Contrast, 1.9),
        (Brightness, 0.1),
        (Brightness, 0.55),
        (Brightness, 1.9),
        (Sharpness, 0.1),
        (Sharpness, 0.6),
        (Sharpness, 1.9),
        (ShearX, 0.27),
        (ShearX, -0.3),
        (ShearY, 0.11),
        (ShearY, -0.27),
        (TranslateX, 0.405),
        (TranslateX, -0.2),
        (TranslateY, 0.33),
        (TranslateY, -0.405),
    ]
};

#[test]
fn operations_equal_timm_and_pillow() {
    for channels in [1, 3] {
        let picture = picture(channels);
        let fill = &[124, 116, 104][..channels];
        for (name, interpolation) in [
            ("bilinear", Interpolation::Bilinear),
            ("bicubic", Interpolation::Bicubic),
        ] {
            let expected = fixture(&format!("operations_{channels}_{name}.png"), channels);
            let expected = expected.chunks_exact(picture.pixels().len());
            assert_eq!(expected.len(), OPERATIONS.len());
            for (&(kind, argument), expected) in OPERATIONS.iter().zip(expected) {
                let operation = Operation {
                    kind,
                    argument,
                    interpolation,
                };
                let output = operation.apply(&picture, fill).unwrap();
                assert_eq!(
                    output.pixels(),
                    expected,
                    "{operation:?}, {channels} channels"
                );
            }
        }
    }
}

#[test]
fn resizing_equals_pillow() {
    for channels in [1, 3] {
        let picture = picture(channels);
        let expected = fixture(&format!("resized_{channels}.png"), channels);
        let mut rest = expected.as_slice();
        for size in [
            [23, 31],
            [11, 31],
            [23, 7],
            [46, 62],
            [9, 40],
            [50, 13],
            [5, 5],
        ] {
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                let output = Resize::exact(&picture, size, filter).unwrap();
                let (part, others) = rest.split_at(output.pixels().len());
                assert_eq!(output.pixels(), part, "{size:?} {filter:?}");
                rest = others;
            }
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn magnitude_nothing_changes_nothing() {
    let increasing = RandAugment::fine_tuning();
    let picture = picture(3);
    for kind in [
        OperationKind::Rotate,
        OperationKind::SolarizeAdd,
        OperationKind::Solarize,
        OperationKind::Color,
        OperationKind::Contrast,
        OperationKind::Brightness,
        OperationKind::Sharpness,
        OperationKind::ShearX,
        OperationKind::ShearY,
        OperationKind::TranslateX,
        OperationKind::TranslateY,
    ] {
        for interpolation in [
            Interpolation::Nearest,
            Interpolation::Bilinear,
            Interpolation::Bicubic,
        ] {
            let operation = Operation {
                kind,
                argument: increasing.argument(kind, 0.0, true),
                interpolation,
            };
            assert_eq!(
                operation.apply(&picture, &[1, 2, 3]).unwrap(),
                picture,
                "{kind:?}"
            );
        }
    }
}

#[test]
fn no_bits_is_black() {
    // Older versions of Pillow take 0 bits, the strongest of timm's increasing levels.
    let operation = Operation {
        kind: OperationKind::Posterize,
        argument: RandAugment::fine_tuning().argument(OperationKind::Posterize, 10.0, false),
        interpolation: Interpolation::Bicubic,
    };
    let black = operation.apply(&picture(3), &[0; 3]).unwrap();
    assert!(black.pixels().iter().all(|value| *value == 0));
}

#[test]
fn arguments_follow_timm() {
    use OperationKind::*;
    let increasing = RandAugment::fine_tuning();
    let falling = RandAugment::parse("rand-m9").unwrap();
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    for (kind, at_nine, at_ten, not_increasing) in [
        (Rotate, 27.0, 30.0, 27.0),
        (Posterize, 1.0, 0.0, 3.0),
        (Solarize, 26.0, 0.0, 230.0),
        (SolarizeAdd, 99.0, 110.0, 99.0),
        (Color, 1.81, 1.9, 1.72),
        (Sharpness, 1.81, 1.9, 1.72),
        (ShearY, 0.27, 0.3, 0.27),
        (TranslateX, 0.405, 0.45, 0.405),
    ] {
        near(increasing.argument(kind, 9.0, false), at_nine);
        near(increasing.argument(kind, 10.0, false), at_ten);
        near(falling.argument(kind, 9.0, false), not_increasing);
    }
    near(increasing.argument(ShearX, 9.0, true), -0.27);
    near(increasing.argument(Contrast, 9.0, true), 0.19);
    // Beyond the end of the scale the enhancements stay above black.
    near(increasing.argument(Contrast, 20.0, true), 0.1);
    near(falling.argument(Contrast, 9.0, true), 1.72);
}

#[test]
fn notation_is_read() {
    assert_eq!(
        RandAugment::parse("rand-m9-mstd0.5-inc1").unwrap(),
        RandAugment::fine_tuning()
    );
    assert_eq!(
        RandAugment::parse("rand-m7-n4-mstd0.5-inc1").unwrap(),
        RandAugment::video()
    );
    let falling = RandAugment::parse("rand-m7-n4-mstd0.5").unwrap();
    assert!(!falling.increasing && falling.operations == 4);
    assert!(
        RandAugment::parse("rand-mstd101")
            .unwrap()
            .magnitude_std
            .is_infinite()
    );
    assert_eq!(
        RandAugment::parse("rand-p1.0-mmax8").unwrap().probability,
        1.0
    );
    for wrong in [
        "",
        "augmix-m3",
        "rand-m",
        "rand-x3",
        "rand-mx",
        "rand-n1.5",
        "rand-m9 ",
    ] {
        let text = RandAugment::parse(wrong).unwrap_err().to_string();
        assert!(
            text.contains("such as rand-m9-mstd0.5-inc1"),
            "{wrong}: {text}"
        );
    }
    assert_eq!(
        RandAugment::parse("rand-p2").unwrap_err().to_string(),
        "RandAugment.probability = 2.0: must lie in 0..=1"
    );
}

#[test]
fn operations_are_drawn_evenly_with_noise() {
    let rand_augment = RandAugment::fine_tuning();
    let mut counts = [0_usize; 15];
    let (mut sum, mut squares, mut negative) = (0.0, 0.0, 0_usize);
    let runs = 30_000;
    for run in 0..runs {
        for drawn in rand_augment.draw(&mut Seed(3).at(run).rng()) {
            let kind = OperationKind::ALL
                .iter()
                .position(|kind| *kind == drawn.kind);
            counts[kind.unwrap()] += 1;
            if drawn.kind == OperationKind::Rotate {
                let magnitude = drawn.argument.abs() / 3.0;
                sum += magnitude;
                squares += magnitude * magnitude;
                negative += usize::from(drawn.argument < 0.0);
            }
        }
    }
    // 2 operations with probability 1/2 over 15 kinds: 2 000 each, standard deviation 44.
    assert!(
        counts.iter().all(|count| count.abs_diff(2_000) < 220),
        "{counts:?}"
    );
    let count = counts[3] as f64;
    let mean = sum / count;
    let std = (squares / count - mean * mean).sqrt();
    // N(9, 0.5²) cut at 10, two standard deviations up.
    assert!(
        (mean - 9.0).abs() < 0.05 && (0.44..0.52).contains(&std),
        "{mean} {std}"
    );
    assert!((negative as f64 / count - 0.5).abs() < 0.06);
}
