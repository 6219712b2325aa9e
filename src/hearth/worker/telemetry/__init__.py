"""What extensions are told of an environment: the Telemetry API, and the Logs API before it."""
