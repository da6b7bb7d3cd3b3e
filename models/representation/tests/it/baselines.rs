//! The models that QLAE is compared with.

use super::{device, floats, images, integers, text};
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Distribution, Tensor},
    train::{InferenceStep, TrainStep},
};
use menagerie_core::{Result, Seed};
use menagerie_representation::qlae::{
    BackboneConfig, ConvStackConfig, DecoderConfig, EncoderConfig, LatentModel, QlaeConfig,
    StyleDecoderConfig, TrainingConfig,
    baselines::{
        AutoencoderConfig, GanDraws, GanTraining, InfoGanConfig, VaeBatch, VaeConfig, VqVaeConfig,
    },
};
use menagerie_train::{Procedure, Scalars};

fn tiny(layer_norm: bool) -> QlaeConfig {
    let backbone = BackboneConfig::new(
        [2, 8, 8],
        EncoderConfig::new(vec![8, 7])
            .with_conv(Some(ConvStackConfig::halving(&[3, 4])))
            .with_layer_norm(layer_norm),
        DecoderConfig::Style(StyleDecoderConfig::new(
            vec![6],
            5,
            ConvStackConfig::halving(&[4, 3]),
        )),
    );
    QlaeConfig::uniform(backbone, 3, 4)
}

/// Trains for a few steps and looks at the reconstruction; the other terms start near zero.
fn learns<M>(mut model: M, batch: impl Fn(usize) -> <M as TrainStep>::Input, name: &str)
where
    M: TrainStep<Output = Scalars> + Module,
    M: InferenceStep<Input = <M as TrainStep>::Input, Output = Scalars>,
{
    let training = TrainingConfig::new();
    let mut optimizer = training.optimizer().unwrap();
    let loss = |model: &M| {
        InferenceStep::step(model, batch(0))
            .read()
            .unwrap()
            .get("bce")
    };
    let before = loss(&model);
    for step in 0..25 {
        let output = TrainStep::step(&model, batch(step));
        model = optimizer.step(training.learning_rate, model, output.grads);
    }
    assert!(
        loss(&model) < before,
        "{name}: {before:?} to {:?}",
        loss(&model)
    );
}

#[test]
fn every_baseline_learns() {
    let device = device().autodiff();
    let config = QlaeConfig::small_mlp();
    let batch = images([6, 1, 16, 16], 1, &device).greater_elem(0.7).float();
    let plain = |_| batch.clone();
    let noisy = |step| VaeBatch::draw(batch.clone(), 10, Seed(3), step);
    learns(
        AutoencoderConfig::matching(&config).init(&device).unwrap(),
        plain,
        "AE",
    );
    learns(
        AutoencoderConfig::bio(&config).init(&device).unwrap(),
        plain,
        "BioAE",
    );
    learns(
        VqVaeConfig::matching(&config).init(&device).unwrap(),
        plain,
        "VQ-VAE",
    );
    learns(
        config.clone().into_global().init(&device).unwrap(),
        plain,
        "global",
    );
    learns(
        VaeConfig::beta(&config, 1.0).init(&device).unwrap(),
        noisy,
        "β-VAE",
    );
    let tcvae = VaeConfig::total_correlation(&config, 3.0, 900);
    learns(tcvae.init(&device).unwrap(), noisy, "β-TCVAE");
}

#[test]
fn codes_have_one_column_per_latent() {
    let device = device();
    let config = QlaeConfig::small_mlp();
    let batch = images([3, 1, 16, 16], 1, &device);
    fn check(model: impl LatentModel, batch: &Tensor<4>, discrete: bool) {
        assert_eq!(model.codes(batch.clone()).dims(), [3, 10]);
        assert_eq!(model.reconstruction(batch.clone()).dims(), [3, 1, 16, 16]);
        assert_eq!(model.is_discrete(), discrete);
    }
    check(
        AutoencoderConfig::matching(&config).init(&device).unwrap(),
        &batch,
        false,
    );
    check(
        VqVaeConfig::matching(&config).init(&device).unwrap(),
        &batch,
        true,
    );
    check(
        VaeConfig::beta(&config, 1.0).init(&device).unwrap(),
        &batch,
        false,
    );
    check(
        InfoGanConfig::matching(&config).init(&device).unwrap(),
        &batch,
        false,
    );
    check(
        InfoGanConfig::quantized(&config).init(&device).unwrap(),
        &batch,
        true,
    );

    let error = text(
        VqVaeConfig::matching(&config)
            .init(&device)
            .unwrap()
            .encode(images([3, 1, 8, 8], 1, &device)),
    );
    assert_eq!(
        error,
        "images is [3, 1, 8, 8]: the model takes [batch > 0, 1, 16, 16]"
    );
}

