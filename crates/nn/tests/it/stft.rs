use crate::{assert_close, noise, tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::stft::{Stft, stft_magnitude};

/// Magnitudes by the definition, `[batch, frequencies, frames]`.
fn definition(
    x: &[f64],
    batch: usize,
    stft: &Stft,
    window: &[f32],
    padding: usize,
    scale: f64,
) -> Vec<f64> {
    let len = x.len() / batch;
    let (size, frames) = (stft.size(), stft.frames(len).unwrap());
    let mut out = Vec::new();
    for signal in x.chunks_exact(len) {
        for bin in 0..stft.frequencies() {
            for frame in 0..frames {
                let (mut re, mut im) = (0.0, 0.0);
                for (time, window) in window.iter().enumerate() {
                    let at = (frame * stft.hop() + time) as isize - padding as isize;
                    let last = len as isize - 1;
                    let at = if at.abs() > last {
                        2 * last - at.abs()
                    } else {
                        at.abs()
                    };
                    let angle = std::f64::consts::TAU * (time * bin) as f64 / size as f64;
                    let value = signal[at as usize] * f64::from(*window);
                    re += value * angle.cos();
                    im -= value * angle.sin();
                }
                out.push(scale * f64::hypot(re, im));
            }
        }
    }
    out
}

/// Transform, whether it is centred and normalised, batch, length: short, long, odd, uneven hops, many frames, no reflection.
fn cases() -> Vec<(Stft, [bool; 2], usize, usize)> {
    let case = |stft: Stft, flags: [bool; 2], batch, len| {
        let stft = stft.centred(flags[0]).normalised(flags[1]);
        (stft, flags, batch, len)
    };
    let hann = |size, hop| Stft::hann(size, hop).unwrap();
    vec![
        case(hann(64, 16), [true, false], 3, 300),
        case(hann(128, 32), [true, true], 2, 65),
        case(hann(16, 4), [true, true], 1, 2_100),
        case(hann(15, 7), [true, false], 2, 40),
        case(hann(32, 50), [false, false], 2, 500),
        case(hann(2, 1), [true, false], 1, 5),
        case(hann(60, 13), [false, true], 20, 60),
        case(
            Stft::with_window(OTHER.to_vec(), 4).unwrap(),
            [true, false],
            1,
            31,
        ),
    ]
}

/// A window that is not symmetric.
const OTHER: [f32; 6] = [1.0, -0.5, 2.0, 0.25, 3.0, 1.0];

#[test]
fn magnitudes_are_those_of_the_definition() {
    for (stft, [centred, normalised], batch, len) in cases() {
        let x = noise(7, batch * len);
        let debug = format!("{stft:?}");
        let window: Vec<f32> = match stft.size() {
            6 => OTHER.to_vec(),
            size => (0..size)
                .map(|t| {
                    (std::f64::consts::PI * t as f64 / size as f64)
                        .sin()
                        .powi(2) as f32
                })
                .collect(),
        };
        let scale = if normalised {
            (stft.size() as f64).sqrt().recip()
        } else {
            1.0
        };
        let padding = if centred { stft.size() / 2 } else { 0 };
        let expected = definition(&x, batch, &stft, &window, padding, scale);
        for dtype in [DType::F32, DType::F64] {
            let x = tensor::<2>(7, [batch, len], &Device::flex(), dtype);
            let y = values(stft_magnitude(x, &stft));
            assert_close(
                &debug,
                &[("magnitudes", y)],
                &[("magnitudes", expected.clone())],
                2e-6,
            );
        }
    }
}

#[test]
fn gradients_equal_the_plain_form() {
    let run = |stft: &Stft, batch, len, device: &Device, dtype| {
        let x = tensor::<2>(1, [batch, len], device, dtype).require_grad();
        let y = stft_magnitude(x.clone(), stft);
        let loss = (y.clone() * tensor(2, y.dims(), device, dtype)).sum();
        let grads = loss.backward();
        vec![
            ("magnitudes", values(y)),
            ("gradient", values(x.grad(&grads).unwrap())),
        ]
    };
    let tracked = Device::flex().autodiff();
    let balanced = Device::flex().autodiff().gradient_checkpointing();
    for (stft, _, batch, len) in cases() {
        for device in [&tracked, &balanced] {
            let [ours, reference] =
                [DType::F32, DType::F64].map(|dtype| run(&stft, batch, len, device, dtype));
            assert_close(&format!("{stft:?}"), &ours, &reference, 1e-5);
        }
    }
}

#[test]
fn silence_has_no_gradient() {
    let device = Device::flex().autodiff();
    let stft = Stft::hann(32, 8).unwrap();
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::<2>::zeros([2, 100], (&device, dtype)).require_grad();
        let grads = stft_magnitude(x.clone(), &stft).sum().backward();
        let gradient = values(x.grad(&grads).unwrap());
        assert_eq!(gradient, vec![0.0; 200]);
    }
}

#[test]
fn nonsense_is_refused() {
    let message = |result: menagerie_core::Result<Stft>| result.unwrap_err().to_string();
    assert!(message(Stft::hann(1, 1)).contains("at least two samples"));
    assert!(message(Stft::hann(64, 0)).contains("at least one sample apart"));
    assert!(message(Stft::with_window(vec![1.0, f32::NAN], 1)).contains("must be finite"));
    let stft = Stft::hann(64, 16).unwrap();
    let short = stft.frames(32).unwrap_err().to_string();
    assert!(short.contains("longer than 32 samples"), "{short}");
    assert_eq!(stft.frames(33).unwrap(), 3);
    let short = stft.centred(false).frames(63).unwrap_err().to_string();
    assert!(
        short.contains("a Fourier transform takes 64 samples"),
        "{short}"
    );
}

#[test]
#[should_panic(expected = "stft_magnitude: ")]
fn a_short_signal_is_refused() {
    let x = tensor::<2>(1, [1, 10], &Device::flex(), DType::F32);
    stft_magnitude(x, &Stft::hann(64, 16).unwrap());
}
