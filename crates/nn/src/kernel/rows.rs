//! What transformers do to every row: layer normalisation, softmax and cross-entropy.

use super::gemm::GROUPS;
use super::micro::Level;
use super::norm::sums;
use super::sparse::per_level;
use rayon::prelude::*;

/// Numbers that one thread takes at a time.
pub(crate) const CHUNK: usize = 1 << 14;

/// Lanes of a softmax's partial results.
pub(crate) const WIDTH: usize = 32;

#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, a fused product is a call into libm.
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to two units in the last place; 1e-38 below -87, NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding it rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    // ln 2 in two parts, the first exact in products with small integers.
    let rest = fma::<FMA>(whole, -0.693_359_4, x);
    let rest = fma::<FMA>(whole, 2.121_944_4e-4, rest);
    // The polynomial of Cephes' expf.
    let mut sum = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_66,
        0.5,
    ] {
        sum = fma::<FMA>(sum, rest, coefficient);
    }
    let sum = fma::<FMA>(sum * rest, rest, rest) + 1.0;
    let exponent = (shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127))
        << 23;
    sum * f32::from_bits(exponent)
}

/// Mean and inverse standard deviation of a row.
type Moments = [f32; 2];

#[inline(always)]
fn layer_norm_body<const FMA: bool>(
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    epsilon: f32,
    y: &mut [f32],
    moments: &mut [Moments],
) {
    let (size, count) = (gain.len(), gain.len() as f32);
    let rows = x.chunks_exact(size).zip(y.chunks_exact_mut(size));
    for ((x, y), moments) in rows.zip(moments) {
        let [sum] = sums(size, |i| [x[i]]);
        let mean = sum / count;
        let [squares] = sums(size, |i| [(x[i] - mean) * (x[i] - mean)]);
        let inverse = 1.0 / (squares / count + epsilon).sqrt();
        for i in 0..size {
            y[i] = fma::<FMA>((x[i] - mean) * inverse, gain[i], bias[i]);
        }
        *moments = [mean, inverse];
    }
}

/// `(x - mean) / sqrt(var + epsilon) * gain + bias` of every row of `x [rows, size]`.
pub(crate) fn layer_norm(
    level: Level,
    x: &[f32],
    [gain, bias]: [&[f32]; 2],
    epsilon: f32,
    y: &mut [f32],
    moments: &mut [Moments],
) {
    let rows = (CHUNK / gain.len()).max(1);
    let inputs = x.par_chunks(rows * gain.len());
    let outputs = y.par_chunks_mut(rows * gain.len());
    let outputs = outputs.zip(moments.par_chunks_mut(rows));
    inputs.zip(outputs).for_each(|(x, (y, moments))| {
        per_level!(level, layer_norm_body(
            x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32,
            y: &mut [f32], moments: &mut [Moments]
        ));
    });
}

#[inline(always)]
fn layer_norm_backward_body<const FMA: bool>(
    x: &[f32],
    dy: &[f32],
    gain: &[f32],
    moments: &[Moments],
    dx: &mut [f32],
    sums_out: &mut [f32],
) {
    let (size, count) = (gain.len(), gain.len() as f32);
    let (gains, biases) = sums_out.split_at_mut(size);
    let biases = &mut biases[..size];
    let rows = x.chunks_exact(size).zip(dy.chunks_exact(size));
    for (((x, dy), dx), &[mean, inverse]) in rows.zip(dx.chunks_exact_mut(size)).zip(moments) {
        let [a, b] = sums(size, |i| {
            let scaled = dy[i] * gain[i];
            [scaled, scaled * (x[i] - mean) * inverse]
        });
        let (a, b) = (a / count, b / count);
        for i in 0..size {
            let normed = (x[i] - mean) * inverse;
            dx[i] = inverse * (dy[i] * gain[i] - a - normed * b);
            gains[i] = fma::<FMA>(dy[i], normed, gains[i]);
            biases[i] += dy[i];
        }
    }
}

/// The gradients of [`layer_norm`]'s `x`, and of gain and bias one after the other.
pub(crate) fn layer_norm_backward(
    level: Level,
    x: &[f32],
    dy: &[f32],
    gain: &[f32],
    moments: &[Moments],
    dx: &mut [f32],
) -> Vec<f32> {
    let size = gain.len();
    let rows = x.len() / size;
    let chunk = rows.div_ceil(GROUPS).max(1) * size;
    let inputs = x.par_chunks(chunk).zip(dy.par_chunks(chunk));
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(chunk)
        .zip(inputs)
        .zip(moments.par_chunks(chunk / size))
        .map(|((dx, (x, dy)), moments)| {
            let mut part = vec![0.0; 2 * size];
            let sums_out = part.as_mut_slice();
            per_level!(level, layer_norm_backward_body(
                x: &[f32], dy: &[f32], gain: &[f32], moments: &[Moments],
                dx: &mut [f32], sums_out: &mut [f32]
            ));
            part
        })
        .collect();
    let mut total = vec![0.0; 2 * size];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}

#[inline(always)]
fn softmax_body<const FMA: bool>(row: &mut [f32], seen: usize, scale: f32) -> [f32; 2] {
    row[seen..].fill(f32::NEG_INFINITY);
    let mut most = [f32::NEG_INFINITY; WIDTH];
    for block in row.chunks_exact(WIDTH) {
        for lane in 0..WIDTH {
            // A NaN is not below, and stays.
            most[lane] = if block[lane] < most[lane] {
                most[lane]
            } else {
                block[lane]
            };
        }
    }
    let mut top = f32::NEG_INFINITY;
    for most in most {
        top = if most < top { top } else { most };
    }
    let shift = -top * scale;
    let mut sum = [0.0; WIDTH];
    for block in row.chunks_exact_mut(WIDTH) {
        for lane in 0..WIDTH {
            block[lane] = exp::<FMA>(fma::<FMA>(block[lane], scale, shift));
            sum[lane] += block[lane];
        }
    }
    row[seen..].fill(0.0);
    [-shift, sum.iter().sum()]
}

