"""What is done about a batch of a stream that failed? Again, in halves, or given up. Pure.

- A report of failures: what stands before the first record that failed is done; the rest is tried
  again. Else, with BisectBatchOnFunctionError, each half is tried for itself, which does not count
  as a retry. Else the same again.
- After MaximumRetryAttempts, or where a record is older than MaximumRecordAgeInSeconds, the batch
  or the record is given up, and told to the failure destination.

Source: https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hearth.model.mappings import EventSourceMapping
from hearth.sources.streams import StreamRecord


class Condition(StrEnum):
    """Why records are given up, in AWS's words."""

    RETRIES = "RetryAttemptsExhausted"
    AGE = "RecordAgeExpired"


@dataclass(frozen=True, slots=True)
class Batch:
    records: tuple[StreamRecord, ...]
    tries: int = 0
    """That count as such, and failed."""
    invokes: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows a failure: these are done, these are tried in this order, this is given up."""

    done: tuple[StreamRecord, ...] = ()
    again: tuple[Batch, ...] = ()
    given_up: Batch | None = None


def expired(
    mapping: EventSourceMapping, batch: Batch, now_ms: int
) -> tuple[Batch | None, Batch | None]:
    """The records that are too old, and those that are not."""
    if mapping.age_max_s < 0:
        return None, batch
    oldest_ms = now_ms - mapping.age_max_s * 1000
    old = tuple(record for record in batch.records if record.arrived_ms < oldest_ms)
    if not old:
        return None, batch
    young = tuple(record for record in batch.records if record.arrived_ms >= oldest_ms)
    rest = Batch(young, batch.tries, batch.invokes) if young else None
    return Batch(old, batch.tries, batch.invokes), rest


def after_failure(
    mapping: EventSourceMapping, batch: Batch, reported: frozenset[str] | None
) -> Verdict:
    """`batch` as it was before this run, which failed; `reported` are sequence numbers."""
    records, invokes = batch.records, batch.invokes + 1
    first = _first(records, reported) if reported else 0
    done, rest = records[:first], records[first:]
    is_progress = mapping.bisects and first > 0
    tries = batch.tries if is_progress else batch.tries + 1
    if mapping.bisects and not reported and len(rest) > 1:
        middle = len(rest) // 2
        halves = (rest[:middle], rest[middle:])
        return Verdict(done, tuple(Batch(half, batch.tries, invokes) for half in halves))
    if 0 <= mapping.retries_max < tries:
        return Verdict(done, (), Batch(rest, tries, invokes))
    return Verdict(done, (Batch(rest, tries, invokes),))


def _first(records: Sequence[StreamRecord], reported: frozenset[str]) -> int:
    return next(n for n, record in enumerate(records) if record.sequence in reported)
