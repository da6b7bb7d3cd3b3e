//! rave: both stages of training.

use super::{SizesV1, noise};
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_codec::rave::objective::SCALES;
use menagerie_codec::rave::weights::{
    discriminator_from_state_dict, discriminator_key_map, from_state_dict, key_map,
};
use menagerie_codec::rave::{
    Discriminator, GeneratorLoss, Rave, Statistics, adversarial_loss, discriminator_loss,
    draw_normal, representation_loss,
};
use menagerie_core::{Error, Result, Seed};
use menagerie_parity::{Check, Fixture};
use std::collections::BTreeMap;

type Gradients = BTreeMap<String, TensorData>;

/// A model, a batch, and what the decoder's output is disturbed by.
struct Stage<'a> {
    fixture: &'a Fixture,
    device: Device,
    sizes: SizesV1,
    model: Rave,
    nets: Discriminator,
    /// A seed, and the root of its mean square.
    ripple: Option<(Seed, f64)>,
}

/// How often the output is disturbed.
const DISTURBED: u64 = 8;

impl Stage<'_> {
    fn subbands(&self) -> Result<Tensor<3>> {
        let audio = self.fixture.input::<3>("x", &self.device)?;
        Ok(self.model.pqmf().analysis(audio))
    }

    fn disturbed(&self, y: Tensor<3>) -> Tensor<3> {
        let Some((seed, size)) = self.ripple else {
            return y;
        };
        let ripple: Tensor<3> = draw_normal(y.dims(), seed, &self.device);
        y + ripple * size
    }

    fn first(&self) -> Result<(GeneratorLoss, Tensor<3>)> {
        let subbands = self.subbands()?;
        let model = &self.model;
        let posterior = model.encoder.forward(subbands.clone(), Statistics::Batch);
        let latent = posterior.sample(self.fixture.input("eps1", &self.device)?);
        let y = self.disturbed(model.decoder.forward(latent, None));
        let distance = model.distance(subbands, y.clone(), &SCALES)?;
        let loss = representation_loss(distance, posterior.kl(), self.sizes.max_kl);
        Ok((loss, y))
    }

    fn second(&self) -> Result<GeneratorLoss> {
        let subbands = self.subbands()?;
        let model = &self.model;
        let posterior = model.encoder.forward(subbands.clone(), Statistics::Running);
        let kl = posterior.kl().detach();
        let latent = posterior.sample(self.fixture.input("eps2", &self.device)?);
        let noise = noise(self.fixture, "u2", &self.device)?;
        let y = model.decoder.forward(latent.detach(), Some(noise));
        let distance = model.distance(subbands, self.disturbed(y), &SCALES)?;
        let beta = self.sizes.max_kl;
        Ok(adversarial_loss(distance, kl, beta, &self.nets, 10.0))
    }

    /// The gradients of passes that are disturbed by `size`.
    fn repeated(
        &mut self,
        size: f64,
        pass: impl Fn(&Self) -> Result<GeneratorLoss>,
    ) -> Result<Vec<Gradients>> {
        let mut passes = Vec::new();
        for seed in 0..DISTURBED {
            self.ripple = Some((Seed(seed), size));
            passes.push(self.gradients(&pass(self)?)?);
        }
        self.ripple = None;
        Ok(passes)
    }

    fn gradients(&self, loss: &GeneratorLoss) -> Result<Gradients> {
        let gradients = menagerie_hub::gradients(&self.model, &loss.total.clone().backward());
        key_map(self.model.config()).to_official(&gradients)
    }
}

