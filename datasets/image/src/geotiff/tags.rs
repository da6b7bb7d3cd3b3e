//! Where the pixels of a raster lie.

use super::header::{Directory, tag};

/// `EPSG` codes of the coordinate systems: key numbers of projected and geographic ones.
const EPSG_KEYS: [u16; 2] = [3072, 2048];
/// Stands for a system of the user's own.
const USER_DEFINED: u16 = 32_767;
/// `GTRasterTypeGeoKey`, and its value where coordinates are those of the middle of a pixel.
const RASTER_TYPE: u16 = 1025;
const PIXEL_IS_POINT: u16 = 2;

/// The tags of GeoTIFF 1.1 (OGC 19-008r4), as they are in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeoTags {
    /// `ModelPixelScale` (33550): width, height and depth of a pixel.
    pub pixel_scale: Vec<f64>,
    /// `ModelTiepoint` (33922): column, row and layer of points, and their coordinates.
    pub tiepoints: Vec<f64>,
    /// `ModelTransformation` (34264): a 4×4 matrix from columns and rows to coordinates.
    pub transformation: Vec<f64>,
    /// `GeoKeyDirectory` (34735): which coordinate system.
    pub keys: Vec<u16>,
    /// `GeoDoubleParams` (34736): numbers that keys point to.
    pub doubles: Vec<f64>,
    /// `GeoAsciiParams` (34737): text that keys point to.
    pub text: String,
}

impl GeoTags {
    /// Tags of a raster whose rows run from north to south: coordinates of its upper left corner, and
    /// width and height of a pixel, in the units of a coordinate system that is not named.
    pub fn north_up([x, y]: [f64; 2], [width, height]: [f64; 2]) -> Self {
        Self {
            pixel_scale: vec![width, height, 0.0],
            tiepoints: vec![0.0, 0.0, 0.0, x, y, 0.0],
            ..Self::default()
        }
    }

    /// The same in the projected coordinate system with this EPSG code, e.g. 32754 for UTM zone 54
    /// south.
    pub fn with_epsg(mut self, code: u16) -> Self {
        // Version 1.1.0 with two keys: the model is projected, and its system.
        self.keys = vec![1, 1, 0, 2, 1024, 0, 1, 1, EPSG_KEYS[0], 0, 1, code];
        self
    }

    /// Whether the file says nothing of where it lies.
    pub fn is_empty(&self) -> bool {
        self.pixel_scale.is_empty() && self.tiepoints.is_empty() && self.transformation.is_empty()
    }

    /// Width and height of a pixel in the units of the coordinate system, where the raster is not
    /// turned.
    pub fn pixel_size(&self) -> Option<[f64; 2]> {
        match self.pixel_scale.as_slice() {
            [width, height, ..] => Some([*width, *height]),
            _ => match self.transformation.as_slice() {
                [a, b, _, _, c, d, ..] if *b == 0.0 && *c == 0.0 => Some([*a, -d]),
                _ => None,
            },
        }
    }

    /// Coordinates of the upper left corner of the first pixel, also where the tags give those of
    /// its middle (`PixelIsPoint`).
    pub fn origin(&self) -> Option<[f64; 2]> {
        let [width, height] = self.pixel_size()?;
        let [x, y] = match self.tiepoints.as_slice() {
            [column, row, _, x, y, ..] => [x - column * width, y + row * height],
            _ => match self.transformation.as_slice() {
                [_, _, _, x, _, _, _, y, ..] => [*x, *y],
                _ => return None,
            },
        };
        Some(match self.key(RASTER_TYPE) {
            Some(PIXEL_IS_POINT) => [x - width / 2.0, y + height / 2.0],
            _ => [x, y],
        })
    }

    /// The EPSG code of the coordinate system, where it has one.
    pub fn epsg(&self) -> Option<u16> {
        let mut codes = EPSG_KEYS.into_iter().filter_map(|key| self.key(key));
        codes.find(|code| *code != 0 && *code != USER_DEFINED)
    }

    /// The value of a key that has it in the directory itself.
    fn key(&self, wanted: u16) -> Option<u16> {
        let mut keys = self.keys.get(4..)?.chunks_exact(4);
        let found = keys.find(|key| key[0] == wanted && key[1] == 0);
        found.map(|key| key[3])
    }

    pub(super) fn of(directory: &Directory) -> Self {
        let keys = directory.whole(tag::GEO_KEYS).iter();
        Self {
            pixel_scale: directory.reals(tag::PIXEL_SCALE),
            tiepoints: directory.reals(tag::TIEPOINTS),
            transformation: directory.reals(tag::TRANSFORMATION),
            keys: keys.map(|&key| key as u16).collect(),
            doubles: directory.reals(tag::GEO_DOUBLES),
            text: directory.text(tag::GEO_TEXT).unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_systems_are_told() {
        let tags = GeoTags::north_up([288_776.25, 9_120_760.75], [28.5, 28.5]).with_epsg(31_985);
        assert_eq!(tags.origin(), Some([288_776.25, 9_120_760.75]));
        assert_eq!(
            (tags.pixel_size(), tags.epsg()),
            (Some([28.5; 2]), Some(31_985))
        );
        // A tie point at another pixel than the first.
        let mut moved = tags.clone();
        moved.tiepoints = vec![
            10.0,
            20.0,
            0.0,
            288_776.25 + 285.0,
            9_120_760.75 - 570.0,
            0.0,
        ];
        assert_eq!(moved.origin(), tags.origin());
        let matrix = GeoTags {
            transformation: [30.0, 0.0, 0.0, 7.0, 0.0, -20.0, 0.0, 9.0]
                .into_iter()
                .chain([0.0; 8])
                .collect(),
            ..GeoTags::default()
        };
        assert_eq!(
            (matrix.origin(), matrix.pixel_size()),
            (Some([7.0, 9.0]), Some([30.0, 20.0]))
        );
        // Coordinates of the middle of a pixel.
        let mut points = tags.clone();
        points.keys.splice(3..4, [3]);
        points.keys.extend([1025, 0, 1, 2]);
        assert_eq!(points.origin(), Some([288_762.0, 9_120_775.0]));
        points.tiepoints[3] += 14.25;
        points.tiepoints[4] -= 14.25;
        assert_eq!(
            (points.origin(), points.epsg()),
            (tags.origin(), Some(31_985))
        );
        let own = GeoTags {
            keys: vec![1, 1, 0, 1, 3072, 0, 1, 32_767],
            ..GeoTags::default()
        };
        assert_eq!(
            (own.epsg(), own.origin(), own.is_empty()),
            (None, None, true)
        );
    }
}
