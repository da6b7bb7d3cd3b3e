use super::{published::Published, *};
use menagerie_data_image::ImageSet;
use menagerie_data_video::{Clip, gif};
use menagerie_mae::mae_base::MixConfig;
use menagerie_mae::videomae_v2::FinetuningConfig;
use std::time::Duration;

fn context(out: &std::path::Path, resume: bool) -> Context {
    Context {
        device: Device::default(),
        seed: 3,
        scale: Scale::Small,
        out: out.into(),
        resume,
    }
}

/// Bars of two kinds.
fn images(count: usize) -> ImageSet {
    let pixels = (0..count)
        .flat_map(|image| {
            (0..64).map(move |at| match image % 2 {
                0 => 250 * u8::from(at % 8 == 3),
                _ => 250 * u8::from(at / 8 == 3),
            })
        })
        .collect();
    let labels = (0..count).map(|image| image % 2).collect();
    let names = vec!["upright".into(), "level".into()];
    ImageSet::new(pixels, [1, 8, 8], labels, names).unwrap()
}

fn film(frames: usize) -> Clip {
    let pixels = (0..frames * 20 * 30 * 3)
        .map(|at| (at % 249) as u8)
        .collect();
    Clip::new(pixels, [frames, 20, 30, 3]).unwrap()
}

fn brief() -> Experiment {
    let set = Moving::of(&images(12)).unwrap();
    let clip = ClipConfig::new().with_frames(4).with_size(16).with_patch(4);
    let tower = TowerConfig::new(8, 1, 2);
    let model = VideoMaeConfig::experiment()
        .with_clip(ClipConfig::new().with_frames(8).with_size(32).with_patch(8));
    let model = VideoMaeConfig {
        encoder: tower,
        decoder: tower,
        ..model
    };
    Experiment {
        moving: Moving {
            train: set.clone(),
            test: set,
        },
        arms: arms(model),
        training: PretrainingConfig::new().with_batch(4).with_samples(2),
        steps: 4,
        labelled: [24, 16],
        seeds: [2, 1],
        workers: 2,
        film: Ok(Film::new(film(12), clip, 2).unwrap()),
        film_steps: 2,
    }
}

/// Every arm with a handful of steps: the verdicts mean nothing, the rest is all there.
#[test]
fn every_arm_trains_resumes_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut experiment = brief();
    let outcome = experiment.run(&context(dir.path(), false)).unwrap();
    assert_eq!(outcome.arms.len(), 4);
    let seeds: Vec<usize> = outcome.arms.iter().map(Vec::len).collect();
    assert_eq!(seeds, [2, 2, 1, 1]);
    assert_eq!(outcome.untrained.len(), 2);
    // Runs that are complete are taken as they are.
    let again = experiment.run(&context(dir.path(), true)).unwrap();
    for (one, two) in outcome
        .arms
        .iter()
        .flatten()
        .zip(again.arms.iter().flatten())
    {
        assert_eq!(one.loss, two.loss);
        assert_eq!(one.probes, two.probes);
    }
    let report = present::report(&context(dir.path(), true), &experiment, &outcome).unwrap();
    report.write(dir.path()).unwrap();
    for name in [
        "frames-dual.png",
        "frames-encoder-only.png",
        "film.png",
        "loss.svg",
    ] {
        assert!(dir.path().join("media").join(name).is_file(), "{name}");
    }
    assert!(report.summary().contains("dual masking"));
    let error = experiment.run(&context(dir.path(), false)).err().unwrap();
    assert!(format!("{error:#}").contains("already holds a run"));

    // Without the film the report says why.
    experiment.film = Err("no such film".into());
    let outcome = Outcome {
        film: None,
        ..outcome
    };
    let report = present::report(&context(dir.path(), true), &experiment, &outcome).unwrap();
    report.write(dir.path()).unwrap();
    let page = std::fs::read_to_string(dir.path().join("report.md")).unwrap();
    assert!(
        page.contains("No pictures of a film: no such film."),
        "{page}"
    );
}

#[test]
fn arms_see_the_same_clips() {
    let experiment = brief();
    let view = |image: usize, draw: Draw| experiment.moving.view(image, draw);
    let first = |arm: &Arm| {
        let training = experiment.training.clone().with_masking(arm.masking);
        let mut batches = Batches::new(&arm.model.clip, &training, 12, Seed(1), view).unwrap();
        batches
            .batch(0, &Device::default())
            .unwrap()
            .clips
            .into_data()
    };
    let clips: Vec<_> = experiment.arms.iter().map(first).collect();
    assert!(clips.iter().all(|other| other == &clips[0]));
}

#[test]
fn the_published_recipe_runs_on_films_in_folders() {
    let dir = tempfile::tempdir().unwrap();
    for (part, count) in [("train", 3), ("val", 1)] {
        for class in ["a", "b"] {
            let folder = dir.path().join("videos").join(part).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for clip in 0..count {
                let path = folder.join(format!("{clip}.gif"));
                gif::write(&film(9), &path, Duration::ZERO).unwrap();
            }
        }
    }
    let mix = MixConfig::new();
    let published = Published {
        model: brief().arms[0]
            .model
            .with_clip(ClipConfig::new().with_frames(4).with_size(16).with_patch(4)),
        pretraining: PretrainingConfig::new()
            .with_batch(2)
            .with_samples(2)
            .with_epochs(1.0)
            .with_warmup(0.5),
        finetuning: FinetuningConfig::new()
            .with_batch(2)
            .with_samples(1)
            .with_epochs(1.0)
            .with_warmup(0.5)
            .with_mix(mix),
        stride: 2,
        mirrored: true,
    };
    let out = dir.path().join("out");
    let report = published
        .run(&context(&out, false), &dir.path().join("videos"))
        .unwrap();
    assert!(report.summary().contains("encoder masking alone"));
    let error = published
        .run(&context(&out, true), &dir.path().join("none"))
        .err()
        .unwrap();
    assert!(format!("{error:#}").contains("none"), "{error:#}");
}
