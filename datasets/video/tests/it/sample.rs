use menagerie_core::Seed;
use menagerie_data_video::sample::{
    dense_views, draw_dense, draw_sparse, sparse, sparse_views, strided, windows,
};
use std::collections::BTreeSet;

#[test]
fn too_few_frames_name_count_and_need() {
    assert_eq!(strided(61, 16, 4, 0).unwrap()[15], 60);
    assert_eq!(
        strided(60, 16, 4, 0).unwrap_err().to_string(),
        "the number of frames is 60: must be at least 61 for 16 frames with stride 4 from frame 0"
    );
    assert_eq!(
        strided(100, 16, 4, 40).unwrap_err().to_string(),
        "the number of frames is 100: must be at least 101 for 16 frames with stride 4 from frame 40"
    );
    assert_eq!(
        sparse(7, 8).unwrap_err().to_string(),
        "the number of frames is 7: must be at least 8 for as many segments"
    );
    assert!(
        strided(9, 0, 1, 0)
            .unwrap_err()
            .to_string()
            .contains("of a clip is 0")
    );
    assert!(
        strided(9, 1, 0, 0)
            .unwrap_err()
            .to_string()
            .starts_with("the stride is 0")
    );
    assert!(strided(9, usize::MAX, 9, 9).is_err());
    assert!(dense_views(99, 4, 1, 0).is_err() && sparse_views(99, 4, 0).is_err());
    assert!(windows(99, 4, 1, 0).is_err() && draw_sparse(3, 4, Seed(0)).is_err());
}

#[test]
fn drawn_starts_cover_all_that_fit() {
    let starts: BTreeSet<usize> = (0..400)
        .map(|draw| draw_dense(10, 3, 2, Seed(1).at(draw)).unwrap()[0])
        .collect();
    // The last start leaves frames 5, 7 and 9.
    assert_eq!(starts, (0..=5).collect());
    assert_eq!(draw_dense(5, 3, 2, Seed(0)).unwrap(), [0, 2, 4]);
    assert_eq!(
        draw_dense(99, 3, 2, Seed(4)).unwrap(),
        draw_dense(99, 3, 2, Seed(4)).unwrap()
    );
}

#[test]
fn sparse_frames_come_from_their_segments() {
    assert_eq!(sparse(20, 4).unwrap(), [2, 7, 12, 17]);
    assert_eq!(sparse(4, 4).unwrap(), [0, 1, 2, 3]);
    let mut seen = vec![BTreeSet::new(); 4];
    for draw in 0..300 {
        let frames = draw_sparse(20, 4, Seed(2).at(draw)).unwrap();
        for (segment, frame) in frames.into_iter().enumerate() {
            seen[segment].insert(frame);
        }
    }
    for (segment, frames) in seen.into_iter().enumerate() {
        assert_eq!(frames, (segment * 5..segment * 5 + 5).collect());
    }
    // Two views of the official test: the segments' starts and their middles.
    assert_eq!(
        sparse_views(16, 4, 2).unwrap(),
        [vec![0, 4, 8, 12], vec![2, 6, 10, 14]]
    );
    assert_eq!(sparse_views(10, 4, 1).unwrap(), [vec![0, 2, 5, 7]]);
}

#[test]
fn dense_views_reach_both_ends() {
    let views = dense_views(100, 16, 4, 4).unwrap();
    assert_eq!(views.len(), 4);
    assert_eq!(views[0][0], 0);
    assert_eq!(views[3], strided(100, 16, 4, 36).unwrap());
    assert_eq!(views[1][0], 12);
    assert_eq!(dense_views(9, 3, 2, 1).unwrap(), [vec![2, 4, 6]]);
    assert!(
        dense_views(5, 3, 2, 3)
            .unwrap()
            .iter()
            .all(|view| view == &[0, 2, 4])
    );
}

#[test]
fn windows_slide_until_the_last_that_fits() {
    // As the official extractor counts: range(0, total - 15, 4).
    let starts: Vec<usize> = windows(40, 16, 1, 4)
        .unwrap()
        .into_iter()
        .map(|(start, frames)| {
            assert_eq!(frames, (start..start + 16).collect::<Vec<_>>());
            start
        })
        .collect();
    assert_eq!(starts, (0..40 - 15).step_by(4).collect::<Vec<_>>());
    assert_eq!(windows(16, 16, 1, 16).unwrap().len(), 1);
    assert!(windows(15, 16, 1, 4).is_err());
}