pub(super) fn train_v1(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: SizesV1 = fixture.config()?;
    let device = device.clone().autodiff();
    let weights = fixture.weights();
    let nets_config = sizes.discriminator();
    let mut stage = Stage {
        fixture,
        model: from_state_dict(&sizes.model(), &weights, &device)?,
        nets: discriminator_from_state_dict(&nets_config, &weights, &device)?,
        sizes,
        device,
        ripple: None,
    };
    running_statistics(fixture, &stage.model, check)?;

    // The second stage first: the first one changes the running statistics.
    let loss = stage.second()?;
    check.output("phase2.kl", loss.kl.clone())?;
    check.output("phase2.distance", loss.distance.total())?;
    check.output("phase2.loss_gen", loss.total.clone())?;
    let [x, fake] = loss.distance.waveforms.clone();
    for (index, score) in stage.nets.forward(x.clone()).scores().enumerate() {
        check.output(&format!("phase2.score_real.{index}"), score.clone())?;
    }
    if let (Some(matching), Some(adversarial)) = (&loss.feature_matching, &loss.adversarial) {
        check.output("phase2.feature_matching_times10", matching.clone())?;
        check.output("phase2.loss_adv", adversarial.generator.clone())?;
        check.output("phase2.loss_dis", adversarial.discriminator.clone())?;
    }
    let second = stage.gradients(&loss)?;
    let loss = discriminator_loss(&stage.nets, x.detach(), fake.detach());
    let map = discriminator_key_map(&nets_config);
    check.gradients_under("grad/phase2_dis.", &stage.nets, &loss.backward(), &map)?;

    let (loss, y) = stage.first()?;
    check.output("phase1.kl", loss.kl.clone())?;
    check.output("phase1.multiband_distance", loss.distance.multiband.clone())?;
    check.output("phase1.fullband_distance", loss.distance.fullband.clone())?;
    if let Some(loudness) = &loss.distance.loudness {
        check.output("phase1.loudness_distance", loudness.clone())?;
    }
    check.output("phase1.loss_gen", loss.total.clone())?;
    let start = y.narrow(2, 0, 256);
    check.output("phase1.y_multiband_first256", start.clone())?;
    let first = stage.gradients(&loss)?;

    // Both computations round.
    let ripple = 2.0 * deviation(fixture, start)?;
    let first_disturbed = stage.repeated(ripple, |stage| Ok(stage.first()?.0))?;
    hold(fixture, check, "grad/phase1.", &first, &first_disturbed)?;
    // From here on with the statistics of the fixture again.
    stage.model = from_state_dict(&stage.sizes.model(), &weights, &stage.device)?;
    let second_disturbed = stage.repeated(ripple, Stage::second)?;
    hold(fixture, check, "grad/phase2.", &second, &second_disturbed)?;
    Ok(())
}

/// By how much our decoder's output differs from the reference's, for rounding: the root of the mean
/// square over what is recorded of it.
fn deviation(fixture: &Fixture, ours: Tensor<3>) -> Result<f64> {
    let theirs = recorded(fixture, "out/phase1.y_multiband_first256")?;
    let ours = ours.into_data().convert::<f64>();
    let squares: f64 = ours
        .iter::<f64>()
        .zip(&theirs)
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    Ok((squares / theirs.len() as f64).sqrt())
}

fn recorded(fixture: &Fixture, name: &str) -> Result<Vec<f64>> {
    fixture
        .expected()
        .find(|(key, _)| *key == name)
        .map(|(_, data)| data.clone().convert::<f64>().iter().collect())
        .ok_or_else(|| Error::format(fixture.path(), format!("no `{name}`")))
}

/// Compares gradients whose last digits rounding decides.
///
/// The slope of `|ln X − ln Y|` is `1 / Y`, and some magnitudes of these signals are next to nothing:
/// the reference's own formula, run again in PyTorch, moves by more than the fixture allows (0.5 %),
/// and so does it in double precision. What rounding does is measured here: the decoder's output is
/// disturbed as much as ours differs from the reference's. A gradient may differ by that on top of the
/// fixture's tolerance, once for each of the two computations.
fn hold(
    fixture: &Fixture,
    check: &mut Check,
    root: &str,
    gradients: &Gradients,
    disturbed: &[Gradients],
) -> Result<()> {
    let values = |data: &TensorData| data.clone().convert::<f64>().iter().collect::<Vec<f64>>();
    let worst = |a: &[f64], b: &[f64]| {
        let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f64::max)
    };
    for (key, data) in gradients {
        let name = format!("{root}{key}");
        let Ok(theirs) = recorded(fixture, &name) else {
            continue;
        };
        let ours = values(data);
        let peak = theirs
            .iter()
            .fold(0.0, |peak: f64, value| peak.max(value.abs()));
        let moved = disturbed
            .iter()
            .filter_map(|other| Some(worst(&ours, &values(other.get(key)?))))
            .fold(0.0, f64::max);
        check.gradient_within(&name, fixture.grad_tol() * peak + 2.0 * moved);
        check.gradient_data(&name, data.clone())?;
    }
    Ok(())
}

/// The running statistics of the fixture are those after its first phase, which its second one
/// reads; that a step leads to them is for a test of the crate.
fn running_statistics(fixture: &Fixture, model: &Rave, check: &mut Check) -> Result<()> {
    let map = key_map(model.config());
    let values = map.to_official(&menagerie_hub::values(model))?;
    for name in ["running_mean", "running_var"] {
        let key = format!("encoder.net.1.{name}");
        let value = values
            .get(&key)
            .ok_or_else(|| Error::format(fixture.path(), format!("the model has no `{key}`")))?;
        check.output_data(&format!("phase1.bn1_{name}_after"), value.clone())?;
    }
    Ok(())
}
