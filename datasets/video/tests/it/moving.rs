use menagerie_core::Seed;
use menagerie_data_video::{Direction, MovingImages, MovingImagesConfig};
use std::collections::BTreeMap;

fn dots() -> MovingImages {
    let config = MovingImagesConfig {
        frames: 4,
        side: 8,
        figure: 3,
        speed: 1,
    };
    // One bright pixel in the upper left corner of the first image, in the middle of the second.
    let mut images = vec![0; 18];
    images[0] = 255;
    images[9 + 4] = 100;
    MovingImages::new(config, &images, [3, 3], &[5, 2], Seed(1)).unwrap()
}

/// Row and column of the brightest pixel of every frame.
fn track(clip: &menagerie_data_video::Clip) -> Vec<[usize; 2]> {
    (0..clip.frames())
        .map(|at| {
            let frame = clip.frame(at).unwrap();
            let at = frame
                .iter()
                .position(|pixel| pixel == frame.iter().max().unwrap());
            [at.unwrap() / 8, at.unwrap() % 8]
        })
        .collect()
}

#[test]
fn figures_move_as_their_direction_says() {
    let set = dots();
    for direction in Direction::ALL {
        let moving = set.render(0, direction, [7, 0]).unwrap();
        assert_eq!((moving.class, moving.direction), (5, direction));
        let [down, right] = direction.step();
        let expected: Vec<_> = (0..4_isize)
            .map(|frame| {
                [
                    (7 + frame * down).rem_euclid(8) as usize,
                    (frame * right).rem_euclid(8) as usize,
                ]
            })
            .collect();
        assert_eq!(track(&moving.clip), expected, "{direction:?}");
    }
    assert_eq!(
        Direction::ALL.map(Direction::index),
        [0, 1, 2, 3, 4, 5, 6, 7]
    );
    // The second image's dot lies one pixel from its corner, across both edges here.
    let moving = set.render(1, Direction::Up, [7, 7]).unwrap();
    assert_eq!(track(&moving.clip)[..2], [[0, 0], [7, 0]]);
}

#[test]
fn every_frame_holds_the_whole_figure() {
    let config = MovingImagesConfig::small();
    let images: Vec<u8> = (0..28 * 28).map(|at| (at % 251) as u8).collect();
    let set = MovingImages::new(config, &images, [28, 28], &[0], Seed(0)).unwrap();
    for index in 0..20 {
        let moving = set.draw(index);
        assert_eq!(moving.clip.shape(), [8, 32, 32, 1]);
        let mass = |at| -> usize {
            let frame = moving.clip.frame(at).unwrap();
            frame.iter().map(|&pixel| usize::from(pixel)).sum()
        };
        assert!(mass(0) > 0);
        assert!((1..8).all(|at| mass(at) == mass(0)));
    }
}

#[test]
fn draws_are_functions_of_their_number_and_cover_all_labels() {
    let set = dots();
    assert_eq!(set.draw(11), set.draw(11));
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut starts = [[0_usize; 8]; 2];
    for index in 0..3200 {
        let moving = set.draw(index);
        *counts
            .entry((moving.direction.index(), moving.class))
            .or_default() += 1;
        if moving.image == 0 && moving.direction == Direction::Right {
            let [row, column] = track(&moving.clip)[0];
            starts[0][row] += 1;
            starts[1][column] += 1;
        }
    }
    assert_eq!(counts.len(), 16);
    // 200 each are expected; six standard deviations are 82.
    assert!(counts.values().all(|count| count.abs_diff(200) < 82));
    assert!(starts.iter().flatten().all(|count| *count > 5));
}

#[test]
fn impossible_sets_are_refused() {
    let small = MovingImagesConfig::small();
    let error = |config, images: &[u8], labels: &[usize]| {
        MovingImages::new(config, images, [2, 2], labels, Seed(0))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(small, &[0; 7], &[0, 1]),
        "the number of pixels is 7: must be one or more images of 2x2 for the 2 labels"
    );
    assert!(error(small, &[], &[]).contains("must be one or more images"));
    for (config, text) in [
        (
            MovingImagesConfig { frames: 0, ..small },
            "MovingImagesConfig.frames = 0: must be at least 1",
        ),
        (
            MovingImagesConfig { side: 0, ..small },
            "MovingImagesConfig.side = 0: must lie in 1..=4096",
        ),
        (
            MovingImagesConfig {
                figure: 33,
                ..small
            },
            "MovingImagesConfig.figure = 33: must lie in 1..=side",
        ),
        (
            MovingImagesConfig { speed: 33, ..small },
            "MovingImagesConfig.speed = 33: must be at most the side",
        ),
    ] {
        assert_eq!(error(config, &[0; 4], &[0]), text);
    }
    let set = dots();
    assert_eq!(
        set.render(2, Direction::Up, [0, 0])
            .unwrap_err()
            .to_string(),
        "image index is 2: must be below 2"
    );
    assert_eq!(
        set.render(0, Direction::Up, [0, 8])
            .unwrap_err()
            .to_string(),
        "the start of a figure is [0, 8]: must be below the side, 8, twice"
    );
}
