use super::{floats, text, tiny, values};
use crate::device;
use burn::train::InferenceStep;
use menagerie_core::{Result, Seed};
use menagerie_mae::mae_base::EpochSchedule;
use menagerie_mae::videomae_v2::{
    Batches, BlocksConfig, Draw, MaskingConfig, PretrainingConfig, VideoMae, decays,
};
use menagerie_train::{FitConfig, Procedure, Progress, Run, Schedule, Supervised, initialise};

const CLIPS: usize = 8;

fn view(index: usize, draw: Draw) -> Result<Vec<f32>> {
    let mut values = values(3 * 4 * 64, index as u64);
    values[0] = draw.load.0 as u32 as f32;
    values[1] = draw.view.0 as u32 as f32;
    Ok(values)
}

fn settings() -> PretrainingConfig {
    PretrainingConfig::new()
        .with_batch(2)
        .with_samples(2)
        .with_base_rate(0.5)
        .with_epochs(3.0)
        .with_warmup(1.0)
}

#[test]
fn samples_of_a_clip_share_what_is_loaded_but_not_their_views_or_masks() {
    let device = device();
    let config = settings().with_samples(3);
    let mut batches = Batches::new(&tiny().clip, &config, CLIPS, Seed(1), view).unwrap();
    assert_eq!(batches.steps_per_epoch(), 4);
    let batch = batches.batch(5, &device).unwrap();
    assert_eq!(batch.clips.dims(), [6, 3, 4, 8, 8]);
    assert_eq!(batch.masks.shape(), [6, 32]);
    let all = floats(batch.clips);
    let clip = |at: usize| &all[at * 768..][..768];
    for at in [0, 3] {
        assert!(clip(at)[2..] == clip(at + 1)[2..] && clip(at)[2..] == clip(at + 2)[2..]);
        assert_eq!(clip(at)[0], clip(at + 1)[0]);
        assert_ne!(clip(at)[1], clip(at + 1)[1]);
    }
    assert_ne!(clip(0)[0], clip(3)[0]);
    let masks = floats(batch.masks.visible.mask);
    assert!((1..6).any(|at| masks[..32] != masks[at * 32..][..32]));
    // A batch is a function of its step.
    let mut again = Batches::new(&tiny().clip, &config, CLIPS, Seed(1), view).unwrap();
    assert_eq!(floats(again.batch(5, &device).unwrap().clips), all);
    assert_ne!(floats(again.batch(4, &device).unwrap().clips), all);

    let mut wrong = Batches::new(&tiny().clip, &config, CLIPS, Seed(1), |_, _| {
        Ok(vec![0.0; 7])
    })
    .unwrap();
    assert_eq!(
        text(wrong.batch(0, &device)),
        "the size of a clip is 7: must be 768 for 3 x 4 x 8 x 8"
    );
    let large = settings().with_batch(9);
    assert!(
        text(Batches::new(&tiny().clip, &large, CLIPS, Seed(1), view)).contains("batch size is 9")
    );
}

#[test]
fn vectors_tokens_and_scales_do_not_decay() {
    let blocks = BlocksConfig::new().with_cosine(true);
    let model = tiny().with_blocks(blocks).init(&device()).unwrap();
    let paths = menagerie_train::parameters(&model);
    let kept: Vec<&str> = paths
        .iter()
        .filter(|(path, rank)| *rank > 1 && !decays(path, *rank))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        kept,
        [
            "encoder.blocks.0.attn.scale",
            "encoder.blocks.1.attn.scale",
            "mask_token",
            "decoder.blocks.0.attn.scale"
        ]
    );
    assert!(decays("encoder.patch_embed.weight", 5));
    assert!(!decays("encoder.patch_embed.bias", 1));
}

fn trainer(seed: u64) -> Supervised<'static, VideoMae> {
    let device = device().autodiff();
    let config = tiny();
    let settings = settings();
    let model = initialise(&device, Seed(seed), || config.init(&device)).unwrap();
    let mut batches = Batches::new(&config.clip, &settings, CLIPS, Seed(7), |index, _| {
        Ok(values(3 * 4 * 64, index as u64))
    })
    .unwrap();
    let steps = batches.steps_per_epoch();
    let schedule = settings.schedule().steps(steps).unwrap();
    let optimiser = settings.optimizer(&model).unwrap();
    Supervised::new(model, optimiser, schedule, move |step, device| {
        batches.batch(step, device)
    })
}

#[test]
fn a_resumed_run_gives_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let config = |steps| FitConfig {
        checkpoint_every: 4,
        log_every: 1,
        ..FitConfig::new(steps)
    };
    let progress = Progress::silent();
    let straight = Run::create(&dir.path().join("straight"), &1, false).unwrap();
    let mut whole = trainer(3);
    straight.fit(&mut whole, &config(8), &progress).unwrap();
    let halves = dir.path().join("halves");
    let run = Run::create(&halves, &1, false).unwrap();
    run.fit(&mut trainer(3), &config(4), &progress).unwrap();
    // Other first weights: all comes from the checkpoint.
    let run = Run::create(&halves, &1, true).unwrap();
    let mut rest = trainer(4);
    run.fit(&mut rest, &config(8), &progress).unwrap();
    assert_eq!(straight.history().unwrap(), run.history().unwrap());
    let weights =
        |trainer: &Supervised<VideoMae>| menagerie_hub::values(&trainer.trained().unwrap());
    assert_eq!(weights(&whole), weights(&rest));
}

#[test]
fn a_few_steps_lower_the_loss() {
    let device = device();
    let mut trainer = trainer(1);
    let masks = MaskingConfig::new()
        .draw(tiny().clip.grid(), CLIPS, Seed(9))
        .unwrap()
        .on(&device)
        .unwrap();
    let clips: Vec<f32> = (0..CLIPS)
        .flat_map(|clip| values(768, clip as u64))
        .collect();
    let clips = burn::tensor::Tensor::from_data(
        burn::tensor::TensorData::new(clips, [CLIPS, 3, 4, 8, 8]),
        &device,
    );
    let loss = |trainer: &Supervised<VideoMae>| {
        let batch = menagerie_mae::videomae_v2::MaskedClips {
            clips: clips.clone(),
            masks: masks.clone(),
        };
        let scalars = InferenceStep::step(&trainer.trained().unwrap(), batch);
        scalars.read().unwrap().get("loss").unwrap()
    };
    let before = loss(&trainer);
    for step in 0..12 {
        trainer.step(step).unwrap();
    }
    let after = loss(&trainer);
    assert!(after < 0.9 * before, "{before} to {after}");
}

#[test]
fn published_schedules_count_in_loaded_clips() {
    let config = PretrainingConfig::base();
    let schedule: Schedule = config.schedule().steps(100).unwrap();
    assert_eq!(schedule.at(0), 0.0);
    assert!((schedule.at(2_000) - 4e-3).abs() < 1e-12);
    assert!((schedule.at(20_000) - 4e-5).abs() < 1e-12);
    let expected = EpochSchedule::new(4e-3, 200.0, 20.0).with_floor(4e-5);
    assert!((config.schedule().peak - expected.peak).abs() < 1e-15);
}
