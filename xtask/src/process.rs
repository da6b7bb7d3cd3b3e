//! Child processes.

use crate::{
    fault::{Fault, Result},
    workspace::{Workspace, absolute},
};
#[cfg(not(test))]
use std::io::Write;
use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, ExitStatus, Stdio},
    thread,
};

/// The `cargo` that runs this program.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The same `cargo`, working at the root of the workspace.
///
/// Tests and benches run in the folders of their packages, so a relative path that the user has
/// put into one of our variables is resolved here. `MENAGERIE_FIXTURES` is taken away: a parity
/// harness would read it without knowing which fixtures belong to its family, and
/// `cargo xtask parity` hands the folder over as an argument.
pub fn cargo_at_root(workspace: &Workspace) -> Command {
    let mut command = cargo();
    command.current_dir(workspace.path(""));
    for variable in ["MENAGERIE_DATA", "MENAGERIE_CACHE"] {
        let value = env::var_os(variable).filter(|value| !value.is_empty());
        if let Some(path) = value.and_then(|value| absolute(value.as_ref()).ok()) {
            command.env(variable, path);
        }
    }
    command.env_remove("MENAGERIE_FIXTURES");
    command
}

/// Runs to the end and gives the exit code.
///
/// # Errors
/// [`Fault::Failed`] if the program cannot be started.
pub fn run(command: &mut Command) -> Result<u8> {
    command.status().map(code).map_err(cannot_start(command))
}

/// Runs to the end, shows the standard output, and hands each of its lines to `each`.
///
/// # Errors
/// [`Fault::Failed`] if the program cannot be started.
pub fn tee(command: &mut Command, mut each: impl FnMut(&str)) -> Result<u8> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot_start(command))?;
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            show(&line);
            each(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }
    child.wait().map(code).map_err(cannot_start(command))
}

/// Runs all at the same time; the exit code and the standard output of each.
///
/// # Errors
/// [`Fault::Failed`] if one cannot be started or waited for; those that run then are waited for.
pub fn side_by_side(commands: Vec<Command>) -> Result<Vec<(u8, Vec<u8>)>> {
    let runs: Vec<_> = commands
        .into_iter()
        .map(|mut command| {
            thread::spawn(move || {
                let output = command.stderr(Stdio::inherit()).output();
                let output = output.map_err(cannot_start(&command))?;
                Ok((code(output.status), output.stdout))
            })
        })
        .collect();
    let ends: Vec<_> = runs.into_iter().map(thread::JoinHandle::join).collect();
    ends.into_iter()
        .map(|end| end.unwrap_or_else(|_| Err(Fault::failed("waiting for a program broke off"))))
        .collect()
}

/// Writes to the standard output; that nobody reads it is no failure.
#[cfg(not(test))]
pub fn show(bytes: &[u8]) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(bytes).and_then(|()| output.flush());
}

/// Writes to what the test harness captures.
#[cfg(test)]
pub fn show(bytes: &[u8]) {
    print!("{}", String::from_utf8_lossy(bytes));
}

/// Runs to the end out of sight; the standard output if the program succeeded.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = || String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(text)
}

/// Cargo's exit code when a build or a test failed, and a program's after a panic.
const CARGO_FAILED: u8 = 101;

/// The exit code as a shell shows it: 128 and the number of the signal for a killed program; 1
/// where Cargo says that something failed.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128u8.saturating_add(signal.unsigned_abs().min(127) as u8);
    }
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != CARGO_FAILED)
        .unwrap_or(1)
}

fn cannot_start(command: &Command) -> impl FnOnce(std::io::Error) -> Fault {
    let program = command.get_program().to_string_lossy().into_owned();
    move |error| Fault::failed(format!("cannot start `{program}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_do_not_see_the_folder_of_fixtures() {
        let dir = tempfile::tempdir().unwrap();
        let command = cargo_at_root(&Workspace::at(dir.path()));
        let removed = |(name, value): (&std::ffi::OsStr, Option<&std::ffi::OsStr>)| {
            name == "MENAGERIE_FIXTURES" && value.is_none()
        };
        assert!(command.get_envs().any(removed));
    }

    #[cfg(unix)]
    #[test]
    fn codes_and_lines_come_through() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        assert_eq!(run(&mut shell("exit 7")), Ok(7));
        assert_eq!(run(&mut shell("kill -9 $$")), Ok(137));
        assert_eq!(run(&mut shell("exit 101")), Ok(1));
        let mut lines = Vec::new();
        let code = tee(&mut shell("echo one; printf two; exit 3"), |line| {
            lines.push(line.to_owned())
        });
        assert_eq!(
            (code, lines),
            (Ok(3), vec!["one".to_owned(), "two".to_owned()])
        );
        let both = side_by_side(vec![
            shell("sleep 0.1; echo one"),
            shell("echo two; exit 4"),
        ]);
        let expected = vec![(0, b"one\n".to_vec()), (4, b"two\n".to_vec())];
        assert_eq!(both, Ok(expected));
        assert_eq!(output(&mut shell("echo x")).as_deref(), Some("x\n"));
        assert_eq!(output(&mut shell("echo x; exit 1")), None);
        let error = run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot start `no-such-program`: ")
        );
    }
}
