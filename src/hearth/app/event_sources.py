"""How are event source mappings wired to the rest? Who keeps, runs, shows and counts them."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

from hearth.api.admin_mappings import MappingRow
from hearth.api.operation import Operation
from hearth.api.operations import event_sources
from hearth.app.choices import new_id
from hearth.app.source_clients import AwsQueue, SourceClients
from hearth.app.stream_clients import AwsFailureTargets, AwsStream
from hearth.base import metrics
from hearth.base.clock import Clock
from hearth.base.metrics import Metric, Values
from hearth.control.documents import Documents
from hearth.control.functions import Functions
from hearth.control.mappings import EventSourceMappings
from hearth.control.tags import Tagging
from hearth.engine.contract import Engine
from hearth.model.mappings import EventSourceMapping, SourceKind
from hearth.settings import Settings, read_client_settings
from hearth.sources.calling import Function
from hearth.sources.checkpoints import Checkpoints
from hearth.sources.contract import Invoker, Poller
from hearth.sources.keeper import Sources
from hearth.sources.queue import QueuePoller
from hearth.sources.status import MappingStatus
from hearth.sources.stream import StreamPoller

BUCKET: Final = "SOURCES"
"""Of the engine: how far streams were read."""


class EventSources:
    """All of it."""

    def __init__(self, mappings: EventSourceMappings, running: Sources) -> None:
        self.mappings = mappings
        self.running = running

    def operations(self) -> tuple[Operation, ...]:
        return event_sources.operations(self.mappings, self.running)

    def rows(self) -> list[MappingRow]:
        """For `hearth mappings`, by function and source."""
        rows = [self._row(status) for status in self.running.statuses()]
        return sorted(rows, key=lambda row: (row.account, row.region, row.function, row.source))

    def _row(self, status: MappingStatus) -> MappingRow:
        mapping = self.mappings.find(status.mapping) or status.mapping
        name = mapping.function
        return MappingRow(
            uuid=mapping.uuid,
            account=mapping.account,
            region=mapping.region,
            function=name if mapping.qualifier is None else f"{name}:{mapping.qualifier}",
            source=mapping.source_arn,
            state=event_sources.state_of(mapping, self.running),
            result=status.last_result,
            pollers=status.pollers,
            running=status.running,
            polled=status.polled,
            filtered=status.filtered,
            invoked=status.invoked,
            failed=status.failed,
            dropped=status.dropped,
        )


def open_sources(
    documents: Documents,
    tagging: Tagging,
    functions: Functions,
    invoker: Invoker,
    clock: Clock,
    settings: Settings,
    engine: Engine,
) -> EventSources:
    """Not running yet."""
    clients = SourceClients(settings.endpoints, read_client_settings())
    mappings = EventSourceMappings(
        documents, tagging, clock, functions.get, settings.endpoints, clients, new_id
    )

    checkpoints = Checkpoints(partial(engine.bucket, BUCKET))
    failures = AwsFailureTargets(clients)

    def role_of(mapping: EventSourceMapping) -> str:
        function = functions.replica.get(mapping.key)
        return "" if function is None else function.role

    async def forget(mapping: EventSourceMapping) -> None:
        if mapping.kind.is_stream:
            await checkpoints.forget(mapping.uuid)

    def open_poller(mapping: EventSourceMapping, status: MappingStatus) -> Poller:
        function = Function(mapping, invoker, new_id)
        match mapping.kind:
            case SourceKind.SQS:
                queue = AwsQueue(mapping, clients)
                return QueuePoller(mapping, queue, function, status, clock)
            case SourceKind.KINESIS | SourceKind.DYNAMODB:
                stream = AwsStream(mapping, clients, role_of)
                return StreamPoller(mapping, stream, function, failures, checkpoints, status, clock)

    return EventSources(mappings, Sources(mappings, open_poller, forget))


async def run_sources(sources: EventSources, *ready: asyncio.Event) -> None:
    """Not before it is known which mappings and functions there are."""
    for known in ready:
        await known.wait()
    await sources.running.run()


def of_sources(sources: EventSources) -> Mapping[Metric, Values]:
    statuses = [(_labels(status), status) for status in sources.running.statuses()]
    return {
        metrics.MAPPING_RECORDS: [
            ((*labels, outcome), number)
            for labels, status in statuses
            for outcome, number in status.counts()
        ],
        metrics.MAPPING_POLLERS: [(labels, status.pollers) for labels, status in statuses],
        metrics.ITERATOR_AGE: [
            (labels, status.iterator_age)
            for labels, status in statuses
            if status.mapping.kind.is_stream
        ],
    }


def _labels(status: MappingStatus) -> tuple[str, str, str, str]:
    mapping = status.mapping
    return mapping.account, mapping.region, mapping.function, mapping.uuid
