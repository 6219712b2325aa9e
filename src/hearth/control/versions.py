"""Publish, read, list and delete versions: unchanging copies of $LATEST, each with a number.

A version counts from the moment in which its function's record names it; see store.py. So a kill
leaves a version or nothing, and a number that was never seen is given to the next one. Numbers of
versions that were deleted are not given again, as long as the function lives.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html,
https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html. Texts: recorded, or as users
of AWS have quoted them.
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.control.pages import Page, page
from hearth.control.preparation import CREATING, CREATING_CODE
from hearth.control.replica import Replica
from hearth.control.requests import PublishVersion
from hearth.control.rules import LATEST_STAYS, check_open, shown
from hearth.control.store import (
    ATTEMPTS_MAX,
    FunctionStore,
    Stored,
    not_found,
    update_in_progress,
)
from hearth.model.errors import InternalFailure, InvalidParameterValue, ResourceConflict
from hearth.model.functions import (
    Alias,
    Function,
    FunctionVersion,
    State,
    UpdateStatus,
    with_latest,
)
from hearth.model.ids import LATEST, FunctionKey

log = Log("control")

RECORD_NAME_LENGTH = 12
"""Of a UUID's last digits: enough for one function, and short, since each write has them all."""

Change = Callable[[FunctionVersion], FunctionVersion]

Forget = Callable[[FunctionVersion, str], Awaitable[None]]
"""Deletes whatever else is known of a version or an alias that is gone; also if asked again."""


