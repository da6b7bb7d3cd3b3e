//! The two grids: numbering, and what each factor does to an image.

use crate::{assert_close, centroid, draw, mass, moved};
use menagerie_data_synthetic::{Shape, SpritesConfig};
use proptest::prelude::*;
use std::collections::HashSet;

/// FNV-1a over the bits of the values.
fn digest(values: &[f32]) -> u64 {
    values
        .iter()
        .flat_map(|value| value.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[test]
fn the_small_grid_is_the_cards() {
    let sprites = SpritesConfig::qlae_small().init().unwrap();
    assert_eq!(sprites.len(), 900);
    assert_eq!(sprites.image_shape(), [1, 16, 16]);
    assert_eq!(
        sprites.factor_names(),
        ["shape", "x", "y", "scale", "level"]
    );
    assert_eq!(sprites.factor_sizes(), [3, 5, 5, 3, 4]);
    let images = sprites.images().unwrap();
    assert_eq!(images.len(), 900 * 256);
    assert!(images.iter().all(|value| (0.0..=1.0).contains(value)));
    let distinct: HashSet<Vec<u32>> = images
        .chunks(256)
        .map(|image| image.iter().map(|value| value.to_bits()).collect())
        .collect();
    assert_eq!(distinct.len(), 900);
}

#[test]
fn images_and_factors_are_in_the_order_of_the_index() {
    let sprites = SpritesConfig::qlae_small().init().unwrap();
    let (images, factors) = (sprites.images().unwrap(), sprites.factors());
    assert_eq!(factors.len(), 900 * 5);
    for index in 0..900 {
        assert_eq!(images[index * 256..][..256], sprites.render(index).unwrap());
        let of_index = sprites.factors_of(index).unwrap();
        assert_eq!(factors[index * 5..][..5], of_index);
        assert_eq!(sprites.index_of(&of_index).unwrap(), index);
    }
    assert_eq!(sprites.factors_of(899).unwrap(), [2, 4, 4, 2, 3]);
    let batch = sprites.render_batch(&[5, 899, 0]).unwrap();
    assert_eq!(batch[256..512], images[899 * 256..]);
}

#[test]
fn a_step_along_an_axis_is_two_pixels() {
    let sprites = SpritesConfig::qlae_small().init().unwrap();
    for shape in 0..3 {
        for scale in 0..3 {
            let first = draw(&sprites, &[shape, 0, 0, scale, 3]);
            let [x, y] = centroid(&first, 16);
            assert_close(x, 4.0, 1e-6);
            assert_close(y, 4.0, 1e-6);
            for (column, row) in (0..5).flat_map(|column| (0..5).map(move |row| (column, row))) {
                let image = draw(&sprites, &[shape, column, row, scale, 3]);
                assert_eq!(image, moved(&first, 16, 2 * column, 2 * row));
            }
        }
    }
}

#[test]
fn the_area_grows_with_the_square_of_the_scale() {
    let sprites = SpritesConfig::qlae_small().init().unwrap();
    for (shape, figure) in [Shape::Square, Shape::Disc, Shape::Plus]
        .into_iter()
        .enumerate()
    {
        for (scale, factor) in [0.5, 0.75, 1.0].into_iter().enumerate() {
            let image = draw(&sprites, &[shape, 2, 2, scale, 3]);
            // Radius 7 on the canvas is 3.5 pixels of the image.
            let area = figure.area() * (3.5 * factor) * (3.5 * factor);
            assert_close(mass(&image), area, 1e-5);
            assert_eq!(
                centroid(&image, 16).map(|at| (at * 1e6).round()),
                [8e6, 8e6]
            );
        }
    }
}

#[test]
fn the_level_scales_every_pixel() {
    let sprites = SpritesConfig::qlae_small().init().unwrap();
    for shape in 0..3 {
        let full = draw(&sprites, &[shape, 1, 3, 2, 3]);
        assert_eq!(full.iter().copied().fold(0.0, f32::max), 1.0);
        for (level, factor) in [0.25, 0.5, 0.75].into_iter().enumerate() {
            let image = draw(&sprites, &[shape, 1, 3, 2, level]);
            for (found, full) in image.iter().zip(&full) {
                assert_close(f64::from(*found), f64::from(full * factor), 1e-7);
            }
        }
    }
}

#[test]
fn dsprites_has_the_published_factors() {
    let sprites = SpritesConfig::dsprites().init().unwrap();
    assert_eq!(sprites.len(), 737_280);
    assert_eq!(sprites.image_shape(), [1, 64, 64]);
    assert_eq!(
        sprites.factor_names(),
        ["shape", "scale", "orientation", "x", "y"]
    );
    assert_eq!(sprites.factor_sizes(), [3, 6, 40, 32, 32]);
    let error = sprites.images().unwrap_err().to_string();
    assert!(error.contains("the number of sprites is 737280"), "{error}");
}

#[test]
fn dsprites_moves_by_whole_pixels() {
    let sprites = SpritesConfig::dsprites().init().unwrap();
    for shape in 0..3 {
        for scale in 0..6 {
            for orientation in [0, 1, 13, 27, 38] {
                let first = draw(&sprites, &[shape, scale, orientation, 0, 0]);
                assert!(first.iter().all(|value| *value == 0.0 || *value == 1.0));
                for at in 1..32 {
                    let image = draw(&sprites, &[shape, scale, orientation, at, 31 - at]);
                    assert_eq!(image, moved(&first, 64, at, 31 - at));
                }
            }
        }
    }
}

#[test]
fn dsprites_turns_and_grows() {
    let sprites = SpritesConfig::dsprites().init().unwrap();
    let figures = [Shape::Square, Shape::Ellipse, Shape::Heart];
    for (shape, figure) in figures.into_iter().enumerate() {
        let upright = draw(&sprites, &[shape, 5, 0, 16, 16]);
        // A full turn.
        assert_eq!(draw(&sprites, &[shape, 5, 39, 16, 16]), upright);
        let mut last = 0.0;
        for scale in 0..6 {
            let radius = 11.3 * (0.5 + 0.1 * scale as f64);
            for orientation in 1..39 {
                let image = draw(&sprites, &[shape, scale, orientation, 16, 16]);
                if scale == 5 {
                    assert_ne!(image, upright, "{figure:?} at orientation {orientation}");
                }
                // A binary image has the area to within the pixels of its outline.
                assert_close(mass(&image), figure.area() * radius * radius, 2.0 * radius);
                let [x, y] = centroid(&image, 64);
                assert_close(x, 32.5, 0.25);
                assert_close(y, 32.5, 0.25);
            }
            let area = mass(&draw(&sprites, &[shape, scale, 0, 16, 16]));
            assert!(area > last);
            last = area;
        }
    }
}

/// Pinned: a change here silently changes every published run.
#[test]
fn the_images_are_the_same_on_every_machine() {
    let small = SpritesConfig::qlae_small().init().unwrap();
    assert_eq!(digest(small.images().unwrap()), 5_744_003_721_528_149_461);
    let sprites = SpritesConfig::dsprites().init().unwrap();
    let indices: Vec<usize> = (0..sprites.len()).step_by(997).collect();
    assert_eq!(
        digest(&sprites.render_batch(&indices).unwrap()),
        1_565_279_302_010_993_544
    );
}

#[test]
fn a_config_survives_a_file_and_refuses_unknown_keys() {
    for config in [SpritesConfig::dsprites(), SpritesConfig::qlae_small()] {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<SpritesConfig>(&text).unwrap(),
            config
        );
        let altered = text.replacen("\"pool\"", "\"pol\"", 1);
        let error = serde_json::from_str::<SpritesConfig>(&altered)
            .unwrap_err()
            .to_string();
        assert!(error.contains("pol"), "{error}");
    }
}

proptest! {
    #[test]
    fn index_and_factors_are_a_bijection(index in 0..737_280_usize) {
        let sprites = SpritesConfig::dsprites().init().unwrap();
        let factors = sprites.factors_of(index).unwrap();
        for (factor, size) in factors.iter().zip(sprites.factor_sizes()) {
            prop_assert!(*factor < size);
        }
        prop_assert_eq!(sprites.index_of(&factors).unwrap(), index);
    }
}
