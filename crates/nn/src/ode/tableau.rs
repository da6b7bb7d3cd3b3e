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

/// Coefficients of SOSRI, as StochasticDiffEq.jl has them.
pub mod sosri {
    /// Stages of drift, and of diffusion.
    pub const STAGES: usize = 4;

    /// Drift stages in the arguments of drift stages, times dt.
    pub const A0: [[f64; STAGES]; STAGES] = [
        [0.0, 0.0, 0.0, 0.0],
        [-0.041_992_244_213_164_68, 0.0, 0.0, 0.0],
        [2.842_612_915_017_106, -2.052_772_368_400_072_7, 0.0, 0.0],
        [
            4.338_237_071_435_815,
            -2.889_593_613_743_979_3,
            2.301_757_559_464_446_6,
            0.0,
        ],
    ];
    /// Drift stages in the arguments of diffusion stages, times dt.
    pub const A1: [[f64; STAGES]; STAGES] = [
        [0.0, 0.0, 0.0, 0.0],
        [0.262_042_820_913_304_66, 0.0, 0.0, 0.0],
        [0.209_036_463_835_053_75, -0.150_237_711_515_036_1, 0.0, 0.0],
        [
            0.058_365_953_127_469_99,
            0.614_944_039_633_237_3,
            0.085_351_176_340_467_72,
            0.0,
        ],
    ];
    /// Diffusion stages in the arguments of drift stages, times χ₂.
    pub const B0: [[f64; STAGES]; STAGES] = [
        [0.0, 0.0, 0.0, 0.0],
        [-0.216_410_935_496_125_28, 0.0, 0.0, 0.0],
        [1.533_635_286_367_957_2, 0.260_662_234_926_470_56, 0.0, 0.0],
        [
            -1.053_603_755_817_915_9,
            1.701_528_472_108_947_2,
            -0.207_256_857_841_800_17,
            0.0,
        ],
    ];
    /// Diffusion stages in the arguments of diffusion stages, times √dt.
    pub const B1: [[f64; STAGES]; STAGES] = [
        [0.0, 0.0, 0.0, 0.0],
        [-0.511_901_182_762_165_7, 0.0, 0.0, 0.0],
        [2.677_673_398_667_13, -4.939_503_132_225_099_5, 0.0, 0.0],
        [
            0.155_809_562_382_992_15,
            3.236_155_100_662_467_4,
            -1.422_311_828_335_594_9,
            0.0,
        ],
    ];
    /// When drift stages lie.
    pub const C0: [f64; STAGES] = [
        0.0,
        -0.041_992_244_213_164_68,
        0.789_840_546_617_033_3,
        3.750_401_017_156_282_3,
    ];
    /// When diffusion stages lie.
    pub const C1: [f64; STAGES] = [
        0.0,
        0.262_042_820_913_304_66,
        0.058_798_752_320_017_66,
        0.758_661_169_101_175,
    ];
    /// Drift stages in the solution, times dt.
    pub const ALPHA: [f64; STAGES] = [
        1.140_099_274_172_029,
        -0.640_133_425_574_345_6,
        0.473_629_653_277_255_9,
        0.026_404_498_125_060_714,
    ];
    /// Diffusion stages in the solution, times dW, χ₁, χ₂ and χ₃.
    pub const BETA: [[f64; STAGES]; 4] = [
        [
            -1.845_346_456_510_443_2,
            2.688_764_531_100_726,
            -0.252_386_650_107_132_3,
            0.408_968_575_516_849_56,
        ],
        [
            0.496_965_814_158_947_8,
            -0.577_120_286_975_359_2,
            -0.129_197_024_703_222_17,
            0.209_351_497_519_633_6,
        ],
        [
            2.845_346_456_510_442_5,
            -2.688_764_531_100_725,
            0.252_386_650_107_132_2,
            -0.408_968_575_516_849_45,
        ],
        [
            0.115_226_638_754_434_33,
            -0.578_770_861_477_38,
            0.285_785_102_816_388_6,
            0.177_759_119_906_557_04,
        ],
    ];
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
