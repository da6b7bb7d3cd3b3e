//! Every level against the definition, in double precision.

use super::super::micro::Level;
use super::gather::Gather;
use super::weight::{Signals, gradient};
use super::{Extras, Geometry, short};

/// Values without pattern in -1..1.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn leaky(x: f32, slope: Option<f32>) -> f64 {
    let slope = slope.filter(|_| x <= 0.0).unwrap_or(1.0);
    f64::from(x) * f64::from(slope)
}

/// Calls `visit` with the indices of every product of an input, a weight and an output.
fn products(g: &Geometry, mut visit: impl FnMut(usize, usize, usize)) {
    let [inputs, outputs] = g.channels();
    for sample in 0..g.batch {
        for o in 0..g.outputs {
            for t in 0..g.output {
                for i in 0..inputs {
                    for tap in 0..g.kernel {
                        let at = t * g.stride + tap * g.dilation;
                        let Some(at) = at.checked_sub(g.before).filter(|&at| at < g.input) else {
                            continue;
                        };
                        let channel = sample * g.inputs + o / outputs * inputs + i;
                        visit(
                            channel * g.input + at,
                            (o * inputs + i) * g.kernel + tap,
                            (sample * g.outputs + o) * g.output + t,
                        );
                    }
                }
            }
        }
    }
}

#[track_caller]
fn assert_close(case: &str, ours: &[f32], reference: &[f64]) {
    assert_eq!(ours.len(), reference.len());
    let scale = reference.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(reference).enumerate() {
        let error = (f64::from(*a) - b).abs() / scale;
        assert!(error <= 3e-6, "{case}: [{i}] is {a}, not {b}");
    }
}

/// Batch, channels, length, taps, stride, dilation, groups, padding.
type Shape = (
    usize,
    [usize; 2],
    usize,
    usize,
    usize,
    usize,
    usize,
    [usize; 2],
);

fn geometry(
    (batch, channels, input, kernel, stride, dilation, groups, padding): Shape,
) -> Geometry {
    let span = (kernel - 1) * dilation + 1;
    Geometry {
        batch,
        inputs: channels[0],
        outputs: channels[1],
        input,
        output: (input + padding[0] + padding[1] - span) / stride + 1,
        kernel,
        stride,
        dilation,
        groups,
        before: padding[0],
    }
}

const SHAPES: [Shape; 17] = [
    (1, [1, 1], 1, 1, 1, 1, 1, [0, 0]),
    (2, [3, 5], 17, 3, 1, 1, 1, [1, 1]),
    (2, [4, 13], 50, 3, 1, 9, 1, [9, 9]),
    (1, [16, 70], 200, 7, 1, 1, 1, [3, 3]),
    (3, [6, 10], 37, 5, 2, 1, 2, [2, 1]),
    (2, [8, 64], 133, 41, 4, 1, 2, [20, 20]),
    (2, [7, 3], 23, 4, 3, 2, 1, [5, 0]),
    (1, [2, 30], 9, 1, 4, 1, 1, [0, 0]),
    (2, [40, 30], 100, 9, 4, 1, 1, [4, 4]),
    (1, [20, 130], 700, 8, 4, 1, 1, [2, 2]),
    (9, [5, 20], 24, 3, 1, 1, 1, [1, 1]),
    (2, [3, 4], 64, 16, 8, 1, 1, [4, 4]),
    (1, [60, 80], 47, 3, 1, 1, 1, [1, 1]),
    // Short ones.
    (1, [64, 50], 2, 3, 1, 1, 1, [1, 1]),
    (2, [24, 20], 7, 3, 2, 1, 2, [1, 1]),
    (1, [9, 50], 16, 7, 3, 2, 1, [0, 5]),
    (7, [16, 18], 1, 1, 1, 1, 1, [0, 0]),
];

