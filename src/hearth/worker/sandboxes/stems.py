"""Which stems are there, and when is one made, given away, ended? The worker's half.

    take(kind)     one that waits, or None; either way it is noted that one was wanted
    prepare(kind)  waits until there are so many
    statistics()   for `hearth ps`, `hearth status` and metrics

One job makes them, one at a time, and holds back while functions start or the machine is crowded;
how many is stem_policy's to say. Each is given away once, to a program of the kind for which it was
made, whose kind names the account: none is ever shared or returned.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Final, Generic, Protocol, TypeVar

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.ids import SandboxId
from hearth.worker import stem_policy
from hearth.worker.sandboxes.contract import SandboxFailed, SandboxSpec, ZygoteKind
from hearth.worker.stem_policy import Demand, StemBounds

log = Log("stems")

AGE_MAX_S: Final = 600.0
"""Then another takes its place, from a newer zygote, if its kind is in use."""
USED_S: Final = 300.0
"""A kind that was wanted in this time is in use."""
RETRY_AFTER_S: Final = 30.0
LOOK_EVERY_S: Final = 10.0
MAKE_S_MAX: Final = 60.0
"""One that takes longer will never be ready, and the others wait for their turn."""
MAKE_S: Final = 0.05
"""How long one takes to be made, before that has been measured."""
USUAL: Final = SandboxSpec(sandbox=SandboxId("stem"), memory_mb=128, tmp_mb=512)
"""What most functions ask for, so that a bind has to change nothing."""
_LOAD: Final = "/proc/loadavg"


class Stem(Protocol):
    """A sandbox that waits for its program."""

    @property
    def is_waiting_stem(self) -> bool:
        """False once it has ended, or was told."""
        ...

    async def destroy(self) -> None: ...


S = TypeVar("S", bound=Stem)
S_co = TypeVar("S_co", bound=Stem, covariant=True)


class Maker(Protocol[S_co]):
    async def make_stem(self, kind: ZygoteKind) -> S_co | None:
        """None if there is nothing to make it of now. Raises SandboxFailed; may be cancelled, and
        leaves nothing then."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCount:
    """The stems of one account and runtime."""

    account: str
    runtime: str
    ready: int
    wanted: int
    stem_mb: int = stem_policy.STEM_MB


@dataclass(frozen=True, slots=True, kw_only=True)
class StemStatistics:
    kinds: tuple[KindCount, ...] = ()
    taken: int = 0
    """Starts that found one, since Hearth started."""
    missed: int = 0
    """Starts that might have, and had to wait for a launch."""
    made: int = 0
    failed: int = 0
    """Attempts to make one."""
    ended: int = 0
    """Never used: no longer wanted, too old, or they ended by themselves."""
    make_s: float = 0.0
    """How long it takes to make one, lately."""
    memory_mb_max: int = 0

    @property
    def ready(self) -> int:
        return sum(kind.ready for kind in self.kinds)

    @property
    def wanted(self) -> int:
        return sum(kind.wanted for kind in self.kinds)

    @property
    def memory_mb(self) -> int:
        """What those that are ready are taken to hold."""
        return sum(kind.ready * kind.stem_mb for kind in self.kinds)


def together(statistics: Sequence[StemStatistics]) -> StemStatistics:
    """Of several tiers as one; a stem takes as long to make as in the first that made any."""

    def total(name: str) -> int:
        return sum(getattr(one, name) for one in statistics)

    return StemStatistics(
        kinds=tuple(kind for one in statistics for kind in one.kinds),
        taken=total("taken"),
        missed=total("missed"),
        made=total("made"),
        failed=total("failed"),
        ended=total("ended"),
        make_s=next((one.make_s for one in statistics if one.made), 0.0),
        memory_mb_max=total("memory_mb_max"),
    )


