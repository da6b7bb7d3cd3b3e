//! Draws and pipelines.

use menagerie_core::Seed;
use menagerie_data_image::{
    ImageSet,
    augment::{
        Affine, Attempts, Augmentation, CenterCrop, Erased, ErasingMode, Filter, Flip, Flips,
        Framing, Image, Interpolation, Normalise, RandomErasing, RandomResizedCrop, Region, Resize,
    },
};
use proptest::prelude::*;

const SIZE: [usize; 2] = [23, 31];

/// A fixed pattern without symmetries.
pub fn picture(channels: usize) -> Image {
    let [height, width] = SIZE;
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                let value = 3 * x * x + 13 * y * (c + 1) + 31 * (x * y % 11) + 50 * c;
                pixels.push((20 + value % (181 - 20 * c)) as u8);
            }
        }
    }
    Image::new(pixels, [height, width, channels]).unwrap()
}

#[test]
fn crops_have_the_drawn_area_and_proportions() {
    let crop = RandomResizedCrop::new(16).with_scale(0.2, 1.0);
    let size = [100, 120];
    for run in 0..2_000 {
        let region = crop.draw(size, &mut Seed(1).at(run).rng());
        let area = (region.height * region.width) as f64 / 12_000.0;
        let ratio = region.width as f64 / region.height as f64;
        assert!((0.19..=1.0).contains(&area), "{region:?}");
        assert!((0.72..1.39).contains(&ratio), "{region:?}");
        assert!(region.top + region.height <= 100 && region.left + region.width <= 120);
    }
    // A strip holds no part of allowed proportions that is large enough: its centre.
    let strip = crop.draw([10, 300], &mut Seed(1).rng());
    let centre = Region {
        top: 0,
        left: 143,
        height: 10,
        width: 13,
    };
    assert_eq!(strip, centre);
    let upright = crop.draw([300, 10], &mut Seed(1).rng());
    assert_eq!((upright.top, upright.height, upright.width), (143, 13, 10));
    // Without the retry loop it is cut to the strip instead, anywhere.
    let one = crop.with_attempts(Attempts::One);
    let lefts: Vec<usize> = (0..50)
        .map(|run| one.draw([10, 300], &mut Seed(1).at(run).rng()))
        .inspect(|region| assert!(region.height == 10 && region.left + region.width <= 300))
        .map(|region| region.left)
        .collect();
    assert!(lefts.iter().min() < lefts.iter().max());
}

#[test]
fn a_crop_is_cut_before_it_is_resized() {
    // The bright surroundings must not leak into the crop.
    let mut pixels = vec![255; 8 * 8];
    for row in 2..6 {
        pixels[row * 8 + 2..row * 8 + 6].fill(7);
    }
    let image = Image::new(pixels, [8, 8, 1]).unwrap();
    let region = Region {
        top: 2,
        left: 2,
        height: 4,
        width: 4,
    };
    let output = RandomResizedCrop::new(9).apply(&image, &region).unwrap();
    assert_eq!(output.pixels(), [7; 81]);
    let beyond = Region { left: 5, ..region };
    let text = RandomResizedCrop::new(9)
        .apply(&image, &beyond)
        .unwrap_err()
        .to_string();
    assert!(
        text.ends_with("must be a part of an image of 8 x 8"),
        "{text}"
    );
}

#[test]
fn evaluation_takes_the_centre() {
    let image = Image::new((0..60).collect(), [6, 10, 1]).unwrap();
    let centre = CenterCrop { size: [3, 2] }.apply(&image).unwrap();
    // (6 - 3) / 2 = 1.5 is rounded to the even 2; (10 - 2) / 2 = 4.
    assert_eq!(centre.pixels(), [24, 25, 34, 35, 44, 45]);
    let resize = Resize {
        side: 4,
        filter: Filter::Bicubic,
    };
    assert_eq!(resize.apply(&image).unwrap().size(), [4, 6]);
    let evaluation = Augmentation::evaluation(224);
    let Framing::Centre(resize, crop) = &evaluation.framing else {
        panic!("the evaluation crops the centre")
    };
    assert_eq!((resize.side, crop.size), (256, [224, 224]));
    let text = CenterCrop { size: [7, 2] }
        .apply(&image)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("must be a part of an image of 6 x 10"),
        "{text}"
    );
}

