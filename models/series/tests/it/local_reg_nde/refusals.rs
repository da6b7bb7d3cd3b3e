use super::{batch, init, learning, tiny};
use crate::{device, text};
use burn::tensor::{Device, Tensor};
use menagerie_core::Seed;
use menagerie_series::local_reg_nde::{
    Adjoint, ConvNodeConfig, Fit, Kind, LabelledRows, LatentOdeConfig, NodeConfig, NsdeConfig,
    RegularizerConfig, SignalsConfig, SolverConfig, Trainable, TrainingConfig, weights,
};

#[test]
fn impossible_configurations_are_refused() {
    let device = device();
    let solver = SolverConfig::new(1e-4);
    let node = |solver| NodeConfig::new(4, 3, solver).init(&device);
    assert_eq!(
        text(node(SolverConfig::new(-1e-6))),
        "SolverConfig.tolerance = -1e-6: must be finite and above 0"
    );
    assert_eq!(
        text(node(solver.with_max_steps(0))),
        "SolverConfig.max_steps = 0: must be at least 1"
    );
    assert_eq!(
        text(NodeConfig::new(4, 0, solver).init(&device)),
        "NodeConfig.hidden = 0: must be at least 1"
    );
    assert_eq!(
        text(NsdeConfig::new(4, 0, 3, solver).init(&device)),
        "NsdeConfig.state = 0: must be at least 1"
    );
    assert_eq!(
        text(ConvNodeConfig::new(8, solver).with_state(3).init(&device)),
        "ConvNodeConfig.state = 3: must be above the image's 3 channels"
    );
    let latent = LatentOdeConfig::new(2, 3, 4, 2, solver);
    assert_eq!(
        text(latent.clone().with_layers(3).init(&device)),
        "LatentOdeConfig.layers = 3: must be even: the dynamics end at the size of the state"
    );
    assert_eq!(
        text(latent.with_sigma(0.0).init(&device)),
        "LatentOdeConfig.sigma = 0.0: must be finite and above 0"
    );
    let training = |regularizer| TrainingConfig::new(10, 4, 1e-3, regularizer);
    assert_eq!(
        text(training(RegularizerConfig::new().with_weight([1.0, 0.0])).validate()),
        "RegularizerConfig.weight = [1.0, 0.0]: must be finite and above 0: for no regulariser, \
         choose `Scope::Vanilla`"
    );
    let global = training(RegularizerConfig::global_error()).with_adjoint(Adjoint::Continuous);
    assert_eq!(
        text(global.validate()),
        "TrainingConfig.adjoint = Continuous: must be `Discrete` for a global regulariser: it needs \
         gradients of all steps"
    );
    assert_eq!(
        text(TrainingConfig::new(10, 4, f64::NAN, RegularizerConfig::new()).validate()),
        "TrainingConfig.rate = NaN: must be finite and above 0"
    );
    assert_eq!(
        text(SignalsConfig::new().with_observed(0.0).draw(Seed(0))),
        "SignalsConfig.observed = 0.0: must be above 0 and at most 1"
    );
    assert_eq!(
        text(SignalsConfig::new().with_times(1).draw(Seed(0))),
        "SignalsConfig.times = 1: must be at least 2"
    );
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let device = device();
    let model = init(&tiny(1), &device);
    assert_eq!(
        text(model.forward(Tensor::zeros([2, 6], &device))),
        "x is [2, 6]: must be [batch, 7] with at least one row"
    );
    assert_eq!(
        text(model.forward(Tensor::zeros([0, 7], &device))),
        "x is [0, 7]: must be [batch, 7] with at least one row"
    );
    let error = text(model.forward(Tensor::full([2, 7], f32::NAN, &device)));
    assert!(
        error.starts_with("the state, beside the tolerance at t = 0 is NaN"),
        "{error}"
    );
    assert_eq!(
        text(LabelledRows::new(vec![0.0; 5], 3, vec![0, 1])),
        "the number of values is 5: must be 3 for each of 2 labels"
    );
    let solver = SolverConfig::new(1e-4);
    let conv = ConvNodeConfig::new(6, solver).init(&device).unwrap();
    assert_eq!(
        text(conv.forward(Tensor::zeros([1, 3, 6, 5], &device))),
        "images is [1, 3, 6, 5]: must be [batch, 3, 6, 6] with at least one image"
    );
    let latent = LatentOdeConfig::new(4, 3, 4, 2, solver)
        .init(&device)
        .unwrap();
    let signals = SignalsConfig::new().with_times(5).draw(Seed(0)).unwrap();
    let series = || signals.series(&[0, 1], Seed(1), &device);
    let mut wrong = series();
    wrong.mask = Tensor::zeros([2, 5, 3], &device);
    assert_eq!(
        text(latent.impute(&wrong)),
        "mask is [2, 5, 3]: must be [2, 5, 4]"
    );
    let mut wrong = series();
    wrong.times.pop();
    assert_eq!(
        text(latent.impute(&wrong)),
        "the number of times is 4: must be one for each of 5 columns"
    );
    let mut wrong = series();
    wrong.times.swap(1, 2);
    let error = text(latent.impute(&wrong));
    assert!(error.starts_with("the times to save at is "), "{error}");
    let mut wrong = series();
    wrong.times = vec![0.5; 5];
    let error = text(latent.impute(&wrong));
    assert!(
        error.starts_with("the time span is [0.5, 0.5]: "),
        "{error}"
    );
    let sde = NsdeConfig::new(7, 3, 4, solver)
        .with_classes(3)
        .init(&device.clone().autodiff())
        .unwrap();
    let stiff = learning(RegularizerConfig::new().with_kind(Kind::Stiffness));
    let error = text(sde.learn(&batch(&device), &stiff));
    assert!(
        error.starts_with("RegularizerConfig.scope = Local: must be "),
        "{error}"
    );
}

