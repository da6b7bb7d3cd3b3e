//! The same arms in PyTorch on the same scenes: `reference.csv`, which `reference.py` made of the
//! exported scenes.
//!
//! Both start from the same weights and visit the pixels in the same order, so that what differs is the
//! implementation; how far two runs of an arm are apart that start from different weights is recorded as
//! well.

use super::{Experiment, Method, runs};
use crate::Context;
use burn::tensor::TensorData;
use menagerie_cluster::stacked_geo::{
    AutoencoderConfig, Fit, StackConfig, StageConfig, draw_order,
};
use menagerie_core::{Error, Result};
use menagerie_data_synthetic::{MultispectralScene, ScenesConfig};
use menagerie_hub::StateDict;
use std::path::Path;

const RECORDED: &str = include_str!("reference.csv");

/// An arm in PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recorded {
    /// The seed of the scene.
    pub scene: u64,
    /// Of its values.
    hash: String,
    pub method: Method,
    /// Whether weights and orders are those of the recipe; else PyTorch drew its own.
    pub ours: bool,
    /// Matched accuracy after the majority filter, in percent.
    pub filtered: f64,
}

/// An arm here and in PyTorch, on one scene.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub scene: u64,
    pub method: Method,
    /// Matched accuracy after the majority filter, in percent.
    pub ours: f64,
    /// The same in PyTorch, from the same draws.
    pub theirs: f64,
    /// The same from PyTorch's own draws.
    pub others: Vec<f64>,
}

impl Comparison {
    /// Points by which the two implementations differ.
    pub fn apart(&self) -> f64 {
        (self.ours - self.theirs).abs()
    }

    /// Points between the best and the worst of PyTorch's own runs, the one from our draws among them.
    pub fn spread(&self) -> f64 {
        let runs = || self.others.iter().copied().chain([self.theirs]);
        runs().fold(f64::MIN, f64::max) - runs().fold(f64::MAX, f64::min)
    }
}

/// The arms of all recorded scenes, here and in PyTorch. Scenes that this run has no part of, as on the
/// paper's scale or from another seed, are run now.
pub(super) fn all(
    experiment: &Experiment,
    context: &Context,
    known: &[runs::Outcome],
) -> anyhow::Result<Vec<Comparison>> {
    let recorded = parse(RECORDED)?;
    let scenes = recorded.iter().map(|arm| arm.scene + 1).max().unwrap_or(0);
    let covered = experiment.scenes == ScenesConfig::small()
        && context.seed == 0
        && experiment.seeds as u64 >= scenes;
    if covered {
        return Ok(compare(&recorded, known)?);
    }
    let context = Context {
        seed: 0,
        out: context.out.join("reference"),
        device: context.device.clone(),
        ..*context
    };
    let again = Experiment {
        scenes: ScenesConfig::small(),
        seeds: scenes as usize,
        places: Vec::new(),
        elbow: experiment.elbow.clone(),
        ..*experiment
    };
    Ok(compare(&recorded, &runs::all(&again, &context)?)?)
}

/// What is recorded of scenes 0, 1 and so on against their `outcomes`.
pub(super) fn compare(
    recorded: &[Recorded],
    outcomes: &[runs::Outcome],
) -> Result<Vec<Comparison>> {
    let mut found = Vec::new();
    for arm in recorded.iter().filter(|arm| arm.ours) {
        let outcome = outcomes.get(arm.scene as usize);
        let at = Method::ALL.iter().position(|method| *method == arm.method);
        let (Some(outcome), Some(at)) = (outcome, at) else {
            let rule = "has no outcome to compare the reference with";
            return Err(Error::input("a scene", arm.scene, rule));
        };
        if outcome.hash != arm.hash {
            let rule = format!(
                "must have the hash {} of the reference: record it anew with reference.py",
                arm.hash
            );
            let what = format!("the hash of scene {}", arm.scene);
            return Err(Error::input(what, &outcome.hash, rule));
        }
        let others = recorded
            .iter()
            .filter(|other| !other.ours && (other.scene, other.method) == (arm.scene, arm.method));
        found.push(Comparison {
            scene: arm.scene,
            method: arm.method,
            ours: 100.0 * outcome.arms[at].cleaned.accuracy,
            theirs: arm.filtered,
            others: others.map(|other| other.filtered).collect(),
        });
    }
    Ok(found)
}

