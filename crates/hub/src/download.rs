//! Fetching one file of a repository into the cache.
//!
//! `hf-hub` gives the cache its layout. Its transfer checks neither size nor hash of what arrives
//! and appends to a part without asking whether the server resumed, so the transfer is our own.

use crate::HubOptions;
use hf_hub::{Cache, Repo, RepoType};
use menagerie_core::{Error, Result, fs};
use sha2::{Digest, Sha256};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    thread,
};
use ureq::{
    Agent, Body, RequestBuilder,
    config::RedirectAuthHeaders,
    http::{HeaderMap, Response, StatusCode, Uri},
    typestate::WithoutBody,
};

/// Bytes that make a failed attempt worth counting the failures anew.
const PROGRESS: u64 = 1 << 20;

/// A file of a repository, and what it takes to get it.
struct Transfer<'a> {
    repo: &'a str,
    file: &'a str,
    revision: &'a str,
    options: &'a HubOptions,
    url: String,
}

/// What the Hub says of a file before sending it.
struct Remote {
    commit: String,
    etag: String,
    size: u64,
}

/// Why an attempt failed.
enum Failure {
    /// It may go better the next time.
    Passing(String),
    /// It will not.
    Final(Error),
}

type Attempt<T> = std::result::Result<T, Failure>;

/// The path of `file` in the cache, fetched first where it is not there.
pub(crate) fn fetch(
    repo: &str,
    file: &str,
    revision: &str,
    options: &HubOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    let hub_repo = Repo::with_revision(repo.into(), RepoType::Model, revision.into());
    let cache = Cache::new(options.cache.clone());
    let cached = cache.repo(hub_repo.clone());
    // A commit is its own snapshot, whether or not a reference names it.
    let snapshot = cached.pointer_path(revision).join(file);
    if let Some(path) = cached
        .get(file)
        .or_else(|| snapshot.exists().then_some(snapshot))
    {
        return Ok(path);
    }
    let transfer = Transfer {
        repo,
        file,
        revision,
        options,
        url: format!(
            "{}/{repo}/resolve/{}/{}",
            options.endpoint,
            encode(revision, false),
            encode(file, true)
        ),
    };
    if options.offline {
        return Err(transfer.error(format!(
            "`{file}` of `{repo}` at `{revision}` is not in the cache {} and the Hub is offline: \
             unset HF_HUB_OFFLINE to fetch it",
            options.cache.display()
        )));
    }
    let remote = transfer.retry(|| 0, || transfer.ask())?;
    let blob = cached.blob_path(&remote.etag);
    let repo_dir = options.cache.join(hub_repo.folder_name());
    for dir in [blob.parent(), Some(repo_dir.as_path())]
        .into_iter()
        .flatten()
    {
        std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
    }
    // Two programs that want the same file fetch it once.
    let lock = lock(&options.cache, &hub_repo.folder_name(), &remote.etag)?;
    let whole = std::fs::metadata(&blob).is_ok_and(|found| found.len() == remote.size);
    if !whole {
        let part = blob.with_file_name(format!("{}.part", remote.etag));
        let there = || std::fs::metadata(&part).map_or(0, |found| found.len());
        transfer.retry(there, || transfer.receive(&part, &remote, progress))?;
        transfer.verify(&part, &remote)?;
        std::fs::rename(&part, &blob).map_err(Error::io("rename to", &blob))?;
    }
    drop(lock);
    let pointer = cached.pointer_path(&remote.commit).join(file);
    link(&blob, &pointer, file)?;
    let reference = repo_dir.join("refs").join(revision);
    if let Some(dir) = reference.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
    }
    fs::write(&reference, &remote.commit)?;
    Ok(pointer)
}

