use super::*;
use burn::tensor::Device;
use menagerie_data_tabular::libfm;

fn context(dir: &std::path::Path, resume: bool) -> Context {
    Context {
        device: Device::default(),
        seed: 3,
        scale: Scale::Small,
        out: dir.into(),
        resume,
    }
}

#[test]
fn every_arm_trains_resumes_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = Experiment {
        scale: Scale::Small,
        studies: vec![Study {
            id: "impressions",
            label: "Impressions",
            parts: vec![
                data::impressions(1, [600, 300]).unwrap(),
                data::impressions(2, [600, 300]).unwrap(),
            ],
            settings: Settings::Small(["user", "item"]),
            kinds: KINDS.into(),
            training: TrainingConfig::small().with_epochs(2).with_batch(200),
            plateau: false,
            seeds: 2,
        }],
        workers: 2,
    };
    let results = experiment.run(&context(dir.path(), false)).unwrap();
    let again = experiment.run(&context(dir.path(), true)).unwrap();
    assert_eq!(results.studies[0].len(), 12);
    assert_eq!(results.studies, again.studies);
    let final_mlp = results.studies[0]
        .iter()
        .filter(|outcome| outcome.arm.kind == Kind::Final);
    for outcome in final_mlp {
        assert_eq!(outcome.parameters, 26_274);
        assert_eq!(outcome.curve.len(), 2);
        assert_eq!((outcome.gates.len(), outcome.gates[0].len()), (4, 4));
    }
    let report = present::report(&context(dir.path(), true), &experiment, &results).unwrap();
    report.write(dir.path()).unwrap();
    assert!(dir.path().join("media/impressions-gates.svg").is_file());
    assert!(
        report.summary().contains("final-mlp"),
        "{}",
        report.summary()
    );
}

/// Files as published, with ten fields of which user and item decide.
#[test]
fn published_files_are_trained_with_the_plateau() {
    let dir = tempfile::tempdir().unwrap();
    let line = |at: usize| {
        let (user, item) = (at * 7 % 5, at * 3 % 4);
        let rest: Vec<String> = (2..10).map(|field| format!("{}:1", 100 * field)).collect();
        let label = if (user + item) % 2 == 0 { 1 } else { -1 };
        format!("{label} {user}:1 {}:1 {}\n", 10 + item, rest.join(" "))
    };
    for (name, rows) in [("train", 200), ("validation", 60), ("test", 61)] {
        let text: String = (0..rows).map(line).collect();
        std::fs::write(dir.path().join(format!("frappe.{name}.libfm")), text).unwrap();
    }
    let splits = libfm::splits(dir.path(), "frappe", &libfm::FRAPPE).unwrap();
    let experiment = Experiment {
        scale: Scale::Paper,
        studies: vec![Study {
            id: "frappe",
            label: "Frappe",
            parts: vec![data::splits(&splits).unwrap()],
            settings: Settings::Frappe,
            kinds: KINDS.into(),
            training: TrainingConfig::published().with_batch(100).with_epochs(3),
            plateau: true,
            seeds: 1,
        }],
        workers: 1,
    };
    let context = context(&dir.path().join("out"), false);
    let results = experiment.run(&context).unwrap();
    let areas = results.studies[0].iter().map(present::auc);
    assert!(
        areas.clone().all(|area| area > 0.5),
        "{:?}",
        areas.collect::<Vec<_>>()
    );
    let report = present::report(&context, &experiment, &results).unwrap();
    assert!(report.summary().contains("final-mlp"));
}
