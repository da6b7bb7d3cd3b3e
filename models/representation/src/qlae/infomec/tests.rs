//! Property checks: what the scores must do, whatever the estimator's noise.

use super::*;
use proptest::prelude::*;

/// All combinations of factors of these sizes, `repeats` times, row-major.
fn grid(sizes: &[i64], repeats: usize) -> (usize, Vec<i64>) {
    let total: i64 = sizes.iter().product();
    let rows = total as usize * repeats;
    let mut values = Vec::with_capacity(rows * sizes.len());
    for row in 0..rows as i64 {
        let mut rest = row % total;
        for size in sizes {
            values.push(rest % size);
            rest /= size;
        }
    }
    (rows, values)
}

/// Deterministic numbers in 0..1 that look random.
fn noise(count: usize, seed: u64) -> Vec<f64> {
    use rand::RngExt;
    let mut rng = menagerie_core::Seed(seed).rng();
    (0..count).map(|_| rng.random()).collect()
}

/// Two sources, and latents that inform imperfectly: source 0 with noise, source 1 with noise, a
/// mixture of both.
fn imperfect() -> (Sources, usize, Vec<f32>) {
    let (rows, values) = grid(&[4, 3], 40);
    let draws = noise(rows * 3, 5);
    let mut latents = Vec::new();
    for (row, source) in values.chunks(2).enumerate() {
        let flip = |at: usize, share: f64| draws[row * 3 + at] < share;
        let first = if flip(0, 0.2) { 0 } else { source[0] };
        let second = if flip(1, 0.3) { 2 } else { source[1] };
        let mixed = if flip(2, 0.5) {
            source[0] % 3
        } else {
            source[1]
        };
        latents.extend([first, second, mixed].map(|x| x as f32));
    }
    (Sources::new(rows, 2, &values).unwrap(), rows, latents)
}

fn columns(rows: usize, values: &[f32], order: &[usize]) -> Vec<f32> {
    let width = values.len() / rows;
    values
        .chunks(width)
        .flat_map(|row| order.iter().map(|&column| row[column]))
        .collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn a_permuted_relabelled_copy_is_perfect() {
    let (rows, values) = grid(&[4, 3, 5], 2);
    let sources = Sources::new(rows, 3, &values).unwrap();
    let codes: Vec<f32> = values
        .chunks(3)
        .flat_map(|s| {
            [
                9.0 - s[2] as f32,
                0.5 * s[0] as f32,
                [3.0, -1.0, 2.0][s[1] as usize],
            ]
        })
        .collect();
    let latents = Latents::discrete(rows, 3, &codes).unwrap();
    let found = infomec(&sources, &latents, &InfomecConfig::default()).unwrap();
    assert!(
        close(found.infom, 1.0) && close(found.infoc, 1.0),
        "{found:?}"
    );
    assert!(close(found.infom_gap, 1.0) && close(found.infoc_gap, 1.0));
    assert!(found.infoe().unwrap() > 0.999);
}

#[test]
fn a_rotation_lowers_modularity() {
    let (rows, values) = grid(&[8, 8], 20);
    let sources = Sources::new(rows, 2, &values).unwrap();
    let draws = noise(rows * 2, 1);
    let plain: Vec<f32> = values
        .iter()
        .zip(&draws)
        .map(|(&value, noise)| (value as f64 + noise) as f32)
        .collect();
    let score = |degrees: f32| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let rotated: Vec<f32> = plain
            .chunks(2)
            .flat_map(|z| [cos * z[0] - sin * z[1], sin * z[0] + cos * z[1]])
            .collect();
        let latents = Latents::continuous(rows, 2, &rotated).unwrap();
        infomec(
            &sources,
            &latents,
            &InfomecConfig::default().without_probe(),
        )
        .unwrap()
        .infom
    };
    let (axis, slight, diagonal) = (score(0.0), score(15.0), score(45.0));
    assert!(
        axis > 0.95 && slight < axis - 0.1 && diagonal < slight - 0.1,
        "{axis} {slight} {diagonal}"
    );
}

