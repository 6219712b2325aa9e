"""What does one running invoke hold, and who gives it back? A lease and a sandbox, exactly once.

    with Visit(...) as visit:          holds the lease
        visit.sandbox = ...            and now a sandbox
        visit.is_running = True        from here on the worker calls visit.released
        await worker.run(..., visit.released)

Left while it runs, by an answer, an error or cancellation, both are *finishing* until the worker
releases the sandbox. Left before, both are given back at once.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from hearth.frontend.turns import Lease, Turns
from hearth.model.ids import SandboxId


class Sandboxes(Protocol):
    def responded(self, sandbox: SandboxId) -> None: ...

    def released(self, sandbox: SandboxId, sandbox_is_good: bool) -> None: ...


class Visit:
    """See the module. Made with a lease that is held."""

    __slots__ = (
        "_is_over",
        "_lease",
        "_now_s",
        "_sandboxes",
        "_turns",
        "is_running",
        "sandbox",
    )

    def __init__(
        self, lease: Lease, turns: Turns, sandboxes: Sandboxes, now_s: Callable[[], float]
    ) -> None:
        self._lease = lease
        self._turns = turns
        self._sandboxes = sandboxes
        self._now_s = now_s
        self._is_over = False
        self.sandbox: SandboxId | None = None
        self.is_running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_over:
            return
        if not self.is_running:
            self.released(sandbox_is_good=False)
        elif self.sandbox is not None:
            self._lease.finish(self._now_s())
            self._sandboxes.responded(self.sandbox)

    def released(self, sandbox_is_good: bool) -> None:
        """The sandbox can take its next invoke, or never will. Once."""
        assert not self._is_over, f"sandbox {self.sandbox} was released twice"
        self._is_over = True
        if self.sandbox is not None:
            self._sandboxes.released(self.sandbox, sandbox_is_good)
        self._turns.give_back(self._lease)
