"""The platform's own lines in a log, as JSON: AWS's records and levels; the text is test_report's.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
"""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fakes.invokes import function_version
from hearth.model.functions import Initialization
from hearth.model.ids import RequestId
from hearth.model.log_settings import LogFormat, LogSettings
from hearth.worker.report import Failure, timeout_failure
from hearth.worker.system_lines import SystemLines, lines_of

FUNCTION = function_version()
REQUEST = RequestId("r-1")
ARN = f"{FUNCTION.key.arn()}:live"
STREAM = "2026/11/23/[$LATEST]0123456789abcdef0123456789abcdef"
ERROR = Failure("error", "Runtime.ExitError", "it ended")


class Noon:
    def monotonic_s(self) -> float:
        return 0.0

    def utc(self) -> datetime:
        return datetime(2026, 11, 23, 12, 0, 0, 7000, tzinfo=UTC)

    def epoch_ms(self) -> int:
        return 0


def lines(system: str = "INFO", application: str = "INFO") -> SystemLines:
    settings = LogSettings(
        format=LogFormat.JSON, system_level=system, application_level=application
    )
    return lines_of(replace(FUNCTION, logging=settings), Noon(), STREAM)


def reported(at: SystemLines, failure: Failure | None) -> str:
    return at.report(REQUEST, duration_s=0.0123456, memory_used_mb=40, init_s=0.1, failure=failure)


def test_a_report_is_aws_s_record() -> None:
    assert json.loads(reported(lines(), None)) == {
        "time": "2026-11-23T12:00:00.007Z",
        "type": "platform.report",
        "record": {
            "requestId": "r-1",
            "metrics": {
                "durationMs": 12.346,
                "billedDurationMs": 113,
                "memorySizeMB": FUNCTION.memory_mb,
                "maxMemoryUsedMB": 40,
                "initDurationMs": 100.0,
            },
            "status": "success",
        },
    }
    failed = json.loads(reported(lines(), ERROR))["record"]
    assert (failed["status"], failed["errorType"]) == ("error", "Runtime.ExitError")
    assert json.loads(reported(lines(), timeout_failure(3.0)))["record"]["status"] == "timeout"


def test_an_init_start_has_the_runtime_of_the_text() -> None:
    text = "INIT_START Runtime Version: python:3.11.v7\tRuntime Version ARN: arn:x"
    record = json.loads(lines().init_start(text))["record"]
    assert record["runtimeVersion"] == "python:3.11.v7"
    assert record["runtimeVersionArn"] == "arn:x"
    assert record["initializationType"] == "on-demand"
    assert (record["instanceId"], record["instanceMaxMemory"]) == (STREAM, 128 << 20)


def test_a_start_names_the_function_as_it_was_invoked() -> None:
    record = json.loads(lines().start(REQUEST, ARN))["record"]
    assert record == {"requestId": "r-1", "functionArn": ARN, "version": "$LATEST"}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (
            "DEBUG",
            [
                "platform.initRuntimeDone",
                "platform.initReport",
                "platform.start",
                "platform.runtimeDone",
                "platform.report",
            ],
        ),
        ("INFO", ["platform.start", "platform.report"]),
        ("WARN", []),
    ],
)
def test_a_level_leaves_out_what_is_below_it(level: str, expected: list[str]) -> None:
    at = lines(level)
    init = [at.init_done("init", None), at.init_report(0.1, "init", None)]
    written = [*init, at.start(REQUEST, ARN), at.end(REQUEST, None), reported(at, None)]
    assert [json.loads(line)["type"] for line in written if line] == expected


def test_failures_are_warnings() -> None:
    at = lines("WARN")
    init = [at.init_done("init", ERROR), at.init_report(0.1, "init", ERROR)]
    written = [at.end(REQUEST, ERROR), reported(at, ERROR), *init]
    assert [json.loads(line)["type"] for line in written] == [
        "platform.runtimeDone",
        "platform.report",
        "platform.initRuntimeDone",
        "platform.initReport",
    ]


@pytest.mark.parametrize("why", [Initialization.PROVISIONED, Initialization.SNAP_START])
def test_an_init_that_nobody_waited_for_is_always_reported(why: Initialization) -> None:
    kept = replace(FUNCTION, initialization=why)
    for settings in (LogSettings(), LogSettings(format=LogFormat.JSON)):
        at = lines_of(replace(kept, logging=settings), Noon(), STREAM)
        assert at.init_report(0.1, "init", None)
        assert not at.init_done("init", None)
    assert not lines_of(FUNCTION, Noon(), STREAM).init_report(0.1, "init", None)


def test_a_restore_is_told_in_three_lines() -> None:
    at = lines("DEBUG")
    text = "INIT_START Runtime Version: python:3.12.v7\tRuntime Version ARN: arn:x"
    written = [at.restore_start(text), at.restore_done(None), at.restore_report(0.1, None)]
    records = [json.loads(line) for line in written]
    assert [record["type"] for record in records] == [
        "platform.restoreStart",
        "platform.restoreRuntimeDone",
        "platform.restoreReport",
    ]
    assert records[0]["record"]["instanceId"] == STREAM
    assert [record["record"]["status"] for record in records[1:]] == ["success", "success"]


def test_an_end_says_what_the_runtime_did() -> None:
    done = {"status": "success", "metrics": {"durationMs": 1.5, "producedBytes": 2}}
    record = json.loads(lines("DEBUG").end(REQUEST, None, done))["record"]
    assert record == {"requestId": "r-1", **done}


def test_what_a_function_prints_is_filtered_by_the_level_that_it_says() -> None:
    printed = [
        b"plain text is INFO",
        b'{"level": "debug", "msg": "d"}',
        b'{"level": "WARNING", "msg": "w"}',
        b'{"level": "CRITICAL"}',
        b'{"level": 7}',
        b'{"level": "loud"}',
        b'{"level": "ERROR" no json',
    ]
    assert lines(application="TRACE").admitted(printed) == printed
    assert lines().admitted(printed) == [line for line in printed if b"debug" not in line]
    assert lines(application="WARN").admitted(printed) == [printed[2], printed[3]]


def test_json_names_the_tenant_and_text_does_not() -> None:
    settings = LogSettings(format=LogFormat.JSON, system_level="DEBUG")
    of_blue = replace(FUNCTION, logging=settings, tenant="blue")
    at = lines_of(of_blue, Noon(), STREAM)
    for line in (at.start(REQUEST, ARN), at.end(REQUEST, None), reported(at, None)):
        assert json.loads(line)["record"]["tenantId"] == "blue"
    plain = lines_of(replace(of_blue, logging=LogSettings()), Noon(), STREAM)
    assert plain.start(REQUEST, ARN) == "START RequestId: r-1 Version: $LATEST"


DEEP = b'{"level": "ERROR", "a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"


@pytest.mark.parametrize("line", [DEEP, b'{"level": "\xff"}', b'{"level": [', b'{"level": 1}'])
def test_a_line_that_cannot_be_read_is_one_without_a_level(line: bytes) -> None:
    assert lines(application="INFO").admitted([line]) == [line]
    assert lines(application="ERROR").admitted([line, b'{"level": "ERROR"}']) == [
        b'{"level": "ERROR"}'
    ]
