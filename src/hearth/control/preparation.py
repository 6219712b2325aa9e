"""When may a new function, or a changed one, run? When its code is ready on this machine.

    create:  Pending -------code ready------> Active                (Failed, with a reason)
    update:  InProgress ----code ready------> Successful, Active    (Failed, with a reason)

The record itself says what is still to be done, so there is nothing to hand over and nothing to
lose: whatever unsettled function appears in the local copy (written here, found at start-up, or
left by a process that was killed or never heard how its write ended) gets a job. A job settles
the very revision that it prepared; if that was overwritten meanwhile, the newer one has a job of
its own. Jobs of two processes for one function may race; one of them settles it.
"""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, Protocol

from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.control.replica import Replica
from hearth.control.store import Decision, FunctionStore
from hearth.model.errors import (
    InitFailed,
    InternalFailure,
    InvalidRuntime,
    InvalidZipFile,
    ResourceConflict,
    ResourceNotFound,
)
from hearth.model.functions import FunctionVersion, State, UpdateStatus
from hearth.model.ids import LATEST, FunctionKey

log = Log("control")

RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 30.0

CREATING: Final = "The function is being created."
CREATING_CODE: Final = "Creating"
"""Reason and code of Pending; AWS shows the same for an update that is in progress."""


class CodeCache(Protocol):
    """What this room needs of the worker's code cache."""

    async def prepare(self, sha256: str, runtime: str | None = None) -> object:
        """Return when the code is ready. Raises InvalidZipFile, OSError."""
        ...


class Snapshots(Protocol):
    """What this room needs of the worker's snapshots."""

    async def take(self, function: FunctionVersion, /) -> object:
        """Return when the version is initialised. Raises ServiceError."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Why code could not be made ready: a reason code of AWS's, and a sentence."""

    code: str
    reason: str


class _Superseded(Exception):
    """The function was changed or deleted since; there is nothing to settle."""


class Preparation:
    """Makes code ready and settles the state of functions, in the background."""

    def __init__(
        self,
        store: FunctionStore,
        replica: Replica,
        code_cache: CodeCache,
        jobs: Jobs,
        ids: Callable[[], str],
        snapshots: Snapshots | None = None,
    ) -> None:
        self._store = store
        self._replica = replica
        self._code_cache = code_cache
        self._jobs = jobs
        self._ids = ids
        self._snapshots = snapshots
        self._at_work: set[tuple[FunctionKey, str]] = set()
        replica.on_change(lambda _old, new: self._look_at(new))
        replica.on_qualified(self._look_at_qualified)

    def resume(self) -> None:
        """Take up what is unsettled. Safe to call at any time, and twice."""
        for function in self._replica.all_versions():
            self._look_at(function)

    def _look_at_qualified(self, latest: FunctionVersion, qualifiers: AbstractSet[str]) -> None:
        for qualifier in qualifiers:
            found = self._replica.qualified(latest.key, qualifier)
            if isinstance(found, FunctionVersion):
                self._look_at(found)

    def _look_at(self, function: FunctionVersion | None) -> None:
        if function is None or is_settled(function):
            return
        work = (function.key, function.revision_id)
        if work in self._at_work:
            return
        self._at_work.add(work)
        self._jobs.spawn(self._settle(function), name=f"prepare-{function.key.name}")

    async def _settle(self, function: FunctionVersion) -> None:
        try:
            failure = await self._prepare(function)
            await self._write(function, failure)
        finally:
            self._at_work.discard((function.key, function.revision_id))

    async def _prepare(self, function: FunctionVersion) -> Failure | None:
        try:
            for sha256 in (function.code.sha256, *(layer.sha256 for layer in function.layers)):
                await self._code_cache.prepare(sha256, function.runtime)
            if function.has_snapshot and self._snapshots is not None:
                await self._snapshots.take(function)
        except InvalidZipFile as error:
            return Failure("InvalidZipFileException", error.message)
        except InitFailed as error:
            return Failure("FunctionError", error.message)
        except InvalidRuntime as error:
            return Failure("InvalidRuntime", error.message)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody else would tell
            log.error("code could not be prepared", function=function.arn, error=error)
            return Failure("InternalError", "The code could not be prepared to run.")
        return None

    async def _write(self, prepared: FunctionVersion, failure: Failure | None) -> None:
        """Settle, however long the engine is away: nobody else would."""

        def decide(now: FunctionVersion) -> FunctionVersion:
            if now.revision_id != prepared.revision_id:
                raise _Superseded
            return replace(settled(now, failure), revision_id=self._ids())

        retry_s = RETRY_S_MIN
        while True:
            try:
                await self._change(prepared, decide)
            except (_Superseded, ResourceNotFound):
                return
            except (InternalFailure, ResourceConflict) as error:
                log.warning("settling a function must wait", function=prepared.arn, error=error)
            else:
                return
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    async def _change(self, prepared: FunctionVersion, decide: Decision) -> None:
        if prepared.version == LATEST:
            await self._store.change(prepared.key, decide)
            return
        record = self._replica.record_of(prepared)
        if record is None:
            raise _Superseded
        await self._store.change_version(prepared.key, record, decide)


def is_settled(function: FunctionVersion) -> bool:
    return (
        function.state is not State.PENDING
        and function.update_status is not UpdateStatus.IN_PROGRESS
    )


def settled(function: FunctionVersion, failure: Failure | None) -> FunctionVersion:
    """What an unsettled function becomes, once its code is ready or has failed."""
    if failure is None:
        return replace(
            function,
            state=State.ACTIVE,
            state_reason=None,
            state_reason_code=None,
            update_status=UpdateStatus.SUCCESSFUL,
            update_reason=None,
            update_reason_code=None,
        )
    if function.state is State.PENDING:
        function = replace(
            function,
            state=State.FAILED,
            state_reason=failure.reason,
            state_reason_code=failure.code,
        )
    return replace(
        function,
        update_status=UpdateStatus.FAILED,
        update_reason=failure.reason,
        update_reason_code=failure.code,
    )
