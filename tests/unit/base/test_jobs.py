"""Jobs without a Task: they step, wait, fail and are cancelled as Tasks are."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hearth.base.jobs import Jobs


def play(scenario: Callable[[Jobs], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            await scenario(jobs)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_it_runs_at_once_up_to_what_is_not_done_yet() -> None:
    async def scenario(jobs: Jobs) -> None:
        seen: list[str] = []
        done, open_ = (asyncio.get_running_loop().create_future() for _ in range(2))
        done.set_result("done")

        async def work() -> None:
            seen.append(await done)
            seen.append(await open_)
            await asyncio.sleep(0)
            seen.append("end")

        jobs.begin(work(), name="work")
        assert seen == ["done"]
        open_.set_result("open")
        await jobs.wait_idle()
        assert seen == ["done", "open", "end"]

    play(scenario)


def test_what_a_future_raises_is_raised_where_it_is_awaited() -> None:
    async def scenario(jobs: Jobs) -> None:
        caught: list[Exception] = []
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                await future
            except ValueError as error:
                caught.append(error)

        jobs.begin(work(), name="work")
        future.set_exception(error := ValueError("no"))
        await jobs.wait_idle()
        assert caught == [error]

    play(scenario)


def test_a_failure_is_logged_and_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    error = LookupError("nobody awaits this")

    async def scenario(jobs: Jobs) -> None:
        async def work() -> None:
            raise error

        jobs.begin(work(), name="doomed")
        await jobs.wait_idle()

    play(scenario)
    (record,) = caplog.records
    assert record.getMessage() == "job failed"
    assert record.fields == {"job": "doomed", "error": error}  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_done", [False, True])
def test_the_end_of_the_scope_cancels_what_waits(is_done: bool) -> None:
    """Also in the very turn of the loop in which what it awaits is done."""
    ends: list[str] = []

    async def scenario(jobs: Jobs) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                await future
                ends.append("went on")
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                ends.append("cancelled")
                raise

        jobs.begin(work(), name="work")
        if is_done:
            future.set_result(None)

    play(scenario)
    assert ends == ["cancelled"]


def test_who_goes_on_after_a_cancellation_is_waited_for() -> None:
    ends: list[str] = []

    async def scenario(jobs: Jobs) -> None:
        async def work() -> None:
            loop = asyncio.get_running_loop()
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                rest: asyncio.Future[None] = loop.create_future()
                loop.call_later(0.01, rest.set_result, None)
                await rest
                ends.append("tidied up")

        jobs.begin(work(), name="work")

    play(scenario)
    assert ends == ["tidied up"]


def test_nothing_begins_after_the_scope() -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            pass

        async def work() -> None:
            raise AssertionError("it must not run")

        with pytest.raises(RuntimeError, match="late was begun after its scope"):
            jobs.begin(work(), name="late")

    asyncio.run(main())


def test_who_has_no_task_can_have_one() -> None:
    async def scenario(jobs: Jobs) -> None:
        seen: list[str] = []

        async def with_timeout() -> str:
            async with asyncio.timeout(30):
                await asyncio.sleep(0)
            raise LookupError("told to who asked, and not logged")

        async def work() -> None:
            try:
                await jobs.apart(with_timeout())
            except LookupError as error:
                seen.append(str(error))

        jobs.begin(work(), name="work")
        await jobs.wait_idle()
        assert seen == ["told to who asked, and not logged"]

    play(scenario)
