use super::*;
use burn::tensor::Device;

fn context(out: &std::path::Path, scale: Scale, resume: bool) -> Context {
    Context {
        device: Device::default(),
        seed: 3,
        scale,
        out: out.into(),
        resume,
    }
}

/// The procedural task with a handful of steps: the verdict means nothing, the rest is all there.
#[test]
fn the_task_trains_resumes_and_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let run = |resume| {
        let context = context(folder.path(), Scale::Small, resume);
        let (_, mut task) = small(&context);
        task.rows = 200;
        task.held_out = 100;
        task.seeds = 1;
        task.training = task.training.with_steps(4).with_batch(50);
        task.run(&context).unwrap()
    };
    let outcomes = run(false);
    assert_eq!(outcomes.len(), 3);
    for outcome in &outcomes {
        assert!(outcome.fvu.is_finite() && outcome.increase.is_finite());
        assert!(
            outcome
                .recovered
                .iter()
                .all(|&cosine| cosine > 0.0 && cosine <= 1.0 + 1e-6)
        );
    }
    // Runs that are complete are taken as they are.
    assert_eq!(run(true), outcomes);
}

#[test]
fn the_full_recipe_is_that_of_gpt2_small() {
    let folder = tempfile::tempdir().unwrap();
    let (language, _) = paper(&context(folder.path(), Scale::Paper, false));
    assert_eq!(language.sae.parameters(), 37_774_080);
    assert_eq!(language.hook, "blocks.7.hook_resid_pre");
    assert_eq!((language.rows + 500_000) / 1_000_000, 200);
    assert_eq!(language.arms().len(), 5);
    language.sae.validate().unwrap();
    language.training.validate().unwrap();
}
