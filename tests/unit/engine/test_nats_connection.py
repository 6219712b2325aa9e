"""Is a cancellation heeded even where the library forgets it?"""

import asyncio

import pytest

from fakes.virtual_time import run_in_virtual_time
from hearth.engine.nats_connection import Connection, heeding_cancellation


async def forgetful() -> str:
    """As `asyncio.wait_for` was before Python 3.12, when the answer came in the same turn."""
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        return "answer"
    raise AssertionError("nobody cancelled")


def test_a_cancellation_that_was_forgotten_inside_is_raised_again() -> None:
    async def scenario() -> None:
        async def work() -> None:
            with heeding_cancellation():
                await forgetful()
            raise AssertionError("the cancellation was lost")

        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run_in_virtual_time(scenario())


def test_a_timeout_that_was_forgotten_inside_is_a_timeout() -> None:
    async def scenario() -> None:
        async def work() -> None:
            async with asyncio.timeout(1):
                with heeding_cancellation():
                    await forgetful()

        with pytest.raises(TimeoutError):
            await work()

    run_in_virtual_time(scenario())


def test_a_clean_up_of_a_cancelled_task_is_not_cancelled_again() -> None:
    async def scenario() -> None:
        done = []

        async def work() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                with heeding_cancellation():
                    await asyncio.sleep(1)
                done.append("clean-up")

        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert done == ["clean-up"]

    run_in_virtual_time(scenario())


def test_a_timeout_inside_that_is_over_is_forgotten() -> None:
    async def scenario() -> str:
        with heeding_cancellation():
            try:
                async with asyncio.timeout(1):
                    await asyncio.sleep(10)
            except TimeoutError:
                return "went on"
        raise AssertionError("no timeout")

    assert run_in_virtual_time(scenario()) == "went on"


def test_a_closed_connection_ends_the_attempts_that_go_on_after_all() -> None:
    async def scenario() -> None:
        changes: list[str] = []
        connection = Connection(deadline_s=1.0, on_change=lambda: changes.append("change"))
        await connection.close()
        assert connection.is_closed
        assert changes == ["change"]
        with pytest.raises(asyncio.CancelledError):
            await connection._on_error(ConnectionRefusedError())

    run_in_virtual_time(scenario())
