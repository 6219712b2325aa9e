"""Requests made by hand, and a responder that remembers what it was told to send."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from hearth.base.http1 import HttpRequest


def http_request(
    method: str = "GET",
    target: str = "/",
    *,
    body: bytes | dict[str, Any] = b"",
    **headers: str,
) -> HttpRequest:
    """A dict as the body is sent as JSON; `x_amz_date` as a keyword is the header `x-amz-date`."""
    return HttpRequest(
        method=method,
        target=target,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body if isinstance(body, bytes) else msgspec.json.encode(body),
        trailers={},
        peer="127.0.0.1:1",
    )


class FakeResponder:
    """One exchange. Refuses a second answer, as the real one does."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.gone = False
        self.stream: FakeStream | None = None
        self._callbacks: list[Callable[[], None]] = []

    def send(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        if self.status is not None:
            raise RuntimeError("answered twice")
        listed = list(headers)
        if any("\n" in value for _, value in listed):
            raise ValueError("a header holds a line break")
        self.status = status
        if not self.gone:
            self.headers = dict(listed)
            self.body = body

    def begin(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> "FakeStream":
        self.send(status, headers)
        self.stream = FakeStream(self)
        return self.stream

    def on_gone(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def leave(self) -> None:
        """The client disconnects."""
        self.gone = True
        for callback in self._callbacks:
            callback()
        if self.stream is not None:
            self.stream.make_room()

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class FakeStream:
    """The body of an answer that was begun; a slow client is a test that sets `is_full`."""

    def __init__(self, responder: FakeResponder) -> None:
        self.is_full = False
        self.pieces: list[bytes] = []
        self.ending: str | None = None
        self._responder = responder
        self._on_room: Callable[[], None] | None = None

    @property
    def gone(self) -> bool:
        return self._responder.gone

    def on_room(self, callback: Callable[[], None]) -> None:
        self._on_room = callback

    def make_room(self) -> None:
        self.is_full = False
        if self._on_room is not None:
            self._on_room()

    def write(self, data: bytes) -> None:
        assert self.ending is None, "written after the end"
        if not self.gone:
            self.pieces.append(data)

    def end(self) -> None:
        assert self.ending is None, "ended twice"
        self.ending = "end"

    def abort(self) -> None:
        assert self.ending is None, "ended twice"
        self.ending = "abort"
