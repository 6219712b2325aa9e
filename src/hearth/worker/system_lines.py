"""What does the platform itself write into a function's log? Text, or JSON as it is set.

JSON lines are the platform's telemetry objects, `{"time", "type", "record"}`; a line has a level,
and one below the function's system level is not written: "" stands for no line. With JSON, what the
function prints is filtered by its application level too, if it says its own; else it is INFO.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html (the
level of each event) and telemetry-schema-reference.html (the records).
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from hearth.base.clock import Clock
from hearth.model.functions import FunctionVersion, Initialization
from hearth.model.ids import RequestId
from hearth.model.log_settings import LEVEL_DEFAULT, LEVELS, LogFormat, admits
from hearth.model.traces import TraceHeader
from hearth.worker import report
from hearth.worker.extension_api import Extension
from hearth.worker.inside_errors import UNREADABLE
from hearth.worker.report import Failure

_ALIASES: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class SystemLines(Protocol):
    """One environment's."""

    @property
    def line_end(self) -> str:
        """What follows each of them in the log."""
        ...

    def init_start(self, text: str) -> str:
        """`text` as it is in the text format."""
        ...

    @property
    def tells_all(self) -> bool:
        """Whether end() wants to know more than how it ended."""
        ...

    def init_done(self, phase: str, failure: Failure | None) -> str:
        """The runtime's part of an init."""
        ...

    def init_report(self, init_s: float, phase: str, failure: Failure | None) -> str: ...

    def start(self, request: RequestId, invoked_arn: str) -> str: ...

    def end(
        self, request: RequestId, failure: Failure | None, done: dict[str, Any] | None = None
    ) -> str:
        """`done`: see tells_all."""
        ...

    def report(
        self,
        request: RequestId,
        *,
        duration_s: float,
        memory_used_mb: int,
        init_s: float | None,
        failure: Failure | None,
        restore_s: float | None = None,
        trace: TraceHeader | None = None,
    ) -> str: ...

    def restore_start(self, text: str) -> str:
        """`text` as init_start() has it."""
        ...

    def restore_done(self, failure: Failure | None) -> str:
        """The runtime's part of a restore."""
        ...

    def restore_report(self, restore_s: float, failure: Failure | None) -> str: ...

    def extension(self, extension: Extension) -> str: ...

    def subscribed(self, api: str, name: str, types: Sequence[str]) -> str:
        """`api` is telemetry or logs, `name` the extension's."""
        ...

    def admitted(self, lines: list[bytes]) -> list[bytes]:
        """Those of the function's own lines that its level lets through."""
        ...


def lines_of(function: FunctionVersion, clock: Clock, instance: str) -> SystemLines:
    """`instance` is what AWS calls the environment: the name of its log stream."""
    if function.logging.format is LogFormat.JSON:
        return JsonLines(function, clock, instance)
    return TextLines(function)


