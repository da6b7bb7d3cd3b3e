use crate::noise;
use menagerie_core::Seed;
use menagerie_data_video::{
    Clip,
    crop::{MultiScaleCrop, Region, crop_to, resize, test_crops},
};
use std::collections::BTreeSet;

#[test]
fn a_crop_of_its_own_size_is_cut_out() {
    let clip = noise([2, 5, 6, 3]);
    let region = Region {
        top: 1,
        left: 2,
        height: 3,
        width: 4,
    };
    let cut = crop_to(&clip, region, [3, 4]).unwrap();
    for frame in 0..2 {
        for row in 0..3 {
            let source = &clip.frame(frame).unwrap()[((row + 1) * 6 + 2) * 3..][..12];
            assert_eq!(&cut.frame(frame).unwrap()[row * 12..][..12], source);
        }
    }
}

#[test]
fn drawn_regions_are_the_fixed_ones() {
    let crop = MultiScaleCrop::new([100, 100]).unwrap();
    let regions: BTreeSet<[usize; 4]> = (0..4000)
        .map(|draw| {
            let region = crop.draw([200, 320], Seed(3).at(draw));
            [region.top, region.left, region.height, region.width]
        })
        .collect();
    let heights: BTreeSet<usize> = regions.iter().map(|region| region[2]).collect();
    assert_eq!(heights, [132, 150, 175, 200].into());
    for &[top, left, height, width] in &regions {
        let scale = |side| {
            [200, 175, 150, 132]
                .iter()
                .position(|s| *s == side)
                .unwrap()
        };
        assert!(scale(height).abs_diff(scale(width)) <= 1);
        let (down, right) = ((200 - height) / 4, (320 - width) / 4);
        assert!(down == 0 && top == 0 || top.is_multiple_of(down) && top / down <= 4);
        assert!(left.is_multiple_of(right) && left / right <= 4);
    }
    // Ten pairs of sides at 13 places; at full height the rows of places fall together.
    let full: BTreeSet<_> = regions.iter().filter(|region| region[2] < 200).collect();
    assert_eq!(full.len(), 8 * 13);
}

#[test]
fn a_side_next_to_the_target_becomes_it() {
    let crop = MultiScaleCrop::new([131, 131])
        .unwrap()
        .with_scales(vec![0.66])
        .unwrap();
    let region = crop.draw([200, 200], Seed(0));
    assert_eq!((region.height, region.width), (131, 131));
    let clip = noise([1, 200, 200, 1]);
    // Nothing is left to scale.
    let cut = crop.apply(&clip, region).unwrap();
    let first = clip.pixels()[region.top * 200 + region.left];
    assert_eq!(cut.pixels()[0], first);
    // Never beyond the frame.
    let crop = MultiScaleCrop::new([201, 201]).unwrap();
    for draw in 0..50 {
        let region = crop.draw([200, 200], Seed(draw));
        assert!(crop.apply(&clip, region).is_ok());
    }
}

#[test]
fn scaling_averages() {
    let pixels = [[0_u8, 0, 200, 200]; 4].concat();
    let clip = Clip::new(pixels, [1, 4, 4, 1]).unwrap();
    let small = resize(&clip, [1, 2]).unwrap();
    let [left, right] = small.pixels() else {
        panic!("two pixels");
    };
    assert!(*left < 40 && *right > 160);
    assert_eq!(resize(&clip, [4, 4]).unwrap(), clip);
    assert_eq!(
        resize(&noise([3, 7, 9, 3]), [5, 2]).unwrap().shape(),
        [3, 5, 2, 3]
    );
}

#[test]
fn test_crops_spread_along_the_long_side() {
    // A row of 0, 1, …: the first column of a crop tells where it lies.
    let pixels: Vec<u8> = (0..4).flat_map(|_| 0..10_u8).collect();
    let clip = Clip::new(pixels, [1, 4, 10, 1]).unwrap();
    let lefts = |count| -> Vec<u8> {
        let crops = test_crops(&clip, 4, count).unwrap();
        crops
            .iter()
            .map(|crop| {
                assert_eq!(crop.shape(), [1, 4, 4, 1]);
                crop.pixels()[0]
            })
            .collect()
    };
    assert_eq!(lefts(3), [0, 3, 6]);
    assert_eq!(lefts(1), [3]);
    let tall = noise([2, 90, 30, 3]);
    assert_eq!(test_crops(&tall, 15, 3).unwrap()[2].shape(), [2, 15, 15, 3]);
}

#[test]
fn impossible_crops_are_refused() {
    let clip = noise([1, 4, 6, 1]);
    let region = |top, left, height, width| Region {
        top,
        left,
        height,
        width,
    };
    let error = |region, size| crop_to(&clip, region, size).unwrap_err().to_string();
    assert_eq!(
        error(region(2, 0, 3, 3), [2, 2]),
        "the region of a crop is Region { top: 2, left: 0, height: 3, width: 3 }: must be a part of \
         frames of 6x4 pixels"
    );
    assert!(error(region(0, 0, 0, 3), [2, 2]).contains("must be a part of frames"));
    assert!(error(region(usize::MAX, 0, 2, 3), [2, 2]).contains("must be a part of frames"));
    assert_eq!(
        error(region(0, 0, 2, 2), [0, 2]),
        "the size of a crop is [0, 2]: both sides must lie in 1..=16384"
    );
    assert!(test_crops(&clip, 4, 0).is_err() && test_crops(&clip, 0, 1).is_err());
    assert_eq!(
        MultiScaleCrop::new([0, 2]).unwrap_err().to_string(),
        "MultiScaleCrop.size = [0, 2]: both sides must lie in 1..=16384"
    );
    let crop = MultiScaleCrop::new([2, 2]).unwrap();
    for scales in [vec![], vec![1.5], vec![0.0], vec![f64::NAN]] {
        assert!(crop.clone().with_scales(scales).is_err());
    }
}
