"""The whole edge without sockets: every operation, over a real control plane in memory.

What is faked ends where the control plane does: nothing runs a function, nothing keeps
environments initialised, and a signature is believed.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakes.control import (
    ACCOUNT,
    EVERYWHERE,
    WAIT_S_MAX,
    ControlPlane,
    HandClock,
    control_plane,
)
from fakes.http import FakeResponder
from fakes.mappings import FakeProgress, FakeSources
from fakes.settings_api import url_address
from hearth.api.edge import SERVICES, Edge
from hearth.api.invoke import InvokeHandler
from hearth.api.invoke_stream import StreamInvokeHandler
from hearth.api.operation import Operation
from hearth.api.operations import (
    account,
    aliases,
    capacity_providers,
    code_signing,
    concurrency,
    durable,
    durable_lists,
    event_invoke,
    event_sources,
    function_urls,
    functions,
    invoke_async,
    layers,
    permissions,
    provisioned,
    recursion,
    runtime_management,
    sts,
    tags,
    versions,
)
from hearth.api.operations.logs import log_operations
from hearth.api.sigv4 import OpenAuth
from hearth.base.http1 import HttpRequest
from hearth.base.jobs import Jobs
from hearth.control.code_signing import CodeSigning
from hearth.control.concurrency import AccountLocks, ReservedConcurrency
from hearth.control.documents import Documents
from hearth.control.event_invoke import EventInvokeConfigs
from hearth.control.function_urls import FunctionUrls
from hearth.control.layer_access import LayerAccess
from hearth.control.layers import Layers
from hearth.control.mappings import EventSourceMappings
from hearth.control.permissions import Permissions
from hearth.control.provisioned import ProvisionedConcurrency
from hearth.control.recursion import Recursions
from hearth.control.tags import Tagging
from hearth.counting.counter import Counter
from hearth.durable.executions import Executions
from hearth.durable.store import Store
from hearth.durable.upkeep import Upkeep
from hearth.engine.memory import MemoryEngine, MemoryKeyValue
from hearth.logs.store import LogStore
from hearth.model.functions import FunctionVersion
from hearth.model.ids import Caller, FunctionKey
from hearth.model.invocations import InvokeCall, InvokeResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AUTHORIZATION = (
    f"AWS4-HMAC-SHA256 Credential={ACCOUNT}/20261123/eu-central-1/lambda/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)
"""Open authentication takes account and region from it."""


@dataclass
class Echo:
    """Runs nothing: answers with the payload, and remembers what it was asked."""

    calls: list[InvokeCall] = field(default_factory=list)

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        self.calls.append(call)
        return InvokeResult(payload=call.payload, executed_version="$LATEST")

    def dry_run(self, call: InvokeCall) -> None:
        self.calls.append(call)

    async def accept(self, call: InvokeCall) -> None:
        self.calls.append(call)


@dataclass
class Environments:
    """Keeps nothing initialised, but remembers what it was told to."""

    targets: dict[str, int] = field(default_factory=dict)

    def provision(self, function: FunctionVersion, target: int) -> None:
        self.targets[f"{function.key.arn(function.version)}"] = target


@dataclass
class WholeEdge:
    """Everything behind one port."""

    edge: Edge
    plane: ControlPlane
    documents: Documents
    kv: MemoryKeyValue
    invoker: Echo
    requests: Jobs
    packages: Path
    executions: Executions

    def send(self, request: HttpRequest) -> FakeResponder:
        """The answer may still be under way."""
        responder = FakeResponder()
        self.edge.handle(request, responder)
        return responder

    async def answer(self, request: HttpRequest) -> FakeResponder:
        responder = self.send(request)
        if responder.status is None:
            await asyncio.wait_for(self.requests.wait_idle(), WAIT_S_MAX)
        return responder

    def snapshot(self) -> Mapping[str, Any]:
        """All that a request may change: what is stored, in the engine and as files, and invokes.

        A write changes a revision, even if it writes what was there.
        """
        return {
            "engine": {change.key: change for change in self.kv.after(0, "")},
            "packages": sorted(path.name for path in self.packages.rglob("*")),
            "invokes": len(self.invoker.calls),
        }


@asynccontextmanager
async def whole_edge(directory: Path, *more: Operation) -> "AsyncIterator[WholeEdge]":
    """As app/doors.py wires it; `more` are operations that it has not."""
    engine = MemoryEngine()
    kv = await engine.bucket("meta")
    assert isinstance(kv, MemoryKeyValue)
    async with control_plane(kv, directory) as plane, Jobs() as requests:
        numbers = itertools.count(1)
        new_id: Callable[[], str] = lambda: f"00000000-0000-0000-0000-{next(numbers):012}"  # noqa: E731
        documents = Documents(kv, plane.replica, plane.jobs, new_id)
        plane.functions.aliases.forget = documents.delete_qualified
        invoker = Echo()
        invoke = InvokeHandler(invoker, HandClock(), invoker.accept)
        executions = Executions(invoker, HandClock(), plane.jobs, new_id, new_id)
        executions.opened(await Store.open(engine))
        logs = LogStore(directory / "logs", plane.functions.clock, plane.jobs)
        edge = Edge(
            SERVICES,
            (
                *operations(plane, documents, new_id),
                *invoke_async.operations(invoker.accept),
                *log_operations(logs, plane.functions.clock),
                *durable_operations(plane, engine, executions),
                *more,
            ),
            OpenAuth(),
            HandClock(),
            requests,
            new_id,
            invoke,
            _permits(plane, Permissions(documents)),
            StreamInvokeHandler(invoke, None, HandClock()),
        )
        plane.jobs.spawn(documents.run(), name="documents")
        await asyncio.wait_for(documents.ready.wait(), WAIT_S_MAX)
        yield WholeEdge(edge, plane, documents, kv, invoker, requests, directory, executions)
        await requests.wait_idle()
        await logs.close()


def durable_operations(
    plane: ControlPlane, engine: MemoryEngine, executions: Executions
) -> tuple[Operation, ...]:
    clock = HandClock()
    upkeep = Upkeep(engine, executions, clock, plane.jobs)
    handlers = durable.Handlers(executions, upkeep.delete, clock.epoch_ms)
    return (
        *durable.operations(handlers),
        *durable_lists.operations(plane.functions, executions, handlers),
    )


def operations(
    plane: ControlPlane, documents: Documents, new_id: Callable[[], str]
) -> tuple[Operation, ...]:
    """Every operation that Hearth answers, except Invoke."""
    clock, counter, locks = HandClock(), Counter(1_000), AccountLocks()
    tagging = Tagging(documents)
    signing = CodeSigning(documents, plane.replica, tagging, clock, new_id)
    reserved = ReservedConcurrency(documents, plane.replica, counter, locks)
    kept = ProvisionedConcurrency(
        documents, plane.replica, reserved, counter, Environments(), locks, clock
    )
    mappings = EventSourceMappings(
        documents, tagging, clock, plane.functions.get, EVERYWHERE, FakeSources(), new_id
    )
    shelves = Layers(documents, plane.packages, clock)
    access = LayerAccess(documents, shelves)
    link: functions.CodeLocation = lambda request, f: f"{request.endpoint}/{f.code.sha256}"  # noqa: E731
    return (
        *functions.operations(
            plane.functions,
            link,
            reserved.get,
            tags_of=tagging.of_function,
            signing=signing,
            layers=access,
        ),
        *layers.operations(shelves, access, lambda request, sha256: f"{request.endpoint}/{sha256}"),
        *versions.operations(plane.functions),
        *aliases.operations(plane.functions),
        *account.operations(plane.functions, counter, shelves),
        *concurrency.operations(plane.functions, reserved),
        *provisioned.operations(plane.functions, kept),
        *tags.operations(
            plane.functions,
            tagging,
            signing.tagged,
            mappings.tagged,
            plane.functions.revisions.touch,
        ),
        *event_invoke.operations(
            plane.functions, EventInvokeConfigs(documents, clock, plane.functions.get, EVERYWHERE)
        ),
        *event_sources.operations(mappings, FakeProgress()),
        *function_urls.operations(
            plane.functions, FunctionUrls(documents, clock, new_id, url_address)
        ),
        *runtime_management.operations(plane.functions),
        *recursion.operations(plane.functions, Recursions(documents)),
        *code_signing.operations(plane.functions, signing),
        *permissions.operations(plane.functions, Permissions(documents, plane.functions.revisions)),
        *capacity_providers.OPERATIONS,
        *sts.OPERATIONS,
    )


def _permits(
    plane: ControlPlane, policies: Permissions
) -> Callable[[Caller, FunctionKey, str | None, str], bool]:
    def permits(caller: Caller, key: FunctionKey, qualifier: str | None, action: str) -> bool:
        latest = plane.replica.get(key)
        if latest is None:
            return caller.account == key.account
        return policies.permits(caller, latest, qualifier, action)

    return permits
