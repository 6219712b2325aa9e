"""How much is allowed? Lambda's quotas, with AWS's numbers.

Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html and recorded
answers (6,291,556 bytes is 6 MiB + 100).
"""

from typing import Final

PAYLOAD_BYTES_MAX: Final = 6_291_556
"""Synchronous request and response payload."""

STREAM_BYTES_MAX: Final = 209_715_200
"""A streamed response: 200 MB."""

STREAM_BURST_BYTES: Final = 6_291_456
"""So much of it goes as fast as it can; the rest at a rate."""

STREAM_MB_PER_S_DEFAULT: Final = 2.0
ASYNC_PAYLOAD_BYTES_MAX: Final = 1_048_576
CLIENT_CONTEXT_BYTES_MAX: Final = 3_583
LOG_RESULT_BYTES_MAX: Final = 4_096
ENVIRONMENT_BYTES_MAX: Final = 4_096
REQUEST_BODY_BYTES_MAX: Final = 70_167_211
"""The largest request of the control plane: a zip of 50 MB in base64 and its envelope."""

ZIPPED_BYTES_MAX: Final = 52_428_800
UNZIPPED_BYTES_MAX: Final = 262_144_000
CODE_STORAGE_BYTES_MAX: Final = 322_122_547_200

MEMORY_MB_MIN: Final = 128
MEMORY_MB_MAX: Final = 10_240
MEMORY_MB_DEFAULT: Final = 128
MEMORY_MB_PER_VCPU: Final = 1_769

TIMEOUT_S_MIN: Final = 1
TIMEOUT_S_MAX: Final = 900
TIMEOUT_S_DEFAULT: Final = 3
INIT_TIMEOUT_S: Final = 10.0
PROVISIONED_INIT_TIMEOUT_S_MIN: Final = 130.0
"""Or the function's own timeout, if that is longer."""

TMP_MB_MIN: Final = 512
TMP_MB_MAX: Final = 10_240
TMP_MB_DEFAULT: Final = 512

FILE_DESCRIPTORS_MAX: Final = 1_024
PROCESSES_MAX: Final = 1_024

ACCOUNT_CONCURRENCY_DEFAULT: Final = 1_000
UNRESERVED_CONCURRENCY_MIN: Final = 100
