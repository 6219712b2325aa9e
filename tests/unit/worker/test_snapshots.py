"""Which versions have an environment that waits? With environments that do nothing but wait."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from fakes.invokes import function_version
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.model.functions import FunctionVersion
from hearth.worker.environment import ExecutionEnvironment
from hearth.worker.sandboxes.contract import Forkable
from hearth.worker.snapshots import REFILL_AFTER_S, Snapshots


@dataclass
class WaitingEnvironment:
    function: FunctionVersion
    is_waiting: bool = False
    is_stopped: bool = False
    sandbox: None = None

    async def take_snapshot(self) -> None:
        await asyncio.sleep(1)
        self.is_waiting = True

    async def become_template(self) -> str:
        return "it is none of Python's"

    async def stop(self) -> None:
        self.is_waiting, self.is_stopped = False, True


class Scene:
    def __init__(self, jobs: Jobs) -> None:
        self.function = function_version(version="1")
        self.exists = True
        self.made: list[WaitingEnvironment] = []
        self.snapshots = Snapshots(self._make, VirtualClock(), jobs, lambda _function: self.exists)

    async def _make(
        self, function: FunctionVersion, *, fork_of: Forkable | None, is_template: bool
    ) -> ExecutionEnvironment:
        assert fork_of is None or not is_template
        self.made.append(WaitingEnvironment(function))
        return cast(ExecutionEnvironment, self.made[-1])

    def delete(self) -> None:
        self.exists = False
        self.snapshots.forget(self.function.key, ())


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with Jobs() as jobs:
            scene = Scene(jobs)
            await story(scene)
            await jobs.wait_idle()
            await scene.snapshots.stop_waiting()
            assert all(environment.is_stopped for environment in scene.made)

    run_in_virtual_time(scenario())


def test_one_is_made_in_place_of_one_that_was_taken() -> None:
    async def story(scene: Scene) -> None:
        scene.snapshots.take_another(scene.function)
        await asyncio.sleep(5)
        assert len(scene.made) == len(scene.snapshots) == 1

    play(story)


def test_a_version_that_was_deleted_while_it_started_has_no_more() -> None:
    """forget() has been told before, when there was nothing to be forgotten yet."""

    async def story(scene: Scene) -> None:
        scene.delete()
        scene.snapshots.take_another(scene.function)
        await asyncio.sleep(5)
        assert not scene.made

    play(story)


def test_what_is_at_work_when_its_version_is_deleted_leaves_nothing() -> None:
    async def story(scene: Scene) -> None:
        for after_s in (REFILL_AFTER_S / 2, REFILL_AFTER_S + 0.5):
            scene.exists = True
            scene.snapshots.take_another(scene.function)
            await asyncio.sleep(after_s)
            scene.delete()
            await asyncio.sleep(5)
            assert len(scene.snapshots) == 0
        assert len(scene.made) == 1

    play(story)
