"""Create, read, list, change and delete functions: what each call decides, and in which order.

A change is acknowledged when the engine has it on disk and its package is stored. What follows
(making the code ready, Pending to Active) is the business of preparation.py, and needs nothing
from the call: a caller who goes away, or a process that is killed, leaves no function half done.

Sources: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html and its siblings;
https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html. Texts: recorded.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.control.aliases import Aliases
from hearth.control.deliveries import S3, Deliveries
from hearth.control.packages import Packages
from hearth.control.pages import Page, page, page_of_groups
from hearth.control.preparation import (
    CREATING,
    CREATING_CODE,
    CodeCache,
    Preparation,
    Snapshots,
)
from hearth.control.replica import Replica
from hearth.control.requests import (
    CodeUsage,
    CreateFunction,
    UpdateCode,
    UpdateConfiguration,
)
from hearth.control.revisions import Revisions
from hearth.control.rules import check_open, shown
from hearth.control.store import FunctionStore, already_exists, not_found, update_in_progress
from hearth.control.validation import (
    check_dead_letter,
    check_environment,
    check_name,
    check_new_tags,
    check_runtime,
    check_sizes,
    check_snap_start,
    check_tenancy,
)
from hearth.control.versions import Forget, Versions, number_of
from hearth.control.zips import check_total, unzipped_bytes
from hearth.engine.contract import KeyValue
from hearth.model.endpoints import Endpoints
from hearth.model.errors import InvalidParameterValue
from hearth.model.functions import Code, FunctionVersion, State, UpdateStatus
from hearth.model.ids import LATEST, AccountId, FunctionKey, Region
from hearth.model.layers import LayerUse

__all__ = ["Functions", "shown"]

NO_CODE: Final = "Please provide a source for function code."
NO_RUNTIME: Final = (
    "Runtime and Handler are mandatory parameters for functions created with deployment packages."
)


NOT_DURABLE: Final = (
    "DurableConfig can only be set when a function is created. This function was created without."
)


async def _forget_nothing(_function: FunctionVersion, _qualifier: str) -> None:
    """Nothing else is known of any version."""


def _nothing_refused(_tags: Mapping[str, str]) -> str:
    return ""


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
    forget: Forget = _forget_nothing
    s3: S3 | None = None
    """Where code may be fetched from."""
    endpoints: Endpoints = field(default_factory=Endpoints)
    """Where dead letters may go."""
    tags_refusal: Callable[[Mapping[str, str]], str] = _nothing_refused
    """Why a function may not have these tags; empty if it may."""
    snapshots: Snapshots | None = None
    """Who initialises what is published with SnapStart; without it, nobody does."""
    versions: Versions = field(init=False)
    aliases: Aliases = field(init=False)
    revisions: Revisions = field(init=False)
    _store: FunctionStore = field(init=False)
    _preparation: Preparation = field(init=False)
    _deliveries: Deliveries = field(init=False)

    def __post_init__(self) -> None:
        self._store = FunctionStore(self.kv, self.replica)
        self._deliveries = Deliveries(self.packages, self.s3)
        self.versions = Versions(
            self._store, self.replica, self.clock, self.jobs, self.ids, self.forget
        )
        self.aliases = Aliases(self._store, self.replica, self.ids, self.forget)
        self.revisions = Revisions(self._store, self.replica, self.ids)
        self._preparation = Preparation(
            self._store, self.replica, self.code_cache, self.jobs, self.ids, self.snapshots
        )

    def resume(self) -> None:
        """Take up what an earlier process left Pending or InProgress. After `replica.ready`."""
        self._preparation.resume()

    async def create(self, request: CreateFunction) -> FunctionVersion:
        _check_new(request)
        if why := self.tags_refusal(request.tags):
            raise InvalidParameterValue(why)
        check_dead_letter(request.dead_letter_arn, self.endpoints)
        if not request.runtime or not request.handler:
            raise InvalidParameterValue(NO_RUNTIME)
        check_snap_start(request.runtime, request.tmp_mb, request.snap_start)
        check_tenancy(request.per_tenant, request.snap_start)
        if request.package is None:
            raise InvalidParameterValue(NO_CODE)
        if await self._store.read(request.key) is not None:
            raise already_exists(request.key)
        async with self._deliveries.receive(request.package, request.key.region) as package:
            await _check_total(package, request.layers)
            code = await self.packages.put(package)
        function = FunctionVersion(
            key=request.key,
            runtime=request.runtime,
            handler=request.handler,
            role=request.role,
            code=code,
            description=request.description,
            timeout_s=request.timeout_s,
            memory_mb=request.memory_mb,
            tmp_mb=request.tmp_mb,
            architecture=request.architecture,
            environment=dict(request.environment or {}),
            environment_given=request.environment is not None,
            tags=dict(request.tags),
            layers=request.layers,
            dead_letter_arn=request.dead_letter_arn or None,
            logging=request.logging,
            is_traced=request.is_traced,
            snap_start=request.snap_start,
            per_tenant=request.per_tenant,
            durable=request.durable,
            state=State.PENDING,
            state_reason=CREATING,
            state_reason_code=CREATING_CODE,
            last_modified=shown(self.clock.utc()),
            revision_id=self.ids(),
            instance_id=self.ids(),
        )
        if request.publish:
            return await self.versions.create_published(function)
        await self._store.create(function)
        return function

    async def get(self, key: FunctionKey, qualifier: str | None = None) -> FunctionVersion:
        """$LATEST, or the version that the qualifier names or its alias points to. From the local
        copy; what is not there is looked for in the engine too."""
        if qualifier in {None, LATEST}:
            function = self.replica.get(key)
            if function is None:
                stored = await self._store.read(key)
                function = stored.function if stored is not None else None
        else:
            assert qualifier is not None
            function = await self.versions.find(key, qualifier)
        if function is None:
            raise not_found(key, qualifier)
        return function

    def list(
        self,
        account: AccountId,
        region: Region,
        *,
        marker: str | None,
        items_max: int | None,
        all_versions: bool = False,
    ) -> Page[FunctionVersion]:
        """The functions after `marker`, by name; each with its versions by number, if wanted."""
        functions = self.replica.list(account, region)
        if all_versions:
            return page_of_groups(
                functions,
                lambda f: (f, *self.replica.versions(f.key)),
                number_of,
                marker=marker,
                items_max=items_max,
            )
        return page(functions, number_of, marker=marker, items_max=items_max)

    async def update_code(self, request: UpdateCode) -> FunctionVersion:
        if request.package is None:
            raise InvalidParameterValue(NO_CODE)
        before = await self._store.read(request.key)
        if before is None:
            raise not_found(request.key)
        check_open(before.function, request.revision_id)
        layers = before.function.layers
        async with self._deliveries.receive(request.package, request.key.region) as package:
            await _check_total(package, layers)
            if request.dry_run:
                code = await asyncio.to_thread(Packages.describe, package)
                return _with_code(before.function, request, code)
            code = await self.packages.put(package)

        def decide(now: FunctionVersion) -> FunctionVersion:
            check_open(now, request.revision_id)
            if now.layers != layers:
                raise update_in_progress(request.key)
            return self._begun(_with_code(now, request, code))

        if request.publish:
            return await self.versions.change_and_publish(request.key, decide)
        return await self._store.change(request.key, decide)

    async def update_configuration(self, request: UpdateConfiguration) -> FunctionVersion:
        if request.runtime is not None:
            check_runtime(request.runtime)
        check_sizes(request.timeout_s, request.memory_mb, request.tmp_mb)
        check_environment(request.environment)
        code = await self._check_layers(request) if request.layers else None
        check_dead_letter(request.dead_letter_arn, self.endpoints)

        def decide(now: FunctionVersion) -> FunctionVersion:
            check_open(now, request.revision_id)
            if code not in {None, now.code}:
                raise update_in_progress(request.key)
            return self._begun(_with_configuration(now, request))

        return await self._store.change(request.key, decide)

    async def _check_layers(self, request: UpdateConfiguration) -> Code:
        """The code with which the layers were found to fit. Raises InvalidParameterValue."""
        before = await self._store.read(request.key)
        if before is None:
            raise not_found(request.key)
        code = before.function.code
        await _check_total(self.packages.path(code.sha256), request.layers or ())
        return code

    async def delete(self, key: FunctionKey, qualifier: str | None = None) -> None:
        """A version, or the function with all that was made of it."""
        if qualifier is not None:
            await self.versions.delete(key, qualifier)
        else:
            self.versions.discard(await self._store.delete(key))

    def usage(self, account: AccountId, region: Region) -> CodeUsage:
        """Every version has code of its own, as AWS counts it."""
        functions = self.replica.list(account, region)
        versions = [v for f in functions for v in (f, *self.replica.versions(f.key))]
        return CodeUsage(sum(v.code.size_bytes for v in versions), len(functions))

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


def _check_new(request: CreateFunction) -> None:
    check_name(request.key.name)
    if request.runtime:
        check_runtime(request.runtime)
    check_sizes(request.timeout_s, request.memory_mb, request.tmp_mb)
    check_environment(request.environment)
    check_new_tags(request.tags)


async def _check_total(package: bytes | Path, layers: tuple[LayerUse, ...]) -> None:
    if layers:
        check_total(await asyncio.to_thread(unzipped_bytes, package), layers)


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
            "layers",
            "is_traced",
            "snap_start",
        )
        if (value := getattr(request, name)) is not None
    }
    if request.durable is not None:
        if function.durable is None:
            raise InvalidParameterValue(NOT_DURABLE)
        changed["durable"] = request.durable(function.durable)
    if request.logging is not None:
        changed["logging"] = request.logging(function.logging)
    if "environment" in changed:
        changed["environment_given"] = True
    if request.dead_letter_arn is not None:
        changed["dead_letter_arn"] = request.dead_letter_arn or None
    after = replace(function, **changed)
    check_snap_start(after.runtime, after.tmp_mb, after.snap_start)
    check_tenancy(after.per_tenant, after.snap_start)
    return after
