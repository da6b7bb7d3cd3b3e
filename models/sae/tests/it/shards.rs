//! Rows on disk: order, resume of writing and reading, damage.

use crate::activations::{first_numbers, numbered};
use menagerie_core::{Error, Result, Seed};
use menagerie_sae::activations::{
    ActivationSource, Batches, Origin, RowSource, Rows, ShardIndex, ShardSource, ShardSourceConfig,
    SpillConfig, spill,
};
use std::{collections::BTreeSet, fs, path::Path};

fn origin() -> Origin {
    Origin {
        model: "echo".into(),
        hook: "blocks.0.hook_resid_pre".into(),
        seed: Seed(5),
    }
}

fn spill_numbered(folder: &Path, rows: usize, per_shard: usize) -> ShardIndex {
    let mut source = RowSource::new(numbered(rows, true), 7, 1).unwrap();
    spill(&mut source, &origin(), folder, &SpillConfig::new(per_shard)).unwrap()
}

fn all_batches(source: &mut ShardSource) -> Vec<Rows> {
    std::iter::from_fn(|| source.next_rows().unwrap()).collect()
}

#[test]
fn shards_hold_all_rows_and_serve_them_shuffled() {
    let folder = tempfile::tempdir().unwrap();
    let index = spill_numbered(folder.path(), 205, 40);
    assert_eq!(
        (index.rows, index.shards.len(), index.complete),
        (205, 6, true)
    );
    assert_eq!(index.shard_bytes(), 40 * 3 * 4);

    let config = ShardSourceConfig::new(16).with_group(2).with_epochs(2);
    let mut source = ShardSource::open(folder.path(), &config, Seed(9)).unwrap();
    let batches = all_batches(&mut source);
    assert_eq!((batches.len(), source.batches()), (25, 25));
    let seen: Vec<usize> = batches.iter().flat_map(first_numbers).collect();
    for batch in &batches {
        assert!(
            batch
                .x()
                .chunks(2)
                .zip(batch.paired())
                .all(|(x, p)| *p == -x[0])
        );
    }
    let first: BTreeSet<_> = seen[..205].iter().collect();
    assert_eq!(first.len(), 205);
    assert_ne!(seen[..195], seen[205..]);
    assert!(!seen[..40].is_sorted());
}

#[test]
fn a_shard_source_goes_on_exactly_where_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    spill_numbered(folder.path(), 205, 40);
    let config = ShardSourceConfig::new(16).with_group(2).with_epochs(2);
    let open = || ShardSource::open(folder.path(), &config, Seed(9)).unwrap();
    let expected = all_batches(&mut open());
    for stop in 0..=expected.len() {
        let saved = tempfile::tempdir().unwrap();
        let mut first = open();
        for _ in 0..stop {
            first.next_rows().unwrap().unwrap();
        }
        first.save(saved.path()).unwrap();
        let mut second = open();
        second.load(saved.path()).unwrap();
        assert_eq!(all_batches(&mut second), expected[stop..]);
    }
}

/// Fails at a block, as a run that is killed there.
struct Killed {
    source: RowSource,
    at: u64,
}

impl ActivationSource for Killed {
    fn width(&self) -> usize {
        self.source.width()
    }

    fn paired_width(&self) -> Option<usize> {
        self.source.paired_width()
    }

    fn next(&mut self) -> Result<Option<Rows>> {
        if self.source.position() == self.at {
            return Err(Error::other("reading", "killed"));
        }
        self.source.next()
    }

    fn position(&self) -> u64 {
        self.source.position()
    }

    fn seek(&mut self, position: u64) -> Result<()> {
        self.source.seek(position)
    }
}

