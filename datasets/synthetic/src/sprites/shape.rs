//! The figures: unions of disjoint pieces whose overlap with a pixel has a closed form.

use crate::geometry::{HalfPlane, Point, Polygon};
use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

/// A figure, centred on its centroid. At scale 1 its half-width is one radius.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Shape {
    /// A square with sides along the axes.
    Square,
    /// An ellipse, half as high as wide.
    Ellipse,
    /// A heart: a square on its tip with a half-disc on each of its upper sides.
    Heart,
    /// A disc.
    Disc,
    /// A Greek cross whose arms are a third of its width.
    Plus,
}

/// The axes of [`Shape::Ellipse`], height to width.
const ELLIPSE_RATIO: f64 = 0.5;
/// The half-diagonal of the heart's square where the heart's half-width is 1.
const HEART_DIAGONAL: f64 = 2.0 * (SQRT_2 - 1.0);

impl Shape {
    /// The area where the half-width is 1.
    pub fn area(self) -> f64 {
        match self {
            Self::Square => 4.0,
            Self::Ellipse => PI * ELLIPSE_RATIO,
            Self::Heart => HEART_DIAGONAL * HEART_DIAGONAL * (2.0 + PI / 2.0),
            Self::Disc => PI,
            Self::Plus => 20.0 / 9.0,
        }
    }

    /// The farthest distance from the centroid to the outline along a row or a column, where the
    /// half-width is 1 and the figure is upright.
    pub(super) fn extent(self) -> f64 {
        match self {
            // The heart's tip lies lower than its sides lie out.
            Self::Heart => HEART_DIAGONAL + heart_rise(),
            _ => 1.0,
        }
    }

    /// The farthest distance from the centroid to the outline in any direction, where the
    /// half-width is 1.
    pub(super) fn reach(self) -> f64 {
        match self {
            Self::Square => SQRT_2,
            Self::Ellipse | Self::Disc => 1.0,
            Self::Heart => {
                let half = HEART_DIAGONAL / 2.0;
                let lobe = (half * half + (half - heart_rise()).powi(2)).sqrt();
                (lobe + HEART_DIAGONAL * FRAC_1_SQRT_2).max(self.extent())
            }
            Self::Plus => (10.0_f64 / 9.0).sqrt(),
        }
    }

    pub(super) fn pieces(self) -> Vec<Piece> {
        let third = 1.0 / 3.0;
        match self {
            Self::Square => vec![Piece::rectangle([-1.0, 1.0], [-1.0, 1.0])],
            Self::Disc => vec![Piece::ellipse([0.0, 0.0], [1.0, 1.0], None)],
            Self::Ellipse => vec![Piece::ellipse([0.0, 0.0], [1.0, ELLIPSE_RATIO], None)],
            Self::Plus => vec![
                Piece::rectangle([-1.0, 1.0], [-third, third]),
                Piece::rectangle([-third, third], [-1.0, -third]),
                Piece::rectangle([-third, third], [third, 1.0]),
            ],
            Self::Heart => {
                let (h, rise) = (HEART_DIAGONAL, heart_rise());
                // `y` grows downwards: the square's centre lies `rise` below the centroid.
                let side = |x: f64, y: f64| HalfPlane {
                    normal: [x, y],
                    offset: h + y * rise,
                };
                let lobe = |x: f64| {
                    let cut = HalfPlane {
                        normal: [-x, 1.0],
                        offset: rise - h,
                    };
                    let radius = h * FRAC_1_SQRT_2;
                    Piece::ellipse([x * h / 2.0, rise - h / 2.0], [radius, radius], Some(cut))
                };
                let square = [
                    side(1.0, 1.0),
                    side(-1.0, 1.0),
                    side(-1.0, -1.0),
                    side(1.0, -1.0),
                ];
                vec![Piece::Convex(square), lobe(1.0), lobe(-1.0)]
            }
        }
    }
}

/// How far the heart's centroid lies above the centre of its square.
fn heart_rise() -> f64 {
    // A half-disc's centroid lies 4 r / (3 π) from its diameter; the two have an area of π h² / 2.
    let lobes = PI / 2.0;
    HEART_DIAGONAL * lobes * (0.5 + 2.0 / (3.0 * PI)) / (2.0 + lobes)
}

/// A part of a figure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    /// Where four half-planes meet.
    Convex([HalfPlane; 4]),
    /// An ellipse with axes along the figure's, or what a half-plane leaves of it.
    Ellipse {
        centre: Point,
        axes: Point,
        cut: Option<HalfPlane>,
    },
}

impl Piece {
    fn rectangle(x: [f64; 2], y: [f64; 2]) -> Self {
        Self::Convex([
            HalfPlane {
                normal: [1.0, 0.0],
                offset: x[1],
            },
            HalfPlane {
                normal: [-1.0, 0.0],
                offset: -x[0],
            },
            HalfPlane {
                normal: [0.0, 1.0],
                offset: y[1],
            },
            HalfPlane {
                normal: [0.0, -1.0],
                offset: -y[0],
            },
        ])
    }

    fn ellipse(centre: Point, axes: Point, cut: Option<HalfPlane>) -> Self {
        Self::Ellipse { centre, axes, cut }
    }

    /// Whether the disc of `radius` around `centre` lies in the piece (`Some(true)`), beside it
    /// (`Some(false)`) or, perhaps, on its outline.
    pub(super) fn holds(&self, centre: Point, radius: f64) -> Option<bool> {
        let (distance, radius) = match *self {
            Self::Convex(sides) => {
                let distances = sides.iter().map(|side| side.distance(centre));
                (distances.fold(f64::NEG_INFINITY, f64::max), radius)
            }
            Self::Ellipse {
                centre: [x, y],
                axes,
                cut,
            } => {
                // Where the ellipse becomes the unit disc, lengths grow by at most the inverse of
                // its shorter axis.
                let (u, v) = ((centre[0] - x) / axes[0], (centre[1] - y) / axes[1]);
                let round = (u * u + v * v).sqrt() - 1.0;
                let shortest = axes[0].min(axes[1]);
                let straight =
                    cut.map_or(f64::NEG_INFINITY, |half_plane| half_plane.distance(centre));
                (round.max(straight / shortest), radius / shortest)
            }
        };
        if distance >= radius {
            Some(false)
        } else if distance <= -radius {
            Some(true)
        } else {
            None
        }
    }

    /// The area that the piece shares with a convex polygon.
    pub(super) fn overlap(&self, polygon: &Polygon) -> f64 {
        match *self {
            Self::Convex(sides) => {
                let mut rest = *polygon;
                for side in sides {
                    rest = rest.cut(side);
                    if rest.points().is_empty() {
                        return 0.0;
                    }
                }
                rest.area()
            }
            Self::Ellipse { centre, axes, cut } => {
                let rest = cut.map_or(*polygon, |half_plane| polygon.cut(half_plane));
                let round =
                    rest.map(|p| [(p[0] - centre[0]) / axes[0], (p[1] - centre[1]) / axes[1]]);
                round.area_in_unit_disc() * axes[0] * axes[1]
            }
        }
    }
}
