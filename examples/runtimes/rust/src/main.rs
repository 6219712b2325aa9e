//! A function in Rust, without a crate: function.handler answers as a whole, function.streams bit
//! by bit. For those that need more, AWS's `lambda_runtime` runs the same way: a binary called
//! `bootstrap`.
mod runtime;

use runtime::{quoted, Answer, Fault, Stream};
use std::process::Command;
use std::time::Duration;
use std::{env, process, thread};

fn main() {
    runtime::run(|| {
        if env::var_os("FAIL_INIT").is_some() {
            return Err(Fault::new("ConfigurationError", "asked to fail at the start"));
        }
        let is_streaming = env::var("_HANDLER").is_ok_and(|name| name == "function.streams");
        let mut count = 0; // stays for the next event
        Ok(move |event: &str| {
            if is_streaming {
                return Ok(streams(event.contains("\"fail\"")));
            }
            count += 1;
            handler(event, count).map(Answer::Whole)
        })
    })
}

fn handler(event: &str, count: u64) -> Result<String, Fault> {
    if event.contains("\"fail\"") {
        return Err(Fault::new("InvalidEvent", "asked to fail"));
    }
    if event.contains("\"sleep\"") {
        thread::sleep(Duration::from_secs(60));
    }
    if event.contains("\"exit\"") {
        process::exit(3);
    }
    if event.contains("\"environment\"") {
        let pairs: Vec<_> =
            env::vars().map(|(name, value)| quoted(&name) + ":" + &quoted(&value)).collect();
        return Ok(format!("{{{}}}", pairs.join(",")));
    }
    if event.contains("\"layer\"") {
        // Layers bring programs in /opt/bin, which is on the PATH.
        let said = Command::new("who-in-the-layer")
            .output()
            .map_err(|error| Fault::new("LayerMissing", &error.to_string()))?;
        return Ok(quoted(&String::from_utf8_lossy(&said.stdout)));
    }
    let greeting = quoted(&env::var("GREETING").unwrap_or_default());
    Ok(format!("{{\"count\": {count}, \"greeting\": {greeting}, \"event\": {event}}}"))
}

/// What it returns is called with the stream, and may fail in the middle of it.
fn streams(is_to_fail: bool) -> Answer {
    Answer::Stream(Box::new(move |stream: &mut Stream| {
        stream.write(b"first,")?;
        if is_to_fail {
            return Err(Fault::new("InvalidEvent", "asked to fail"));
        }
        stream.write(b"second")
    }))
}
