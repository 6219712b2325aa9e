"""How do the APIs inside an environment refuse? One JSON shape for all of them."""

from typing import Final

import msgspec

from hearth.base.http1 import Responder

JSON: Final = (("Content-Type", "application/json"),)
ACCEPTED: Final = b'{"status":"OK"}\n'
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec may make of JSON that a function wrote: none, no UTF-8, or nested too deeply."""


def refuse(responder: Responder, status: int, error_type: str, message: str) -> None:
    body = msgspec.json.encode({"errorMessage": message, "errorType": error_type})
    responder.send(status, JSON, body + b"\n")


def refuse_path(responder: Responder) -> None:
    responder.send(404, (("Content-Type", "text/plain"),), b"404 page not found\n")
