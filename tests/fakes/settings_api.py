"""The operations on settings of functions, called as the edge calls them."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from fakes.control import (
    ACCOUNT,
    EVERYWHERE,
    REGION,
    WAIT_S_MAX,
    ControlPlane,
    HandClock,
    control_plane,
)
from fakes.function_api import CREATE
from fakes.mappings import FakeProgress, FakeSources
from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations import (
    aliases,
    code_signing,
    event_invoke,
    event_sources,
    function_urls,
    functions,
    layers,
    permissions,
    runtime_management,
    tags,
    versions,
)
from hearth.control.code_signing import CodeSigning
from hearth.control.deliveries import S3
from hearth.control.documents import Documents
from hearth.control.event_invoke import EventInvokeConfigs
from hearth.control.function_urls import Address, FunctionUrls
from hearth.control.layer_access import LayerAccess
from hearth.control.layers import Layers
from hearth.control.mappings import EventSourceMappings
from hearth.control.permissions import Permissions
from hearth.control.tags import Tagging
from hearth.engine.contract import KeyValue
from hearth.engine.memory import MemoryEngine
from hearth.model.ids import AccountId, Caller, FunctionKey, Region

OTHER_ACCOUNT = AccountId("999999999999")


def url_address(region: Region, url_id: str) -> str:
    return f"https://{url_id}.lambda-url.{region}.on.aws/"


class SettingsApi:
    """The handlers, called as the edge calls them."""

    def __init__(
        self, kv: KeyValue, plane: ControlPlane, address: Address, s3: S3 | None = None
    ) -> None:
        numbers = itertools.count(1)
        new_id: Callable[[], str] = lambda: f"00000000-0000-0000-0000-{next(numbers):012}"  # noqa: E731
        clock = HandClock()
        self.plane = plane
        self.documents = Documents(kv, plane.replica, plane.jobs, new_id)
        self.permissions = Permissions(self.documents, plane.functions.revisions)
        plane.functions.aliases.forget = self.documents.delete_qualified
        self.layers = Layers(self.documents, plane.packages, clock, s3)
        access = LayerAccess(self.documents, self.layers)
        location: layers.Location = lambda request, sha256: f"{request.endpoint}/{sha256}"  # noqa: E731
        tagging = Tagging(self.documents)
        signing = CodeSigning(self.documents, plane.replica, tagging, clock, new_id)
        events = EventInvokeConfigs(self.documents, clock, plane.functions.get, EVERYWHERE)
        self.sources, self.progress = FakeSources(), FakeProgress()
        self.mappings = mappings = EventSourceMappings(
            self.documents, tagging, clock, plane.functions.get, EVERYWHERE, self.sources, new_id
        )
        urls = FunctionUrls(self.documents, clock, new_id, address)
        self._operations: Mapping[str, Operation] = {
            operation.name: operation
            for operation in (
                *functions.operations(
                    plane.functions,
                    tags_of=tagging.of_function,
                    signing=signing,
                    layers=access,
                ),
                *layers.operations(self.layers, access, location),
                *aliases.operations(plane.functions),
                *tags.operations(
                    plane.functions,
                    tagging,
                    signing.tagged,
                    mappings.tagged,
                    plane.functions.revisions.touch,
                ),
                *event_invoke.operations(plane.functions, events),
                *event_sources.operations(mappings, self.progress),
                *function_urls.operations(plane.functions, urls),
                *versions.operations(plane.functions),
                *aliases.operations(plane.functions),
                *runtime_management.operations(plane.functions),
                *code_signing.operations(plane.functions, signing),
                *permissions.operations(plane.functions, self.permissions),
            )
        }

    async def respond(
        self, name: str, members: Mapping[str, Any], account: AccountId = ACCOUNT
    ) -> OperationResponse:
        caller = Caller(account, REGION, "AKIA", f"arn:aws:iam::{account}:user/u")
        return await self._operations[name].handler(
            OperationRequest(
                caller=caller,
                request_id="r",
                members=members,
                endpoint="http://127.0.0.1:4566",
                permits=self.permits,
            )
        )

    def permits(self, caller: Caller, key: FunctionKey, qualifier: str | None, action: str) -> bool:
        latest = self.plane.replica.get(key)
        if latest is None:
            return caller.account == key.account
        return self.permissions.permits(caller, latest, qualifier, action)

    async def call(self, operation: str, **members: Any) -> Any:
        return (await self.respond(operation, members)).members

    async def create(self, name: str = "f", **members: Any) -> Any:
        created = await self.call("CreateFunction", **CREATE | {"FunctionName": name} | members)
        await self.plane.settled()
        return created


def play(
    directory: Path,
    scenario: Callable[[SettingsApi], Awaitable[None]],
    address: Address = url_address,
    s3: S3 | None = None,
) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, directory, s3=s3) as plane:
            api = SettingsApi(kv, plane, address, s3)
            plane.jobs.spawn(api.documents.run(), name="documents")
            await asyncio.wait_for(api.documents.ready.wait(), WAIT_S_MAX)
            await scenario(api)

    asyncio.run(scene())
