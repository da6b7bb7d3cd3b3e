//! Integration tests: vocabularies, splits, windows, and the real corpus where it is on this
//! machine.
#![allow(clippy::unwrap_used)]

use menagerie_core::Seed;
use menagerie_data_text::{CharVocabulary, Windows, split, tiny_shakespeare};
use proptest::prelude::*;

#[test]
fn tokens_are_ranks_of_characters() {
    let vocabulary = CharVocabulary::of("banana é").unwrap();
    assert_eq!(vocabulary.characters(), [' ', 'a', 'b', 'n', 'é']);
    let tokens = vocabulary.encode("né ban").unwrap();
    assert_eq!(tokens, [3, 4, 0, 2, 1, 3]);
    assert_eq!(vocabulary.decode(&tokens).unwrap(), "né ban");
}

#[test]
fn what_has_no_token_is_named() {
    let vocabulary = CharVocabulary::of("abc").unwrap();
    assert_eq!(
        vocabulary.encode("abxc").unwrap_err().to_string(),
        "character 2 of the text is 'x': is none of the vocabulary's 3"
    );
    assert_eq!(
        vocabulary.decode(&[0, 3]).unwrap_err().to_string(),
        "token 1 is 3: must be below 3, the size of the vocabulary"
    );
    assert!(CharVocabulary::of("").is_err());
}

#[test]
fn a_split_is_contiguous() {
    let tokens: Vec<u32> = (0..20).collect();
    let (train, validation) = split(&tokens, 0.1).unwrap();
    assert_eq!((train.len(), validation.clone()), (18, vec![18, 19]));
    for share in [0.0, 1.0, -0.5, f64::NAN] {
        let error = split(&tokens, share).unwrap_err().to_string();
        assert!(error.contains("above 0 and below 1"), "{error}");
    }
    let error = split(&tokens[..1], 0.1).unwrap_err().to_string();
    assert!(error.ends_with("leaves a part without any"), "{error}");
}

#[test]
fn windows_in_order_cover_the_stream_once() {
    let windows = Windows::new((0..11).collect(), 3).unwrap();
    assert_eq!((windows.starts(), windows.sequential_len()), (8, 3));
    let batch = windows.sequential(0, 3).unwrap();
    assert_eq!(batch.inputs, (0..9).collect::<Vec<i64>>());
    assert_eq!(batch.targets, (1..10).collect::<Vec<i64>>());
    assert_eq!(
        windows.sequential(1, 3).unwrap_err().to_string(),
        "the end of the windows is 4: must be at most 3"
    );
    let last = windows.at(&[7]).unwrap();
    assert_eq!((last.inputs, last.targets), (vec![7, 8, 9], vec![8, 9, 10]));
    assert!(windows.at(&[8]).is_err());
}

#[test]
fn a_stream_without_a_window_is_refused() {
    for tokens in [vec![], vec![1, 2, 3]] {
        let count = tokens.len();
        assert_eq!(
            Windows::new(tokens, 3).unwrap_err().to_string(),
            format!(
                "the number of tokens is {count}: must be above 3: a window and the token after it"
            )
        );
    }
    assert!(Windows::new(vec![1, 2], 0).is_err());
    assert_eq!(Windows::new(vec![1, 2], 1).unwrap().sequential_len(), 1);
}

#[test]
fn the_seed_decides_random_windows() {
    let windows = Windows::new((0..1000).collect(), 8).unwrap();
    let seed = Seed(3).stream("batch");
    assert_eq!(
        windows.random(16, seed.at(5)),
        windows.random(16, seed.at(5))
    );
    assert_ne!(
        windows.random(16, seed.at(5)),
        windows.random(16, seed.at(6))
    );
}

proptest! {
    /// Every random window is a run of the stream, and its targets are one further.
    #[test]
    fn random_windows_are_runs(count in 2..60_u32, length in 1..59_usize, seed: u64) {
        prop_assume!(length < count as usize);
        let windows = Windows::new((0..count).collect(), length).unwrap();
        let batch = windows.random(9, Seed(seed));
        prop_assert_eq!(batch.inputs.len(), 9 * length);
        for (inputs, targets) in batch.inputs.chunks(length).zip(batch.targets.chunks(length)) {
            for (step, (&input, &target)) in inputs.iter().zip(targets).enumerate() {
                prop_assert_eq!(input, inputs[0] + step as i64);
                prop_assert_eq!(target, input + 1);
            }
            prop_assert!(targets[length - 1] < i64::from(count));
        }
    }
}

#[test]
fn the_real_plays_are_as_published() {
    let locator = menagerie_data::Locator::from_env();
    let set = menagerie_data::dataset("tiny-shakespeare").unwrap();
    // The network is no part of a test.
    if locator.data_dir.is_none() || locator.locate(set).is_none() {
        return;
    }
    let text = tiny_shakespeare().unwrap();
    assert!(text.starts_with("First Citizen:\nBefore we proceed"));
    let vocabulary = CharVocabulary::of(&text).unwrap();
    assert_eq!((text.len(), vocabulary.len()), (1_115_394, 65));
    let tokens = vocabulary.encode(&text).unwrap();
    let (train, validation) = split(&tokens, 0.1).unwrap();
    assert_eq!((train.len(), validation.len()), (1_003_854, 111_540));
}
