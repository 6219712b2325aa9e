"""How does `hearth invoke --debug` ask for it? Over the admin socket, and in no other way.

    POST /debug/begin?account&region&function[&qualifier&port]      DebugBegun
    POST /debug/run?session                                         DebugDone; the body is the event
    POST /debug/end?session                                         {}; when nothing is left of it

The second answers when the function has; who gives up before ends it.
"""

from typing import Final, Protocol

import msgspec

from hearth.api.admin import BODY, Parameters, Routes, number
from hearth.model.errors import ServiceError
from hearth.model.functions import FunctionVersion
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region
from hearth.model.invocations import InvokeResult

PORT_MAX: Final = 65_535


class DebugBegun(msgspec.Struct, frozen=True, kw_only=True):
    session: str
    function: str
    runtime: str
    debugger: str
    port: int
    """Of this machine's loopback."""


class DebugDone(msgspec.Struct, frozen=True, kw_only=True):
    payload: str | None
    """None: it was not initialised."""
    function_error: str | None = None
    log_tail: str = ""


class Session(Protocol):
    @property
    def function(self) -> FunctionVersion: ...

    @property
    def debugger(self) -> str: ...

    @property
    def port(self) -> int: ...


class Debugging(Protocol):
    """What this file needs; app supplies it."""

    async def begin(
        self, key: FunctionKey, qualifier: str | None, port: int | None
    ) -> tuple[str, Session]: ...

    async def run(self, name: str, payload: bytes) -> tuple[InvokeResult | None, Session]: ...

    async def end(self, name: str) -> None: ...


def debug_routes(debugging: Debugging) -> Routes:
    async def begin(parameters: Parameters) -> DebugBegun:
        port = number(parameters, "port", -1) if "port" in parameters else None
        if port is not None and port > PORT_MAX:
            raise ValueError(f"a port is at most {PORT_MAX}")
        account, region, name = (parameters.get(n, "") for n in ("account", "region", "function"))
        key = FunctionKey(AccountId(account), Region(region), FunctionName(name))
        try:
            session, begun = await debugging.begin(key, parameters.get("qualifier") or None, port)
        except ServiceError as error:
            raise ValueError(error.message.rstrip(".")) from error
        except OSError as error:
            raise ValueError(f"port {port} cannot be had: {error.strerror}") from error
        return DebugBegun(
            session=session,
            function=begun.function.arn,
            runtime=begun.function.runtime,
            debugger=begun.debugger,
            port=begun.port,
        )

    async def run(parameters: Parameters) -> DebugDone:
        payload = parameters.get(BODY, "").encode(errors="surrogateescape")
        try:
            result, _ = await debugging.run(parameters.get("session", ""), payload or b"{}")
        except KeyError as error:
            raise ValueError("there is no such session") from error
        except ServiceError as error:
            raise ValueError(error.message.rstrip(".")) from error
        if result is None:
            return DebugDone(payload=None)
        return DebugDone(
            payload=result.payload.decode(errors="replace"),
            function_error=result.function_error,
            log_tail=(result.log_tail or b"").decode(errors="replace"),
        )

    async def end(parameters: Parameters) -> dict[str, str]:
        await debugging.end(parameters.get("session", ""))
        return {}

    return {
        "/debug/begin": ("POST", begin),
        "/debug/run": ("POST", run),
        "/debug/end": ("POST", end),
    }
