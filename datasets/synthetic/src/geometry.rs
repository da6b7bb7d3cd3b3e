//! Exact anti-aliasing: the area that a pixel shares with a figure.
//!
//! Nothing is sampled. A pixel is a convex polygon; cut by half-planes it stays one, and the area
//! that a polygon shares with a disc has a closed form. The arithmetic uses basic operations, square
//! roots and the software functions of `libm`, so that the result does not depend on the platform.

/// A point `[x, y]`; `y` grows downwards, as rows do.
pub type Point = [f64; 2];

/// The points `p` with `normal · p <= offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HalfPlane {
    /// The outward normal, of any length.
    pub normal: Point,
    /// The bound on `normal · p`.
    pub offset: f64,
}

impl HalfPlane {
    /// The signed distance of `point` from the border, negative within.
    pub fn distance(&self, point: Point) -> f64 {
        (dot(self.normal, point) - self.offset) / dot(self.normal, self.normal).sqrt()
    }
}

/// Vertices that a polygon can hold; a quadrilateral cut by `n` half-planes has at most `4 + n`.
const CAPACITY: usize = 12;

/// A convex polygon.
#[derive(Clone, Copy, Debug)]
pub struct Polygon {
    points: [Point; CAPACITY],
    len: usize,
}

impl Polygon {
    /// The quadrilateral with these corners in either sense of rotation.
    pub fn quadrilateral(corners: [Point; 4]) -> Self {
        let mut polygon = Self {
            points: [[0.0; 2]; CAPACITY],
            len: 0,
        };
        corners.into_iter().for_each(|corner| polygon.push(corner));
        polygon
    }

    /// The vertices in order.
    pub fn points(&self) -> &[Point] {
        &self.points[..self.len]
    }

    /// The area, whatever the sense of rotation.
    pub fn area(&self) -> f64 {
        (self.edges().map(|(a, b)| cross(a, b)).sum::<f64>() / 2.0).abs()
    }

    /// What lies in `half_plane` (Sutherland and Hodgman's clipping, one step).
    ///
    /// Up to eight cuts of a quadrilateral are exact; further vertices are dropped.
    pub fn cut(&self, half_plane: HalfPlane) -> Self {
        let excess = |p: Point| dot(half_plane.normal, p) - half_plane.offset;
        let mut kept = Self {
            points: [[0.0; 2]; CAPACITY],
            len: 0,
        };
        for (a, b) in self.edges() {
            let (ea, eb) = (excess(a), excess(b));
            if ea <= 0.0 {
                kept.push(a);
            }
            if (ea < 0.0 && eb > 0.0) || (ea > 0.0 && eb < 0.0) {
                let t = ea / (ea - eb);
                kept.push([a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]);
            }
        }
        kept
    }

    /// The area shared with the disc of radius 1 around the origin.
    pub fn area_in_unit_disc(&self) -> f64 {
        if self.points().iter().all(|&p| dot(p, p) <= 1.0) {
            return self.area();
        }
        self.edges().map(|(a, b)| wedge(a, b)).sum::<f64>().abs()
    }

    /// The polygon with every vertex replaced by `map` of it; `map` must keep it convex.
    pub fn map(&self, map: impl Fn(Point) -> Point) -> Self {
        let mut mapped = *self;
        mapped.points[..self.len]
            .iter_mut()
            .for_each(|point| *point = map(*point));
        mapped
    }

    fn edges(&self) -> impl Iterator<Item = (Point, Point)> + '_ {
        let points = self.points();
        points
            .iter()
            .copied()
            .zip(points.iter().copied().cycle().skip(1))
    }

    fn push(&mut self, point: Point) {
        if self.len < CAPACITY {
            self.points[self.len] = point;
            self.len += 1;
        }
    }
}

/// The signed area that the triangle of the origin, `a` and `b` shares with the unit disc.
fn wedge(a: Point, b: Point) -> f64 {
    let d = [b[0] - a[0], b[1] - a[1]];
    // |a + t d| = 1 at the parameters (-p ± root) / dd.
    let (dd, p) = (dot(d, d), dot(a, d));
    let discriminant = p * p - dd * (dot(a, a) - 1.0);
    if discriminant <= 0.0 || dd == 0.0 {
        return sector(a, b);
    }
    let root = discriminant.sqrt();
    let (enter, leave) = ((-p - root) / dd, (-p + root) / dd);
    if leave <= 0.0 || enter >= 1.0 {
        return sector(a, b);
    }
    let at = |t: f64| [a[0] + t * d[0], a[1] + t * d[1]];
    let first = if enter > 0.0 { at(enter) } else { a };
    let last = if leave < 1.0 { at(leave) } else { b };
    let before = if enter > 0.0 { sector(a, first) } else { 0.0 };
    let after = if leave < 1.0 { sector(last, b) } else { 0.0 };
    before + cross(first, last) / 2.0 + after
}

/// The signed area of the unit disc's sector between the directions of `a` and `b`.
fn sector(a: Point, b: Point) -> f64 {
    libm::atan2(cross(a, b), dot(a, b)) / 2.0
}

fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

fn cross(a: Point, b: Point) -> f64 {
    a[0] * b[1] - a[1] * b[0]
}
