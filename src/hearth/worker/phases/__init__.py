"""The life of one execution environment, a phase a file; see `worker.environment`."""