#[test]
fn flips_keep_channels_in_order() {
    let image = Image::new((0..12).collect(), [2, 2, 3]).unwrap();
    let flip = |horizontal, vertical| {
        let flips = Flips {
            horizontal,
            vertical,
        };
        Flip::apply(image.clone(), flips).pixels().to_vec()
    };
    assert_eq!(flip(false, false), image.pixels());
    assert_eq!(flip(true, false), [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]);
    assert_eq!(flip(false, true), [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]);
    assert_eq!(flip(true, true), [9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2]);
    let drawn = (0..1_000).map(|run| Flip::horizontal().draw(&mut Seed(5).at(run).rng()));
    let count = drawn
        .inspect(|flips| assert!(!flips.vertical))
        .filter(|flips| flips.horizontal)
        .count();
    assert!(count.abs_diff(500) < 80, "{count}");
}

#[test]
fn a_turn_by_a_quarter_moves_every_pixel() {
    let image = Image::new((0..9).collect(), [3, 3, 1]).unwrap();
    let turned = Affine::rotate(90.0, [3, 3])
        .apply(&image, Interpolation::Nearest, &[99])
        .unwrap();
    // Counter-clockwise: the right column becomes the top row.
    assert_eq!(turned.pixels(), [2, 5, 8, 1, 4, 7, 0, 3, 6]);
}

#[test]
fn standardisation_has_the_published_numbers() {
    let image = Image::new(vec![0, 0, 0, 255, 255, 255], [1, 2, 3]).unwrap();
    let planes = Normalise::imagenet().apply(&image).unwrap();
    let expected = [
        -2.117_904, 2.248_908, -2.035_714, 2.428_571, -1.804_444, 2.64,
    ];
    for (value, expected) in planes.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-5, "{value} is not {expected}");
    }
    let grey = Image::new(vec![0; 4], [2, 2, 1]).unwrap();
    assert_eq!(
        Normalise::imagenet().apply(&grey).unwrap_err().to_string(),
        "channels is 1: must be 3, the number of means"
    );
}

#[test]
fn erasing_fills_its_rectangle_and_nothing_else() {
    let region = Region {
        top: 1,
        left: 2,
        height: 2,
        width: 3,
    };
    let erased = [Erased {
        region,
        noise: Seed(4),
    }];
    for mode in [
        ErasingMode::Constant,
        ErasingMode::Colour,
        ErasingMode::Pixel,
    ] {
        let erasing = RandomErasing {
            mode,
            ..RandomErasing::pixels(1.0)
        };
        let mut planes = vec![9.0; 2 * 4 * 6];
        erasing.apply(&mut planes, [4, 6], &erased).unwrap();
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..48).partition(|at| {
            let (row, column) = (at % 24 / 6, at % 6);
            (1..3).contains(&row) && (2..5).contains(&column)
        });
        assert!(outside.iter().all(|&at| planes[at] == 9.0));
        let mut values: Vec<f32> = inside.iter().map(|&at| planes[at]).collect();
        assert!(values.iter().all(|value| value.abs() < 6.0));
        values.dedup();
        let distinct = match mode {
            ErasingMode::Constant => 1,
            ErasingMode::Colour => 2,
            ErasingMode::Pixel => 12,
        };
        assert_eq!(values.len(), distinct, "{mode:?}");
    }
    let text = RandomErasing::pixels(1.0)
        .apply(&mut [0.0; 10], [2, 5], &erased)
        .unwrap_err()
        .to_string();
    assert!(text.ends_with("must lie inside 2 x 5"), "{text}");
}

#[test]
fn erased_areas_lie_in_their_range() {
    let erasing = RandomErasing::pixels(0.25);
    let mut count = 0_usize;
    for run in 0..4_000 {
        for Erased { region, .. } in erasing.draw([100, 100], &mut Seed(2).at(run).rng()) {
            count += 1;
            let area = (region.height * region.width) as f64 / 10_000.0;
            let ratio = region.height as f64 / region.width as f64;
            assert!((0.018..0.35).contains(&area), "{region:?}");
            assert!((0.28..3.6).contains(&ratio), "{region:?}");
        }
    }
    assert!(count.abs_diff(1_000) < 140, "{count}");
}

fn set(count: usize, channels: usize) -> ImageSet {
    let planes = picture(channels).to_planes();
    let pixels = (0..count)
        .flat_map(|at| planes.iter().map(move |value| value.wrapping_add(at as u8)))
        .collect();
    ImageSet::new(pixels, [channels, SIZE[0], SIZE[1]], vec![], vec![]).unwrap()
}

