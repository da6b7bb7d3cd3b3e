//! Limited-memory BFGS with a strong-Wolfe line search (Nocedal & Wright, algorithms 7.4, 3.5, 3.6),
//! with the memory and the stopping rules of the routine that the published scores used.

use std::collections::VecDeque;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub iterations: usize,
    /// On the largest gradient element.
    pub gradient: f64,
}

/// Where the search ended.
#[derive(Clone, Debug)]
pub(super) struct Minimum {
    pub point: Vec<f64>,
    pub iterations: usize,
}

/// Corrections that are kept.
const MEMORY: usize = 10;
/// Sufficient decrease and curvature of the line search.
const DECREASE: f64 = 1e-3;
const CURVATURE: f64 = 0.9;
/// Evaluations that one line search may take.
const TRIALS: usize = 40;
/// Relative decrease below which the search ends.
const FLAT: f64 = 64.0 * f64::EPSILON;

/// A point with its value and gradient.
struct Evaluated {
    point: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// One remembered step: `s` in the point, `y` in the gradient, `rho = 1 / sᵀy`.
struct Correction {
    s: Vec<f64>,
    y: Vec<f64>,
    rho: f64,
}

/// Minimises a smooth function; `f` writes the gradient at a point and returns the value.
pub(super) fn minimise(
    start: Vec<f64>,
    limits: Limits,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let mut evaluate = |point: Vec<f64>| {
        let mut gradient = vec![0.0; point.len()];
        let value = f(&point, &mut gradient);
        Evaluated {
            point,
            value,
            gradient,
        }
    };
    let mut at = evaluate(start);
    let mut memory: VecDeque<Correction> = VecDeque::with_capacity(MEMORY);
    let mut iterations = 0;
    while iterations < limits.iterations && largest(&at.gradient) > limits.gradient {
        let mut direction = descent(&at.gradient, &memory);
        if dot(&direction, &at.gradient) >= 0.0 {
            // Rounding has spoilt the curvature estimate: start it afresh.
            memory.clear();
            direction = descent(&at.gradient, &memory);
        }
        let first = if memory.is_empty() {
            dot(&at.gradient, &at.gradient).sqrt().recip().min(1.0)
        } else {
            1.0
        };
        let Some(next) = line_search(&at, &direction, first, &mut evaluate) else {
            break;
        };
        iterations += 1;
        let s = difference(&next.point, &at.point);
        let y = difference(&next.gradient, &at.gradient);
        let curvature = dot(&s, &y);
        if curvature > f64::EPSILON * dot(&y, &y) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            let rho = curvature.recip();
            memory.push_back(Correction { s, y, rho });
        }
        let scale = at.value.abs().max(next.value.abs()).max(1.0);
        let flat = at.value - next.value <= FLAT * scale;
        at = next;
        if flat {
            break;
        }
    }
    Minimum {
        point: at.point,
        iterations,
    }
}

/// `−H g` with the inverse Hessian estimate `H` (the two-loop recursion).
fn descent(gradient: &[f64], memory: &VecDeque<Correction>) -> Vec<f64> {
    let mut q = gradient.to_vec();
    let mut alphas = Vec::with_capacity(memory.len());
    for correction in memory.iter().rev() {
        let alpha = correction.rho * dot(&correction.s, &q);
        add_scaled(&mut q, -alpha, &correction.y);
        alphas.push(alpha);
    }
    if let Some(last) = memory.back() {
        let scale = 1.0 / (last.rho * dot(&last.y, &last.y));
        q.iter_mut().for_each(|x| *x *= scale);
    }
    for (correction, alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = correction.rho * dot(&correction.y, &q);
        add_scaled(&mut q, alpha - beta, &correction.s);
    }
    q.iter_mut().for_each(|x| *x = -*x);
    q
}

/// One trial on the line: step length, value and slope, with the full evaluation.
struct Trial {
    step: f64,
    slope: f64,
    evaluated: Evaluated,
}

