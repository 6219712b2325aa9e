"""Kills while versions and aliases are made: all of a change is there or nothing, and no number
is given twice. How a kill is played: fakes/mortal.py."""

import asyncio
import itertools
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fakes.control import ControlPlane, HandClock, control_plane, creation, function_key
from fakes.mortal import Killed, Mortal
from fakes.packages import zip_of
from hearth.control.leftovers import UNNAMED_S, Leftovers
from hearth.control.requests import (
    CreateAlias,
    PublishVersion,
    UpdateAlias,
    UpdateCode,
    UpdateConfiguration,
)
from hearth.engine.contract import KeyValue
from hearth.engine.memory import MemoryEngine
from hearth.model.functions import Alias, FunctionVersion, State

KEY = function_key()
SUSPENSIONS_MAX = 600
CODES = [zip_of({"app.py": f"x = {n}"}) for n in range(2)]

Seen = dict[str, object] | None
"""Of the function: what each qualifier means. Versions and $LATEST by their timeout and code."""


def seen(plane: ControlPlane) -> Seen:
    latest = plane.replica.get(KEY)
    if latest is None:
        assert plane.replica.versions(KEY) == ()
        assert plane.replica.aliases(KEY) == ()
        return None
    versions = (latest, *plane.replica.versions(KEY))
    return {
        **{v.version: content(v) for v in versions},
        **{a.name: (a.version, dict(a.weights)) for a in plane.replica.aliases(KEY)},
    }


def content(version: FunctionVersion) -> tuple[int, str]:
    return version.timeout_s, version.code.sha256[:4]


@dataclass
class Ledger:
    """What callers were told, and what they may be about to be told."""

    known: Seen = None
    under_way: list[Seen] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)
    """Of all versions that anybody was ever told of, of this life of the function."""

    async def call(self, outcome: Seen, work: Awaitable[object]) -> None:
        self.under_way = [outcome]
        answer = await work
        self.known, self.under_way = outcome, []
        if outcome is None:
            self.numbers.clear()
        elif isinstance(answer, FunctionVersion) and answer.version != "$LATEST":
            assert answer.version not in self.numbers, "a number was given twice"
            self.numbers.add(answer.version)

    def changed(self, **changes: object) -> Seen:
        """What is known with `changes`; None takes away. `v1` is version 1."""
        names = {"latest": "$LATEST"} | {f"v{n}": str(n) for n in range(1, 9)}
        after = dict(self.known or {}) | {names.get(k, k): v for k, v in changes.items()}
        return {name: value for name, value in after.items() if value is not None}


async def workload(plane: ControlPlane, ledger: Ledger) -> None:
    shas = [plane.packages.describe(code).sha256[:4] for code in CODES]
    functions, call, changed = plane.functions, ledger.call, ledger.changed
    new, other = (3, shas[0]), (3, shas[1])
    create = replace(creation(package=CODES[0]), publish=True)
    await call({"$LATEST": new, "1": new}, functions.create(create))
    await plane.settled()
    await call(
        changed(live=("1", {})),
        functions.aliases.create(CreateAlias(key=KEY, name="live", version="1")),
    )
    update = UpdateCode(key=KEY, package=CODES[1], publish=True)
    await call(changed(latest=other, v2=other), functions.update_code(update))
    await plane.settled()
    await call(
        changed(live=("1", {"2": 0.1})),
        functions.aliases.update(UpdateAlias(key=KEY, name="live", weights={"2": 0.1})),
    )
    await call(
        changed(live=("1", {})),
        functions.aliases.update(UpdateAlias(key=KEY, name="live", weights={})),
    )
    await call(changed(v2=None), functions.delete(KEY, "2"))
    longer = UpdateConfiguration(key=KEY, timeout_s=9)
    await call(changed(latest=(9, shas[1])), functions.update_configuration(longer))
    await plane.settled()
    await call(changed(v3=(9, shas[1])), functions.versions.publish(PublishVersion(key=KEY)))
    await call(changed(live=None), functions.aliases.delete(KEY, "live"))
    await call(None, functions.delete(KEY))
    await call({"$LATEST": new, "1": new}, functions.create(create))


async def live_until_killed(kv: KeyValue, directory: Path, ledger: Ledger, life: int) -> bool:
    """True if the workload came to its end first."""
    async with control_plane(kv, directory) as plane:
        try:
            await Mortal(workload(plane, ledger), life)
        except Killed:
            return False
        return True


async def check_after(kv: KeyValue, directory: Path, ledger: Ledger) -> None:
    async with control_plane(kv, directory) as plane:
        await plane.settled()
        now = seen(plane)
        assert now == ledger.known or now in ledger.under_way
        for version in plane.replica.all_versions():
            assert version.state is State.ACTIVE
        for alias in plane.replica.aliases(KEY):
            for number in alias.targets:
                assert isinstance(plane.replica.qualified(KEY, number), FunctionVersion)
        await check_nothing_is_left(plane)
        if now is not None and (now == ledger.known):
            await check_next_number(plane, ledger)


async def check_nothing_is_left(plane: ControlPlane) -> None:
    clock = HandClock()
    leftovers = Leftovers(plane.functions.kv, plane.replica, clock)
    await leftovers.sweep(frozenset())
    clock.now_s += UNNAMED_S
    await leftovers.sweep(frozenset())
    assert plane.replica.leftovers() == frozenset()
    referenced = {version.code.sha256 for version in plane.replica.all_versions()}
    assert await plane.packages.missing(referenced) == frozenset()


async def check_next_number(plane: ControlPlane, ledger: Ledger) -> None:
    """The next version's number is the least that nobody has seen."""
    await plane.functions.update_configuration(UpdateConfiguration(key=KEY, timeout_s=60))
    await plane.settled()
    version = await plane.functions.versions.publish(PublishVersion(key=KEY))
    assert int(version.version) == max(map(int, ledger.numbers), default=0) + 1
    assert not isinstance(plane.replica.qualified(KEY, version.version), Alias)


def test_a_kill_at_any_moment_leaves_all_of_a_change_or_nothing(tmp_path: Path) -> None:
    async def scene(life: int) -> bool:
        kv, directory = await MemoryEngine().bucket("meta"), tmp_path / str(life)
        ledger = Ledger()
        ended = await live_until_killed(kv, directory, ledger, life)
        await check_after(kv, directory, ledger)
        return ended

    for life in itertools.count():
        assert life < SUSPENSIONS_MAX
        if asyncio.run(scene(life)):
            assert life > 60, "the workload has more moments than that"
            break
