//! Finding, fetching and verifying, against a server on loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod program;
mod registry;
mod server;

use menagerie_data::{DataSet, File, Locator, Part};
use server::{Reply, Request, Server};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A body that no cut or shift leaves unchanged.
fn body() -> Vec<u8> {
    (0..200_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn sha256(bytes: &[u8]) -> &'static str {
    let digest = Sha256::digest(bytes);
    let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    text.leak()
}

/// A data set of one file, `toy.bin`, with the content `bytes`.
fn toy(bytes: &[u8], urls: &[String]) -> DataSet {
    let urls: Vec<&'static str> = urls.iter().map(|url| &*url.clone().leak()).collect();
    DataSet {
        name: "toy",
        title: "Toy",
        licence: "none",
        origin: "http://127.0.0.1/",
        files: vec![File {
            path: "toy.bin",
            size: bytes.len() as u64,
            sha256: sha256(bytes),
            urls: urls.leak(),
            alternatives: &[],
        }]
        .leak(),
    }
}

fn locator(cache: &TempDir) -> Locator {
    Locator {
        data_dir: None,
        cache_dir: Some(cache.path().to_path_buf()),
        offline: false,
        mirror: None,
        retry_after: Duration::ZERO,
    }
}

/// The files of the data set `toy` in the cache, without the lock.
fn files(cache: &TempDir) -> Vec<String> {
    let Ok(entries) = fs::read_dir(cache.path().join("toy")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

fn fetched(cache: &TempDir) -> Vec<u8> {
    fs::read(cache.path().join("toy/toy.bin")).unwrap()
}

/// Runs `find` against a server that answers by `answer`.
fn serve(
    answer: impl Fn(&Request, usize) -> Reply + Send + 'static,
) -> (TempDir, Server, Result<(), String>) {
    let cache = tempfile::tempdir().unwrap();
    serve_into(cache, answer)
}

fn serve_into(
    cache: TempDir,
    answer: impl Fn(&Request, usize) -> Reply + Send + 'static,
) -> (TempDir, Server, Result<(), String>) {
    let server = Server::start(answer);
    let set = toy(&body(), &[format!("{}/toy.bin", server.address)]);
    let found = locator(&cache)
        .find(&set)
        .map_err(|error| error.to_string());
    let found = found.map(|dir| assert_eq!(dir, cache.path().join("toy")));
    (cache, server, found)
}

fn starts(server: &Server) -> Vec<Option<usize>> {
    server
        .requests()
        .into_iter()
        .map(|request| request.from)
        .collect()
}

#[test]
fn a_file_is_fetched_once() {
    let (cache, server, found) = serve(Reply::ranged_answer);
    found.unwrap();
    assert_eq!(fetched(&cache), body());
    assert_eq!(files(&cache), ["toy.bin"]);
    let set = toy(&body(), &[]);
    assert_eq!(locator(&cache).locate(&set), Some(cache.path().join("toy")));
    locator(&cache).verify(&set).unwrap();
    assert_eq!(starts(&server), [None]);
}

impl Reply {
    fn ranged_answer(request: &Request, _before: usize) -> Self {
        Self::ranged(&body(), request)
    }
}

#[test]
fn a_cut_transfer_resumes_where_it_stopped() {
    let (cache, server, found) = serve(|request, before| {
        let reply = Reply::ranged(&body(), request);
        match before {
            0 => reply.cut_after(70_000),
            1 => reply.cut_after(50_000),
            _ => reply,
        }
    });
    found.unwrap();
    assert_eq!(fetched(&cache), body());
    assert_eq!(starts(&server), [None, Some(70_000), Some(120_000)]);
}

#[test]
fn a_cut_is_noticed_without_an_announced_length() {
    let (cache, server, found) = serve(|request, before| {
        let reply = Reply::ranged(&body(), request);
        if before == 0 {
            reply.without_length().cut_after(60_000)
        } else {
            reply
        }
    });
    found.unwrap();
    assert_eq!(fetched(&cache), body());
    assert_eq!(starts(&server), [None, Some(60_000)]);
}

#[test]
fn a_program_resumes_what_an_earlier_one_left() {
    let cache = tempfile::tempdir().unwrap();
    fs::create_dir(cache.path().join("toy")).unwrap();
    fs::write(cache.path().join("toy/toy.bin.part"), &body()[..123_456]).unwrap();
    let (cache, server, found) = serve_into(cache, Reply::ranged_answer);
    found.unwrap();
    assert_eq!(fetched(&cache), body());
    assert_eq!(starts(&server), [Some(123_456)]);
    assert_eq!(files(&cache), ["toy.bin"]);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let (cache, server, found) = serve(|_, before| {
        let reply = Reply::whole(&body());
        if before == 0 {
            reply.cut_after(70_000)
        } else {
            reply
        }
    });
    found.unwrap();
    assert_eq!(fetched(&cache), body());
    assert_eq!(starts(&server), [None, Some(70_000)]);
}

#[test]
fn a_partial_file_of_something_else_is_thrown_away() {
    for stale in [vec![7; 100_000], vec![7; 200_000], vec![7; 300_000]] {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join("toy")).unwrap();
        fs::write(cache.path().join("toy/toy.bin.part"), stale).unwrap();
        let (cache, _, found) = serve_into(cache, Reply::ranged_answer);
        found.unwrap();
        assert_eq!(fetched(&cache), body());
        assert_eq!(files(&cache), ["toy.bin"]);
    }
}

#[test]
fn a_wrong_digest_is_refused_and_removed() {
    let mut altered = body();
    altered[100_000] ^= 1;
    let digest = sha256(&altered);
    let (cache, server, found) = serve(move |request, _| Reply::ranged(&altered, request));
    let error = found.unwrap_err();
    assert!(
        error.starts_with("data set `toy` is incomplete: http://127.0.0.1:"),
        "{error}"
    );
    let expected = sha256(&body());
    assert!(
        error.contains(&format!("has the sha256 {digest}, expected {expected}")),
        "{error}"
    );
    assert_eq!(files(&cache), [""; 0]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_wrong_size_is_refused_before_it_is_transferred() {
    let (cache, server, found) = serve(|_, _| Reply::whole(&body()[1..]));
    let error = found.unwrap_err();
    assert!(
        error.contains("the file has 199999 bytes, expected 200000"),
        "{error}"
    );
    assert_eq!(files(&cache), [""; 0]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_endless_body_is_refused() {
    let (cache, _, found) = serve(|_, _| {
        let long: Vec<u8> = body().repeat(10);
        Reply::whole(&long).without_length()
    });
    let error = found.unwrap_err();
    assert!(error.contains("bytes or more, expected 200000"), "{error}");
    assert_eq!(files(&cache), [""; 0]);
}

#[test]
fn another_range_than_asked_for_is_not_appended() {
    let (cache, server, found) = serve(|request, before| match before {
        0 => Reply::whole(&body()).cut_after(70_000),
        1 => Reply::ranged(
            &body(),
            &Request {
                from: Some(10),
                ..request.clone()
            },
        ),
        _ => Reply::ranged(&body(), request),
    });
    found.unwrap();
    assert_eq!(fetched(&cache), body());
    assert_eq!(starts(&server), [None, Some(70_000), None]);
}

#[test]
fn a_missing_page_is_not_tried_again() {
    let (cache, server, found) = serve(|_, _| Reply::status("404 Not Found"));
    let url = format!("{}/toy.bin", server.address);
    let error = found.unwrap_err();
    let place = cache.path().join("toy");
    assert_eq!(
        error,
        format!(
            "data set `toy` is incomplete: {url}: HTTP 404 Not Found; fetch toy.bin from {}/ and \
             put the files into $MENAGERIE_DATA/toy or {}",
            server.address,
            place.display()
        )
    );
    assert_eq!(files(&cache), [""; 0]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_failing_server_is_tried_five_times() {
    let (cache, server, found) = serve(|_, _| Reply::status("500 Internal Server Error"));
    let error = found.unwrap_err();
    assert!(
        error.contains("HTTP 500 Internal Server Error (tried 5 times)"),
        "{error}"
    );
    assert_eq!(files(&cache), [""; 0]);
    assert_eq!(server.requests().len(), 5);

    let (cache, _, found) = serve(|request, before| match before {
        0..4 => Reply::status("503 Service Unavailable"),
        _ => Reply::ranged(&body(), request),
    });
    found.unwrap();
    assert_eq!(fetched(&cache), body());
}

#[test]
fn retries_wait_longer_each_time() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| Reply::status("500 Internal Server Error"));
    let set = toy(&body(), &[format!("{}/toy.bin", server.address)]);
    let patient = Locator {
        retry_after: Duration::from_millis(20),
        ..locator(&cache)
    };
    let start = Instant::now();
    patient.find(&set).unwrap_err();
    // 20 + 40 + 80 + 160 between five attempts.
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_second_address_stands_in_for_the_first() {
    let cache = tempfile::tempdir().unwrap();
    let gone = Server::start(|_, _| Reply::status("403 Forbidden"));
    let good = Server::start(Reply::ranged_answer);
    let urls = [
        format!("{}/toy.bin", gone.address),
        format!("{}/toy.bin", good.address),
    ];
    locator(&cache).find(&toy(&body(), &urls)).unwrap();
    assert_eq!(fetched(&cache), body());
}

#[test]
fn a_mirror_replaces_the_addresses() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Reply::ranged_answer);
    let mirror = Some(format!("{}/copies/", server.address));
    let set = toy(&body(), &["http://127.0.0.1:9/never".into()]);
    Locator {
        mirror,
        ..locator(&cache)
    }
    .find(&set)
    .unwrap();
    assert_eq!(server.requests()[0].path, "/copies/toy/toy.bin");
}

#[test]
fn no_network_is_an_error_that_says_what_to_do() {
    // Port 9 (discard) of loopback is closed.
    let cache = tempfile::tempdir().unwrap();
    let set = toy(&body(), &["http://127.0.0.1:9/toy.bin".into()]);
    let error = locator(&cache).find(&set).unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:9/toy.bin: "), "{error}");
    assert!(
        error.contains("(tried 5 times); fetch toy.bin from http://127.0.0.1:9/"),
        "{error}"
    );
}

#[test]
fn offline_names_files_addresses_and_places() {
    let cache = tempfile::tempdir().unwrap();
    let offline = Locator {
        offline: true,
        ..locator(&cache)
    };
    let set = menagerie_data::dataset("mnist").unwrap();
    let error = offline.find(set).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "data set `mnist` is incomplete: MENAGERIE_OFFLINE is set; fetch \
             train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, \
             t10k-labels-idx1-ubyte.gz from https://ossci-datasets.s3.amazonaws.com/mnist/ and put \
             the files into $MENAGERIE_DATA/mnist or {}/mnist",
            cache.path().display()
        )
    );
    assert_eq!(error.exit_code(), 1);
    assert!(!cache.path().join("mnist").exists());
}

#[test]
fn what_is_in_the_cache_needs_no_network() {
    let cache = tempfile::tempdir().unwrap();
    fs::create_dir(cache.path().join("toy")).unwrap();
    fs::write(cache.path().join("toy/toy.bin"), body()).unwrap();
    let offline = Locator {
        offline: true,
        ..locator(&cache)
    };
    assert_eq!(
        offline.find(&toy(&body(), &[])).unwrap(),
        cache.path().join("toy")
    );
}

#[test]
fn the_users_own_folder_comes_first_and_is_never_filled() {
    let (own, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(Reply::ranged_answer);
    let set = toy(&body(), &[format!("{}/toy.bin", server.address)]);
    let both = Locator {
        data_dir: Some(own.path().into()),
        ..locator(&cache)
    };

    // Without a folder of that name the cache is used.
    assert_eq!(both.find(&set).unwrap(), cache.path().join("toy"));

    fs::create_dir(own.path().join("toy")).unwrap();
    let error = both.find(&set).unwrap_err().to_string();
    let place = own.path().join("toy");
    assert!(
        error.contains("files are missing; fetch toy.bin from http://127.0.0.1"),
        "{error}"
    );
    assert!(
        error.ends_with(&format!("put the files into {}", place.display())),
        "{error}"
    );
    assert_eq!(both.locate(&set), None);

    fs::write(place.join("toy.bin"), body()).unwrap();
    assert_eq!(both.find(&set).unwrap(), place);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn other_forms_of_a_file_are_accepted() {
    let own = tempfile::tempdir().unwrap();
    let dir = own.path().join("toy");
    fs::create_dir(&dir).unwrap();
    let mut set = toy(&body(), &[]);
    let part = |path, content: &[u8], digest| Part {
        path,
        size: content.len() as u64,
        sha256: digest,
    };
    let unpacked = vec![
        part("a", b"first", Some(sha256(b"first"))),
        part("b", b"second", None),
    ];
    set.files = vec![File {
        alternatives: vec![&*unpacked.leak()].leak(),
        ..set.files[0]
    }]
    .leak();
    let here = Locator {
        data_dir: Some(own.path().into()),
        ..locator(&own)
    };

    fs::write(dir.join("a"), "first").unwrap();
    assert_eq!(here.locate(&set), None);
    fs::write(dir.join("b"), "second").unwrap();
    assert_eq!(here.find(&set).unwrap(), dir);
    here.verify(&set).unwrap();

    fs::write(dir.join("b"), "third").unwrap();
    let error = here.verify(&set).unwrap_err().to_string();
    assert!(error.contains("b has 5 bytes, expected 6"), "{error}");
    fs::write(dir.join("b"), "second").unwrap();
    fs::write(dir.join("a"), "FIRST").unwrap();
    let error = here.verify(&set).unwrap_err().to_string();
    assert!(error.contains("a has the sha256 "), "{error}");
}

#[test]
fn verify_names_what_differs_and_how_to_mend_it() {
    let (cache, _, found) = serve(Reply::ranged_answer);
    found.unwrap();
    let path = cache.path().join("toy/toy.bin");
    let mut altered = body();
    altered[0] ^= 1;
    fs::write(&path, &altered).unwrap();
    let set = toy(&body(), &[]);
    let error = locator(&cache).verify(&set).unwrap_err().to_string();
    let (found, expected) = (sha256(&altered), sha256(&body()));
    assert_eq!(
        error,
        format!(
            "data set `toy` is incomplete: {} has the sha256 {found}, expected {expected}; delete \
             what differs and run `cargo xtask data fetch toy` or `menagerie-data fetch toy`",
            path.display()
        )
    );
    fs::remove_file(&path).unwrap();
    let error = locator(&cache).verify(&set).unwrap_err().to_string();
    assert!(
        error.contains(
            "files are missing: run `cargo xtask data fetch toy` or `menagerie-data fetch toy`; \
             fetch toy.bin"
        ),
        "{error}"
    );
}

#[test]
fn two_programs_fetch_one_copy() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Reply::ranged_answer);
    let set = toy(&body(), &[format!("{}/toy.bin", server.address)]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| locator(&cache).find(&set).unwrap());
        }
    });
    assert_eq!(fetched(&cache), body());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let file: &Path = &cache.path().join("file");
    fs::write(file, "").unwrap();
    let server = Server::start(Reply::ranged_answer);
    let set = toy(&body(), &[format!("{}/toy.bin", server.address)]);
    let blocked = Locator {
        cache_dir: Some(file.into()),
        ..locator(&cache)
    };
    let error = blocked.find(&set).unwrap_err().to_string();
    assert!(error.starts_with("cannot create the folder "), "{error}");
    assert!(error.contains("file/toy"), "{error}");

    let nowhere = Locator {
        cache_dir: None,
        ..locator(&cache)
    };
    let error = nowhere.find(&set).unwrap_err().to_string();
    assert!(error.contains("set MENAGERIE_CACHE"), "{error}");
}
