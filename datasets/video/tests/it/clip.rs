use crate::noise;
use menagerie_data_video::Clip;

#[test]
fn shapes_are_held_to() {
    let error = |pixels: usize, shape| Clip::new(vec![0; pixels], shape).unwrap_err().to_string();
    assert_eq!(
        error(5, [1, 2, 3, 1]),
        "the number of pixels is 5: must be 6 for a clip of shape [1, 2, 3, 1]"
    );
    let rule = "must be [frames, height, width, channels] without a 0, with 1 channel (grey) or 3 \
                (colour)";
    assert_eq!(
        error(8, [1, 2, 2, 2]),
        format!("the shape of a clip is [1, 2, 2, 2]: {rule}")
    );
    assert!(error(0, [0, 2, 2, 1]).ends_with(rule));
    assert!(error(0, [usize::MAX, 2, 2, 1]).ends_with(rule));
}

#[test]
fn channels_come_first_for_models() {
    // Two frames of one row with two pixels: red 0..4, green 10..14, blue 20..24.
    let pixels = (0..4).flat_map(|at| [at, at + 10, at + 20]).collect();
    let clip = Clip::new(pixels, [2, 1, 2, 3]).unwrap();
    let expected: Vec<f32> = [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
        .map(|value: u8| f32::from(value) / 255.0)
        .to_vec();
    assert_eq!(clip.channels_first(), expected);
    let standard = clip.standardised([0.0, 0.5, 1.0], [1.0, 2.0, 4.0]);
    assert_eq!(standard[3], 3.0 / 255.0);
    assert_eq!(standard[4], (10.0 / 255.0 - 0.5) / 2.0);
    assert_eq!(standard[8], (20.0 / 255.0 - 1.0) / 4.0);
}

#[test]
fn frames_are_selected_in_the_order_asked_for() {
    let clip = noise([4, 3, 2, 3]);
    let chosen = clip.select(&[3, 0, 3]).unwrap();
    assert_eq!(chosen.shape(), [3, 3, 2, 3]);
    assert_eq!(chosen.frame(0), clip.frame(3));
    assert_eq!(chosen.frame(1), clip.frame(0));
    assert_eq!(chosen.frame(3), None);
    assert_eq!(clip.frame(usize::MAX), None);
    assert_eq!(
        clip.select(&[1, 4]).unwrap_err().to_string(),
        "a frame index is 4: must be below the clip's 4 frames"
    );
    assert!(clip.select(&[]).is_err());
}

#[test]
fn grey_becomes_colour() {
    let grey = noise([2, 2, 2, 1]);
    let colour = grey.clone().into_colour();
    assert_eq!(colour.shape(), [2, 2, 2, 3]);
    assert_eq!(colour.pixels()[3..6], [grey.pixels()[1]; 3]);
    assert_eq!(colour.clone().into_colour(), colour);
}
