"""How does Hearth start, serve and end?

`run` builds the parts in the order in which a request needs them, last first, serves until it is
told to stop, and takes them apart in the reverse order. Infinite loops live in `_loops` and
nowhere else: if one of them fails all end and the process exits, since a platform that had lost
one of them would look alive and be wrong.
"""

import asyncio
import gc
import secrets
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from hearth.api import downloads
from hearth.api.edge import SERVICES, Edge
from hearth.api.invoke import InvokeHandler
from hearth.api.invoke_stream import StreamInvokeHandler
from hearth.api.keys import KeyFile
from hearth.api.operations import (
    account,
    aliases,
    concurrency,
    invoke_async,
    provisioned,
    sts,
    versions,
)
from hearth.api.operations.logs import log_operations
from hearth.api.shapes import load_service
from hearth.api.sigv4 import OpenAuth, SigV4Verifier
from hearth.app.back_doors import open_back_doors
from hearth.app.choices import (
    TraceIds,
    bind,
    choose_backend,
    compiler,
    edge_limits,
    endpoint_of,
    make_runtimes,
    new_id,
    new_sandbox_id,
    open_files_max,
    refuse_unreachable,
    refuse_unusable,
    stream_rate,
)
from hearth.app.event_path import EventOwners, open_events, run_events
from hearth.app.function_urls import function_url_gateway, function_urls
from hearth.app.meter import Meter, MeteredInvoker
from hearth.app.parts import Doors, Parts
from hearth.app.retirement import Retirement
from hearth.app.s3 import open_s3
from hearth.app.setting_operations import function_operations, policies, setting_operations
from hearth.base.clock import SystemClock
from hearth.base.http1 import HttpRequest, HttpServer, StreamingResponder
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.control.concurrency import AccountLocks, ReservedConcurrency
from hearth.control.documents import Documents
from hearth.control.functions import Functions
from hearth.control.layers import Layers
from hearth.control.leftovers import Leftovers
from hearth.control.packages import Packages
from hearth.control.permissions import Permissions
from hearth.control.provisioned import ProvisionedConcurrency
from hearth.control.recursion import Recursions
from hearth.control.replica import Replica
from hearth.control.sweeper import Sweeper
from hearth.control.tags import Tagging
from hearth.counting.counter import Counter
from hearth.engine.contract import EngineUnavailable, KeyValue
from hearth.engine.export import Exporter
from hearth.engine.health import EngineHealth
from hearth.engine.nats import NatsEngine
from hearth.engine.room import measure
from hearth.engine.server import EmbeddedServer, ServerStartFailed
from hearth.engine.server_files import StoreRefused
from hearth.frontend.invoke import Invoker
from hearth.frontend.resolve import Catalog
from hearth.gateways.url_address import is_for_url
from hearth.logs.segments import SegmentLimits
from hearth.logs.store import LogLimits, LogStore
from hearth.model.functions import FunctionVersion
from hearth.model.ids import WorkerId
from hearth.placement.placement import Placement
from hearth.settings import Auth, Settings, StartRefused, Surroundings
from hearth.worker.capacity import MachineCapacity
from hearth.worker.code_cache import CodeCache
from hearth.worker.sandboxes.contract import SandboxBackend
from hearth.worker.worker import Worker
from hearth.worker_manager.manager import WorkerManager

log = Log("app")

META_BUCKET: Final = "META"
LOG_FLUSH_S: Final = 0.25
FREEZE_LOOK_S: Final = 0.25
EXPORT_AFTER_S: Final = 3.0
REPLICA_READY_S: Final = 30.0
MB: Final = 1024 * 1024


