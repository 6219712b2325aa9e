"""The synchronous invoke path: resolve, count, reserve, run."""