class Stems(Generic[S]):
    """Those of one worker. `runnable` tells how many processes want each CPU."""

    def __init__(
        self,
        maker: Maker[S],
        bounds: StemBounds,
        clock: Clock,
        jobs: Jobs,
        runnable: Callable[[], float],
        stem_mb: Callable[[ZygoteKind], int] = lambda kind: (
            stem_policy.WAITING_MB if kind.waits else stem_policy.STEM_MB
        ),
        label: str = "",
    ) -> None:
        """`stem_mb`: how much memory one is taken to hold. `label`: told with each runtime."""
        self._label = label
        self._stem_mb = stem_mb
        self._maker = maker
        self._bounds = bounds
        self._clock = clock
        self._jobs = jobs
        self._runnable = runnable
        self._ready: dict[ZygoteKind, deque[tuple[float, S]]] = {}
        """With the time at which each was made; oldest first."""
        self._demand: dict[ZygoteKind, Demand] = {}
        self._asked: dict[ZygoteKind, int] = {}
        """By prepare()."""
        self._failed_s: dict[ZygoteKind, float] = {}
        self._changed = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._tending_later: asyncio.TimerHandle | None = None
        self._last_start_s = 0.0
        self._make_s = MAKE_S
        self._taken = self._missed = self._made = self._failed = self._ended = 0

    def take(self, kind: ZygoteKind) -> S | None:
        if self._bounds.stems_max == 0:
            return None
        now_s = self._last_start_s = self._clock.monotonic_s()
        self._demand.setdefault(kind, Demand()).note(now_s)
        if self._tending_later is None:  # whoever starts now has the CPU for itself
            loop = asyncio.get_running_loop()
            self._tending_later = loop.call_later(stem_policy.QUIET_S, self._tend_soon)
        ready = self._ready.get(kind)
        while ready:
            _, stem = ready.popleft()
            if stem.is_waiting_stem:
                self._taken += 1
                return stem
            self._end_soon(stem)
        self._missed += 1
        return None

    async def prepare(self, kind: ZygoteKind, count: int) -> bool:
        """Whether there are so many now. They count as wanted until the kind is idle."""
        if count == 0:
            return True
        self._asked[kind] = max(self._asked.get(kind, 0), count)
        self._demand.setdefault(kind, Demand()).last_s = self._clock.monotonic_s()
        self._tend_soon()
        while len(self._ready.get(kind, ())) < count:
            if kind in self._failed_s or self._tending is None:
                return False
            self._changed.clear()
            await self._changed.wait()
        return True

    def statistics(self) -> StemStatistics:
        wanted = self._wanted(self._clock.monotonic_s())
        kinds = tuple(
            KindCount(
                account=kind.tenant,
                runtime=PurePath(kind.command[0]).name + self._label,
                ready=len(self._ready.get(kind, ())),
                wanted=count,
                stem_mb=self._stem_mb(kind),
            )
            for kind, count in wanted.items()
        )
        return StemStatistics(
            kinds=kinds,
            taken=self._taken,
            missed=self._missed,
            made=self._made,
            failed=self._failed,
            ended=self._ended,
            make_s=self._make_s,
            memory_mb_max=self._bounds.memory_mb,
        )

    async def close(self) -> None:
        """The backend ends the sandboxes."""
        if self._tending_later is not None:
            self._tending_later.cancel()
        tending, self._tending = self._tending, None
        if tending is not None:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
        self._ready.clear()
        self._demand.clear()

    # -- the job -----------------------------------------------------------------------------------

    def _tend_soon(self) -> None:
        if self._tending_later is not None:
            self._tending_later.cancel()
            self._tending_later = None
        self._changed.set()
        if self._tending is None:
            self._tending = self._jobs.spawn(self._tend(), name="stems")

    async def _tend(self) -> None:
        """Until no kind has been wanted for long."""
        try:
            while self._demand:
                now_s = self._clock.monotonic_s()
                self._drop_what_is_over(now_s)
                kind = self._lacking(now_s)
                if kind is None:
                    await self._wait_for_change()
                else:
                    if len(self._ready.get(kind, ())) >= self._asked.get(kind, 0):
                        await self._hold_back()
                    await self._make(kind)
        finally:
            self._tending = None
            self._changed.set()

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _hold_back(self) -> None:
        began_s = now_s = self._clock.monotonic_s()
        while stem_policy.must_wait(
            quiet_s=now_s - self._last_start_s,
            runnable=self._runnable,
            waited_s=now_s - began_s,
        ):
            await asyncio.sleep(stem_policy.pause_s(now_s - began_s))
            now_s = self._clock.monotonic_s()

    async def _make(self, kind: ZygoteKind) -> None:
        began_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(MAKE_S_MAX):
                stem = await self._maker.make_stem(kind)
        except (SandboxFailed, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            log.warning("a stem could not be made", command=kind.command[0], error=why)
            stem = None
        now_s = self._clock.monotonic_s()
        if stem is None:
            self._failed += 1
            self._failed_s[kind] = now_s
        else:
            self._made += 1
            self._failed_s.pop(kind, None)
            self._make_s += (now_s - began_s - self._make_s) / 8
            self._ready.setdefault(kind, deque()).append((now_s, stem))
        self._changed.set()

    def _wanted(self, now_s: float) -> dict[ZygoteKind, int]:
        floor = self._bounds.floor
        wanted = {
            kind: stem_policy.stems_wanted(
                demand, self._make_s, max(floor, self._asked.get(kind, 0)), now_s
            )
            for kind, demand in self._demand.items()
        }
        return stem_policy.share(wanted, self._bounds.stems_max, self._cost)

    def _cost(self, kind: ZygoteKind) -> int:
        """For how many forked ones it counts."""
        return self._stem_mb(kind) // stem_policy.STEM_MB

    def _lacking(self, now_s: float) -> ZygoteKind | None:
        """The kind that has the smallest part of what it wants."""
        wanted = self._wanted(now_s)
        parts = {
            kind: len(self._ready.get(kind, ())) / count
            for kind, count in wanted.items()
            if count > len(self._ready.get(kind, ()))
            and now_s - self._failed_s.get(kind, -RETRY_AFTER_S) >= RETRY_AFTER_S
        }
        return min(parts, key=parts.__getitem__, default=None)

    def _drop_what_is_over(self, now_s: float) -> None:
        wanted = self._wanted(now_s)
        for kind, ready in list(self._ready.items()):
            is_used = now_s - self._demand[kind].last_s < USED_S
            kept: deque[tuple[float, S]] = deque()
            self._ready[kind] = kept
            for made_s, stem in ready:
                is_old = is_used and now_s - made_s >= AGE_MAX_S
                if stem.is_waiting_stem and not is_old and len(kept) < wanted[kind]:
                    kept.append((made_s, stem))
                else:
                    self._end_soon(stem)
        for kind, count in wanted.items():
            if count == 0 and now_s - self._demand[kind].last_s >= stem_policy.IDLE_S:
                self._forget(kind)

    def _forget(self, kind: ZygoteKind) -> None:
        self._ready.pop(kind, None)
        self._asked.pop(kind, None)
        self._failed_s.pop(kind, None)
        del self._demand[kind]

    def _end_soon(self, stem: S) -> None:
        self._ended += 1
        self._jobs.spawn(self._end(stem), name="end-stem")

    async def _end(self, stem: S) -> None:
        try:
            await stem.destroy()
        except SandboxFailed as error:
            log.error("a stem could not be ended", error=error)


def may_be_stem(spec: SandboxSpec) -> bool:
    """Whether it differs from USUAL only in what can be changed when a stem is given away."""
    names = ("sandbox", "memory_mb", "tmp_mb", "kind")
    return spec == replace(USUAL, **{name: getattr(spec, name) for name in names})


def runnable() -> float:
    """How many processes want a CPU, for each that there is."""
    fd = os.open(_LOAD, os.O_RDONLY | os.O_CLOEXEC)
    try:
        wanting = int(os.read(fd, 128).split()[3].partition(b"/")[0])
    finally:
        os.close(fd)
    return wanting / len(os.sched_getaffinity(0))
