"""Lambda's own log lines and error payloads, to the character."""

import json

import pytest

from hearth.model.ids import RequestId
from hearth.worker import report
from hearth.worker.sandboxes.contract import Exit, ExitKind

REQUEST = RequestId("8f507cfc-xmpl-4697-b07a-ac58fc914c95")


def test_the_lines_of_a_cold_invoke_are_lambdas() -> None:
    assert report.start_line(REQUEST, "$LATEST") == f"START RequestId: {REQUEST} Version: $LATEST"
    assert report.end_line(REQUEST) == f"END RequestId: {REQUEST}"
    line = report.report_line(
        REQUEST,
        duration_s=0.13361,
        memory_mb=128,
        memory_used_mb=40,
        init_s=0.080,
        failure=None,
    )
    assert line == (
        f"REPORT RequestId: {REQUEST}\tDuration: 133.61 ms\tBilled Duration: 214 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 40 MB\tInit Duration: 80.00 ms\t"
    )


def test_a_warm_invoke_has_no_init_duration_and_is_billed_at_least_one_millisecond() -> None:
    line = report.report_line(
        REQUEST, duration_s=0.0001, memory_mb=128, memory_used_mb=9, init_s=None, failure=None
    )
    assert line == (
        f"REPORT RequestId: {REQUEST}\tDuration: 0.10 ms\tBilled Duration: 1 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 9 MB\t"
    )


def test_a_timeout_reads_as_lambda_writes_it() -> None:
    failure = report.timeout_failure(1)
    assert json.loads(failure.payload(REQUEST)) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {REQUEST} Error: Task timed out after 1.00 seconds",
    }
    line = report.report_line(
        REQUEST, duration_s=1.0, memory_mb=128, memory_used_mb=9, init_s=None, failure=failure
    )
    assert line.endswith("\tMax Memory Used: 9 MB\tStatus: timeout")


@pytest.mark.parametrize(
    ("exit_", "words", "shown"),
    [
        (
            Exit(ExitKind.EXITED, 0),
            "Runtime exited without providing a reason",
            "Runtime.ExitError",
        ),
        (
            Exit(ExitKind.EXITED, 127),
            "Runtime exited with error: exit status 127",
            "Runtime.ExitError",
        ),
        (
            Exit(ExitKind.SIGNALED, 9),
            "Runtime exited with error: signal: killed",
            "Runtime.ExitError",
        ),
        (
            Exit(ExitKind.SIGNALED, 11),
            "Runtime exited with error: signal: segmentation fault",
            "Runtime.ExitError",
        ),
        (
            Exit(ExitKind.OUT_OF_MEMORY, 9),
            "Runtime exited with error: signal: killed",
            "Runtime.OutOfMemory",
        ),
    ],
)
def test_an_exit_is_told_in_lambdas_words(exit_: Exit, words: str, shown: str) -> None:
    failure = report.exit_failure(exit_)
    assert json.loads(failure.payload(REQUEST)) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {REQUEST} Error: {words}",
    }
    line = report.init_report_line(0.25, "init", failure)
    assert line == (
        f"INIT_REPORT Init Duration: 250.00 ms\tPhase: init\tStatus: error\tError Type: {shown}"
    )


def test_an_oversized_response_carries_no_request_id() -> None:
    assert json.loads(report.oversize_failure().payload(REQUEST)) == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": (
            "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        ),
    }


def test_what_the_runtime_posted_at_init_is_passed_on_untouched() -> None:
    posted = b'{"errorMessage": "no module", "requestId": ""}'
    failure = report.Failure("error", "Runtime.ImportModuleError", "", posted=posted)
    assert failure.payload(REQUEST) == posted


def test_an_init_that_went_well_is_reported_without_a_status() -> None:
    line = report.init_report_line(1.23604, "init", None)
    assert line == "INIT_REPORT Init Duration: 1236.04 ms\tPhase: init\t"


def test_extensions_and_subscriptions_are_logged_as_lambda_logs_them() -> None:
    line = report.extension_line("e", "InitError", ("INVOKE", "SHUTDOWN"), "Extension.Mine")
    assert line == (
        "EXTENSION\tName: e\tState: InitError\tEvents: [INVOKE,SHUTDOWN]\t"
        "Error Type: Extension.Mine"
    )
    line = report.subscription_line("telemetry", "e", ("platform", "function"))
    assert line == "TELEMETRY\tName: e\tState: Subscribed\tTypes: [Platform, Function]"


@pytest.mark.parametrize(
    ("exit_", "error_type", "shown", "words"),
    [
        (Exit(ExitKind.EXITED, 0), None, "Extension.Crash", "exit code 0"),
        (Exit(ExitKind.EXITED, 3), None, "Extension.Crash", "exit status 3"),
        (Exit(ExitKind.SIGNALED, 9), None, "Extension.Crash", "signal: killed"),
        (Exit(ExitKind.EXITED, 1), "Extension.InitError", "Extension.InitError", "exit status 1"),
    ],
)
def test_an_extension_that_ends_is_told_with_its_exit(
    exit_: Exit, error_type: str | None, shown: str, words: str
) -> None:
    failure = report.extension_failure(exit_, error_type)
    assert json.loads(failure.payload(REQUEST)) == {
        "errorType": shown,
        "errorMessage": f"RequestId: {REQUEST} Error: {words}",
    }
