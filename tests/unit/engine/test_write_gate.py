"""Are writes refused at once when it is known that none is taken, and suspected in time?"""

import asyncio

import pytest

from fakes.virtual_time import run_in_virtual_time
from hearth.engine.contract import EngineTakesNoWrites
from hearth.engine.write_gate import DOUBT_S, WriteGate


def test_a_write_under_way_is_refused_when_the_gate_is_shut_and_so_is_the_next() -> None:
    async def scenario() -> None:
        gate = WriteGate()

        async def write() -> None:
            async with gate.write("S"):
                await asyncio.sleep(3600)

        writes = [asyncio.ensure_future(write()) for _ in range(3)]
        await asyncio.sleep(1)
        gate.shut("full")
        gate.shut("still full")
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            assert isinstance(outcome, EngineTakesNoWrites)
        with pytest.raises(EngineTakesNoWrites, match="still full"):
            await write()
        assert asyncio.get_running_loop().time() == 1.0
        gate.open()
        async with gate.write("S"):
            pass

    run_in_virtual_time(scenario())


def test_a_timeout_of_the_write_itself_is_passed_on() -> None:
    async def scenario() -> None:
        gate = WriteGate()
        with pytest.raises(TimeoutError):
            async with gate.write("S"):
                raise TimeoutError

    run_in_virtual_time(scenario())


def test_a_write_that_is_cancelled_is_cancelled_though_the_gate_is_shut_meanwhile() -> None:
    async def scenario() -> None:
        gate = WriteGate()

        async def write() -> None:
            async with gate.write("S"):
                await asyncio.sleep(3600)

        task = asyncio.ensure_future(write())
        await asyncio.sleep(1)
        gate.shut("full")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run_in_virtual_time(scenario())


def test_a_write_that_takes_long_puts_its_stream_under_suspicion() -> None:
    async def scenario() -> None:
        gate = WriteGate()
        async with gate.write("QUICK"):
            await asyncio.sleep(DOUBT_S / 2)
        async with gate.write("SLOW"):
            await gate.wait_doubted(60.0)
        assert asyncio.get_running_loop().time() == 1.5 * DOUBT_S
        assert list(gate.suspects) == ["SLOW"]
        gate.trust("SLOW")
        assert not list(gate.suspects)
        await gate.wait_doubted(60.0)
        assert asyncio.get_running_loop().time() == 1.5 * DOUBT_S + 60.0

    run_in_virtual_time(scenario())
