//! Labelled grids of small images, as PNG.

use crate::font;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use menagerie_core::{Error, Result, fs};
use std::path::Path;

/// Pixels between two tiles and around the picture.
const GAP: usize = 6;
/// The longer side of a tile, in pixels, that the automatic scale aims at.
const COMFORTABLE: usize = 64;
/// The longest side of a picture that image viewers reliably open.
const LARGEST: usize = 16_384;

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [34; 3];
const FRAME: [u8; 3] = [200; 3];
/// Marks a pixel that is not a number; nothing in a grey picture looks like it.
const NOT_A_NUMBER: [u8; 3] = [255, 0, 255];

/// Rows of images of one shape with labels, e.g. inputs above their reconstructions.
///
/// Pixels are `f32` in `0..=1` in the order `[channels, height, width]`. Values beyond are
/// clipped, and `NaN` is drawn in magenta.
#[derive(Clone, Debug)]
pub struct Grid {
    shape: [usize; 3],
    scale: Option<usize>,
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    label: String,
    tiles: Vec<Vec<f32>>,
    captions: Vec<String>,
}

/// Where everything stands, in pixels.
struct Layout {
    scale: usize,
    tile: (usize, usize),
    column_width: usize,
    row_heights: Vec<usize>,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Grid {
    /// A grid without rows for images of `shape`, `[channels, height, width]`; 1 or 3 channels.
    pub fn new(shape: [usize; 3]) -> Self {
        Self {
            shape,
            scale: None,
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// A grid without labels from a batch `[n, channels, height, width]` laid out in rows of
    /// `per_row` images; `n` must be a multiple of `per_row`.
    pub fn tiled(shape: [usize; 3], images: &[f32], per_row: usize) -> Self {
        let size = shape.iter().product::<usize>().max(1);
        let mut grid = Self::new(shape);
        for row in images.chunks(size.saturating_mul(per_row).max(1)) {
            grid = grid.row("", row.chunks(size));
        }
        grid
    }

    /// Adds a row of images; the label stands to its left.
    #[must_use]
    pub fn row<T: AsRef<[f32]>>(
        mut self,
        label: impl Into<String>,
        tiles: impl IntoIterator<Item = T>,
    ) -> Self {
        let tiles: Vec<Vec<f32>> = tiles.into_iter().map(|t| t.as_ref().to_vec()).collect();
        self.rows.push(Row {
            label: label.into(),
            captions: Vec::new(),
            tiles,
        });
        self
    }

    /// Adds a row of images with a caption below each, e.g. a class and its probability.
    #[must_use]
    pub fn captioned_row<T: AsRef<[f32]>, S: Into<String>>(
        mut self,
        label: impl Into<String>,
        tiles: impl IntoIterator<Item = (T, S)>,
    ) -> Self {
        let tiles = tiles.into_iter();
        let (tiles, captions) = tiles.map(|(t, c)| (t.as_ref().to_vec(), c.into())).unzip();
        self.rows.push(Row {
            label: label.into(),
            captions,
            tiles,
        });
        self
    }

    /// Labels above the columns.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.columns = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Draws every pixel as a square of `scale` pixels (nearest neighbour). Without this call tiny
    /// images are enlarged until their longer side has 64 pixels.
    #[must_use]
    pub fn scale(mut self, scale: usize) -> Self {
        self.scale = Some(scale);
        self
    }

    /// The picture as a PNG file, 8-bit RGB.
    ///
    /// # Errors
    /// [`Error::Input`] for a shape without pixels or with other than 1 or 3 channels, no rows,
    /// rows of unequal length, an image of the wrong size, column labels that do not match the
    /// columns, a scale of 0, or a picture with a side above 16384 pixels.
    pub fn png(&self) -> Result<Vec<u8>> {
        let layout = self.layout()?;
        let canvas = self.draw(&layout);
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(
                canvas.pixels.as_flattened(),
                layout.width as u32,
                layout.height as u32,
                ExtendedColorType::Rgb8,
            )
            .map_err(|error| Error::other("encoding a PNG file", error))?;
        Ok(bytes)
    }

    /// Writes [`png`](Self::png) to `path`, whole or not at all.
    ///
    /// # Errors
    /// Those of [`png`](Self::png), and [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.png()?)
    }

    /// `[channels, height, width]` of one image.
    pub(crate) fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The labels above the columns, empty if there are none.
    pub(crate) fn column_labels(&self) -> &[String] {
        &self.columns
    }

    /// For each row its label, number of tiles and captions.
    pub(crate) fn row_labels(&self) -> impl Iterator<Item = (&str, usize, &[String])> {
        let rows = self.rows.iter();
        rows.map(|row| (row.label.as_str(), row.tiles.len(), row.captions.as_slice()))
    }

    /// What the viewer must know: pixels that could not be drawn as they are.
    pub(crate) fn remark(&self) -> Option<String> {
        let pixels = self.rows.iter().flat_map(|row| row.tiles.iter().flatten());
        let count = pixels.filter(|pixel| pixel.is_nan()).count();
        (count > 0).then(|| format!("NaN values, drawn in magenta: {count}"))
    }

    fn layout(&self) -> Result<Layout> {
        let columns = self.check()?;
        let [_, height, width] = self.shape;
        let automatic = (COMFORTABLE.div_ceil(height.max(width))).clamp(1, COMFORTABLE);
        let scale = self.scale.unwrap_or(automatic);
        if scale == 0 || scale > LARGEST {
            let rule = format!("must be between 1 and {LARGEST}");
            return Err(Error::input("scale of an image grid", scale, rule));
        }
        let tile = (width.saturating_mul(scale), height.saturating_mul(scale));
        let captions = || self.rows.iter().flat_map(|row| &row.captions);
        let labels = self.columns.iter().chain(captions());
        // Labels of neighbours stay a character apart.
        let widest = labels.map(|label| font::size(label).0 + font::ADVANCE);
        let column_width = widest.fold(tile.0, usize::max);
        let header = tallest(&self.columns);
        let row_heights: Vec<usize> = self
            .rows
            .iter()
            .map(|row| {
                let picture = tile.1.saturating_add(tallest(&row.captions));
                picture.max(font::size(&row.label).1)
            })
            .collect();
        let label = self.rows.iter().map(|row| font::size(&row.label).0).max();
        let left = match label.unwrap_or(0) {
            0 => GAP,
            label => GAP + label + GAP,
        };
        let top = GAP + header;
        let total = |sizes: &[usize], start: usize| {
            let sizes = sizes.iter();
            sizes.fold(start, |sum, size| {
                sum.saturating_add(*size).saturating_add(GAP)
            })
        };
        let layout = Layout {
            scale,
            tile,
            column_width,
            left,
            top,
            width: total(&vec![column_width; columns], left),
            height: total(&row_heights, top),
            row_heights,
        };
        if layout.width.max(layout.height) > LARGEST {
            return Err(Error::input(
                "size of an image grid in pixels",
                (layout.width, layout.height),
                format!("must be at most {LARGEST} on each side; draw fewer or smaller images"),
            ));
        }
        Ok(layout)
    }

    /// The number of columns of a well-formed grid.
    fn check(&self) -> Result<usize> {
        let [channels, height, width] = self.shape;
        let size = channels
            .checked_mul(height)
            .and_then(|n| n.checked_mul(width));
        let size = size.filter(|size| *size > 0 && matches!(channels, 1 | 3));
        let size = size.ok_or_else(|| {
            let rule =
                "must be [channels, height, width] with 1 or 3 channels and at least 1 pixel";
            Error::input("shape of the images of a grid", self.shape, rule)
        })?;
        let columns = self.rows.first().map_or(0, |row| row.tiles.len());
        if columns == 0 {
            let rule = "must be at least 1 in the first row";
            return Err(Error::input("number of images of a grid", columns, rule));
        }
        for (index, row) in self.rows.iter().enumerate() {
            if row.tiles.len() != columns {
                return Err(Error::input(
                    format!("number of images in row {index} of a grid"),
                    row.tiles.len(),
                    format!("must be {columns}, that of row 0"),
                ));
            }
            for (column, tile) in row.tiles.iter().enumerate() {
                if tile.len() != size {
                    return Err(Error::input(
                        format!("number of values of image {column} in row {index} of a grid"),
                        tile.len(),
                        format!("must be {size}, the product of {:?}", self.shape),
                    ));
                }
            }
        }
        if !self.columns.is_empty() && self.columns.len() != columns {
            return Err(Error::input(
                "number of column labels of a grid",
                self.columns.len(),
                format!("must be {columns}, one per column, or none"),
            ));
        }
        Ok(columns)
    }

    fn draw(&self, layout: &Layout) -> Canvas {
        let mut canvas = Canvas::new(layout.width, layout.height);
        let pitch = layout.column_width + GAP;
        let centre = |column: usize| layout.left + column * pitch + layout.column_width / 2;
        for (column, label) in self.columns.iter().enumerate() {
            canvas.centred_text(label, centre(column), GAP);
        }
        let mut y = layout.top;
        for (row, height) in self.rows.iter().zip(&layout.row_heights) {
            let (_, label_height) = font::size(&row.label);
            let middle = y + layout.tile.1.max(label_height) / 2;
            canvas.text(&row.label, GAP, middle - label_height / 2);
            for (column, tile) in row.tiles.iter().enumerate() {
                let x = centre(column) - layout.tile.0 / 2;
                canvas.tile(tile, self.shape, layout.scale, (x, y));
            }
            for (column, caption) in row.captions.iter().enumerate() {
                canvas.centred_text(caption, centre(column), y + layout.tile.1);
            }
            y += height + GAP;
        }
        canvas
    }
}

fn tallest(labels: &[String]) -> usize {
    labels
        .iter()
        .map(|label| font::size(label).1)
        .max()
        .unwrap_or(0)
}

struct Canvas {
    pixels: Vec<[u8; 3]>,
    width: usize,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self {
            pixels: vec![PAPER; width * height],
            width,
        }
    }

    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if let Some(pixel) = self.pixels.get_mut(y * self.width + x) {
            *pixel = colour;
        }
    }

