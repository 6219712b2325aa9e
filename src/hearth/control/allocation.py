"""How far is the provisioned concurrency of one version? A decision: no I/O, no clock.

    want(n) --> IN_PROGRESS --n are initialised--> READY --one is lost--> READY, fewer available
                     \\--the function's Init fails, FAILURES_MAX times in a row--> FAILED

Nothing of a new allocation is available before all of it is initialised; while one is made larger
or smaller, what was available stays so. What failed keeps what it had before it was asked for
more. What is lost later is replaced, however often that fails.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_GetProvisionedConcurrencyConfig.html
"""

from enum import StrEnum
from typing import Final

INIT_FAILURE: Final = "FUNCTION_ERROR_INIT_FAILURE"
FAILURES_MAX: Final = 3


class Status(StrEnum):
    IN_PROGRESS = "IN_PROGRESS"
    READY = "READY"
    FAILED = "FAILED"


class Allocation:
    """Of one version, for all configurations that mean it."""

    __slots__ = ("_granted", "_initialised", "reason", "requested", "status")

    def __init__(self) -> None:
        self.requested = 0
        self.status = Status.IN_PROGRESS
        self.reason: str | None = None
        self._initialised = 0
        self._granted = 0
        """Of an earlier READY, while there is no later one."""

    @property
    def target(self) -> int:
        """How many environments are to be kept initialised."""
        return self._granted if self.status is Status.FAILED else self.requested

    @property
    def available(self) -> int:
        """How many of them invokes may use."""
        return min(self._initialised, self._granted)

    @property
    def allocated(self) -> int:
        """How many of those that are wanted are there."""
        if self.status is Status.FAILED:
            return self.available
        return min(self._initialised, self.requested)

    def want(self, requested: int) -> None:
        """Begin again, also with the same number."""
        self.requested = requested
        self.status = Status.IN_PROGRESS
        self.reason = None
        self._granted = min(self._granted, requested)
        self.kept(self._initialised, 0)

    def kept(self, initialised: int, init_failures: int) -> None:
        """So many are initialised now; so many starts failed in a row by the function's fault."""
        self._initialised = initialised
        if self.status is not Status.IN_PROGRESS:
            return
        if initialised >= self.requested:
            self.status = Status.READY
            self._granted = self.requested
        elif init_failures >= FAILURES_MAX:
            self.status = Status.FAILED
            self.reason = INIT_FAILURE
