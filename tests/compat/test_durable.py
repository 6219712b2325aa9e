"""Durable functions as their authors write them: AWS's own SDK inside, boto3 outside.

The functions have no network: what the SDK asks of Lambda comes in through its own sandbox.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compat.durable_flows import SDK, durable_package
from compat.platform import PYTHON, Platform, create, wait_until

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

FLOWS = "durable-flows"
SHORT = "durable-short"
PLAIN = "durable-plain"
EXAMPLE = Path(__file__).parents[2] / "examples" / "durable" / "app.py"
LATEST = "$LATEST"


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[Any]:
    client: Any = platform.client()  # its stubs do not know all operations
    code = {"ZipFile": durable_package()}
    create(client, FLOWS, "", Code=code, DurableConfig={"ExecutionTimeout": 600}, Timeout=60)
    create(client, SHORT, "", Code=code, DurableConfig={"ExecutionTimeout": 3}, Timeout=60)
    create(client, PLAIN, "", Code=code, Handler="app.plain", Timeout=60)
    yield client
    for name in (FLOWS, SHORT, PLAIN):
        client.delete_function(FunctionName=name)


def run(client: Any, event: dict[str, Any], **more: Any) -> Any:
    """Invoke and wait: the result, and the ARN of its execution."""
    answer = client.invoke(FunctionName=FLOWS, Qualifier=LATEST, Payload=json.dumps(event), **more)
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    return payload, answer["DurableExecutionArn"]


def begin(client: Any, event: dict[str, Any], **more: Any) -> str:
    answer = client.invoke(
        **({"FunctionName": FLOWS} | more),
        Qualifier=LATEST,
        InvocationType="Event",
        Payload=json.dumps(event),
    )
    assert answer["StatusCode"] == 202
    return str(answer["DurableExecutionArn"])


def ended(client: Any, arn: str) -> Any:
    """The execution, once it is over."""

    def is_over() -> bool:
        return bool(client.get_durable_execution(DurableExecutionArn=arn)["Status"] != "RUNNING")

    wait_until(is_over, f"{arn} is over")
    return client.get_durable_execution(DurableExecutionArn=arn)


def history(client: Any, arn: str) -> list[Any]:
    pages = client.get_paginator("get_durable_execution_history").paginate(
        DurableExecutionArn=arn, PaginationConfig={"PageSize": 5}
    )
    return [event for page in pages for event in page["Events"]]


def callback_of(client: Any, arn: str) -> str:
    found: list[str] = []

    def is_there() -> bool:
        found[:] = [
            event["CallbackStartedDetails"]["CallbackId"]
            for event in history(client, arn)
            if event["EventType"] == "CallbackStarted"
        ]
        return bool(found)

    wait_until(is_there, "the callback has been started")
    return found[0]


def test_steps_run_once_and_are_written_down(client: Any) -> None:
    result, arn = run(client, {"flow": "steps", "n": 1})
    assert result == {"first": 2, "second": 4}
    events = history(client, arn)
    assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["EventType"] for event in events]
    assert kinds.count("StepSucceeded") == 2
    assert kinds[0] == "ExecutionStarted"
    assert kinds[-1] == "ExecutionSucceeded"
    started = events[0]["ExecutionStartedDetails"]
    assert json.loads(started["Input"]["Payload"]) == {"flow": "steps", "n": 1}
    assert started["ExecutionTimeout"] == 600
    newest = client.get_durable_execution_history(
        DurableExecutionArn=arn, ReverseOrder=True, MaxItems=1, IncludeExecutionData=False
    )["Events"][0]
    assert newest["EventType"] == "ExecutionSucceeded"
    assert newest["ExecutionSucceededDetails"]["Result"] == {"Truncated": True}
    shown = client.get_durable_execution(DurableExecutionArn=arn)
    assert json.loads(shown["Result"]) == result
    assert shown["Status"] == "SUCCEEDED"
    assert shown["EndTimestamp"] >= shown["StartTimestamp"]


def test_a_wait_holds_no_sandbox_and_is_not_run_again(client: Any) -> None:
    result, arn = run(client, {"flow": "wait"})
    assert result == ["before", "after"]
    kinds = [event["EventType"] for event in history(client, arn)]
    assert kinds.count("InvocationCompleted") >= 2  # it was not there while it waited
    assert kinds.count("StepSucceeded") == 2
    assert kinds.index("WaitStarted") < kinds.index("WaitSucceeded")


def test_maps_and_parallel_branches(client: Any) -> None:
    result, _ = run(client, {"flow": "fan_out", "numbers": [1, 2, 3]})
    assert result == {"squares": [1, 4, 9], "both": ["left", "right"]}


def test_a_step_is_tried_again_after_its_delay(client: Any) -> None:
    result, arn = run(client, {"flow": "retry", "good": 2})
    assert result == 2
    failed = [e for e in history(client, arn) if e["EventType"] == "StepFailed"]
    assert failed[0]["StepFailedDetails"]["RetryDetails"]["CurrentAttempt"] == 1
    assert failed[0]["StepFailedDetails"]["Error"]["Payload"]["ErrorMessage"] == "attempt 1"


def test_what_a_handler_raises_fails_the_execution(client: Any) -> None:
    answer = client.invoke(FunctionName=FLOWS, Qualifier=LATEST, Payload='{"flow": "fail"}')
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"].read())["errorMessage"] == "as asked"
    shown = client.get_durable_execution(DurableExecutionArn=answer["DurableExecutionArn"])
    assert shown["Status"] == "FAILED"
    assert shown["Error"]["ErrorType"].endswith("Unwell")


def test_callbacks_from_outside(client: Any) -> None:
    good = begin(client, {"flow": "callback"})
    bad = begin(client, {"flow": "callback"})
    good_id, bad_id = callback_of(client, good), callback_of(client, bad)
    client.send_durable_execution_callback_heartbeat(CallbackId=good_id)
    client.send_durable_execution_callback_success(CallbackId=good_id, Result=b'"yes"')
    client.send_durable_execution_callback_failure(
        CallbackId=bad_id, Error={"ErrorType": "Refused", "ErrorMessage": "no"}
    )
    assert json.loads(ended(client, good)["Result"]) == {"answer": '"yes"'}
    assert ended(client, bad)["Error"]["ErrorMessage"] == "no"
    with pytest.raises(client.exceptions.CallbackTimeoutException):
        client.send_durable_execution_callback_success(CallbackId=good_id, Result=b"late")
    with pytest.raises(client.exceptions.InvalidParameterValueException):
        client.send_durable_execution_callback_heartbeat(CallbackId="bm9uZQ==")


def test_a_callback_that_nobody_answers_times_out(client: Any) -> None:
    late = begin(client, {"flow": "callback", "timeout": 1})
    silent = begin(client, {"flow": "callback", "timeout": 60, "heartbeat": 1})
    assert ended(client, late)["Error"]["ErrorMessage"] == "Callback timed out"
    assert ended(client, silent)["Error"]["ErrorMessage"] == "Callback timed out on heartbeat"


def test_chained_invokes(client: Any) -> None:
    result, arn = run(client, {"flow": "chained", "function": PLAIN, "payload": {"n": 7}})
    assert result == {"said": {"plain": {"n": 7}}}
    started = next(e for e in history(client, arn) if e["EventType"] == "ChainedInvokeStarted")
    assert started["ChainedInvokeStartedDetails"]["FunctionName"] == PLAIN
    inner = {"flow": "steps", "n": 3}
    function = f"{FLOWS}:{LATEST}"
    result, _ = run(client, {"flow": "chained", "function": function, "payload": inner})
    assert result == {"said": {"first": 4, "second": 8}}
    for event in (
        {"function": PLAIN, "payload": {"fail": True}},
        {"function": "durable-nobody", "payload": {}},
    ):
        shown = ended(client, begin(client, {"flow": "chained", **event}))
        assert shown["Status"] == "FAILED"


def test_a_name_is_an_execution(client: Any) -> None:
    first, arn = run(client, {"flow": "steps", "n": 1}, DurableExecutionName="order-1")
    again, same = run(client, {"flow": "steps", "n": 1}, DurableExecutionName="order-1")
    assert (again, same) == (first, arn)
    assert "/durable-execution/order-1/" in arn
    with pytest.raises(client.exceptions.DurableExecutionAlreadyStartedException):
        run(client, {"flow": "steps", "n": 2}, DurableExecutionName="order-1")


def test_stop_pause_resume_and_delete(client: Any) -> None:
    arn = begin(client, {"flow": "callback"})
    callback = callback_of(client, arn)
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.resume_durable_execution(DurableExecutionArn=arn)

    def status() -> str:
        return str(client.get_durable_execution(DurableExecutionArn=arn)["Status"])

    client.pause_durable_execution(DurableExecutionArn=arn, Reason="look at it")
    wait_until(lambda: status() == "PAUSED", "the execution is paused")
    details = client.get_durable_execution(DurableExecutionArn=arn)["PauseDetails"]
    assert details["Reason"] == "look at it"
    client.send_durable_execution_callback_success(CallbackId=callback, Result=b"1")
    assert status() == "PAUSED"
    client.resume_durable_execution(DurableExecutionArn=arn)
    assert ended(client, arn)["Status"] == "SUCCEEDED"

    other = begin(client, {"flow": "callback"})
    callback_of(client, other)
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.delete_durable_execution(DurableExecutionArn=other)
    client.stop_durable_execution(
        DurableExecutionArn=other, Error={"ErrorMessage": "enough", "ErrorType": "Mine"}
    )
    shown = client.get_durable_execution(DurableExecutionArn=other)
    assert (shown["Status"], shown["Error"]["ErrorMessage"]) == ("STOPPED", "enough")
    client.delete_durable_execution(DurableExecutionArn=other)

    def is_gone() -> bool:
        try:
            client.get_durable_execution(DurableExecutionArn=other)
        except client.exceptions.ResourceNotFoundException:
            return True
        return False

    wait_until(is_gone, "the execution is deleted")


def test_an_execution_has_a_time_limit(client: Any) -> None:
    arn = begin(client, {"flow": "callback", "timeout": 300}, FunctionName=SHORT)
    assert ended(client, arn)["Status"] == "TIMED_OUT"


def test_executions_are_listed(client: Any) -> None:
    arns = [run(client, {"flow": "steps", "n": n})[1] for n in range(3)]
    pages = client.get_paginator("list_durable_executions_by_function").paginate(
        FunctionName=FLOWS, Statuses=["SUCCEEDED"], PaginationConfig={"PageSize": 2}
    )
    found = [e["DurableExecutionArn"] for page in pages for e in page["DurableExecutions"]]
    assert found[:3] == arns[::-1]  # newest first
    assert len(found) == len(set(found))
    name = arns[0].split("/")[-2]
    one = client.list_durable_executions_by_function(
        FunctionName=FLOWS, DurableExecutionName=name, Qualifier=LATEST
    )["DurableExecutions"]
    assert [e["DurableExecutionArn"] for e in one] == [arns[0]]
    assert one[0]["Status"] == "SUCCEEDED"


def test_what_is_refused(client: Any) -> None:
    refused = client.exceptions.InvalidParameterValueException
    with pytest.raises(refused, match="unqualified ARN"):
        client.invoke(FunctionName=FLOWS, Payload="{}")
    with pytest.raises(refused, match="functions that have a DurableConfig"):
        client.invoke(FunctionName=PLAIN, Payload="{}", DurableExecutionName="n")
    with pytest.raises(refused, match="when a function is created"):
        client.update_function_configuration(
            FunctionName=PLAIN, DurableConfig={"ExecutionTimeout": 60}
        )
    arn = run(client, {"flow": "steps", "n": 1})[1]
    with pytest.raises(refused, match="Invalid checkpoint token"):
        client.checkpoint_durable_execution(
            DurableExecutionArn=arn, CheckpointToken="c3RhbGU=", Updates=[]
        )
    with pytest.raises(refused, match="Invalid checkpoint token"):
        client.get_durable_execution_state(DurableExecutionArn=arn, CheckpointToken="c3RhbGU=")


def test_the_timeout_decides_whether_a_caller_may_wait(client: Any) -> None:
    client.update_function_configuration(
        FunctionName=SHORT, DurableConfig={"ExecutionTimeout": 901, "RetentionPeriodInDays": 2}
    )
    client.get_waiter("function_updated_v2").wait(
        FunctionName=SHORT, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    config = client.get_function_configuration(FunctionName=SHORT)["DurableConfig"]
    assert config == {"ExecutionTimeout": 901, "RetentionPeriodInDays": 2}
    with pytest.raises(
        client.exceptions.InvalidParameterValueException, match="greater than 15 minutes"
    ):
        client.invoke(FunctionName=SHORT, Qualifier=LATEST, Payload='{"flow": "steps", "n": 1}')


def test_a_published_version_is_kept_to(client: Any) -> None:
    version = client.publish_version(FunctionName=FLOWS)["Version"]
    client.get_waiter("function_active_v2").wait(
        FunctionName=FLOWS, Qualifier=version, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    answer = client.invoke(
        FunctionName=FLOWS, Qualifier=version, Payload='{"flow": "wait", "seconds": 1}'
    )
    assert json.loads(answer["Payload"].read()) == ["before", "after"]
    assert f":function:{FLOWS}:{version}/durable-execution/" in answer["DurableExecutionArn"]
    assert answer["ExecutedVersion"] == version


def test_the_example_by_command(platform: Platform, tmp_path: Path) -> None:
    """docs/durable.md, line by line."""
    build = tmp_path / "build"
    shutil.copytree(SDK, build / SDK.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE, build)

    def hearth(*arguments: str) -> str:
        done = platform.command(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    flags = ["--handler", "app.handler", "--runtime", PYTHON, "--durable", "86400"]
    said = hearth("deploy", str(build), "--name", "orders", *flags)
    assert "hearth invoke 'orders:$LATEST'" in said
    started = hearth(
        *("invoke", "orders:$LATEST", "--event", "--execution-name", "order-7"),
        *("-p", '{"order": 7}'),
    )
    arn = started.split("Durable execution: ")[1].strip()
    client: Any = platform.client()
    callback = callback_of(client, arn)
    assert arn in hearth("executions", "list", "orders", "--status", "RUNNING")
    client.send_durable_execution_callback_success(CallbackId=callback, Result=b"yes")
    assert json.loads(ended(client, arn)["Result"])["shipped"] is True
    shown = hearth("executions", "show", arn)
    assert "SUCCEEDED" in shown
    assert "CallbackSucceeded" in shown
    client.delete_function(FunctionName="orders")
