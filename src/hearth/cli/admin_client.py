"""How is a running Hearth asked? HTTP over the unix socket in its run directory; see api/admin."""

import http.client
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from hearth.api.admin import FOLLOW_S_MAX, LogAnswer, SandboxRow, StatusReport
from hearth.api.admin_debug import DebugBegun, DebugDone
from hearth.api.admin_events import BacklogRow, Done, EventDetail, EventLine
from hearth.api.admin_mappings import MappingRow
from hearth.cli.output import Failure
from hearth.cli.run_directory import NotADirectory
from hearth.model.logs import LogGroup
from hearth.settings import StatePaths

ANSWER_S: Final = 10.0
LONG_S: Final = 3_600.0
"""For what may be done to a million events."""
BEGIN_S: Final = 300.0
"""A runtime may have to be set up."""
T = TypeVar("T")


class Gone(Failure):
    """The other side ended while it was asked."""


class NotRunning(Gone):
    def __init__(self, paths: StatePaths) -> None:
        super().__init__(
            f"Hearth is not running on {paths.state}. "
            f"Start it with: hearth up --state {paths.state}"
        )


class AdminClient:
    """One method a route. Raises NotRunning, or Failure with what the other side said."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths

    def status(self) -> StatusReport:
        return self._ask("GET", "/status", StatusReport)

    def sandboxes(self) -> list[SandboxRow]:
        return self._ask("GET", "/sandboxes", list[SandboxRow])

    def groups(self) -> list[LogGroup]:
        return self._ask("GET", "/groups", list[LogGroup])

    def logs(
        self, group: LogGroup, *, since_ms: int = 0, after: str | None = None, limit: int = 1_000
    ) -> LogAnswer:
        """The oldest `limit` events."""
        return self._ask(
            "GET", "/logs", LogAnswer, group, since_ms=since_ms, after=after or "", limit=limit
        )

    def last_logs(self, group: LogGroup, *, limit: int) -> LogAnswer:
        return self._ask("GET", "/logs", LogAnswer, group, limit=limit, last=1)

    def next_logs(self, group: LogGroup, *, after: str | None) -> LogAnswer:
        """Waits, a while, until something comes."""
        return self._ask("GET", "/logs/follow", LogAnswer, group, after=after or "")

    def mappings(self) -> list[MappingRow]:
        return self._ask("GET", "/mappings", list[MappingRow])

    def backlogs(self) -> list[BacklogRow]:
        return self._ask("GET", "/events/backlogs", list[BacklogRow])

    def events(self, of: BacklogRow, state: str, *, limit: int) -> list[EventLine]:
        """The oldest `limit` events of the function in that state."""
        lines = list[EventLine]
        return self._ask("GET", "/events", lines, function=of, state=state, limit=limit)

    def event(self, of: BacklogRow, request: str) -> EventDetail | None:
        details = list[EventDetail]
        found = self._ask("GET", "/events/one", details, function=of, request=request)
        return found[0] if found else None

    def redrive(self, of: BacklogRow, request: str | None) -> int:
        """One dead event, or all. Answers how many."""
        one = request or ""
        return self._ask("POST", "/events/redrive", Done, function=of, request=one).events

    def purge(self, of: BacklogRow, state: str, request: str | None) -> int:
        """One event in that state, or all. Answers how many."""
        one = request or ""
        return self._ask(
            "POST", "/events/purge", Done, function=of, state=state, request=one
        ).events

    def begin_debug(
        self, account: str, region: str, function: str, qualifier: str | None, port: int | None
    ) -> DebugBegun:
        named: dict[str, int | str] = {"account": account, "region": region, "name": function}
        named["qualifier"] = qualifier or ""
        if port is not None:
            named["port"] = port
        named["function"] = named.pop("name")
        return self._send("POST", "/debug/begin", DebugBegun, named, patience_s=BEGIN_S)

    def run_debug(self, session: str, event: bytes) -> DebugDone:
        """Waits for as long as somebody debugs."""
        named: dict[str, int | str] = {"session": session}
        return self._send("POST", "/debug/run", DebugDone, named, patience_s=None, body=event)

    def end_debug(self, session: str) -> None:
        self._ask("POST", "/debug/end", dict[str, str], session=session)

    def stop(self) -> None:
        self._ask("POST", "/stop", dict[str, str])

    def _ask(
        self,
        method: str,
        path: str,
        answer: type[T],
        group: LogGroup | None = None,
        *,
        function: BacklogRow | None = None,
        **parameters: int | str,
    ) -> T:
        named: dict[str, Any] = dict(parameters)
        if group is not None:
            named |= {"account": group.account, "region": group.region, "group": group.name}
        if function is not None:
            where = (function.account, function.region, function.function)
            named |= dict(zip(("account", "region", "function"), where, strict=True))
        patience_s = LONG_S if function is not None else ANSWER_S + FOLLOW_S_MAX
        return self._send(method, path, answer, named, patience_s=patience_s)

    def _send(
        self,
        method: str,
        path: str,
        answer: type[T],
        named: Mapping[str, Any],
        *,
        patience_s: float | None,
        body: bytes | None = None,
    ) -> T:
        try:
            with closing(_Connection(self._paths.admin_socket, patience_s)) as connection:
                connection.request(method, f"{path}?{urlencode(named)}", body)
                response = connection.getresponse()
                status, said = response.status, response.read()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(self._paths) from error
        except NotADirectoryError as error:
            raise NotADirectory(self._paths) from error
        except PermissionError as error:
            raise Failure(
                f"The Hearth on {self._paths.state} belongs to another user; only they can ask it."
            ) from error
        except (ConnectionError, http.client.RemoteDisconnected) as error:
            raise Gone("Hearth has just stopped.") from error
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"Hearth did not answer: {type(error).__name__} {error}.") from error
        if status == http.client.SERVICE_UNAVAILABLE:
            raise Gone("Hearth is ending, or too many ask it at once.")
        if status != http.client.OK:
            raise Failure(msgspec.json.decode(said, type=dict[str, str])["message"])
        return msgspec.json.decode(said, type=answer)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, patience_s: float | None) -> None:
        super().__init__("hearth", timeout=patience_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # By way of its directory's descriptor: a socket's path is at most 107 bytes long.
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)
