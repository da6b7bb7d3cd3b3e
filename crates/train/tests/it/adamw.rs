use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use menagerie_train::{AdamW, parameters};

fn values(model: &Linear) -> [Vec<f32>; 2] {
    let weight = model.weight.val().without_autodiff().into_data();
    let bias = model.bias.as_ref().unwrap().val().without_autodiff();
    [
        weight.try_to_vec().unwrap(),
        bias.into_data().try_to_vec().unwrap(),
    ]
}

fn model() -> Linear {
    LinearConfig::new(3, 2).init(&Device::flex().autodiff())
}

/// Some updates towards smaller outputs.
fn train(optimiser: &mut ModuleOptimizer, mut model: Linear, steps: usize) -> Linear {
    for _ in 0..steps {
        let x = Tensor::<2>::ones([2, 3], &model.weight.val().device());
        let gradients = model.forward(x).square().sum().backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimiser.step(0.1, model, gradients);
    }
    model
}

#[test]
fn it_is_burns_adamw() {
    let adamw = AdamW::new().with_beta_2(0.95).with_weight_decay(0.3);
    let start = model();
    let ours = train(&mut adamw.into(), start.clone(), 5);
    let config = AdamWConfig::new()
        .with_beta_2(0.95)
        .with_epsilon(1e-8)
        .with_weight_decay(0.3);
    let burns = train(&mut config.init(), start, 5);
    for (ours, burns) in values(&ours).iter().zip(values(&burns)) {
        for (a, b) in ours.iter().zip(burns) {
            assert!((a - b).abs() < 1e-5, "{a} against {b}");
        }
    }
}

#[test]
fn exempt_parameters_do_not_decay() {
    assert_eq!(
        parameters(&model()),
        [("weight".to_owned(), 2), ("bias".to_owned(), 1)]
    );
    let start = model();
    let decaying = AdamW::new().with_weight_decay(0.5);
    let mut grouped = decaying.grouped(&start, |_, rank| rank > 1).unwrap();
    let mut all = ModuleOptimizer::from(decaying);
    let mut none = ModuleOptimizer::from(decaying.with_weight_decay(0.0));
    let [weight, bias] = values(&train(&mut grouped, start.clone(), 1));
    assert_eq!(weight, values(&train(&mut all, start.clone(), 1))[0]);
    assert_eq!(bias, values(&train(&mut none, start.clone(), 1))[1]);
    assert_ne!(weight, values(&train(&mut none, start, 1))[0]);
}

#[test]
fn it_goes_on_where_it_was_saved() {
    let adamw = AdamW::new();
    let start = model();
    let mut optimiser = adamw.grouped(&start, |_, rank| rank > 1).unwrap();
    let half = train(&mut optimiser, start, 3);
    let stored = optimiser.into_bytes().unwrap();
    let fresh = adamw.grouped(&half, |_, rank| rank > 1).unwrap();
    let mut again = fresh.from_bytes(stored).unwrap();
    let full = train(&mut optimiser, half.clone(), 3);
    assert_eq!(values(&full), values(&train(&mut again, half, 3)));
    assert_eq!(full.devices(), model().devices());
}

#[test]
fn impossible_settings_are_refused() {
    let refusal = |adamw: AdamW| adamw.grouped(&model(), |_, _| true).err().unwrap();
    assert_eq!(
        refusal(AdamW::new().with_weight_decay(-1.0)).to_string(),
        "AdamW.weight_decay = -1.0: must be finite and at least 0"
    );
    assert_eq!(
        refusal(AdamW::new().with_beta_1(1.0)).to_string(),
        "AdamConfig.beta_1 = 1.0: must be at least 0 and below 1"
    );
}
