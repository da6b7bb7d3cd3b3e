//! `cargo xtask reproduce`: checks the arguments, then builds and starts the recipes' binary.

use crate::{
    args::Args,
    descriptor, device,
    fault::{Fault, Result},
    process, tch_env,
    workspace::Workspace,
};
use std::path::Path;

/// Runs the recipe of a system; the exit code is that of the recipe.
///
/// # Errors
/// [`Fault::Usage`] for a wrong slug, scale, seed or device, before anything is built.
pub fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let systems = descriptor::systems(workspace)?;
    let slug = args.positionals().first().ok_or_else(|| {
        Fault::usage("name the system to reproduce; `cargo xtask list` shows them")
    })?;
    let system = descriptor::find(&systems, slug)?;
    let scale = args.option("--scale").unwrap_or("small");
    if !["small", "paper"].contains(&scale) {
        return Err(Fault::usage(format!(
            "--scale `{scale}`: write small or paper"
        )));
    }
    let seed: Option<u64> = args.number("--seed")?;
    let device = args.option("--device").unwrap_or("flex");
    let feature = device::feature(device)?;
    let out = match args.path("--out") {
        Some(out) => out,
        None => workspace.path(&format!("runs/{}", system.slug)),
    };

    let mut command = process::cargo();
    command.args(["run", "--package", "menagerie-reproduce"]);
    command
        .arg("--manifest-path")
        .arg(workspace.path("Cargo.toml"));
    if let Some(feature) = feature {
        command.args(["--features", feature]);
        tch_env::prepare(workspace, &mut command, feature)?;
    }
    command.args(["--", &system.slug, "--scale", scale, "--device", device]);
    command.arg("--out").arg(shortest(&out));
    if let Some(seed) = seed {
        command.arg("--seed").arg(seed.to_string());
    }
    if args.flag("--resume") {
        command.arg("--resume");
    }
    process::run(&mut command)
}

/// The path as seen from the current folder where it lies below, so that messages stay short.
fn shortest(path: &Path) -> &Path {
    std::env::current_dir()
        .ok()
        .and_then(|current| path.strip_prefix(current).ok())
        .unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::tests::SOURCE;

    #[test]
    fn wrong_arguments_end_before_anything_is_built() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        workspace.write("models/theory/Cargo.toml", "").unwrap();
        workspace
            .write("models/theory/src/line_fit/mod.rs", SOURCE)
            .unwrap();
        for (words, text) in [
            (
                "",
                "name the system to reproduce; `cargo xtask list` shows them",
            ),
            (
                "line-fti",
                "unknown system `line-fti`; did you mean `line-fit`?",
            ),
            (
                "line-fit --scale big",
                "--scale `big`: write small or paper",
            ),
            (
                "line-fit --seed -1",
                "--seed `-1`: write a non-negative whole number",
            ),
            (
                "line-fit --device cud:0",
                "unknown device `cud:0`; did you mean `cuda`?",
            ),
        ] {
            let words: Vec<String> = words.split_whitespace().map(String::from).collect();
            let spec = &crate::COMMANDS
                .iter()
                .find(|c| c.name == "reproduce")
                .unwrap()
                .spec;
            let fault = run(&workspace, &Args::parse(spec, &words).unwrap()).unwrap_err();
            assert_eq!(fault, Fault::usage(text), "{words:?}");
        }
    }
}
