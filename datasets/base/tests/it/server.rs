//! A web server on loopback that answers as a test tells it to.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What the server was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    /// The first byte of the requested range.
    pub from: Option<usize>,
}

/// What the server answers.
#[derive(Clone)]
pub struct Reply {
    pub status: &'static str,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection is closed.
    pub cut: Option<usize>,
}

impl Reply {
    /// The whole of `body`.
    pub fn whole(body: &[u8]) -> Self {
        Self {
            status: "200 OK",
            headers: vec![format!("Content-Length: {}", body.len())],
            body: body.to_vec(),
            cut: None,
        }
    }

    /// The rest of `body` where a range is asked for, else the whole.
    pub fn ranged(body: &[u8], request: &Request) -> Self {
        let Some(from) = request.from else {
            return Self::whole(body);
        };
        if from >= body.len() {
            return Self::status("416 Range Not Satisfiable");
        }
        let mut reply = Self::whole(&body[from..]);
        reply.status = "206 Partial Content";
        let last = body.len() - 1;
        reply
            .headers
            .push(format!("Content-Range: bytes {from}-{last}/{}", body.len()));
        reply
    }

    pub fn status(status: &'static str) -> Self {
        Self {
            status,
            ..Self::whole(b"an error page")
        }
    }

    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub fn without_length(mut self) -> Self {
        self.headers
            .retain(|header| !header.starts_with("Content-Length"));
        self
    }
}

pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` gets the request and how many came before it.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else {
                    continue;
                };
                let before = seen.lock().unwrap().len();
                let reply = answer(&request, before);
                seen.lock().unwrap().push(request);
                let _ = send(stream, &reply);
            }
        });
        Self { address, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_string();
    let mut from = None;
    for line in lines {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    Some(Request { path, from })
}

fn send(mut stream: TcpStream, reply: &Reply) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {}\r\nConnection: close\r\n", reply.status)?;
    for header in &reply.headers {
        write!(stream, "{header}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    let end = reply.cut.unwrap_or(reply.body.len());
    stream.write_all(&reply.body[..end])?;
    stream.flush()
}
