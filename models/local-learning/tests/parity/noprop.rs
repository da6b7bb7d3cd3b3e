//! noprop: losses with gradients of the three methods and of the baseline, and their inferences.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_local_learning::noprop::{
    BackpropConfig, CtConfig, CtDraws, DtConfig, DtNoise, Embedding, FmConfig, FmDraws, Head,
    Labelled, Mode, NetworkConfig,
    weights::{Official, from_state_dict},
};
use menagerie_parity::{Case, Check, Fixture};
use serde::Deserialize;

pub(crate) const CASES: &[Case] = &[
    Case {
        slug: "noprop",
        case: "dt_loss",
        run: discrete_loss,
    },
    Case {
        slug: "noprop",
        case: "dt_infer",
        run: discrete_inference,
    },
    Case {
        slug: "noprop",
        case: "ct_loss_infer",
        run: continuous,
    },
    Case {
        slug: "noprop",
        case: "fm_loss_infer",
        run: flow,
    },
    Case {
        slug: "noprop",
        case: "backprop_baseline",
        run: baseline,
    },
];

#[derive(Deserialize)]
struct Sizes {
    in_ch: usize,
    size: usize,
    conv: [usize; 3],
    fc: usize,
    fc2: usize,
    classes: usize,
    dim: usize,
    #[serde(rename = "T")]
    steps: usize,
    eta: f64,
    dropout: f64,
    embedding: String,
    head: String,
    clip: f64,
    time_dim: usize,
    gamma_hidden: usize,
    sigma: f64,
    /// The block that learns, counted from 1.
    #[serde(default)]
    t: usize,
    #[serde(default)]
    infer_steps: usize,
}

impl Sizes {
    fn network(&self) -> Result<NetworkConfig> {
        let embedding = match self.embedding.as_str() {
            "one-hot" => Embedding::OneHot,
            "learned" => Embedding::Learned,
            "prototype" => Embedding::Prototype,
            other => {
                let known = ["one-hot", "learned", "prototype"];
                return Err(Error::unknown("embedding", other, known));
            }
        };
        let head = match self.head.as_str() {
            "softmax" => Head::Softmax,
            "radial" => Head::Radial,
            other => return Err(Error::unknown("head", other, ["softmax", "radial"])),
        };
        let image = [self.in_ch, self.size, self.size];
        Ok(NetworkConfig::new(image, self.classes, embedding, self.dim)
            .with_convs(self.conv)
            .with_fc(self.fc)
            .with_fc2(self.fc2)
            .with_dropout(self.dropout)
            .with_head(head)
            .with_sigma(self.sigma))
    }

    fn discrete(&self) -> Result<DtConfig> {
        Ok(DtConfig::new(self.network()?)
            .with_steps(self.steps)
            .with_eta(self.eta)
            .with_clip(self.clip))
    }
}

fn batch(fixture: &Fixture, device: &Device) -> Result<Labelled> {
    let labels = fixture.input_data("target")?.iter::<i64>();
    Ok(Labelled {
        images: fixture.input::<4>("x", device)?,
        labels: labels.map(|label| label as usize).collect(),
    })
}

fn doubles(values: impl IntoIterator<Item = f64>) -> TensorData {
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    let count = values.len();
    TensorData::new(values, [count])
}

/// The recorded gradients of a loss.
fn gradients<M: Official>(model: &M, loss: Tensor<1>, check: &mut Check) -> Result<()> {
    check.gradients(model, &loss.backward(), &model.key_map())
}

fn discrete_loss(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let sizes: Sizes = fixture.config()?;
    let model = sizes.discrete()?.init(&device)?;
    let model = from_state_dict(model, &fixture.weights())?;
    let noise = DtNoise {
        last: fixture.input("eps_T", &device)?,
        before: fixture.input("eps_prev", &device)?,
    };
    let block = sizes
        .t
        .checked_sub(1)
        .ok_or_else(|| Error::input("t", sizes.t, "must count from 1"))?;
    let loss = model.loss(
        block,
        &batch(fixture, &device)?,
        noise,
        Mode::Train(Seed(0)),
    )?;
    let alpha_bar = model.schedule().alpha_bar().iter().copied();
    check.output_data("alpha_bar", doubles(alpha_bar))?;
    check.output("z_T", loss.last)?;
    check.output("z_prev", loss.before)?;
    check.output("u_hat", loss.estimate)?;
    check.output("loss_ce", loss.classification)?;
    check.output("loss_kl", loss.divergence)?;
    check.output("loss_denoise", loss.denoising)?;
    check.output("loss_total", loss.total.clone())?;
    gradients(&model, loss.total, check)
}