    fn text(&mut self, text: &str, x: usize, y: usize) {
        for (index, line) in font::lines(text).iter().enumerate() {
            font::draw(line, |dx, dy| {
                self.set(x + dx, y + index * font::LINE + dy, INK)
            });
        }
    }

    fn centred_text(&mut self, text: &str, centre: usize, y: usize) {
        for (index, line) in text.lines().enumerate() {
            let x = centre - font::size(line).0 / 2;
            self.text(line, x, y + index * font::LINE);
        }
    }

    fn tile(&mut self, values: &[f32], shape: [usize; 3], scale: usize, at: (usize, usize)) {
        let [channels, height, width] = shape;
        let (right, bottom) = (at.0 + width * scale, at.1 + height * scale);
        // The frame lies in the gap around the tile, so that white images keep their edges.
        for x in at.0 - 1..=right {
            self.set(x, at.1 - 1, FRAME);
            self.set(x, bottom, FRAME);
        }
        for y in at.1 - 1..=bottom {
            self.set(at.0 - 1, y, FRAME);
            self.set(right, y, FRAME);
        }
        for y in 0..height * scale {
            for x in 0..width * scale {
                let index = y / scale * width + x / scale;
                let colour = colour(|channel| values[channel * height * width + index], channels);
                self.set(at.0 + x, at.1 + y, colour);
            }
        }
    }
}

