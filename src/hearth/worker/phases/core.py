"""What do the phases of one environment share?"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.model.functions import FunctionVersion
from hearth.model.invocations import StartMarks
from hearth.worker.journal import Journal
from hearth.worker.lifecycle import Event, Lifecycle
from hearth.worker.program import (
    DurableApi,
    Launch,
    NewProgram,
    ProgramEvents,
    StartedProgram,
    Surroundings,
)
from hearth.worker.report import Failure
from hearth.worker.run import Run
from hearth.worker.sandboxes.contract import Sandbox
from hearth.worker.system_lines import SystemLines
from hearth.worker.telemetry.hub import Telemetry

SPINDOWN: Final = "spindown"


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
    lines: SystemLines
    marks: StartMarks
    durable: DurableApi | None = None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    """Asking which one runs is a system call."""
    program: StartedProgram | None = None
    run: Run | None = None
    is_lost: bool = False
    """Its sandbox can neither run nor end a program any more."""
    is_frozen: bool = False
    """Its time stands still; see stillness.py."""
    init_s: float | None = None
    """What the Init phase took, until it is reported."""
    restore_s: float | None = None
    """The same of a restore."""

    def fire(self, event: Event) -> None:
        self.lifecycle.fire(event, self.clock.monotonic_s())

    @property
    def telemetry(self) -> Telemetry | None:
        """Where to tell what happens, if anybody listens."""
        program = self.program
        return program.telemetry if program is not None and program.telemetry.is_on else None

    @property
    def cpu_mb(self) -> int | None:
        """Whose share of the CPU it has; a debugger would crawl on that of a small function."""
        return None if self.function.is_debugged else self.function.memory_mb

    def make_program(self) -> StartedProgram:
        """The next one; not started yet."""
        around = Surroundings(
            sandbox=self.sandbox,
            function=self.function,
            clock=self.clock,
            jobs=self.jobs,
            is_frozen=lambda: self.is_frozen,
            durable=self.durable,
        )
        self.program = program = self.new_program(around, self.events)
        return program

    async def end_program(self, why: Failure | None, *, for_good: bool = False) -> None:
        """Without a failure it ends because it is not needed; `for_good`: and so does the sandbox,
        if there is a program. Raises SandboxFailed."""
        self.is_frozen = False  # whatever ends it thaws it
        program, self.program = self.program, None
        if program is None:
            return
        await program.end(SPINDOWN if why is None else why.shutdown_reason, for_good=for_good)
