"""How fast may a stream go? No faster than its client reads, and no faster than is allowed.

    Bucket    so many bytes at once, the rest at a rate; pure
    Flow      holds a source back while the client is slow, or while the bucket is in debt

Nothing is kept here: what is not wanted now stays with whoever makes it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from hearth.base.http1 import ResponseStream

PAUSE_S_MIN: Final = 0.005
"""A shorter debt is not worth a timer; it is paid with the next one."""


@dataclass(frozen=True, slots=True)
class Rate:
    bytes_per_s: float
    burst_bytes: float


class Bucket:
    """Of tokens, one a byte. It is full at first, and may go into debt."""

    __slots__ = ("_at_s", "_rate", "_tokens")

    def __init__(self, rate: Rate, now_s: float) -> None:
        self._rate = rate
        self._tokens = rate.burst_bytes
        self._at_s = now_s

    def take(self, count: int, now_s: float) -> float:
        """Take so many; returns for how many seconds nothing more may be taken then."""
        rate = self._rate
        earned = (now_s - self._at_s) * rate.bytes_per_s
        self._tokens = min(rate.burst_bytes, self._tokens + earned) - count
        self._at_s = now_s
        return max(0.0, -self._tokens / rate.bytes_per_s)


class Source(Protocol):
    """Whoever makes the stream."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Flow:
    """From a source to a client. `close` it at the end, or a timer may be left."""

    __slots__ = ("_bucket", "_now_s", "_source", "_stream", "_timer")

    def __init__(
        self,
        source: Source,
        stream: ResponseStream,
        rate: Rate | None,
        now_s: Callable[[], float],
    ) -> None:
        self._source = source
        self._stream = stream
        self._bucket = None if rate is None else Bucket(rate, now_s())
        self._now_s = now_s
        self._timer: asyncio.TimerHandle | None = None
        stream.on_room(self._go_on)

    def passed(self, count: int) -> None:
        """So many bytes of the source's were written to the stream."""
        stream = self._stream
        if stream.gone:
            return  # the source runs on, and nobody hears it
        if self._bucket is not None:
            wait_s = self._bucket.take(count, self._now_s())
            if wait_s >= PAUSE_S_MIN and self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(wait_s, self._paid)
        if stream.is_full or self._timer is not None:
            self._source.pause()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _paid(self) -> None:
        self._timer = None
        self._go_on()

    def _go_on(self) -> None:
        if self._stream.gone:
            self.close()
        if self._timer is None and not self._stream.is_full:
            self._source.resume()
