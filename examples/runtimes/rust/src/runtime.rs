//! Lambda's Runtime API over one kept connection, with the standard library alone.
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::{env, process};

/// An error of a handler, or of the start.
pub struct Fault {
    kind: String,
    message: String,
}

impl Fault {
    pub fn new(kind: &str, message: &str) -> Self {
        Fault { kind: kind.into(), message: message.into() }
    }

    fn json(&self) -> String {
        eprintln!("{}: {}", self.kind, self.message);
        format!(
            "{{\"errorType\": {}, \"errorMessage\": {}, \"stackTrace\": []}}",
            quoted(&self.kind),
            quoted(&self.message)
        )
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::new("Io", &error.to_string())
    }
}

/// What a handler answers: JSON as a whole, or bytes bit by bit.
pub enum Answer {
    Whole(String),
    Stream(Box<dyn FnOnce(&mut Stream) -> Result<(), Fault>>),
}

/// An answer that leaves as it is written. It begins with its first part.
pub struct Stream<'a> {
    api: &'a mut Api,
    path: String,
    is_open: bool,
}

impl Stream<'_> {
    pub fn write(&mut self, part: &[u8]) -> Result<(), Fault> {
        if part.is_empty() {
            return Ok(()); // which would say that it is the last
        }
        self.open()?;
        let size = format!("{:x}\r\n", part.len());
        Ok(self.api.send(&[size.as_bytes(), part, b"\r\n"].concat())?)
    }

    fn open(&mut self) -> io::Result<()> {
        if self.is_open {
            return Ok(());
        }
        self.is_open = true;
        let head = self.api.head("POST", &self.path)
            + "Content-Type: application/octet-stream\r\n\
               Transfer-Encoding: chunked\r\n\
               Lambda-Runtime-Function-Response-Mode: streaming\r\n\
               Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n";
        self.api.send(head.as_bytes())
    }

    /// Ends it; an error goes into trailers.
    fn close(&mut self, fault: Option<&Fault>) -> io::Result<()> {
        self.open()?;
        let trailers = fault.map_or_else(String::new, |fault| {
            let body = base64(fault.json().as_bytes());
            format!(
                "Lambda-Runtime-Function-Error-Type: Function.Error\r\n\
                 Lambda-Runtime-Function-Error-Body: {body}\r\n"
            )
        });
        self.api.send(format!("0\r\n{trailers}\r\n").as_bytes())?;
        self.api.receive().map(drop)
    }
}

/// Calls `make` once for the handler, then the handler for each event. A panic is an error.
pub fn run<M, H>(make: M)
where
    M: FnOnce() -> Result<H, Fault>,
    H: FnMut(&str) -> Result<Answer, Fault>,
{
    if let Err(error) = serve(make) {
        eprintln!("runtime API: {error}");
        process::exit(1); // the platform starts another process
    }
}

fn serve<M, H>(make: M) -> io::Result<()>
where
    M: FnOnce() -> Result<H, Fault>,
    H: FnMut(&str) -> Result<Answer, Fault>,
{
    let mut api = Api::connect()?;
    let mut handler = match guarded(make) {
        Ok(handler) => handler,
        Err(fault) => {
            api.call("POST", "init/error", fault.json().as_bytes())?;
            process::exit(1)
        }
    };
    loop {
        let (headers, body) = api.call("GET", "invocation/next", b"")?;
        let id = headers.get("lambda-runtime-aws-request-id").cloned().unwrap_or_default();
        env::set_var(
            "_X_AMZN_TRACE_ID",
            headers.get("lambda-runtime-trace-id").map_or("", |id| id),
        );
        let event = String::from_utf8_lossy(&body);
        let path = format!("invocation/{id}/response");
        let failed = match guarded(|| handler(&event)) {
            Ok(Answer::Whole(answer)) => {
                api.call("POST", &path, answer.as_bytes())?;
                None
            }
            Ok(Answer::Stream(make)) => {
                let mut stream = Stream { api: &mut api, path, is_open: false };
                let fault = guarded(|| make(&mut stream)).err();
                if fault.is_none() || stream.is_open {
                    stream.close(fault.as_ref())?;
                    None
                } else {
                    fault
                }
            }
            Err(fault) => Some(fault),
        };
        if let Some(fault) = failed {
            api.call("POST", &format!("invocation/{id}/error"), fault.json().as_bytes())?;
        }
    }
}

fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Fault::new("Panic", message.unwrap_or("a panic without a text")))
    })
}

pub struct Api {
    host: String,
    stream: BufReader<TcpStream>,
}

type Received = (HashMap<String, String>, Vec<u8>);

impl Api {
    fn connect() -> io::Result<Self> {
        let host = env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        Ok(Api { host, stream: BufReader::new(stream) })
    }

    fn call(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Received> {
        let head = self.head(method, path)
            + &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send(head.as_bytes())?;
        self.send(body)?;
        self.receive()
    }

    fn head(&self, method: &str, path: &str) -> String {
        format!("{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {}\r\n", self.host)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    fn receive(&mut self) -> io::Result<Received> {
        let mut headers = HashMap::new();
        let status = self.line()?;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
            }
        }
        let length = headers.get("content-length").and_then(|text| text.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut body)?;
        if !status.contains(" 2") {
            return Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&body))));
        }
        Ok((headers, body))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_string())
    }
}

/// A string of JSON.
pub fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if (c as u32) < 32 => json.push_str(&format!("\\u{:04x}", c as u32)),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | u32::from(*group.get(n).unwrap_or(&0)));
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
            text.push(if n > group.len() { '=' } else { letter.into() });
        }
    }
    text
}
