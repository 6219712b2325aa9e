"""CloudWatch Logs: everything that Hearth answers of it."""

from hearth.api.operation import Operation
from hearth.api.operations import log_events, log_groups, log_tail
from hearth.base.clock import Clock
from hearth.logs.store import LogStore


def log_operations(logs: LogStore, clock: Clock) -> tuple[Operation, ...]:
    return (
        *log_groups.operations(logs),
        *log_events.operations(logs, clock),
        *log_tail.operations(logs, clock),
    )
