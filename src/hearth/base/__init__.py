"""What every room may use: time, owned tasks, logging, HTTP/1.1. Knows nothing of Lambda."""
