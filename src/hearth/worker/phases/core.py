"""What do the phases of one environment share?"""

from dataclasses import dataclass

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.model.functions import FunctionVersion
from hearth.worker.journal import Journal
from hearth.worker.lifecycle import Event, Lifecycle
from hearth.worker.program import NewProgram, ProgramEvents, StartedProgram
from hearth.worker.report import Failure
from hearth.worker.run import Run
from hearth.worker.sandboxes.contract import Program, Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the runtime of this environment is started, or why it cannot be."""

    program: Program | None
    refusal: Failure | None = None
    """The function's own fault, told at invoke: no bootstrap, not executable, ..."""
    init_line: str = ""


@dataclass(slots=True, kw_only=True)
class Core:
    """One object per environment. Nothing here decides; the phases do."""

    sandbox: Sandbox
    function: FunctionVersion
    launch: Launch
    clock: Clock
    jobs: Jobs
    new_program: NewProgram
    events: ProgramEvents
    """Whom a program tells."""
    lifecycle: Lifecycle
    journal: Journal
    program: StartedProgram | None = None
    run: Run | None = None
    is_lost: bool = False
    """Its sandbox can neither run nor end a program any more."""
    is_frozen: bool = False
    """Its time stands still; see stillness.py."""
    init_s: float | None = None
    """What the Init phase took, until it is reported."""

    def fire(self, event: Event) -> None:
        self.lifecycle.fire(event, self.clock.monotonic_s())

    async def end_program(self) -> None:
        """Raises SandboxFailed."""
        self.is_frozen = False  # whatever kills it thaws it
        program, self.program = self.program, None
        if program is not None:
            await program.end()
