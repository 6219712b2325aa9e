"""Stems without processes, and who makes them: in virtual time."""

import asyncio

from hearth.worker.sandboxes.contract import SandboxFailed, ZygoteKind


class FakeStem:
    def __init__(self, kind: ZygoteKind) -> None:
        self.kind = kind
        self.is_waiting_stem = True
        self.is_destroyed = False

    async def destroy(self) -> None:
        self.is_waiting_stem = False
        self.is_destroyed = True


class FakeMaker:
    """One at a time, or the test fails; `make_s` each."""

    def __init__(self, make_s: float = 0.02) -> None:
        self.make_s = make_s
        self.made: list[FakeStem] = []
        self.made_s: list[float] = []
        self.fails = False
        self.is_making = False

    async def make_stem(self, kind: ZygoteKind) -> FakeStem | None:
        assert not self.is_making, "two at a time"
        self.is_making = True
        try:
            await asyncio.sleep(self.make_s)
        finally:
            self.is_making = False
        if self.fails:
            raise SandboxFailed("no")
        self.made.append(FakeStem(kind))
        self.made_s.append(asyncio.get_running_loop().time())
        return self.made[-1]

    @property
    def waiting(self) -> int:
        return sum(stem.is_waiting_stem for stem in self.made)


def stem_kind(tenant: str = "111122223333") -> ZygoteKind:
    return ZygoteKind(
        tenant=tenant,
        command=("/var/lang/bin/python3.11",),
        script="/var/runtime/bootstrap.py",
        environment=(),
        mounts=(),
    )