#[test]
fn a_duplicated_latent_lowers_compactness_alone() {
    let (sources, rows, values) = imperfect();
    let score = |order: &[usize]| {
        let latents = Latents::discrete(rows, order.len(), &columns(rows, &values, order)).unwrap();
        let config = InfomecConfig {
            probe: Probe::Converged,
            ..InfomecConfig::default()
        };
        infomec(&sources, &latents, &config).unwrap()
    };
    let (once, twice) = (score(&[0, 1]), score(&[0, 1, 0, 1]));
    assert!(close(once.infom, twice.infom));
    assert!((once.infoe().unwrap() - twice.infoe().unwrap()).abs() < 1e-6);
    assert!(
        twice.infoc < once.infoc - 0.2,
        "{} {}",
        once.infoc,
        twice.infoc
    );
}

#[test]
fn a_constant_latent_changes_nothing_but_the_mask() {
    let (sources, rows, values) = imperfect();
    let with: Vec<f32> = values
        .chunks(3)
        .flat_map(|z| [z[0], 7.0, z[1], z[2]])
        .collect();
    let score = |latents: &Latents| infomec(&sources, latents, &InfomecConfig::default()).unwrap();
    let plain = score(&Latents::discrete(rows, 3, &values).unwrap());
    let padded = score(&Latents::discrete(rows, 4, &with).unwrap());
    assert_eq!(padded.active, [true, false, true, true]);
    assert_eq!(padded.active_latents(), 3);
    assert!(close(plain.infom, padded.infom) && close(plain.infoc, padded.infoc));
    assert!((plain.infoe().unwrap() - padded.infoe().unwrap()).abs() < 1e-3);
}

#[test]
fn quotients_without_information_count_as_chance() {
    // Latent 0 is source 0; latent 1 is independent of both sources by construction; source 1
    // reaches no latent.
    let (rows, values) = grid(&[2, 2, 2], 3);
    let pick = |columns: [usize; 2]| -> Vec<i64> {
        values
            .chunks(3)
            .flat_map(|row| columns.map(|column| row[column]))
            .collect()
    };
    let sources = Sources::new(rows, 2, &pick([0, 1])).unwrap();
    let latents = Latents::indices(rows, 2, &pick([0, 2])).unwrap();
    let config = InfomecConfig::default().without_probe();
    let found = infomec(&sources, &latents, &config).unwrap();
    assert!(
        close(found.infom, 0.5) && close(found.infoc, 0.5),
        "{found:?}"
    );
    // One active latent: compactness has no chance level to rise above.
    let single: Vec<i64> = pick([0, 2]).chunks(2).map(|row| row[0]).collect();
    let latents = Latents::indices(rows, 1, &single).unwrap();
    let found = infomec(&sources, &latents, &config).unwrap();
    assert!(
        close(found.infom, 1.0) && close(found.infoc, 0.0),
        "{found:?}"
    );
}

#[test]
fn active_rules() {
    let values: Vec<f32> = (0..10)
        .flat_map(|i| [i as f32, i as f32 * 0.1, i as f32 * 0.01])
        .collect();
    let latents = Latents::continuous(10, 3, &values).unwrap();
    assert_eq!(latents.active(None), [true, true, false]);
    assert_eq!(latents.active(Some(1.0 / 8.0)), [true, false, false]);
    assert_eq!(latents.active(Some(0.0)), [true, true, true]);
    let latents = Latents::discrete(10, 3, &values).unwrap();
    assert_eq!(latents.active(None), [true, true, true]);
}

#[test]
fn quantile_bins_are_even_and_leave_the_inactive_out() {
    let values: Vec<f32> = noise(600, 2)
        .chunks(2)
        .flat_map(|x| [(6.0 * x[0]).exp() as f32, x[1] as f32 * 1e-3])
        .collect();
    let latents = Latents::continuous(300, 2, &values).unwrap();
    let bins = quantile_bins(&latents, 6).unwrap();
    assert!(bins.is_discrete());
    let counts = |column: usize| {
        let mut counts = [0; 6];
        for &bin in bins.column(column) {
            counts[bin as usize] += 1;
        }
        counts
    };
    assert_eq!(counts(0), [50; 6]);
    assert_eq!(counts(1), [300, 0, 0, 0, 0, 0]);
}

