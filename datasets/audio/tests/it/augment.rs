use crate::noise;
use menagerie_core::Seed;
use menagerie_data_audio::augment::{AllPass, PhaseMangle, dequantise, draw_dequantisation};

#[test]
fn dequantisation_stays_below_the_last_bit() {
    let noise = draw_dequantisation(20_000, Seed(3));
    let step = 2.0f32.powi(-16);
    assert!(noise.iter().all(|&value| (0.0..step).contains(&value)));
    let mean = noise.iter().sum::<f32>() / noise.len() as f32;
    assert!((mean / step - 0.5).abs() < 0.02, "{mean}");
    assert_eq!(noise, draw_dequantisation(20_000, Seed(3)));
    assert_ne!(noise, draw_dequantisation(20_000, Seed(4)));
    let mut samples = vec![0.25; 3];
    dequantise(&mut samples, &[step, 0.0, step]);
    assert_eq!(samples, [0.25 + step, 0.25, 0.25 + step]);
}

#[test]
fn the_filter_is_the_difference_equation() {
    let (frequency, radius, rate) = (500.0, 0.99, 8_000);
    let x = noise(300);
    let mut y = x.clone();
    AllPass::new(frequency, radius, rate).unwrap().apply(&mut y);
    let middle = -2.0 * radius * (std::f64::consts::TAU * frequency / f64::from(rate)).cos();
    let last = radius * radius;
    let mut reference = [0.0f64; 300];
    for t in 0..300usize {
        let x = |back: usize| t.checked_sub(back).map_or(0.0, |t| f64::from(x[t]));
        let y = |back: usize| t.checked_sub(back).map_or(0.0, |t| reference[t]);
        reference[t] = last * x(0) + middle * x(1) + x(2) - middle * y(1) - last * y(2);
    }
    for (y, reference) in y.iter().zip(reference) {
        assert!((f64::from(*y) - reference).abs() < 1e-5, "{y} {reference}");
    }
}

#[test]
fn an_all_pass_filter_keeps_the_energy() {
    let mut impulse = vec![0.0; 20_000];
    impulse[0] = 1.0;
    AllPass::new(300.0, 0.99, 48_000)
        .unwrap()
        .apply(&mut impulse);
    let energy: f64 = impulse.iter().map(|&x| f64::from(x).powi(2)).sum();
    assert!((energy - 1.0).abs() < 1e-4, "{energy}");
    // And does change the waveform.
    assert!(impulse[0] < 0.99);
}

#[test]
fn filters_are_drawn_as_often_as_asked_and_inside_of_the_range() {
    let mangle = PhaseMangle::default();
    let draws: Vec<Option<AllPass>> = (0..1_000)
        .map(|at| mangle.draw(8_000, Seed(5).at(at)).unwrap())
        .collect();
    let count = draws.iter().flatten().count();
    assert!((760..840).contains(&count), "{count}");
    assert_eq!(draws[7], mangle.draw(8_000, Seed(5).at(7)).unwrap());
    let never = PhaseMangle {
        probability: 0.0,
        ..mangle
    };
    assert_eq!(never.draw(8_000, Seed(5)).unwrap(), None);
    let exact = PhaseMangle {
        probability: 1.0,
        frequencies: [100.0, 100.0],
        ..mangle
    };
    let filter = exact.draw(8_000, Seed(5)).unwrap();
    assert_eq!(filter, Some(AllPass::new(100.0, 0.99, 8_000).unwrap()));
}

#[test]
fn impossible_filters_are_refused() {
    let message = |mangle: PhaseMangle, rate| mangle.draw(rate, Seed(1)).unwrap_err().to_string();
    let mangle = PhaseMangle::default();
    // The range is checked whatever is drawn.
    let never = PhaseMangle {
        probability: 0.0,
        ..mangle
    };
    assert!(message(never, 3_000).contains("half the sample rate"));
    assert!(
        message(
            PhaseMangle {
                probability: 1.5,
                ..mangle
            },
            8_000
        )
        .contains("a probability")
    );
    assert!(
        message(
            PhaseMangle {
                radius: 1.0,
                ..mangle
            },
            8_000
        )
        .contains("the radius of a pole")
    );
    let falling = PhaseMangle {
        frequencies: [200.0, 100.0],
        ..mangle
    };
    assert!(message(falling, 8_000).contains("must be positive and ascending"));
    assert!(AllPass::new(f64::NAN, 0.5, 8_000).is_err());
}
