//! Fetching from a Hub that works and from one that does not.

use crate::server::{Answer, Content, Server};
use menagerie_hub::{HubOptions, Source};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const SHA256: &str = "96ad0ddabe9c733d4550fde750255a94806811029be67504bd9bd68e556686b9";

fn content() -> Content {
    Content {
        bytes: (0..100_000u32).map(|at| (at * 7 % 251) as u8).collect(),
        etag: "etag-1".into(),
    }
}

fn options(server: &Server, cache: &Path) -> HubOptions {
    HubOptions {
        endpoint: server.endpoint.clone(),
        retries: 2,
        backoff: Duration::from_millis(1),
        timeout: Duration::from_secs(5),
        ..HubOptions::new(cache)
    }
}

fn source() -> Source {
    Source::parse("hf:org/model/sub/weights.bin@v1").unwrap()
}

/// Every file below `dir` that is under a final name: neither a part nor a lock.
fn final_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_none_or(|e| e != "part" && e != "lock") {
                found.push(path);
            }
        }
    }
    found
}

/// Fetches, expects a failure with all of `texts`, and nothing under a final name.
fn fails(server: &Server, change: impl FnOnce(&mut HubOptions), texts: &[&str]) -> String {
    let cache = tempfile::tempdir().unwrap();
    let mut options = options(server, cache.path());
    change(&mut options);
    let error = source().fetch(&options).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let error = error.to_string();
    let url = format!("{}/org/model/resolve/v1/sub/weights.bin: ", server.endpoint);
    assert!(error.starts_with(&url), "{error}");
    for text in texts {
        assert!(error.contains(text), "{error} lacks: {text}");
    }
    assert_eq!(final_files(cache.path()), [] as [PathBuf; 0]);
    error
}

#[test]
fn a_file_is_fetched_once_and_then_found() {
    let server = Server::start(content(), Answer::File, vec![Answer::File]);
    let cache = tempfile::tempdir().unwrap();
    let mut options = options(&server, cache.path());
    options.token = Some("secret".into());
    let mut seen = Vec::new();
    let path = source()
        .fetch_with(&options, &mut |there, total| seen.push((there, total)))
        .unwrap();
    assert_eq!(fs::read(&path).unwrap(), content().bytes);
    assert_eq!(seen.first(), Some(&(0, 100_000)));
    assert_eq!(seen.last(), Some(&(100_000, 100_000)));
    let snapshot = "models--org--model/snapshots/c0ffee/sub/weights.bin";
    assert_eq!(path, cache.path().join(snapshot));
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(
        requests
            .iter()
            .all(|r| r.path == "/org/model/resolve/v1/sub/weights.bin")
    );
    assert!(
        requests
            .iter()
            .all(|r| r.authorization.as_deref() == Some("Bearer secret"))
    );

    assert_eq!(source().fetch(&options).unwrap(), path);
    options.offline = true;
    assert_eq!(source().fetch(&options).unwrap(), path);
    let by_commit = Source::parse("hf:org/model/sub/weights.bin@c0ffee").unwrap();
    assert_eq!(by_commit.fetch(&options).unwrap(), path);
    assert_eq!(server.requests().len(), 2, "the cache answers");
}

#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let gets = vec![
        Answer::CutAfter(30_000),
        Answer::CutAfter(20_000),
        Answer::File,
    ];
    let server = Server::start(content(), Answer::File, gets);
    let cache = tempfile::tempdir().unwrap();
    let path = source().fetch(&options(&server, cache.path())).unwrap();
    assert_eq!(fs::read(path).unwrap(), content().bytes);
    let ranges: Vec<_> = server.gets().into_iter().map(|r| r.range).collect();
    assert_eq!(
        ranges,
        [
            None,
            Some("bytes=30000-".into()),
            Some("bytes=50000-".into())
        ]
    );
}

#[test]
fn a_transfer_given_up_is_resumed_by_the_next_fetch() {
    let gets = vec![Answer::CutAfter(40_000), Answer::File];
    let server = Server::start(content(), Answer::File, gets);
    let cache = tempfile::tempdir().unwrap();
    let mut options = options(&server, cache.path());
    options.retries = 0;
    let error = source().fetch(&options).unwrap_err().to_string();
    assert!(error.contains("cut after 40000 of 100000 bytes"), "{error}");
    assert!(error.contains("it goes on from there"), "{error}");
    assert_eq!(final_files(cache.path()), [] as [PathBuf; 0]);

    let path = source().fetch(&options).unwrap();
    assert_eq!(fs::read(path).unwrap(), content().bytes);
    assert_eq!(server.gets()[1].range.as_deref(), Some("bytes=40000-"));
}

