"""What are extensions told of an init and of an invoke? The platform's events, with their figures.

Called only where somebody listens (`core.telemetry`), so that nobody else pays.
Source: https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
"""

from typing import Any

from hearth.worker.phases.core import Core
from hearth.worker.report import Failure, billed_ms
from hearth.worker.run import Figures, Run
from hearth.worker.system_lines import tenant_of
from hearth.worker.telemetry.hub import Telemetry, iso

TRACE_HEADER = "X-Amzn-Trace-Id"


def init_started(core: Core, telemetry: Telemetry, phase: str) -> None:
    telemetry.emit("platform.initStart", {**_init(core, phase), **_place(core)})


def init_runtime_done(
    core: Core, telemetry: Telemetry, phase: str, failure: Failure | None
) -> None:
    telemetry.emit("platform.initRuntimeDone", {**_init(core, phase), **_status(failure)})


def init_reported(
    core: Core, telemetry: Telemetry, phase: str, took_s: float, failure: Failure | None
) -> None:
    metrics = {"durationMs": _ms(took_s)}
    record = {**_init(core, phase), **_status(failure), "metrics": metrics}
    telemetry.emit("platform.initReport", record)


def restore_started(core: Core, telemetry: Telemetry) -> None:
    telemetry.emit("platform.restoreStart", _place(core))


def restore_reported(telemetry: Telemetry, took_s: float, failure: Failure | None) -> None:
    telemetry.emit("platform.restoreRuntimeDone", _status(failure))
    metrics = {"durationMs": _ms(took_s)}
    telemetry.emit("platform.restoreReport", {**_status(failure), "metrics": metrics})


def invoke_started(core: Core, telemetry: Telemetry, run: Run) -> None:
    record = {
        "requestId": run.invocation.request,
        "functionArn": run.invocation.invoked_arn,
        "version": core.function.version,
        **tenant_of(core.function),
        **_tracing(run),
    }
    telemetry.emit("platform.start", record)


def done(run: Run, figures: Figures, failure: Failure | None) -> dict[str, Any]:
    """What a log in JSON says of the runtime's part of an invoke."""
    produced = 0 if failure is not None else run.produced_bytes or len(run.payload)
    metrics = {"durationMs": _ms(figures.duration_s), "producedBytes": produced}
    return {**_status(failure), "metrics": metrics}


def runtime_done(core: Core, telemetry: Telemetry, run: Run, failure: Failure | None) -> None:
    """The runtime asked for its next event, or never will."""
    now_s = core.clock.monotonic_s()
    run.runtime_done_s = now_s
    spans = []
    began_s, ended_s = run.response_began_s, run.response_ended_s
    if began_s is not None and ended_s is not None:
        spans = [
            _span(core, "responseLatency", run.began_s, began_s),
            _span(core, "responseDuration", began_s, ended_s),
            _span(core, "runtimeOverhead", ended_s, now_s),
        ]
    record = {
        "requestId": run.invocation.request,
        **tenant_of(core.function),
        **_status(failure),
        "spans": spans,
        "metrics": {
            "durationMs": _ms(now_s - run.began_s),
            "producedBytes": run.produced_bytes if spans else 0,
        },
        **_tracing(run),
    }
    telemetry.emit("platform.runtimeDone", record)


def invoke_reported(
    core: Core, telemetry: Telemetry, run: Run, figures: Figures, failure: Failure | None
) -> None:
    """After `runtime_done`."""
    request = run.invocation.request
    if failure is not None:
        text = f"RequestId: {request} Error: {failure.message}\n{failure.error_type}"
        telemetry.emit("platform.fault", text)
    telemetry.emit("platform.end", {"requestId": request})
    metrics: dict[str, Any] = {
        "durationMs": _ms(figures.duration_s),
        "billedDurationMs": billed_ms(figures.duration_s, figures.init_s),
        "memorySizeMB": core.function.memory_mb,
        "maxMemoryUsedMB": figures.memory_used_mb,
    }
    if figures.init_s is not None:
        metrics["initDurationMs"] = _ms(figures.init_s)
    record: dict[str, Any] = {
        "requestId": request,
        **tenant_of(core.function),
        **_status(failure),
        "metrics": metrics,
        **_tracing(run),
    }
    if run.runtime_done_s is not None:
        ended_s = run.began_s + figures.duration_s
        if ended_s >= run.runtime_done_s:
            record["spans"] = [_span(core, "extensionOverhead", run.runtime_done_s, ended_s)]
    telemetry.emit("platform.report", record)


def _place(core: Core) -> dict[str, Any]:
    """Which environment of which function it is, and the runtime that it has."""
    function = core.function
    record: dict[str, Any] = {
        "functionName": function.key.name,
        "functionVersion": function.version,
        "instanceId": core.launch.log_stream,
        "instanceMaxMemory": function.memory_mb * 1024 * 1024,
    }
    for name, label, text in zip(
        ("runtimeVersion", "runtimeVersionArn"),
        ("INIT_START Runtime Version: ", "Runtime Version ARN: "),
        core.launch.init_line.split("\t"),
        strict=False,
    ):
        if text.startswith(label):
            record[name] = text.removeprefix(label)
    return record


def _init(core: Core, phase: str) -> dict[str, Any]:
    return {"initializationType": core.function.initialization, "phase": phase}


def _status(failure: Failure | None) -> dict[str, Any]:
    if failure is None:
        return {"status": "success"}
    if failure.status == "timeout":
        return {"status": "timeout"}
    return {"status": "error", "errorType": failure.shown_type or failure.error_type}


def _span(core: Core, name: str, began_s: float, ended_s: float) -> dict[str, Any]:
    before_s = core.clock.monotonic_s() - began_s
    start = iso(core.clock.epoch_ms() - before_s * 1000)
    return {"name": name, "start": start, "durationMs": _ms(ended_s - began_s)}


def _tracing(run: Run) -> dict[str, Any]:
    """Only of what is traced, as Lambda does."""
    fields = dict(part.partition("=")[::2] for part in run.invocation.trace_id.split(";"))
    if fields.get("Sampled") != "1":
        return {}
    tracing = {"type": TRACE_HEADER, "value": run.invocation.trace_id}
    if "Parent" in fields:
        tracing["spanId"] = fields["Parent"]
    return {"tracing": tracing}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
