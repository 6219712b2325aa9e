"""The sandbox contract and its implementations."""