#[test]
fn a_server_that_does_not_resume_sends_the_whole_file_again() {
    let gets = vec![Answer::CutAfter(30_000), Answer::NoResume];
    let server = Server::start(content(), Answer::File, gets);
    let cache = tempfile::tempdir().unwrap();
    let path = source().fetch(&options(&server, cache.path())).unwrap();
    assert_eq!(fs::read(path).unwrap(), content().bytes);
}

#[test]
fn a_transfer_that_is_always_cut_is_given_up() {
    let server = Server::start(content(), Answer::File, vec![Answer::CutAfter(0)]);
    let texts = ["cut after 0 of 100000 bytes", "given up after 3 attempts"];
    fails(&server, |_| {}, &texts);
    assert_eq!(server.gets().len(), 3);
}

#[test]
fn a_transfer_that_gets_on_is_not_given_up() {
    const MIB: usize = 1 << 20;
    let large = Content {
        bytes: (0..4 * MIB).map(|at| (at * 7 % 251) as u8).collect(),
        etag: "etag-2".into(),
    };
    // More failures than the options allow in a row.
    let mut gets = vec![Answer::CutAfter(MIB / 2); 6];
    gets.push(Answer::File);
    let server = Server::start(large.clone(), Answer::File, gets);
    let cache = tempfile::tempdir().unwrap();
    let path = source().fetch(&options(&server, cache.path())).unwrap();
    assert_eq!(fs::read(path).unwrap(), large.bytes);
    assert_eq!(server.gets().len(), 7);
}

#[test]
fn a_wrong_content_length_is_noticed() {
    let server = Server::start(content(), Answer::File, vec![Answer::LongerLength(5)]);
    let texts = [
        "sends 100005 bytes where it announced 100000",
        "try again later",
    ];
    fails(&server, |_| {}, &texts);

    // One that cannot be added to what is there.
    let rest = 100_000 - 30_000;
    let gets = vec![
        Answer::CutAfter(30_000),
        Answer::LongerLength(u64::MAX as usize - rest),
    ];
    let server = Server::start(content(), Answer::File, gets);
    let text = format!("sends {} bytes where it announced 100000", u64::MAX);
    fails(&server, |_| {}, &[&text]);
}

#[test]
fn a_file_of_another_size_is_noticed() {
    let answers = vec![Answer::Instead(b"an error page".to_vec())];
    let server = Server::start(content(), Answer::File, answers);
    fails(
        &server,
        |_| {},
        &["sends 13 bytes where it announced 100000"],
    );
}

