"""Frozen values that rooms exchange: ids and ARNs, functions, invocations, limits, errors."""
