"""How often has this function run in one chain of requests? What ends a recursive loop.

Each invoke leaves a mark of its function in the trace header that the function sees; AWS's SDKs
send it along with whatever the function calls, and so it comes back:

    X-Amzn-Trace-Id: Root=1-…;Parent=…;Sampled=0;Lineage=43e12f0f:16|9be1c2d3:2

A function that has run 16 times in the chain is not run again, unless it was set to Allow.
Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

import re
from functools import lru_cache
from typing import ClassVar, Final
from zlib import crc32

from hearth.model.errors import ServiceError
from hearth.model.ids import FunctionKey

RUNS_MAX: Final = 16
FUNCTIONS_MAX: Final = 32
"""Marks in one header; the oldest go."""
MARKS_REMEMBERED: Final = 10_000

_LINEAGE = re.compile(r";?Lineage=([^;]*)")


class RecursiveInvocation(ServiceError):
    code: ClassVar[str] = "RecursiveInvocationException"
    status: ClassVar[int] = 400


def runs_so_far(trace_id: str | None, key: FunctionKey) -> int:
    """Of this function, in the chain that the header belongs to."""
    if trace_id is None or "Lineage=" not in trace_id:
        return 0
    found = _LINEAGE.search(trace_id)
    return _marks(found[1]).get(_mark(key), 0) if found else 0


def with_run(trace_id: str, key: FunctionKey) -> str:
    """The header that this run of the function sees."""
    mark = _mark(key)
    if "Lineage=" not in trace_id:
        return f"{trace_id};Lineage={mark}:1"
    found = _LINEAGE.search(trace_id)
    marks = _marks(found[1]) if found else {}
    runs = marks.pop(mark, 0) + 1
    kept = [*marks.items(), (mark, runs)][-FUNCTIONS_MAX:]
    lineage = "|".join(f"{name}:{count}" for name, count in kept)
    return f"{_LINEAGE.sub('', trace_id)};Lineage={lineage}"


def stopped() -> RecursiveInvocation:
    """In the words of the service model."""
    return RecursiveInvocation(
        "Lambda has detected your function being invoked in a recursive loop with other Amazon Web "
        "Services resources and stopped your function's invocation."
    )


def _marks(lineage: str) -> dict[str, int]:
    """What is no mark of ours is left out."""
    marks = {}
    for part in lineage.split("|"):
        name, colon, count = part.rpartition(":")
        if colon and count.isascii() and count.isdecimal() and len(count) <= 6:
            marks[name] = int(count)
    return marks


@lru_cache(maxsize=MARKS_REMEMBERED)
def _mark(key: FunctionKey) -> str:
    return f"{crc32(key.arn().encode()):08x}"
