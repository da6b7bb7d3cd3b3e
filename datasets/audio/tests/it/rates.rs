use crate::{noise, tone};
use menagerie_core::Seed;
use menagerie_data_audio::{Clip, crop, resample, silence};

#[test]
fn a_tone_stays_a_tone() {
    for (from, to) in [
        (44_100, 48_000),
        (48_000, 8_000),
        (8_000, 48_000),
        (16_000, 22_050),
        (48_000, 44_100),
    ] {
        let clip = Clip::new(vec![tone(440.0, from, 2 * from as usize); 2], from).unwrap();
        let resampled = resample(&clip, to).unwrap();
        assert_eq!((resampled.rate(), resampled.len()), (to, 2 * to as usize));
        let expected = tone(440.0, to, 2 * to as usize);
        for channel in resampled.channels() {
            // Away from the ends, where the tone begins and stops.
            let inside = to as usize / 5..9 * to as usize / 5;
            let pairs = channel[inside.clone()].iter().zip(&expected[inside]);
            let far = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-4, "{from} -> {to}: {far}");
        }
    }
}

#[test]
fn what_the_new_rate_cannot_hold_is_removed() {
    let clip = Clip::mono(tone(6_000.0, 48_000, 48_000), 48_000).unwrap();
    let low = resample(&clip, 8_000).unwrap();
    let inside = &low.channels()[0][1_000..7_000];
    let loudest = inside.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    assert!(loudest < 1e-3, "{loudest}");
}

#[test]
fn rates_are_checked_and_equal_ones_change_nothing() {
    let clip = Clip::mono(noise(100), 8_000).unwrap();
    assert_eq!(resample(&clip, 8_000).unwrap(), clip);
    assert_eq!(resample(&clip, 4_000).unwrap().len(), 50);
    assert_eq!(
        resample(&Clip::mono(vec![0.5], 48_000).unwrap(), 8_000)
            .unwrap()
            .len(),
        1
    );
    let error = resample(&clip, 0).unwrap_err().to_string();
    assert!(error.contains("the sample rate"), "{error}");
}

#[test]
fn crops_lie_inside_and_reach_both_ends() {
    let starts: Vec<usize> = (0..400)
        .map(|at| crop::draw(20, 12, Seed(1).at(at)))
        .collect();
    assert!(starts.iter().all(|start| start + 12 <= 20));
    assert!(starts.contains(&0) && starts.contains(&8));
    assert_eq!(crop::draw(20, 12, Seed(1).at(3)), starts[3]);
    assert_eq!(
        [crop::draw(5, 12, Seed(1)), crop::draw(12, 12, Seed(1))],
        [0, 0]
    );
    assert_eq!(crop::take(&[1.0, 2.0, 3.0], 1, 2), [2.0, 3.0]);
    assert_eq!(crop::take(&[1.0, 2.0], 1, 3), [2.0, 0.0, 0.0]);
    assert_eq!(crop::take(&[1.0], 4, 2), [0.0, 0.0]);
}

#[test]
fn quiet_ends_are_found() {
    let mut samples = vec![1e-4; 1_000];
    samples[305..620].fill(0.1);
    // A quiet middle stays.
    samples[400..500].fill(0.0);
    assert_eq!(silence::trimmed(&samples, -40.0, 10).unwrap(), 300..620);
    assert_eq!(silence::trimmed(&samples, -100.0, 10).unwrap(), 0..1_000);
    assert_eq!(silence::trimmed(&samples, 0.0, 10).unwrap(), 0..0);
    assert_eq!(silence::trimmed(&[], -40.0, 10).unwrap(), 0..0);
    // The last block is shorter.
    assert_eq!(silence::trimmed(&[0.0, 0.0, 1.0], -40.0, 2).unwrap(), 2..3);
    assert!(silence::trimmed(&samples, f64::NAN, 10).is_err());
    let error = silence::trimmed(&samples, -40.0, 0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("the length of a block"), "{error}");
}
