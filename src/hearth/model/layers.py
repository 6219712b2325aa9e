"""What is a layer? A package that functions find at /opt, in versions that never change.

Source: https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from hearth.model.ids import PARTITION, AccountId, Region

LAYERS_MAX: Final = 5
"""Of one function."""

_ARN = re.compile(
    r"arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):"
    r"layer:(?P<name>[a-zA-Z0-9-_]+)(?::(?P<number>\d+))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class LayerKey:
    """Which layer, in which account and region."""

    account: AccountId
    region: Region
    name: str

    @property
    def arn(self) -> str:
        return f"arn:{PARTITION}:lambda:{self.region}:{self.account}:layer:{self.name}"

    def version_arn(self, number: int) -> str:
        return f"{self.arn}:{number}"

    @classmethod
    def parse(cls, arn: str) -> "tuple[Self, int | None]":
        """The layer, and the version's number if the ARN has one. Raises ValueError."""
        match = _ARN.fullmatch(arn)
        if match is None:
            raise ValueError(f"not the ARN of a layer: {arn!r}")
        key = cls(AccountId(match["account"]), Region(match["region"]), match["name"])
        return key, None if match["number"] is None else int(match["number"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUse:
    """A layer version as a function has it: with its package, so that it stays usable when the
    layer version itself is deleted."""

    arn: str
    """Of the version."""
    sha256: str
    size_bytes: int
    unzipped_bytes: int


def without_covered(digests: Sequence[str]) -> list[str]:
    """Of packages that are laid over one another, the lowest first: equal ones only once, where
    the upper one is. What the lower one has would be covered."""
    return [digest for n, digest in enumerate(digests) if digest not in digests[n + 1 :]]


def merged_id(digests: Sequence[str]) -> str:
    """The name of the tree that these packages make together, in this order."""
    return hashlib.sha256("\n".join(("layers", *digests)).encode()).hexdigest()
