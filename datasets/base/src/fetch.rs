//! One file from the network to its final name.

use crate::{File, Part, locator::difference};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use menagerie_core::Error;
use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use ureq::{
    Agent,
    http::{Response, StatusCode, header},
};

/// Failures in a row, none of which brought [`PROGRESS`] bytes, after which an address is given up.
const ATTEMPTS: u32 = 5;
/// Bytes that make an attempt worth another round of attempts.
const PROGRESS: u64 = 1 << 20;
/// The longest silence of a server within a transfer.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a file did not arrive.
pub(crate) enum Cause {
    /// This machine could not store it.
    Local(Error),
    /// No address delivered it: what each of them said.
    Remote(String),
}

/// How one attempt ended.
enum Attempt {
    /// All bytes that the server has are in the partial file.
    Complete,
    /// Worth another try.
    Interrupted(String),
    /// Not worth another try at this address.
    Refused(String),
}

/// Fetches `file` into `dir`.
///
/// The bytes gather in `<file>.part`, which survives an interruption and is resumed from. It becomes
/// `<file>` when its digest is the registry's and is removed when it is not.
pub(crate) fn file(
    file: &File,
    urls: &[String],
    dir: &Path,
    retry_after: Duration,
) -> Result<(), Cause> {
    let path = dir.join(file.path);
    let parent = path.parent().unwrap_or(dir);
    fs::create_dir_all(parent)
        .map_err(|error| Cause::Local(Error::io("create the folder", parent)(error)))?;
    let part = partial_name(&path);

    // Two programs must not append to the same partial file. Where the file system has no locks the
    // digest still catches the mixture.
    let lock_path = dir.join(".lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| Cause::Local(Error::io("write", &lock_path)(error)))?;
    let _ = lock.lock();
    if path.is_file() {
        return Ok(());
    }

    let accepted: Vec<Part> = file
        .forms()
        .into_iter()
        .flatten()
        .filter(|form| form.path == file.path)
        .collect();
    let mut reasons = Vec::new();
    for url in urls {
        match from_address(url, &part, &accepted, retry_after)? {
            None => {
                return fs::rename(&part, &path)
                    .map_err(|error| Cause::Local(Error::io("rename to", &path)(error)));
            }
            Some(reason) => reasons.push(format!("{url}: {reason}")),
        }
    }
    Err(Cause::Remote(reasons.join("; ")))
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".part");
    name.into()
}

/// Fills `part` from `url` until it is one of the `accepted` forms; `Some` says why that failed.
fn from_address(
    url: &str,
    part: &Path,
    accepted: &[Part],
    retry_after: Duration,
) -> Result<Option<String>, Cause> {
    let agent = agent(url);
    let mut failures = 0;
    let mut wait = retry_after;
    loop {
        let before = length(part);
        let failure = match attempt(&agent, url, part, accepted)? {
            Attempt::Refused(reason) => return Ok(Some(reason)),
            Attempt::Interrupted(reason) => reason,
            Attempt::Complete => match judge(part, accepted)? {
                None => return Ok(None),
                Some(reason) => {
                    remove(part)?;
                    if before == 0 {
                        return Ok(Some(reason));
                    }
                    // What lay there from an earlier transfer may have been another file's.
                    reason
                }
            },
        };
        if length(part) >= before.saturating_add(PROGRESS) {
            (failures, wait) = (0, retry_after);
        }
        failures += 1;
        if failures == ATTEMPTS {
            return Ok(Some(format!("{failure} (tried {ATTEMPTS} times)")));
        }
        thread::sleep(wait);
        wait = wait.saturating_mul(2);
    }
}

fn agent(url: &str) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // A compressed transfer would have neither the size nor the digest of the file.
        .accept_encoding("identity")
        .user_agent(concat!("menagerie-data/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(SILENCE))
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE));
    if is_loopback(url) {
        config = config.proxy(None);
    }
    config.build().into()
}

