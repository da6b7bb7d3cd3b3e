//! Linear probes of frozen features, and pictures.

use super::data::tensor;
use burn::module::{Initializer, Module};
use burn::nn::LinearConfig;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, activation::log_softmax};
use menagerie_core::{Error, Result};
use menagerie_data_video::{Clip, Direction, MovingClip};
use menagerie_mae::videomae_v2::{DualMasking, VideoMae};
use menagerie_train::{AdamW, Schedule};

/// Clips per pass of an encoder.
const BATCH: usize = 100;
/// Updates of a probe, each on all labelled clips.
const STEPS: usize = 300;

/// Standardised features with what is to be told from them.
pub(super) struct Features {
    /// `[clips, size]`.
    values: Tensor<2>,
    directions: Vec<usize>,
    classes: Vec<usize>,
}

impl Features {
    /// What the published feature extractor gives of unmasked clips: the mean of the encoder's tokens
    /// over all places and steps. Side by side, the steps would tell the direction whatever the
    /// network: the place of the figure at each of them is enough.
    pub fn of(model: &VideoMae, clips: &[MovingClip], device: &Device) -> Result<Self> {
        let mut values = Vec::new();
        for chunk in clips.chunks(BATCH) {
            let batch: Vec<Clip> = chunk.iter().map(|moving| moving.clip.clone()).collect();
            values.push(model.features(tensor(batch, &model.config().clip, device))?);
        }
        Ok(Self {
            values: Tensor::cat(values, 0),
            directions: clips
                .iter()
                .map(|moving| moving.direction.index())
                .collect(),
            classes: clips.iter().map(|moving| moving.class).collect(),
        })
    }
}

/// Test accuracies of linear probes, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Probes {
    /// Of the eight directions.
    pub motion: f64,
    /// Of the classes.
    pub class: f64,
}

/// Probes fitted on `train` and measured on `test`.
pub(super) fn probes(train: &Features, test: &Features, classes: usize) -> Result<Probes> {
    let (deviation, mean) = train.values.clone().var_mean(0);
    let deviation = deviation.sqrt() + 1e-6;
    let scaled = |features: &Features| (features.values.clone() - mean.clone()) / deviation.clone();
    let (inputs, held_out) = (scaled(train), scaled(test));
    let probe = |labels: &[usize], truth: &[usize], classes: usize| {
        accuracy(inputs.clone(), labels, held_out.clone(), truth, classes)
    };
    Ok(Probes {
        motion: probe(&train.directions, &test.directions, Direction::ALL.len())?,
        class: probe(&train.classes, &test.classes, classes)?,
    })
}

/// The accuracy of softmax regression in percent. It starts from nothing and takes all examples at
/// every step, so that there is no chance in it.
fn accuracy(
    inputs: Tensor<2>,
    labels: &[usize],
    held_out: Tensor<2>,
    truth: &[usize],
    classes: usize,
) -> Result<f64> {
    let device = inputs.device().autodiff();
    let ints = |labels: &[usize]| -> Tensor<1, Int> {
        let labels: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
        Tensor::from_ints(labels.as_slice(), &device.clone().without_autodiff())
    };
    let mut head = LinearConfig::new(inputs.dims()[1], classes)
        .with_initializer(Initializer::Zeros)
        .init(&device);
    let mut optimiser = AdamW::new()
        .with_weight_decay(0.01)
        .grouped(&head, |_, rank| rank > 1)?;
    let schedule = Schedule::cosine(0.03, STEPS / 10, STEPS);
    let (inputs, labels) = (inputs.autodiff(), ints(labels).unsqueeze_dim::<2>(1));
    for step in 0..STEPS {
        let scores = log_softmax(head.forward(inputs.clone()), 1);
        let loss = scores.gather(1, labels.clone()).mean().neg();
        let gradients = GradientsParams::from_grads(loss.backward(), &head);
        head = optimiser.step(schedule.at(step), head, gradients);
    }
    let scores = head.valid().forward(held_out);
    let right = scores.argmax(1).squeeze_dim::<1>(1).equal(ints(truth));
    let share = right.float().mean().try_into_scalar::<f64>();
    Ok(100.0 * share.map_err(|error| Error::other("reading an accuracy", error))?)
}

/// Rows of frames: a clip, what the encoder saw of it, and what the decoder made of the rest.
#[derive(Clone, Debug)]
pub(super) struct Pictures {
    /// Channels, height and width of a frame.
    pub shape: [usize; 3],
    /// Frames by row, with the row's name.
    pub rows: Vec<(&'static str, Vec<Vec<f32>>)>,
}

/// The clips `[clips, 3, frames, size, size]` with a mask of the encoder alone, so that everything
/// hidden is decoded.
pub(super) fn pictures(
    model: &VideoMae,
    clips: Tensor<5>,
    masks: &DualMasking,
) -> Result<Pictures> {
    let [count, _, frames, height, width] = clips.dims();
    let found = model.reconstruct(clips, masks)?;
    let tiles = |clips: Tensor<5>| -> Result<Vec<Vec<Vec<f32>>>> {
        let frame = 3 * height * width;
        let values = clips
            .swap_dims(1, 2)
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::other("reading frames", error))?;
        Ok(values
            .chunks(frame * frames)
            .map(|clip| clip.chunks(frame).map(<[f32]>::to_vec).collect())
            .collect())
    };
    let (original, masked, reconstructed) = (
        tiles(found.original)?,
        tiles(found.masked)?,
        tiles(found.reconstructed)?,
    );
    let mut rows = Vec::with_capacity(3 * count);
    for ((original, masked), reconstructed) in original.into_iter().zip(masked).zip(reconstructed) {
        rows.push(("clip", original));
        rows.push(("seen", masked));
        rows.push(("reconstructed", reconstructed));
    }
    Ok(Pictures {
        shape: [3, height, width],
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn matrix(values: &[f32], rows: usize) -> Tensor<2> {
        let shape = [rows, values.len() / rows];
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::default())
    }

    #[test]
    fn a_probe_finds_what_is_linear() {
        let values: Vec<f32> = (0..60).flat_map(|at| [(at % 3) as f32, 1.0]).collect();
        let labels: Vec<usize> = (0..60).map(|at| at % 3).collect();
        let inputs = || matrix(&values, 60) - 1.0;
        let found = accuracy(inputs(), &labels, inputs(), &labels, 3).unwrap();
        assert_eq!(found, 100.0);
        let constant = matrix(&[1.0; 60], 60);
        let chance = accuracy(constant.clone(), &labels, constant, &labels, 3).unwrap();
        assert!((chance - 100.0 / 3.0).abs() < 1e-3, "{chance}");
    }
}
