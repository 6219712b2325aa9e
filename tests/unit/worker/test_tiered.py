"""Which backend does a sandbox come from?"""

import asyncio
from typing import cast

import pytest

from hearth.model.ids import SandboxId
from hearth.model.isolation import NETWORK_TAG, SANDBOX_TAG, Network, Tier
from hearth.worker.sandboxes.contract import (
    Capabilities,
    Sandbox,
    SandboxBackend,
    SandboxRefused,
    SandboxSpec,
)
from hearth.worker.sandboxes.nat import Nat
from hearth.worker.sandboxes.tiered import TieredBackend


class Recorded:
    """A backend that only says what it is told."""

    can_merge = True

    def __init__(self, tier: Tier, *, usable: bool) -> None:
        self.name = str(tier)
        self.usable = usable
        self.opened = 0
        self.closed = 0
        self.made: list[SandboxSpec] = []

    async def open(self) -> Capabilities:
        self.opened += 1
        await asyncio.sleep(0)
        return Capabilities(name=self.name, usable=self.usable, why_not="it is broken")

    async def create(self, spec: SandboxSpec) -> Sandbox:
        self.made.append(spec)
        return cast("Sandbox", self)

    async def close(self) -> None:
        self.closed += 1


class Scene:
    def __init__(self, tier: Tier, network: Network = Network.NONE) -> None:
        self.broken: set[Tier] = set()
        self.made: dict[Tier, list[Recorded]] = {}
        self.tiers = TieredBackend(tier, network, self._make, Nat("test"))

    def _make(self, tier: Tier) -> SandboxBackend:
        backend = Recorded(tier, usable=tier not in self.broken)
        self.made.setdefault(tier, []).append(backend)
        return backend


def spec(tier: Tier | None) -> SandboxSpec:
    return SandboxSpec(sandbox=SandboxId("s"), memory_mb=128, tmp_mb=512, tier=tier)


def test_only_the_platforms_own_tier_is_opened_with_it() -> None:
    scene = Scene(Tier.ZYGOTE)
    assert asyncio.run(scene.tiers.open()).usable
    assert list(scene.made) == [Tier.ZYGOTE]


def test_another_one_is_opened_once_for_all_who_ask_at_the_same_time() -> None:
    scene = Scene(Tier.ZYGOTE)

    async def main() -> None:
        await asyncio.gather(*(scene.tiers.create(spec(Tier.RUNSC)) for _ in range(5)))
        await scene.tiers.close()

    asyncio.run(main())
    (runsc,) = scene.made[Tier.RUNSC]
    assert (runsc.opened, len(runsc.made), runsc.closed) == (1, 5, 1)
    assert runsc.made[0] == spec(None), "a backend of one tier knows of no others"


def test_bubblewrap_is_the_zygotes_own_way_when_nothing_is_forked() -> None:
    scene = Scene(Tier.ZYGOTE)
    asyncio.run(scene.tiers.create(spec(Tier.BUBBLEWRAP)))
    assert len(scene.made[Tier.ZYGOTE][0].made) == 1
    assert Tier.BUBBLEWRAP not in scene.made


def test_one_that_is_not_usable_is_refused_with_the_reason_and_tried_again() -> None:
    scene = Scene(Tier.ZYGOTE)

    async def main() -> None:
        scene.broken.add(Tier.CRUN)
        with pytest.raises(SandboxRefused, match="crun is not usable: it is broken"):
            await scene.tiers.create(spec(Tier.CRUN))
        scene.broken.clear()
        await scene.tiers.create(spec(Tier.CRUN))

    asyncio.run(main())
    assert len(scene.made[Tier.CRUN]) == 2


def test_tags_are_refused_for_what_nobody_knows_and_for_what_is_less() -> None:
    tiers = Scene(Tier.RUNSC).tiers
    assert "must be one of" in tiers.refusal({SANDBOX_TAG: "docker"})
    assert "less isolation" in tiers.refusal({SANDBOX_TAG: "process"})
    assert "--network host" in tiers.refusal({NETWORK_TAG: "host"})
    assert tiers.refusal({"hearth": "warm"}) == ""
