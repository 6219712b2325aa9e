"""Which zygotes live, and when is one made, replaced, ended? The worker's half.

    find(kind)     a zygote to fork from now, or None; then one is made, beside whatever waits
    prepare(kind)  the same, but waits until there is one
    gone(number)   it has ended, whoever ended it

A zygote is renewed when it has forked often or is old, since all that it forked share its address
layout and hash seed; the old one serves until the new one is ready. It is ended when nobody has
needed it for a while, or when too many others were needed later. What it has forked lives on. A
kit that changes is another kind: the zygote of the old one is needed no more.
"""

import asyncio
import itertools
from dataclasses import dataclass, replace
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.worker.sandboxes.contract import SandboxFailed, ZygoteKind

log = Log("zygotes")

FORKS_MAX: Final = 1000
AGE_MAX_S: Final = 600.0
IDLE_MAX_S: Final = 300.0
KINDS_MAX: Final = 16
RETRY_AFTER_S: Final = 30.0
LOOK_EVERY_S: Final = 10.0


class Maker(Protocol):
    """How zygotes come and go; raises SandboxFailed."""

    async def make(self, number: int, kind: ZygoteKind) -> None: ...

    def retire(self, number: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Zygote:
    number: int
    made_s: float
    used_s: float
    forks: int = 0


def is_worn(zygote: Zygote, now_s: float) -> bool:
    """Whether another should take its place."""
    return zygote.forks >= FORKS_MAX or now_s - zygote.made_s >= AGE_MAX_S


def no_longer_needed(zygotes: dict[ZygoteKind, Zygote], now_s: float) -> list[ZygoteKind]:
    """The kinds to end: idle too long, or needed longest ago where there are too many."""
    by_need = sorted(zygotes, key=lambda kind: zygotes[kind].used_s, reverse=True)
    return [
        kind
        for place, kind in enumerate(by_need)
        if place >= KINDS_MAX or now_s - zygotes[kind].used_s >= IDLE_MAX_S
    ]


class Zygotes:
    """Those of one worker."""

    def __init__(self, maker: Maker, clock: Clock, jobs: Jobs) -> None:
        self._maker = maker
        self._clock = clock
        self._jobs = jobs
        self._numbers = itertools.count(1)
        self._ready: dict[ZygoteKind, Zygote] = {}
        self._making: dict[ZygoteKind, asyncio.Task[bool]] = {}
        self._failed_s: dict[ZygoteKind, float] = {}
        self._watch: asyncio.Task[None] | None = None

    def find(self, kind: ZygoteKind) -> int | None:
        """The number of a zygote to fork from, which is counted as a fork."""
        now_s = self._clock.monotonic_s()
        zygote = self._ready.get(kind)
        if zygote is None or is_worn(zygote, now_s):
            self._make_soon(kind, now_s)
        if zygote is None:
            return None
        self._ready[kind] = replace(zygote, used_s=now_s, forks=zygote.forks + 1)
        return zygote.number

    async def prepare(self, kind: ZygoteKind) -> bool:
        """Whether there is one now."""
        if kind in self._ready:
            return True
        making = self._make_soon(kind, self._clock.monotonic_s())
        return making is not None and await asyncio.shield(making)

    def gone(self, number: int) -> None:
        for kind, zygote in list(self._ready.items()):
            if zygote.number == number:
                log.warning("a zygote ended", command=kind.command[0], forks=zygote.forks)
                del self._ready[kind]

    def all_gone(self) -> None:
        """The launcher has died, and they with it."""
        self._ready.clear()

    def look(self) -> None:
        """End those that nobody needs."""
        for kind in no_longer_needed(self._ready, self._clock.monotonic_s()):
            self._maker.retire(self._ready.pop(kind).number)

    async def close(self) -> None:
        tasks = [task for task in (self._watch, *self._making.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ready.clear()

    def _make_soon(self, kind: ZygoteKind, now_s: float) -> asyncio.Task[bool] | None:
        making = self._making.get(kind)
        if making is not None:
            return making
        if now_s - self._failed_s.get(kind, -RETRY_AFTER_S) < RETRY_AFTER_S:
            return None
        self._making[kind] = task = self._jobs.spawn(self._make(kind), name="make-zygote")
        task.add_done_callback(lambda _: self._making.pop(kind, None))
        return task

    async def _make(self, kind: ZygoteKind) -> bool:
        number = next(self._numbers)
        try:
            await self._maker.make(number, kind)
        except SandboxFailed as error:
            log.warning("no zygote could be made", command=kind.command[0], error=error)
            self._failed_s = {k: s for k, s in self._failed_s.items() if k in self._making}
            self._failed_s[kind] = self._clock.monotonic_s()
            return False
        now_s = self._clock.monotonic_s()
        old = self._ready.get(kind)
        self._ready[kind] = Zygote(number=number, made_s=now_s, used_s=now_s)
        if old is not None:
            self._maker.retire(old.number)
        self.look()
        if self._watch is None:
            self._watch = self._jobs.spawn(self._look_now_and_then(), name="zygote-watch")
        return True

    async def _look_now_and_then(self) -> None:
        try:
            while self._ready:
                await asyncio.sleep(LOOK_EVERY_S)
                self.look()
        finally:
            self._watch = None