fn discrete_inference(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Sizes = fixture.config()?;
    let model = sizes.discrete()?.init(device)?;
    let model = from_state_dict(model, &fixture.weights())?;
    let schedule = model.schedule();
    check.output_data("alpha_bar", doubles(schedule.alpha_bar().iter().copied()))?;
    check.output_data("snr", doubles(schedule.snr()))?;
    check.output_data("snr_diff", doubles(schedule.snr_rise()))?;
    let steps = schedule.posteriors();
    check.output_data("a", doubles(steps.iter().map(|step| step.a)))?;
    check.output_data("b", doubles(steps.iter().map(|step| step.b)))?;
    check.output_data("c", doubles(steps.iter().map(|step| step.c)))?;
    let found = model.chain(
        fixture.input("x", device)?,
        fixture.input("z0", device)?,
        fixture.input("eps", device)?,
    );
    check.output("z", Tensor::stack::<3>(found.z, 0))?;
    check.output("logits", found.logits)
}

fn continuous(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let tracked = device.clone().autodiff();
    let sizes: Sizes = fixture.config()?;
    let config = CtConfig::new(sizes.network()?)
        .with_time_dim(sizes.time_dim)
        .with_gamma_hidden(sizes.gamma_hidden)
        .with_eta(sizes.eta)
        .with_inference_steps(sizes.infer_steps);
    let model = from_state_dict(config.init(&tracked)?, &fixture.weights())?;
    let draws = CtDraws {
        times: fixture.input("t", &tracked)?,
        noise: fixture.input("eps_t", &tracked)?,
        last: fixture.input("eps_1", &tracked)?,
    };
    let loss = model.loss(&batch(fixture, &tracked)?, draws, Mode::Train(Seed(0)))?;
    check.output("alpha_bar", loss.alpha_bar)?;
    check.output("snr_prime", loss.snr_rate)?;
    check.output("z_t", loss.drawn)?;
    check.output("u_hat", loss.estimate)?;
    check.output("loss_ce", loss.classification)?;
    check.output("loss_kl", loss.divergence)?;
    check.output("loss_denoise", loss.denoising)?;
    check.output("loss_total", loss.total.clone())?;
    gradients(&model, loss.total, check)?;

    let model = model.valid();
    let noise = fixture.input::<3>("eps_infer", device)?;
    let z = model.simulate(
        fixture.input("x", device)?,
        fixture.input("z0", device)?,
        sizes.infer_steps,
        |step| noise.clone().narrow(0, step, 1).squeeze_dim(0),
    )?;
    check.output("z_final", z.clone())?;
    check.output("logits", model.readout.logits(z))
}

fn flow(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let tracked = device.clone().autodiff();
    let sizes: Sizes = fixture.config()?;
    let config = FmConfig::new(sizes.network()?)
        .with_time_dim(sizes.time_dim)
        .with_sigma(sizes.sigma)
        .with_inference_steps(sizes.infer_steps);
    let model = from_state_dict(config.init(&tracked)?, &fixture.weights())?;
    let draws = FmDraws {
        times: fixture.input("t", &tracked)?,
        start: fixture.input("z0", &tracked)?,
        noise: fixture.input("eps", &tracked)?,
    };
    let loss = model.loss(&batch(fixture, &tracked)?, draws, Mode::Train(Seed(0)))?;
    check.output("z_t", loss.drawn)?;
    check.output("v", loss.velocity)?;
    check.output("loss_flow", loss.flow)?;
    if check.expects("loss_anchor") {
        let anchor = loss.anchor.unwrap_or_else(|| loss.total.zeros_like());
        check.output("loss_anchor", anchor)?;
    }
    check.output("loss_total", loss.total.clone())?;
    gradients(&model, loss.total, check)?;

    let model = model.valid();
    let start = fixture.input("z0_infer", device)?;
    let z = model.integrate(fixture.input("x", device)?, start, sizes.infer_steps);
    check.output("z_final", z.clone())?;
    check.output_int("prediction", model.readout.nearest(z))
}

fn baseline(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = device.clone().autodiff();
    let sizes: Sizes = fixture.config()?;
    let config = BackpropConfig::new(sizes.network()?).with_steps(sizes.steps);
    let model = from_state_dict(config.init(&device)?, &fixture.weights())?;
    let (batch, start) = (batch(fixture, &device)?, fixture.input::<2>("z0", &device)?);
    let mode = Mode::Train(Seed(0));
    let z = model.forward(batch.images.clone(), start.clone(), mode);
    check.output("logits", model.readout.logits(z))?;
    let loss = model.loss(&batch, start, mode)?;
    check.output("loss", loss.clone())?;
    gradients(&model, loss, check)
}