#[test]
fn a_file_of_another_hash_is_removed() {
    let mut damaged = content();
    damaged.etag = SHA256.into();
    damaged.bytes[50_000] ^= 1;
    let server = Server::start(damaged, Answer::File, vec![Answer::File]);
    let expected = format!("expected {SHA256}: it was removed");
    let cache = tempfile::tempdir().unwrap();
    let error = source()
        .fetch(&options(&server, cache.path()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("the SHA-256 of what arrived is "), "{error}");
    assert!(error.contains(&expected), "{error}");
    let left = cache.path().join("models--org--model/blobs");
    assert_eq!(fs::read_dir(left).unwrap().count(), 0);

    let mut whole = content();
    whole.etag = SHA256.into();
    let server = Server::start(whole, Answer::File, vec![Answer::File]);
    let path = source().fetch(&options(&server, cache.path())).unwrap();
    assert_eq!(fs::read(path).unwrap(), content().bytes);
}

#[test]
fn refusals_name_the_remedy() {
    let cases: [(&str, &str, bool, &[&str]); 6] = [
        (
            "404 Not Found",
            "",
            false,
            &[
                "404 Not Found",
                "no repository `org/model`",
                "no file `sub/weights.bin` in it at `v1`",
            ],
        ),
        (
            "404 Not Found",
            "X-Error-Code: EntryNotFound",
            false,
            &["`org/model` has no file `sub/weights.bin` at `v1`"],
        ),
        (
            "404 Not Found",
            "X-Error-Code: RevisionNotFound",
            false,
            &["`org/model` has no revision `v1`"],
        ),
        (
            "401 Unauthorized",
            "",
            false,
            &["401 Unauthorized", "set HF_TOKEN"],
        ),
        (
            "401 Unauthorized",
            "",
            true,
            &["the token in HF_TOKEN may not read it"],
        ),
        (
            "403 Forbidden",
            "",
            true,
            &["accept the terms of `org/model`"],
        ),
    ];
    for (status, headers, token, texts) in cases {
        let server = Server::start(
            content(),
            Answer::Status(status, headers),
            vec![Answer::File],
        );
        let change = |options: &mut HubOptions| options.token = token.then(|| "secret".into());
        let error = fails(&server, change, texts);
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(server.requests().len(), 1, "{status} is not tried again");
    }
}

#[test]
fn a_failing_server_is_asked_again_and_then_given_up() {
    let failure = Answer::Status("500 Internal Server Error", "");
    let server = Server::start(content(), failure.clone(), vec![Answer::File]);
    let texts = [
        "500 Internal Server Error",
        "the server failed",
        "given up after 3 attempts",
    ];
    fails(&server, |_| {}, &texts);
    assert_eq!(server.requests().len(), 3);

    let server = Server::start(content(), Answer::File, vec![failure, Answer::File]);
    let cache = tempfile::tempdir().unwrap();
    let path = source().fetch(&options(&server, cache.path())).unwrap();
    assert_eq!(fs::read(path).unwrap(), content().bytes);
}

#[test]
fn a_refusal_of_the_content_is_reported_like_one_of_the_question() {
    let refusal = Answer::Status("401 Unauthorized", "");
    let server = Server::start(content(), Answer::File, vec![refusal]);
    fails(&server, |_| {}, &["401 Unauthorized", "set HF_TOKEN"]);
}

#[test]
fn redirects_are_followed_and_the_token_stays_with_the_hub() {
    let storage = Server::start(content(), Answer::File, vec![Answer::File]);
    let location = format!(
        "Location: {}/blob\r\nX-Repo-Commit: c0ffee\r\nX-Linked-Etag: \"etag-1\"\r\nX-Linked-Size: 100000",
        storage.endpoint
    );
    let redirect = Answer::Status("302 Found", location.leak());
    let hub = Server::start(content(), redirect.clone(), vec![redirect]);
    let cache = tempfile::tempdir().unwrap();
    let mut options = options(&hub, cache.path());
    options.token = Some("secret".into());
    let path = source().fetch(&options).unwrap();
    assert_eq!(fs::read(path).unwrap(), content().bytes);
    assert_eq!(storage.requests().len(), 1);
    assert_eq!(storage.requests()[0].path, "/blob");
}

#[test]
fn a_server_that_is_no_hub_is_recognised() {
    let server = Server::start(
        content(),
        Answer::Status("200 OK", "Server: x"),
        vec![Answer::File],
    );
    fails(&server, |_| {}, &["no usable ETag", "HF_ENDPOINT"]);
    let mut odd = content();
    odd.etag = "../../escape".into();
    let server = Server::start(odd, Answer::File, vec![Answer::File]);
    fails(&server, |_| {}, &["no usable ETag"]);
}

#[test]
fn offline_means_the_cache_alone() {
    let server = Server::start(content(), Answer::File, vec![Answer::File]);
    let texts = [
        "`sub/weights.bin` of `org/model` at `v1`",
        "not in the cache",
        "unset HF_HUB_OFFLINE",
    ];
    fails(&server, |options| options.offline = true, &texts);
    assert!(server.requests().is_empty());
}

#[test]
fn a_hub_that_cannot_be_reached_is_named() {
    let mut server = Server::start(content(), Answer::File, vec![Answer::File]);
    // Nothing listens on the port for discarded data.
    server.endpoint = "http://127.0.0.1:9".into();
    fails(
        &server,
        |options| options.retries = 1,
        &["HF_ENDPOINT", "HF_HUB_OFFLINE", "2 attempts"],
    );
}

#[test]
fn a_local_file_is_its_own_source() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.bin");
    let source = Source::File(path.clone());
    let error = source
        .fetch(&HubOptions::new(dir.path()))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("cannot find {}", path.display())),
        "{error}"
    );
    fs::write(&path, "x").unwrap();
    assert_eq!(source.fetch(&HubOptions::new(dir.path())).unwrap(), path);
}