class TextLines:
    __slots__ = ("_function",)
    line_end: Final = "\n"
    tells_all: Final = False

    def __init__(self, function: FunctionVersion) -> None:
        self._function = function

    def init_start(self, text: str) -> str:
        return text

    def init_done(self, phase: str, failure: Failure | None) -> str:  # noqa: ARG002
        return ""

    def init_report(self, init_s: float, phase: str, failure: Failure | None) -> str:
        """Of one that failed; always of an Init phase that nobody waited for."""
        is_early = self._function.initialization is not Initialization.ON_DEMAND
        if failure is None and not (is_early and phase == "init"):
            return ""
        return report.init_report_line(init_s, phase, failure)

    def start(self, request: RequestId, invoked_arn: str) -> str:  # noqa: ARG002
        return report.start_line(request, self._function.version)

    def end(
        self,
        request: RequestId,
        failure: Failure | None,  # noqa: ARG002
        done: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> str:
        return report.end_line(request)

    def report(
        self,
        request: RequestId,
        *,
        duration_s: float,
        memory_used_mb: int,
        init_s: float | None,
        failure: Failure | None,
        restore_s: float | None = None,
        trace: TraceHeader | None = None,
    ) -> str:
        return report.report_line(
            request,
            duration_s=duration_s,
            memory_mb=self._function.memory_mb,
            memory_used_mb=memory_used_mb,
            init_s=init_s,
            failure=failure,
            restore_s=restore_s,
            trace=trace,
        )

    def restore_start(self, text: str) -> str:
        return text.replace("INIT_START", "RESTORE_START", 1)

    def restore_done(self, failure: Failure | None) -> str:  # noqa: ARG002
        return ""

    def restore_report(self, restore_s: float, failure: Failure | None) -> str:
        return report.restore_report_line(restore_s, failure)

    def extension(self, extension: Extension) -> str:
        return report.extension_line(
            extension.name, extension.state, extension.events, extension.error_type
        )

    def subscribed(self, api: str, name: str, types: Sequence[str]) -> str:
        return report.subscription_line(api, name, types)

    def admitted(self, lines: list[bytes]) -> list[bytes]:
        return lines


class JsonLines:
    __slots__ = ("_clock", "_function", "_instance", "_level")
    line_end: Final = ""

    def __init__(self, function: FunctionVersion, clock: Clock, instance: str) -> None:
        self._instance = instance
        self._function = function
        self._clock = clock
        self._level = function.logging.system_level

    def init_start(self, text: str) -> str:
        function = self._function
        runtime, arn = _runtime_of(text)
        record: dict[str, Any] = {
            "initializationType": str(function.initialization),
            "phase": "init",
            "runtimeVersion": runtime,
            "runtimeVersionArn": arn,
            **self._place(),
        }
        return self._line("INFO", "platform.initStart", record)

    @property
    def tells_all(self) -> bool:
        return admits(self._level, "DEBUG")

    def init_done(self, phase: str, failure: Failure | None) -> str:
        record = {
            "initializationType": str(self._function.initialization),
            "phase": phase,
            **_ending(failure),
        }
        level = "DEBUG" if failure is None else "WARN"
        return self._line(level, "platform.initRuntimeDone", record)

    def init_report(self, init_s: float, phase: str, failure: Failure | None) -> str:
        record: dict[str, Any] = {
            "initializationType": str(self._function.initialization),
            "phase": phase,
            **_ending(failure),
            "metrics": {"durationMs": _ms(init_s)},
        }
        level = "WARN" if failure is not None else "INFO"
        if failure is None and self._function.initialization is Initialization.ON_DEMAND:
            level = "DEBUG"
        return self._line(level, "platform.initReport", record)

    def start(self, request: RequestId, invoked_arn: str) -> str:
        function = self._function
        record = {
            "requestId": request,
            "functionArn": invoked_arn,
            "version": function.version,
            **tenant_of(function),
        }
        return self._line("INFO", "platform.start", record)

    def end(
        self, request: RequestId, failure: Failure | None, done: dict[str, Any] | None = None
    ) -> str:
        said = _ending(failure) if done is None else done
        record = {"requestId": request, **tenant_of(self._function), **said}
        return self._line("DEBUG" if failure is None else "WARN", "platform.runtimeDone", record)

    def report(
        self,
        request: RequestId,
        *,
        duration_s: float,
        memory_used_mb: int,
        init_s: float | None,
        failure: Failure | None,
        restore_s: float | None = None,
        trace: TraceHeader | None = None,
    ) -> str:
        metrics: dict[str, Any] = {
            "durationMs": _ms(duration_s),
            "billedDurationMs": max(1, math.ceil(_ms(duration_s + (init_s or 0.0)))),
            "memorySizeMB": self._function.memory_mb,
            "maxMemoryUsedMB": memory_used_mb,
        }
        if init_s is not None:
            metrics["initDurationMs"] = _ms(init_s)
        if restore_s is not None:
            metrics["restoreDurationMs"] = _ms(restore_s)
            metrics["billedRestoreDurationMs"] = math.ceil(_ms(restore_s))
        record: dict[str, Any] = {
            "requestId": request,
            **tenant_of(self._function),
            "metrics": metrics,
            **_ending(failure),
        }
        if trace is not None:
            record["tracing"] = _tracing(trace)
        return self._line("INFO" if failure is None else "WARN", "platform.report", record)

    def restore_start(self, text: str) -> str:
        runtime, arn = _runtime_of(text)
        record = {
            "runtimeVersion": runtime,
            "runtimeVersionArn": arn,
            **self._place(),
        }
        return self._line("INFO", "platform.restoreStart", record)

    def restore_done(self, failure: Failure | None) -> str:
        level = "DEBUG" if failure is None else "WARN"
        return self._line(level, "platform.restoreRuntimeDone", _ending(failure))

    def restore_report(self, restore_s: float, failure: Failure | None) -> str:
        record = {**_ending(failure), "metrics": {"durationMs": _ms(restore_s)}}
        level = "INFO" if failure is None else "WARN"
        return self._line(level, "platform.restoreReport", record)

    def extension(self, extension: Extension) -> str:
        failed = extension.error_type is not None
        return self._line("WARN" if failed else "INFO", "platform.extension", extension.record)

    def subscribed(self, api: str, name: str, types: Sequence[str]) -> str:
        record = {"name": name, "state": "Subscribed", "types": types}
        return self._line("INFO", f"platform.{api}Subscription", record)

    def admitted(self, lines: list[bytes]) -> list[bytes]:
        level = self._function.logging.application_level
        return [line for line in lines if admits(level, _level_of(line))]

    def _place(self) -> dict[str, Any]:
        function = self._function
        return {
            "functionName": function.key.name,
            "functionVersion": function.version,
            "instanceId": self._instance,
            "instanceMaxMemory": function.memory_mb * 1024 * 1024,
        }

    def _line(self, level: str, type_: str, record: dict[str, Any]) -> str:
        if not admits(self._level, level):
            return ""
        line = {"time": _time(self._clock.utc()), "type": type_, "record": record}
        return msgspec.json.encode(line).decode()


def tenant_of(function: FunctionVersion) -> dict[str, str]:
    """Part of what is told of an invoke that is for a tenant; lines of text do not have it.

    https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation-monitor.html
    """
    return {} if function.tenant is None else {"tenantId": function.tenant}


def _tracing(trace: TraceHeader) -> dict[str, str]:
    record = {"type": "X-Amzn-Trace-Id", "value": trace.sampled_as(trace.parent or "")}
    return record if trace.parent is None else {"spanId": trace.parent, **record}


def _runtime_of(text: str) -> tuple[str, str]:
    runtime, _, arn = text.removeprefix("INIT_START Runtime Version: ").partition("\t")
    return runtime, arn.removeprefix("Runtime Version ARN: ")


def _ending(failure: Failure | None) -> dict[str, str]:
    if failure is None:
        return {"status": "success"}
    if failure.status == "timeout":
        return {"status": "timeout"}
    return {"status": "error", "errorType": failure.shown_type or failure.error_type}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


class _Levelled(msgspec.Struct):
    level: str | None = None


_decoder = msgspec.json.Decoder(_Levelled)


def _level_of(line: bytes) -> str:
    """What a line of JSON says of itself; INFO if it says nothing that is a level."""
    if b'"level"' not in line or not line.lstrip().startswith(b"{"):
        return LEVEL_DEFAULT
    try:
        said = (_decoder.decode(line).level or "").upper()
    except UNREADABLE:
        return LEVEL_DEFAULT
    said = _ALIASES.get(said, said)
    return said if said in LEVELS else LEVEL_DEFAULT
