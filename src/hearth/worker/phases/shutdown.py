"""How does an environment end? Its program goes, whoever waits is answered, the sandbox is gone."""

from typing import Final

from hearth.worker.lifecycle import Event
from hearth.worker.phases.core import Core
from hearth.worker.phases.invoke import InvokePhase
from hearth.worker.report import Failure

STOPPED: Final = Failure("error", "Sandbox.Failure", "The execution environment was stopped")


async def shut_down(core: Core, invokes: InvokePhase) -> None:
    """End it now, whatever it does. An invoke that runs is answered with an error."""
    run, core.run = core.run, None
    if run is not None:
        run.stop_timers()
    try:
        await core.end_program(None, for_good=run is None)  # a run's memory is still to be told
        if run is not None:
            invokes.close(run, None if run.answered else STOPPED)
        core.journal.flush()
        await core.sandbox.destroy()
    finally:
        if core.lifecycle.may(Event.GONE):
            core.fire(Event.GONE)
        if run is not None:
            run.lose()
