"""How are the parts built? In stages, each from those before it; see `build`."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from hearth.api.edge import SERVICES
from hearth.api.shapes import load_service
from hearth.app.choices import (
    TraceIds,
    choose_backend,
    compiler,
    make_runtimes,
    new_id,
    new_sandbox_id,
    refuse_unreachable,
    refuse_unusable,
)
from hearth.app.durable import open_durable
from hearth.app.event_path import EventOwners, open_events
from hearth.app.event_sources import open_sources
from hearth.app.parts import Parts
from hearth.app.retirement import Retirement, exists
from hearth.app.s3 import open_s3
from hearth.app.trace_exports import open_tracing
from hearth.app.tracing import metered
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.control.concurrency import AccountLocks, ReservedConcurrency
from hearth.control.deliveries import S3
from hearth.control.documents import Documents
from hearth.control.functions import Functions
from hearth.control.layers import Layers
from hearth.control.packages import Packages
from hearth.control.permissions import Permissions
from hearth.control.provisioned import ProvisionedConcurrency
from hearth.control.recursion import Recursions
from hearth.control.replica import Replica
from hearth.control.tags import Tagging
from hearth.counting.counter import Counter
from hearth.engine.contract import EngineUnavailable, KeyValue
from hearth.engine.health import EngineHealth
from hearth.engine.nats import NatsEngine
from hearth.engine.room import measure
from hearth.engine.server import EmbeddedServer, ServerStartFailed
from hearth.engine.server_files import StoreRefused
from hearth.frontend.invoke import Invoker
from hearth.frontend.resolve import Catalog
from hearth.frontend.sampling import Sampling
from hearth.logs.segments import SegmentLimits
from hearth.logs.store import LogLimits, LogStore
from hearth.model.ids import WorkerId
from hearth.placement.placement import Placement
from hearth.runtimes.registry import Runtimes
from hearth.settings import Settings, StartRefused, Surroundings
from hearth.worker.capacity import MachineCapacity
from hearth.worker.code_cache import CodeCache
from hearth.worker.sandboxes.tiered import TieredBackend
from hearth.worker.worker import Worker
from hearth.worker_manager.manager import WorkerManager

META_BUCKET: Final = "META"
MB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What runs beside us, and what reaches it."""

    clock: SystemClock
    jobs: Jobs
    server: EmbeddedServer
    engine: NatsEngine
    meta: KeyValue
    backend: TieredBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stores:
    """What is kept: records, packages, code, logs."""

    replica: Replica
    documents: Documents
    tagging: Tagging
    packages: Packages
    code_cache: CodeCache
    logs: LogStore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fleet:
    """Who makes sandboxes, and who counts what runs in them."""

    runtimes: Runtimes
    worker: Worker
    placement: Placement
    counter: Counter
    manager: WorkerManager
    reserved: ReservedConcurrency
    provisioned: ProvisionedConcurrency


async def build(settings: Settings, surroundings: Surroundings, stack: AsyncExitStack) -> Parts:
    """Every part, started; `stack` ends them in reverse order.

    Raises StartRefused if this machine or these settings do not allow it.
    """
    ground = await _open_ground(settings, stack)
    stores = await _open_stores(settings, surroundings, ground, stack)
    fleet = _muster(settings, surroundings, ground, stores)
    clock, jobs, server = ground.clock, ground.jobs, ground.server
    replica, documents, packages = stores.replica, stores.documents, stores.packages
    s3 = open_s3(settings.endpoints, stack)
    sampling, tracing = open_tracing(settings, clock, stack)
    front = _front(clock, stores, fleet, sampling)
    meter, invoker = metered(front, tracing)
    if tracing is not None:
        fleet.worker.segments = tracing.took
    events = await open_events(
        ground.engine,
        invoker=invoker,
        owners=EventOwners(replica, documents, fleet.reserved.get),
        meter=meter,
        clock=clock,
        settings=settings,
        stack=stack,
        tracing=tracing,
    )
    functions = _functions(settings, ground, stores, fleet, s3)
    return Parts(
        clock=clock,
        jobs=jobs,
        server=server,
        engine_health=_engine_health(ground),
        meta=ground.meta,
        replica=replica,
        documents=documents,
        tagging=stores.tagging,
        packages=packages,
        code_cache=stores.code_cache,
        functions=functions,
        layers=Layers(documents, packages, clock, s3),
        logs=stores.logs,
        backend=ground.backend,
        runtimes=fleet.runtimes,
        worker=fleet.worker,
        placement=fleet.placement,
        manager=fleet.manager,
        counter=fleet.counter,
        reserved=fleet.reserved,
        provisioned=fleet.provisioned,
        invoker=invoker,
        front=front,
        durable=open_durable(ground.engine, front, invoker, fleet.worker, clock, jobs),
        events=events,
        sources=open_sources(
            documents, stores.tagging, functions, invoker, clock, settings, ground.engine
        ),
        meter=meter,
        endpoints=settings.endpoints,
        tracing=tracing,
    )


