"""What has a mapping done so far, and what came of it last? Plain numbers, since the start."""

from collections.abc import Iterator

from hearth.base.log import Log
from hearth.base.metrics import ITERATOR_AGE, Histogram
from hearth.model.mappings import CALL_FAILED, NOTHING_YET, OK, EventSourceMapping

log = Log("sources")


class MappingStatus:
    """Of one mapping; outlives its changes, not its deletion. Counts are records."""

    __slots__ = (
        "deleted",
        "dropped",
        "failed",
        "filtered",
        "invoked",
        "iterator_age",
        "last_result",
        "mapping",
        "on_failure_delivered",
        "polled",
        "pollers",
        "running",
    )

    def __init__(self, mapping: EventSourceMapping) -> None:
        self.mapping = mapping
        self.last_result = NOTHING_YET
        self.polled = 0
        self.filtered = 0
        self.invoked = 0
        self.failed = 0
        self.deleted = 0
        self.dropped = 0
        self.on_failure_delivered = 0
        self.iterator_age = Histogram(ITERATOR_AGE)
        self.pollers = 0
        """At present: of a queue polls and batches, of a stream shards."""
        self.running = 0
        """Batches, at present."""

    def succeeded(self) -> None:
        self._note(OK)

    def call_failed(self, reason: str) -> None:
        self._note(CALL_FAILED, reason)

    def source_failed(self, reason: str) -> None:
        self._note(f"PROBLEM: {reason}", reason)

    def counts(self) -> Iterator[tuple[str, int]]:
        """By outcome, for the metric."""
        for name in (
            *("polled", "filtered", "invoked", "failed"),
            *("deleted", "dropped", "on_failure_delivered"),
        ):
            yield name, getattr(self, name)

    def _note(self, result: str, reason: str = "") -> None:
        """Said when it changes, so that an outage is one line and not one for each try."""
        if result == self.last_result:
            return
        was, self.last_result = self.last_result, result
        told = {"mapping": self.mapping.uuid, "source": self.mapping.source_arn, "result": result}
        if result != OK:
            log.warning("event source mapping has a problem", **told, reason=reason)
        elif was != NOTHING_YET:
            log.info("event source mapping works again", **told)
