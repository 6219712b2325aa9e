"""What is Hearth made of? Every part, after it was built."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from hearth.app.durable import DurablePath
from hearth.app.event_sources import EventSources
from hearth.app.meter import Meter, MeteredInvoker
from hearth.app.tracing import Tracing
from hearth.base.clock import SystemClock
from hearth.base.http1 import HttpServer
from hearth.base.jobs import Jobs
from hearth.control.concurrency import ReservedConcurrency
from hearth.control.documents import Documents
from hearth.control.functions import Functions
from hearth.control.layers import Layers
from hearth.control.packages import Packages
from hearth.control.provisioned import ProvisionedConcurrency
from hearth.control.replica import Replica
from hearth.control.tags import Tagging
from hearth.counting.counter import Counter
from hearth.engine.contract import KeyValue
from hearth.engine.health import EngineHealth
from hearth.engine.server import EmbeddedServer
from hearth.events.path import EventPath
from hearth.frontend.invoke import Invoker
from hearth.logs.store import LogStore
from hearth.model.endpoints import Endpoints
from hearth.placement.placement import Placement
from hearth.runtimes.registry import Runtimes
from hearth.worker.code_cache import CodeCache
from hearth.worker.sandboxes.tiered import TieredBackend
from hearth.worker.worker import Worker
from hearth.worker_manager.manager import WorkerManager


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    clock: SystemClock
    jobs: Jobs
    server: EmbeddedServer
    engine_health: EngineHealth
    meta: KeyValue
    replica: Replica
    documents: Documents
    tagging: Tagging
    packages: Packages
    code_cache: CodeCache
    functions: Functions
    layers: Layers
    logs: LogStore
    backend: TieredBackend
    runtimes: Runtimes
    worker: Worker
    placement: Placement
    manager: WorkerManager
    counter: Counter
    reserved: ReservedConcurrency
    provisioned: ProvisionedConcurrency
    invoker: MeteredInvoker
    front: Invoker
    durable: DurablePath
    events: EventPath
    sources: EventSources
    meter: Meter
    endpoints: Endpoints
    tracing: Tracing | None


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways in: for AWS clients, and for the owner of the state directory."""

    edge: HttpServer
    back: AsyncExitStack
    endpoint: str
