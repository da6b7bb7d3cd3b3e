//! Coefficients of Tsit5 and of its dense output.
//!
//! Tsitouras, *Runge–Kutta pairs of order 5(4) satisfying only the first column simplifying
//! assumption*, Computers & Mathematics with Applications 62 (2011).

/// Stages of a step; the last is the first of the next step.
pub const STAGES: usize = 7;

/// Where in a step each stage lies, as a share of it.
pub const NODES: [f64; STAGES] = [0.0, 0.161, 0.327, 0.9, 0.980_025_540_904_509_7, 1.0, 1.0];

/// Row `i` weighs the slopes in the argument of stage `i`; the last row is that of the solution of
/// fifth order.
pub const WEIGHTS: [[f64; STAGES]; STAGES] = [
    [0.0; STAGES],
    [0.161, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [
        -0.008_480_655_492_356_989,
        0.335_480_655_492_357,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
    ],
    [
        2.897_153_057_105_493_5,
        -6.359_448_489_975_075,
        4.362_295_432_869_581_5,
        0.0,
        0.0,
        0.0,
        0.0,
    ],
    [
        5.325_864_828_439_257,
        -11.748_883_564_062_828,
        7.495_539_342_889_836_5,
        -0.092_495_066_361_755_25,
        0.0,
        0.0,
        0.0,
    ],
    [
        5.861_455_442_946_42,
        -12.920_969_317_847_11,
        8.159_367_898_576_159,
        -0.071_584_973_281_401,
        -0.028_269_050_394_068_383,
        0.0,
        0.0,
    ],
    [
        0.096_460_766_818_065_23,
        0.01,
        0.479_889_650_414_499_6,
        1.379_008_574_103_742,
        -3.290_069_515_436_081,
        2.324_710_524_099_774,
        0.0,
    ],
];

/// Weights of the slopes in the difference between the solutions of fifth and fourth order.
pub const ERROR: [f64; STAGES] = [
    -0.001_780_011_052_225_777,
    -0.000_816_434_459_656_746_9,
    0.007_880_878_010_261_995,
    -0.144_711_007_173_262_9,
    0.582_357_165_452_555_2,
    -0.458_082_105_929_186_97,
    0.015_151_515_151_515_152,
];

/// Coefficients of θ, θ², θ³ and θ⁴ in the weights of the dense output.
pub const DENSE: [[f64; 4]; STAGES] = [
    [
        1.0,
        -2.763_706_197_274_826,
        2.913_255_461_821_912_6,
        -1.053_088_497_729_021_6,
    ],
    [0.0, 0.131_699_999_999_999_98, -0.2234, 0.1017],
    [
        0.0,
        3.930_296_236_894_751_6,
        -5.941_033_872_131_505,
        2.490_627_285_651_253,
    ],
    [
        0.0,
        -12.411_077_166_933_676,
        30.338_188_630_282_32,
        -16.548_102_889_244_902,
    ],
    [
        0.0,
        37.509_313_416_511_04,
        -88.178_904_894_766_4,
        47.379_521_962_819_28,
    ],
    [
        0.0,
        -27.896_526_289_197_286,
        65.091_894_674_793_66,
        -34.870_657_861_496_61,
    ],
    [0.0, 1.5, -4.0, 2.5],
];

/// The stability limit of the method along the negative axis, by which stiffness is measured.
pub const STABILITY: f64 = 3.5068;

/// Weights of the slopes at the share `theta` of a step: `u(t + θ dt) = u + dt Σ b_i(θ) k_i`.
pub fn dense(theta: f64) -> [f64; STAGES] {
    DENSE.map(|row| {
        let sum = row.iter().rev().fold(0.0, |sum, term| sum * theta + term);
        sum * theta
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up_to_the_nodes_and_conditions_of_order_hold() {
        for (row, node) in WEIGHTS.iter().zip(NODES) {
            assert!((row.iter().sum::<f64>() - node).abs() < 1e-13);
        }
        assert!(ERROR.iter().sum::<f64>().abs() < 1e-13);
        // Σ b c^p = 1 / (p + 1) up to the fifth order.
        for power in 0..5 {
            let terms = WEIGHTS[6].iter().zip(NODES);
            let sum: f64 = terms.map(|(b, c)| b * c.powi(power)).sum();
            assert!((sum - 1.0 / f64::from(power + 1)).abs() < 1e-12, "{power}");
        }
    }

    #[test]
    fn the_dense_output_meets_both_ends() {
        assert_eq!(dense(0.0), [0.0; STAGES]);
        for (found, expected) in dense(1.0).iter().zip(WEIGHTS[6]) {
            assert!((found - expected).abs() < 1e-12);
        }
        // Σ b(θ) = θ and Σ b(θ) c = θ²/2.
        for theta in [0.2, 0.37, 0.9] {
            let weights = dense(theta);
            assert!((weights.iter().sum::<f64>() - theta).abs() < 1e-12);
            let first: f64 = weights.iter().zip(NODES).map(|(b, c)| b * c).sum();
            assert!((first - theta * theta / 2.0).abs() < 1e-12);
        }
    }
}
