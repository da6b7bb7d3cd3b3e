//! What is refused, and in which words.

use menagerie_data_synthetic::{Factor, Shape, SpritesConfig};

fn refused(alter: impl FnOnce(&mut SpritesConfig)) -> String {
    let mut config = SpritesConfig::qlae_small();
    alter(&mut config);
    config.init().unwrap_err().to_string()
}

#[track_caller]
fn assert_starts(error: &str, start: &str) {
    assert!(error.starts_with(start), "{error}");
}

#[test]
fn impossible_sizes_are_refused() {
    assert_eq!(
        refused(|c| c.side = 0),
        "SpritesConfig.side = 0: must be at least 1"
    );
    assert_eq!(
        refused(|c| c.pool = 0),
        "SpritesConfig.pool = 0: must be at least 1"
    );
    assert_starts(
        &refused(|c| c.side = usize::MAX),
        "SpritesConfig.side = 18446744073709551615: ",
    );
    assert_eq!(
        refused(|c| c.radius = 0.0),
        "SpritesConfig.radius = 0.0: must be above 0"
    );
    assert_starts(
        &refused(|c| c.radius = f64::NAN),
        "SpritesConfig.radius = NaN: ",
    );
    assert_starts(
        &refused(|c| c.travel = -1.0),
        "SpritesConfig.travel = -1.0: ",
    );
    assert_starts(
        &refused(|c| c.travel = f64::INFINITY),
        "SpritesConfig.travel = inf: ",
    );
}

#[test]
fn figures_that_are_cut_or_vanish_are_refused() {
    assert_eq!(
        refused(|c| c.side = 14),
        "SpritesConfig.side = 14: side * pool must be at least 30 pixels, or the border cuts the \
         largest figure"
    );
    // Turned, the corners of the square need more room.
    let turned = |c: &mut SpritesConfig| c.factors.push(Factor::Orientation(vec![0.0, 0.5]));
    assert_starts(
        &refused(turned),
        "SpritesConfig.side = 16: side * pool must be at least 36",
    );
    assert_eq!(
        refused(|c| c.radius = 1.5),
        "SpritesConfig.radius = 1.5: the smallest figure must have a half-width of at least one \
         pixel of the canvas, not 0.75"
    );
}

#[test]
fn impossible_factors_are_refused() {
    let one = |factor: Factor| refused(|c| c.factors = vec![factor]);
    assert_eq!(
        refused(|c| c.factors.clear()),
        "SpritesConfig.factors = []: must have at least one factor"
    );
    assert_eq!(
        one(Factor::Shape(vec![])),
        "SpritesConfig.factors.shape = 0: a factor must have at least one value"
    );
    assert_starts(
        &one(Factor::Shape(vec![Shape::Disc; 2])),
        "SpritesConfig.factors.shape = [Disc",
    );
    assert_eq!(
        one(Factor::Scale(vec![0.5, 0.0])),
        "SpritesConfig.factors.scale = 0.0: must be above 0"
    );
    assert_eq!(
        one(Factor::X(vec![0.0, 1.5])),
        "SpritesConfig.factors.x = 1.5: must lie in 0..=1"
    );
    assert_starts(
        &one(Factor::Y(vec![-0.1])),
        "SpritesConfig.factors.y = -0.1: ",
    );
    assert_starts(
        &one(Factor::Level(vec![1.1])),
        "SpritesConfig.factors.level = 1.1: ",
    );
    assert_starts(
        &one(Factor::Orientation(vec![f64::NAN])),
        "SpritesConfig.factors.orientation = NaN: must be finite",
    );
    assert_eq!(
        one(Factor::Level(vec![0.5, 1.0, 0.5])),
        "SpritesConfig.factors.level = [0.5, 1.0, 0.5]: values must differ from each other"
    );
    assert_eq!(
        refused(|c| c.factors.push(Factor::X(vec![0.5]))),
        "SpritesConfig.factors = \"x\": must not occur twice"
    );
    let many = |count: usize| (0..count).map(|at| at as f64 / count as f64).collect();
    let huge = vec![Factor::X(many(70_000)), Factor::Y(many(70_000))];
    assert_eq!(
        refused(|c| c.factors = huge),
        "SpritesConfig.factors = [70000, 70000]: the grid must have fewer than 2^32 images"
    );
}

#[test]
fn indices_and_factors_off_the_grid_are_refused() {
    let sprites = SpritesConfig::qlae_small().init().unwrap();
    let beyond = "sprite index is 900: must be below 900";
    assert_eq!(sprites.render(900).unwrap_err().to_string(), beyond);
    assert_eq!(sprites.factors_of(900).unwrap_err().to_string(), beyond);
    assert_eq!(
        sprites.render_batch(&[3, 900]).unwrap_err().to_string(),
        beyond
    );
    for factors in [vec![0; 4], vec![0, 0, 0, 0, 4], vec![0; 6]] {
        let error = sprites.index_of(&factors).unwrap_err().to_string();
        assert!(error.contains("below [3, 5, 5, 3, 4]"), "{error}");
    }
}
