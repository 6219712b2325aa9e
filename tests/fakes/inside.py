"""A client of the APIs inside an environment, without a connection."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from hearth.base.http1 import HttpRequest, Responder

Handler = Callable[[HttpRequest, Responder], object]


class Answer:
    """A Responder that remembers."""

    gone = False

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""

    def on_gone(self, callback: Callable[[], None]) -> None: ...

    def send(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        assert self.status is None, "answered twice"
        self.status, self.headers, self.body = status, dict(headers), body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int | None, str]:
        return self.status, self.json["errorType"]


def ask(
    handler: Handler,
    method: str,
    target: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    answer = Answer()
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    handler(HttpRequest(method, target, lower, data, {}, ""), answer)
    return answer
