//! shallow: the three forms, losses, gradients, and every order of the linear expansion.

use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Error, Result};
use menagerie_parity::{Case, Check, Fixture};
use menagerie_theory::shallow::{Activation, Form, ShallowConfig, objective, weights};
use serde::Deserialize;

pub(crate) const CASES: &[Case] = &[Case {
    slug: "shallow",
    case: "stack",
    run: stack,
}];

#[derive(Deserialize)]
struct Sizes {
    layers: usize,
    in_channels: usize,
    filters: usize,
    kernel: usize,
    image: usize,
    activation: String,
    params: Option<usize>,
}

impl Sizes {
    fn config(&self) -> Result<ShallowConfig> {
        let activation = match self.activation.as_str() {
            "relu" => Activation::Relu,
            "sigmoid" => Activation::Sigmoid,
            "tanh" => Activation::Tanh,
            "identity" | "linear" => Activation::Identity,
            other => {
                let known = ["relu", "sigmoid", "tanh", "identity", "linear"];
                return Err(Error::unknown("activation", other, known));
            }
        };
        let config = ShallowConfig::new(self.in_channels, self.image, self.layers, self.filters);
        Ok(config.with_kernel(self.kernel).with_activation(activation))
    }
}

fn stack(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = &device.clone().autodiff();
    let sizes: Sizes = fixture.config()?;
    let classes = fixture.param_data("classifier.bias")?.num_elements();
    let config = sizes.config()?.with_classes(classes);
    if let Some(params) = sizes.params.filter(|params| *params != config.parameters()) {
        let rule = format!("must be {params}");
        return Err(Error::input(
            "the number of parameters",
            config.parameters(),
            rule,
        ));
    }
    let map = weights::key_map();
    let model = weights::from_state_dict(&config, &fixture.weights(), device)?;
    let x = fixture.input::<4>("x", device)?;
    let labels: Tensor<1, Int> = fixture.input_int("labels", device)?;

    check.output("stem", model.stem(x.clone())?)?;
    let plain = model.to_form(Form::Plain).features(x.clone())?;
    check.output("plain_deep_features", plain)?;
    for (form, name) in [
        (Form::Sequential, "sequential"),
        (Form::Parallel, "parallel"),
    ] {
        let model = model.to_form(form);
        check.output(&format!("{name}_features"), model.features(x.clone())?)?;
        let logits = model.forward(x.clone())?;
        check.output(&format!("{name}_logits"), logits.clone())?;
        let entropy = objective::cross_entropy(logits.clone(), labels.clone());
        check.output(&format!("{name}_ce"), entropy.clone())?;
        let squares = objective::squared_error(logits, labels.clone());
        check.output(&format!("{name}_mse"), squares)?;
        let root = format!("grad/{name}.");
        check.gradients_under(&root, &model, &entropy.backward(), &map)?;
    }
    let fused = model.fused_parallel().forward(x.clone())?;
    check.output("parallel_logits", fused)?;
    let orders = model.orders(x)?;
    for (at, order) in orders.iter().enumerate() {
        check.output(&format!("linear_order{at}"), order.clone())?;
    }
    let sum = |count: usize| {
        let terms = orders.iter().take(count).cloned();
        terms.reduce(|sum, term| sum + term)
    };
    if let (Some(all), Some(first)) = (sum(orders.len()), sum(2)) {
        check.output("linear_sequential", all)?;
        check.output("linear_parallel", first)?;
    }
    Ok(())
}
