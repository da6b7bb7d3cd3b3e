//! `cargo xtask tch-env`: libtorch for the backend `tch`, from PyTorch's own Python package.

use crate::{
    args::Args,
    fault::{Fault, Result},
    process,
    workspace::{Workspace, absolute},
};
use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// The virtual environment's default folder in the workspace; git ignores it.
pub const FOLDER: &str = ".tch";

/// The release that `torch-sys` was generated for; another one does not link.
const TORCH: &str = "2.9.0";

/// The variables by which a user can name a libtorch of their own.
const OWN: &[&str] = &["LIBTORCH", "LIBTORCH_USE_PYTORCH", "LIBTORCH_LIB"];

/// Where the dynamic linker looks.
const LIBRARY_PATH: &str = if cfg!(target_os = "macos") {
    "DYLD_LIBRARY_PATH"
} else if cfg!(windows) {
    "PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// Creates the virtual environment unless it is complete, and prints the variables to export.
///
/// # Errors
/// [`Fault::Failed`] if there is no Python, no compiler, or the package cannot be installed.
pub fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let folder = match args.path("--dir") {
        Some(dir) => absolute(&dir)?,
        None => workspace.path(FOLDER),
    };
    let libtorch = match (installed(&folder), args.flag("--print")) {
        (Some(libtorch), _) => libtorch,
        (None, true) => {
            return Err(Fault::failed(format!(
                "{}: no torch {TORCH} in it: run `cargo xtask tch-env` without --print",
                folder.display()
            )));
        }
        (None, false) => install(&folder)?,
    };
    for (name, value) in variables(&libtorch) {
        say!("export {name}={}", quoted(&value));
    }
    Ok(0)
}

/// Points a child that builds with `feature` to libtorch, unless the user has done so.
///
/// # Errors
/// [`Fault::Usage`] if the feature is `tch` and there is no libtorch, before anything is built.
pub fn prepare(workspace: &Workspace, command: &mut Command, feature: &str) -> Result<()> {
    if feature != "tch" || OWN.iter().any(|name| env::var_os(name).is_some()) {
        return Ok(());
    }
    match installed(&workspace.path(FOLDER)) {
        Some(libtorch) => {
            command.envs(variables(&libtorch));
            Ok(())
        }
        None => Err(Fault::usage(format!(
            "the backend `tch` needs libtorch {TORCH}: run `cargo xtask tch-env`, or set LIBTORCH"
        ))),
    }
}

/// Whether the user has named a libtorch or the default folder holds one.
pub fn is_ready(workspace: &Workspace) -> bool {
    prepare(workspace, &mut Command::new("true"), "tch").is_ok()
}

/// The Python of a virtual environment.
pub fn python(folder: &Path) -> PathBuf {
    folder.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    })
}

/// Installs into the default folder.
///
/// # Errors
/// As [`run`].
pub fn install_default(workspace: &Workspace) -> Result<()> {
    install(&workspace.path(FOLDER)).map(drop)
}

/// The folder of the package `torch`, if the right release is there with its headers.
fn installed(folder: &Path) -> Option<PathBuf> {
    // Asked without importing torch, which takes seconds.
    let script = format!(
        "import importlib.metadata as m, importlib.util as u, os\n\
         assert m.version('torch').split('+')[0] == '{TORCH}'\n\
         print(os.path.dirname(u.find_spec('torch').origin))"
    );
    let path = process::output(Command::new(python(folder)).args(["-c", &script]))?;
    let libtorch = PathBuf::from(path.trim());
    libtorch.join("include/torch").is_dir().then_some(libtorch)
}

fn install(folder: &Path) -> Result<PathBuf> {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    if process::output(Command::new(&compiler).arg("--version")).is_none() {
        return Err(Fault::failed(format!(
            "no C++ compiler `{compiler}`: install one (Debian: g++), the bindings need it"
        )));
    }
    let _ = writeln!(
        std::io::stderr(),
        "installing torch {TORCH} into {}",
        folder.display()
    );
    let interpreter = if cfg!(windows) { "python" } else { "python3" };
    let mut venv = Command::new(interpreter);
    venv.args(["-m", "venv"]).arg(folder);
    if process::run(&mut venv)? != 0 {
        return Err(Fault::failed(format!(
            "{}: {interpreter} cannot create a virtual environment there: install its module venv \
             (Debian: python3-venv)",
            folder.display()
        )));
    }
    let mut pip = Command::new(python(folder));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    pip.arg(format!("torch=={TORCH}")).arg("numpy");
    // Standard output is for the variables.
    pip.stdout(std::io::stderr());
    if process::run(&mut pip)? != 0 {
        return Err(Fault::failed(format!(
            "pip cannot install torch=={TORCH}: it needs the network and a Python from 3.10 to 3.14"
        )));
    }
    installed(folder).ok_or_else(|| {
        Fault::failed(format!(
            "{}: torch {TORCH} has no headers in it",
            folder.display()
        ))
    })
}

/// What `torch-sys` reads while building and the dynamic linker while running.
///
/// `LIBTORCH` names the package's folder, which has the layout of a libtorch distribution. (With
/// `LIBTORCH_USE_PYTORCH` the build would import torch from whatever Python is first on the path.)
fn variables(libtorch: &Path) -> Vec<(&'static str, String)> {
    let library = libtorch.join("lib").to_string_lossy().into_owned();
    let paths = match env::var(LIBRARY_PATH) {
        Ok(old) if old.split(SEPARATOR).any(|path| path == library) => old,
        Ok(old) if !old.is_empty() => format!("{library}{SEPARATOR}{old}"),
        _ => library,
    };
    vec![
        ("LIBTORCH", libtorch.to_string_lossy().into_owned()),
        (LIBRARY_PATH, paths),
    ]
}

const SEPARATOR: char = if cfg!(windows) { ';' } else { ':' };

/// For a POSIX shell.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_holds_no_torch() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(installed(dir.path()), None);
        let args = Args::parse(
            &crate::args::Spec {
                options: &["--dir"],
                flags: &["--print"],
                positionals: 0,
            },
            &[
                "--dir".into(),
                dir.path().to_string_lossy().into_owned(),
                "--print".into(),
            ],
        );
        let error = run(&Workspace::at(dir.path()), &args.unwrap()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("run `cargo xtask tch-env` without --print")
        );
    }

    #[test]
    fn the_library_folder_comes_first() {
        let variables = variables(Path::new("venv/torch"));
        assert_eq!(variables[0], ("LIBTORCH", "venv/torch".into()));
        assert_eq!(variables[1].0, LIBRARY_PATH);
        assert!(variables[1].1.starts_with("venv/torch/lib"));
    }

    #[test]
    fn values_survive_a_shell() {
        assert_eq!(quoted("/opt/a-b_c.d:e"), "/opt/a-b_c.d:e");
        assert_eq!(quoted("it's here"), "'it'\\''s here'");
    }
}
