"""Do all engines keep, deliver, delay and count messages as the contract says?"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import pytest

from contract.engine_scene import PATIENCE_S, engine_player, running_server
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.clock import Clock, SystemClock
from hearth.engine.contract import (
    MESSAGE_BYTES_MAX,
    Consumer,
    Engine,
    Queue,
    QueueKind,
    Taken,
)
from hearth.engine.memory import MemoryEngine
from hearth.engine.nats import NatsEngine
from hearth.engine.server import EmbeddedServer

__all__ = ["engine_player", "running_server"]

Scenario = Callable[[Queue, Clock], Awaitable[None]]
Play = Callable[[Scenario], None]


@pytest.fixture(name="play", params=["memory", pytest.param("nats", marks=pytest.mark.integration)])
def queue_player(request: pytest.FixtureRequest) -> Play:
    """Runs a scenario on a queue that nobody has used."""
    if request.param == "memory":
        return _play_in_memory
    server: EmbeddedServer = request.getfixturevalue("server")
    return lambda scenario: _play_on_nats(scenario, server)


def _play_in_memory(scenario: Scenario) -> None:
    async def run() -> None:
        clock = VirtualClock()
        await scenario(await MemoryEngine(clock).queue("TEST"), clock)

    run_in_virtual_time(run())


def _play_on_nats(scenario: Scenario, server: EmbeddedServer) -> None:
    async def run() -> None:
        engine = await NatsEngine.connect(server.url, server.user, server.password)
        try:
            async with asyncio.timeout(3 * PATIENCE_S):
                queue = await engine.queue(f"TEST-{secrets.token_hex(4)}")
                await scenario(queue, SystemClock())
        finally:
            await engine.close()

    asyncio.run(run())


async def take(consumer: Consumer, number: int) -> list[Taken]:
    """Exactly so many."""
    taken: list[Taken] = []
    while len(taken) < number:
        taken += await consumer.take(number - len(taken))
    return taken


async def until_empty(queue: Queue) -> None:
    """Acknowledgements are not confirmed: what they do shows a little later."""
    while await queue.counts():  # noqa: ASYNC110 -- the engine tells nobody
        await asyncio.sleep(0.02)


async def is_silent(consumer: Consumer) -> bool:
    try:
        async with asyncio.timeout(0.5):
            await consumer.take(1)
    except TimeoutError:
        return True
    return False


def test_what_was_published_is_taken_in_order_and_gone_when_acknowledged(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        for number in range(3):
            await queue.publish("new.1.f", b"%d" % number, f"id{number}")
        await queue.publish("new.2.g", b"other", "id-other")
        async with queue.consume("one", "new.1") as consumer:
            taken = await take(consumer, 3)
            assert [(t.key, t.body) for t in taken] == [
                ("new.1.f", b"%d" % number) for number in range(3)
            ]
            assert [t.sequence for t in taken] == sorted(t.sequence for t in taken)
            assert await queue.counts("new") == {"new.1.f": 3, "new.2.g": 1}
            for some in taken:
                await some.ack()
            assert await queue.purge("new.2") == 1
            await until_empty(queue)

    play(scenario)


def test_a_message_under_the_prefix_itself_is_taken(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        await queue.publish("aside.f", b"x", "id")
        await queue.publish("aside.ff", b"y", "id2")
        async with queue.consume("one", "aside.f") as consumer:
            (taken,) = await take(consumer, 1)
            assert taken.body == b"x"
            assert await is_silent(consumer)

    play(scenario)


def test_a_consumer_waits_for_what_comes(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        async with queue.consume("one", "new") as consumer, asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(take(consumer, 2))
            await asyncio.sleep(0.05)
            await queue.publish("new.a", b"1", "id1")
            await queue.publish("new.b", b"2", "id2")
            assert [t.body for t in await waiting] == [b"1", b"2"]

    play(scenario)


def test_a_second_message_with_one_id_is_the_first_one(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        first = await queue.publish("new.a", b"1", "id")
        assert await queue.publish("new.a", b"1", "id") == first
        assert await queue.counts() == {"new.a": 1}

    play(scenario)


def test_what_a_consumer_leaves_unacknowledged_the_next_one_gets_at_once(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        sequence = await queue.publish("new.a", b"1", "id")
        for _ in range(2):
            async with queue.consume("one", "new") as consumer:
                (taken,) = await take(consumer, 1)
                assert taken.sequence == sequence
        async with queue.consume("one", "new") as consumer:
            (taken,) = await take(consumer, 1)
            await taken.ack()
            await until_empty(queue)

    play(scenario)


def test_what_is_refused_comes_again(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        await queue.publish("new.a", b"1", "id")
        async with queue.consume("one", "new") as consumer:
            (first,) = await take(consumer, 1)
            await first.in_progress()
            await first.nak()
            (second,) = await take(consumer, 1)
            assert second.sequence == first.sequence
            await second.nak(0.3)
            (third,) = await take(consumer, 1)
            assert third.body == b"1"

    play(scenario)


def test_a_scheduled_message_comes_when_it_is_due_and_not_before(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        due_ms = clock.epoch_ms() + 1_500
        await queue.schedule("later.a.r1", b"1", "id", due_ms=due_ms, target="new.a")
        stored = await queue.next("later")
        assert stored is not None
        assert (stored.key, stored.body, stored.due_ms) == ("later.a.r1", b"1", due_ms)
        async with queue.consume("one", "new") as consumer:
            (taken,) = await take(consumer, 1)
            assert (taken.key, taken.body) == ("new.a", b"1")
            assert clock.epoch_ms() >= due_ms - 5  # the server's clock is not read in this turn
            await taken.ack()
            await until_empty(queue)

    play(scenario)


def test_a_later_schedule_under_the_same_key_takes_the_place_of_the_first(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        far_ms = clock.epoch_ms() + 3_600_000
        await queue.schedule("later.a", b"1", "id1", due_ms=far_ms, target="new.a")
        await queue.schedule("later.a", b"2", "id2", due_ms=far_ms + 1, target="new.a")
        assert await queue.counts() == {"later.a": 1}
        stored = await queue.next("later")
        assert stored is not None
        assert stored.body == b"2"

    play(scenario)


def test_messages_can_be_looked_at_and_removed_one_by_one(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        first = await queue.publish("new.a", b"1", "id1")
        await queue.publish("new.b", b"2", "id2")
        third = await queue.publish("new.a", b"3", "id3")
        stored = await queue.next("new.a")
        assert stored is not None
        assert (stored.sequence, stored.body) == (first, b"1")
        stored = await queue.next("new.a", after=first)
        assert stored is not None
        assert (stored.sequence, stored.body) == (third, b"3")
        assert await queue.next("new.a", after=third) is None
        assert await queue.remove(first)
        assert not await queue.remove(first)
        assert await queue.counts() == {"new.a": 1, "new.b": 1}
        assert (await queue.size()).messages == 2
        assert await queue.purge("new") == 2
        assert await queue.next("new") is None

    play(scenario)


def test_the_largest_message_passes(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        await queue.publish("new.a", bytes(MESSAGE_BYTES_MAX), "id1")
        with pytest.raises(ValueError, match="a message of"):
            await queue.publish("new.a", bytes(MESSAGE_BYTES_MAX + 1), "id2")
        async with queue.consume("one", "new") as consumer:
            (taken,) = await take(consumer, 1)
            assert len(taken.body) == MESSAGE_BYTES_MAX

    play(scenario)


def test_more_messages_than_one_pull_asks_for_all_come(play: Play) -> None:
    async def scenario(queue: Queue, clock: Clock) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(40):
                tasks.create_task(queue.publish(f"new.{number}", b"x", f"id{number}"))
        async with queue.consume("one", "new") as consumer:
            seen: set[int] = set()
            while len(seen) < 40:
                for some in await consumer.take(7):
                    assert some.sequence not in seen
                    seen.add(some.sequence)
                    await some.ack()
            await until_empty(queue)

    play(scenario)


@pytest.mark.integration
def test_a_queue_that_another_version_has_made_is_changed(server: EmbeddedServer) -> None:
    async def run() -> None:
        engine = await NatsEngine.connect(server.url, server.user, server.password)
        try:
            name = f"TEST-{secrets.token_hex(4)}"
            before = await engine.queue(name)
            await before.publish("new.a", b"1", "id")
            after = await engine.queue(name, QueueKind(age_max_s=3_600.0, bytes_max=1 << 20))
            assert await after.counts() == {"new.a": 1}
        finally:
            await engine.close()

    asyncio.run(run())


def test_a_queue_with_bounds_forgets_the_oldest() -> None:
    async def run() -> None:
        engine: Engine = MemoryEngine(VirtualClock())
        queue = await engine.queue("DEAD", QueueKind(age_max_s=60.0, bytes_max=10))
        for number in range(4):
            await queue.publish(f"dead.{number}", b"12345", f"id{number}")
        assert sorted(await queue.counts()) == ["dead.2", "dead.3"]
        await asyncio.sleep(61)
        assert not await queue.counts()

    run_in_virtual_time(run())


def test_a_queue_is_of_the_kind_that_it_was_asked_for_last() -> None:
    async def run() -> None:
        engine: Engine = MemoryEngine(VirtualClock())
        await (await engine.queue("DEAD")).publish("dead.1", b"1", "id1")
        queue = await engine.queue("DEAD", QueueKind(age_max_s=60.0))
        assert sorted(await queue.counts()) == ["dead.1"]
        await asyncio.sleep(61)
        assert not await queue.counts()

    run_in_virtual_time(run())


@pytest.mark.integration
def test_a_server_takes_another_kind_for_a_queue_that_is_there(server: EmbeddedServer) -> None:
    async def run() -> None:
        engine = await NatsEngine.connect(server.url, server.user, server.password)
        try:
            async with asyncio.timeout(3 * PATIENCE_S):
                await (await engine.queue("KINDS")).publish("dead.1", b"1", "id1")
                queue = await engine.queue("KINDS", QueueKind(age_max_s=1.0, bytes_max=1_000_000))
                while await queue.counts():  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.1)
                same = await engine.queue("KINDS", QueueKind(age_max_s=1.0, bytes_max=1_000_000))
                assert not await same.counts()
        finally:
            await engine.close()

    asyncio.run(run())
