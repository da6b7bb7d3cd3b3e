use crate::noise;
use hound::{SampleFormat, WavSpec, WavWriter};
use menagerie_data_audio::wav::{self, Depth};
use menagerie_data_audio::{Channels, Clip};
use std::path::Path;

fn spec(channels: u16, bits: u16, format: SampleFormat) -> WavSpec {
    WavSpec {
        channels,
        sample_rate: 44_100,
        bits_per_sample: bits,
        sample_format: format,
    }
}

fn integers(path: &Path, channels: u16, bits: u16, samples: &[i32]) {
    let mut writer = WavWriter::create(path, spec(channels, bits, SampleFormat::Int)).unwrap();
    samples
        .iter()
        .for_each(|&sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
}

fn message(path: &Path) -> String {
    wav::read(path).unwrap_err().to_string()
}

#[test]
fn integers_of_every_width_fill_minus_one_to_one() {
    let dir = tempfile::tempdir().unwrap();
    for bits in [8u16, 16, 24, 32] {
        let path = dir.path().join(format!("{bits}.wav"));
        let full = 1i64 << (bits - 1);
        let samples = [-full, 0, full / 2, full - 1].map(|sample| sample as i32);
        integers(&path, 1, bits, &samples);
        let clip = wav::read(&path).unwrap();
        assert_eq!((clip.rate(), clip.len()), (44_100, 4));
        let expected = [-1.0, 0.0, 0.5, (full - 1) as f32 / full as f32];
        assert_eq!(clip.channels(), [expected], "{bits} bits");
    }
}

#[test]
fn channels_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stereo.wav");
    integers(&path, 2, 16, &[16_384, -16_384, 8_192, 0]);
    let clip = wav::read(&path).unwrap();
    assert_eq!(clip.channels(), [[0.5, 0.25], [-0.5, 0.0]]);
    let mixed = clip.clone().select(Channels::Mix).unwrap();
    assert_eq!(mixed.into_mono().unwrap(), [0.0, 0.125]);
    let right = clip.clone().select(Channels::Only(1)).unwrap();
    assert_eq!(right.into_mono().unwrap(), [-0.5, 0.0]);
    let error = clip
        .clone()
        .select(Channels::Only(2))
        .unwrap_err()
        .to_string();
    assert!(error.contains("must be below 2"), "{error}");
    let error = clip.into_mono().unwrap_err().to_string();
    assert!(error.contains("mix them or choose one"), "{error}");
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("noise.wav");
    let clip = Clip::new(vec![noise(999), noise(1_998)[999..].to_vec()], 8_000).unwrap();
    wav::write(&path, &clip, Depth::Float32).unwrap();
    assert_eq!(wav::read(&path).unwrap(), clip);
    for (depth, step) in [
        (Depth::Int16, 2.0f32.powi(-16)),
        (Depth::Int24, 2.0f32.powi(-24)),
    ] {
        wav::write(&path, &clip, depth).unwrap();
        let read = wav::read(&path).unwrap();
        for (ours, theirs) in read.channels().iter().zip(clip.channels()) {
            let far = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
            // Half a step of rounding, in single precision.
            assert!(far.fold(0.0, f32::max) <= step * 1.01, "{depth:?}");
        }
    }
    // Too loud: clipped, not wrapped.
    let loud = Clip::mono(vec![1.5, -1.5], 8_000).unwrap();
    wav::write(&path, &loud, Depth::Int16).unwrap();
    let read = wav::read(&path).unwrap();
    assert_eq!(read.channels(), [[32_767.0 / 32_768.0, -1.0]]);
}

#[test]
fn broken_files_are_errors_that_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.wav");
    std::fs::write(&path, b"not a wave").unwrap();
    assert!(message(&path).contains("broken.wav"), "{}", message(&path));
    assert!(message(&path).contains("is no sound WAV file"));
    std::fs::write(&path, b"").unwrap();
    assert!(message(&path).contains("is no sound WAV file"));
    integers(&path, 1, 16, &[]);
    assert!(
        message(&path).contains("the number of samples"),
        "{}",
        message(&path)
    );
    // Cut short within the samples.
    integers(&path, 1, 16, &[1; 100]);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 51]).unwrap();
    assert!(
        message(&path).contains("is no sound WAV file"),
        "{}",
        message(&path)
    );
    // Not a number.
    let mut writer = WavWriter::create(&path, spec(1, 32, SampleFormat::Float)).unwrap();
    writer.write_sample(0.5f32).unwrap();
    writer.write_sample(f32::NAN).unwrap();
    writer.finalize().unwrap();
    assert!(
        message(&path).contains("sample 1 of channel 0"),
        "{}",
        message(&path)
    );
    assert!(
        wav::read(&dir.path().join("none.wav"))
            .unwrap_err()
            .to_string()
            .contains("none.wav")
    );
}

#[test]
fn impossible_clips_are_refused() {
    let message = |channels, rate| Clip::new(channels, rate).unwrap_err().to_string();
    assert!(message(vec![vec![0.0]], 0).contains("the sample rate"));
    assert!(message(vec![], 1).contains("must be at least 1"));
    assert!(message(vec![vec![]], 1).contains("must be at least 1"));
    assert!(message(vec![vec![0.0; 3], vec![0.0; 2]], 1).contains("must be 3"));
    assert!(message(vec![vec![0.0, f32::INFINITY]], 1).contains("must be finite"));
}
