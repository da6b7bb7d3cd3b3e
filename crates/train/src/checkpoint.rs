//! Modules and optimisers as files, and the folder of checkpoints.

use crate::{Metrics, fit::Stopping};
use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use menagerie_core::{Error, Result, config, fs};
use serde::{Deserialize, Serialize};
use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
};

/// Writes a module's parameters in Burn's burnpack format, whole or not at all.
///
/// # Errors
/// [`Error::Io`] or [`Error::Format`] that names the file.
pub fn save_module<M: Module>(module: &M, path: &Path) -> Result<()> {
    fs::write_with(path, |temporary| {
        let record = module.clone().into_record();
        record
            .save(temporary)
            .map_err(|error| Error::format(path, error.to_string()))
    })
}

/// Reads a module's parameters; the module keeps its device and autodiff state, and takes over
/// the stored parameter ids, under which an optimiser keeps its moments.
///
/// # Errors
/// [`Error::Format`] that lists what does not fit.
pub fn load_module<M: Module>(module: M, path: &Path) -> Result<M> {
    let readable = |error: burn::store::RecordError| Error::format(path, error.to_string());
    if !path.is_file() {
        return Err(Error::format(path, "there is no such file"));
    }
    let record = ModuleRecord::load(path).map_err(readable)?;
    module.try_load_record(record).map_err(readable)
}

/// Writes an optimiser's state, whole or not at all.
///
/// # Errors
/// [`Error::Io`] or [`Error::Format`] that names the file.
pub fn save_optimiser(optimiser: &ModuleOptimizer, path: &Path) -> Result<()> {
    fs::write_with(path, |temporary| {
        optimiser
            .save(temporary)
            .map_err(|error| Error::format(path, error.to_string()))
    })
}

/// Reads an optimiser's state, all of it or none.
///
/// # Errors
/// [`Error::Format`] that names the file.
pub fn load_optimiser(optimiser: ModuleOptimizer, path: &Path) -> Result<ModuleOptimizer> {
    if !path.is_file() {
        return Err(Error::format(path, "there is no such file"));
    }
    // Burn takes over what fits and starts the rest afresh, which would change the run in silence,
    // and it panics on a record that belongs to no parameter.
    let restored = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let record = OptimizerRecord::load(path).map_err(|error| error.to_string())?;
        let stored = record.len();
        let optimiser = optimiser.load_record(record);
        let taken = optimiser.to_record().len();
        if taken == stored {
            Ok(optimiser)
        } else {
            Err(format!(
                "only {taken} of the {stored} tensors fit this optimiser"
            ))
        }
    }));
    restored
        .unwrap_or_else(|_| Err("it does not hold the state of an optimiser".into()))
        .map_err(|problem| Error::format(path, problem))
}

/// What the loop itself needs to go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LoopState {
    /// Steps that are done.
    pub step: usize,
    /// The last logged training metrics.
    pub train: Metrics,
    /// The last evaluation.
    pub evaluation: Metrics,
    /// Best evaluation so far and how long ago.
    pub stopping: Stopping,
    /// Whether early stopping ended the run at this step.
    pub stopped: bool,
}

/// The checkpoints of a run, oldest first.
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    pub fn new(run: &Path) -> Self {
        Self {
            folder: run.join("checkpoints"),
        }
    }

    /// Removes what a kill in the middle of a write has left.
    pub fn clean(&self) {
        for entry in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".step-") && name.ends_with(".part") {
                // Left for the next time if it cannot be removed: it does no harm.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Writes a checkpoint whole or not at all, then removes all but the newest `keep`.
    pub fn write(
        &self,
        state: &LoopState,
        keep: usize,
        save: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.folder)
            .map_err(Error::io("create the folder", &self.folder))?;
        let path = self.path(state.step);
        fs::write_dir_with(&path, |temporary| {
            save(temporary)?;
            config::save(state, &temporary.join("state.json"))
        })?;
        let mut steps = self.steps();
        steps.truncate(steps.len().saturating_sub(keep.max(1)));
        for old in steps {
            let path = self.path(old);
            std::fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(path)
    }

    /// The newest checkpoint and its loop state.
    pub fn last(&self) -> Result<Option<(PathBuf, LoopState)>> {
        match self.steps().last() {
            None => Ok(None),
            Some(step) => {
                let path = self.path(*step);
                let state = config::load(&path.join("state.json"))?;
                Ok(Some((path, state)))
            }
        }
    }

    fn path(&self, step: usize) -> PathBuf {
        self.folder.join(format!("step-{step}"))
    }

    /// The steps of complete checkpoints in ascending order; a folder under a temporary name,
    /// left by a kill in the middle of a write, is not one of them.
    fn steps(&self) -> Vec<usize> {
        let mut steps: Vec<usize> = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                name.to_str()?.strip_prefix("step-")?.parse().ok()
            })
            .collect();
        steps.sort_unstable();
        steps
    }
}
