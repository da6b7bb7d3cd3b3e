use crate::{noise, tone};
use menagerie_core::Seed;
use menagerie_data_audio::folder::VALIDATION;
use menagerie_data_audio::wav::{self, Depth};
use menagerie_data_audio::{Channels, Clip, FolderConfig, Fsdd, folder, split};
use std::path::Path;

fn write(path: &Path, samples: Vec<f32>, rate: u32) {
    let clip = Clip::mono(samples, rate).unwrap();
    wav::write(path, &clip, Depth::Int16).unwrap();
}

#[test]
fn broken_and_empty_files_are_skipped_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("b/c")).unwrap();
    write(&at("b/c/deep.WAV"), noise(100), 8_000);
    write(&at("a.wav"), noise(50), 8_000);
    write(&at("z.wav"), noise(50), 16_000);
    write(&at(".hidden.wav"), noise(50), 8_000);
    std::fs::write(at("empty.wav"), b"").unwrap();
    std::fs::write(at("broken.wav"), b"RIFF....").unwrap();
    std::fs::write(at("notes.txt"), b"no sound").unwrap();
    let (sounds, report) = folder(dir.path(), &FolderConfig::default()).unwrap();
    let lengths: Vec<usize> = sounds.clips.iter().map(Clip::len).collect();
    assert_eq!(lengths, [50, 100]);
    assert_eq!(report.read, [at("a.wav"), at("b/c/deep.WAV")]);
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|(path, _)| path.clone())
        .collect();
    assert_eq!(skipped, [at("broken.wav"), at("empty.wav"), at("z.wav")]);
    assert!(report.skipped[2].1.contains("must be 8000"), "{report}");
    let text = report.to_string();
    assert!(text.starts_with("2 sounds read, 3 skipped\n"), "{text}");
    assert!(
        text.contains(&format!("skipped {}", at("empty.wav").display())),
        "{text}"
    );

    // At one rate, the file of another rate is welcome.
    let config = FolderConfig {
        rate: Some(4_000),
        ..FolderConfig::default()
    };
    let (sounds, _) = folder(dir.path(), &config).unwrap();
    let lengths: Vec<_> = sounds
        .clips
        .iter()
        .map(|clip| (clip.rate(), clip.len()))
        .collect();
    assert_eq!(lengths, [(4_000, 25), (4_000, 50), (4_000, 13)]);
}

#[test]
fn silence_and_missing_channels_are_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut samples = vec![0.0; 4_000];
    samples.extend(tone(440.0, 8_000, 800));
    samples.extend(vec![0.0; 4_000]);
    write(&at("a.wav"), samples, 8_000);
    write(&at("b.wav"), vec![0.0; 100], 8_000);
    let config = FolderConfig {
        silence: Some(-40.0),
        ..FolderConfig::default()
    };
    let (sounds, report) = folder(dir.path(), &config).unwrap();
    assert_eq!(sounds.clips[0].len(), 800);
    assert!(
        report.skipped[0].1.contains("is silent at -40 dB"),
        "{report}"
    );
    let config = FolderConfig {
        channels: Channels::Only(1),
        ..FolderConfig::default()
    };
    let error = folder(dir.path(), &config).unwrap_err().to_string();
    assert!(
        error.contains("the first of 2 files") && error.contains("must be below 1"),
        "{error}"
    );
}

#[test]
fn folders_without_sound_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let message = |config: &FolderConfig| folder(dir.path(), config).unwrap_err().to_string();
    assert!(message(&FolderConfig::default()).contains("holds no .wav file"));
    let config = FolderConfig {
        rate: Some(0),
        ..FolderConfig::default()
    };
    assert!(message(&config).contains("the sample rate"));
    let gone = dir.path().join("gone");
    let error = folder(&gone, &FolderConfig::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("gone"), "{error}");
}

#[test]
fn a_split_is_seeded_and_leaves_nothing_out() {
    let (train, held) = split(1_000, VALIDATION, Seed(42)).unwrap();
    assert_eq!((train.len(), held.len()), (980, 20));
    let mut all = [train.clone(), held.clone()].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..1_000));
    assert!(train.is_sorted() && held.is_sorted());
    assert_eq!(split(1_000, VALIDATION, Seed(42)).unwrap().1, held);
    assert_ne!(split(1_000, VALIDATION, Seed(43)).unwrap().1, held);
    // At least one each.
    assert_eq!(split(2, 0.01, Seed(1)).unwrap().1.len(), 1);
    assert_eq!(split(3, 0.99, Seed(1)).unwrap().0.len(), 1);
    assert!(
        split(1, 0.5, Seed(1))
            .unwrap_err()
            .to_string()
            .contains("at least 2")
    );
    assert!(
        split(9, 1.0, Seed(1))
            .unwrap_err()
            .to_string()
            .contains("the validation share")
    );
}

#[test]
fn digits_know_who_says_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in [
        "7_theo_10.wav",
        "7_theo_2.wav",
        "0_yweweler_4.wav",
        "7_george_5.wav",
    ] {
        write(&at(name), noise(30), 8_000);
    }
    std::fs::write(at("README.md"), b"about").unwrap();
    let digits = Fsdd::read(dir.path()).unwrap();
    assert_eq!(digits.speakers(), ["george", "theo", "yweweler"]);
    let order: Vec<_> = digits
        .recordings()
        .iter()
        .map(|recording| (recording.digit(), recording.speaker(), recording.take()))
        .collect();
    assert_eq!(order, [(0, 2, 4), (7, 0, 5), (7, 1, 2), (7, 1, 10)]);
    assert_eq!(digits.split(), (vec![1, 3], vec![0, 2]));
    assert_eq!(digits.recordings()[0].samples().len(), 30);

    write(&at("7_theo_3.wav"), noise(30), 16_000);
    let error = Fsdd::read(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("7_theo_3.wav") && error.contains("16000"),
        "{error}"
    );
    std::fs::rename(at("7_theo_3.wav"), at("seven.wav")).unwrap();
    let error = Fsdd::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("{digit}_{speaker}_{take}.wav"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = Fsdd::read(empty.path()).unwrap_err().to_string();
    assert!(error.contains("holds no recording"), "{error}");
}

/// The data set itself, on machines that have it.
#[test]
fn the_spoken_digits_are_complete() {
    let set = menagerie_data::dataset("fsdd").unwrap();
    assert_eq!(set.files.len(), 1_500);
    let Some(dir) = menagerie_data::Locator::from_env().locate(set) else {
        return;
    };
    let digits = Fsdd::read(&dir.join("recordings")).unwrap();
    assert_eq!(digits.recordings().len(), 1_500);
    assert_eq!(digits.speakers().len(), 6);
    let (train, test) = digits.split();
    assert_eq!((train.len(), test.len()), (1_200, 300));
}
