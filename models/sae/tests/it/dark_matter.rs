//! `sae_dark_matter`: least squares, decomposition, pursuit, scaling, synthetic noise.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_sae::sae::{AuxK, Convention, Reconstruction, Situation};
use menagerie_sae::sae_dark_matter::{
    AnalysisConfig, Baseline, Baselines, Disturbance, ErrorComponent, LeastSquares,
    LeastSquaresConfig, LinearFit, NormTarget, PowerLaw, PowerLawConfig, ProceduralConfig,
    PursuitConfig, Score, Split, alignment, correlation, cross_component, cross_width, decompose,
    draw_noise, draw_power_law_start, error_norm_baselines, error_objective, gradient_pursuit,
    least_squares, norm_predictability, normalized_error, published_error_sae, row_norms,
    synthetic, vendored_objective,
};
use proptest::prelude::*;

fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

fn normal(rows: usize, width: usize, seed: u64) -> Tensor<2> {
    let shape = Tensor::zeros([rows, width], &device());
    draw_noise(&shape, Seed(seed)).activation
}

fn tensor(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().unwrap()
}

fn largest<const D: usize>(tensor: Tensor<D>) -> f32 {
    values(tensor).iter().fold(0.0, |max, x| x.abs().max(max))
}

fn halves(rows: usize) -> Split {
    Split::draw(rows, rows / 2, rows - rows / 2, Seed(5)).unwrap()
}

fn text<T: std::fmt::Debug>(result: menagerie_core::Result<T>) -> String {
    result.unwrap_err().to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn residuals_are_orthogonal_to_the_inputs(
        rows in 20_usize..90, inputs in 1_usize..9, outputs in 1_usize..5,
        intercept: bool, seed: u64,
    ) {
        let x = normal(rows, inputs, seed) + 3.0;
        let y = normal(rows, outputs, seed.wrapping_add(1)) - 7.0;
        let split = Split::new((0..rows).collect(), rows - 1, 1).unwrap();
        let config = LeastSquaresConfig::new().with_intercept(intercept);
        let fit = least_squares(x.clone(), y.clone(), &split, &config).unwrap();
        let residual = (y - fit.predict(x.clone()).unwrap()).narrow(0, 0, rows - 1);
        let along = x.narrow(0, 0, rows - 1).transpose().matmul(residual.clone());
        prop_assert!(largest(along) < 2e-3, "{fit:?}");
        if intercept {
            prop_assert!(largest(residual.sum_dim(0)) < 2e-3);
        }
    }

    #[test]
    fn the_parts_add_up_and_only_the_nonlinear_one_is_left(
        rows in 40_usize..100, width in 2_usize..8, seed: u64,
    ) {
        let x = normal(rows, width, seed);
        let reconstruction = x.clone() * 0.8 + normal(rows, width, seed ^ 1) * 0.1;
        let split = halves(rows);
        let config = LeastSquaresConfig::new();
        let parts = decompose(x.clone(), reconstruction.clone(), &split, &config).unwrap();
        let sum = reconstruction + parts.linear + parts.nonlinear;
        prop_assert!(largest(sum - x) < 1e-5);
        prop_assert!(parts.fvu_nonlinear < parts.fvu);
    }

    #[test]
    fn pursuit_weights_are_positive_and_few_and_the_residual_never_grows(
        rows in 1_usize..12, width in 2_usize..40, features in 1_usize..30, seed: u64,
    ) {
        let dictionary = normal(features, width, seed);
        let signal = normal(rows, width, seed ^ 2);
        let mut before = values(row_norms(signal.clone()));
        for steps in 0..=features.min(6) {
            let found = gradient_pursuit(
                dictionary.clone(), signal.clone(), &vec![steps; rows], &PursuitConfig::new().with_batch(5),
            ).unwrap();
            prop_assert!(found.l0().iter().all(|&l0| l0 <= steps));
            prop_assert!(found.supports.iter().flatten().all(|&(_, weight)| weight > 0.0));
            let rebuilt = found.weights().matmul(dictionary.clone());
            prop_assert!(largest(rebuilt - found.reconstruction.clone()) < 1e-4);
            let after = values(found.residual_norms);
            for (after, before) in after.iter().zip(&before) {
                prop_assert!(*after <= before + 1e-5);
            }
            before = after;
        }
    }
}

