"""How does the outcome of an event reach its target? One sender a service.

Functions are told through Hearth itself, as by an asynchronous invoke. Queues, topics, buses and
buckets are told through botocore's clients, in threads of each service's own: a server that hangs
holds up nothing but what goes to it. Each try has a deadline; what comes after a failed one is for
the queue before this (`events/`), so a sender says only whether another try makes sense.

What is sent carries the trace header that the function saw, with its lineage, where the service
takes one: so a loop through it is noticed.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, Final

from hearth.app.client_pool import Clients
from hearth.events import records
from hearth.events.contract import DeliveryFailed
from hearth.frontend.lineage import with_run
from hearth.model.endpoints import Endpoint, Endpoints, no_endpoint
from hearth.model.errors import ServiceError
from hearth.model.events import Delivery, Settlement, TargetKind
from hearth.model.ids import AccountId, Caller, FunctionReference, Region, RequestId
from hearth.model.invocations import InvokeCall
from hearth.model.targets import LAMBDA, Target
from hearth.settings import ClientSettings, read_client_settings

SEND_S: Final = 30.0
"""For one try; longer than a connection and an answer may take."""
THREADS: Final = 4
"""For each service."""
TRACE_LENGTH_MAX: Final = 500
"""Of EventBridge. A longer one can only be what a client wrote by hand."""

_AGAIN: Final = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled"),
        *("RequestThrottledException", "TooManyRequestsException", "SlowDown"),
        *("RequestLimitExceeded", "RequestTimeout", "RequestTimeoutException", "OverLimit"),
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed"),
        *("InternalFailure", "InternalException", "InternalError", "ServiceUnavailable"),
        *("KMSThrottlingException", "KmsThrottled", "OperationAborted"),
    }
)
"""Errors that may be over at the next try, though their status may be 4xx."""

InvokeAsync = Callable[[InvokeCall], Awaitable[None]]
"""Accept the call as an event: durable when this returns. Raises ServiceError."""


def open_senders(endpoints: Endpoints, invoke: InvokeAsync, stack: AsyncExitStack) -> "Senders":
    senders = Senders(endpoints, read_client_settings(), invoke)
    stack.callback(senders.close)
    return senders


class Senders:
    """The Targets of `events/contract.py`."""

    def __init__(self, endpoints: Endpoints, told: ClientSettings, invoke: InvokeAsync) -> None:
        self._endpoints = endpoints
        self._invoke = invoke
        self._clients = Clients(told, THREADS)
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._send: Mapping[str, Callable[[Endpoint, Target, Delivery], None]] = {
            "sqs": self._to_queue,
            "sns": self._to_topic,
            "eventbridge": self._to_bus,
            "s3": self._to_bucket,
        }

    async def deliver(self, delivery: Delivery) -> None:
        """Raises DeliveryFailed."""
        try:
            target = Target.parse(delivery.target)
        except ValueError as error:
            raise DeliveryFailed(f"{delivery.target} cannot be told", is_final=True) from error
        try:
            async with asyncio.timeout(SEND_S):
                if target.service == LAMBDA:
                    await self._to_function(delivery)
                else:
                    await self._to_service(target, delivery)
        except TimeoutError as error:
            raise DeliveryFailed(f"no answer within {SEND_S:g} seconds") from error

    def close(self) -> None:
        """Let nothing new begin. What runs ends by itself: nobody waits for it."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    async def _to_function(self, delivery: Delivery) -> None:
        settlement = delivery.settlement
        told = records.body(delivery).encode()
        _check_size(LAMBDA, len(told))
        account, region = settlement.event.key.account, settlement.event.key.region
        call = InvokeCall(
            caller=_owner(account, region),
            reference=FunctionReference.parse(delivery.target),
            payload=told,
            request=RequestId(unique_id(delivery)),
            trace_id=trace_header(settlement),
        )
        try:
            await self._invoke(call)
        except ServiceError as error:
            reason = f"{error.code}: {error.message}"
            is_final = error.status < 500 and error.status != 429
            raise DeliveryFailed(reason, is_final=is_final) from error

    async def _to_service(self, target: Target, delivery: Delivery) -> None:
        endpoint = self._endpoints.find(target.service)
        if endpoint is None:  # it had an address when the target was named; it may get one again
            raise DeliveryFailed(no_endpoint(delivery.target, target.service).message)
        threads = self._threads.get(target.service)
        if threads is None:
            threads = ThreadPoolExecutor(THREADS, thread_name_prefix=target.service)
            self._threads[target.service] = threads
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(threads, self._tell, endpoint, target, delivery)

    def _tell(self, endpoint: Endpoint, target: Target, delivery: Delivery) -> None:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            self._send[target.service](endpoint, target, delivery)
        except ClientError as error:
            told, about = error.response["Error"], error.response["ResponseMetadata"]
            code, status = str(told.get("Code", "")), about["HTTPStatusCode"]
            is_final = 400 <= status < 500 and status != 429 and code not in _AGAIN
            reason = f"{code}: {told.get('Message', '')}"
            raise DeliveryFailed(reason, is_final=is_final) from error
        except (BotoCoreError, ResponseParserError, OSError, ValueError) as error:
            raise DeliveryFailed(f"{type(error).__name__}: {error}") from error

    def _to_queue(self, endpoint: Endpoint, target: Target, delivery: Delivery) -> None:
        body, attributes = _message(delivery, "sqs")
        header = trace_header(delivery.settlement)
        traced: dict[str, Any] = {}
        if header is not None:
            trace = {"DataType": "String", "StringValue": header}
            traced["MessageSystemAttributes"] = {"AWSTraceHeader": trace}
        self._clients.of(endpoint, target.region).send_message(
            QueueUrl=self._clients.queue_url(endpoint, target.arn),
            MessageBody=body,
            MessageAttributes=attributes,
            **traced,
        )

    def _to_topic(self, endpoint: Endpoint, target: Target, delivery: Delivery) -> None:
        body, attributes = _message(delivery, "sns")
        with self._clients.tracing(trace_header(delivery.settlement)):
            self._clients.of(endpoint, target.region).publish(
                TopicArn=target.arn, Message=body, MessageAttributes=attributes
            )

    def _to_bus(self, endpoint: Endpoint, target: Target, delivery: Delivery) -> None:
        settlement = delivery.settlement
        detail = records.body(delivery)
        _check_size("eventbridge", len(detail.encode()))
        entry: dict[str, Any] = {
            "EventBusName": target.arn,
            "Source": records.EVENT_SOURCE,
            "DetailType": records.detail_type(settlement),
            "Detail": detail,
            "Resources": [target.arn, settlement.function_arn],
        }
        header = trace_header(settlement)
        if header is not None and len(header) <= TRACE_LENGTH_MAX:
            entry["TraceHeader"] = header
        answer = self._clients.of(endpoint, target.region).put_events(Entries=[entry])
        for put in answer["Entries"]:
            if code := put.get("ErrorCode"):
                reason = f"{code}: {put.get('ErrorMessage', '')}"
                raise DeliveryFailed(reason, is_final=code not in _AGAIN)

    def _to_bucket(self, endpoint: Endpoint, target: Target, delivery: Delivery) -> None:
        settlement = delivery.settlement
        region = settlement.event.key.region
        with self._clients.tracing(trace_header(settlement)):
            self._clients.of(endpoint, region).put_object(
                Bucket=target.name,
                Key=records.object_key(settlement, unique_id(delivery)),
                Body=records.body(delivery).encode(),
                ContentType="application/json",
            )


