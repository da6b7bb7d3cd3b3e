use menagerie_data::Locator;
use menagerie_data_image::geotiff::{
    GeoTags, Raster, Samples, Scene, write_bands, write_classes, write_map,
};
use std::{fs, path::Path};

/// How a test file is laid out.
#[derive(Clone, Copy)]
struct Layout {
    little: bool,
    big: bool,
    /// Rows and columns of a tile; without, strips of so many rows.
    tile: Option<[usize; 2]>,
    rows: usize,
    planar: bool,
    /// Compression by its number: 1 none, 5 LZW, 8 Deflate.
    compression: u16,
    photometric: u16,
}

const PLAIN: Layout = Layout {
    little: true,
    big: false,
    tile: None,
    rows: 2,
    planar: false,
    compression: 1,
    photometric: 1,
};

/// A TIFF file of 16-bit values, `[height · width, bands]`, laid out as asked for.
fn tiff(values: &[u16], bands: usize, [height, width]: [usize; 2], layout: Layout) -> Vec<u8> {
    let number = |value: u64, bytes: usize| -> Vec<u8> {
        match layout.little {
            true => value.to_le_bytes()[..bytes].to_vec(),
            false => value.to_be_bytes()[8 - bytes..].to_vec(),
        }
    };
    let [rows, columns] = layout.tile.unwrap_or([layout.rows, width]);
    let planes: Vec<Vec<usize>> = match layout.planar {
        true => (0..bands).map(|band| vec![band]).collect(),
        false => vec![(0..bands).collect()],
    };
    let mut chunks = Vec::new();
    for plane in &planes {
        for top in (0..height).step_by(rows) {
            for left in (0..width).step_by(columns) {
                let mut bytes = Vec::new();
                let below = match layout.tile {
                    Some(_) => top + rows,
                    None => height.min(top + rows),
                };
                for row in top..below {
                    for column in left..left + columns {
                        for &band in plane {
                            // Tiles go on beyond the image, with anything in them.
                            let inside = row < height && column < width;
                            let value = if inside {
                                values[(row * width + column) * bands + band]
                            } else {
                                0xdead
                            };
                            bytes.extend(number(value.into(), 2));
                        }
                    }
                }
                chunks.push(match layout.compression {
                    5 => weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
                        .encode(&bytes)
                        .unwrap(),
                    8 => {
                        use std::io::Write;
                        let fast = flate2::Compression::fast();
                        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), fast);
                        encoder.write_all(&bytes).unwrap();
                        encoder.finish().unwrap()
                    }
                    _ => bytes,
                });
            }
        }
    }
    let mut file = if layout.little {
        b"II".to_vec()
    } else {
        b"MM".to_vec()
    };
    file.extend(number(if layout.big { 43 } else { 42 }, 2));
    if layout.big {
        file.extend(number(8, 2));
        file.extend(number(0, 2));
    }
    let place = file.len();
    let wide = if layout.big { 8 } else { 4 };
    file.extend(number(0, wide));
    let mut offsets = Vec::new();
    for chunk in &chunks {
        offsets.push(file.len() as u64);
        file.extend(chunk);
    }
    let lens: Vec<u64> = chunks.iter().map(|chunk| chunk.len() as u64).collect();
    let long = if layout.big { 16 } else { 4 };
    let mut entries: Vec<(u16, u16, Vec<u64>)> = vec![
        (256, 3, vec![width as u64]),
        (257, 3, vec![height as u64]),
        (258, 3, vec![16; bands]),
        (259, 3, vec![layout.compression.into()]),
        (262, 3, vec![layout.photometric.into()]),
        (277, 3, vec![bands as u64]),
        (284, 3, vec![if layout.planar { 2 } else { 1 }]),
    ];
    match layout.tile {
        Some([rows, columns]) => entries.extend([
            (322, 3, vec![columns as u64]),
            (323, 3, vec![rows as u64]),
            (324, long, offsets),
            (325, long, lens),
        ]),
        None => entries.extend([
            (273, long, offsets),
            (278, 3, vec![rows as u64]),
            (279, long, lens),
        ]),
    }
    entries.sort_by_key(|(tag, ..)| *tag);
    let start = file.len() as u64;
    file.splice(place..place + wide, number(start, wide));
    let counted = if layout.big { 8 } else { 2 };
    let mut after = file.len() + counted + entries.len() * (4 + 2 * wide) + wide;
    file.extend(number(entries.len() as u64, counted));
    let mut outside = Vec::new();
    for (tag, kind, values) in entries {
        let each = match kind {
            3 => 2,
            4 => 4,
            _ => 8,
        };
        file.extend(number(tag.into(), 2));
        file.extend(number(kind.into(), 2));
        file.extend(number(values.len() as u64, wide));
        let mut bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| number(*value, each))
            .collect();
        if bytes.len() <= wide {
            bytes.resize(wide, 0);
            file.extend(bytes);
        } else {
            file.extend(number(after as u64, wide));
            after += bytes.len();
            outside.extend(bytes);
        }
    }
    file.extend(number(0, wide));
    file.extend(outside);
    file
}

