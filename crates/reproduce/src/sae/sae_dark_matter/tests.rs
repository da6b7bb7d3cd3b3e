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

/// Random activations in the host's place, and a handful of steps: the verdicts mean nothing, the
/// rest is all there.
#[test]
fn everything_is_measured_resumed_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let run = |resume| {
        let context = context(folder.path(), Scale::Small, resume);
        let mut experiment = Experiment::small(&context);
        experiment.source = Source::Trained { seeds: 2 };
        experiment.widths = vec![16, 32, 64];
        experiment.side_width = 32;
        (experiment.k, experiment.steps, experiment.batch) = (4, 4, 64);
        experiment.analysis = AnalysisConfig::new(8, 64, 4, 0, 300, 100);
        (experiment.host_batch, experiment.injection_batches) = (4, 1);
        experiment.procedural = ProceduralConfig::new().with_rows(1_000);
        experiment.layer = 1;
        let device = &context.device;
        let config = menagerie_sae::host::LanguageModelConfig::gpt2(17, 64, 24, 2, 2);
        let host = menagerie_train::initialise(device, Seed(0), || config.init(device)).unwrap();
        let tokens = (0..2_000_u32).map(|place| (place * place + place / 7) % 17);
        let windows = Windows::new(tokens.collect(), 64).unwrap();
        let sites = Sites::before(1, &host).unwrap();
        let collection = data::Collection {
            analysis: &experiment.analysis,
            sites: &sites,
            batch: experiment.host_batch,
            unseen_batches: experiment.injection_batches,
            scaled: true,
        };
        let data = collection.run(&host, &windows, device).unwrap();
        let split = experiment.analysis.split(Seed(0)).unwrap();
        let outcome = experiment
            .analyse(&context, &host, &sites, &data, &split)
            .unwrap();
        let report = present::report(&context, &experiment, &outcome).unwrap();
        let measured: Vec<f64> = outcome
            .widths
            .iter()
            .flatten()
            .map(|w| w.parts.r2)
            .collect();
        (measured, report)
    };
    let (measured, report) = run(false);
    assert_eq!(measured.len(), 6);
    report.write(folder.path()).unwrap();
    for name in ["fvu", "error-norms"] {
        assert!(folder.path().join(format!("media/{name}.svg")).is_file());
    }
    assert!(report.summary().contains("Gradient pursuit"));
    // Runs that are complete are taken as they are.
    assert_eq!(run(true).0, measured);
}

#[test]
fn the_full_recipe_is_the_published_one() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::paper(&context(folder.path(), Scale::Paper, false));
    assert_eq!(experiment.analysis.rows(), 246_900);
    assert_eq!(experiment.steps * 8 * 1_024 / 1_000_000, 499);
    // The first 200 positions of a text are dropped.
    assert_eq!(experiment.batch, 8 * 824);
    let width = experiment.side_width;
    assert_eq!((width, experiment.k), (36_864, 32));
    let Source::Published { ids, .. } = experiment.source else {
        panic!("the paper analyses published autoencoders");
    };
    assert_eq!(ids.len(), experiment.widths.len());
}

/// The way of the full recipe to autoencoders on parts of the error, on random activations.
#[test]
fn components_are_learned_from_a_stream() {
    use menagerie_sae::sae_dark_matter::{LeastSquaresConfig, decompose};
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path(), Scale::Paper, false);
    let device = &context.device;
    let config = menagerie_sae::host::LanguageModelConfig::gpt2(17, 64, 24, 2, 2);
    let host = menagerie_train::initialise(device, Seed(0), || config.init(device)).unwrap();
    let tokens: Vec<u32> = (0..3_000_u32)
        .map(|place| (place * place + place / 7) % 17)
        .collect();
    let mut experiment = Experiment::paper(&context);
    experiment.analysis = AnalysisConfig::new(8, 32, 4, 1, 150, 50);
    (experiment.k, experiment.steps) = (4, 3);
    (experiment.batch, experiment.side_width) = (2 * 28, 48);

    let windows = Windows::new(tokens.clone(), 32).unwrap();
    let sites = Sites::before(1, &host).unwrap();
    let collection = data::Collection {
        analysis: &experiment.analysis,
        sites: &sites,
        batch: 4,
        unseen_batches: 0,
        scaled: false,
    };
    let data = collection.run(&host, &windows, device).unwrap();
    let sae = SaeConfig::new(24, 32, Activation::topk(4))
        .init(device)
        .unwrap();
    let reconstruction = sae.reconstruct(data.x.clone()).unwrap();
    let split = experiment.analysis.split(Seed(0)).unwrap();
    let parts = decompose(data.x, reconstruction, &split, &LeastSquaresConfig::new()).unwrap();
    let found = experiment
        .streamed_components(
            &context,
            (&host, sites.analysed),
            &tokens,
            &sae,
            &parts.probe,
        )
        .unwrap();
    assert_eq!(found.len(), 3);
    for (component, fvu) in found {
        assert!(fvu.is_finite() && fvu > 0.0, "{}: {fvu}", component.name());
    }
    assert!(
        folder
            .path()
            .join("on-nonlinear-error/metrics.jsonl")
            .is_file()
    );
}
