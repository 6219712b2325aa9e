"""How does an invoke wait for a lease that is about to come back? All of that waiting is here."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from hearth.model.errors import ServiceError

TURN_WAIT_S_MAX: Final = 0.5
"""Counting lets nobody wait for leases that have been finishing for longer than this."""

SPILL_WAIT_S_MAX: Final = 0.05
"""Whoever waits for a provisioned sandbox is not refused in the end, but runs on demand."""


class Lease(Protocol):
    """The right to run one invoke; counting supplies it."""

    @property
    def is_waiting(self) -> bool: ...

    @property
    def is_held(self) -> bool: ...

    @property
    def is_provisioned(self) -> bool:
        """It stands for a sandbox that is kept initialised."""
        ...

    def give_up(self, now_s: float) -> ServiceError | None:
        """Nothing came back in time: answers what to raise, or None if it is held after all."""
        ...

    def is_for_event(self) -> None:
        """It does not count against a limit of synchronous requests a second."""
        ...

    def abandon(self) -> None:
        """Stop waiting, because nobody wants it any more."""
        ...

    def finish(self, now_s: float) -> None: ...

    def release(self) -> "Lease | None":
        """Answers the waiting lease that is held from now on."""
        ...


class Turns:
    """Who waits for which lease."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._turns: dict[Lease, asyncio.Future[ServiceError | None]] = {}

    async def wait(self, lease: Lease) -> None:
        """Return when `lease` is held. Raises what counting says if none came back in time."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[ServiceError | None] = loop.create_future()
        self._turns[lease] = turn
        wait_s = SPILL_WAIT_S_MAX if lease.is_provisioned else TURN_WAIT_S_MAX
        timer = loop.call_later(wait_s, self._expire, lease)
        try:
            error = await turn
        except asyncio.CancelledError:
            self._turns.pop(lease, None)
            if lease.is_waiting:
                lease.abandon()
            elif lease.is_held:  # it came in the very turn of the loop in which the caller left
                self.give_back(lease)
            raise
        finally:
            timer.cancel()
        if error is not None:
            raise error

    def give_back(self, lease: Lease) -> None:
        """Release `lease` and wake who gets it."""
        heir = lease.release()
        while heir is not None:
            turn = self._turns.pop(heir)
            if not turn.done():
                turn.set_result(None)
                return
            heir = heir.release()  # cancelled in this very turn of the loop: the next one

    def _expire(self, lease: Lease) -> None:
        turn = self._turns.pop(lease, None)
        if turn is not None and not turn.done():
            turn.set_result(lease.give_up(self._now_s()))
