//! An extension made with AWS's crate: prints what it is told, by the Extensions and by the
//! Telemetry API, into the log of the function beside it.
use lambda_extension::{
    service_fn, Error, Extension, LambdaEvent, LambdaTelemetry, LambdaTelemetryRecord, NextEvent,
    SharedService,
};

async fn event(event: LambdaEvent) -> Result<(), Error> {
    match event.next {
        NextEvent::Invoke(invoke) => println!("aws-crate INVOKE {}", invoke.request_id),
        NextEvent::Shutdown(shutdown) => println!("aws-crate SHUTDOWN {}", shutdown.shutdown_reason),
    }
    Ok(())
}

async fn telemetry(events: Vec<LambdaTelemetry>) -> Result<(), Error> {
    for event in events {
        match event.record {
            LambdaTelemetryRecord::Function(line) => println!("aws-crate function {}", line.trim_end()),
            LambdaTelemetryRecord::PlatformInitStart { .. } => println!("aws-crate initStart"),
            LambdaTelemetryRecord::PlatformInitReport { .. } => println!("aws-crate initReport"),
            LambdaTelemetryRecord::PlatformStart { request_id, .. } => {
                println!("aws-crate start {request_id}")
            }
            LambdaTelemetryRecord::PlatformRuntimeDone { request_id, status, .. } => {
                println!("aws-crate runtimeDone {request_id} {status:?}")
            }
            LambdaTelemetryRecord::PlatformReport { request_id, metrics, .. } => {
                println!("aws-crate report {request_id} {}", metrics.memory_size_mb)
            }
            _ => (),
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Extension::new()
        .with_events_processor(service_fn(event))
        .with_telemetry_types(&["platform", "function"])
        .with_telemetry_processor(SharedService::new(service_fn(telemetry)))
        .run()
        .await
}