#[test]
fn a_known_map_is_found_whatever_the_size_of_its_inputs() {
    // A few massive dimensions, as language models have.
    let scales = tensor(&[1e4, 1.0, 1e-3, 3e2], [1, 4]);
    let x = normal(3_000, 4, 1) * scales.clone();
    let weight = normal(4, 3, 2) / scales.transpose();
    let mut sums = LeastSquares::new(4, 3, &LeastSquaresConfig::new()).unwrap();
    for start in (0..3_000).step_by(1_000) {
        let part = x.clone().narrow(0, start, 1_000);
        sums.add(part.clone(), part.matmul(weight.clone())).unwrap();
    }
    let fit = sums.solve().unwrap();
    assert_eq!(fit.rank(), 4);
    let relative = (fit.weight(&device()) - weight.clone()) / weight;
    assert!(largest(relative) < 1e-4);
}

#[test]
fn missing_directions_are_left_out() {
    // The third dimension is the sum of the first two, the fourth is dead.
    let two = normal(200, 2, 3);
    let sum = two.clone().sum_dim(1);
    let x = Tensor::cat(
        vec![two.clone(), sum, Tensor::zeros([200, 1], &device())],
        1,
    );
    let y = two.matmul(tensor(&[1.0, 4.0], [2, 1]));
    let fit = least_squares(
        x.clone(),
        y.clone(),
        &halves(200),
        &LeastSquaresConfig::new(),
    )
    .unwrap();
    assert_eq!(fit.rank(), 2);
    assert!(largest(fit.predict(x).unwrap() - y) < 1e-4);
    // a + c = 1, b + c = 4: of all solutions (1 - c, 4 - c, c), c = 5/3 is the shortest.
    let expected = [-2.0 / 3.0, 7.0 / 3.0, 5.0 / 3.0, 0.0];
    for (found, expected) in fit.coefficients().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "{fit:?}");
    }
    let ridge = LeastSquaresConfig::new().with_ridge(1.0);
    let x = normal(100, 1, 4);
    let shrunk = least_squares(x.clone(), x, &halves(100), &ridge).unwrap();
    assert!((shrunk.coefficients()[0] - 0.5).abs() < 1e-9);
}

#[test]
fn an_error_that_has_nothing_to_do_with_x_is_not_predicted() {
    let x = normal(6_000, 16, 7);
    let error = normal(6_000, 16, 8);
    let split = halves(6_000);
    let parts = decompose(x.clone(), x - error, &split, &LeastSquaresConfig::new()).unwrap();
    assert!(parts.r2.abs() < 0.02, "{}", parts.r2);
}

#[test]
fn scores_agree_with_their_definitions() {
    let target = tensor(&[1.0, 10.0, 3.0, 14.0, 5.0, 12.0], [3, 2]);
    let prediction = tensor(&[1.0, 11.0, 4.0, 13.0, 5.0, 12.0], [3, 2]);
    let score = Score::of(&target, &prediction).unwrap();
    // Both dimensions vary by 8; residuals 1 and 2; all six entries vary by 8 + 8 + 6 · 4.5².
    assert_eq!(score.r2_per_dimension().unwrap(), [7.0 / 8.0, 6.0 / 8.0]);
    assert_eq!(score.fvu().unwrap(), 3.0 / 16.0);
    let global = 1.0 - 3.0 / (16.0 + 6.0 * 4.5 * 4.5);
    assert!((score.global_r2().unwrap() - global).abs() < 1e-12);
    let nmse = (1.0 / 101.0 + 2.0 / 205.0) / 3.0;
    assert!((normalized_error(&target, &prediction).unwrap() - nmse).abs() < 1e-7);
}

#[test]
fn norms_of_parts_that_follow_from_x_are_predicted() {
    // Rows of one direction with sizes 1..: squared norms are no linear function of x without a
    // constant, unless the sizes take two values, 0 and 1 here.
    let on: Vec<f32> = (0..400).map(|row| (row % 2) as f32).collect();
    let x = tensor(&on, [400, 1]) + normal(400, 1, 9) * 1e-4;
    let reconstruction = x.clone() * 0.5 + normal(400, 1, 10) * 1e-2;
    let split = halves(400);
    let config = LeastSquaresConfig::new();
    let parts = decompose(x.clone(), reconstruction, &split, &config).unwrap();
    let found = norm_predictability(&x, &parts, &split, &config).unwrap();
    let r2 = |wanted: NormTarget| {
        found
            .iter()
            .find(|(target, _)| *target == wanted)
            .unwrap()
            .1
    };
    assert!(r2(NormTarget::Activation) > 0.99);
    assert!(r2(NormTarget::Linear) > 0.99);
    assert!(r2(NormTarget::Nonlinear) < 0.1);
}

