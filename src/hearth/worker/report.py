"""What does Lambda write about an invoke? Its log lines and its error payloads, word for word.

Sources: recorded answers (docs in the facts of the project), and
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html for the `Status` of
REPORT and INIT_REPORT. A line of text has tabs between its parts and one at its end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hearth.model import limits
from hearth.model.ids import RequestId
from hearth.model.traces import TraceHeader
from hearth.worker.sandboxes.contract import Exit, ExitKind

SIGNAL_NAMES = {
    1: "hangup",
    2: "interrupt",
    3: "quit",
    4: "illegal instruction",
    5: "trace/breakpoint trap",
    6: "aborted",
    7: "bus error",
    8: "floating point exception",
    9: "killed",
    10: "user defined signal 1",
    11: "segmentation fault",
    12: "user defined signal 2",
    13: "broken pipe",
    14: "alarm clock",
    15: "terminated",
    31: "bad system call",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the platform, not the function, ended an invoke or an init.

    `status` is `error` or `timeout`, as REPORT prints it; `error_type` is what REPORT shows, where
    that differs from the payload's own errorType. `payload` is complete when the runtime posted
    it, else None: then it is made from `message` for the request at hand.
    """

    status: str
    error_type: str
    message: str
    shown_type: str | None = None
    posted: bytes | None = None

    @property
    def shutdown_reason(self) -> str:
        """As extensions are told why their environment is reset."""
        return "timeout" if self.status == "timeout" else "failure"

    def payload(self, request: RequestId) -> bytes:
        """The JSON that the caller gets."""
        if self.posted is not None:
            return self.posted
        return error_payload(self.error_type, f"RequestId: {request} Error: {self.message}")


def error_payload(error_type: str, message: str) -> bytes:
    return msgspec.json.encode({"errorType": error_type, "errorMessage": message})


def exit_failure(exit_: Exit, error_type: str | None = None) -> Failure:
    """A runtime that ended by itself or was killed from outside. `error_type` is what an
    extension had said before of itself: the first error counts."""
    if exit_.kind is ExitKind.OUT_OF_MEMORY:
        return Failure(
            "error",
            "Runtime.ExitError",
            "Runtime exited with error: signal: killed",
            shown_type="Runtime.OutOfMemory",
        )
    if exit_.kind is ExitKind.SIGNALED:
        name = SIGNAL_NAMES.get(exit_.code, f"signal {exit_.code}")
        message = f"Runtime exited with error: signal: {name}"
    elif exit_.code == 0:
        message = "Runtime exited without providing a reason"
    else:
        message = f"Runtime exited with error: exit status {exit_.code}"
    return Failure("error", error_type or "Runtime.ExitError", message)


def extension_failure(exit_: Exit, error_type: str | None) -> Failure:
    """An external extension that ended before it was to. `error_type` is what one had said."""
    if exit_.kind is ExitKind.EXITED:
        message = f"exit status {exit_.code}" if exit_.code else "exit code 0"
    else:
        message = f"signal: {SIGNAL_NAMES.get(exit_.code, f'signal {exit_.code}')}"
    return Failure("error", error_type or "Extension.Crash", message)


def too_many_extensions_failure(limit: int) -> Failure:
    return Failure("error", "Extension.LaunchError", f"Extension limit ({limit}) reached")


def never_executed_failure(path: str) -> Failure:
    """The kernel refused to execute the entry point: most often, its interpreter is not there."""
    return Failure(
        "error", "Runtime.InvalidEntrypoint", f"fork/exec {path}: no such file or directory"
    )


def timeout_failure(timeout_s: float) -> Failure:
    return Failure("timeout", "Sandbox.Timedout", f"Task timed out after {timeout_s:.2f} seconds")


def truncated_failure() -> Failure:
    """The runtime's connection ended in the middle of a streamed response."""
    return Failure("error", "Runtime.TruncatedResponse", "The runtime broke its response off")


def oversize_failure(bytes_max: int = limits.PAYLOAD_BYTES_MAX) -> Failure:
    error_type = "Function.ResponseSizeTooLarge"
    message = f"Response payload size exceeded maximum allowed payload size ({bytes_max} bytes)."
    return Failure("error", error_type, message, posted=error_payload(error_type, message))


def start_line(request: RequestId, version: str) -> str:
    return f"START RequestId: {request} Version: {version}"


def end_line(request: RequestId) -> str:
    return f"END RequestId: {request}"


def init_start_line(runtime: str, runtime_version: str, runtime_arn: str) -> str:
    return (
        f"INIT_START Runtime Version: {runtime}.{runtime_version}\t"
        f"Runtime Version ARN: {runtime_arn}"
    )


def extension_line(name: str, state: str, events: Sequence[str], error_type: str | None) -> str:
    line = f"EXTENSION\tName: {name}\tState: {state}\tEvents: [{','.join(events)}]"
    return line if error_type is None else f"{line}\tError Type: {error_type}"


def subscription_line(api: str, name: str, types: Sequence[str]) -> str:
    shown = ", ".join(kind.capitalize() for kind in types)
    return f"{api.upper()}\tName: {name}\tState: Subscribed\tTypes: [{shown}]"


def init_report_line(init_s: float, phase: str, failure: Failure | None) -> str:
    """Written where an init failed, and of provisioned environments always. `phase` is `init`, or
    `invoke` for a suppressed one."""
    line = f"INIT_REPORT Init Duration: {init_s * 1000:.2f} ms\tPhase: {phase}\t"
    return line if failure is None else line + _status(failure)


def restore_report_line(restore_s: float, failure: Failure | None) -> str:
    line = f"RESTORE_REPORT Restore Duration: {restore_s * 1000:.2f} ms\t"
    return line if failure is None else line + _status(failure)


def billed_ms(duration_s: float, init_s: float | None) -> int:
    """Init is billed since August 2025, so it is part of this where there was one."""
    # Of what is shown, or a 20.00 ms that is a hair longer would be billed as 21.
    return max(1, math.ceil(round((duration_s + (init_s or 0.0)) * 1000, 2)))


def report_line(
    request: RequestId,
    *,
    duration_s: float,
    memory_mb: int,
    memory_used_mb: int,
    init_s: float | None,
    failure: Failure | None,
    restore_s: float | None = None,
    trace: TraceHeader | None = None,
) -> str:
    line = (
        f"REPORT RequestId: {request}\tDuration: {duration_s * 1000:.2f} ms\t"
        f"Billed Duration: {billed_ms(duration_s, init_s)} ms\tMemory Size: {memory_mb} MB\t"
        f"Max Memory Used: {memory_used_mb} MB\t"
    )
    if init_s is not None:
        line += f"Init Duration: {init_s * 1000:.2f} ms\t"
    if restore_s is not None:
        billed = math.ceil(restore_s * 1000)
        line += f"Restore Duration: {restore_s * 1000:.2f} ms\t"
        line += f"Billed Restore Duration: {billed} ms\t"
    if failure is not None:
        line += _status(failure)
    if trace is not None:
        line += f"\nXRAY TraceId: {trace.root}\tSegmentId: {trace.parent}\tSampled: true\t"
    return line


def _status(failure: Failure) -> str:
    if failure.status == "timeout":
        return "Status: timeout"
    return f"Status: error\tError Type: {failure.shown_type or failure.error_type}"
