"""The asynchronous path: accept, dispatch, retry, settle, tell."""
