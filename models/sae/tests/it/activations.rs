//! The activation pipeline: order, bounds, resume, refusals.

use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_sae::activations::{
    ActivationBuffer, ActivationSource, Batches, BufferConfig, HookedModel, HostSource,
    HostSourceConfig, Norms, Probe, RowSource, Rows, geometric_median,
};
use menagerie_sae::host::{HookPoint, LanguageModelConfig, activation_gradient};
use std::collections::BTreeSet;

fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or("flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

/// Row r is [r, r + 0.5]; with a pair, [-r].
pub fn numbered(rows: usize, paired: bool) -> Rows {
    let x = (0..rows).flat_map(|r| [r as f32, r as f32 + 0.5]).collect();
    let rows_of_two = Rows::new(2, x).unwrap();
    match paired {
        true => {
            let negative = (0..rows).map(|r| -(r as f32)).collect();
            rows_of_two.with_paired(1, negative).unwrap()
        }
        false => rows_of_two,
    }
}

pub fn first_numbers(rows: &Rows) -> Vec<usize> {
    rows.x().chunks(2).map(|row| row[0] as usize).collect()
}

fn buffer(rows: usize, block: usize, capacity: usize, batch: usize) -> ActivationBuffer<RowSource> {
    let source = RowSource::new(numbered(rows, true), block, 1).unwrap();
    ActivationBuffer::new(source, &BufferConfig::new(capacity, batch), Seed(3)).unwrap()
}

#[test]
fn a_buffer_serves_every_row_once_in_a_mixed_order_and_within_its_bound() {
    let mut buffer = buffer(1000, 37, 128, 16);
    let mut seen = Vec::new();
    while let Some(rows) = buffer.next_rows().unwrap() {
        assert!(buffer.len() <= 128 - 16);
        assert_eq!(rows.len(), 16);
        for (row, paired) in rows.x().chunks(2).zip(rows.paired()) {
            assert_eq!(row[1], row[0] + 0.5);
            assert_eq!(*paired, -row[0]);
        }
        seen.extend(first_numbers(&rows));
    }
    // 1000 = 62 · 16 + 8.
    assert_eq!(seen.len(), 992);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 992);
    assert!(!seen.is_sorted());
    // Rows of the first fill are still being served after the second.
    assert!(seen[64..192].iter().any(|&row| row < 128));
    assert_eq!(BufferConfig::new(128, 16).bytes(2, 1), 128 * 3 * 4);
}

#[test]
fn half_of_a_full_buffer_is_served_between_refills() {
    let mut buffer = buffer(1000, 10, 128, 16);
    for batch in 1..=8 {
        buffer.next_rows().unwrap().unwrap();
        // Four batches are half of 128.
        let served = (batch - 1) % 4 + 1;
        assert_eq!(buffer.len(), 128 - 16 * served);
        assert_eq!(buffer.state().shuffles, 1 + (batch as u64 - 1) / 4);
    }
}

#[test]
fn a_buffer_goes_on_exactly_where_it_was_saved() {
    let device = device();
    let mut whole = buffer(700, 23, 96, 10);
    let mut expected = Vec::new();
    while let Some(rows) = whole.next_rows().unwrap() {
        expected.push(rows);
    }
    for stop in [0, 1, 5, 17, 40, expected.len()] {
        let folder = tempfile::tempdir().unwrap();
        let mut first = buffer(700, 23, 96, 10);
        for rows in &expected[..stop] {
            assert_eq!(first.next_rows().unwrap().as_ref(), Some(rows));
        }
        first.save(folder.path()).unwrap();
        let mut second = buffer(700, 23, 96, 10);
        second.load(folder.path()).unwrap();
        for rows in &expected[stop..] {
            assert_eq!(second.next_rows().unwrap().as_ref(), Some(rows));
        }
        assert!(second.next_batch(&device).unwrap().is_none());
    }
}