/// One pixel; grey where there is one channel.
fn colour(value: impl Fn(usize) -> f32, channels: usize) -> [u8; 3] {
    let colour = [0, 1, 2].map(|channel| value(channel.min(channels - 1)));
    if colour.iter().any(|value| value.is_nan()) {
        return NOT_A_NUMBER;
    }
    colour.map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(grid: &Grid) -> image::RgbImage {
        image::load_from_memory(&grid.png().unwrap())
            .unwrap()
            .to_rgb8()
    }

    #[test]
    fn pixels_are_enlarged_clipped_and_framed() {
        let grid = Grid::new([1, 1, 3]).row("", [[0.0, 0.5, 7.0]]).scale(2);
        let picture = decode(&grid);
        assert_eq!(picture.dimensions(), (18, 14));
        let row: Vec<u8> = (5..13).map(|x| picture.get_pixel(x, 7).0[0]).collect();
        assert_eq!(row, [200, 0, 0, 128, 128, 255, 255, 200]);
        assert_eq!(picture.get_pixel(6, 6), picture.get_pixel(6, 7));
        assert_eq!(picture.get_pixel(4, 7).0, PAPER);
    }

    #[test]
    fn channels_are_planes_and_not_a_number_is_magenta() {
        let tile = [1.0, 0.0, 0.0, f32::NAN, 0.0, 0.0];
        let grid = Grid::new([3, 1, 2]).row("", [tile]).scale(1);
        let picture = decode(&grid);
        assert_eq!(picture.get_pixel(6, 6).0, [255, 0, 0]);
        assert_eq!(picture.get_pixel(7, 6).0, NOT_A_NUMBER);
        assert_eq!(grid.remark().unwrap(), "NaN values, drawn in magenta: 1");
    }

    #[test]
    fn labels_make_room_for_themselves() {
        let tiles = [[0.0; 16], [1.0; 16]];
        let plain = Grid::new([1, 4, 4]).row("", tiles);
        let labelled = Grid::new([1, 4, 4])
            .columns(["first", "a longer label"])
            .captioned_row("input", tiles.map(|tile| (tile, "caption")));
        let (plain, labelled) = (decode(&plain), decode(&labelled));
        assert_eq!(plain.dimensions(), (6 + 2 * 70, 6 + 70));
        let column = 15 * font::ADVANCE as u32 + 6;
        let left = 5 * font::ADVANCE as u32 + 12;
        let line = font::LINE as u32;
        assert_eq!(
            labelled.dimensions(),
            (left + 2 * column, 6 + line + 64 + line + 6)
        );
        assert!(labelled.pixels().any(|pixel| pixel.0 == INK));
        assert!(plain.pixels().all(|pixel| pixel.0 != INK));
    }

    #[test]
    fn a_batch_is_laid_out_row_by_row() {
        let images: Vec<f32> = (0..6).map(|index| index as f32 / 255.0).collect();
        let picture = decode(&Grid::tiled([1, 1, 1], &images, 3).scale(1));
        assert_eq!(picture.dimensions(), (6 + 3 * 7, 6 + 2 * 7));
        assert_eq!(picture.get_pixel(6 + 7, 6 + 7).0, [4; 3]);
    }

    #[test]
    fn malformed_grids_are_refused() {
        let error = |grid: Grid| grid.png().unwrap_err().to_string();
        assert_eq!(
            error(Grid::new([2, 1, 1]).row("", [[0.0, 0.0]])),
            "shape of the images of a grid is [2, 1, 1]: must be [channels, height, width] with 1 \
             or 3 channels and at least 1 pixel"
        );
        assert_eq!(
            error(Grid::new([1, 1, 1])),
            "number of images of a grid is 0: must be at least 1 in the first row"
        );
        assert_eq!(
            error(Grid::new([1, 1, 2]).row("", [vec![0.0; 2], vec![0.0; 3]])),
            "number of values of image 1 in row 0 of a grid is 3: must be 2, the product of [1, 1, 2]"
        );
        assert_eq!(
            error(Grid::tiled([1, 1, 1], &[0.0; 5], 3)),
            "number of images in row 1 of a grid is 2: must be 3, that of row 0"
        );
        assert_eq!(
            error(Grid::new([1, 1, 1]).columns(["a", "b"]).row("", [[0.0]])),
            "number of column labels of a grid is 2: must be 1, one per column, or none"
        );
        assert_eq!(
            error(Grid::new([1, 1, 1]).row("", [[0.0]]).scale(0)),
            "scale of an image grid is 0: must be between 1 and 16384"
        );
        let large = error(Grid::new([1, 100, 100]).row("", [[0.0; 10_000]]).scale(200));
        assert!(
            large.contains("must be at most 16384 on each side"),
            "{large}"
        );
    }
}