@dataclass(eq=False, slots=True)
class Versions:
    """The versions of all functions. Every method raises ServiceError with AWS's text."""

    store: FunctionStore
    replica: Replica
    clock: Clock
    jobs: Jobs
    ids: Callable[[], str]
    """A new UUID at each call."""
    forget: Forget

    async def publish(self, request: PublishVersion) -> FunctionVersion:
        """A new version of $LATEST; the last one, if nothing was changed since."""

        def check(latest: FunctionVersion) -> FunctionVersion:
            check_open(latest, request.revision_id)
            _check_code(latest, request.code_sha256)
            return latest

        return await self.change_and_publish(request.key, check, request.description)

    async def change_and_publish(
        self, key: FunctionKey, change: Change, description: str | None = None
    ) -> FunctionVersion:
        """Write what `change` makes of $LATEST, and a version of that, in one."""
        for _attempt in range(ATTEMPTS_MAX):
            before = await self.store.read(key)
            if before is None:
                raise not_found(key)
            changed = with_latest(before.whole, change(before.function))
            last = await self._last(changed)
            if last is not None:
                if changed == before.whole or await self.store.replace_whole(before, changed):
                    return last
                continue
            version = await self._write(before, changed, description)
            if version is not None:
                return version
        raise update_in_progress(key)

    async def create_published(self, latest: FunctionVersion) -> FunctionVersion:
        """A new function and its version 1. Raises ResourceConflict if the name is taken."""
        version, record = self._made(Function(latest=latest), None)
        if not await self.store.write_version(version, record):
            raise update_in_progress(latest.key)
        try:
            await self.store.create_whole(self._naming(Function(latest=latest), version, record))
        except ResourceConflict:
            self._discard(latest.key, [record])
            raise
        return version

    async def find(self, key: FunctionKey, qualifier: str) -> FunctionVersion | None:
        """The version of that number, or that an alias of that name points to; past the local
        copy if that does not know it."""
        found = self.replica.qualified(key, qualifier)
        if isinstance(found, Alias):
            return self._target(found)
        if found is not None:
            return found
        stored = await self.store.read(key)
        if stored is None:
            return None
        alias = stored.whole.aliases.get(qualifier)
        number = qualifier if alias is None else alias.version
        if number == LATEST:
            return stored.function
        record = stored.whole.versions.get(number)
        version = await self.store.read_version(key, record) if record is not None else None
        return version.version if version is not None else None

    def list_page(
        self, latest: FunctionVersion, *, marker: str | None, items_max: int | None
    ) -> Page[FunctionVersion]:
        """$LATEST, then the versions by number."""
        versions = (latest, *self.replica.versions(latest.key))
        return page(versions, number_of, marker=marker, items_max=items_max)

    async def delete(self, key: FunctionKey, qualifier: str) -> None:
        """One that is not there is as good as deleted (observed)."""
        if qualifier == LATEST:
            raise InvalidParameterValue(LATEST_STAYS)
        if not qualifier.isdecimal():
            raise InvalidParameterValue("Deletion of aliases is not currently supported.")
        records: list[str] = []

        def without(now: Function) -> Function:
            _check_unreferenced(now, qualifier)
            records[:] = [now.versions[qualifier]] if qualifier in now.versions else []
            if not records:
                return now
            versions = {n: name for n, name in now.versions.items() if n != qualifier}
            return replace(now, versions=versions, write_id=self.ids())

        function = await self.store.change_whole(key, without)
        self._discard(key, records)
        await self.forget(function.latest, qualifier)

    def discard(self, function: Function) -> None:
        """The function was deleted: throw its versions' records away."""
        self._discard(function.latest.key, list(function.versions.values()))

    async def _last(self, function: Function) -> FunctionVersion | None:
        """The version that was published last, if publishing now would make its like."""
        record = function.versions.get(str(function.last_number))
        if record is None or function.last_description != function.latest.description:
            return None
        stored = await self.store.read_version(function.latest.key, record)
        if stored is None or _what_counts(stored.version) != _what_counts(function.latest):
            return None
        return stored.version

    async def _write(
        self, before: Stored, changed: Function, description: str | None
    ) -> FunctionVersion | None:
        """None if somebody else was faster; then nothing was published."""
        version, record = self._made(changed, description)
        if not await self.store.write_version(version, record):
            return None
        named = self._naming(changed, version, record)
        if await self.store.replace_whole(before, named):
            return version
        self._discard(version.key, [record])
        return None

    def _made(self, function: Function, description: str | None) -> tuple[FunctionVersion, str]:
        latest = function.latest
        version = replace(
            latest,
            version=str(function.last_number + 1),
            description=latest.description if description is None else description,
            state=State.PENDING,
            state_reason=CREATING,
            state_reason_code=CREATING_CODE,
            update_status=UpdateStatus.SUCCESSFUL,
            update_reason=None,
            update_reason_code=None,
            last_modified=shown(self.clock.utc()),
            revision_id=self.ids(),
        )
        return version, self.ids()[-RECORD_NAME_LENGTH:]

    def _naming(self, function: Function, version: FunctionVersion, record: str) -> Function:
        return replace(
            function,
            last_number=int(version.version),
            last_description=function.latest.description,
            versions={**function.versions, version.version: record},
            write_id=self.ids(),
        )

    def _target(self, alias: Alias) -> FunctionVersion | None:
        if alias.version == LATEST:
            return self.replica.get(alias.key)
        found = self.replica.qualified(alias.key, alias.version)
        return found if isinstance(found, FunctionVersion) else None

    def _discard(self, key: FunctionKey, records: list[str]) -> None:
        """In the background; what is left is found by Leftovers."""
        if records:
            self.jobs.spawn(self._discard_all(key, records), name=f"discard-{key.name}")

    async def _discard_all(self, key: FunctionKey, records: list[str]) -> None:
        for record in records:
            try:
                await self.store.discard_version(key, record)
            except InternalFailure as error:
                log.warning("version was not discarded", function=key.arn(), error=error)
                return


def number_of(function: FunctionVersion) -> tuple[str, int]:
    """The order of versions: $LATEST, then by number; functions by name."""
    number = 0 if function.version == LATEST else int(function.version)
    return function.key.name, number


def _check_code(latest: FunctionVersion, wanted: str | None) -> None:
    actual = base64.b64encode(bytes.fromhex(latest.code.sha256)).decode()
    if wanted is not None and wanted != actual:
        raise InvalidParameterValue(
            f"CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({actual}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )


def _check_unreferenced(function: Function, number: str) -> None:
    aliases = sorted(name for name, alias in function.aliases.items() if number in alias.targets)
    if aliases:
        raise ResourceConflict(
            "Unable to delete version because the following aliases reference it: "
            f"[{', '.join(aliases)}]"
        )


def _what_counts(function: FunctionVersion) -> FunctionVersion:
    """The function without what a version has of its own: equal where nothing was changed."""
    return replace(
        function,
        version="",
        description="",
        tags={},
        state=State.ACTIVE,
        state_reason=None,
        state_reason_code=None,
        update_status=UpdateStatus.SUCCESSFUL,
        update_reason=None,
        update_reason_code=None,
        last_modified="",
        revision_id="",
        touch=None,
    )
