"""A queue and a function as pollers see them, in virtual time, that fail when a test wants."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hearth.model.errors import ServiceError, TooManyRequests
from hearth.model.invocations import InvokeCall, InvokeResult
from hearth.sources.contract import RawMessage, SourceFailed


@dataclass
class _Held:
    id: str
    body: str
    group: str | None
    received: int = 0
    away_until_s: float = 0.0


class FakeQueue:
    """SQS in small: visibility timeouts, receipts, groups that are locked while one is away."""

    def __init__(self, visibility_s: int = 30) -> None:
        self.visibility = visibility_s
        self.held: dict[str, _Held] = {}
        """In order."""
        self.deleted: list[str] = []
        self.receives = 0
        self._sent = 0
        self.fails: Callable[[str], bool] = lambda _operation: False
        self._came = asyncio.Event()

    def send(self, *bodies: str, group: str | None = None) -> None:
        for body in bodies:
            name = f"m{self._sent}"
            self._sent += 1
            self.held[name] = _Held(name, body, group)
        self._came.set()

    def away(self) -> int:
        return sum(one.away_until_s > self._now_s() for one in self.held.values())

    async def visibility_s(self) -> int:
        self._fail("attributes")
        return self.visibility

    async def receive(self, limit: int, wait_s: int) -> Sequence[RawMessage]:
        self.receives += 1
        self._fail("receive")
        end_s = self._now_s() + wait_s
        while True:
            found = self._take(limit)
            left_s = end_s - self._now_s()
            if found or left_s <= 0:
                return found
            self._came.clear()
            back = [one.away_until_s - self._now_s() for one in self.held.values()]
            try:
                async with asyncio.timeout(min([left_s, *(wait for wait in back if wait > 0)])):
                    await self._came.wait()
            except TimeoutError:
                continue

    async def delete(self, messages: Sequence[RawMessage]) -> None:
        self._fail("delete")
        for message in messages:
            name, receipt = message["MessageId"], message["ReceiptHandle"]
            one = self.held.get(name)
            if one is not None and receipt == f"{name}/{one.received}":
                del self.held[name]
                self.deleted.append(one.body)
        self._came.set()

    async def put_back(self, messages: Sequence[RawMessage]) -> None:
        self._fail("put back")
        for message in messages:
            one = self.held.get(message["MessageId"])
            if one is not None and message["ReceiptHandle"] == f"{one.id}/{one.received}":
                one.away_until_s = 0.0
        self._came.set()

    def _take(self, limit: int) -> list[RawMessage]:
        now_s = self._now_s()
        locked = {one.group for one in self.held.values() if one.group and one.away_until_s > now_s}
        found: list[RawMessage] = []
        for one in self.held.values():
            if len(found) == limit:
                break
            if one.away_until_s > now_s or one.group in locked:
                continue
            one.received += 1
            one.away_until_s = now_s + self.visibility
            system = {"ApproximateReceiveCount": str(one.received)}
            if one.group is not None:
                system["MessageGroupId"] = one.group
            found.append(
                {
                    "MessageId": one.id,
                    "ReceiptHandle": f"{one.id}/{one.received}",
                    "Body": one.body,
                    "MD5OfBody": "",
                    "Attributes": system,
                }
            )
        return found

    def _fail(self, operation: str) -> None:
        if self.fails(operation):
            raise SourceFailed(f"no {operation} today")

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


Handler = Callable[[list[dict[str, Any]]], Awaitable[Any]]
"""Gets the records; answers JSON, or raises FunctionFailed or a ServiceError."""


class FunctionFailed(Exception):
    """The function's own error."""


@dataclass
class FakeFunction:
    """An Invoker of `sources/contract.py`."""

    handler: Handler
    missing: ServiceError | None = None
    batches: list[list[dict[str, Any]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    """At one time."""

    def dry_run(self, call: InvokeCall) -> None:
        if self.missing is not None:
            raise self.missing

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        event = json.loads(call.payload)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            answer = await self.handler(event["Records"])
        except FunctionFailed:
            self._ran(event)
            return InvokeResult(payload=b"{}", executed_version="1", function_error="Unhandled")
        finally:
            self.running -= 1
        self._ran(event)
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return InvokeResult(payload=payload, executed_version="1")

    def bodies(self) -> list[str]:
        return [record["body"] for batch in self.batches for record in batch]

    def counts(self) -> Counter[str]:
        return Counter(self.bodies())

    def _ran(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.batches.append(event["Records"])


def throttled() -> TooManyRequests:
    return TooManyRequests("ConcurrentInvocationLimitExceeded")


def moody(chance: random.Random, good: dict[str, int], seconds: float = 3.0) -> Handler:
    """Fails, is throttled, or reports failures, now and then; counts in `good` what it took."""

    async def handler(records: list[dict[str, Any]]) -> Any:
        mood = chance.random()
        if mood < 0.15:
            raise throttled()
        await asyncio.sleep(chance.random() * seconds)
        if mood < 0.3:
            raise FunctionFailed
        if mood < 0.35:
            return b"no JSON"
        failed = [record for record in records if chance.random() < 0.1]
        for record in records:
            if record not in failed:
                good[record["body"]] = good.get(record["body"], 0) + 1
        return {"batchItemFailures": [{"itemIdentifier": one["messageId"]} for one in failed]}

    return handler
