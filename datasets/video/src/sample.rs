//! Which frames of a film make up a clip.
//!
//! Dense sampling takes frames a fixed stride apart from one stretch; sparse sampling (temporal
//! segments, Wang et al. 2016) takes one frame of each of as many equal segments of the whole film.

use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// `frames` indices `start, start + stride, …` in a film of `total` frames.
///
/// # Errors
/// [`Error::Input`] where `frames` or `stride` is 0, or the film has too few frames: the text names
/// how many there are and how many are needed.
pub fn strided(total: usize, frames: usize, stride: usize, start: usize) -> Result<Vec<usize>> {
    let span = span(frames, stride)?;
    let needed = span.saturating_add(start);
    if total < needed {
        let rule = format!(
            "must be at least {needed} for {frames} frames with stride {stride} from frame {start}"
        );
        return Err(Error::input("the number of frames", total, rule));
    }
    Ok((0..frames).map(|at| start + at * stride).collect())
}

/// Dense sampling for training: [`strided`] from a start drawn uniformly among all that fit.
///
/// # Errors
/// As [`strided`].
pub fn draw_dense(total: usize, frames: usize, stride: usize, seed: Seed) -> Result<Vec<usize>> {
    // Refuses what does not fit even from the first frame.
    strided(total, frames, stride, 0)?;
    let starts = total - span(frames, stride)? + 1;
    strided(total, frames, stride, seed.rng().random_range(0..starts))
}

/// Dense sampling for tests: `views` clips of the frames `0, stride, 2 stride, …`, with starts
/// spread evenly from the first to the last that fits; one view starts in the middle.
///
/// # Errors
/// [`Error::Input`] where `views` is 0, else as [`strided`].
pub fn dense_views(
    total: usize,
    frames: usize,
    stride: usize,
    views: usize,
) -> Result<Vec<Vec<usize>>> {
    at_least_one("the number of views", views)?;
    strided(total, frames, stride, 0)?;
    // In units of the stride.
    let spare = total.div_ceil(stride) - frames;
    (0..views)
        .map(|view| {
            let start = match views {
                1 => spare / 2,
                _ => view * spare / (views - 1),
            };
            strided(total, frames, stride, start * stride)
        })
        .collect()
}

/// Sliding windows: [`strided`] clips whose starts lie `step` apart, from frame 0 to the last that
/// fits, with the start of each.
///
/// # Errors
/// [`Error::Input`] where `step` is 0, else as [`strided`].
pub fn windows(
    total: usize,
    frames: usize,
    stride: usize,
    step: usize,
) -> Result<Vec<(usize, Vec<usize>)>> {
    at_least_one("the step between windows", step)?;
    strided(total, frames, stride, 0)?;
    let last = total - span(frames, stride)?;
    (0..=last)
        .step_by(step)
        .map(|start| Ok((start, strided(total, frames, stride, start)?)))
        .collect()
}

/// Sparse sampling without chance: the middle frame of each of `segments` segments.
///
/// # Errors
/// [`Error::Input`] where `segments` is 0 or the film has fewer frames than segments.
pub fn sparse(total: usize, segments: usize) -> Result<Vec<usize>> {
    let length = segment(total, segments)?;
    Ok((0..segments).map(|at| at * length + length / 2).collect())
}

/// Sparse sampling for training: a frame of each of `segments` segments, drawn uniformly.
///
/// # Errors
/// As [`sparse`].
pub fn draw_sparse(total: usize, segments: usize, seed: Seed) -> Result<Vec<usize>> {
    let length = segment(total, segments)?;
    let mut rng = seed.rng();
    Ok((0..segments)
        .map(|at| at * length + rng.random_range(0..length))
        .collect())
}

/// Sparse sampling for tests: view `v` of `views` takes the frame `v / views` into each segment.
///
/// # Errors
/// [`Error::Input`] where `views` is 0, else as [`sparse`].
pub fn sparse_views(total: usize, segments: usize, views: usize) -> Result<Vec<Vec<usize>>> {
    at_least_one("the number of views", views)?;
    segment(total, segments)?;
    let length = total as f64 / segments as f64;
    Ok((0..views)
        .map(|view| {
            let offset = view as f64 * length / views as f64;
            let frame = |at: usize| (offset + length * at as f64) as usize;
            (0..segments).map(|at| frame(at).min(total - 1)).collect()
        })
        .collect())
}

/// Frames from the first to the last of a clip.
fn span(frames: usize, stride: usize) -> Result<usize> {
    at_least_one("the number of frames of a clip", frames)?;
    at_least_one("the stride", stride)?;
    Ok((frames - 1).saturating_mul(stride).saturating_add(1))
}

/// Whole frames per segment.
fn segment(total: usize, segments: usize) -> Result<usize> {
    at_least_one("the number of segments", segments)?;
    if total < segments {
        let rule = format!("must be at least {segments} for as many segments");
        return Err(Error::input("the number of frames", total, rule));
    }
    Ok(total / segments)
}

fn at_least_one(what: &str, value: usize) -> Result<()> {
    if value == 0 {
        return Err(Error::input(what, value, "must be at least 1"));
    }
    Ok(())
}