async def run(
    settings: Settings,
    surroundings: Surroundings,
    *,
    ready: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set; calls `ready` with the endpoint once requests are answered.

    Raises StartRefused if this machine or these settings do not allow it.
    """
    async with AsyncExitStack() as stack:
        parts = await _build(settings, surroundings, stack)
        async with asyncio.TaskGroup() as loops:
            tasks = [loops.create_task(work, name=name) for name, work in _loops(settings, parts)]
            try:
                await _serve(settings, parts, ready, stop)
            finally:
                for task in tasks:
                    task.cancel()


async def _serve(
    settings: Settings, parts: Parts, ready: Callable[[str], None], stop: asyncio.Event
) -> None:
    with _what_is_read_stays():
        async with asyncio.timeout(REPLICA_READY_S):
            await parts.replica.ready.wait()
            await parts.documents.ready.wait()
    parts.functions.resume()
    parts.runtimes.warm_up(_runtimes_in_use(parts))
    parts.replica.on_change(partial(_warm_up, parts))
    doors = await _open_doors(settings, parts, stop)
    ready(doors.endpoint)
    log.info("ready", endpoint=doors.endpoint, sandbox=parts.backend.name)
    try:
        await stop.wait()
        parts.logs.is_ending = True
        log.info("stopping", in_flight=doors.edge.in_flight)
        async with asyncio.TaskGroup() as draining:
            draining.create_task(doors.edge.drain(settings.drain_s))
            draining.create_task(parts.events.drain(settings.drain_s))
    finally:
        await doors.edge.close()
        await doors.back.aclose()
        await parts.worker.stop_all()


@contextmanager
def _what_is_read_stays() -> Iterator[None]:
    """Looking through the metadata for garbage, again and again while it is read, and at each full
    collection later, is time for nothing."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _runtimes_in_use(parts: Parts) -> set[str]:
    """Of the functions that there are, and of whoever creates the first one: most likely the
    Python that is there for certain, since it runs us."""
    own = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return {own} | {function.runtime for function in parts.replica.everything()}


def _warm_up(parts: Parts, old: FunctionVersion | None, new: FunctionVersion | None) -> None:
    """Set a runtime up (it may have to be fetched) while its first function is being created."""
    if new is not None and (old is None or old.runtime != new.runtime):
        parts.runtimes.warm_up({new.runtime})


async def _build(settings: Settings, surroundings: Surroundings, stack: AsyncExitStack) -> Parts:
    """Every part, started; `stack` ends them in reverse order."""
    clock = SystemClock()
    state = settings.state
    jobs = await stack.enter_async_context(Jobs())
    server = EmbeddedServer(state, settings.nats_server)
    refuse_unreachable(settings)
    backend = choose_backend(settings, clock, jobs)
    await _start_foundations(server, backend, stack)
    engine = await NatsEngine.connect(server.url, server.user, server.password)
    stack.push_async_callback(engine.close)
    meta = await engine.bucket(META_BUCKET)
    replica = Replica(meta)
    documents = Documents(meta, replica, jobs, new_id)
    tagging = Tagging(documents, backend.refusal)

    packages = Packages(state / "packages", clock)
    await packages.open()
    code_cache = CodeCache(
        state / "code", packages.path, jobs, clock, interpreter=compiler(surroundings)
    )
    await code_cache.open()
    log_limits = LogLimits(segments=SegmentLimits(group_bytes_max=settings.log_group_mb * MB))
    logs = LogStore(state / "logs", clock, jobs, limits=log_limits)
    stack.push_async_callback(logs.close)

    runtimes = make_runtimes(surroundings, jobs)
    capacity = MachineCapacity.measure(settings.memory_fraction)
    worker = Worker(
        WorkerId("local"),
        backend,
        runtimes,
        code_cache,
        logs,
        capacity=capacity,
        clock=clock,
        jobs=jobs,
        tags_of=lambda version: tagging.of_function(replica.get(version.key) or version),
        network=settings.network,
    )
    placement = Placement(clock, new_sandbox_id, secrets.SystemRandom().random)
    placement.register(worker)
    counter = Counter(settings.account_concurrency)
    manager = WorkerManager(placement, clock, jobs, settings.keepalive_s, counter)
    locks = AccountLocks()
    reserved = ReservedConcurrency(documents, replica, counter, locks)
    provisioned = ProvisionedConcurrency(
        documents, replica, reserved, counter, manager, locks, clock
    )
    manager.on_kept(provisioned.kept)
    retirement = Retirement(manager, replica)
    replica.on_change(retirement.changed)
    replica.on_qualified(retirement.qualified)
    tagging.on_change(retirement.tagged)
    workers = {worker.id: worker}
    permissions = Permissions(documents)
    catalog = Catalog(
        replica,
        permissions.permits_invoke,
        Recursions(documents).may_loop,
        secrets.SystemRandom().random,
    )
    s3 = open_s3(settings.endpoints, stack)
    meter = Meter()
    front = Invoker(catalog, counter, manager, workers, clock, TraceIds(clock).new)
    invoker = MeteredInvoker(front, meter)
    events = await open_events(
        engine,
        invoker=invoker,
        owners=EventOwners(replica, documents, reserved.get),
        meter=meter,
        clock=clock,
        settings=settings,
        stack=stack,
    )
    return Parts(
        clock=clock,
        jobs=jobs,
        server=server,
        engine_health=EngineHealth(
            engine, server, partial(asyncio.to_thread, measure, server.store), clock
        ),
        meta=meta,
        replica=replica,
        documents=documents,
        tagging=tagging,
        packages=packages,
        code_cache=code_cache,
        functions=Functions(
            meta,
            replica,
            packages,
            code_cache,
            clock,
            jobs,
            new_id,
            documents.delete_qualified,
            s3,
            settings.endpoints,
            backend.refusal,
            worker.snapshots,
        ),
        layers=Layers(documents, packages, clock, s3),
        logs=logs,
        backend=backend,
        runtimes=runtimes,
        worker=worker,
        placement=placement,
        manager=manager,
        counter=counter,
        reserved=reserved,
        provisioned=provisioned,
        invoker=invoker,
        events=events,
        meter=meter,
        endpoints=settings.endpoints,
    )


async def _start_foundations(
    server: EmbeddedServer, backend: SandboxBackend, stack: AsyncExitStack
) -> None:
    """The engine and the sandboxes, at the same time: together they are most of a start."""
    stack.push_async_callback(server.stop)
    stack.push_async_callback(backend.close)
    try:
        async with asyncio.TaskGroup() as starting:
            starting.create_task(server.start(), name="start-engine")
            opening = starting.create_task(backend.open(), name="open-sandboxes")
            for service in SERVICES:
                starting.create_task(asyncio.to_thread(load_service, service))
    except* (ServerStartFailed, StoreRefused, EngineUnavailable) as errors:
        raise StartRefused(f"The engine did not start: {errors.exceptions[0]}") from errors
    refuse_unusable(opening.result())


def _loops(settings: Settings, parts: Parts) -> list[tuple[str, Coroutine[Any, Any, None]]]:
    """Everything that runs for as long as Hearth does."""
    export = settings.state / "export" / f"{META_BUCKET}.jsonl"
    return [
        ("replica", parts.replica.run()),
        ("documents", parts.documents.run()),
        ("document-sweeper", parts.documents.run_sweeps()),
        ("worker-manager", parts.manager.run()),
        ("placement", parts.placement.run()),
        ("sweeper", _sweeper(parts).run()),
        ("export", _export(parts.meta, export)),
        ("log-flush", _flush_logs(parts.worker)),
        ("freeze", _freeze_idle(parts.worker, settings.freeze_after_s)),
        ("log-retention", parts.logs.catalog.run_retention()),
        ("events", run_events(parts.events, parts.replica.ready, parts.documents.ready)),
        ("engine", parts.server.wait_died()),
        ("engine-health", parts.engine_health.run()),
    ]


def _sweeper(parts: Parts) -> Sweeper:
    leftovers = Leftovers(parts.meta, parts.replica, parts.clock)
    stores = (leftovers, parts.packages, parts.code_cache)
    return Sweeper(parts.replica, *stores, also=parts.layers.packages)


async def _export(meta: KeyValue, path: Path) -> None:
    """Not before the start is over: the first pass reads every record."""
    await asyncio.sleep(EXPORT_AFTER_S)
    await Exporter(meta, META_BUCKET, path).run()


async def _flush_logs(worker: Worker) -> None:
    while True:
        await asyncio.sleep(LOG_FLUSH_S)
        worker.flush_logs()


async def _freeze_idle(worker: Worker, idle_s: float) -> None:
    while True:
        await asyncio.sleep(FREEZE_LOOK_S)
        await worker.freeze_idle(idle_s)


async def _open_doors(settings: Settings, parts: Parts, stop: asyncio.Event) -> Doors:
    """Listen, now that there is somebody behind the doors."""
    clock, jobs = parts.clock, parts.jobs
    sock = bind(settings.host, settings.port)
    endpoint = endpoint_of(sock)
    keys = KeyFile(settings.paths.keys, clock)
    auth = SigV4Verifier(keys, clock) if settings.auth is Auth.SIGV4 else OpenAuth()
    links = downloads.PackageDownloads(secrets.token_bytes(32), parts.packages.path, clock, jobs)
    invoke = InvokeHandler(parts.invoker, clock, parts.events.intake.accept)
    rate = stream_rate(settings)
    edge = Edge(
        SERVICES,
        (
            *function_operations(parts, links.link),
            *versions.operations(parts.functions),
            *aliases.operations(parts.functions),
            *account.operations(parts.functions, parts.counter, parts.layers),
            *concurrency.operations(parts.functions, parts.reserved),
            *provisioned.operations(parts.functions, parts.provisioned),
            *invoke_async.operations(parts.events.intake.accept),
            *setting_operations(parts, links.link_to, function_urls(settings, parts, endpoint)),
            *log_operations(parts.logs, clock),
            *sts.OPERATIONS,
        ),
        auth,
        clock,
        jobs,
        new_id,
        invoke,
        policies(parts),
        StreamInvokeHandler(invoke, rate, clock),
    )

    urls = function_url_gateway(settings, parts, auth)

    def handle(request: HttpRequest, responder: StreamingResponder) -> None:
        if is_for_url(request):
            urls.handle(request, responder)
        elif request.target.startswith(downloads.PREFIX):
            links.handle(request, responder)
        else:
            edge.handle(request, responder)

    front = HttpServer(handle, edge_limits(open_files_max()), on_error=edge.answer_refusal)
    await front.start(sock)
    back = AsyncExitStack()
    try:
        await open_back_doors(settings, parts, endpoint, stop, back)
    except BaseException:
        await back.aclose()
        await front.close()
        raise
    return Doors(front, back, endpoint)
