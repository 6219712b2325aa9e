"""Durable functions for the tests: AWS's own SDK in the package, and one flow per `event["flow"]`.

What a step does is seen in the answer of the function that it calls, or in a file of /tmp where it
counts its runs: sandboxes of one function may be several, so only `attempt` flows look at that.
"""

import io
import zipfile
from pathlib import Path

import aws_durable_execution_sdk_python

SDK = Path(aws_durable_execution_sdk_python.__file__).parent

FLOWS = """
from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import (
    CallbackConfig, Duration, InvokeConfig, StepConfig,
)
from aws_durable_execution_sdk_python.retries import RetryStrategyConfig, create_retry_strategy


class Unwell(Exception):
    pass


def steps(event, context):
    first = context.step(lambda _: event["n"] + 1, name="first")
    second = context.step(lambda _: first * 2, name="second")
    return {"first": first, "second": second}


def wait(event, context):
    before = context.step(lambda _: "before", name="before")
    context.wait(Duration.from_seconds(event.get("seconds", 1)), name="pause")
    return [before, context.step(lambda _: "after", name="after")]


def fan_out(event, context):
    squares = context.map(
        event["numbers"], lambda ctx, item, index, items: ctx.step(lambda _: item * item)
    )
    both = context.parallel([
        lambda ctx: ctx.step(lambda _: "left"),
        lambda ctx: (ctx.wait(Duration.from_seconds(1)), ctx.step(lambda _: "right"))[1],
    ])
    return {"squares": squares.get_results(), "both": both.get_results()}


def callback(event, context):
    config = CallbackConfig(
        timeout=Duration.from_seconds(event.get("timeout", 60)),
        heartbeat_timeout=Duration.from_seconds(event.get("heartbeat", 0)),
    )
    waiting = context.create_callback(name="approval", config=config)
    return {"answer": waiting.result()}


def chained(event, context):
    return {"said": context.invoke(event["function"], event["payload"], name="other")}


def retry(event, context):
    strategy = create_retry_strategy(RetryStrategyConfig(
        max_attempts=event.get("attempts", 3),
        initial_delay=Duration.from_seconds(1), max_delay=Duration.from_seconds(1),
    ))
    tries = []

    def work(step):
        tries.append(1)
        if step.attempt < event["good"]:
            raise Unwell(f"attempt {step.attempt}")
        return step.attempt

    return context.step(work, name="stubborn", config=StepConfig(retry_strategy=strategy))


def fail(event, context):
    context.step(lambda _: 1, name="fine")
    raise Unwell("as asked")


def large(event, context):
    return context.step(lambda _: "x" * event["bytes"], name="large")


@durable_execution
def handler(event, context):
    return globals()[event["flow"]](event, context)


def plain(event, context):
    if event.get("fail"):
        raise Unwell("plainly")
    return {"plain": event}
"""


def durable_package(code: str = FLOWS) -> bytes:
    """A zip with the SDK and the module `app`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(SDK.rglob("*.py")):
            archive.write(path, f"{SDK.name}/{path.relative_to(SDK)}")
        archive.writestr("app.py", code)
    return buffer.getvalue()