#[test]
fn refuses_what_has_no_score() {
    let text = |error: Error| error.to_string();
    let sources = Sources::new(4, 2, &[0, 0, 0, 1, 1, 0, 1, 1]).unwrap();
    let four = Latents::discrete(4, 1, &[0.0, 1.0, 2.0, 3.0]).unwrap();
    let three = Latents::discrete(3, 1, &[0.0, 1.0, 2.0]).unwrap();
    let flat = Latents::discrete(4, 1, &[1.0; 4]).unwrap();
    let config = InfomecConfig::default();

    let error = text(infomec(&sources, &three, &config).unwrap_err());
    assert_eq!(error, "latents is \"3 rows\": the sources have 4 rows");
    let error = text(infomec(&sources, &flat, &config).unwrap_err());
    assert_eq!(
        error,
        "active latents is 0: at least one latent must vary over the rows"
    );
    let error = text(Latents::continuous(2, 2, &[0.0, 1.0, f32::NAN, 2.0]).unwrap_err());
    assert_eq!(
        error,
        "latent 0 of row 1 is NaN: every latent must be finite"
    );
    let error = text(Latents::continuous(2, 2, &[0.0; 3]).unwrap_err());
    assert!(
        error.contains("3 numbers") && error.contains("[2, 2]"),
        "{error}"
    );
    let error = text(Sources::new(2, 1, &[0, 1]).unwrap_err());
    assert_eq!(
        error,
        "number of sources is 1: InfoM is defined for at least 2"
    );
    let error = text(Sources::new(2, 2, &[0, 5, 1, 5]).unwrap_err());
    assert!(
        error.starts_with("source 1 is ") && error.contains("constant source"),
        "{error}"
    );
    let error = text(Sources::new(1, 2, &[0, 5]).unwrap_err());
    assert!(error.contains("at least 2 rows"), "{error}");
    assert!(text(quantile_bins(&four, 1).unwrap_err()).contains("must be at least 2"));
    for (config, field) in [
        (
            InfomecConfig {
                neighbors: 0,
                ..config
            },
            "neighbors = 0",
        ),
        (
            InfomecConfig {
                active_share: Some(1.0),
                ..config
            },
            "active_share = 1.0",
        ),
        (
            InfomecConfig {
                probe: Probe::Iterations(0),
                ..config
            },
            "probe = Iterations(0)",
        ),
    ] {
        let error = text(infomec(&sources, &four, &config).unwrap_err());
        assert!(
            error.starts_with(&format!("InfomecConfig.{field}: ")),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Scores do not depend on the order of the latents or on the names of their values.
    #[test]
    fn order_and_names_of_latents_do_not_matter(
        order in Just(vec![0_usize, 1, 2]).prop_shuffle(),
        names in Just(vec![0.0_f32, 1.0, 2.0, 3.0]).prop_shuffle(),
    ) {
        let (sources, rows, values) = imperfect();
        let renamed: Vec<f32> = columns(rows, &values, &order)
            .iter()
            .map(|&value| names[value as usize])
            .collect();
        let config = InfomecConfig::default();
        let plain = Latents::discrete(rows, 3, &values).unwrap();
        let other = Latents::discrete(rows, 3, &renamed).unwrap();
        let (a, b) = (
            infomec(&sources, &plain, &config).unwrap(),
            infomec(&sources, &other, &config).unwrap(),
        );
        prop_assert!(close(a.infom, b.infom) && close(a.infoc, b.infoc));
        prop_assert!((a.infoe().unwrap() - b.infoe().unwrap()).abs() < 1e-4);
    }

    /// The estimator for continuous latents ignores their scale and offset.
    #[test]
    fn continuous_latents_may_be_scaled(scale in 0.1_f32..10.0, offset in -5.0_f32..5.0) {
        let (rows, values) = grid(&[3, 4], 15);
        let sources = Sources::new(rows, 2, &values).unwrap();
        let plain: Vec<f32> = values
            .iter()
            .zip(noise(rows * 2, 3))
            .map(|(&value, noise)| value as f32 + 2.0 * noise as f32)
            .collect();
        let moved: Vec<f32> = plain.iter().map(|z| z * scale + offset).collect();
        let config = InfomecConfig::default().without_probe();
        let score = |values: &[f32]| {
            let latents = Latents::continuous(rows, 2, values).unwrap();
            infomec(&sources, &latents, &config).unwrap()
        };
        let (a, b) = (score(&plain), score(&moved));
        prop_assert!((a.infom - b.infom).abs() < 0.02, "{} {}", a.infom, b.infom);
    }
}
