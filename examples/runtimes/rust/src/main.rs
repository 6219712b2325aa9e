//! A function in Rust, without a crate. For those that need more, AWS's `lambda_runtime` runs the
//! same way: a binary called `bootstrap`.
mod runtime;

use runtime::Fault;
use std::time::Duration;
use std::{env, process, thread};

fn main() {
    runtime::run(|| {
        if env::var_os("FAIL_INIT").is_some() {
            return Err(Fault::new("ConfigurationError", "asked to fail at the start"));
        }
        let mut count = 0; // stays for the next event
        Ok(move |event: &str| {
            count += 1;
            if event.contains("\"fail\"") {
                return Err(Fault::new("InvalidEvent", "asked to fail"));
            }
            if event.contains("\"sleep\"") {
                thread::sleep(Duration::from_secs(60));
            }
            if event.contains("\"exit\"") {
                process::exit(3);
            }
            let greeting = env::var("GREETING").unwrap_or_default();
            Ok(format!(
                "{{\"count\": {count}, \"greeting\": \"{greeting}\", \"event\": {event}}}"
            ))
        })
    })
}
