//! A Hub on the loopback interface that misbehaves on demand.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The file, from the byte that `Range` asks for.
    File,
    /// The file, but the connection closes after so many bytes of the body.
    CutAfter(usize),
    /// The whole file, whatever `Range` asks for.
    NoResume,
    /// The file under a `Content-Length` that is so much longer, then the connection closes.
    LongerLength(usize),
    /// A body that is this instead of the file, with its own length.
    Instead(Vec<u8>),
    /// A status line and extra headers, without a body.
    Status(&'static str, &'static str),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

/// What the server says of its file.
#[derive(Clone)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub etag: String,
}

pub struct Server {
    pub endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers `HEAD` with `head` and the n-th `GET` with the n-th of `gets`, the last one also
    /// for those after it.
    pub fn start(content: Content, head: Answer, gets: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        thread::spawn(move || {
            let mut count = 0;
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let Some(request) = read(&stream) else {
                    continue;
                };
                let answer = if request.method == "HEAD" {
                    head.clone()
                } else {
                    count += 1;
                    gets[(count - 1).min(gets.len() - 1)].clone()
                };
                seen.lock().unwrap().push(request.clone());
                // The client may hang up first, which is its right.
                let _ = reply(&stream, &request, &content, &answer);
            }
        });
        Self { endpoint, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn gets(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.method == "GET");
        requests
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let mut request = Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        range: None,
        authorization: None,
    };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else {
            return Some(request);
        };
        match name.to_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    None
}

fn reply(
    mut stream: &TcpStream,
    request: &Request,
    content: &Content,
    answer: &Answer,
) -> std::io::Result<()> {
    let size = content.bytes.len();
    let start: usize = match (&request.range, answer) {
        (_, Answer::NoResume | Answer::Instead(_)) | (None, _) => 0,
        (Some(range), _) => {
            let from = range.trim_start_matches("bytes=").trim_end_matches('-');
            from.parse().unwrap()
        }
    };
    let (status, body) = match answer {
        Answer::Status(status, headers) => {
            let headers = if headers.is_empty() {
                String::new()
            } else {
                format!("{headers}\r\n")
            };
            return write!(
                stream,
                "HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Answer::Instead(bytes) => ("200 OK", &bytes[..]),
        _ if start > 0 => ("206 Partial Content", &content.bytes[start..]),
        _ => ("200 OK", &content.bytes[..]),
    };
    let length = body.len()
        + match answer {
            Answer::LongerLength(more) => *more,
            _ => 0,
        };
    let range = if start > 0 {
        format!("Content-Range: bytes {start}-{}/{size}\r\n", size - 1)
    } else {
        String::new()
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: \"{}\"\r\nX-Repo-Commit: c0ffee\r\nContent-Length: {length}\r\n{range}Connection: close\r\n\r\n",
        content.etag
    )?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let sent = match answer {
        Answer::CutAfter(bytes) => &body[..(*bytes).min(body.len())],
        _ => body,
    };
    stream.write_all(sent)?;
    stream.flush()
}
