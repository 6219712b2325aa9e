"""Checkpoints in an engine whose answers get lost."""

import asyncio

from hearth.engine.contract import KeyValue
from hearth.engine.memory import MemoryEngine
from hearth.sources.checkpoints import Checkpoints
from hearth.sources.streams import Checkpoint

UUID = "00000000-0000-0000-0000-00000000000a"
OTHER = "00000000-0000-0000-0000-00000000000b"


def test_checkpoints_are_kept_and_forgotten_by_mapping() -> None:
    async def scene() -> None:
        engine = MemoryEngine()

        async def bucket() -> KeyValue:
            return await engine.bucket("SOURCES")

        first = Checkpoints(bucket)
        wanted = {
            "shardId-000000000000": Checkpoint(after="49590338271490256608559692538361571095"),
            "shardId-00000001-ab": Checkpoint(since_ms=5),
            "=": Checkpoint(),
        }
        await first.save(UUID, wanted)
        await first.save(UUID, {"=": Checkpoint(has_ended=True)})
        await first.save(OTHER, {"=": Checkpoint()})
        second = Checkpoints(bucket)
        assert await second.load(UUID) == wanted | {"=": Checkpoint(has_ended=True)}
        await second.save(UUID, {"=": Checkpoint(after="1")})
        await first.save(UUID, {"=": Checkpoint(after="2")})  # its revision is an old one
        await second.drop(UUID, "=")
        await second.forget(UUID)
        assert await Checkpoints(bucket).load(UUID) == {}
        assert await Checkpoints(bucket).load(OTHER) == {"=": Checkpoint()}

    asyncio.run(scene())
