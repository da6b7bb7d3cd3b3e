use super::text;
use crate::device;
use menagerie_core::Seed;
use menagerie_mae::videomae_v2::{
    DecoderMask, DualMasking, EncoderMask, Grid, MaskingConfig, masks,
};
use std::collections::BTreeSet;

const GRID: Grid = Grid {
    time: 8,
    rows: 14,
    columns: 14,
};

fn left_out(mask: &[bool]) -> usize {
    mask.iter().filter(|hidden| **hidden).count()
}

#[test]
fn tubes_hide_the_same_places_at_every_step() {
    let masks = MaskingConfig::new().draw(GRID, 3, Seed(5)).unwrap();
    for clip in masks.encoder.chunks(GRID.tokens()) {
        let steps: Vec<&[bool]> = clip.chunks(GRID.per_step()).collect();
        assert!(steps.iter().all(|step| step == &steps[0]));
        assert_eq!(left_out(steps[0]), 176);
    }
    // Every clip has draws of its own, and a draw is a function of the seed.
    assert_ne!(
        masks.encoder[..GRID.tokens()],
        masks.encoder[GRID.tokens()..2 * GRID.tokens()]
    );
    assert_eq!(masks, MaskingConfig::new().draw(GRID, 3, Seed(5)).unwrap());
    assert_ne!(masks, MaskingConfig::new().draw(GRID, 3, Seed(6)).unwrap());
}

#[test]
fn running_cells_decode_every_place_in_turn() {
    for (share, decoded_per_cell) in [(0.25, 3), (0.5, 2), (0.75, 1)] {
        for offset in 0..4 {
            let mask = masks::running_cell(GRID, share, offset).unwrap();
            let at = |t: usize, r: usize, c: usize| mask[(t * 14 + r) * 14 + c];
            for (row, column) in [(0, 0), (12, 6), (4, 12)] {
                for time in 0..8 {
                    let cell = [
                        at(time, row, column),
                        at(time, row, column + 1),
                        at(time, row + 1, column),
                        at(time, row + 1, column + 1),
                    ];
                    assert_eq!(cell.iter().filter(|out| !**out).count(), decoded_per_cell);
                }
                // Within four steps every place is decoded as often as the others.
                let times = (0..4).filter(|time| !at(*time, row, column)).count();
                assert_eq!(times, decoded_per_cell);
            }
        }
    }
    // Offsets are drawn from all four.
    let offsets: BTreeSet<usize> = (0..64).map(|i| masks::draw_offset(Seed(i))).collect();
    assert_eq!(offsets, (0..4).collect());
}

#[test]
fn counts_are_those_of_the_draws() {
    for encoder in [EncoderMask::Tube(0.9), EncoderMask::Random(0.7)] {
        for decoder in [
            DecoderMask::Visible,
            DecoderMask::RunningCell(0.5),
            DecoderMask::Random(0.3),
            DecoderMask::Frame(0.5),
        ] {
            let config = MaskingConfig { encoder, decoder };
            let [visible, decoded] = config.counts(GRID).unwrap();
            let masks = config.draw(GRID, 2, Seed(1)).unwrap();
            assert_eq!(GRID.tokens() - left_out(&masks.encoder) / 2, visible);
            assert_eq!(GRID.tokens() - left_out(&masks.decoder) / 2, decoded);
            let dual = masks.on(&device()).unwrap();
            assert_eq!(
                [dual.visible.visible(), dual.decoded.visible()],
                [visible, decoded]
            );
            if decoder == DecoderMask::Visible {
                assert!(
                    masks
                        .encoder
                        .iter()
                        .zip(&masks.decoder)
                        .all(|(a, b)| a != b)
                );
            }
            if decoder == DecoderMask::Frame(0.5) {
                let steps = masks.decoder.chunks(GRID.per_step());
                assert!(
                    steps
                        .into_iter()
                        .all(|step| [0, step.len()].contains(&left_out(step)))
                );
            }
        }
    }
}

#[test]
fn the_loss_counts_what_is_decoded_and_invisible() {
    // The decoder predicts cubes 1, 2 and 3; the encoder does not see 2 and 3.
    let encoder = [false, false, true, true];
    let decoder = [true, false, false, false];
    let masks = DualMasking::new(&encoder, &decoder, 4, &device()).unwrap();
    assert_eq!(super::floats(masks.invisible), [0.0, 1.0, 1.0]);
}

#[test]
fn masks_that_do_not_fit_are_refused() {
    let device = device();
    let new =
        |encoder: &[bool], decoder: &[bool]| text(DualMasking::new(encoder, decoder, 4, &device));
    let half = [true, true, false, false];
    assert_eq!(
        new(&half, &half[..3]),
        "the length of the decoder's mask is 3: must be that of the encoder's mask, 4, and a \
         multiple of the 4 cubes of a clip"
    );
    let unequal = [true, true, true, false, true, true, false, false];
    let equal = [half, half].concat();
    assert_eq!(
        new(&unequal, &equal),
        "the encoder's mask: the number of visible tokens is 2: must be 1, as in the first sample"
    );
    assert_eq!(
        new(&equal, &unequal),
        "the decoder's mask: the number of visible tokens is 2: must be 1, as in the first sample"
    );
    assert!(
        new(&[true; 4], &half).starts_with("the encoder's mask: the number of visible tokens is 0")
    );
    assert!(
        new(&half, &[true; 4]).starts_with("the decoder's mask: the number of visible tokens is 0")
    );
    assert_eq!(
        new(&half, &half),
        "the number of decoded cubes that are invisible to the encoder is 0: must be at least 1, or \
         there is no loss"
    );
    assert!(new(&[], &[]).contains("must be 0 x 4, and not 0"));
    assert_eq!(
        text(masks::running_cell(GRID, 0.5, 4)),
        "the offset of a running cell is 4: must be below 4, the places of a cell"
    );
    let grid = Grid {
        time: 1,
        rows: 1,
        columns: 3,
    };
    assert_eq!(
        text(masks::tube(grid, 0.5, &[0, 1, 1])),
        "a permutation is [0, 1, 1]: must be one of the numbers below 3"
    );
    assert!(masks::tube(grid, 0.5, &[0, 1, 3]).is_err());
}
