use menagerie_data_video::{Clip, read, y4m};
use proptest::prelude::*;
use std::{fs, path::Path};

/// A file of frames with these planes.
fn file(header: &str, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("YUV4MPEG2 {header}\n").into_bytes();
    for frame in frames {
        bytes.extend(b"FRAME\n");
        bytes.extend(frame);
    }
    bytes
}

fn parse(bytes: &[u8]) -> Result<Clip, String> {
    y4m::parse(&mut &bytes[..], Path::new("a.y4m")).map_err(|error| error.to_string())
}

/// Y, U and V of a colour by ITU-R BT.601.
fn yuv([r, g, b]: [f64; 3]) -> [u8; 3] {
    let luma = 0.299 * r + 0.587 * g + 0.114 * b;
    [
        16.0 + 219.0 / 255.0 * luma,
        128.0 + 224.0 / 255.0 * (b - luma) / 1.772,
        128.0 + 224.0 / 255.0 * (r - luma) / 1.402,
    ]
    .map(|value| value.round() as u8)
}

#[test]
fn colours_are_those_of_bt_601() {
    let colours: [[f64; 3]; 6] = [
        [255.0, 255.0, 255.0],
        [0.0, 0.0, 0.0],
        [255.0, 0.0, 0.0],
        [0.0, 255.0, 0.0],
        [0.0, 0.0, 255.0],
        [200.0, 100.0, 50.0],
    ];
    let planes = (0..3).flat_map(|plane| colours.map(|colour| yuv(colour)[plane]));
    let clip = parse(&file("W3 H2 F25:1 C444", &[planes.collect()])).unwrap();
    assert_eq!(clip.shape(), [1, 2, 3, 3]);
    for (found, expected) in clip.pixels().chunks(3).zip(colours) {
        for (&found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(found) - expected).abs() <= 2.0,
                "{found} {expected}"
            );
        }
    }
    // Beyond the limited range the ends are kept.
    let clip = parse(&file(
        "W1 H1 Cmono",
        &[vec![255], vec![0], vec![16], vec![235]],
    ))
    .unwrap();
    assert_eq!(clip.pixels(), [255, 0, 0, 255]);
    assert_eq!(clip.shape(), [4, 1, 1, 1]);
}

#[test]
fn chroma_is_shared_as_the_kind_says() {
    let blue = yuv([0.0, 0.0, 255.0]);
    let red = yuv([255.0, 0.0, 0.0]);
    // Four columns, one row of chroma samples: blue on the left, red on the right.
    let frame = |rows: usize, chroma_rows: usize| {
        let mut planes = vec![60; 4 * rows];
        for plane in [1, 2] {
            for _ in 0..chroma_rows {
                planes.extend([blue[plane], red[plane]]);
            }
        }
        planes
    };
    for (kind, rows, chroma_rows) in [("420jpeg", 3, 2), ("422", 3, 3), ("420", 2, 1)] {
        let clip = parse(&file(
            &format!("W4 H{rows} C{kind}"),
            &[frame(rows, chroma_rows)],
        ))
        .unwrap();
        for row in clip.pixels().chunks(12) {
            assert_eq!(row[..3], row[3..6], "{kind}");
            assert_eq!(row[6..9], row[9..], "{kind}");
            assert!(row[2] > row[0] && row[6] > row[8], "{kind}");
        }
    }
    // Without a kind it is 4:2:0.
    assert!(
        parse(&file(
            "W4 H2 F30000:1001 Ip A1:1 XCOLORRANGE=LIMITED",
            &[frame(2, 1)]
        ))
        .is_ok()
    );
}

#[test]
fn files_are_read_by_their_extension() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.Y4M");
    fs::write(&path, file("W2 H1 Cmono", &[vec![16, 235], vec![16, 16]])).unwrap();
    let clip = read(&path).unwrap();
    assert_eq!(clip.shape(), [2, 1, 2, 3]);
    assert_eq!(clip.pixels()[..6], [0, 0, 0, 255, 255, 255]);
}

#[test]
fn broken_files_are_refused_with_the_path() {
    let error = |bytes: &[u8]| parse(bytes).unwrap_err();
    assert_eq!(error(b""), "a.y4m: is empty");
    assert_eq!(
        error(b"RIFF....\n"),
        "a.y4m: does not start with `YUV4MPEG2`"
    );
    assert_eq!(
        error(b"YUV4MPEG2 W4"),
        "a.y4m: ends, or goes on for 4096 bytes, within a line of text"
    );
    assert_eq!(
        error(b"YUV4MPEG2 W4 F25:1\n"),
        "a.y4m: has no width (W) or height (H) in `YUV4MPEG2 W4 F25:1`"
    );
    assert_eq!(
        error(b"YUV4MPEG2 W0 H4\n"),
        "a.y4m: has the width `0`, expected a number above 0"
    );
    assert!(error(b"YUV4MPEG2 W4 H4 C420p10\n").contains("samples of the kind `420p10`"));
    assert_eq!(
        error(b"YUV4MPEG2 W99999999999 H99999999999\n"),
        "a.y4m: has frames of more than 2 GiB"
    );
    assert_eq!(error(b"YUV4MPEG2 W2 H2 Cmono\n"), "a.y4m: holds no frame");
    let whole = file("W2 H2 Cmono", &[vec![1; 4], vec![2; 4]]);
    assert_eq!(
        error(&whole[..whole.len() - 1]),
        "a.y4m: is cut short: frame 2 has 3 of 4 bytes"
    );
    let mut bytes = file("W2 H2 Cmono", &[vec![1; 4]]);
    bytes.extend(b"FRAMES\n1234");
    assert_eq!(
        error(&bytes),
        "a.y4m: frame 2 starts with `FRAMES`, expected `FRAME`"
    );
}

proptest! {
    #[test]
    fn no_altered_file_makes_the_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        truncated: bool,
    ) {
        let mut bytes = file("W5 H3 F25:1 C420", &[vec![90; 27], vec![120; 27]]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if truncated {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(clip) = parse(&bytes) {
            prop_assert!(clip.frames() >= 1);
        }
    }
}
