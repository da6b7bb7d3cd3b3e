//! The dense claim on images with a class for every pixel: textured shapes, longer pre-training, green
//! masks against random ones.

use super::{
    Experiment,
    dense::{self, Patches},
};
use crate::Context;
use crate::mae::common::{Batches, Images, Length, fit};
use anyhow::Context as _;
use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_data_image::ImageSet;
use menagerie_data_synthetic::textures::{CLASSES, TexturesConfig};
use menagerie_mae::{color_mae::Color, mae_base::Encoder};
use menagerie_train::{Progress, Supervised, initialise};
use rayon::prelude::*;

/// The colors that are compared.
pub(super) const COLORS: [Color; 2] = [Color::Green, Color::White];

/// How many images there are, and how long is trained.
pub(super) struct Shapes {
    pub drawn: TexturesConfig,
    /// Images without labels.
    pub unlabelled: usize,
    /// Images with a class for every patch, and images that are tested on.
    pub labelled: [usize; 2],
    pub length: Length,
}

/// What came of a pre-training on shapes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// `None` for the network as it was drawn.
    pub color: Option<Color>,
    /// Mean intersection over union of a linear probe of patches, in percent.
    pub dense: f64,
    /// The last logged objective.
    pub loss: Option<f64>,
}

/// Images with the most frequent class of each patch.
struct Set {
    images: Images,
    classes: Vec<i64>,
}

impl Shapes {
    fn draw(&self, count: usize, patch: usize, seed: Seed) -> Result<Set> {
        let drawn: Vec<_> = (0..count as u64)
            .into_par_iter()
            .map(|at| self.drawn.draw(seed.at(at)))
            .collect::<Result<_>>()?;
        let side = self.drawn.side;
        let classes = drawn
            .iter()
            .flat_map(|image| majorities(&image.classes, side, patch));
        let classes = classes.collect();
        let pixels = drawn.into_iter().flat_map(|image| image.pixels).collect();
        let set = ImageSet::new(pixels, [1, side, side], Vec::new(), Vec::new())?;
        Ok(Set {
            images: Images::padded(set, side)?,
            classes,
        })
    }
}

/// The most frequent class of each patch of an image, row by row; the lowest of several.
fn majorities(classes: &[u8], side: usize, patch: usize) -> Vec<i64> {
    let grid = side / patch;
    let mut counts = vec![[0_usize; CLASSES.len()]; grid * grid];
    for (at, class) in classes.iter().enumerate() {
        let place = at / side / patch * grid + at % side / patch;
        if let Some(count) = counts[place].get_mut(usize::from(*class)) {
            *count += 1;
        }
    }
    let most = |counts: [usize; CLASSES.len()]| {
        let classes = (0..CLASSES.len()).rev();
        classes.max_by_key(|class| counts[*class]).unwrap_or(0) as i64
    };
    counts.into_iter().map(most).collect()
}

/// Pre-trains with both colors and every seed, and probes the patches of all and of the networks as
/// they were drawn.
pub(super) fn study(experiment: &Experiment, context: &Context) -> anyhow::Result<Vec<Outcome>> {
    let Some(shapes) = &experiment.shapes else {
        return Ok(Vec::new());
    };
    let patch = experiment.model.encoder.patch;
    let seed = Seed(0).stream("textured shapes");
    let [train, test] = shapes.labelled;
    let [unlabelled, train, test] = [
        ("unlabelled", shapes.unlabelled),
        ("labelled", train),
        ("test", test),
    ]
    .map(|(name, count)| shapes.draw(count, patch, seed.stream(name)));
    let (unlabelled, sets) = (unlabelled?.images, [train?, test?]);
    let jobs: Vec<(Color, Seed)> = (0..experiment.seeds)
        .map(|seed| Seed(context.seed + seed as u64))
        .flat_map(|seed| COLORS.map(|color| (color, seed)))
        .collect();
    let progress = Progress::auto();
    let outcomes = crate::jobs::run(&jobs, experiment.workers, |&(color, seed)| {
        let label = format!("shapes-{}-seed{}", color.name(), seed.0);
        let run = || {
            one(
                experiment,
                context,
                (shapes, &unlabelled, &sets),
                (color, seed),
                &label,
                &progress,
            )
        };
        run().context(label.clone())
    })?;
    Ok(outcomes.into_iter().flatten().collect())
}

fn one(
    experiment: &Experiment,
    context: &Context,
    (shapes, unlabelled, sets): (&Shapes, &Images, &[Set; 2]),
    (color, seed): (Color, Seed),
    label: &str,
    progress: &Progress,
) -> Result<Vec<Outcome>> {
    let (config, length) = (&experiment.pretraining.0, &shapes.length);
    let system = experiment.config(color);
    let tracked = context.device.clone().autodiff();
    let model = initialise(&tracked, seed.stream("weights"), || system.init(&tracked))?;
    let probe = |encoder: &Encoder, name: &str| {
        let patches = |set: &Set| -> Result<Patches> {
            Ok(Patches {
                features: dense::tokens(encoder, &set.images, &context.device)?,
                classes: set.classes.clone(),
            })
        };
        let sets = [patches(&sets[0])?, patches(&sets[1])?];
        let name = format!("{label}-{name}");
        dense::fit(context, &name, sets, CLASSES.len(), seed)
    };
    let mut outcomes = Vec::new();
    // The arms of a seed start alike: one of them is probed before training, too.
    if color == Color::White {
        outcomes.push(Outcome {
            color: None,
            dense: probe(
                &burn::module::Module::valid(&model.encoder),
                "untrained-probe",
            )?,
            loss: None,
        });
    }
    let optimiser = config.optimizer(&model)?;
    let masks = system.masks(seed)?;
    let mut batches = Batches::new(unlabelled.clone(), length.batch, seed)?;
    let epoch = (unlabelled.len() / length.batch).max(1);
    let batch = |step: usize, device: &Device| {
        let (images, _, _) = batches.at(step, device)?;
        masks.mask(images, step, epoch, seed)
    };
    let setup = (seed, length, config, &system);
    let procedure = Supervised::new(model, optimiser, length.schedule.clone(), batch);
    let (model, loss) = fit(context, label, &setup, procedure, &length.fit(), progress)?;
    outcomes.push(Outcome {
        color: Some(color),
        dense: probe(&model.encoder, "probe")?,
        loss: loss.last().map(|(_, loss)| *loss),
    });
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::majorities;

    #[test]
    fn a_patch_has_its_most_frequent_class() {
        // Patches of 2×2 on 4×4: three of class 1; a draw of 0 and 2; all 3; all 0.
        let classes = [1, 1, 0, 2, 1, 0, 2, 0, 3, 3, 0, 0, 3, 3, 0, 0];
        assert_eq!(majorities(&classes, 4, 2), [1, 0, 3, 0]);
    }
}
