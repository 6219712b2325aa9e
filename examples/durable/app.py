"""An order that waits for a person: reserve, ask, wait for the answer, ship or give up.

Between the steps nothing runs: the execution is on disk, and the function is called again when
there is something to do. Each step runs once, however often that is.
"""

from typing import Any

from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python.config import CallbackConfig, Duration


@durable_execution
def handler(event: Any, context: DurableContext) -> Any:
    order = event["order"]
    reserved = context.step(lambda _: f"stock for {order}", name="reserve")
    answer = context.create_callback(
        name="approval", config=CallbackConfig(timeout=Duration.from_hours(24))
    )
    context.step(lambda _: print(f"Approve {order}? {answer.callback_id}"), name="ask")
    if answer.result() != "yes":
        return {"order": order, "shipped": False}
    context.wait(Duration.from_seconds(2), name="cool-off")
    return context.step(lambda _: {"order": order, "shipped": True, "from": reserved}, name="ship")