/// Scores of a query to `e^(scale (score - most))` for the first `seen` keys and 0 for the others;
/// returns `scale · most` and the sum. A row's length is a multiple of [`WIDTH`].
pub(crate) fn softmax(level: Level, row: &mut [f32], seen: usize, scale: f32) -> [f32; 2] {
    debug_assert!(row.len().is_multiple_of(WIDTH) && seen <= row.len());
    per_level!(level, softmax_body(row: &mut [f32], seen: usize, scale: f32) -> [f32; 2])
}

#[inline(always)]
fn softmax_backward_body<const FMA: bool>(
    scores: &mut [f32],
    gradient: &mut [f32],
    seen: usize,
    scale: f32,
    log_sum: f32,
) {
    let mut dot = [0.0; WIDTH];
    scores[seen..].fill(f32::NEG_INFINITY);
    let blocks = scores
        .chunks_exact_mut(WIDTH)
        .zip(gradient.chunks_exact(WIDTH));
    for (score, gradient) in blocks {
        for lane in 0..WIDTH {
            score[lane] = exp::<FMA>(fma::<FMA>(score[lane], scale, -log_sum));
            dot[lane] = fma::<FMA>(score[lane], gradient[lane], dot[lane]);
        }
    }
    scores[seen..].fill(0.0);
    let dot: f32 = dot.iter().sum();
    for (gradient, &probability) in gradient.iter_mut().zip(scores.iter()) {
        *gradient = probability * (*gradient - dot) * scale;
    }
}

/// Scores to probabilities, and the gradient of the probabilities to that of the scores, given the
/// logarithm of the sum that [`softmax`] divides by.
pub(crate) fn softmax_backward(
    level: Level,
    scores: &mut [f32],
    gradient: &mut [f32],
    seen: usize,
    scale: f32,
    log_sum: f32,
) {
    debug_assert!(scores.len().is_multiple_of(WIDTH) && scores.len() == gradient.len());
    per_level!(level, softmax_backward_body(
        scores: &mut [f32], gradient: &mut [f32], seen: usize, scale: f32, log_sum: f32
    ));
}

#[inline(always)]
fn log_sum_body<const FMA: bool>(row: &[f32]) -> f32 {
    let mut top = f32::NEG_INFINITY;
    for &value in row {
        top = if value < top { top } else { value };
    }
    let [sum] = sums(row.len(), |i| [exp::<FMA>(row[i] - top)]);
    top + sum.ln()
}

/// The cross-entropy of every row of `logits [rows, classes]`, and the logarithm of the sum of its
/// exponentials.
pub(crate) fn cross_entropy(
    level: Level,
    logits: &[f32],
    targets: &[usize],
    classes: usize,
    losses: &mut [f32],
    log_sums: &mut [f32],
) {
    let rows = (CHUNK / classes).max(1);
    let inputs = logits
        .par_chunks(rows * classes)
        .zip(targets.par_chunks(rows));
    let outputs = losses
        .par_chunks_mut(rows)
        .zip(log_sums.par_chunks_mut(rows));
    inputs
        .zip(outputs)
        .for_each(|((logits, targets), (losses, log_sums))| {
            for (at, row) in logits.chunks_exact(classes).enumerate() {
                log_sums[at] = per_level!(level, log_sum_body(row: &[f32]) -> f32);
                losses[at] = log_sums[at] - row[targets[at]];
            }
        });
}

#[inline(always)]
fn spread_body<const FMA: bool>(row: &[f32], log_sum: f32, gradient: f32, out: &mut [f32]) {
    for (out, &logit) in out.iter_mut().zip(row) {
        *out = gradient * exp::<FMA>(logit - log_sum);
    }
}

/// The gradient of [`cross_entropy`]'s logits.
pub(crate) fn cross_entropy_backward(
    level: Level,
    logits: &[f32],
    targets: &[usize],
    classes: usize,
    log_sums: &[f32],
    gradients: &[f32],
    out: &mut [f32],
) {
    let rows = (CHUNK / classes).max(1);
    let inputs = logits
        .par_chunks(rows * classes)
        .zip(out.par_chunks_mut(rows * classes));
    inputs.enumerate().for_each(|(chunk, (logits, out))| {
        let pairs = logits.chunks_exact(classes).zip(out.chunks_exact_mut(classes));
        for (at, (row, out)) in pairs.enumerate() {
            let at = chunk * rows + at;
            let (log_sum, gradient) = (log_sums[at], gradients[at]);
            per_level!(level, spread_body(row: &[f32], log_sum: f32, gradient: f32, out: &mut [f32]));
            out[targets[at]] -= gradient;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_rounding() {
        for step in -8700..8700 {
            let x = step as f32 * 0.01;
            let expected = f64::from(x).exp();
            for ours in [exp::<true>(x), exp::<false>(x)] {
                let error = (f64::from(ours) / expected - 1.0).abs();
                assert!(error < 2.5e-7, "{x}: {error}");
            }
        }
        assert!(exp::<true>(f32::NEG_INFINITY) < 2e-38);
        assert!(exp::<true>(f32::NAN).is_nan());
    }
}