#[test]
fn a_vector_is_quantised_to_the_nearest_of_the_shared_table() {
    let device = device();
    let config = VqVaeConfig::matching(&tiny(false))
        .with_embeddings(9)
        .with_embedding(2);
    let model = config.init(&device).unwrap();
    let z = Tensor::<2>::random([4, 6], Distribution::Normal(0.0, 1.0), &device);
    let result = model.latent.forward(z.clone());
    assert_eq!(result.indices.dims(), [4, 3]);
    let (z, table) = (floats(z), floats(model.latent.embeddings.val()));
    let values = floats(result.values);
    for (position, index) in integers(result.indices).into_iter().enumerate() {
        let distance = |row: usize| {
            (0..2)
                .map(|k| (z[2 * position + k] - table[2 * row + k]).powi(2))
                .sum::<f32>()
        };
        let best = (0..9).map(distance).fold(f32::INFINITY, f32::min);
        assert!(distance(index as usize) <= best + 1e-5);
        assert_eq!(values[2 * position], table[2 * index as usize]);
    }
}

#[test]
fn the_weight_of_an_annealed_objective_grows() {
    let device = device();
    let config = VaeConfig::beta(&tiny(false), 4.0).with_anneal(10);
    let model = config.init(&device).unwrap();
    let batch = images([3, 2, 8, 8], 1, &device);
    let regulariser = |step| {
        let batch = VaeBatch {
            step,
            ..VaeBatch::draw(batch.clone(), 3, Seed(0), 7)
        };
        floats(model.loss(batch).0.regulariser)[0]
    };
    assert_eq!(regulariser(0), 0.0);
    assert!((regulariser(5) - 0.5 * regulariser(10)).abs() < 1e-5);
    assert_eq!(regulariser(10), regulariser(99));
}

/// Moves every parameter by `step` along a direction that `seed` fixes, and adds up the product of
/// the direction with the gradients.
struct Nudge<'a> {
    rng: rand_direction::Direction,
    step: f32,
    gradients: Option<&'a burn::tensor::Gradients>,
    slope: f64,
}

mod rand_direction {
    use menagerie_core::Seed;
    use rand::RngExt;

    /// A stream of numbers in ±1.
    pub struct Direction(pub Vec<f32>, pub usize);

    impl Direction {
        pub fn new(seed: u64) -> Self {
            let mut rng = Seed(seed).rng();
            Self(
                (0..65_536)
                    .map(|_| 2.0 * rng.random::<f32>() - 1.0)
                    .collect(),
                0,
            )
        }

        pub fn take(&mut self, count: usize) -> Vec<f32> {
            self.1 += count;
            self.0[self.1 - count..self.1].to_vec()
        }
    }
}

impl ModuleMapper for Nudge<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = param.val();
        let direction = self.rng.take(value.shape().num_elements());
        if let Some(gradient) = self.gradients.and_then(|gradients| value.grad(gradients)) {
            let products = floats(gradient).into_iter().zip(&direction);
            self.slope += products
                .map(|(g, d)| f64::from(g) * f64::from(*d))
                .sum::<f64>();
        }
        let shape = value.shape();
        let device = value.device();
        let direction = Tensor::<1>::from_floats(direction.as_slice(), &device);
        param.map(|value| {
            (value.detach() + direction.reshape(shape) * self.step)
                .detach()
                .require_grad()
        })
    }
}

/// How far the analytic gradient of the penalty is from a central difference along a random
/// direction, relative to the latter.
fn penalty_gradient_error(layer_norm: bool, seed: u64) -> f64 {
    let device = device().autodiff();
    let model = menagerie_train::initialise(&device, Seed(seed), || {
        InfoGanConfig::matching(&tiny(layer_norm)).init(&device)
    })
    .unwrap();
    let batch = images([1, 2, 8, 8], seed, &device);
    let gradients = model.gradient_penalty(batch.clone()).sum().backward();
    let nudged = |step: f32| {
        let mut nudge = Nudge {
            rng: rand_direction::Direction::new(seed + 100),
            step,
            gradients: Some(&gradients),
            slope: 0.0,
        };
        let mut other = model.clone();
        other.encoder = model.encoder.clone().map(&mut nudge);
        let value: f32 = floats(other.gradient_penalty(batch.clone())).iter().sum();
        (f64::from(value), nudge.slope)
    };
    let step = 2e-4;
    let ((above, slope), (below, _)) = (nudged(step), nudged(-step));
    let difference = (above - below) / (2.0 * f64::from(step));
    (difference - slope).abs() / difference.abs()
}

#[test]
fn the_gradient_penalty_has_its_exact_parameter_gradient() {
    for layer_norm in [false, true] {
        // Where a difference straddles the kink of a ReLU, the slope of the critic jumps and the
        // difference says nothing of the derivative: that may spoil a few, never most.
        let errors: Vec<f64> = (0..8)
            .map(|seed| penalty_gradient_error(layer_norm, seed))
            .collect();
        let exact = errors.iter().filter(|&&error| error < 0.01).count();
        assert!(exact >= 6, "{errors:?}");
    }
}