fn parse(text: &str) -> Result<Vec<Recorded>> {
    let lines = text.lines().enumerate().skip(1);
    let rows = lines.map(|(at, line)| {
        let fields: Vec<&str> = line.split(',').collect();
        let row = match fields.as_slice() {
            [scene, hash, arm, draws, _, filtered] => {
                let mut methods = Method::ALL.into_iter();
                scene
                    .parse()
                    .ok()
                    .zip(methods.find(|method| method.id() == *arm))
                    .zip(filtered.parse().ok())
                    .map(|((scene, method), filtered)| Recorded {
                        scene,
                        hash: (*hash).into(),
                        method,
                        ours: *draws == "ours",
                        filtered,
                    })
            }
            _ => None,
        };
        let rule = "must be scene, hash, arm, draws, accuracy and filtered accuracy";
        row.ok_or_else(|| Error::input(format!("line {} of reference.csv", at + 1), line, rule))
    });
    rows.collect()
}

/// The hash of a scene's values: FNV-1a by words.
pub(super) fn hash(values: &[f32]) -> String {
    let hash = values
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, value| {
            let hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
            hash ^ hash >> 29
        });
    format!("{hash:016x}")
}

/// Writes a scene with everything that is drawn for its networks: initial weights, `[in, out]`, and the
/// order of the pixels in every pass.
pub(super) fn export(scene: &MultispectralScene, fit: &Fit, path: &Path) -> Result<()> {
    let count = scene.units.len();
    let units: Vec<i32> = scene.units.iter().map(|unit| i32::from(*unit)).collect();
    let mut tensors = vec![
        (
            "values".to_string(),
            TensorData::new(scene.values.clone(), [count, scene.bands]),
        ),
        ("units".to_string(), TensorData::new(units, [count])),
    ];
    let single = fit.draw_autoencoder("canonical", &AutoencoderConfig::canonical(scene.bands))?;
    let stack = fit.draw_stack(&StackConfig::new(scene.bands))?;
    let single = menagerie_hub::values(&single);
    tensors.extend(
        single
            .into_iter()
            .map(|(name, data)| (format!("canonical.{name}"), data)),
    );
    tensors.extend(menagerie_hub::values(&stack));
    let [first, second, third] = StageConfig::stack();
    for (name, stage) in [
        ("canonical", StageConfig::first()),
        ("stack-1", first),
        ("stack-2", second),
        ("stack-3", third),
    ] {
        let seed = fit.stage_seed(name);
        let orders = (0..stage.epochs).flat_map(|pass| draw_order(count, pass, seed));
        let orders: Vec<i32> = orders.map(|at| at as i32).collect();
        let data = TensorData::new(orders, [stage.epochs, count]);
        tensors.push((format!("{name}.order"), data));
    }
    StateDict::from_tensors("a scene", tensors).save_safetensors(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_core::Seed;

    #[test]
    fn the_reference_is_of_the_scenes_that_are_drawn() {
        let recorded = parse(RECORDED).unwrap();
        for scene in 0..5 {
            let drawn = ScenesConfig::small().draw(Seed(scene)).unwrap();
            let hash = hash(&drawn.values);
            let of_scene: Vec<_> = recorded.iter().filter(|arm| arm.scene == scene).collect();
            assert!(of_scene.iter().all(|arm| arm.hash == hash), "{scene}");
            for method in Method::ALL {
                let mut arms = of_scene.iter().filter(|arm| arm.method == method);
                assert_eq!(arms.clone().filter(|arm| arm.ours).count(), 1);
                assert!(arms.all(|arm| (10.0..=100.0).contains(&arm.filtered)));
            }
        }
    }

    #[test]
    fn lines_that_cannot_be_read_are_named() {
        let error = parse("head\n0,ab,pca,ours,50,x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2 of reference.csv is \"0,ab,pca,ours,50,x\": must be scene, hash, arm, draws, \
             accuracy and filtered accuracy"
        );
    }

    #[test]
    fn a_comparison_tells_both_distances() {
        let comparison = Comparison {
            scene: 0,
            method: Method::Stack,
            ours: 61.0,
            theirs: 62.5,
            others: vec![55.0, 70.0],
        };
        assert_eq!((comparison.apart(), comparison.spread()), (1.5, 15.0));
    }
}
