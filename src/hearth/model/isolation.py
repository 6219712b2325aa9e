"""How does a function say how it wants to be isolated? By tags, which every AWS tool can set.

hearth:isolation = strict     a fresh process for each sandbox: nothing that it has in common
                              with others of its account comes from a fork
hearth:sandbox   = a tier     what isolates it: see Tier
hearth:network   = a network  what it reaches: see Network

A function may ask for more than the platform was started with, never for less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

ISOLATION_TAG: Final = "hearth:isolation"
SANDBOX_TAG: Final = "hearth:sandbox"
NETWORK_TAG: Final = "hearth:network"
STRICT: Final = "strict"

_Choice = TypeVar("_Choice", bound=StrEnum)


class Tier(StrEnum):
    """What stands between a function and the machine."""

    ZYGOTE = "zygote"
    BUBBLEWRAP = "bubblewrap"
    RUNC = "runc"
    CRUN = "crun"
    RUNSC = "runsc"
    PROCESS = "process"


_STRENGTH: Final = {Tier.PROCESS: 0, Tier.RUNSC: 2}
"""Of the others 1: namespaces and a filter, with the host's kernel behind them."""


class Network(StrEnum):
    """What a function reaches."""

    NONE = "none"
    NAT = "nat"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the tags of a function say; None: nothing."""

    tier: Tier | None = None
    network: Network | None = None
    is_strict: bool = False


def wishes(tags: Mapping[str, str]) -> Wishes:
    """Raises ValueError with a text for whoever set the tags."""
    return Wishes(
        tier=_read(tags, SANDBOX_TAG, Tier),
        network=_read(tags, NETWORK_TAG, Network),
        is_strict=is_strict(tags),
    )


def is_strict(tags: Mapping[str, str]) -> bool:
    return tags.get(ISOLATION_TAG, "").strip().lower() == STRICT


def refusal(asked: Wishes, tier: Tier, network: Network) -> str:
    """Why a platform of this tier and network does not grant it; empty if it does."""
    if asked.tier is not None and _STRENGTH.get(asked.tier, 1) < _STRENGTH.get(tier, 1):
        return (
            f"The tag {SANDBOX_TAG}={asked.tier} asks for less isolation than this Hearth gives "
            f"every function: {tier}."
        )
    if asked.network is Network.HOST and network is not Network.HOST:
        return (
            f"The tag {NETWORK_TAG}=host is for a Hearth that was started with --network host; "
            f"this one was started with {network}."
        )
    return ""


def _read(tags: Mapping[str, str], name: str, kind: type[_Choice]) -> _Choice | None:
    text = tags.get(name)
    if text is None:
        return None
    try:
        return kind(text.strip().lower())
    except ValueError:
        choices = ", ".join(kind)
        raise ValueError(f"The tag {name} must be one of {choices}; it is {text!r}.") from None
