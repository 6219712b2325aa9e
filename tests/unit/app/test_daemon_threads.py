"""Calls that may take long, in threads that nobody waits for at the end."""

import asyncio
import subprocess
import sys
import threading

import pytest

from hearth.app.daemon_threads import DaemonThreads

WITHIN_S = 60


def test_calls_run_at_the_same_time_up_to_the_bound() -> None:
    async def scene() -> None:
        threads = DaemonThreads("test", 4)
        together = threading.Barrier(4)
        calls = (threads.call(lambda: together.wait(WITHIN_S)) for _ in range(8))
        found = await asyncio.gather(*calls)
        assert sorted(found) == [0, 0, 1, 1, 2, 2, 3, 3]

    asyncio.run(scene())


def test_a_call_that_waits_holds_up_no_other() -> None:
    async def scene() -> None:
        threads = DaemonThreads("test", 100)
        gate = threading.Event()
        for _ in range(50):
            waiting = asyncio.ensure_future(threads.call(lambda: gate.wait(WITHIN_S)))
            await asyncio.sleep(0)
            async with asyncio.timeout(WITHIN_S / 2):
                assert await threads.call(lambda: 7) == 7
            gate.set()
            await waiting
            gate.clear()

    asyncio.run(scene())


def test_an_error_is_raised_where_it_was_called() -> None:
    def fail() -> None:
        raise ValueError("not today")

    async def scene() -> None:
        with pytest.raises(ValueError, match="not today"):
            await DaemonThreads("test", 1).call(fail)

    asyncio.run(scene())


def test_what_comes_for_nobody_is_given_back() -> None:
    async def scene() -> None:
        threads = DaemonThreads("test", 2)
        gate, given_back = threading.Event(), threading.Event()
        found: list[str] = []

        def receive() -> str:
            gate.wait(WITHIN_S)
            return "message"

        def give_back(message: str) -> None:
            found.append(message)
            given_back.set()

        call = asyncio.ensure_future(threads.call(receive, give_back))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.set()
        assert await asyncio.to_thread(given_back.wait, WITHIN_S)
        assert found == ["message"]

    asyncio.run(scene())


def test_a_call_that_never_ends_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import asyncio, time
from hearth.app.daemon_threads import DaemonThreads

async def main():
    call = asyncio.ensure_future(DaemonThreads("test", 1).call(lambda: time.sleep(3_600)))
    await asyncio.sleep(0.1)
    call.cancel()

asyncio.run(main())
print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=WITHIN_S, check=True
    )
    assert done.stdout.strip() == b"ended"