#[test]
fn every_level_computes_every_pass() {
    for shape in SHAPES {
        let g = geometry(shape);
        let slope = (g.kernel % 2 == 1).then_some(0.25);
        let x = noise(g.batch * g.inputs * g.input, 1);
        let w = noise(g.outputs * g.depth(), 2);
        let dy = noise(g.batch * g.outputs * g.output, 3);
        let [bias, other] = [noise(g.outputs, 4), noise(g.inputs, 5)];
        let mut y: Vec<f64> = (0..dy.len())
            .map(|i| f64::from(bias[i / g.output % g.outputs]))
            .collect();
        let mut dx: Vec<f64> = (0..x.len())
            .map(|i| f64::from(other[i / g.input % g.inputs]))
            .collect();
        let mut dw = vec![0.0; w.len()];
        products(&g, |i, k, o| {
            y[o] += leaky(x[i], slope) * f64::from(w[k]);
            dx[i] += f64::from(dy[o]) * f64::from(w[k]);
            dw[k] += leaky(x[i], slope) * f64::from(dy[o]);
        });
        if let Some(slope) = slope {
            for (dx, x) in dx.iter_mut().zip(&x) {
                *dx *= if *x > 0.0 { 1.0 } else { f64::from(slope) };
            }
        }
        let forward = Extras {
            bias: Some(&bias),
            leaky: slope,
            derivative: None,
        };
        let back = Extras {
            bias: Some(&other),
            leaky: None,
            derivative: slope.map(|slope| (&x[..], slope)),
        };
        let gathers = [Gather::forward(&g).unwrap(), Gather::adjoint(&g).unwrap()];
        for level in Level::available() {
            let case = format!("{g:?} {level:?}");
            let mut out = vec![f32::NAN; y.len()];
            // Packed or not.
            for packs in [false, true] {
                let mut gather = gathers[0].clone();
                gather.packs = packs;
                out.fill(f32::NAN);
                gather.run(level, &x, &w, forward, &mut out);
                assert_close(&format!("{case} forward {packs}"), &out, &y);
            }
            if short::applies(&g, false) {
                out.fill(f32::NAN);
                short::forward(level, &gathers[0], &x, &w, forward, &mut out);
                assert_close(&format!("{case} short forward"), &out, &y);
            }
            let mut out = vec![f32::NAN; x.len()];
            for packs in [false, true] {
                let mut gather = gathers[1].clone();
                gather.packs = packs;
                out.fill(f32::NAN);
                gather.run(level, &dy, &w, back, &mut out);
                assert_close(&format!("{case} adjoint {packs}"), &out, &dx);
            }
            if short::applies(&g, true) {
                out.fill(f32::NAN);
                short::adjoint(level, &gathers[1], &dy, &w, back, &mut out);
                assert_close(&format!("{case} short adjoint"), &out, &dx);
            }
            let signals = Signals {
                x: &x,
                leaky: slope,
                dy: &dy,
                leaky_dy: None,
            };
            let mut out = vec![f32::NAN; w.len()];
            gradient(level, &gathers[0], &signals, &mut out);
            assert_close(&format!("{case} weight"), &out, &dw);
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let g = geometry((3, [24, 40], 900, 5, 2, 1, 1, [2, 2]));
    let x = noise(g.batch * g.inputs * g.input, 1);
    let w = noise(g.outputs * g.depth(), 2);
    let dy = noise(g.batch * g.outputs * g.output, 3);
    let gathers = [Gather::forward(&g).unwrap(), Gather::adjoint(&g).unwrap()];
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let level = Level::detect();
            let mut out = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
            gathers[0].run(level, &x, &w, Extras::default(), &mut out[0]);
            gathers[1].run(level, &dy, &w, Extras::default(), &mut out[1]);
            let signals = Signals {
                x: &x,
                leaky: None,
                dy: &dy,
                leaky_dy: None,
            };
            gradient(level, &gathers[0], &signals, &mut out[2]);
            out
        })
    };
    assert_eq!(run(1), run(3));
}
