use crate::noise;
use image::{GrayImage, Rgb, RgbImage};
use menagerie_data_video::{Clip, ClipFolder, big_buck_bunny, frames, gif, read};
use std::{cmp::Ordering, fs, path::Path, time::Duration};

fn save(path: &Path, width: u32, height: u32, grey: u8) {
    RgbImage::from_pixel(width, height, Rgb([grey, 0, 7]))
        .save(path)
        .unwrap();
}

#[test]
fn frames_come_in_natural_order() {
    let dir = tempfile::tempdir().unwrap();
    for (name, grey) in [("f10.png", 10), ("f9.PNG", 9), ("f1.png", 1)] {
        save(&dir.path().join(name), 4, 3, grey);
    }
    fs::write(dir.path().join("notes.txt"), "no frame").unwrap();
    fs::write(dir.path().join(".hidden.png"), "no frame").unwrap();
    fs::create_dir(dir.path().join("folder.png")).unwrap();
    let clip = read(dir.path()).unwrap();
    assert_eq!(clip.shape(), [3, 3, 4, 3]);
    let reds: Vec<u8> = (0..3).map(|at| clip.frame(at).unwrap()[0]).collect();
    assert_eq!(reds, [1, 9, 10]);
    let grey = frames::read(dir.path(), 1).unwrap();
    assert_eq!(grey.shape(), [3, 3, 4, 1]);
}

#[test]
fn numbers_in_names_count_by_value() {
    let order = frames::natural_order;
    assert_eq!(order("a9b", "a10b"), Ordering::Less);
    assert_eq!(order("a10", "a9"), Ordering::Greater);
    assert_eq!(order("a", "a1"), Ordering::Less);
    assert_eq!(order("a1", "a01"), Ordering::Greater);
    assert_eq!(order("a01", "a1b"), Ordering::Less);
    assert_eq!(order("é2", "é10"), Ordering::Less);
    assert_eq!(order("7", "x"), Ordering::Less);
    assert_eq!(
        order("99999999999999999999999", "100000000000000000000000"),
        Ordering::Less
    );
    assert_eq!(order("same", "same"), Ordering::Equal);
}

#[test]
fn broken_folders_are_refused_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| read(path).unwrap_err().to_string();
    assert!(error(dir.path()).ends_with("holds no .png, .jpg or .jpeg frame"));
    assert!(error(&dir.path().join("none")).starts_with("cannot read "));
    save(&dir.path().join("1.png"), 4, 3, 1);
    save(&dir.path().join("2.png"), 4, 4, 1);
    assert!(
        error(dir.path()).ends_with("2.png: is 4x4 pixels, but the frames before it are 4x3"),
        "{}",
        error(dir.path())
    );
    fs::write(dir.path().join("2.png"), "not an image").unwrap();
    assert!(error(dir.path()).contains("2.png: cannot be decoded: "));
    let whole = fs::read(dir.path().join("1.png")).unwrap();
    fs::write(dir.path().join("2.png"), &whole[..whole.len() / 2]).unwrap();
    assert!(error(dir.path()).contains("2.png: cannot be decoded: "));
    assert_eq!(
        frames::read(dir.path(), 2).unwrap_err().to_string(),
        "channels is 2: must be 1 (grey) or 3 (colour)"
    );
    let film = dir.path().join("film.mp4");
    fs::write(&film, "").unwrap();
    assert!(
        error(&film).contains("film.mp4: is neither a folder of frames nor a .gif or .y4m file")
    );
}

#[test]
fn an_animation_is_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.gif");
    // Few colours, so that the palette holds them all.
    let pixels = (0..3 * 4 * 5)
        .flat_map(|at| [[255, 0, 0], [0, 255, 0], [0, 0, 255]][at % 7 % 3])
        .collect();
    let clip = Clip::new(pixels, [3, 4, 5, 3]).unwrap();
    gif::write(&clip, &path, Duration::from_millis(40)).unwrap();
    assert_eq!(read(&path).unwrap(), clip);
    // Grey ramps survive nearly.
    let ramp = Clip::new((0..200).collect(), [2, 10, 10, 1]).unwrap();
    gif::write(&ramp, &path, Duration::from_millis(40)).unwrap();
    let back = read(&path).unwrap();
    let expected = ramp.into_colour();
    assert_eq!(back.shape(), expected.shape());
    let differences = back.pixels().iter().zip(expected.pixels());
    assert!(differences.map(|(a, b)| a.abs_diff(*b)).max() < Some(4));
}

#[test]
fn a_broken_animation_is_refused_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.gif");
    gif::write(&noise([6, 20, 20, 3]), &path, Duration::ZERO).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for cut in (0..whole.len() - 1).step_by(97) {
        fs::write(&path, &whole[..cut]).unwrap();
        // The trailer says where the file ends; frames before a cut between two blocks are whole.
        match read(&path) {
            Ok(clip) => assert!(clip.frames() <= 6, "cut at {cut}"),
            Err(error) => {
                assert!(error.to_string().contains("clip.gif: "), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10);
    let mut bomb = whole.clone();
    bomb[6..10].fill(0xff);
    fs::write(&path, bomb).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("clip.gif: "));
    let missing = dir.path().join("none.gif");
    assert!(
        gif::read(&missing)
            .unwrap_err()
            .to_string()
            .starts_with("cannot open ")
    );
}

/// Runs where `MENAGERIE_DATA` holds the frames.
#[test]
fn the_real_film_reads() {
    let Some(data) = std::env::var_os("MENAGERIE_DATA") else {
        return;
    };
    if !Path::new(&data).join("video/bigbuckbunny_320x180").is_dir() {
        return;
    }
    let film = big_buck_bunny().unwrap();
    assert_eq!(film.shape(), [48, 180, 320, 3]);
    assert_ne!(film.frame(0), film.frame(47));
}

#[test]
fn one_grey_frame_is_a_clip() {
    let dir = tempfile::tempdir().unwrap();
    GrayImage::from_raw(2, 1, vec![3, 200])
        .unwrap()
        .save(dir.path().join("only.png"))
        .unwrap();
    assert_eq!(frames::read(dir.path(), 1).unwrap().pixels(), [3, 200]);
}

#[test]
fn labelled_clips_are_listed_by_class() {
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    for clip in ["run/clip10", "run/clip9"] {
        let grey = if clip.ends_with('9') { 9 } else { 10 };
        save(&folder(clip).join("1.png"), 4, 3, grey);
    }
    let jump = folder("jump");
    gif::write(&noise([2, 3, 4, 1]), &jump.join("a.gif"), Duration::ZERO).unwrap();
    fs::write(jump.join("notes.txt"), "").unwrap();
    folder(".hidden/clip");
    folder("empty");
    let set = ClipFolder::open(dir.path()).unwrap();
    assert_eq!(set.class_names(), ["jump", "run"]);
    assert_eq!(set.labels(), [0, 1, 1]);
    assert_eq!(set.read(0).unwrap().frames(), 2);
    assert_eq!(set.read(1).unwrap().pixels()[0], 9);
    assert_eq!(set.read(2).unwrap().pixels()[0], 10);
    assert_eq!(
        set.read(3).unwrap_err().to_string(),
        "a clip index is 3: must be below 3"
    );
    let none = ClipFolder::open(&dir.path().join("empty")).unwrap_err();
    assert!(none.to_string().contains("empty: holds no clip"), "{none}");
}