#[test]
fn a_batch_is_the_same_for_any_number_of_threads() {
    let set = set(9, 3);
    let indices = [8, 0, 3, 3, 5, 1, 2];
    for augmentation in [
        Augmentation::pre_training(16),
        Augmentation::fine_tuning(16),
        Augmentation::linear_probe(16),
        Augmentation::evaluation(16),
    ] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| augmentation.batch(&set, &indices, Seed(11)).unwrap())
        };
        let batch = run(1);
        assert_eq!(batch, run(3));
        assert_eq!(batch.len(), 7 * 3 * 16 * 16);
        assert!(batch.iter().all(|value| value.is_finite()));
        // An image of the batch is the image with the seed of its place.
        let image = Image::from_planes(set.image(3).unwrap(), set.image_shape()).unwrap();
        let single = augmentation.image(&image, Seed(11).at(2)).unwrap();
        assert_eq!(single, batch[2 * 768..3 * 768]);
        let random = matches!(augmentation.framing, Framing::Random(_));
        assert_eq!(batch[2 * 768..3 * 768] != batch[3 * 768..4 * 768], random);
    }
}

#[test]
fn grey_images_go_through_with_their_own_statistics() {
    let set = set(2, 1);
    let normalise = Normalise {
        mean: vec![0.5],
        std: vec![0.25],
    };
    let augmentation = Augmentation::fine_tuning(8).with_normalise(normalise);
    assert_eq!(augmentation.rand_augment.as_ref().unwrap().fill, [128]);
    assert_eq!(
        augmentation.batch(&set, &[0, 1], Seed(0)).unwrap().len(),
        128
    );
    let text = Augmentation::fine_tuning(8)
        .batch(&set, &[0], Seed(0))
        .unwrap_err()
        .to_string();
    assert!(text.contains("channels"), "{text}");
    let text = augmentation
        .batch(&set, &[2], Seed(0))
        .unwrap_err()
        .to_string();
    assert_eq!(text, "image index is 2: must be below 2");
}

#[test]
fn impossible_values_are_refused() {
    let text = |augmentation: &Augmentation| augmentation.validate().unwrap_err().to_string();
    let plain = Augmentation::pre_training(16);
    let crop = |crop: RandomResizedCrop| Augmentation {
        framing: Framing::Random(crop),
        ..plain.clone()
    };
    assert_eq!(
        text(&crop(RandomResizedCrop::new(0))),
        "RandomResizedCrop.size = [0, 0]: both sides must lie in 1..=16384"
    );
    assert_eq!(
        text(&crop(RandomResizedCrop::new(4).with_scale(0.5, 0.2))),
        "RandomResizedCrop.scale = (0.5, 0.2): must be (low, high) with 0 < low <= high"
    );
    let mut flip = plain.clone();
    flip.flip.vertical = 1.5;
    assert_eq!(text(&flip), "Flip.vertical = 1.5: must lie in 0..=1");
    let std = plain.clone().with_normalise(Normalise {
        mean: vec![0.5],
        std: vec![0.0],
    });
    assert_eq!(
        text(&std),
        "Normalise.std = [0.0]: must be 1 positive numbers, one for each mean"
    );
    let mut erasing = Augmentation::fine_tuning(8);
    erasing.erasing.as_mut().unwrap().count = (2, 1);
    assert!(text(&erasing).starts_with("RandomErasing.count = (2, 1): "));
    assert_eq!(
        Image::new(vec![0; 5], [2, 2, 1]).unwrap_err().to_string(),
        "the number of values of an image is 5: must be 2 x 2 x 1"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_size_or_seed_makes_a_pipeline_panic(
        height in 1_usize..40,
        width in 1_usize..40,
        side in 1_usize..24,
        channels in prop::sample::select(vec![1_usize, 3]),
        seed: u64,
    ) {
        let pixels = crate::noise(height * width * channels);
        let image = Image::new(pixels, [height, width, channels]).unwrap();
        let normalise = Normalise { mean: vec![0.5; channels], std: vec![0.5; channels] };
        for augmentation in [
            Augmentation::pre_training(side),
            Augmentation::fine_tuning(side),
            Augmentation::linear_probe(side),
            Augmentation::evaluation(side),
        ] {
            let planes = augmentation.with_normalise(normalise.clone()).image(&image, Seed(seed));
            prop_assert_eq!(planes.unwrap().len(), channels * side * side);
        }
    }
}
