"""Where does an event stand? Keys of the queues, and which queue a function's events are in.

    new.<partition>.<function>      to be dispatched: shared by the functions of a partition
    aside.<function>                to be dispatched: of one function that is flooded or throttled
    later.<function>.<request>      delayed: the engine moves it to `new` when it is due
    dead.<function>                 settled, and nobody was told

A function is three tokens, `<account>.<region>.<name>`, and belongs to one of 16 partitions. Each
has a queue of its own, since a queue writes one message after the other to the disk: together, 16
of them take six times as many as one.
"""

from functools import lru_cache
from typing import Final
from zlib import crc32

from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

PARTITIONS: Final = 16
SHARDS: Final = 16
PLACES_REMEMBERED: Final = 10_000

NEW, ASIDE, LATER, DEAD = "new", "aside", "later", "dead"

QUEUE_NAMES: Final = tuple(f"ASYNC-{shard}" for shard in range(SHARDS))
DELIVERIES_NAME: Final = "DEST"
DEAD_NAME: Final = "DEAD"


def partition_of(key: FunctionKey) -> int:
    return crc32(key.arn().encode()) % PARTITIONS


@lru_cache(maxsize=PLACES_REMEMBERED)
def shard_of(key: FunctionKey) -> int:
    return partition_of(key) % SHARDS


def partitions_of(shard: int) -> range:
    return range(shard, PARTITIONS, SHARDS)


def delivery_partition(target: str) -> int:
    """One target that does not answer holds up those of its partition only."""
    return crc32(target.encode()) % PARTITIONS


def place(*parts: object) -> str:
    return ".".join(str(part) for part in parts)


def function_tokens(key: FunctionKey) -> str:
    return f"{key.account}.{key.region}.{key.name}"


@lru_cache(maxsize=PLACES_REMEMBERED)
def new_place(key: FunctionKey) -> str:
    return place(NEW, partition_of(key), function_tokens(key))


def aside_place(key: FunctionKey) -> str:
    return place(ASIDE, function_tokens(key))


def later_place(key: FunctionKey, request: str) -> str:
    return place(LATER, function_tokens(key), request)


def dead_place(key: FunctionKey) -> str:
    return place(DEAD, function_tokens(key))


def function_at(key: str) -> FunctionKey | None:
    """Whose events stand there; None if it is no such place."""
    kind, *tokens = key.split(".")
    if kind == NEW:
        tokens = tokens[1:]
    if kind not in (NEW, ASIDE, LATER, DEAD) or len(tokens) < 3:
        return None
    return FunctionKey(AccountId(tokens[0]), Region(tokens[1]), FunctionName(tokens[2]))