#[test]
fn the_gradient_penalty_is_the_distance_of_the_slope_from_one() {
    let device = device().autodiff();
    let model = InfoGanConfig::matching(&tiny(false)).init(&device).unwrap();
    let batch = images([3, 2, 8, 8], 9, &device);
    let point = batch.clone().require_grad();
    let features = model.encoder.base.features(point.clone());
    let gradients = model.encoder.critic.forward(features).sum().backward();
    let gradient = floats(point.grad(&gradients).unwrap());
    for (row, penalty) in floats(model.gradient_penalty(batch))
        .into_iter()
        .enumerate()
    {
        let row = &gradient[128 * row..128 * (row + 1)];
        let norm = row.iter().map(|g| g * g).sum::<f32>().sqrt();
        assert!((penalty - (norm - 1.0).powi(2)).abs() < 1e-5);
    }
}

#[test]
fn generated_latents_come_from_the_codebooks() {
    let device = device();
    let mut config = tiny(false);
    config.values = vec![4, 2, 3];
    let model = InfoGanConfig::quantized(&config).init(&device).unwrap();
    let uniform = Tensor::<2>::from_floats([[0.0, 0.49, 0.99], [0.26, 0.5, 0.34]], &device);
    let latents = floats(model.latents(uniform.clone()));
    let expected = [-0.5, -0.5, 0.5, -0.5 + 1.0 / 3.0, 0.5, 0.0];
    for (a, b) in latents.iter().zip(expected) {
        assert!((a - b).abs() < 1e-6, "{latents:?}");
    }
    let continuous = InfoGanConfig::matching(&config).init(&device).unwrap();
    assert_eq!(floats(continuous.latents(uniform.clone())), floats(uniform));
}

fn training<'a>(device: &Device, config: &InfoGanConfig) -> Result<GanTraining<'a>> {
    let settings = TrainingConfig::published_gan().with_batch(4);
    GanTraining::new(
        config,
        &settings,
        Seed(1),
        device,
        |step, device: &Device| Ok(images([4, 2, 8, 8], step as u64, device)),
    )
}

#[test]
fn adversarial_training_alternates_and_resumes_exactly() {
    let device = device();
    let config = InfoGanConfig::quantized(&tiny(false)).with_generator_every(2);
    let dir = tempfile::tempdir().unwrap();
    let mut whole = training(&device, &config).unwrap();
    let start = whole.trained().unwrap();
    let values = |training: &GanTraining| {
        let model = training.trained().unwrap();
        let weight = model.encoder.base.head.weight.val();
        let generator = model
            .generator
            .forward(Tensor::ones([1, 3], &device.clone()));
        let book = model
            .latent
            .as_ref()
            .map(|latent| floats(latent.values.val()));
        (floats(weight), floats(generator), book.unwrap())
    };
    whole.step(0).unwrap();
    let after = whole.trained().unwrap();
    let critic = |model: &menagerie_representation::qlae::baselines::InfoGan| {
        floats(model.encoder.critic.weight.val())
    };
    assert_ne!(critic(&after), critic(&start));
    let book = |model: &menagerie_representation::qlae::baselines::InfoGan| {
        model
            .latent
            .as_ref()
            .map(|latent| floats(latent.values.val()))
    };
    assert_eq!(book(&after), book(&start));
    let scalars = whole.step(1).unwrap().read().unwrap();
    assert!(scalars.get("generator").is_some());
    assert_ne!(book(&whole.trained().unwrap()), book(&start));

    whole.save(dir.path()).unwrap();
    let mut resumed = training(&device, &config).unwrap();
    resumed.load(dir.path()).unwrap();
    for step in 2..5 {
        let (a, b) = (whole.step(step).unwrap(), resumed.step(step).unwrap());
        assert_eq!(a.read().unwrap(), b.read().unwrap());
    }
    assert_eq!(values(&whole), values(&resumed));
}

#[test]
fn draws_are_functions_of_seed_and_step() {
    let device = device();
    let draw = |seed, step| floats(GanDraws::draw(4, 3, &device, Seed(seed), step).latents);
    assert_eq!(draw(1, 2), draw(1, 2));
    assert_ne!(draw(1, 2), draw(1, 3));
    assert_ne!(draw(1, 2), draw(2, 2));
    let noise = VaeBatch::draw(images([200, 1, 1, 1], 0, &device), 50, Seed(0), 0).noise;
    let noise = floats(noise);
    let mean = noise.iter().sum::<f32>() / noise.len() as f32;
    let variance = noise.iter().map(|x| x * x).sum::<f32>() / noise.len() as f32;
    assert!(
        mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
        "{mean} {variance}"
    );
}
