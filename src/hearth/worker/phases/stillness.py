"""When does an idle environment's time stand still? From some time after an invoke to the next one.

Lambda freezes an environment as soon as all in it have asked for their next event. Here that would
cost each invoke a freeze and a thaw, up to half a millisecond on cgroup v1; so it is done by a
look at all idle ones, four times a second, beside the invoke path. What runs in the background
goes on after the thaw, with the clock where it is by then: timers that have meanwhile run out, run
out at once, as on Lambda.
"""

from typing import Final

from hearth.base.log import Log
from hearth.worker.lifecycle import State
from hearth.worker.phases.core import Core
from hearth.worker.sandboxes.contract import SandboxFailed

log = Log("environment")
TELEMETRY_S_MAX: Final = 10.0


class Stillness:
    """Of one environment."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    def begin_if_idle(self, since_s: float) -> bool:
        """Freeze it if it has been idle since then, or longer; whether that was done now."""
        core = self._core
        is_idle = core.lifecycle.state is State.READY and core.lifecycle.since_s <= since_s
        if core.is_frozen or not is_idle:
            return False
        telemetry = core.telemetry
        if telemetry is not None and telemetry.is_busy and self._may_wait(since_s):
            telemetry.hurry()
            return False
        try:
            core.sandbox.freeze()
        except SandboxFailed as error:  # it goes on running: nothing depends on it
            log.warning("an idle sandbox was not frozen", sandbox=core.sandbox.id, error=error)
        core.is_frozen = True  # or else that would be said again and again
        return True

    def _may_wait(self, since_s: float) -> bool:
        """For subscribers that have not taken their events yet."""
        return self._core.lifecycle.since_s > since_s - TELEMETRY_S_MAX

    def end(self) -> None:
        """Before anything is asked of it. If it cannot be thawed, it is lost."""
        core = self._core
        core.is_frozen = False
        try:
            core.sandbox.thaw()
        except SandboxFailed as error:
            log.error("a sandbox cannot be thawed", sandbox=core.sandbox.id, error=error)
            core.is_lost = True
