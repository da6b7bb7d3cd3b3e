//! The rasteriser against areas known in closed form and against brute force.

use crate::{assert_close, centroid, draw, mass};
use menagerie_data_synthetic::{
    Factor, Shape, Sprites, SpritesConfig,
    geometry::{HalfPlane, Polygon},
};
use std::f64::consts::{PI, SQRT_2, TAU};

const SHAPES: [Shape; 5] = [
    Shape::Square,
    Shape::Ellipse,
    Shape::Heart,
    Shape::Disc,
    Shape::Plus,
];
const SIDE: usize = 40;
const RADIUS: f64 = 12.3;

/// All shapes at these orientations, anti-aliased, a little off the centre of the pixels.
fn turned(angles: Vec<f64>) -> Sprites {
    SpritesConfig {
        side: SIDE,
        pool: 1,
        binary: false,
        radius: RADIUS,
        travel: 3.0,
        factors: vec![
            Factor::Shape(SHAPES.to_vec()),
            Factor::Orientation(angles),
            Factor::X(vec![0.4]),
        ],
    }
    .init()
    .unwrap()
}

#[test]
fn a_turn_keeps_area_and_centroid() {
    let angles: Vec<f64> = (0..24)
        .map(|step| f64::from(step) * TAU / 24.0 + 0.01)
        .collect();
    let sprites = turned(angles);
    for (shape, figure) in SHAPES.into_iter().enumerate() {
        for angle in 0..24 {
            let image = draw(&sprites, &[shape, angle, 0]);
            let area = figure.area() * RADIUS * RADIUS;
            assert_close(mass(&image) / area, 1.0, 1e-7);
            // The light of a pixel counts as if it came from its middle.
            let [x, y] = centroid(&image, SIDE);
            assert_close(x, 19.7, 0.01);
            assert_close(y, 20.0, 0.01);
        }
    }
}

/// Whether the point lies in the upright figure, from its definition. `y` grows downwards.
fn inside(shape: Shape, x: f64, y: f64) -> bool {
    match shape {
        Shape::Square => x.abs() <= 1.0 && y.abs() <= 1.0,
        Shape::Disc => x.hypot(y) <= 1.0,
        Shape::Ellipse => x.hypot(2.0 * y) <= 1.0,
        Shape::Plus => x.abs().max(y.abs()) <= 1.0 && x.abs().min(y.abs()) <= 1.0 / 3.0,
        _ => {
            // Half-width 1: the half-diagonal d of the square obeys d / 2 + d / √2 = 1.
            let d = 2.0 / (1.0 + SQRT_2);
            let (square, discs) = (2.0 * d * d, PI * d * d / 2.0);
            let rise = discs * (d / 2.0 + 2.0 * d / (3.0 * PI)) / (square + discs);
            let up = rise - y;
            x.abs() + up.abs() <= d
                || (x.abs() - d / 2.0).hypot(up - d / 2.0) <= d / SQRT_2 && x.abs() + up >= d
        }
    }
}

#[test]
fn coverage_is_what_brute_force_counts() {
    const FINE: usize = 40;
    let angle = 0.7_f64;
    let sprites = turned(vec![angle]);
    for (shape, figure) in SHAPES.into_iter().enumerate() {
        let image = draw(&sprites, &[shape, 0, 0]);
        for (at, found) in image.iter().enumerate() {
            let (column, row) = ((at % SIDE) as f64, (at / SIDE) as f64);
            let mut hits = 0;
            for fine in 0..FINE * FINE {
                let x = column + ((fine % FINE) as f64 + 0.5) / FINE as f64 - 19.7;
                let y = row + ((fine / FINE) as f64 + 0.5) / FINE as f64 - 20.0;
                // Turning the figure anticlockwise is turning the point clockwise; on screen,
                // where y grows downwards, that is this.
                let u = (x * angle.cos() - y * angle.sin()) / RADIUS;
                let v = (x * angle.sin() + y * angle.cos()) / RADIUS;
                hits += usize::from(inside(figure, u, v));
            }
            let expected = hits as f64 / (FINE * FINE) as f64;
            assert_close(f64::from(*found), expected, 0.015);
        }
    }
}

#[test]
fn a_quarter_turn_takes_the_hearts_tip_to_the_right() {
    let sprites = turned(vec![0.0, PI / 2.0]);
    let reach = |image: &[f32]| {
        // How far light extends from the centroid: left, right, up, down.
        let lit: Vec<(f64, f64)> = (0..image.len())
            .filter(|at| image[*at] > 0.5)
            .map(|at| {
                (
                    (at % SIDE) as f64 + 0.5 - 19.7,
                    (at / SIDE) as f64 + 0.5 - 20.0,
                )
            })
            .collect();
        let most = |value: fn(&(f64, f64)) -> f64| lit.iter().map(value).fold(0.0, f64::max);
        [most(|p| -p.0), most(|p| p.0), most(|p| -p.1), most(|p| p.1)]
    };
    let [left, right, up, down] = reach(&draw(&sprites, &[2, 0, 0]));
    assert!(down > up + 2.0 && (left - right).abs() < 1.5);
    let [left, right, up, down] = reach(&draw(&sprites, &[2, 1, 0]));
    assert!(right > left + 2.0 && (up - down).abs() < 1.5);
}

#[test]
fn polygons_meet_half_planes_and_discs_in_the_known_areas() {
    let square = |side: f64, x: f64, y: f64| {
        Polygon::quadrilateral([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])
    };
    assert_close(square(2.0, -1.0, -1.0).area(), 4.0, 1e-15);
    let diagonal = HalfPlane {
        normal: [1.0, 1.0],
        offset: 0.0,
    };
    assert_close(square(2.0, -1.0, -1.0).cut(diagonal).area(), 2.0, 1e-15);
    let beyond = HalfPlane {
        normal: [1.0, 0.0],
        offset: -2.0,
    };
    assert!(square(2.0, -1.0, -1.0).cut(beyond).points().is_empty());

    // The disc within the square, the square within the disc, a quarter, a cap, nothing.
    assert_close(square(4.0, -2.0, -2.0).area_in_unit_disc(), PI, 1e-14);
    assert_close(square(0.5, 0.1, -0.2).area_in_unit_disc(), 0.25, 1e-15);
    assert_close(square(3.0, 0.0, 0.0).area_in_unit_disc(), PI / 4.0, 1e-14);
    let cap = PI / 3.0 - 3.0_f64.sqrt() / 4.0;
    assert_close(square(4.0, 0.5, -2.0).area_in_unit_disc(), cap, 1e-14);
    assert_close(square(1.0, 0.8, 0.8).area_in_unit_disc(), 0.0, 1e-15);
}