#[test]
fn a_solve_of_too_many_steps_ends_the_training() {
    let device = device();
    let tracked = device.clone().autodiff();
    let solver = SolverConfig::new(1e-6).with_max_steps(2);
    let config = NodeConfig { solver, ..tiny(1) };
    let training = TrainingConfig::new(5, 6, 1e-2, RegularizerConfig::new());
    let batches = |_: usize, to: &Device| Ok(batch(to));
    let mut fit = Fit::new(init(&config, &tracked), &training, batches).unwrap();
    let error = menagerie_train::Procedure::step(&mut fit, 0).err().unwrap();
    let error = error.to_string();
    assert!(
        error.starts_with("the number of steps up to t = "),
        "{error}"
    );
    assert!(
        error.ends_with("is 2: is not enough to get from 0 to 1"),
        "{error}"
    );
}

#[test]
fn files_round_trip_and_wrong_ones_are_refused() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.safetensors");
    let config = tiny(2);
    let model = init(&config, &device);
    weights::save(&config, &model, &path).unwrap();
    let back = weights::load(&config, &path, &device).unwrap();
    // In double precision, to the last bit.
    assert_eq!(menagerie_hub::values(&back), menagerie_hub::values(&model));
    let file = menagerie_hub::StateDict::open(&path).unwrap();
    let first = file.get("neural_ode.model.layers.0.weight").unwrap();
    assert_eq!(first.shape().to_vec(), [5, 8]);
    let error = text(weights::load(&tiny(3), &path, &device));
    assert!(
        error.contains("neural_ode.model.layers.3.weight"),
        "{error}"
    );
    let wide = NodeConfig {
        hidden: 6,
        ..config.clone()
    };
    let error = text(weights::load(&wide, &path, &device));
    assert!(
        error.contains("[5, 8]") || error.contains("[8, 5]"),
        "{error}"
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = text(weights::load(&config, &path, &device));
    assert!(error.contains("node.safetensors"), "{error}");

    let solver = SolverConfig::new(1e-3);
    let config = ConvNodeConfig::new(6, solver).with_hidden(4);
    let path = dir.path().join("conv.safetensors");
    let model = config.init(&device).unwrap();
    weights::save(&config, &model, &path).unwrap();
    let back = weights::load(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&back), menagerie_hub::values(&model));
    let config = NsdeConfig::new(4, 3, 5, solver);
    let path = dir.path().join("sde.safetensors");
    weights::save(&config, &config.init(&device).unwrap(), &path).unwrap();
    weights::load(&config, &path, &device).unwrap();
    let config = LatentOdeConfig::new(2, 3, 4, 2, solver);
    let path = dir.path().join("latent.safetensors");
    weights::save(&config, &config.init(&device).unwrap(), &path).unwrap();
    weights::load(&config, &path, &device).unwrap();
}