impl Transfer<'_> {
    fn error(&self, problem: impl Into<String>) -> Error {
        Error::Network {
            url: self.url.clone(),
            problem: problem.into(),
        }
    }

    fn agent(&self, redirects: u32) -> Agent {
        let silence = Some(self.options.timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(redirects)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            // A compressed body has neither the announced size nor bytes to resume at.
            .accept_encoding("identity")
            .user_agent(concat!("menagerie-hub/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .timeout_per_read(silence);
        if is_loopback(&self.options.endpoint) {
            config = config.proxy(None);
        }
        config.build().new_agent()
    }

    fn authorised(&self, request: RequestBuilder<WithoutBody>) -> RequestBuilder<WithoutBody> {
        match &self.options.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Repeats `attempt` while its failures may pass, as often in a row as the options allow.
    ///
    /// `there` says how many bytes have arrived; a new [`PROGRESS`] of them ends a row. What is
    /// fetched a second time is none, so that the rows come to an end.
    fn retry<T>(
        &self,
        there: impl Fn() -> u64,
        mut attempt: impl FnMut() -> Attempt<T>,
    ) -> Result<T> {
        let mut furthest = there();
        let mut pause = self.options.backoff;
        let (mut attempts, mut failures) = (0, 0);
        loop {
            let problem = match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(problem)) => problem,
            };
            attempts += 1;
            let there = there();
            if there >= furthest.saturating_add(PROGRESS) {
                furthest = there;
                failures = 0;
                pause = self.options.backoff;
            }
            failures += 1;
            if failures > self.options.retries {
                return Err(self.error(format!("{problem} (given up after {attempts} attempts)")));
            }
            thread::sleep(pause);
            pause = pause.saturating_mul(2);
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::Passing(format!(
            "{error}: check the connection and HF_ENDPOINT ({}); HF_HUB_OFFLINE=1 uses the cache alone",
            self.options.endpoint
        ))
    }

    /// Commit, hash and size of the file, without its content.
    fn ask(&self) -> Attempt<Remote> {
        let agent = self.agent(0);
        let mut url = self.url.clone();
        for _ in 0..5 {
            let same_host = host(&url) == host(&self.url);
            let request = agent.head(&url);
            let request = if same_host {
                self.authorised(request)
            } else {
                request
            };
            let response = request.call().map_err(|error| self.unreachable(&error))?;
            let location = header(response.headers(), "location");
            let known = response.headers().contains_key("x-repo-commit");
            match location {
                // Towards the repository's new name or the mirror's other address; the step to
                // the storage carries the answer itself.
                Some(location) if response.status().is_redirection() => {
                    if location.starts_with('/') {
                        url = format!("{}{location}", origin(&url));
                    } else if known {
                        return self.describe(response.headers());
                    } else {
                        url = location.to_owned();
                    }
                }
                _ if response.status().is_success() => return self.describe(response.headers()),
                _ => return Err(self.refused(&response)),
            }
        }
        Err(Failure::Final(self.error("redirected more than 5 times")))
    }

    fn describe(&self, headers: &HeaderMap) -> Attempt<Remote> {
        let missing = |what: &str| {
            Failure::Final(self.error(format!(
                "the answer has no usable {what}: is {} a Hub? see HF_ENDPOINT",
                self.options.endpoint
            )))
        };
        let etag = header(headers, "x-linked-etag")
            .or_else(|| header(headers, "etag"))
            .map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned())
            .filter(|etag| is_file_name(etag))
            .ok_or_else(|| missing("ETag"))?;
        let commit = header(headers, "x-repo-commit")
            .filter(|commit| is_file_name(commit))
            .ok_or_else(|| missing("X-Repo-Commit"))?
            .to_owned();
        let size = header(headers, "x-linked-size")
            .or_else(|| header(headers, "content-length"))
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| missing("Content-Length"))?;
        Ok(Remote { commit, etag, size })
    }

    /// Brings `part` to the announced size, from where it stands.
    fn receive(
        &self,
        part: &Path,
        remote: &Remote,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Attempt<()> {
        let io = |action| move |error| Failure::Final(Error::io(action, part)(error));
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(part)
            .map_err(io("open"))?;
        let mut start = file.metadata().map_err(io("read"))?.len();
        if start > remote.size {
            file.set_len(0).map_err(io("empty"))?;
            start = 0;
        }
        progress(start, remote.size);
        if start == remote.size {
            return Ok(());
        }
        let mut request = self.authorised(self.agent(10).get(&self.url));
        if start > 0 {
            request = request.header("Range", format!("bytes={start}-"));
        }
        let mut response = request.call().map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = header(response.headers(), "content-range").unwrap_or_default();
                if !range.starts_with(&format!("bytes {start}-")) {
                    file.set_len(0).map_err(io("empty"))?;
                    return Err(Failure::Passing(format!(
                        "the server resumed at `{range}` where byte {start} was asked for"
                    )));
                }
            }
            // The server does not resume: from the beginning again.
            StatusCode::OK if start > 0 => {
                file.set_len(0).map_err(io("empty"))?;
                start = 0;
            }
            StatusCode::OK => {}
            StatusCode::RANGE_NOT_SATISFIABLE => {
                file.set_len(0).map_err(io("empty"))?;
                return Err(Failure::Passing(format!("the server has no byte {start}")));
            }
            _ => return Err(self.refused(&response)),
        }
        if let Some(length) = response.body().content_length()
            // The length is the server's word and may be anything.
            && let total = start.saturating_add(length)
            && total != remote.size
        {
            return Err(Failure::Passing(format!(
                "the server sends {total} bytes where it announced {}: try again later",
                remote.size
            )));
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut there = start;
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => {
                    return Err(Failure::Passing(format!(
                        "the transfer was cut after {there} of {} bytes ({error}): \
                         try again, it goes on from there",
                        remote.size
                    )));
                }
            };
            if there.saturating_add(count as u64) > remote.size {
                file.set_len(0).map_err(io("empty"))?;
                return Err(Failure::Passing(format!(
                    "the server sends more than the {} bytes it announced",
                    remote.size
                )));
            }
            file.write_all(&buffer[..count]).map_err(io("write"))?;
            there += count as u64;
            progress(there, remote.size);
        }
        if there < remote.size {
            return Err(Failure::Passing(format!(
                "the transfer was cut after {there} of {} bytes: try again, it goes on from there",
                remote.size
            )));
        }
        file.sync_all().map_err(io("write"))
    }

    /// Holds a whole part to its hash, which the Hub gives for large files.
    fn verify(&self, part: &Path, remote: &Remote) -> Result<()> {
        let is_sha256 =
            remote.etag.len() == 64 && remote.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_sha256 {
            return Ok(());
        }
        let mut file = File::open(part).map_err(Error::io("open", part))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = file.read(&mut buffer).map_err(Error::io("read", part))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
        }
        let found: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found.eq_ignore_ascii_case(&remote.etag) {
            return Ok(());
        }
        std::fs::remove_file(part).map_err(Error::io("remove", part))?;
        Err(self.error(format!(
            "the SHA-256 of what arrived is {found}, expected {}: it was removed, try again",
            remote.etag
        )))
    }

    /// What a status that is no success means, and what to do about it.
    fn refused(&self, response: &Response<Body>) -> Failure {
        let status = response.status();
        let Self {
            repo,
            file,
            revision,
            ..
        } = self;
        let remedy = match (status.as_u16(), header(response.headers(), "x-error-code")) {
            (_, Some("RevisionNotFound")) => format!("`{repo}` has no revision `{revision}`"),
            (_, Some("EntryNotFound")) => {
                format!("`{repo}` has no file `{file}` at `{revision}`: check its name")
            }
            (401, _) if self.options.token.is_some() => {
                format!("`{repo}` does not exist, or the token in HF_TOKEN may not read it")
            }
            (401, _) => format!(
                "`{repo}` does not exist, or is private or gated: check its name, or set HF_TOKEN \
                 to a token that may read it"
            ),
            (403, _) => format!(
                "accept the terms of `{repo}` on its page with the account whose token is in HF_TOKEN"
            ),
            (404, _) => format!(
                "no repository `{repo}`, or no file `{file}` in it at `{revision}`: check both names"
            ),
            (429, _) => "too many requests: wait a while, or set HF_TOKEN".into(),
            (500..=599, _) => "the server failed, not this side: try again later".into(),
            _ => format!("cannot fetch `{file}` of `{repo}`"),
        };
        let problem = format!("{status}: {remedy}");
        let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        if passing {
            Failure::Passing(problem)
        } else {
            Failure::Final(self.error(problem))
        }
    }
}

