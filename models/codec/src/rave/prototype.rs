//! The prototype low-pass of the filter bank: a Kaiser window design whose cut-off is searched for.

use std::f64::consts::PI;

/// A designed low-pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Prototype {
    /// The cut-off, in radians per sample.
    pub cutoff: f64,
    /// The shape of the Kaiser window.
    pub beta: f64,
    /// The impulse response, of odd length.
    pub taps: Vec<f64>,
    /// What was minimised: the largest value of the response's autocorrelation at the multiples of
    /// twice the number of bands, without the one at 0.
    pub aliasing: f64,
}

impl Prototype {
    /// The low-pass for `bands` bands with a stop band of `attenuation` dB.
    ///
    /// The cut-off minimises the aliasing by the Nelder–Mead method from `1 / bands`, with its
    /// usual tolerances of 1e-4. The length of the filter depends on the cut-off, so that the
    /// objective has steps, and the path of the search decides where it ends.
    pub fn design(bands: usize, attenuation: f64) -> Self {
        let objective = |cutoff: f64| aliasing(&low_pass(cutoff, attenuation), bands);
        let cutoff = nelder_mead(objective, 1.0 / bands as f64);
        let taps = low_pass(cutoff, attenuation);
        Self {
            aliasing: aliasing(&taps, bands),
            beta: kaiser_beta(attenuation),
            cutoff,
            taps,
        }
    }
}

/// Kaiser's rule for the window's shape.
fn kaiser_beta(attenuation: f64) -> f64 {
    if attenuation > 50.0 {
        0.1102 * (attenuation - 8.7)
    } else {
        let above = attenuation - 21.0;
        0.5842 * libm::pow(above.max(0.0), 0.4) + 0.07886 * above
    }
}

/// A windowed sine cardinal whose transition band is as wide as its pass band. Its gain is left as
/// it is.
fn low_pass(cutoff: f64, attenuation: f64) -> Vec<f64> {
    let count = ((attenuation - 7.95) / 2.285 / cutoff.max(1e-3) + 1.0).ceil();
    let count = 2 * (count as usize / 2) + 1;
    let beta = kaiser_beta(attenuation);
    let middle = (count - 1) as f64 / 2.0;
    let floor = bessel_i0(beta);
    (0..count)
        .map(|tap| {
            let at = tap as f64 - middle;
            let sine = if at == 0.0 {
                cutoff / PI
            } else {
                libm::sin(cutoff * at) / (PI * at)
            };
            let x = at / middle.max(1.0);
            sine * bessel_i0(beta * (1.0 - x * x).max(0.0).sqrt()) / floor
        })
        .collect()
}

/// The modified Bessel function of the first kind of order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..200 {
        term *= quarter / f64::from(k * k);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

/// The largest autocorrelation at a multiple of `2 · bands`.
fn aliasing(taps: &[f64], bands: usize) -> f64 {
    let products = |lag: usize| -> f64 { taps.iter().zip(&taps[lag..]).map(|(a, b)| a * b).sum() };
    (2 * bands..taps.len())
        .step_by(2 * bands)
        .map(|lag| products(lag).abs())
        .fold(0.0, f64::max)
}

/// The minimum near `start` of a function of one variable: the simplex is an interval, at first 5 %
/// of `start` long.
fn nelder_mead(objective: impl Fn(f64) -> f64, start: f64) -> f64 {
    const TOLERANCE: f64 = 1e-4;
    let at = |x: f64| (x, objective(x));
    let (mut best, mut worst) = (at(start), at(1.05 * start));
    if worst.1 < best.1 {
        std::mem::swap(&mut best, &mut worst);
    }
    for _ in 0..200 {
        if (worst.0 - best.0).abs() <= TOLERANCE && (worst.1 - best.1).abs() <= TOLERANCE {
            break;
        }
        let step = best.0 - worst.0;
        let reflected = at(best.0 + step);
        worst = if reflected.1 < best.1 {
            let expanded = at(best.0 + 2.0 * step);
            if expanded.1 < reflected.1 {
                expanded
            } else {
                reflected
            }
        } else if reflected.1 < worst.1 {
            let outside = at(best.0 + 0.5 * step);
            if outside.1 <= reflected.1 {
                outside
            } else {
                at(best.0 - 0.5 * step)
            }
        } else {
            let inside = at(best.0 - 0.5 * step);
            // The shrunken simplex has the same point.
            inside
        };
        if worst.1 < best.1 {
            std::mem::swap(&mut best, &mut worst);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_designs_come_out() {
        for (bands, attenuation, cutoff, length) in [
            (16, 100.0, 0.107_519_53, 377),
            (8, 100.0, 0.214_941_41, 189),
            (4, 100.0, 0.429_882_81, 95),
            (16, 70.0, 0.109_765_63, 249),
        ] {
            let design = Prototype::design(bands, attenuation);
            assert!((design.cutoff - cutoff).abs() < 5e-9, "{}", design.cutoff);
            assert_eq!(design.taps.len(), length);
        }
        assert!((Prototype::design(2, 100.0).beta - 10.061_26).abs() < 1e-9);
        assert!((Prototype::design(2, 70.0).beta - 6.755_26).abs() < 1e-9);
    }

    #[test]
    fn the_bessel_function_is_the_known_one() {
        assert!((bessel_i0(1.0) - 1.266_065_877_752_008_4).abs() < 1e-15);
        assert!((bessel_i0(10.0) / 2_815.716_628_466_254 - 1.0).abs() < 1e-14);
    }
}
