//! What is refused, with the error's text.

use super::{config, fields, rows};
use crate::{device, text};
use menagerie_core::Seed;
use menagerie_series::final_mlp::{
    BaselineConfig, BaselineKind, ClickModel, DualMlpConfig, Field, FinalMlpConfig, Fit,
    GateConfig, Impressions, Regulariser, StreamConfig, TrainingConfig,
};

fn refused(config: FinalMlpConfig) -> String {
    text(config.init(&device()))
}

#[test]
fn impossible_models() {
    let cases = [
        (
            config().with_heads(4),
            "FinalMlpConfig.heads = 4: must divide the last width of stream1, 6",
        ),
        (
            config().with_heads(3),
            "FinalMlpConfig.heads = 3: must divide the last width of stream2, 10",
        ),
        (
            config().with_heads(0),
            "FinalMlpConfig.heads = 0: must divide the last width of stream1, 6",
        ),
        (
            config().with_gate1(Some(GateConfig::new(vec![5], vec!["itm".into()]))),
            "unknown context field `itm`; did you mean `item`?",
        ),
        (
            config().with_gate2(Some(GateConfig::new(vec![], vec![]))),
            "FinalMlpConfig.gate2.hidden = []: must name at least one layer, each at least 1 wide",
        ),
    ];
    for (config, expected) in cases {
        assert_eq!(refused(config), expected);
    }
    let with = |change: &dyn Fn(&mut FinalMlpConfig)| {
        let mut config = config();
        change(&mut config);
        refused(config)
    };
    assert_eq!(
        with(&|config| config.fields.clear()),
        "FinalMlpConfig.fields = []: must name at least one field"
    );
    assert_eq!(
        with(&|config| config.fields.push(Field::number("user"))),
        "FinalMlpConfig.fields[4].name = \"user\": must not be that of another field"
    );
    assert_eq!(
        with(&|config| config.fields[0] = Field::category("a.b", 5)),
        "FinalMlpConfig.fields[0].name = \"a.b\": must be a word without dots, braces and stars"
    );
    assert_eq!(
        with(&|config| config.fields[0] = Field::category("user", 1)),
        "FinalMlpConfig.fields[0].vocabulary = 1: must be at least 2: padding, and one more"
    );
    assert_eq!(
        with(&|config| config.fields[2] = Field::sequence("tags", 5, 0)),
        "FinalMlpConfig.fields[2].length = 0: must be at least 1"
    );
    assert_eq!(
        with(&|c| c.embedding = 0),
        "FinalMlpConfig.embedding = 0: must be at least 1"
    );
    for dropout in [1.0, -0.1, f64::NAN] {
        assert_eq!(
            with(&|config| config.stream2.dropout = dropout),
            format!("FinalMlpConfig.stream2.dropout = {dropout:?}: must be at least 0 and below 1")
        );
    }
    assert_eq!(
        with(&|config| config.stream1.hidden = vec![8, 0]),
        "FinalMlpConfig.stream1.hidden = [8, 0]: must name at least one layer, each at least 1 wide"
    );
    assert_eq!(
        with(&|config| config.net_regulariser = Regulariser::l2(-1.0)),
        "FinalMlpConfig.net_regulariser = Regulariser { l1: 0.0, l2: -1.0 }: must be finite and not \
         negative"
    );
    let stream = || StreamConfig::new(vec![4]);
    let dual = DualMlpConfig::new(vec![], 4, stream(), stream());
    assert_eq!(
        text(dual.init(&device())),
        "DualMlpConfig.fields = []: must name at least one field"
    );
    let cross = BaselineConfig::new(BaselineKind::DcnV2 { layers: 0 }, fields(), 4, stream());
    assert_eq!(
        text(cross.init(&device())),
        "BaselineConfig.kind.layers = 0: must be at least 1"
    );
}

#[test]
fn impossible_regularisers() {
    let parse = |text: &str| Regulariser::parse(text).unwrap();
    assert_eq!(parse("0.05"), Regulariser::l2(0.05));
    assert_eq!(parse("l2(1e-3)"), Regulariser::l2(1e-3));
    assert_eq!(parse("l1(0.1)"), Regulariser { l1: 0.1, l2: 0.0 });
    assert_eq!(
        parse("l1_l2(0.001, 0.02)"),
        Regulariser {
            l1: 0.001,
            l2: 0.02
        }
    );
    assert_eq!([parse(""), parse("0")], [Regulariser::new(); 2]);
    for wrong in ["l3(1)", "l1_l2(1)", "much", "-1", "l2(nan)"] {
        assert_eq!(
            text(Regulariser::parse(wrong)),
            format!("a regulariser is \"{wrong}\": must be a number, l1(a), l2(a) or l1_l2(a, b)")
        );
    }
}

