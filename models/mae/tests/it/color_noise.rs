//! color-mae: noise, banks and masks.

use crate::{color_mae::tiny, device};
use burn::tensor::Tensor;
use menagerie_core::Seed;
use menagerie_mae::color_mae::{
    Boundary, Color, ColorMaeConfig, ColorMasks, Crop, Distribution, NoiseBank, NoiseConfig,
    NoiseSchedule, NoiseSource, Sampling, Window, masking,
    noise::{draw_white, filter, gaussian_taps, radial_power, unit},
    statistics::hidden_components,
};
use std::{io::Write, path::Path};

pub(crate) fn small(color: Color) -> NoiseConfig {
    NoiseConfig::new(color).with_slices(48).with_size(32)
}

#[test]
fn noise_has_the_spectrum_of_its_color() {
    let power = |color| {
        let config = small(color).with_size(64);
        let colored = filter(&draw_white(&config, Seed(3)), &config).unwrap();
        radial_power(&colored, 64).unwrap()
    };
    // White noise of deviation 1 has the power 1 everywhere; a filter multiplies the power at a
    // frequency by the square of its response, the taps' cosine transform along both axes.
    let response = |sigma: f64| -> Vec<f64> {
        let taps = gaussian_taps(sigma, 4.0);
        let radius = (taps.len() / 2) as f64;
        let wave = |k: usize, at: usize| {
            (std::f64::consts::TAU * k as f64 * (at as f64 - radius) / 64.0).cos()
        };
        let at = |k| {
            taps.iter()
                .enumerate()
                .map(|(at, tap)| tap * wave(k, at))
                .sum()
        };
        (0..64).map(at).collect()
    };
    let [low, narrow, wide] = [1.0, 0.5, 2.0].map(response);
    let expected = |gain: &dyn Fn(usize, usize) -> f64| -> Vec<(f64, f64)> {
        let mut bins = vec![(0.0, 0.0); 32];
        for (u, v) in (0..64 * 64).map(|at| (at / 64, at % 64)) {
            let [x, y] = [u, v].map(|k| k.min(64 - k) as f64);
            if let Some(bin) = bins.get_mut((x.hypot(y).round() as usize).wrapping_sub(1)) {
                bin.0 += gain(u, v).powi(2);
                bin.1 += 1.0;
            }
        }
        bins.iter()
            .map(|(sum, count)| (sum / count, *count))
            .collect()
    };
    let separable = |gain: &[f64], u: usize, v: usize| gain[u] * gain[v];
    let red = |u, v| separable(&low, u, v);
    let green = |u, v| separable(&narrow, u, v) - separable(&wide, u, v);
    let gains: [&dyn Fn(usize, usize) -> f64; 5] = [
        &red,
        &green,
        &|_, _| 1.0,
        &|u, v| 1.0 - red(u, v),
        &|u, v| 1.0 - green(u, v),
    ];
    for (color, gain) in Color::ALL.into_iter().zip(gains) {
        for (bin, (found, (expected, count))) in
            power(color).into_iter().zip(expected(gain)).enumerate()
        {
            // The power at a frequency is exponentially distributed; half of them are independent,
            // and in a bin whose powers differ some count more.
            let deviation = expected * 1.5 / (48.0 * count / 2.0).sqrt();
            assert!(
                (found - expected).abs() < 4.5 * deviation + 1e-6,
                "{} at {}: {found}, not {expected}",
                color.name(),
                bin + 1
            );
        }
    }
}

#[test]
fn noise_depends_on_the_seed_alone_and_its_distribution() {
    let config = small(Color::White).with_slices(200);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| draw_white(&config, Seed(1)))
    };
    let noise = run(1);
    assert_eq!(noise, run(3));
    assert_ne!(noise, draw_white(&config, Seed(2)));
    let moments = |noise: &[f32]| {
        let count = noise.len() as f64;
        let mean = noise.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let squares = noise
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            / count;
        (mean, squares - mean * mean)
    };
    let (mean, variance) = moments(&noise);
    assert!(
        mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02,
        "{mean} {variance}"
    );
    let uniform = config.with_distribution(Distribution::Uniform);
    let (mean, variance) = moments(&draw_white(&uniform, Seed(1)));
    assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.002);
}