def trace_header(settlement: Settlement) -> str | None:
    """What the function's last run saw; where it never ran, what its caller sent."""
    header = settlement.event.call.trace_id
    if header is None or settlement.invoke_count == 0:
        return header
    return with_run(header, settlement.event.key)


def unique_id(delivery: Delivery) -> str:
    """The same for each try of one delivery, and for no other."""
    settlement = delivery.settlement
    names = (settlement.event.call.request, settlement.settled_ms, delivery.target, delivery.kind)
    return str(uuid.uuid5(uuid.NAMESPACE_OID, " ".join(map(str, names))))


def _owner(account: AccountId, region: Region) -> Caller:
    return Caller(account, region, "", f"arn:aws:iam::{account}:root")


def _message(delivery: Delivery, service: str) -> tuple[str, dict[str, Any]]:
    """Body and attributes. Raises DeliveryFailed if the service takes no message of that size."""
    body = records.body(delivery)
    attributes = {}
    size = len(body.encode())
    if delivery.kind is TargetKind.DEAD_LETTER:
        for name, (kind, value) in records.dead_letter_attributes(delivery.settlement).items():
            attributes[name] = {"DataType": kind, "StringValue": value}
            size += len(name) + len(kind) + len(value.encode())
    _check_size(service, size)
    return body, attributes


def _check_size(service: str, size: int) -> None:
    if size > records.BYTES_MAX[service]:
        raise DeliveryFailed(
            f"the message has {size} bytes, and {service} takes {records.BYTES_MAX[service]}",
            is_final=True,
        )