/// An exclusive lock that ends when it is dropped.
fn lock(cache: &Path, repo: &str, etag: &str) -> Result<File> {
    let dir = cache.join(".locks").join(repo);
    std::fs::create_dir_all(&dir).map_err(Error::io("create the folder", &dir))?;
    let path = dir.join(format!("{etag}.lock"));
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    file.lock().map_err(Error::io("lock", &path))?;
    Ok(file)
}

/// Makes `pointer`, which is `file` below a snapshot, stand for `blob`.
fn link(blob: &Path, pointer: &Path, file: &str) -> Result<()> {
    if let Some(dir) = pointer.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
    }
    fs::write_with(pointer, |temporary| {
        #[cfg(unix)]
        {
            let name = blob.file_name().unwrap_or_default();
            // From the file's folder up to the snapshot, the snapshots and the repository.
            let up = "../".repeat(Path::new(file).components().count() + 1);
            let target = Path::new(&up).join("blobs").join(name);
            let _ = std::fs::remove_file(temporary);
            std::os::unix::fs::symlink(target, temporary).map_err(Error::io("link", pointer))
        }
        #[cfg(not(unix))]
        {
            let _ = file;
            std::fs::copy(blob, temporary)
                .map(|_| ())
                .map_err(Error::io("copy to", pointer))
        }
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a name from the network can be a file's name without going anywhere else.
fn is_file_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.bytes().all(allowed)
}

fn host(url: &str) -> Option<String> {
    Some(url.parse::<Uri>().ok()?.authority()?.to_string())
}

/// `https://host:port` of an address.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    &url[..end]
}

fn is_loopback(endpoint: &str) -> bool {
    host(endpoint).is_some_and(|host| {
        let name = host
            .rsplit_once(':')
            .map_or(host.as_str(), |(name, _)| name);
        name == "localhost" || name == "[::1]" || name.starts_with("127.")
    })
}

/// Percent-encodes what may not stand in an address.
fn encode(text: &str, slashes: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            b'/' if slashes => "/".into(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_network_cannot_leave_the_cache() {
        for bad in ["", "..", ".hidden", "a/b", "a\\b", "a b", "a\0"] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
        assert!(is_file_name("b908f2b7227d4d31a2105dfa31095e28d304f9bc-1"));
    }

    #[test]
    fn addresses_are_encoded_and_taken_apart() {
        assert_eq!(encode("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(encode("a b/ü.pt", true), "a%20b/%C3%BC.pt");
        assert_eq!(origin("http://127.0.0.1:80/a/b"), "http://127.0.0.1:80");
        assert!(is_loopback("http://127.0.0.1:8080") && is_loopback("http://localhost"));
        assert!(!is_loopback("https://huggingface.co"));
    }
}