#[test]
fn spilling_goes_on_after_the_last_whole_shard() {
    let whole = tempfile::tempdir().unwrap();
    let expected = spill_numbered(whole.path(), 205, 40);
    for at in [0, 3, 6, 12, 29] {
        let folder = tempfile::tempdir().unwrap();
        let source = RowSource::new(numbered(205, true), 7, 1).unwrap();
        let mut killed = Killed { source, at };
        let config = SpillConfig::new(40);
        let error = spill(&mut killed, &origin(), folder.path(), &config).unwrap_err();
        assert_eq!(error.to_string(), "reading: killed");
        if at > 6 {
            let open = ShardSource::open(folder.path(), &ShardSourceConfig::new(4), Seed(0));
            let error = open.err().unwrap().to_string();
            assert!(error.contains("index.json: is incomplete with "), "{error}");
        }
        assert_eq!(spill_numbered(folder.path(), 205, 40), expected);
        for shard in &expected.shards {
            assert_eq!(
                fs::read(folder.path().join(&shard.file)).unwrap(),
                fs::read(whole.path().join(&shard.file)).unwrap()
            );
        }
        // What is complete is not read again.
        let source = RowSource::new(numbered(205, true), 7, 1).unwrap();
        let mut unread = Killed { source, at: 0 };
        assert_eq!(
            spill(&mut unread, &origin(), folder.path(), &config).unwrap(),
            expected
        );
    }
}

#[test]
fn damaged_and_foreign_shards_are_named() {
    let folder = tempfile::tempdir().unwrap();
    spill_numbered(folder.path(), 80, 40);
    let first = |change: &dyn Fn(&mut Vec<u8>)| {
        let path = folder.path().join("shard-00001.safetensors");
        let original = fs::read(&path).unwrap();
        let mut bytes = original.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let config = ShardSourceConfig::new(4);
        let mut source = ShardSource::open(folder.path(), &config, Seed(0)).unwrap();
        let error = source.next_rows().unwrap_err().to_string();
        fs::write(&path, original).unwrap();
        assert!(error.contains("shard-00001.safetensors"), "{error}");
        error
    };
    let error = first(&|bytes| bytes.truncate(bytes.len() - 10));
    assert!(error.contains("truncated"), "{error}");
    let error = first(&|bytes| *bytes.last_mut().unwrap() ^= 1);
    assert!(error.contains("damaged: its CRC-32 is "), "{error}");

    let narrow = tempfile::tempdir().unwrap();
    let rows = Rows::new(5, vec![0.5; 200]).unwrap();
    let mut source = RowSource::new(rows, 40, 1).unwrap();
    spill(&mut source, &origin(), narrow.path(), &SpillConfig::new(40)).unwrap();
    let other = fs::read(narrow.path().join("shard-00000.safetensors")).unwrap();
    // With a checksum that fits, so that it is the width that is refused.
    let mut index: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("index.json")).unwrap()).unwrap();
    let theirs: serde_json::Value =
        serde_json::from_slice(&fs::read(narrow.path().join("index.json")).unwrap()).unwrap();
    index["shards"][1]["crc32"] = theirs["shards"][0]["crc32"].clone();
    fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
    let error = first(&|bytes| *bytes = other.clone());
    assert!(
        error.ends_with("widths of the rows [x, paired] is [5, 0]: must be [2, 1], as announced"),
        "{error}"
    );

    let mut other_origin = origin();
    other_origin.hook = "blocks.1.hook_resid_pre".into();
    let mut source = RowSource::new(numbered(80, true), 7, 1).unwrap();
    let config = SpillConfig::new(40);
    let error = spill(&mut source, &other_origin, folder.path(), &config).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("index.json: was written from "), "{error}");
}

#[test]
fn an_index_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    spill_numbered(folder.path(), 80, 40);
    let path = folder.path().join("index.json");
    let original: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let refusal = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut index = original.clone();
        change(&mut index);
        fs::write(&path, index.to_string()).unwrap();
        ShardIndex::open(folder.path()).unwrap_err().to_string()
    };
    let error = refusal(&|index| index["shards"][0]["file"] = "../secret".into());
    assert!(
        error.contains("shard `../secret`, expected the name of a file"),
        "{error}"
    );
    let error = refusal(&|index| index["rows"] = 81.into());
    assert!(
        error.contains("shards of 80 rows in all, expected 81"),
        "{error}"
    );
    let error = refusal(&|index| index["width"] = 0.into());
    assert!(error.contains("a width of 0"), "{error}");
    let error = refusal(&|index| index["rows"] = (-1).into());
    assert!(error.contains("index.json"), "{error}");
}