/// Values without a pattern, none of them 0.
fn noise(len: usize) -> Vec<u16> {
    (0..len as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 17) as u16 | 1)
        .collect()
}

fn all(scene: &Scene) -> Vec<f32> {
    let mut values = Vec::new();
    scene.read_rows(0..scene.height(), &mut values).unwrap();
    values
}

#[test]
fn every_layout_holds_the_same_values() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scene.tif");
    let (bands, size) = (3, [7, 5]);
    let values = noise(7 * 5 * 3);
    let expected: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
    for little in [true, false] {
        for big in [true, false] {
            for tile in [None, Some([4, 2]), Some([16, 16])] {
                for planar in [true, false] {
                    for (compression, photometric) in [(1, 2), (5, 1), (8, 3)] {
                        let layout = Layout {
                            little,
                            big,
                            tile,
                            planar,
                            compression,
                            photometric,
                            ..PLAIN
                        };
                        fs::write(&path, tiff(&values, bands, size, layout)).unwrap();
                        let scene = Scene::open(&[&path]).unwrap();
                        assert_eq!([scene.height(), scene.width()], size);
                        assert_eq!(all(&scene), expected);
                        // Any rows, not only those that are stored together.
                        let mut rows = Vec::new();
                        scene.read_rows(3..6, &mut rows).unwrap();
                        assert_eq!(rows, expected[3 * 15..6 * 15]);
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_written_is_read_back_with_its_tags() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scene.tif");
    let mut geo = GeoTags::north_up([288_776.25, 9_120_760.75], [28.5, 28.5]).with_epsg(31_985);
    geo.text = "SIRGAS 2000 / UTM zone 25S|".into();
    geo.doubles = vec![6_378_137.0, 298.25];
    let size = [600, 300];
    let wide = noise(600 * 300 * 2);
    write_bands(&path, Samples::U16(&wide), 2, size, &geo, Some(77.0)).unwrap();
    let raster = Raster::open(&path).unwrap();
    assert_eq!((raster.geo(), raster.nodata()), (&geo, Some(77.0)));
    assert!(raster.rows_together() < 600, "more than one strip");
    let scene = Scene::new(vec![raster]).unwrap();
    // Portions of rows cover the scene, in order, and can be read by several threads.
    let rows: Vec<_> = (0..scene.blocks())
        .map(|index| scene.block_rows(index))
        .collect();
    assert_eq!((rows[0].start, rows[rows.len() - 1].end), (0, 600));
    assert!(rows.len() > 1 && rows.windows(2).all(|pair| pair[0].end == pair[1].start));
    let parts: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = rows
            .iter()
            .map(|rows| {
                scope.spawn(|| {
                    let mut values = Vec::new();
                    scene.read_rows(rows.clone(), &mut values).unwrap();
                    values
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for (value, stored) in parts.concat().iter().zip(&wide) {
        match stored {
            77 => assert!(value.is_nan()),
            stored => assert_eq!(*value, f32::from(*stored)),
        }
    }

    let floats: Vec<f32> = vec![0.5, f32::NAN, -1e30, 3.25];
    write_bands(&path, Samples::F32(&floats), 1, [2, 2], &geo, Some(3.25)).unwrap();
    let found = all(&Scene::open(&[&path]).unwrap());
    assert_eq!((found[0], found[2]), (0.5, -1e30));
    assert!(found[1].is_nan() && found[3].is_nan());
}

#[test]
fn maps_keep_the_tags_and_have_colours() {
    let dir = tempfile::tempdir().unwrap();
    let geo = GeoTags::north_up([0.0, 100.0], [10.0, 10.0]);
    let classes = [0, 1, 2, 255, 1, 0];
    let palette = [[10, 20, 30], [200, 0, 0], [0, 255, 0]];
    let path = dir.path().join("map.tif");
    write_classes(&path, &classes, [2, 3], &geo, 255, &palette).unwrap();
    let scene = Scene::open(&[&path]).unwrap();
    assert_eq!(
        (scene.geo(), scene.rasters()[0].nodata()),
        (&geo, Some(255.0))
    );
    let found = all(&scene);
    assert!(found[3].is_nan());
    assert_eq!(
        [found[0], found[1], found[2], found[4]],
        [0.0, 1.0, 2.0, 1.0]
    );

    let path = dir.path().join("map.png");
    write_map(&path, &classes, [2, 3], &palette).unwrap();
    let picture = image::open(&path).unwrap().into_rgba8();
    assert_eq!(picture.dimensions(), (3, 2));
    assert_eq!(picture.get_pixel(2, 0).0, [0, 255, 0, 255]);
    assert_eq!(picture.get_pixel(0, 1).0[3], 0, "no class, no colour");
    assert_eq!(picture.get_pixel(1, 1).0, [200, 0, 0, 255]);
}

#[test]
fn bands_of_several_files_count_through() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["b1.tif", "b2.tif"].map(|name| dir.path().join(name));
    for (path, rows, first) in [(&paths[0], 2, 1), (&paths[1], 3, 101)] {
        let values: Vec<u16> = (first..first + 20).collect();
        fs::write(path, tiff(&values, 1, [5, 4], Layout { rows, ..PLAIN })).unwrap();
    }
    let scene = Scene::open(&paths).unwrap();
    assert_eq!(scene.bands(), 2);
    let values = all(&scene);
    assert_eq!(values[..4], [1.0, 101.0, 2.0, 102.0]);
    assert_eq!(values[38..], [20.0, 120.0]);

    fs::write(&paths[1], tiff(&noise(12), 1, [3, 4], PLAIN)).unwrap();
    let error = Scene::open(&paths).unwrap_err().to_string();
    assert!(error.contains("b2.tif: is 4x3 pixels, but "), "{error}");
    assert!(
        error.ends_with("b1.tif is 4x5: bands of one scene must be of one size"),
        "{error}"
    );
    let error = Scene::open::<&Path>(&[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the number of files is 0: a scene needs at least one"
    );
}

#[test]
fn bands_of_other_ground_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["b1.tif", "b2.tif", "b3.tif"].map(|name| dir.path().join(name));
    let write = |at: usize, geo: &GeoTags| {
        write_bands(&paths[at], Samples::U8(&[1; 12]), 1, [3, 4], geo, None).unwrap();
    };
    let geo = || GeoTags::north_up([500.0, 9_000.0], [30.0, 30.0]);
    let refusal = || {
        let text = Scene::open(&paths).unwrap_err().to_string();
        // Without the folder, which is another one every time.
        text.replace(&format!("{}/", dir.path().display()), "")
    };
    // The first says nothing, the second all but the system.
    write(0, &GeoTags::default());
    write(1, &geo());
    // Rounding, and a system that no other file has.
    write(
        2,
        &GeoTags::north_up([500.1, 9_000.0], [30.01, 30.0]).with_epsg(32_754),
    );
    Scene::open(&paths).unwrap();
    write(2, &GeoTags::north_up([500.0, 9_000.0], [30.0, 15.0]));
    assert_eq!(
        refusal(),
        "b3.tif: has pixels of (30, 15), but b2.tif has (30, 30): bands of one scene must show the \
         same ground"
    );
    write(2, &GeoTags::north_up([500.0, 9_030.0], [30.0, 30.0]));
    assert_eq!(
        refusal(),
        "b3.tif: has its upper left corner at (500, 9030), but b2.tif has (500, 9000): bands of one \
         scene must show the same ground"
    );
    write(0, &GeoTags::default().with_epsg(32_754));
    write(2, &geo().with_epsg(32_755));
    assert_eq!(
        refusal(),
        "b3.tif: has the coordinate system EPSG 32755, but b1.tif has 32754: bands of one scene must \
         show the same ground"
    );
}

#[test]
fn nodata_of_single_precision_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scene.tif");
    let geo = GeoTags::default();
    for nodata in [-9_999.9_f64, 0.1] {
        let values = [1.0, nodata as f32, 0.100_001, -9_999.898];
        write_bands(&path, Samples::F32(&values), 1, [2, 2], &geo, Some(nodata)).unwrap();
        let scene = Scene::open(&[&path]).unwrap();
        assert_eq!(scene.rasters()[0].nodata(), Some(nodata));
        let found = all(&scene);
        assert!(found[1].is_nan(), "{nodata}: {found:?}");
        assert_eq!([found[0], found[2], found[3]], [1.0, 0.100_001, -9_999.898]);
    }
}

#[test]
fn any_row_of_a_single_strip_is_read_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scene.tif");
    let size = [60, 40];
    let values = noise(60 * 40 * 3);
    let expected: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
    for (compression, planar) in [(1, false), (1, true), (8, false), (8, true)] {
        let layout = Layout {
            rows: 60,
            planar,
            compression,
            ..PLAIN
        };
        fs::write(&path, tiff(&values, 3, size, layout)).unwrap();
        let scene = Scene::open(&[&path]).unwrap();
        let together = scene.rasters()[0].rows_together();
        assert_eq!(together, if compression == 1 { 1 } else { 60 });
        for rows in [0..60, 0..1, 17..18, 31..47, 59..60] {
            let mut found = Vec::new();
            scene.read_rows(rows.clone(), &mut found).unwrap();
            assert_eq!(found, expected[rows.start * 120..rows.end * 120]);
        }
    }
}

fn refusal(path: &Path, bytes: &[u8]) -> String {
    fs::write(path, bytes).unwrap();
    let error = match Raster::open(path) {
        Err(error) => error,
        Ok(raster) => {
            let mut out = vec![0.0; raster.height() * raster.width() * raster.bands()];
            let read = raster.read_rows(0..raster.height(), &mut out, raster.bands(), 0);
            read.unwrap_err()
        }
    };
    let text = error.to_string();
    let (_, problem) = text.split_once("scene.tif: ").unwrap();
    problem.to_owned()
}

#[test]
fn damaged_and_foreign_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scene.tif");
    let whole = tiff(&noise(7 * 5 * 3), 3, [7, 5], PLAIN);
    assert_eq!(
        refusal(&path, b"\x89PNG"),
        "is no TIFF file: it begins with neither II nor MM"
    );
    assert_eq!(
        refusal(&path, &whole[..whole.len() - 40]),
        "is cut short within its directory"
    );
    let jpeg = Layout {
        compression: 7,
        ..PLAIN
    };
    assert!(
        refusal(&path, &tiff(&[1], 1, [1, 1], jpeg))
            .starts_with("is compressed by method 7; expected")
    );
    // A strip that is not where it should be.
    let mut moved = whole.clone();
    let strips = moved
        .windows(4)
        .rposition(|bytes| bytes == 8_u32.to_le_bytes())
        .unwrap();
    moved[strips..strips + 4].copy_from_slice(&(whole.len() as u32 - 10).to_le_bytes());
    assert!(refusal(&path, &moved).contains("is cut short: 10 of 60 bytes"));
    let deflate = Layout {
        compression: 8,
        ..PLAIN
    };
    let mut broken = tiff(&noise(30), 1, [6, 5], deflate);
    broken[8..12].fill(0xff);
    assert!(refusal(&path, &broken).starts_with("strip 0 cannot be inflated"));
    // Every byte of a small file, changed: an error or other values, never a panic.
    let small = tiff(&noise(12), 2, [3, 2], PLAIN);
    for at in 0..small.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = small.clone();
            bytes[at] = value;
            fs::write(&path, bytes).unwrap();
            if let Ok(raster) = Raster::open(&path) {
                let len = raster
                    .height()
                    .saturating_mul(raster.width() * raster.bands());
                if len < 1 << 20 {
                    let mut out = vec![0.0; len];
                    let _ = raster.read_rows(0..raster.height(), &mut out, raster.bands(), 0);
                }
            }
        }
    }
}

#[test]
fn impossible_requests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scene.tif");
    fs::write(&path, tiff(&noise(12), 2, [3, 2], PLAIN)).unwrap();
    let raster = Raster::open(&path).unwrap();
    let text = |rows, len: usize, stride| {
        let read = raster.read_rows(rows, &mut vec![0.0; len], stride, 0);
        read.unwrap_err().to_string()
    };
    assert_eq!(text(1..4, 12, 2), "the rows is 1..4: must lie in 0..3");
    assert_eq!(
        text(0..3, 11, 2),
        "the number of values is 11: must be 2 for each of 6 pixels, with 2 bands from place 0 on"
    );
    let geo = GeoTags::default();
    let error = write_bands(&path, Samples::U8(&[1, 2, 3]), 1, [2, 2], &geo, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of values is 3: must be 1 for each of 2x2 pixels, and not 0"
    );
    let error = write_map(&path, &[], [0, 2], &[]).unwrap_err().to_string();
    assert!(error.starts_with("the number of values is 0"), "{error}");
    // The old file is still there.
    assert!(Raster::open(&path).is_ok());
}

#[test]
#[allow(clippy::print_stderr)]
fn the_real_scenes_have_the_statistics_that_they_announce() {
    let locator = Locator::from_env();
    let set = menagerie_data::dataset("landsat").unwrap();
    let Some(dir) = locator.data_dir.as_ref().and(locator.locate(set)) else {
        eprintln!("skipped: MENAGERIE_DATA names no folder that holds landsat");
        return;
    };
    let bands: Vec<_> = (1..=7)
        .map(|band| dir.join(format!("LT52240631988227CUB02_B{band}.TIF")))
        .collect();
    let para = Scene::open(&bands).unwrap();
    assert_eq!((para.width(), para.height(), para.bands()), (287, 310, 7));
    let geo = para.geo();
    assert_eq!(
        (geo.epsg(), geo.origin()),
        (Some(32_622), Some([619_395.0, -410_205.0]))
    );
    let mean = |scene: &Scene, band: usize| {
        let values = all(scene);
        let values = values.iter().skip(band).step_by(scene.bands());
        let valid: Vec<f64> = values
            .filter(|v| !v.is_nan())
            .map(|&v| f64::from(v))
            .collect();
        valid.iter().sum::<f64>() / valid.len() as f64
    };
    // STATISTICS_MEAN in the files.
    assert!((mean(&para, 0) - 61.279_296_392_042).abs() < 1e-9);
    let crop = Scene::open(&[dir.join("RGB.byte.tif")]).unwrap();
    assert_eq!((crop.width(), crop.height(), crop.bands()), (791, 718, 3));
    // There the mean counts the pixels without data, which are 0, in.
    let values = all(&crop);
    let red = values.iter().step_by(3).filter(|value| !value.is_nan());
    let sum: f64 = red.map(|&value| f64::from(value)).sum();
    assert!((sum / (791.0 * 718.0) - 29.947_726_688_477).abs() < 1e-9);
    let olinda = Scene::open(&[dir.join("L7_ETMs.tif")]).unwrap();
    assert_eq!(
        (olinda.width(), olinda.height(), olinda.bands()),
        (349, 352, 6)
    );
    let size = olinda.geo().pixel_size().unwrap();
    assert!((size[0] - 28.5).abs() < 1e-6 && olinda.geo().epsg() == Some(31_985));
    assert!(
        all(&olinda)
            .iter()
            .all(|value| (0.0..=255.0).contains(value))
    );
}
