"""When is a stem made, given away and ended? In virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

from fakes.stems import FakeMaker, FakeStem, stem_kind
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.worker import stem_policy
from hearth.worker.sandboxes import stems
from hearth.worker.sandboxes.stems import Stems
from hearth.worker.stem_policy import StemBounds

Scenario = Callable[[Stems[FakeStem], FakeMaker], Awaitable[None]]
KIND = stem_kind()


class Machine:
    """How crowded it is."""

    runnable = 0.5


def play(
    scenario: Scenario,
    bounds: StemBounds = stem_policy.DEFAULT_BOUNDS,
    machine: Machine | None = None,
) -> None:
    machine = machine or Machine()

    async def main() -> None:
        async with Jobs() as jobs:
            maker = FakeMaker()
            pool = Stems(maker, bounds, VirtualClock(), jobs, lambda: machine.runnable)
            try:
                await scenario(pool, maker)
            finally:
                await pool.close()

    run_in_virtual_time(main())


def ready(pool: Stems[FakeStem]) -> int:
    return pool.statistics().ready


def test_the_first_start_finds_none_and_the_next_does() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        assert pool.take(KIND) is None
        await asyncio.sleep(5)
        assert ready(pool) == 2
        assert pool.take(KIND) is maker.made[0]
        seen = pool.statistics()
        assert (seen.taken, seen.missed, seen.made) == (1, 1, 2)

    play(scenario)


def test_none_is_given_to_two() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        assert await pool.prepare(KIND, 5)
        taken = [pool.take(KIND) for _ in range(5)]
        assert len({id(stem) for stem in taken}) == 5
        assert None not in taken
        assert pool.take(KIND) is None

    play(scenario)


def test_none_is_given_to_another_account_or_runtime() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        assert await pool.prepare(KIND, 2)
        assert pool.take(stem_kind("444455556666")) is None
        assert ready(pool) == 2

    play(scenario)


def test_one_that_has_ended_meanwhile_is_not_given_away() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        assert await pool.prepare(KIND, 2)
        maker.made[0].is_waiting_stem = False
        assert pool.take(KIND) is maker.made[1]
        await asyncio.sleep(5)
        assert maker.made[0].is_destroyed, "what is left of it is cleared away"
        assert pool.statistics().ended == 1

    play(scenario)


def test_none_is_made_while_functions_start() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        pool.take(KIND)
        for _ in range(50):
            await asyncio.sleep(stem_policy.QUIET_S / 2)
            pool.take(KIND)
        assert maker.made == []
        await asyncio.sleep(stem_policy.PAUSED_S_MAX)
        assert maker.made != []

    play(scenario)


def test_one_that_is_never_ready_does_not_keep_the_others_waiting() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        maker.make_s = 1e6
        pool.take(stem_kind("444455556666"))
        await asyncio.sleep(stems.MAKE_S_MAX / 2)
        maker.make_s = 0.02
        pool.take(KIND)
        await asyncio.sleep(stems.MAKE_S_MAX)
        assert pool.statistics().failed == 1
        assert pool.take(KIND) is maker.made[0]

    play(scenario)


def test_on_a_crowded_machine_they_are_made_slowly() -> None:
    machine = Machine()

    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        machine.runnable = 5.0
        pool.take(KIND)
        await asyncio.sleep(stem_policy.PAUSED_S_MAX / 2)
        assert maker.made == []
        await asyncio.sleep(stem_policy.PAUSED_S_MAX)
        assert len(maker.made) == 1
        machine.runnable = 0.5
        await asyncio.sleep(0.5)
        assert ready(pool) == 2

    play(scenario, machine=machine)


def test_the_cap_in_memory_holds_for_all_kinds_together() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        kinds = [stem_kind(f"{n:012}") for n in range(3)]
        for kind in kinds:
            for _ in range(20):
                pool.take(kind)
        await asyncio.sleep(60)
        seen = pool.statistics()
        assert [count.ready for count in seen.kinds] == [3, 3, 2]
        assert seen.memory_mb <= seen.memory_mb_max == 40

    play(scenario, StemBounds(memory_mb=40))


def test_with_no_memory_for_them_there_are_none() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        assert pool.take(KIND) is None
        await asyncio.sleep(60)
        assert maker.made == []
        assert pool.statistics().kinds == ()

    play(scenario, StemBounds(memory_mb=0))


def test_after_a_burst_is_forgotten_only_the_floor_stays() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        for _ in range(10):
            pool.take(KIND)
        await asyncio.sleep(60)
        assert ready(pool) == 16
        assert pool.take(KIND) is not None
        await asyncio.sleep(stem_policy.HISTORY_S - 30)
        pool.take(KIND)
        await asyncio.sleep(60)
        assert ready(pool) == 2
        await asyncio.sleep(stem_policy.IDLE_S)
        assert ready(pool) == 0
        assert pool.statistics().kinds == ()
        assert pool.take(KIND) is None
        await asyncio.sleep(5)
        assert ready(pool) == 2, "and when it is wanted again, they are made again"

    play(scenario)


def test_an_old_one_is_replaced_while_its_kind_is_in_use() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        assert await pool.prepare(KIND, 1)
        await asyncio.sleep(stems.AGE_MAX_S - 10)
        pool.take(KIND)
        await asyncio.sleep(60)
        assert maker.made[1].is_destroyed
        assert ready(pool) == 2
        await asyncio.sleep(stems.AGE_MAX_S * 2)
        assert not any(stem.is_destroyed for stem in maker.made[2:]), "nobody asks: they may stay"

    play(scenario)


def test_a_failure_to_make_one_is_not_repeated_at_once() -> None:
    async def scenario(pool: Stems[FakeStem], maker: FakeMaker) -> None:
        maker.fails = True
        assert not await pool.prepare(KIND, 2)
        await asyncio.sleep(stems.RETRY_AFTER_S / 2)
        assert pool.statistics().failed == 1
        maker.fails = False
        await asyncio.sleep(stems.RETRY_AFTER_S)
        assert ready(pool) == 2

    play(scenario)