#[test]
fn impossible_rows() {
    let good = (vec![4, 2, 0, 5, 11], vec![0.5f32], vec![true]);
    let refused = |ids: Vec<u32>, numbers: Vec<f32>, labels: Vec<bool>| {
        text(Impressions::new(fields(), ids, numbers, labels))
    };
    let with = |at: usize, id: u32| {
        let mut ids = good.0.clone();
        ids[at] = id;
        refused(ids, good.1.clone(), good.2.clone())
    };
    assert_eq!(
        with(0, 9),
        "the id of user in row 0 is 9: must be below the vocabulary, 9"
    );
    assert_eq!(
        with(3, 6),
        "the id of tags in row 0 is 6: must be below the vocabulary, 6"
    );
    assert_eq!(
        refused(good.0.clone(), vec![f32::NAN], good.2.clone()),
        "age in row 0 is NaN: must be finite"
    );
    assert_eq!(
        refused(good.0[..4].to_vec(), good.1.clone(), good.2.clone()),
        "the number of ids is 4: must be 5 for each of 1 rows"
    );
    assert_eq!(
        refused(good.0.clone(), vec![], good.2.clone()),
        "the number of numbers is 0: must be 1 for each of 1 rows"
    );
    assert_eq!(
        refused(vec![], vec![], vec![]),
        "the number of rows is 0: must be at least 1"
    );
    assert_eq!(
        text(Impressions::new(vec![], vec![], vec![], vec![true])),
        "Impressions.fields = []: must name at least one field"
    );
    assert_eq!(
        text(Impressions::labels_of(&[0.0, 1.0, 0.5])),
        "the label of row 2 is 0.5: must be 0 or 1"
    );
}

#[test]
fn impossible_batches_and_trainings() {
    let device = device();
    let tracked = device.clone().autodiff();
    let model = config().init(&tracked).unwrap();
    let rows = rows(9, 1);
    let alone = rows.batch(&[3], &tracked, None);
    let expected = "the number of rows is 1: must be at least 2 to train: batch normalisation divides \
                    by a deviation";
    assert_eq!(text(model.loss(&alone)), expected);
    assert!(
        model.forward(&alone).is_ok(),
        "evaluation knows the running moments"
    );
    let train = |model, config: &TrainingConfig| {
        text(Fit::new(model, config, &rows, None, Seed(0)).map(|_| ()))
    };
    let four = TrainingConfig::new().with_batch(4);
    assert_eq!(
        train(model.clone(), &four),
        "the last batch of an epoch is 1: must be at least 2: batch normalisation divides by a \
         deviation; change the batch size"
    );
    assert_eq!(
        train(model.clone(), &four.clone().with_batch(0)),
        "TrainingConfig.batch = 0: must be at least 1"
    );
    assert_eq!(
        train(model.clone(), &four.clone().with_rate(f64::NAN)),
        "TrainingConfig.rate = NaN: must be finite and above 0"
    );
    assert_eq!(
        train(model.clone(), &four.clone().with_factor(1.5)),
        "TrainingConfig.factor = 1.5: must be above 0 and at most 1"
    );
    assert_eq!(
        text(model.predict_proba(&rows, 0)),
        "the batch size is 0: must be at least 1"
    );

    let mut other = fields();
    other[0] = Field::category("user", 10);
    let other = Impressions::new(other, vec![9, 1, 1, 1, 1], vec![0.0], vec![true]).unwrap();
    assert_eq!(
        text(model.forward(&other.batch(&[0], &tracked, None))),
        "fields is \"user (10), age, tags (6), item (12)\": must be the model's: user (9), age, tags \
         (6), item (12)"
    );
    let one_kind = Impressions::new(fields(), vec![1; 5], vec![0.0], vec![true]).unwrap();
    assert!(text(model.evaluate(&one_kind, 5)).starts_with("labels is \"1 of 1 positive\""));
}
