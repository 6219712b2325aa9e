"""Create, read, list, change and delete functions: what each call decides, and in which order.

A change is acknowledged when the engine has it on disk and its package is stored. What follows
(making the code ready, Pending to Active) is the business of preparation.py, and needs nothing
from the call: a caller who goes away, or a process that is killed, leaves no function half done.

Sources: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html and its siblings;
https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html. Texts: recorded.
"""

import asyncio
import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.control.packages import Packages
from hearth.control.preparation import CREATING, CREATING_CODE, CodeCache, Preparation
from hearth.control.replica import Replica
from hearth.control.requests import (
    CodeUsage,
    CreateFunction,
    FunctionPage,
    UpdateCode,
    UpdateConfiguration,
)
from hearth.control.store import FunctionStore, already_exists, not_found, update_in_progress
from hearth.control.validation import (
    check_environment,
    check_name,
    check_runtime,
    check_sizes,
    check_tags,
)
from hearth.control.zips import check_zip
from hearth.engine.contract import KeyValue
from hearth.model.errors import InvalidParameterValue, PreconditionFailed, ResourceConflict
from hearth.model.functions import Code, FunctionVersion, State, UpdateStatus
from hearth.model.ids import LATEST, AccountId, FunctionKey, Region

PAGE_ITEMS_MAX: Final = 50
"""However many are asked for: ListFunctions answers at most so many at a time."""

NO_CODE: Final = "Please provide a source for function code."
NO_RUNTIME: Final = (
    "Runtime and Handler are mandatory parameters for functions created with deployment packages."
)
LATEST_STAYS: Final = "$LATEST version cannot be deleted without deleting the function."
WRONG_REVISION: Final = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
)


@dataclass(eq=False, slots=True)
class Functions:
    """The functions of all accounts. Every method raises ServiceError with AWS's text."""

    kv: KeyValue
    replica: Replica
    packages: Packages
    code_cache: CodeCache
    clock: Clock
    jobs: Jobs
    ids: Callable[[], str]
    """A new UUID at each call."""
    _store: FunctionStore = field(init=False)
    _preparation: Preparation = field(init=False)

    def __post_init__(self) -> None:
        self._store = FunctionStore(self.kv, self.replica)
        self._preparation = Preparation(
            self._store, self.replica, self.code_cache, self.jobs, self.ids
        )

    def resume(self) -> None:
        """Take up what an earlier process left Pending or InProgress. After `replica.ready`."""
        self._preparation.resume()

    async def create(self, request: CreateFunction) -> FunctionVersion:
        _check_new(request)
        if not request.runtime or not request.handler:
            raise InvalidParameterValue(NO_RUNTIME)
        if request.package is None:
            raise InvalidParameterValue(NO_CODE)
        if await self._store.read(request.key) is not None:
            raise already_exists(request.key)
        await asyncio.to_thread(check_zip, request.package)
        function = FunctionVersion(
            key=request.key,
            runtime=request.runtime,
            handler=request.handler,
            role=request.role,
            code=await self.packages.put(request.package),
            description=request.description,
            timeout_s=request.timeout_s,
            memory_mb=request.memory_mb,
            tmp_mb=request.tmp_mb,
            architecture=request.architecture,
            environment=dict(request.environment or {}),
            environment_given=request.environment is not None,
            tags=dict(request.tags),
            state=State.PENDING,
            state_reason=CREATING,
            state_reason_code=CREATING_CODE,
            last_modified=shown(self.clock.utc()),
            revision_id=self.ids(),
            instance_id=self.ids(),
        )
        await self._store.create(function)
        return function

    async def get(self, key: FunctionKey, qualifier: str | None = None) -> FunctionVersion:
        """From the local copy; one that is not there is looked for in the engine too."""
        function = self.replica.get(key)
        if function is None:
            stored = await self._store.read(key)
            function = stored.function if stored is not None else None
        if function is None or qualifier not in {None, LATEST}:
            raise not_found(key, qualifier)
        return function

    def list(
        self, account: AccountId, region: Region, *, marker: str | None, items_max: int | None
    ) -> FunctionPage:
        """The page after `marker`. Functions made or deleted meanwhile shift nothing."""
        functions = self.replica.list(account, region)
        start = 0
        if marker is not None:
            start = bisect_right(functions, _marked_name(marker), key=lambda f: f.key.name)
        end = start + min(items_max or PAGE_ITEMS_MAX, PAGE_ITEMS_MAX)
        page = functions[start:end]
        return FunctionPage(page, _marker(page[-1]) if end < len(functions) else None)

    async def update_code(self, request: UpdateCode) -> FunctionVersion:
        if request.package is None:
            raise InvalidParameterValue(NO_CODE)
        before = await self._store.read(request.key)
        if before is None:
            raise not_found(request.key)
        _check_open(before.function, request.revision_id)
        await asyncio.to_thread(check_zip, request.package)
        if request.dry_run:
            return _with_code(before.function, request, await _code(request.package))
        code = await self.packages.put(request.package)

        def decide(now: FunctionVersion) -> FunctionVersion:
            _check_open(now, request.revision_id)
            return self._begun(_with_code(now, request, code))

        return await self._store.change(request.key, decide)

    async def update_configuration(self, request: UpdateConfiguration) -> FunctionVersion:
        if request.runtime is not None:
            check_runtime(request.runtime)
        check_sizes(request.timeout_s, request.memory_mb, request.tmp_mb)
        check_environment(request.environment)

        def decide(now: FunctionVersion) -> FunctionVersion:
            _check_open(now, request.revision_id)
            return self._begun(_with_configuration(now, request))

        return await self._store.change(request.key, decide)

    async def delete(self, key: FunctionKey, qualifier: str | None = None) -> None:
        if qualifier == LATEST:
            raise InvalidParameterValue(LATEST_STAYS)
        if qualifier is not None:
            raise not_found(key, qualifier)
        await self._store.delete(key)

    def usage(self, account: AccountId, region: Region) -> CodeUsage:
        functions = self.replica.list(account, region)
        return CodeUsage(sum(f.code.size_bytes for f in functions), len(functions))

    def _begun(self, function: FunctionVersion) -> FunctionVersion:
        """The function with an update in progress."""
        return replace(
            function,
            update_status=UpdateStatus.IN_PROGRESS,
            update_reason=CREATING,
            update_reason_code=CREATING_CODE,
            last_modified=shown(self.clock.utc()),
            revision_id=self.ids(),
        )


