//! A function made with AWS's crate: a row of the test matrix, as the example in Rust is.
//! function.handler answers as a whole, function.streams bit by bit.
use lambda_runtime::{run, service_fn, streaming::Response, Diagnostic, Error, LambdaEvent};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, process, thread};
use tokio_stream::Stream;

static COUNT: AtomicU64 = AtomicU64::new(0); // stays for the next event

#[derive(Debug)]
struct InvalidEvent;

impl From<InvalidEvent> for Diagnostic {
    fn from(_: InvalidEvent) -> Diagnostic {
        Diagnostic { error_type: "InvalidEvent".into(), error_message: "asked to fail".into() }
    }
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, InvalidEvent> {
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let event = event.payload;
    let asks = |what: &str| event.get(what).is_some();
    if asks("fail") {
        return Err(InvalidEvent);
    }
    if asks("sleep") {
        thread::sleep(Duration::from_secs(60));
    }
    if asks("exit") {
        process::exit(3);
    }
    if asks("environment") {
        return Ok(json!(env::vars().collect::<HashMap<_, _>>()));
    }
    if asks("layer") {
        let said = Command::new("who-in-the-layer").output().map_err(|_| InvalidEvent)?;
        return Ok(json!(String::from_utf8_lossy(&said.stdout)));
    }
    let greeting = env::var("GREETING").unwrap_or_default();
    Ok(json!({"count": count, "greeting": greeting, "event": event}))
}

type Part = Result<&'static str, Error>;

async fn streams(event: LambdaEvent<Value>) -> Result<Response<impl Stream<Item = Part>>, Error> {
    let last =
        if event.payload.get("fail").is_some() { Err("asked to fail".into()) } else { Ok("second") };
    Ok(Response::from(tokio_stream::iter([Ok("first,"), last])))
}

/// Says why the function cannot start, which the crate has no call for.
fn fail_init(kind: &str, message: &str) -> Result<(), Error> {
    let api = env::var("AWS_LAMBDA_RUNTIME_API")?;
    let body = json!({"errorType": kind, "errorMessage": message}).to_string();
    let mut stream = TcpStream::connect(&api)?;
    write!(
        stream,
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    stream.read_to_end(&mut Vec::new())?;
    process::exit(1)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if env::var_os("FAIL_INIT").is_some() {
        fail_init("ConfigurationError", "asked to fail at the start")?;
    }
    if env::var("_HANDLER").is_ok_and(|name| name == "function.streams") {
        return run(service_fn(streams)).await;
    }
    run(service_fn(handler)).await
}
