use super::{
    arms::next_coefficient,
    data::{HostData, Prepared},
    *,
};
use burn::tensor::Device;

fn context(out: &std::path::Path, scale: Scale, resume: bool) -> Context {
    Context {
        device: Device::default(),
        seed: 5,
        scale,
        out: out.into(),
        resume,
    }
}

/// Every variant with a handful of steps: the verdicts mean nothing, the rest is all there.
#[test]
fn variants_train_resume_and_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let run = |resume| {
        let context = context(folder.path(), Scale::Small, resume);
        let mut experiment = small(&context);
        experiment.data = Data::Dictionary {
            config: DictionaryConfig::new(),
            rows: 300,
            held_out: 100,
        };
        experiment.seeds = 1;
        experiment.steps = 5;
        experiment.batch = 50;
        experiment.wide_latents = 160;
        experiment.attempts = 2;
        experiment.frontier = vec![2];
        let outcomes = experiment.run(&context).unwrap();
        let parts = [Part {
            experiment,
            outcomes,
        }];
        let report = present::report(&context, &parts).unwrap();
        let [Part { outcomes, .. }] = parts;
        (outcomes, report.summary())
    };
    let (outcomes, text) = run(false);
    assert_eq!(outcomes.len(), Variant::ALL.len() + 1);
    for outcome in &outcomes {
        assert!(outcome.quality().fvu.is_finite(), "{outcome:?}");
        assert!(
            outcome
                .measured
                .mmcs
                .is_some_and(|mmcs| mmcs > 0.0 && mmcs <= 1.0 + 1e-6)
        );
        assert_eq!(outcome.tried.is_empty(), outcome.coefficient.is_none());
    }
    for variant in Variant::ALL {
        assert!(text.contains(variant.name()), "{text}");
    }
    // Runs that are complete are taken as they are.
    assert_eq!(run(true).0, outcomes);
}

#[test]
fn the_coefficient_is_doubled_until_the_wanted_l0_is_enclosed() {
    assert_eq!(next_coefficient(&[[0.2, 9.0, 0.1]], 4.0), 0.4);
    assert_eq!(next_coefficient(&[[0.2, 2.0, 0.1]], 4.0), 0.1);
    let next = next_coefficient(&[[0.2, 8.0, 0.1], [0.4, 2.0, 0.3]], 4.0);
    // Half way in both logarithms.
    assert!((next - 0.2 * 2f64.sqrt()).abs() < 1e-12, "{next}");
    // An autoencoder that is silent altogether does not stop the search.
    let next = next_coefficient(&[[0.2, 8.0, 0.1], [0.4, 0.0, 1.0]], 4.0);
    assert!(next > 0.2 && next < 0.4, "{next}");
}

/// The full recipe's way through a language model, with a random one.
#[test]
fn activations_of_a_host_are_learned_and_spliced() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path(), Scale::Paper, false);
    let device = &context.device;
    let config = menagerie_sae::host::LanguageModelConfig::gpt2(17, 64, 24, 2, 2);
    let host = menagerie_train::initialise(device, Seed(0), || config.init(device)).unwrap();
    let tokens: Vec<u32> = (0..2_000_u32)
        .map(|place| (place * place + place / 7) % 17)
        .collect();
    let hook = "blocks.1.hook_resid_pre";
    let data = HostData::new(
        "random".into(),
        (host, tokens, 32),
        hook,
        3,
        500,
        Seed(0),
        device,
    );
    let prepared = Prepared::Host(Box::new(data.unwrap()));
    let mut experiment = paper(&context);
    experiment.variants = vec![Variant::TopK];
    experiment.latents = 96;
    experiment.steps = 3;
    experiment.batch = 50;
    experiment.frontier = vec![];
    let outcomes = experiment.run_on(&context, &prepared).unwrap();
    let [outcome] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert_eq!(outcome.measured.mmcs, None);
    assert!(
        outcome
            .measured
            .recovered
            .is_some_and(|share| share.is_finite())
    );
    assert!(outcome.quality().l0 > 0.0 && outcome.quality().l0 <= 32.0);
}

#[test]
fn the_full_recipe_is_that_of_gpt2_small() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = paper(&context(folder.path(), Scale::Paper, false));
    assert_eq!((experiment.latents, experiment.l0), (24_576, 32));
    assert_eq!(
        (experiment.steps * experiment.batch + 500_000) / 1_000_000,
        300
    );
}