def shown(moment: datetime) -> str:
    """As AWS prints LastModified: `2026-11-23T15:04:05.000+0000`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}+0000"


def _check_new(request: CreateFunction) -> None:
    check_name(request.key.name)
    if request.runtime:
        check_runtime(request.runtime)
    check_sizes(request.timeout_s, request.memory_mb, request.tmp_mb)
    check_environment(request.environment)
    check_tags(request.tags)


def _check_open(function: FunctionVersion, revision_id: str | None) -> None:
    """May this function be changed now, by someone who believes it is at `revision_id`?"""
    if revision_id is not None and revision_id != function.revision_id:
        raise PreconditionFailed(WRONG_REVISION)
    if function.state is State.PENDING:
        raise ResourceConflict(
            "The operation cannot be performed at this time. "
            f"The function is currently in the following state: {function.state}"
        )
    if function.update_status is UpdateStatus.IN_PROGRESS:
        raise update_in_progress(function.key)


async def _code(package: bytes) -> Code:
    """What the package would be called, without storing it."""
    return await asyncio.to_thread(Packages.describe, package)


def _with_code(function: FunctionVersion, request: UpdateCode, code: Code) -> FunctionVersion:
    return replace(function, code=code, architecture=request.architecture or function.architecture)


def _with_configuration(function: FunctionVersion, request: UpdateConfiguration) -> FunctionVersion:
    changed = {
        name: value
        for name in (
            "runtime",
            "handler",
            "role",
            "description",
            "timeout_s",
            "memory_mb",
            "tmp_mb",
            "environment",
        )
        if (value := getattr(request, name)) is not None
    }
    if "environment" in changed:
        changed["environment_given"] = True
    return replace(function, **changed)


def _marker(last: FunctionVersion) -> str:
    return base64.urlsafe_b64encode(last.key.name.encode()).decode()


def _marked_name(marker: str) -> str:
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidParameterValue("The marker is not one that ListFunctions gave.") from error