#[test]
fn a_saved_buffer_that_does_not_fit_is_refused_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut saved = buffer(700, 23, 96, 10);
    saved.next_rows().unwrap();
    saved.save(folder.path()).unwrap();
    let error = buffer(700, 23, 40, 10).load(folder.path()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("buffer.safetensors: rows of a saved buffer is 86: must be at least the 30")
            && error.contains("at most the capacity, 40"),
        "{error}"
    );
    let source = RowSource::new(numbered(700, false), 23, 1).unwrap();
    let mut unpaired = ActivationBuffer::new(source, &BufferConfig::new(96, 10), Seed(3)).unwrap();
    let error = unpaired.load(folder.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("widths of the rows [x, paired] is [2, 1]: must be [2, 0], as announced"),
        "{error}"
    );
}

#[test]
fn buffers_that_cannot_work_are_refused() {
    let refusal = |capacity, batch| {
        BufferConfig::new(capacity, batch)
            .validate()
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refusal(0, 4),
        "BufferConfig.capacity = 0: must be at least one batch, 4"
    );
    assert_eq!(refusal(8, 0), "BufferConfig.batch = 0: must be at least 1");
    let error = buffer(7, 3, 32, 8).next_rows().unwrap_err().to_string();
    assert_eq!(
        error,
        "rows of the source is 7: must be at least one batch, 8"
    );
    // A size that no machine has is an error, not an abort.
    let mut vast = buffer(7, 3, usize::MAX / 2, 8);
    let error = vast.next_rows().unwrap_err().to_string();
    assert!(
        error.contains("must fit into memory at 12 bytes each"),
        "{error}"
    );
}

#[test]
fn rows_are_checked() {
    let error = |result: Result<Rows>| result.unwrap_err().to_string();
    assert_eq!(
        error(Rows::new(0, vec![])),
        "width of x is 0: must be at least 1"
    );
    assert_eq!(
        error(Rows::new(3, vec![0.0; 4])),
        "numbers of x is 4: must be whole rows of 3"
    );
    assert_eq!(
        error(numbered(4, false).with_paired(2, vec![0.0; 6])),
        "paired rows is 3: must be as many as activations, 4"
    );
    let rows = Rows::new(2, vec![0.0, 1.0, f32::INFINITY, 2.0]).unwrap();
    let error = RowSource::new(rows, 1, 1).unwrap_err().to_string();
    assert_eq!(error, "a number of row 1 is inf: must be finite");
}

/// A model whose activation of a token is [token, position + 1, 0], with the token's negative as
/// its pair.
struct Echo {
    broken: Option<i64>,
    large: Option<i64>,
}

impl Probe for Echo {
    fn hook(&self) -> String {
        "blocks.0.hook_resid_pre".into()
    }

    fn model(&self) -> String {
        "echo".into()
    }

    fn width(&self) -> usize {
        3
    }

    fn paired_width(&self) -> Option<usize> {
        Some(1)
    }

    fn device(&self) -> Device {
        device()
    }

    fn read(&self, tokens: Tensor<2, Int>) -> Result<(Tensor<3>, Option<Tensor<3>>)> {
        let [batch, context] = tokens.dims();
        let ids = tokens.into_data().try_to_vec_as::<i64>().unwrap();
        let mut x = Vec::new();
        for (index, &id) in ids.iter().enumerate() {
            let value = match id {
                _ if self.broken == Some(id) => f32::NAN,
                _ if self.large == Some(id) => 1e6,
                _ => id as f32,
            };
            x.extend([value, (index % context + 1) as f32, 0.0]);
        }
        let paired: Vec<f32> = ids.iter().map(|&id| -(id as f32)).collect();
        let device = self.device();
        let tensor = |values: Vec<f32>, width| {
            Tensor::from_data(TensorData::new(values, [batch, context, width]), &device)
        };
        Ok((tensor(x, 3), Some(tensor(paired, 1))))
    }
}

const ECHO: Echo = Echo {
    broken: None,
    large: None,
};

