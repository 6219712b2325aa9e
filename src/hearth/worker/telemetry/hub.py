"""Who is told what happens in an environment? The events of one running program, to subscribers.

    PUT /2022-07-01/telemetry, /2020-08-15/logs     until the end of init
    emit(type, record), lines(kind, lines)          never wait, and cost nothing if nobody listens

A subscriber also gets what happened before it subscribed. When the init ends and nobody has
subscribed, `is_on` is false from then on, and whoever could emit looks at that first.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from hearth.base.clock import Clock
from hearth.base.http1 import HttpRequest, Responder
from hearth.base.jobs import Jobs
from hearth.worker.extension_api import Extension, ExtensionApi
from hearth.worker.inside_errors import JSON, UNREADABLE, refuse
from hearth.worker.sandboxes.contract import Sandbox
from hearth.worker.telemetry.buffer import Dropped
from hearth.worker.telemetry.delivery import Delivery, connector
from hearth.worker.telemetry.subscription import (
    LOGS,
    TELEMETRY,
    InvalidSubscription,
    Subscription,
    parse,
)

Note = Callable[[str, str, Sequence[str]], None]
"""Which API, who, and for which types."""
Kind = Literal["platform", "function", "extension"]
PATHS: Final = {
    "/2022-07-01/telemetry": TELEMETRY,
    "/2022-07-01/telemetry/": TELEMETRY,
    "/2020-08-15/logs": LOGS,
    "/2020-08-15/logs/": LOGS,
}
_NAMES: Final = {TELEMETRY: "Telemetry", LOGS: "Logs"}
_EARLY_MAX: Final = 1_000
_EARLY_BYTES_MAX: Final = 1 << 20
_OF_LOGS: Final = {
    "platform.start",
    "platform.end",
    "platform.report",
    "platform.runtimeDone",
    "platform.extension",
    "platform.fault",
    "platform.logsSubscription",
    "platform.logsDropped",
}
_ONLY_OF_LOGS: Final = {"platform.end", "platform.fault", "platform.logsSubscription"}
_SINCE_2021: Final = "platform.runtimeDone"
"""In the Logs API, from schema 2021-03-18 on."""
_IN_LOGS_REPORT: Final = ("requestId", "metrics")


@dataclass(frozen=True, slots=True)
class Event:
    kind: Kind
    type: str
    record: Any
    time: str


class Telemetry:
    """The hub of one running program."""

    def __init__(
        self,
        sandbox: Sandbox,
        clock: Clock,
        jobs: Jobs,
        *,
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.is_on = True
        self.has_json_lines = False
        """The function's log lines are meant to be JSON objects."""
        self._sandbox = sandbox
        self._clock = clock
        self._jobs = jobs
        self._is_paused = is_paused
        self._is_open = True
        self._early: list[Event] = []
        self._early_bytes = 0
        self._deliveries: dict[tuple[str, str], Delivery] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    # -- what happens ----------------------------------------------------------------------------

    def emit(self, type_: str, record: Any) -> None:
        if self.is_on:
            self._send(Event("platform", type_, record, iso(self._clock.epoch_ms())))

    def lines(self, kind: Kind, lines: Sequence[bytes]) -> None:
        if self.is_on:
            time = iso(self._clock.epoch_ms())
            for line in lines:
                self._send(Event(kind, kind, line.decode("utf-8", "replace"), time))

    def _send(self, event: Event) -> None:
        if self._is_open:
            self._keep(event)
        for delivery in self._deliveries.values():
            self._add(delivery, event)

    def _keep(self, event: Event) -> None:
        """For who subscribes later in the init."""
        size = len(event.record) if isinstance(event.record, str) else 0
        if len(self._early) < _EARLY_MAX and self._early_bytes + size <= _EARLY_BYTES_MAX:
            self._early.append(event)
            self._early_bytes += size

    def _add(self, delivery: Delivery, event: Event) -> None:
        subscription = delivery.subscription
        if event.kind not in subscription.types or not _is_for(event.type, subscription):
            return
        record = event.record
        if event.kind == "function" and self.has_json_lines and subscription.takes_objects:
            record = _object_or_text(record)
        elif subscription.api == LOGS and event.type == "platform.report":
            record = {name: record[name] for name in _IN_LOGS_REPORT}
        delivery.add(_encoded(event.time, event.type, record))

    # -- subscriptions ---------------------------------------------------------------------------

    def close_registration(self) -> None:
        """The init is over."""
        self._is_open = False
        self._early.clear()
        self.is_on = bool(self._deliveries)

    def handle(
        self,
        request: HttpRequest,
        responder: Responder,
        extensions: ExtensionApi,
        note: Note,
    ) -> bool:
        """Whether it was a subscription. `note` gets what is to be logged of one."""
        api = PATHS.get(request.target)
        if api is None or request.method != "PUT":
            return False
        extension = extensions.identify(request, responder)
        if extension is not None:
            self._subscribe(extension, api, request, responder, note)
        return True

    def _subscribe(
        self,
        extension: Extension,
        api: str,
        request: HttpRequest,
        responder: Responder,
        note: Note,
    ) -> None:
        name = _NAMES[api]
        if not self._is_open:
            message = f"{name} API subscription is closed already"
            refuse(responder, 403, f"{name}.SubscriptionClosed", message)
            return
        try:
            subscription = parse(extension.name, api, request.body)
        except InvalidSubscription as error:
            error_type = "ValidationError" if api == TELEMETRY else "Logs.ValidationError"
            refuse(responder, 400, error_type, str(error))
            return
        self._begin(subscription)
        responder.send(200, JSON, b'"OK"')
        note(api, extension.name, subscription.types)
        record = {"name": extension.name, "state": "Subscribed", "types": list(subscription.types)}
        self.emit(f"platform.{'telemetry' if api == TELEMETRY else 'logs'}Subscription", record)

    def _begin(self, subscription: Subscription) -> None:
        """A second subscription of an extension takes the place of its first."""
        key = (subscription.name, subscription.api)
        if key in self._tasks:
            self._tasks[key].cancel()
        connect = connector(self._sandbox.open_socket)
        delivery = Delivery(
            subscription, connect, self._clock, self._describe_dropped, self._is_paused
        )
        self._deliveries[key] = delivery
        name = f"telemetry-{self._sandbox.id}-{subscription.name}"
        self._tasks[key] = self._jobs.spawn(delivery.run(), name=name)
        for event in self._early:
            self._add(delivery, event)

    def _describe_dropped(self, dropped: Dropped) -> bytes:
        record = {
            "reason": "Consumer seems to have fallen behind as it has not acknowledged receipt of "
            "logs.",
            "droppedRecords": dropped.records,
            "droppedBytes": dropped.size,
        }
        return _encoded(iso(self._clock.epoch_ms()), "platform.logsDropped", record)

    # -- the end ---------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Something has not been delivered."""
        return any(delivery.is_busy for delivery in self._deliveries.values())

    def hurry(self) -> None:
        """Deliver what waits as soon as may be."""
        for delivery in self._deliveries.values():
            delivery.hurry()

    async def flush(self, within_s: float) -> None:
        """Deliver what waits; gives up after `within_s`."""
        busy = [delivery for delivery in self._deliveries.values() if delivery.is_busy]
        if busy:
            await asyncio.gather(*(delivery.flush(within_s) for delivery in busy))

    def close(self) -> None:
        """No more deliveries."""
        self.is_on = self._is_open = False
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._deliveries.clear()


def _is_for(type_: str, subscription: Subscription) -> bool:
    if not type_.startswith("platform."):
        return True
    if subscription.api == TELEMETRY:
        return type_ not in _ONLY_OF_LOGS
    if type_ == _SINCE_2021:
        return subscription.schema >= "2021-03-18"
    return type_ in _OF_LOGS


def _object_or_text(line: str) -> Any:
    try:
        found = msgspec.json.decode(line)
    except UNREADABLE:
        return line
    return found if isinstance(found, dict) else line


def _encoded(time: str, type_: str, record: Any) -> bytes:
    return msgspec.json.encode({"time": time, "type": type_, "record": record})


def iso(epoch_ms: float) -> str:
    """`2022-10-12T00:03:50.000Z`"""
    whole = int(epoch_ms)
    moment = datetime.fromtimestamp(whole // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{whole % 1000:03d}Z"
