"""How is NATS asked? With a deadline for every request, and again only while nobody has heard it.

While a stream has no leader, a request finds no receiver: it is sent again. Once it was received
and no answer came, its outcome is unknown and it is never sent again.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable

RETRY_MS_MIN, RETRY_MS_MAX = 20, 200
CLOSE_S = 2.0

# https://github.com/nats-io/nats-server/blob/main/server/errors.json
NOT_AVAILABLE_NOW = 10008

OPTIONS: dict[str, Any] = {
    "name": "hearth",
    "max_reconnect_attempts": -1,  # for ever: whoever waits has a deadline of his own
    "reconnect_time_wait": 0.1,
    "connect_timeout": 2,
    "ping_interval": 10,  # a silent peer is given up after 20-30 s
    "max_outstanding_pings": 2,
}

T = TypeVar("T")
log = Log("engine")


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """For the use of nats-py: it waits with `asyncio.wait_for`, which before Python 3.12 forgets
    that it was cancelled if the answer came in the same turn of the loop
    (https://github.com/python/cpython/issues/86296). A task would then run on for ever.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    yield
    if task.cancelling() > before:
        raise asyncio.CancelledError


class Connection:
    """One connection to a server or a cluster; once open, it comes back by itself when lost.

    `on_change` is called when it is lost, back or closed.
    """

    def __init__(self, deadline_s: float, on_change: Callable[[], None]) -> None:
        self._deadline_s = deadline_s
        self._on_change = on_change
        self._was_open = False
        self._was_closed = False
        self._may_go_on = True
        self._renew()

    @property
    def is_connected(self) -> bool:
        return self.client.is_connected and not self._was_closed

    @property
    def is_closed(self) -> bool:
        """For good: it will not come back."""
        return self.client.is_closed or self._was_closed

    async def open(self, url: str, user: str, password: str) -> None:
        """Raises EngineUnavailable if nobody answers in time, or at once if we are not let in."""
        with heeding_cancellation():
            await self._open(url, user, password)

    async def _open(self, url: str, user: str, password: str) -> None:
        cause: Exception | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                while True:
                    try:
                        return await self._try_open(url, user, password)
                    except (TimeoutError, OSError, nats.errors.Error) as error:
                        cause = error
                    if "authorization" in str(cause).lower():
                        break
                    await asyncio.sleep(_jitter_s())
        except TimeoutError as error:
            cause = cause or error
        raise EngineUnavailable("no connection to the engine") from cause

    async def close(self) -> None:
        """End the connection for good."""
        self._was_closed = True
        try:
            if self._was_open:
                async with asyncio.timeout(CLOSE_S):
                    await self.client.close()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            log.warning("connection did not close well", error=error)
        finally:
            self._may_go_on = False
            self._on_change()

    async def ask(self, request: Callable[[], Awaitable[T]]) -> T:
        """The answer to one request to JetStream.

        Raises APIError if the answer is a refusal, EngineUnavailable if there is none in time.
        """
        with heeding_cancellation():
            return await self._ask(request)

    async def _ask(self, request: Callable[[], Awaitable[T]]) -> T:
        unheard: Exception | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                while True:
                    if self.is_closed:
                        raise nats.errors.ConnectionClosedError
                    if self.is_connected:
                        try:
                            return await request()
                        except (NoStreamResponseError, ServiceUnavailableError) as error:
                            if not _was_unheard(error):
                                raise
                            unheard = error
                    await asyncio.sleep(_jitter_s())
        except APIError:
            raise
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise EngineUnavailable("the engine did not answer") from (unheard or error)

    async def call(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's API, in its own words. Raises APIError or EngineUnavailable."""

        async def request() -> dict[str, Any]:
            try:
                reply = await self.client.request(
                    f"$JS.API.{name}",
                    json.dumps(body or {}).encode(),
                    timeout=self._deadline_s,
                )
            except nats.errors.NoRespondersError as error:
                raise ServiceUnavailableError from error
            answer: dict[str, Any] = json.loads(reply.data)
            if "error" in answer:
                APIError.from_error(answer["error"])
            return answer

        return await self.ask(request)

    def _renew(self) -> None:
        self.client = Client()
        self.jetstream: JetStreamContext = self.client.jetstream(timeout=self._deadline_s)

    async def _try_open(self, url: str, user: str, password: str) -> None:
        self._renew()  # a client that failed to connect keeps traces of it
        try:
            await self.client.connect(
                url,
                user=user,
                password=password,
                error_cb=self._on_error,
                disconnected_cb=self._on_lost,
                reconnected_cb=self._on_back,
                **OPTIONS,
            )
        except BaseException:
            await self.client.close()
            raise
        self._was_open = True

    async def _on_error(self, error: Exception) -> None:
        if not self._may_go_on:
            # nats-py was told, but may have forgotten it amid an attempt to reconnect, as above.
            raise asyncio.CancelledError
        if not self._was_open:
            raise error  # nats-py would try for ever, without saying why
        log.debug("connection error", error=error)

    async def _on_lost(self) -> None:
        if self._was_open and not self.is_closed:
            log.warning("connection to the engine lost")
        self._on_change()

    async def _on_back(self) -> None:
        if self._was_closed:
            await self.client.close()
            return
        log.info("connection to the engine is back")
        self._on_change()


def _was_unheard(error: NoStreamResponseError | ServiceUnavailableError) -> bool:
    """No responder at all, or one that says that JetStream is not up: nothing was written."""
    if isinstance(error, NoStreamResponseError):
        return True
    return getattr(error, "err_code", None) in (None, NOT_AVAILABLE_NOW)


def _jitter_s() -> float:
    return (RETRY_MS_MIN + secrets.randbelow(RETRY_MS_MAX - RETRY_MS_MIN)) / 1000
