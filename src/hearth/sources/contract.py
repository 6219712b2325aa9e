"""What do event sources need of the other rooms, and what is a poller to whoever runs it?

Mappings    which mappings there are, and that one is gone for good          (control)
Invoker     runs a batch, as it would a synchronous invoke                   (frontend)
Queue       one queue of SQS                                                 (AWS clients)
Poller      brings what one mapping's source has to its function             (offered)

A further kind of source is one module with a Poller, and a row where pollers are opened.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from hearth.model.invocations import InvokeCall, InvokeResult
from hearth.model.mappings import EventSourceMapping
from hearth.sources.status import MappingStatus


class SourceFailed(Exception):
    """A source did not do what it was asked. The text is for the log, and for whoever looks at the
    mapping."""


class Mappings(Protocol):
    """A full local copy: no I/O to read."""

    def every(self) -> Iterator[EventSourceMapping]: ...

    def find(self, mapping: EventSourceMapping) -> EventSourceMapping | None:
        """As it is now."""
        ...

    def on_change(self, listener: Callable[[], None]) -> None: ...

    async def forget(self, mapping: EventSourceMapping) -> None:
        """It was deleted and nothing of it runs any more. Raises ServiceError."""
        ...


class Invoker(Protocol):
    def dry_run(self, call: InvokeCall) -> None:
        """Raises ServiceError if the function is not there, or not now."""
        ...

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """Raises ServiceError if it was not run. Runs to the end, if it is not cancelled."""
        ...


class Poller(Protocol):
    """One mapping at work."""

    async def run(self) -> None:
        """Until `stop` was called and everything that had begun has ended.

        Cancelled, it leaves what it has to its source, which gives it out again. It raises only
        what is a defect.
        """
        ...

    def stop(self) -> None:
        """Begin nothing more; give back what has not begun."""
        ...


OpenPoller = Callable[[EventSourceMapping, MappingStatus], Poller]


RawMessage = Mapping[str, Any]
"""As ReceiveMessage answers it, with all its attributes."""


class Queue(Protocol):
    """One queue. Every method raises SourceFailed."""

    async def visibility_s(self) -> int:
        """How long a received message stays away."""
        ...

    async def receive(self, limit: int, wait_s: int) -> Sequence[RawMessage]:
        """At most 10; waits up to `wait_s` seconds for the first one. What comes after it was
        cancelled is put back."""
        ...

    async def delete(self, messages: Sequence[RawMessage]) -> None:
        """At most 10."""
        ...

    async def put_back(self, messages: Sequence[RawMessage]) -> None:
        """Let others receive them at once. At most 10."""
        ...