#[test]
fn boundaries_differ_at_the_border_only() {
    // A blur of radius 4 of a single bright patch at the left border.
    let mut white = vec![0.0; 16 * 16];
    white[8 * 16] = 1.0;
    let red = |boundary| {
        let config = NoiseConfig::new(Color::Red)
            .with_slices(1)
            .with_size(16)
            .with_boundary(boundary);
        filter(&white, &config).unwrap()
    };
    let taps = gaussian_taps(1.0, 4.0);
    assert_eq!(taps.len(), 9);
    let row = |values: &[f32]| values[8 * 16..9 * 16].to_vec();
    let near = |value: f32, expected: f64| {
        assert!(
            (f64::from(value) - expected).abs() < 1e-6,
            "{value} is not {expected}"
        );
    };
    let wrapped = row(&red(Boundary::Wrap));
    near(wrapped[15], taps[4] * taps[3]);
    near(wrapped[1], taps[4] * taps[3]);
    let reflected = row(&red(Boundary::Reflect));
    near(reflected[15], 0.0);
    near(reflected[0], taps[4] * (taps[4] + taps[3]));
    let nearest = row(&red(Boundary::Nearest));
    near(nearest[0], taps[4] * taps[..5].iter().sum::<f64>());
    // A tile that is smaller than the blur is read over and over.
    let small = NoiseConfig::new(Color::Red).with_slices(1).with_size(3);
    let flat = filter(&[1.0; 9], &small).unwrap();
    assert!(flat.iter().all(|value| (value - 1.0).abs() < 1e-6));
}

#[test]
fn red_masks_have_fewer_areas_than_green_and_white_ones() {
    let device = device();
    let areas = |color| {
        let bank = small(color).init(Seed(5)).unwrap();
        let masks = ColorMasks::new(bank, Sampling::PerImage, 14, 0.75).unwrap();
        let masking = masks.draw(256, Seed(6), &device).unwrap();
        let mask: Vec<f32> = masking.mask.into_data().iter().collect();
        let hidden: Vec<bool> = mask.iter().map(|value| *value > 0.5).collect();
        let areas = hidden.chunks(196).map(|mask| hidden_components(mask, 14));
        areas.sum::<usize>()
    };
    let [red, green, white, ..] = Color::ALL.map(areas);
    assert!(red < green && green < white, "{red} {green} {white}");
}

