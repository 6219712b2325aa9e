"""How much is in a sandbox's /tmp? Asked of the launcher's mount, by a descriptor of it."""

import asyncio
import os

from hearth.worker.sandboxes.contract import SandboxFailed
from hearth.worker.sandboxes.launcher import Answer


class Tmp:
    """Ordered, and perhaps not mounted yet: whoever starts a program orders that after it."""

    def __init__(self, answered: asyncio.Future[Answer]) -> None:
        self._answered = answered
        self._is_closed = False

    def used_bytes(self) -> int:
        """Raises OSError."""
        if not self._is_there:
            return 0
        seen = os.fstatvfs(self._answered.result().fds[0])
        return (seen.f_blocks - seen.f_bfree) * seen.f_frsize

    @property
    def failure(self) -> SandboxFailed | None:
        """Why there is none, if that has been told."""
        done = self._answered.done() and not self._answered.cancelled()
        error = self._answered.exception() if done else None
        return error if isinstance(error, SandboxFailed) else None

    async def close(self) -> None:
        """Safe to call twice."""
        if self._is_closed:
            return
        await asyncio.wait([self._answered])
        if self._is_there and not self._is_closed:
            os.close(self._answered.result().fds[0])
        self._is_closed = True

    @property
    def _is_there(self) -> bool:
        answered = self._answered
        is_answered = answered.done() and not answered.cancelled() and answered.exception() is None
        return is_answered and not self._is_closed