fn host(probe: Echo, tokens: usize, config: &HostSourceConfig) -> HostSource<Echo> {
    let tokens = (10..10 + tokens as u32).collect();
    HostSource::new(probe, tokens, config, Seed(5)).unwrap()
}

fn drain(source: &mut dyn ActivationSource) -> Vec<Rows> {
    std::iter::from_fn(|| source.next().unwrap()).collect()
}

#[test]
fn a_host_is_read_in_windows_and_unwanted_rows_are_dropped() {
    let config = HostSourceConfig::new(5, 3)
        .with_prepend(Some(1))
        .with_exclude(vec![1, 12])
        .with_drop_last(1);
    // Windows of 4 tokens of the stream: 7 of them, and 2 tokens are left over.
    let blocks = drain(&mut host(ECHO, 30, &config));
    assert_eq!(blocks.len(), 3);
    let mut tokens = Vec::new();
    for block in &blocks {
        assert_eq!(block.paired_width(), Some(1));
        for (row, paired) in block.x().chunks(3).zip(block.paired()) {
            assert_eq!(*paired, -row[0]);
            // Position 1 of the first window holds token 10.
            assert_eq!((row[0] as usize - 10) % 4 + 2, row[1] as usize);
            tokens.push(row[0] as u32);
        }
    }
    tokens.sort_unstable();
    let expected: Vec<u32> = (10..38)
        .filter(|token| (token - 10) % 4 != 3 && *token != 12)
        .collect();
    assert_eq!(tokens, expected);
}

#[test]
fn rows_far_above_the_median_norm_are_dropped() {
    let config = HostSourceConfig::new(10, 1);
    let probe = || Echo {
        large: Some(14),
        ..ECHO
    };
    let all = drain(&mut host(probe(), 10, &config));
    assert_eq!(all[0].len(), 10);
    let config = config.with_max_norm_ratio(Some(10.0));
    let kept = drain(&mut host(probe(), 10, &config));
    assert_eq!(kept[0].len(), 9);
    assert!(kept[0].x().iter().all(|&value| value < 1e6));
}

#[test]
fn a_block_does_not_depend_on_the_blocks_before_it() {
    let config = HostSourceConfig::new(4, 2).with_epochs(3);
    let blocks = drain(&mut host(ECHO, 40, &config));
    assert_eq!(blocks.len(), 15);
    assert_ne!(blocks[..5], blocks[5..10]);
    for position in [14, 0, 7] {
        let mut source = host(ECHO, 40, &config);
        source.seek(position as u64).unwrap();
        assert_eq!(drain(&mut source), blocks[position..]);
    }
}

#[test]
fn hosts_and_streams_that_cannot_work_are_refused() {
    let new = |tokens: usize, config: &HostSourceConfig| {
        let tokens = vec![0; tokens];
        let refused = HostSource::new(ECHO, tokens, config, Seed(0))
            .err()
            .unwrap();
        refused.to_string()
    };
    assert_eq!(
        new(0, &HostSourceConfig::new(8, 2)),
        "tokens of the stream is 0: must fill at least one window of 8"
    );
    assert_eq!(
        new(9, &HostSourceConfig::new(0, 2)),
        "HostSourceConfig.context = 0: must be at least 1"
    );
    assert_eq!(
        new(
            9,
            &HostSourceConfig::new(4, 2)
                .with_drop_first(3)
                .with_drop_last(1)
        ),
        "HostSourceConfig.drop_first = 3: with drop_last must leave some of the 4 rows"
    );
    assert_eq!(
        new(
            9,
            &HostSourceConfig::new(4, 2).with_max_norm_ratio(Some(0.5))
        ),
        "HostSourceConfig.max_norm_ratio = 0.5: must be finite and at least 1"
    );
    let probe = Echo {
        broken: Some(17),
        ..ECHO
    };
    let mut source = host(probe, 12, &HostSourceConfig::new(4, 3));
    assert_eq!(
        source.next().unwrap_err().to_string(),
        "an activation at `blocks.0.hook_resid_pre`, window 1, position 3 is NaN: must be finite"
    );
    // The position is not consumed by a failure.
    assert_eq!(source.position(), 0);
}