#[test]
fn the_token_tells_a_norm_that_depends_on_it() {
    let ids: Vec<i64> = (0..600).map(|row| row % 3).collect();
    let sizes: Vec<f32> = ids.iter().map(|id| [1.0, 5.0, 2.0][*id as usize]).collect();
    let error = tensor(&sizes, [600, 1]);
    let baselines = Baselines {
        activation: normal(600, 4, 11),
        token_ids: Some(&ids),
        token_loss: Some(error.clone() * 2.0 + 1.0),
        l0: Some(normal(600, 1, 12)),
    };
    let found = error_norm_baselines(&error, &baselines, &halves(600)).unwrap();
    let names: Vec<Baseline> = found.iter().map(|(name, _)| *name).collect();
    use Baseline::{Activation, ActivationNorm, L0, TokenLoss, TokenMean};
    assert_eq!(
        names,
        [Activation, TokenMean, TokenLoss, L0, ActivationNorm]
    );
    assert!(found[1].1 > 0.999 && found[2].1 > 0.999, "{found:?}");
    assert!(
        [0, 3, 4].iter().all(|&place| found[place].1 < 0.1),
        "{found:?}"
    );
}

#[test]
fn the_size_of_large_errors_follows_from_small_ones() {
    let small = normal(800, 6, 13);
    let noise = normal(800, 6, 14);
    let large = small.clone() * 0.5 + noise.clone() * 0.05;
    let found = cross_width(&small, &noise, &large, &halves(800)).unwrap();
    assert!(found.r2 > 0.8 && found.r2 < 1.0, "{found:?}");
    let share = (found.r2_with_nonlinear - found.r2) / (1.0 - found.r2);
    assert!((found.gained_percent() - 100.0 * share).abs() < 1e-9);
}

#[test]
fn a_power_law_is_recovered_by_search_and_approached_by_adam() {
    let law = |width: f64| 0.1 + 3.0 * width.powf(-0.7);
    let points: Vec<(f64, f64)> = (6..=12)
        .map(|log| f64::from(1 << log))
        .map(|width| (width, law(width)))
        .collect();
    let found = PowerLaw::fit(&points).unwrap();
    assert!((found.floor - 0.1).abs() < 1e-4, "{found:?}");
    assert!((found.exponent - 0.7).abs() < 1e-3 && (found.factor - 3.0).abs() < 1e-2);
    assert!(found.mean_squared_error < 1e-12);
    let config = PowerLawConfig::new().with_learning_rate(1e-3);
    let adam = PowerLaw::fit_adam(&points, draw_power_law_start(Seed(1)), &config).unwrap();
    assert!(adam.mean_squared_error < 1e-4, "{adam:?}");
    assert!(adam.mean_squared_error >= found.mean_squared_error);

    // Falling to nothing, and not falling at all.
    let bare: Vec<_> = points.iter().map(|(w, _)| (*w, 2.0 / w)).collect();
    let bare = PowerLaw::fit(&bare).unwrap();
    assert!(
        bare.floor < 1e-6 && (bare.exponent - 1.0).abs() < 1e-3,
        "{bare:?}"
    );
    let flat: Vec<_> = points.iter().map(|(w, _)| (*w, 0.5 + w * 1e-6)).collect();
    assert!((PowerLaw::fit(&flat).unwrap().factor).abs() < 1e-9);
}

