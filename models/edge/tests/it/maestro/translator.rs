//! The transformer with words at both ends: padding, loss, multiplications, training, refusals.

use crate::{device, distance};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::Seed;
use menagerie_edge::maestro::{
    Factored, LodTranslator, MaestroConfig, Pairs, Ranks, Trainable, Training, TransformerConfig,
    TranslatorConfig, loss_of,
};
use menagerie_train::{FitConfig, Progress, Run, initialise};

/// Seven words of one language, six of the other; the first of both is padding.
fn config(dropout: f64) -> TranslatorConfig {
    let transformer = TransformerConfig::new()
        .with_dim(12)
        .with_heads(2)
        .with_layers([1, 2])
        .with_hidden(16)
        .with_dropout(dropout);
    TranslatorConfig::new([7, 6]).with_transformer(transformer)
}

fn network(dropout: f64, device: &Device) -> LodTranslator {
    let config = config(dropout);
    initialise(device, Seed(4), || config.init(device)).unwrap()
}

fn words<const R: usize, const C: usize>(words: [[i64; C]; R], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(words, device)
}

#[test]
fn factors_compute_what_dense_layers_do_and_every_layer_has_its_rank() {
    let device = device();
    let dense = network(0.0, &device);
    let factored = dense.decompose().unwrap();
    // Six layers in the encoder, ten in each of the decoder's two, and the output.
    assert_eq!(factored.ranks().len(), 6 + 2 * 10 + 1);
    assert_eq!(dense.numbers(), dense.num_params());
    let (from, to) = (words([[3, 4, 5]], &device), words([[1, 2, 3, 4]], &device));
    let run = |network: &LodTranslator, ranks: &Ranks| {
        network.run(from.clone(), to.clone(), ranks, None).unwrap()
    };
    let whole = run(&factored, &Ranks::Full);
    assert_eq!(whole.dims(), [1, 4, 6]);
    assert!(distance(run(&dense, &Ranks::Full), whole.clone()) < 1e-4);
    for layer in 0..27 {
        let cut = run(&factored, &Ranks::Cut { layer, rank: 1 });
        assert!(distance(cut, whole.clone()) > 1e-6, "layer {layer}");
    }
}

#[test]
fn padding_is_not_seen_and_does_not_count() {
    let device = device();
    let network = network(0.0, &device);
    let from = words([[3, 4, 5, 0, 0], [6, 5, 4, 3, 2]], &device);
    let to = words([[1, 2, 3, 0], [1, 5, 4, 3]], &device);
    let both = network.run(from, to, &Ranks::Full, None).unwrap();
    let from = words([[3, 4, 5]], &device);
    let one = network
        .run(from, words([[1, 2, 3]], &device), &Ranks::Full, None)
        .unwrap();
    let first = both.clone().narrow(0, 0, 1).narrow(1, 0, 3);
    assert!(distance(first, one) < 1e-5);

    // Words to tell: two of the first sentence, three of the second.
    let pairs = |from, to| Pairs {
        sources: from,
        targets: to,
    };
    let loss = |batch: &Pairs| {
        let settings = MaestroConfig::new();
        let loss = loss_of(&network, &settings, batch, &Ranks::Full, Seed(0)).unwrap();
        loss.partial.into_scalar::<f32>()
    };
    let one = loss(&pairs(
        words([[3, 4, 5]], &device),
        words([[1, 2, 3]], &device),
    ));
    let other = pairs(
        words([[6, 5, 4, 3, 2]], &device),
        words([[1, 5, 4, 3]], &device),
    );
    let other = loss(&other);
    let both = loss(&pairs(
        words([[3, 4, 5, 0, 0], [6, 5, 4, 3, 2]], &device),
        words([[1, 2, 3, 0], [1, 5, 4, 3]], &device),
    ));
    assert!(
        (both - (2.0 * one + 3.0 * other) / 5.0).abs() < 1e-4,
        "{both}"
    );
}

#[test]
fn a_word_does_not_see_what_follows() {
    let device = device();
    let network = network(0.0, &device);
    let run = |last: i64| {
        let (from, to) = (
            words([[3, 4, 5]], &device),
            words([[1, 2, 3, last]], &device),
        );
        let scores = network.run(from, to, &Ranks::Full, None).unwrap();
        (scores.clone().narrow(1, 0, 3), scores.narrow(1, 3, 1))
    };
    let ((one, end), (two, other)) = (run(4), run(5));
    assert!(distance(one, two) < 1e-6);
    assert!(distance(end, other) > 1e-3);
}

