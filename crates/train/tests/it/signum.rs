use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use menagerie_train::{Signum, SignumConfig};

fn values(model: &Linear) -> Vec<f32> {
    let data = model.weight.val().without_autodiff().into_data();
    data.try_to_vec().unwrap()
}

fn model() -> Linear {
    LinearConfig::new(3, 2)
        .with_bias(false)
        .init(&Device::flex().autodiff())
}

/// One update towards smaller weights; the gradient's sign is the weight's.
fn update(signum: &mut Signum, rate: f64, model: Linear) -> Linear {
    let gradients = model.weight.val().square().sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    signum.step(rate, model, gradients)
}

/// The three sequences of one weight, in `f64` and in the order of the paper's equations.
struct Scalar {
    z: f64,
    x: f64,
    weights: f64,
    largest: f64,
}

impl Scalar {
    const MOMENTUM: f64 = 0.9;

    fn y(&self) -> f64 {
        (1.0 - Self::MOMENTUM) * self.z + Self::MOMENTUM * self.x
    }

    fn step(&mut self, rate: f64) {
        self.z -= rate * self.y().signum();
        self.largest = self.largest.max(rate);
        let weight = self.largest * self.largest;
        self.weights += weight;
        let share = weight / self.weights;
        self.x = (1.0 - share) * self.x + share * self.z;
    }
}

#[test]
fn base_average_and_gradient_point_follow_their_equations() {
    let config = SignumConfig { momentum: 0.9 };
    let mut signum = Signum::new(config).unwrap();
    let mut model = model();
    let mut scalars: Vec<Scalar> = values(&model)
        .into_iter()
        .map(|value| Scalar {
            z: value.into(),
            x: value.into(),
            weights: 0.0,
            largest: 0.0,
        })
        .collect();
    // Warm-up, then a constant rate, which passes through zero and turns.
    for rate in [0.02, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] {
        model = update(&mut signum, rate, model);
        scalars.iter_mut().for_each(|scalar| scalar.step(rate));
        let averaged = values(&signum.averaged(model.clone()));
        for ((y, x), scalar) in values(&model).iter().zip(averaged).zip(&scalars) {
            assert!((f64::from(*y) - scalar.y()).abs() < 1e-5);
            assert!((f64::from(x) - scalar.x).abs() < 1e-5);
        }
    }
}

#[test]
fn it_goes_on_where_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signum.safetensors");
    let mut signum = Signum::new(SignumConfig::default()).unwrap();
    let mut model = model();
    for rate in [0.05, 0.1, 0.1] {
        model = update(&mut signum, rate, model);
    }
    signum.save(&path).unwrap();
    let mut again = Signum::new(SignumConfig::default()).unwrap();
    again.load(&path, &Device::flex()).unwrap();
    let (mut a, mut b) = (model.clone(), model);
    for _ in 0..3 {
        a = update(&mut signum, 0.1, a);
        b = update(&mut again, 0.1, b);
    }
    assert_eq!(values(&a), values(&b));
    assert_eq!(values(&signum.averaged(a)), values(&again.averaged(b)));
}

#[test]
fn a_momentum_that_extrapolates_nothing_is_refused() {
    let error = Signum::new(SignumConfig { momentum: 1.0 }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "SignumConfig.momentum = 1.0: must be above 0 and below 1"
    );
    // Without an update there is nothing to average.
    let model = model();
    let signum = Signum::new(SignumConfig::default()).unwrap();
    let x: Tensor<2> = signum.averaged(model.clone()).weight.val();
    assert_eq!(x.dims(), [3, 2]);
    assert_eq!(values(&signum.averaged(model.clone())), values(&model));
}
