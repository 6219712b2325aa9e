"""What happens when a runtime is lost? Its process goes, /tmp stays, the next invoke starts anew.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

import asyncio
from collections.abc import Callable

from hearth.base.log import Log
from hearth.worker.lifecycle import Event, State
from hearth.worker.phases.core import Core
from hearth.worker.report import Failure
from hearth.worker.sandboxes.contract import SandboxFailed

log = Log("environment")


class ResetPhase:
    """At most one reset at a time."""

    __slots__ = ("_core", "_task")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._task: asyncio.Task[None] | None = None

    def start(self, failure: Failure, finish: Callable[[Failure | None], None]) -> None:
        """`finish` is called when the environment is RESET, unless it was stopped meanwhile."""
        name = f"reset-{self._core.sandbox.id}"
        self._task = self._core.jobs.spawn(self._reset(failure, finish), name=name)

    async def wait(self, released: Callable[[bool], None]) -> None:
        """It died a moment ago, idle: its next program can start when the last one is gone."""
        assert self._task is not None
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            released(True)
            raise

    async def _reset(self, failure: Failure, finish: Callable[[Failure | None], None]) -> None:
        core = self._core
        try:
            await core.end_program(failure)
        except SandboxFailed as error:
            log.error("a program could not be ended", sandbox=core.sandbox.id, error=error)
            core.is_lost = True
        if core.lifecycle.state is State.RESETTING:
            core.fire(Event.RESET)
            finish(failure)