#[test]
fn multiplications_are_counted_word_by_word() {
    let device = device();
    let dense = network(0.0, &device);
    let (square, perceptron) = (12 * 12, 2 * 12 * 16);
    let encoder = 5 * (4 * square + perceptron);
    let decoder = 3 * (4 * square + 2 * square + perceptron) + 5 * 2 * square;
    let output = 3 * 12 * 6;
    assert_eq!(
        dense.macs([5, 3], &Ranks::Full),
        encoder + 2 * decoder + output
    );
    let factored = dense.decompose().unwrap();
    let cut = factored.macs([5, 3], &Ranks::Cut { layer: 0, rank: 2 });
    assert_eq!(factored.macs([5, 3], &Ranks::Full) - cut, 5 * 24 * 10);
}

/// Sentences whose translation is one word up, to numbers below six.
fn copies(step: usize, device: &Device) -> Pairs {
    let at = |row: i64, column: i64| (row + 2 * column + step as i64) % 4 + 2;
    let sentence = |row: i64| [at(row, 0), at(row, 1), at(row, 2)];
    let rows: [[i64; 3]; 8] = std::array::from_fn(|row| sentence(row as i64));
    let targets: [[i64; 4]; 8] = rows.map(|[a, b, c]| [1, a, b, c]);
    Pairs {
        sources: words(rows, device),
        targets: words(targets, device),
    }
}

#[test]
fn it_trains_and_a_resumed_run_equals_an_uninterrupted_one() {
    let device = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let train = |name: &str, steps: usize, resume: bool, dropout: f64| {
        let network = network(dropout, &device).decompose().unwrap();
        let settings = MaestroConfig::new().with_rate(0.05);
        let batch = |step: usize, _: &Device| Ok(copies(step, &device.clone().without_autodiff()));
        let mut training = Training::new(network, settings, 5, Seed(2), batch).unwrap();
        let run = Run::create(&dir.path().join(name), &0, resume).unwrap();
        let fit = FitConfig {
            checkpoint_every: 2,
            ..FitConfig::new(steps)
        };
        let end = run.fit(&mut training, &fit, &Progress::silent()).unwrap();
        let history = run.history().unwrap();
        let first = history[0].metrics.get("loss").unwrap();
        let last = end.train.get("loss").unwrap();
        (
            menagerie_hub::values(&training.trained().unwrap()),
            first,
            last,
        )
    };
    let (whole, ..) = train("whole", 6, false, 0.2);
    train("parts", 2, false, 0.2);
    assert_eq!(train("parts", 6, true, 0.2).0, whole);
    let (_, first, last) = train("long", 200, false, 0.0);
    assert!(last < 0.5 * first, "{first} to {last}");
}

#[test]
fn dropout_follows_the_seed() {
    let device = device();
    let network = network(0.3, &device);
    let batch = copies(0, &device);
    let scores = |seed: u64| {
        network
            .scored(&batch, &Ranks::Full, Seed(seed))
            .unwrap()
            .logits
    };
    assert_eq!(distance(scores(1), scores(1)), 0.0);
    assert!(distance(scores(1), scores(2)) > 1e-3);
}

#[test]
fn impossible_translators_and_sentences_are_refused() {
    let device = device();
    let refusal = |config: TranslatorConfig| config.init(&device).unwrap_err().to_string();
    let mut few = config(0.0);
    few.words[1] = 1;
    assert_eq!(
        refusal(few),
        "TranslatorConfig.words = [7, 1]: must be at least 2"
    );
    assert_eq!(
        refusal(config(0.0).with_padding(6)),
        "TranslatorConfig.padding = 6: must be below the words of both languages, 6"
    );
    assert_eq!(
        refusal(config(1.0)),
        "TransformerConfig.dropout = 1.0: must be at least 0 and below 1"
    );
    let mut odd = config(0.0);
    (odd.transformer.dim, odd.transformer.heads) = (9, 3);
    assert_eq!(
        refusal(odd),
        "TranslatorConfig.transformer.dim = 9: must be even, a sine and a cosine each"
    );
    let network = network(0.0, &device);
    let text = |from: Tensor<2, Int>, to: Tensor<2, Int>| {
        let error = network.run(from, to, &Ranks::Full, None);
        error.unwrap_err().to_string()
    };
    let (from, to) = (words([[3, 4]], &device), words([[1, 2]], &device));
    assert_eq!(
        text(from.clone(), to.clone().repeat_dim(0, 2)),
        "the number of targets is 2: must be as many as sources, 1"
    );
    assert_eq!(
        text(words([[3, 7]], &device), to.clone()),
        "a word is 7: must be below 7, the words of the sources"
    );
    assert_eq!(
        text(words([[0, 3]], &device), to.clone()),
        "sources is [1, 2]: must not begin with padding, behind which nothing is seen"
    );
    let batch = Pairs {
        sources: from,
        targets: to.narrow(1, 0, 1),
    };
    let error = network.scored(&batch, &Ranks::Full, Seed(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "targets is [1, 1]: must be sentences of at least two words"
    );
}
