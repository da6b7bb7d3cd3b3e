//! prototype-net.

use burn::tensor::{Device, Tensor};
use menagerie_cluster::prototype_net::{
    LabelledImages, LossWeights, PrototypeNetConfig,
    elastic::{ElasticConfig, Fields},
    weights::key_map,
};
use menagerie_core::{Error, Result};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub const CASES: &[Case] = &[
    Case {
        slug: "prototype-net",
        case: "elastic",
        run: elastic,
    },
    Case {
        slug: "prototype-net",
        case: "forward",
        run: forward,
    },
    Case {
        slug: "prototype-net",
        case: "train_loss",
        run: train_loss,
    },
];

#[derive(Deserialize)]
struct Deformation {
    sigma: f64,
    alpha: f64,
    truncate: f64,
}

#[derive(Deserialize)]
struct Network {
    c: usize,
    hw: [usize; 2],
    maps: Vec<usize>,
    m: usize,
    n_classes: usize,
    lambda_class: Option<f64>,
    lambda_ae: Option<f64>,
    lambda_1: Option<f64>,
    lambda_2: Option<f64>,
}

impl Network {
    fn config(&self) -> PrototypeNetConfig {
        let [height, width] = self.hw;
        let published = LossWeights::new();
        let weights = LossWeights {
            classification: self.lambda_class.unwrap_or(published.classification),
            reconstruction: self.lambda_ae.unwrap_or(published.reconstruction),
            r1: self.lambda_1.unwrap_or(published.r1),
            r2: self.lambda_2.unwrap_or(published.r2),
        };
        let image = [self.c, height, width];
        PrototypeNetConfig::new(image, self.maps.clone(), self.m, self.n_classes)
            .with_weights(weights)
            .with_single_position(true)
    }
}

fn elastic(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let Deformation {
        sigma,
        alpha,
        truncate,
    } = fixture.config()?;
    let config = ElasticConfig {
        sigma,
        alpha,
        truncate,
    };
    let images = fixture.input::<3>("image", device)?;
    let dims @ [_, height, width] = images.dims();
    let values = |tensor: Tensor<3>| {
        tensor
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::other("reading an input", error))
    };
    let noise = Fields {
        rows: values(fixture.input("noise_x", device)?)?,
        columns: values(fixture.input("noise_y", device)?)?,
    };
    let elastic = config.init()?;
    let fields = elastic.displacements(&noise, [height, width])?;
    let deformed = elastic.deform(&values(images)?, [1, height, width], &noise)?;
    let tensor =
        |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), device).reshape(dims);
    check.output("dx", tensor(fields.rows))?;
    check.output("dy", tensor(fields.columns))?;
    check.output("image", tensor(deformed))
}

fn forward(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let config = fixture.config::<Network>()?.config();
    let model = fixture.load(config.init(device)?, &key_map())?;
    let images = fixture.input::<4>("x", device)?;
    let pass = model.forward(images.clone())?;
    let nearest_prototype = pass.distances.clone().argmin(1).squeeze_dim::<1>(1);
    check.output("features", pass.features)?;
    check.output("distances", pass.distances)?;
    check.output("logits", pass.logits)?;
    check.output("recon", pass.reconstruction)?;
    check.output_int("nearest_prototype", nearest_prototype)?;
    check.output("probs", model.predict(images.clone())?)?;
    check.output("prototype_images", model.decode_prototypes())?;
    let nearest = model.nearest_training_images(images)?;
    let nearest: Vec<i64> = nearest.iter().map(|image| image.index as i64).collect();
    let nearest = Tensor::<1, burn::tensor::Int>::from_ints(nearest.as_slice(), device);
    check.output_int("nearest_input", nearest)
}

fn train_loss(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let config = fixture.config::<Network>()?.config();
    let model = fixture.load(config.init(&device)?, &key_map())?;
    let batch = LabelledImages {
        images: fixture.input("x", &device)?,
        labels: fixture.input_int("y", &device)?,
    };
    let (loss, accuracy) = model.loss(batch);
    let grads = loss.total.backward();
    check.output("accuracy", accuracy)?;
    check.output("class_error", loss.classification)?;
    check.output("ae_error", loss.reconstruction)?;
    check.output("error_1", loss.r1)?;
    check.output("error_2", loss.r2)?;
    check.output("total", loss.total)?;
    check.gradients(&model, &grads, &key_map())
}