#[test]
fn pursuit_finds_a_sparse_code_of_orthogonal_vectors() {
    let dictionary = Tensor::eye(6, &device());
    let signal = tensor(
        &[0.0, 3.0, 0.0, -2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [2, 6],
    );
    let found = gradient_pursuit(dictionary, signal, &[4, 2], &PursuitConfig::new()).unwrap();
    // The negative entry has no vector; a zero row has nothing to find.
    let mut code = found.supports[0].clone();
    code.sort_by_key(|(feature, _)| *feature);
    assert_eq!(
        code.iter().map(|(feature, _)| *feature).collect::<Vec<_>>(),
        [1, 4]
    );
    assert!((code[0].1 - 3.0).abs() < 1e-3 && (code[1].1 - 1.0).abs() < 1e-3);
    assert!(found.supports[1].is_empty());
}

#[test]
fn disturbances_land_where_the_argument_says() {
    // An exact autoencoder: positive and negative halves of each dimension.
    let (rows, width) = (4_000, 8);
    let x = normal(rows, width, 20);
    let latents = Tensor::cat(
        vec![x.clone().clamp_min(0.0), (-x.clone()).clamp_min(0.0)],
        1,
    );
    let decode = |z: Tensor<2>| Ok(z.clone().narrow(1, 0, width) - z.narrow(1, width, width));
    let noise = draw_noise(&x, Seed(21));
    let split = halves(rows);
    let run = |activation, reconstruction, ablated| {
        let disturbance = Disturbance {
            activation,
            reconstruction,
            ablated,
        };
        synthetic(
            x.clone(),
            latents.clone(),
            decode,
            &noise,
            &disturbance,
            &split,
        )
        .unwrap()
    };
    let clean = run(0.0, 0.0, 0.0);
    assert!(clean.reconstruction_r2 > 0.999_999);
    // x + s n is unexplained by s² / (1 + s²); of that, s² / (1 + s²) is linear in x + s n.
    let dense = run(1.0, 0.0, 0.0);
    assert!(
        (dense.reconstruction_r2 - 0.5).abs() < 0.02,
        "{}",
        dense.reconstruction_r2
    );
    assert!((dense.linear_r2 - 0.75).abs() < 0.02, "{}", dense.linear_r2);
    // Noise on the reconstruction is not: nothing is gained.
    let introduced = run(0.0, 0.5, 0.0);
    assert!((introduced.reconstruction_r2 - 0.75).abs() < 0.02);
    assert!((introduced.linear_r2 - 0.75).abs() < 0.02);
    let absent = run(0.0, 0.0, 0.5);
    assert_eq!(
        values(absent.kept.clone()).iter().sum::<f32>(),
        width as f32
    );
    assert!(absent.reconstruction_r2 < 0.8 && absent.linear_r2 > absent.reconstruction_r2 + 0.1);
}

#[test]
fn known_parts_land_where_the_argument_says() {
    let known = ProceduralConfig::new()
        .with_rows(8_000)
        .draw(Seed(3), &device())
        .unwrap();
    let split = halves(8_000);
    let (x, reconstruction) = (known.x.clone(), known.reconstruction.clone());
    let parts = decompose(x, reconstruction, &split, &LeastSquaresConfig::new()).unwrap();
    let norms =
        |x: Tensor<2>| -> Vec<f64> { values(row_norms(x)).into_iter().map(f64::from).collect() };
    let linear = norms(known.absent.clone() + known.dense.clone());
    let introduced = norms(known.introduced.clone());
    let right = [
        correlation(&norms(parts.linear.clone()), &linear).unwrap(),
        correlation(&norms(parts.nonlinear.clone()), &introduced).unwrap(),
    ];
    let wrong = [
        correlation(&norms(parts.linear), &introduced).unwrap(),
        correlation(&norms(parts.nonlinear), &linear).unwrap(),
    ];
    assert!(right.iter().all(|&found| found > 0.8), "{right:?}");
    assert!(wrong.iter().all(|&found| found.abs() < 0.3), "{wrong:?}");
    let sum = parts.error - known.absent - known.dense + known.introduced;
    assert!(largest(sum) < 0.15, "what is left is the small noise on x");
    assert_eq!(
        text(ProceduralConfig::new().with_learned(97).validate()),
        "ProceduralConfig.learned = 97: must be at most the number of features, 96"
    );
}

#[test]
fn a_given_map_predicts_as_it_says() {
    let fit = LinearFit::from_weight(tensor(&[2.0, 0.0, 0.0, -1.0], [2, 2])).unwrap();
    let prediction = fit.predict(tensor(&[3.0, 5.0], [1, 2])).unwrap();
    assert_eq!(values(prediction), [6.0, -5.0]);
    assert_eq!(
        text(fit.predict(normal(2, 3, 0))),
        "the inputs of a linear map is \"3 wide\": the map was fitted on 2 inputs"
    );
}

#[test]
fn a_code_decodes_to_the_reconstruction() {
    let (dictionary, signal) = (normal(12, 5, 30), normal(6, 5, 31));
    let targets = [0, 1, 2, 3, 4, 5];
    let found = gradient_pursuit(dictionary.clone(), signal, &targets, &PursuitConfig::new());
    let found = found.unwrap();
    let config = menagerie_sae::sae::SaeConfig::new(5, 12, menagerie_sae::sae::Activation::Relu);
    let mut sae = config.init(&device()).unwrap();
    sae.decoder = burn::module::Param::from_tensor(dictionary);
    let decoded = sae.decode(&found.codes()).unwrap();
    assert!(largest(decoded - found.reconstruction) < 1e-5);
}

#[test]
fn components_are_what_they_are_called() {
    let x = normal(200, 4, 40);
    let reconstruction = x.clone() * 0.7 + normal(200, 4, 41) * 0.2;
    let config = LeastSquaresConfig::new();
    let parts = decompose(x.clone(), reconstruction.clone(), &halves(200), &config).unwrap();
    let target = |component: ErrorComponent| {
        component
            .target(x.clone(), reconstruction.clone(), &parts.probe)
            .unwrap()
    };
    assert_eq!(
        values(target(ErrorComponent::Full)),
        values(parts.error.clone())
    );
    assert_eq!(
        values(target(ErrorComponent::Linear)),
        values(parts.linear.clone())
    );
    assert!(largest(target(ErrorComponent::Nonlinear) - parts.nonlinear.clone()) < 1e-6);
    assert_eq!(published_error_sae().parameters(), 169_908_480);
    let sparsify = AuxK::new(Convention::Sparsify).with_coefficient(0.5);
    assert_eq!(error_objective(Some(0.5)).auxiliary, Some(sparsify));
    assert_eq!(error_objective(None).reconstruction, Reconstruction::Fvu);
}

#[test]
fn the_vendored_auxiliary_term_pulls_dead_latents_the_wrong_way() {
    let (d, f) = (6, 12);
    let activation = menagerie_sae::sae::Activation::topk(2);
    let device = device().autodiff();
    let sae = menagerie_sae::sae::SaeConfig::new(d, f, activation)
        .init(&device)
        .unwrap();
    // Dead latents barely answer, so that the living ones are selected.
    let mut sae = sae;
    let strengths: Vec<f32> = (0..f)
        .map(|latent| if latent < f / 2 { 1.0 } else { 0.01 })
        .collect();
    sae.encoder = sae
        .encoder
        .map(|encoder| encoder * Tensor::from_inner(tensor(&strengths, [f, 1])));
    let x = Tensor::from_inner(normal(64, d, 42));
    let dead: Vec<bool> = (0..f).map(|latent| latent >= f / 2).collect();
    let situation = Situation {
        dead: Some(&dead),
        sparsity_scale: None,
        ..Situation::default()
    };
    let gradient = |objective| {
        let (loss, _) = sae.loss(x.clone(), None, &objective, situation).unwrap();
        let auxiliary = loss.auxiliary.unwrap();
        values(
            sae.decoder
                .val()
                .grad(&auxiliary.backward())
                .unwrap()
                .narrow(0, f / 2, f / 2),
        )
    };
    let (right, wrong) = (
        gradient(error_objective(Some(1.0))),
        gradient(vendored_objective(Some(1.0))),
    );
    let dot: f32 = right.iter().zip(&wrong).map(|(a, b)| a * b).sum();
    assert!(dot < 0.0, "the two forms agree on the direction: {dot}");
}

#[test]
fn a_site_that_holds_a_part_predicts_it() {
    let x = normal(4_000, 5, 50);
    let hidden = normal(4_000, 5, 51);
    let reconstruction = x.clone() * 0.8 - hidden.clone() * 0.3;
    let (split, config) = (halves(4_000), LeastSquaresConfig::new());
    let parts = decompose(x, reconstruction, &split, &config).unwrap();
    let found = cross_component(hidden, &parts, &split, &config).unwrap();
    assert!(found.nonlinear > 0.99, "{found:?}");
    assert!(found.linear < 0.1 && found.error > found.linear && found.error < found.nonlinear);
}

#[test]
fn a_norm_that_active_latents_add_up_points_along_them() {
    // Norm = Σ mean activation of each direction, read off the direction itself.
    let dictionary = Tensor::<2>::eye(4, &device());
    let means = [3.0, 1.0, 2.0, 5.0];
    let predictor = LinearFit::from_weight(tensor(&means, [4, 1])).unwrap();
    let means = tensor(&means, [1, 4]).squeeze_dim::<1>(0);
    let found = alignment(&predictor, dictionary.clone(), means.clone()).unwrap();
    assert!((found.correlation - 1.0).abs() < 1e-12);
    assert!((found.cosines[3] - 5.0 / 39.0_f64.sqrt()).abs() < 1e-6);
    assert_eq!(correlation(&[1.0, 2.0], &[4.0, 4.0]), None);
    assert_eq!(
        text(alignment(&predictor, normal(3, 5, 0), means.clone())),
        "the number of coefficients of the norm predictor is 4: must be 5, the width of the dictionary, for one norm"
    );
    assert_eq!(
        text(alignment(&predictor, normal(3, 4, 0), means)),
        "the number of mean activations is 4: must be 3, one per dictionary vector"
    );
}

#[test]
fn the_published_analysis_has_its_sizes() {
    let config = AnalysisConfig::published();
    assert_eq!(config.rows(), 246_900);
    let split = config.split(Seed(0)).unwrap();
    assert_eq!(
        (split.training().len(), split.held_out().len()),
        (150_000, 96_900)
    );
    assert_eq!(AnalysisConfig::published_power_law().rows(), 306_600);
    assert_eq!(
        text(AnalysisConfig::new(2, 10, 9, 1, 1, 1).validate()),
        "AnalysisConfig.skip_first = 9: leaves no position of a context of 10 tokens"
    );
    assert_eq!(
        text(AnalysisConfig::new(2, 10, 4, 1, 10, 1).validate()),
        "AnalysisConfig.training_rows = 10: must leave rows to score on: there are 10 rows"
    );
}

#[test]
fn nonsense_is_refused() {
    let x = normal(10, 4, 0);
    let y = normal(10, 2, 1);
    let config = LeastSquaresConfig::new();
    let split = |training, held_out| Split::new((0..10).collect(), training, held_out);
    assert_eq!(
        text(split(8, 3)),
        "the number of training and held-out rows is \"8 + 3\": there are 10 rows"
    );
    assert_eq!(
        text(split(0, 3)),
        "the number of training rows is 0: must be at least 1"
    );
    assert_eq!(
        text(Split::new(vec![0, 1, 1], 1, 1)),
        "entry 2 of the order is 1: an order of 3 rows names each of them once"
    );
    assert_eq!(
        text(least_squares(
            x.clone(),
            y.clone(),
            &split(3, 3).unwrap(),
            &config
        )),
        "the number of training rows is 3: a linear map of 4 inputs needs at least 4"
    );
    assert_eq!(
        text(least_squares(
            x.clone(),
            normal(9, 2, 1),
            &split(5, 5).unwrap(),
            &config
        )),
        "the targets is \"9 rows\": the activations have 10 rows"
    );
    let nan = tensor(&[1.0, f32::NAN, 0.0, 1.0], [2, 2]);
    assert_eq!(
        text(Score::of(&nan, &nan)),
        "a value of row 0 is NaN: activations and targets must be finite"
    );
    let constant = Tensor::<2>::ones([10, 2], &device());
    assert_eq!(
        text(Score::of(&constant, &y).unwrap().r2()),
        "the variance of target dimension 0 is 0: R² is defined for targets that vary over the scored rows"
    );
    let exact = decompose(x.clone(), x.clone(), &split(5, 5).unwrap(), &config);
    assert!(text(exact).starts_with("the variance of target dimension 0 is 0"));
    assert_eq!(
        text(decompose(x.clone(), y, &split(5, 5).unwrap(), &config)),
        "the reconstruction is \"of shape [10, 2]\": the activations have shape [10, 4]"
    );
    assert_eq!(
        text(LeastSquaresConfig::new().with_rcond(1.0).validate()),
        "LeastSquaresConfig.rcond = 1.0: must be at least 0 and below 1"
    );
    let pursue = |targets: &[usize]| {
        gradient_pursuit(normal(5, 4, 2), x.clone(), targets, &PursuitConfig::new())
    };
    assert_eq!(
        text(pursue(&[0, 6, 0, 0, 0, 0, 0, 0, 0, 0])),
        "the target L0 of row 1 is 6: there are 5 dictionary vectors"
    );
    assert_eq!(
        text(pursue(&[1])),
        "the number of target L0s is 1: there are 10 rows"
    );
    let share = Disturbance {
        activation: 0.0,
        reconstruction: 0.0,
        ablated: 1.5,
    };
    assert_eq!(
        text(share.validate()),
        "Disturbance.ablated = 1.5: must be a share between 0 and 1"
    );
    assert_eq!(
        text(PowerLaw::fit(&[(1.0, 0.5), (2.0, 0.4), (2.0, 0.3)])),
        "the number of different widths is 2: a power law with a floor needs at least 3"
    );
    let zero = Tensor::cat(vec![normal(1, 2, 0), Tensor::zeros([1, 2], &device())], 0);
    assert_eq!(
        text(normalized_error(&zero, &zero)),
        "the norm of row 1 is 0: the normalised error divides by it"
    );
}
