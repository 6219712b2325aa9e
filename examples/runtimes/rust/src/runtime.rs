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

/// Calls `make` once for the handler, then the handler for each event. A panic is an error.
pub fn run<M, H>(make: M)
where
    M: FnOnce() -> Result<H, Fault>,
    H: FnMut(&str) -> Result<String, Fault>,
{
    if let Err(error) = serve(make) {
        eprintln!("runtime API: {error}");
        process::exit(1); // the platform starts another process
    }
}

fn serve<M, H>(make: M) -> io::Result<()>
where
    M: FnOnce() -> Result<H, Fault>,
    H: FnMut(&str) -> Result<String, Fault>,
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
        let event = String::from_utf8_lossy(&body);
        match guarded(|| handler(&event)) {
            Ok(answer) => api.call("POST", &format!("invocation/{id}/response"), answer.as_bytes())?,
            Err(fault) => {
                api.call("POST", &format!("invocation/{id}/error"), fault.json().as_bytes())?
            }
        };
    }
}

fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Fault::new("Panic", message.unwrap_or("a panic without a text")))
    })
}

struct Api {
    host: String,
    stream: BufReader<TcpStream>,
}

type Answer = (HashMap<String, String>, Vec<u8>);

impl Api {
    fn connect() -> io::Result<Self> {
        let host = env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        Ok(Api { host, stream: BufReader::new(stream) })
    }

    fn call(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let head = format!(
            "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        self.receive()
    }

    fn receive(&mut self) -> io::Result<Answer> {
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

fn quoted(text: &str) -> String {
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