def _engine_health(ground: _Ground) -> EngineHealth:
    look = partial(asyncio.to_thread, measure, ground.server.store)
    return EngineHealth(ground.engine, ground.server, look, ground.clock)


def _functions(
    settings: Settings, ground: _Ground, stores: _Stores, fleet: _Fleet, s3: S3 | None
) -> Functions:
    return Functions(
        ground.meta,
        stores.replica,
        stores.packages,
        stores.code_cache,
        ground.clock,
        ground.jobs,
        new_id,
        stores.documents.delete_qualified,
        s3,
        settings.endpoints,
        ground.backend.refusal,
        fleet.worker.snapshots,
    )


async def _open_ground(settings: Settings, stack: AsyncExitStack) -> _Ground:
    clock = SystemClock()
    jobs = await stack.enter_async_context(Jobs())
    server = EmbeddedServer(settings.state, settings.nats_server)
    refuse_unreachable(settings)
    backend = choose_backend(settings, clock, jobs)
    await _start(server, backend, stack)
    engine = await NatsEngine.connect(server.url, server.user, server.password)
    stack.push_async_callback(engine.close)
    meta = await engine.bucket(META_BUCKET)
    return _Ground(clock=clock, jobs=jobs, server=server, engine=engine, meta=meta, backend=backend)


async def _start(server: EmbeddedServer, backend: TieredBackend, stack: AsyncExitStack) -> None:
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


async def _open_stores(
    settings: Settings, surroundings: Surroundings, ground: _Ground, stack: AsyncExitStack
) -> _Stores:
    state, clock, jobs = settings.state, ground.clock, ground.jobs
    replica = Replica(ground.meta)
    documents = Documents(ground.meta, replica, jobs, new_id)
    packages = Packages(state / "packages", clock)
    await packages.open()
    code_cache = CodeCache(
        state / "code", packages.path, jobs, clock, interpreter=compiler(surroundings)
    )
    await code_cache.open()
    limits = LogLimits(segments=SegmentLimits(group_bytes_max=settings.log_group_mb * MB))
    logs = LogStore(state / "logs", clock, jobs, limits=limits)
    stack.push_async_callback(logs.close)
    return _Stores(
        replica=replica,
        documents=documents,
        tagging=Tagging(documents, ground.backend.refusal),
        packages=packages,
        code_cache=code_cache,
        logs=logs,
    )


def _muster(
    settings: Settings, surroundings: Surroundings, ground: _Ground, stores: _Stores
) -> _Fleet:
    clock, jobs = ground.clock, ground.jobs
    replica, documents, tagging = stores.replica, stores.documents, stores.tagging
    runtimes = make_runtimes(surroundings, jobs, settings.node_sdk)
    worker = Worker(
        WorkerId("local"),
        ground.backend,
        runtimes,
        stores.code_cache,
        stores.logs,
        capacity=MachineCapacity.measure(settings.memory_fraction),
        clock=clock,
        jobs=jobs,
        tags_of=lambda version: tagging.of_function(replica.get(version.key) or version),
        network=settings.network,
        exists=partial(exists, replica),
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
    retirement = Retirement(manager, replica, worker.snapshots)
    replica.on_change(retirement.changed)
    replica.on_qualified(retirement.qualified)
    tagging.on_change(retirement.tagged)
    return _Fleet(
        runtimes=runtimes,
        worker=worker,
        placement=placement,
        counter=counter,
        manager=manager,
        reserved=reserved,
        provisioned=provisioned,
    )


def _front(clock: SystemClock, stores: _Stores, fleet: _Fleet, sampling: Sampling) -> Invoker:
    catalog = Catalog(
        stores.replica,
        Permissions(stores.documents).permits_invoke,
        Recursions(stores.documents).may_loop,
        secrets.SystemRandom().random,
    )
    workers = {fleet.worker.id: fleet.worker}
    new_trace_id = TraceIds(clock).new
    return Invoker(catalog, fleet.counter, fleet.manager, workers, clock, new_trace_id, sampling)
