"""When is a zygote made, replaced and ended?"""

import asyncio
from collections.abc import Awaitable, Callable

from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.worker.sandboxes import zygotes
from hearth.worker.sandboxes.contract import SandboxFailed, ZygoteKind
from hearth.worker.sandboxes.zygotes import Zygotes


class Maker:
    """Makes them in a second each, or fails."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.retired: list[int] = []
        self.fails = False

    async def make(self, number: int, kind: ZygoteKind) -> None:
        await asyncio.sleep(1)
        if self.fails:
            raise SandboxFailed("no")
        self.made.append(number)

    def retire(self, number: int) -> None:
        self.retired.append(number)


def kind(tenant: str = "111122223333", script: str = "/var/runtime/bootstrap.py") -> ZygoteKind:
    return ZygoteKind(tenant=tenant, command=("python",), script=script, environment=(), mounts=())


def play(scenario: Callable[[Zygotes, Maker], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            maker = Maker()
            living = Zygotes(maker, VirtualClock(), jobs)
            try:
                await scenario(living, maker)
            finally:
                await living.close()

    run_in_virtual_time(main())


def test_the_first_start_waits_for_none_and_later_ones_have_it() -> None:
    async def scenario(living: Zygotes, maker: Maker) -> None:
        assert living.find(kind()) is None
        assert living.find(kind()) is None
        await asyncio.sleep(1.1)
        assert living.find(kind()) == 1
        assert maker.made == [1], "one, however many asked"

    play(scenario)


def test_two_accounts_never_share_one() -> None:
    async def scenario(living: Zygotes, maker: Maker) -> None:
        assert await living.prepare(kind("111122223333"))
        assert living.find(kind("444455556666")) is None

    play(scenario)


def test_one_that_has_forked_often_serves_until_its_successor_is_ready() -> None:
    async def scenario(living: Zygotes, maker: Maker) -> None:
        assert await living.prepare(kind())
        for _ in range(zygotes.FORKS_MAX):
            assert living.find(kind()) == 1
        assert living.find(kind()) == 1
        await asyncio.sleep(1.1)
        assert living.find(kind()) == 2
        assert maker.retired == [1]

    play(scenario)


def test_an_old_one_is_renewed() -> None:
    async def scenario(living: Zygotes, maker: Maker) -> None:
        assert await living.prepare(kind())
        for _ in range(int(zygotes.AGE_MAX_S // 60)):
            await asyncio.sleep(60)
            assert living.find(kind()) == 1
        await asyncio.sleep(1.1)
        assert living.find(kind()) == 2

    play(scenario)


def test_one_that_nobody_needs_is_ended() -> None:
    async def scenario(living: Zygotes, maker: Maker) -> None:
        assert await living.prepare(kind())
        await asyncio.sleep(zygotes.IDLE_MAX_S - 60)
        assert maker.retired == []
        await asyncio.sleep(60 + zygotes.LOOK_EVERY_S)
        assert maker.retired == [1]
        assert living.find(kind()) is None

    play(scenario)


def test_of_too_many_those_needed_longest_ago_are_ended() -> None:
    async def scenario(living: Zygotes, maker: Maker) -> None:
        for number in range(zygotes.KINDS_MAX + 2):
            assert await living.prepare(kind(str(number)))
        assert maker.retired == [1, 2]

    play(scenario)


def test_one_that_died_is_made_again_when_it_is_needed() -> None:
    async def scenario(living: Zygotes, maker: Maker) -> None:
        assert await living.prepare(kind())
        living.gone(1)
        assert living.find(kind()) is None
        await asyncio.sleep(1.1)
        assert living.find(kind()) == 2

    play(scenario)


def test_a_failure_is_not_repeated_at_each_start() -> None:
    async def scenario(living: Zygotes, maker: Maker) -> None:
        maker.fails = True
        assert not await living.prepare(kind())
        maker.fails = False
        assert living.find(kind()) is None
        await asyncio.sleep(zygotes.RETRY_AFTER_S - 2)
        assert living.find(kind()) is None
        await asyncio.sleep(3)
        assert living.find(kind()) is None
        await asyncio.sleep(1.1)
        assert living.find(kind()) is not None

    play(scenario)
