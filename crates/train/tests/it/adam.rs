use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use menagerie_train::{Adam, AdamConfig};

fn values(model: &Linear) -> Vec<f32> {
    let data = model.weight.val().without_autodiff().into_data();
    data.try_to_vec().unwrap()
}

/// One update towards smaller outputs.
fn update(adam: &mut Adam, model: Linear) -> Linear {
    let device = model.weight.val().device();
    let x = Tensor::<2>::ones([2, 3], &device);
    let gradients = model.forward(x).square().sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    adam.step(0.1, model, gradients)
}

fn model() -> Linear {
    LinearConfig::new(3, 2).init(&Device::flex().autodiff())
}

#[test]
fn it_goes_on_where_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adam.safetensors");
    let mut adam = Adam::new(AdamConfig::default()).unwrap();
    let mut model = model();
    for _ in 0..3 {
        model = update(&mut adam, model);
    }
    adam.save(&path).unwrap();
    let mut again = Adam::new(AdamConfig::default()).unwrap();
    again.load(&path, &Device::flex()).unwrap();
    assert_eq!(again.time(), 3);
    let (mut a, mut b) = (model.clone(), model);
    for _ in 0..3 {
        a = update(&mut adam, a);
        b = update(&mut again, b);
    }
    assert_eq!(values(&a), values(&b));
    assert_eq!(a.devices(), b.devices());
}

#[test]
fn moments_can_be_reset() {
    let mut adam = Adam::new(AdamConfig::default()).unwrap();
    let model = update(&mut adam, model());
    let id = model.weight.id;
    adam.edit(id, [3, 2], |moment: Tensor<2>| moment.slice_fill(0..1, 0.0));
    let [first, second] = adam.moments(id).unwrap();
    for moment in [first, second] {
        let moment: Vec<f32> = moment.clone().into_data().try_to_vec().unwrap();
        assert_eq!(moment[..2], [0.0, 0.0]);
        assert!(moment[2..].iter().all(|&value| value != 0.0));
    }
}

#[test]
fn impossible_settings_and_damaged_files_are_refused() {
    let config = AdamConfig {
        beta_1: 1.0,
        ..AdamConfig::default()
    };
    assert_eq!(
        Adam::new(config).unwrap_err().to_string(),
        "AdamConfig.beta_1 = 1.0: must be at least 0 and below 1"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adam.safetensors");
    let mut adam = Adam::new(AdamConfig::default()).unwrap();
    let load = |adam: &mut Adam| adam.load(&path, &Device::flex()).unwrap_err().to_string();
    assert!(load(&mut adam).contains("cannot read"));
    update(&mut adam, model());
    adam.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    assert!(load(&mut adam).contains("adam.safetensors: "));
    std::fs::write(&path, b"not a file of tensors").unwrap();
    assert!(load(&mut adam).contains("adam.safetensors: "));
}
