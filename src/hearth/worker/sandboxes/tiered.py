"""Which tier does a sandbox come from? The platform's own, or the one that its function asks for.

Only the platform's own is opened with it; each other one when the first function needs it. One that
cannot be had here is tried again for the next function: somebody may have installed it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from hearth.base.log import Log
from hearth.model.isolation import SANDBOX_TAG, Network, Tier, Wishes, refusal, wishes
from hearth.worker.sandboxes.bwrap import find_bwrap
from hearth.worker.sandboxes.contract import (
    Capabilities,
    Sandbox,
    SandboxBackend,
    SandboxRefused,
    SandboxSpec,
)
from hearth.worker.sandboxes.nat import Nat
from hearth.worker.sandboxes.oci import OciBackend, find_runtime

log = Log("tiers")

CONTAINERS: Final = (Tier.RUNC, Tier.CRUN, Tier.RUNSC)


class TieredBackend:
    """A SandboxBackend of several. `make` makes each, `nat` is what they share."""

    def __init__(
        self, tier: Tier, network: Network, make: Callable[[Tier], SandboxBackend], nat: Nat
    ) -> None:
        self.tier = tier
        self._network = network
        self._make = make
        self._nat = nat
        self.default = make(tier)
        self._others: dict[Tier, SandboxBackend] = {}
        self._opening = {other: asyncio.Lock() for other in Tier}

    @property
    def name(self) -> str:
        return self.default.name

    @property
    def opened(self) -> tuple[SandboxBackend, ...]:
        return (self.default, *self._others.values())

    @property
    def can_merge(self) -> bool:
        return self.default.can_merge

    async def open(self) -> Capabilities:
        found = await self.default.open()
        if found.usable:
            await self._nat.clear_leftovers()
        return found

    async def create(self, spec: SandboxSpec) -> Sandbox:
        backend = await self._backend(spec.tier)
        return await backend.create(replace(spec, tier=None))

    async def close(self) -> None:
        for other in self._others.values():
            await other.close()
        self._others.clear()
        await self.default.close()

    async def survey(self) -> list[Capabilities]:
        """What each tier gives that a tag may ask for, the platform's own left out. Each is tried
        for real."""
        found = []
        for tier in Tier:
            if tier not in {self.tier, Tier.PROCESS}:
                backend = self._make(tier)
                if isinstance(backend, OciBackend):
                    found.append(await backend.survey())
                else:
                    found.append(await backend.open())
                await backend.close()
        return found

    def refusal(self, tags: Mapping[str, str]) -> str:
        """Why no function with these tags can run here; empty if one can, as far as one sees
        without trying."""
        try:
            asked = wishes(tags)
        except ValueError as error:
            return str(error)
        return refusal(asked, self.tier, self._network) or self._lack(asked)

    def _lack(self, asked: Wishes) -> str:
        tier = asked.tier
        if tier in CONTAINERS and find_runtime(tier) is None:
            return f"The tag {SANDBOX_TAG}={tier} cannot be honoured here: {tier} is not installed."
        if tier in {Tier.ZYGOTE, Tier.BUBBLEWRAP} and find_bwrap() is None:
            return f"The tag {SANDBOX_TAG}={tier} cannot be honoured here: bubblewrap is not there."
        if asked.network is Network.NAT and (why := self._nat.why_not()):
            return f"The tag hearth:network=nat cannot be honoured here: {why}."
        return ""

    async def _backend(self, tier: Tier | None) -> SandboxBackend:
        """Raises SandboxRefused."""
        if tier is None or tier is self.tier:
            return self.default
        if tier is Tier.BUBBLEWRAP and self.tier is Tier.ZYGOTE:
            return self.default  # which executes what it was not told to fork
        async with self._opening[tier]:
            if tier not in self._others:
                backend = self._make(tier)
                found = await backend.open()
                if not found.usable:
                    raise SandboxRefused(f"the sandbox tier {tier} is not usable: {found.why_not}")
                log.info("another tier is open", tier=tier)
                self._others[tier] = backend
            return self._others[tier]