#[test]
fn a_hooked_model_pairs_gradients_and_targets_with_their_activations() {
    let device = device();
    let config = LanguageModelConfig::gpt2(20, 8, 12, 2, 2);
    let model = menagerie_train::initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let hook = |name: &str| HookPoint::parse(name, &config).unwrap();
    let (pre, out) = (
        hook("blocks.1.hook_resid_pre"),
        hook("blocks.1.hook_mlp_out"),
    );
    let tokens = Tensor::<2, Int>::from_ints(
        [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]],
        &device,
    );
    let (x, g) = activation_gradient(&model, tokens.clone(), &pre).unwrap();
    let y = model.activations(tokens.clone(), &out).unwrap();

    let stream: Vec<u32> = tokens
        .into_data()
        .iter::<i64>()
        .map(|id| id as u32)
        .collect();
    let windows = HostSourceConfig::new(8, 2);
    let rows = |probe: HookedModel| {
        let mut source = HostSource::new(probe, stream.clone(), &windows, Seed(2)).unwrap();
        let rows = source.next().unwrap().unwrap();
        // Windows come in the order that the seed draws.
        let x = x.clone().reshape([16, 12]);
        let same = Rows::from_tensor(x).unwrap().x() == rows.x();
        (rows, same)
    };
    let probe = || HookedModel::new(&model, "tiny", pre).unwrap();
    let expected = |paired: &Tensor<3>, straight: bool| {
        let order = if straight { [0, 1] } else { [1, 0] };
        let order = Tensor::<1, Int>::from_ints(order, &device);
        let paired = paired.clone().select(0, order).reshape([16, 12]);
        Rows::from_tensor(paired).unwrap().x().to_vec()
    };
    let (plain, _) = rows(probe());
    assert_eq!(plain.paired_width(), None);
    let (with_gradients, straight) = rows(probe().with_gradients());
    assert_eq!(with_gradients.paired(), expected(&g, straight));
    assert_eq!(with_gradients.x(), expected(&x, straight));
    let (with_targets, straight) = rows(probe().with_target(out));
    assert_eq!(with_targets.paired(), expected(&y, straight));
}

#[test]
fn norms_and_the_geometric_median_are_what_they_say() {
    // Rows of norm 5 and 13.
    let rows = Rows::new(2, vec![3.0, 4.0, 5.0, 12.0]).unwrap();
    let mut source = RowSource::new(rows, 1, 1).unwrap();
    let norms = Norms::estimate(&mut source, 100).unwrap();
    assert_eq!((norms.rows, norms.mean, norms.mean_square), (2, 9.0, 97.0));
    assert_eq!(norms.expected_average_scale(), 2f64.sqrt() / 9.0);
    assert_eq!(norms.root_mean_square(), 97f64.sqrt());
    assert_eq!(source.position(), 0);
    assert_eq!(Norms::estimate(&mut source, 1).unwrap().mean, 5.0);

    let zeros = Rows::new(2, vec![0.0; 6]).unwrap();
    let mut source = RowSource::new(zeros, 2, 1).unwrap();
    let error = Norms::estimate(&mut source, 9).unwrap_err().to_string();
    assert_eq!(
        error,
        "sum of the norms is 0.0: must be above 0 over the 3 rows of the source"
    );

    let device = device();
    // The middle one of three points on a line; the mean lies elsewhere.
    let points = Tensor::<2>::from_data([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]], &device);
    let median = geometric_median(points).unwrap().into_data();
    for value in median.iter::<f32>() {
        assert!((value - 1.0).abs() < 0.05, "{median}");
    }
    let broken = Tensor::<2>::from_data([[f32::NAN, 0.0], [1.0, 1.0]], &device);
    let error = geometric_median(broken).unwrap_err().to_string();
    assert_eq!(
        error,
        "the rows of a geometric median is NaN: must be finite"
    );
}