#[test]
fn the_most_noise_stays_visible_and_ties_keep_their_order() {
    let device = device();
    let noise = [0.2, 0.9, 0.9, 0.1];
    let masking = masking(&noise, 4, 2, &device).unwrap();
    let ids = |tensor: Tensor<2, burn::tensor::Int>| -> Vec<i64> {
        tensor.into_data().convert::<i64>().iter().collect()
    };
    assert_eq!(ids(masking.ids_keep), [1, 2]);
    assert_eq!(ids(masking.ids_restore), [2, 0, 1, 3]);
    let mask: Vec<f32> = masking.mask.into_data().iter().collect();
    assert_eq!(mask, [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn a_window_is_cut_mirrored_and_divided() {
    let bank = NoiseBank::new((1..=16).map(|value| value as f32).collect(), [1, 4]).unwrap();
    let cut = |horizontal, vertical| {
        let crop = Crop {
            top: 1,
            left: 2,
            horizontal,
            vertical,
        };
        let window = Window { slice: 0, crop };
        let cut = bank.cut(&[window], 2).unwrap();
        cut.iter()
            .map(|value| (value * 12.0).round() as u32)
            .collect::<Vec<_>>()
    };
    assert_eq!(cut(false, false), [7, 8, 11, 12]);
    assert_eq!(cut(true, false), [8, 7, 12, 11]);
    assert_eq!(cut(false, true), [11, 12, 7, 8]);
    assert_eq!(cut(true, true), [12, 11, 8, 7]);
}

#[test]
fn groups_share_a_crop_and_images_have_their_own() {
    let bank = small(Color::Green).with_slices(5).init(Seed(0)).unwrap();
    let draw = |sampling, seed| bank.draw_windows(sampling, 12, 8, seed).unwrap();
    let grouped = draw(Sampling::Grouped, Seed(1));
    let slices: Vec<usize> = grouped.iter().map(|window| window.slice).collect();
    assert_eq!(slices, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
    for group in grouped.chunks(5) {
        assert!(group.iter().all(|window| window.crop == group[0].crop));
    }
    assert_ne!(grouped[0].crop, grouped[5].crop);
    assert_eq!(grouped, draw(Sampling::Grouped, Seed(1)));
    let single = draw(Sampling::PerImage, Seed(1));
    assert!(single.iter().any(|window| window.crop != single[0].crop));
    // Uniform over slices and both mirrorings.
    let many = bank
        .draw_windows(Sampling::PerImage, 5_000, 8, Seed(2))
        .unwrap();
    for slice in 0..5 {
        let count = many.iter().filter(|window| window.slice == slice).count();
        assert!(count.abs_diff(1_000) < 120, "{count}");
    }
    let mirrored = many.iter().filter(|window| window.crop.horizontal).count();
    assert!(mirrored.abs_diff(2_500) < 150, "{mirrored}");
    let last = many.iter().map(|window| window.crop.top).max();
    assert_eq!(last, Some(32 - 8));
}

#[test]
fn noise_below_zero_is_scaled_without_a_change_of_order() {
    // Divided by its greatest value, -1, the order would be turned round.
    let bank = NoiseBank::new(vec![-4.0, -1.0, -2.0, -3.0], [1, 2]).unwrap();
    let expected = [0.0, 1.0, 2.0 / 3.0, 1.0 / 3.0];
    for (value, expected) in bank.values().iter().zip(expected) {
        assert!((value - expected).abs() < 1e-6);
    }
}

/// An `.npz` archive with these arrays of floats.
pub(crate) fn npz(path: &Path, arrays: &[(&str, &[usize], &[f32])]) {
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, shape, values) in arrays {
        let shape: String = shape.iter().map(|side| format!("{side}, ")).collect();
        let mut header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(b"\x93NUMPY\x01\x00").unwrap();
        archive
            .write_all(&(header.len() as u16).to_le_bytes())
            .unwrap();
        archive.write_all(header.as_bytes()).unwrap();
        for value in *values {
            archive.write_all(&value.to_le_bytes()).unwrap();
        }
    }
    archive.finish().unwrap();
}

#[test]
fn official_noise_files_are_read_and_wrong_ones_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("green_noise_data_2.npz");
    let values: Vec<f32> = (0..32)
        .map(|value| (value * 7 % 32) as f32 / 31.0)
        .collect();
    let other = [5.0; 4];
    npz(
        &path,
        &[("arr_0", &[2, 4, 4], &values), ("arr_1", &[4], &other)],
    );
    let bank = NoiseBank::open(&path).unwrap();
    assert_eq!(bank.shape(), [2, 4, 4]);
    assert_eq!(bank.values(), values);
    let copy = dir.path().join("noise.safetensors");
    bank.save(&copy).unwrap();
    assert_eq!(NoiseBank::open(&copy).unwrap(), bank);

    let error = |arrays: &[(&str, &[usize], &[f32])]| {
        npz(&path, arrays);
        NoiseBank::open(&path).unwrap_err().to_string()
    };
    for (text, expected) in [
        (
            error(&[("noise", &[4, 4], &values[..16])]),
            "array `noise` is [4, 4], expected [slices, size, size]",
        ),
        (
            error(&[("noise", &[2, 2, 4], &values[..16])]),
            "array `noise` is [2, 2, 4] of F32, expected numbers [slices, size, size]",
        ),
        (
            error(&[("noise", &[1, 2, 2], &[1.0; 4])]),
            "array `noise`: slice 0 is (1.0, 1.0): must be finite and not constant",
        ),
        (
            error(&[("noise", &[1, 2, 2], &[1.0, 2.0, f32::NAN, 0.5])]),
            "array `noise`: slice 0 is (NaN, NaN): must be finite and not constant",
        ),
    ] {
        assert!(text.ends_with(expected), "{text}");
    }
    std::fs::write(&path, &std::fs::read(&path).unwrap()[..60]).unwrap();
    let text = NoiseBank::open(&path).unwrap_err().to_string();
    assert!(text.contains("green_noise_data_2.npz"), "{text}");
}

#[test]
fn impossible_noise_and_masks_are_refused() {
    let green = NoiseConfig::new(Color::Green);
    for (config, expected) in [
        (
            green.clone().with_sigma(0.0),
            "NoiseConfig.sigma = 0.0: must be finite and above 0",
        ),
        (
            green.clone().with_sigmas([2.0, 2.0]),
            "NoiseConfig.sigmas = [2.0, 2.0]: must be finite and above 0, the first below the second",
        ),
        (
            green.clone().with_slices(0),
            "NoiseConfig.slices = 0: must lie in 1..=65536",
        ),
        (
            green.clone().with_truncate(f64::INFINITY),
            "NoiseConfig.truncate = inf: must be above 0, and the blur reach no further than 65536 patches",
        ),
    ] {
        assert_eq!(config.init(Seed(0)).unwrap_err().to_string(), expected);
    }
    let text = |config: &ColorMaeConfig| config.validate().unwrap_err().to_string();
    let mut config = tiny(Color::Green);
    config.noise = NoiseSchedule::constant(small(Color::Red).with_size(7));
    assert_eq!(
        text(&config),
        "NoiseConfig.size = 7: must be at least 8, the patches along a side"
    );
    config.noise = NoiseSchedule::constant(green.clone())
        .then(5, NoiseSource::Drawn(green.clone()))
        .then(5, NoiseSource::Drawn(green));
    assert_eq!(
        text(&config),
        "NoiseSchedule.changes = [5, 5]: must name ascending epochs from 1 on"
    );
    let mut config = tiny(Color::Green);
    config.mae.mask_ratio = 0.999;
    assert!(text(&config).contains("must hide at least one of 64 patches"));

    let bank = small(Color::Blue).init(Seed(0)).unwrap();
    let new = |grid, ratio| {
        let masks = ColorMasks::new(bank.clone(), Sampling::Grouped, grid, ratio);
        masks.unwrap_err().to_string()
    };
    assert_eq!(
        new(33, 0.75),
        "the grid of patches is 33: must be at least 1 and at most 32, the side of a tile"
    );
    for ratio in [0.0, 0.99, 1.0, -0.5, f64::NAN] {
        assert!(
            new(8, ratio).ends_with("must hide at least one of 64 patches and leave one visible")
        );
    }
    let masks = ColorMasks::new(bank.clone(), Sampling::Grouped, 8, 0.75).unwrap();
    assert!(masks.draw(0, Seed(0), &device()).is_err());
    let crop = Crop {
        top: 25,
        left: 0,
        horizontal: false,
        vertical: false,
    };
    let beyond = bank
        .cut(&[Window { slice: 0, crop }], 8)
        .unwrap_err()
        .to_string();
    assert!(
        beyond.ends_with("must be a square of 8 in 48 slices of 32 x 32"),
        "{beyond}"
    );
    let dark = NoiseBank::new([vec![0.0; 15], vec![1.0]].concat(), [1, 4]).unwrap();
    let crop = Crop { top: 0, ..crop };
    let text = dark
        .cut(&[Window { slice: 0, crop }], 2)
        .unwrap_err()
        .to_string();
    assert!(
        text.ends_with("must have a value above 0, to be divided by"),
        "{text}"
    );
    let text = unit(&[1.0; 3], 2).unwrap_err().to_string();
    assert_eq!(
        text,
        "the number of noise values is 3: must be one or more slices of 2 x 2"
    );
}