/// A step along `direction` that satisfies the strong Wolfe conditions, or the best decrease found
/// within [`TRIALS`]; `None` if the value cannot be lowered.
fn line_search(
    from: &Evaluated,
    direction: &[f64],
    first: f64,
    evaluate: &mut impl FnMut(Vec<f64>) -> Evaluated,
) -> Option<Evaluated> {
    let (value, slope) = (from.value, dot(&from.gradient, direction));
    let mut trial = |step: f64| {
        let mut point = from.point.clone();
        add_scaled(&mut point, step, direction);
        let evaluated = evaluate(point);
        Trial {
            step,
            slope: dot(&evaluated.gradient, direction),
            evaluated,
        }
    };
    let decreases = |t: &Trial| t.evaluated.value <= value + DECREASE * t.step * slope;
    let flattens = |t: &Trial| t.slope.abs() <= -CURVATURE * slope;

    // `low` always is the best point that decreases enough; at first it is the start itself.
    let mut low: Option<Trial> = None;
    let mut high: Option<(f64, f64, f64)> = None;
    let mut step = first;
    for _ in 0..TRIALS {
        let next = trial(step);
        let (low_step, low_value, low_slope) = match &low {
            Some(low) => (low.step, low.evaluated.value, low.slope),
            None => (0.0, value, slope),
        };
        if !next.evaluated.value.is_finite() {
            high = Some((next.step, f64::INFINITY, 0.0));
        } else if !decreases(&next) || next.evaluated.value >= low_value {
            high = Some((next.step, next.evaluated.value, next.slope));
        } else {
            if flattens(&next) {
                return Some(next.evaluated);
            }
            // The minimum lies on the side to which the slope falls.
            let turns_back = match high {
                Some((high_step, ..)) => next.slope * (high_step - low_step) >= 0.0,
                None => next.slope >= 0.0,
            };
            if turns_back {
                high = Some((low_step, low_value, low_slope));
            }
            low = Some(next);
        }
        let (low_step, low_value, low_slope) = match &low {
            Some(low) => (low.step, low.evaluated.value, low.slope),
            None => (0.0, value, slope),
        };
        step = match high {
            None => 2.0 * low_step,
            Some(high) => {
                let width = (high.0 - low_step).abs();
                if width <= f64::EPSILON * low_step.abs().max(f64::MIN_POSITIVE) {
                    break;
                }
                interpolate((low_step, low_value, low_slope), high)
            }
        };
    }
    low.map(|low| low.evaluated)
}

/// The minimum of the cubic through two values and slopes, kept off the ends of the interval.
fn interpolate(a: (f64, f64, f64), b: (f64, f64, f64)) -> f64 {
    let middle = 0.5 * (a.0 + b.0);
    if !b.1.is_finite() {
        return a.0 + 0.1 * (b.0 - a.0);
    }
    let d1 = a.2 + b.2 - 3.0 * (a.1 - b.1) / (a.0 - b.0);
    let square = d1 * d1 - a.2 * b.2;
    if square < 0.0 {
        return middle;
    }
    let d2 = (b.0 - a.0).signum() * square.sqrt();
    let step = b.0 - (b.0 - a.0) * (b.2 + d2 - d1) / (b.2 - a.2 + 2.0 * d2);
    let (left, right) = (a.0.min(b.0), a.0.max(b.0));
    let margin = 0.1 * (right - left);
    if step.is_finite() {
        step.clamp(left + margin, right - margin)
    } else {
        middle
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(target: &mut [f64], scale: f64, source: &[f64]) {
    for (target, source) in target.iter_mut().zip(source) {
        *target += scale * source;
    }
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIGHT: Limits = Limits {
        iterations: 500,
        gradient: 1e-9,
    };

    #[test]
    fn rosenbrock_valley() {
        let found = minimise(vec![-1.2, 1.0], TIGHT, |p, g| {
            let (a, b) = (1.0 - p[0], p[1] - p[0] * p[0]);
            g[0] = -2.0 * a - 400.0 * p[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        });
        assert!((found.point[0] - 1.0).abs() < 1e-6 && (found.point[1] - 1.0).abs() < 1e-6);
        assert!(found.iterations < 60, "{}", found.iterations);
    }

    #[test]
    fn a_badly_scaled_quadratic() {
        let scales: Vec<f64> = (0..20).map(|i| 10f64.powf(f64::from(i) / 5.0)).collect();
        let found = minimise(vec![1.0; 20], TIGHT, |p, g| {
            for ((g, p), scale) in g.iter_mut().zip(p).zip(&scales) {
                *g = scale * p;
            }
            0.5 * p.iter().zip(&scales).map(|(p, s)| s * p * p).sum::<f64>()
        });
        assert!(found.point.iter().all(|x| x.abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn the_iteration_limit_holds() {
        let limits = Limits {
            iterations: 3,
            gradient: 0.0,
        };
        let found = minimise(vec![5.0], limits, |p, g| {
            g[0] = 4.0 * p[0].powi(3);
            p[0].powi(4)
        });
        assert_eq!(found.iterations, 3);
    }
}