/// Whether the address is on this machine, where no proxy can reach.
fn is_loopback(url: &str) -> bool {
    let host = url.parse::<ureq::http::Uri>().ok().and_then(|uri| {
        uri.host()
            .map(|host| host.trim_matches(['[', ']']).to_string())
    });
    host.is_some_and(|host| {
        host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

/// One request for what `part` still lacks.
fn attempt(agent: &Agent, url: &str, part: &Path, accepted: &[Part]) -> Result<Attempt, Cause> {
    let longest = accepted.iter().map(|form| form.size).max().unwrap_or(0);
    let have = length(part);
    if have >= longest && have > 0 {
        return Ok(Attempt::Complete);
    }
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let response = match request.call() {
        Ok(response) => response,
        Err(error) => return Ok(Attempt::Interrupted(error.to_string())),
    };
    let fits = |total: u64| accepted.iter().any(|form| form.size == total);
    let offset = match response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT => have,
        StatusCode::RANGE_NOT_SATISFIABLE => {
            remove(part)?;
            return Ok(Attempt::Interrupted(
                "the server has less than was fetched before".into(),
            ));
        }
        status if status.is_server_error() || worth_another_try(status) => {
            return Ok(Attempt::Interrupted(format!("HTTP {status}")));
        }
        status => return Ok(Attempt::Refused(format!("HTTP {status}"))),
    };
    let remaining = number(&response, header::CONTENT_LENGTH);
    let total = if response.status() == StatusCode::PARTIAL_CONTENT {
        let Some((start, total)) = content_range(&response).filter(|(start, _)| *start == have)
        else {
            remove(part)?;
            return Ok(Attempt::Interrupted(
                "the server sent another range than asked for".into(),
            ));
        };
        total.or(remaining.map(|remaining| start.saturating_add(remaining)))
    } else {
        remaining
    };
    if let Some(total) = total.filter(|total| !fits(*total)) {
        remove(part)?;
        return Ok(Attempt::Refused(format!(
            "the file has {total} bytes, expected {}",
            sizes(accepted)
        )));
    }
    let received = receive(response, part, offset, longest)?;
    Ok(match received {
        // Without an announced length the end of the stream may be a cut connection.
        None if total.is_none() && length(part) < longest && !fits(length(part)) => {
            Attempt::Interrupted(format!("the transfer ended after {} bytes", length(part)))
        }
        None => Attempt::Complete,
        Some(reason) => Attempt::Interrupted(format!(
            "{reason} after {} of {longest} bytes",
            length(part)
        )),
    })
}

/// Appends the body to `part`, which is cut to `offset` bytes first; `Some` says why the body ended
/// early.
fn receive(
    response: Response<ureq::Body>,
    part: &Path,
    offset: u64,
    longest: u64,
) -> Result<Option<String>, Cause> {
    let local = |error| Cause::Local(Error::io("write", part)(error));
    let mut out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(part)
        .map_err(local)?;
    out.set_len(offset).map_err(local)?;
    let bar = progress_bar(part, offset, longest);
    // One byte more than can be right is enough to see that the body is too long.
    let mut body = response
        .into_body()
        .into_reader()
        .take(longest.saturating_sub(offset).saturating_add(1));
    let mut buffer = vec![0; 1 << 16];
    let early_end = loop {
        match body.read(&mut buffer) {
            Ok(0) => break None,
            Ok(read) => {
                out.write_all(&buffer[..read]).map_err(local)?;
                bar.inc(read as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => break Some(error.to_string()),
        }
    };
    out.sync_all().map_err(local)?;
    bar.finish_and_clear();
    Ok(early_end)
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(part: &Path, offset: u64, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let name = part
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    bar.with_message(name).with_position(offset)
}

/// Why `part` is none of the `accepted` forms.
fn judge(part: &Path, accepted: &[Part]) -> Result<Option<String>, Cause> {
    let found = length(part);
    let mut reason = Some(format!(
        "the file has {found} bytes or more, expected {}",
        sizes(accepted)
    ));
    for form in accepted.iter().filter(|form| form.size == found) {
        reason = difference(part, form).map_err(Cause::Local)?;
        if reason.is_none() {
            break;
        }
    }
    Ok(reason)
}

fn sizes(accepted: &[Part]) -> String {
    let sizes: Vec<String> = accepted.iter().map(|form| form.size.to_string()).collect();
    sizes.join(" or ")
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn remove(part: &Path) -> Result<(), Cause> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Cause::Local(Error::io("remove", part)(error)))
        }
        _ => Ok(()),
    }
}

fn worth_another_try(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
    )
}

fn number(response: &Response<ureq::Body>, name: header::HeaderName) -> Option<u64> {
    response
        .headers()
        .get(name)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The first byte and, where the server knows it, the length of the whole file.
fn content_range(response: &Response<ureq::Body>) -> Option<(u64, Option<u64>)> {
    let text = response
        .headers()
        .get(header::CONTENT_RANGE)?
        .to_str()
        .ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}
