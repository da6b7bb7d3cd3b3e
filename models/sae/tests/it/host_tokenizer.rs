//! Tokenizers.

use menagerie_sae::host::Tokenizer;
use std::fs;

/// Byte-pair merges over words that begin with a blank, as GPT-2's but tiny.
const TOKENIZER: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 7, "content": "<|endoftext|>", "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": true},
    "post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [7],
                           "tokens": ["<|endoftext|>"]}}},
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null,
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
        "byte_fallback": false, "ignore_merges": false,
        "vocab": {"a": 0, "b": 1, "Ġ": 2, "Ã": 3, "©": 4, "ab": 5, "Ġab": 6},
        "merges": [["a", "b"], ["Ġ", "ab"]]}
}"#;

#[test]
fn a_tokenizer_goes_there_and_back() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), TOKENIZER).unwrap();
    let tokenizer = Tokenizer::from_folder(dir.path()).unwrap();
    assert_eq!(
        (tokenizer.len(), tokenizer.id("<|endoftext|>")),
        (8, Some(7))
    );
    let tokens = tokenizer.encode("ab abb é", false).unwrap();
    assert_eq!(tokens, [5, 6, 1, 2, 3, 4]);
    assert_eq!(tokenizer.decode(&tokens).unwrap(), "ab abb é");
    assert_eq!(tokenizer.encode("a", true).unwrap(), [7, 0]);
    assert_eq!(tokenizer.decode(&[7, 0]).unwrap(), "a");
    let tensor = tokenizer
        .encode_tensor("ab ab", true, &burn::tensor::Device::default())
        .unwrap();
    assert_eq!(
        tensor.into_data().iter::<i64>().collect::<Vec<_>>(),
        [7, 5, 6]
    );
}

#[test]
fn what_is_no_tokenizer_or_token_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Tokenizer::from_folder(dir.path()).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read ") && error.contains("tokenizer.json"),
        "{error}"
    );
    let path = dir.path().join("tokenizer.json");
    fs::write(&path, "{\"model\": 3}").unwrap();
    let error = Tokenizer::from_file(&path).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: "), "{error}");
    fs::write(&path, TOKENIZER).unwrap();
    let error = Tokenizer::from_file(&path)
        .unwrap()
        .decode(&[9])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("a token is 9: is none of the 8 of "),
        "{error}"
    );
}
