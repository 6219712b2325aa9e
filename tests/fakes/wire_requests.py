"""A rest-json request with any members, right or wrong, as bytes on the wire would be.

botocore's own serializer refuses what is of the wrong type; this one writes it.
"""

import base64
import json
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from botocore.model import OperationModel

from fakes.http import http_request
from hearth.base.http1 import HttpRequest


def rest_request(operation: OperationModel, members: dict[str, Any], **headers: str) -> HttpRequest:
    """`members` under their model names; those that the model has not go into the body. A label
    that is missing leaves its segment empty."""
    path, _, literal = operation.http["requestUri"].partition("?")
    query = [literal] if literal else []
    body: dict[str, Any] = {}
    raw = b""
    shape = operation.input_shape
    known = shape.members if shape is not None else {}
    for name, value in members.items():
        serialization = known[name].serialization if name in known else {}
        wire = serialization.get("name", name)
        match serialization.get("location"):
            case "uri":
                path = path.replace(f"{{{wire}}}", quote(text(value), safe=""))
            case "querystring":
                texts = [text(v) for v in value] if isinstance(value, list) else [text(value)]
                query.append(urlencode([(wire, each) for each in texts]))
            case "header":
                headers[wire.lower()] = text(value)
            case _ if shape is not None and shape.serialization.get("payload") == name:
                raw = value or b""
            case _:
                body[wire] = value
    while "{" in path:
        path = path[: path.index("{")] + path[path.index("}") + 1 :]
    content = raw or (json.dumps(body, default=_plain).encode() if body else b"")
    target = path + (f"?{'&'.join(query)}" if query else "")
    return http_request(operation.http["method"], target, body=content, host="localhost", **headers)


def text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(type(value))
